"""The figure of the two named tests: smoothness against survival, one point a variant."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from pesbench.compare.association.verdicts import METRIC_TITLES
from pesbench.files.figures import PALETTE, saying, style
from pesbench.models.variants import LEAST_VARIANTS

Array = NDArray[np.float64]
Look = tuple[Any, str]  # colour and marker

_WIDTH_INCH, _LEFT_INCH = 12.0, 0.75
_TOP_INCH, _BOTTOM_INCH = 0.62, 0.65
_PANEL_INCH = 4.0  # height, unless the key needs more
_LINE_INCH, _LETTER_INCH = 0.158, 0.078  # of the key
_SENTENCE_INCH = 0.17
_DOT_POINTS = 3.6  # radius of a point
_TITLES = {"fsd_full": "primary test", "fsd_windowed": "secondary test"}
_MARKERS = "osD^vPX<>"  # one more than there are colours: pairs differ for long
_DOT: Mapping[str, Any] = {"ms": 2 * _DOT_POINTS, "mec": "white", "mew": 0.8}


@dataclass(frozen=True)
class _Variant:
    """A point: its number in both panels, and the share of its trajectories that fail."""

    number: int
    family: str
    failed: float


def association(found: Associations) -> Figure:
    """FSD, and windowed FSD beside it, against the survival time lost: one point a variant.

    A key names the numbers, family by family, with the share of the trajectories that fail.

    Args:
        found: Tests of `pesbench.compare.association.compared.associate`.
    """
    tests = (found.answer.primary, found.answer.secondary)
    sentence = found.answer.primary_verdict.sentence
    variants = _variants(tests)
    if not variants:
        return saying("\n".join(textwrap.wrap(sentence, 80)))
    horizon = float(found.compared.runs["planned_ps"].min())
    families = sorted({one.family for one in variants.values()})
    looks = dict(zip(families, zip(cycle(PALETTE), cycle(_MARKERS), strict=False), strict=False))
    said = textwrap.wrap(sentence, 165)
    bottom = _BOTTOM_INCH + _SENTENCE_INCH * len(said)
    panel = max(_PANEL_INCH, _LINE_INCH * (len(variants) + len(families) + 1))
    key = 1.0 + _LETTER_INCH * max(map(len, [*variants, *families]))
    height = _TOP_INCH + panel + bottom
    with style():
        figure = Figure(figsize=(_WIDTH_INCH, height))
        panels = figure.subplots(1, 2, sharey=True)
        left, right = _LEFT_INCH / _WIDTH_INCH, 1 - key / _WIDTH_INCH
        figure.subplots_adjust(
            left=left, right=right, top=1 - _TOP_INCH / height, bottom=bottom / height, wspace=0.06
        )
        lost = [100 * test.y / horizon for test in tests]
        for axes, test, y in zip(panels, tests, lost, strict=True):
            _scatter(axes, test, y, looks)
        panels[0].set_ylim(*_limits(np.concatenate(lost)))
        panels[0].set_ylabel(f"survival time lost (% of {horizon:g} ps)")
        for axes, test, y in zip(panels, tests, lost, strict=True):
            numbers = [str(variants[name].number) for name in test.variants]
            place_labels(axes, test.x, y, numbers, _DOT_POINTS, fontsize=7.5, zorder=6)
        _key(figure, variants, looks, right * _WIDTH_INCH + 0.25)
        figure.text(
            left, 1 - 0.1 / height, "Does smoothness predict stability?", va="top", fontsize=12
        )
        figure.text(
            left, (bottom - 0.5) / height, "\n".join(said), va="top", fontsize=8.5, color="0.25",
            linespacing=1.35,
        )  # fmt: skip
    return figure


def _variants(tests: Sequence[Association]) -> dict[str, _Variant]:
    """The variants of the tests, numbered family by family."""
    found = {}
    for test in reversed(tests):
        facts = zip(test.variants, test.families, test.failed, strict=True)
        found |= {name: (family, float(share)) for name, family, share in facts}
    ordered = sorted(found.items(), key=lambda item: (item[1][0], item[0]))
    return {name: _Variant(k, *facts) for k, (name, facts) in enumerate(ordered, start=1)}


def _key(
    figure: Figure, variants: Mapping[str, _Variant], looks: Mapping[str, Look], left: float
) -> None:
    """Right of the panels: families with colour and shape, their variants with number and share.

    Args:
        figure: The figure.
        variants: Variants by name, in order.
        looks: Looks of the families.
        left: Left edge in inches.
    """
    width, height = figure.get_size_inches()
    right = width - 0.1
    y = height - _TOP_INCH

    def write(x: float, text: str, side: str, **look: Any) -> None:
        figure.text(x / width, y / height, text, ha=side, va="center", fontsize=7.5, **look)

    write(right, "trajectories that fail", "right", color="0.35")
    shown = ""
    for name, one in variants.items():
        if one.family != shown:
            shown = one.family
            y -= _LINE_INCH
            colour, marker = looks[shown]
            figure.add_artist(
                Line2D([(left + 0.09) / width], [y / height], ls="", marker=marker, color=colour,
                       **_DOT)
            )  # fmt: skip
            write(left + 0.25, shown, "left", weight="bold")
        y -= _LINE_INCH
        write(left + 0.18, str(one.number), "right")
        write(left + 0.25, name, "left")
        write(right, f"{100 * one.failed:.0f} %", "right")


def _scatter(axes: Axes, test: Association, lost: Array, looks: Mapping[str, Look]) -> None:
    for family, x, y in zip(test.families, test.x, lost, strict=True):
        colour, marker = looks[family]
        axes.plot(x, y, marker, color=colour, **_DOT, zorder=4, clip_on=False)
    axes.set_xlim(*_limits(test.x))
    said = f"{_TITLES[test.metric]}: "
    if test.n < LEAST_VARIANTS:
        said += f"not resolved at n = {test.n}"
    elif np.isfinite(test.spearman):
        said += f"ρ = {test.spearman:.2f}"
        if np.isfinite(test.interval.low):
            said += f" ({test.interval.low:.2f} to {test.interval.high:.2f})"
        said += f", p within families = {test.p:.2g}, n = {test.n}"
    axes.set_title(said, loc="left", fontsize=8, color="0.25")
    axes.set_xlabel(f"mean {METRIC_TITLES[test.metric]} (Å⁻¹)")
    axes.tick_params(length=3)


def _limits(values: Array) -> tuple[float, float]:
    """From below 0 to above the largest: a linear axis, on which distances are what they are."""
    top = max(float(np.nanmax(values)), 1e-9)
    return min(0.0, float(np.nanmin(values))) - 0.07 * top, 1.1 * top
