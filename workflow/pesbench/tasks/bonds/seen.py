"""Scores on molecules that a model was trained on, and on those it never saw."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from pesbench.core.section import Table
from pesbench.core.text import number
from pesbench.files.split import SEEN, UNSEEN
from pesbench.metrics import aggregate

SHOWN = {
    "fsd_full": "FSD (Å⁻¹)",
    "fsd_windowed": "windowed FSD (Å⁻¹)",
    "force_mae": "force MAE (eV/Å)",
    "energy_mae_aligned": "energy MAE, aligned (eV)",
}


def notes(rows: pd.DataFrame) -> tuple[str, ...]:
    """Notes on how to read the rows of `seen_rows`."""
    text = "Seen molecules were in the training data, unseen ones were not"
    if rows["fsd_full_low"].notna().any():
        text += "; the intervals hold 95 % of bootstrap samples of the molecules"
    text += ". The two groups are different molecules"
    if not rows["told"].all():
        text += (
            ": the rows of models without a split, grouped as for the first model that has one, "
            "show "
            "how much of the difference comes from the molecules"
        )
    return (f"{text}.",)


def seen_rows(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean scores by group.

    Args:
        scores: One row a scan, by model; `seen` is "seen", "unseen" or "" where not told.

    Returns:
        One row a model and group: `model`, `group`, `told` (whether the split is its own),
        `n_scans`, `n_systems`, the means, and the interval of `fsd_full`.
    """
    own = {name: frame for name, frame in scores.items() if (frame["seen"] != "").any()}
    if not own:
        return pd.DataFrame()
    first = next(iter(own.values()))
    common = dict(zip(first["scan"], first["seen"], strict=True))
    rows = []
    for name, frame in scores.items():
        told = name in own
        group_of = frame["seen"] if told else frame["scan"].map(common).fillna("")
        for group in (SEEN, UNSEEN):
            part = frame[(frame["status"] == "ok") & (group_of == group)]
            full = part["fsd_full"].astype(float)
            if part.empty:
                continue
            row = {
                "model": name,
                "group": group,
                "told": told,
                "n_scans": len(part),
                "n_systems": part["system"].nunique(),
            }
            for column in SHOWN:
                values = part[column].astype(float).dropna()
                row[column] = aggregate.mean(values) if len(values) else float("nan")
            row["fsd_full_low"], row["fsd_full_high"] = aggregate.mean_interval(
                full, part["system"].tolist(), "seen"
            )
            rows.append(row)
    return pd.DataFrame(rows)


def text_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `seen_rows` for readers."""
    shown = []
    for row in rows.to_dict("records"):
        interval = f" ({number(row['fsd_full_low'])}–{number(row['fsd_full_high'])})"
        cells = {title: number(row[column]) for column, title in SHOWN.items()}
        if not pd.isna(row["fsd_full_low"]):
            cells[SHOWN["fsd_full"]] += interval
        shown.append(
            {
                "model": row["model"],
                "molecules": row["group"] if row["told"] else f"({row['group']})",
                "scans": str(row["n_scans"]),
                "systems": str(row["n_systems"]),
                **cells,
            }
        )
    return pd.DataFrame(shown)


def table(scores: Mapping[str, pd.DataFrame]) -> Table | None:
    """The table for readers; None if no model states what it was trained on."""
    rows = seen_rows(scores)
    if rows.empty:
        return None
    return Table("seen", text_table(rows), "Seen and unseen molecules", notes(rows))
