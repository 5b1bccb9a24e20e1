"""Extrapolation grade by MaxVol (D-optimality). Pure functions.

A model that is linear in the features of an atom interpolates where these are a combination of the
features of its active set with coefficients of at most 1. Lysogorskiy et al., arXiv:2212.08716;
Goreinov et al., "How to find a good submatrix" (2010).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

Array = NDArray[np.float64]
Index = NDArray[np.int64]

TOLERANCE = 1.01  # of the largest coefficient, where the search ends
MOST_SWAPS = 2000


def active_set(features: Array) -> Index:
    """Rows that span (nearly) the largest volume: every row is a combination of them with
    coefficients of at most `TOLERANCE`.

    Args:
        features: Shape (n, d) of full column rank, n of at least d.

    Returns:
        d different rows.

    Raises:
        ValueError: fewer rows than columns, or columns that depend on each other.
    """
    n_rows, n_columns = features.shape
    if n_rows < n_columns:
        raise ValueError(f"{n_rows} rows do not span {n_columns} columns")
    _, triangle, order = qr(features.T, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(triangle))
    if sizes[-1] <= 1e-12 * sizes[0]:
        raise ValueError("columns depend on each other")
    chosen = order[:n_columns].copy()
    coefficients = features @ np.linalg.inv(features[chosen])
    for _ in range(MOST_SWAPS):
        row, column = np.unravel_index(np.abs(coefficients).argmax(), coefficients.shape)
        if abs(coefficients[row, column]) <= TOLERANCE:
            break
        # the rank-one change of the inverse by the swap (Goreinov et al.)
        change = coefficients[row].copy()
        change[column] -= 1
        coefficients -= np.outer(coefficients[:, column] / coefficients[row, column], change)
        chosen[column] = row
    return chosen.astype(np.int64)


def grades(features: Array, inverse: Array) -> Array:
    """γ = max_j |(b A⁻¹)_j| of each row; above 1 it extrapolates.

    Args:
        features: Rows b, shape (A, d).
        inverse: Of the active set, shape (d, d).

    Returns:
        Shape (A,).
    """
    return np.abs(features @ inverse).max(axis=1)
