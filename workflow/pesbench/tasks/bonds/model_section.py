"""The worst scans of one model, with the frames on either side of each fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.core.jobs import ScoreJob
from pesbench.core.section import Drawing, Section, Table
from pesbench.core.text import csv_table
from pesbench.files.molecules.xyz import extxyz_text
from pesbench.files.scan_set import ScanSet
from pesbench.tasks.bonds import faults, worst_figure
from pesbench.tasks.bonds.worst import NOT_SCORED, fault_frames, worst_scans

FAILED_ROWS = 10
_CAPTION = (
    "Top: energy relative to the reference minimum. Bottom: squared change of the force from the "
    "reference force at that minimum, summed over all atoms. The FSD is the slope of the logarithm "
    "of the ratio of both curves; bands mark where it is largest beyond 0.25 Å from the minimum. "
    "Triangles mark barriers (up) and wells (down) of the model alone, open ones of the reference "
    "alone."
)


def model_section(job: ScoreJob, scores: pd.DataFrame) -> Section:
    """The worst scans of one model.

    Args:
        job: The job; without files (if there are only scores) there is no figure and no frame.
        scores: Scores of the model, one row a scan.

    Returns:
        `worst.csv`, the table of `worst.worst_scans`, and `worst.extxyz`, the frames on either side
        of every fault, are among its files.
    """
    table = worst_scans(scores)
    files = {"worst.csv": csv_table(table)}
    figures = []
    if job.files:
        model = str(scores["model"].iloc[0])
        with ScanSet(job.scan_set) as scan_set:
            files["worst.extxyz"] = extxyz_text(fault_frames(table, scan_set, job.files, model))
            figure = worst_figure.worst_scans(scan_set, job.files, scores, model)
        figures.append(Drawing("worst", figure, _CAPTION))
    lists = [_fault_list(kind, table[table["list"] == kind.name]) for kind in faults.KINDS]
    return Section(
        title="Where each model breaks",
        sentence=_summary(table),
        tables=[*lists, *_failed(table[table["list"] == NOT_SCORED])],
        figures=figures,
        files=files,
    )


def _summary(table: pd.DataFrame) -> str:
    failed = int((table["list"] == NOT_SCORED).sum())
    named = [
        f"{first['kind']} at {first['distance_angstrom']:.2f} Å ({first['scan']})"
        for kind in faults.ABRUPT
        for first in table[(table["list"] == kind) & (table["rank"] == 1)].to_dict("records")
    ]
    summary = "; ".join(named) or "no abrupt fault is listed"
    return summary + (f"; {failed} scan{'s' * (failed != 1)} without a score" if failed else "")


def _fault_list(kind: faults.Kind, rows: pd.DataFrame) -> Table:
    ranked = rows[rows["rank"].notna()]
    told = rows[rows["rank"].isna()]["note"].tolist()
    if ranked.empty and not told:
        told = ["None."]
    cells = [_cells(kind, row) for row in ranked.to_dict("records")]
    return Table(kind.name, pd.DataFrame(cells), kind.title, (kind.help, *told))


def _cells(kind: faults.Kind, row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "rank": f"{row['rank']:d}",
        "scan": row["scan"],
        "what": row["kind"],
        "bond length (Å)": f"{row['distance_angstrom']:.3f}",
        f"{kind.quantity} ({kind.unit})": f"{row['value']:.3g}",
        "bonds": f"{row['n_equivalent']:d}",
        "note": row["note"],
    }


def _failed(rows: pd.DataFrame) -> list[Table]:
    if rows.empty:
        return []
    shown = rows[["scan", "kind", "note"]].head(FAILED_ROWS)
    more = len(rows) - len(shown)
    notes = (f"{more} more are in worst.csv of the model.",) if more else ()
    named = shown.set_axis(["scan", "status", "reason"], axis=1)
    return [Table(NOT_SCORED, named, "Scans without a score", notes)]
