"""What the pairs of a model amount to: shares that pass, the worst pair, the cheapest hole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta

from pesbench.metrics.aggregate import LEVEL
from pesbench.metrics.board import scored_values
from pesbench.tasks.approach.metrics import temperature_scale
from pesbench.tasks.approach.pairs import BOND

NONE = "–"


@dataclass(frozen=True)
class Share:
    """Pairs that pass a test.

    Attributes:
        passed: Their number.
        n: Pairs that have a value.
        low: Lower end of the 95 % interval of the share: the exact binomial one of as many trials
            as there are molecules, as pairs of one molecule pass or fail together; NaN for one
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


def of_kind(scores: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of pairs of one kind."""
    return scores[scores["kind"] == kind]


def share(scores: pd.DataFrame, metric: str) -> Share:
    """The share of pairs that pass a test, of those that have a value of it.

    Args:
        scores: Rows of pairs of one kind.
        metric: A column with 1 for a pair that passes and 0 for one that does not.
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


def worst_pair(scores: pd.DataFrame) -> Mapping[str, Any] | None:
    """The pair with the largest hole radius; None where there is no hole."""
    holes = scored_values(scores, "hole_radius_angstrom")
    holes = holes[holes > 0]
    return None if holes.empty else scores.loc[holes.idxmax()].to_dict()


def cheapest_hole(scores: pd.DataFrame) -> Mapping[str, Any] | None:
    """The pair whose hole costs the least energy, which is what dynamics meets first."""
    barriers = scored_values(scores, "barrier_ev")
    return None if barriers.empty else scores.loc[barriers.idxmin()].to_dict()


def pair_words(row: Mapping[str, Any]) -> str:
    """Such as `C-O of ethanol, atoms 1 and 2`."""
    if row["kind"] == "diatomic":
        return f"{row['elements']}, isolated"
    atoms = f"atoms {row['atom_i']:.0f} and {row['atom_j']:.0f}"
    return f"{row['elements']} of {row['system']}, {atoms}"


def temperature_words(barrier_ev: float) -> str:
    """A barrier over Boltzmann's constant, to two digits."""
    return f"{float(f'{temperature_scale(barrier_ev):.2g}'):,.0f}".replace(",", "\u202f")


def median(scores: pd.DataFrame, metric: str) -> tuple[float, int]:
    """Median of a metric over the pairs that have it, and their number."""
    values = scored_values(scores, metric)
    return (float(values.median()) if len(values) else float("nan")), len(values)


def hole_radii(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Largest hole radius of the bonded pairs of each type, Å: a row a model, a column a type.

    NaN where a model has no scored pair of a type.
    """
    rows = {}
    for name, frame in scores.items():
        bonds = of_kind(frame, BOND)
        values = scored_values(bonds, "hole_radius_angstrom")
        rows[name] = values.groupby(bonds.loc[values.index, "elements"]).max()
    table = pd.DataFrame(rows).T
    every = sorted({kind for frame in scores.values() for kind in of_kind(frame, BOND)["elements"]})
    return table.reindex(index=list(scores), columns=every).astype(float)


def left_out(scores: pd.DataFrame) -> str:
    """The frames that are left out of scored pairs, such as `33 in 2 pairs`."""
    counts = scores.loc[scores["status"] == "ok", "n_masked"]
    some = int((counts > 0).sum())
    return f"{int(counts.sum())} in {some} pair{'s' * (some > 1)}" if some else NONE


def failures(scores: pd.DataFrame) -> str:
    """The number of rows without a score by status, such as `2 nonfinite`."""
    lost = scores.loc[scores["status"] != "ok", "status"].value_counts()
    return ", ".join(f"{n} {str(status).replace('_', ' ')}" for status, n in lost.items()) or NONE
