"""Smoothness of a scan: the Force Smoothness Deviation (FSD) and what stands beside it.

The FSD and the mean absolute errors follow the official code of the Bond Smoothness
Characterization Test (arXiv:2602.04861, repository ryanliu30/bsct, commit 79d915b0) to the last
convention: both deviations subtract the *reference* force at the reference minimum, squared norms
are not divided by the number of atoms, and both are clipped from below at ε² before the logarithm.

Shapes: F frames, N atoms. Units: Å, eV, eV/Å. Frames without a reference are removed by the
caller before any of these functions (a finite difference then spans the gap, as in the official
code). Everything here is a pure function of arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.metrics.curves import PROMINENCE_EV, Extrema, extrema, step_work

Array = NDArray[np.float64]

EPSILON_EV_PER_ANGSTROM = 1.0
WINDOW_ANGSTROM = 0.25
MATCH_ANGSTROM = 0.25
MATCH_PROMINENCE_RATIO = 4.0
PUBLISHED_STEPS_ANGSTROM = (0.0207, 0.0278)  # of BSCT-SPICE: N-O to C-P


def equilibrium_index(reference_energy: Array) -> int:
    """Index q of the lowest reference energy on the grid.

    Args:
        reference_energy: eV, shape (F,).

    Raises:
        ValueError: a value is not finite, or the minimum is the first or last frame, so that there
            is no compressed or no stretched side (the official code fails there, too).
    """
    if not np.isfinite(reference_energy).all():
        raise ValueError("reference energies must be finite; remove the frames without one first")
    q = int(np.argmin(reference_energy))
    if q in (0, len(reference_energy) - 1):
        raise ValueError("the reference energy has its minimum at an end of the scan")
    return q


def log_force_ratio(
    forces: Array, reference_forces: Array, q: int, epsilon: float = EPSILON_EV_PER_ANGSTROM
) -> Array:
    """ln of the squared norm of the model's ΔF over that of the reference's, frame by frame.

    ℓ_f = ln max(Σ(F̂_f − F_q)², ε²) − ln max(Σ(F_f − F_q)², ε²), sums over atoms and xyz.

    Args:
        forces: Forces of the model, shape (F, N, 3).
        reference_forces: Shape (F, N, 3); its frame q is subtracted from both.
        q: Index of the reference minimum.
        epsilon: Floor of the norms in eV/Å; 1 in the official code, and frozen here.

    Returns:
        Dimensionless, shape (F,).
    """
    at_minimum = reference_forces[q]
    model = np.sum((forces - at_minimum) ** 2, axis=(1, 2))
    reference = np.sum((reference_forces - at_minimum) ** 2, axis=(1, 2))
    floor = epsilon**2
    return np.log(np.maximum(model, floor)) - np.log(np.maximum(reference, floor))


def slopes(coordinate: Array, values: Array) -> Array:
    """Absolute forward differences |Δvalue / Δcoordinate|, shape (F − 1,)."""
    return np.abs(np.diff(values) / np.diff(coordinate))


@dataclass(frozen=True)
class ForceSmoothnessDeviation:
    """FSD of one scan in Å⁻¹, in its variants.

    Attributes:
        full: Largest slope of ℓ over the scan. The published score.
        compress: Largest slope between the first frame and the reference minimum.
        stretch: Largest slope between the reference minimum and the last frame.
        windowed: Largest slope whose two ends both lie beyond 0.25 Å from the reference minimum,
            where a small error of the bond length no longer dominates.
        windowed_coordinate: Middle of the interval of that slope in Å; NaN where there is none.
        below_ceiling: Largest slope of those of `windowed` whose two ends both lie where the
            reference energy is at most the ceiling; NaN where there is none.
        below_ceiling_coordinate: Middle of the interval of that slope in Å.
        slope_p95: 95th percentile of the slopes.
        peak_index: The largest slope lies between frames `peak_index` and `peak_index + 1`.
        peak_coordinate: Middle of that interval in Å.
        peak_offset: `peak_coordinate` minus the coordinate of the reference minimum, in Å.
    """

    full: float
    compress: float
    stretch: float
    windowed: float
    windowed_coordinate: float
    below_ceiling: float
    below_ceiling_coordinate: float
    slope_p95: float
    peak_index: int
    peak_coordinate: float
    peak_offset: float


def force_smoothness_deviation(
    coordinate: Array,
    forces: Array,
    reference_forces: Array,
    q: int,
    epsilon: float = EPSILON_EV_PER_ANGSTROM,
    below: NDArray[np.bool_] | None = None,
) -> ForceSmoothnessDeviation:
    """FSD = max |dℓ/dα| with ℓ of `log_force_ratio`, over the whole scan and parts of it.

    Source: arXiv:2602.04861 and `_eval.py` of the official code for full, compress and stretch;
    windowed, below the ceiling and percentile are ours (tasks/bonds/README.md).

    Args:
        coordinate: Bond lengths in Å, shape (F,), ascending.
        forces: Forces of the model, shape (F, N, 3).
        reference_forces: Shape (F, N, 3).
        q: Index of the reference minimum, not an end.
        epsilon: Floor of the force change, as in `log_force_ratio`.
        below: Frames at which the reference energy is at most the ceiling (`below_ceiling`),
            shape (F,); None for all.

    Raises:
        ValueError: q is an end of the scan.
    """
    if not 0 < q < len(coordinate) - 1:
        raise ValueError("the reference minimum is at an end of the scan")
    slope = slopes(coordinate, log_force_ratio(forces, reference_forces, q, epsilon))
    peak = int(np.argmax(slope))
    middle = float(coordinate[peak] + coordinate[peak + 1]) / 2
    outside = np.abs(coordinate - coordinate[q]) > WINDOW_ANGSTROM
    windowed, windowed_at = _largest(coordinate, slope, outside)
    low, low_at = _largest(coordinate, slope, outside if below is None else outside & below)
    return ForceSmoothnessDeviation(
        full=float(slope[peak]),
        compress=float(slope[:q].max()),
        stretch=float(slope[q:].max()),
        windowed=windowed,
        windowed_coordinate=windowed_at,
        below_ceiling=low,
        below_ceiling_coordinate=low_at,
        slope_p95=float(np.percentile(slope, 95)),
        peak_index=peak,
        peak_coordinate=middle,
        peak_offset=middle - float(coordinate[q]),
    )


def _largest(coordinate: Array, slope: Array, frames: NDArray[np.bool_]) -> tuple[float, float]:
    """The largest slope between two frames of a selection, and the middle of its interval."""
    steps = np.flatnonzero(frames[:-1] & frames[1:])
    if not steps.size:
        return float("nan"), float("nan")
    peak = steps[np.argmax(slope[steps])]
    return float(slope[peak]), float(coordinate[peak] + coordinate[peak + 1]) / 2


def below_ceiling(reference_energy: Array, q: int, ceiling_ev: float) -> NDArray[np.bool_]:
    """Frames at which the reference is at most `ceiling_ev` above its minimum, shape (F,)."""
    return reference_energy - reference_energy[q] <= ceiling_ev


def step_length(coordinate: Array) -> float:
    """The usual step of the grid in Å, a median: gaps of missing frames do not change it."""
    return float(np.median(np.diff(coordinate)))


def force_mae(forces: Array, reference_forces: Array) -> float:
    """Mean absolute error of force components in eV/Å, over frames, atoms and xyz."""
    return float(np.mean(np.abs(forces - reference_forces)))


def energy_mae(energy: Array, reference_energy: Array) -> float:
    """Mean absolute error of raw total energies in eV, as the official code has it.

    Between levels of theory, or for models with another zero of energy, it is the offset and
    says nothing of quality; see `energy_mae_aligned`.
    """
    return float(np.mean(np.abs(energy - reference_energy)))


def energy_mae_aligned(
    energy: Array, reference_energy: Array, q: int, frames: NDArray[np.bool_] | slice = slice(None)
) -> float:
    """Mean absolute error in eV, over some frames, after each side subtracts its energy at q."""
    error = (energy - energy[q]) - (reference_energy - reference_energy[q])
    return float(np.mean(np.abs(error[frames])))


def energy_force_inconsistency(positions: Array, forces: Array, energy: Array) -> float:
    """Largest |E_f₊₁ − E_f − W_f| of a scan in eV, W from `step_work`.

    The trapezoidal rule alone gives 4 to 11 meV a step on the steep wall of BSCT-SPICE's scans, and
    up to 60 meV over a gap of missing frames; subtract the reference's own value.
    """
    return float(np.max(np.abs(np.diff(energy) - step_work(positions, forces))))


def count_spurious_extrema(
    coordinate: Array,
    energy: Array,
    reference_energy: Array,
    prominence: float = PROMINENCE_EV,
) -> int:
    """Number of extrema of the model's curve that match none of the reference's.

    A model's extremum matches one of the reference's of the same kind if they lie within 0.25 Å
    and their prominences differ by less than a factor of 4; the pairing is one to one and uses as
    many pairs as possible, nearest first. On BSCT-SPICE every reference curve has one minimum and
    nothing else, so that any extra extremum is spurious by construction.

    Args:
        coordinate: Å, shape (F,).
        energy: Energy of the model in eV, shape (F,); total energy or `integrated_energy`.
        reference_energy: eV, shape (F,).
        prominence: eV; extrema of the model below it are not counted. Those of the reference
            count from a quarter of it, so that a true shallow well is not held against a model.
    """
    model = extrema(coordinate, energy, prominence)
    reference = extrema(coordinate, reference_energy, prominence / MATCH_PROMINENCE_RATIO)
    return len(model.coordinate) - len(match_extrema(model, reference)[0])


def count_missing_extrema(
    coordinate: Array,
    energy: Array,
    reference_energy: Array,
    prominence: float = PROMINENCE_EV,
) -> int:
    """Number of extrema of the reference's curve that match none of the model's.

    `count_spurious_extrema` with the two sides changed round: the reference's count from
    `prominence`, the model's from a quarter of it. Arguments as there.
    """
    return count_spurious_extrema(coordinate, reference_energy, energy, prominence)


def match_extrema(
    one: Extrema, other: Extrema, ratio: float = MATCH_PROMINENCE_RATIO
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of extrema of the same kind, within 0.25 Å and with prominences that differ less.

    One to one, as many pairs as possible, nearest first.

    Args:
        one: K extrema.
        other: L extrema.
        ratio: Largest ratio of the two prominences; infinity to leave them out of account.

    Returns:
        Indices into `one` and into `other`, both of shape (P,).
    """
    from scipy.optimize import linear_sum_assignment  # a second, which reports do not need

    distance = np.abs(one.coordinate[:, None] - other.coordinate[None, :])
    ratios = one.prominence[:, None] / other.prominence[None, :]
    allowed = (
        (distance <= MATCH_ANGSTROM)
        & (ratios <= ratio)
        & (ratios >= 1 / ratio)
        & (one.is_minimum[:, None] == other.is_minimum[None, :])
    )
    rows, columns = linear_sum_assignment(np.where(allowed, distance, 1e6))
    chosen = allowed[rows, columns]
    return rows[chosen], columns[chosen]


def is_compression_monotone(coordinate: Array, energy: Array, q: int) -> bool:
    """Whether the energy falls at every step of the compressed side: no hole in the wall.

    Steps that end within 0.25 Å of the reference minimum are left out: there a slightly longer
    bond is no hole. A flat energy does not fall.

    Args:
        coordinate: Å, shape (F,).
        energy: eV, shape (F,); total energy or `integrated_energy`.
        q: Index of the reference minimum.
    """
    on_wall = coordinate <= coordinate[q] - WINDOW_ANGSTROM
    return bool(np.all(np.diff(energy[on_wall]) < 0))
