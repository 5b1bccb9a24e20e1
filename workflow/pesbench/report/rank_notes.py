"""Notes on ranks: who is ranked, on which scans, and whether a rank depends on the other models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.report.columns import OTHER_RANKS


def rank_notes(models: pd.DataFrame, rank_by: str, perturbed: bool) -> list[str]:
    """Notes of a leaderboard on its ranks.

    Args:
        models: Rows of the role `model`.
        rank_by: Metric that ranks.
        perturbed: Whether perturbed models were run.
    """
    if models.empty:
        what = "Only perturbed models were" if perturbed else "No model was"
        return [f"{what} run: there is nothing to rank."]
    left_out = [_left_out(row) for row in models.to_dict("records") if row["left_out"]]
    return [_ranked(models, rank_by), *_other_ranks(models), *_changes(models), *left_out]


def _ranked(models: pd.DataFrame, rank_by: str) -> str:
    """What the ranks are of."""
    ranked = models[models["rank"].notna()]
    if len(ranked):
        shared, most = ranked["n_shared"].iloc[0], models["n_planned"].max()
        text = f"Ranked by the mean {rank_by} over the {shared} scans that all ranked models share"
        text += f" (of {most} planned{_costs(ranked)})" if shared < most else ""
        for score, column in OTHER_RANKS.items():
            n_other = ranked[f"n_{column.sort}"].max()
            if score != rank_by and not pd.isna(n_other) and n_other != shared:
                text += f", the {column.title.replace('rank', 'ranks', 1)}, over {n_other}"
        if ranked["rank_low"].isna().all():
            return text + "; they are of a single system, so that there are no intervals."
        return text + "; intervals hold 95 % of bootstrap samples of the systems."
    if (models["n_shared"] == 0).any():
        return (
            "The models share no scan, so that there are no ranks: "
            "each mean is over scans of its own."
        )
    if (models["n_costs"].notna()).any():
        return f"No model has {rank_by} of enough scans, so that there are no ranks."
    return f"No model has a {rank_by}, so that there are no ranks."


def _costs(ranked: pd.DataFrame) -> str:
    """Which ranked models alone take scans from what the others share."""
    rows = ranked[ranked["n_costs"] > 0].sort_values("n_costs", ascending=False, kind="stable")
    if rows.empty:
        return "; each of the others is missing in several models"
    told = [f"{row['model']} {row['n_costs']}" for row in rows.to_dict("records")]
    return f"; scans that one model alone lacks: {', '.join(told)}"


def _other_ranks(models: pd.DataFrame) -> list[str]:
    """Ranked models that have no rank by another score, by which others are ranked."""
    ranked = models[models["rank"].notna()]
    without = {c.title: ranked.loc[ranked[c.sort].isna(), "model"] for c in OTHER_RANKS.values()}
    return [
        f"{', '.join(names)}: no {title}, because fewer scans have that score than the entry "
        "threshold asks for."
        for title, names in without.items()
        if 0 < len(names) < len(ranked)
    ]


def _changes(models: pd.DataFrame) -> list[str]:
    """What is told of ranks that depend on which other models take part."""
    ranked = models[models["rank"].notna()]
    if "rank_changes_with" not in models or len(ranked) < 2:
        return []
    rows = ranked[ranked["rank_changes_with"] != ""]
    if rows.empty:
        return [
            "No rank changes among the others when one model is left out, or one below the entry "
            "threshold is added."
        ]
    pairs = zip(rows["model"], rows["rank_changes_with"], strict=True)
    return [
        "* the rank among the others changes when another model takes part (rank with it → without "
        f"it): {'; '.join(f'{name} with {others}' for name, others in pairs)}."
    ]


def _left_out(row: Mapping[str, Any]) -> str:
    text = f"{row['model']} is not ranked: {row['left_out']}"
    if not pd.isna(row["n_costs"]) and row["n_costs"]:
        text += f" (with it, the ranked models would share {row['n_costs']} fewer)"
    return text + "."
