"""Which models take part in what models share: those with a number for most of what was planned.

A model that lacks many scans takes them from the comparison of all others. So a model below the
entry threshold is listed, with the reason, and takes no part in what is shared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pesbench.core.section import ENTRY_COVERAGE
from pesbench.metrics.aggregate import ranks

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]

_ROUNDING = 1e-9  # of the product of a share and a number


def why_left_out(
    found: int, planned: int, least: float = ENTRY_COVERAGE, what: str = "scans scored"
) -> str:
    """Why a model takes no part in what models share; "" for one that does.

    The leaderboard, paired differences and the association ask here.

    Args:
        found: Number of scans, or trajectories, that the model has a number for.
        planned: Number of those that were planned for it.
        least: Smallest share of the planned ones, 0 to 1; a model with just this share takes part,
            one without any number never.
        what: What is counted, such as `scans with fsd_full`.
    """
    if found > 0 and found >= least * planned - _ROUNDING:
        return ""
    told = f"{found} of {planned} {what}"
    return f"{told}, below the entry threshold of {100 * least:.10g} %" if found else told


def lost_by(known: Mask, enters: Mask) -> Counts:
    """How many scans each model alone takes from what the others share, shape (M,).

    For a model that takes part, so many more would be shared without it; for one that does not, so
    many fewer with it. Of a scan that two models lack, neither is alone.

    Args:
        known: Whether a model has a number for a scan, shape (M, n).
        enters: Whether a model takes part, shape (M,).
    """
    lacking = (~known[enters]).sum(axis=0)  # models that take part and lack the scan, (n,)
    others = lacking[None, :] - (enters[:, None] & ~known)
    return ((others == 0) & ~known).sum(axis=1)


def ranks_with_and_without(values: Array, enters: Mask) -> tuple[Counts, Counts]:
    """Ranks of the models among the others when one model takes part, and when it does not.

    Only the scans that are shared change: what a model scores on a scan is its own. A model that
    takes part is left out; one that does not is added, unless it has no number at all.

    Args:
        values: Scores, lower is better, shape (M, n); NaN where a model has none.
        enters: Whether a model takes part, shape (M,).

    Returns:
        With and without model j, the rank of model i among those but j that take part, at [j, i],
        both of shape (M, M). 0 stands for no rank: i is j, takes no part, or no scan is shared.
    """
    m, known = len(values), np.isfinite(values)
    found = np.zeros((2, m, m), dtype=np.int64)
    for j in range(m):
        others = np.flatnonzero(enters & (np.arange(m) != j))
        without = known[others].all(axis=0)
        with_it = without & known[j] if known[j].any() else without
        for which, shared in enumerate((with_it, without)):
            if len(others) and shared.any():
                found[which, j, others] = ranks(values[others][:, shared])
    return found[0], found[1]
