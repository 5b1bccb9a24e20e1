"""Readouts of frozen features: polynomials and random units under a ridge regression."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SAMPLES_A_COLUMN = 5  # at least so many frames to train on for each column of a readout
MOST_CHANNELS = 8
STRENGTHS = np.logspace(-10, 4, 15)  # of the ridge, relative to the mean square of the columns
INNER_SHARE = 4  # one group of so many is left out to choose the strength
ROUNDING = 1e-11  # of a variance, relative to the mean square
UNIT_SCALE = 1.5  # standard deviation of what a random unit sees

Block = tuple[int, Array]  # degree l, and features of shape (S, channels, 2l + 1)


def blocks_of(features: Array, irreps: Sequence[tuple[int, int]], l_max: int) -> list[Block]:
    """Features by their degree l; blocks of one degree (of either parity) share their channels.

    Args:
        features: Shape (S, Σ channels·(2l + 1)), the columns of a block by channel, then by m.
        irreps: Channels and degree of each block, in the order of the columns.
        l_max: Blocks of a higher degree are left out.
    """
    found: dict[int, list[Array]] = {}
    start = 0
    for channels, degree in irreps:
        end = start + channels * (2 * degree + 1)
        block = features[:, start:end].reshape(len(features), channels, 2 * degree + 1)
        if degree <= l_max:
            found.setdefault(degree, []).append(block)
        start = end
    return [(degree, np.concatenate(found[degree], axis=1)) for degree in sorted(found)]


@dataclass(frozen=True)
class Mixing:
    """A linear map of each block to fewer channels, the same for all m, fitted to some frames.

    Since all components m of a channel are mixed and scaled alike, and nothing is subtracted from
    them unless l = 0, the result turns with the molecule as the features do.

    Attributes:
        means: Mean of each block with l = 0, shape (channels, 1); zeros for the others.
        maps: Shape (channels, kept) for each block.
    """

    means: tuple[Array, ...]
    maps: tuple[Array, ...]

    @classmethod
    def fit(cls, blocks: Sequence[Block], channels: int) -> Mixing:
        """Principal components over the channels, each scaled to the mean variance 1.

        Args:
            blocks: Of the frames that are trained on.
            channels: Components kept of each block, or all that vary if there are fewer.
        """
        means, maps = [], []
        for degree, block in blocks:
            mean = block.mean(axis=0)
            rest = block - mean
            covariance = np.einsum("sam,sbm->ab", rest, rest) / (len(block) * block.shape[2])
            sizes, vectors = np.linalg.eigh(covariance)
            order = np.argsort(sizes)[::-1][:channels]
            # what varies by no more than the rounding of float32 is constant
            kept = order[sizes[order] > ROUNDING * (block**2).mean()]
            means.append(mean if degree == 0 else np.zeros_like(mean))
            maps.append(vectors[:, kept] / np.sqrt(sizes[kept]))
        return cls(tuple(means), tuple(maps))

    def apply(self, blocks: Sequence[Block]) -> list[Block]:
        """The reduced blocks."""
        parts = zip(blocks, self.means, self.maps, strict=True)
        return [
            (degree, np.einsum("sam,ak->skm", block - mean, matrix))
            for (degree, block), mean, matrix in parts
        ]


def n_monomials(n_features: int, degree: int) -> int:
    """How many monomials of degree 1 to `degree` there are of some features."""
    return math.comb(n_features + degree, degree) - 1


def n_invariants(channels: Mapping[int, int], degree: int) -> int:
    """How many columns `invariants` has for channels by degree l, at most."""
    powers = sum(n * (n + 1) // 2 for one, n in channels.items() if one > 0)
    return n_monomials(channels.get(0, 0), degree) + (powers if degree == 2 else 0)


def channels_for(
    irreps: Sequence[tuple[int, int]],
    columns: Callable[[Mapping[int, int]], int],
    n_samples: int,
    most: int = MOST_CHANNELS,
) -> int:
    """The channels of each degree that a readout may have, from 1 to `most`.

    Args:
        irreps: Channels and degree l of each block, of the degrees that are used.
        columns: How many columns the readout of some channels by degree l has.
        n_samples: Frames that are trained on; each column needs `SAMPLES_A_COLUMN` of them.
        most: Channels that are wanted.

    Returns:
        0 where not even one channel of each degree has enough frames.
    """
    held = Counter[int]()
    for channels, degree in irreps:
        held[degree] += channels
    for count in range(most, 0, -1):
        kept = {degree: min(count, channels) for degree, channels in held.items()}
        if SAMPLES_A_COLUMN * columns(kept) <= n_samples:
            return count
    return 0


def flat(blocks: Sequence[Block]) -> Array:
    """All components side by side, shape (S, Σ channels·(2l + 1))."""
    return np.concatenate([block.reshape(len(block), -1) for _, block in blocks], axis=1)


def monomials(features: Array, degree: int) -> Array:
    """All monomials of degree 1 to `degree`, shape (S, `n_monomials`)."""
    _, width = features.shape
    parts = []
    for total in range(1, degree + 1):
        index = np.array(list(combinations_with_replacement(range(width), total)), dtype=np.int64)
        index = index.reshape(-1, total)  # also where there is no feature
        parts.append(np.prod(features[:, index], axis=2))
    return np.concatenate(parts, axis=1)


def invariants(blocks: Sequence[Block], degree: int) -> Array:
    """Rotation-invariant polynomials of degree 1 or 2 of the features of one atom.

    Scalars; of degree 2 their products, and for each l the scalar products of two channels (the
    power spectrum).

    Args:
        blocks: Reduced features.
        degree: 1 or 2.
    """
    scalars = [block[:, :, 0] for one, block in blocks if one == 0]
    parts = [monomials(some, degree) for some in scalars if some.shape[1]]
    if degree == 2:
        for one, block in blocks:
            if one > 0:
                products = np.einsum("sam,sbm->sab", block, block)
                rows, columns = np.triu_indices(block.shape[1])
                parts.append(products[:, rows, columns])
    count = len(blocks[0][1])
    return np.concatenate(parts, axis=1) if parts else np.empty((count, 0))


def random_units(features: Array, width: int, activation: str, seed: int = 0) -> Array:
    """Random hidden units, whose readout is fitted: a layer of a network with fixed input weights.

    Args:
        features: Scaled to the variance 1, shape (S, P).
        width: Number of units.
        activation: `square` (a polynomial of degree 2) or `silu` (x/(1 + e^−x), no polynomial).
        seed: Of the weights.

    Returns:
        Shape (S, width).
    """
    rng = np.random.default_rng(seed)
    size = UNIT_SCALE / math.sqrt(max(1, features.shape[1]))
    weights = rng.standard_normal((features.shape[1], width)) * size
    seen = features @ weights + rng.standard_normal(width)
    if activation == "square":
        return seen**2
    with np.errstate(over="ignore"):
        return seen / (1.0 + np.exp(-seen))


@dataclass(frozen=True)
class Ridge:
    """A fitted linear readout with an offset.

    Attributes:
        centre, scale: Of the columns, shape (K,).
        weights: Shape (K, T).
        offsets: Shape (T,).
        strengths: Chosen strength of each target, relative to the mean square of the columns.
    """

    centre: Array
    scale: Array
    weights: Array
    offsets: Array
    strengths: Array

    def predict(self, columns: Array) -> Array:
        """Predicted targets, shape (S, T)."""
        return ((columns - self.centre) / self.scale) @ self.weights + self.offsets


def fit_ridge(
    columns: Array,
    targets: Array,
    groups: Index,
    *,
    kinds: Index | None = None,
    strengths: Array | None = None,
) -> Ridge:
    """Fit a ridge regression whose strength an inner validation chooses for each kind of target.

    One group in `INNER_SHARE` is left out, the strength with the least error on it is taken, and
    all groups are fitted with that.

    Args:
        columns: Shape (S, K).
        targets: Shape (S, T).
        groups: Group of each sample, such as its conformer, shape (S,): a group is left out whole.
        kinds: Kind of each target, shape (T,); by default each is a kind of its own.
        strengths: One a target, shape (T,), instead of the inner validation.

    Raises:
        ValueError: a number is not finite, or there are fewer than two groups to choose with.
    """
    if not (np.isfinite(columns).all() and np.isfinite(targets).all()):
        raise ValueError("a feature or a target is not finite")
    if strengths is None:
        kinds = np.arange(targets.shape[1]) if kinds is None else kinds
        names = np.unique(groups)
        if len(names) < 2:
            raise ValueError("the inner validation needs at least two groups")
        left_out = np.isin(groups, names[:: min(INNER_SHARE, len(names))])
        inner = _Solver(columns[~left_out], targets[~left_out])
        errors = np.array(
            [((inner.at(np.full(targets.shape[1], one)).predict(columns[left_out])
               - targets[left_out]) ** 2).mean(axis=0)
             for one in STRENGTHS]
        )  # fmt: skip
        of_kind = np.array([errors[:, kinds == one].sum(axis=1) for one in kinds])
        strengths = STRENGTHS[of_kind.argmin(axis=1)]
    return _Solver(columns, targets).at(strengths)


class _Solver:
    """The eigenvectors of a Gram matrix, which serve all strengths."""

    def __init__(self, columns: Array, targets: Array) -> None:
        self._centre = columns.mean(axis=0)
        scale = columns.std(axis=0)
        self._scale = np.where(scale > 1e-12 * max(scale.max(initial=0.0), 1e-300), scale, np.inf)
        scaled = (columns - self._centre) / self._scale
        self._offsets = targets.mean(axis=0)
        self._sizes, self._vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
        moments = scaled.T @ (targets - self._offsets) / len(scaled)
        self._projected = self._vectors.T @ moments

    def at(self, strengths: Array) -> Ridge:
        damped = np.maximum(self._sizes, 0.0)[:, None] + strengths
        weights = self._vectors @ (self._projected / damped)
        return Ridge(self._centre, self._scale, weights, self._offsets, strengths)
