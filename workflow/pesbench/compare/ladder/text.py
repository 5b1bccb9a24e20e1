"""The ladder for readers: its Markdown, its CSV files, and the section of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pesbench.compare.ladder.cards import note_on_frames
from pesbench.compare.ladder.claims import PRACTITIONER, findings, lines
from pesbench.compare.ladder.comparison import COMPARISON
from pesbench.compare.ladder.noise import CONFIDENCE, quantile
from pesbench.compare.ladder.quantities import QUANTITIES
from pesbench.compare.ladder.rungs import DesignLadder
from pesbench.compare.ladder.table import BASELINE, NOISE, table
from pesbench.core.text import (
    markdown,
    markdown_list,
    markdown_paragraph,
    markdown_table,
    number,
)

HEADING = COMPARISON.title
PAPER_NOTE = (
    "arXiv:2602.04861 gives an FSD of 97.4, 76.3 and 43.2 Å⁻¹ for three ablations of its model; "
    "we do not know which value belongs to which ablation. Data, model and level of theory "
    "differ from ours: the absolute values are not comparable, only the sign of a change is. Its"
    " abstract says that differentiable neighbours and a temperature of the attention reduce the"
    " defects that its metric finds, and the paper broadens the smearing; that each of these "
    "alone lowers the FSD is our reading. The claims about drift are from the public reviews of "
    "an earlier version. They also say that the ablation of the prediction head with the lowest "
    "FSD conserved energy worst. No claim is made about the FSD of direct forces; it is shown "
    "beside their drift."
)
PRACTITIONER_NOTE = (
    "The practitioner moved only two bonded atoms of ethanol, down to 0.1 Å, and judged the "
    "curves by eye. A core of initial scale 1 with a bounded readout rises everywhere. A core of "
    "scale 0.1 alone is better than none, but leaves a minimum at 0.6 Å. There is no statement "
    "about a bounded readout alone. Those scales lack the Coulomb constant: 1 is 14.4 times "
    "weaker there than here. Here, rigid fragments approach to half the sum of the covalent "
    "radii (C-C: 0.76 Å), and shorter distances are not tested. The claim tested here is weaker: "
    "fewer scans with a hole, not none."
)
NO_CLAIM = "No two potentials of the ladder differ in exactly one claimed choice."
SCANS = "scans scored / planned"  # a column of the tables, none of the CSV
_FSD = "fsd_full_per_angstrom"
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
    SCANS,
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
    cells = {}
    for column in columns:
        if column == SCANS:
            cells[SCANS] = _of(row, "scans_scored", "scans_planned")
        else:
            cells[_title(column, horizon)] = _cell(row, column)
    return cells


def smoothness_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and smoothness as text cells, from the rows of `ladder.table`."""
    return pd.DataFrame(
        [
            {
                **_identity(row),
                **_cells(row, (*_ACCURACY, SCANS, *_SMOOTHNESS)),
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


def _told(rows: pd.DataFrame, count: str) -> str:
    """Models with their counts of something that most have none of; "" for none."""
    some = rows[rows[count].fillna(0) > 0]
    return ", ".join(f"{row['model']} {row[count]}" for row in some.to_dict("records"))


def _noise_notes(rows: pd.DataFrame) -> list[str]:
    """Notes on seed noise, and on how a difference is compared with it."""
    noise = rows[rows["kind"] == NOISE].iloc[0]
    repeated = rows[(rows["kind"] != NOISE) & (rows["n_seeds"] > 1)]
    if not len(repeated):
        return [
            "Seed noise is unknown, since no potential of the ladder has two seeds: no difference "
            "is marked, and no claim is decided."
        ]
    freedom = int(repeated["n_seeds"].sum()) - len(repeated)
    found = [
        "Seeds of a potential are one row, their mean ± their standard deviation; counts are of "
        f"all of them. Seed noise is the standard deviation of one seed, {noise['change']}. ≈ "
        "marks a difference from the baseline that may be chance: it is at most t √(1/n₁ + 1/n₂) "
        f"times the noise, for n₁ and n₂ seeds. t is Student's two-sided {100 * CONFIDENCE:g} % "
        f"quantile, "
        f"{number(quantile(freedom))} for {freedom} degrees of freedom (larger where fewer seeds "
        "have a score). Of a hundred differences by chance alone "
        f"{100 * (1 - CONFIDENCE):.0f} go unmarked. For drift and RMS, which span decades, the "
        "logarithm is compared, and the noise is a factor. For walls, where seeds may have all or "
        "none, the noise is at least √(p(1 − p)/n), with p the mean share of the two, n the scans."
    ]
    spread = [
        f"{row['model']} ± {number(row[f'{_FSD}_seed_sd'], 2)}"
        for row in repeated.to_dict("records")
        if pd.notna(row[f"{_FSD}_seed_sd"])
    ]
    if len(spread) > 1:
        found.append(
            "Pooling assumes that the noise is the same for every potential, which so few seeds "
            "can "
            f"neither show nor refute. For the FSD (Å⁻¹): {', '.join(spread)}; for the other "
            f"columns "
            "see the ±. The noise is overestimated for a potential with less noise than the pooled "
            "one, and underestimated for one with more."
        )
    return found


def notes(rows: pd.DataFrame) -> list[str]:
    """Notes on how to read a ladder: marks, missing values, meaning of the columns."""
    found = [
        "The numbers of a row are means (of drift and RMS medians) over all items that have a "
        "score; the denominators give their number. For marks and claims, two rows are compared on "
        "the scans, runs or molecules that all seeds of both have, so that a difference need not "
        "equal that of the two numbers shown."
    ]
    found += _noise_notes(rows)
    if masked := _told(rows, "scans_masked"):
        found.append(
            f"Masked scans have no score, because the model was trained with them: {masked}."
        )
    if trained := _told(rows, "scans_trained_with"):
        found.append(
            "These scans are scored although the model was trained with them, so that their "
            "scores do "
            f"not test it; name them as `seen_scans` of its entry: {trained}."
        )
    found.append(
        "Change is the difference of the model card from that of the baseline. Frames are the "
        "held-out frames of the cards. Seen frames and scans are of molecules of the training "
        "set. Rotation variance is that of the forces on the frames. Walls without a hole are "
        "scans whose energy rises all the way into the wall."
    )
    if rows["molecules_planned"].fillna(0).any():
        found.append("Frequencies are calculated at the model's own minima.")
    if rows["runs_planned"].fillna(0).any():
        found.append(
            "Survival is that of the leaderboard. Drift, the absolute slope of the energy, and RMS "
            "are medians over the runs that survive. Time a step is the wall time of the dynamics "
            "of a model, including relaxation, divided by the steps of all its trajectories; it is "
            "comparable only on one idle machine."
        )
    missing = [
        f"{row['model']}: {row['missing']}"
        for row in rows.to_dict("records")
        if isinstance(row["missing"], str) and row["missing"]
    ]
    if missing:
        found.append(f"Incomplete; means are over the existing part. {'. '.join(missing)}.")
    if unrelaxed := _told(rows, "molecules_not_relaxed"):
        found.append(
            "Molecules that did not relax; their frequencies are at the last geometry: "
            f"{unrelaxed}."
        )
    return found


def shown_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The table of the section as text cells, from the rows of `table`."""
    return pd.DataFrame(
        [{**_identity(row), **_cells(row, _SHOWN)} for row in rows.to_dict("records")]
    )


def shown_notes(ladder: DesignLadder, rows: pd.DataFrame, claims: pd.DataFrame) -> tuple[str, ...]:
    """Notes on how to read the section, and the results for the claims."""
    more = "Every column, with its denominators: ladder.md and ladder.csv."
    said = lines(claims) or [NO_CLAIM]
    return (*_all_notes(ladder, rows), more, *said, *_sources(claims))


def _all_notes(ladder: DesignLadder, rows: pd.DataFrame) -> list[str]:
    others = [name for row in ladder.rows for name in row.other_frames]
    return [*notes(rows), *note_on_frames(others), *_of_reference(ladder, rows)]


def _of_reference(ladder: DesignLadder, rows: pd.DataFrame) -> list[str]:
    """What the reference does itself, of a ladder with dynamics."""
    if not rows["runs_planned"].fillna(0).any():
        return []
    if ladder.reference is None:
        return ["No reference ran dynamics: every failure counts, none is in excess of one."]
    own = [
        f"{QUANTITIES[column].title} {number(value)} {QUANTITIES[column].unit}"
        for column, value in ladder.floor.items()
    ]
    return [
        f"The reference is {ladder.reference}. Its own numbers, below which nothing can be "
        f"measured: {', '.join(own)}."
    ]


def _sources(claims: pd.DataFrame) -> list[str]:
    """Notes on the systems of the claims and on the systems of this test."""
    told = (claims["source"] == PRACTITIONER).any()
    return [PAPER_NOTE, *([PRACTITIONER_NOTE] if told else [])]


_LEFT = ("model", "change")


def to_markdown(
    ladder: DesignLadder, title: str = HEADING, made: Sequence[tuple[str, str]] = ()
) -> str:
    """The ladder as Markdown: what it says of the claims, then its numbers.

    Args:
        ladder: Ladder of `pesbench.compare.ladder.rungs.make_ladder`.
        title: Heading.
        made: Names and values at the foot: how it was made.
    """
    rows = table(ladder)
    claims = findings(ladder)
    parts = [
        f"# {markdown(title)}",
        "## What it says",
        markdown_list(lines(claims) or [NO_CLAIM]),
        *map(markdown_paragraph, _sources(claims)),
        "## Accuracy and smoothness",
        markdown_table(smoothness_table(rows), _LEFT),
        "## Dynamics, frequencies and cost",
        markdown_table(dynamics_table(rows), _LEFT),
        "## How to read it",
        markdown_list(_all_notes(ladder, rows)),
    ]
    if made:
        parts += ["## How it was made", markdown_list(f"{name}: {value}" for name, value in made)]
    return "\n\n".join(parts) + "\n"
