"""Metrics of an approach: holes, barriers, minima, walls. Pure functions.

Arrays are in the order of the approach, from the largest distance to the smallest. The pair
attracts where the energy falls in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.units import kB
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[np.float64]

TOLERANCE_EV = 1e-3
TOLERANCE_OF_RANGE = 1e-6
NEAR_EQUILIBRIUM_ANGSTROM = 0.2  # where a model's own minimum is sought
BELOW_MINIMUM_ANGSTROM = 0.05  # that much below it the wall is judged
SAME_MINIMUM_ANGSTROM = 0.1  # a minimum of the reference so near excuses one of the model
CONSISTENT = 0.05  # largest gap between energy and forces that passes
WALLS_ANGSTROM = (0.5, 0.3)
COULOMB_EV_ANGSTROM = 14.3996  # e²/(4πε₀)
_SCREENING = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
_LENGTH_ANGSTROM = 0.4685
_LARGE = 1e100  # beyond it differences of energies are taken as they are


@dataclass(frozen=True)
class Descent:
    """A part of an approach on which the energy falls, or, of a curve of forces, attracts.

    Attributes:
        top: Frame from which it falls.
        bottom: Frame of the lowest energy after it; the last one of the curve where it does not
            rise again.
        top_angstrom: Distance of the top, from a parabola through it and its neighbours.
        bottom_angstrom: Distance of the bottom, likewise.
        drop_ev: Energy of the top above that of the bottom.
        rise_ev: Highest energy at smaller distances, above that of the bottom.
    """

    top: int
    bottom: int
    top_angstrom: float
    bottom_angstrom: float
    drop_ev: float
    rise_ev: float


@dataclass(frozen=True)
class Wall:
    """What a curve does below its minimum; of a pair that is judged by a reference, anywhere.

    Attributes:
        monotone: Whether the pair attracts nowhere, or nowhere where the reference repels.
        hole_radius_angstrom: Largest distance from which it does; 0 if it does not.
        barrier_ev: Energy there above the base, at least 0; NaN without a hole.
        n_spurious_minima: Minima that the reference does not have.
        spurious_depth_ev: Depth of the deepest of them: the lower one of the barriers on its two
            sides; 0 without one.
        below_minimum_ev: How far the lowest energy lies below the base, else 0; NaN of a pair that
            is judged by a reference, which has wells of its own.
        energy_end_ev: Energy of the last frame above the base.
    """

    monotone: bool
    hole_radius_angstrom: float
    barrier_ev: float
    n_spurious_minima: int
    spurious_depth_ev: float
    below_minimum_ev: float
    energy_end_ev: float


# --- parts of a curve ----------------------------------------------------------------------------


def tolerance(energy: Array) -> Array:
    """How far an energy may fall: the larger of 1 meV and 1e-6 of the range so far, shape (F,).

    The range is that of the frames up to each one, so that an energy of 1e30 eV at the last frame
    hides no hole before it.

    Args:
        energy: eV, shape (F,), finite.
    """
    with np.errstate(over="ignore"):
        span = np.maximum.accumulate(energy) - np.minimum.accumulate(energy)
    return np.maximum(TOLERANCE_EV, TOLERANCE_OF_RANGE * span)


def descents(distance: Array, energy: Array) -> list[Descent]:
    """The parts of an approach on which the energy falls by more than the tolerance.

    Args:
        distance: Å, shape (F,), decreasing.
        energy: eV, shape (F,), finite.
    """
    allowed = tolerance(energy)
    found, top, k = [], 0, 1
    while k < len(energy):
        if energy[k] >= energy[top]:
            top = k
        elif energy[top] - energy[k] > allowed[k]:
            bottom = k
            while k < len(energy) and energy[k] - energy[bottom] <= allowed[k]:
                bottom = k if energy[k] < energy[bottom] else bottom
                k += 1
            found.append(_descent(distance, energy, top, bottom))
            top = k = min(k, len(energy) - 1)
        k += 1
    return found


def _descent(distance: Array, energy: Array, top: int, bottom: int) -> Descent:
    return Descent(
        top=top,
        bottom=bottom,
        top_angstrom=_extremum(distance, energy, top),
        bottom_angstrom=_extremum(distance, energy, bottom),
        drop_ev=float(energy[top] - energy[bottom]),
        rise_ev=float(energy[bottom:].max() - energy[bottom]),
    )


def _extremum(distance: Array, energy: Array, frame: int) -> float:
    """Distance of the extremum of a parabola through a frame and its neighbours."""
    here = float(distance[frame])
    if not 0 < frame < len(distance) - 1:
        return here
    d, e = distance[frame - 1 : frame + 2], energy[frame - 1 : frame + 2]
    before, after = (e[1] - e[0]) / (d[1] - d[0]), (e[2] - e[1]) / (d[2] - d[1])
    curvature = (after - before) / (d[2] - d[0])
    if not np.isfinite(curvature) or curvature == 0:
        return here
    place = 0.5 * (d[0] + d[1]) - before / (2 * curvature)
    return float(np.clip(place, d[2], d[0]))


def unexcused(own: Sequence[Descent], reference: Sequence[Descent]) -> list[Descent]:
    """The descents that end where no descent of the reference does, within 0.1 Å."""
    ends = [one.bottom_angstrom for one in reference]
    return [
        one
        for one in own
        if not any(abs(one.bottom_angstrom - end) <= SAME_MINIMUM_ANGSTROM for end in ends)
    ]


def minimum_frame(distance: Array, energy: Array, equilibrium: float) -> int:
    """The frame of the model's own minimum: lowest energy within 0.2 Å of equilibrium.

    Args:
        distance: Å, shape (F,).
        energy: eV, shape (F,), finite.
        equilibrium: Distance of the pair in the geometry, Å.
    """
    near = np.flatnonzero(np.abs(distance - equilibrium) <= NEAR_EQUILIBRIUM_ANGSTROM)
    if not near.size:
        near = np.array([np.argmin(np.abs(distance - equilibrium))])
    return int(near[np.argmin(energy[near])])


def judged_frames(distance: Array, minimum: float) -> NDArray[np.intp]:
    """The frames that lie at least 0.05 Å below the minimum, which is at a distance in Å."""
    return np.flatnonzero(distance <= minimum - BELOW_MINIMUM_ANGSTROM)


def wall(distance: Array, energy: Array, base: float, reference: Array | None = None) -> Wall:
    """What a curve does on the frames that are judged.

    Args:
        distance: Å, shape (F,), decreasing, of at least one frame.
        energy: eV, shape (F,), finite.
        base: Energy that barriers are counted from, that of the minimum or of the first frame, eV.
        reference: Energy of the reference on the same frames, eV, finite, for a pair that may have
            minima; None for a bonded pair, which may have none below its own.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        falls = descents(distance, energy)
        if reference is None:
            starts = [(one.top, one.top_angstrom) for one in falls]
            below = base - float(energy.min())
            below = below if below > TOLERANCE_EV else 0.0
        else:
            falls = unexcused(falls, descents(distance, reference))
            rises = descents(distance, -reference)
            starts = [
                (start, float(distance[start]))
                for one in falls
                if (start := _repelled(energy, reference, one, rises)) is not None
            ]
            below = float("nan")
        minima = [one for one in falls if one.rise_ev > TOLERANCE_EV]
        return Wall(
            monotone=not starts,
            hole_radius_angstrom=starts[0][1] if starts else 0.0,
            barrier_ev=max(0.0, float(energy[starts[0][0]] - base)) if starts else float("nan"),
            n_spurious_minima=len(minima),
            spurious_depth_ev=max((min(one.drop_ev, one.rise_ev) for one in minima), default=0.0),
            below_minimum_ev=below,
            energy_end_ev=float(energy[-1] - base),
        )


def _repelled(
    energy: Array, reference: Array, fall: Descent, rises: Sequence[Descent]
) -> int | None:
    """The first frame of a descent from which the reference repels; None for none.

    Over the part of the descent on which the reference rises (`rises` are the descents of its
    negative), both its rise and the fall of the energy have to be above their tolerance, so that
    noise of the reference is no repulsion.
    """
    allowed, allowed_reference = tolerance(energy), tolerance(reference)
    for rise in rises:
        start, end = max(fall.top, rise.top), min(fall.bottom, rise.bottom)
        if end <= start:
            continue
        falls = energy[start] - energy[end] > allowed[end]
        if falls and reference[end] - reference[start] > allowed_reference[end]:
            return start
    return None


# --- forces --------------------------------------------------------------------------------------


def along_the_pair(forces: Array, positions: Array, pair: tuple[int, int],
                   moving: tuple[float, float]) -> Array:  # fmt: skip
    """The force along the motion, −dE/dd, shape (F,); above 0 it pushes the atoms apart.

    With both atoms moving by half it is the pair force ½(F_j − F_i)·r̂.

    Args:
        forces: eV/Å, shape (F, N, 3).
        positions: Å, shape (F, N, 3).
        pair: The atoms (i, j).
        moving: Share of each in the motion.
    """
    i, j = pair
    vector = positions[:, j] - positions[:, i]
    unit = vector / np.linalg.norm(vector, axis=1, keepdims=True)
    return np.einsum("fx,fx->f", moving[1] * forces[:, j] - moving[0] * forces[:, i], unit)


def integrated(distance: Array, force: Array) -> Array:
    """The energy of a force along the pair, 0 at the first frame, eV, shape (F,).

    Force times distance is integrated over the logarithm of the distance, piece by piece (PCHIP),
    so that a huge value changes nothing before it.

    Args:
        distance: Å, shape (F,), decreasing.
        force: eV/Å, shape (F,), finite.
    """
    if len(distance) < 2:
        return np.zeros(len(distance))
    place = -np.log(distance)  # which increases
    with np.errstate(over="ignore", invalid="ignore"):
        curve = PchipInterpolator(place, force * distance).antiderivative()
        return curve(place)


def consistency_gap(distance: Array, energy: Array, force: Array) -> float:
    """How far the work of the forces is from the change of the energy, in the median of the steps.

    A median, since single steps across a narrow feature say more of the grid than of the model.

    Args:
        distance: Å, shape (F,), decreasing.
        energy: eV, shape (F,), finite.
        force: Along the pair, eV/Å, shape (F,), finite.

    Returns:
        Relative to the larger of 1 meV and the change of the energy; NaN with fewer than three
        frames or beyond 1e100 eV.
    """
    if len(distance) < 3 or max(np.abs(energy).max(), np.abs(force).max()) > _LARGE:
        return float("nan")
    change = np.diff(energy)
    gap = np.abs(change - np.diff(integrated(distance, force)))
    return float(np.median(gap / np.maximum(TOLERANCE_EV, np.abs(change))))


# --- strength of the wall ------------------------------------------------------------------------


def zbl(distance: Array | float, first: int, second: int) -> Array:
    """Universal repulsion of screened nuclei (Ziegler, Biersack, Littmark 1985), eV.

    With e²/(4πε₀) = 14.3996 eV·Å and no cutoff. Near bond lengths it is far too repulsive (median
    over pairs 1.1 eV, where fits to density functional theory have 0.3 eV).

    Args:
        distance: Å, any shape.
        first: Atomic number.
        second: Atomic number of the other atom.
    """
    d = np.asarray(distance, dtype=np.float64)
    length = _LENGTH_ANGSTROM / (first**0.23 + second**0.23)
    screening = sum(a * np.exp(-b * d / length) for a, b in _SCREENING)
    return np.asarray(COULOMB_EV_ANGSTROM * first * second / d * screening)


def energy_at(distance: Array, energy: Array, place: float) -> float:
    """An energy between two frames, linear in the logarithm of the distance.

    Args:
        distance: Å, shape (F,), decreasing.
        energy: eV, shape (F,); NaN where there is none.
        place: Å.

    Returns:
        NaN where one of the two frames has no energy, or outside of the curve.
    """
    after = int(np.searchsorted(-distance, -place))
    if not 0 < after < len(distance):
        return (
            float(energy[after]) if after < len(distance) and distance[after] == place else np.nan
        )
    inner, outer = np.log(distance[after]), np.log(distance[after - 1])
    weight = (outer - np.log(place)) / (outer - inner)
    return float((1 - weight) * energy[after - 1] + weight * energy[after])


def wall_ratio(height: float, other: float) -> float:
    """A height of the wall over another one; NaN where that is not above 0."""
    return height / other if other > 0 and np.isfinite(height) else float("nan")


def temperature_scale(barrier_ev: float) -> float:
    """Barrier over Boltzmann's constant, K.

    The temperature at which a classical harmonic mode holds so much energy in the mean; at a tenth
    of it the Boltzmann factor is e⁻¹⁰.
    """
    return barrier_ev / kB
