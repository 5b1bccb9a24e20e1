"""A diff for people, as text, and for machines, as JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pesbench.commands.diff.differences import (
    CHANGED,
    UNDECIDED,
    WITHIN,
    Diff,
    ScoreChange,
    TaskDiff,
)
from pesbench.core.text import number, printable, quoted
from pesbench.metrics.paired import LEAST_SYSTEMS

FORMAT, VERSION = "pesbench-diff", 1
_SHOWN = 5  # rows, models and causes named; the JSON has all
_LETTERS = 40  # of a value
_DIGEST = re.compile(r"[0-9a-f]{16,64}")


def text(found: Diff, *, every: bool = False) -> str:
    """The diff for people.

    Args:
        found: The diff.
        every: Whether to list what changed within noise, too.
    """
    lines = [f"A: {printable(found.paths[0])}", f"B: {printable(found.paths[1])}"]
    lines += [
        f"models only in {side}: {_some(names)}"
        for side, names in zip("AB", found.only, strict=True)
        if names
    ]
    lines += [
        f"scores only in {'AB'[side]}: {task} of {printable(model)}"
        for model, task, side in found.tasks_only
    ]
    quiet = []
    for name, tasks in found.models.items():
        said = [line for task in tasks for line in _task_lines(task, every=every)]
        if said:
            lines += ["", printable(name), *said]
        else:
            quiet.append(name)
    if quiet:
        lines += ["", f"nothing to tell of {_some(quiet)}"]
    return "\n".join([*lines, "", verdict(found)])


def verdict(found: Diff) -> str:
    """The last line."""
    every = [(name, one) for name, some in found.models.items() for t in some for one in t.scores]
    changed = [name for name, one in every if one.verdict == CHANGED]
    flips = [f for some in found.models.values() for t in some for f in t.flips if not f.by_machine]
    undecided = sum(one.verdict == UNDECIDED for _, one in every)
    parts = []
    if changed:
        parts.append(
            f"{len(changed)} scores of {len(set(changed))} models changed beyond noise "
            f"({', '.join(printable(name) for name in dict.fromkeys(changed))})"
        )
    if flips:
        parts.append(f"{len(flips)} rows are scored in one run and not in the other")
    said = "changed: " + "; ".join(parts) if parts else "unchanged: no score beyond noise"
    aside = (
        f"; {undecided} scores differ and are not decided (fewer than {LEAST_SYSTEMS} molecules)"
        if undecided
        else ""
    )
    return f"{said}{aside}; {len(every)} scores compared"


def _task_lines(task: TaskDiff, *, every: bool) -> Iterator[str]:
    wanted = {CHANGED, UNDECIDED, *([WITHIN] if every else [])}
    shown = [one for one in task.scores if one.verdict in wanted]
    hidden = sum(one.verdict == WITHIN for one in task.scores) if not every else 0
    if not (shown or hidden or task.flips or any(task.only)):
        return
    yield f"  {task.task.name}: {task.n_both} {task.task.rows} in both"
    for side, rows in zip("AB", task.only, strict=True):
        if rows:
            yield f"    only in {side}: {_some(rows)}"
    for flip in task.flips[:_SHOWN]:
        why = f" ({quoted(flip.message, 120)})" if flip.message else ""
        machine = ", by the machine perhaps" if flip.by_machine else ""
        yield f"    {printable(flip.row)}: {flip.before} → {flip.after}{why}{machine}"
    if len(task.flips) > _SHOWN:
        yield f"    {len(task.flips) - _SHOWN} more {task.task.rows} like these"
    order = (CHANGED, UNDECIDED, WITHIN)
    for one in sorted(shown, key=lambda one: order.index(one.verdict)):
        yield f"    {_score_line(one)}"
    if hidden:
        yield f"    {hidden} scores differ within noise (--all)"
    if shown or hidden or task.flips:
        yield from _why(task)


def _score_line(one: ScoreChange) -> str:
    change, unit = one.change, f" {one.metric.unit}" if one.metric.unit else ""
    interval = "" if math.isnan(change.low) else f" ({number(change.low)} to {number(change.high)})"
    worse = {"lower": change.mean > 0, "higher": change.mean < 0}[one.metric.better]
    sign = "worse" if worse else "better"
    p = "" if math.isnan(one.p_adjusted) else f", p = {number(one.p_adjusted, 2)}"
    return (
        f"{one.verdict}: {one.metric.title} {number(change.before)} → {number(change.after)}{unit}"
        f", {sign} by {number(abs(change.mean))}; change {number(change.mean)}{interval}{p}; "
        f"{change.n_apart} of {change.n} rows of {change.n_systems} molecules differ"
    )


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
        "changed": found.changed,
        "verdict": verdict(found),
        "models_only": [list(names) for names in found.only],
        "scores_only": [
            {"model": model, "task": task, "in": "AB"[side]}
            for model, task, side in found.tasks_only
        ],
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
        "scores": {
            one.metric.name: {
                "verdict": one.verdict,
                "unit": one.metric.unit,
                "better": one.metric.better,
                **{key: _finite(value) for key, value in vars(one.change).items()},
                "p_adjusted": _finite(one.p_adjusted),
            }
            for one in task.scores
        },
        "differs": [{"what": what, "A": list(a), "B": list(b)} for what, a, b in task.causes],
        "told_by_one": list(task.untold),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
