"""One figure of the study of interpolated wave functions: a panel for each part that is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

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
    panels: dict[str, Callable[[Any, pd.DataFrame], None]] = {
        "scans": _scans, "far": _far, "nve": _nve,
    }  # fmt: skip
    drawn = [name for name in panels if name in tables]
    with style():
        figure = Figure(figsize=(3.6 * len(drawn), 3.4), layout="constrained")
        for axes, name in zip(np.atleast_1d(figure.subplots(1, len(drawn))), drawn, strict=True):
            panels[name](axes, tables[name])
        save(figure, folder / FIGURE)


def _mev(values: Any) -> Any:
    return np.maximum(1000 * np.asarray(values, dtype=float), _LEAST_MEV)


def _scans(axes: Any, table: pd.DataFrame) -> None:
    for color, (system, own) in zip(PALETTE, table.groupby("system"), strict=False):
        for kind, line in _LINES.items():
            mean = own[own["interpolates"] == kind].groupby("calculations")["force_mae"].mean()
            label = system if kind == STATES else None
            axes.plot(mean.index, _mev(mean), line, color=color, marker=".", label=label)
    axes.set(yscale="log", xlabel="calculations", ylabel="force MAE on bond scans (meV/Å)")
    axes.set_title("solid: states; dotted: energies")
    axes.legend(frameon=False)


def _far(axes: Any, table: pd.DataFrame) -> None:
    most = table[table["calculations"] == table["calculations"].max()]
    inside = most[most["region"] == "inside"]["length_angstrom"]
    axes.axvspan(inside.min(), inside.max(), color=GREY, alpha=0.15, lw=0)
    for color, (system, own) in zip(PALETTE, most.groupby("system"), strict=False):
        for kind, line in _LINES.items():
            one = own[own["interpolates"] == kind]
            label = system if kind == STATES else None
            axes.plot(one["length_angstrom"], _mev(one["force_mae_ev_per_angstrom"]), line,
                      color=color, label=label)  # fmt: skip
    axes.set(yscale="log", xlabel="length of all bonds (Å)", ylabel="force MAE (meV/Å)")
    axes.set_title(f"{most['calculations'].max()} calculations in the grey range")


def _nve(axes: Any, table: pd.DataFrame) -> None:
    for color, (system, own) in zip(PALETTE[3:], table.groupby("system"), strict=False):
        axes.plot(own["time_ps"], _mev(own["energy_error_ev"]), ".", ms=3, color=color,
                  label=system)  # fmt: skip
    axes.set(yscale="log", xlabel="time (ps)", ylabel="energy above full CI (meV)")
    axes.set_title("dynamics at constant energy")
    axes.legend(frameon=False)
