"""The ladder for readers: its Markdown, its CSV files, and the section of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pesbench.report.ladder import BASELINE, NOISE, QUANTITIES, Ladder, table
from pesbench.report.ladder_claims import findings, lines
from pesbench.report.tables import More, number
from pesbench.storage import write_text

HEADING = "Ladder"
PAPER_NOTE = (
    "arXiv:2602.04861 gives an FSD of 97.4, 76.3 and 43.2 Å⁻¹ for three ablations of its model; "
    "which is which is not known here. They are of other data, another model and another level of "
    "theory: the absolute values are not comparable with those above, only the sign of a change is."
)
NO_CLAIM = "No two potentials of the ladder differ in just one of the choices that are claimed of."
_ACCURACY = (
    "frames_force_mae_seen_mev_per_angstrom",
    "frames_force_mae_unseen_mev_per_angstrom",
    "rotation_force_rms_mev_per_angstrom",
    "force_mae_seen_ev_per_angstrom",
    "force_mae_unseen_ev_per_angstrom",
)
_SMOOTHNESS = (
    "fsd_full_per_angstrom",
    "fsd_compress_per_angstrom",
    "fsd_stretch_per_angstrom",
    "fsd_windowed_per_angstrom",
    "compression_monotone_fraction",
    "spurious_extrema_per_scan",
)
_DYNAMICS = ("survival_ps", "energy_drift_mev_per_atom_ps", "energy_rms_mev_per_atom")
_FREQUENCIES = ("frequency_mae_cm1", "imaginary_modes_excess")
_SHOWN = (  # on the leaderboard
    "frames_force_mae_seen_mev_per_angstrom",
    "frames_force_mae_unseen_mev_per_angstrom",
    "fsd_full_per_angstrom",
    "fsd_windowed_per_angstrom",
    "compression_monotone_fraction",
    "survival_ps",
    "energy_drift_mev_per_atom_ps",
    "frequency_mae_cm1",
    "seconds_per_step",
)


def _title(column: str, horizon_ps: float) -> str:
    quantity = QUANTITIES[column]
    unit = quantity.unit
    if column == "survival_ps" and pd.notna(horizon_ps):
        unit = f"ps of {horizon_ps:g}"
    return f"{quantity.title} ({unit})"


def _cell(row: Mapping[str, Any], column: str) -> str:
    scale = QUANTITIES[column].scale
    if pd.isna(row[column]):
        return "n/a"
    if row["kind"] == NOISE and QUANTITIES[column].log:
        return f"factor {number(np.exp(row[column]))}"
    text = number(row[column] * scale)
    if pd.notna(row[f"{column}_seed_sd"]):
        text += f" ± {number(row[f'{column}_seed_sd'] * scale, 2)}"
    within = row[f"{column}_within_noise"]
    return text + " ≈" * bool(pd.notna(within) and within)


def _of(row: Mapping[str, Any], some: str, planned: str) -> str:
    """`n / planned`; of the seed noise, and of what was not run, nothing."""
    if pd.isna(row[planned]) or not row[planned]:
        return "–"
    return f"{row[some]} / {row[planned]}"


def _identity(row: Mapping[str, Any]) -> dict[str, str]:
    name = f"{row['model']} ({BASELINE})" if row["kind"] == BASELINE else row["model"]
    told = "" if row["kind"] == BASELINE else row["change"]
    return {"model": name, "change": told or "–", "seeds": str(row["n_seeds"])}


def _cells(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, str]:
    horizon = row["survival_horizon_ps"]
    return {_title(column, horizon): _cell(row, column) for column in columns}


def smoothness_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and smoothness as text cells, from the rows of `ladder.table`."""
    return pd.DataFrame(
        [
            {
                **_identity(row),
                **_cells(row, _ACCURACY),
                "scored / planned": _of(row, "scans_scored", "scans_planned"),
                **_cells(row, _SMOOTHNESS),
            }
            for row in rows.to_dict("records")
        ]
    )


def dynamics_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Dynamics, frequencies and cost as text cells, from the rows of `ladder.table`."""
    return pd.DataFrame(
        [
            {
                **_identity(row),
                "finished / planned": _of(row, "runs_finished", "runs_planned"),
                **_cells(row, _DYNAMICS),
                "molecules": _of(row, "molecules_scored", "molecules_planned"),
                **_cells(row, (*_FREQUENCIES, "seconds_per_step")),
            }
            for row in rows.to_dict("records")
        ]
    )


def notes(rows: pd.DataFrame) -> list[str]:
    """How to read a ladder: what is marked, what is missing, what a column means."""
    noise = rows[rows["kind"] == NOISE].iloc[0]
    if noise["n_seeds"]:
        found = [
            "Seeds of a potential are one row, their mean ± their standard deviation; counts are "
            "of all of them. Seed noise is the standard deviation of one seed, "
            f"{noise['change']}. ≈ marks a difference from the baseline of at most twice "
            "√(1/n₁ + 1/n₂) times that, for n₁ and n₂ seeds, on the scans, runs or molecules that "
            "both have: it may be chance. Of drift and RMS, which span decades, this is of the "
            "logarithm, and the noise a factor."
        ]
    else:
        found = [
            "Seed noise is unknown, since no potential of the ladder has two seeds: no difference "
            "is marked, and no claim is decided."
        ]
    found += [
        "Change is what the model cards tell, against the baseline. Frames are the held-out ones "
        "of the cards; seen are those, and scans, of molecules that were trained on; rotation "
        "variance is that of their forces. Walls without a hole: scans whose energy rises all the "
        "way into the wall. Survival is in excess of the reference, as on the leaderboard; drift "
        "is the mean of the absolute slopes of the energy. Frequencies are those of the molecules "
        "at the model's own minima.",
        "Time a step: wall time of the dynamics of a model, relaxation included, over the steps of "
        "all its trajectories; comparable on one idle machine only.",
    ]
    missing = [
        f"{row['model']}: {row['missing']}"
        for row in rows.to_dict("records")
        if isinstance(row["missing"], str) and row["missing"]
    ]
    if missing:
        found.append(f"Known in part only, and the means of that part. {'. '.join(missing)}.")
    unrelaxed = rows[rows["molecules_not_relaxed"].fillna(0) > 0]
    if len(unrelaxed):
        pairs = zip(unrelaxed["model"], unrelaxed["molecules_not_relaxed"], strict=True)
        found.append(
            "Molecules that did not relax, whose frequencies are those of where they were left: "
            + ", ".join(f"{name} {count}" for name, count in pairs)
            + "."
        )
    return found


def section(csv: Path, claims_csv: Path) -> More:
    """The section of the leaderboard and the page, from ladder.csv and ladder_claims.csv."""
    # `n/a` is a word here: of no card
    rows = pd.read_csv(csv, keep_default_na=False, na_values=[""]).convert_dtypes()
    shown = [{**_identity(row), **_cells(row, _SHOWN)} for row in rows.to_dict("records")]
    said = lines(pd.read_csv(claims_csv))
    more = "Every column, with its denominators: ladder.md and ladder.csv."
    return More(
        HEADING, pd.DataFrame(shown), (*notes(rows), more, *(said or [NO_CLAIM]), PAPER_NOTE)
    )


def _grid(cells: pd.DataFrame) -> str:
    align = ["left" if title in ("model", "change") else "right" for title in cells.columns]
    return cells.to_markdown(index=False, disable_numparse=True, colalign=align)


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def to_markdown(ladder: Ladder, title: str = HEADING) -> str:
    """The ladder as Markdown: what it says of the claims, then its numbers."""
    rows = table(ladder)
    said = lines(findings(ladder))
    reference = f"The reference is {ladder.reference}." if ladder.reference else ""
    if ladder.reference is None and rows["runs_planned"].fillna(0).any():
        reference = "No reference ran dynamics: every failure counts, none is in excess of one."
    parts = [
        f"# {title}",
        "## What it says",
        _list(said or [NO_CLAIM]),
        PAPER_NOTE,
        "## Accuracy and smoothness",
        _grid(smoothness_table(rows)),
        "## Dynamics, frequencies and cost",
        _grid(dynamics_table(rows)),
        "## How to read it",
        _list([*notes(rows), *([reference] if reference else [])]),
    ]
    return "\n\n".join(parts) + "\n"


def write(
    ladder: Ladder,
    csv: Path,
    claims_csv: Path,
    markdown: Path,
    title: str = HEADING,
    made: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the ladder as csv and md, each whole or not at all.

    Args:
        ladder: Of `pesbench.report.ladder.make_ladder`.
        csv: Where its numbers go.
        claims_csv: Where what it says of the claims goes.
        markdown: Where the text goes.
        title: Heading of the md.
        made: Names and values at the foot of the md: how it was made.
    """
    write_text(csv, table(ladder).to_csv(index=False))
    write_text(claims_csv, findings(ladder).to_csv(index=False))
    text = to_markdown(ladder, title)
    if made:
        text += f"\n## How it was made\n\n{_list([f'{name}: {value}' for name, value in made])}\n"
    write_text(markdown, text)
