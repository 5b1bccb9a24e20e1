"""Summary of a finished run on the terminal: the first models, and paths of page and explorer."""

from __future__ import annotations

import csv
from pathlib import Path

ROWS = 5
_COLUMNS = {
    "rank": ("rank", "{:.0f}"),
    "model": ("model", "{}"),
    "n_scored": ("scored", "{:.0f}"),
    "n_planned": ("planned", "{:.0f}"),
    "rank_score": ("{rank_by}, shared scans", "{:.3g}"),  # what the ranks are by
    "fsd_windowed": ("windowed (1/Å)", "{:.1f}"),
    "force_mae": ("force MAE (eV/Å)", "{:.3g}"),
}


def summary(results: Path) -> str:
    """The first rows of the leaderboard and the paths of page and explorer.

    Args:
        results: Folder of a scan set's results.

    Returns:
        Lines; "" as long as there is no leaderboard.
    """
    table, page = results / "leaderboard.csv", results / "leaderboard.html"
    if not (table.is_file() and page.is_file()):
        return ""
    with table.open(encoding="utf-8", newline="") as file:
        models = [row for row in csv.DictReader(file) if row["role"] == "model"]
    rank_by = models[0]["rank_by"] if models else "score"
    rows = [[title.format(rank_by=rank_by) for title, _ in _COLUMNS.values()]]
    rows += [
        [_cell(row[key], form) for key, (_, form) in _COLUMNS.items()] for row in models[:ROWS]
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if len(models) > ROWS:
        lines.append(f"and {len(models) - ROWS} more models")
    explorer = results / "explorer" / "index.html"
    shown = [f"explorer: {explorer}"] if explorer.is_file() else []
    return "\n".join([*lines, f"page: {page}", *shown])


def _cell(text: str, form: str) -> str:
    if not text:
        return "–"
    return text if form == "{}" else form.format(float(text))
