"""First answers for readers, in a few sentences: which model is smoothest, and what that means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pesbench.core.text import number
from pesbench.report.columns import title_and_unit

_UNSCORED = (  # number that is planned, numbers that tell something, and what they are
    ("n_planned", ("n_scored",), "scans"),
    ("n_planned_hydrogen", ("n_scored_hydrogen",), "scans of bonds to hydrogen"),
    ("md_n_planned", ("md_n_finished", "md_n_failed"), "trajectories"),  # a failure is a result
    ("approach_n_planned", ("approach_n_scored",), "bonded pairs that approach"),
)


def sentences(board: pd.DataFrame, answers: Sequence[str], told_apart: str = "") -> list[str]:
    """The answers of a run.

    Args:
        board: Board of `pesbench.report.board`.
        answers: Answers of the sections, and of questions that were not asked.
        told_apart: From which other models the first one differs, or "".

    Returns:
        The smoothest model with its reservations; the answers; what could not be scored.
    """
    models = board[board["role"] == "model"]
    found = [" ".join(filter(None, (_smoothest(models), told_apart))), *answers]
    missing = [f"{r['model']} {told}" for r in models.to_dict("records") if (told := _unscored(r))]
    if missing:
        found.append(f"Without a score: {'; '.join(missing)}.")
    return found


def _unscored(row: Mapping[str, Any]) -> str:
    """How many scans, trajectories and pairs have no score; "" for none."""
    parts = []
    for name, told, what in _UNSCORED:
        planned = row.get(name)
        if not pd.isna(planned) and (lost := int(planned - sum(row[one] for one in told))) > 0:
            parts.append(f"{lost} of {int(planned)} {what}")
    return ", ".join(parts)


def _smoothest(models: pd.DataFrame) -> str:
    ranked = models[models["rank"].notna()].sort_values("rank")
    if ranked.empty:
        return "No model is ranked."
    first = ranked.iloc[0]
    title, unit = title_and_unit(str(first["rank_by"]))
    what = (
        f"Lowest {title} of {len(ranked)} ranked models"
        if len(ranked) > 1
        else f"The one ranked model, by {title}"
    )
    text = (
        f"{what}: {first['model']}, "
        f"{number(first['rank_score'])} {unit} on {int(first['n_shared'])} shared scans"
    )
    if len(ranked) > 1 and not pd.isna(first["rank_low"]) and first["rank_high"] > 1:
        text += f"; its rank is 1 to {first['rank_high']} (95 % interval)"
    return text + "." + _reservations(first, ranked)


def _reservations(first: pd.Series, ranked: pd.DataFrame) -> str:
    found = []
    if first["theory_gap"]:
        found.append(
            f"It is of another level of theory ({first['level_of_theory'] or 'unknown'}) than the "
            "reference."
        )
    if first.get("overlap"):
        found.append("Its training data may overlap with the scan set.")
    if not pd.isna(first["no_better_than_zero"]) and first["no_better_than_zero"]:
        what = first.get("no_better_than_zero_in") or ""
        found.append(f"It is no better than zero forces{f' in {what}' if what else ''}.")
    best = ranked.loc[ranked["force_mae"].idxmin()] if ranked["force_mae"].notna().any() else first
    if best["model"] != first["model"]:
        same = best["n_scored"] == first["n_scored"] == first["n_shared"]
        over = "" if same else ", each over the scans that it was scored on"
        found.append(
            f"Its force MAE is {number(first['force_mae'])} eV/Å; {best['model']} has the lowest "
            f"of the ranked models, {number(best['force_mae'])} eV/Å{over}."
        )
    return "".join(f" {text}" for text in found)
