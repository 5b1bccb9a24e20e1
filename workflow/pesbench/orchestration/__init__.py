"""Config, environments, requests to a scheduler."""
