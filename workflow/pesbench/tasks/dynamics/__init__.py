"""Short dynamics at constant energy."""
