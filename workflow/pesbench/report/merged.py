"""Origin of the results of a merged leaderboard: a section, from `merged.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.core.errors import reading
from pesbench.core.family import CONTROL, family_of
from pesbench.report.sections import StoredSection, StoredTable

HEADING = "Where the results are from"
_EMPTY = "–"


def _words(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value or "unknown" for value in values)) or "unknown"


def _cell(results: Mapping[str, Any] | None) -> str:
    if results is None:
        return _EMPTY
    text = f"{results['n']}"
    if results["n_absent"]:
        text += f" of {results['n'] + results['n_absent']}"
    as_they_are = sum(part["n"] for part in results["parts"] if part["as"] == "scores")
    if as_they_are:
        every = as_they_are == results["n"]
        text += " (scores)" if every else f" ({as_they_are} as scores)"
    return text


def text_table(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """One row a model, controls left out, as text cells; a column of numbers of results a task.

    Args:
        manifest: Content of `merged.json`.
    """
    tasks = list(manifest["tasks"])
    rows = []
    for name, one in manifest["models"].items():
        if family_of(one["family"]).role == CONTROL:
            continue
        parts = [part for results in one["tasks"].values() for part in results["parts"]]
        made = [how for part in parts for how in part["made_from"]]
        rows.append(
            {
                "model": name,
                "from": _words(part["folder"] for part in parts),
                **{task: _cell(one["tasks"].get(task)) for task in tasks},
                "device": _words(how["device"] for how in made),
                "commit": _words(how["git_commit"][:8] for how in made),
            }
        )
    columns = ["model", "from", *tasks, "device", "commit"]
    return pd.DataFrame(rows, columns=columns)


def notes(manifest: Mapping[str, Any]) -> list[str]:
    """Notes for readers: scores used as they are, other code, other names, what is left out."""
    models = manifest["models"]
    found = []
    merged = [
        (f"{name} ({task})", results)
        for name, one in models.items()
        for task, results in one["tasks"].items()
    ]
    if taken := [
        name for name, results in merged if any(part["as"] == "scores" for part in results["parts"])
    ]:
        found.append(
            "Scores used as they are, not made again by this version, because the files of "
            f"results are missing: {', '.join(taken)}."
        )
    if other := [
        name for name, results in merged if not all(part["same_code"] for part in results["parts"])
    ]:
        found.append(
            "Made by the code of another version, or without a record of the code: "
            f"{', '.join(other)}."
        )
    for name, one in models.items():
        found += [f"{name}: called {old} in {folder}." for folder, old in one["renamed"].items()]
    found += [
        f"The reference of {task} is from {_words(part['folder'] for part in parts)}."
        for task, parts in manifest["reference"].items()
    ]
    if any(results["n_absent"] for _, results in merged):
        found.append(
            "not evaluated: scans that other models have and that were never run for this model. "
            "They count as planned and enter no mean."
        )
    scans = manifest["scan_set"]
    if scans["n_planned"] < scans["n_scans"]:
        found.append(
            f"{scans['n_scans'] - scans['n_planned']} of the {scans['n_scans']} scans of the set "
            "were evaluated by no model; they are not counted as planned."
        )
    return [*found, *(f"{warning}." for warning in manifest["warnings"])]


def section(merged_json: Path) -> StoredSection:
    """The section of the leaderboard and the page.

    Raises:
        UserError: the file is missing or something else.
    """
    with reading(merged_json, "not what `pesbench merge` writes", "merge again"):
        manifest = json.loads(merged_json.read_text(encoding="utf-8"))
        table = StoredTable("merged.csv", text_table(manifest))
        return StoredSection("merged", "", HEADING, tables=(table,), notes=tuple(notes(manifest)))
