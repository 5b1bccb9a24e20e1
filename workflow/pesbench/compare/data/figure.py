"""Figure of studies of frames: every quantity against the number of frames."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pesbench.compare.data.table import PAIRS, RUNS, SCANS, DataStudy, Quantity
from pesbench.core.text import label
from pesbench.files.figures import GREY, PALETTE, saying, style

_COLUMNS = 3
_INCHES = 2.6, 2.2  # of a panel
_MARKERS, _LINES = ("o", "s", "^", "D"), ("-", "--", ":", "-.")
_SHIFT = 1.06  # factor between the kinds, so that seeds of equal value are seen


def figure(study: DataStudy) -> Figure:
    """One panel a quantity: points are seeds, lines join their means."""
    shown = [one for name, one in study.quantities.items() if study.models[name].notna().any()]
    if not shown:
        return saying("nothing of the study has a score")
    panels = len(shown) + 1
    rows = -(-panels // _COLUMNS)
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
        for k, kind in enumerate(study.kinds):
            sizes = study.frames(family, kind)
            if not sizes:  # a kind that this study does without
                continue
            shift = _SHIFT ** (k - 1)
            means = []
            for n in sizes:
                seeds = study.seeds(family, kind, n, quantity.column)
                means.append(seeds.mean() if seeds.size else np.nan)
                axes.plot(
                    np.full(seeds.size, n * shift), seeds, linestyle="none", alpha=0.65,
                    marker=_MARKERS[f % len(_MARKERS)], markersize=3.5, color=PALETTE[k],
                )  # fmt: skip
            axes.plot(
                np.array(sizes) * shift, means, color=PALETTE[k], linewidth=1.2,
                linestyle=_LINES[f % len(_LINES)],
            )  # fmt: skip
    every = sorted({int(n) for n in study.models["frames"]})
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(every))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:.0f}"))
    if quantity.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: _minor(y)))
    elif quantity.share:
        axes.set_ylim(-0.04, 1.04)
    elif quantity.of == RUNS:
        axes.set_ylim(-0.04 * study.horizon_ps, 1.04 * study.horizon_ps)
    else:
        axes.set_ylim(bottom=0)
    unit = f" ({quantity.unit})" if quantity.unit else ""
    title = quantity.panel or label(quantity.title + unit)
    axes.set_title(title + _number_of(study, quantity), loc="left")
    axes.set_xlabel("frames")


def _number_of(study: DataStudy, quantity: Quantity) -> str:
    """A line that says what the mean of a seed is over, such as `195 pairs a seed`."""
    numbers = study.models.get(f"{quantity.column}_n")
    if quantity.of not in (RUNS, SCANS, PAIRS) or numbers is None:
        return ""
    low, high = int(numbers.min()), int(numbers.max())
    return f"\n{high if low == high else f'{low} to {high}'} {quantity.of} a seed"


def _minor(y: float) -> str:
    """A label for 2 and 5 of a decade only."""
    first = y / 10 ** np.floor(np.log10(y))
    return f"{y:g}" if round(float(first), 6) in (2.0, 5.0) else ""


def _legend(axes: Axes, study: DataStudy) -> None:
    handles = [
        Line2D([], [], color=PALETTE[k], linewidth=2, label=label(said))
        for k, (kind, said) in enumerate(study.kinds.items())
        if kind in set(study.models["kind"])
    ]
    handles += [
        Line2D([], [], color=GREY, linestyle=_LINES[f % len(_LINES)],
               marker=_MARKERS[f % len(_MARKERS)], markersize=4, label=label(family))
        for f, family in enumerate(study.families)
    ]  # fmt: skip
    handles += [
        Line2D([], [], linestyle="none", label=label(f"n at {n}: {said}"))
        for n, said in _counts(study).items()
    ]
    axes.legend(handles=handles, loc="center", frameon=False, handlelength=2.2)


def _counts(study: DataStudy) -> dict[int, str]:
    """Seeds of a potential by its number of frames."""
    seeds = study.models.groupby(["family", "kind", "frames"]).size().groupby("frames")
    return {
        int(n): (f"{low}" if low == high else f"{low} to {high}") + f" seed{'s' * (high > 1)}"
        for n, low, high in zip(seeds.min().index, seeds.min(), seeds.max(), strict=True)
    }
