"""The figure of the two named tests: smoothness against survival, one point a variant."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from pesbench.compare.association.compared import Associations
from pesbench.compare.association.correlations import Association
from pesbench.compare.decades import with_zero
from pesbench.files.figures import PALETTE, saying, style
from pesbench.models.variants import LEAST_VARIANTS

Array = NDArray[np.float64]

_STEPS = 500  # of the placement of names
_DOT_POINTS = 4.5  # radius of a dot
_LOG_FROM = 20.0  # span of values beyond which an axis is logarithmic
_METRICS = {"fsd_full": "FSD (Å⁻¹)", "fsd_windowed": "windowed FSD (Å⁻¹)"}
_TITLES = {"fsd_full": "primary test", "fsd_windowed": "secondary test"}


def association(found: Associations) -> Figure:
    """FSD, and windowed FSD beside it, against the survival time lost: one point a variant.

    Args:
        found: Tests of `pesbench.compare.association.compared.associate`.
    """
    tests = (found.answer.primary, found.answer.secondary)
    sentence = found.answer.primary_verdict.sentence
    if not any(len(test.variants) for test in tests):
        return saying("\n".join(textwrap.wrap(sentence, 80)))
    families = sorted({family for test in tests for family in test.families})
    colour = dict(zip(families, cycle(PALETTE), strict=False))
    with style():
        figure = Figure(figsize=(9.2, 6.0))
        panels = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.075, right=0.985, top=0.88, bottom=0.2, wspace=0.06)
        for axes, test in zip(panels, tests, strict=True):
            _scatter(axes, test, colour)
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
            0.075, 0.1, "\n".join(textwrap.wrap(sentence, 142)), va="top", fontsize=8.5,
            color="0.25", linespacing=1.35,
        )  # fmt: skip
    return figure


def _scatter(axes: Axes, test: Association, colour: Mapping[str, Any]) -> None:
    axes.scatter(
        test.x, test.y, s=52, c=[colour[family] for family in test.families], edgecolors="white",
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


def _place_labels(axes: Axes, x: Array, y: Array, names: Sequence[str]) -> None:
    """Names beside their points, moved apart; a line leads to a name that is not next to its own.

    The number of steps is limited and not the time, which would differ from run to run.
    """
    texts = [
        axes.text(a, b, name, fontsize=6.5, ha="center", va="center", color="0.15", zorder=6)
        for name, a, b in zip(names, x, y, strict=True)
    ]
    if not texts:
        return
    figure = axes.get_figure()
    figure.draw_without_rendering()
    # a point is a dot: names keep away from its edge, too
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    edge = _DOT_POINTS * figure.dpi / 72 * np.column_stack([np.cos(angle), np.sin(angle)])
    middle = axes.transData.transform(np.column_stack([x, y]))
    around = axes.transData.inverted().transform((middle[:, None] + edge).reshape(-1, 2))
    adjust_text(
        texts,
        x=around[:, 0],
        y=around[:, 1],
        target_x=x,
        target_y=y,
        ax=axes,
        expand=(1.3, 1.9),
        force_text=(0.4, 0.8),
        force_static=(0.1, 0.2),
        force_pull=(0.002, 0.002),
        iter_lim=_STEPS,
        min_arrow_len=8,
        arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.6},
    )
