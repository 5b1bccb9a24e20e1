"""The precision that a job measures once it has all answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fake_calculators import morse
from pesbench.core.errors import HostError
from pesbench.core.interface import Batch, ModelInfo, Result, Status
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.precision import measured_precision
from pesbench.engine.worker import ModelFailureError, Timed

INFO = ModelInfo(
    elements=frozenset({1, 6, 8}), charges=False, batched=True, device="cpu", dtype="float64"
)


def _system(name: str, numbers: list[int]) -> System:
    positions = 1.4 * np.stack(np.unravel_index(np.arange(len(numbers)), (3, 3, 3)), axis=1)
    return System(name, np.array(numbers), positions.astype(float), np.empty((0, 2), dtype=int))


LARGE, SMALL = _system("large", [6, 8, 1, 1, 1, 1]), _system("small", [8, 1, 1])
ATOM = _system("atom", [8])


def smooth(batch: Batch) -> Result:
    energies, forces = [], []
    for s in range(batch.n_systems):
        mine = batch.system == s
        energy, own = morse(batch.numbers[mine], batch.positions[mine])
        energies.append(energy)
        forces.append(own)
    return Result(
        np.array(energies),
        np.concatenate(forces),
        (Status.OK,) * batch.n_systems,
        ("",) * batch.n_systems,
    )


def in_float32(batch: Batch) -> Result:
    result = smooth(batch)
    return replace(result, forces=result.forces.astype(np.float32).astype(np.float64))


class Worker:
    """A worker without a process, which keeps what it was asked."""

    def __init__(self, answer: Callable[[Batch], Result], wall_s: float = 0.0) -> None:
        self._answer, self._wall_s = answer, wall_s
        self.asked: list[Batch] = []
        self.atom_frames = 0
        self.losses: Counter[str] = Counter()

    def evaluate(self, batch: Batch) -> Timed:
        self.asked.append(batch)
        self.atom_frames += batch.n_atoms
        return Timed(self._answer(batch), self._wall_s, 0)


def measured(worker: Worker, systems: list[System], **settings) -> str:
    info = settings.get("info", INFO)
    evaluator = Evaluator(worker, settings.get("limit", BatchLimit(systems=4)))
    return measured_precision(evaluator, info, systems)


@pytest.mark.parametrize(("answer", "found"), [(smooth, "float64"), (in_float32, "float32")])
def test_the_smallest_molecule_is_asked_twelve_times(answer, found):
    worker = Worker(answer)
    assert measured(worker, [LARGE, ATOM, SMALL]) == found
    assert {label for batch in worker.asked for label, _ in batch.labels} == {"small"}
    assert [batch.n_systems for batch in worker.asked] == [1, 4, 4, 3]
    assert worker.atom_frames == 0  # no work that the job was asked for
    again = Worker(answer)
    measured(again, [SMALL])
    for one, other in zip(worker.asked, again.asked, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)


def test_batches_are_no_larger_than_what_fits():
    worker = Worker(smooth)
    assert measured(worker, [SMALL], limit=BatchLimit(atoms=7)) == "float64"
    assert max(batch.n_atoms for batch in worker.asked) <= 7


def test_a_molecule_that_is_not_answered_leaves_it_to_the_next():
    def answer(batch: Batch) -> Result:
        if batch.n_atoms == len(SMALL.numbers):
            raise ModelFailureError(Status.ERROR, "not this one")
        return smooth(batch)

    assert measured(Worker(answer), [SMALL, LARGE]) == "float64"

    def failing(batch: Batch) -> Result:
        return replace(smooth(batch), status=(Status.ERROR,) * batch.n_systems)

    assert measured(Worker(failing), [SMALL, LARGE]) == ""


def test_a_model_that_ends_the_process_is_not_asked_again(caplog):
    def answer(batch: Batch) -> Result:
        raise ModelFailureError(Status.TIMEOUT, "no answer in 600 s", ended=True)

    worker = Worker(answer)
    assert measured(worker, [SMALL, LARGE]) == ""
    assert len(worker.asked) == 1
    assert "not measured: no answer in 600 s" in caplog.text


def test_a_machine_that_fails_costs_no_answers(caplog):
    def answer(batch: Batch) -> Result:
        raise HostError("the worker was killed by SIGKILL while evaluating a batch")

    worker = Worker(answer)
    assert measured(worker, [SMALL, LARGE]) == ""
    assert len(worker.asked) == 1
    assert "not measured: the worker was killed" in caplog.text


def test_who_did_not_load_or_answer_or_is_slow_is_not_asked_for_more():
    worker = Worker(smooth)
    assert measured(worker, [SMALL], info=None) == measured(worker, []) == ""
    assert not worker.asked
    slow = Worker(smooth, wall_s=3.0)
    assert measured(slow, [SMALL]) == ""
    assert len(slow.asked) == 1
