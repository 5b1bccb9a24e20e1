"""What several models say of the same frames. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def committee_spread(forces: Sequence[Array]) -> Array:
    """Standard deviation of the forces of K seeds, of the atom where it is largest, in eV/Å.

    Per atom √(Σ_k |F_k − F̄|² / K), the biased one, as MACE's committee has it.

    Args:
        forces: K arrays in eV/Å, each of the shape (F, N, 3), K of at least 2.

    Returns:
        Shape (F,).

    Raises:
        ValueError: fewer than two members.
    """
    if len(forces) < 2:
        raise ValueError("a committee has at least two members")
    every = np.stack(forces)
    off = np.linalg.norm(every - every.mean(axis=0), axis=-1)
    return np.sqrt((off**2).mean(axis=0)).max(axis=1)


def difference(own: Array, other: Array) -> Array:
    """|F_a − F_b| of each atom in eV/Å, shape (F, N)."""
    return np.linalg.norm(own - other, axis=-1)


def disagreement(differences: Sequence[Array], offsets: Sequence[Array]) -> Array:
    """How far other models are from this one beyond what they are at equilibrium, in eV/Å.

    Models of different levels of theory differ everywhere; what they differ by at equilibrium is
    taken off each atom. It is a length and no vector, because a molecule that moves turns. The mean
    over the other models that answer a frame, of the atom where it is largest.

    Args:
        differences: `difference` from each other model, shape (F, N); NaN where it has no answer.
        offsets: The same at equilibrium, shape (N,), finite.

    Returns:
        Shape (F,); negative where all agree better than at equilibrium, NaN where none answers.

    Raises:
        ValueError: no other model.
    """
    if not differences:
        raise ValueError("no other model to disagree with")
    beyond = np.stack([d - offset for d, offset in zip(differences, offsets, strict=True)])
    answered = np.isfinite(beyond).all(axis=2)  # (K, F)
    total = np.where(answered[..., None], beyond, 0.0).sum(axis=0)
    count = answered.sum(axis=0)
    mean = total / np.maximum(count, 1)[:, None]
    return np.where(count > 0, mean.max(axis=1), np.nan)
