"""Systems: elements, charge, spin, geometry, bond graph; the fragments a cut bond leaves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from pesbench.core.errors import UserError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

LONGEST_BOND = 1.5  # covalent-radius sums
LONGEST_NAME = 120  # bytes; file systems take 255, and suffixes and numbers are added
ISOTOPES = "isotopes are not known here, every atom has its natural mass; write"


@dataclass(frozen=True)
class System:
    """One molecule.

    Attributes:
        id: Name, unique in its scan set.
        numbers: Atomic numbers, shape (N,).
        positions: Å, shape (N, 3), float64.
        bonds: Pairs of atom indices i < j, sorted, shape (B, 2).
        charge: Total charge in units of e.
        spin: Multiplicity 2S + 1.
        smiles: SMILES whose atom-map numbers are the atom indices plus one, or "".
        scan_bonds: The bonds to scan, shape (S, 2); None for all that can be.
        failed: Why the molecule has no geometry to scan, or "".
    """

    id: str
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    bonds: NDArray[np.int64]
    charge: int = 0
    spin: int = 1
    smiles: str = ""
    scan_bonds: NDArray[np.int64] | None = None
    failed: str = ""


def canonical_bonds(bonds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bonds as sorted unique pairs i < j, shape (B, 2)."""
    pairs = np.sort(np.asarray(bonds, dtype=np.int64).reshape(-1, 2), axis=1)
    return np.unique(pairs, axis=0)


def bonds_from_smiles(smiles: str, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bond graph of a fully mapped SMILES (every hydrogen explicit, map number = index + 1).

    Args:
        smiles: Mapped SMILES, as in SPICE.
        numbers: Atomic numbers the map must agree with, shape (N,).

    Returns:
        Bonds, shape (B, 2), as `canonical_bonds`.

    Raises:
        UserError: the SMILES does not parse, or its map is not one-to-one with `numbers`.
    """
    molecule = _parsed(smiles)
    index = [atom.GetAtomMapNum() - 1 for atom in molecule.GetAtoms()]
    if sorted(index) != list(range(len(numbers))):
        raise UserError(
            f"SMILES {smiles!r} does not map its atoms 1 to {len(numbers)}; "
            "write every hydrogen and number every atom"
        )
    for atom, i in zip(molecule.GetAtoms(), index, strict=True):
        if atom.GetIsotope():
            raise UserError(f"SMILES {smiles!r} has isotopes; {ISOTOPES} the element alone")
        if atom.GetAtomicNum() != numbers[i]:
            raise UserError(
                f"SMILES {smiles!r} has {atom.GetSymbol()} as atom {i + 1}, "
                f"the geometry has {chemical_symbols[numbers[i]]}"
            )
    pairs = [(index[b.GetBeginAtomIdx()], index[b.GetEndAtomIdx()]) for b in molecule.GetBonds()]
    return canonical_bonds(np.array(pairs, dtype=np.int64))


def _parsed(smiles: str) -> Mol:
    from rdkit import Chem, rdBase  # scan sets alone need it; a family's environment lacks it

    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    parameters.sanitize = False  # valence rules are not ours to judge: only the graph is read
    with rdBase.BlockLogs():  # the one line that counts is ours
        molecule = Chem.MolFromSmiles(smiles, parameters)
    if molecule is None:
        raise UserError(f"SMILES {smiles!r} cannot be read; give a valid mapped SMILES or none")
    return molecule


def bonds_from_geometry(atoms: Atoms) -> NDArray[np.int64]:
    """The bond graph by distance: ASE's natural cutoffs (covalent radii) times 1.2.

    Returns:
        Bonds, shape (B, 2), as `canonical_bonds`.
    """
    from ase.neighborlist import natural_cutoffs, neighbor_list

    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
    return canonical_bonds(np.stack([i, j], axis=1))


def smiles_states(smiles: str) -> tuple[int, int]:
    """The total charge in e and the number of unpaired electrons that a mapped SMILES states."""
    from rdkit import Chem, rdBase

    molecule = _parsed(smiles)
    charge = Chem.GetFormalCharge(molecule)
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(molecule)
    except ValueError:  # valence rules are not ours to judge
        return charge, 0
    return charge, sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())


def is_mapped(smiles: str) -> bool:
    """Whether a SMILES has a map number."""
    return re.search(r":[0-9]+\]", smiles) is not None


def check_composition(smiles: str, numbers: NDArray[np.int64]) -> None:
    """Refuse a SMILES without map numbers that is of another sum formula than a geometry.

    Raises:
        UserError: it is, or cannot be read.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None:
            raise UserError(f"SMILES {smiles!r} cannot be read; correct or remove it")
        molecule = Chem.AddHs(molecule)
    found = Atoms([atom.GetAtomicNum() for atom in molecule.GetAtoms()]).get_chemical_formula()
    given = Atoms(numbers).get_chemical_formula()
    if found != given:
        raise UserError(
            f"its SMILES {smiles!r} is {found}, its geometry {given}; "
            "give all atoms, or correct one"
        )


def why_impossible(system: System) -> str:
    """What no method could make sense of, with the cure, or "".

    Atoms on top of each other (closer than half the sum of their covalent radii), bonds longer than
    1.5 of it, and a number of electrons that the multiplicity does not allow.
    """
    if not len(system.numbers):
        return "it has no atom; remove it"
    if (system.numbers < 1).any():
        return "an atom is no element (`*` or X); name every element"
    if system.spin < 1:
        return f"`spin` is {system.spin}; give the multiplicity 2S + 1, at least 1"
    electrons = int(system.numbers.sum()) - system.charge
    unpaired = system.spin - 1
    if electrons < unpaired or (electrons - unpaired) % 2:
        return (
            f"{electrons} electrons cannot have spin {system.spin} (multiplicity 2S + 1); "
            "correct `charge` or `spin`"
        )
    distance = np.linalg.norm(system.positions[:, None] - system.positions[None], axis=2)
    radii = covalent_radii[system.numbers]
    # a comparison with NaN is false: a molecule without a geometry passes
    close = np.triu(distance < 0.5 * (radii[:, None] + radii[None]), k=1)
    if close.any():
        i, j = np.argwhere(close)[0].tolist()
        return (
            f"atoms {i} and {j} are {distance[i, j]:.3f} Å apart, on top of each other; "
            "correct the geometry"
        )
    i, j = system.bonds.T
    long = distance[i, j] > LONGEST_BOND * (radii[i] + radii[j])
    if long.any():
        k = int(np.argmax(long))
        return (
            f"the bonded atoms {i[k]} and {j[k]} are {distance[i[k], j[k]]:.2f} Å apart; "
            "make the molecule whole, or correct its SMILES"
        )
    return ""


def is_path_name(name: str) -> bool:
    """Whether a name can be a folder or an HDF5 group: letters, digits and . _ + - only.

    None of . - + begins it: such a name is hidden, an option or the formula of a spreadsheet.
    """
    fit = bool(name) and name[0] not in ".-+" and all(c.isalnum() or c in "._+-" for c in name)
    return fit and len(name.encode()) <= LONGEST_NAME


def n_parts(n_atoms: int, bonds: NDArray[np.int64]) -> int:
    """Number of parts of a bond graph that are not connected with each other."""
    return connected_parts(n_atoms, bonds)[0]


def connected_parts(n_atoms: int, bonds: NDArray[np.int64]) -> tuple[int, NDArray[np.int32]]:
    """The number of connected parts of a bond graph, and that of each atom, shape (N,)."""
    # a third of a second, which every start of Snakemake would pay
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = bonds[:, 0], bonds[:, 1]
    graph = coo_array((np.ones(len(bonds)), ends), shape=(n_atoms, n_atoms))
    count, part = connected_components(graph, directed=False)
    return int(count), part


def bond_type(number_i: int, number_j: int) -> str:
    """The two element symbols in alphabetical order, such as `C-N`."""
    return "-".join(sorted((chemical_symbols[number_i], chemical_symbols[number_j])))


def fragments(
    n_atoms: int, bonds: NDArray[np.int64], cut: tuple[int, int]
) -> NDArray[np.int64] | None:
    """The two parts a molecule falls into when one bond is cut.

    Args:
        n_atoms: N.
        bonds: Bond graph, shape (B, 2).
        cut: The bond (i, j) that is removed.

    Returns:
        Labels, shape (N,): 0 for the atoms connected to i, 1 for those connected to j; None if
        i and j stay connected, that is if the bond is in a ring and cannot be scanned.

    Raises:
        ValueError: `cut` is not a bond, or the molecule was not connected before.
    """
    keep = [tuple(bond) != tuple(sorted(cut)) for bond in bonds.tolist()]
    if all(keep):
        raise ValueError(f"atoms {cut} are not bonded")
    count, label = connected_parts(n_atoms, bonds[keep])
    i, j = cut
    if label[i] == label[j]:
        return None
    if count != 2:
        raise ValueError(f"{count} parts after cutting {cut}: the molecule was not connected")
    return (label == label[j]).astype(np.int64)
