"""The ceiling of design B against the smoothness of bond scans, over potentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from pesbench.files.split import SEEN
from pesbench.metrics.aggregate import seed_of
from pesbench.metrics.board import scored_values
from pesbench.tasks.spectral.probes import ALIKE
from pesbench.tasks.spectral.summary import backbones, curve

Array = NDArray[np.float64]

FEWEST_POTENTIALS = 8  # independent potentials below which an association is not resolved
LEVEL, PERMUTATIONS = 0.05, 9999
SMOOTHNESS = "fsd_full"  # of the task `bonds`


@dataclass(frozen=True)
class Point:
    """A potential, as the mean over its seeds.

    Attributes:
        potential: Its name.
        family: Its family.
        ceiling: Highest degree up to which all are readable by `ALIKE`.
        roughness: Mean of `SMOOTHNESS` over the scans, Å⁻¹.
        counts: Whether it was trained on frames of this molecule alone, as far as the scans of the
            run tell. Others differ in their data and levels of theory, too.
    """

    potential: str
    family: str
    ceiling: float
    roughness: float
    counts: bool


@dataclass(frozen=True)
class Association:
    """Ceiling against smoothness over potentials.

    Attributes:
        points: All potentials that have both.
        scans: Scans of the molecule that all of them have.
        rho: Spearman's rank correlation over those that count; NaN where one of both does not vary,
            or below 3.
        p: `stratified_p`; NaN where there is no correlation.
    """

    points: tuple[Point, ...]
    scans: int
    rho: float
    p: float

    @property
    def potentials(self) -> int:
        """How many potentials count."""
        return sum(one.counts for one in self.points)

    @property
    def resolved(self) -> bool:
        """Whether there are enough potentials, and the correlation is hardly one of chance."""
        return self.potentials >= FEWEST_POTENTIALS and self.p < LEVEL


def ceiling_and_smoothness(
    scores: Mapping[str, pd.DataFrame],
    bonds: Mapping[str, pd.DataFrame],
    families: Mapping[str, str],
    system: str,
) -> Association:
    """Whether a higher ceiling goes with smoother bond scans.

    The ceiling is that of `ALIKE`, which reads as many channels whatever L is; the scans are those
    of the molecule that all potentials have.

    Args:
        scores: Scores of this task by model.
        bonds: Scores of the scans by model.
        families: Family of each model.
        system: The molecule.
    """
    ceilings: dict[str, int] = {}
    rough: dict[str, pd.Series] = {}
    for name, frame in scores.items():
        one = curve(frame, ALIKE, system)
        if one is None or one.reason or name not in bonds or SMOOTHNESS not in bonds[name]:
            continue
        rows = bonds[name][bonds[name]["system"] == system].set_index("scan")
        values = scored_values(rows, SMOOTHNESS)
        if len(values):
            ceilings[name], rough[name] = one.readable, values
    shared = pd.DataFrame(rough).dropna()  # a column a model, a row a scan
    if shared.empty:
        return Association((), 0, float("nan"), float("nan"))
    mean, points = shared.mean(), []
    for potential, names in backbones(scores).items():
        if read := [name for name in names if name in ceilings]:
            points.append(
                Point(
                    potential,
                    families[read[0]],
                    float(np.mean([ceilings[name] for name in read])),
                    float(mean[read].mean()),
                    all(_is_trained_on(bonds[name], system) for name in read),
                )
            )
    return _over(tuple(points), len(shared), f"spectral {system}")


def _is_trained_on(bonds: pd.DataFrame, system: str) -> bool:
    """Whether this molecule is the only one of the scans that a model was trained on."""
    return {*bonds.loc[bonds["seen"] == SEEN, "system"]} == {system}


def _over(points: tuple[Point, ...], scans: int, name: str) -> Association:
    own = [one for one in points if one.counts]
    ceiling = np.array([one.ceiling for one in own])
    roughness = np.array([one.roughness for one in own])
    if len(own) < 3 or min(np.ptp(ceiling), np.ptp(roughness)) == 0:
        return Association(points, scans, float("nan"), float("nan"))
    p = stratified_p(ceiling, roughness, [one.family for one in own], name)
    return Association(points, scans, float(spearmanr(ceiling, roughness).statistic), p)


def stratified_p(x: Array, y: Array, families: Sequence[str], name: str) -> float:
    """Two-sided p of the rank correlation of x and y, by permuting x within families.

    What a whole family has in common is kept in every permutation.

    Args:
        x: Shape (n,).
        y: Shape (n,).
        families: Family of each, length n.
        name: What the seed derives from.

    Returns:
        Twice the smaller of the two tails of drawn permutations, at most 1.
    """
    rng = np.random.default_rng(seed_of(name))
    order = np.tile(np.arange(len(x)), (PERMUTATIONS, 1))
    of = np.array(families)
    for family in np.unique(of):
        place = np.flatnonzero(of == family)
        order[:, place] = rng.permuted(order[:, place], axis=1)
    ranks, others = rankdata(x), rankdata(y)  # halves of whole numbers, whose sums are exact
    found, drawn = ranks @ others, ranks[order] @ others
    tail = min((drawn >= found).sum(), (drawn <= found).sum())
    return min(1.0, 2 * (int(tail) + 1) / (PERMUTATIONS + 1))
