"""The leaderboard as one HTML file that needs nothing else: figures and style are inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pesbench.core.text import html_text
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_tables import read_csv
from pesbench.report import tables
from pesbench.report.columns import EQUIVALENT, Column, columns_of
from pesbench.report.sections import StoredSection, StoredTable, read_figure

TEMPLATE = Path(__file__).with_name("page.html.jinja")
_SKIPPED = ("scan", "quality", "reason")
_WORDS = {"model": "text", "defect": "word"}  # the first stays in view when a table is scrolled
_EMPTY = ("n/a", "–")


def render(
    board: pd.DataFrame,
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    answers: Sequence[str] = (),
    skipped: pd.DataFrame | None = None,
    sections: Sequence[StoredSection] = (),
    about: StoredSection | None = None,
    of_models: Mapping[str, Sequence[StoredSection]] | None = None,
    made: Sequence[tuple[str, str]] = (),
) -> str:
    """The page as HTML.

    Args:
        board: Board of `pesbench.report.board`.
        title: Heading of the page.
        facts: Names and values of what was scored: scan set, level of theory, numbers of scans.
        answers: Sentences under the heading, of `answer.sentences`.
        skipped: Bonds and scans that no model is scored on, with the reason, or None.
        sections: Sections of tasks and comparisons, below the leaderboard.
        about: Section that describes the models, below their table.
        of_models: Sections of single models, by model.
        made: Names and values at the foot of the page: how it was made.
    """
    of_models = of_models or {}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        finalize=html_text,
        undefined=StrictUndefined,
    )
    models = board["model"].tolist()
    return environment.get_template(TEMPLATE.name).render(
        title=title,
        facts=list(facts),
        answers=list(answers),
        skipped=[] if skipped is None else skipped[list(_SKIPPED)].to_numpy().tolist(),
        boards=[
            _board(board, role, heading, of_models)
            for role, heading in tables.HEADINGS.items()
            if (board["role"] == role).any()
        ],
        about=None if about is None else _section(about, models),
        sections=[_section(one, models) for one in sections if not one.is_empty],
        notes=[*tables.notes(board), *tables.guide(board)],
        of_models=_of_models(of_models, models),
        made=list(made),
    )


def facts_of(scan_set: ScanSet) -> list[tuple[str, str]]:
    """Names and values of what was scored."""
    quality = [scan_set.quality(scan_id)[0] for scan_id in scan_set.ids]
    counts = [
        f"{len(quality)} in the set",
        *(f"{quality.count(kind)} {kind}" for kind in ("marked", "dropped") if kind in quality),
    ]
    return [
        ("scan set", scan_set.name),
        ("level of theory", scan_set.level_of_theory),
        ("source", str(scan_set.attributes["source"])),
        ("scans", ", ".join(counts)),
    ]


def read_skipped(csv: Path) -> pd.DataFrame:
    """Bonds and scans that no model is scored on, and marked ones, with the reason.

    Raises:
        UserError: the file is no such table.
    """
    # a molecule may be called 017 or NA
    return read_csv(csv, _SKIPPED, dtype=str, keep_default_na=False)


def _section(one: StoredSection, models: Sequence[str]) -> dict[str, Any]:
    return {
        "heading": one.title,
        "sentence": one.sentence,
        "tables": [_table(table, models) for table in one.tables],
        "notes": one.notes,
        "figures": [
            {"caption": figure.caption, "data": base64.b64encode(read_figure(figure)).decode()}
            for figure in one.figures
        ],
    }


def _table(table: StoredTable, models: Sequence[str]) -> dict[str, Any]:
    rows = tables.in_order(table, models)
    return {
        "title": table.title,
        "notes": table.notes,
        "head": list(rows.columns),
        "rows": rows.to_numpy().tolist(),
    }


def _of_models(
    found: Mapping[str, Sequence[StoredSection]], models: Sequence[str]
) -> list[dict[str, Any]]:
    """The sections of single models, under one heading a task."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name in found:
        for one in found[name]:
            shown = _section(one, models) | {"name": name, "anchor": _anchor(one.name, name)}
            groups.setdefault(one.title, []).append(shown)
    return [{"heading": heading, "models": shown} for heading, shown in groups.items()]


def _anchor(section: str, model: str) -> str:
    return f"{section}-{model}"


def _board(
    board: pd.DataFrame, role: str, heading: str, of_models: Mapping[str, Sequence[StoredSection]]
) -> dict[str, Any]:
    columns = columns_of(board, role)
    rows = []
    for row in board[board["role"] == role].to_dict("records"):
        cells = []
        for column in columns:
            text = column.cell(row)
            if column is EQUIVALENT:
                text = text.replace("; ", "\n")
            is_model = column.sort == "model"
            cells.append(
                {
                    "text": text,
                    "look": _look(column, text),
                    "sort": _sort_key(row[column.sort]),
                    "link": _link(row["model"], of_models) if is_model else "",
                }
            )
        rows.append(cells)
    heads = []
    for column in columns:
        name, parenthesis, unit = column.title.partition(" (")
        look = _look(column, column.title)
        # a unit must not be torn apart at the end of a line
        heads.append(
            {"name": name, "unit": parenthesis.strip() + unit, "look": look, "help": column.help}
        )
    return {"heading": heading, "columns": heads, "rows": rows}


def _look(column: Column, text: str) -> str:
    if text in _EMPTY:
        return "none"
    if column is EQUIVALENT:
        return "wide"
    return _WORDS.get(column.sort, "")


def _sort_key(value: Any) -> str:
    """Sort key of a cell on the page; empty if it has no value."""
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) or not np.isfinite(value) else repr(float(value))


def _link(model: str, of_models: Mapping[str, Sequence[StoredSection]]) -> str:
    """The first section of a model's own; "" where it has none."""
    own = of_models.get(model)
    return _anchor(own[0].name, model) if own else ""
