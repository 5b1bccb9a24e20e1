"""Interpolated wave functions: against their number, far from their geometries, and in dynamics."""
