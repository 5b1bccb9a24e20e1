"""Stored files: writing, reading and checks."""
