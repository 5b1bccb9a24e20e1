"""Tables of paired differences, of the scans that models lack, and of ranks without one model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pesbench.compare.pairs.found import Pairs
from pesbench.core.section import TEXT, BoardColumn, Metric
from pesbench.core.text import number

MOST_WITH_ALL_PAIRS = 6  # models; of more, the page shows neighbours in rank
_EXAMPLES = 3


# --- every number --------------------------------------------------------------------------------


def pair_rows(found: Pairs) -> pd.DataFrame:
    """One row a pair, the model of the better rank first.

    Returns:
        `model`, `other`, `n_scans` and `n_systems` that both have; `mean_difference` (model minus
        other, in the unit of the metric), `low` and `high` of the pair alone; the shares of scans
        `won` by the model, `tied` and `lost`; `p_adjusted` for all pairs, and `differs`.
    """
    first, second = np.triu_indices(len(found.names), 1)
    paired, names = found.paired, np.array(found.names, dtype=object)
    differs = pd.array(paired.differs[first, second], dtype="boolean")
    differs[~paired.decided[first, second]] = pd.NA
    return pd.DataFrame(
        {
            "model": names[first],
            "other": names[second],
            "metric": found.metric.name,
            "n_scans": paired.n[first, second],
            "n_systems": paired.n_systems[first, second],
            "mean_difference": paired.mean[first, second],
            "low": paired.low[first, second],
            "high": paired.high[first, second],
            "won": paired.won[first, second],
            "tied": paired.tied[first, second],
            "lost": paired.won[second, first],
            "p_adjusted": paired.p[first, second],
            "differs": differs,
        }
    )


def lacking_rows(found: Pairs) -> pd.DataFrame:
    """One row a model and scan that it has no number for.

    Returns:
        `model`, `scan`, `system`, `status` of the scan; `takes_part`, whether the model does;
        `alone`, whether all other models that take part have the scan.
    """
    missing = found.values.isna().to_numpy()
    enters = np.array([not why for why in found.reasons], dtype=bool)
    lacking = missing[:, enters].sum(axis=1)
    rows = [
        {
            "model": name,
            "scan": found.values.index[scan],
            "system": found.systems.iloc[scan],
            "status": found.status.iloc[scan, model],
            "takes_part": enters[model],
            "alone": lacking[scan] == int(enters[model]),
        }
        for model, name in enumerate(found.names)
        for scan in np.flatnonzero(missing[:, model])
    ]
    columns = ["model", "scan", "system", "status", "takes_part", "alone"]
    return pd.DataFrame(rows, columns=columns)


def rank_rows(found: Pairs) -> pd.DataFrame:
    """One row a model and another one: its rank among all but the other, with it and without it.

    Returns:
        `model`, `other`, `other_takes_part`, `rank_with_other`, `rank_without_other` (missing
        where no scan is shared), `changes`.
    """
    rows = [
        {
            "model": found.names[i],
            "other": found.names[j],
            "other_takes_part": not found.reasons[j],
            "rank_with_other": found.with_other[j, i] or pd.NA,
            "rank_without_other": found.without_other[j, i] or pd.NA,
            "changes": bool(found.with_other[j, i] != found.without_other[j, i]),
        }
        for i in range(len(found.names))
        for j in range(len(found.names))
        if i != j and not found.reasons[i]
    ]
    whole = {"rank_with_other": "Int64", "rank_without_other": "Int64"}
    columns = ["model", "other", "other_takes_part", *whole, "changes"]
    return pd.DataFrame(rows, columns=columns).astype(whole)


# --- for readers ---------------------------------------------------------------------------------


def model_rows(found: Pairs) -> pd.DataFrame:
    """One row a model, as text: what it costs, whom it differs from, what changes its rank."""
    rows = []
    for k, name in enumerate(found.names):
        better, worse = ((found.paired.differs[k] & side).sum() for side in _sides(found, k))
        decided = found.paired.decided[k].any()
        rows.append(
            {
                "model": name,
                "rank": str(found.rank[k]) if found.rank[k] else "–",
                "scored / planned": f"{found.n_scored[k]} / {found.n_planned[k]}",
                "alone costs": _costs(found, k),
                "better than": str(better) if decided else "n/a",
                "worse than": str(worse) if decided else "n/a",
                "does not differ from": alike_text(found, k) or "n/a",
                "rank changes with": changes_text(found, k) or "–",
            }
        )
    return pd.DataFrame(rows)


def _sides(found: Pairs, model: int) -> tuple[np.ndarray, np.ndarray]:
    return found.paired.mean[model] < 0, found.paired.mean[model] > 0


def _costs(found: Pairs, model: int) -> str:
    count = int(found.n_costs[model])
    if not count:
        return "no scan"
    missing = found.values.isna().to_numpy()
    others = [k for k, why in enumerate(found.reasons) if not why and k != model]
    sole = missing[:, model] & ~missing[:, others].any(axis=1)
    told = ", ".join(found.values.index[sole][:_EXAMPLES])
    return f"{count}: {told}" + (", …" if count > _EXAMPLES else "")


def pair_text(found: Pairs) -> pd.DataFrame:
    """Differences and intervals as text: all pairs of few models, else neighbours in rank."""
    rows = pair_rows(found)
    m = len(found.names)
    if m > MOST_WITH_ALL_PAIRS:
        first, second = np.triu_indices(m, 1)
        rows = rows[(second == first + 1) & (found.rank[second] > 0)]
    difference = Metric("", "mean difference", found.metric.unit).heading
    means = zip(rows["mean_difference"], rows["low"], rows["high"], strict=True)
    return pd.DataFrame(
        {
            "model": rows["model"],
            "other": rows["other"],
            "scans": rows["n_scans"].map(str),
            difference: [_interval(*one) for one in means],
            "won (%)": [percent(share) for share in rows["won"]],
            "p, all pairs": [_p(p) for p in rows["p_adjusted"]],
            "differs": ["n/a" if pd.isna(d) else "yes" if d else "no" for d in rows["differs"]],
        }
    )


def _interval(mean: float, low: float, high: float) -> str:
    return number(mean) + ("" if np.isnan(low) else f" ({number(low)} to {number(high)})")


def percent(share: float) -> str:
    """A share in whole per cent; `n/a` if missing."""
    return "n/a" if np.isnan(share) else f"{100 * share:.0f}"


def _p(p: float) -> str:
    if np.isnan(p):
        return "n/a"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def alike_text(found: Pairs, model: int) -> str:
    """The models that one does not differ from: ranks in short, and names of those without one.

    Returns:
        Such as `2–4, 7, uff`; "none" if it differs from all; "" if no pair of it is decided.
    """
    if not found.paired.decided[model].any():
        return ""
    alike = found.alike(model)
    numbers = sorted({int(found.rank[k]) for k in alike if found.rank[k]})
    named = [found.names[k] for k in alike if not found.rank[k]]
    return ", ".join([*_runs(numbers), *named]) or "none"


def _runs(numbers: Sequence[int]) -> list[str]:
    """Whole numbers in order, neighbours joined: `2–4`."""
    runs: list[list[int]] = []
    for one in numbers:
        if runs and one == runs[-1][1] + 1:
            runs[-1][1] = one
        else:
            runs.append([one, one])
    return [f"{a}" if a == b else f"{a}–{b}" for a, b in runs]


def changes_text(found: Pairs, model: int) -> str:
    """The models that change the rank of one among the others, with → without; "" for none."""
    return ", ".join(
        f"{found.names[j]} ({_rank(found.with_other[j, model])} → "
        f"{_rank(found.without_other[j, model])})"
        for j in found.changes(model)
    )


def _rank(rank: int) -> str:
    return str(rank) if rank else "none"


def board_columns(found: Pairs) -> list[BoardColumn]:
    """Columns of the leaderboard: whom a model does not differ from, what changes its rank."""
    every = range(len(found.names))
    told = {
        "not_different": (
            "Models that it does not differ from; `none` if it differs from all.",
            lambda k: (
                ", ".join(found.names[j] for j in found.alike(k)) or "none"
                if found.paired.decided[k].any()
                else ""
            ),
        ),
        "not_different_ranks": (
            "Ranks of these models, and the names of those without one.",
            lambda k: alike_text(found, k),
        ),
        "rank_changes_with": (
            "Models that change its rank among the others when they take part (with → without).",
            lambda k: changes_text(found, k),
        ),
    }
    return [
        BoardColumn(
            Metric(name, name.replace("_", " "), help=said),
            {found.names[k]: cell(k) for k in every},
            kind=TEXT,
        )
        for name, (said, cell) in told.items()
    ]
