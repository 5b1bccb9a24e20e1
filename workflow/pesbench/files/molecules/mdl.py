"""SDF and MOL files (V2000 and V3000), read by RDKit: all records, with bonds and charges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, rdBase

from pesbench.core.bond_graph import canonical_bonds
from pesbench.core.errors import UserError
from pesbench.core.names import is_path_name
from pesbench.core.smiles import ISOTOPES
from pesbench.files.molecules.record import Record, all_made, name_of

_LISTED = 5
_STRICT = (1, 5, 6, 7, 8, 9)  # their valences are those of the octet
_NONMETALS = (1, 2, *range(5, 11), *range(14, 19), *range(33, 37), *range(52, 55), 85, 86)


def read_records(path: Path, text: str) -> list[Record]:
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
    found = []
    for k, (molecule, title) in enumerate(zip(molecules, titles, strict=True)):
        properties = molecule.GetPropsAsDict(includePrivate=False, autoConvertStrings=False)
        names = (title, str(properties.get("id", "")))
        name = next(filter(is_path_name, names), name_of(path, k))
        place = f"{path}: record {k + 1} ({name!r})"
        found.append((name, (molecule, name, properties, place)))
    return all_made(lambda record: _record(*record), found)


def _parsed(part: str) -> Chem.Mol | None:
    supplier = Chem.SDMolSupplier()  # one a record: misplaced after an error
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
            Chem.SanitizeMol(molecule, _checks(molecule))
    except (ValueError, RuntimeError) as error:  # RDKit's preconditions are of the second kind
        told = " ".join(str(error).split())[:200]
        raise UserError(f"{place}: {told}; correct its bonds, or its charges (`M  CHG`)") from error
    # without any bond they are found by distance
    bonded = bool(molecule.GetNumBonds()) or len(atoms) == 1
    missing = sum(atom.GetTotalNumHs() for atom in atoms) if bonded else 0
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
        bonds=canonical_bonds(np.array(pairs, dtype=np.int64)) if bonded else None,
        charge_of_atoms=sum(charges),
        unpaired=unpaired,
        hydrogens_missing=missing,
    )


def _checks(molecule: Chem.Mol) -> Chem.SanitizeFlags:
    """What RDKit judges: valences, too, unless they are beyond what it knows of an element.

    Bridging hydrogens (B2H6), ligands of metals and hypervalent elements such as chlorine in ClF3
    have more bonds than RDKit allows. They stand for themselves and ask for no hydrogen.
    """
    with rdBase.BlockLogs():
        problems = Chem.DetectChemistryProblems(molecule)
    if not problems or any(each.GetType() != "AtomValenceException" for each in problems):
        return Chem.SANITIZE_ALL
    unusual = [molecule.GetAtomWithIdx(each.GetAtomIdx()) for each in problems]
    if not all(map(_may_exceed, unusual)):
        return Chem.SANITIZE_ALL
    for atom in unusual:
        atom.SetNoImplicit(True)
    return Chem.SANITIZE_ALL ^ Chem.SANITIZE_PROPERTIES


def _may_exceed(atom: Chem.Atom) -> bool:
    bridges = any(each.GetAtomicNum() == 1 and each.GetDegree() > 1 for each in atom.GetNeighbors())
    of_metal = any(each.GetAtomicNum() not in _NONMETALS for each in atom.GetNeighbors())
    if atom.GetAtomicNum() == 1:
        return atom.GetDegree() > 1
    return bridges or of_metal or atom.GetAtomicNum() not in _STRICT
