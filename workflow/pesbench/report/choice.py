"""What a reader asks who chooses a model: elements, conservation, cost, licence, overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from ase.data import atomic_numbers, chemical_symbols

from pesbench.core.section import FLAG, INTEGER, TEXT, BoardColumn, Metric
from pesbench.core.text import number
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry
from pesbench.report.sections import StoredSection, StoredTable

_PER_DAY = "steps a day"
NAME, TITLE = "choice", "Choosing a model"
_NOTES = (
    "Elements: how many the loaded model knows (where it does not tell, its entry), and those of "
    "the scan set that it lacks. Conservative: whether forces are the gradient of the energy, by "
    "its entry. Licence: of the weights. Parameters: first digits of the checksum of those that "
    "were loaded, of each where files differ; not visible: the model holds no torch network. "
    "Precision: what the rounding of the forces shows, and the one claimed where it differs. "
    "n/a: neither the model nor its entry tells.",
    "Steps a day and memory are of one molecule alone, without the time that a thread waited for "
    "others; the section on the cost of a step has the molecule, the load and the times.",
)


def columns(
    entries: Mapping[str, ModelEntry], scores: Mapping[str, pd.DataFrame], scan_set: ScanSet
) -> list[BoardColumn]:
    """Columns of the leaderboard that describe models; controls have none.

    Args:
        entries: Entries by name.
        scores: Scores of a task by model, whose attributes tell what the loaded model knew.
        scan_set: What the models were scored on.
    """
    asked = frozenset[int]().union(*(scan_set.composition(one)[0] for one in scan_set.ids))
    models = {n: entry for n, entry in entries.items() if n in scores and not entry.is_control}
    known = {n: found for n, entry in models.items() if (found := _elements(entry, scores[n]))}
    lacking = {name: _symbols(asked - found) for name, found in known.items()}
    overlap = {
        n: (entry.settings.get("seen") or {}).get(scan_set.name, "") for n, entry in models.items()
    }
    return [
        BoardColumn(
            Metric("n_elements", "elements", help="Number of elements that the model knows."),
            {name: len(found) for name, found in known.items()},
            kind=INTEGER,
        ),
        BoardColumn(
            Metric("lacking", "lacking elements", help="Elements of the scan set that it lacks."),
            lacking,
            kind=TEXT,
        ),
        BoardColumn(
            Metric("conservative", "conservative", help="Whether forces are a gradient."),
            {
                n: bool(told)
                for n in models
                if (told := models[n].settings.get("conservative")) is not None
            },
            kind=FLAG,
        ),
        BoardColumn(
            Metric("license", "licence", help="Licence of the weights."),
            {name: str(entry.settings.get("license") or "") for name, entry in models.items()},
            kind=TEXT,
        ),
        BoardColumn(
            Metric("overlap", "overlap", help="What is known of an overlap with the scan set."),
            overlap,
            kind=TEXT,
        ),
    ]


def _elements(entry: ModelEntry, scores: pd.DataFrame) -> frozenset[int]:
    """Elements that the loaded model knew, or those of its entry; empty where neither tells."""
    files = scores.attrs.get("made_from") or ()
    told = [str(how.get("elements", "")) for how in files if isinstance(how, Mapping)]
    symbols = next(filter(None, told), "").split() or entry.settings.get("elements") or ()
    return frozenset(atomic_numbers[one] for one in symbols if one in atomic_numbers)


def _symbols(numbers: frozenset[int]) -> str:
    return ", ".join(chemical_symbols[number] for number in sorted(numbers))


# --- the table -----------------------------------------------------------------------------------


def section(board: pd.DataFrame) -> StoredSection | None:
    """The table of the models; None where nothing is told of any.

    Args:
        board: Board of `pesbench.report.board`.
    """
    models = board[board["role"] == "model"].to_dict("records")
    sizes = {int(n) for row in models if not pd.isna(n := row.get("cost_n_atoms"))}
    per_day = f"{_PER_DAY} ({sizes.pop()} atoms)" if len(sizes) == 1 else _PER_DAY
    rows = pd.DataFrame([_cells(row) for row in models]).rename(columns={_PER_DAY: per_day})
    if rows.empty:
        return None
    told = [name for name in rows if (rows[name] != "n/a").any()]
    if told == ["model"]:
        return None
    timed = per_day in told
    table = StoredTable(NAME, rows[told], models=tuple(row["model"] for row in models))
    return StoredSection(NAME, "", TITLE, tables=(table,), notes=_NOTES if timed else _NOTES[:1])


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    conservative, per_day = row.get("conservative"), row.get("cost_steps_per_day")
    lacking = f", lacks {row['lacking']}" if row.get("lacking") else ""
    said = {True: "yes", False: "no"}
    elements = row.get("n_elements")
    return {
        "model": row["model"],
        "level of theory": row["level_of_theory"] or "n/a",
        "elements": "n/a" if pd.isna(elements) else f"{elements:.0f}{lacking}",
        "conservative": "n/a" if pd.isna(conservative) else said[bool(conservative)],
        _PER_DAY: "n/a" if pd.isna(per_day) else number(float(f"{per_day:.3g}")),
        "peak memory (MB)": number(row.get("cost_peak_memory_mb")),
        "device": row.get("cost_device") or "n/a",
        "parameters": row.get("parameters") or "n/a",
        "precision": row.get("precision") or "n/a",
        "licence": row.get("license") or "n/a",
    }
