"""Families of models: one module or folder each, found by looking (`pesbench.core.family`)."""
