"""Paired differences of models, and what each costs the others."""
