"""Numerical variants of one checkpoint, side by side."""
