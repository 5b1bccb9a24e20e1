"""The rooms where models live: a contract, a registry and one adapter a family."""
