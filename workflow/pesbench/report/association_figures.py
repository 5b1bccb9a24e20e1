"""Figures of stability: smoothness against survival over models, and dose against response."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from ase.data import covalent_radii
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from pesbench.metrics.association import LEAST_VARIANTS, Association
from pesbench.models import perturbed
from pesbench.report.association import Associations
from pesbench.report.figures import GREY, PALETTE, saying, style

Array = NDArray[np.float64]

_LOG_FROM = 20.0  # span of values beyond which an axis is logarithmic
_METRICS = {"fsd_full": "FSD (Å⁻¹)", "fsd_windowed": "windowed FSD (Å⁻¹)"}
_TITLES = {"fsd_full": "primary test", "fsd_windowed": "secondary test"}
_UNSTABLE = "#c44e52"


# --- smoothness against survival -----------------------------------------------------------------


def association(found: Associations) -> Figure:
    """FSD, and windowed FSD beside it, against the survival time lost: one point a variant.

    Args:
        found: Of `pesbench.report.association.associate`.
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
        _with_zero(axes, float(positive.min()), most, bool((finite <= 0).any()))
    else:
        top = 1.15 * most if most > 0 else 1.0
        axes.set_ylim(-0.05 * top, top)
    axes.set_ylabel("survival time lost (ps)")


def _with_zero(axes: Axes, low: float, high: float, zero: bool) -> None:
    """Decades from `low` to `high`, and 0 below them if it occurs."""
    least = 10.0 ** np.floor(np.log10(low))
    if zero:
        axes.set_yscale("symlog", linthresh=least, linscale=0.7)
        axes.set_ylim(-0.35 * least, 2.5 * high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low / 2.5, high * 2.5)
    limits = axes.get_ylim()
    decades = np.arange(np.log10(least), np.ceil(np.log10(high)) + 1)
    apart = -(-len(decades) // 4)
    ticks = 10.0 ** decades[apart if zero and apart > 1 else 0 :: apart]
    ticks = [*([0.0] if zero else []), *ticks[(ticks >= limits[0]) & (ticks <= limits[1])]]
    axes.set_yticks(ticks, [_decade(tick) for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(limits)


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


# --- dose and response ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """How a kind of defect is headed, and the dose that its sketch shows."""

    kind: str
    title: str
    label: str
    shown: float


_KINDS = (
    _Kind("ripple", "ripple", "amplitude (eV)", 0.25),
    _Kind("step", "energy step", "height (eV)", 1.0),
    _Kind("dip", "false minimum", "depth (eV)", 2.2),
    _Kind("wall", "soft wall", "softer by (eV)", 14.0),
    _Kind("curl", "curl", "strength (eV/Å²)", 1.0),
    _Kind("noise", "frozen noise", "σ of the force (eV/Å)", 3.5),
)


@dataclass(frozen=True)
class _Row:
    """A response: its column in the table, its label and its axis."""

    column: str
    label: str
    log: bool = False


_ROWS = (
    _Row("survival", "survival (ps)"),
    _Row("drift", "|drift|\n(meV/atom/ps)", log=True),
    _Row("fsd_full", "FSD (Å⁻¹)"),
    _Row("fsd_windowed", "windowed\nFSD (Å⁻¹)"),
    _Row("force_mae", "force MAE\n(eV/Å)", log=True),
)


def dose_response(doses: pd.DataFrame) -> Figure:
    """Stability and cheap metrics against the size of a known defect, a column a kind.

    Above each column the defect is drawn on the curve of a bond. Shaded are the doses from the
    first one on that lives shorter than the unperturbed model, where a column has a single line.
    Open symbols: a drift of fewer than half of the trajectories, a score of fewer than all scans.

    Args:
        doses: Of `pesbench.report.association.dose_table`, not empty.
    """
    ladder = doses[doses["kind"] != ""]
    base = doses[doses["kind"] == ""].set_index("model")
    known = {kind.kind: kind for kind in _KINDS}
    kinds = [kind for kind in _KINDS if kind.kind in set(ladder["kind"])]
    kinds += [_Kind(k, k, "dose", 1.0) for k in sorted(set(ladder["kind"]) - set(known))]
    series = sorted(ladder["series"].unique())
    colour = dict(zip(series, cycle(PALETTE), strict=False))
    with style():
        width, height = 1.3 + 1.75 * len(kinds), 8.6
        figure = Figure(figsize=(max(width, 4.8), height))
        grid = figure.add_gridspec(
            len(_ROWS) + 1, len(kinds), height_ratios=[0.62, *[1] * len(_ROWS)], hspace=0.13,
            wspace=0.1, left=0.95 / max(width, 4.8), right=1 - 0.12 / max(width, 4.8),
            top=1 - 0.86 / height, bottom=0.62 / height,
        )  # fmt: skip
        panels = np.array(
            [
                [figure.add_subplot(grid[r + 1, c]) for c in range(len(kinds))]
                for r in range(len(_ROWS))
            ]
        )
        shaded = False
        for c, kind in enumerate(kinds):
            sketch = figure.add_subplot(grid[0, c])
            _sketch(sketch, kind)
            rows = ladder[ladder["kind"] == kind.kind]
            edge = _unstable_from(rows, base)
            shaded |= edge is not None
            for axes, row in zip(panels[:, c], _ROWS, strict=True):
                _response(axes, row, rows, base, colour)
                _dose_axis(axes, rows["dose"].to_numpy(), edge)
                axes.tick_params(labelleft=c == 0, labelbottom=row is _ROWS[-1], length=2.5)
            panels[-1, c].set_xlabel(kind.label)
        for r, row in enumerate(_ROWS):
            _share_scale(panels[r], row, doses)
            panels[r, 0].set_ylabel(row.label)
        figure.align_ylabels(panels[:, 0])
        figure.align_xlabels(panels[-1])
        _dose_legend(figure, ladder, base, colour, shaded)
    return figure


def _unstable_from(rows: pd.DataFrame, base: pd.DataFrame) -> float | None:
    """The first dose that lives shorter than its base; None if none does, or of two lines."""
    if len(set(rows["series"])) != 1:
        return None
    name = rows["base"].iloc[0]
    alone = base["survival"].get(name, np.nan)
    full = alone if np.isfinite(alone) else rows["horizon_ps"].iloc[0]
    short = rows[rows["survival"] < full * (1 - 1e-9)]
    return float(short["dose"].min()) if len(short) else None


def _dose_axis(axes: Axes, doses: Array, edge: float | None) -> None:
    low, high = doses.min() / 1.8, doses.max() * 1.8
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(base=10, numticks=5))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=False, axis="x")
    if edge is not None:
        below = doses[doses < edge]
        start = np.sqrt(below.max() * edge) if len(below) else low
        axes.axvspan(start, high, color=_UNSTABLE, alpha=0.1, lw=0, zorder=0)


def _incomplete(row: _Row, one: pd.Series) -> bool:
    if row.column == "survival":
        return False
    if row.column == "drift":
        return bool(one["n_drifts"] < 0.5 * one["n_runs"])
    return bool(one["n_scored"] < one["n_planned"])


def _response(
    axes: Axes, row: _Row, rows: pd.DataFrame, base: pd.DataFrame, colour: Mapping[str, Any]
) -> None:
    for name, line in rows.groupby("series"):
        line = line.sort_values("dose")
        shade = colour[name]
        alone = base[row.column].get(line["base"].iloc[0], np.nan)
        if np.isfinite(alone):
            axes.axhline(alone, color=shade, ls=(0, (4, 2)), lw=1.1, zorder=2)
        some = line[line[row.column].notna()]
        x, y = some["dose"].to_numpy(), some[row.column].to_numpy()
        if row.column == "survival":
            low, high = some["survival_low"].to_numpy(), some["survival_high"].to_numpy()
            axes.fill_between(x, low, high, color=shade, alpha=0.18, lw=0, zorder=1)
        axes.plot(x, y, "-", color=shade, lw=1.6, zorder=3)
        open_ = np.array([_incomplete(row, one) for _, one in some.iterrows()], dtype=bool)
        for chosen, fill in ((~open_, shade), (open_, "white")):
            axes.plot(
                x[chosen], y[chosen], "o", ms=4.6, mfc=fill, mec=shade, mew=1.2, zorder=4,
                clip_on=False,
            )  # fmt: skip


def _share_scale(panels: Sequence[Axes], row: _Row, doses: pd.DataFrame) -> None:
    """One scale for a row of panels."""
    values = doses[row.column].dropna().to_numpy(dtype=float)
    positive = values[values > 0]
    if row.log and len(positive):
        zero = bool((values == 0).any())
        for axes in panels:
            _with_zero(axes, float(positive.min()), float(positive.max()), zero)
        return
    top = 1.1 * max(float(values.max()) if len(values) else 0.0, 1e-9)
    for axes in panels:
        axes.set_ylim(-0.05 * top, top)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _decade(value: float) -> str:
    if value == 0:
        return "0"
    exponent = round(np.log10(value))
    return f"{value:g}" if -3 <= exponent <= 3 else f"$10^{{{exponent}}}$"


def _sketch(axes: Axes, kind: _Kind) -> None:
    """What the defect does to the energy of a C-C bond, exaggerated; a curl has none."""
    axes.axis("off")
    axes.set_title(kind.title, fontsize=10, pad=3)
    if kind.kind == "curl":
        _curl_sketch(axes)
        return
    rest_angstrom = 2 * float(covalent_radii[6])
    r = np.linspace(0.66, 2.05, 700) * rest_angstrom
    rest = np.full_like(r, rest_angstrom)
    morse = 5.0 * (1 - np.exp(-1.9 * (r - rest_angstrom))) ** 2
    added = np.zeros_like(r)
    if kind.kind == "noise":
        elements = np.full((len(r), 2), 6)
        # cells wide enough to be seen
        added = perturbed.Noise(kind.shown, 0.035, 0)(r, rest, elements)[0]
    elif kind.kind == "ripple":
        added = perturbed.ripple(r, rest, kind.shown, 0.16)[0]
    elif kind.kind == "step":
        added = perturbed.step(r, rest, kind.shown, 1.1)[0]
    elif kind.kind == "dip":
        added = perturbed.dip(r, rest, kind.shown, 1.35, 0.08)[0]
    elif kind.kind == "wall":
        added = perturbed.wall(r, rest, kind.shown, 0.9)[0]
    axes.plot(r, morse, color="0.7", lw=1.1, ls=(0, (4, 2)))
    axes.plot(r, morse + added, color="0.1", lw=1.3)
    axes.set(xlim=(r[0], r[-1]), ylim=(-1.4, 7.2))


def _curl_sketch(axes: Axes) -> None:
    """Two atoms and the forces on them, at right angles to the bond."""
    axes.plot([-1, 1], [0, 0], color="0.7", lw=1.1, ls=(0, (4, 2)), zorder=1)
    axes.plot([-1, 1], [0, 0], "o", ms=8, mfc="white", mec="0.1", mew=1.3, zorder=3)
    for x, y in ((-1, -1), (1, 1)):
        axes.annotate(
            "", (x, y), xytext=(x, 0.1 * y),
            arrowprops={"arrowstyle": "-|>", "color": "0.1", "lw": 1.3},
        )  # fmt: skip
    axes.set(xlim=(-2.4, 2.4), ylim=(-1.3, 1.3))


def _dose_legend(
    figure: Figure,
    ladder: pd.DataFrame,
    base: pd.DataFrame,
    colour: Mapping[str, Any],
    shaded: bool,
) -> None:
    handles: list[Any] = []
    for name, shade in colour.items():
        handles.append(
            Line2D([], [], color=shade, marker="o", ms=4.6, lw=1.6, label=f"{name} + defect")
        )
    if len(base):
        named = base.index[0] if len(base) == 1 else "the same"
        handles.append(
            Line2D([], [], color=next(iter(colour.values())) if len(colour) == 1 else GREY,
                   ls=(0, (4, 2)), lw=1.1, label=f"{named} without defect")
        )  # fmt: skip
    if shaded:
        handles.append(Patch(color=_UNSTABLE, alpha=0.1, lw=0, label="trajectories break"))
    if any(_incomplete(row, one) for row in _ROWS for _, one in ladder.iterrows()):
        handles.append(
            Line2D([], [], ls="", marker="o", ms=4.6, mfc="white", mec=GREY, label="incomplete")
        )
    width, height = figure.get_size_inches()
    figure.text(
        0.95 / width, 1 - 0.08 / height, "One defect at a time: what each metric sees",
        va="top", fontsize=12,
    )  # fmt: skip
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.85 / width, 1 - 0.28 / height),
        ncols=len(handles), frameon=False, columnspacing=1.4, handlelength=2.2, borderaxespad=0.2,
    )  # fmt: skip
