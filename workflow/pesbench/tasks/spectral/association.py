"""The ceiling of design B against the smoothness of bond scans, over potentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pesbench.files.split import SEEN
from pesbench.metrics.board import scored_values
from pesbench.metrics.rank_statistics import stratified_p, stratified_spearman
from pesbench.tasks.spectral.probes import ALIKE
from pesbench.tasks.spectral.summary import backbones, curve

FEWEST_POTENTIALS = 8  # independent potentials below which an association is not resolved
LEVEL = 0.05
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
        rho: `stratified_spearman` within families, of those that count; NaN where one of both does
            not vary within any family, or below 3.
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
    if not own:
        return Association(points, scans, float("nan"), float("nan"))
    ceiling, roughness = ([getattr(one, of) for one in own] for of in ("ceiling", "roughness"))
    families = [one.family for one in own]
    rho = float(stratified_spearman(ceiling, roughness, families))
    p = float(stratified_p(ceiling, roughness, families, name))
    return Association(points, scans, rho, p)
