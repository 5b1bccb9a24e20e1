"""Columns of the leaderboard: one row a model, from the scores of its scans.

Rules: only the role `model` is ranked; the reference, the perturbed models and the
controls stand beside it. A scan without a score is never a 0 and never leaves a mean in silence:
`n_scored` of `n_planned` is printed, and `missing` says what became of the rest. Ranks compare
models on the scans all of them share, or say that they share none; a model below the entry
threshold is not among them, with the reason in `left_out`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pesbench.core.errors import UserError
from pesbench.core.found import default_rank_by
from pesbench.core.section import ENTRY_COVERAGE
from pesbench.files.split import SEEN, UNSEEN
from pesbench.metrics import aggregate
from pesbench.models.facts import ROLES, ModelFacts
from pesbench.tasks.bonds.control_ladders import CONTROL_LADDERS, equivalents, ladder_scores
from pesbench.tasks.bonds.kinds import of_bonds_to_hydrogen, of_published_kind
from pesbench.tasks.bonds.shared import (
    N_OTHER,
    OTHER_RANKS,
    rank_columns,
    scan_values,
    scored_rows,
)

NEAR_EQUILIBRIUM_ANGSTROM = 0.15
MESSAGE_CHARACTERS = 160
# Zero forces computed in float32 must not pass as better than zero forces.
EQUAL = 1e-6
_AGAINST_ZERO = {"fsd_full": "FSD", "force_mae": "force MAE"}
_OF_HYDROGEN = (  # told of the bonds to hydrogen, too
    "fsd_full",
    "fsd_windowed",
    "fsd_aligned",
    "force_mae",
    "force_mae_1ev",
    "spurious_extrema",
)


def leaderboard(
    scores: Mapping[str, pd.DataFrame],
    facts: Iterable[ModelFacts],
    rank_by: str = "",
    entry_coverage: float = ENTRY_COVERAGE,
) -> pd.DataFrame:
    """The leaderboard, one row a model: ranked models, unranked ones, then the other roles.

    Args:
        scores: One row a scan for every model, the columns of `scores/bonds.parquet`.
        facts: Facts about every model in `scores`.
        rank_by: Column of the scores that ranks, lower is better; "" for the default.
        entry_coverage: Least share of its planned scans that a ranked model has `rank_by` of.

    Returns:
        Columns as in tasks/bonds/README.md; those that end in `_hydrogen` are over the scans of
        bonds to hydrogen, all others over the scans of the published kind. Numbers that do not
        exist are missing; the `equivalent_...` columns are infinite where a score lies beyond the
        ladder.

    Raises:
        UserError: no model is given.
    """
    rank_by = rank_by or default_rank_by()
    facts = list(facts)
    bound = {name: of_bonds_to_hydrogen(rows) for name, rows in scores.items()}
    scores = {name: of_published_kind(rows) for name, rows in scores.items()}
    if not facts:
        raise UserError("no model to put on a leaderboard; check `models`")
    scored = {fact.name: scored_rows(scores[fact.name]) for fact in facts}
    full = {name: scan_values(rows, "fsd_full") for name, rows in scored.items()}
    ladders = {ladder.kind: ladder_scores(ladder, facts, full) for ladder in CONTROL_LADDERS}
    zeros = [fact for fact in facts if fact.control is not None and fact.control[0] == "zero"]
    zero = scored[zeros[0].name] if zeros else None
    board = pd.DataFrame(
        [
            _row(fact, scores[fact.name], scored[fact.name], ladders, zero)
            | _of_hydrogen(bound[fact.name])
            for fact in facts
        ]
    )
    candidates = {fact.name: scores[fact.name] for fact in facts if fact.role == "model"}
    found = rank_columns(candidates, rank_by, entry_coverage)
    board = board.merge(found, on="model", how="left")
    board["left_out"] = board["left_out"].fillna("")
    ranks = ("rank", "rank_low", "rank_high", *OTHER_RANKS.values())
    for column in (*ranks, *N_OTHER, "n_shared", "n_costs", "n_seen", "n_unseen"):
        board[column] = board[column].astype("Int64")
    for column in ("no_better_than_zero", "theory_gap"):
        board[column] = board[column].astype("boolean")
    board["rank_by"] = rank_by
    return _in_order(board)[list(_COLUMNS)]


_COLUMNS = (
    "rank",
    "model",
    "family",
    "role",
    "n_planned",
    "n_scored",
    "fsd_full",
    "fsd_full_low",
    "fsd_full_high",
    "fsd_compress",
    "fsd_stretch",
    "fsd_windowed",
    "force_mae",
    "energy_mae",
    "energy_mae_aligned",
    "spurious_extrema",
    "equivalent",
    "rank_low",
    "rank_high",
    *OTHER_RANKS.values(),
    *N_OTHER,
    "n_planned_hydrogen",
    "n_scored_hydrogen",
    *(f"{column}_hydrogen" for column in _OF_HYDROGEN),
    "n_shared",
    "n_costs",
    "left_out",
    "fsd_full_shared",
    "fsd_full_median",
    "fsd_full_macro",
    "fsd_aligned",
    "fsd_slope_p95",
    "fsd_peak_near_equilibrium",
    "force_mae_1ev",
    "force_mae_2ev",
    "energy_mae_1ev",
    "energy_mae_2ev",
    "spurious_extrema_force",
    "energy_force_inconsistency",
    "compression_monotone",
    "compression_monotone_force",
    "n_seen",
    "n_unseen",
    "fsd_full_seen",
    "fsd_full_unseen",
    "force_mae_seen",
    "force_mae_unseen",
    "level_of_theory",
    "theory_gap",
    "base",
    "defect",
    "dose",
    "no_better_than_zero",
    "no_better_than_zero_in",
    "missing",
    "missing_example",
    "lacks",
    "step_low",
    "step_high",
    *(ladder.column for ladder in CONTROL_LADDERS),
    "seconds_per_frame",
    "worker_deaths",
    "rank_by",
    "rank_score",
)
_MEANS = (
    "fsd_full",
    "fsd_compress",
    "fsd_stretch",
    "fsd_windowed",
    "fsd_aligned",
    "fsd_slope_p95",
    "force_mae",
    "force_mae_1ev",
    "force_mae_2ev",
    "energy_mae",
    "energy_mae_aligned",
    "energy_mae_1ev",
    "energy_mae_2ev",
    "spurious_extrema",
    "spurious_extrema_force",
    "energy_force_inconsistency",
    "compression_monotone",
    "compression_monotone_force",
)
_DERIVED = (
    "fsd_full_low",
    "fsd_full_high",
    "fsd_full_median",
    "fsd_full_macro",
    "fsd_peak_near_equilibrium",
    *(f"{column}_{group}" for column in ("n", "fsd_full", "force_mae") for group in (SEEN, UNSEEN)),
    *(ladder.column for ladder in CONTROL_LADDERS),
    "step_low",
    "step_high",
    "seconds_per_frame",
)


def _row(
    fact: ModelFacts,
    rows: pd.DataFrame,
    scored: pd.DataFrame,
    ladders: Mapping[str, pd.DataFrame],
    zero: pd.DataFrame | None,
) -> dict[str, Any]:
    """Part of a model's row that is independent of the other ranked models."""
    values = {column: scan_values(scored, column) for column in _MEANS}
    defect, dose = fact.perturbation or fact.control or ("", None)
    row: dict[str, Any] = {
        "model": fact.name,
        "family": fact.family,
        "role": fact.role,
        "level_of_theory": fact.level_of_theory,
        "theory_gap": fact.theory_gap,
        "base": fact.base,
        "defect": defect,
        "dose": float("nan") if dose is None else dose,
        "n_planned": len(rows),
        "n_scored": len(scored),
        # scores of earlier versions lack it
        "worker_deaths": int(rows["worker_deaths"].sum()) if "worker_deaths" in rows else 0,
        "lacks": ", ".join(name for name in _MEANS if name in rows.attrs.get("lacks", ())),
        "no_better_than_zero": pd.NA,
        "no_better_than_zero_in": "",
        "equivalent": "n/a",
    }
    row |= _missing(rows, scored, values)
    row |= dict.fromkeys((*_MEANS, *_DERIVED), float("nan"))
    row |= {column: aggregate.mean(v) for column, v in values.items() if len(v)}
    full = values["fsd_full"]
    if not len(full):
        return row
    about = scored.loc[full.index]
    row["fsd_full_low"], row["fsd_full_high"] = aggregate.mean_interval(
        full, about["system"].tolist(), "leaderboard"
    )
    row["fsd_full_median"] = aggregate.median(full)
    row["fsd_full_macro"] = aggregate.macro_mean(full, about["bond"].tolist())
    rough = full > 0  # the reference has no slope, hence no peak
    if rough.any():
        offset = scan_values(about[rough], "fsd_peak_offset").abs()
        row["fsd_peak_near_equilibrium"] = aggregate.mean(offset <= NEAR_EQUILIBRIUM_ANGSTROM)
    row |= _by_split(scored)
    if "step_angstrom" in about and (steps := about["step_angstrom"].dropna()).size:
        row |= {"step_low": float(steps.min()), "step_high": float(steps.max())}
    row["seconds_per_frame"] = float(scored["wall_s"].sum() / scored["n_frames"].sum())
    if fact.role == "model":
        row |= equivalents(full, ladders)
        if zero is not None and len(full.index.intersection(zero.index)):
            worse = _no_better_than(zero, values)
            row["no_better_than_zero"] = bool(worse)
            row["no_better_than_zero_in"] = " and ".join(worse)
    return row


def _no_better_than(zero: pd.DataFrame, values: Mapping[str, pd.Series]) -> list[str]:
    """What a model is no better in than zero forces, in words, each on the scans both have."""
    found = []
    for column, words in _AGAINST_ZERO.items():
        own, floor = values[column], scan_values(zero, column)
        both = own.index.intersection(floor.index)
        least = aggregate.mean(floor[both]) * (1 - EQUAL) if len(both) else np.inf
        if len(both) and aggregate.mean(own[both]) >= least:
            found.append(words)
    return found


def _of_hydrogen(rows: pd.DataFrame) -> dict[str, Any]:
    """Means over the scans of bonds to hydrogen."""
    scored = scored_rows(rows)
    found: dict[str, Any] = {"n_planned_hydrogen": len(rows), "n_scored_hydrogen": len(scored)}
    for column in _OF_HYDROGEN:
        values = scan_values(scored, column)
        found[f"{column}_hydrogen"] = aggregate.mean(values) if len(values) else float("nan")
    return found


def _by_split(scored: pd.DataFrame) -> dict[str, Any]:
    """Means over the systems that a model was trained on, and over those it never saw."""
    found: dict[str, Any] = {}
    for group in (SEEN, UNSEEN):
        part = scored[scored["seen"] == group]
        found[f"n_{group}"] = len(part)
        for column in ("fsd_full", "force_mae"):
            values = scan_values(part, column)
            if len(values):
                found[f"{column}_{group}"] = aggregate.mean(values)
    return found


def _missing(
    rows: pd.DataFrame, scored: pd.DataFrame, values: Mapping[str, pd.Series]
) -> dict[str, str]:
    """Outcome of the scans without a score, and scores that only some scans have."""
    failed = rows[rows["status"] != "ok"]
    counts = failed["status"].value_counts(sort=True)
    parts = [f"{count} {str(status).replace('_', ' ')}" for status, count in counts.items()]
    parts += [text for column, v in values.items() if (text := _partial(scored, column, v))]
    example = ""
    if len(failed):
        first = failed[failed["status"] == counts.index[0]].iloc[0]
        message = textwrap.shorten(str(first["message"]), MESSAGE_CHARACTERS, placeholder=" …")
        example = f"{first['scan']}: {message or first['status']}"
    return {"missing": ", ".join(parts), "missing_example": example}


def _partial(scored: pd.DataFrame, column: str, values: pd.Series) -> str:
    """What is told of a score that not all scored scans have, with the reasons that are known.

    A score that no scan has, without a reason, is none of this model, such as an energy.
    """
    without = scored.drop(values.index)
    told = without.get(f"{column}_reason", pd.Series(dtype=object)).dropna().unique()
    reasons = "; ".join(filter(None, told))
    if len(without) and len(values):
        return f"{column} of {len(values)} scans only" + (f" (others: {reasons})" * bool(reasons))
    return f"{column} of no scan ({reasons})" if reasons else ""


def _natural(name: str) -> tuple[tuple[str, float], ...]:
    """A key that sorts `step_2` before `step_10`."""
    parts = re.findall(r"(\D*)(\d+\.?\d*)?", name)
    return tuple((text, float(number or 0)) for text, number in parts)


def _in_order(board: pd.DataFrame) -> pd.DataFrame:
    def key(index: int) -> tuple[Any, ...]:
        row = board.loc[index]
        rank = np.inf if pd.isna(row["rank"]) else int(row["rank"])
        own = row["fsd_full"] if np.isfinite(row["fsd_full"]) else np.inf
        if row["role"] != "model":  # the place of a known defect is its dose, not its score
            own = 0.0
        known = (row["defect"], row["dose"]) if row["role"] == "perturbed" else ()
        return ROLES.index(row["role"]), rank, own, known, _natural(row["model"])

    return board.loc[sorted(board.index, key=key)].reset_index(drop=True)
