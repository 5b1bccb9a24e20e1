"""Places where the curve of a model breaks: wrong extrema, and the repulsive wall.

Pure functions of arrays. F frames; units Å and eV. Frames without a reference are removed by the
caller. A curve is a total energy or `curves.integrated_energy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.metrics.curves import PROMINENCE_EV, Extrema, extrema
from pesbench.metrics.smoothness import (
    MATCH_PROMINENCE_RATIO,
    WINDOW_ANGSTROM,
    match_extrema,
)

Array = NDArray[np.float64]

FALSE, MISSING, OTHER_DEPTH = "false", "missing", "other depth"


@dataclass(frozen=True)
class ExtremumFault:
    """An extremum that one of two curves has and the other has not.

    Attributes:
        kind: `false` (the model's alone), `missing` (the reference's alone) or `other depth` (both
            have it, more than four times deeper on one side).
        is_minimum: Whether it is a well; else a barrier.
        frame: Index.
        coordinate: Å.
        depth: Prominence in eV; for `other depth` the difference of the two prominences.
    """

    kind: str
    is_minimum: bool
    frame: int
    coordinate: float
    depth: float

    @property
    def words(self) -> str:
        """Such as `false barrier`."""
        what = "well" if self.is_minimum else "barrier"
        return f"{what} of another depth" if self.kind == OTHER_DEPTH else f"{self.kind} {what}"


def extremum_faults(
    coordinate: Array,
    energy: Array,
    reference_energy: Array,
    q: int,
    prominence: float = PROMINENCE_EV,
) -> list[ExtremumFault]:
    """What `count_spurious_extrema` and `count_missing_extrema` count, with place and depth.

    A false and a missing extremum of the same kind within 0.25 Å of each other are one fault of
    the depth. They come last: a well is often too shallow only because a false barrier, which is
    told by itself, cuts it off.

    Args:
        coordinate: Å, shape (F,).
        energy: Energy of the model in eV, shape (F,).
        reference_energy: eV, shape (F,).
        q: Index of the reference minimum.
        prominence: eV; less is not counted.

    Returns:
        Deepest first; of equal depth, as a barrier and the well behind it have, the one nearer to
        the reference minimum first.
    """

    def alone(own: Array, other: Array) -> Extrema:
        found = extrema(coordinate, own, prominence)
        matched, _ = match_extrema(
            found, extrema(coordinate, other, prominence / MATCH_PROMINENCE_RATIO)
        )
        return found.select(np.setdiff1d(np.arange(len(found.frame)), matched))

    false, missing = alone(energy, reference_energy), alone(reference_energy, energy)
    same, counterpart = match_extrema(false, missing, math.inf)
    depths = missing.prominence.copy()
    depths[counterpart] = np.abs(depths[counterpart] - false.prominence[same])
    kinds = np.full(len(depths), MISSING, dtype=object)
    kinds[counterpart] = OTHER_DEPTH
    alone_in_model = np.setdiff1d(np.arange(len(false.frame)), same)
    faults = [
        ExtremumFault(str(kind), bool(well), int(frame), float(place), float(depth))
        for extremes, depth_of, kind_of in (
            (false.select(alone_in_model), false.prominence[alone_in_model],
             [FALSE] * len(alone_in_model)),
            (missing, depths, kinds),
        )
        for kind, well, frame, place, depth in zip(
            kind_of, extremes.is_minimum, extremes.frame, extremes.coordinate, depth_of,
            strict=True,
        )
    ]  # fmt: skip
    rest = coordinate[q]
    return sorted(
        faults,
        key=lambda f: (f.kind == OTHER_DEPTH, -round(f.depth, 6), abs(f.coordinate - rest)),
    )


def wall_gives_way(
    coordinate: Array,
    energy: Array,
    reference_energy: Array,
    q: int,
    rest: float | None = None,
) -> int | None:
    """The frame from which on a bond that is compressed further no longer resists.

    The wall begins 0.25 Å before the reference minimum, as in `is_compression_monotone`, or at the
    model's own minimum where that is shorter. It gives way at the first frame from there inwards
    from which the next step of compression does not raise the energy of the model, though it
    raises that of the reference. Of an integrated energy this means that the mean force along the
    bond over that step does not push the two fragments apart.

    Args:
        coordinate: Å, shape (F,), ascending.
        energy: Energy of the model in eV, shape (F,).
        reference_energy: eV, shape (F,).
        q: Index of the reference minimum.
        rest: Å; the model's own minimum, None where it has none.

    Returns:
        Index of the frame, None where the wall holds to the first frame.
    """
    begin = coordinate[q] - WINDOW_ANGSTROM
    if rest is not None:
        begin = min(begin, rest)
    wall = np.flatnonzero(coordinate <= begin)
    gives_way = (np.diff(energy[wall]) >= 0) & (np.diff(reference_energy[wall]) < 0)
    steps = np.flatnonzero(gives_way)
    return int(wall[steps[-1] + 1]) if steps.size else None
