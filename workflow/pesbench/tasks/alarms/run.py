"""Descriptors and forces of a model on stored frames: of scans, and of trajectories.

Nothing moves here: the frames are those of the scan set and of the files of `dynamics`. What a
model cannot tell ends in the status of the scan or trajectory.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo, Status, batch_of
from pesbench.core.jobs import RunJob
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit
from pesbench.engine.describing import Describer, filled
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.patient_worker import PatientWorker
from pesbench.engine.reference_frames import described, frames_of_file
from pesbench.engine.shard import (
    Spent,
    load_for_molecules,
    molecules_checkpoint,
    refuse_control,
    results_attributes,
)
from pesbench.engine.worker import ModelFailureError
from pesbench.files.checkpoint import Arrays, Checkpoint, stored_array
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import chosen_systems
from pesbench.tasks.alarms.frames import Source, Unit, scan_sources, trajectory_sources, units
from pesbench.tasks.alarms.stored import Looked, MoleculeAnswers, write_answers

logger = logging.getLogger("pesbench")


def run(job: RunJob) -> None:
    """Ask a model about the scans and trajectories of some molecules and write a file of answers.

    Continues from its checkpoint if an earlier call was killed.

    Args:
        job: Items are ids of molecules; `answers` are files of trajectories of all models.

    Raises:
        UserError: a control; no such molecule or scan set; a file of trajectories is damaged, or
            its frames are too far apart.
        HostError: the machine failed; a second call continues.
    """
    entry, settings = job.entry, job.settings.check()
    refuse_control(entry, "alarms")
    with ScanSet(job.scan_set) as scan_set:
        systems = chosen_systems(scan_set, job.items)
        of_set = scan_set.name, scan_set.sha256
        sources = list(scan_sources(scan_set, systems))
    sources += trajectory_sources(job.answers, entry.name, systems, others=settings.others)
    given = [] if settings.reference_frames is None else [Path(settings.reference_frames)]
    reference = [batch for path in given for batch in frames_of_file(path)]
    content = of_set[1] + _content([*job.answers, *given])
    checkpoint = molecules_checkpoint(job, systems, content, __name__)
    with PatientWorker(
        entry,
        {source.place: source.system for source in sources},
        scan_set=job.scan_set,
        device=job.device,
        threads=job.threads,
        timeout_s=entry.timeout_s,
        environment=job.environment,
    ) as worker:
        under_way = _Run(systems, sources, worker, checkpoint)
        info = under_way.run(entry)
        known = under_way.described(reference) if info is not None else None
        worker.close()
    made = results_attributes(
        entry, of_set, info, under_way.evaluator, under_way.spent, job.threads
    )
    write_answers(
        job.out,
        under_way.molecules(),
        attributes=made | {"settings": asdict(settings), "not_described": under_way.not_described},
        reference=known,
    )
    checkpoint.remove()


def _content(files: Sequence[Path]) -> str:
    """A hash of the content of files, so that a checkpoint is of these and no others."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest() if files else ""


@dataclass
class _Run:
    """A command under way. Each piece of its checkpoint is a unit.

    Attributes:
        systems: All molecules, in order.
        sources: All scans and trajectories, in order.
        worker: Worker that holds the model.
        checkpoint: What was done, by this call or an earlier one.
    """

    systems: Sequence[System]
    sources: Sequence[Source]
    worker: PatientWorker
    checkpoint: Checkpoint
    failures: dict[str, tuple[Status, str]] = field(default_factory=dict)
    not_described: str = ""

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.worker, BatchLimit(systems=1))
        self.describer = Describer(self.worker)
        self.spent = Spent.resume(self.checkpoint, self.worker)
        self.units = [unit for source in self.sources for unit in units(source)]
        self._of_id = {system.id: system for system in self.systems}

    def run(self, entry: Any) -> ModelInfo | None:
        """Do what the checkpoint does not hold yet.

        Returns:
            What the model tells of itself; None if it does not load.
        """
        info = None
        try:
            info, self.evaluator.limit = load_for_molecules(
                self.worker, self.checkpoint, entry, self.systems
            )
            self._look(info)
        except ModelFailureError as failure:
            logger.warning("%s", failure.message)
            for system in self.systems:
                self.failures[system.id] = failure.status, failure.message
        self.spent.save()
        left = range(self.checkpoint.count, len(self.units))
        for number in track(left, len(left), "groups of frames"):
            self.checkpoint.append(**self._answer(self.units[number]))
            self.spent.save()
        return info

    def _look(self, info: ModelInfo) -> None:
        """Find out which molecules the model knows, and whether it has descriptors."""
        for system in self.systems:
            if why := why_unsupported(system, info):
                self.failures[system.id] = Status.UNSUPPORTED, why
        known = [system for system in self.systems if system.id not in self.failures]
        if known:
            first = known[0]
            frame = _batch(first, first.positions[None], "")
            self.not_described = self.describer.why_none(frame)

    def described(
        self, reference: Sequence[Batch]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Descriptors of the frames that the model was trained on; None without any.

        Raises:
            UserError: the model describes none of them.
        """
        if not reference or self.not_described:
            return None
        atoms, numbers = described(self.describer, reference)
        if len(numbers) < 2:
            raise UserError(
                "alarms: the model describes none of the frames of `reference_frames`; give those "
                "that it was trained on"
            )
        return atoms, numbers

    def _answer(self, unit: Unit) -> dict[str, NDArray[Any]]:
        source = unit.source
        if source.system in self.failures:
            return _outcome(*self.failures[source.system])
        system = self._of_id[source.system]
        batch = _batch(system, source.positions[unit.start : unit.stop], source.place, unit.start)
        shape = (batch.n_systems, len(system.numbers), -1)
        found = _outcome(Status.OK, "")
        try:
            if source.describe and not self.not_described:
                atoms, why = self.describer.atoms(batch)
                found["descriptors"] = atoms.reshape(*shape[:2], atoms.shape[1])
                found["message"] = np.array(why)
            if source.evaluate:
                result = self.evaluator.evaluate(batch)
                ok = np.array([status is Status.OK for status in result.status])
                forces = np.where(ok[batch.system, None], result.forces, np.nan)
                found["forces"] = forces.reshape(shape).astype(np.float32)
        except ModelFailureError as failure:
            logger.warning("%s: %s", source.place, failure.message)
            where = f"frames {unit.start} to {unit.stop - 1}"
            return _outcome(failure.status, f"{where}: {failure.message}")
        return found

    def molecules(self) -> Iterator[MoleculeAnswers]:
        """All molecules, from the pieces of the checkpoint."""
        pieces: dict[tuple[str, str], list[int]] = {}
        for number, unit in enumerate(self.units):
            pieces.setdefault((unit.source.system, unit.source.place), []).append(number)
        for system in self.systems:
            status, message = self.failures.get(system.id, (Status.OK, ""))
            looked = {}
            if status is Status.OK:
                looked = {
                    place: _joined([self.checkpoint.read(n, _looked) for n in numbers])
                    for (name, place), numbers in pieces.items()
                    if name == system.id
                }
            yield MoleculeAnswers(system.id, system.numbers, status, message, looked)


def _batch(system: System, positions: NDArray[np.float64], label: str, first: int = 0) -> Batch:
    count = len(positions)
    labels = [(label, first + k) for k in range(count)]
    return batch_of([system] * count, list(positions), labels)


def _outcome(status: Status, message: str) -> dict[str, NDArray[Any]]:
    return {"status": np.array(status.value), "message": np.array(message)}


def _looked(arrays: Arrays) -> Looked:
    kinds = {"descriptors": (None, None, None), "forces": (None, None, 3)}
    held = {
        name: stored_array(arrays, name, "f", shape)
        for name, shape in kinds.items()
        if name in arrays
    }
    status = Status(str(stored_array(arrays, "status", "U")))
    return Looked(status, str(stored_array(arrays, "message", "U")), **held)


def _joined(parts: Sequence[Looked]) -> Looked:
    """The parts of a source as one; where a part failed, the source has."""
    failed = next((part for part in parts if part.status is not Status.OK), None)
    if failed is not None:
        return Looked(failed.status, failed.message)
    arrays = {}
    for name, join in (("descriptors", filled), ("forces", np.concatenate)):
        held = [getattr(part, name) for part in parts]
        if held and all(one is not None for one in held):
            arrays[name] = join(held)
    status = Status.OK
    if "descriptors" in arrays and not arrays["descriptors"].shape[2]:
        del arrays["descriptors"]
        status = Status.OK if "forces" in arrays else Status.ERROR
    return Looked(status, next((one.message for one in parts if one.message), ""), **arrays)
