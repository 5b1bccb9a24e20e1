"""Rank statistics of few models: correlations, permutation p-values, bootstrap intervals, AUROC.

Pure functions of arrays. NaN stands for "not defined" (a constant, fewer than three values), never
for 0. Seeds derive from names, as in `pesbench.metrics.aggregate`.

Sources: Davison & Hinkley, Bootstrap Methods and their Application (1997), chapters 3 and 4; Owen,
Ann. Appl. Stat. 1, 386 (2007) for the two-way bootstrap; Phipson & Smyth, Stat. Appl. Genet. Mol.
Biol. 9, 39 (2010) for p-values of drawn permutations; Benjamini & Hochberg, J. R. Stat. Soc. B 57,
289 (1995).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control, rankdata

from pesbench.metrics.aggregate import LEVEL, seed_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]

EXACT_UP_TO = 8
PERMUTATIONS = 19_999
LEAST_POINTS = 3
_NAN = float("nan")
_TIE = 1e-9  # sums of the same ranks in another order differ by rounding


# --- correlations --------------------------------------------------------------------------------


def rounded(means: Array) -> Array:
    """Means to 10 digits of the largest of the last axis.

    So that the order of a summation does not part models that are equal.
    """
    if not means.size:
        return means
    scale = np.max(np.abs(means), axis=-1, keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    return np.round(means / scale, 10) * scale


def centred_ranks(values: ArrayLike) -> Array:
    """Ranks along the last axis, ties sharing their mean rank, minus the mean rank (n + 1)/2."""
    array = np.asarray(values, dtype=np.float64)
    return rankdata(array, axis=-1) - (array.shape[-1] + 1) / 2


def _pearson_of_ranks(x: Array, y: Array) -> Array:
    above = (x * y).sum(axis=-1)
    below = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    defined = (below > _TIE) & (x.shape[-1] >= LEAST_POINTS)
    return np.where(defined, np.clip(above / np.where(defined, below, 1.0), -1.0, 1.0), _NAN)


def spearman(x: ArrayLike, y: ArrayLike) -> Array:
    """Spearman's ρ along the last axis: Pearson's correlation of mean ranks.

    Args:
        x: Shape (..., n).
        y: A shape that broadcasts with it.

    Returns:
        Shape (...); NaN where x or y is constant or n < 3, two points being on a line anyway.

    Raises:
        ValueError: a value is NaN.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a value is missing; select the scored rows first")
    return _pearson_of_ranks(centred_ranks(a), centred_ranks(b))


def partial_spearman(x: ArrayLike, y: ArrayLike, z: ArrayLike) -> Array:
    """Partial rank correlation of x and y given z, along the last axis.

    (ρ_xy − ρ_xz ρ_yz) / √((1 − ρ_xz²)(1 − ρ_yz²)), the correlation of what is left of the ranks of
    x and y once each is regressed on the ranks of z.

    Args:
        x: Shape (..., n).
        y: Shape (..., n).
        z: Shape (..., n).

    Returns:
        Shape (...); NaN where a correlation is not defined, x or y has the order of z or its
        reverse, or n < 4.

    Raises:
        ValueError: a value is NaN.
    """
    enough = np.asarray(x).shape[-1] > LEAST_POINTS
    value = _partial(spearman(x, y), spearman(x, z), spearman(y, z))
    return value if enough else np.full_like(value, _NAN)


def _partial(xy: Array, xz: Array, yz: Array) -> Array:
    below = (1 - xz**2) * (1 - yz**2)
    defined = below > _TIE
    value = (xy - xz * yz) / np.sqrt(np.where(defined, below, 1.0))
    return np.where(defined, np.clip(value, -1.0, 1.0), _NAN)


def _weighted_ranks(values: Array, weights: Array) -> Array:
    """Centred mean ranks of n values of which value i occurs weights[..., i] times."""
    group, inverse = np.unique(values, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    first = np.searchsorted(inverse[order], np.arange(len(group)))
    of_group = np.add.reduceat(weights[..., order], first, axis=-1)
    upto = np.cumsum(of_group, axis=-1)
    return (upto - of_group / 2 - upto[..., -1:] / 2)[..., inverse]


def weighted_spearman(x: Array, y: Array, z: Array | None, weights: Array) -> tuple[Array, Array]:
    """Spearman's ρ of x and y, and the partial one given z, in samples with repetitions.

    What `spearman` and `partial_spearman` give if every point is written down as often as it was
    drawn, but sorted only once for all samples.

    Args:
        x: Shape (n,).
        y: Shape (n,).
        z: Shape (n,) or None.
        weights: How often each point was drawn, shape (R, n).

    Returns:
        Two arrays of shape (R,), NaN where not defined; the second is NaN throughout without z.
    """
    ranks = [_weighted_ranks(np.asarray(a), weights) for a in (x, y, z) if a is not None]
    size = [np.einsum("rn,rn,rn->r", weights, a, a) for a in ranks]

    def correlation(i: int, j: int) -> Array:
        below = np.sqrt(size[i] * size[j])
        defined = below > _TIE
        value = np.einsum("rn,rn,rn->r", weights, ranks[i], ranks[j])
        return np.where(defined, np.clip(value / np.where(defined, below, 1.0), -1, 1), _NAN)

    xy = correlation(0, 1)
    if z is None:
        return xy, np.full_like(xy, _NAN)
    return xy, _partial(xy, correlation(0, 2), correlation(1, 2))


def auroc(score: ArrayLike, failed: ArrayLike) -> float:
    """Probability that a case that failed scores higher than one that did not; ties count half.

    The area under the receiver operating characteristic, U/(n₁ n₀) of Mann and Whitney.

    Args:
        score: Shape (n,).
        failed: Shape (n,), bool.

    Returns:
        0.5 for a score that knows nothing; NaN if all or none failed.

    Raises:
        ValueError: a score is NaN.
    """
    value, event = np.asarray(score, np.float64), np.asarray(failed, bool)
    if np.isnan(value).any():
        raise ValueError("a value is missing; select the scored rows first")
    n1 = int(event.sum())
    n0 = event.size - n1
    if not n1 or not n0:
        return _NAN
    return float((rankdata(value)[event].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


# --- permutations --------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _permutations(n: int, name: str, resamples: int) -> Index:
    if n <= EXACT_UP_TO:
        found = np.array(list(itertools.permutations(range(n))), dtype=np.intp)
    else:
        generator = np.random.default_rng(seed_of(f"permutations {name}"))
        found = generator.permuted(np.tile(np.arange(n), (resamples, 1)), axis=1)
    found.flags.writeable = False
    return found


def smallest_p(n: int, resamples: int = PERMUTATIONS) -> float:
    """The smallest two-sided p that n models without ties can reach: 2/n!, 0.083 at n = 4.

    Args:
        n: Models.
        resamples: Permutations that are drawn beyond `EXACT_UP_TO` models.
    """
    one_sided = 1 / math.factorial(n) if n <= EXACT_UP_TO else 1 / (resamples + 1)
    return min(1.0, 2 * one_sided)


def block_permutation_p(
    x: ArrayLike, y: ArrayLike, name: str, resamples: int = PERMUTATIONS
) -> float:
    """Two-sided p of Spearman's ρ over all (model, system) pairs, by permuting whole models.

    The rows of y, a model's values on all systems, are dealt out anew to the rows of x. Under the
    null hypothesis that a model's x tells nothing of its y the rows are exchangeable, however much
    the systems of one model, or one system under all models, have in common. p is twice the smaller
    of the two tails, at most 1: all n! permutations up to n = 8, beyond it (b + 1)/(m + 1) with m
    drawn ones. With one system it is the permutation test of n points.

    Args:
        x: Shape (n,) or (n, S), n models on the same S systems.
        y: Responses, of the shape of `x`.
        name: What the seed derives from.
        resamples: m.

    Returns:
        NaN if x or y is constant or n < 3.

    Raises:
        ValueError: different shapes, or a value is NaN.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.shape != b.shape or a.ndim not in (1, 2):
        raise ValueError("x and y must have one row a model and the same systems")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a value is missing; select the scored rows first")
    n = len(a)
    rank_a = centred_ranks(a.ravel()).reshape(n, -1)
    rank_b = centred_ranks(b.ravel()).reshape(n, -1)
    if n < LEAST_POINTS or not rank_a.any() or not rank_b.any():
        return _NAN
    products = rank_a @ rank_b.T
    order = _permutations(n, name if n > EXACT_UP_TO else "", resamples)
    drawn = products[np.arange(n), order].sum(axis=1)
    found = np.trace(products)
    slack = _TIE * np.abs(products).sum()
    extra = 0 if n <= EXACT_UP_TO else 1  # the observed order is one of the permutations
    tails = [np.count_nonzero(drawn >= found - slack), np.count_nonzero(drawn <= found + slack)]
    return float(min(1.0, 2 * (min(tails) + extra) / (len(drawn) + extra)))


def adjusted(p: ArrayLike) -> Array:
    """Benjamini–Hochberg adjusted p-values: p₍ᵢ₎ → min over j ≥ i of p₍ⱼ₎ m/j.

    Args:
        p: Shape (k,); NaN where there was no test, which is not counted in m.

    Returns:
        Shape (k,), NaN where p is.
    """
    value = np.asarray(p, np.float64)
    tested = ~np.isnan(value)
    result = np.full(value.shape, _NAN)
    if tested.any():
        result[tested] = false_discovery_control(value[tested], method="bh")
    return result


# --- bootstrap -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A percentile interval; both ends NaN if there is none.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float = _NAN
    high: float = _NAN

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside; False if there is no interval."""
        return self.low > value or self.high < value


def percentile_interval(draws: Array, level: float = LEVEL) -> Interval:
    """Percentile interval of bootstrap draws.

    Draws in which the statistic is not defined (a single model, all outcomes tied) are left out.
    If they are more than 1 − level of all, what is left does not stand for them: no interval.

    Args:
        draws: Shape (R,).
        level: Probability the interval is to hold.
    """
    defined = draws[~np.isnan(draws)]
    if len(defined) < level * len(draws):
        return Interval()
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def draw(n: int, name: str, resamples: int) -> Index:
    """Indices drawn with replacement, shape (resamples, n), each below n.

    Args:
        n: Things to draw from.
        name: What the seed derives from.
        resamples: R.
    """
    generator = np.random.default_rng(seed_of(f"bootstrap {name}"))
    return generator.integers(n, size=(resamples, n))
