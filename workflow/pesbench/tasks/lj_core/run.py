"""Walls of pairs, and relaxations of molecules with two overlapped atoms, by any model.

What a model does wrong ends in the status of the cases it happened on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from pesbench.core.interface import Batch, ModelInfo, Result, Status
from pesbench.core.jobs import RunJob
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.patient_worker import PatientWorker
from pesbench.engine.precision import measured_precision
from pesbench.engine.relaxation import relax
from pesbench.engine.scans import evaluate_scans
from pesbench.engine.shard import (
    Spent,
    caller_state,
    load_for_molecules,
    molecules_checkpoint,
    refuse_control,
    results_attributes,
    state_arrays,
)
from pesbench.engine.worker import ModelLoadError
from pesbench.files.checkpoint import Checkpoint
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import chosen_systems
from pesbench.models.registry import ModelEntry
from pesbench.tasks.lj_core.cases import ISOLATED, OVERLAP, Case, cases
from pesbench.tasks.lj_core.settings import CoreSettings
from pesbench.tasks.lj_core.stored import Answer, from_arrays, to_arrays, write_answers

# between two checkpoints, of a model that takes batches; else one case
UNIT_FRAMES, UNIT_STARTS = 4096, 64
_NO_GEOMETRY = np.empty((0, 3))
logger = logging.getLogger("pesbench")


def run(job: RunJob) -> None:
    """Ask a model about the overlapped atoms of some molecules and write its answers.

    Continues from its checkpoint if an earlier call was killed.

    Args:
        job: Items are ids of molecules, whose geometries in the scan set the cases are of.

    Raises:
        UserError: a control, or no such molecule or scan set.
        HostError: the machine failed; a second call continues.
    """
    entry, settings = job.entry, replace(job.settings.check(), heads=None)
    refuse_control(entry, "lj_core")
    with ScanSet(job.scan_set) as scan_set:
        systems = chosen_systems(scan_set, job.items)
        of_set = scan_set.name, scan_set.sha256
    asked = cases(systems, settings)
    checkpoint = molecules_checkpoint(replace(job, settings=settings), systems, of_set[1], __name__)
    with PatientWorker(
        entry,
        system_of={one.id: one.scan.system for one in asked if one.kind not in ISOLATED},
        scan_set=job.scan_set,
        device=job.device,
        threads=job.threads,
        timeout_s=entry.timeout_s,
        environment=job.environment,
    ) as worker:
        under_way = _Run(entry, systems, asked, settings, worker, checkpoint)
        info = under_way.run()
        answers = list(_stored(checkpoint))
        answered = {one.case for one in answers if one.status is Status.OK}
        known = {
            one.scan.system for one in asked if one.id in answered and one.kind not in ISOLATED
        }
        measured = measured_precision(
            under_way.evaluator, info, [one for one in systems if one.id in known]
        )
        worker.close()
    made = results_attributes(
        entry, of_set, info, under_way.evaluator, under_way.spent, job.threads, measured
    )
    held = {"settings": asdict(settings), "systems": [system.id for system in systems]}
    write_answers(job.out, answers, attributes=made | held)
    checkpoint.remove()


@dataclass
class _Run:
    """A command under way. Each piece of its checkpoint is some cases that are done.

    Attributes:
        entry: Resolved model entry.
        systems: All molecules, in order.
        cases: All cases, in order.
        settings: Settings of the task.
        worker: Worker that holds the model.
        checkpoint: What was done, by this call or an earlier one.
    """

    entry: ModelEntry
    systems: Sequence[System]
    cases: Sequence[Case]
    settings: CoreSettings
    worker: PatientWorker
    checkpoint: Checkpoint

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.worker, BatchLimit(systems=1))
        self.spent = Spent.resume(self.checkpoint, self.worker)

    def run(self) -> ModelInfo | None:
        """Do what the checkpoint does not hold yet.

        Returns:
            What the model tells of itself; None if it does not load.
        """
        try:
            info, self.evaluator.limit = load_for_molecules(
                self.worker, self.checkpoint, self.entry, self.systems
            )
        except ModelLoadError as failure:
            self._give_up(self._held(), failure)
            return None
        self.spent.save()  # not before: a checkpoint of another device has been cleared by now
        done = self._held()
        if self.checkpoint.count:
            last = self.checkpoint.count - 1
            self.evaluator.limit, self.worker.deaths = self.checkpoint.read(last, caller_state)
        units = list(_units(self.cases[done:], batched=info.batched))
        for unit in track(units, len(units), "groups of cases"):
            try:
                found = self._unit(unit, info)
            except ModelLoadError as failure:  # the worker ended, the model cannot be loaded again
                self._give_up(done, failure)
                break
            self._keep(found)
            done += len(unit)
        return info

    def _unit(self, unit: Sequence[Case], info: ModelInfo) -> list[Answer]:
        if unit[0].kind == OVERLAP:
            return self._relaxed(unit, info)
        # a model that takes no spin has one surface, which is asked
        scans = [
            replace(one.scan, spin=1) if one.kind in ISOLATED and not info.spins else one.scan
            for one in unit
        ]
        return [
            Answer(one.scan_id, one.energy, one.frame_status, _NO_GEOMETRY, one.status, one.message)
            for one in evaluate_scans(self.evaluator, scans)
        ]

    def _relaxed(self, unit: Sequence[Case], info: ModelInfo) -> list[Answer]:
        reasons = {one.id: why_unsupported(one.start, info) for one in unit}
        asked = [one for one in unit if not reasons[one.id]]
        failed: dict[str, Status] = {}  # a relaxation that is cut short is `ok` to `relax`

        def evaluate(batch: Batch) -> Result:
            result = self.evaluator.evaluate(batch)
            said = zip(batch.labels, result.status, strict=True)
            failed.update({name: one for (name, _), one in said if one is not Status.OK})
            return result

        ends = relax(
            [one.start for one in asked],
            evaluate,
            max_steps=self.settings.relax_steps,
            fmax=self.settings.relax_fmax,
        )
        done = {
            one.id: Answer(
                one.id,
                np.array([end.energy]),
                np.array([failed.get(one.id, end.status).code], dtype=np.int8),
                end.positions,
                failed.get(one.id, end.status),
                end.message,
                end.converged,
                end.steps,
            )
            for one, end in zip(asked, ends, strict=True)
        }
        return [
            done.get(one.id) or without_answer(one, Status.UNSUPPORTED, reasons[one.id])
            for one in unit
        ]

    def _held(self) -> int:
        return sum(1 for _ in _stored(self.checkpoint))

    def _give_up(self, first: int, failure: ModelLoadError) -> None:
        """Give all cases from one on the status of a model that does not load."""
        logger.warning("%s", failure.message)
        self._keep(
            [without_answer(one, failure.status, failure.message) for one in self.cases[first:]]
        )

    def _keep(self, found: Sequence[Answer]) -> None:
        self.checkpoint.append(
            **to_arrays(found), **state_arrays(self.evaluator.limit, self.worker.deaths)
        )
        self.spent.save()


def without_answer(case: Case, status: Status, message: str) -> Answer:
    """A case that a model was not asked about."""
    n = case.scan.n_frames
    geometry = case.scan.positions[0] if case.kind == OVERLAP else _NO_GEOMETRY
    frame_status = np.full(n, status.code, dtype=np.int8)
    return Answer(case.id, np.full(n, np.nan), frame_status, geometry, status, message)


def _units(every: Sequence[Case], *, batched: bool) -> Iterator[list[Case]]:
    """Consecutive cases of one nature, but always one: walls by frames, overlaps by number."""
    unit: list[Case] = []
    for case in every:
        relaxed = case.kind == OVERLAP
        size = len(unit) if relaxed else sum(one.scan.n_frames for one in unit)
        most = UNIT_STARTS if relaxed else UNIT_FRAMES - case.scan.n_frames
        other = bool(unit) and (unit[0].kind == OVERLAP) != relaxed
        if unit and (not batched or other or size + relaxed > most):
            yield unit
            unit = []
        unit.append(case)
    if unit:
        yield unit


def _stored(checkpoint: Checkpoint) -> Iterator[Answer]:
    for piece in range(checkpoint.count):
        yield from checkpoint.read(piece, from_arrays)
