"""The trainings of family `wavefunction`: which molecules, in which basis, at which geometries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.names import closest, is_path_name
from pesbench.core.paths import given_path
from pesbench.core.settings import PATH, setting
from pesbench.core.systems import System
from pesbench.files.molecules.reading import read_systems
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import check_block, validate
from pesbench.models.families.wavefunction.exchanges import walked
from pesbench.models.families.wavefunction.supported import MOST_ATOMS

GREEDY, EQUIDISTANT, LISTED = "greedy", "equidistant", "list"


@dataclass(frozen=True, kw_only=True)
class MoleculeKeys:
    """Where one molecule is calculated."""

    basis: str = setting(help="PySCF's name of the basis set.")
    points: str = setting(
        GREEDY,
        help="`greedy`: the geometry of the molecules' file, then each time that candidate at "
        "which the variance of the interpolated energy is largest, which bounds what another "
        "calculation can change; `equidistant`: equal steps of all bonds together; `list`: those "
        "of `file`.",
        choices=(GREEDY, EQUIDISTANT, LISTED),
    )
    calculations: int = setting(
        22, help="Training geometries, at most for `greedy`.", at_least=1, at_most=1000
    )
    lengths_angstrom: tuple[float, float] = setting(
        (0.8, 1.5), help="Shortest and longest bond of candidates, in Å.", above=0, at_most=100
    )
    bend_degrees: float = setting(
        0.0,
        help="Largest angle by which a bond of a candidate is turned from that of the molecules' "
        "file, in degrees.",
        at_least=0,
        at_most=90,
    )
    candidates: int = setting(
        60, help="Number of candidates for `greedy`.", at_least=1, at_most=100_000
    )
    least_variance: float = setting(
        1e-9,
        help="`greedy` ends when no candidate has a larger variance, in Hartree².",
        above=0,
        at_most=1,
    )
    least_new: float = setting(
        1e-8,
        help="A calculation adds no state where the squared norm of what it has beyond the span of "
        "the earlier ones is smaller. (The smallest eigenvalue of the states' overlap is never "
        "larger than this norm.) `greedy` ends there.",
        at_least=1e-14,
        at_most=1,
    )
    file: str | None = setting(
        None, help="Geometries for `list`, a file of molecules (extxyz, ...).", path=PATH
    )


@dataclass(frozen=True, kw_only=True)
class PlanFile:
    """The trainings that `pesbench train-wavefunction` knows."""

    molecules: str = setting(help="File of the molecules, each at one geometry.", path=PATH)
    defaults: Mapping[str, Any] = setting(dict, help="Keys that all molecules share.")
    trainings: Mapping[str, Any] = setting(
        help="Trainings by name: a block of keys for each molecule, by its id."
    )


@dataclass(frozen=True)
class MoleculePlan:
    """One molecule of a training.

    Attributes:
        system: The molecule, with its geometry in Å and its bonds.
        keys: Its keys.
        listed: Geometries of `list` in Å, each of shape (N, 3); empty for other points.
    """

    system: System
    keys: MoleculeKeys
    listed: tuple[NDArray[np.float64], ...] = ()


def read_trainings(path: Path) -> dict[str, dict[str, MoleculeKeys]]:
    """Keys of the molecules of every training of a file, by training and id of the molecule.

    Raises:
        UserError: one line with the file, the training and the cure.
    """
    file: PlanFile = validate(PlanFile, read_yaml(path), str(path))
    found: dict[str, dict[str, MoleculeKeys]] = {}
    for name, blocks in file.trainings.items():
        place = f"{path}: {name}"
        if not is_path_name(name):
            raise UserError(f"{place}: no name for a file; use letters, digits, . _ + and -")
        check_block(blocks, place)
        found[name] = {}
        for molecule, own in blocks.items():
            where = f"{place}: {molecule}"
            check_block(own, where)
            keys: MoleculeKeys = validate(MoleculeKeys, {**file.defaults, **own}, where)
            low, high = keys.lengths_angstrom
            if low >= high:
                raise UserError(
                    f"{where}: `lengths_angstrom` is [{low:g}, {high:g}]; give [less, more]"
                )
            if (keys.points == LISTED) != (keys.file is not None):
                raise UserError(f"{where}: `file` and `points: list` belong together")
            found[name][molecule] = keys
        if not blocks:
            raise UserError(f"{place}: no molecule; give at least one")
    return found


def read_training(path: Path, name: str) -> list[MoleculePlan]:
    """The molecules of a training.

    Raises:
        UserError: as `read_trainings`; there is no such training; or a molecule is missing, is no
            neutral singlet, has a ring, or occurs twice under two ids.
    """
    trainings = read_trainings(path)
    if name not in trainings:
        raise UserError(f"{path}: no training {name!r}; {closest(name, trainings)}")
    file: PlanFile = validate(PlanFile, read_yaml(path), str(path))
    systems = {one.id: one for one in read_systems(Path(file.molecules))}
    plans = []
    for molecule, keys in trainings[name].items():
        place = f"{path}: {name}: {molecule}"
        if molecule not in systems:
            raise UserError(f"{place}: not in {file.molecules}; {closest(molecule, systems)}")
        system = systems[molecule]
        if system.charge or system.spin != 1 or int(system.numbers.sum()) % 2:
            raise UserError(f"{place}: neutral singlets only")
        if len(system.numbers) > MOST_ATOMS:
            raise UserError(f"{place}: more than {MOST_ATOMS} atoms; full CI takes a few")
        if len(system.bonds) != len(system.numbers) - 1 or len(walked(system.bonds.tolist())) < len(
            system.bonds
        ):
            raise UserError(f"{place}: its bonds have to make one molecule without rings")
        plans.append(MoleculePlan(system, keys, _listed(system, keys, place)))
    compositions = [tuple(sorted(plan.system.numbers.tolist())) for plan in plans]
    if len(set(compositions)) < len(plans):
        raise UserError(f"{path}: {name}: two molecules of one sum formula; take them apart")
    return plans


def _listed(system: System, keys: MoleculeKeys, place: str) -> tuple[NDArray[np.float64], ...]:
    if keys.file is None:
        return ()
    frames = read_systems(given_path(keys.file))
    for frame in frames:
        if not np.array_equal(frame.numbers, system.numbers):
            raise UserError(
                f"{place}: {keys.file}: {frame.id} has other atoms, or in another order"
            )
    return tuple(frame.positions for frame in frames)


def with_bonds(
    system: System, lengths: NDArray[np.float64], turned: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """A geometry with other bond lengths and directions, without rings.

    Args:
        system: The molecule.
        lengths: Å, one a bond, in the order in which the molecule is walked from its first atom.
        turned: What is added to the unit vectors of these bonds, shape (B, 3); None for nothing.

    Returns:
        Å, shape (N, 3).
    """
    found = np.zeros_like(system.positions)
    for number, (start, end) in enumerate(walked(system.bonds.tolist())):
        vector = system.positions[end] - system.positions[start]
        unit = vector / np.linalg.norm(vector)
        if turned is not None:
            unit = unit + turned[number]
        found[end] = found[start] + lengths[number] * unit / np.linalg.norm(unit)
    return found


def equidistant(plan: MoleculePlan) -> list[NDArray[np.float64]]:
    """Geometries in Å whose bonds all have one length, in equal steps."""
    low, high = plan.keys.lengths_angstrom
    return [
        with_bonds(plan.system, np.full(len(plan.system.bonds), length))
        for length in np.linspace(low, high, plan.keys.calculations)
    ]


def candidates(plan: MoleculePlan, seed: int) -> list[NDArray[np.float64]]:
    """Geometries in Å that `greedy` chooses from, the molecule's own first.

    A molecule of one bond has equal steps of it. Others have lengths and bends at
    random, and beside these the scans of each bond with the others as they are.

    Args:
        plan: The molecule.
        seed: Of the random numbers.
    """
    system, keys = plan.system, plan.keys
    (low, high), bonds = keys.lengths_angstrom, len(system.bonds)
    found = [system.positions.copy()]
    if bonds == 1:
        steps = np.linspace(low, high, keys.candidates)[:, None]
        return found + [with_bonds(system, length) for length in steps]
    drawn = np.random.default_rng(seed).random((keys.candidates, 4 * bonds))
    size = np.tan(np.radians(keys.bend_degrees))
    for row in drawn:
        bend = (2 * row[bonds:].reshape(bonds, 3) - 1) * size / np.sqrt(3)
        found.append(with_bonds(system, low + (high - low) * row[:bonds], bend))
    own = np.array([
        np.linalg.norm(system.positions[end] - system.positions[start])
        for start, end in walked(system.bonds.tolist())
    ])  # fmt: skip
    for bond in range(bonds):
        for length in np.linspace(low, high, max(2, keys.candidates // (4 * bonds))):
            lengths = own.copy()
            lengths[bond] = length
            found.append(with_bonds(system, lengths))
    return found
