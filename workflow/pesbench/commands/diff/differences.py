"""What changed between two folders, row by row, and what one of them lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.commands.diff.folders import Facts, Scores, Side
from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.section import Metric
from pesbench.core.task import Key, Task, key_words
from pesbench.files.rounding import half_the_digits
from pesbench.metrics.aggregate import LEVEL, mean_interval
from pesbench.metrics.changes import apart, holm, mcnemar, signed_rank

UNCHANGED, CHANGED, UNDECIDED = "unchanged", "changed", "not decided"
CHAOS = "within chaos"  # of trajectories: no more differ than of two runs of one code may
ENDED = Metric("ended", "share of runs that do not reach their end", "", "lower")
OUTCOME = "outcome"  # column of a task whose rows are trajectories, which part from rounding
_OK, _RAN = "ok", "ran"  # states of rows that have scores
_FIRST = ("family", "weights", "parameters", "setting", "scan set", "code", "precision", "device")


@dataclass(frozen=True)
class ScoreChange:
    """A score of a model for a task in both runs.

    Attributes:
        metric: The score.
        n: Rows that have it in one of the runs at least.
        before: Mean of the first run over the rows that have it in both; NaN without any.
        after: Mean of the second.
        low: Lower end of the interval of the mean difference for other molecules; NaN for fewer
            than two molecules.
        high: Upper end.
        rows: Rows that differ, the largest difference first: row, first value, second value.
        same: Rows that do not, likewise.
        verdict: `UNCHANGED`, `CHANGED`, `CHAOS` or `UNDECIDED`.
        p: Of trajectories, of no change; NaN elsewhere.
    """

    metric: Metric
    n: int
    before: float
    after: float
    low: float
    high: float
    rows: Sequence[tuple[str, float, float]]
    same: Sequence[tuple[str, float, float]]
    verdict: str
    p: float = float("nan")


@dataclass(frozen=True)
class Flip:
    """A row that ended in another way.

    Attributes:
        row: Its key, for readers.
        before: How it ended in the first run.
        after: And in the second.
        message: Of the run in which it failed.
    """

    row: str
    before: str
    after: str
    message: str


@dataclass(frozen=True)
class TaskDiff:
    """A task of a model.

    Attributes:
        task: The task.
        n_both: Rows of both runs.
        only: Rows of one run only, for readers: of the first, of the second.
        scores: Every score that both have.
        flips: Rows that ended in another way.
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


@dataclass(frozen=True)
class Diff:
    """Two folders.

    Attributes:
        paths: The two folders.
        models: Tasks by model of both.
        only: What only the first has, and what only the second: a model, a task of a model, or a
            score of a task of a model, by their names.
        tolerance: Relative drift that is no change.
        allow_missing: Whether the second may lack models, tasks and scores.
    """

    paths: tuple[Path, Path]
    models: Mapping[str, Sequence[TaskDiff]]
    only: tuple[Sequence[tuple[str, ...]], Sequence[tuple[str, ...]]]
    tolerance: float
    allow_missing: bool

    @property
    def tasks(self) -> list[TaskDiff]:
        """Every task of a model that both have."""
        return [task for some in self.models.values() for task in some]

    @property
    def answer(self) -> str:
        """`UNCHANGED`, `CHANGED` or `UNDECIDED`."""
        verdicts = {one.verdict for task in self.tasks for one in task.scores}
        lost = bool(self.only[0]) and not self.allow_missing
        if lost or CHANGED in verdicts or any(task.flips or task.only[0] for task in self.tasks):
            return CHANGED
        return UNDECIDED if UNDECIDED in verdicts or not verdicts else UNCHANGED


def differences(
    one: Side, other: Side, *, tolerance: float = 0.0, allow_missing: bool = False
) -> Diff:
    """What changed from one folder to another.

    Args:
        one: The first folder.
        other: The second.
        tolerance: Relative drift of a value that is no change.
        allow_missing: Whether the second may lack models, tasks and scores of the first.

    Raises:
        UserError: they have no row in common.
    """
    models = {
        name: [
            _task_diff(task, (a.scores[key], b.scores[key]), (a.entry, b.entry), tolerance)
            for key, task in tasks().items()
            if key in a.scores and key in b.scores
        ]
        for name, a in one.models.items()
        if (b := other.models.get(name)) is not None
    }
    if not any(task.n_both for some in models.values() for task in some):
        raise UserError(
            f"{one.path} and {other.path}: have no model with the same scans or molecules; give "
            "two runs of one scan set"
        )
    only = _only(one, other), _only(other, one)
    return Diff((one.path, other.path), models, only, tolerance, allow_missing)


def _only(one: Side, other: Side) -> list[tuple[str, ...]]:
    """What the first has and the second lacks; not the parts of what it lacks as a whole."""
    others = set(_held(other))
    return [
        held
        for held in _held(one)
        if held not in others and (len(held) == 1 or held[:-1] in others)
    ]


def _held(side: Side) -> Iterator[tuple[str, ...]]:
    for name, model in side.models.items():
        yield (name,)
        for key, scores in model.scores.items():
            yield (name, key)
            yield from ((name, key, one.name) for one in _compared(tasks()[key], scores))


def _compared(task: Task, *sides: Scores) -> list[Metric]:
    """The scores that two runs of one model should agree in, and that these have."""
    lacks = {*task.unstable, *(column for side in sides for column in side.lacks)}
    return [one for one in task.metrics if one.better and one.name not in lacks]


def _task_diff(
    task: Task, both: tuple[Scores, Scores], entries: tuple[Facts, Facts], tolerance: float
) -> TaskDiff:
    a, b = both
    shared = sorted(key for key in a.rows if key in b.rows)
    causes, untold = _told({**entries[0], **a.facts}, {**entries[1], **b.facts})
    only = [
        [key_words(task.keys, key) for key in sorted(x.rows) if key not in y.rows]
        for x, y in ((a, b), (b, a))
    ]
    return TaskDiff(
        task=task,
        n_both=len(shared),
        only=(only[0], only[1]),
        scores=_scores(task, a, b, shared, tolerance),
        flips=list(_flips(task, a, b, shared)),
        causes=causes,
        untold=untold,
    )


# --- rows that have scores -----------------------------------------------------------------------


def _scores(
    task: Task, a: Scores, b: Scores, shared: Sequence[Key], tolerance: float
) -> list[ScoreChange]:
    """Every score of a task.

    Of trajectories, whether they reach their end is asked first and alone, so that many scores do
    not hide that more of them fail. The scores are of those that reach it in both runs: what a run
    does while it breaks is not what its scores are of.
    """

    def changes(metrics: Sequence[Metric], keys: Sequence[Key]) -> list[ScoreChange]:
        found = (_change(task, metric, a, b, keys, tolerance) for metric in metrics)
        return [one for one in found if one is not None]

    scored = [
        key for key in shared
        if _state(task, a.rows[key]) == _state(task, b.rows[key]) in (_OK, _RAN)
    ]  # fmt: skip
    metrics = _compared(task, a, b)
    if OUTCOME not in task.words:
        return changes(metrics, scored)
    alive = [key for key in scored if not any(_value(s.rows[key], ENDED) for s in (a, b))]
    return [*_judged(changes([ENDED], scored)), *_judged(changes(metrics, alive))]


def _change(
    task: Task, metric: Metric, a: Scores, b: Scores, keys: Sequence[Key], tolerance: float
) -> ScoreChange | None:
    """A score, or None if no row has it in either run."""
    pairs = {key: (_value(a.rows[key], metric), _value(b.rows[key], metric)) for key in keys}
    pairs = {key: pair for key, pair in pairs.items() if not np.isnan(pair).all()}
    if not pairs:
        return None
    before, after = np.array(list(pairs.values())).T
    differs = apart(before, after, half_the_digits([*a.dtypes, *b.dtypes]), tolerance)
    both = np.isfinite(before) & np.isfinite(after)
    with np.errstate(invalid="ignore"):  # of infinite values
        change = after - before
    low = high = 0.0 if both.any() else float("nan")
    if (differs & both).any():
        systems = [str(a.rows[key].get("system", key)) for key in pairs]
        known = np.array(systems)[both].tolist()
        low, high = mean_interval(change[both], known, f"diff {metric.name}")
    size = np.where(both, np.abs(change), np.inf)
    order = sorted(np.flatnonzero(differs), key=lambda k: -size[k])
    verdict, p = (CHANGED if len(order) else UNCHANGED), float("nan")
    if OUTCOME in task.words:
        moved = change[differs & ~np.isnan(change)]
        flips = int((moved > 0).sum()), int((moved < 0).sum())
        p = mcnemar(*flips) if metric is ENDED else signed_rank(moved)
        # a number that is there in one run only is no work of chaos
        verdict = CHANGED if len(moved) < len(order) else CHAOS
    words = [key_words(task.keys, key) for key in pairs]
    rows = [(words[k], float(before[k]), float(after[k])) for k in range(len(pairs))]
    return ScoreChange(
        metric=metric,
        n=len(pairs),
        before=float(before[both].mean()) if both.any() else float("nan"),
        after=float(after[both].mean()) if both.any() else float("nan"),
        low=low,
        high=high,
        rows=[rows[k] for k in order],
        same=[rows[k] for k in np.flatnonzero(~differs)],
        verdict=verdict,
        p=p,
    )


def _judged(scores: Sequence[ScoreChange]) -> list[ScoreChange]:
    """Scores of trajectories that are asked for together, with their verdicts."""

    def verdict(one: ScoreChange, p: float) -> str:
        if not one.rows:
            return UNCHANGED
        if one.verdict == CHANGED or p <= 1 - LEVEL:
            return CHANGED
        # whether as many rows could show anything, if all of them went one way
        return CHAOS if mcnemar(one.n, 0) * len(scores) <= 1 - LEVEL else UNDECIDED

    adjusted = holm([one.p for one in scores]).tolist()
    return [
        replace(one, p=p, verdict=verdict(one, p)) for one, p in zip(scores, adjusted, strict=True)
    ]


def _value(row: Mapping[str, Any], metric: Metric) -> float:
    value = row[OUTCOME] != "survived" if metric is ENDED else row[metric.name]
    return float("nan") if value is None or isinstance(value, str) else float(value)


# --- rows that ended in another way --------------------------------------------------------------


def _state(task: Task, row: Mapping[str, Any]) -> str:
    """How a row ended, of trajectories as far as chaos does not decide it."""
    status = str(row["status"])
    if OUTCOME not in task.words:
        return status
    ran = row[OUTCOME] in ("survived", "failed") or status == "alarm"
    return _RAN if ran else f"{row[OUTCOME]} ({status})"


def _flips(task: Task, a: Scores, b: Scores, shared: Sequence[Key]) -> Iterator[Flip]:
    for key in shared:
        before, after = (_state(task, side.rows[key]) for side in (a, b))
        if before != after:
            failed = a if after in (_OK, _RAN) else b
            row = key_words(task.keys, key)
            yield Flip(row, before, after, str(failed.rows[key]["message"]))


# --- what may be the cause -----------------------------------------------------------------------


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
