"""The pairs that are approached, with all frames of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from pesbench.core.bond_graph import bond_type
from pesbench.core.coordinates import approach as frames
from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.tasks.approach.settings import ApproachSettings

BOND, CONTACT, INNER, DIATOMIC = "bond", "contact", "inner", "diatomic"  # kinds of pairs
KINDS = (BOND, CONTACT, INNER, DIATOMIC)
NUMBERS, FIGURE, ARENA = "numbers", "figure", "arena"  # grids of a pair; that of `INNER` is one

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Approach:
    """A pair of atoms with the frames of its approach.

    Attributes:
        kind: One of `KINDS`.
        scan: The frames, of all grids one after another, without a reference. Its id is
            `<kind>/<molecule>_<i>-<j>`, or `diatomic/<element>-<element>`.
        moving: Share of each of the two atoms in the motion.
        distance: Distance of the pair in the geometry, Å.
        grids: Frames of each grid, by name.
    """

    kind: str
    scan: Scan
    moving: frames.Shares
    distance: float
    grids: Mapping[str, slice]

    @property
    def id(self) -> str:
        """Name of the pair."""
        return self.scan.id


def bonded(system: System, *, figure: bool = True) -> Iterator[Approach]:
    """The bonds of a molecule, on the grid of the numbers and, unless not wanted, the published."""
    for i, j in system.bonds.tolist():
        distance = _distance(system, (i, j))
        start = frames.start_distance(system.numbers, (i, j), distance)
        grids = {NUMBERS: frames.number_distances(start)}
        if figure:
            grids[FIGURE] = frames.figure_distances(start)
        yield _approach(BOND, system, (i, j), frames.shares(system.numbers, (i, j)), grids)


def contacts(system: System, count: int) -> Iterator[Approach]:
    """The closest pairs without a bond, from their distance on."""
    for pair in frames.closest_contacts(system.positions, system.bonds, count):
        grids = {NUMBERS: frames.number_distances(_distance(system, pair))}
        yield _approach(CONTACT, system, pair, frames.shares(system.numbers, pair), grids)


def inner(system: System) -> Iterator[Approach]:
    """Each atom, which moves alone towards its nearest neighbour, from 0.30 to 0.03 Å."""
    for atom in range(len(system.numbers)):
        other = frames.nearest_neighbour(system.positions, atom)
        grids = {INNER: frames.inner_distances()}
        yield _approach(INNER, system, (atom, other), (1.0, 0.0), grids)


def diatomics(item: str) -> Iterator[Approach]:
    """All pairs of elements in isolation, from 4 to 0.1 Å, at the lowest spin of their parity.

    Two atoms of one element also have the grid of MLIP Arena.

    Args:
        item: Molecule of the scan set that they are counted with.
    """
    for z, other in frames.element_pairs():
        first, second = sorted((chemical_symbols[z], chemical_symbols[other]))
        system = System(
            id=item,
            numbers=np.array([z, other]),
            positions=np.array([[0.0, 0.0, 0.0], [frames.FARTHEST_ANGSTROM, 0.0, 0.0]]),
            bonds=np.array([[0, 1]]),
            spin=frames.lowest_spin((z, other)),
        )
        grids = {NUMBERS: frames.number_distances(frames.FARTHEST_ANGSTROM)}
        if z == other:
            grids[ARENA] = frames.arena_distances(z)
        yield _approach(DIATOMIC, system, (0, 1), (0.5, 0.5), grids, f"{first}-{second}")


def approaches(systems: Sequence[System], settings: ApproachSettings) -> list[Approach]:
    """All pairs that a job asks about.

    Args:
        systems: Molecules, sorted by id; diatomics are counted with the first.
        settings: Settings of the task.
    """
    found: list[Approach] = []
    for system in systems:
        found += [*bonded(system), *contacts(system, settings.contacts)]
        found += inner(system) if settings.in_molecule and len(system.numbers) > 1 else ()
    return found + list(diatomics(systems[0].id) if systems and settings.diatomics else ())


def item_of(pair_id: str, systems: Iterable[str]) -> str:
    """The molecule that a pair is counted with, from the name of the pair.

    Args:
        pair_id: Name of the pair.
        systems: Molecules of the job, sorted.
    """
    kind, _, name = pair_id.partition("/")
    return next(iter(systems)) if kind == DIATOMIC else name.rpartition("_")[0]


def _distance(system: System, pair: frames.Pair) -> float:
    i, j = pair
    return float(np.linalg.norm(system.positions[j] - system.positions[i]))


def _approach(
    kind: str,
    system: System,
    pair: frames.Pair,
    moving: frames.Shares,
    grids: Mapping[str, Array],
    name: str = "",
) -> Approach:
    coordinate = np.concatenate(list(grids.values()))
    ends = np.cumsum([len(one) for one in grids.values()]).tolist()
    places = {
        grid: slice(end - len(grids[grid]), end) for grid, end in zip(grids, ends, strict=True)
    }
    positions = frames.approach_frames(system.positions, pair, coordinate, moving)
    i, j = pair
    scan = Scan(
        id=f"{kind}/{name or f'{system.id}_{i}-{j}'}",
        system=system.id,
        bond=bond_type(int(system.numbers[i]), int(system.numbers[j])),
        atoms=pair,
        coordinate=coordinate,
        positions=positions,
        numbers=system.numbers,
        fragment=np.zeros(len(system.numbers), dtype=np.int64),
        bonds=system.bonds,
        positions_unperturbed=system.positions,
        energy=np.full(len(coordinate), np.nan),
        forces=np.full(positions.shape, np.nan),
        charge=system.charge,
        spin=system.spin,
        smiles=system.smiles,
        kind="approach",
    )
    return Approach(kind, scan, moving, _distance(system, pair), places)
