"""Walls of pairs, and relaxations of molecules with two overlapped atoms, by any model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pesbench.core.interface import Batch, ModelInfo, Result, Status
from pesbench.core.jobs import RunJob
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.in_units import Questions, asked_in_units, chosen_molecules
from pesbench.engine.relaxation import relax
from pesbench.engine.scans import answerable, evaluate_scans
from pesbench.files.checkpoint import Arrays
from pesbench.tasks.lj_core import stored
from pesbench.tasks.lj_core.cases import ISOLATED, OVERLAP, Case, cases
from pesbench.tasks.lj_core.settings import CoreSettings
from pesbench.tasks.lj_core.stored import Answer

# between two checkpoints, of a model that takes batches; else one case
UNIT_FRAMES, UNIT_STARTS = 4096, 64
_NO_GEOMETRY = np.empty((0, 3))


def run(job: RunJob) -> None:
    """Ask a model about the overlapped atoms of some molecules and write its answers.

    Continues from its checkpoint if an earlier call was killed.

    Args:
        job: Items are ids of molecules, whose geometries in the scan set the cases are of.

    Raises:
        UserError: a control, or no such molecule or scan set.
        HostError: the machine failed; a second call continues.
    """
    settings = replace(job.settings.check(), heads=None)
    systems, scan_set = chosen_molecules(job, "lj_core")
    asked = _Cases(cases(systems, settings), settings)
    job = replace(job, settings=settings)
    with asked_in_units(job, systems, scan_set, asked, __name__) as (answers, made):
        held = {"settings": asdict(settings), "systems": [system.id for system in systems]}
        stored.write_answers(job.out, answers, attributes=made | held)


class _Cases(Questions[Case, Answer]):
    """The cases, of which isolated atoms and pairs are of no molecule."""

    words = "groups of cases"

    def __init__(self, items: Sequence[Case], settings: CoreSettings) -> None:
        self.items, self.settings = items, settings
        self.system_of = {one.id: one.scan.system for one in items if one.kind not in ISOLATED}

    def units(self, left: Sequence[Case], info: ModelInfo) -> Iterator[Sequence[Case]]:
        return _units(left, batched=info.batched)

    def ask(self, unit: Sequence[Case], evaluator: Evaluator, info: ModelInfo) -> Sequence[Answer]:
        if unit[0].kind == OVERLAP:
            return self._relaxed(unit, evaluator, info)
        scans = [answerable(one.scan, info) if one.kind in ISOLATED else one.scan for one in unit]
        return [
            Answer(one.scan_id, one.energy, one.frame_status, _NO_GEOMETRY, one.status, one.message)
            for one in evaluate_scans(evaluator, scans)
        ]

    def without(self, one: Case, status: Status, message: str) -> Answer:
        n = one.scan.n_frames
        geometry = one.scan.positions[0] if one.kind == OVERLAP else _NO_GEOMETRY
        frame_status = np.full(n, status.code, dtype=np.int8)
        return Answer(one.id, np.full(n, np.nan), frame_status, geometry, status, message)

    def label(self, answer: Answer) -> str:
        return answer.case

    def to_arrays(self, answers: Sequence[Answer]) -> dict[str, Any]:
        return stored.to_arrays(answers)

    def from_arrays(self, arrays: Arrays) -> Sequence[Answer]:
        return stored.from_arrays(arrays)

    def _relaxed(self, unit: Sequence[Case], evaluator: Evaluator, info: ModelInfo) -> list[Answer]:
        reasons = {one.id: why_unsupported(one.start, info) for one in unit}
        asked = [one for one in unit if not reasons[one.id]]
        failed: dict[str, Status] = {}  # a relaxation that is cut short is `ok` to `relax`

        def evaluate(batch: Batch) -> Result:
            result = evaluator.evaluate(batch)
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
            done.get(one.id) or self.without(one, Status.UNSUPPORTED, reasons[one.id])
            for one in unit
        ]


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
