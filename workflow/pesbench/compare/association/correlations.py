"""Correlations of smoothness with stability, over models.

- Population: families of models (architectures), and the variants of each. Models that differ by
  their training seed alone are averaged into one variant.
- p by permuting variants within their families, intervals by a bootstrap over families, the
  variants of each, and molecules (`pesbench.metrics.rank_statistics`).
- Every correlation compares models on what all of them share: the scans that each has a score for,
  and the trajectories that each has a number for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import kendalltau

from pesbench.compare.association.panel import (
    FAILED,
    TIME_LOST,
    Panel,
    Panels,
    Point,
)
from pesbench.metrics import rank_statistics as statistics
from pesbench.metrics.aggregate import LEVEL, RESAMPLES, resample
from pesbench.metrics.coverage import ENTRY_COVERAGE
from pesbench.metrics.rank_statistics import Interval

Array = NDArray[np.float64]
Index = NDArray[np.int64]

NAN = float("nan")


class Level(StrEnum):
    """Kind of point of a correlation."""

    MODEL = "model"
    WITHIN = "molecule, within models"


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
    """Correlation over models of a metric of the scans with a response.

    Attributes:
        metric: Metric of the scans.
        response: Response of the trajectories.
        expected: Sign ρ has if the metric predicts it.
        n: Independent variants.
        n_models: Models behind them.
        n_systems: Molecules with shared scans and shared trajectories.
        n_scans: Scans shared by the models.
        n_runs: Trajectories shared by the models.
        spearman: ρ.
        kendall: Kendall's τ_b.
        interval: Interval of ρ, from a bootstrap over families, their variants, and molecules.
        given_family: Correlation of what is left of the ranks within families.
        p: Two-sided, of `given_family`, permuting variants within families.
        family_explains: Share of the variance of the ranks of the response that the bare family
            explains, to stand beside ρ².
        if_all_fail: ρ if every run that was cut had failed then; None if none was cut.
        if_all_survive: ρ if every run that was cut had lived to the horizon.
        left_out: Why, by model.
        variants: Names, length n.
        families: Family of each variant, length n.
        x: Mean metric of each variant, (n,), for figures.
        y: Mean response of each variant, (n,).
        failed: Share of the shared trajectories that failed, (n,).
        if_start_failed: What putting in the trajectories that failed before their first step makes
            of ρ; None if there is none, and for other responses than survival.
        alone: The same within each family alone, by family; {} where it is not asked for.
        without: The same with each family left out, by family; {} where it is not asked for.
    """

    metric: str
    response: str
    expected: int
    n: int
    n_models: int
    n_systems: int
    n_scans: int
    n_runs: int
    spearman: float
    kendall: float
    interval: Interval
    given_family: float
    p: float
    family_explains: float
    if_all_fail: float | None
    if_all_survive: float | None
    left_out: Mapping[str, str]
    variants: tuple[str, ...]
    families: tuple[str, ...]
    x: Array
    y: Array
    failed: Array
    if_start_failed: StartFailed | None = None
    alone: Mapping[str, Association] = field(default_factory=dict)
    without: Mapping[str, Association] = field(default_factory=dict)


def over_models(
    data: Panel, name: str = "association", resamples: int = RESAMPLES, level: float = LEVEL
) -> Association:
    """The correlation over variants: one point a variant.

    The bootstrap draws families, variants within them, and independently molecules: a drawn
    molecule brings its scans and its trajectories. Molecules that have both, scans only and
    trajectories only are drawn apart, so that no sample is without either. There is no interval
    below two molecules of a kind.

    Args:
        data: The panel, see `panel`.
        name: What the seeds derive from.
        resamples: Bootstrap samples.
        level: Probability the interval is to hold.
    """
    x, y = data.x, data.y
    interval = Interval()
    rho = kendall = given = p = explained = NAN
    if testable(x, y):
        rho = float(statistics.spearman(x, y))
        given = float(statistics.stratified_spearman(x, y, data.families))
        p = float(statistics.stratified_p(x, y, data.families, name))
        explained = statistics.explained(y, data.families)
        if not np.isnan(rho):
            kendall = float(kendalltau(x, y).statistic)
        sample = draw_samples(data, name, resamples)
        if sample is not None:
            drawn, _ = statistics.weighted_spearman(sample.x, sample.y, None, sample.variants)
            interval = statistics.percentile_interval(drawn, level=level)

    def bounded(y_bound: Array | None) -> float | None:
        if y_bound is None or not testable(x, y_bound):
            return None
        return float(statistics.spearman(x, y_bound))

    return Association(
        metric=data.metric,
        response=data.response,
        expected=data.expected,
        n=len(data.variants),
        n_models=sum(len(models) for models in data.members),
        n_systems=int(data.both.sum()),
        n_scans=int(data.x_count.sum()),
        n_runs=int(data.y_count.sum()),
        spearman=rho,
        kendall=kendall,
        interval=interval,
        given_family=given,
        p=p,
        family_explains=explained,
        if_all_fail=bounded(data.y_all_fail),
        if_all_survive=bounded(data.y_all_survive),
        left_out=data.left_out,
        variants=data.variants,
        families=data.families,
        x=x,
        y=y,
        failed=data.failed,
    )


def over_families(
    data: Panel, name: str = "association", resamples: int = RESAMPLES, level: float = LEVEL
) -> Association:
    """`over_models`, beside it each family alone, and all of them with each left out once."""
    families = np.array(data.families, dtype=str)
    found = over_models(data, name, resamples, level)
    if len(np.unique(families)) < 2:
        return replace(found, alone={str(one): found for one in np.unique(families)})

    def part(chosen: NDArray[np.bool_]) -> Association:
        return over_models(data.of(chosen), name, resamples, level)

    names = [str(one) for one in np.unique(families)]
    return replace(
        found,
        alone={one: part(families == one) for one in names},
        without={one: part(families != one) for one in names},
    )


def if_start_failed(
    panels: Panels | None, metric: str, response: str = TIME_LOST
) -> StartFailed | None:
    """The bound of a correlation over models, see `StartFailed`.

    Args:
        panels: See `panels_with_start_failed`.
        metric: Metric of the scans, see `Panels.panel`.
        response: Response of the trajectories.

    Returns:
        None where there is no such trajectory among those that count, or for a response that is not
        of survival.

    Raises:
        ValueError: see `Panels.panel`.
    """
    if panels is None or response not in (TIME_LOST, FAILED):
        return None
    data = panels.panel(metric, response)
    if not data.n_start_failed:
        return None
    x, y = data.x, data.y
    rho = float(statistics.spearman(x, y)) if testable(x, y) else NAN
    return StartFailed(data.n_start_failed, len(data.variants), rho)


def panels_with_start_failed(
    scans: pd.DataFrame,
    runs: pd.DataFrame,
    start_failed: pd.DataFrame | None,
    points: Mapping[str, Point] | None = None,
    least_scans: float = ENTRY_COVERAGE,
) -> Panels | None:
    """The panels with the trajectories that failed at time 0; None where there is no such.

    Args:
        scans: Scores of scans, see `Panels`.
        runs: Trajectories, see `Panels`.
        start_failed: Rows of `failed_at_start` that `runs_in_excess` counted; None for no such.
        points: Variant and family of each model, see `Panels`.
        least_scans: See `Panels`.

    Raises:
        ValueError: see `Panels`.
    """
    if start_failed is None or start_failed.empty:
        return None
    both = pd.concat([runs, start_failed], ignore_index=True)
    return Panels(scans, both, points, least_scans)


def testable(x: Array, y: Array) -> bool:
    """Whether there are enough points, and a number for each."""
    return len(x) >= statistics.LEAST_POINTS and x.size > 0 and bool(np.isfinite(x + y).all())


# --- the bootstrap -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Samples:
    """R bootstrap samples of a panel.

    Attributes:
        variants: How often each variant is drawn, (R, V).
        systems: How often each molecule is drawn, (R, K).
        x: Mean metric of the variants over the drawn molecules, (R, V).
        y: Mean response, (R, V).
    """

    variants: Array
    systems: Array
    x: Array
    y: Array


def draw_samples(data: Panel, name: str, resamples: int = RESAMPLES) -> Samples | None:
    """Bootstrap samples of families, their variants, and molecules.

    Args:
        data: The panel.
        name: What the seeds derive from.
        resamples: R.

    Returns:
        None below two molecules that have scans or two that have trajectories.
    """
    if min((data.x_count > 0).sum(), (data.y_count > 0).sum()) < 2:
        return None
    systems = _system_weights(data, name, resamples)
    return Samples(
        variants=statistics.draw_variants(data.families, name, resamples),
        systems=systems,
        x=sample_means(systems, data.x_sum, data.x_count),
        y=sample_means(systems, data.y_sum, data.y_count),
    )


def sample_means(systems: Array, sums: Array, counts: Index) -> Array:
    """Means over the drawn molecules, (R, V), from sums (V, K) and counts (K,) of each."""
    return statistics.rounded((systems @ sums.T) / (systems @ counts)[:, None])


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
