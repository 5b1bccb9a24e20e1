"""What cheap labels are worth in expensive ones."""
