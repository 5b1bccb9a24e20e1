"""Rows of the tables of numerical variants: differences from the base, beside those of repeats."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pesbench.models.registry import ModelEntry
from pesbench.models.variants import repeat_key

COLUMNS = (
    "model",
    "base",
    "quantity",
    "rms_difference",
    "largest_difference",
    "noise_of_repeats",
    "below_noise",
)


@dataclass(frozen=True)
class Found:
    """Differences of a quantity between two entries.

    Attributes:
        rms: Root mean square.
        largest: Largest size.
        n: Scans or trajectories that both entries have.
    """

    rms: float
    largest: float
    n: int


def summary(values: Mapping[str, np.ndarray], shared: Collection[str]) -> dict[str, Found]:
    """What a table tells of differences, of every quantity that has any.

    Args:
        values: Differences by quantity.
        shared: The scans or trajectories that both entries have.
    """
    return {
        quantity: Found(float(np.sqrt(np.mean(v**2))), float(np.abs(v).max()), len(shared))
        for quantity, v in values.items()
        if len(v)
    }


def table_of(rows: Sequence[Mapping[str, Any]], count: str) -> pd.DataFrame:
    """Rows of `differences_of` as a table.

    Args:
        rows: Of all checkpoints.
        count: Name of the last column: scans or trajectories that both entries have.
    """
    table = pd.DataFrame(rows, columns=[*COLUMNS, "n"]).rename(columns={"n": count})
    return table.astype({"noise_of_repeats": "Float64", "below_noise": "boolean"})


def differences_of(
    group: Sequence[str],
    entries: Mapping[str, ModelEntry],
    compare: Callable[[str, str], Mapping[str, Found]],
) -> list[dict[str, Any]]:
    """Every variant beside the base, quantity by quantity.

    Args:
        group: Names of the variants of one checkpoint, the base first.
        entries: Entries by name.
        compare: Differences of the first of two entries from the second.

    Returns:
        The columns `COLUMNS` and `n`. `noise_of_repeats` is the largest difference between repeats
        of the base or of the variant itself, missing where neither was run; `below_noise` says
        whether the largest difference is not above it.
    """
    noise: dict[str, dict[str, float]] = {}  # of each setting that has repeats
    for a, b in combinations(group, 2):
        setting = repeat_key(entries[a])
        if setting == repeat_key(entries[b]):
            known = noise.setdefault(setting, {})
            for quantity, found in compare(a, b).items():
                known[quantity] = max(known.get(quantity, 0.0), found.largest)
    base, rows = group[0], []
    for name in group[1:]:
        settings = {repeat_key(entries[name]), repeat_key(entries[base])}
        repeated = [noise[setting] for setting in sorted(settings) if setting in noise]
        for quantity, found in compare(name, base).items():
            spread = [known[quantity] for known in repeated if quantity in known]
            rows.append(
                {
                    "model": name,
                    "base": base,
                    "quantity": quantity,
                    "rms_difference": found.rms,
                    "largest_difference": found.largest,
                    "noise_of_repeats": max(spread) if spread else pd.NA,
                    "below_noise": found.largest <= max(spread) if spread else pd.NA,
                    "n": found.n,
                }
            )
    return rows


def text_rows(table: pd.DataFrame, shown: Mapping[str, str]) -> pd.DataFrame:
    """A table for readers: one row a variant.

    Args:
        table: Of `table_of`.
        shown: Titles by quantity, in order.
    """
    count = table.columns[-1]

    def cell(row: pd.Series) -> str:
        if row["largest_difference"] == 0:
            return "0"
        below = row["below_noise"]
        return f"{row['largest_difference']:.2g}" + (" ≈" if not pd.isna(below) and below else "")

    rows = []
    for (model, base), group in table.groupby(["model", "base"], sort=False):
        by_quantity = {row["quantity"]: cell(row) for _, row in group.iterrows()}
        repeated = group["noise_of_repeats"].notna().any()
        rows.append(
            {
                "variant": model,
                "base": base,
                count.removeprefix("n_"): str(group[count].max()),
                **{title: by_quantity.get(key, "n/a") for key, title in shown.items()},
                "repeats run": "yes" if repeated else "no",
            }
        )
    return pd.DataFrame(rows)
