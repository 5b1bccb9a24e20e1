"""The ladder as a figure: a row a potential, a panel a quantity, the baseline as a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from pesbench.compare.ladder.noise import difference
from pesbench.compare.ladder.quantities import QUANTITIES
from pesbench.compare.ladder.rungs import DesignLadder, Row
from pesbench.files.figures import GREY, PALETTE, saying, style

Array = NDArray[np.float64]

WIDTH_INCH = 8.0
_ROW_INCH = 0.235
_LOG_FROM = 20.0  # ratio of values beyond which an axis is logarithmic
_BETTER, _WORSE, _SAME = PALETTE[0], PALETTE[1], "0.55"
_SHIFT = 0.17  # of the two halves of a row, where a panel has two quantities


@dataclass(frozen=True)
class _Panel:
    """A panel, with one quantity, or with two of which the second is drawn open."""

    columns: tuple[str, ...]
    title: str


_PANELS = (
    _Panel(("fsd_full_per_angstrom",), "FSD\n(Å⁻¹)"),
    _Panel(("fsd_windowed_per_angstrom",), "windowed FSD\n(Å⁻¹)"),
    _Panel(
        (
            "frames_force_mae_seen_mev_per_angstrom",
            "frames_force_mae_unseen_mev_per_angstrom",
        ),
        "force MAE, frames\n(meV/Å)",
    ),
    _Panel(
        ("force_mae_seen_ev_per_angstrom", "force_mae_unseen_ev_per_angstrom"),
        "force MAE, scans\n(eV/Å)",
    ),
    _Panel(("survival_ps",), "survival\n(ps)"),
    _Panel(("energy_drift_mev_per_atom_ps",), "|drift|\n(meV/atom/ps)"),
    _Panel(("frequency_mae_cm1",), "frequency MAE\n(cm⁻¹)"),
)
_INSTEAD = {  # of a panel with this quantity, where it has any value
    "force_mae_seen_ev_per_angstrom": "frames_force_mae_seen_mev_per_angstrom"
}


def figure(ladder: DesignLadder) -> Figure:
    """The figure of a ladder: seeds as small dots, their mean as a large one.

    The band about the baseline is what chance makes of the difference to a potential with one seed,
    in 95 of 100 cases; colours follow the ladder's own judgement, of as many seeds as a row has. A
    panel without any number is left out, and errors of scans stand in for those of frames where no
    card tells these.

    Args:
        ladder: Ladder of `pesbench.compare.ladder.rungs.make_ladder`.
    """
    panels = [panel for panel in _PANELS if _drawn(ladder, panel)]
    if not panels:
        return saying("No model of the ladder has a score.")
    rows = ladder.rows
    with style():
        top, bottom = 0.92, 0.42
        height = top + bottom + _ROW_INCH * len(rows)
        made = Figure(figsize=(WIDTH_INCH, height))
        names = 0.2 + 0.062 * max(len(row.name) for row in rows)
        axes = made.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        made.subplots_adjust(
            left=min(0.45, names / WIDTH_INCH), right=0.988, top=1 - top / height,
            bottom=bottom / height, wspace=0.1,
        )  # fmt: skip
        for one, panel in zip(axes, panels, strict=True):
            _draw(one, panel, ladder)
        axes[0].set_yticks(range(len(rows)), [row.name for row in rows])
        axes[0].get_yticklabels()[0].set_fontweight("bold")
        axes[0].set_ylim(len(rows) - 0.45, -0.55)
        for one in axes:
            one.tick_params(axis="y", length=0)
        _legend(made, ladder, panels)
    return made


def _drawn(ladder: DesignLadder, panel: _Panel) -> bool:
    instead = _INSTEAD.get(panel.columns[0])
    if instead is not None and _any(ladder, instead):
        return False
    return any(_any(ladder, column) for column in panel.columns)


def _any(ladder: DesignLadder, column: str) -> bool:
    return any(len(ladder.seeds(column, row)) for row in ladder.rows)


def _draw(axes: Axes, panel: _Panel, ladder: DesignLadder) -> None:
    scale = QUANTITIES[panel.columns[0]].scale
    seeds = {
        column: [scale * ladder.seeds(column, row) for row in ladder.rows]
        for column in panel.columns
    }
    values = np.concatenate([one for column in seeds.values() for one in column])
    _axis(axes, values)
    shifts = (0.0,) if len(panel.columns) == 1 else (-_SHIFT, _SHIFT)
    for k, (column, shift) in enumerate(zip(panel.columns, shifts, strict=True)):
        _baseline(axes, column, ladder, scale, dashed=k == 1)
        for y, (row, found) in enumerate(zip(ladder.rows, seeds[column], strict=True)):
            shade = _shade(ladder, column, row)
            if not len(found):
                if k == 0:
                    axes.text(
                        0.5, y, "n/a", color=GREY, fontsize=7, ha="center", va="center",
                        transform=blended_transform_factory(axes.transAxes, axes.transData),
                    )  # fmt: skip
                continue
            if len(found) > 1:
                axes.plot(
                    found, np.full(len(found), y + shift), "o", ms=2.4, mfc=shade, mec="none",
                    alpha=0.75, zorder=4,
                )  # fmt: skip
            axes.plot(
                found.mean(), y + shift, "o", ms=5.2, mfc="white" if k else shade, mec=shade,
                mew=1.2, zorder=5 if k or len(found) == 1 else 3, clip_on=False,
            )  # fmt: skip
    title = panel.title
    if panel.columns == ("survival_ps",) and np.isfinite(ladder.horizon_ps):
        title = f"survival\n(ps of {ladder.horizon_ps:g})"
    axes.set_title(title, fontsize=8, pad=4)
    axes.grid(visible=True, axis="both")
    axes.tick_params(axis="x", length=2.5, labelsize=7)


def _axis(axes: Axes, values: Array) -> None:
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low > _LOG_FROM:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.7, high * 1.7)
        axes.xaxis.set_major_locator(LogLocator(base=10, numticks=4))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        return
    room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]))


def _baseline(axes: Axes, column: str, ladder: DesignLadder, scale: float, *, dashed: bool) -> None:
    """The baseline's mean, and what chance makes of one seed beside it."""
    found = ladder.seeds(column, ladder.baseline)
    if not len(found):
        return
    middle = float(scale * found.mean())
    axes.axvline(middle, color="0.25", lw=0.9, ls=(0, (3, 2)) if dashed else "-", zorder=2)
    limit = difference(found[:1], found, ladder.noise[column]).limit
    if np.isfinite(limit):
        ends = (middle - scale * limit, middle + scale * limit)
        if QUANTITIES[column].log:
            ends = (middle / np.exp(limit), middle * np.exp(limit))
        low, high = axes.get_xlim()
        axes.axvspan(*ends, color="0.5", alpha=0.16, lw=0, zorder=0)
        axes.set_xlim(low, high)


def _shade(ladder: DesignLadder, column: str, row: Row) -> Any:
    """Colour by the ladder's judgement of a row against the baseline."""
    if row is ladder.baseline:
        return "0.25"
    found = ladder.compare(column, row, ladder.baseline).difference
    if found.within_noise is None or found.within_noise:
        return _SAME
    return _BETTER if found.value * QUANTITIES[column].better > 0 else _WORSE


def _legend(made: Figure, ladder: DesignLadder, panels: Sequence[_Panel]) -> None:
    def dot(colour: Any, label: str, **look: Any) -> Line2D:
        return Line2D([], [], ls="", marker="o", color=colour, label=label, **{"ms": 5} | look)

    handles: list[Any] = [Line2D([], [], color="0.25", lw=0.9, label="baseline")]
    if any(noise.degrees_of_freedom for noise in ladder.noise.values()):
        handles += [
            dot(_BETTER, "better"),
            dot(_WORSE, "worse"),
            dot(_SAME, "within seed noise, or not known"),
            Patch(color="0.5", alpha=0.16, lw=0, label="95 % of seed noise"),
            dot(GREY, "a seed", ms=2.4),
        ]
    else:
        handles.append(dot(_SAME, "seed noise unknown: no difference is judged"))
    if any(len(panel.columns) > 1 for panel in panels):
        handles.append(dot(GREY, "unseen (dashed line)", mfc="white"))
    height = made.get_size_inches()[1]
    made.text(0.012, 1 - 0.07 / height, "One design choice at a time", va="top", fontsize=11)
    made.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1 - 0.25 / height),
        ncols=len(handles), frameon=False, columnspacing=1.1, handletextpad=0.35,
        handlelength=1.4, borderaxespad=0.2, fontsize=7.5,
    )  # fmt: skip
