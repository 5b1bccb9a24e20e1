"""Figures of dose and response: stability and metrics against the size of a known defect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from pesbench.compare.decades import with_zero
from pesbench.compare.dose.table import BASE
from pesbench.files.figures import GREY, PALETTE, style
from pesbench.models.families import perturbed

Array = NDArray[np.float64]
Incomplete = Callable[[pd.Series], bool]

_UNSTABLE = "#c44e52"
_DASHED = (0, (4, 2))
_LEFT_INCH, _COLUMN_INCH, _RIGHT_INCH = 1.13, 1.75, 0.12
_LEAST_INCH = 6.0
_HANDLE_INCH = 1.45
_LEGEND_INCH = 1.6  # right of each row of families


@dataclass(frozen=True)
class _Kind:
    """Heading of a kind of defect, and the dose that its sketch shows."""

    kind: str
    title: str
    label: str
    shown: float


_KINDS = (
    _Kind("ripple", "ripple", "amplitude", 0.25),
    _Kind("step", "energy step", "height", 1.0),
    _Kind("dip", "false minimum", "depth", 2.2),
    _Kind("wall", "soft wall", "softer by", 14.0),
    _Kind("curl", "curl", "strength", 1.0),
    _Kind("noise", "frozen noise", "σ of the force", 3.5),
)


@dataclass(frozen=True)
class _Row:
    """A response: its column in the table, its label and its axis."""

    column: str
    label: str
    log: bool = False


_SURVIVAL = _Row("survival_ps", "survival (ps)")
_DRIFT = _Row("drift_mev_per_atom_ps", "|drift|\n(meV/atom/ps)", log=True)
_ROWS = (
    _SURVIVAL,
    _DRIFT,
    _Row("fsd_full", "FSD (Å⁻¹)"),
    _Row("fsd_windowed", "windowed\nFSD (Å⁻¹)"),
    _Row("force_mae", "force MAE\n(eV/Å)", log=True),
)


@dataclass(frozen=True)
class _Family:
    """Metrics of one kind, that share an axis.

    Attributes:
        label: Label of the axis.
        metrics: Column and name in the legend.
        decades: Number of decades of the logarithmic axis; 0 for a linear one.
    """

    label: str
    metrics: Mapping[str, str]
    decades: int = 6


_FAMILIES = (
    _Family(
        "FSD (Å⁻¹)",
        {
            "fsd_full": "full",
            "fsd_compress": "compressed",
            "fsd_stretch": "stretched",
            "fsd_windowed": "windowed",
            "fsd_slope_p95": "95th percentile",
            "fsd_aligned": "self-aligned",
        },
    ),
    _Family(
        "force MAE\n(eV/Å)",
        {
            "force_mae": "whole scan",
            "force_mae_compress": "compressed",
            "force_mae_stretch": "stretched",
            "force_mae_1ev": "below 1 eV",
            "force_mae_2ev": "below 2 eV",
        },
    ),
    _Family(
        "energy MAE\n(eV)",
        {
            "energy_mae": "whole scan",
            "energy_mae_compress": "compressed",
            "energy_mae_stretch": "stretched",
            "energy_mae_aligned": "offset removed",
            "energy_mae_1ev": "below 1 eV",
            "energy_mae_2ev": "below 2 eV",
        },
    ),
    _Family(
        "shape of\nthe curve",
        {
            "spurious_extrema": "extrema, energy\n(a scan)",
            "spurious_extrema_force": "extrema, integrated\nforces (a scan)",
            "energy_force_inconsistency": "energy against\nforces (eV)",
        },
        decades=4,
    ),
    _Family(
        "monotone\ncompressions\n(share of scans)",
        {
            "compression_monotone": "energy",
            "compression_monotone_force": "integrated forces",
        },
        decades=0,
    ),
)
RESPONSES = {row.column: row.label.replace("\n", " ") for row in _ROWS}
METRICS = {m: f"{f.label}, {n}".replace("\n", " ") for f in _FAMILIES for m, n in f.metrics.items()}
# all are seen where they lie over one another
_MARKERS = (("o", 6.2), ("s", 4.6), ("^", 4.6), ("D", 3.4), ("v", 3.6), ("P", 3.8))
_SERIES_LINES = ("-", (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (2, 2)), (0, (7, 2, 1, 2, 1, 2)))


# --- the figures ---------------------------------------------------------------------------------


def dose_response(doses: pd.DataFrame) -> Figure:
    """Stability and cheap metrics against the size of a known defect, a column a kind.

    Above each column the defect is drawn on the curve of a bond. Shaded are the doses from the
    first one on that lives shorter than the unperturbed model, or fails before the first step where
    that one does not, where a column has a single line. Open symbols: survival over fewer
    trajectories than that of the unperturbed model, a drift of fewer than half of the trajectories,
    a score of fewer than all scans. Crosses: no trajectory got to its first step.

    Args:
        doses: Table of `pesbench.compare.dose.table.dose_table`, not empty.
    """
    ladder, base = _parts(doses)
    series = sorted(ladder["series"].unique())
    colour = dict(zip(series, cycle(PALETTE), strict=False))
    missing = False
    with style():
        figure, panels, edges = _panels(ladder, base, len(_ROWS), height=8.6)
        for rows, column, edge in zip(_by_kind(ladder), panels.T, edges, strict=True):
            for axes, row in zip(column, _ROWS, strict=True):
                incomplete = _incomplete(row.column, base)
                for name, line in rows.groupby("series"):
                    shade = colour[name]
                    _base_line(axes, row.column, line, base, shade)
                    if row is _SURVIVAL:
                        missing |= _survival(axes, line, shade)
                    _line(axes, row.column, line, incomplete, color=shade)
                _dose_axis(axes, rows["dose"].to_numpy(), edge)
        for row, across in zip(_ROWS, panels, strict=True):
            _share_scale(across, doses[row.column], row.log)
            across[0].set_ylabel(row.label)
        figure.align_ylabels(panels[:, 0])
        open_ = _any_incomplete([row.column for row in _ROWS], ladder, base)
        handles = [
            Line2D([], [], color=shade, marker="o", ms=4.6, lw=1.6, label=f"{name} + defect")
            for name, shade in colour.items()
        ]
        shade = next(iter(colour.values())) if len(colour) == 1 else GREY
        handles += _common_handles(base, shade, any(e is not None for e in edges), open_)
        if missing:
            handles.append(_sign("x", GREY, "none got to its first step"))
        _heading(figure, "One defect at a time: what each metric sees", handles)
    return figure


def dose_metrics(doses: pd.DataFrame) -> Figure:
    """Every cheap metric against the size of a known defect: a column a kind, a row a family.

    Shaded as in `dose_response`. Dashed is the unperturbed model; it is 0, or 1 for a share, where
    that is the reference itself. Open symbols: a mean over fewer than all scans. Lines of another
    base, or of other parameters of a defect, differ in their dashes.

    Args:
        doses: Table of `pesbench.compare.dose.table.dose_table`, not empty.
    """
    ladder, base = _parts(doses)
    series = sorted(ladder["series"].unique())
    dashes = dict(zip(series, cycle(_SERIES_LINES), strict=False))
    with style():
        figure, panels, edges = _panels(
            ladder, base, len(_FAMILIES), height=9.6, legend_inch=_LEGEND_INCH
        )
        for rows, column, edge in zip(_by_kind(ladder), panels.T, edges, strict=True):
            for axes, family in zip(column, _FAMILIES, strict=True):
                for metric, shade, (marker, size) in _looks(family):
                    for name, line in rows.groupby("series"):
                        _base_line(axes, metric, line, base, shade)
                        _line(
                            axes, metric, line, _incomplete(metric, base), color=shade,
                            marker=marker, size=size, dashes=dashes[name], width=1.3,
                        )  # fmt: skip
                _dose_axis(axes, rows["dose"].to_numpy(), edge)
        for family, across in zip(_FAMILIES, panels, strict=True):
            values = pd.concat([doses[metric] for metric in family.metrics])
            _share_scale(across, values, bool(family.decades), family.decades)
            across[0].set_ylabel(family.label)
            across[-1].legend(
                handles=[
                    Line2D([], [], color=shade, marker=marker, ms=size, lw=1.3,
                           label=family.metrics[metric])
                    for metric, shade, (marker, size) in _looks(family)
                ],
                loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7.5,
                handlelength=1.9, borderaxespad=0.6,
            )  # fmt: skip
        figure.align_ylabels(panels[:, 0])
        handles = []
        if len(dashes) > 1:
            handles = [
                Line2D([], [], color=GREY, ls=ls, lw=1.3, label=f"{name} + defect")
                for name, ls in dashes.items()
            ]
        metrics = [metric for family in _FAMILIES for metric in family.metrics]
        open_ = _any_incomplete(metrics, ladder, base)
        handles += _common_handles(base, GREY, any(e is not None for e in edges), open_)
        _heading(figure, "One defect at a time: every metric of the scans", handles)
    return figure


def _looks(family: _Family) -> Iterable[tuple[str, Any, tuple[str, float]]]:
    """Column, colour and marker with its size of each metric; the largest marker is drawn first."""
    return zip(family.metrics, PALETTE, _MARKERS, strict=False)


# --- their frame ---------------------------------------------------------------------------------


def _parts(doses: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The perturbed models, and their bases by name."""
    is_base = doses["kind"] == BASE
    return doses[~is_base], doses[is_base].set_index("model")


def _kinds(ladder: pd.DataFrame) -> list[_Kind]:
    found = set(ladder["kind"])
    known = [kind for kind in _KINDS if kind.kind in found]
    others = sorted(found - {kind.kind for kind in known})
    return [*known, *(_Kind(name, name, "dose", 1.0) for name in others)]


def _by_kind(ladder: pd.DataFrame) -> list[pd.DataFrame]:
    return [ladder[ladder["kind"] == kind.kind] for kind in _kinds(ladder)]


def _panels(
    ladder: pd.DataFrame, base: pd.DataFrame, n_rows: int, height: float, legend_inch: float = 0.0
) -> tuple[Figure, NDArray[Any], list[float | None]]:
    """The figure, its panels (rows, kinds) under a row of sketches, and where each kind breaks."""
    kinds = _kinds(ladder)
    width = _LEFT_INCH + _COLUMN_INCH * len(kinds) + _RIGHT_INCH + legend_inch
    width = max(width, _LEAST_INCH)
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        n_rows + 1, len(kinds), height_ratios=[0.62, *[1] * n_rows], hspace=0.13, wspace=0.1,
        left=_LEFT_INCH / width, right=1 - (_RIGHT_INCH + legend_inch) / width,
        top=1 - 0.86 / height, bottom=0.62 / height,
    )  # fmt: skip
    panels = np.array(
        [[figure.add_subplot(grid[r + 1, c]) for c in range(len(kinds))] for r in range(n_rows)]
    )
    edges = []
    for c, (kind, rows) in enumerate(zip(kinds, _by_kind(ladder), strict=True)):
        _sketch(figure.add_subplot(grid[0, c]), kind)
        panels[-1, c].set_xlabel(f"{kind.label} ({rows['dose_unit'].iloc[0]})")
        edges.append(_unstable_from(rows, base))
        for r in range(n_rows):
            panels[r, c].tick_params(labelleft=c == 0, labelbottom=r == n_rows - 1, length=2.5)
    figure.align_xlabels(panels[-1])
    return figure, panels, edges


def _unstable_from(rows: pd.DataFrame, base: pd.DataFrame) -> float | None:
    """The first dose at which trajectories break that do not without it.

    None if there is none, or of more than one line.
    """
    if len(set(rows["series"])) != 1:
        return None
    name = rows["base"].iloc[0]
    alone = base["survival_ps"].get(name, np.nan)
    full = alone if np.isfinite(alone) else rows["horizon_ps"].iloc[0]
    short = rows["survival_ps"] < full * (1 - 1e-9)
    short |= rows["n_start_failed"] > base["n_start_failed"].get(name, 0)
    return float(rows.loc[short, "dose"].min()) if short.any() else None


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


def _share_scale(panels: Sequence[Axes], column: pd.Series, log: bool, decades: int = 8) -> None:
    """One scale for a row of panels."""
    values = column.dropna().to_numpy(dtype=float)
    if log and (values > 0).any():
        for axes in panels:
            with_zero(axes, values, decades)
        return
    top = 1.1 * max(float(values.max()) if len(values) else 0.0, 1e-9)
    low = min(-0.05 * top, 1.1 * float(values.min()) if len(values) else 0.0)
    for axes in panels:
        axes.set_ylim(low, top)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


# --- lines and symbols ---------------------------------------------------------------------------


def _incomplete(column: str, base: pd.DataFrame) -> Incomplete:
    """Whether a point of a column is drawn open; see `dose_response`."""

    def survival(one: pd.Series) -> bool:
        alone = base.loc[one["base"]] if one["base"] in base.index else None
        # a base that ran no dynamics counts none
        wanted = one["n_planned"] if alone is None or not alone["n_planned"] else alone["n_counted"]
        return bool(one["n_counted"] < wanted)

    def drift(one: pd.Series) -> bool:
        return bool(one["n_drifts"] < 0.5 * one["n_planned"])

    def metric(one: pd.Series) -> bool:
        return bool(one[f"n_{column}"] < one["n_scans_planned"])

    return {_SURVIVAL.column: survival, _DRIFT.column: drift}.get(column, metric)


def _any_incomplete(columns: Iterable[str], ladder: pd.DataFrame, base: pd.DataFrame) -> bool:
    return any(
        _incomplete(column, base)(one)
        for column in columns
        for _, one in ladder[ladder[column].notna()].iterrows()
    )


def _base_line(axes: Axes, column: str, line: pd.DataFrame, base: pd.DataFrame, shade: Any) -> None:
    alone = base[column].get(line["base"].iloc[0], np.nan)
    if np.isfinite(alone):
        axes.axhline(alone, color=shade, ls=_DASHED, lw=1.1, zorder=2)


def _line(
    axes: Axes,
    column: str,
    line: pd.DataFrame,
    incomplete: Incomplete,
    *,
    color: Any,
    marker: str = "o",
    size: float = 4.6,
    dashes: Any = "-",
    width: float = 1.6,
) -> None:
    some = line[line[column].notna()].sort_values("dose")
    x, y = some["dose"].to_numpy(), some[column].to_numpy(dtype=float)
    axes.plot(x, y, ls=dashes, color=color, lw=width, zorder=3)
    open_ = np.array([incomplete(one) for _, one in some.iterrows()], dtype=bool)
    for chosen, fill in ((~open_, color), (open_, "white")):
        axes.plot(
            x[chosen], y[chosen], marker, ms=size, mfc=fill, mec=color, mew=1.0, zorder=4,
            clip_on=False,
        )  # fmt: skip


def _survival(axes: Axes, line: pd.DataFrame, shade: Any) -> bool:
    """The interval, and a cross on the axis where no trajectory got to its first step.

    Returns:
        Whether there is such a cross.
    """
    some = line[line["survival_ps"].notna()].sort_values("dose")
    axes.fill_between(
        some["dose"], some["survival_low_ps"], some["survival_high_ps"], color=shade, alpha=0.18,
        lw=0, zorder=1,
    )  # fmt: skip
    none = line[(line["n_counted"] == 0) & (line["n_start_failed"] > 0)]
    if none.empty:
        return False
    axes.plot(
        none["dose"], np.full(len(none), 0.05), "x", ms=5.5, mec=shade, mew=1.4, zorder=4,
        transform=axes.get_xaxis_transform(), clip_on=False,
    )  # fmt: skip
    return True


# --- what the defects are ------------------------------------------------------------------------


def _sketch(axes: Axes, kind: _Kind) -> None:
    """Effect of the defect on the energy of a C-C bond, exaggerated; a curl has none."""
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
    axes.plot(r, morse, color="0.7", lw=1.1, ls=_DASHED)
    axes.plot(r, morse + added, color="0.1", lw=1.3)
    axes.set(xlim=(r[0], r[-1]), ylim=(-1.4, 7.2))


def _curl_sketch(axes: Axes) -> None:
    """Two atoms and the forces on them, at right angles to the bond."""
    axes.plot([-1, 1], [0, 0], color="0.7", lw=1.1, ls=_DASHED, zorder=1)
    axes.plot([-1, 1], [0, 0], "o", ms=8, mfc="white", mec="0.1", mew=1.3, zorder=3)
    for x, y in ((-1, -1), (1, 1)):
        axes.annotate(
            "", (x, y), xytext=(x, 0.1 * y),
            arrowprops={"arrowstyle": "-|>", "color": "0.1", "lw": 1.3},
        )  # fmt: skip
    axes.set(xlim=(-2.4, 2.4), ylim=(-1.3, 1.3))


# --- heading and legend --------------------------------------------------------------------------


def _sign(marker: str, colour: Any, label: str) -> Line2D:
    return Line2D([], [], ls="", marker=marker, ms=4.6, mfc="white", mec=colour, label=label)


def _common_handles(base: pd.DataFrame, shade: Any, shaded: bool, open_: bool) -> list[Any]:
    """Legend entries of both figures: the base, the shading, open symbols."""
    handles: list[Any] = []
    if len(base):
        named = base.index[0] if len(base) == 1 else "the same"
        handles.append(
            Line2D([], [], color=shade, ls=_DASHED, lw=1.1, label=f"{named} without defect")
        )
    if shaded:
        handles.append(Patch(color=_UNSTABLE, alpha=0.1, lw=0, label="trajectories break"))
    if open_:
        handles.append(_sign("o", GREY, "incomplete"))
    return handles


def _heading(figure: Figure, title: str, handles: Sequence[Any]) -> None:
    width, height = figure.get_size_inches()
    figure.text(_LEFT_INCH / width, 1 - 0.08 / height, title, va="top", fontsize=12)
    if handles:
        figure.legend(
            handles=handles, loc="upper left",
            bbox_to_anchor=((_LEFT_INCH - 0.1) / width, 1 - 0.28 / height),
            ncols=min(len(handles), int((width - _LEFT_INCH) / _HANDLE_INCH)), frameon=False,
            columnspacing=1.4, handlelength=2.2, borderaxespad=0.2,
        )  # fmt: skip
