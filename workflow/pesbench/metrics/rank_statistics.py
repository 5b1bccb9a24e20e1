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
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control, rankdata

from pesbench.metrics.aggregate import LEVEL, resample, seed_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

EXACT_UP_TO = 8
PERMUTATIONS = 19_999
LEAST_POINTS = 3
_MOST_UNDEFINED = 0.5  # share of bootstrap draws
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
    values = np.atleast_2d(values)
    smaller = (values[..., None, :] < values[..., :, None]).astype(weights.dtype)
    smaller += 0.5 * (values[..., None, :] == values[..., :, None])
    if values.shape[-2] == 1:  # the same values in all samples
        ranks = weights @ np.swapaxes(smaller[..., 0, :, :], -1, -2)
    else:
        ranks = np.einsum("rij,rj->ri", smaller, weights)
    return ranks - weights.sum(axis=-1, keepdims=True) / 2


def weighted_spearman(x: Array, y: Array, z: Array | None, weights: Array) -> tuple[Array, Array]:
    """Spearman's ρ of x and y, and the partial one given z, in samples with repetitions.

    What `spearman` and `partial_spearman` give if every point is written down as often as it was
    drawn.

    Args:
        x: Shape (n,) or, for several sets of values, (..., 1, n); (R, n) where the values differ
            from sample to sample.
        y: As `x`.
        z: As `x`, or None.
        weights: How often each point was drawn, shape (R, n).

    Returns:
        Two arrays of shape (R,), or (..., R), NaN where not defined; the second is NaN throughout
        without z.
    """
    ranks = [_weighted_ranks(np.asarray(a), weights) for a in (x, y, z) if a is not None]
    weighted = [weights * rank for rank in ranks]

    def product(i: int, j: int) -> Array:
        return np.einsum("...n,...n->...", weighted[i], ranks[j])

    size = [product(i, i) for i in range(len(ranks))]

    def correlation(i: int, j: int) -> Array:
        below = np.sqrt(size[i] * size[j])
        defined = below > _TIE
        value = product(i, j) / np.where(defined, below, 1.0)
        return np.where(defined, np.clip(value, -1, 1), _NAN)

    xy = correlation(0, 1)
    if z is None:
        return xy, np.full_like(xy, _NAN)
    return xy, _partial(xy, correlation(0, 2), correlation(1, 2))


def explained(y: ArrayLike, groups: Sequence[str]) -> float:
    """Share of the variance of the ranks of y that the mean ranks of groups explain (R², η²).

    Args:
        y: Shape (n,).
        groups: Group of each value, such as the family of a variant, length n.

    Returns:
        0 to 1, in the sample itself; NaN if y is constant.
    """
    ranks = centred_ranks(y)
    _, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    mean = np.bincount(index, weights=ranks) / np.bincount(index)
    total = float(ranks @ ranks)
    return float((mean[index] ** 2).sum() / total) if total > _TIE else _NAN


def weighted_auroc(score: Array, failed: Mask, weights: Array) -> Array:
    """Probability that a case that failed scores higher than one that did not; ties count half.

    The area under the receiver operating characteristic, U/(n₁ n₀) of Mann and Whitney.

    Args:
        score: Shape (n,).
        failed: Shape (n,), bool.
        weights: How often each case was drawn, shape (R, n).

    Returns:
        Shape (R,): 0.5 for a score that knows nothing; NaN if all or none of those drawn failed.
    """
    event, other = weights[:, failed], weights[:, ~failed]
    higher = np.sign(score[failed][:, None] - score[~failed]) / 2 + 0.5
    below = event.sum(axis=1) * other.sum(axis=1)
    above = np.einsum("ri,ij,rj->r", event, higher, other, optimize=True)
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), _NAN)


def auroc(score: ArrayLike, failed: ArrayLike) -> float:
    """`weighted_auroc` of cases of which each counts once.

    Raises:
        ValueError: a score is NaN.
    """
    value, event = np.asarray(score, np.float64), np.asarray(failed, bool)
    if np.isnan(value).any():
        raise ValueError("a value is missing; select the scored rows first")
    return float(weighted_auroc(value, event, np.ones((1, value.size)))[0])


# --- permutations --------------------------------------------------------------------------------


def strata(families: Sequence[str]) -> Index:
    """Stratum of each variant, within which variants are exchangeable: its family.

    Families of a single variant are one stratum together: each of them is a draw of its own.

    Args:
        families: Family of each variant, length n.
    """
    _, index, size = np.unique(
        np.asarray(families, dtype=str), return_inverse=True, return_counts=True
    )
    return np.where(size[index] > 1, index, -1)


@lru_cache(maxsize=64)
def _permutations(of: tuple[int, ...], name: str, resamples: int) -> Index:
    """Orders that permute within strata: all of them if `_is_exact`, else drawn ones, (P, n)."""
    stratum = np.array(of)
    found = np.arange(len(of), dtype=np.intp)[None]
    generator = np.random.default_rng(seed_of(f"permutations {name}"))
    exact = _is_exact(of)
    if not exact:
        found = np.tile(found, (resamples, 1))
    for one in np.unique(stratum):
        place = np.flatnonzero(stratum == one)
        if exact:
            every = np.array(list(itertools.permutations(place)), dtype=np.intp)
            found = np.repeat(found, len(every), axis=0)
            found[:, place] = np.tile(every, (len(found) // len(every), 1))
        else:
            found[:, place] = generator.permuted(np.tile(place, (resamples, 1)), axis=1)
    found.flags.writeable = False
    return found


def _orders(of: Sequence[int]) -> int:
    return math.prod(math.factorial(count) for count in Counter(of).values())


def _is_exact(of: Sequence[int]) -> bool:
    return _orders(of) <= math.factorial(EXACT_UP_TO)


def smallest_p(families: Sequence[str], resamples: int = PERMUTATIONS) -> float:
    """The smallest two-sided `stratified_p` without ties: twice one over the number of orders.

    Args:
        families: Family of each variant.
        resamples: Permutations that are drawn where there are too many.
    """
    of = strata(families).tolist()
    one_sided = 1 / _orders(of) if _is_exact(of) else 1 / (resamples + 1)
    return min(1.0, 2 * one_sided)


def permutation_p(
    products: Array, of: Sequence[int], name: str, resamples: int = PERMUTATIONS
) -> Array:
    """Two-sided p of a sum of products, by permuting the second factor within strata.

    p is twice the smaller of the two tails, at most 1: of all permutations if these are at most 8!,
    else (b + 1)/(m + 1) with m drawn ones.

    Args:
        products: Product of value i of the one with value j of the other, shape (..., n, n).
        of: Stratum of each, length n.
        name: What the seed derives from.
        resamples: m.

    Returns:
        Shape (...); NaN if nothing can be exchanged.
    """
    exact, n = _is_exact(of), products.shape[-1]
    order = _permutations(tuple(of), "" if exact else name, resamples)
    if len(order) < 2:
        return np.full(products.shape[:-2], _NAN)
    drawn = sum(products[..., i, order[:, i]] for i in range(n))
    found = np.trace(products, axis1=-2, axis2=-1)[..., None]
    slack = _TIE * np.abs(products).sum(axis=(-2, -1))[..., None]
    extra = 0 if exact else 1  # the observed order is one of all
    tails = (drawn >= found - slack).sum(axis=-1), (drawn <= found + slack).sum(axis=-1)
    return np.minimum(1.0, 2 * (np.minimum(*tails) + extra) / (len(order) + extra))


def stratified_spearman(x: ArrayLike, y: ArrayLike, families: Sequence[str]) -> Array:
    """Correlation of what is left of the ranks of x and y within strata; what `stratified_p` tests.

    Args:
        x: Shape (..., n).
        y: Of the shape of `x`.
        families: Family of each variant, length n; see `strata`.

    Returns:
        Shape (...); NaN where x or y does not vary within any stratum, or n < 3.
    """
    _, index = np.unique(strata(families), return_inverse=True)
    member = (index[:, None] == np.arange(index.max() + 1)).astype(np.float64)
    mean = member / member.sum(axis=0) @ member.T
    ranks = [centred_ranks(values) for values in (x, y)]
    return _pearson_of_ranks(*(rank - rank @ mean for rank in ranks))


def stratified_p(
    x: ArrayLike, y: ArrayLike, families: Sequence[str], name: str, resamples: int = PERMUTATIONS
) -> Array:
    """Two-sided p of Spearman's ρ, by permuting variants within their families.

    What a whole family has in common, in x and in y, is kept in every permutation. Under the null
    hypothesis that within a family a variant's x tells nothing of its y the test is exact, however
    much variants of one family are alike.

    Args:
        x: Shape (..., n).
        y: Of the shape of `x`.
        families: Family of each variant, length n; see `strata`.
        name: What the seed derives from.
        resamples: Permutations that are drawn where there are too many.

    Returns:
        Shape (...); NaN where x or y is constant, n < 3, or nothing can be exchanged.

    Raises:
        ValueError: different shapes, or a value is NaN.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.shape != b.shape or a.shape[-1] != len(families):
        raise ValueError("x and y must have one value a variant")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a value is missing; select the scored rows first")
    rank_a, rank_b = centred_ranks(a), centred_ranks(b)
    if a.shape[-1] < LEAST_POINTS:
        return np.full(a.shape[:-1], _NAN)
    products = rank_a[..., :, None] * rank_b[..., None, :]
    p = permutation_p(products, strata(families).tolist(), name, resamples)
    return np.where(rank_a.any(axis=-1) & rank_b.any(axis=-1), p, _NAN)


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


def percentile_bounds(
    draws: Array, neutral: float = 0.0, level: float = LEVEL
) -> tuple[Array, Array]:
    """Ends of percentile intervals of bootstrap draws.

    A draw in which the statistic is not defined (a single model, all outcomes tied) shows nothing,
    and counts as the value that means nothing. If more than half of the draws are such, there is no
    interval.

    Args:
        draws: Shape (..., R).
        neutral: That value: 0 of a correlation, 0.5 of an AUROC.
        level: Probability the interval is to hold.

    Returns:
        Lower and upper ends, shape (...); NaN where there is no interval.
    """
    missing = np.isnan(draws)
    tails = [(1 - level) / 2, (1 + level) / 2]
    ends = np.quantile(np.where(missing, neutral, draws), tails, axis=-1)
    none = missing.mean(axis=-1) > _MOST_UNDEFINED
    return np.where(none, _NAN, ends[0]), np.where(none, _NAN, ends[1])


def percentile_interval(draws: Array, neutral: float = 0.0, level: float = LEVEL) -> Interval:
    """`percentile_bounds` of draws of shape (R,)."""
    low, high = percentile_bounds(draws, neutral, level)
    return Interval(float(low), float(high))


def draw_variants(families: Sequence[str], name: str, resamples: int) -> Array:
    """How often each variant is drawn, families first and then variants within them, (R, n).

    Each sample draws as many families as there are, with replacement, and for each of these as many
    of its variants as it has.

    Args:
        families: Family of each variant, length n.
        name: What the seed derives from.
        resamples: R.
    """
    labels, index = np.unique(np.asarray(families, dtype=str), return_inverse=True)
    times = resample(len(labels), f"{name} families", resamples)
    drawn = np.zeros((resamples, len(index)))
    for k, label in enumerate(labels):
        place = np.flatnonzero(index == k)
        generator = np.random.default_rng(seed_of(f"bootstrap {name} variants of {label}"))
        share = np.full(len(place), 1 / len(place))
        drawn[:, place] = generator.multinomial(times[:, k] * len(place), share)
    return drawn
