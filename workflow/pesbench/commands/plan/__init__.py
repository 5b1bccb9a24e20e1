"""Predicted and actual cost of a run."""
