"""The bond scan, as in BSCT-SPICE (arXiv:2602.04861 and its public data).

The molecule is cut at one bond into two rigid fragments; each moves by half of the change in bond
length along the bond, so that the midpoint of the bond stays where it is; 100 frames at equal
steps from 0.5 to 2 times the sum of the covalent radii of the two atoms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from pesbench.core.bond_graph import atom_classes, bond_class, bond_type, fragments, n_parts
from pesbench.core.scans import Scan
from pesbench.core.systems import System

N_FRAMES = 100
RANGE_IN_COVALENT_SUMS = (0.5, 2.0)


@dataclass(frozen=True)
class PlannedBond:
    """A bond that is scanned.

    Attributes:
        id: Id of the scan.
        bond: Bond type.
        atoms: Indices (i, j).
        fragment: 0 or 1 for every atom, shape (N,).
    """

    id: str
    bond: str
    atoms: tuple[int, int]
    fragment: NDArray[np.int64]


@dataclass(frozen=True)
class SkippedBond:
    """A bond that cannot or shall not be scanned, and why."""

    system: str
    bond: str
    atoms: tuple[int, int]
    reason: str


def bond_grid(number_i: int, number_j: int, n_frames: int = N_FRAMES) -> NDArray[np.float64]:
    """Bond lengths in Å, shape (n_frames,): equal steps over 0.5 to 2 covalent-radius sums."""
    covalent_sum = covalent_radii[number_i] + covalent_radii[number_j]
    low, high = (factor * covalent_sum for factor in RANGE_IN_COVALENT_SUMS)
    return np.linspace(low, high, n_frames)


def bond_scan(
    positions: NDArray[np.float64],
    atoms: tuple[int, int],
    fragment: NDArray[np.int64],
    coordinate: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Positions of every frame of a bond scan.

    R_f = R + (2 label − 1) ½ (α_f − d) u, where d is the bond length in `positions` and u the unit
    vector from the bond's atom in fragment 0 to its atom in fragment 1 (verified on all 485 scans
    of BSCT-SPICE).

    Args:
        positions: Unperturbed geometry in Å, shape (N, 3).
        atoms: The bond (i, j), one in each fragment.
        fragment: 0 or 1 for every atom, shape (N,).
        coordinate: Bond lengths α in Å, shape (F,).

    Returns:
        Å, shape (F, N, 3), float64.

    Raises:
        ValueError: both atoms are in one fragment.
    """
    i, j = atoms
    if fragment[i] == fragment[j]:
        raise ValueError(f"atoms {atoms} lie in the same fragment")
    start, end = (i, j) if fragment[i] == 0 else (j, i)
    vector = positions[end] - positions[start]
    length = float(np.linalg.norm(vector))
    shift = 0.5 * (np.asarray(coordinate) - length)[:, None, None] * (vector / length)
    side = (2 * fragment - 1)[None, :, None]
    return positions[None] + side * shift


def planned_bonds(
    system: System, *, bonds_to_hydrogen: bool = False, types: Sequence[str] = ("*",)
) -> Iterator[PlannedBond | SkippedBond]:
    """The bonds of a molecule that are scanned, and those passed over with the reason.

    Needs the bond graph only, so that a run can be planned before there is a geometry.

    Args:
        system: The molecule; its `scan_bonds`, where given, are taken as they are.
        bonds_to_hydrogen: Whether bonds with a hydrogen are scanned too: of those that the bond
            graph does not distinguish, such as the three of a methyl group, the first.
        types: Globs of bond types.
    """
    classes = atom_classes(system.numbers, system.bonds) if bonds_to_hydrogen else []
    seen: set[str] = set()
    parts = n_parts(len(system.numbers), system.bonds)
    chosen = system.bonds if system.scan_bonds is None else system.scan_bonds
    for i, j in chosen.tolist():
        z_i, z_j = int(system.numbers[i]), int(system.numbers[j])
        kind = bond_type(z_i, z_j)
        if system.scan_bonds is None:
            if 1 in (z_i, z_j) and not bonds_to_hydrogen:
                continue
            if not any(fnmatchcase(kind, pattern) for pattern in types):
                continue
            if 1 in (z_i, z_j):
                if (same := bond_class(classes, (i, j))) in seen:
                    continue
                seen.add(same)
        if parts > 1:
            reason = f"{system.id} is {parts} molecules: one at a time can be scanned"
            yield SkippedBond(system.id, kind, (i, j), reason)
            continue
        label = fragments(len(system.numbers), system.bonds, (i, j))
        if label is None:
            reason = "the bond is in a ring: cutting it does not give two fragments"
            yield SkippedBond(system.id, kind, (i, j), reason)
            continue
        yield PlannedBond(f"{kind}/{system.id}_{i}-{j}", kind, (i, j), label)


def bond_scans(
    system: System, *, bonds_to_hydrogen: bool = False, types: Sequence[str] = ("*",)
) -> Iterator[Scan | SkippedBond]:
    """Every bond scan of a molecule, and the bonds that are passed over with the reason.

    The scans carry no reference yet: energies and forces are NaN. Those of a molecule without a
    geometry are `dropped` with the reason.

    Args:
        system: The molecule.
        bonds_to_hydrogen: Whether bonds with a hydrogen are scanned too, see `planned_bonds`.
        types: Globs of bond types.
    """
    for bond in planned_bonds(system, bonds_to_hydrogen=bonds_to_hydrogen, types=types):
        if isinstance(bond, SkippedBond):
            yield bond
            continue
        i, j = bond.atoms
        coordinate = bond_grid(int(system.numbers[i]), int(system.numbers[j]))
        if system.failed:
            positions = np.full((len(coordinate), len(system.numbers), 3), np.nan)
        else:
            positions = bond_scan(system.positions, bond.atoms, bond.fragment, coordinate)
        yield Scan(
            id=bond.id,
            system=system.id,
            bond=bond.bond,
            atoms=bond.atoms,
            coordinate=coordinate,
            positions=positions,
            numbers=system.numbers,
            fragment=bond.fragment,
            bonds=system.bonds,
            positions_unperturbed=system.positions,
            energy=np.full(len(coordinate), np.nan),
            forces=np.full(positions.shape, np.nan),
            charge=system.charge,
            spin=system.spin,
            smiles=system.smiles,
            quality="dropped" if system.failed else "ok",
            reason=system.failed,
        )
