"""Harmonic frequencies."""
