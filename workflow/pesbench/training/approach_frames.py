"""Closest-approach frames to train on: two bonded atoms of a sampled frame come close.

The frames are those of the task `approach`, from other geometries: a frame starts from one that was
sampled at a temperature and is clearly closer to the conformer of the training than to that of the
test. Of a bond to hydrogen they leave out the stretched part, which is no approach.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from pesbench.core.coordinates.approach import approach_frames, number_distances, shares
from pesbench.core.errors import UserError
from pesbench.core.geometry import apart
from pesbench.core.interface import Batch, Result, Topology
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.files.atomic import atomic_path
from pesbench.files.molecules.reading import read_systems
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.models.as_calculator import EvaluationError, ModelCalculator
from pesbench.models.registry import ModelEntry, load
from pesbench.training.data_plan import DataPlan
from pesbench.training.frames import WEIGHT, check_told, read_labelled
from pesbench.training.nested import tenth_of
from pesbench.training.sampling import ENERGY, FORCES, TRAIN, VALID, seed_number

CLEARLY = 1.5  # so many times closer to one conformer, else a geometry is between two
MOST_TRIES = 200  # for one frame
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Approaches:
    """Which frames are made.

    Attributes:
        molecules: Ids of the molecules, which take turns, and their bonds likewise.
        count: Number of frames.
        highest_ev: Largest energy above that of the start.
        weight: Weight in the loss of MACE.
    """

    molecules: Sequence[str]
    count: int
    highest_ev: float
    weight: float


@dataclass(frozen=True)
class _Molecule:
    """A molecule that gives frames: its bonds in random order, and where they may start."""

    system: System
    test: System
    bonds: list[tuple[int, int]]
    starts: list[Atoms]


def make_approaches(
    frames: Sequence[Atoms],
    systems: Mapping[str, System],
    tested: Mapping[str, System],
    wanted: Approaches,
    evaluate: Callable[[Batch], Result],
) -> list[Atoms]:
    """Closest-approach frames, of which the first n are those of any larger number.

    Args:
        frames: Of `pesbench sample`; those that it trains or validates with are starts.
        systems: Their molecules by id, with bonds.
        tested: Molecules in the geometries that tests start from, by id.
        wanted: How many, and of which molecules.
        evaluate: The method that labels them.

    Returns:
        Frames with energy and forces; `info` holds the `system`, the pair, its distance in Å and
        how far the start is from the geometries of training and test.

    Raises:
        UserError: a molecule is not there, no frame of it is in the conformer of the training, or
            the method converges on none below the highest energy.
    """
    molecules = [_molecule(name, frames, systems, tested) for name in wanted.molecules]
    made = []
    for number in track(range(wanted.count), wanted.count, "frames"):
        one = molecules[number % len(molecules)]
        pair = one.bonds[number // len(molecules) % len(one.bonds)]
        made.append(_frame(one, pair, number, wanted, evaluate))
    return made


def _molecule(
    name: str,
    frames: Sequence[Atoms],
    systems: Mapping[str, System],
    tested: Mapping[str, System],
) -> _Molecule:
    for known in (systems, tested):
        if name not in known:
            raise UserError(f"no molecule {name!r} among {', '.join(sorted(known))}; correct it")
    system, test = systems[name], tested[name]
    if system.numbers.tolist() != test.numbers.tolist():
        raise UserError(f"molecule {name!r}: the atoms of training and test are not the same")
    own = [a for a in frames if a.info.get("system") == name and a.info["part"] in (TRAIN, VALID)]
    starts = [a for a in own if in_conformer(a.positions, system, test)]
    if not starts:
        raise UserError(
            f"molecule {name!r}: none of its {len(own)} frames is {CLEARLY} times closer to the "
            "geometry of the training than to that of the test; sample another conformer"
        )
    logger.info("%s: %d of %d frames are starts", name, len(starts), len(own))
    order = np.random.default_rng(seed_number("bonds", name)).permutation(len(system.bonds))
    return _Molecule(system, test, [tuple(system.bonds[k].tolist()) for k in order], starts)


def in_conformer(positions: NDArray[np.float64], own: System, other: System) -> bool:
    """Whether a geometry is clearly closer to one conformer than to another, see `core.geometry`.

    A distance from the other alone would not tell: heat moves a molecule as far as some conformers
    are from each other.

    Args:
        positions: Å, shape (N, 3).
        own: The one conformer.
        other: The other one.
    """
    to_own, to_other = (apart(own.numbers, positions, one.positions) for one in (own, other))
    return CLEARLY * to_own < to_other


def _frame(
    one: _Molecule,
    pair: tuple[int, int],
    number: int,
    wanted: Approaches,
    evaluate: Callable[[Batch], Result],
) -> Atoms:
    system, (i, j) = one.system, pair
    for attempt in range(MOST_TRIES):
        rng = np.random.default_rng(seed_number("approach", system.id, number, attempt))
        start = one.starts[int(rng.integers(len(one.starts)))]
        length = float(np.linalg.norm(start.positions[j] - start.positions[i]))
        grid = number_distances(length)[1:]  # the first is the start itself
        distance = float(grid[int(rng.integers(len(grid)))])
        moving = shares(system.numbers, pair)
        positions = approach_frames(start.positions, pair, np.array([distance]), moving)[0]
        atoms = Atoms(system.numbers, positions)
        atoms.info |= {"charge": system.charge, "spin": system.spin}
        atoms.calc = ModelCalculator(evaluate, Topology(system.bonds, system.smiles))
        try:
            energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        except EvaluationError:
            continue  # it does not converge there
        atoms.calc = None
        if not np.isfinite(forces).all() or energy - start.info[ENERGY] > wanted.highest_ev:
            continue
        told: dict[str, Any] = {
            "system": system.id,
            "temperature_k": start.info["temperature_k"],
            "pair": f"{i}-{j}",
            "distance_angstrom": distance,
            "above_start_ev": energy - start.info[ENERGY],
            "apart_from_own_angstrom": apart(system.numbers, start.positions, system.positions),
            "apart_from_test_angstrom": apart(system.numbers, start.positions, one.test.positions),
            WEIGHT: wanted.weight,
            "part": TRAIN,
            ENERGY: energy,
        }
        atoms.info |= told
        atoms.arrays[FORCES] = forces
        return atoms
    raise UserError(
        f"molecule {system.id!r}, bond {i}-{j}: the method converges on none of {MOST_TRIES} "
        f"frames below {wanted.highest_ev:g} eV; take another molecule or a higher energy"
    )


@dataclass(frozen=True)
class Inputs:
    """What closest-approach frames are made from.

    Attributes:
        frames: File of `pesbench sample`.
        molecules: File of the molecules that it sampled.
        tested: File of the same molecules in the geometries that tests start from.
    """

    frames: Path
    molecules: Path
    tested: Path


def write_approaches(plan: DataPlan, inputs: Inputs, method: ModelEntry, out: Path) -> None:
    """Make and write the closest-approach frames of the largest set of a plan.

    Raises:
        UserError: a file is unfit, or a molecule gives no frame.
    """
    wanted = Approaches(
        plan.approached, tenth_of(plan.largest), plan.highest_ev, plan.approach_weight
    )
    systems, tested = (
        {system.id: system for system in read_systems(path)}
        for path in (inputs.molecules, inputs.tested)
    )
    frames = [a for a in read_labelled(inputs.frames) if a.info["part"] in (TRAIN, VALID)]
    check_told(frames, inputs.frames, ("system", "temperature_k"))
    evaluate = load(method, scan_set=None, device="cpu").evaluate
    made = make_approaches(frames, systems, tested, wanted, evaluate)
    with atomic_path(out) as part:
        write_extxyz(part, made)
