"""The page of a diff: a folder that opens from disk in a browser, without a server or the network.

index.html, assets/   the same for every diff
data/index.js         verdict, scores, what is lost, why: always loaded
data/scores-<n>.js    rows of a model for a task in which something differs: loaded when looked at
diff.json             what `--out` writes, without absolute paths of this machine

It shows what `differences` has decided, in the words of the terminal, and decides nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pesbench import __version__
from pesbench.commands.diff.differences import UNCHANGED, Diff, ScoreChange, TaskDiff
from pesbench.commands.diff.told import apart, content, head, note, rank, score_line, verdict
from pesbench.core.paths import real_path
from pesbench.core.section import Metric
from pesbench.files.made_folder import check_replaceable, replacing
from pesbench.report.explorer.scripts import plain, write_script
from pesbench.report.graph import EXPLORER

FORMAT, VERSION = "pesbench-diff-page", 1
WHAT = "page of a diff"
MARKER = "pesbench-diff-page.json"  # by which a folder is known that may be replaced
_ASSETS = Path(__file__).with_name("assets")
_PAGE = "index.html"
_AT_HAND = {  # files of a folder of results that a browser shows
    "explorer": f"{EXPLORER}/index.html",
    "report": "leaderboard.html",
    "table": "leaderboard.md",
}


def check_page(folder: Path) -> None:
    """Refuse a folder that holds something else than a page of a diff.

    Raises:
        UserError: it does.
    """
    check_replaceable(folder, MARKER, WHAT)


def write_page(folder: Path, found: Diff) -> None:
    """Write the page, whole or not at all; a page that stood there is replaced.

    Args:
        folder: Where it is going to be.
        found: What it shows.

    Raises:
        UserError: something else stands there.
    """
    with replacing(folder, MARKER, WHAT) as part:
        for path in sorted(_ASSETS.iterdir()):
            place = part if path.name == _PAGE else part / "assets"
            place.mkdir(exist_ok=True)
            shutil.copyfile(path, place / path.name)
        data = part / "data"
        data.mkdir()
        index, pieces = page_data(found, [_links(path, folder) for path in found.paths])
        write_script(data, "index", index)
        for name, piece in pieces.items():
            write_script(data, name, piece)
        for name, value in (
            ("diff.json", plain(content(found))),
            (MARKER, {"format": FORMAT, "version": VERSION}),
        ):
            text = json.dumps(value, indent=1, allow_nan=False)
            (part / name).write_text(text + "\n", encoding="ascii")


def page_data(
    found: Diff, links: Sequence[Mapping[str, str]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the page shows.

    Args:
        found: The diff.
        links: Of each folder, addresses of what a browser can show, by what it is.

    Returns:
        What is always loaded, and the pieces by name.
    """
    pieces: dict[str, Any] = {}
    scores, tasks = [], []
    for model, some in found.models.items():
        for task in some:
            piece = f"scores-{len(pieces)}" if any(one.rows for one in task.scores) else None
            if piece:
                pieces[piece] = _rows(task)
            at = len(tasks)
            tasks.append(
                {
                    "model": model,
                    "task": task.task.name,
                    "title": task.task.title,
                    "keys": task.task.keys,
                    "rows": task.task.rows,
                    "head": head(task),
                    "only": task.only,
                    "flips": [vars(flip) for flip in task.flips],
                    "untold": task.untold,
                    "piece": piece,
                }
            )
            scores += [_score(at, one) for one in sorted(task.scores, key=rank)]
    metrics: dict[str, dict[str, Any]] = {}
    for task in found.tasks:
        of_task = metrics.setdefault(task.task.name, {})
        of_task.update({one.metric.name: _metric(one.metric) for one in task.scores})
    index = {
        "format": FORMAT,
        "version": VERSION,
        "program": __version__,
        "answer": found.answer,
        "verdict": verdict(found),
        "exit": int(found.answer != UNCHANGED),
        "folders": [
            {"path": str(path), "links": dict(some)}
            for path, some in zip(found.paths, links, strict=True)
        ],
        "tolerance": found.tolerance,
        "allow_missing": found.allow_missing,
        "only": [[" ".join(reversed(held)) for held in some] for some in found.only],
        "metrics": metrics,
        "tasks": tasks,
        "scores": scores,
        "causes": list(_causes(found)),
    }
    return index, pieces


def _metric(metric: Metric) -> dict[str, str]:
    return {
        "title": metric.title,
        "unit": metric.unit,
        "better": metric.better,
        "help": metric.help,
    }


def _score(task: int, one: ScoreChange) -> dict[str, Any]:
    return {
        "task": task,
        "name": one.metric.name,
        "verdict": one.verdict,
        "rank": rank(one),
        "said": score_line(one),
        "note": note(one),
        "shown": apart(one.before, one.after),  # as the terminal shows them
        "before": one.before,
        "after": one.after,
        "differ": len(one.rows),
        "n": one.n,
        "p": one.p,
    }


def _rows(task: TaskDiff) -> dict[str, Any]:
    """Rows of the scores that differ: those that differ first, then those that do not."""
    names = dict.fromkeys(row for one in task.scores for row, _, _ in (*one.rows, *one.same))
    number = {name: k for k, name in enumerate(names)}
    return {
        "rows": list(names),
        "scores": {
            one.metric.name: [[number[row], a, b] for row, a, b in (*one.rows, *one.same)]
            for one in task.scores
            if one.rows
        },
    }


def _causes(found: Diff) -> Iterator[dict[str, Any]]:
    """What is told to differ, and of which tasks of which models; those that changed first."""
    told: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[int]] = {}
    changed = [
        bool(task.flips or any(task.only) or any(one.rows for one in task.scores))
        for task in found.tasks
    ]
    for at, task in enumerate(found.tasks):
        for what, before, after in task.causes:
            told.setdefault((what, tuple(before), tuple(after)), []).append(at)
    for (what, before, after), where in told.items():
        yield {
            "what": what,
            "before": before,
            "after": after,
            "changed": [at for at in where if changed[at]],
            "unchanged": [at for at in where if not changed[at]],
        }


def _links(results: Path, page: Path) -> dict[str, str]:
    """Relative addresses, from the page, of what is at hand of a folder of results."""
    start, inside = real_path(page), real_path(results)
    found = {}
    for what, name in _AT_HAND.items():
        path = real_path(results / name)
        if path.is_file() and path.is_relative_to(inside):
            found[what] = quote(os.path.relpath(path, start))
    return found
