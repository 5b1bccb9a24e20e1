"""Models: a registry and one adapter for each family."""
