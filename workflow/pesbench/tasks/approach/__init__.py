"""Closest approach: whether the energy goes up when two atoms come close."""
