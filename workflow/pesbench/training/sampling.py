"""Frames to train on: Langevin dynamics of molecules with a method of the registry.

The held-out frames of a seen molecule come from trajectories of their own, so that no held-out
frame is the neighbour in time of one that was trained on.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii, ground_state_magnetic_moments
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from numpy.typing import NDArray

from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import Batch, Result, Topology, told
from pesbench.core.names import closest
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.files import provenance
from pesbench.files.atomic import atomic_path, write_json
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.files.split import SEEN
from pesbench.models.as_calculator import EvaluationError, ModelCalculator
from pesbench.models.registry import ModelEntry, load

TRAIN, VALID, TEST_SEEN, TEST_UNSEEN, ISOLATED = "train", "valid", "seen", "unseen", "isolated"
TRAINED_REPLICATE, HELD_OUT_REPLICATE = 0, 1
BROKEN_BEYOND = 2.0  # covalent-radius sums
ENERGY, FORCES = "REF_energy", "REF_forces"  # as they are called in the file
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Sampling:
    """Settings of trajectories and of their sampling.

    Attributes:
        temperatures_k: One trajectory a molecule, temperature and replicate; near equilibrium, so
            that scans and hot dynamics test what lies beyond the frames.
        timestep_fs: Time step of the integrator.
        friction_per_fs: Friction of the thermostat.
        equilibration_steps: Before the first frame.
        interval_steps: Steps between two frames.
        frames: Frames of a trajectory.
        validation_every: Every so many-th trained frame is kept for validation.
    """

    temperatures_k: tuple[float, ...] = (300.0, 600.0)
    timestep_fs: float = 0.5
    friction_per_fs: float = 0.02
    equilibration_steps: int = 400
    interval_steps: int = 60
    frames: int = 15
    validation_every: int = 10


def chosen(systems: Sequence[System], ids: Sequence[str]) -> list[System]:
    """The systems of these ids.

    Raises:
        UserError: there is none of an id.
    """
    known = {system.id: system for system in systems}
    for name in ids:
        if name not in known:
            raise UserError(f"--only {name}: no such molecule; {closest(name, known)}")
    return [system for system in systems if system.id in ids]


def seed_number(*names: object) -> int:
    """A seed that depends on names only."""
    text = " ".join(map(str, names))
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def is_broken(positions: NDArray[np.float64], system: System) -> bool:
    """Whether a bond of the molecule is longer than twice the covalent sum."""
    i, j = system.bonds.T
    length = np.linalg.norm(positions[i] - positions[j], axis=1)
    limit = BROKEN_BEYOND * (covalent_radii[system.numbers[i]] + covalent_radii[system.numbers[j]])
    return bool((length > limit).any())


def langevin_frames(
    system: System,
    temperature_k: float,
    replicate: int,
    sampling: Sampling,
    evaluate: Callable[[Batch], Result],
) -> list[Atoms]:
    """Frames of one trajectory, with energy and forces.

    A trajectory ends early where the method fails or a bond breaks: frames of fragments are no
    frames of this molecule.

    Args:
        system: System with its initial geometry.
        temperature_k: Temperature of the thermostat, K.
        replicate: Trajectories that differ in nothing else differ in it.
        sampling: How.
        evaluate: The method.

    Returns:
        At most `sampling.frames` frames; `info` holds `system`, `temperature_k`, `replicate`,
        `step`, `charge`, `spin` and the energy in eV, `arrays` the forces in eV/Å.
    """
    rng = np.random.default_rng(seed_number("langevin", system.id, f"{temperature_k:g}", replicate))
    atoms = Atoms(system.numbers, system.positions)
    atoms.info |= {"charge": system.charge, "spin": system.spin}
    atoms.calc = ModelCalculator(evaluate, Topology(system.bonds, system.smiles))
    # twice the temperature at a minimum is the temperature after equipartition
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature_k, rng=rng)
    dynamics = Langevin(
        atoms,
        timestep=sampling.timestep_fs * units.fs,
        temperature_K=temperature_k,
        friction=sampling.friction_per_fs / units.fs,
        fixcm=False,  # an isolated molecule may drift
        rng=rng,
    )
    frames: list[Atoms] = []
    steps = sampling.equilibration_steps
    for number in range(sampling.frames):
        try:
            dynamics.run(steps if number == 0 else sampling.interval_steps)
        except EvaluationError as failure:
            logger.warning("%s at %g K: %s; it ends there", system.id, temperature_k, failure)
            break
        if is_broken(atoms.positions, system):
            logger.warning("%s at %g K: a bond breaks; it ends there", system.id, temperature_k)
            break
        frame = Atoms(system.numbers, atoms.positions.copy())
        frame.info = atoms.info | {
            "system": system.id,
            "temperature_k": float(temperature_k),
            "replicate": replicate,
            "step": dynamics.nsteps,
            ENERGY: atoms.get_potential_energy(),
        }
        frame.arrays[FORCES] = atoms.get_forces()
        frames.append(frame)
    return frames


def isolated_atoms(systems: Sequence[System], evaluate: Callable[[Batch], Result]) -> list[Atoms]:
    """One atom of every element in its ground state, which fixes the zero of the energy.

    Raises:
        UserError: the method has no energy for one of them.
    """
    frames = []
    for number in sorted({int(z) for system in systems for z in system.numbers}):
        atom = Atoms([number], [(0.0, 0.0, 0.0)])
        atom.info |= {"charge": 0, "spin": 1 + round(ground_state_magnetic_moments[number])}
        atom.calc = ModelCalculator(evaluate, Topology(np.empty((0, 2), dtype=np.int64)))
        try:
            energy = atom.get_potential_energy()
        except EvaluationError as failure:
            raise UserError(f"an isolated {atom.symbols} atom: {failure}") from failure
        atom.calc = None
        atom.info |= {"config_type": "IsolatedAtom", "part": ISOLATED, ENERGY: energy}
        atom.arrays[FORCES] = np.zeros((1, 3))
        frames.append(atom)
    return frames


def sample(
    systems: Sequence[System], split: dict[str, str], sampling: Sampling, entry: ModelEntry
) -> tuple[list[Atoms], dict[str, int]]:
    """All frames, each with its `part` in `info`.

    Returns:
        Frames, and how many trajectories were planned, ended early and how many frames a part has.

    Raises:
        UserError: a system is not in the split, or there is nothing to train on.
    """
    if missing := [system.id for system in systems if system.id not in split]:
        raise UserError(f"the split names no system {missing[0]!r}; make it again")
    try:
        evaluate = load(entry, scan_set=None, device="cpu").evaluate
    except (UserError, HostError):
        raise
    except Exception as error:
        raise UserError(f"model {entry.name!r}: does not load ({told(error)})") from error
    # a model supports the elements of its training data
    frames = isolated_atoms([s for s in systems if split[s.id] == SEEN], evaluate)
    plan = [
        (system, temperature, replicate)
        for system in sorted(systems, key=lambda s: s.id)
        for temperature in sampling.temperatures_k
        for replicate in (TRAINED_REPLICATE, HELD_OUT_REPLICATE)
        if replicate == HELD_OUT_REPLICATE or split[system.id] == SEEN
    ]
    ended_early = 0
    for system, temperature, replicate in track(plan, len(plan), "trajectories"):
        found = langevin_frames(system, temperature, replicate, sampling, evaluate)
        ended_early += len(found) < sampling.frames
        for number, frame in enumerate(found):
            if replicate == HELD_OUT_REPLICATE:
                frame.info["part"] = TEST_SEEN if split[system.id] == SEEN else TEST_UNSEEN
            else:
                held = (number + 1) % sampling.validation_every == 0
                frame.info["part"] = VALID if held else TRAIN
            frames.append(frame)
    parts = [frame.info["part"] for frame in frames]
    counts = {f"frames_{part}": parts.count(part) for part in sorted(set(parts))}
    if not counts.get(f"frames_{TRAIN}"):
        raise UserError("no frame to train on: every trajectory ended before its first frame")
    return frames, {"trajectories": len(plan), "ended_early": ended_early, **counts}


def write_frames(
    systems: Sequence[System],
    split: dict[str, str],
    sampling: Sampling,
    entry: ModelEntry,
    out: Path,
    record: Path,
) -> None:
    """Sample, and write the frames as extxyz and how they were made as JSON.

    Raises:
        UserError: see `sample`.
    """
    frames, counts = sample(systems, split, sampling, entry)
    with atomic_path(out) as part:
        write_extxyz(part, frames)
    write_json(
        record,
        {
            "sampling": json.loads(json.dumps(asdict(sampling))),
            "method": entry.deciding(),
            "counts": counts,
            "seen": sorted(s.id for s in systems if split[s.id] == SEEN),
            "unseen": sorted(s.id for s in systems if split[s.id] != SEEN),
            "provenance": provenance.collect(),
        },
    )
