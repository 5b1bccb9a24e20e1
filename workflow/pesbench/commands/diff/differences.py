"""What changed between two folders, beyond rounding and beyond the choice of molecules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.commands.diff.folders import Facts, Scores, Side
from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.section import Metric
from pesbench.core.task import Key, Task, key_words
from pesbench.files.rounding import half_the_digits
from pesbench.metrics.aggregate import LEVEL
from pesbench.metrics.changes import Change, holm, mean_change

EQUAL, WITHIN, CHANGED, UNDECIDED = "equal", "within noise", "changed", "not decided"
MACHINE = frozenset({"timeout", "out_of_memory"})  # of which the machine may be the cause
FAILED = Metric("failed", "share of runs that fail", "", "lower")
_FIRST = ("family", "weights", "parameters", "setting", "scan set", "code", "precision", "device")
OUTCOME = "outcome"  # column of a task whose rows live or fail by chance


@dataclass(frozen=True)
class ScoreChange:
    """A score of a model for a task in both runs.

    Attributes:
        metric: The score.
        change: Of its mean.
        verdict: `EQUAL`, `WITHIN`, `CHANGED` or `UNDECIDED`.
        p_adjusted: `Change.p` for all questions of the diff together.
    """

    metric: Metric
    change: Change
    verdict: str = UNDECIDED
    p_adjusted: float = float("nan")


@dataclass(frozen=True)
class Flip:
    """A row that has a score in one of the two runs only.

    Attributes:
        row: Its key, for readers.
        before: Status in the first run.
        after: Status in the second.
        message: Of the run in which it failed.
        by_machine: Whether time or memory may be the cause.
    """

    row: str
    before: str
    after: str
    message: str
    by_machine: bool


@dataclass(frozen=True)
class TaskDiff:
    """A task of a model.

    Attributes:
        task: The task.
        n_both: Rows of both runs.
        only: Rows of one run only, for readers: of the first, of the second.
        scores: Every score that both have.
        flips: Rows that are scored in one of them.
        causes: What is told to differ: label, values of the first, values of the second.
        untold: What only one of them tells.
    """

    task: Task
    n_both: int
    only: tuple[Sequence[str], Sequence[str]]
    scores: Sequence[ScoreChange]
    flips: Sequence[Flip]
    causes: Sequence[tuple[str, Sequence[str], Sequence[str]]]
    untold: Sequence[str]

    @property
    def changed(self) -> bool:
        """Whether a score changed beyond noise, or a row failed that did not."""
        return any(one.verdict == CHANGED for one in self.scores) or any(
            not flip.by_machine for flip in self.flips
        )


@dataclass(frozen=True)
class Diff:
    """Two folders.

    Attributes:
        paths: The two folders.
        models: Tasks by model of both.
        only: Models of one folder only: of the first, of the second.
        tasks_only: Model and task whose scores one folder lacks, and which of them has them.
    """

    paths: tuple[Path, Path]
    models: Mapping[str, Sequence[TaskDiff]]
    only: tuple[Sequence[str], Sequence[str]]
    tasks_only: Sequence[tuple[str, str, int]] = field(default_factory=tuple)

    @property
    def changed(self) -> bool:
        """Whether anything did."""
        return any(task.changed for some in self.models.values() for task in some)


def differences(one: Side, other: Side) -> Diff:
    """What changed from one folder to another.

    Raises:
        UserError: they have no score in common.
    """
    both = [name for name in one.models if name in other.models]
    models: dict[str, list[TaskDiff]] = {}
    tasks_only = []
    for name in both:
        a, b = one.models[name], other.models[name]
        models[name] = [
            _task_diff(task, (a.scores[key], b.scores[key]), (a.entry, b.entry))
            for key, task in tasks().items()
            if key in a.scores and key in b.scores
        ]
        tasks_only += [
            (name, key, int(key in b.scores))
            for key in tasks()
            if (key in a.scores) != (key in b.scores)
        ]
    if not any(task.n_both for some in models.values() for task in some):
        raise UserError(
            f"{one.path} and {other.path}: have no model with the same scans or molecules; give "
            "two runs of one scan set"
        )
    only = tuple([n for n in s.models if n not in both] for s in (one, other))
    judged = _judged(models)
    return Diff((one.path, other.path), judged, (only[0], only[1]), tuple(tasks_only))


def _task_diff(task: Task, both: tuple[Scores, Scores], entries: tuple[Facts, Facts]) -> TaskDiff:
    a, b = both
    shared = sorted(key for key in a.rows if key in b.rows)
    digits = half_the_digits([*a.dtypes, *b.dtypes])
    causes, untold = _told({**entries[0], **a.facts}, {**entries[1], **b.facts})
    only = tuple(
        [key_words(task.keys, key) for key in sorted(x.rows) if key not in y.rows]
        for x, y in ((a, b), (b, a))
    )
    return TaskDiff(
        task=task,
        n_both=len(shared),
        only=(only[0], only[1]),
        scores=[
            ScoreChange(metric, mean_change(before, after, systems, digits))
            for metric, before, after, systems in _values(task, a, b, shared)
        ],
        flips=[] if OUTCOME in task.words else _flips(task, a, b, shared),
        causes=causes,
        untold=untold,
    )


def _values(
    task: Task, a: Scores, b: Scores, shared: Sequence[Key]
) -> Iterator[tuple[Metric, list[float], list[float], list[str]]]:
    """Every score with a better side that two runs of one model should agree in."""
    by_chance = OUTCOME in task.words
    ok = [key for key in shared if a.rows[key]["status"] == b.rows[key]["status"] == "ok"]
    if by_chance:
        known = {"survived": 0.0, "failed": 1.0}
        at_risk = [
            key for key in shared
            if a.rows[key][OUTCOME] in known and b.rows[key][OUTCOME] in known
        ]  # fmt: skip
        if at_risk:
            sides = [[known[side.rows[key][OUTCOME]] for key in at_risk] for side in (a, b)]
            yield FAILED, sides[0], sides[1], _systems(a, at_risk)
        # what a run does while it breaks is not what its scores are of
        ok = [
            key for key in ok
            if a.rows[key][OUTCOME] == b.rows[key][OUTCOME] == "survived"
        ]  # fmt: skip
    for metric in task.metrics:
        if not metric.better or metric.name in task.unstable:
            continue
        pairs = {
            key: tuple(_number(side.rows[key].get(metric.name)) for side in (a, b)) for key in ok
        }
        kept = [key for key, pair in pairs.items() if np.isfinite(pair).all()]
        if kept:
            yield (
                metric, [pairs[key][0] for key in kept], [pairs[key][1] for key in kept],
                _systems(a, kept),
            )  # fmt: skip


def _number(value: Any) -> float:
    return float("nan") if value is None or isinstance(value, str) else float(value)


def _systems(side: Scores, keys: Sequence[Key]) -> list[str]:
    return [str(side.rows[key].get("system", key)) for key in keys]


def _flips(task: Task, a: Scores, b: Scores, shared: Sequence[Key]) -> list[Flip]:
    found = []
    for key in shared:
        before, after = (str(side.rows[key]["status"]) for side in (a, b))
        if (before == "ok") == (after == "ok"):
            continue
        failed = b if before == "ok" else a
        by_machine = bool({before, after} & MACHINE)
        message = str(failed.rows[key]["message"])
        found.append(Flip(key_words(task.keys, key), before, after, message, by_machine))
    return found


def _told(a: Facts, b: Facts) -> tuple[list[tuple[str, list[str], list[str]]], list[str]]:
    """What both tell and differs, what decides most first, and what one of them does not tell."""

    def weight(label: str) -> int:
        return next((k for k, words in enumerate(_FIRST) if label.startswith(words)), len(_FIRST))

    causes, untold = [], []
    for label in sorted(dict.fromkeys([*a, *b]), key=weight):
        if label in a and label in b:
            if a[label] != b[label]:
                causes.append((label, sorted(a[label]), sorted(b[label])))
        else:
            untold.append(label)
    return causes, untold


def _judged(models: Mapping[str, Sequence[TaskDiff]]) -> dict[str, list[TaskDiff]]:
    """Every score with its verdict, all questions together."""
    every = [one.change for some in models.values() for task in some for one in task.scores]
    # where no row differs there is nothing to ask
    asked = [change.p if change.n_apart else float("nan") for change in every]
    adjusted = iter(holm(asked).tolist())

    def judge(one: ScoreChange) -> ScoreChange:
        p = next(adjusted)
        if not one.change.n_apart:
            return replace(one, verdict=EQUAL)
        if np.isnan(p):
            return one
        return replace(one, verdict=CHANGED if p <= 1 - LEVEL else WITHIN, p_adjusted=p)

    return {
        name: [replace(task, scores=[judge(one) for one in task.scores]) for task in some]
        for name, some in models.items()
    }
