"""A diff for people, as text, and for machines, as JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pesbench.commands.diff.differences import (
    CHANGED,
    CHAOS,
    UNCHANGED,
    UNDECIDED,
    Diff,
    ScoreChange,
    TaskDiff,
)
from pesbench.core.text import number, printable, quoted

FORMAT, VERSION = "pesbench-diff", 2
_SHOWN = 5  # rows, models and causes named; the JSON has all
_LARGEST = 3  # rows of a score
_LETTERS = 40  # of a value
_DIGEST = re.compile(r"[0-9a-f]{16,64}")


def text(found: Diff) -> str:
    """The diff for people."""
    lines = [f"A: {printable(found.paths[0])}", f"B: {printable(found.paths[1])}"]
    lines += [
        f"only in {side}: {_some([' '.join(reversed(one)) for one in held])}"
        for side, held in zip("AB", found.only, strict=True)
        if held
    ]
    quiet = []
    for name, tasks in found.models.items():
        said = [line for task in tasks for line in _task_lines(task)]
        if said:
            lines += ["", printable(name), *said]
        else:
            quiet.append(name)
    if quiet:
        lines += ["", f"nothing to tell of {_some(quiet)}"]
    return "\n".join([*lines, "", verdict(found)])


def verdict(found: Diff) -> str:
    """The last line."""
    every = [
        (name, one) for name, some in found.models.items() for task in some for one in task.scores
    ]
    changed = [name for name, one in every if one.verdict == CHANGED]
    models = list(dict.fromkeys(changed))
    counts = [
        (len(changed), f"scores of {len(models)} models changed ({_some(models)})"),
        (sum(len(task.flips) for task in found.tasks), "rows ended in another way"),
        (sum(len(task.only[0]) for task in found.tasks), "rows are not in B"),
        (len(found.only[0]), "models, tasks or scores are not in B"),
        (sum(one.verdict == UNDECIDED for _, one in every), "scores differ and are not decided"),
        (
            sum(one.verdict == CHAOS for _, one in every),
            "scores of trajectories differ within chaos",
        ),
    ]
    said = [f"{count} {what}" for count, what in counts if count]
    return f"{found.answer}: {'; '.join([*said, f'{len(every)} scores compared'])}"


def _task_lines(task: TaskDiff) -> Iterator[str]:
    shown = [one for one in task.scores if one.verdict != UNCHANGED]
    if not (shown or task.flips or any(task.only)):
        return
    yield f"  {head(task)}"
    for side, rows in zip("AB", task.only, strict=True):
        if rows:
            yield f"    {len(rows)} only in {side}: {_some(rows)}"
    for flip in task.flips[:_SHOWN]:
        why = f" ({quoted(flip.message, 120)})" if flip.message else ""
        yield f"    {printable(flip.row)}: {flip.before} → {flip.after}{why}"
    if len(task.flips) > _SHOWN:
        yield f"    {len(task.flips) - _SHOWN} more {task.task.rows} ended in another way (--out)"
    for one in sorted(shown, key=rank):
        yield from _score_lines(one)
    if shown or task.flips:
        yield from _why(task)


def head(task: TaskDiff) -> str:
    """How much of a task is compared."""
    return f"{task.task.name}: {task.n_both} {task.task.rows} in both"


def rank(one: ScoreChange) -> int:
    """Place of a score among the others of its task: what changed comes first."""
    return (CHANGED, UNDECIDED, CHAOS, UNCHANGED).index(one.verdict)


def score_line(one: ScoreChange) -> str:
    """What became of a score."""
    unit = f" {one.metric.unit}" if one.metric.unit else ""
    change = one.after - one.before
    worse = (change > 0) == (one.metric.better == "lower")
    by = f", {'worse' if worse else 'better'} by {number(abs(change))}" if abs(change) > 0 else ""
    p = "" if math.isnan(one.p) else f", p = {number(one.p, 2)}"
    return (
        f"{one.verdict}: {one.metric.title} {_arrow(one.before, one.after)}{unit}{by}; "
        f"{len(one.rows)} of {one.n} rows differ{p}"
    )


def note(one: ScoreChange) -> str:
    """What the mean of other molecules would do, or ""."""
    if math.isnan(one.low):
        return ""
    return f"the mean of other molecules: by {number(one.low)} to {number(one.high)}"


def _score_lines(one: ScoreChange) -> Iterator[str]:
    yield f"    {score_line(one)}"
    if said := note(one):
        yield f"      {said}"
    for row, before, after in one.rows[:_LARGEST]:
        yield f"      {printable(row)}: {_arrow(before, after)}"
    if len(one.rows) > _LARGEST:
        yield f"      {len(one.rows) - _LARGEST} more rows (--out)"


def apart(before: float, after: float) -> tuple[str, str]:
    """Two values, with digits enough to tell them apart."""
    shown = [(number(before, digits), number(after, digits)) for digits in (3, 6, 9, 12)]
    return next((pair for pair in shown if pair[0] != pair[1]), shown[0])


def _arrow(before: float, after: float) -> str:
    return " → ".join(apart(before, after))


def _why(task: TaskDiff) -> Iterator[str]:
    if not task.causes:
        yield "    why: nothing that both runs tell of themselves differs"
    for label, before, after in task.causes[: 3 * _SHOWN]:
        yield f"    differs: {quoted(label, 80)}: {_values(before)} → {_values(after)}"
    if len(task.causes) > 3 * _SHOWN:
        yield f"    {len(task.causes) - 3 * _SHOWN} more differ (--out)"
    if task.untold:
        yield f"    told by one run only: {_some(task.untold)}"


def _values(values: Sequence[str]) -> str:
    shown = [_value(value) for value in values[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(values) > _SHOWN else "")


def _value(value: str) -> str:
    """A value for readers; of a digest, its beginning."""
    return value[:12] if _DIGEST.fullmatch(value) else quoted(value, _LETTERS)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(quoted(name, 80) for name in names[:_SHOWN]) + more


def content(found: Diff) -> dict[str, Any]:
    """The diff as plain data for JSON; a number that does not exist is null."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "folders": [printable(path) for path in found.paths],
        "tolerance": found.tolerance,
        "allow_missing": found.allow_missing,
        "answer": found.answer,
        "verdict": verdict(found),
        "only": [[list(held) for held in some] for some in found.only],
        "models": {
            name: {task.task.name: _task_content(task) for task in tasks}
            for name, tasks in found.models.items()
        },
    }


def _task_content(task: TaskDiff) -> dict[str, Any]:
    return {
        "n_both": task.n_both,
        "only": [list(rows) for rows in task.only],
        "status_changes": [vars(flip) for flip in task.flips],
        "scores": {one.metric.name: _score_content(one) for one in task.scores},
        "differs": [{"what": what, "A": list(a), "B": list(b)} for what, a, b in task.causes],
        "told_by_one": list(task.untold),
    }


def _score_content(one: ScoreChange) -> dict[str, Any]:
    numbers = ("before", "after", "low", "high", "p")
    return {
        "verdict": one.verdict,
        "unit": one.metric.unit,
        "better": one.metric.better,
        "n": one.n,
        **{key: _finite(getattr(one, key)) for key in numbers},
        "rows": [{"row": row, "A": _finite(a), "B": _finite(b)} for row, a, b in one.rows],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
