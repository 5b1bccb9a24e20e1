"""What a run will cost before it starts, and what it did cost."""
