"""Whether the scores of one model are the same in two runs: row by row, and where chaos decides.

Both runs have the same molecules, so that the choice of molecules is no noise of the question.
Everything here is a pure function of arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def apart(before: ArrayLike, after: ArrayLike, digits: float, tolerance: float = 0.0) -> Mask:
    """Which rows differ by more than rounding.

    Args:
        before: Scores of the first run, shape (n,); NaN where there is none.
        after: Those of the second, of the same rows.
        digits: Relative rounding, of the larger of the two values, or of 1.
        tolerance: What a value may drift by, relative to the larger of the two.

    Returns:
        Shape (n,). A number differs from a missing one, and two missing ones do not differ.
    """
    a, b = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    size = np.where(finite, np.maximum(np.abs(a), np.abs(b)), 0.0)
    limit = np.maximum(digits * np.maximum(1.0, size), tolerance * size)
    far = np.abs(np.subtract(b, a, where=finite, out=np.zeros_like(a))) > limit
    return np.where(finite, far, (a != b) & ~(np.isnan(a) & np.isnan(b)))


def mcnemar(rise: int, fall: int) -> float:
    """P of two runs of one process, of which some pairs of outcomes differ (exact; McNemar 1947).

    By chance alone a pair that differs does so either way with probability 1/2.

    Args:
        rise: Pairs whose value is larger in the second run.
        fall: Pairs whose value is larger in the first.
    """
    return float(stats.binomtest(rise, rise + fall).pvalue) if rise + fall else 1.0


def signed_rank(change: ArrayLike) -> float:
    """P of two runs of one process, of which pairs of values differ (Wilcoxon 1945).

    By chance alone a difference is as often positive as negative, whatever its size. Unlike
    `mcnemar`, this sees that the large ones have one sign. It is exact up to 50 differences of
    unequal size.

    Args:
        change: Differences of the pairs that differ, second minus first, not NaN, shape (n,).
    """
    values = np.asarray(change, dtype=np.float64)
    if not values.size:
        return 1.0
    # no test of n signs can say more than that all are the same
    return max(float(stats.wilcoxon(values).pvalue), mcnemar(len(values), 0))


def holm(p: ArrayLike) -> Array:
    """P-values of several questions, adjusted so that all of them together hold (Holm 1979).

    Args:
        p: Of each question alone, shape (n,).

    Returns:
        Shape (n,): a question whose value is at most 0.05 is answered, and in at most one of 20
        families of questions any answer is chance.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
