"""A design ladder as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pesbench.compare.ladder.cards import changes, said
from pesbench.compare.ladder.quantities import QUANTITIES
from pesbench.compare.ladder.rungs import COUNTS, DesignLadder, Row, values_of

BASELINE, VARIANT, NOISE = "baseline", "variant", "seed noise"


def table(ladder: DesignLadder) -> pd.DataFrame:
    """The ladder, one row a potential and one for the seed noise.

    Returns:
        `kind` (baseline, variant or seed noise), `model`, `members`, `change` (what its card says
        is other than the baseline's; `n/a` without a card), `n_seeds`, `missing`,
        `survival_horizon_ps`, the sums of `COUNTS` over the seeds, and for every quantity its mean
        or median, `_n` (scans, trajectories or molecules of all seeds; not of a number of the whole
        model), `_seeds` (that have it), `_seed_sd` and `_within_noise` (whether the difference from
        the baseline is; missing where that is not known). In the row of the seed noise the
        quantities are pooled standard deviations (of the natural logarithm of drift and RMS),
        `_seeds` the number of seeds that they are of.
    """
    rows = [_cells(ladder, row) for row in ladder.rows]
    rows.append(_noise_cells(ladder))
    return pd.DataFrame(rows, columns=columns()).astype(
        {f"{column}_within_noise": "boolean" for column in QUANTITIES}
        | dict.fromkeys((*COUNTS, "n_seeds"), "Int64")
        | {f"{column}_seeds": "Int64" for column in QUANTITIES}
        | {f"{q.column}_n": "Int64" for q in QUANTITIES.values() if q.of}
    )


def columns() -> list[str]:
    """Columns of `table`, in order."""
    found = ["kind", "model", "members", "change", "n_seeds", "missing", "survival_horizon_ps"]
    found += COUNTS
    for quantity in QUANTITIES.values():
        found.append(quantity.column)
        if quantity.of:
            found.append(f"{quantity.column}_n")
        found += [f"{quantity.column}_{end}" for end in ("seeds", "seed_sd", "within_noise")]
    return found


def _cells(ladder: DesignLadder, row: Row) -> dict[str, Any]:
    first = row is ladder.baseline
    counts = ladder.counts.loc[list(row.members)].sum()
    cells: dict[str, Any] = {
        "kind": BASELINE if first else VARIANT,
        "model": row.name,
        "members": " ".join(row.members),
        "change": change(ladder, row),
        "n_seeds": len(row.members),
        "missing": _missing(ladder, row),
        "survival_horizon_ps": ladder.horizon_ps,
        **{name: int(count) for name, count in counts.items()},
    }
    for column, quantity in QUANTITIES.items():
        seeds = ladder.seeds(column, row)
        cells[column] = float(seeds.mean()) if len(seeds) else float("nan")
        if quantity.of:
            values = values_of(ladder.measured[column], row)
            cells[f"{column}_n"] = sum(len(seed) for seed in values)
        cells[f"{column}_seeds"] = len(seeds)
        cells[f"{column}_seed_sd"] = float(seeds.std(ddof=1)) if len(seeds) > 1 else float("nan")
        cells[f"{column}_within_noise"] = pd.NA
        if not first:
            within = ladder.compare(column, row, ladder.baseline).difference.within_noise
            cells[f"{column}_within_noise"] = pd.NA if within is None else within
    return cells


def _noise_cells(ladder: DesignLadder) -> dict[str, Any]:
    repeated = [row for row in ladder.rows if len(row.members) > 1]
    pooled = ", ".join(f"{row.name} ({len(row.members)} seeds)" for row in repeated)
    cells: dict[str, Any] = {
        "kind": NOISE,
        "model": NOISE,
        "members": "",
        "change": f"pooled over {pooled}" if repeated else "unknown: no potential has two seeds",
        "n_seeds": sum(len(row.members) for row in repeated),
        "missing": "",
        "survival_horizon_ps": ladder.horizon_ps,
    }
    for column in QUANTITIES:
        cells[column] = ladder.noise[column].sd
        cells[f"{column}_seeds"] = sum(
            n for row in repeated if (n := len(ladder.seeds(column, row))) > 1
        )
    return cells


def change(ladder: DesignLadder, row: Row) -> str:
    """Differences of a row's card from the baseline's; "" for the baseline itself."""
    if row is ladder.baseline:
        return ""
    if not row.choices or not ladder.baseline.choices:
        return "n/a"
    return said(changes(row.choices, ladder.baseline.choices)) or "none"


def _missing(ladder: DesignLadder, row: Row) -> str:
    """Numbers that a row lacks, or has only for some seeds, scans, trajectories or molecules."""
    groups: dict[str, list[str]] = {}
    for column, quantity in QUANTITIES.items():
        found = ladder.measured[column]
        asked = [found[name] for name in row.members if name in found]
        have = sum(len(one.values) for one in asked)
        planned = sum(one.planned for one in asked)
        if not asked:
            continue  # nothing was tried, and the cell says n/a
        if len(asked) < len(row.members):
            groups.setdefault(f"of {len(asked)} of {len(row.members)} seeds", []).append(
                quantity.title
            )
        if have < planned:
            what = quantity.of or "seeds"
            groups.setdefault(f"of {have} of {planned} {what}", []).append(quantity.title)
    return "; ".join(f"{', '.join(titles)} {text}" for text, titles in groups.items())
