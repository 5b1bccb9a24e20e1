"""Where reference energies and forces come from."""
