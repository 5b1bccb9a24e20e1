"""Labels of harvested frames, by any method of the registry, and the file that trainings read."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Status, batch_of
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.patient_worker import PatientWorker
from pesbench.engine.shard import Spent, load_for_molecules, refuse_control
from pesbench.engine.worker import ModelFailureError
from pesbench.files import provenance
from pesbench.files.atomic import atomic_path, write_json
from pesbench.files.checkpoint import Arrays, Checkpoint, stored_array
from pesbench.files.environment import Environment
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.models.addresses import file_sha256
from pesbench.models.registry import ModelEntry
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
from pesbench.training.sampling import ENERGY, FORCES, TRAIN

PIECE = 16  # frames from one checkpoint to the next
LARGE_FORCE = "force too large"
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class HarvestJob:
    """Input of `write_harvest`.

    Attributes:
        paths: Files of trajectories, or folders of results.
        labels: Entry of the method that labels.
        settings: Which frames, and the limits.
        out: extxyz to write; its record is written beside it (`.json`).
        known: Files of frames that need no others like them.
        device, threads, environment: Where the method runs.
    """

    paths: Sequence[Path]
    labels: ModelEntry
    settings: HarvestSettings
    out: Path
    known: Sequence[Path] = ()
    device: str = "auto"
    threads: int = 1
    environment: Environment | None = None


@dataclass(frozen=True)
class Label:
    """What the method says of a frame.

    Attributes:
        status: `ok`, or how it failed.
        message: Why.
        energy: eV.
        forces: eV/Å, shape (N, 3).
    """

    status: Status
    message: str
    energy: float
    forces: NDArray[np.float64]


def rejected(label: Label, largest_force: float) -> str:
    """Why a label is not taken, or "": the method failed, a number is not finite, or too large."""
    if label.status is not Status.OK:
        return f"label {label.status.value}"
    if not (np.isfinite(label.energy) and np.isfinite(label.forces).all()):
        return f"label {Status.NONFINITE.value}"
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
    refuse_control(job.labels, "harvest")
    if job.out.suffix != ".extxyz":
        raise UserError(f"{job.out}: harvest writes extxyz; give a name that ends in .extxyz")
    files = trajectory_files(job.paths)
    known = [atoms for path in job.known for atoms in read_frames(path)]
    some = candidates(files, job.settings.last_steps)
    looked = list(sifted(some, job.settings, known))
    wanted = [one for one, reason in looked if not reason]
    sources = {str(path): file_sha256(path) for path in (*files, *job.known)}
    made = _Labelling(job, wanted, sorted(sources.values()))
    made.run()
    frames, rest = made.taken()
    left_out = [(one, reason, "") for one, reason in looked if reason] + rest
    counts = Counter(reason for _, reason, _ in left_out)
    write_json(
        job.out.with_suffix(".json"),
        {
            "labels": job.labels.deciding(),
            "settings": asdict(job.settings),
            "sources": {Path(path).name: sha256 for path, sha256 in sources.items()},
            "candidates": len(some),
            "labelled": len(made.labels),
            "frames": len(frames),
            "left_out": dict(sorted(counts.items())),
            "left_out_frames": [_told(*one) for one in left_out],
            "spent": made.spent,
            "dynamics_wall_s": dynamics_wall_s(files),
            "provenance": provenance.collect(),
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


@dataclass
class _Labelling:
    """Labels under way. Each piece of the checkpoint is `PIECE` frames.

    Attributes:
        job: The command.
        wanted: Frames to label, in order; the first that are taken are enough.
        content: sha256 of all input files.
        labels: Of the first of them.
        spent: Time and work, over all calls.
    """

    job: HarvestJob
    wanted: Sequence[Candidate]
    content: Sequence[str]
    labels: list[Label] = field(default_factory=list)
    spent: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        job = self.job
        self.checkpoint = Checkpoint(
            job.out,
            {
                "model": job.labels.deciding(),
                "settings": asdict(job.settings),
                "content": list(self.content),
                "device": job.device,
                "threads": job.threads,
                "code": stage_fingerprint(__name__, *family_modules(job.labels.families)),
            },
        )
        self._systems = {one.trajectory.system: _system(one) for one in self.wanted}

    def run(self) -> None:
        """Label until enough frames are taken, or none is left."""
        if not self.wanted:
            return
        job = self.job
        with PatientWorker(
            job.labels,
            {f"{k}": one.trajectory.system for k, one in enumerate(self.wanted)},
            device=job.device,
            threads=job.threads,
            timeout_s=job.labels.timeout_s,
            environment=job.environment,
        ) as worker:
            spent = Spent.resume(self.checkpoint, worker)
            try:
                systems = list(self._systems.values())
                info, limit = load_for_molecules(worker, self.checkpoint, job.labels, systems)
            except ModelFailureError as failure:
                raise UserError(f"model {job.labels.name!r}: {failure.message}") from failure
            spent.save()
            unknown = {system.id: why_unsupported(system, info) for system in systems}
            evaluator = Evaluator(worker, limit)
            for _ in track(self._pieces(), -(-len(self.wanted) // PIECE), "groups of frames"):
                number = len(self.labels)
                if number >= self.checkpoint.count * PIECE:
                    self.checkpoint.append(**self._label(evaluator, number, unknown))
                    spent.save()
                self.labels += self.checkpoint.read(number // PIECE, _labels)
            self.spent = spent.attributes()
            worker.close()

    def _pieces(self) -> Iterator[int]:
        """One turn a piece, as long as it is needed."""
        while len(self.labels) < len(self.wanted) and self._taken() < self.job.settings.most:
            yield len(self.labels)

    def _label(
        self, evaluator: Evaluator, number: int, unknown: dict[str, str]
    ) -> dict[str, NDArray[Any]]:
        """The labels of the piece that begins with a frame, as arrays."""
        some = self.wanted[number : number + PIECE]
        sizes = [len(one.trajectory.numbers) for one in some]
        status = [Status.UNSUPPORTED.value] * len(some)
        messages = [unknown[one.trajectory.system] for one in some]
        energies, forces = np.full(len(some), np.nan), np.full((sum(sizes), 3), np.nan)
        asked = [k for k, why in enumerate(messages) if not why]
        if asked:
            batch = batch_of(
                [self._systems[some[k].trajectory.system] for k in asked],
                [some[k].positions for k in asked],
                [(f"{number + k}", 0) for k in asked],
            )
            result = evaluator.evaluate(batch)
            if result.energies is None and Status.OK in result.status:
                raise UserError(
                    f"model {self.job.labels.name!r}: gives no energies, and a label is of energy "
                    "and forces; take another method"
                )
            atoms = np.repeat(np.isin(np.arange(len(some)), asked), sizes)
            forces[atoms] = result.forces
            if result.energies is not None:
                energies[asked] = result.energies
            for k, how, why in zip(asked, result.status, result.messages, strict=True):
                status[k], messages[k] = how.value, why
        return {
            "status": np.array(status), "message": np.array(messages), "energy": energies,
            "forces": forces, "sizes": np.array(sizes),
        }  # fmt: skip

    def _taken(self) -> int:
        limit = self.job.settings.largest_force
        return sum(not rejected(label, limit) for label in self.labels)

    def taken(self) -> tuple[list[Atoms], list[tuple[Candidate, str, str]]]:
        """The frames with their labels, and those that are left out with reason and message."""
        frames: list[Atoms] = []
        rest = []
        for k, one in enumerate(self.wanted):
            label = self.labels[k] if k < len(self.labels) else None
            if label is None or len(frames) == self.job.settings.most:
                rest.append((one, NOT_NEEDED, ""))
            elif reason := rejected(label, self.job.settings.largest_force):
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


def _labels(arrays: Arrays) -> list[Label]:
    """The labels of a piece."""
    sizes = stored_array(arrays, "sizes", "i", (None,))
    status = stored_array(arrays, "status", "U", (len(sizes),))
    messages = stored_array(arrays, "message", "U", (len(sizes),))
    energies = stored_array(arrays, "energy", "f", (len(sizes),))
    forces = stored_array(arrays, "forces", "f", (int(sizes.sum()), 3))
    each = np.split(forces, np.cumsum(sizes)[:-1])
    return [
        Label(Status(how), why, float(energy), own)
        for how, why, energy, own in zip(
            status.tolist(), messages.tolist(), energies, each, strict=True
        )
    ]
