"""What a real model is asked: isolated atoms, walls of isolated and bonded pairs, overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from pesbench.core.coordinates import approach
from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.tasks.approach.pairs import NUMBERS, bonded, diatomics
from pesbench.tasks.lj_core.settings import CoreSettings

ATOM, DIMER, BOND, OVERLAP = "atom", "dimer", "bond", "overlap"  # kinds of cases
ISOLATED = (ATOM, DIMER)  # of no molecule
CORE_RATIO = 0.6  # of the covalent sum; a frame of the core is closer
OVERLAPPED_RATIO = 0.7  # no bond of a molecule is that short: N≡N has 0.77
NEAR_MINIMUM_ANGSTROM = 0.2  # of the bond length, where a model's own minimum lies


@dataclass(frozen=True)
class Case:
    """One thing that a model is asked.

    Attributes:
        kind: `ATOM`, `DIMER`, `BOND` or `OVERLAP`.
        scan: Frames of a wall; one frame of an atom, and of an overlap the start.
        ratio: Distance of the overlapped pair over its covalent sum, else NaN.
        distance: Distance of the pair in the geometry of the scan set, Å; NaN for `ISOLATED`.
    """

    kind: str
    scan: Scan
    ratio: float = float("nan")
    distance: float = float("nan")

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
        systems: Molecules, sorted by id; what is isolated is counted with the first.
        settings: Settings of the task.
    """
    found = [
        Case(BOND, one.scan, distance=one.distance)
        for system in systems
        for one in bonded(system, figure=False)
    ]
    if systems and settings.dimers:
        found += isolated(systems[0].id)
    return found + [one for system in systems for one in overlaps(system, settings)]


def isolated(item: str) -> Iterator[Case]:
    """All elements alone, and all pairs of them from 4 to 0.1 Å at equal ratios.

    Both at the lowest spin of their parity: two atoms far apart are two atoms alone, on which a
    self-consistent method converges that does not on the pair.

    Args:
        item: Molecule of the scan set that they are counted with.
    """
    for pair in diatomics(item):
        scan, grid = pair.scan, pair.grids[NUMBERS]
        z, other = scan.numbers
        if z == other:
            yield Case(ATOM, _atom(scan))
        frames = scan.coordinate[grid], scan.positions[grid]
        yield Case(DIMER, _scan(scan, f"{DIMER}/{scan.bond}", *frames))


def _atom(like: Scan) -> Scan:
    z = int(like.numbers[0])
    symbol = chemical_symbols[z]
    scan = _scan(like, f"{ATOM}/{symbol}", np.zeros(1), np.zeros((1, 1, 3)))
    return replace(
        scan,
        bond=symbol,
        atoms=(0, 0),
        numbers=np.array([z]),
        fragment=np.zeros(1, dtype=np.int64),
        bonds=np.empty((0, 2), dtype=np.int64),
        positions_unperturbed=np.zeros((1, 3)),
        spin=approach.lowest_spin((z, 0)),
    )


def atoms_of(dimer: Case) -> tuple[str, str]:
    """Names of the cases of the two atoms of an isolated pair."""
    first, second = dimer.scan.bond.split("-")
    return f"{ATOM}/{first}", f"{ATOM}/{second}"


def overlaps(system: System, settings: CoreSettings) -> Iterator[Case]:
    """Starts of relaxations of a molecule: some of its bonds, each pushed to some overlaps."""
    bonds = system.bonds.tolist()
    chosen = np.unique(np.linspace(0, len(bonds) - 1, min(settings.bonds, len(bonds))).round())
    walls = list(bonded(system, figure=False)) if settings.bonds else []
    for k in chosen.astype(int) if walls else ():
        i, j = bonds[k]
        around = walls[k]
        radii = covalent_radii[system.numbers[[i, j]]].sum()
        for ratio in settings.overlaps:
            distance = np.array([ratio * radii])
            positions = approach.approach_frames(system.positions, (i, j), distance, around.moving)
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
    if kind in ISOLATED:
        return next(iter(systems))
    parts = 2 if kind == OVERLAP else 1
    return name.rsplit("_", parts)[0]
