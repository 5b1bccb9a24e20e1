"""An attention potential with one switch a design choice, and its training."""
