"""What the pairs of a model amount to: shares that pass, the worst pair, the cheapest hole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.metrics.board import scored_values
from pesbench.tasks.approach.metrics import temperature_scale
from pesbench.tasks.approach.pairs import BOND

NONE = "–"


def of_kind(scores: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of pairs of one kind."""
    return scores[scores["kind"] == kind]


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


def failed(scores: pd.DataFrame) -> pd.Series:
    """Whether a pair failed: that of a model that was asked and gave no number, by row."""
    return ~scores["status"].isin(["ok", "masked", "unsupported"])


def failures(scores: pd.DataFrame) -> str:
    """The number of rows without a score by status, such as `2 nonfinite`."""
    lost = scores.loc[scores["status"] != "ok", "status"].value_counts()
    return ", ".join(f"{n} {str(status).replace('_', ' ')}" for status, n in lost.items()) or NONE
