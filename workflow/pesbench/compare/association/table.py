"""All metrics of the scans, ranked by what they predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pandas as pd

from pesbench.compare.association import statistics
from pesbench.compare.association.correlations import (
    NAN,
    Association,
    Level,
    auroc,
    if_start_failed,
    over_models,
    over_pairs,
)
from pesbench.compare.association.panel import CHEAP_METRICS, RESPONSES, TIME_LOST, Point, panel
from pesbench.compare.association.verdicts import PRIMARY, SECONDARY
from pesbench.metrics.aggregate import RESAMPLES

TABLE_COLUMNS = (
    "role",
    "level",
    "response",
    "metric",
    "expected",
    "n",
    "n_models",
    "n_systems",
    "n_points",
    "n_scans",
    "n_runs",
    "n_left_out",
    "spearman",
    "spearman_low",
    "spearman_high",
    "kendall",
    "p",
    "p_adjusted",
    "partial",
    "partial_low",
    "partial_high",
    "spearman_all_fail",
    "spearman_all_survive",
    "spearman_start_failed",
    "n_start_failed",
    "n_runs_start_failed",
    "auroc",
)


def table(
    scans: pd.DataFrame,
    runs: pd.DataFrame,
    points: Mapping[str, Point] | None = None,
    metrics: Iterable[str] = tuple(CHEAP_METRICS),
    responses: Iterable[str] = RESPONSES,
    name: str = "association",
    resamples: int = RESAMPLES,
    start_failed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """All cheap metrics ranked by what they predict.

    Args:
        scans: Scores of scans, see `panel`.
        runs: Trajectories, see `panel`.
        points: Variant and family of each model, see `panel`.
        metrics: Metrics from `CHEAP_METRICS`.
        responses: Responses from `RESPONSES`.
        name: What the seeds derive from.
        resamples: Bootstrap samples.
        start_failed: Trajectories that failed at time 0, see `if_start_failed`.

    Returns:
        `TABLE_COLUMNS`, one row a level, response and metric; within a level and response the
        strongest correlation of the expected sign first, undefined ones last. `role` is `primary`,
        `secondary` or `exploratory`; `p_adjusted` (Benjamini–Hochberg) is over all exploratory rows
        that have a p, and missing for the two named tests. `auroc` is that of the metric for
        failures, the same in all its rows.

    Raises:
        ValueError: see `panel`.
    """
    wanted = list(metrics)
    rows = []
    failures = {metric: auroc(panel(scans, runs, metric, TIME_LOST, points)) for metric in wanted}
    for response in responses:
        for metric in wanted:
            data = panel(scans, runs, metric, response, points)
            bound = if_start_failed(scans, runs, start_failed, metric, response, points)
            models = replace(over_models(data, name, resamples), if_start_failed=bound)
            for found in (models, over_pairs(data, name, resamples)):
                rows.append(_row(found) | {"auroc": failures[metric]})
    ranked = pd.DataFrame(rows, columns=list(TABLE_COLUMNS))
    for count in ("n_start_failed", "n_runs_start_failed"):
        ranked[count] = ranked[count].astype("Int64")
    exploratory = ranked["role"] == "exploratory"
    ranked["p_adjusted"] = statistics.adjusted(ranked["p"].where(exploratory))
    ranked["_strength"] = -ranked["spearman"] * ranked["expected"]
    ranked["_level"] = ranked["level"] != Level.MODEL.value
    ranked["_response"] = [RESPONSES.index(response) for response in ranked["response"]]
    order = ["_level", "_response", "_strength", "metric"]
    return ranked.sort_values(order, ignore_index=True)[list(TABLE_COLUMNS)]


def _row(found: Association) -> dict[str, object]:
    named = found.level is Level.MODEL and found.response == TIME_LOST
    role = {PRIMARY: "primary", SECONDARY: "secondary"}.get(found.metric) if named else None
    bound = found.if_start_failed
    return {
        "role": role or "exploratory",
        "level": found.level.value,
        "response": found.response,
        "metric": found.metric,
        "expected": found.expected,
        "n": found.n,
        "n_models": found.n_models,
        "n_systems": found.n_systems,
        "n_points": found.n_points,
        "n_scans": found.n_scans,
        "n_runs": found.n_runs,
        "n_left_out": len(found.left_out),
        "spearman": found.spearman,
        "spearman_low": found.interval.low,
        "spearman_high": found.interval.high,
        "kendall": found.kendall,
        "p": found.p,
        "partial": found.partial,
        "partial_low": found.partial_interval.low,
        "partial_high": found.partial_interval.high,
        "spearman_all_fail": NAN if found.if_all_fail is None else found.if_all_fail,
        "spearman_all_survive": NAN if found.if_all_survive is None else found.if_all_survive,
        "spearman_start_failed": NAN if bound is None else bound.spearman,
        "n_start_failed": NAN if bound is None else bound.n,
        "n_runs_start_failed": NAN if bound is None else bound.n_runs,
    }
