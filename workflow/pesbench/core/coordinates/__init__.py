"""Coordinates that scans move a system along, one module for each."""
