"""Cost of a step of molecular dynamics."""
