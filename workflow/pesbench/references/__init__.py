"""Origin of reference energies and forces."""
