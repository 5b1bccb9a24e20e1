"""A shard of molecules about which a model is asked in units, with a checkpoint after each.

What a model does wrong ends in the status of the questions it happened on.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from pesbench.core.interface import ModelInfo, Status
from pesbench.core.jobs import RunJob
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.patient_worker import PatientWorker
from pesbench.engine.precision import measured_precision
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
from pesbench.files.checkpoint import Arrays, Checkpoint
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import chosen_systems

AT_ONCE = 64  # questions that are given up in one piece of the checkpoint
logger = logging.getLogger("pesbench")


class Answered(Protocol):
    """An answer to a question."""

    @property
    def status(self) -> Status:
        """`ok`, or how the model failed."""


Q = TypeVar("Q")
A = TypeVar("A", bound=Answered)


class Questions(ABC, Generic[Q, A]):
    """What a task asks.

    Attributes:
        items: The questions, in the order in which they are asked.
        system_of: Molecule of each label, of questions and batches. What has none, such as an
            isolated pair, measures no precision.
        words: What a unit holds, for the progress.
    """

    items: Sequence[Q]
    system_of: Mapping[str, str]
    words: str

    @abstractmethod
    def units(self, left: Sequence[Q], info: ModelInfo) -> Iterator[Sequence[Q]]:
        """Consecutive questions that are asked between two checkpoints."""

    @abstractmethod
    def ask(self, unit: Sequence[Q], evaluator: Evaluator, info: ModelInfo) -> Sequence[A]:
        """The answers to a unit, in order.

        Raises:
            ModelLoadError: the worker ended, and the model cannot be loaded again.
        """

    @abstractmethod
    def without(self, one: Q, status: Status, message: str) -> A:
        """The answer to a question that the model was not asked."""

    @abstractmethod
    def label(self, answer: A) -> str:
        """Label of the question that an answer is to."""

    @abstractmethod
    def to_arrays(self, answers: Sequence[A]) -> dict[str, Any]:
        """Answers as a piece of a checkpoint."""

    @abstractmethod
    def from_arrays(self, arrays: Arrays) -> Sequence[A]:
        """The answers of a piece.

        Raises:
            ValueError: an array is missing, or of another type or shape.
        """


def chosen_molecules(job: RunJob, task: str) -> tuple[list[System], tuple[str, str]]:
    """The molecules of a shard, and name and sha256 of their scan set.

    Args:
        job: Items are ids of molecules, whose geometries in the scan set are asked about.
        task: Its name, for the message.

    Raises:
        UserError: a control, or no such molecule or scan set.
    """
    refuse_control(job.entry, task)
    with ScanSet(job.scan_set) as scan_set:
        return chosen_systems(scan_set, job.items), (scan_set.name, scan_set.sha256)


@contextmanager
def asked_in_units(
    job: RunJob,
    systems: Sequence[System],
    scan_set: tuple[str, str],
    questions: Questions[Q, A],
    stage: str,
) -> Iterator[tuple[Iterator[A], dict[str, Any]]]:
    """Ask a model; continues from the checkpoint if an earlier call was killed.

    The checkpoint is removed when the block ends without an error, so that the answers are written
    inside it.

    Args:
        job: The shard.
        systems: Its molecules, in order.
        scan_set: Name and sha256 of the set that they are from.
        questions: What is asked.
        stage: Module of the task that runs, for the fingerprint of the code.

    Yields:
        The answers in the order of the questions, and the attributes of a file of them.

    Raises:
        HostError: the machine failed; a second call continues.
    """
    checkpoint = molecules_checkpoint(job, systems, scan_set[1], stage)
    with PatientWorker(
        job.entry,
        system_of=questions.system_of,
        scan_set=job.scan_set,
        device=job.device,
        threads=job.threads,
        timeout_s=job.entry.timeout_s,
        environment=job.environment,
    ) as worker:
        under_way = _Run(job, systems, questions, worker, checkpoint)
        info = under_way.run()
        of = questions.system_of
        answered = {
            of.get(questions.label(one)) for one in under_way.stored() if one.status is Status.OK
        }
        known = [system for system in systems if system.id in answered]
        measured = measured_precision(under_way.evaluator, info, known)
        worker.close()
    made = results_attributes(
        job.entry, scan_set, info, under_way.evaluator, under_way.spent, job.threads, measured
    )
    yield under_way.stored(), made
    checkpoint.remove()


@dataclass
class _Run(Generic[Q, A]):
    """A command under way. Each piece of its checkpoint is some questions that are answered."""

    job: RunJob
    systems: Sequence[System]
    questions: Questions[Q, A]
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
                self.worker, self.checkpoint, self.job.entry, self.systems
            )
        except ModelLoadError as failure:
            self._give_up(failure)
            return None
        self.spent.save()  # not before: a checkpoint of another device has been cleared by now
        if self.checkpoint.count:
            last = self.checkpoint.count - 1
            self.evaluator.limit, self.worker.deaths = self.checkpoint.read(last, caller_state)
        units = list(self.questions.units(self._left(), info))
        for unit in track(units, len(units), self.questions.words):
            try:
                found = self.questions.ask(unit, self.evaluator, info)
            except ModelLoadError as failure:  # the worker ended, the model cannot be loaded again
                self._give_up(failure)
                break
            self._keep(found)
        return info

    def stored(self) -> Iterator[A]:
        """All answers of the checkpoint, in order."""
        for piece in range(self.checkpoint.count):
            yield from self.checkpoint.read(piece, self.questions.from_arrays)

    def _left(self) -> Sequence[Q]:
        return self.questions.items[sum(1 for _ in self.stored()) :]

    def _give_up(self, failure: ModelLoadError) -> None:
        """Give all questions that are left the status of a model that does not load."""
        logger.warning("%s", failure.message)
        left = iter(self._left())
        while some := list(islice(left, AT_ONCE)):
            status, message = failure.status, failure.message
            self._keep([self.questions.without(one, status, message) for one in some])

    def _keep(self, found: Sequence[A]) -> None:
        self.checkpoint.append(
            **self.questions.to_arrays(found),
            **state_arrays(self.evaluator.limit, self.worker.deaths),
        )
        self.spent.save()
