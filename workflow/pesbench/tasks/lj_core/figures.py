"""Figures of the repulsive core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pesbench.files.figures import GREY, PALETTE, style
from pesbench.tasks.lj_core import potential
from pesbench.tasks.lj_core.cases import BOND, DIMER
from pesbench.tasks.lj_core.designs import MIN_BIAS, PUBLISHED, TRANSFORMS, Design
from pesbench.tasks.lj_core.head_summary import Cell, Seeds
from pesbench.tasks.lj_core.judged import SCORE
from pesbench.tasks.lj_core.real_models import core_errors, on_shared

_KINDS = ((DIMER, "isolated pairs", "o"), (BOND, "bonded pairs", "s"))
_FARTHEST = 9.0  # just beyond the error of zero, 7.9 decades; what lies further is at the edge
_X = "error of log₁₀(|E| + 1) in the core (decades)"


def cores(
    main: Mapping[Design, Seeds],
    names: Mapping[str, str],
    closed: Mapping[str, float],
    scores: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
) -> Figure:
    """Core errors of heads and closed forms on the dimer, and of real models, on equal axes.

    Args:
        main: Main rows of the trained heads.
        names: Names of heads for readers.
        closed: Error of each closed form.
        scores: Scores by model.
        labels: Names of the models for readers.
    """
    most = max(len(main) + len(closed), len(scores))
    with style():
        figure = Figure(figsize=(8.4, 1.2 + 0.24 * most), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True)
        _dimer(left, main, names, closed)
        _models(right, scores, labels)
        for axes in (left, right):
            axes.set(xlabel=_X, xlim=(-0.2, _FARTHEST))  # a reference has 0
            axes.grid(visible=True, axis="x")
    return figure


def _dimer(
    axes: Any,
    main: Mapping[Design, Seeds],
    names: Mapping[str, str],
    closed: Mapping[str, float],
) -> None:
    heads = [design.head for design in main]
    for y, (head, one) in enumerate(zip(heads, main.values(), strict=True)):
        mean, deviation = one.numbers[SCORE]
        if mean < _FARTHEST:
            axes.errorbar(mean, y, xerr=deviation, fmt="o", ms=5, color=PALETTE[0], capsize=2)
        elif np.isfinite(mean):
            _beyond(axes, mean, y, PALETTE[0])
        if head in PUBLISHED:
            axes.errorbar(PUBLISHED[head][0], y + 0.25, xerr=PUBLISHED[head][1], fmt="o", ms=5,
                          mfc="white", color=PALETTE[1], capsize=2)  # fmt: skip
    for y, value in enumerate(closed.values(), start=len(main)):
        axes.plot(value, y, "D", ms=4.5, color=GREY)
    labels = [*(names[head].partition(" (")[0] for head in heads), *closed]
    axes.set_yticks(range(len(labels)), labels)
    axes.set(ylim=(len(labels) - 0.5, -0.5), title="Lennard-Jones dimer, 0.2 to 0.5 σ")


def _models(axes: Any, scores: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> None:
    for k, (kind, said, marker) in enumerate(_KINDS):
        shared = on_shared(core_errors(scores, kind)).values()
        points = [
            (values.mean(), y + 0.15 * (2 * k - 1))
            for y, values in enumerate(shared)
            if len(values)
        ]
        near = [point for point in points if point[0] < _FARTHEST]
        if near:
            axes.plot(*zip(*near, strict=True), marker, ms=5, color=PALETTE[2 + k], label=said)
        for mean, y in points:
            if mean >= _FARTHEST:
                _beyond(axes, mean, y, PALETTE[2 + k])
    axes.set_yticks(range(len(scores)), [labels[name] for name in scores])
    axes.set(ylim=(max(len(scores), 1) - 0.5, -0.5), title="models, below 0.6 covalent sums")
    if axes.lines:
        axes.legend(loc="best", frameon=True)


def _beyond(axes: Any, value: float, y: float, colour: str) -> None:
    """An error beyond the axis, as an arrow with its number."""
    axes.plot(_FARTHEST, y, ">", ms=5, color=colour, clip_on=False)
    axes.annotate(f"{value:.0f} ", (_FARTHEST, y), color=colour, ha="right", va="center")


def walls(curves: Mapping[str, Mapping[str, Sequence[float | None]]],
          names: Mapping[str, str]) -> Figure:  # fmt: skip
    """Energies of the trained heads and of the potential, where the data end and further in."""
    with style():
        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        r, lowest = np.geomspace(potential.CORE_FROM, 1.5, 300), -1e3
        axes.plot(r, potential.energy(r), color="black", lw=1.6, label="Lennard-Jones")
        for colour, (head, curve) in zip(PALETTE, curves.items(), strict=False):
            place, median, least, largest = (
                np.array([np.nan if one is None else one for one in curve[name]], dtype=float)
                for name in ("r", "median", "least", "largest")
            )
            axes.plot(place, median, color=colour, lw=1.4, label=names.get(head, head))
            axes.fill_between(place, least, largest, color=colour, alpha=0.2, lw=0)
            lowest = min(lowest, np.nanmin(least, initial=lowest))
        axes.axvspan(potential.TRAINED_FROM, 1.5, color="0.94", zorder=0)
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set(xlabel="r (σ)", ylabel="energy (ε = 20)", xlim=(potential.CORE_FROM, 1.5),
                 ylim=(2 * lowest, 1e12))  # fmt: skip
        axes.legend(loc="upper right", frameon=True)
    return figure


def cells(grid: Sequence[Cell]) -> Figure:
    """The rational head against the MLP, a point a cell, coloured by the latent transform."""
    points = {
        cell.design: (cell.mlp.core, cell.rational.core, cell.rational.n_walls < cell.rational.n)
        for cell in grid
        if cell.mlp and cell.rational
    }
    with style():
        figure = Figure(figsize=(4.8, 4.4), layout="constrained")
        axes = figure.subplots()
        for colour, transform in zip(PALETTE, TRANSFORMS, strict=False):
            for filled in (True, False):
                some = [
                    point
                    for design, point in points.items()
                    if design.transform == transform and (design.sampling == MIN_BIAS) is filled
                ]
                axes.plot([x for x, _, _ in some], [y for _, y, _ in some], "o", ms=4.5,
                          color=colour, mfc=colour if filled else "white",
                          label=f"z: {transform}" if filled else None)  # fmt: skip
        crossed = [(x, y) for x, y, no_wall in points.values() if no_wall]
        axes.plot([x for x, _ in crossed], [y for _, y in crossed], "x", ms=7, color="black",
                  mew=0.8, label="no wall")  # fmt: skip
        known = [value for x, y, _ in points.values() for value in (x, y) if np.isfinite(value)]
        top = 1.05 * max([8.0, *known])
        axes.plot([0, top], [0, top], color=GREY, lw=0.8)
        axes.set(xlabel="MLP, core error (decades)", ylabel="rational head, core error (decades)",
                 xlim=(0, top), ylim=(0, top))  # fmt: skip
        axes.legend(title="filled: min_bias, open: uniform", loc="best", frameon=True)
    return figure
