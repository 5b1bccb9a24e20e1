"""Figures: FSD by bond type and the control ladders; what all figures share.

Every function returns a matplotlib figure that no window system knows of; `save` and `png` turn
it into a file or bytes. Colours are those of seaborn's colour-blind palette.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from pesbench.files import provenance
from pesbench.files.atomic import atomic_path
from pesbench.metrics.aggregate import seed_of
from pesbench.report.tables import ModelFacts, scan_table

Array = NDArray[np.float64]
Item = TypeVar("Item")

DPI = 150
# without the pale pink and the yellow, which vanish on white as thin lines
PALETTE = [sns.color_palette("colorblind", 10)[k] for k in (0, 1, 2, 3, 4, 9, 5, 7)]
GREY = "0.45"
FSD_LABEL = "FSD (Å⁻¹)"
_COLUMNS = 3
_STYLE = {
    **sns.axes_style("ticks", {"axes.grid": True, "grid.color": "0.92"}),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib; seaborn's first choice need not
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
}


@contextmanager
def style() -> Iterator[None]:
    """The look that all figures share."""
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever a matplotlibrc says
        mpl.rcParams.update(_STYLE)
        yield


def png(figure: Figure, dpi: int = DPI, made: Mapping[str, Any] | None = None) -> bytes:
    """The figure as bytes of a PNG file, the same bytes every time.

    Args:
        figure: What is drawn.
        dpi: Pixels an inch.
        made: How it was made, for its comment (JSON).
    """
    buffer = io.BytesIO()
    notes = {"Software": None} | ({} if made is None else {"Comment": json.dumps(made)})
    FigureCanvasAgg(figure)  # whatever backend is set
    with style():  # some settings are read here
        figure.savefig(buffer, format="png", dpi=dpi, metadata=notes)
    return buffer.getvalue()


def save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    """Write a figure as PNG that says how it was made, whole or not at all."""
    with atomic_path(path) as part:
        part.write_bytes(png(figure, dpi, provenance.collect()))


def saying(text: str) -> Figure:
    """A figure for when there is nothing to draw: it says so."""
    with style():
        figure = Figure(figsize=(6, 1.2))
        figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY, fontsize=10)
    return figure


# --- FSD by bond type -----------------------------------------------------------------------


def fsd_by_bond(
    board: pd.DataFrame, scores: Mapping[str, pd.DataFrame], facts: Iterable[ModelFacts]
) -> Figure:
    """One panel a bond type: every scan of every model, the mean, and what zero forces score.

    Perturbed models are left out: there are dozens, and each is a point of a ladder.

    Args:
        board: Of `tables.leaderboard`; gives the order of the models.
        scores: One row a scan for every model.
        facts: Of every model; tells which control has zero forces.
    """
    models = board[(board["role"] == "model") & (board["n_scored"] > 0)]["model"].tolist()
    if not models:
        if (board["role"] == "perturbed").any():
            return saying("No model has a scored scan; perturbed models are not in this figure.")
        return saying("No model has a scored scan.")
    means = scan_table({name: scores[name] for name in models}).set_index(["bond", "model"])
    zeros = [f.name for f in facts if f.control is not None and f.control[0] == "zero"]
    floor = scan_table({"zero": scores[zeros[0]]}).set_index("bond")["mean"] if zeros else None
    bonds = sorted({bond for bond, _ in means.index})
    points = pd.concat([_points(scores[name], name) for name in models])
    columns = min(_COLUMNS, len(bonds))
    rows = -(-len(bonds) // columns)
    with style():
        height = rows * (0.75 + 0.19 * max(len(models), 2)) + 0.6
        figure = Figure(figsize=(2.2 + 2.5 * columns, height), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        levels = [] if floor is None else floor.reindex(bonds).dropna().tolist()
        panels[0, 0].set_xlim(0, 1.04 * max(points["fsd_full"].max(), *levels, 1.0))
        for axes, bond in zip(panels.flat, bonds, strict=False):
            level = None if floor is None else floor.get(bond)
            _bond_panel(axes, bond, points[points["bond"] == bond], models, means["mean"], level)
        for axes in panels.flat[len(bonds) :]:
            axes.set_visible(False)
        for axes in _lowest(panels, len(bonds)):
            axes.set_xlabel(FSD_LABEL)
            axes.tick_params(labelbottom=True)
        _bond_legend(figure, floor is not None)
    return figure


def _points(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    scored = rows[(rows["status"] == "ok") & rows["fsd_full"].notna()]
    return scored[["bond", "fsd_full"]].assign(model=model)


def _lowest(panels: NDArray[Any], count: int) -> list[Axes]:
    """The lowest panel in use of every column."""
    columns = panels.shape[1]
    return [panels.flat[k] for k in range(max(0, count - columns), count)]


def _bond_panel(
    axes: Axes,
    bond: str,
    points: pd.DataFrame,
    models: list[str],
    means: pd.Series,
    level: float | None,
) -> None:
    colour = dict(zip(models, cycle(PALETTE), strict=False))
    # seaborn's own jitter draws from the global generator: the file would differ every time
    generator = np.random.default_rng(seed_of(f"jitter {bond}"))
    # of no points at all the names are text, and so would be their places
    place = points["model"].map({model: y for y, model in enumerate(models)}).astype(float)
    sns.scatterplot(
        x=points["fsd_full"],
        y=place + generator.uniform(-0.22, 0.22, len(place)),
        hue=points["model"],
        palette=colour,
        s=9,
        alpha=0.45,
        linewidth=0,
        legend=False,
        ax=axes,
        rasterized=True,
    )
    axes.set_yticks(range(len(models)), models)
    for y, model in enumerate(models):
        mean = means.get((bond, model), np.nan)
        if np.isfinite(mean):
            axes.plot(mean, y, "D", ms=5, mfc=colour[model], mec="black", mew=0.8, zorder=5)
        else:
            axes.text(
                0.5, y, "not scored", color=GREY, fontsize=7, ha="center", va="center",
                transform=blended_transform_factory(axes.transAxes, axes.transData),
            )  # fmt: skip
    if level is not None and np.isfinite(level):
        axes.axvline(level, color="black", ls="--", lw=1, zorder=4)
    per_model = points.groupby("model").size()
    most = int(per_model.max()) if len(per_model) else 0
    axes.set_title(f"{bond.replace('-', '–')}  ({most} scan{'s' * (most != 1)})")
    axes.set(xlabel="", ylabel="", ylim=(len(models) - 0.5, -0.5))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(visible=True, axis="x")


def _bond_legend(figure: Figure, has_floor: bool) -> None:
    handles = [
        Line2D([], [], ls="", marker="o", ms=3, color=GREY, alpha=0.6, label="a scan"),
        Line2D([], [], ls="", marker="D", ms=5, mfc="0.7", mec="black", label="mean"),
    ]
    if has_floor:
        handles.append(Line2D([], [], color="black", ls="--", lw=1, label="mean of zero forces"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)


# --- Control ladders ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Panel:
    """How a kind of control is drawn."""

    kind: str
    title: str
    label: str
    no_defect: float | None  # dose that leaves the reference as it is, where it is on the axis
    log: bool = False
    falling: bool = False  # a smaller dose is the larger defect


_PANELS = (
    _Panel("step", "force step", "factor beyond 1.5 $a_q$", 1.0),
    _Panel("shift", "bond-length shift", "|shift| (Å)", 0.0),
    _Panel("noise", "noise on forces", "σ (eV/Å)", 0.0),
    _Panel("spike", "spike in one frame", "height (eV/Å)", None, log=True),
    _Panel("dip", "dip in the energy", "depth (eV)", 0.0),
    _Panel("scaled", "scaled forces", "factor", 1.0, falling=True),
    _Panel("cap", "capped forces", "limit (eV/Å)", None, log=True, falling=True),
)


def control_ladders(board: pd.DataFrame, facts: Iterable[ModelFacts]) -> Figure:
    """FSD against the size of a known defect, one panel a kind, with the models drawn in.

    Perturbed models are left out, as in `fsd_by_bond`.

    Args:
        board: Of `tables.leaderboard`.
        facts: Of every model; gives kind and dose of the controls.
    """
    score = board.set_index("model")["fsd_full"]
    doses: dict[str, list[tuple[float, float]]] = {}
    zero = float("nan")
    for fact in facts:
        if fact.control is None or not np.isfinite(score[fact.name]):
            continue
        kind, dose = fact.control
        if dose is not None:
            doses.setdefault(kind, []).append((dose, score[fact.name]))
        elif kind == "zero":
            zero = float(score[fact.name])
    panels = [panel for panel in _PANELS if panel.kind in doses]
    if not panels:
        return saying("No control with a dose was run, so that there is no ladder to compare to.")
    models = board[(board["role"] == "model") & board["fsd_full"].notna()]
    marks = _model_lines(models, zero)
    highest = max([fsd for ladder in doses.values() for _, fsd in ladder] + [zero, 1.0])
    # a model far beyond every control would flatten the ladders: it is drawn at the top edge
    top = 1.12 * np.nanmax([highest, *(m.value for m in marks if m.value < 1.5 * highest)])
    per_row = len(panels) if len(panels) <= 4 else -(-len(panels) // 2)
    rows = [panels[k : k + per_row] for k in range(0, len(panels), per_row)]
    with style():
        height = max(2.7, 0.8 + 0.155 * len(marks))
        figure = Figure(figsize=(2.1 * per_row + 2.9, height * len(rows)), layout="constrained")
        grid = figure.add_gridspec(len(rows), 1)
        for k, members in enumerate(rows):
            widths = [2.1 * per_row / len(members)] * len(members) + [2.5]
            cells = grid[k].subgridspec(1, len(members) + 1, width_ratios=widths)
            for n, panel in enumerate(members):
                axes = figure.add_subplot(cells[n])
                _ladder_panel(axes, panel, doses[panel.kind], marks, top)
                if n == 0:
                    axes.set_ylabel(FSD_LABEL)
                else:
                    axes.tick_params(labelleft=False)
            _label_column(figure.add_subplot(cells[-1]), marks, top)
        figure.legend(
            handles=[
                Line2D([], [], marker="o", ms=4.5, color="black", lw=1.4,
                       label="control: the reference with a defect of this size"),
                Line2D([], [], color=GREY, lw=1.1, label="horizontal line: the FSD of a model"),
            ],
            loc="outside upper center", ncols=2, frameon=False,
        )  # fmt: skip
    return figure


@dataclass(frozen=True)
class _Mark:
    """A level drawn across the ladders."""

    label: str
    value: float
    colour: Any
    style: str


def _model_lines(models: pd.DataFrame, zero: float) -> list[_Mark]:
    styles = [style for style in ("-", "--", ":") for _ in PALETTE]
    marks = []
    looks = zip(models.to_dict("records"), cycle(PALETTE), cycle(styles), strict=False)
    for row, colour, style in looks:
        label = f"{row['model']}  {row['fsd_full']:.1f}"
        if row["n_scored"] < row["n_planned"]:
            label += f"  ({row['n_scored']} of {row['n_planned']} scans)"
        marks.append(_Mark(label, float(row["fsd_full"]), colour, style))
    if np.isfinite(zero):
        marks.append(_Mark(f"zero forces  {zero:.1f}", zero, "black", "-."))
    return sorted(marks, key=lambda mark: mark.value)


def _ladder_panel(
    axes: Axes, panel: _Panel, ladder: list[tuple[float, float]], marks: list[_Mark], top: float
) -> None:
    for mark in marks:
        axes.axhline(
            min(mark.value, top), color=mark.colour, ls=mark.style, lw=1.1, alpha=0.8, zorder=2
        )
    sides = {"": ladder}
    if panel.kind == "shift":  # two signs, one axis
        sides = {
            sign: [(abs(dose), fsd) for dose, fsd in ladder if (dose > 0) == (sign == "longer")]
            for sign in ("longer", "shorter")
        }
    for (name, points), marker, fill in zip(sides.items(), "os", ("black", "white"), strict=False):
        points = sorted(points)
        if not points:
            continue
        if panel.no_defect is not None:
            points = sorted([*points, (panel.no_defect, 0.0)])
        x, y = np.array(points).T
        axes.plot(
            x, y, marker=marker, ms=4.5, mfc=fill, mec="black", color="black", lw=1.4, zorder=4,
            label=name, clip_on=False,
        )  # fmt: skip
    if len(sides) > 1 and all(sides.values()):
        axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor="none")
    if panel.log:
        axes.set_xscale("log")
        values = sorted({dose for dose, _ in ladder})
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    if panel.falling:
        axes.invert_xaxis()
    axes.set_title(panel.title)
    axes.set(xlabel=panel.label, ylim=(0, top))


def _label_column(axes: Axes, marks: list[_Mark], top: float) -> None:
    """Names of the levels right of the panels, moved apart where they would overlap."""
    axes.set(xlim=(0, 1), ylim=(0, top))
    axes.axis("off")
    height_inch = axes.get_figure().get_figheight() / axes.get_subplotspec().get_gridspec().nrows
    rows = axes.get_subplotspec().get_topmost_subplotspec().get_gridspec().nrows
    gap = 0.14 / (height_inch / rows - 0.75) * top
    levels = [min(mark.value, top) for mark in marks]
    for mark, level, y in zip(marks, levels, spread(levels, gap, 0.0, top), strict=True):
        axes.plot(
            [-0.02, 0.02, 0.08, 0.1], [level, level, y, y], color=mark.colour, ls="-", lw=1.1,
            clip_on=False,
        )  # fmt: skip
        beyond = "↑ " if mark.value > top else ""
        axes.text(0.12, y, beyond + mark.label, color="0.15", fontsize=7.5, va="center")


def spread(levels: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending positions near ascending levels, at least `gap` apart and inside (low, high).

    Where there is no room for all of them the gap shrinks.
    """
    count = len(levels)
    if count > 1:
        gap = min(gap, (high - low) / (count - 1))
    # with the gaps taken out only the order must hold: isotonic regression by pooling neighbours
    pools: list[tuple[float, int]] = []
    for k, level in enumerate(levels):
        total, size = level - k * gap, 1
        while pools and pools[-1][0] / pools[-1][1] > total / size:
            before, members = pools.pop()
            total, size = total + before, size + members
        pools.append((total, size))
    flat = np.repeat([total / size for total, size in pools], [size for _, size in pools])
    steps = gap * np.arange(count)
    return [float(y) for y in np.clip(flat, low, high - steps[-1:].sum()) + steps]
