"""Energies and forces of any model on the frames of approaching pairs.

Pairs share batches; what a model does wrong ends in the status of the pairs it happened on. The
files are evaluations (`pesbench.files.evaluation`) whose scans are the pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from pesbench.core.interface import ModelInfo, Status
from pesbench.core.jobs import RunJob
from pesbench.core.progress import track
from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.patient_worker import PatientWorker
from pesbench.engine.precision import measured_precision
from pesbench.engine.scan_pieces import from_arrays, to_arrays
from pesbench.engine.scans import evaluate_scans, without_model
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
from pesbench.files.evaluation import ScanEvaluation, write_evaluation
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import chosen_systems
from pesbench.models.registry import ModelEntry
from pesbench.tasks.approach.pairs import DIATOMIC, Approach, approaches

UNIT_FRAMES = 4096  # between two checkpoints, of a model that takes batches; else one pair
logger = logging.getLogger("pesbench")


def run(job: RunJob) -> None:
    """Ask a model about the approaching pairs of some molecules and write an evaluation of them.

    Continues from its checkpoint if an earlier call was killed.

    Args:
        job: Items are ids of molecules, whose geometries in the scan set the pairs are of.

    Raises:
        UserError: a control, or no such molecule or scan set.
        HostError: the machine failed; a second call continues.
    """
    entry, settings = job.entry, job.settings.check()
    refuse_control(entry, "approach")
    with ScanSet(job.scan_set) as scan_set:
        systems = chosen_systems(scan_set, job.items)
        of_set = scan_set.name, scan_set.sha256
    pairs = approaches(systems, settings)
    checkpoint = molecules_checkpoint(job, systems, of_set[1], __name__)
    with PatientWorker(
        entry,
        system_of={pair.id: pair.scan.system for pair in pairs if pair.kind != DIATOMIC},
        scan_set=job.scan_set,
        device=job.device,
        threads=job.threads,
        timeout_s=entry.timeout_s,
        environment=job.environment,
    ) as worker:
        under_way = _Run(entry, systems, pairs, worker, checkpoint)
        info = under_way.run()
        answered = {one.scan_id for one in _stored(checkpoint) if one.status is Status.OK}
        known = {pair.scan.system for pair in pairs if pair.id in answered}
        measured = measured_precision(
            under_way.evaluator, info, [one for one in systems if one.id in known]
        )
        worker.close()
    made = results_attributes(
        entry, of_set, info, under_way.evaluator, under_way.spent, job.threads, measured
    )
    held = {"settings": asdict(settings), "systems": [system.id for system in systems]}
    write_evaluation(job.out, _stored(checkpoint), attributes=made | held)
    checkpoint.remove()


def answerable(scan: Scan, info: ModelInfo) -> Scan:
    """An isolated pair as a model is asked about it, which may take no spin.

    Such a model has one surface, which is asked, whatever the number of electrons.
    """
    return scan if info.spins else replace(scan, spin=1)


@dataclass
class _Run:
    """A command under way. Each piece of its checkpoint is some pairs that are done.

    Attributes:
        entry: Resolved model entry.
        systems: All molecules, in order.
        pairs: All pairs, in order.
        worker: Worker that holds the model.
        checkpoint: What was done, by this call or an earlier one.
    """

    entry: ModelEntry
    systems: Sequence[System]
    pairs: Sequence[Approach]
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
        units = list(_units(self.pairs[done:], 1 if not info.batched else UNIT_FRAMES))
        for unit in track(units, len(units), "groups of pairs"):
            scans = [
                answerable(one.scan, info) if one.kind == DIATOMIC else one.scan for one in unit
            ]
            try:
                found = evaluate_scans(self.evaluator, scans)
            except ModelLoadError as failure:  # the worker ended, the model cannot be loaded again
                self._give_up(done, failure)
                break
            self._keep(found)
            done += len(unit)
        return info

    def _held(self) -> int:
        return sum(1 for _ in _stored(self.checkpoint))

    def _give_up(self, first: int, failure: ModelLoadError) -> None:
        """Give all pairs from one on the status of a model that does not load."""
        logger.warning("%s", failure.message)
        for pair in self.pairs[first:]:
            self._keep([without_model(pair.scan, failure.status, failure.message)])

    def _keep(self, found: Sequence[ScanEvaluation]) -> None:
        self.checkpoint.append(
            **to_arrays(found), **state_arrays(self.evaluator.limit, self.worker.deaths)
        )
        self.spent.save()


def _units(pairs: Sequence[Approach], most: int) -> Iterator[list[Approach]]:
    """Consecutive pairs of at most so many frames together, but always one."""
    unit: list[Approach] = []
    for pair in pairs:
        if unit and sum(one.scan.n_frames for one in unit) + pair.scan.n_frames > most:
            yield unit
            unit = []
        unit.append(pair)
    if unit:
        yield unit


def _stored(checkpoint: Checkpoint) -> Iterator[ScanEvaluation]:
    for piece in range(checkpoint.count):
        yield from checkpoint.read(piece, from_arrays)
