"""One module a family of models."""
