"""Paired differences: every model against every other, on the scans that both have.

A mean over "the scans that all models have" loses scans with every model that joins. A difference
of two models needs only what these two share. Everything here is a pure function of arrays; the
unit of resampling is the system, as in `pesbench.metrics.aggregate`.

Of 30 models there are 435 pairs, so that intervals of 95 % would part 22 equal pairs. Whether a
pair differs is decided for all pairs at once: p is the share of bootstrap samples in which the
largest |difference − its mean| of any pair, in standard errors, is as large as that of the pair
(single-step max-T; Westfall & Young, Resampling-Based Multiple Testing, 1993; Romano & Wolf,
Econometrica 73, 1237 (2005)). So at most 5 % of boards have any pair that is parted by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pesbench.metrics.aggregate import LEVEL, RESAMPLES, resample

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]

LEAST_SYSTEMS = 12  # with fewer, the rule parts equal models too often (tests of this module)
_EQUAL = 1e-10  # of the largest score: what rounding leaves of 0


@dataclass(frozen=True, eq=False)
class Paired:
    """Differences of M models, arrays of shape (M, M): row minus column; lower scores are better.

    Numbers are NaN where two models share no scan, intervals and decisions where they share scans
    of fewer than `LEAST_SYSTEMS` systems. The diagonal is NaN.

    Attributes:
        n: Scans that both have.
        n_systems: Systems of these.
        mean: Mean difference, in the unit of the scores.
        low: Lower end of the interval of this mean, for this pair alone.
        high: Upper end.
        won: Share of the scans on which the model of the row has the lower score.
        tied: Share of the scans on which both have the same.
        p: Adjusted for all pairs: share of bootstrap samples in which any pair is as far from its
            mean, in standard errors, as the mean of this pair is from 0.
    """

    n: Counts
    n_systems: Counts
    mean: Array
    low: Array
    high: Array
    won: Array
    tied: Array
    p: Array

    @property
    def differs(self) -> Mask:
        """The pairs that differ at `LEVEL`, all of them together."""
        return self.p <= 1 - LEVEL

    @property
    def decided(self) -> Mask:
        """The pairs of which it can be asked whether they differ."""
        return np.isfinite(self.p)


def paired_differences(
    values: ArrayLike, clusters: Sequence[str], name: str, resamples: int = RESAMPLES
) -> Paired:
    """Every model against every other, on the scans that both have.

    Args:
        values: Scores, lower is better, shape (M, n); NaN where a model has none.
        clusters: System of each scan, length n.
        name: What the seed derives from.
        resamples: Number of bootstrap samples.
    """
    scores = np.asarray(values, dtype=np.float64)
    m = len(scores)
    known = np.isfinite(scores)
    first, second = np.triu_indices(m, 1)
    both = known[first] & known[second]
    difference = np.where(both, scores[first] - scores[second], 0.0)
    tiny = _EQUAL * (np.abs(scores[known]).max() if known.any() else 1.0)
    difference[np.abs(difference) <= tiny] = 0.0

    labels, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    member = np.zeros((scores.shape[1], len(labels)))
    member[np.arange(len(index)), index] = 1.0
    sizes = both @ member  # (P, K)
    n, systems = both.sum(axis=1), (sizes > 0).sum(axis=1)
    mean = _ratio(difference.sum(axis=1), n)
    low, high, p = _decisions(difference @ member, sizes, mean, systems, tiny, name, resamples)

    def square(upper: Array, lower: Array) -> Array:
        whole = np.full((m, m), np.nan)
        whole[first, second], whole[second, first] = upper, lower
        return whole

    def counts(upper: Counts) -> Counts:
        whole = np.zeros((m, m), dtype=np.int64)
        whole[first, second] = whole[second, first] = upper
        return whole

    less, more = ((both & side).sum(axis=1) for side in (difference < 0, difference > 0))
    tied = _ratio(n - less - more, n)
    return Paired(
        n=counts(n),
        n_systems=counts(systems),
        mean=square(mean, -mean),
        low=square(low, -high),
        high=square(high, -low),
        won=square(_ratio(less, n), _ratio(more, n)),
        tied=square(tied, tied),
        p=square(p, p),
    )


def _ratio(total: Array | Counts, count: Array | Counts) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / count, dtype=np.float64)


def _decisions(
    sums: Array, sizes: Array, mean: Array, systems: Counts, tiny: float, name: str, resamples: int
) -> tuple[Array, Array, Array]:
    """Intervals and adjusted p of P pairs.

    Args:
        sums: Differences summed over the scans of a system, (P, K).
        sizes: Number of these scans, (P, K).
        mean: Mean differences, (P,).
        systems: Systems of each pair, (P,).
        tiny: What counts as 0.
        name: What the seed derives from.
        resamples: R.
    """
    low, high, p = (np.full(len(mean), np.nan) for _ in range(3))
    asked = np.flatnonzero(systems >= LEAST_SYSTEMS)
    if not len(asked):
        return low, high, p
    weights = resample(sums.shape[1], f"paired {name}", resamples).astype(np.float64)
    drawn = _ratio(weights @ sums[asked].T, weights @ sizes[asked].T)  # (R, asked)
    few, centre = systems[asked], mean[asked]
    # a sample may hold no system of a pair
    error = np.nanstd(drawn, axis=0) * np.sqrt(few / (few - 1))
    margin = stats.t.isf((1 - LEVEL) / 2, few - 1) * error
    low[asked], high[asked] = centre - margin, centre + margin
    # a difference that is the same in all systems has no error: it is one, or none
    spread = error > tiny
    size = np.where(np.abs(centre) > tiny, np.inf, 0.0)
    size[spread] = np.abs(centre[spread]) / error[spread]
    # few systems have wider tails than bootstrap samples of them: t on the scale of a normal number
    size = stats.norm.isf(stats.t.sf(size, few - 1))
    if not spread.any():
        p[asked] = np.where(size > 0, 1 / (resamples + 1), 1.0)
        return low, high, p
    largest = np.nanmax(np.abs(drawn - centre)[:, spread] / error[spread], axis=1)
    reached = np.sort(largest)
    above = len(reached) - np.searchsorted(reached, size, side="left")
    p[asked] = (1 + above) / (1 + len(reached))
    return low, high, p
