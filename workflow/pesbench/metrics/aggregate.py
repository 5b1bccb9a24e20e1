"""Means, intervals, ranks and equivalents of models from the scores of scans.

Everything here is a pure function of arrays. None of them passes over a NaN: a mean says how many
values it is of, so the caller selects the scored rows first and a NaN among them is an error.

The unit of resampling is the system (one molecule): the scans of one molecule share their
geometry and are drawn together (cluster bootstrap; Davison & Hinkley, Bootstrap Methods and their
Application, 1997, section 3.8).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95


def _scored(values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if not array.size:
        raise ValueError("nothing to average")
    if np.isnan(array).any():
        raise ValueError("a value is missing; select the scored rows first")
    return array


def mean(values: ArrayLike) -> float:
    """Arithmetic mean.

    Args:
        values: Scores of scans, any unit, shape (n,).

    Raises:
        ValueError: there is no value, or one is NaN.
    """
    return float(np.mean(_scored(values)))


def median(values: ArrayLike) -> float:
    """Median; arguments and errors as `mean`."""
    return float(np.median(_scored(values)))


def macro_mean(values: ArrayLike, groups: Sequence[str]) -> float:
    """Mean of the means of groups, so that every group counts the same.

    On BSCT-SPICE four of the nine bond types make 82 % of the plain mean.

    Args:
        values: Scores of scans, shape (n,).
        groups: Group of each, such as its bond type, length n.

    Raises:
        ValueError: there is no value, or one is NaN.
    """
    array = _scored(values)
    _, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return float(np.mean(np.bincount(index, weights=array) / np.bincount(index)))


def seed_of(name: str) -> NDArray[np.uint32]:
    """Seed of a random generator derived from a name, shape (8,); the same on every machine."""
    return np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype="<u4")


def resample(n_clusters: int, name: str, resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """How often each cluster is drawn in each bootstrap sample.

    Args:
        n_clusters: K.
        name: What the seed derives from.
        resamples: R.

    Returns:
        Counts, shape (R, K), each row summing to K.
    """
    generator = np.random.default_rng(seed_of(f"bootstrap {name}"))
    return generator.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=resamples)


def bootstrap_means(
    values: ArrayLike, clusters: Sequence[str], name: str, resamples: int = RESAMPLES
) -> Array:
    """Means of bootstrap samples of clusters, the same samples for every row of values.

    Args:
        values: Scores, shape (n,), or (M, n) of M models on the same scans.
        clusters: System of each scan, length n.
        name: What the seed derives from.
        resamples: R.

    Returns:
        Shape (R,), or (R, M).

    Raises:
        ValueError: there is no value, or one is NaN.
    """
    array = _scored(values)
    labels, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    member = np.zeros((array.shape[-1], len(labels)))
    member[np.arange(len(index)), index] = 1.0
    sums, sizes = array @ member, member.sum(axis=0)
    counts = resample(len(labels), name, resamples).astype(np.float64)
    totals = counts @ sizes
    return (counts @ sums.T) / (totals if array.ndim == 1 else totals[:, None])


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[str],
    name: str,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of the mean from a cluster bootstrap over systems.

    Args:
        values: Scores of scans, shape (n,).
        clusters: System of each scan, length n.
        name: What the seed derives from.
        resamples: Number of bootstrap samples.
        level: Probability the interval is to hold.

    Returns:
        Low and high in the unit of the scores; NaN for a single system, of which a bootstrap
        could only say that it equals itself.

    Raises:
        ValueError: there is no value, or one is NaN.
    """
    means = bootstrap_means(values, clusters, name, resamples)
    if len(set(clusters)) < 2:
        return float("nan"), float("nan")
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Ranks:
    """Ranks of M models by mean score, 1 the lowest; equal means share the better rank.

    Attributes:
        rank: Shape (M,), int64.
        low: Lower end of the interval, shape (M,); NaN for a single system.
        high: Upper end of the interval, shape (M,).
    """

    rank: NDArray[np.int64]
    low: Array
    high: Array


def ranks(values: ArrayLike) -> NDArray[np.int64]:
    """Ranks of models by mean score, 1 the lowest; equal means share the better rank.

    Args:
        values: Scores, lower is better, shape (M, n).

    Returns:
        Shape (M,).

    Raises:
        ValueError: there is no value, or one is NaN.
    """
    means = _scored(values).mean(axis=1)
    return _ranked(means)


def rank_intervals(
    values: ArrayLike,
    clusters: Sequence[str],
    name: str,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Ranks:
    """Ranks of models on the scans all of them share, with bootstrap intervals over systems.

    Every bootstrap sample draws the same systems for all models, so that what makes a system hard
    for all of them does not widen the intervals.

    Args:
        values: Scores, lower is better, shape (M, n).
        clusters: System of each scan, length n.
        name: What the seed derives from.
        resamples: Number of bootstrap samples.
        level: Probability the interval of one rank is to hold.

    Raises:
        ValueError: there is no value, or one is NaN.
    """
    array = _scored(values)
    rank = ranks(array)
    if len(set(clusters)) < 2:
        missing = np.full(len(rank), np.nan)
        return Ranks(rank, missing, missing.copy())
    means = bootstrap_means(array, clusters, name, resamples)
    resampled = _ranked(means)
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(resampled, tails, axis=0, method="inverted_cdf")
    return Ranks(rank, low, high)


def _ranked(means: Array) -> NDArray[np.int64]:
    """Ranks along the last axis, 1 the lowest; equal means share the better rank.

    Of means to 10 digits, so that the order of a summation does not part equal models.
    """
    from scipy.stats import rankdata  # a second, which page and explorer do not need

    scale = np.max(np.abs(means)) or 1.0
    return rankdata(np.round(means / scale, 10), method="min", axis=-1).astype(np.int64)


@dataclass(frozen=True)
class EquivalentDose:
    """The dose of a control that scores like a model.

    Attributes:
        dose: Dose in the unit of the ladder; its last usable dose when the score lies beyond.
        beyond: Whether the score is higher than the ladder reaches.
    """

    dose: float
    beyond: bool


def equivalent_dose(
    score: float, doses: ArrayLike, ladder_scores: ArrayLike, no_defect: float = 0.0
) -> EquivalentDose:
    """The dose at which a ladder of controls reaches a score.

    The ladder is taken as piecewise linear from (no_defect, 0) on, up to the first dose at which
    the score no longer rises: beyond it one score would have two doses.

    Args:
        score: Score of the model, not negative.
        doses: Doses of the controls, in any order, on one side of `no_defect`, shape (D,).
        ladder_scores: Scores of the controls, in the unit of `score`, shape (D,).
        no_defect: The dose at which the control is the reference.

    Raises:
        ValueError: there is no control, or a value is NaN.
    """
    dose, ladder = _scored(doses), _scored(ladder_scores)
    _scored([score])
    order = np.argsort(np.abs(dose - no_defect))
    x = np.concatenate([[no_defect], dose[order]])
    y = np.concatenate([[0.0], ladder[order]])
    falls = np.flatnonzero(np.diff(y) <= 0)
    usable = int(falls[0]) + 1 if len(falls) else len(y)
    x, y = x[:usable], y[:usable]
    return EquivalentDose(dose=float(np.interp(score, y, x)), beyond=bool(score > y[-1]))
