"""Pointwise interval of a survival curve, by the cluster bootstrap over molecules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pesbench.metrics.aggregate import LEVEL, resample
from pesbench.metrics.survival import exact_interval, survival_curve

Array = NDArray[np.float64]

RESAMPLES = 200  # of curves that are drawn; means have more


def share_alive(times_ps: ArrayLike, event: ArrayLike, at_ps: Array, horizon_ps: float) -> Array:
    """The survival curve at some times, shape (m,); arguments as `survival_curve`."""
    time, share = survival_curve(times_ps, event, horizon_ps)
    return share[np.searchsorted(time, at_ps, side="right") - 1]


def survival_band(
    times_ps: ArrayLike,
    event: ArrayLike,
    systems: Sequence[str],
    at_ps: Array,
    horizon_ps: float,
    name: str,
) -> tuple[Array, Array] | None:
    """Lower and upper end of the share alive at some times.

    All trajectories of a molecule are drawn together. After the start, where the bootstrap has no
    width, as while all live, it is `exact_interval`, with the molecules that are still observed as
    its trials. A curve never rises, so neither does its interval: of both the wider is taken.

    Args:
        times_ps: When each trajectory ended, shape (n,).
        event: Whether it failed then, shape (n,).
        systems: Molecule of each.
        at_ps: Times, ascending, shape (m,).
        horizon_ps: End of the curve.
        name: What the seed derives from.

    Returns:
        Both (m,); None for a single molecule, of which nothing can be drawn.
    """
    times, happened = np.asarray(times_ps, float), np.asarray(event, bool)
    labels, index = np.unique(np.asarray(systems, dtype=str), return_inverse=True)
    if len(labels) < 2:
        return None
    drawn = []
    for weight in resample(len(labels), name, RESAMPLES)[:, index]:
        k = np.repeat(np.arange(len(times)), weight)
        drawn.append(share_alive(times[k], happened[k], at_ps, horizon_ps))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    share = share_alive(times, happened, at_ps, horizon_ps)
    for k in np.flatnonzero((low == high) & (at_ps > 0)):
        observed = len(np.unique(index[happened | (times >= min(at_ps[k], horizon_ps) - 1e-9)]))
        low[k], high[k] = exact_interval(float(share[k]), observed)
    return np.minimum.accumulate(low), np.maximum.accumulate(high[::-1])[::-1]
