"""Figures of the closest approach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from pesbench.core.text import label
from pesbench.files.figures import GREY, PALETTE, saying, style

COLUMNS = 4  # panels side by side
LINEAR_EV = 1.0  # below it the axis of energies is linear, beyond it logarithmic
TICKS_EV = (-1e6, -1e4, -1e2, 0, 1e2, 1e4, 1e6)
LARGEST_HOLE_ANGSTROM = 1.2  # end of the colours, the same in every figure


def curves(drawn: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> Figure:
    """Energies along the published approach of the bonded pairs of one molecule.

    Args:
        drawn: What `score` keeps of the curves, by model: the molecule and its pairs.
        labels: What a model is called, by name.
    """
    drawn = {name: one for name, one in drawn.items() if one.get("pairs")}
    if not drawn:
        return saying("No model has a curve of a bonded pair.")
    kinds = sorted({pair["elements"] for one in drawn.values() for pair in one["pairs"].values()})
    colours = {kind: PALETTE[k % len(PALETTE)] for k, kind in enumerate(kinds)}
    columns = min(COLUMNS, len(drawn))
    rows = -(-len(drawn) // columns)
    with style():
        figure = Figure(figsize=(0.6 + 2.1 * columns, 0.8 + 1.75 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (name, one) in zip(panels.flat, drawn.items(), strict=False):
            _panel(axes, one["pairs"].values(), colours)
            axes.set_title(label(labels[name]))
        for axes in panels.flat[len(drawn) :]:
            axes.set_visible(False)
        for axes in panels.flat[max(0, len(drawn) - columns) : len(drawn)]:
            axes.tick_params(labelbottom=True)  # the panel below it may be empty
        figure.supxlabel("distance (Å)", fontsize=9)
        figure.supylabel("relative energy (eV)", fontsize=9)
        handles = [Line2D([], [], color=colour, label=kind) for kind, colour in colours.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(kinds))
    return figure


def _panel(axes: Axes, pairs: Sequence[Mapping[str, Any]], colours: Mapping[str, Any]) -> None:
    for pair in pairs:
        distance = np.array(pair["distance"], dtype=float)
        energy = np.array(pair["energy"], dtype=float)  # None becomes NaN, a gap
        start = float(pair["bond_length"])
        known = np.isfinite(energy)
        if not known.any():
            continue
        base = energy[known][np.argmin(np.abs(distance[known] - start))]
        axes.plot(distance, energy - base, ".-", ms=2.5, lw=1.0, color=colours[pair["elements"]])
        # a cross at each frame that has no number
        lost = distance[~known]
        axes.plot(lost, np.zeros(len(lost)), "x", ms=3, color=colours[pair["elements"]])
    axes.set_yscale("symlog", linthresh=LINEAR_EV, linscale=0.5)
    axes.yaxis.set_major_locator(FixedLocator(TICKS_EV))
    axes.yaxis.set_major_formatter(FuncFormatter(_power))
    axes.axhline(0, color=GREY, lw=0.6)
    axes.set_xlim(left=0)


def _power(value: float, _: object) -> str:
    if value == 0:
        return "0"
    return f"{'−' if value < 0 else ''}10$^{{{np.log10(abs(value)):.0f}}}$"


def hole_map(radii: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Largest hole radius by model and type of bond.

    Args:
        radii: Å, a row a model, a column a type; 0 without a hole, NaN where there is no pair.
        labels: What a model is called, by name.
    """
    if radii.empty or not radii.notna().to_numpy().any():
        return saying("No model has a scored bonded pair.")
    values = radii.to_numpy(dtype=float)
    with style():
        size = (1.9 + 0.62 * len(radii.columns), 1.0 + 0.26 * len(radii))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        colours = mpl.colormaps["Reds"].with_extremes(bad="0.85")
        image = axes.imshow(
            np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=LARGEST_HOLE_ANGSTROM,
            aspect="auto",
        )  # fmt: skip
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                text = f"{value:.2f}" if value else "–"
                dark = value > 0.6 * LARGEST_HOLE_ANGSTROM
                axes.text(column, row, text, ha="center", va="center", fontsize=7,
                          color="white" if dark else "black")  # fmt: skip
        axes.set_xticks(range(len(radii.columns)), [label(one) for one in radii.columns])
        axes.set_yticks(range(len(radii)), [label(labels[name]) for name in radii.index])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)
        figure.colorbar(image, ax=axes, label="hole radius (Å)", extend="max")
    return figure


def own_curves(pairs: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """The approach of all pairs of one molecule with one model, in one panel.

    Args:
        pairs: As in `curves`.
        title: Name of the model and of the molecule.
    """
    kinds = sorted({pair["elements"] for pair in pairs})
    colours = {kind: PALETTE[k % len(PALETTE)] for k, kind in enumerate(kinds)}
    with style():
        figure = Figure(figsize=(5.2, 3.8), layout="constrained")
        axes = figure.subplots()
        _panel(axes, pairs, colours)
        axes.set(
            title=label(title), xlabel="distance (Å)",
            ylabel="relative energy (eV)",
        )  # fmt: skip
        handles = [Line2D([], [], color=colour, label=kind) for kind, colour in colours.items()]
        axes.legend(handles=handles)
    return figure
