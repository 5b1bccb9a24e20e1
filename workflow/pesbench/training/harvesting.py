"""Labels of harvested frames, by any method of the registry, and the file that trainings read."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.systems import System
from pesbench.engine.shard import refuse_control
from pesbench.files import provenance
from pesbench.files.atomic import atomic_path, write_json
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.models.addresses import file_sha256
from pesbench.training.frames import read_frames
from pesbench.training.harvest import (
    NOT_NEEDED,
    Candidate,
    candidates,
    dynamics_wall_s,
    sifted,
    trajectory_files,
)
from pesbench.training.harvest_settings import HarvestSettings
from pesbench.training.labels import Label, Labelling, Method
from pesbench.training.sampling import ENERGY, FORCES, TRAIN

LARGE_FORCE = "force too large"
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class HarvestJob:
    """Input of `write_harvest`.

    Attributes:
        paths: Files of trajectories, or folders of results.
        method: What labels.
        settings: Which frames, and the limits.
        out: extxyz to write; its record is written beside it (`.json`).
        known: Files of frames that need no others like them.
    """

    paths: Sequence[Path]
    method: Method
    settings: HarvestSettings
    out: Path
    known: Sequence[Path] = ()


def rejected(label: Label, largest_force: float) -> str:
    """Why a label is not taken, or "": the method failed, or a force is too large."""
    if label.status is not Status.OK:
        return f"label {label.status.value}"
    force = float(np.linalg.norm(label.forces, axis=1).max())
    return LARGE_FORCE if force > largest_force else ""


def write_harvest(job: HarvestJob) -> None:
    """Label the frames of alarms and failures that are new and sound, and write them.

    Continues from its checkpoint if an earlier call was killed. Without any frame the file is
    empty, and its record says why.

    Raises:
        UserError: a file is missing or damaged, the entry is a control, or the method does not
            load or has no energies.
        HostError: the machine failed; a second call continues.
    """
    refuse_control(job.method.entry, "harvest")
    if job.out.suffix != ".extxyz":
        raise UserError(f"{job.out}: harvest writes extxyz; give a name that ends in .extxyz")
    files = trajectory_files(job.paths)
    known = [atoms for path in job.known for atoms in read_frames(path)]
    some = candidates(files, job.settings.last_steps)
    looked = list(sifted(some, job.settings, known))
    wanted = [one for one, reason in looked if not reason]
    sources = {str(path): file_sha256(path) for path in (*files, *job.known)}
    made = Labelling(job.method, [_system(one) for one in wanted], job.out)
    limit, most = job.settings.largest_force, job.settings.most
    made.run(lambda labels: sum(not rejected(one, limit) for one in labels) >= most)
    frames, rest = _taken(wanted, made.labels, job.settings)
    left_out = [(one, reason, "") for one, reason in looked if reason] + rest
    counts = Counter(reason for _, reason, _ in left_out)
    write_json(
        job.out.with_suffix(".json"),
        {
            "labels": job.method.entry.deciding(),
            "settings": asdict(job.settings),
            "sources": {Path(path).name: sha256 for path, sha256 in sources.items()},
            "candidates": len(some),
            "labelled": len(made.labels),
            "frames": len(frames),
            "left_out": dict(sorted(counts.items())),
            "left_out_frames": [_told(*one) for one in left_out],
            "spent": made.spent,
            "dynamics_wall_s": dynamics_wall_s(files),
            "provenance": provenance.collect(job.method.environment.software),
        },
    )
    with atomic_path(job.out) as part:
        write_extxyz(part, frames)
    made.checkpoint.remove()
    told = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items())) or "none"
    logger.info("%d frames of %d candidates; left out: %s", len(frames), len(some), told)


def _told(one: Candidate, reason: str, message: str) -> dict[str, Any]:
    told = {
        "model": one.model, "trajectory": one.trajectory.name, "step": one.step, "why": one.why,
        "reason": reason,
    }  # fmt: skip
    return told | ({"message": message} if message else {})


def _taken(
    wanted: Sequence[Candidate], labels: Sequence[Label], settings: HarvestSettings
) -> tuple[list[Atoms], list[tuple[Candidate, str, str]]]:
    """The frames with their labels, and those that are left out with reason and message."""
    frames: list[Atoms] = []
    rest = []
    for one, label in zip_longest(wanted, labels):
        if label is None or len(frames) == settings.most:
            rest.append((one, NOT_NEEDED, ""))
        elif reason := rejected(label, settings.largest_force):
            rest.append((one, reason, label.message))
        else:
            frames.append(_atoms(one, label))
    return frames, rest


def _system(one: Candidate) -> System:
    of = one.trajectory
    return System(of.system, of.numbers, one.positions, of.bonds, of.charge, of.spin)


def _atoms(one: Candidate, label: Label) -> Atoms:
    of = one.trajectory
    atoms = Atoms(of.numbers, one.positions)
    atoms.info = {
        "system": of.system, "temperature_k": of.temperature_k, "replicate": of.replicate,
        "step": one.step, "charge": of.charge, "spin": of.spin, "model": one.model, "why": one.why,
        "part": TRAIN, ENERGY: label.energy,
    }  # fmt: skip
    atoms.arrays[FORCES] = label.forces
    return atoms
