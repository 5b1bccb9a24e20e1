"""The figure of the two named tests: smoothness against survival, one point a variant."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from pesbench.compare.association.compared import Associations
from pesbench.compare.association.correlations import Association
from pesbench.compare.decades import with_zero
from pesbench.files.figures import PALETTE, saying, style
from pesbench.models.variants import LEAST_VARIANTS

Array = NDArray[np.float64]

_LOG_FROM = 20.0  # span of values beyond which an axis is logarithmic
_METRICS = {"fsd_full": "FSD (Å⁻¹)", "fsd_windowed": "windowed FSD (Å⁻¹)"}
_TITLES = {"fsd_full": "primary test", "fsd_windowed": "secondary test"}


def association(found: Associations) -> Figure:
    """FSD, and windowed FSD beside it, against the survival time lost: one point a variant.

    Args:
        found: Of `pesbench.compare.association.associate`.
    """
    tests = (found.answer.primary, found.answer.secondary)
    sentence = found.answer.primary_verdict.sentence
    if not any(len(test.variants) for test in tests):
        return saying("\n".join(textwrap.wrap(sentence, 80)))
    families = sorted(set(found.compared.families.values()))
    colour = dict(zip(families, cycle(PALETTE), strict=False))
    with style():
        figure = Figure(figsize=(9.2, 4.6))
        panels = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.075, right=0.985, top=0.85, bottom=0.245, wspace=0.06)
        for axes, test in zip(panels, tests, strict=True):
            _scatter(axes, test, {v: colour[f] for v, f in found.compared.families.items()})
        lost = np.concatenate([test.y for test in tests])
        _lost_axis(panels[0], lost)
        for axes, test in zip(panels, tests, strict=True):
            _place_labels(axes, test.x, test.y, test.variants)
        handles = [
            Line2D([], [], ls="", marker="o", ms=6, mfc=colour[f], mec="white", label=f)
            for f in families
        ]
        figure.legend(
            handles=handles, loc="upper right", bbox_to_anchor=(0.99, 0.995),
            ncols=len(handles), frameon=False, handletextpad=0.1, columnspacing=1.0,
        )  # fmt: skip
        figure.text(0.075, 0.975, "Does smoothness predict stability?", va="top", fontsize=12)
        figure.text(
            0.075, 0.115, "\n".join(textwrap.wrap(sentence, 142)), va="top", fontsize=8.5,
            color="0.25", linespacing=1.35,
        )  # fmt: skip
    return figure


def _scatter(axes: Axes, test: Association, colour: Mapping[str, Any]) -> None:
    axes.scatter(
        test.x, test.y, s=52, c=[colour[name] for name in test.variants], edgecolors="white",
        linewidths=0.9, alpha=0.9, zorder=4, clip_on=False,
    )  # fmt: skip
    positive = test.x[test.x > 0]
    if (
        len(positive)
        and positive.size == test.x.size
        and np.ptp(np.log(positive)) > np.log(_LOG_FROM)
    ):
        axes.set_xscale("log")
        axes.set_xlim(positive.min() / 1.6, positive.max() * 1.6)
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    elif len(test.x):
        axes.set_xlim(0, 1.12 * max(float(np.nanmax(test.x)), 1e-9))
    said = _TITLES[test.metric]
    if test.n < LEAST_VARIANTS:
        said += f":  not resolved at n = {test.n}"
    elif np.isfinite(test.spearman):
        said += f":  ρ = {test.spearman:.2f}"
        if np.isfinite(test.interval.low):
            said += f"  ({test.interval.low:.2f} to {test.interval.high:.2f})"
        said += f",  p = {test.p:.2g},  n = {test.n}"
    axes.set_title(said, loc="left", fontsize=9, color="0.25")
    axes.set_xlabel(f"mean {_METRICS[test.metric]}")
    axes.tick_params(length=3)


def _lost_axis(axes: Axes, lost: Array) -> None:
    """Linear, or with decades above a linear piece that holds 0: models that lose nothing."""
    finite = lost[np.isfinite(lost)]
    positive = finite[finite > 0]
    most = float(finite.max()) if len(finite) else 1.0
    if len(positive) and positive.max() / positive.min() > _LOG_FROM:
        with_zero(axes, finite)
    else:
        top = 1.15 * most if most > 0 else 1.0
        axes.set_ylim(-0.05 * top, top)
    axes.set_ylabel("survival time lost (ps)")


# Where a name may go: the middle of its nearest edge from its point, in points, and its side.
_PLACES = (
    (7, 0, 1),
    (-7, 0, -1),
    (0, 11, 0),
    (0, -11, 0),
    *(
        (side * out, rise, side)
        for rise in (9, -9, 14, 22, 32, 42, 52, 62, 72, -14, -22, -32, -42, -52)
        for out in (6, 14, 26, 40)
        for side in (1, -1)
    ),
)
_ALIGNED = {1: "left", -1: "right", 0: "center"}
_NEXT_TO = 12.0  # points; a name further away has a line that leads to it
_PASSES = 4


def _place_labels(axes: Axes, x: Array, y: Array, names: Sequence[str]) -> None:
    """Names beside their points, where they cover neither a point nor another name.

    Each takes the cheapest of `_PLACES` given where the others stand, a few times over: covering
    something costs most, then a line through something, then to be nearer to another point than to
    its own, then the distance.
    """
    figure = axes.get_figure()
    figure.draw_without_rendering()
    pixels = figure.dpi / 72
    points = axes.transData.transform(np.column_stack([x, y])) if len(x) else np.empty((0, 2))
    room = axes.get_window_extent().padded(-3 * pixels)  # at another resolution widths differ
    dots = [Bbox.from_extents(*(point - 4 * pixels), *(point + 4 * pixels)) for point in points]
    texts = [
        axes.annotate(
            name, (a, b), xytext=(0, 0), textcoords="offset points", fontsize=7.5, va="center",
            color="0.15", zorder=6, annotation_clip=False,
        )
        for name, a, b in zip(names, x, y, strict=True)
    ]  # fmt: skip
    sizes = [text.get_window_extent() for text in texts]
    chosen: dict[int, tuple[int, Bbox]] = {}
    order = np.argsort(x, kind="stable").tolist()
    for k in order * _PASSES:
        others = [dot for j, dot in enumerate(dots) if j != k]
        others += [box for j, (_, box) in chosen.items() if j != k]
        lines = [
            (points[j], box)
            for j, (place, box) in chosen.items()
            if j != k and math.hypot(*_PLACES[place][:2]) > _NEXT_TO
        ]
        least = math.inf
        width, height = sizes[k].width, sizes[k].height
        for place, (dx, dy, side) in enumerate(_PLACES):
            cost = far = math.hypot(dx, dy)
            if cost >= least:
                continue
            left = points[k, 0] + dx * pixels - {1: 0.0, 0: width / 2, -1: width}[side]
            bottom = points[k, 1] + dy * pixels - height / 2
            box = Bbox.from_bounds(left, bottom, width, height)
            outside = width * height - _shared_area(box, room)
            covered = [area for other in others if (area := _shared_area(box, other)) > 0]
            cost += 200 * len(covered) + sum(covered) + 200 * (outside > 1) + outside
            if cost >= least:
                continue
            cost += 60 * sum(_crosses(point, label, box) for point, label in lines)
            if far > _NEXT_TO:
                cost += 60 * sum(_crosses(points[k], box, other) for other in others)
            else:
                gaps = [_gap(box, point) for point in points]
                cost += 40 * (min(gaps) < gaps[k] - 1e-6)
            if cost < least:
                least, chosen[k] = cost, (place, box)
    for k, (place, _) in chosen.items():
        dx, dy, side = _PLACES[place]
        texts[k].set_position((dx, dy))
        texts[k].set_horizontalalignment(_ALIGNED[side])
        if np.hypot(dx, dy) > _NEXT_TO:
            axes.annotate(
                "", (x[k], y[k]), xytext=(dx, dy), textcoords="offset points", zorder=3,
                arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.6, "shrinkA": 0,
                            "shrinkB": 2},
            )  # fmt: skip


def _gap(box: Bbox, point: Array) -> float:
    """Distance of a point from a box."""
    dx = max(box.x0 - point[0], 0.0, point[0] - box.x1)
    dy = max(box.y0 - point[1], 0.0, point[1] - box.y1)
    return float(np.hypot(dx, dy))


def _crosses(point: Array, label: Bbox, other: Bbox) -> bool:
    """Whether the line from a point to the nearest place of its label runs through another box."""
    end = np.clip(point, [label.x0, label.y0], [label.x1, label.y1])
    inside = point + np.linspace(0.1, 0.95, 15)[:, None] * (end - point)
    low, high = np.array([other.x0, other.y0]), np.array([other.x1, other.y1])
    return bool(((inside > low) & (inside < high)).all(axis=1).any())


def _shared_area(one: Bbox, other: Bbox) -> float:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(width, 0.0) * max(height, 0.0)
