"""What is read of an injected degree: R², R²_inj, ρ, and the cliff with its interval.

The definitions are ours; those of the paper (arXiv:2605.08286) are not public in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]

LEAST_RHO = 0.01  # below it, a ρ is taken as this: the cliff is then a lower bound
DRAWS = 2000
LEVEL = 0.95
FEWEST_BACKBONES = 4  # below which the interval of a cliff is too narrow
READABLE = 0.5  # a degree is called readable from this R² on


def r2(predicted: Array, target: Array, centre: Array | float) -> float:
    """1 − Σ(ŷ − y)²/Σ(y − ȳ)², where Σ goes over frames and, if there are several, targets.

    Args:
        predicted: Predicted values, shape (S,) or (S, T).
        target: True values, in the same shape.
        centre: ȳ of each target, the mean over the frames that were trained on; below 0 stands
            what is worse than that mean.

    Returns:
        NaN where the target does not vary.
    """
    total = float(((target - centre) ** 2).sum())
    return 1.0 - float(((predicted - target) ** 2).sum()) / total if total > 0 else float("nan")


@dataclass(frozen=True)
class Gains:
    """How much a readout gains over a blind one, by group of test frames.

    Attributes:
        gain: Σ of squared errors of the blind readout less that of the readout, shape (G,).
        oracle: The same of the readout that is given the injected harmonics, shape (G,).
    """

    gain: Array
    oracle: Array

    @property
    def rho(self) -> float:
        """Σ gain / Σ oracle; NaN where the oracle gains nothing."""
        return ratio(self.gain.sum(), self.oracle.sum())


def ratio(gain: float, oracle: float) -> float:
    """ρ of summed gains."""
    return float(gain / oracle) if oracle > 0 else float("nan")


def gains(target: Array, blind: Array, predicted: Array, oracle: Array, groups: Index) -> Gains:
    """The gains of a readout by group.

    Args:
        target: Total target, shape (S,), or targets (S, T), whose squares are added up.
        blind: Prediction of the readout that was fitted without the injection.
        predicted: Prediction of the readout under test.
        oracle: Prediction of the readout that is given what is injected.
        groups: Group of each sample, shape (S,).
    """
    names, place = np.unique(groups, return_inverse=True)
    errors = [
        np.bincount(
            place,
            weights=((some - target) ** 2).reshape(len(place), -1).sum(axis=1),
            minlength=len(names),
        )
        for some in (blind, predicted, oracle)
    ]
    return Gains(errors[0] - errors[1], errors[0] - errors[2])


@dataclass(frozen=True)
class Cliff:
    """The drop of ρ at the boundary dL.

    Attributes:
        at: ρ(dL).
        above: ρ(dL + 1).
        ratio: ρ(dL) over ρ(dL + 1), the latter at least `LEAST_RHO`.
        bound: Whether it is a lower bound, since ρ(dL + 1) is below `LEAST_RHO`.
        low, high: Interval of the ratio; high is infinite where draws reach that floor.
        difference: ρ(dL) − ρ(dL + 1).
        difference_low, difference_high: Its interval.
        backbones, groups: Number of backbones, and of groups of test frames.
    """

    at: float
    above: float
    ratio: float
    bound: bool
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    backbones: int
    groups: int


def cliff(at: Sequence[Gains], above: Sequence[Gains], seed: int = 0) -> Cliff:
    """The cliff over backbones of one kind, with a hierarchical bootstrap.

    A draw takes backbones with replacement and groups of test frames with replacement. The groups
    of a draw are the same for all backbones and both degrees, since all backbones are asked about
    the same conformers. With one backbone the interval holds for that one alone.

    Args:
        at: Gains at degree dL, one a backbone, all of the same groups.
        above: Gains at degree dL + 1, in the same order and with the same groups.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    parts = np.array(
        [[a.gain, a.oracle, b.gain, b.oracle] for a, b in zip(at, above, strict=True)]
    )  # backbones, 4, groups
    of_backbones, _, of_groups = (
        rng.multinomial(count, np.full(count, 1 / count), size=DRAWS) for count in parts.shape
    )
    drawn = np.einsum("db,bkg,dg->dk", of_backbones, parts, of_groups)
    first, second = (ratio(*pair) for pair in np.split(parts.sum(axis=(0, 2)), 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        rho_at, rho_above = drawn[:, 0] / drawn[:, 1], drawn[:, 2] / drawn[:, 3]
    edges = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    ratios = rho_at / np.maximum(rho_above, LEAST_RHO)
    low, high = np.nanpercentile(ratios, edges)
    if (rho_above < LEAST_RHO).mean() > (1 - LEVEL) / 2:
        high = np.inf
    from_, to = np.nanpercentile(rho_at - rho_above, edges)
    return Cliff(
        at=first,
        above=second,
        ratio=first / max(second, LEAST_RHO),
        bound=bool(second < LEAST_RHO),
        low=float(low),
        high=float(high),
        difference=first - second,
        difference_low=float(from_),
        difference_high=float(to),
        backbones=len(at),
        groups=parts.shape[2],
    )


def readable_up_to(r2_by_degree: Sequence[float]) -> int:
    """The highest degree ℓ up to which every degree from 1 has an R² of at least `READABLE`.

    Args:
        r2_by_degree: R² of the degrees 0, 1, 2, ...; that of degree 0, a constant, does not count.

    Returns:
        0 where not even degree 1 is readable.
    """
    found = 0
    for degree in range(1, len(r2_by_degree)):
        if not r2_by_degree[degree] >= READABLE:
            break
        found = degree
    return found
