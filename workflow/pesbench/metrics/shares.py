"""Shares of rows that pass a test, with an interval over molecules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import beta

from pesbench.metrics.aggregate import LEVEL
from pesbench.metrics.board import scored_values


@dataclass(frozen=True)
class Share:
    """Rows that pass a test.

    Attributes:
        passed: Their number.
        n: Rows that have a value.
        low: Lower end of the 95 % interval of the share: the exact binomial one of as many trials
            as there are molecules, as rows of one molecule pass or fail together; NaN for one
            molecule.
        high: Upper end.
    """

    passed: int
    n: int
    low: float
    high: float

    @property
    def text(self) -> str:
        """Such as `20 of 29 (69 %; 41–93 %)`."""
        if not self.n:
            return "n/a"
        said = f"{self.passed} of {self.n}"
        within = f"; {100 * self.low:.0f}–{100 * self.high:.0f} %" if np.isfinite(self.low) else ""
        return f"{said} ({100 * self.passed / self.n:.0f} %{within})"


def share(scores: pd.DataFrame, metric: str) -> Share:
    """The share of rows that pass a test, of those that have a value of it.

    Args:
        scores: Rows of one kind, with a column `system`.
        metric: A column with 1 for a row that passes and 0 for one that does not.
    """
    values = scored_values(scores, metric)
    if not len(values):
        return Share(0, 0, float("nan"), float("nan"))
    molecules = scores.loc[values.index, "system"].nunique()
    low, high = _interval(float(values.mean()), molecules)
    return Share(int(values.sum()), len(values), low, high)


def _interval(part: float, molecules: int) -> tuple[float, float]:
    """Interval of a share from so many molecules (Clopper and Pearson 1934)."""
    if molecules < 2:
        return float("nan"), float("nan")
    passed, tail = part * molecules, (1 - LEVEL) / 2
    lost = molecules - passed
    # quantiles of beta distributions, of which those of no success and of no failure have no width
    low = float(beta.ppf(tail, passed, lost + 1)) if passed > 0 else 0.0
    high = float(beta.ppf(1 - tail, passed + 1, lost)) if lost > 0 else 1.0
    return low, high
