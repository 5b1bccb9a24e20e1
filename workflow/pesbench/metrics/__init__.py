"""Pure functions on arrays: arrays in, numbers out, no files and no models."""
