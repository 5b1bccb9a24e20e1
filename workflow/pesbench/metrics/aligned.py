"""The FSD of two curves that are each taken about their own minimum.

The published FSD subtracts the reference's force at the reference's minimum from both sides. A
model whose bond is 0.01 Å too long is then as bad as one with a 1.3-fold jump of the force. Here
each side has its own minimum and its own force there, and the coordinate is shifted by the distance
of the two minima, so that only a difference of shape is left.

Only the reference is interpolated, which is smooth: frames of the model stay as they are, so that
a step of its force is not spread over two intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.metrics.curves import integrated_energy, nearest_minimum
from pesbench.metrics.smoothness import EPSILON_EV_PER_ANGSTROM, MATCH_ANGSTROM, slopes, step_length

Array = NDArray[np.float64]

NO_MINIMUM = f"no minimum of its own within {MATCH_ANGSTROM:g} Å of the reference's"
NO_REFERENCE_MINIMUM = "the forces of the reference have no minimum where its energy has one"
TOO_FEW_FRAMES = "too few frames"
_ROUNDING_ANGSTROM = 1e-9
_WIDEST_STEP = 1.5  # in usual steps of the grid; a wider one is a gap of missing frames


@dataclass(frozen=True)
class AlignedDeviation:
    """The self-aligned FSD of one scan.

    Attributes:
        value: Å⁻¹; NaN where there is none.
        reason: Why there is none, or "".
    """

    value: float
    reason: str = ""


def self_aligned_deviation(
    coordinate: Array,
    positions: Array,
    forces: Array,
    reference_forces: Array,
    q: int,
    epsilon: float = EPSILON_EV_PER_ANGSTROM,
) -> AlignedDeviation:
    """max |dℓ/dα| of ℓ(α) = ln max(‖F̂(α) − F̂*‖², ε²) − ln max(‖F(α − d) − F*‖², ε²).

    α̂* and α* are the minima of the energies that are integrated from the forces of the model and
    of the reference (`curves.nearest_minimum`), F̂* and F* each side's own forces there, and
    d = α̂* − α*. F̂*, F* and F(α − d) are cubic interpolations through four frames. Frames whose
    α − d lies outside the scan or within a gap of missing frames are left out.

    A shift of the whole curve costs only the error of the interpolation, and so does a force that
    is constant along the scan and does no work on it. Source: ours (tasks/bonds/README.md).

    Args:
        coordinate: Bond lengths in Å, shape (F,), ascending.
        positions: Å, shape (F, N, 3).
        forces: Forces of the model, shape (F, N, 3).
        reference_forces: Shape (F, N, 3).
        q: Index of the reference minimum.
        epsilon: Floor of the force change in eV/Å, as in `smoothness.log_force_ratio`.

    Returns:
        NaN with the reason where a side has no minimum within 0.25 Å of frame q.
    """
    if len(coordinate) < 5:
        return AlignedDeviation(float("nan"), TOO_FEW_FRAMES)
    own, reference = (
        _minimum(coordinate, positions, side, q) for side in (forces, reference_forces)
    )
    if own is None or reference is None:
        return AlignedDeviation(float("nan"), NO_MINIMUM if own is None else NO_REFERENCE_MINIMUM)
    source = coordinate - (own - reference)
    used = _is_known(coordinate, source)
    if np.count_nonzero(used) < 2:
        return AlignedDeviation(float("nan"), TOO_FEW_FRAMES)
    floor = epsilon**2
    logarithms = [
        np.log(np.maximum(np.sum((side - at_minimum) ** 2, axis=(1, 2)), floor))
        for side, at_minimum in (
            (forces[used], _interpolated(coordinate, forces, np.array([own]))),
            (
                _interpolated(coordinate, reference_forces, source[used]),
                _interpolated(coordinate, reference_forces, np.array([reference])),
            ),
        )
    ]
    slope = slopes(coordinate[used], logarithms[0] - logarithms[1])
    return AlignedDeviation(float(slope.max()))


def _minimum(coordinate: Array, positions: Array, forces: Array, q: int) -> float | None:
    """Place of the minimum within 0.25 Å of frame q in Å; None where there is none."""
    energy = integrated_energy(positions, forces, q)
    found = nearest_minimum(coordinate, energy, q, MATCH_ANGSTROM)
    if found is None or abs(coordinate[found.frame] - coordinate[q]) > MATCH_ANGSTROM:
        return None
    return found.coordinate


def _is_known(coordinate: Array, places: Array) -> NDArray[np.bool_]:
    """Whether places lie on the scan and not within a gap of missing frames, shape (K,)."""
    right = np.clip(np.searchsorted(coordinate, places), 1, len(coordinate) - 1)
    low, high = coordinate[right - 1], coordinate[right]
    in_gap = (high - low > _WIDEST_STEP * step_length(coordinate)) & (
        np.minimum(np.abs(places - low), np.abs(high - places)) > _ROUNDING_ANGSTROM
    )
    inside = (places >= coordinate[0] - _ROUNDING_ANGSTROM) & (
        places <= coordinate[-1] + _ROUNDING_ANGSTROM
    )
    return inside & ~in_gap


def _interpolated(coordinate: Array, values: Array, places: Array) -> Array:
    """Values between the frames: the cubic through the two frames on either side of a place.

    Args:
        coordinate: Å, shape (F,), ascending, at least four frames.
        values: Shape (F, ...).
        places: Å, shape (K,); at a frame the result is the value of that frame to the last digit.

    Returns:
        Shape (K, ...).
    """
    first = np.clip(np.searchsorted(coordinate, places) - 2, 0, len(coordinate) - 4)
    frames = first[:, None] + np.arange(4)
    nodes = coordinate[frames]
    weights = np.ones(nodes.shape)
    for i in range(4):
        for j in range(4):
            if i != j:
                weights[:, i] *= (places - nodes[:, j]) / (nodes[:, i] - nodes[:, j])
    return np.einsum("kn,kn...->k...", weights, values[frames])
