"""Energy curves along a scan: work of the forces, integration, extrema, minima. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_EV = 1e100  # beyond it no polynomial is fitted: a model's answer may be any finite number
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
        frame: Index of each, shape (K,).
        coordinate: Å, shape (K,).
        prominence: eV, shape (K,).
        is_minimum: Shape (K,), bool.
    """

    frame: NDArray[np.intp]
    coordinate: Array
    prominence: Array
    is_minimum: NDArray[np.bool_]

    def select(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Extrema:
        """Some of them."""
        return Extrema(
            self.frame[which], self.coordinate[which], self.prominence[which],
            self.is_minimum[which],
        )  # fmt: skip


def extrema(coordinate: Array, energy: Array, prominence: float = PROMINENCE_EV) -> Extrema:
    """Interior minima and maxima of at least a given prominence (scipy.signal.find_peaks).

    Args:
        coordinate: Å, shape (F,).
        energy: eV, shape (F,).
        prominence: eV; less is counted as noise.
    """
    from scipy.signal import find_peaks  # half a second, which every start of Snakemake would pay

    minima, of_minima = find_peaks(-energy, prominence=prominence)
    maxima, of_maxima = find_peaks(energy, prominence=prominence)
    frame = np.concatenate([minima, maxima])
    return Extrema(
        frame=frame,
        coordinate=coordinate[frame],
        prominence=np.concatenate([of_minima["prominences"], of_maxima["prominences"]]),
        is_minimum=np.concatenate([np.ones(len(minima), bool), np.zeros(len(maxima), bool)]),
    )


@dataclass(frozen=True)
class Minimum:
    """The equilibrium of a bond, interpolated between the frames.

    Attributes:
        frame: Index of the lowest frame.
        coordinate: Å.
        force_constant: Second derivative of the energy there, eV/Å².
    """

    frame: int
    coordinate: float
    force_constant: float


def nearest_minimum(
    coordinate: Array, energy: Array, q: int, within: float, prominence: float = PROMINENCE_EV
) -> Minimum | None:
    """The minimum of a curve that belongs to the reference's.

    Of its interior minima the lowest within some distance of frame q; where there is none, the
    nearest. Between the frames the energy is the polynomial of fourth degree through the lowest
    frame and the two on either side of it (finite differences of fourth order).

    Args:
        coordinate: Å, shape (F,), ascending.
        energy: eV, shape (F,).
        q: Index of the reference minimum.
        within: Å.
        prominence: eV; minima of less are passed over.

    Returns:
        None where the curve has no interior minimum, fewer than five frames, or no finite height.
    """
    found = extrema(coordinate, energy, prominence)
    frames = found.frame[found.is_minimum]
    if not frames.size or len(coordinate) < 5:
        return None
    distance = np.abs(coordinate[frames] - coordinate[q])
    near = frames[distance <= within]
    frame = int(near[np.argmin(energy[near])] if near.size else frames[np.argmin(distance)])
    first = min(max(frame - 2, 0), len(coordinate) - 5)
    own = slice(first, first + 5)
    height = energy[own] - energy[frame]
    if not np.abs(height).max() < MOST_EV:
        return None
    curve = Polynomial.fit(coordinate[own], height, 4)
    curvature = curve.deriv(2)
    roots = curve.deriv().roots()
    real = roots.real[np.abs(roots.imag) < 1e-9]
    inside = real[(real >= coordinate[frame - 1]) & (real <= coordinate[frame + 1])]
    inside = inside[curvature(inside) > 0]
    # where noise leaves the polynomial without a minimum of its own, the lowest frame is taken
    place = (
        inside[np.argmin(np.abs(inside - coordinate[frame]))] if inside.size else coordinate[frame]
    )
    return Minimum(frame, float(place), float(curvature(place)))
