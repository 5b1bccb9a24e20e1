"""The repulsive core beyond the data: output heads on a Lennard-Jones dimer, and potentials."""
