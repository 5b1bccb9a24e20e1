"""The matrix of paired differences: two halves, one of the differences, one of the scans won."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pesbench.compare.pairs.found import Pairs
from pesbench.compare.pairs.table import percent
from pesbench.core.text import label, number
from pesbench.files.figures import GREY, style

_COLOURS = "RdBu_r"  # blue where the row is better
_LARGE, _SMALL, _MANY = 0.62, 0.36, 24  # inches a cell of few and of many models
_LEGEND = 4.6  # inches that the legend takes
_DARK = 0.3  # of a scale from -1 to 1, beyond which letters are white, counted from its ends


def matrix(found: Pairs) -> Figure:
    """Above the diagonal the mean difference, row minus column; below it the scans that a row wins.

    A cell has a colour where the two differ; both halves say the same of a pair.
    """
    m = len(found.names)
    cell = float(np.interp(m, [6, _MANY], [_LARGE, _SMALL]))
    letters = float(np.interp(m, [6, _MANY], [8.5, 6.0]))
    names = 0.25 + 0.075 * max(len(name) for name in found.names)
    side = cell * m
    left, below, right, top = names + 0.3, names, 0.15, 0.75
    with style():
        made = Figure(figsize=(max(left + side + right, _LEGEND), below + side + top))
        width, height = made.get_size_inches()
        axes = made.add_axes((left / width, below / height, side / width, side / height))
        scale = _scale(found)
        for row in range(m):
            for column in range(m):
                _cell(axes, found, row, column, scale, letters)
        axes.set(xlim=(0, m), ylim=(m, 0))
        places = np.arange(m) + 0.5
        axes.set_xticks(places, [label(name) for name in found.names], rotation=90)
        ranks = [str(rank) if rank else "–" for rank in found.rank]
        axes.set_yticks(
            places, [f"{label(n)}  {r}" for n, r in zip(found.names, ranks, strict=True)]
        )
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        unit = f", {found.metric.unit}" if found.metric.unit else ""
        made.text(
            0.01, 1 - 0.08 / height,
            f"Above the diagonal: mean difference of {label(found.metric.title)}, row minus "
            f"column{unit}.\nBelow: share of the scans that the row wins, %.\n"
            "Blue: the row is better; red: worse; white: they do not differ.",
            va="top", fontsize=8.5,
        )  # fmt: skip
    return made


def _scale(found: Pairs) -> float:
    """The difference with the full colour: that which a tenth of the pairs exceeds."""
    sizes = np.abs(found.paired.mean[found.paired.differs])
    return float(np.quantile(sizes, 0.9)) if len(sizes) else 1.0


def _cell(axes: Axes, found: Pairs, row: int, column: int, scale: float, letters: float) -> None:
    paired = found.paired
    if row == column:
        axes.add_patch(Rectangle((column, row), 1, 1, facecolor="0.9", edgecolor="white"))
        return
    if row < column:
        value, text = paired.mean[row, column] / scale, number(paired.mean[row, column], 2)
    else:
        value, text = 1 - 2 * paired.won[row, column], percent(paired.won[row, column])
    differs = bool(paired.differs[row, column])
    strength = float(np.clip(value, -1, 1)) if differs else 0.0
    colour = mpl.colormaps[_COLOURS](Normalize(-1, 1)(strength)) if differs else "white"
    axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="0.85", lw=0.5))
    axes.text(
        column + 0.5, row + 0.52, text.replace("-", "−"),
        ha="center", va="center", fontsize=letters,
        color=("white" if abs(strength) > 1 - _DARK else "black") if differs else GREY,
    )  # fmt: skip
