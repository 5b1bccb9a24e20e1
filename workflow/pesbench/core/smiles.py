"""SMILES of systems, mapped and unmapped: bond graph, charge, composition."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from pesbench.core.bond_graph import canonical_bonds
from pesbench.core.errors import UserError

if TYPE_CHECKING:
    from rdkit.Chem import Mol

ISOTOPES = "isotopes are not known here, every atom has its natural mass; write"


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
