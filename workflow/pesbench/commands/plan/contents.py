"""Molecules and scans of a run, whether its scan set exists or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pesbench.core.coordinates.bond import N_FRAMES, PlannedBond, planned_bonds
from pesbench.core.errors import UserError
from pesbench.core.systems import System
from pesbench.files.scan_set import ScanSet
from pesbench.orchestration.config import Run
from pesbench.references import bsct_spice


@dataclass(frozen=True)
class Facts:
    """Number of evaluations of a scan.

    Attributes:
        id: Id of the scan.
        system: Id of its molecule.
        bond: Bond type.
        frames: Number of frames; 0 for a scan that the quality gate dropped.
        atoms: Number of atoms.
        elements: Atomic numbers.
        charge: Total charge in e.
        spin: Multiplicity.
    """

    id: str
    system: str
    bond: str
    frames: int
    atoms: int
    elements: frozenset[int]
    charge: int = 0
    spin: int = 1


def scan_set_path(run: Run) -> Path:
    """Path of the scan set of a run, also before it exists."""
    return run.results / f"{run.scan_set}.h5"


def why_unknown(run: Run, command: str) -> str:
    """Reason why the molecules of a run are not known yet, with the remedy; "" if they are.

    Args:
        run: What the run consists of.
        command: Command that makes the scan set.
    """
    path = scan_set_path(run)
    if run.source != bsct_spice.NAME or path.is_file():
        return ""
    return f"{path}: the scan set is not there yet; make it with `{command}`"


def read_facts(run: Run, base: Path) -> dict[str, Facts]:
    """The planned scans of a run's set, by id: of the file if it is there, else of the molecules.

    Args:
        run: What the run consists of.
        base: Folder that relative paths start from.

    Raises:
        UserError: neither can be read.
    """
    path = scan_set_path(run)
    if path.is_file():
        with ScanSet(path) as scan_set:
            found = [_of_file(scan_set, scan_id) for scan_id in scan_set.ids]
    else:
        found = [
            _of_molecule(system, scan_id, bond) for system, scan_id, bond in _planned(run, base)
        ]
    facts = {one.id: one for one in found}
    if missing := sorted(set(run.planned) - facts.keys()):
        raise UserError(
            f"{path}: does not hold the scan {missing[0]!r} of the configuration; build it again "
            "with the rule `scan_set`"
        )
    return facts


def _of_file(scan_set: ScanSet, scan_id: str) -> Facts:
    frames, atoms = scan_set.shape(scan_id)
    elements, charge, spin = scan_set.composition(scan_id)
    return Facts(
        id=scan_id,
        system=scan_set.system(scan_id),
        bond=scan_id.partition("/")[0],
        frames=0 if scan_set.quality(scan_id)[0] == "dropped" else frames,
        atoms=atoms,
        elements=elements,
        charge=charge,
        spin=spin,
    )


def _of_molecule(system: System, scan_id: str, bond: str) -> Facts:
    return Facts(
        id=scan_id,
        system=system.id,
        bond=bond,
        frames=N_FRAMES,
        atoms=len(system.numbers),
        elements=frozenset(system.numbers.tolist()),
        charge=system.charge,
        spin=system.spin,
    )


def _planned(run: Run, base: Path) -> list[tuple[System, str, str]]:
    """Molecule, id and bond type of every scan of a set of molecules."""
    from pesbench.references.molecules import read_molecules  # RDKit

    settings = run.settings
    return [
        (system, bond.id, bond.bond)
        for system in read_molecules(settings["molecules"], base)
        for bond in planned_bonds(
            system, bonds_to_hydrogen=settings["bonds_to_hydrogen"], types=settings["bonds"]
        )
        if isinstance(bond, PlannedBond)
    ]
