"""Potentials that ask for frames themselves."""
