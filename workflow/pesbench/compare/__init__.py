"""Comparisons across tasks and models."""
