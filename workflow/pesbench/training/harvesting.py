"""Labels of harvested frames, by any method of the registry, and the file that trainings read."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
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
    LIKE_ANOTHER,
    NOT_NEEDED,
    Candidate,
    Distinct,
    candidates,
    distinct_from,
    dynamics_wall_s,
    new_beside,
    trajectory_files,
    unfit,
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


@dataclass(frozen=True)
class Choice:
    """Which frames are labelled and kept. A frame whose label is not taken stands for no other one.

    Attributes:
        fit: Candidates whose geometry is worth a label, in order.
        unfit: The others, each with the reason.
        known: Frames that are labelled already.
        settings: The limits.
    """

    fit: Sequence[Candidate]
    unfit: Sequence[tuple[Candidate, str]]
    known: Distinct
    settings: HarvestSettings

    @classmethod
    def of(
        cls, some: Sequence[Candidate], settings: HarvestSettings, known: Sequence[Atoms] = ()
    ) -> Choice:
        """The choice among candidates.

        Args:
            some: Candidates, in order.
            settings: The limits.
            known: Frames that are labelled already.
        """
        looked = [(one, unfit(one, settings)) for one in some]
        fit = [one for one, reason in looked if not reason]
        rest = [(one, reason) for one, reason in looked if reason]
        return cls(fit, rest, distinct_from(known, settings.apart_angstrom), settings)

    def kept(self, labels: Mapping[int, Label]) -> list[int]:
        """Numbers of the fit candidates whose label is taken."""
        limit = self.settings.largest_force
        return [k for k, label in labels.items() if not rejected(label, limit)]

    def wanted(self, labels: Mapping[int, Label]) -> list[int]:
        """Numbers of the fit candidates to label next: new ones, as many as are missing."""
        missing = self.settings.most - len(self.kept(labels))
        return list(islice(self._new(labels), missing))

    def _new(self, labels: Mapping[int, Label]) -> Iterator[int]:
        return new_beside(self.kept(labels), self.fit, labels, self.known)

    def left_out(self, labels: Mapping[int, Label]) -> list[tuple[Candidate, str, str]]:
        """The candidates that are not kept, each with the reason and the message of its label."""
        new, found = set(self._new(labels)), [(one, reason, "") for one, reason in self.unfit]
        for k, one in enumerate(self.fit):
            if k not in labels:
                found.append((one, NOT_NEEDED if k in new else LIKE_ANOTHER, ""))
            elif reason := rejected(labels[k], self.settings.largest_force):
                found.append((one, reason, labels[k].message))
        return found


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
    choice = Choice.of(some, job.settings, known)
    sources = {str(path): file_sha256(path) for path in (*files, *job.known)}
    made = Labelling(job.method, [_system(one) for one in choice.fit], job.out)
    made.run(choice.wanted)
    frames = [_atoms(choice.fit[k], made.labels[k]) for k in sorted(choice.kept(made.labels))]
    left_out = choice.left_out(made.labels)
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
