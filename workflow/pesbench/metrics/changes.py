"""Whether a mean score of one model changed from one run to another, paired over rows.

Everything here is a pure function of arrays. The rows of one system are no independent witnesses,
so that errors are those of systems (cluster-robust), as the unit of resampling is elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pesbench.metrics.aggregate import LEVEL
from pesbench.metrics.paired import LEAST_SYSTEMS

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """Change of a mean, in the unit of the score.

    Attributes:
        n: Rows that have the score in both runs.
        n_systems: Systems of these.
        n_apart: Rows whose values differ by more than rounding.
        before: Mean in the first run.
        after: Mean in the second.
        mean: Mean of the differences, second minus first; differences within rounding are 0.
        low: Lower end of the interval of this mean; NaN with fewer than `LEAST_SYSTEMS` systems.
        high: Upper end.
        p: Of no change, for this score alone; NaN as `low`. 1 where no row differs.
    """

    n: int
    n_systems: int
    n_apart: int
    before: float
    after: float
    mean: float
    low: float
    high: float
    p: float


def mean_change(
    before: ArrayLike, after: ArrayLike, systems: Sequence[str], digits: float, level: float = LEVEL
) -> Change:
    """The change of a mean over rows, with an interval for the choice of systems.

    The error of the mean d of n differences is that of sums over K systems,
    s² = K/(K − 1) Σ_k (Σ_(i of k) (d_i − d))² / n², with Student's t for K − 1 degrees of freedom.

    Args:
        before: Scores of the first run, finite, shape (n,), n > 0.
        after: Those of the second, of the same rows.
        systems: System of each row.
        digits: Relative rounding; a row differs if its values do by more than this of the larger
            of them, or of 1.
        level: Probability that the interval is to hold.

    Raises:
        ValueError: there is no row, or a value is not finite.
    """
    a, b = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if not a.size or a.shape != b.shape or not np.isfinite(a).all() or not np.isfinite(b).all():
        raise ValueError("two finite values a row, and at least one row, are needed")
    difference = b - a
    limit = digits * np.maximum(1.0, np.maximum(np.abs(a), np.abs(b)))
    apart = np.abs(difference) > limit
    difference = np.where(apart, difference, 0.0)
    labels, index = np.unique(np.asarray(systems, dtype=str), return_inverse=True)
    n, k, mean = len(a), len(labels), float(difference.mean())
    told = Change(
        n, k, int(apart.sum()), float(a.mean()), float(b.mean()), mean, np.nan, np.nan, np.nan
    )
    if not apart.any():
        return Change(**(vars(told) | {"low": 0.0, "high": 0.0, "p": 1.0}))
    if k < LEAST_SYSTEMS:
        return told
    sums = np.bincount(index, weights=difference - mean)
    error = float(np.sqrt(k / (k - 1) * np.sum(sums**2))) / n
    margin = float(stats.t.isf((1 - level) / 2, k - 1)) * error
    if error > 1e-12 * np.abs(difference).max():
        p = float(2 * stats.t.sf(abs(mean) / error, k - 1))
    else:  # all rows changed by the same
        p = 0.0
    return Change(**(vars(told) | {"low": mean - margin, "high": mean + margin, "p": p}))


def holm(p: ArrayLike) -> Array:
    """P-values of several questions, adjusted so that all of them together hold (Holm 1979).

    Args:
        p: Of each question alone, shape (n,); NaN for one that was not decided, which counts for
            none.

    Returns:
        Shape (n,): a question whose value is at most 0.05 is answered, and in at most one of 20
        families of questions any answer is chance.
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted
