"""A user's molecules: from the config's SMILES and files to geometries that can be scanned.

What is wrong with a molecule is told when the config is read, before any work. What only shows
when a geometry is made (RDKit finds none, a relaxation breaks a bond) is a result: the molecule's
scans are dropped with the reason, and the others go on.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from rdkit import Chem

from pesbench.core.bond_graph import bonds_from_geometry, canonical_bonds, fragments, n_parts
from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import Batch, Result, Topology, told
from pesbench.core.names import is_path_name
from pesbench.core.paths import given_path
from pesbench.core.progress import track
from pesbench.core.smiles import bonds_from_smiles
from pesbench.core.systems import System
from pesbench.engine.worker import ModelFailureError, Worker
from pesbench.files.atomic import atomic_path
from pesbench.files.csv_files import read_rows
from pesbench.files.environment import Environment
from pesbench.files.molecules.charge_and_spin import charge_and_spin, whole_number
from pesbench.files.molecules.plausibility import why_impossible
from pesbench.files.molecules.reading import read_systems, to_atoms
from pesbench.files.molecules.record import all_made
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.models.as_calculator import EvaluationError, ModelCalculator
from pesbench.models.registry import ModelEntry
from pesbench.references.relax import conformers, parse_smiles

FMAX_EV_PER_ANGSTROM = 0.01
MAX_STEPS = 500
CONFORMERS_TRIED = 3  # relaxing may be costly
logger = logging.getLogger("pesbench")
Spec = Mapping[str, Any]


def system_from_smiles(
    smiles: str,
    name: str = "",
    charge: int | None = None,
    spin: int | None = None,
    *,
    by_number: bool = False,
) -> System:
    """A molecule without a geometry yet: its positions are NaN.

    Atoms are numbered as in the SMILES, then the hydrogens that RDKit adds; or by the map numbers
    of a SMILES that has 1 to N on its N atoms.

    Args:
        smiles: SMILES of one molecule.
        name: Id; the sum formula if it is empty.
        charge: Must agree with the SMILES where it is given.
        spin: Multiplicity; a SMILES with unpaired electrons needs it.
        by_number: Whether atoms are named by their numbers, so that these must be clear.

    Raises:
        UserError: the SMILES cannot be read, charge or spin do not go with it, or `by_number` and
            only some of its atoms carry map numbers.
    """
    molecule, unclear = parse_smiles(smiles)
    if unclear and by_number:
        raise UserError(
            f"`bonds`: SMILES {smiles!r} has map numbers that are not 1 to "
            f"{molecule.GetNumAtoms()} on every atom, hydrogens among them; complete or remove them"
        )
    formal = Chem.GetFormalCharge(molecule)
    if charge is not None and charge != formal:
        raise UserError(
            f"`charge` is {charge:+d}, the SMILES {smiles!r} has {formal:+d}; correct one"
        )
    unpaired = sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())
    if unpaired and spin is None:
        raise UserError(
            f"SMILES {smiles!r} has {unpaired} unpaired electron{'s' * (unpaired > 1)}; "
            f"give `spin`, the multiplicity, such as {unpaired + 1}"
        )
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)
    mapped = Chem.MolToSmiles(molecule)
    return System(
        id=name or Atoms(numbers).get_chemical_formula(),
        numbers=numbers,
        positions=np.full((len(numbers), 3), np.nan),
        bonds=bonds_from_smiles(mapped, numbers),
        charge=formal,
        spin=1 if spin is None else spin,
        smiles=mapped,
    )


def _from_csv(path: Path, charge: int | None, spin: int | None, *, by_number: bool) -> list[System]:
    """Molecules of a table, with which charge and spin of the block must agree."""

    def system(place: str, row: Mapping[str, str]) -> System:
        said = [(name, cell) for name, cell in row.items() if name not in ("id", "smiles")]
        try:
            formal = Chem.GetFormalCharge(parse_smiles(row["smiles"])[0])
            _, own_spin = charge_and_spin([("charge (of its SMILES)", formal), *said], spin=spin)
            return system_from_smiles(
                row["smiles"], row["id"], charge, own_spin, by_number=by_number
            )
        except UserError as error:
            raise UserError(f"{place}: {error}") from error

    rows = [(row["id"] or place, (place, row)) for place, row in read_rows(path, ("id", "smiles"))]
    systems = all_made(lambda row: system(*row), rows)
    if not systems:
        raise UserError(f"{path}: holds no molecule; give at least one")
    return systems


def _with_bonds(system: System, chosen: Sequence[Sequence[int]]) -> System:
    known = {tuple(bond) for bond in system.bonds.tolist()}
    for pair in chosen:
        i, j = sorted(whole_number(atom, "bonds") for atom in pair)
        if (i, j) not in known:
            shown = ", ".join(f"{a}-{b}" for a, b in sorted(known)[:12])
            raise UserError(f"`bonds`: atoms {i} and {j} are not bonded; bonds are {shown}")
        whole = n_parts(len(system.numbers), system.bonds) == 1
        if whole and fragments(len(system.numbers), system.bonds, (i, j)) is None:
            raise UserError(f"`bonds`: {i}-{j} is in a ring and cannot be scanned; remove it")
    return replace(system, scan_bonds=canonical_bonds(np.array(chosen, dtype=np.int64)))


def _read_spec(spec: Spec, base: Path) -> list[System]:
    name = spec.get("id", "")
    charge, spin = (
        None if spec.get(key) is None else whole_number(spec[key], key)
        for key in ("charge", "spin")
    )
    by_number = "bonds" in spec
    if "smiles" in spec:
        systems = [system_from_smiles(spec["smiles"], name, charge, spin, by_number=by_number)]
    else:
        path = base / given_path(spec["file"])
        if path.suffix.lower() == ".csv":
            systems = _from_csv(path, charge, spin, by_number=by_number)
        else:
            systems = read_systems(path, charge, spin)
        if (name or by_number) and len(systems) != 1:
            key = "id" if name else "bonds"
            raise UserError(f"`{key}` is given for {path}, which holds {len(systems)} molecules")
        if name:
            systems = [replace(systems[0], id=name)]
    if by_number:
        systems = [_with_bonds(systems[0], spec["bonds"])]
    return systems


def read_molecules(specs: Sequence[Spec] | str, base: Path) -> list[System]:
    """The molecules of a scan set, checked; those given as SMILES have no geometry yet.

    Args:
        specs: `molecules` of the config: a file, or blocks with `smiles` or `file` and, where
            wanted, `id`, `charge`, `spin`, `bonds`.
        base: Folder that relative paths start from.

    Returns:
        Sorted by id.

    Raises:
        UserError: one line for the first thing that is wrong.
    """
    if isinstance(specs, str):
        specs = [{"file": specs}]
    systems: list[System] = []
    for number, spec in enumerate(specs):
        place = f"`molecules[{number}]`" if len(specs) > 1 or "smiles" in spec else "`molecules`"
        try:
            found = _read_spec(spec, base)
        except UserError as error:
            raise UserError(f"{place}: {error}") from error
        for system in found:
            if not is_path_name(system.id):
                raise UserError(
                    f"{place}: the id {system.id!r} is unfit for a path; use letters, "
                    "digits and . _ + - only, no . - + first, or give another `id`"
                )
            if reason := why_impossible(system):
                raise UserError(f"{place}: molecule {system.id!r}: {reason}")
        systems += found
    twice = sorted(name for name, n in Counter(s.id for s in systems).items() if n > 1)
    if twice:
        raise UserError(f"`molecules`: the id {twice[0]!r} occurs twice; give one of them an `id`")
    return sorted(systems, key=lambda system: system.id)


def read_specs(text: str) -> list[Spec] | str:
    """`molecules` of a config as a command-line argument: JSON, or the path of a file.

    Raises:
        UserError: it looks like JSON and is none, or it holds something else than molecules.
    """
    if not text.lstrip().startswith(("[", '"')):
        return text
    from pesbench.files.validation import plain, validate  # pydantic
    from pesbench.references.settings import MoleculesSettings

    try:
        specs = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--molecules: not valid JSON ({error}); give a file instead") from error
    return plain(validate(MoleculesSettings, {"molecules": specs}, "--molecules"))["molecules"]


def _relaxed(system: System, evaluate: Callable[[Batch], Result]) -> System:
    """The molecule at a minimum of a method.

    Raises:
        EvaluationError: it does not get there as the same molecule.
    """
    from ase.optimize import BFGS  # 0.3 s, which every start of Snakemake would pay

    atoms = Atoms(system.numbers, system.positions)
    atoms.info |= {"charge": system.charge, "spin": system.spin}
    atoms.calc = ModelCalculator(evaluate, Topology(system.bonds, system.smiles))
    try:
        done = BFGS(atoms, logfile=None).run(fmax=FMAX_EV_PER_ANGSTROM, steps=MAX_STEPS)
    except (EvaluationError, HostError):
        raise
    except Exception as error:  # forces of an absurd size leave no step to take
        raise EvaluationError(f"cannot be relaxed: {told(error)}") from error
    if not done:
        raise EvaluationError(f"not relaxed after {MAX_STEPS} steps")
    found = replace(system, positions=atoms.positions - atoms.positions.mean(axis=0))
    if not _same_bonds(found):
        raise EvaluationError("its bonds change on relaxation")
    return found


def _same_bonds(system: System) -> bool:
    found = bonds_from_geometry(Atoms(system.numbers, system.positions))
    return np.array_equal(found, system.bonds)


def _embedded(system: System) -> list[System]:
    """Conformers of a molecule that has none, most stable first; the molecule itself otherwise.

    Raises:
        UserError: RDKit finds no geometry.
    """
    if np.isfinite(system.positions).all():
        return [system]
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    molecule = Chem.MolFromSmiles(system.smiles, parameters)
    # the map numbers are the atom numbers that count, the order in the SMILES is RDKit's
    index = [atom.GetAtomMapNum() - 1 for atom in molecule.GetAtoms()]
    found = [
        replace(system, positions=positions[np.argsort(index)])
        for positions in conformers(molecule, system.id)
    ]
    same = [candidate for candidate in found if _same_bonds(candidate)]
    if not same:
        raise UserError("the bonds of RDKit's geometry are others than those of the SMILES")
    return same[:CONFORMERS_TRIED]


def prepare(system: System, evaluate: Callable[[Batch], Result] | None) -> tuple[System, str]:
    """A molecule with a geometry, relaxed where a method is given.

    Args:
        system: Perhaps without a geometry.
        evaluate: The method that relaxes, or None to leave a given geometry as it is and an
            embedded one at the force field's minimum.

    Returns:
        The molecule and "", or the molecule as it was and why it cannot be used.
    """
    reason = ""
    try:
        for candidate in _embedded(system):
            try:
                return (candidate if evaluate is None else _relaxed(candidate, evaluate)), ""
            except EvaluationError as failure:
                reason = str(failure)
                logger.info("molecule %s: %s", system.id, reason)
    except UserError as error:
        reason = str(error)
    return system, reason


def prepare_file(
    specs: Sequence[Spec] | str,
    out: Path,
    *,
    relax: ModelEntry | None = None,
    device: str = "auto",
    threads: int = 1,
    environment: Environment | None = None,
) -> None:
    """Give every molecule a geometry and write them as extxyz, sorted by id.

    Args:
        specs: `molecules` of the config.
        out: Written whole or not at all.
        relax: Method that relaxes every molecule, or None.
        device: `auto`, `cpu` or `cuda`.
        threads: Threads of that method.
        environment: Where that method runs; None for the environment of this process.

    Raises:
        UserError: a molecule is wrong, or none has a geometry.
    """
    systems = read_molecules(specs, Path.cwd())
    if relax is None:
        frames = [to_atoms(*prepare(s, None)) for s in track(systems, len(systems), "molecules")]
    else:
        with Worker(
            relax,
            device=device,
            threads=threads,
            timeout_s=relax.timeout_s,
            environment=environment,
        ) as worker:

            def evaluate(batch: Batch) -> Result:
                try:
                    return worker.evaluate(batch).result
                except ModelFailureError as failure:
                    raise EvaluationError(failure.message) from failure

            try:
                worker.start()
            except ModelFailureError as failure:
                raise UserError(f"`relax`: {relax.name!r}: {failure.message}") from failure
            frames = [
                to_atoms(*prepare(s, evaluate)) for s in track(systems, len(systems), "molecules")
            ]
    failed = [atoms for atoms in frames if "failed" in atoms.info]
    for atoms in failed:
        logger.warning("molecule %s: %s", atoms.info["id"], atoms.info["failed"])
    if len(failed) == len(frames):
        raise UserError(
            f"no molecule has a geometry ({failed[0].info['id']}: {failed[0].info['failed']}); "
            "correct `molecules`, or give geometries as a `file`"
        )
    with atomic_path(out) as part:
        write_extxyz(part, frames)
    for system in systems:
        if np.isnan(system.positions).any():  # of a SMILES: its hydrogens are not written
            atoms = " ".join(f"{chemical_symbols[z]}{i}" for i, z in enumerate(system.numbers))
            logger.info("molecule %s: its atoms, as `bonds` numbers them: %s", system.id, atoms)
