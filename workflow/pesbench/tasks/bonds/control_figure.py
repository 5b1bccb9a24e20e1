"""FSD against the size of a known defect, one panel a kind of control, the models drawn in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pesbench.files.figures import GREY, PALETTE, saying, style
from pesbench.models.facts import ModelFacts
from pesbench.tasks.bonds.by_bond_figure import FSD_LABEL


@dataclass(frozen=True)
class _Panel:
    """Style of a kind of control."""

    kind: str
    title: str
    label: str
    unit: str  # of the dose
    no_defect: float | None  # dose that leaves the reference as it is, where it is on the axis
    log: bool = False
    falling: bool = False  # a smaller dose is the larger defect


_PANELS = (
    _Panel("step", "force step", "factor beyond 1.5 $a_q$", "", 1.0),
    _Panel("shift", "bond-length shift", "|shift|", "Å", 0.0),
    _Panel("noise", "noise on forces", "σ", "eV/Å", 0.0),
    _Panel("spike", "spike in one frame", "height", "eV/Å", None, log=True),
    _Panel("dip", "dip in the energy", "depth", "eV", 0.0),
    _Panel("scaled", "scaled forces", "factor", "", 1.0, falling=True),
    _Panel("cap", "capped forces", "limit", "eV/Å", None, log=True, falling=True),
)
UNITS = {panel.kind: panel.unit for panel in _PANELS}


def control_ladders(board: pd.DataFrame, facts: Iterable[ModelFacts]) -> Figure:
    """FSD against the size of a known defect, one panel a kind, with the models drawn in.

    Perturbed models are left out, as in `pesbench.tasks.bonds.by_bond_figure.fsd_by_bond`.

    Args:
        board: Board of `pesbench.tasks.bonds.board.leaderboard`.
        facts: Facts about every model; they give kind and dose of the controls.
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
    width: float = 0.7
    style: str = "-"


def _model_lines(models: pd.DataFrame, zero: float) -> list[_Mark]:
    """Levels in ascending order; neighbours differ in colour."""
    marks = []
    rows = models.sort_values("fsd_full").to_dict("records")
    for row, colour in zip(rows, cycle(PALETTE), strict=False):
        label = f"{row['model']}  {row['fsd_full']:.1f}"
        if row["n_scored"] < row["n_planned"]:
            label += f"  ({row['n_scored']} of {row['n_planned']} scans)"
        marks.append(_Mark(label, float(row["fsd_full"]), colour))
    if np.isfinite(zero):
        marks.append(_Mark(f"zero forces  {zero:.1f}", zero, "black", 1.1, "-."))
    return sorted(marks, key=lambda mark: mark.value)


def _ladder_panel(
    axes: Axes, panel: _Panel, ladder: list[tuple[float, float]], marks: list[_Mark], top: float
) -> None:
    for mark in marks:
        axes.axhline(
            min(mark.value, top), color=mark.colour, ls=mark.style, lw=mark.width, zorder=2
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
    unit = f" ({panel.unit})" if panel.unit else ""
    axes.set(xlabel=f"{panel.label}{unit}", ylim=(0, top))


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
            [-0.02, 0.02, 0.08, 0.1], [level, level, y, y], color=mark.colour, ls="-", lw=0.9,
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
