"""Two molecules: far apart, and one that comes nearer. Is the energy extensive and continuous?

Far apart they must not feel each other (energies add up, forces stay). On the way in, energy and
forces may change as fast as they like, but not all at once.

Units: Å, eV, eV/Å.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.commands.check.conformance import Evaluate, concatenate, failure_of, frames
from pesbench.core.interface import Batch, Result, Topology, molecules_batch
from pesbench.core.scans import Scan

Array = NDArray[np.float64]

FAR_ROWS = ("extensivity", "locality")
FAR_ANGSTROM = 100.0
# two dipoles of 1 eÅ (4.8 D) change the energy by 3e-5 eV at 100 Å
PHYSICAL_EV = 1e-4
# to which a self-consistent method is converged where its author did not ask for more
CONVERGED_EV, CONVERGED_EV_PER_ANGSTROM = 1e-5, 1e-4
DIRECTION = np.array([0.36, 0.48, 0.8])  # of length 1, along no axis
FROM_ANGSTROM, TO_ANGSTROM, STEP_ANGSTROM = 15.0, 3.0, 0.05
NEIGHBOURS = 5  # steps on either side that a change is compared with


def pair_of(scans: Sequence[Scan]) -> tuple[Scan, Scan]:
    """The two smallest different molecules; the same one twice where there is no other."""
    ordered = sorted(scans, key=lambda scan: (scan.n_atoms, scan.id))
    first = ordered[0]
    return first, next((scan for scan in ordered if scan.system != first.system), first)


def joined(first: Batch, second: Batch, positions: Array) -> Batch:
    """Two systems as one.

    Args:
        first: A batch of one system with N atoms.
        second: A batch of one system with M atoms.
        positions: Of the atoms of both, shape (N + M, 3).
    """
    n = first.n_atoms
    topologies = []
    if first.topologies and second.topologies:
        one, other = first.topologies[0], second.topologies[0]

        def later(found: re.Match[str]) -> str:
            return f":{int(found[1]) + n}]"

        moved = re.sub(r":([0-9]+)\]", later, other.smiles)
        smiles = f"{one.smiles}.{moved}" if one.smiles and moved else ""
        topologies = [Topology(np.concatenate([one.bonds, other.bonds + n]), smiles)]
    return molecules_batch(
        [positions],
        [np.concatenate([first.numbers, second.numbers])],
        [int(first.charge[0] + second.charge[0])],
        [int(first.spin[0] + second.spin[0]) - 1],
        [(f"{first.labels[0][0]} and {second.labels[0][0]}", 0)],
        topologies,
    )


@dataclass(frozen=True)
class Apart:
    """What two molecules do to each other at `FAR_ANGSTROM`.

    Attributes:
        energy: |E(AB) − E(A) − E(B)|, eV; None from a model without energies.
        forces: Largest change of a component of a force by the other molecule, eV/Å.
        failed: What the model said where it did not answer, or "".
        batch: Both as one system.
        result: The model's answer on it.
    """

    energy: float | None
    forces: float
    failed: str
    batch: Batch
    result: Result


def far_apart(evaluate: Evaluate, first: Scan, second: Scan) -> Apart:
    """Two molecules at rest, 100 Å apart, against each alone."""
    alone = [frames([scan], at=(1.0,)) for scan in (first, second)]
    a, b = (one.positions for one in alone)
    both = joined(*alone, np.concatenate([a, b + FAR_ANGSTROM * DIRECTION]))
    parts = [evaluate(one) for one in alone]
    result = evaluate(both)
    failed = next((said for one in (*parts, result) if (said := failure_of(one))), "")
    if failed:
        return Apart(None, np.nan, failed, both, result)
    change = result.forces - np.concatenate([one.forces for one in parts])
    energies = [one.energies for one in (result, *parts)]
    energy = None
    if all(one is not None for one in energies):
        whole, *rest = [float(one[0]) for one in energies if one is not None]
        energy = abs(whole - sum(rest))
    return Apart(energy, float(np.abs(change).max()), "", both, result)


@dataclass(frozen=True)
class Jump:
    """The most abrupt change on a path.

    Attributes:
        ratio: Change of a step over what is usual nearby; see `most_abrupt`.
        change: The change of that step, in the unit of the values.
        step: Number of the step.
    """

    ratio: float
    change: float
    step: int


def most_abrupt(change: Array, floor: float) -> Jump:
    """The step whose change is largest for its surroundings.

    The change of a step is compared with the median change of the `NEIGHBOURS` steps before it and
    with that of those after it, and with the smaller of the two steps beside it, whichever is
    largest, plus a floor for rounding. A kink, where a force begins to change, is as large as what
    follows it and does not count, nor does a slope that a smooth feature has over some steps; a
    jump is within one step and larger than all of these.

    Args:
        change: Size of the change of each step, shape (K,), at least two.
        floor: Change that rounding makes, in the unit of the changes.
    """
    ratios = np.empty(len(change))
    for k, own in enumerate(change):
        sides = (change[max(k - NEIGHBOURS, 0) : k], change[k + 1 : k + 1 + NEIGHBOURS])
        usual = max(float(np.median(side)) for side in sides if len(side))
        beside = min(float(one) for one in (*sides[0][-1:], *sides[1][:1]))
        ratios[k] = own / (max(usual, beside) + floor)
    step = int(np.argmax(ratios))
    return Jump(float(ratios[step]), float(change[step]), step)


@dataclass(frozen=True)
class Crossing:
    """A molecule that comes nearer.

    Attributes:
        distance: Smallest distance of an atom of one molecule from one of the other at each
            geometry, Å, shape (K,), falling.
        batch: The geometries, K systems.
        result: The model's answer.
        failed: What the model said where it did not answer, or "".
    """

    distance: Array
    batch: Batch
    result: Result
    failed: str

    def energy(self, floor: float) -> Jump | None:
        """The most abrupt change of the energy in eV; None from a model without energies."""
        if self.result.energies is None:
            return None
        return most_abrupt(np.abs(np.diff(self.result.energies)), floor)

    def forces(self, floor: float) -> Jump:
        """The most abrupt change of the forces, by their component that changes most, eV/Å."""
        forces = self.result.forces.reshape(self.batch.n_systems, -1)
        return most_abrupt(np.abs(np.diff(forces, axis=0)).max(axis=1), floor)


def crossing(evaluate: Evaluate, first: Scan, second: Scan) -> Crossing:
    """Move the first molecule towards the second, from 15 to 3 Å in steps of 0.05 Å.

    Whatever cutoff the model has, atoms of one cross it at many distances from those of the other.
    """
    alone = [frames([scan], at=(1.0,)) for scan in (second, first)]
    a, b = (one.positions - one.positions.mean(axis=0) for one in alone)
    count = round((FROM_ANGSTROM - TO_ANGSTROM) / STEP_ANGSTROM) + 1
    distance = FROM_ANGSTROM - STEP_ANGSTROM * np.arange(count)
    geometries = []
    for d in distance:
        shift = _shift(a, b, float(d))
        geometries.append(joined(*alone, np.concatenate([a, b + shift * DIRECTION])))
    batch = concatenate(geometries)
    result = evaluate(batch)
    return Crossing(distance, batch, result, failure_of(result))


def _shift(a: Array, b: Array, distance: float) -> float:
    """How far b is moved along `DIRECTION` so that its nearest atom is at a distance from a."""

    def nearest(shift: float) -> float:
        apart = a[:, None] - (b + shift * DIRECTION)[None]
        return float(np.linalg.norm(apart, axis=-1).min())

    return _root(lambda shift: nearest(shift) - distance, 0.0, distance + 50.0)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that is positive at the high end last changes its sign, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return high
