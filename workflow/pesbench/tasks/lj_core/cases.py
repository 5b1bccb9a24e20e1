"""What a real model is asked: isolated atoms, walls of isolated and bonded pairs, overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from pesbench.core.bond_graph import bond_type
from pesbench.core.coordinates import approach
from pesbench.core.scans import Scan
from pesbench.core.systems import System
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
        ratio: Distance of the overlapped pair over its covalent sum; 0 for other kinds.
        distance: Distance of the pair in the geometry of the scan set, Å; NaN for `ISOLATED`.
    """

    kind: str
    scan: Scan
    ratio: float = 0.0
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
    found = [one for system in systems for one in bonds(system)]
    if systems and settings.dimers:
        found += isolated(systems[0].id)
    return found + [one for system in systems for one in overlaps(system, settings)]


def bonds(system: System) -> Iterator[Case]:
    """The bonds of a molecule, each pushed together to 0.1 Å."""
    for i, j in system.bonds.tolist():
        distance = float(np.linalg.norm(system.positions[j] - system.positions[i]))
        start = approach.start_distance(system.numbers, (i, j), distance)
        name = f"{BOND}/{system.id}_{i}-{j}"
        scan = _scan(name, system, (i, j), approach.number_distances(start))
        yield Case(BOND, scan, distance=distance)


def isolated(item: str) -> Iterator[Case]:
    """All elements alone, and all pairs of them from 4 to 0.1 Å at equal ratios.

    Both at the lowest spin of their parity: two atoms far apart are two atoms alone, on which a
    self-consistent method converges that does not on the pair.

    Args:
        item: Molecule of the scan set that they are counted with.
    """
    for z, other in approach.element_pairs():
        if z == other:
            atom = _isolated(item, [z])
            scan = _scan(f"{ATOM}/{chemical_symbols[z]}", atom, (0, 0), np.zeros(1))
            yield Case(ATOM, replace(scan, bond=chemical_symbols[z]))
        pair = _isolated(item, [z, other])
        distances = approach.number_distances(approach.FARTHEST_ANGSTROM)
        yield Case(DIMER, _scan(f"{DIMER}/{bond_type(z, other)}", pair, (0, 1), distances))


def _isolated(item: str, numbers: Sequence[int]) -> System:
    positions = np.zeros((len(numbers), 3))
    positions[1:, 0] = approach.FARTHEST_ANGSTROM
    graph = np.array([[0, 1]] if len(numbers) > 1 else np.empty((0, 2)), dtype=np.int64)
    return System(item, np.array(numbers), positions, graph, spin=1 + sum(numbers) % 2)


def atoms_of(dimer: Case) -> tuple[str, str]:
    """Names of the cases of the two atoms of an isolated pair."""
    first, second = dimer.scan.bond.split("-")
    return f"{ATOM}/{first}", f"{ATOM}/{second}"


def overlaps(system: System, settings: CoreSettings) -> Iterator[Case]:
    """Starts of relaxations of a molecule: some of its bonds, each pushed to some overlaps."""
    graph = system.bonds.tolist()
    chosen = np.unique(np.linspace(0, len(graph) - 1, min(settings.bonds, len(graph))).round())
    for k in chosen.astype(int):
        i, j = graph[k]
        radii = covalent_radii[system.numbers[[i, j]]].sum()
        for ratio in settings.overlaps:
            name = f"{OVERLAP}/{system.id}_{i}-{j}_{ratio:g}"
            yield Case(OVERLAP, _scan(name, system, (i, j), np.array([ratio * radii])), ratio)


def _scan(name: str, system: System, atoms: tuple[int, int], distances: np.ndarray) -> Scan:
    """Frames of a system whose two atoms have these distances in Å; of one atom, one frame."""
    i, j = atoms
    positions = system.positions[None]
    if i != j:
        moving = approach.shares(system.numbers, atoms)
        positions = approach.approach_frames(system.positions, atoms, distances, moving)
    n_atoms = len(system.numbers)
    return Scan(
        id=name,
        system=system.id,
        bond=bond_type(int(system.numbers[i]), int(system.numbers[j])),
        atoms=atoms,
        coordinate=distances,
        positions=positions,
        numbers=system.numbers,
        fragment=np.zeros(n_atoms, dtype=np.int64),
        bonds=system.bonds,
        positions_unperturbed=system.positions,
        energy=np.full(len(distances), np.nan),
        forces=np.full((len(distances), n_atoms, 3), np.nan),
        charge=system.charge,
        spin=system.spin,
        smiles=system.smiles,
        kind="approach",
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
