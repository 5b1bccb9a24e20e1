"""How a trajectory ended: a pure function of its energies, its geometry and the cause of failure.

The causes are those of `pesbench.metrics.stability`, which say what was exceeded. The kinds say
what happened: which bond, and where the energy came from. A failure may have several kinds.

Units: Å, eV, K, ps. N atoms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from ase.units import kB
from numpy.typing import NDArray

from pesbench.compare.atlas.kinds import Kind, Place, place_of

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SHARE = 0.25  # of the kinetic energy that is to be explained, from which on a cause is told
NEAR = 2.0  # sums of covalent radii up to which two atoms may be the pair
FROZEN_SHARE = 0.1  # of the nominal temperature
FROZEN_PS = 0.2  # at the end of the run
_PAIR_OF = {"long_bond": "longest", "short_bond": "shortest", "close_pair": "closest"}


@dataclass(frozen=True, eq=False)
class End:
    """A trajectory that was run, as far as its end tells what happened.

    Attributes:
        numbers: Atomic numbers, shape (N,).
        bonds: Bond graph, shape (B, 2).
        failure: The cause, a value of `pesbench.metrics.stability.FailureCause`, or "".
        answered: Whether the model answered to the end; else it raised, crashed or gave NaN.
        start: First geometry, shape (N, 3).
        end: Geometry that failed, or the last, shape (N, 3); may hold NaN.
        time_ps: Time of every step, shape (T,).
        potential: eV, shape (T,).
        kinetic: eV, shape (T,).
        temperature: K, shape (T,).
        temperature_k: Nominal.
        degrees_of_freedom: f.
        graph_changed: Whether it survived as another molecule.
    """

    numbers: Index
    bonds: Index
    failure: str
    answered: bool
    start: Array
    end: Array
    time_ps: Array
    potential: Array
    kinetic: Array
    temperature: Array
    temperature_k: float
    degrees_of_freedom: int
    graph_changed: bool = False


@dataclass(frozen=True)
class Ended:
    """A kind of a trajectory's end, with its size and the atoms.

    Attributes:
        kind: What happened.
        place: The two atoms.
        size: Energy or temperature, NaN where there is none.
        unit: `eV`, `K` or "".
    """

    kind: Kind
    place: Place
    size: float = float("nan")
    unit: str = ""


def end_kinds(end: End) -> list[Ended]:
    """What happened to a trajectory; empty for one that survived as what it was.

    A failure by a distance has the kind of that distance. Energy is told as a second kind, or as
    the only one of a molecule that became too hot: `HEATED` where the total energy rose by at least
    `SHARE` of the kinetic energy to be explained, `FELL` where the potential energy fell below that
    of the start by as much. To be explained is the rise of the kinetic energy of a molecule that
    became too hot, and for the other failures the kinetic energy of the start.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what breaks may become infinite
        return _kinds(end)


def _kinds(end: End) -> list[Ended]:
    failed = end.failure not in ("", "none")
    if not end.answered or end.failure == "nonfinite":
        return [Ended(Kind.NO_ANSWER, _moved_most(end))]
    if not failed:
        return _of_survivor(end)
    found = []
    if end.failure in _PAIR_OF:
        place = _pair_of(end, _PAIR_OF[end.failure])
        if end.failure == "long_bond":
            light = place.first >= 0 and 1 in end.numbers[[place.first, place.second]]
            kind = Kind.HYDROGEN if light else Kind.LONG_BOND
        else:
            kind = Kind.WALL
        found.append(Ended(kind, place))
    place = found[0].place if found else _moved_most(end)
    total = end.potential + end.kinetic
    gained, fell = float(total[-1] - total[0]), float(end.potential[0] - end.potential[-1])
    begin = end.degrees_of_freedom * kB * end.temperature_k  # velocities are drawn for 2T
    hot = end.failure == "hot"
    wanted = max(float(end.kinetic[-1] - end.kinetic[0]), 0.0) if hot else begin
    if gained >= SHARE * wanted:
        found.append(Ended(Kind.HEATED, place, gained, "eV"))
    if fell >= SHARE * wanted and not any(one.kind is Kind.WALL for one in found):
        found.append(Ended(Kind.FELL, place, fell, "eV"))
    return found or [Ended(Kind.UNCLASSIFIED, place)]


def _of_survivor(end: End) -> list[Ended]:
    if end.graph_changed:
        return [Ended(Kind.OTHER_MOLECULE, _moved_most(end))]
    late = end.time_ps >= end.time_ps[-1] - FROZEN_PS
    mean = float(end.temperature[late].mean())
    if end.time_ps[-1] >= FROZEN_PS and mean < FROZEN_SHARE * end.temperature_k:
        return [Ended(Kind.FROZEN, Place(), mean, "K")]
    return []


def _reduced(numbers: Index, positions: Array, pairs: Index) -> Array:
    """Distances of pairs in sums of covalent radii, shape (P,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    return length / covalent_radii[numbers[pairs]].sum(axis=1)


def _pair_of(end: End, which: str) -> Place:
    """The pair that exceeded the limit."""
    pairs = end.bonds
    if which == "closest":
        every = np.argwhere(np.triu(np.ones((len(end.numbers),) * 2, dtype=bool), k=1))
        bonded = {tuple(sorted(bond)) for bond in end.bonds.tolist()}
        pairs = np.array([pair for pair in every.tolist() if tuple(pair) not in bonded])
    if not len(pairs):
        return Place()
    ratio = _reduced(end.numbers, end.end, pairs)
    if not np.isfinite(ratio).any():
        return Place()
    pair = pairs[np.nanargmax(ratio) if which == "longest" else np.nanargmin(ratio)]
    return place_of(end.numbers, end.end, (int(pair[0]), int(pair[1])), "geometry")


def _moved_most(end: End) -> Place:
    """The pair whose distance changed most, of those that are or were near: a guess."""
    n = len(end.numbers)
    if n < 2 or not np.isfinite(end.end).all():
        return Place()
    pairs = np.argwhere(np.triu(np.ones((n, n), dtype=bool), k=1))
    before, after = (_reduced(end.numbers, x, pairs) for x in (end.start, end.end))
    change = np.where(np.minimum(before, after) <= NEAR, np.abs(after - before), -1.0)
    pair = pairs[int(np.argmax(change))]
    return place_of(end.numbers, end.end, (int(pair[0]), int(pair[1])), "geometry")
