"""Geometries of a scan set of our own: from SMILES to a minimum of GFN2-xTB.

The molecules of `resources/mini` are made here, once, and shipped; the workflow only reads them.
A conformer is embedded with RDKit, relaxed with GFN2-xTB, and kept if it is still the molecule of
the SMILES and a true minimum (no imaginary frequency).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.units import invcm
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import AllChem
from tblite.ase import TBLite

from pesbench.core.bond_graph import bonds_from_geometry
from pesbench.core.errors import UserError
from pesbench.core.geometry import apart
from pesbench.core.names import is_path_name
from pesbench.core.progress import track
from pesbench.core.smiles import ISOTOPES, bonds_from_smiles
from pesbench.files.atomic import atomic_path
from pesbench.files.csv_files import read_rows
from pesbench.files.molecules.charge_and_spin import charge_and_spin
from pesbench.files.molecules.reading import read_systems
from pesbench.files.molecules.xyz import write_extxyz

METHOD = "GFN2-xTB"
N_CONFORMERS = 10
N_FOR_ANOTHER = 24  # where one conformer is not taken
MOST_ATOMS = 1000  # of all conformers together, so that large molecules have fewer
EMBEDDING_S = 60  # of all conformers
FMAX_EV_PER_ANGSTROM = 0.005
MAX_STEPS = 500
DISPLACEMENT_ANGSTROM = 0.01
IMAGINARY_LIMIT_INVCM = 50.0
ANOTHER_ANGSTROM = 0.1  # `apart`, from which on it is another conformer
DECIMALS = 8  # what extxyz prints

logger = logging.getLogger("pesbench")


def parse_smiles(smiles: str) -> tuple[Chem.Mol, bool]:
    """The molecule of a SMILES with every hydrogen explicit and atom i mapped as i + 1.

    Atoms are in the order in which they are written, hydrogens among them, then come those that
    are not written. Where map numbers 1 to N stand on all N atoms, they are the order instead.

    Returns:
        The molecule, and whether some map numbers stand in the SMILES that do not give an order.

    Raises:
        UserError: it cannot be read, it is more than one molecule, or it has isotopes.
    """
    if len(words := smiles.split()) > 1 and not words[1].startswith("|"):
        raise UserError(
            f"{smiles[:80]!r} is more than a SMILES ({words[1][:20]!r} follows it); "
            "give the SMILES alone"
        )
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    with rdBase.BlockLogs():  # the one line that counts is ours
        molecule = Chem.MolFromSmiles(smiles, parameters)
        if molecule is None or not molecule.GetNumAtoms():
            raise UserError(f"SMILES {smiles!r} cannot be read; correct it")
        if len(Chem.GetMolFrags(molecule)) > 1:
            raise UserError(f"SMILES {smiles!r} holds more than one molecule; give one a line")
        if any(atom.GetIsotope() for atom in molecule.GetAtoms()):
            raise UserError(f"SMILES {smiles!r} has isotopes; {ISOTOPES} the element alone")
        molecule = Chem.AddHs(molecule)
    numbers = [atom.GetAtomMapNum() for atom in molecule.GetAtoms()]
    mapped = sorted(numbers) == list(range(1, len(numbers) + 1))
    if mapped:
        molecule = Chem.RenumberAtoms(molecule, np.argsort(numbers).tolist())
    for atom in molecule.GetAtoms():
        atom.SetAtomMapNum(atom.GetIdx() + 1)
    return molecule, any(numbers) and not mapped


def conformers(
    molecule: Chem.Mol, name: str, most: int = N_CONFORMERS
) -> Iterator[NDArray[np.float64]]:
    """Embedded conformers, lowest force-field energy first (MMFF94, UFF where that lacks atoms).

    Args:
        molecule: Molecule from `parse_smiles`.
        name: Name of the molecule; the seed of the embedding is derived from it.
        most: How many, at most.

    Yields:
        Positions in Å, shape (N, 3).

    Raises:
        UserError: RDKit finds no geometry.
    """
    plain = Chem.Mol(molecule)
    for atom in plain.GetAtoms():
        atom.SetAtomMapNum(0)  # the numbers would break the symmetry RDKit sees
    settings = AllChem.ETKDGv3()
    settings.randomSeed = int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)
    settings.numThreads = 1
    settings.timeout = EMBEDDING_S
    count = max(1, min(most, MOST_ATOMS // plain.GetNumAtoms()))
    with rdBase.BlockLogs():
        found = list(AllChem.EmbedMultipleConfs(plain, count, settings))
        if not found:  # distances of long chains have no solution that its first guess leads to
            settings.useRandomCoords = True
            found = list(AllChem.EmbedMultipleConfs(plain, count, settings))
    if not found:
        raise UserError(
            f"RDKit finds no geometry of its {plain.GetNumAtoms()} atoms (from distances and from "
            f"random coordinates, at most {EMBEDDING_S} s each); give one as a `file`"
        )
    field = AllChem.MMFFOptimizeMoleculeConfs
    if not AllChem.MMFFHasAllMoleculeParams(plain):
        field = AllChem.UFFOptimizeMoleculeConfs
    with rdBase.BlockLogs():
        energies = [energy for _, energy in field(plain, numThreads=1, maxIters=2000)]
    # rounded, so that conformers of equal energy keep the order in which they were embedded; the
    # numbers of RDKit's conformers have gaps where it failed
    ranked = sorted(
        zip(energies, plain.GetConformers(), strict=True), key=lambda pair: round(pair[0], 4)
    )
    for _, conformer in ranked:
        yield conformer.GetPositions().astype(np.float64)


def calculator(atoms: Atoms) -> TBLite:
    """GFN2-xTB that starts afresh at every geometry, so that no result depends on the path."""
    return TBLite(
        method=METHOD,
        charge=atoms.info["charge"],
        multiplicity=atoms.info["spin"],
        cache_api=False,
        verbosity=0,
    )


def hessian(atoms: Atoms) -> NDArray[np.float64]:
    """Second derivatives of the energy by central differences of the forces.

    Args:
        atoms: Atoms with a calculator; its positions are restored.

    Returns:
        eV/Å², symmetrised, shape (3N, 3N).
    """
    start = atoms.positions.copy()
    rows = []
    for index in np.ndindex(start.shape):
        forces = []
        for sign in (1, -1):
            atoms.positions = start
            atoms.positions[index] += sign * DISPLACEMENT_ANGSTROM
            forces.append(atoms.get_forces().ravel())
        rows.append((forces[1] - forces[0]) / (2 * DISPLACEMENT_ANGSTROM))
    atoms.positions = start
    matrix = np.array(rows)
    return (matrix + matrix.T) / 2


def lowest_frequency(atoms: Atoms) -> float:
    """The lowest harmonic wave number in cm⁻¹; an imaginary one is given as negative."""
    from ase.vibrations import VibrationsData  # Matplotlib, half a second

    energies = VibrationsData.from_2d(atoms, hessian(atoms)).get_energies()
    return float(np.min(energies.real - energies.imag) / invcm)


def _spin(molecule: Chem.Mol) -> int:
    """The multiplicity of a SMILES, all its unpaired electrons parallel."""
    return 1 + sum(atom.GetNumRadicalElectrons() for atom in molecule.GetAtoms())


def relax(name: str, smiles: str, unlike: NDArray[np.float64] | None = None) -> Atoms:
    """A molecule at a minimum of GFN2-xTB.

    Args:
        name: Id of the molecule.
        smiles: Any SMILES of one molecule.
        unlike: Positions in Å, shape (N, 3), of a conformer that is not taken; None for none.

    Returns:
        Atoms without a calculator; `info` holds `id`, `smiles` (mapped), `charge`, `spin`.

    Raises:
        UserError: the SMILES is unreadable, or none of the conformers ends in a minimum that is
            still this molecule.
    """
    from ase.optimize import BFGS  # 0.3 s, which every start of Snakemake would pay

    molecule, _ = parse_smiles(smiles)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)
    info = {
        "id": name,
        "smiles": Chem.MolToSmiles(molecule),
        "charge": Chem.GetFormalCharge(molecule),
        "spin": _spin(molecule),
    }
    bonds = bonds_from_smiles(info["smiles"], numbers)
    reason = ""
    most = N_CONFORMERS if unlike is None else N_FOR_ANOTHER
    for positions in conformers(molecule, name, most):
        atoms = Atoms(numbers, positions, info=info)
        atoms.calc = calculator(atoms)
        if not BFGS(atoms, logfile=None).run(fmax=FMAX_EV_PER_ANGSTROM, steps=MAX_STEPS):
            reason = f"not relaxed after {MAX_STEPS} steps"
        elif not np.array_equal(bonds_from_geometry(atoms), bonds):
            reason = "its bonds change on relaxation"
        elif (lowest := lowest_frequency(atoms)) < -IMAGINARY_LIMIT_INVCM:
            reason = f"a frequency of {-lowest:.0f}i 1/cm"
        elif unlike is not None and apart(numbers, atoms.positions, unlike) < ANOTHER_ANGSTROM:
            reason = "it is the conformer that is not wanted"
        else:
            atoms.calc = None
            # rounded here, plus 0.0 to drop the sign of a negative zero, so that the file repeats
            centred = atoms.positions - atoms.positions.mean(axis=0)
            atoms.positions = np.round(centred, DECIMALS) + 0.0
            return atoms
        logger.info("molecule %s: %s; trying the next conformer", name, reason)
    raise UserError(
        f"molecule {name!r}: no conformer of {smiles!r} ends in a {METHOD} minimum ({reason}); "
        "take another molecule"
    )


def read_smiles(path: Path) -> dict[str, str]:
    """Ids and SMILES of a CSV file with the columns `id` and `smiles`.

    Raises:
        UserError: the file or a column is missing, an id is unfit for a path or occurs twice, or a
            SMILES cannot be read or has another charge or multiplicity than its row states.
    """
    molecules: dict[str, str] = {}
    for place, row in read_rows(path, ("id", "smiles")):
        name = row["id"]
        if not is_path_name(name):
            raise UserError(
                f"{place}: the id {name!r} is unfit for a path; "
                "use letters, digits and . _ + - only, no . - + first"
            )
        if name in molecules:
            raise UserError(f"{place}: the id {name!r} occurs twice")
        said = [(key, cell) for key, cell in row.items() if key not in ("id", "smiles")]
        try:
            molecule, _ = parse_smiles(row["smiles"])
            formal = ("charge (of its SMILES)", Chem.GetFormalCharge(molecule))
            _, spin = charge_and_spin([formal, *said])
            if spin not in (None, _spin(molecule)):
                raise UserError(
                    f"`spin` is {spin}, that of its SMILES {_spin(molecule)}; remove it"
                )
        except UserError as error:
            raise UserError(f"{place}: molecule {name!r}: {error}") from error
        molecules[name] = row["smiles"]
    if not molecules:
        raise UserError(f"{path}: holds no molecule; give at least one")
    return molecules


def relax_file(csv_path: Path, out: Path, unlike: Path | None = None) -> None:
    """Relax every molecule of a CSV file and write them as extxyz, sorted by id.

    Args:
        csv_path: Columns `id` and `smiles`; charge and multiplicity are those of the SMILES, with
            which columns of these names must agree.
        out: Written whole or not at all.
        unlike: File of molecules, of which each that has one of these ids is not made again but
            in another conformer, with the atoms in the same order; None for none.

    Raises:
        UserError: a molecule is unreadable or has no minimum, or atoms in another order than in
            `unlike`; the message names it.
    """
    molecules = read_smiles(csv_path)
    known = {} if unlike is None else {system.id: system for system in read_systems(unlike)}
    frames = []
    for name in track(sorted(molecules), len(molecules), "molecules"):
        try:
            other = known.get(name)
            if other is not None:
                _check_order(name, molecules[name], other.numbers)
            frames.append(relax(name, molecules[name], None if other is None else other.positions))
        except UserError as error:
            raise UserError(f"{csv_path}: {error}") from error
    with atomic_path(out) as part:
        write_extxyz(part, frames)


def _check_order(name: str, smiles: str, numbers: NDArray[np.int64]) -> None:
    molecule, _ = parse_smiles(smiles)
    if [atom.GetAtomicNum() for atom in molecule.GetAtoms()] != numbers.tolist():
        raise UserError(
            f"molecule {name!r}: {smiles!r} has other atoms, or another order of them, than the "
            "conformer that is there; correct the SMILES"
        )
