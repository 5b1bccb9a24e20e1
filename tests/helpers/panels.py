"""Panels of variants and molecules for tests of the association, without a table behind them."""

from __future__ import annotations

import numpy as np

from pesbench.compare.association.panel import TIME_LOST, Panel


def panel_of(x, y, families=None, failed=None, response=TIME_LOST) -> Panel:
    """Variants with one scan and one trajectory of each molecule.

    Args:
        x: Metric, shape (n, k): n variants, k molecules.
        y: Response, shape (n, k).
        families: Of the variants, length n; all of one if not given.
        failed: Whether a trajectory failed, shape (n, k); where y is above 0 if not given.
        response: Name of the response.
    """
    n, k = np.shape(x)
    return Panel(
        metric="fsd_full",
        response=response,
        expected=1,
        variants=tuple(f"v{i:02d}" for i in range(n)),
        families=("one",) * n if families is None else tuple(families),
        members=tuple((f"v{i:02d}",) for i in range(n)),
        scans=tuple(f"scan {s:02d}" for s in range(k)),
        systems=tuple(f"s{s:02d}" for s in range(k)),
        x_sum=np.asarray(x, float),
        x_count=np.ones(k, int),
        y_sum=np.asarray(y, float),
        y_count=np.ones(k, int),
        failed_sum=(np.asarray(y) > 0) * 1.0 if failed is None else failed,
        y_all_fail=None,
        y_all_survive=None,
        left_out={},
    )
