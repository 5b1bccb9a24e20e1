"""What perturbed models show of necessity and sufficiency: counterexamples, from the dose table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.compare.association.verdicts import PRIMARY
from pesbench.core.text import number

_MUCH = 0.5  # of the horizon, from which time lost counts as a failure of the model
_SHOWN = 2  # kinds that are named as rough and stable
_ROUNDING = 1e-9
_UNIT = "Å⁻¹"


def counterexamples(doses: pd.DataFrame) -> list[str]:
    """What the perturbed models say of smoothness as a condition of stability.

    A smooth one that loses time shows that roughness is not necessary, a rough one that loses none
    that it is not sufficient, each for its kind of defect. Smooth and rough are what they are
    beside each other: both sentences need one that loses time and is smoother than one that loses
    none. Only models count of which no trajectory failed before its first step.

    Args:
        doses: Rows of `pesbench.compare.dose.table.dose_table`.

    Returns:
        Both sentences; none where every one that loses time is rougher than all that lose none.
    """
    whole = doses[(doses["n_counted"] > 0) & (doses["n_start_failed"] == 0) & (doses["dose"] > 0)]
    whole = whole[whole[PRIMARY].notna()]
    lost = whole["horizon_ps"] - whole["survival_ps"]
    told = whole["survival_high_ps"] < whole["horizon_ps"] - _ROUNDING
    failing = whole[told & (lost >= _MUCH * whole["horizon_ps"])]
    living = whole[(lost <= _ROUNDING) & (whole[PRIMARY] > failing[PRIMARY].min())]
    living = living.sort_values(PRIMARY, ascending=False).drop_duplicates("kind").head(_SHOWN)
    if living.empty:
        return []
    row: Mapping[str, Any] = failing.sort_values(PRIMARY).iloc[0].to_dict()
    loses = number(row["horizon_ps"] - row["survival_ps"])
    names = " and ".join(_named(row) for row in living.to_dict("records"))
    verb = "loses" if len(living) == 1 else "lose"
    counts = ", ".join(dict.fromkeys(str(count) for count in living["n_counted"]))
    return [
        f"A rough curve is not necessary for failures: {_named(row)} loses {loses} of "
        f"{row['horizon_ps']:g} ps (mean of {row['n_counted']} trajectories).",
        f"A rough curve is not sufficient for failures: {names} {verb} nothing in {counts} "
        "trajectories each.",
    ]


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['model']} ({row['kind']}, {PRIMARY} {number(row[PRIMARY])} {_UNIT})"
