"""Correlations of smoothness with stability, over models and over (model, molecule) pairs.

- Unit: the variant of a model. Models that differ by their training seed alone are averaged.
- p by permuting variants, intervals by a two-way bootstrap over variants and molecules
  (`pesbench.compare.association.statistics`).
- Every correlation compares models on what all of them share: the scans that each has a score for,
  and the trajectories that each has a number for. A model that has less than half of either is left
  out and named, never taken as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from pesbench.compare.association import statistics
from pesbench.compare.association.panel import (
    FAILED,
    TIME_LOST,
    Panel,
    Point,
    panel,
)
from pesbench.compare.association.statistics import Interval
from pesbench.metrics.aggregate import LEVEL, RESAMPLES, resample

Array = NDArray[np.float64]
Index = NDArray[np.int64]

NAN = float("nan")
_CHUNK = 2_000_000  # doubles ranked at once


# --- the two levels ------------------------------------------------------------------------------


class Level(StrEnum):
    """Kind of point of a correlation."""

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
    """Correlation of a metric of the scans with a response.

    Attributes:
        level: What a point is.
        metric: Metric of the scans.
        response: Response of the trajectories.
        expected: Sign ρ has if the metric predicts it.
        n: Independent variants.
        n_models: Models behind them.
        n_systems: Molecules with shared scans and shared trajectories.
        n_points: Points of the correlation, n or n · n_systems.
        n_scans: Scans shared by the models.
        n_runs: Trajectories shared by the models.
        spearman: ρ.
        kendall: Kendall's τ_b.
        interval: Interval of ρ, from a two-way bootstrap over variants and molecules.
        p: Two-sided, permuting variants.
        partial: Rank correlation given the force MAE.
        partial_interval: Two-way bootstrap.
        if_all_fail: ρ if every run that was cut had failed then; None if none was cut.
        if_all_survive: ρ if every run that was cut had lived to the horizon.
        auroc: AUROC for "a trajectory failed" over (model, system) pairs, above 0.5 in the
            expected direction; NaN for responses that trajectories that failed may not have.
        left_out: Why, by model.
        variants: Names, length n.
        families: Family of each variant, length n.
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
    families: tuple[str, ...]
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
        data: The panel, see `panel`.
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
        data: The panel, see `panel`.
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
    points: Mapping[str, Point] | None = None,
) -> StartFailed | None:
    """The bound of a correlation over models, see `StartFailed`.

    Args:
        scans: Scores of scans, see `panel`.
        runs: Trajectories, see `panel`.
        start_failed: Rows of `failed_at_start` that `runs_in_excess` counted; None for no such.
        metric: Metric of the scans, see `panel`.
        response: Response of the trajectories, see `panel`.
        points: Variant and family of each model, see `panel`.

    Returns:
        None where there is no such trajectory among those that count, or for a response that is not
        of survival.

    Raises:
        ValueError: see `panel`.
    """
    if start_failed is None or start_failed.empty or response not in (TIME_LOST, FAILED):
        return None
    both = pd.concat([runs, start_failed], ignore_index=True)
    data = panel(scans, both, metric, response, points)
    if not data.n_start_failed:
        return None
    x, y = data.x, data.y
    rho = float(statistics.spearman(x, y)) if _testable(x, y) else NAN
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
    rho = kendall = p = partial = NAN
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
        auroc=auroc(data),
        left_out=data.left_out,
        variants=data.variants,
        families=data.families,
        x=data.x,
        y=data.y,
        failed=data.failed,
    )


def auroc(data: Panel) -> float:
    """The metric for "a trajectory failed" over pairs; NaN for other responses than survival."""
    if data.response not in (TIME_LOST, FAILED) or not data.variants:
        return NAN
    failed = data.failed_sum[:, data.both] > 0
    return statistics.auroc(data.expected * _pairs(data)[0].ravel(), failed.ravel())
