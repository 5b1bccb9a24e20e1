"""Files of molecules: everything that a user's file states is used, or refused by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from pesbench.core.bond_graph import bonds_from_geometry, canonical_bonds
from pesbench.core.errors import UserError
from pesbench.core.names import LONGEST_NAME, is_path_name
from pesbench.core.smiles import bonds_from_smiles, check_composition, is_mapped, smiles_states
from pesbench.core.systems import System
from pesbench.files.molecules import pdb, xyz
from pesbench.files.molecules.charge_and_spin import charge_and_spin
from pesbench.files.molecules.completeness import why_incomplete
from pesbench.files.molecules.record import Record, all_made, read_text


def _read_mdl(path: Path, text: str) -> Iterable[Record]:
    from pesbench.files.molecules import mdl  # RDKit

    return mdl.read_records(path, text)


_TEXT: dict[str, Callable[[Path, str], Iterable[Record]]] = {
    ".extxyz": xyz.read_records,
    ".xyz": xyz.read_records,
    ".sdf": _read_mdl,
    ".sd": _read_mdl,
    ".mol": _read_mdl,
    ".pdb": pdb.read_records,
    ".ent": pdb.read_records,
}
SUFFIXES = (*_TEXT, ".traj")


def _records(path: Path) -> list[Record]:
    if not path.is_file():
        raise UserError(f"{path}: no such file of molecules; check `molecules` in the scan set")
    suffix = path.suffix.lower()
    if suffix in _TEXT:
        records = list(_TEXT[suffix](path, read_text(path)))
    elif suffix == ".traj":
        records = list(_trajectory(path))
    else:
        raise UserError(
            f"{path}: molecules are read from .csv, {', '.join(SUFFIXES)}; of other formats "
            f"({suffix or 'without a suffix'}) charge, multiplicity, elements or further records "
            "may be lost: convert it to extxyz with `charge=... spin=...` in the comment lines"
        )
    if not records:
        raise UserError(f"{path}: holds no molecule; give at least one")
    return records


def _trajectory(path: Path) -> Iterator[Record]:
    import ase.io

    try:
        frames = ase.io.read(path, index=":", format="traj")
    except Exception as error:  # ASE raises whatever it meets
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"{path}: cannot be read as ASE's traj ({told[:200]}); give an extxyz"
        ) from error
    for k, atoms in enumerate(frames):
        info = dict(_flat(atoms.info))
        texts = {key: str(info[key]) for key in ("id", "smiles", *xyz.OWN_KEYS) if key in info}
        yield xyz.from_atoms(atoms, path, k, info.items(), texts)


def _flat(info: Mapping[object, object]) -> Iterator[tuple[str, object]]:
    """Keys and values, with those of dictionaries among them (`data` of an ASE database)."""
    for key, value in info.items():
        if isinstance(value, Mapping):
            for name, inner in _flat(value):
                yield (name if name not in info else f"{key}.{name}"), inner
        else:
            yield str(key), value


def read_systems(path: Path, charge: int | None = None, spin: int | None = None) -> list[System]:
    """All molecules of a user's file of one of the formats `SUFFIXES`.

    Args:
        path: extxyz or xyz, SDF or MOL, PDB, ASE's traj. `info` of an extxyz or traj may carry
            `id`, `charge`, `spin` and a mapped `smiles`.
        charge: Charge of the config's block, with which a file that states charges must agree.
        spin: Multiplicity of the config's block, with which the file must agree.

    Returns:
        Systems sorted by id; one without an id is called `<file stem>-<index>`.

    Raises:
        UserError: the file is missing or unreadable, an id occurs twice or is unfit for a path,
            two statements disagree, or a geometry is no complete molecule in three dimensions.
        HostError: the file cannot be read now.
    """
    records = _records(path)
    for record in records:
        if record.kept:
            key = next(iter(record.kept))
            raise UserError(
                f"{record.place}: `{key}` is a key that pesbench writes for itself; remove it "
                "(bonds are found by distance or by a mapped `smiles`, and chosen by `bonds`)"
            )
    named = [(record.name, record) for record in records]
    return _sorted(path, all_made(lambda record: _system(record, charge, spin), named))


def read_prepared(path: Path) -> list[System]:
    """The molecules of a file that `to_atoms` filled, with bonds and choice as they were kept.

    Returns:
        Systems sorted by id. One whose `failed` is set has no geometry.

    Raises:
        UserError: as `read_systems`.
        HostError: the file cannot be read now.
    """
    return _sorted(path, [_system(record) for record in _records(path)])


def _sorted(path: Path, systems: list[System]) -> list[System]:
    twice = sorted(name for name, n in Counter(s.id for s in systems).items() if n > 1)
    if twice:
        more = f" (and {len(twice) - 1} other ids)" if len(twice) > 1 else ""
        raise UserError(f"{path}: the molecule id {twice[0]!r} occurs twice{more}; rename one")
    return sorted(systems, key=lambda system: system.id)


def _system(record: Record, charge: int | None = None, spin: int | None = None) -> System:
    if not is_path_name(record.name):
        raise UserError(
            f"{record.place}: the molecule id {record.name[:60]!r} is unfit for a path; "
            f"use letters, digits and . _ + - only, no . - + first, at most {LONGEST_NAME}"
        )
    if not np.isfinite(record.positions).all():
        raise UserError(f"{record.place} has a position that is not a number")
    if not ((record.numbers >= 0) & (record.numbers < len(chemical_symbols))).all():
        raise UserError(f"{record.place}: an atomic number is none of an element; correct it")
    prepared = "bond_graph" in record.kept  # by us: checked before, and perhaps without a geometry
    said, of_atoms, unpaired = record.said, record.charge_of_atoms, record.unpaired
    try:
        if prepared:
            bonds = _pairs("bond_graph", record)
        elif is_mapped(record.smiles):
            bonds = bonds_from_smiles(record.smiles, record.numbers)
            of_atoms, unpaired = smiles_states(record.smiles)
            said = [*said, ("charge (of its SMILES)", of_atoms)]
        elif record.bonds is not None:
            bonds = record.bonds
        else:
            bonds = bonds_from_geometry(Atoms(record.numbers, record.positions))
            if record.smiles:  # without numbers its bonds are of no use, but it is a statement
                check_composition(record.smiles, record.numbers)
                of_atoms, unpaired = smiles_states(record.smiles)
                said = [*said, ("charge (of its SMILES)", of_atoms)]
        protons = int(record.numbers.sum())
        charge, spin = charge_and_spin(said, charge=charge, spin=spin, protons=protons)
        if spin is None and unpaired > 1:
            raise UserError(
                f"{unpaired} unpaired electrons are stated; give `spin`, the multiplicity, such as "
                f"{unpaired + 1}"
            )
    except UserError as error:
        raise UserError(f"{record.place}: {error}") from error
    system = System(
        id=record.name,
        numbers=record.numbers,
        positions=record.positions,
        bonds=bonds,
        charge=charge or 0,
        spin=1 + unpaired if spin is None else spin,
        smiles=record.smiles if prepared or is_mapped(record.smiles) else "",
        scan_bonds=_pairs("scan_bonds", record) if "scan_bonds" in record.kept else None,
        failed=record.kept.get("failed", ""),
    )
    missing = record.hydrogens_missing
    if missing > abs(system.charge - of_atoms) + system.spin - 1:
        raise UserError(
            f"{record.place}: {missing} hydrogen{'s are' if missing > 1 else ' is'} missing; "
            "give all atoms in 3D, or its SMILES (or its `charge` and `spin`, if it is complete)"
        )
    if not prepared and (reason := why_incomplete(system, bond_orders=record.bonds is not None)):
        raise UserError(f"{record.place}: {reason}")
    return system


def _pairs(key: str, record: Record) -> NDArray[np.int64]:
    """Bonds as `to_atoms` writes them, such as `0-1 2-5`.

    Raises:
        UserError: there is something else.
    """
    n_atoms = len(record.numbers)
    found = [tuple(map(_index, pair.split("-"))) for pair in record.kept[key].split()]
    if not all(len(pair) == 2 and 0 <= min(pair) < max(pair) < n_atoms for pair in found):
        raise UserError(f"{record.place}: `{key}` names no pairs of its atoms; make the file again")
    return canonical_bonds(np.array(found, dtype=np.int64))


def _index(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else -1


def to_atoms(system: System, failed: str = "") -> Atoms:
    """A molecule for `xyz.write_extxyz`, with everything that `read_prepared` reads back."""
    atoms = Atoms(system.numbers, np.nan_to_num(system.positions))
    atoms.info |= {"id": system.id, "charge": system.charge, "spin": system.spin}
    if system.smiles:
        atoms.info["smiles"] = system.smiles
    # the graph that the run was planned with, so that no relaxation changes the plan
    atoms.info["bond_graph"] = " ".join(f"{i}-{j}" for i, j in system.bonds.tolist())
    if system.scan_bonds is not None:
        atoms.info["scan_bonds"] = " ".join(f"{i}-{j}" for i, j in system.scan_bonds.tolist())
    if failed:
        atoms.info["failed"] = failed
    return atoms
