"""Figure of the rounds: every quantity against their number."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pesbench.compare.data.table import DataStudy, Quantity
from pesbench.compare.harvest.table import ARMS, rounds
from pesbench.core.text import label
from pesbench.files.figures import GREY, PALETTE, saying, style

_COLUMNS = 3
_INCHES = 2.8, 2.3  # of a panel
_MARKERS, _LINES = ("o", "s", "^", "D"), ("-", "--", ":", "-.")
_SHIFT = 0.06  # of a round between the two, so that seeds of equal value are seen


def figure(study: DataStudy) -> Figure:
    """One panel a quantity: points are seeds, lines join their means."""
    shown = [one for name, one in study.quantities.items() if study.models[name].notna().any()]
    if not shown:
        return saying("no potential of the rounds has a score")
    rows = -(-(len(shown) + 1) // _COLUMNS)
    with style():
        made = Figure(figsize=(_COLUMNS * _INCHES[0], rows * _INCHES[1]), layout="constrained")
        every = made.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for axes, quantity in zip(every, shown, strict=False):
            _panel(axes, study, quantity)
        for axes in every[len(shown) :]:
            axes.set_axis_off()
        _legend(every[len(shown)], study)
    return made


def _panel(axes: Axes, study: DataStudy, quantity: Quantity) -> None:
    for f, family in enumerate(study.families):
        for k, arm in enumerate(ARMS):
            along = rounds(study, family, arm)
            x = np.array([number for _, number in along]) + _SHIFT * (k - 0.5)
            seeds = [study.seeds(family, *one, quantity.column) for one in along]
            for place, values in zip(x, seeds, strict=True):
                axes.plot(
                    np.full(values.size, place), values, linestyle="none", alpha=0.65,
                    marker=_MARKERS[f % len(_MARKERS)], markersize=3.5, color=PALETTE[k],
                )  # fmt: skip
            means = [values.mean() if values.size else np.nan for values in seeds]
            axes.plot(x, means, color=PALETTE[k], linewidth=1.2, linestyle=_LINES[f % len(_LINES)])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if quantity.logarithmic:
        axes.set_yscale("log")
    elif quantity.share:
        axes.set_ylim(-0.04, 1.04)
    elif quantity.of == "runs":
        axes.set_ylim(-0.04 * study.horizon_ps, 1.04 * study.horizon_ps)
    else:
        axes.set_ylim(bottom=0)
    unit = f" ({quantity.unit})" if quantity.unit else ""
    axes.set_title(label(quantity.title + unit), loc="left")
    axes.set_xlabel("round")


def _legend(axes: Axes, study: DataStudy) -> None:
    handles = [
        Line2D([], [], color=PALETTE[k], linewidth=2, label=f"{said} frames added")
        for k, said in enumerate(ARMS.values())
    ]
    handles += [
        Line2D([], [], color=GREY, linestyle=_LINES[f % len(_LINES)],
               marker=_MARKERS[f % len(_MARKERS)], markersize=4, label=label(family))
        for f, family in enumerate(study.families)
    ]  # fmt: skip
    axes.legend(handles=handles, loc="center", frameon=False, handlelength=2.2)
