"""SDF and MOL files (V2000 and V3000), read by RDKit: all records, with bonds and charges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from pesbench.errors import UserError
from pesbench.molecule_files.record import Record
from pesbench.structures import ISOTOPES, canonical_bonds, is_path_name

_LISTED = 5


def read_records(path: Path, text: str) -> Iterator[Record]:
    """The records of an SDF file, or the one of a MOL file.

    Raises:
        UserError: records cannot be read (they are counted and named), or one is a 2D drawing, has
            impossible valences or isotopes.
    """
    parts = [part for part in re.split(r"(?m)^\$\$\$\$.*\n?", text) if part.strip()]
    molecules = [_parsed(part) for part in parts]
    titles = [part.split("\n", 1)[0].strip() for part in parts]
    if failed := [k for k, molecule in enumerate(molecules) if molecule is None]:
        named = ", ".join(f"{k + 1} ({titles[k][:40]!r})" for k in failed[:_LISTED])
        more = ", ..." if len(failed) > _LISTED else ""
        raise UserError(
            f"{path}: {len(failed)} of {len(parts)} records cannot be read: {named}{more}; "
            "correct or remove them"
        )
    for k, (molecule, title) in enumerate(zip(molecules, titles, strict=True)):
        properties = molecule.GetPropsAsDict(includePrivate=False, autoConvertStrings=False)
        names = (title, str(properties.get("id", "")))
        name = next(filter(is_path_name, names), f"{path.stem}-{k}")
        yield _record(molecule, name, properties, f"{path}: record {k + 1} ({name!r})")


def _parsed(part: str) -> Chem.Mol | None:
    supplier = Chem.SDMolSupplier()  # one a record: it goes on at a wrong place after an error
    with rdBase.BlockLogs():
        supplier.SetData(part.rstrip("\n") + "\n\n$$$$\n", sanitize=False, removeHs=False)
        molecule = next(iter(supplier), None)
    return molecule if molecule is not None and molecule.GetNumConformers() else None


def _record(molecule: Chem.Mol, name: str, properties: dict[str, Any], place: str) -> Record:
    atoms = list(molecule.GetAtoms())
    if not atoms:
        raise UserError(f"{place}: holds no atom; remove the record")
    if labelled := [atom for atom in atoms if atom.GetIsotope()]:
        raise UserError(
            f"{place}: atom {labelled[0].GetIdx()} is an isotope; {ISOTOPES} the element alone"
        )
    charges = [atom.GetFormalCharge() for atom in atoms]
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in atoms)
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(molecule)
    except ValueError as error:
        told = " ".join(str(error).split())
        raise UserError(f"{place}: {told}; correct its bonds, or its charges (`M  CHG`)") from error
    missing = sum(atom.GetTotalNumHs() for atom in atoms)
    positions = molecule.GetConformer().GetPositions().astype(np.float64)
    tagged = molecule.GetProp("_MolFileInfo")[20:22] == "2D"
    if tagged and len(atoms) > 1 and not positions[:, 2].any():
        without = " without hydrogens" if missing else ""
        raise UserError(f"{place}: is a 2D drawing{without}; give 3D coordinates, or its SMILES")
    pairs = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    stated = [("charge (the sum of the formal charges)", sum(charges))] if any(charges) else []
    return Record(
        place=place,
        name=name,
        numbers=np.array([atom.GetAtomicNum() for atom in atoms], dtype=np.int64),
        positions=positions,
        said=[*stated, *properties.items()],
        bonds=canonical_bonds(np.array(pairs, dtype=np.int64)),
        charge_of_atoms=sum(charges),
        unpaired=unpaired,
        hydrogens_missing=missing,
    )
