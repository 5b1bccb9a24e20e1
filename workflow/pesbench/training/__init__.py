"""Training of the small potentials that ship in `resources/weights`."""
