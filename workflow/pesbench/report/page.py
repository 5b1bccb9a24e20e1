"""The leaderboard as one HTML file that needs nothing else: figures and style are inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pesbench.compare.association import verdict
from pesbench.core.text import html_text
from pesbench.files import provenance
from pesbench.files.atomic import write_text
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_tables import read_csv
from pesbench.report import tables
from pesbench.report.answer import sentences
from pesbench.report.inputs import ReportInputs
from pesbench.tasks.bonds import faults
from pesbench.tasks.bonds import worst as worst_scans

TEMPLATE = Path(__file__).with_name("page.html.jinja")
WORST_ROWS = 10
_SKIPPED = ("scan", "quality", "reason")
_WORDS = {"model": "text", "defect": "word"}  # the first stays in view when a table is scrolled
_EMPTY = ("n/a", "–")


@dataclass(frozen=True)
class Worst:
    """What the page shows of one model's worst scans.

    Attributes:
        table: Of `worst.worst_scans`.
        figure: PNG of `worst_figure.worst_scans`, or None.
    """

    table: pd.DataFrame
    figure: bytes | None = None


def render(
    board: pd.DataFrame,
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    answers: Sequence[str] = (),
    skipped: pd.DataFrame | None = None,
    figures: Sequence[tuple[str, bytes]] = (),
    worst: Mapping[str, Worst] | None = None,
    more: Sequence[tables.More] = (),
    made: Sequence[tuple[str, str]] = (),
) -> str:
    """The page as HTML.

    Args:
        board: Of `tables.leaderboard`.
        title: Heading of the page.
        facts: Names and values of what was scored: scan set, level of theory, numbers of scans.
        answers: Sentences under the heading, of `answer.sentences`.
        skipped: Bonds and scans that no model is scored on, with the reason, or None.
        figures: Captions and PNGs.
        worst: Of every model that has a section of its own.
        more: Sections below the leaderboard.
        made: Names and values at the foot of the page: how it was made.
    """
    worst = worst or {}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        finalize=html_text,
        undefined=StrictUndefined,
    )
    return environment.get_template(TEMPLATE.name).render(
        title=title,
        facts=list(facts),
        answers=list(answers),
        skipped=[] if skipped is None else skipped[list(_SKIPPED)].to_numpy().tolist(),
        sections=[
            _section(board, role, heading, set(worst))
            for role, heading in tables.HEADINGS.items()
            if (board["role"] == role).any()
        ],
        more=[
            {
                "heading": extra.heading,
                "head": list(extra.table.columns),
                "rows": extra.table.to_numpy().tolist(),
                "notes": extra.notes,
            }
            for extra in more
        ],
        notes=[*tables.notes(board), *tables.guide(board)],
        figures=[{"caption": caption, "data": _base64(data)} for caption, data in figures],
        worst=[_worst(name, shown) for name, shown in worst.items()],
        made=list(made),
    )


def write(path: Path, html: str) -> None:
    """Write the page, whole or not at all."""
    write_text(path, html)


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _anchor(model: str) -> str:
    return f"worst-{model}"


def _section(board: pd.DataFrame, role: str, heading: str, linked: set[str]) -> dict[str, Any]:
    columns = tables.columns_of(board, role)
    rows = []
    for row in board[board["role"] == role].to_dict("records"):
        cells = []
        for column in columns:
            text = column.cell(row)
            if column is tables.EQUIVALENT:
                text = text.replace("; ", "\n")
            is_model = column.sort == "model"
            cells.append(
                {
                    "text": text,
                    "look": _look(column, text),
                    "sort": _sort_key(row[column.sort]),
                    "link": _anchor(row["model"]) if is_model and row["model"] in linked else "",
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


def _look(column: tables.Column, text: str) -> str:
    if text in _EMPTY:
        return "none"
    if column is tables.EQUIVALENT:
        return "wide"
    return _WORDS.get(column.sort, "")


def _sort_key(value: Any) -> str:
    """What the page sorts a cell by: empty if it has no value."""
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) or not np.isfinite(value) else repr(float(value))


def _worst(name: str, shown: Worst) -> dict[str, Any]:
    table = shown.table
    failed = table[table["list"] == worst_scans.NOT_SCORED]
    named = [
        f"{first['kind']} at {first['distance_angstrom']:.2f} Å ({first['scan']})"
        for kind in faults.ABRUPT
        for first in table[(table["list"] == kind) & (table["rank"] == 1)].to_dict("records")
    ]
    summary = "; ".join(named) or "no abrupt fault is listed"
    if len(failed):
        summary += f"; {len(failed)} scan{'s' * (len(failed) != 1)} without a score"
    return {
        "name": name,
        "anchor": _anchor(name),
        "summary": summary,
        "data": _base64(shown.figure) if shown.figure else "",
        "lists": [_fault_list(kind, table[table["list"] == kind.name]) for kind in faults.KINDS],
        "failed": failed[["scan", "kind", "note"]].head(WORST_ROWS).to_numpy().tolist(),
        "more": (
            f"{len(failed) - WORST_ROWS} more are in worst.csv of the model."
            if len(failed) > WORST_ROWS
            else ""
        ),
    }


def _fault_list(kind: faults.Kind, rows: pd.DataFrame) -> dict[str, Any]:
    ranked = rows[rows["rank"].notna()]
    return {
        "title": kind.title,
        "help": kind.help,
        "notes": rows[rows["rank"].isna()]["note"].tolist(),
        "head": [
            "rank",
            "scan",
            "what",
            "bond length (Å)",
            f"{kind.quantity} ({kind.unit})",
            "bonds",
            "note",
        ],
        "rows": [
            [
                f"{row['rank']:d}",
                row["scan"],
                row["kind"],
                f"{row['distance_angstrom']:.3f}",
                f"{row['value']:.3g}",
                f"{row['n_equivalent']:d}",
                row["note"],
            ]
            for row in ranked.to_dict("records")
        ],
    }


def write_leaderboard(
    html: Path,
    inputs: ReportInputs,
    scan_set: ScanSet,
    *,
    results: Path,
    rank_by: str,
    by_bond: Path,
    ladders: Path,
    skipped: Path | None,
    parity: Path | None = None,
    association: Path | None = None,
    association_figure: Path | None = None,
    dose_figure: Path | None = None,
    dose_metrics_figure: Path | None = None,
    ladder: Sequence[Path] | None = None,
    ladder_figure: Path | None = None,
    merged: Path | None = None,
) -> None:
    """Write the page of a run.

    Args:
        html: Where to.
        inputs: Scores and facts.
        scan_set: What was scored.
        results: Folder of the scan set's results, with `worst.csv` of the models, and `worst.png`
            of those whose evaluations are there.
        rank_by: Score that ranks.
        by_bond: PNG of `figures.fsd_by_bond`.
        ladders: PNG of `figures.control_ladders`.
        skipped: CSV of bonds and scans that no model is scored on, where there is one.
        parity: CSV of numerical variants, where there are any.
        association: CSV of `pesbench.compare.association`, where models ran dynamics.
        association_figure: PNG of `association_figures.association`.
        dose_figure: PNG of `dose_figures.dose_response`.
        dose_metrics_figure: PNG of `dose_figures.dose_metrics`.
        ladder: CSV files of `pesbench.compare.ladder_text`, where the run has a ladder.
        ladder_figure: PNG of `ladder_figure.figure`.
        merged: `merged.json`, of results of several groups.
    """
    worst = {
        fact.name: Worst(
            worst_scans.read(results / fact.name / "worst.csv"),
            _bytes_of(results / fact.name / "worst.png"),
        )
        for fact in inputs.facts
        if fact.role == "model"
    }
    quality = [scan_set.quality(scan_id)[0] for scan_id in scan_set.ids]
    counts = [
        f"{len(quality)} in the set",
        *(f"{quality.count(kind)} {kind}" for kind in ("marked", "dropped") if kind in quality),
    ]
    facts = [
        ("scan set", scan_set.name),
        ("level of theory", scan_set.level_of_theory),
        ("source", str(scan_set.attributes["source"])),
        ("scans", ", ".join(counts)),
    ]
    board = inputs.board(rank_by)
    perturbed = (board["role"] == "perturbed").any()
    without = " Perturbed models are left out." if perturbed else ""
    has_zero = ((board["role"] == "control") & (board["defect"] == "zero")).any()
    has_ladder = ((board["role"] == "control") & board["dose"].notna()).any()
    known = "No ladder of controls was run."
    if has_ladder:
        known = "The control ladders: FSD of known defects, the models drawn in."
    zero = " Lines: what zero forces score." if has_zero else ""
    shown = [
        (f"FSD by bond type.{zero}{without}", by_bond),
        (f"{known}{without}", ladders),
        (
            "Smoothness against the survival time lost: one point a variant of a model.",
            association_figure,
        ),
        (
            "Dose and response: one defect at a time, by kind and size, added to an unperturbed "
            "model (dashed).",
            dose_figure,
        ),
        (
            "Every metric of the scans against dose, by kind of defect and family of metrics.",
            dose_metrics_figure,
        ),
        (
            "The ladder: one design choice at a time, against the baseline (line), with the noise "
            "of training seeds where it is known (band).",
            ladder_figure,
        ),
    ]
    text = render(
        board,
        title=f"{scan_set.name}: smoothness against {scan_set.level_of_theory}",
        facts=facts,
        answers=sentences(board, None if association is None else verdict(association)),
        # a molecule may be called 017 or NA
        skipped=None
        if skipped is None
        else read_csv(skipped, _SKIPPED, dtype=str, keep_default_na=False),
        figures=[(caption, path.read_bytes()) for caption, path in shown if path is not None],
        worst=worst,
        more=inputs.more(parity, board, association, ladder, merged),
        made=provenance.describe(scan_set.sha256),
    )
    write(html, text)
