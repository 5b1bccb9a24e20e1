"""How far descriptors of atoms are from normally distributed: skewness, kurtosis and a test.

Every column of the descriptors is taken by itself and within one element, because the elements of a
mixture have different means. The test is D'Agostino and Pearson's K² (Biometrika 60, 613 (1973)),
which joins skewness and kurtosis. It takes atoms for independent, and those of one trajectory are
not: its share of rejections compares potentials on the same frames, and is no probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEAST_ATOMS = 20  # of an element, below which K² is not to be trusted
LEVEL = 0.05
_CONSTANT = 1e-9  # relative standard deviation of what rounding alone moves


@dataclass(frozen=True)
class Gaussianity:
    """Moments of descriptors; a column counts once for every element.

    Attributes:
        columns: Number of columns that are looked at, over the elements.
        constant: Columns that do not vary, and are not looked at.
        skewness: Median of |g₁|, g₁ = m₃/m₂^(3/2); 0 of a normal distribution.
        excess_kurtosis: Median of g₂ = m₄/m₂² − 3; 0 of a normal distribution.
        distance: Median of √(g₁² + g₂²/4), which vanishes only if both do.
        rejected: Share of the columns of which K² rejects normality at the level of 5 %.
    """

    columns: int
    constant: int
    skewness: float
    excess_kurtosis: float
    distance: float
    rejected: float


def gaussianity(values: NDArray[np.float64], numbers: NDArray[np.int64]) -> Gaussianity:
    """Moments and test of descriptors.

    Args:
        values: Descriptors, any unit, shape (A, D).
        numbers: Atomic numbers, shape (A,). Elements with fewer than 20 atoms are left out.

    Raises:
        ValueError: a value is not finite, or no column is left to look at.
    """
    values = np.asarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a descriptor is not finite")
    first, second, p = [], [], []
    constant = 0
    for number in np.unique(numbers):
        own = values[numbers == number]
        if len(own) < LEAST_ATOMS:
            continue
        size = np.maximum(np.abs(own).max(axis=0), np.finfo(np.float64).tiny)
        varies = own.std(axis=0) > _CONSTANT * size
        constant += int((~varies).sum())
        if varies.any():
            own = own[:, varies]
            first.append(stats.skew(own))
            second.append(stats.kurtosis(own))
            p.append(stats.normaltest(own).pvalue)
    if not first:
        raise ValueError(f"no element has {LEAST_ATOMS} atoms whose descriptors vary")
    g1, g2 = np.concatenate(first), np.concatenate(second)
    return Gaussianity(
        columns=len(g1),
        constant=constant,
        skewness=float(np.median(np.abs(g1))),
        excess_kurtosis=float(np.median(g2)),
        distance=float(np.median(np.hypot(g1, g2 / 2))),
        rejected=float((np.concatenate(p) < LEVEL).mean()),
    )
