"""Dose and response: one defect at a time, added to a model."""
