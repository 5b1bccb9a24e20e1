"""Physics sentinels: what energies, forces and velocities of one model say. Pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def largest_force(forces: Array) -> Array:
    """The largest force on an atom in eV/Å, shape (F,), of forces of the shape (F, N, 3)."""
    return np.linalg.norm(forces, axis=-1).max(axis=1)


def energy_force_mismatch(energy: Array, forces: Array, positions: Array) -> Array:
    """Change of the energy against the work of the forces between neighbouring frames, in eV/Å.

    |E₂ − E₁ + ½ (F₁ + F₂)·(R₂ − R₁)| / |R₂ − R₁|; of the two neighbours of a frame the larger one
    counts. A model whose forces are the gradient of its energy has what the trapezoidal rule
    leaves.

    Args:
        energy: eV, shape (F,).
        forces: eV/Å, shape (F, N, 3).
        positions: Å, shape (F, N, 3).

    Returns:
        Shape (F,); NaN where a frame has no neighbour, or an energy is missing.
    """
    step = np.diff(positions, axis=0)
    length = np.linalg.norm(step, axis=(1, 2))
    work = 0.5 * ((forces[1:] + forces[:-1]) * step).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(np.diff(energy) + work) / length
    before, after = np.append(np.nan, off), np.append(off, np.nan)
    return np.fmax(before, after)


def energy_jump(total: Array, every: int, n_atoms: int, first: int = 0) -> Array:
    """The largest change of the total energy in one step since the frame before, in eV/atom.

    Args:
        total: Potential plus kinetic energy of every step, eV, shape (T,).
        every: Steps from one frame to the next.
        n_atoms: N.
        first: Step from which on the energy is conserved, after a thermostat; 0 without one.

    Returns:
        One a frame, steps 0, `every`, 2·`every`, ...; 0 up to `first`.
    """
    steps = np.abs(np.diff(total, prepend=total[:1])) / n_atoms
    steps[: first + 1] = 0.0
    ends = np.arange(0, len(total), every)
    return np.array([steps[max(0, end - every + 1) : end + 1].max() for end in ends])
