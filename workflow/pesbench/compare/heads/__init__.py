"""Output heads: what they do on a dimer, and as readouts of potentials that are trained here."""
