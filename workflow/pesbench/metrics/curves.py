"""Energy curves along a scan: work of the forces, integration, extrema. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

Array = NDArray[np.float64]

PROMINENCE_EV = 0.01


def step_work(positions: Array, forces: Array) -> Array:
    """Energy change of every step by the trapezoidal rule, −½ (F_f + F_f₋₁) : (R_f − R_f₋₁).

    Args:
        positions: Å, shape (F, N, 3).
        forces: eV/Å, shape (F, N, 3).

    Returns:
        eV, shape (F − 1,).
    """
    mean_force = 0.5 * (forces[1:] + forces[:-1])
    return -np.einsum("fax,fax->f", mean_force, np.diff(positions, axis=0))


def integrated_energy(positions: Array, forces: Array, q: int) -> Array:
    """Energy along the scan from the forces alone, zero at frame q.

    Defined for models whose forces are no gradient, too. Source: official code, plots.

    Returns:
        eV, shape (F,).
    """
    energy = np.concatenate([[0.0], np.cumsum(step_work(positions, forces))])
    return energy - energy[q]


@dataclass(frozen=True)
class Extrema:
    """Interior extrema of a curve.

    Attributes:
        coordinate: Å, shape (K,).
        prominence: eV, shape (K,).
        is_minimum: Shape (K,), bool.
    """

    coordinate: Array
    prominence: Array
    is_minimum: NDArray[np.bool_]


def extrema(coordinate: Array, energy: Array, prominence: float = PROMINENCE_EV) -> Extrema:
    """Interior minima and maxima of at least a given prominence (scipy.signal.find_peaks).

    Args:
        coordinate: Å, shape (F,).
        energy: eV, shape (F,).
        prominence: eV; less is counted as noise.
    """
    minima, of_minima = find_peaks(-energy, prominence=prominence)
    maxima, of_maxima = find_peaks(energy, prominence=prominence)
    return Extrema(
        coordinate=coordinate[np.concatenate([minima, maxima])],
        prominence=np.concatenate([of_minima["prominences"], of_maxima["prominences"]]),
        is_minimum=np.concatenate([np.ones(len(minima), bool), np.zeros(len(maxima), bool)]),
    )
