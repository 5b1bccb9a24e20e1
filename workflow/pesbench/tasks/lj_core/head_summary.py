"""What a table of trained heads says: main rows, and the grid cell by cell; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.tasks.lj_core.designs import MAIN, MLP, RATIONAL
from pesbench.tasks.lj_core.head_table import (
    GHOSTS,
    OF_DESIGN,
    Row,
    read_card,
    read_table,
)
from pesbench.tasks.lj_core.judged import NUMBERS

SCORE = "log10_energy_mae_core"
FACTORS = ("activation", "depth", "transform", "scale", "sampling")


def summary(path: Path) -> dict[str, Any]:
    """What the section tells of a table and its card, as JSON has it.

    Returns:
        `main`: of each head its design, the number of seeds and of those with numbers, and of each
        number `[mean, standard deviation]`, None where there is none. `cells` as `cells` gives
        them. `curves` and `schedule` of the card.

    Raises:
        UserError: table or card is missing or damaged.
    """
    rows, card = read_table(path), read_card(path)
    main = {}
    for design, some in by_design(rows, main=True).items():
        numbers = {name: spread([row[name] for row in some]) for name in (*NUMBERS, *GHOSTS)}
        main[some[0]["head"]] = {
            "design": design,
            "n_seeds": len(some),
            "n_ok": sum(row["status"] == "ok" for row in some),
            "numbers": {
                name: [_plain(mean), _plain(sd)] for name, (mean, sd, _) in numbers.items()
            },
        }
    found = [{name: _plain(value) for name, value in cell.items()} for cell in cells(rows)]
    return {"main": main, "cells": found, "curves": card["curves"], "schedule": card["schedule"]}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def spread(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, standard deviation (of the sample) and number of the values that are numbers."""
    known = np.array([one for one in values if math.isfinite(one)])
    if not known.size:
        return math.nan, math.nan, 0
    return float(known.mean()), float(known.std(ddof=1)) if known.size > 1 else math.nan, known.size


def by_design(rows: Iterable[Row], *, main: bool) -> dict[str, list[Row]]:
    """Rows of the main rows, or of the grid, by design."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row["part"].startswith(MAIN) is main:
            found.setdefault(row["design"], []).append(row)
    return found


def cells(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The grid, cell by cell: a rational head beside the MLP that is the same in all else.

    Returns:
        Of each rational design with an MLP of the same activation, depth, scale and sampling: the
        values of these, `transform`, the mean score of both heads over their seeds, and `wins`,
        whether that of the rational one is lower; None where one of them has no score.
    """
    grid = by_design(rows, main=False).values()
    means = {tuple(some[0][k] for k in OF_DESIGN): spread([r[SCORE] for r in some])[0]
             for some in grid}  # fmt: skip
    found = []
    for key, mean in means.items():
        one = dict(zip(OF_DESIGN, key, strict=True))
        other = means.get((MLP, one["activation"], one["depth"], "", one["scale"], one["sampling"]))
        if one["head"] != RATIONAL or other is None:
            continue
        known = math.isfinite(mean) and math.isfinite(other)
        del one["head"]
        found.append(one | {RATIONAL: mean, MLP: other, "wins": mean < other if known else None})
    return found


def wins(found: Iterable[Mapping[str, Any]]) -> tuple[int, int]:
    """In how many cells the rational head wins, and of how many with two scores."""
    known = [cell["wins"] for cell in found if cell["wins"] is not None]
    return sum(known), len(known)


def wins_by_factor(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any, int, int]]:
    """Factor, level, cells that the rational head wins, and cells with two scores."""
    return [
        (factor, level, *wins([cell for cell in found if cell[factor] == level]))
        for factor in FACTORS
        for level in sorted({cell[factor] for cell in found}, key=str)
    ]
