"""One figure of the study of interpolated wave functions: a panel for each part that is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pesbench.files.figures import GREY, PALETTE, save, style
from pesbench.models.families.wavefunction.supported import ENERGIES, STATES

FIGURE = "errors.png"
_LINES = {STATES: "-", ENERGIES: ":"}
_LEAST_MEV = 1e-6  # smaller errors are drawn there


def draw(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write the figure.

    Args:
        tables: Tables of the parts, by name.
        folder: Folder of the study.
    """
    panels: dict[str, Callable[[Any, pd.DataFrame, Mapping[str, Any]], None]] = {
        "scans": _scans, "far": _far, "nve": _nve,
    }  # fmt: skip
    drawn = [name for name in panels if name in tables]
    systems = sorted({system for name in drawn for system in tables[name]["system"]})
    colors = dict(zip(systems, PALETTE, strict=False))
    with style():
        figure = Figure(figsize=(3.6 * len(drawn), 3.7), layout="constrained")
        for axes, name in zip(np.atleast_1d(figure.subplots(1, len(drawn))), drawn, strict=True):
            panels[name](axes, tables[name], colors)
        handles = [Line2D([], [], color=color, label=system) for system, color in colors.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=6, frameon=False)
        save(figure, folder / FIGURE)


def _mev(values: Any) -> Any:
    return np.maximum(1000 * np.asarray(values, dtype=float), _LEAST_MEV)


def _scans(axes: Any, table: pd.DataFrame, colors: Mapping[str, Any]) -> None:
    for system, own in table.groupby("system"):
        for kind, line in _LINES.items():
            mean = own[own["interpolates"] == kind].groupby("calculations")["force_mae"].mean()
            axes.plot(mean.index, _mev(mean), line, color=colors[str(system)], marker=".")
    axes.set(yscale="log", xlabel="calculations", ylabel="force MAE on bond scans (meV/Å)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title("solid: states; dotted: energies")


def _far(axes: Any, table: pd.DataFrame, colors: Mapping[str, Any]) -> None:
    most = table[table["calculations"] == table["calculations"].max()]
    inside = most[most["region"] == "inside"]["length_angstrom"]
    axes.axvspan(inside.min(), inside.max(), color=GREY, alpha=0.15, lw=0)
    for system, own in most.groupby("system"):
        for kind, line in _LINES.items():
            one = own[own["interpolates"] == kind]
            axes.plot(one["length_angstrom"], _mev(one["force_mae_ev_per_angstrom"]), line,
                      color=colors[str(system)])  # fmt: skip
    axes.set(yscale="log", xlabel="length of all bonds (Å)", ylabel="force MAE (meV/Å)")
    axes.set_title(f"{most['calculations'].max()} calculations in the grey range")


def _nve(axes: Any, table: pd.DataFrame, colors: Mapping[str, Any]) -> None:
    for system, own in table.groupby("system"):
        axes.plot(own["time_ps"], _mev(own["energy_error_ev"]), ".", ms=3,
                  color=colors[str(system)])  # fmt: skip
    axes.set(yscale="log", xlabel="time (ps)", ylabel="energy above full CI (meV)")
    axes.set_title("dynamics at constant energy")
