"""Does smoothness predict stability? The tests of design.md, decided before there was an answer.

- Primary: Spearman's ρ of `fsd_full` with the survival time lost in excess of the reference, over
  models. Secondary: the same with `fsd_windowed`. All else is exploratory, under
  Benjamini–Hochberg.
- Unit: the variant of a model. Models that differ by their training seed alone are averaged.
- p by permuting variants, intervals by a two-way bootstrap over variants and molecules
  (`pesbench.compare.association_statistics`).
- Every correlation compares models on what all of them share: the scans that each has a score for,
  and the trajectories that each has a number for. A model that has less than half of either is left
  out and named, never taken as 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from pesbench.compare import association_statistics as statistics
from pesbench.compare.association_panel import (
    CHEAP_METRICS,
    FAILED,
    RESPONSES,
    TIME_LOST,
    Panel,
    panel,
)
from pesbench.compare.association_statistics import Interval
from pesbench.metrics.aggregate import LEVEL, RESAMPLES, resample
from pesbench.models.variants import LEAST_VARIANTS

Array = NDArray[np.float64]
Index = NDArray[np.int64]

PRIMARY = "fsd_full"
SECONDARY = "fsd_windowed"
NEARLY = 0.05
SIGNIFICANCE = 0.05
_NAN = float("nan")
_EQUAL = 1e-9  # sums of shares
_CHUNK = 2_000_000  # doubles ranked at once


# --- the two levels ------------------------------------------------------------------------------


class Level(StrEnum):
    """What a point of a correlation is."""

    MODEL = "model"
    MODEL_SYSTEM = "model, system"


@dataclass(frozen=True)
class StartFailed:
    """ρ over models if what failed before its first step had lost all of the horizon.

    Such trajectories are not at risk, hence in no mean, and for all models not in the trajectories
    that all share. The bound puts them in; models that have too few without them, too.

    Attributes:
        n_runs: Trajectories put in, of all models.
        n: Variants of ρ.
        spearman: ρ.
    """

    n_runs: int
    n: int
    spearman: float


@dataclass(frozen=True, eq=False)
class Association:
    """How far a cheap metric predicts a response.

    Attributes:
        level: What a point is.
        metric: Of the scans.
        response: Of the trajectories.
        expected: Sign ρ has if the metric predicts it.
        n: Independent variants.
        n_models: Models behind them.
        n_systems: Molecules with shared scans and shared trajectories.
        n_points: Points of the correlation, n or n · n_systems.
        n_scans: Scans shared by the models.
        n_runs: Trajectories shared by the models.
        spearman: ρ.
        kendall: Kendall's τ_b.
        interval: Of ρ, two-way bootstrap over variants and molecules.
        p: Two-sided, permuting variants.
        partial: Rank correlation given the force MAE.
        partial_interval: Two-way bootstrap.
        if_all_fail: ρ if every run that was cut had failed then; None if none was cut.
        if_all_survive: ρ if every run that was cut had lived to the horizon.
        auroc: Of the metric for "a trajectory failed" over (model, system) pairs, above 0.5 in the
            expected direction; NaN for responses that trajectories that failed may not have.
        left_out: Why, by model.
        variants: Names, length n.
        x: Mean metric of each variant, (n,), for figures.
        y: Mean response of each variant, (n,).
        failed: Share of the shared trajectories that failed, (n,).
        if_start_failed: What putting in the trajectories that failed before their first step makes
            of ρ; None if there is none, at the other level and for other responses.
    """

    level: Level
    metric: str
    response: str
    expected: int
    n: int
    n_models: int
    n_systems: int
    n_points: int
    n_scans: int
    n_runs: int
    spearman: float
    kendall: float
    interval: Interval
    p: float
    partial: float
    partial_interval: Interval
    if_all_fail: float | None
    if_all_survive: float | None
    auroc: float
    left_out: Mapping[str, str]
    variants: tuple[str, ...]
    x: Array
    y: Array
    failed: Array
    if_start_failed: StartFailed | None = None


def over_models(
    data: Panel, name: str = "association", resamples: int = RESAMPLES, level: float = LEVEL
) -> Association:
    """The correlation over variants: one point a variant.

    The bootstrap draws variants, and independently molecules: a drawn molecule brings its scans and
    its trajectories. Molecules that have both, scans only and trajectories only are drawn apart, so
    that no sample is without either. There is no interval below two molecules of a kind.

    Args:
        data: See `panel`.
        name: What the seeds derive from.
        resamples: Bootstrap samples.
        level: Probability the intervals are to hold.
    """
    x, y = data.x, data.y
    interval = partial_interval = Interval()
    if _testable(x, y) and min((data.x_count > 0).sum(), (data.y_count > 0).sum()) > 1:
        weights = _system_weights(data, name, resamples)
        drawn = statistics.draw(len(x), f"{name} variants", resamples)
        some_x = _drawn_means(weights, data.x_sum, data.x_count, drawn)
        some_y = _drawn_means(weights, data.y_sum, data.y_count, drawn)
        interval = statistics.percentile_interval(statistics.spearman(some_x, some_y), level)
        if data.z_sum is not None:
            some_z = _drawn_means(weights, data.z_sum, data.x_count, drawn)
            partials = statistics.partial_spearman(some_x, some_y, some_z)
            partial_interval = statistics.percentile_interval(partials, level)
    return _association(Level.MODEL, data, x, y, data.z, interval, partial_interval, name)


def over_pairs(
    data: Panel, name: str = "association", resamples: int = RESAMPLES, level: float = LEVEL
) -> Association:
    """The correlation over (model, system) pairs: does it fail on the molecules it is rough on?

    p permutes the whole block of a variant, the bootstrap draws whole variants and whole molecules
    (Owen's pigeonhole bootstrap): pairs are not independent, and their number is no sample size.

    Args:
        data: See `panel`.
        name: What the seeds derive from.
        resamples: Bootstrap samples.
        level: Probability the interval is to hold.
    """
    x, y, z = _pairs(data)
    interval = partial_interval = Interval()
    n, k = x.shape
    if _testable(x, y) and k > 1:
        of_variant = resample(n, f"{name} variants", resamples)
        of_system = resample(k, f"{name} systems", resamples)
        given = None if z is None else z.ravel()
        drawn = []
        for part in np.array_split(np.arange(resamples), 1 + resamples * n * k // _CHUNK):
            weights = of_variant[part][:, :, None] * of_system[part][:, None, :]
            flat = weights.reshape(len(part), -1).astype(np.float64)
            drawn.append(statistics.weighted_spearman(x.ravel(), y.ravel(), given, flat))
        rho, partial = (np.concatenate(draws) for draws in zip(*drawn, strict=True))
        interval = statistics.percentile_interval(rho, level)
        partial_interval = statistics.percentile_interval(partial, level)
    return _association(Level.MODEL_SYSTEM, data, x, y, z, interval, partial_interval, name)


def if_start_failed(
    scans: pd.DataFrame,
    runs: pd.DataFrame,
    start_failed: pd.DataFrame | None,
    metric: str,
    response: str = TIME_LOST,
    variants: Mapping[str, str] | None = None,
) -> StartFailed | None:
    """The bound of a correlation over models, see `StartFailed`.

    Args:
        scans: See `panel`.
        runs: See `panel`.
        start_failed: Rows of `failed_at_start` that `runs_in_excess` counted; None for no such.
        metric: See `panel`.
        response: See `panel`.
        variants: See `panel`.

    Returns:
        None where there is no such trajectory among those that count, or for a response that is not
        of survival.

    Raises:
        ValueError: see `panel`.
    """
    if start_failed is None or start_failed.empty or response not in (TIME_LOST, FAILED):
        return None
    both = pd.concat([runs, start_failed], ignore_index=True)
    data = panel(scans, both, metric, response, variants)
    if not data.n_start_failed:
        return None
    x, y = data.x, data.y
    rho = float(statistics.spearman(x, y)) if _testable(x, y) else _NAN
    return StartFailed(data.n_start_failed, len(data.variants), rho)


def _pairs(data: Panel) -> tuple[Array, Array, Array | None]:
    both = data.both

    def mean(total: Array, count: Index) -> Array:
        pairs = total[:, both] / count[both]
        return statistics.rounded(pairs.ravel()).reshape(pairs.shape)

    z = None if data.z_sum is None else mean(data.z_sum, data.x_count)
    return mean(data.x_sum, data.x_count), mean(data.y_sum, data.y_count), z


def _testable(x: Array, y: Array) -> bool:
    return len(x) >= statistics.LEAST_POINTS and x.size > 0 and bool(np.isfinite(x + y).all())


def _system_weights(data: Panel, name: str, resamples: int) -> Array:
    """How often each molecule is drawn, (R, K)."""
    scanned, ran = data.x_count > 0, data.y_count > 0
    weights = np.zeros((resamples, len(scanned)))
    for stratum, mask in (
        ("both", scanned & ran),
        ("scans", scanned & ~ran),
        ("runs", ran & ~scanned),
    ):
        if mask.any():
            weights[:, mask] = resample(int(mask.sum()), f"{name} {stratum}", resamples)
    return weights


def _drawn_means(weights: Array, sums: Array, counts: Index, drawn: NDArray[np.intp]) -> Array:
    """Means of the drawn variants over the drawn molecules, (R, V).

    A variant that is drawn twice must tie with itself, so it is picked, not summed again.
    """
    means = statistics.rounded((weights @ sums.T) / (weights @ counts)[:, None])
    return np.take_along_axis(means, drawn, axis=1)


def _association(
    level: Level,
    data: Panel,
    x: Array,
    y: Array,
    z: Array | None,
    interval: Interval,
    partial_interval: Interval,
    name: str,
) -> Association:
    rho = kendall = p = partial = _NAN
    if _testable(x, y):
        rho = float(statistics.spearman(x.ravel(), y.ravel()))
        p = statistics.block_permutation_p(x, y, name)
        if not np.isnan(rho):
            kendall = float(kendalltau(x.ravel(), y.ravel()).statistic)
        if z is not None:
            partial = float(statistics.partial_spearman(x.ravel(), y.ravel(), z.ravel()))

    def bounded(y_bound: Array | None) -> float | None:
        if level is not Level.MODEL or y_bound is None or not _testable(x, y_bound):
            return None
        return float(statistics.spearman(x, y_bound))

    return Association(
        level=level,
        metric=data.metric,
        response=data.response,
        expected=data.expected,
        n=len(data.variants),
        n_models=sum(data.models),
        n_systems=int(data.both.sum()),
        n_points=int(x.size),
        n_scans=int(data.x_count.sum()),
        n_runs=int(data.y_count.sum()),
        spearman=rho,
        kendall=kendall,
        interval=interval,
        p=p,
        partial=partial,
        partial_interval=partial_interval,
        if_all_fail=bounded(data.y_all_fail),
        if_all_survive=bounded(data.y_all_survive),
        auroc=_auroc(data),
        left_out=data.left_out,
        variants=data.variants,
        x=data.x,
        y=data.y,
        failed=data.failed,
    )


def _auroc(data: Panel) -> float:
    if data.response not in (TIME_LOST, FAILED) or not data.variants:
        return _NAN
    failed = data.failed_sum[:, data.both] > 0
    return statistics.auroc(data.expected * _pairs(data)[0].ravel(), failed.ravel())


# --- what may be said ----------------------------------------------------------------------------


class Finding(StrEnum):
    """What the data say of "the metric predicts the response"."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_RESOLVED = "not resolved"
    NOT_INFORMATIVE = "not informative"


@dataclass(frozen=True)
class Verdict:
    """A finding and the one sentence that the data support.

    Attributes:
        finding: In a word.
        sentence: With the numbers.
    """

    finding: Finding
    sentence: str


def verdict(found: Association, in_excess: bool = True) -> Verdict:
    """What may be said of one association, by rules that were fixed before there was data.

    In this order:

    1. Fewer than 8 independent variants: not resolved, whatever the numbers.
    2. For survival: (nearly) all survive or all fail: not informative. "Nearly": the shares of
       trajectories that failed, averaged over variants, are at most 5 % or at least 95 %; or at
       most one variant fails at all; or at most one fails in less than all of them.
    3. p < 0.05 and the 95 % interval of ρ excludes 0: supported with the expected sign,
       contradicted with the other; but if runs were cut, only where ρ keeps its sign whether all
       of them had failed or lived.
    4. Else not resolved.

    Args:
        found: Of either level.
        in_excess: Whether failures are counted in excess of a reference's.
    """
    n, numbers = found.n, _numbers(found)
    said = _SAID[found.response]
    if in_excess and found.response in (TIME_LOST, FAILED):
        said += " in excess of the reference"
    what = f"whether {found.metric} predicts {said}"
    if n < LEAST_VARIANTS:
        reason = f"{LEAST_VARIANTS} independent model variants are the least that can tell {what}"
        return _said(Finding.NOT_RESOLVED, n, reason, numbers)
    ceiling = _ceiling(found)
    if ceiling:
        return _said(Finding.NOT_INFORMATIVE, n, f"{ceiling}, which cannot tell {what}", numbers)
    sign = np.sign(found.spearman)
    kept = all(
        np.sign(b) == sign for b in (found.if_all_fail, found.if_all_survive) if b is not None
    )
    if found.p < SIGNIFICANCE and found.interval.excludes(0) and kept:
        if sign == found.expected:
            order = "higher" if found.expected > 0 else "lower"
            reason = f"models with a {order} {found.metric} show more {said}"
            return _said(Finding.SUPPORTED, n, reason, numbers)
        order = "lower" if found.expected > 0 else "higher"
        reason = f"models with a {order} {found.metric} show more {said}"
        return _said(Finding.CONTRADICTED, n, reason, numbers)
    reason = f"the data do not tell {what}"
    return _said(Finding.NOT_RESOLVED, n, reason, numbers)


_SAID: Mapping[str, str] = {
    TIME_LOST: "survival time lost",
    FAILED: "failures",
    "temperature_spike": "temperature spikes",
    "energy_drift_mev_per_atom_ps": "energy drift",
    "energy_rms_mev_per_atom": "fluctuation of the total energy",
    "energy_excursion_mev_per_atom": "excursion of the total energy",
    "energy_jump_mev": "jumps of the total energy",
}


def _said(finding: Finding, n: int, reason: str, numbers: str) -> Verdict:
    word = f"{finding.value} at n = {n}" if finding is Finding.NOT_RESOLVED else finding.value
    return Verdict(finding, f"{word}: {reason}{numbers}.")


def _numbers(found: Association) -> str:
    """In brackets, or what is missing."""
    if not found.n:
        return ""
    if np.isnan(found.spearman):
        return f" (no correlation is defined, n = {found.n})"
    parts = [f"Spearman ρ = {found.spearman:.2f}"]
    if not np.isnan(found.interval.low):
        parts.append(f"95 % interval {found.interval.low:.2f} to {found.interval.high:.2f}")
    parts.append(f"p = {found.p:.2g}")
    if found.n < LEAST_VARIANTS:
        parts.append(f"at least {statistics.smallest_p(found.n):.2g} at this n")
    parts.append(f"n = {found.n} variants")
    if found.if_all_fail is not None and found.if_all_survive is not None:
        parts.append(
            f"ρ = {found.if_all_fail:.2f} if every run that was cut had failed, "
            f"{found.if_all_survive:.2f} if it had lived"
        )
    return f" ({', '.join(parts)})"


def _ceiling(found: Association) -> str:
    """Why the outcome cannot inform; "" if it can."""
    if found.response not in (TIME_LOST, FAILED) or not found.n_runs:
        return ""
    share, n = float(found.failed.mean()), found.n
    some = int((found.failed > _EQUAL).sum())
    every = int((found.failed > 1 - _EQUAL).sum())
    if some <= 1 or share <= NEARLY + _EQUAL:
        return (
            f"nearly all survive ({100 * share:.2g} % of the runs fail, in {some} of {n} variants)"
        )
    if every >= n - 1 or share >= 1 - NEARLY - _EQUAL:
        return f"nearly all fail ({100 * share:.3g} % of the runs, all in {every} of {n} variants)"
    return ""


@dataclass(frozen=True, eq=False)
class Answer:
    """The two named tests over models.

    Attributes:
        primary: `fsd_full` with the time lost.
        secondary: `fsd_windowed` with the time lost.
        primary_verdict: The answer.
        secondary_verdict: Beside it, not instead of it.
    """

    primary: Association
    secondary: Association
    primary_verdict: Verdict
    secondary_verdict: Verdict


def answer(
    scans: pd.DataFrame,
    runs: pd.DataFrame,
    variants: Mapping[str, str] | None = None,
    name: str = "association",
    resamples: int = RESAMPLES,
    start_failed: pd.DataFrame | None = None,
    *,
    in_excess: bool = True,
) -> Answer:
    """The primary and the secondary test.

    Arguments and errors as `panel`, `over_models` and `if_start_failed`; the latter's bound stands
    beside the tests and changes neither of them. `in_excess` says whether a reference ran dynamics,
    which the sentences tell.
    """
    one, two = (
        replace(
            over_models(panel(scans, runs, metric, TIME_LOST, variants), name, resamples),
            if_start_failed=if_start_failed(scans, runs, start_failed, metric, TIME_LOST, variants),
        )
        for metric in (PRIMARY, SECONDARY)
    )
    return Answer(one, two, verdict(one, in_excess), verdict(two, in_excess))


# --- the table -----------------------------------------------------------------------------------

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
    variants: Mapping[str, str] | None = None,
    metrics: Iterable[str] = tuple(CHEAP_METRICS),
    responses: Iterable[str] = RESPONSES,
    name: str = "association",
    resamples: int = RESAMPLES,
    start_failed: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """All cheap metrics ranked by what they predict.

    Args:
        scans: See `panel`.
        runs: See `panel`.
        variants: See `panel`.
        metrics: Of `CHEAP_METRICS`.
        responses: Of `RESPONSES`.
        name: What the seeds derive from.
        resamples: Bootstrap samples.
        start_failed: See `if_start_failed`.

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
    auroc = {metric: _auroc(panel(scans, runs, metric, TIME_LOST, variants)) for metric in wanted}
    for response in responses:
        for metric in wanted:
            data = panel(scans, runs, metric, response, variants)
            bound = if_start_failed(scans, runs, start_failed, metric, response, variants)
            models = replace(over_models(data, name, resamples), if_start_failed=bound)
            for found in (models, over_pairs(data, name, resamples)):
                rows.append(_row(found) | {"auroc": auroc[metric]})
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
        "spearman_all_fail": _NAN if found.if_all_fail is None else found.if_all_fail,
        "spearman_all_survive": _NAN if found.if_all_survive is None else found.if_all_survive,
        "spearman_start_failed": _NAN if bound is None else bound.spearman,
        "n_start_failed": _NAN if bound is None else bound.n,
        "n_runs_start_failed": _NAN if bound is None else bound.n_runs,
    }
