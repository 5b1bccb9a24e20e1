"""What models share: the scans that all that take part have, and ranks on them.

A model below the entry threshold (`pesbench.metrics.coverage`) takes no part.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pesbench.metrics import aggregate, coverage

OTHER_RANKS = {  # beside the rank by `rank_by`, whichever that is
    "fsd_full": "rank_full",
    "fsd_aligned": "rank_aligned",
    "fsd_windowed": "rank_windowed",
}
N_OTHER = tuple(f"n_{column}" for column in OTHER_RANKS.values())  # shared scans of each


def scored_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of scans that have scores, indexed by scan."""
    return rows[rows["status"] == "ok"].set_index("scan")


def scan_values(scored: pd.DataFrame, column: str) -> pd.Series:
    """A score of the scans that have it, indexed by scan; flags are 0 and 1."""
    # a column with flags and gaps comes as objects
    return scored[column].astype("Float64").dropna().astype(float)


def wide_scores(scores: Mapping[str, pd.DataFrame], column: str) -> tuple[pd.DataFrame, pd.Series]:
    """A score of every model and planned scan.

    Args:
        scores: One row a scan for every model.
        column: Column of the scores.

    Returns:
        One row a scan, sorted, one column a model, NaN where a model has none; and the system of
        each scan.
    """
    of_scan = [rows.set_index("scan")["system"] for rows in scores.values()]
    systems = pd.concat(of_scan) if of_scan else pd.Series(dtype=object)
    systems = systems[~systems.index.duplicated()].sort_index()
    values = {name: scan_values(scored_rows(rows), column) for name, rows in scores.items()}
    return pd.DataFrame(values, index=systems.index, columns=list(scores), dtype=float), systems


def entry_reasons(
    scores: Mapping[str, pd.DataFrame], wide: pd.DataFrame, column: str, least: float
) -> dict[str, str]:
    """Why a model takes no part in what models share, by model; "" for one that does.

    Args:
        scores: One row a scan for every model.
        wide: Of `wide_scores`.
        column: What it is of.
        least: See `pesbench.metrics.coverage`.
    """
    found = {}
    for name, rows in scores.items():
        n, scored = int(wide[name].notna().sum()), int((rows["status"] == "ok").sum())
        what = "scans scored" if n == scored else f"scans with {column}"
        why = coverage.why_left_out(n, len(rows), least, what)
        found[name] = f"it has no {column}" if scored and not n else why
    return found


def shared_scores(wide: pd.DataFrame, reasons: Mapping[str, str]) -> pd.DataFrame:
    """The scores of the models that take part, on the scans that all of them have.

    Args:
        wide: Of `wide_scores`.
        reasons: Of `entry_reasons`.
    """
    names = [name for name, why in reasons.items() if not why]
    return wide[names].dropna() if names else wide.iloc[:0, :0]


def rank_columns(
    scores: Mapping[str, pd.DataFrame], rank_by: str, entry_coverage: float
) -> pd.DataFrame:
    """Ranks of the models on the scans they share; no rank for a model that takes no part.

    Args:
        scores: One row a planned scan for every model.
        rank_by: Column that ranks, lower is better.
        entry_coverage: See `pesbench.metrics.coverage`.

    Returns:
        One row a model: `model`, ranks, their intervals and means, `n_shared`, `left_out` (the
        reason), and `n_costs`, the scans that it alone takes from what the others share.
    """
    own = ("rank", "rank_low", "rank_high", "n_shared", "n_costs", "rank_score", "fsd_full_shared")
    columns = [*own, *OTHER_RANKS.values(), *N_OTHER]
    ranks = pd.DataFrame(index=list(scores), columns=columns, dtype=float)
    ranks.index.name = "model"
    wide, systems = wide_scores(scores, rank_by)
    reasons = entry_reasons(scores, wide, rank_by, entry_coverage)
    ranks["left_out"] = pd.Series(reasons, dtype=object)
    enters = np.array([not why for why in reasons.values()], dtype=bool)
    costs = coverage.lost_by(np.isfinite(wide.to_numpy()).T, enters)
    ranks["n_costs"] = np.where(wide.notna().any(), costs, np.nan)
    shared = shared_scores(wide, reasons)
    names = list(shared.columns)
    ranks.loc[names, "n_shared"] = len(shared)
    if len(shared):
        of_scan = systems.loc[shared.index].tolist()
        found = aggregate.rank_intervals(shared.to_numpy().T, of_scan, "leaderboard")
        ranks.loc[names, "rank"] = found.rank
        ranks.loc[names, "rank_low"] = found.low
        ranks.loc[names, "rank_high"] = found.high
        ranks.loc[names, "rank_score"] = shared.mean()
        full, _ = wide_scores(scores, "fsd_full")
        ranks.loc[names, "fsd_full_shared"] = full.loc[shared.index, names].mean(skipna=False)
    for score, column in OTHER_RANKS.items():
        wide, _ = wide_scores(scores, score)
        shared = shared_scores(wide, entry_reasons(scores, wide, score, entry_coverage))
        ranks.loc[shared.columns, f"n_{column}"] = len(shared)
        if len(shared):
            ranks.loc[shared.columns, column] = aggregate.ranks(shared.to_numpy().T)
    return ranks.reset_index()
