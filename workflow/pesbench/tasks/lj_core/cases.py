"""What a real model is asked: walls of isolated and of bonded pairs, and overlapped starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from pesbench.core.bond_graph import bond_type
from pesbench.core.coordinates import approach as frames
from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.tasks.approach.pairs import NUMBERS, bonded, diatomics
from pesbench.tasks.lj_core.settings import CoreSettings

DIMER, BOND, OVERLAP = "dimer", "bond", "overlap"  # kinds of cases
SEPARATED_ANGSTROM = 12.0  # beyond the cutoff of every model here
CORE_RATIO = 0.6  # of the covalent sum; a frame of the core is closer
OVERLAPPED_RATIO = 0.7  # no bond of a molecule is that short: N≡N has 0.77
NEAR_MINIMUM_ANGSTROM = 0.2  # of the bond length, where a model's own minimum lies


@dataclass(frozen=True)
class Case:
    """One thing that a model is asked.

    Attributes:
        kind: `DIMER`, `BOND` or `OVERLAP`.
        scan: Frames of a wall, the first of a dimer 12 Å apart; of an overlap the one start.
        ratio: Distance of the overlapped pair over its covalent sum; NaN for walls.
        distance: Distance of the pair in the geometry of the scan set, Å; NaN for dimers.
    """

    kind: str
    scan: Scan
    ratio: float
    distance: float

    @property
    def id(self) -> str:
        """Name of the case."""
        return self.scan.id

    @property
    def covalent_sum(self) -> float:
        """Sum of the covalent radii of the pair, Å."""
        i, j = self.scan.atoms
        return float(covalent_radii[self.scan.numbers[[i, j]]].sum())

    @property
    def start(self) -> System:
        """The overlapped molecule, to be relaxed."""
        scan = self.scan
        return System(scan.id, scan.numbers, scan.positions[0], scan.bonds, scan.charge, scan.spin)


def cases(systems: Sequence[System], settings: CoreSettings) -> list[Case]:
    """All cases of a job, walls before overlaps.

    Args:
        systems: Molecules, sorted by id; dimers are counted with the first.
        settings: Settings of the task.
    """
    found = [
        Case(BOND, one.scan, float("nan"), one.distance)
        for system in systems
        for one in bonded(system, figure=False)
    ]
    if systems and settings.dimers:
        found += dimers(systems[0].id)
    return found + [one for system in systems for one in overlaps(system, settings)]


def dimers(item: str) -> Iterator[Case]:
    """All pairs of elements, first 12 Å apart, then from 4 to 0.1 Å at equal ratios.

    Args:
        item: Molecule of the scan set that they are counted with.
    """
    for pair in diatomics(item):
        grid = pair.scan.coordinate[pair.grids[NUMBERS]]
        distances = np.concatenate([[SEPARATED_ANGSTROM], grid])
        i, j = (chemical_symbols[z] for z in pair.scan.numbers)
        name = "-".join(sorted((i, j)))
        positions = frames.approach_frames(
            pair.scan.positions[0], pair.scan.atoms, distances, pair.moving
        )
        yield Case(
            DIMER, _scan(pair.scan, f"{DIMER}/{name}", distances, positions), *[float("nan")] * 2
        )


def overlaps(system: System, settings: CoreSettings) -> Iterator[Case]:
    """Starts of relaxations of a molecule: some of its bonds, each pushed to some overlaps."""
    bonds = system.bonds.tolist()
    chosen = np.unique(np.linspace(0, len(bonds) - 1, min(settings.bonds, len(bonds))).round())
    for k in chosen.astype(int) if settings.bonds else ():
        i, j = bonds[k]
        around = next(one for one in bonded(system, figure=False) if one.scan.atoms == (i, j))
        radii = covalent_radii[system.numbers[[i, j]]].sum()
        for ratio in settings.overlaps:
            distance = np.array([ratio * radii])
            positions = frames.approach_frames(system.positions, (i, j), distance, around.moving)
            name = f"{OVERLAP}/{system.id}_{i}-{j}_{ratio:g}"
            scan = _scan(around.scan, name, distance, positions)
            yield Case(OVERLAP, scan, ratio, around.distance)


def _scan(like: Scan, name: str, coordinate: np.ndarray, positions: np.ndarray) -> Scan:
    return replace(
        like,
        id=name,
        coordinate=coordinate,
        positions=positions,
        energy=np.full(len(coordinate), np.nan),
        forces=np.full(positions.shape, np.nan),
    )


def item_of(case: str, systems: Iterable[str]) -> str:
    """The molecule that a case is counted with, from the name of the case.

    Args:
        case: Name of the case.
        systems: Molecules of the job, sorted.
    """
    kind, _, name = case.partition("/")
    if kind == DIMER:
        return next(iter(systems))
    parts = 2 if kind == OVERLAP else 1
    return name.rsplit("_", parts)[0]


def elements(case: Case) -> str:
    """The elements of the pair, such as `C-H`."""
    i, j = case.scan.atoms
    return bond_type(int(case.scan.numbers[i]), int(case.scan.numbers[j]))
