"""Differences of potentials that are one design choice apart, against the noise of training seeds.

A potential trained again with another seed has other scores. The standard deviation of that, pooled
over all potentials with two seeds or more, is the seed noise σ of a score; it is taken to be the
same for all potentials, those that were trained once among them. The mean of n_a seeds and that of
n_b differ by chance with the standard deviation σ √(1/n_a + 1/n_b). σ itself is known from few
seeds only, ν beyond the first of each potential, so a difference is within the noise up to t_ν
times that, t_ν the quantile of Student's distribution with ν degrees of freedom (Student's test of
two means, Biometrika 6, 1 (1908), with a pooled standard deviation): 2.78 at ν = 4, where the
normal distribution has 1.96.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95  # that a difference of chance alone is found within the noise
_EQUAL = 1e-12  # relative; what rounding alone makes of equal seeds


@dataclass(frozen=True)
class SeedNoise:
    """Noise between seeds of one potential.

    Attributes:
        sd: Standard deviation of a single seed, in the unit of the score; NaN if unknown.
        degrees_of_freedom: ν, the number of seeds beyond the first of each potential.
    """

    sd: float
    degrees_of_freedom: int


def seed_noise(groups: Iterable[ArrayLike]) -> SeedNoise:
    """The standard deviation of seeds, pooled: √(Σ_g Σ_k (x_gk − x̄_g)² / Σ_g (n_g − 1)).

    Args:
        groups: Scores of the seeds of each potential, shape (n_g,); those with one seed, or none,
            tell nothing and are passed over.

    Raises:
        ValueError: a score is not finite.
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a score is not finite; select the seeds that have one first")
    repeated = [array for array in arrays if array.size > 1]
    freedom = sum(array.size - 1 for array in repeated)
    if not freedom:
        return SeedNoise(float("nan"), 0)
    squares = sum(float(np.sum((array - array.mean()) ** 2)) for array in repeated)
    return SeedNoise(float(np.sqrt(squares / freedom)), freedom)


def of_a_share(noise: SeedNoise, value: float, n: int, *, whole: float = 1.0) -> SeedNoise:
    """The noise of a share of n, no less than √(p(1 − p)/n), that of n independent ones.

    Seeds whose shares are all 0 or all 1 do not differ, and say nothing of one between.

    Args:
        noise: Noise from the seeds.
        value: p times `whole`.
        n: Number of items of the share.
        whole: What a share of 1 is, such as the horizon of survival times, whose mean scatters at
            most like that of runs which all end at once or not at all.
    """
    share = min(max(value / whole, 0.0), 1.0)
    least = whole * float(np.sqrt(share * (1 - share) / n))
    return SeedNoise(float(np.maximum(noise.sd, least)), noise.degrees_of_freedom)


@functools.cache
def quantile(degrees_of_freedom: int) -> float:
    """t_ν: what |t| of Student's distribution does not exceed with probability `CONFIDENCE`.

    Args:
        degrees_of_freedom: ν.

    Returns:
        Without unit; NaN for ν = 0.
    """
    if degrees_of_freedom == 0:
        return float("nan")
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees_of_freedom))


@dataclass(frozen=True)
class Difference:
    """Difference between the means of two groups of seeds.

    Attributes:
        value: The one minus the other, in the unit of the score; NaN if either has no score.
        limit: What chance alone makes of it at most, with probability `CONFIDENCE`; NaN if unknown.
    """

    value: float
    limit: float

    @property
    def within_noise(self) -> bool | None:
        """Whether it is not above the limit; None if that, or the difference, is unknown."""
        if np.isnan(self.value) or np.isnan(self.limit):
            return None
        return bool(abs(self.value) <= self.limit)


def difference(one: ArrayLike, other: ArrayLike, noise: SeedNoise) -> Difference:
    """The difference of two potentials.

    Args:
        one: Scores of its seeds, shape (n_a,).
        other: Scores of the other's seeds, shape (n_b,).
        noise: Noise of this score.

    Raises:
        ValueError: a score is not finite.
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a score is not finite; select the seeds that have one first")
    if not a.size or not b.size:
        return Difference(float("nan"), float("nan"))
    value = float(a.mean() - b.mean())
    if abs(value) <= _EQUAL * max(float(np.abs(a).max()), float(np.abs(b).max())):
        value = 0.0
    chance = noise.sd * float(np.sqrt(1 / a.size + 1 / b.size))
    return Difference(value, quantile(noise.degrees_of_freedom) * chance)


class Finding(StrEnum):
    """Decision on a claim about the sign of a difference."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    WITHIN_NOISE = "within noise"
    UNDECIDED = "not decided"


def finding(found: Difference, expected: int) -> Finding:
    """Whether a difference has the sign that is claimed.

    Args:
        found: The difference.
        expected: +1 or −1.

    Raises:
        ValueError: another sign.
    """
    if expected not in (1, -1):
        raise ValueError(f"a claim is of +1 or -1, not of {expected!r}")
    if found.within_noise is None:
        return Finding.UNDECIDED
    if found.within_noise:
        return Finding.WITHIN_NOISE
    return Finding.HOLDS if found.value * expected > 0 else Finding.DOES_NOT_HOLD
