"""One folder for each task, a test that every model runs."""
