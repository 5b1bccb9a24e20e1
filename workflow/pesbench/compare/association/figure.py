"""The figure of the two named tests: smoothness against survival, one point a variant."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from pesbench.compare.association.compared import Associations
from pesbench.compare.association.correlations import Association
from pesbench.compare.association.labels import place_labels
from pesbench.files.figures import PALETTE, saying, style
from pesbench.models.variants import LEAST_VARIANTS

Array = NDArray[np.float64]
Look = tuple[Any, str]  # colour and marker

_WIDTH_INCH, _LEFT_INCH, _RIGHT_INCH = 11.0, 0.75, 0.15
_PANEL_INCH, _MORE_INCH = 3.9, 0.09  # height of the panels, and more for each name beyond 10
_TOP_INCH, _BOTTOM_INCH, _LINE_INCH = 0.68, 0.65, 0.17
_DOT_POINTS = 3.6  # radius of a point
_PER_LINE = 8  # families in a line of the legend
_METRICS = {"fsd_full": "FSD (Å⁻¹)", "fsd_windowed": "windowed FSD (Å⁻¹)"}
_TITLES = {"fsd_full": "primary test", "fsd_windowed": "secondary test"}
_MARKERS = "osD^vPX<>"  # one more than there are colours: pairs differ for long
_DOT: Mapping[str, Any] = {"ms": 2 * _DOT_POINTS, "mec": "white", "mew": 0.8}


def association(found: Associations) -> Figure:
    """FSD, and windowed FSD beside it, against the survival time lost: one point a variant.

    Beside each name stands the share of its trajectories that fail.

    Args:
        found: Tests of `pesbench.compare.association.compared.associate`.
    """
    tests = (found.answer.primary, found.answer.secondary)
    sentence = found.answer.primary_verdict.sentence
    count = max(len(test.variants) for test in tests)
    if not count:
        return saying("\n".join(textwrap.wrap(sentence, 80)))
    horizon = float(found.compared.runs["planned_ps"].min())
    looks = _looks({family for test in tests for family in test.families})
    said = textwrap.wrap(sentence, 165)
    legend_lines = -(-len(looks) // _PER_LINE)
    top = _TOP_INCH + _LINE_INCH * legend_lines
    bottom = _BOTTOM_INCH + _LINE_INCH * len(said)
    height = top + _PANEL_INCH + _MORE_INCH * max(0, count - 10) + bottom
    with style():
        figure = Figure(figsize=(_WIDTH_INCH, height))
        panels = figure.subplots(1, 2, sharey=True)
        left = _LEFT_INCH / _WIDTH_INCH
        figure.subplots_adjust(
            left=left, right=1 - _RIGHT_INCH / _WIDTH_INCH, top=1 - top / height,
            bottom=bottom / height, wspace=0.05,
        )  # fmt: skip
        lost = [100 * test.y / horizon for test in tests]
        for axes, test, y in zip(panels, tests, lost, strict=True):
            _scatter(axes, test, y, looks)
        panels[0].set_ylim(*_limits(np.concatenate(lost)))
        panels[0].set_ylabel(f"survival time lost (% of {horizon:g} ps)")
        for axes, test, y in zip(panels, tests, lost, strict=True):
            names = [
                f"{name}  {100 * share:.0f} %" if share else name
                for name, share in zip(test.variants, test.failed, strict=True)
            ]
            place_labels(axes, test.x, y, names, _DOT_POINTS, fontsize=7, color="0.15", zorder=6)
        _heading(figure, looks, left)
        figure.text(
            left, (bottom - 0.5) / height, "\n".join(said), va="top", fontsize=8.5, color="0.25",
            linespacing=1.35,
        )  # fmt: skip
    return figure


def _looks(families: Collection[str]) -> dict[str, Look]:
    """Colour and marker of each family."""
    return dict(zip(sorted(families), zip(cycle(PALETTE), cycle(_MARKERS)), strict=False))


def _scatter(axes: Axes, test: Association, lost: Array, looks: Mapping[str, Look]) -> None:
    for family, x, y in zip(test.families, test.x, lost, strict=True):
        colour, marker = looks[family]
        axes.plot(x, y, marker, color=colour, **_DOT, zorder=4, clip_on=False)
    axes.set_xlim(*_limits(test.x))
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


def _limits(values: Array) -> tuple[float, float]:
    """From below 0 to above the largest: a linear axis, on which distances are what they are."""
    top = max(float(np.nanmax(values)), 1e-9)
    return min(0.0, float(np.nanmin(values))) - 0.07 * top, 1.1 * top


def _heading(figure: Figure, looks: Mapping[str, Look], left: float) -> None:
    height = figure.get_figheight()
    figure.text(left, 1 - 0.1 / height, "Does smoothness predict stability?", va="top", fontsize=12)
    figure.text(
        1 - _RIGHT_INCH / _WIDTH_INCH, 1 - 0.14 / height,
        "one point a variant; colour and shape: its family; beside its name: the share of its "
        "trajectories that fail, if any",
        va="top", ha="right", fontsize=8, color="0.25",
    )  # fmt: skip
    figure.legend(
        handles=[
            Line2D([], [], ls="", marker=marker, color=colour, label=family, **_DOT)
            for family, (colour, marker) in looks.items()
        ],
        loc="upper left", bbox_to_anchor=(left - 0.1 / _WIDTH_INCH, 1 - 0.33 / height),
        ncols=min(len(looks), _PER_LINE), frameon=False, handletextpad=0.1, columnspacing=1.4,
        borderaxespad=0.0,
    )  # fmt: skip
