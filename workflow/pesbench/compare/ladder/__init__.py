"""Models one design choice apart, side by side."""
