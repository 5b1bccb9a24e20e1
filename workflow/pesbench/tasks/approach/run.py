"""Energies and forces of any model on the frames of approaching pairs.

Pairs share batches. The files are evaluations (`pesbench.files.evaluation`) whose scans are the
pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pesbench.core.interface import ModelInfo, Status
from pesbench.core.jobs import RunJob
from pesbench.engine import scan_pieces
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.in_units import Questions, asked_in_units, chosen_molecules
from pesbench.engine.scans import answerable, evaluate_scans, without_model
from pesbench.files.checkpoint import Arrays
from pesbench.files.evaluation import ScanEvaluation, write_evaluation
from pesbench.tasks.approach.pairs import DIATOMIC, Approach, approaches

UNIT_FRAMES = 4096  # between two checkpoints, of a model that takes batches; else one pair


def run(job: RunJob) -> None:
    """Ask a model about the approaching pairs of some molecules and write an evaluation of them.

    Continues from its checkpoint if an earlier call was killed.

    Args:
        job: Items are ids of molecules, whose geometries in the scan set the pairs are of.

    Raises:
        UserError: a control, or no such molecule or scan set.
        HostError: the machine failed; a second call continues.
    """
    settings = job.settings.check()
    systems, scan_set = chosen_molecules(job, "approach")
    pairs = _Pairs(approaches(systems, settings))
    with asked_in_units(job, systems, scan_set, pairs, __name__) as (found, made):
        held = {"settings": asdict(settings), "systems": [system.id for system in systems]}
        write_evaluation(job.out, found, attributes=made | held)


class _Pairs(Questions[Approach, ScanEvaluation]):
    """The approaching pairs, of which isolated ones are of no molecule."""

    words = "groups of pairs"

    def __init__(self, items: Sequence[Approach]) -> None:
        self.items = items
        self.system_of = {one.id: one.scan.system for one in items if one.kind != DIATOMIC}

    def units(self, left: Sequence[Approach], info: ModelInfo) -> Iterator[Sequence[Approach]]:
        return _units(left, UNIT_FRAMES if info.batched else 1)

    def ask(
        self, unit: Sequence[Approach], evaluator: Evaluator, info: ModelInfo
    ) -> Sequence[ScanEvaluation]:
        scans = [answerable(one.scan, info) if one.kind == DIATOMIC else one.scan for one in unit]
        return evaluate_scans(evaluator, scans)

    def without(self, one: Approach, status: Status, message: str) -> ScanEvaluation:
        return without_model(one.scan, status, message)

    def label(self, answer: ScanEvaluation) -> str:
        return answer.scan_id

    def to_arrays(self, answers: Sequence[ScanEvaluation]) -> dict[str, Any]:
        return scan_pieces.to_arrays(answers)

    def from_arrays(self, arrays: Arrays) -> Sequence[ScanEvaluation]:
        return scan_pieces.from_arrays(arrays)


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
