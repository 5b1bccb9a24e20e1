"""Figures of the alarms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pesbench.core.text import label
from pesbench.files.figures import GREY, PALETTE, saying, style
from pesbench.tasks.alarms.detectors import DETECTORS, SCAN_DOMAINS
from pesbench.tasks.alarms.events import USEFUL_ALARMS_PER_PS, USEFUL_LEAD_FS

MARKERS = "osD^vP*X"
LEAST_RATE = 0.005  # alarms a ps; none at all are drawn here
LEAST_LEAD_FS = 1.0


def _looks(models: Mapping[str, str]) -> dict[str, dict[str, object]]:
    return {
        name: {"color": PALETTE[k % len(PALETTE)], "marker": MARKERS[k // len(PALETTE) % 8]}
        for k, name in enumerate(models)
    }


def _legend(figure: Figure, models: Mapping[str, str], loc: str, ncols: int) -> None:
    handles = [
        Line2D([], [], ls="", ms=4, label=label(models[name]), **look)
        for name, look in _looks(models).items()
    ]
    figure.legend(handles=handles, loc=loc, ncols=ncols)


def ladder(table: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """AUROC of every detector and model within compression and within stretch.

    Args:
        table: `summary.scans`.
        labels: What a model is called, by name.
    """
    table = table[table["auroc"].notna()]
    if table.empty:
        return saying("No molecule has right and wrong frames.")
    models = {name: text for name, text in labels.items() if name in set(table["model"])}
    shown = [one for one in DETECTORS if one.name in set(table["detector"])]
    looks = _looks(models)
    with style():
        height = 1.2 + 0.34 * len(shown) + 0.17 * -(-len(models) // 4)
        figure = Figure(figsize=(7.2, height), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, domain in zip(panels, SCAN_DOMAINS, strict=True):
            here = table[table["domain"] == domain]
            for y, detector in enumerate(shown):
                for k, name in enumerate(models):
                    place = y + (k + 1) / (len(models) + 1) - 0.5
                    for row in here[
                        (here["model"] == name) & (here["detector"] == detector.name)
                    ].to_dict("records"):
                        axes.plot(
                            [row["auroc_low"], row["auroc_high"]], [place, place],
                            lw=0.8, color=looks[name]["color"],
                        )  # fmt: skip
                        axes.plot(row["auroc"], place, ls="", ms=3.5, mew=0, **looks[name])
            axes.axvline(0.5, color=GREY, lw=0.8, ls="--")
            axes.set(
                title=domain, xlabel="AUROC", xlim=(-0.02, 1.02), ylim=(len(shown) - 0.5, -0.5)
            )
            axes.set_yticks(range(len(shown)), [one.title for one in shown])
            for y in range(1, len(shown)):
                axes.axhline(y - 0.5, color="0.92", lw=0.8)
            axes.grid(visible=False, axis="y")
        _legend(figure, models, "outside upper center", min(4, len(models)))
    return figure


def alarms(table: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Lead time against false alarms of every detector, a panel a model.

    Args:
        table: `summary.dynamics`.
        labels: What a model is called, by name.
    """
    table = table[table["alarms_per_ps"].notna() & table["lead_fs"].notna()]
    if table.empty:
        return saying("No model has trajectories that fail and trajectories that survive.")
    models = {name: text for name, text in labels.items() if name in set(table["model"])}
    shown = {one.name: one.title for one in DETECTORS if one.name in set(table["detector"])}
    looks, columns = _looks(shown), min(3, len(models))
    rows = -(-len(models) // columns)
    with style():
        figure = Figure(figsize=(2.9 + 2.0 * columns, 1.2 + 1.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, name in zip(panels.flat, models, strict=False):
            _useful(axes)
            for row in table[table["model"] == name].to_dict("records"):
                axes.plot(
                    max(row["alarms_per_ps"], LEAST_RATE), max(row["lead_fs"], LEAST_LEAD_FS),
                    ls="", ms=5, mew=0, **looks[row["detector"]],
                )  # fmt: skip
            axes.set_title(label(models[name]))
        for axes in panels.flat[len(models) :]:
            axes.set_visible(False)
        figure.supxlabel("false alarms per ps", fontsize=9)
        figure.supylabel("median lead time (fs)", fontsize=9)
        _legend(figure, shown, "outside right upper", 1)
    return figure


def _useful(axes: Axes) -> None:
    """Shade where a detector is useful, and set the axes."""
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(LEAST_RATE / 1.5, 200)
    axes.set_ylim(LEAST_LEAD_FS / 1.5, 3e4)
    axes.fill_between(
        np.array([LEAST_RATE / 1.5, USEFUL_ALARMS_PER_PS]), USEFUL_LEAD_FS, 3e4, color="0.9", lw=0
    )
