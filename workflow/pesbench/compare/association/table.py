"""All metrics of the scans, ranked by what they predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pandas as pd

from pesbench.compare.association.correlations import (
    NAN,
    Association,
    Level,
    if_start_failed,
    over_models,
    panels_with_start_failed,
)
from pesbench.compare.association.panel import CHEAP_METRICS, RESPONSES, TIME_LOST, Panels, Point
from pesbench.compare.association.verdicts import PRIMARY, SECONDARY
from pesbench.compare.association.within import Within, within_models
from pesbench.metrics import rank_statistics as statistics
from pesbench.metrics.aggregate import RESAMPLES
from pesbench.metrics.coverage import ENTRY_COVERAGE

TABLE_COLUMNS = (
    "role",
    "level",
    "response",
    "metric",
    "expected",
    "n",
    "n_models",
    "n_families",
    "n_systems",
    "n_scans",
    "n_runs",
    "n_left_out",
    "spearman",
    "spearman_low",
    "spearman_high",
    "kendall",
    "given_family",
    "p",
    "p_adjusted",
    "family_explains",
    "spearman_all_fail",
    "spearman_all_survive",
    "spearman_start_failed",
    "n_start_failed",
    "n_runs_start_failed",
    "n_auroc",
    "auroc",
    "auroc_low",
    "auroc_high",
    "auroc_pooled",
    "auroc_family",
)
_COUNTS = ("n_start_failed", "n_runs_start_failed", "n_auroc")  # missing at one of the levels


def table(
    scans: pd.DataFrame,
    runs: pd.DataFrame,
    points: Mapping[str, Point] | None = None,
    metrics: Iterable[str] = tuple(CHEAP_METRICS),
    responses: Iterable[str] = RESPONSES,
    name: str = "association",
    resamples: int = RESAMPLES,
    start_failed: pd.DataFrame | None = None,
    least_scans: float = ENTRY_COVERAGE,
) -> pd.DataFrame:
    """All cheap metrics ranked by what they predict.

    Args:
        scans: Scores of scans, see `Panels`.
        runs: Trajectories, see `Panels`.
        points: Variant and family of each model, see `Panels`.
        metrics: Metrics from `CHEAP_METRICS`.
        responses: Responses from `RESPONSES`.
        name: What the seeds derive from.
        resamples: Bootstrap samples.
        start_failed: Trajectories that failed at time 0, see `if_start_failed`.
        least_scans: See `panel`.

    Returns:
        `TABLE_COLUMNS`, one row a level, response and metric; within a level and response the
        strongest correlation of the expected sign first, undefined ones last. `role` is `primary`,
        `secondary` or `exploratory`; `p_adjusted` (Benjamini–Hochberg) is over all exploratory rows
        that have a p, and missing for the two named tests. Rows within models have what
        `within_models` finds: `spearman` and its interval are means over n variants, and so are
        `auroc` and its interval over `n_auroc` of them.

    Raises:
        ValueError: see `Panels`.
    """
    rows = []
    wanted = list(metrics)
    panels = Panels(scans, runs, points, least_scans)
    bounding = panels_with_start_failed(scans, runs, start_failed, points, least_scans)
    for response in responses:
        for metric in wanted:
            data = panels.panel(metric, response)
            bound = if_start_failed(bounding, metric, response)
            models = replace(over_models(data, name, resamples), if_start_failed=bound)
            within = within_models(data, name, resamples)
            rows += [_row(models), _row_within(models, within)]
    ranked = pd.DataFrame(rows, columns=list(TABLE_COLUMNS))
    for count in _COUNTS:
        ranked[count] = ranked[count].astype("Int64")
    exploratory = ranked["role"] == "exploratory"
    ranked["p_adjusted"] = statistics.adjusted(ranked["p"].where(exploratory))
    ranked["_strength"] = -ranked["spearman"] * ranked["expected"]
    ranked["_level"] = ranked["level"] != Level.MODEL.value
    ranked["_response"] = [RESPONSES.index(response) for response in ranked["response"]]
    order = ["_level", "_response", "_strength", "metric"]
    return ranked.sort_values(order, ignore_index=True)[list(TABLE_COLUMNS)]


def _row(found: Association) -> dict[str, object]:
    role = {PRIMARY: "primary", SECONDARY: "secondary"}.get(found.metric)
    bound = found.if_start_failed
    return {
        "role": role if role and found.response == TIME_LOST else "exploratory",
        "level": Level.MODEL.value,
        **_common(found),
        "n": found.n,
        "spearman": found.spearman,
        "spearman_low": found.interval.low,
        "spearman_high": found.interval.high,
        "kendall": found.kendall,
        "given_family": found.given_family,
        "p": found.p,
        "family_explains": found.family_explains,
        "spearman_all_fail": NAN if found.if_all_fail is None else found.if_all_fail,
        "spearman_all_survive": NAN if found.if_all_survive is None else found.if_all_survive,
        "spearman_start_failed": NAN if bound is None else bound.spearman,
        "n_start_failed": NAN if bound is None else bound.n,
        "n_runs_start_failed": NAN if bound is None else bound.n_runs,
    }


def _row_within(found: Association, within: Within) -> dict[str, object]:
    return {
        "role": "exploratory",
        "level": Level.WITHIN.value,
        **_common(found),
        "n": within.n,
        "spearman": within.spearman,
        "spearman_low": within.interval.low,
        "spearman_high": within.interval.high,
        "p": within.p,
        "n_auroc": within.n_auroc,
        "auroc": within.auroc,
        "auroc_low": within.auroc_interval.low,
        "auroc_high": within.auroc_interval.high,
        "auroc_pooled": within.auroc_pooled,
        "auroc_family": within.auroc_family,
    }


def _common(found: Association) -> dict[str, object]:
    return {
        "response": found.response,
        "metric": found.metric,
        "expected": found.expected,
        "n_models": found.n_models,
        "n_families": len(set(found.families)),
        "n_systems": found.n_systems,
        "n_scans": found.n_scans,
        "n_runs": found.n_runs,
        "n_left_out": len(found.left_out),
    }
