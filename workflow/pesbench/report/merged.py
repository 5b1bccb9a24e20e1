"""Where the results of a merged leaderboard are from: a section, from `merged.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.core.errors import reading
from pesbench.report.sections import StoredSection, StoredTable

HEADING = "Where the results are from"
KINDS = {"bonds": "scans", "dynamics": "trajectories"}
_EMPTY = "–"


def _words(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(value or "unknown" for value in values)) or "unknown"


def _cell(of_kind: Mapping[str, Any] | None) -> str:
    if of_kind is None:
        return _EMPTY
    text = f"{of_kind['n']}"
    if of_kind["n_absent"]:
        text += f" of {of_kind['n'] + of_kind['n_absent']}"
    as_they_are = sum(part["n"] for part in of_kind["parts"] if part["as"] == "scores")
    if as_they_are:
        every = as_they_are == of_kind["n"]
        text += " (scores)" if every else f" ({as_they_are} as scores)"
    return text


def text_table(models: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row a model, controls left out, as text cells.

    Args:
        models: As in `merged.json`.
    """
    rows = []
    for name, one in models.items():
        if one["family"] == "control":
            continue
        parts = [part for kind in KINDS if kind in one for part in one[kind]["parts"]]
        made = [how for part in parts for how in part["made_from"]]
        rows.append(
            {
                "model": name,
                "from": _words(part["folder"] for part in parts),
                **{title: _cell(one.get(kind)) for kind, title in KINDS.items()},
                "device": _words(how["device"] for how in made),
                "commit": _words(how["git_commit"][:8] for how in made),
            }
        )
    columns = ["model", "from", *KINDS.values(), "device", "commit"]
    return pd.DataFrame(rows, columns=columns)


def notes(manifest: Mapping[str, Any]) -> list[str]:
    """What a reader must know: scores as they came, other code, other names, what is left out."""
    models = manifest["models"]
    found = []
    of_kind = [
        (name, kind, one[kind]) for name, one in models.items() for kind in KINDS if kind in one
    ]
    if taken := [
        f"{name} ({KINDS[kind]})"
        for name, kind, results in of_kind
        if any(part["as"] == "scores" for part in results["parts"])
    ]:
        found.append(
            "Scores taken as they came, not made again by this version, since evaluations or "
            f"trajectories are not there: {', '.join(taken)}."
        )
    if other := [
        f"{name} ({KINDS[kind]})"
        for name, kind, results in of_kind
        if not all(part["same_code"] for part in results["parts"])
    ]:
        found.append(
            "Made by other code than this version's, or without telling by which: "
            f"{', '.join(other)}."
        )
    for name, one in models.items():
        found += [f"{name}: called {old} in {folder}." for folder, old in one["renamed"].items()]
    if any(results["n_absent"] for _, _, results in of_kind):
        found.append(
            "not evaluated: scans or trajectories that other models have and this one was never "
            "asked. They are counted as planned, and in no mean."
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
        table = StoredTable("merged.csv", text_table(manifest["models"]))
        return StoredSection("merged", "", HEADING, tables=(table,), notes=tuple(notes(manifest)))
