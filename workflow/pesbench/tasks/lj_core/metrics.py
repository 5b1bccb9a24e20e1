"""Errors of a repulsive wall: pure functions of arrays.

The logarithm compares walls over many decades. It ignores the sign, so that an energy of −10⁹ where
+10⁹ is right has no error: the share of right signs stands beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log10_error(predicted: Array, true: Array) -> float:
    """Mean of |log₁₀(|predicted| + 1) − log₁₀(|true| + 1)|, over the last axis and all others.

    Source: the published `log10_energy_mae_core` (ZeroProofML).

    Args:
        predicted: Energies, or slopes, shape (R,).
        true: Likewise.

    Returns:
        Decades; NaN where a value is not finite or there is none.
    """
    if not predicted.size or not (np.isfinite(predicted).all() and np.isfinite(true).all()):
        return float("nan")
    return float(np.abs(np.log10(np.abs(predicted) + 1) - np.log10(np.abs(true) + 1)).mean())


def right_sign_share(predicted: Array, true: Array) -> float:
    """Share of the values whose sign is that of the true ones; 0 has a sign of its own.

    Returns:
        NaN where a value is not finite or there is none.
    """
    if not predicted.size or not np.isfinite(predicted).all():
        return float("nan")
    return float((np.sign(predicted) == np.sign(true)).mean())


def rises_inwards(energies: Array) -> float:
    """1 where the energy rises at each step inwards, else 0.

    Args:
        energies: In the order of ascending distances, shape (R,).

    Returns:
        NaN where a value is not finite.
    """
    return float((np.diff(energies) < 0).all()) if np.isfinite(energies).all() else float("nan")


def mean_absolute_error(predicted: Array, true: Array) -> float:
    """Mean absolute error, in the unit of the values; NaN where a value is not finite."""
    return float(np.abs(predicted - true).mean()) if np.isfinite(predicted).all() else float("nan")
