"""Systems, scans, batches, errors; imports nothing of the other rooms."""
