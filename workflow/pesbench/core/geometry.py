"""How far apart two geometries of one molecule are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def apart(numbers: NDArray[np.int64], one: Array, other: Array) -> float:
    """Root mean square difference of the sorted distances within each pair of elements.

    Rotation, reflection and the exchange of equal atoms do not change it, so that it is 0 for the
    same conformer however it is written; conformers of small molecules are some tenths of Å apart.

    Args:
        numbers: Atomic numbers of both, shape (N,), at least two.
        one: Å, shape (N, 3).
        other: Å, shape (N, 3).

    Returns:
        Å.
    """
    off = sorted_distances(numbers, one) - sorted_distances(numbers, other)
    return float(np.sqrt(np.mean(off**2)))


def sorted_distances(numbers: NDArray[np.int64], positions: Array) -> Array:
    """The distances of a geometry in Å, sorted within each pair of elements, shape (P,).

    The root mean square difference of those of two geometries is `apart`.
    """
    i, j = np.triu_indices(len(numbers), 1)
    distance = np.linalg.norm(positions[i] - positions[j], axis=1)
    low, high = np.minimum(numbers[i], numbers[j]), np.maximum(numbers[i], numbers[j])
    return distance[np.lexsort((distance, high, low))]
