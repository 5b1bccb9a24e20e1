"""What a table of trained heads says: main rows, and the grid cell by cell; no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pesbench.tasks.lj_core.designs import (
    MAIN,
    MLP,
    PUBLISHED,
    RATIONAL,
    Design,
    grid,
    mlp_beside,
    parts,
)
from pesbench.tasks.lj_core.head_table import SCORED, Row, TrainedHeads
from pesbench.tasks.lj_core.judged import IN_RANGE, SCORE

FACTORS = ("activation", "depth", "transform", "scale", "sampling")
# outcomes of a cell of the grid
WINS, NO_WALL, HIGHER, LOST, UNTRAINED = "wins", "lower, no wall", "higher", "lost", "not trained"


@dataclass(frozen=True)
class Seeds:
    """The seeds of a design.

    Attributes:
        design: What was trained.
        n: Their number.
        n_ok: Those whose values are all numbers.
        n_walls: Those of them that are a wall, see `Row.is_wall`.
        numbers: Mean and standard deviation (of the sample) of each of `SCORED` over those with
            numbers; NaN where there is none.
    """

    design: Design
    n: int
    n_ok: int
    n_walls: int
    numbers: Mapping[str, tuple[float, float]]

    @property
    def core(self) -> float:
        """Mean core error, in decades."""
        return self.numbers[SCORE][0]


@dataclass(frozen=True)
class Cell:
    """A rational head of the grid beside the MLP that is the same in all else.

    Attributes:
        design: Of the rational head.
        rational: Its seeds; None if it is not trained.
        mlp: Likewise.
    """

    design: Design
    rational: Seeds | None
    mlp: Seeds | None

    @property
    def outcome(self) -> str:
        """`wins`, where the rational head has the lower core error and each of its seeds is a wall.

        A lower error without that is `lower, no wall`: the error ignores the sign, so that a wall
        upside down has none. A seed without numbers, of either, leaves the cell `lost`.
        """
        one, other = self.rational, self.mlp
        if one is None or other is None:
            return UNTRAINED
        if one.n_ok < one.n or other.n_ok < other.n:
            return LOST
        if one.core >= other.core:
            return HIGHER
        return WINS if one.n_walls == one.n else NO_WALL

    @property
    def fits_better(self) -> bool:
        """Whether the error of the rational head is lower in the range of the training, too."""
        both = (self.rational, self.mlp)
        one, other = (side.numbers[IN_RANGE][0] if side else math.nan for side in both)
        return one < other


def seeds_of(rows: Iterable[Row], *, main: bool) -> dict[Design, Seeds]:
    """The seeds of each design of the main rows, or of the grid."""
    found: dict[Design, list[Row]] = {}
    for row in rows:
        if row.part.startswith(MAIN) is main:
            found.setdefault(row.design, []).append(row)
    return {design: _seeds(design, some) for design, some in found.items()}


def _seeds(design: Design, rows: Sequence[Row]) -> Seeds:
    ok = [row for row in rows if row.ok]
    numbers = {name: spread([row.numbers[name] for row in ok]) for name in SCORED}
    return Seeds(design, len(rows), len(ok), sum(row.is_wall for row in ok), numbers)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of the sample); NaN where there are too few values."""
    if not values:
        return math.nan, math.nan
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def cells(rows: Iterable[Row]) -> list[Cell]:
    """All cells of the grid, trained or not; none if no design of it is trained."""
    found = seeds_of(rows, main=False)
    every = grid(RATIONAL) if found else ()
    return [Cell(one, found.get(one), found.get(mlp_beside(one))) for one in every]


def outcomes(some: Iterable[Cell]) -> Counter[str]:
    """How many cells have each outcome."""
    return Counter(cell.outcome for cell in some)


@dataclass(frozen=True)
class Decisive:
    """The factor of the grid on which winning depends most.

    Attributes:
        factor: Its name.
        levels: Cells won and cells decided, by level.
        explained: Share of the variance over the decided cells of whether a cell is won (1 or 0)
            that the means of the levels explain, η². A range of shares would favour a factor with
            four levels over one with two. Chance alone explains (levels − 1)/(cells − 1).
    """

    factor: str
    levels: Mapping[str, tuple[int, int]]
    explained: float


def decisive(every: Sequence[Cell]) -> Decisive | None:
    """The factor on which the share of cells that the rational head wins depends most.

    Returns:
        None where all decided cells have the same outcome.
    """
    won, of = _won(every)
    if won in (0, of):
        return None
    mean, found = won / of, []
    for factor in FACTORS:
        levels = {
            str(level): _won([cell for cell in every if getattr(cell.design, factor) == level])
            for level in dict.fromkeys(getattr(cell.design, factor) for cell in every)
        }
        between = sum(n * (k / n - mean) ** 2 for k, n in levels.values() if n)
        found.append(Decisive(factor, levels, between / (of * mean * (1 - mean))))
    return max(found, key=lambda one: one.explained)


def _won(some: Sequence[Cell]) -> tuple[int, int]:
    found = outcomes(some)
    return found[WINS], found[WINS] + found[NO_WALL] + found[HIGHER]


def reproduced(rows: Iterable[Row]) -> dict[str, tuple[list[str], int]]:
    """The designs of the grid whose mean is within the published mean and standard deviation.

    Returns:
        Names of these designs and the number of all that are trained, by head; a design without
        numbers is one of the latter.
    """
    found = {}
    trained = seeds_of(rows, main=False).values()
    for head, (mean, deviation) in PUBLISHED.items():
        some = [one for one in trained if one.design.head == head]
        near = [one.design.name for one in some if abs(one.core - mean) <= deviation]
        found[head] = near, len(some)
    return found


def missing(heads: TrainedHeads) -> list[str]:
    """Names of the parts that the table lacks."""
    there = {row.part for row in heads.rows}
    return [name for name in parts() if name not in there]


def error_of_readout(heads: TrainedHeads, readout: str) -> float | None:
    """Core error on the dimer of the main row that a readout of the testbed is nearest to.

    That of a rational head with a plain latent is the cell of the grid whose latent is `none`.

    Returns:
        Decades; None if the readout has no such head, or it is not trained.
    """
    if readout == "rational_plain":
        found, wanted = seeds_of(heads.rows, main=False), Design(RATIONAL, "relu", transform="none")
        near = [one for one in found.values() if one.design == wanted]
    else:
        head = {"linear": MLP, "bounded": "bounded", "rational": RATIONAL}.get(readout)
        near = [s for s in seeds_of(heads.rows, main=True).values() if s.design.head == head]
    return near[0].core if near and near[0].n_ok else None
