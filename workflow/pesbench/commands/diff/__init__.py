"""Two runs side by side: what `python -m pesbench diff` does."""
