"""What holds within models: does a model fail on the molecules on which it is rough?

A correlation or an AUROC over all (model, molecule) pairs tells models apart, not molecules: where
one family fails and the others do not, the bare name of the family does as well. So each model is
looked at alone, over the molecules, and what is found is averaged over the models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.compare.association.correlations import NAN, draw_samples
from pesbench.compare.association.panel import FAILED, TIME_LOST, Panel
from pesbench.metrics import rank_statistics as statistics
from pesbench.metrics.aggregate import LEVEL, RESAMPLES
from pesbench.metrics.rank_statistics import Interval

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Within:
    """A metric of single molecules and a response of the same ones, within models.

    Attributes:
        metric: Metric of the scans.
        response: Response of the trajectories.
        expected: Sign of the correlation if the metric predicts the response.
        n: Variants whose metric and whose response differ between molecules.
        n_variants: Variants of the panel.
        n_systems: Molecules that have shared scans and shared trajectories.
        spearman: Mean over these n of Spearman's ρ over molecules.
        interval: Interval of it, from a bootstrap over families, variants and molecules.
        p: Two-sided, permuting molecules, in all models at once.
        n_auroc: Variants that fail on some molecules and not on others.
        auroc: Mean over these of the AUROC of the metric for "a trajectory failed", above 0.5 in
            the expected direction; NaN for other responses than survival, as what follows.
        auroc_interval: Interval of it, as `interval`.
        auroc_pooled: The AUROC over all (variant, molecule) pairs at once.
        auroc_family: What the bare name of the family reaches there: its own share of failures as
            the score of each pair.
    """

    metric: str
    response: str
    expected: int
    n: int
    n_variants: int
    n_systems: int
    spearman: float
    interval: Interval
    p: float
    n_auroc: int
    auroc: float
    auroc_interval: Interval
    auroc_pooled: float
    auroc_family: float


def within_models(
    data: Panel, name: str = "association", resamples: int = RESAMPLES, level: float = LEVEL
) -> Within:
    """The mean over variants of what holds over the molecules of each.

    p permutes the molecules of the responses, those of all variants in the same way: molecules that
    are hard for all models at once are then no evidence. There is no interval, and no p, below
    three molecules.

    Args:
        data: The panel, see `pesbench.compare.association.panel.panel`.
        name: What the seeds derive from.
        resamples: Bootstrap samples.
        level: Probability the intervals are to hold.
    """
    both = data.both
    x = _means(data.x_sum[:, both], data.x_count[both])
    y = _means(data.y_sum[:, both], data.y_count[both])
    survival = data.response in (TIME_LOST, FAILED)
    failed = data.failed_sum[:, both] > 0 if survival else np.zeros(x.shape, dtype=bool)
    of_x, of_y = _scaled_ranks(x), _scaled_ranks(y)
    varies = of_x.any(axis=1) & of_y.any(axis=1)
    mixed = failed.any(axis=1) & ~failed.all(axis=1)
    rho = (of_x * of_y).sum(axis=1)
    areas = _areas(data.expected * x, failed)
    drawn, drawn_areas = _resampled(data, x, failed, (varies, mixed), name, resamples)
    return Within(
        metric=data.metric,
        response=data.response,
        expected=data.expected,
        n=int(varies.sum()),
        n_variants=len(data.variants),
        n_systems=int(both.sum()),
        spearman=float(rho[varies].mean()) if varies.any() else NAN,
        interval=statistics.percentile_interval(drawn, level=level),
        p=_p(of_x[varies].T @ of_y[varies], name),
        n_auroc=int(mixed.sum()),
        auroc=float(areas[mixed].mean()) if mixed.any() else NAN,
        auroc_interval=statistics.percentile_interval(drawn_areas, 0.5, level),
        auroc_pooled=_pooled(data.expected * x, failed),
        auroc_family=_pooled(_family_shares(failed, data.families), failed),
    )


def _means(total: Array, count: NDArray[np.int64]) -> Array:
    means = total / count
    return statistics.rounded(means.ravel()).reshape(means.shape)


def _scaled_ranks(values: Array) -> Array:
    """Centred ranks of each row, of length 1, so that a product of two is ρ; 0 of a constant."""
    if values.shape[1] < statistics.LEAST_POINTS:
        return np.zeros(values.shape)
    ranks = statistics.centred_ranks(values)
    size = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    return ranks / np.where(size > 0, size, 1.0)


def _areas(score: Array, failed: Mask) -> Array:
    """AUROC of each variant, (V,); NaN where all molecules or none failed."""
    return np.array([statistics.auroc(a, b) for a, b in zip(score, failed, strict=True)])


def _pooled(score: Array, failed: Mask) -> float:
    return statistics.auroc(score.ravel(), failed.ravel())


def _family_shares(failed: Mask, families: tuple[str, ...]) -> Array:
    """The share of the pairs of its family that failed, for each pair, (V, K)."""
    names = np.array(families, dtype=str)
    shares = np.zeros(failed.shape)
    for one in np.unique(names):
        shares[names == one] = failed[names == one].mean() if failed.size else 0.0
    return shares


def _p(products: Array, name: str) -> float:
    """The p of the sum over variants; every molecule is of one stratum."""
    if len(products) < statistics.LEAST_POINTS or not products.any():
        return NAN
    return float(statistics.permutation_p(products, [0] * len(products), f"{name} molecules"))


def _resampled(
    data: Panel,
    x: Array,
    failed: Mask,
    counted: tuple[Mask, Mask],
    name: str,
    resamples: int,
) -> tuple[Array, Array]:
    """Mean ρ and mean AUROC of bootstrap samples, (R,) each; NaN where not defined."""
    sample = draw_samples(data, name, resamples)
    if sample is None or data.both.sum() < statistics.LEAST_POINTS:
        return np.full(resamples, NAN), np.full(resamples, NAN)
    systems = sample.systems[:, data.both]
    y = _means(data.y_sum[:, data.both], data.y_count[data.both])
    rho, areas = np.full((2, resamples, len(x)), NAN)
    for v in range(len(x)):
        if counted[0][v]:
            rho[:, v], _ = statistics.weighted_spearman(x[v], y[v], None, systems)
        if counted[1][v]:
            areas[:, v] = statistics.weighted_auroc(data.expected * x[v], failed[v], systems)
    return _weighted_mean(rho, sample.variants), _weighted_mean(areas, sample.variants)


def _weighted_mean(values: Array, weights: Array) -> Array:
    """Mean of the defined values of each row, each as often as it was drawn."""
    defined = np.where(np.isnan(values), 0.0, weights)
    total = defined.sum(axis=1)
    mean = np.nansum(values * defined, axis=1) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, NAN)
