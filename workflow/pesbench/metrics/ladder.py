"""Differences of potentials that are one design choice apart, against the noise of training seeds.

A potential trained again with another seed has other scores. The standard deviation of that, pooled
over all potentials with two seeds or more, is the seed noise σ of a score; it is taken to be the
same for potentials that were trained once. The mean of n_a seeds and that of n_b differ by chance
with the standard deviation σ √(1/n_a + 1/n_b), and a difference that is not above twice that is
within the noise. Of few seeds σ itself is uncertain: with ν degrees of freedom by about 1/√(2ν).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

FACTOR = 2.0
_EQUAL = 1e-12  # relative; what rounding alone makes of equal seeds


@dataclass(frozen=True)
class SeedNoise:
    """How far seeds of one potential are apart.

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


@dataclass(frozen=True)
class Difference:
    """How far the mean of some seeds is from that of others.

    Attributes:
        value: The one minus the other, in the unit of the score; NaN if either has no score.
        limit: What chance alone may make of it, `FACTOR` standard deviations; NaN if unknown.
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
        noise: Of this score.

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
    return Difference(value, FACTOR * noise.sd * float(np.sqrt(1 / a.size + 1 / b.size)))


class Finding(StrEnum):
    """What a difference says of a claim about its sign."""

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
