"""Commands that are no stage of a run."""
