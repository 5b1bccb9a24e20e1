"""Figures of the spectral diagnosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from pesbench.files.figures import GREY, PALETTE, saying, style
from pesbench.tasks.spectral.association import Point
from pesbench.tasks.spectral.calibration import held_out_r2, ring_r2
from pesbench.tasks.spectral.metrics import READABLE
from pesbench.tasks.spectral.summary import Curve

FLOOR = -0.25  # R² below it are drawn there
HIGHEST = 10  # dL + 1 for L = d = 3


def calibration() -> Figure:
    """Held-out R² of harmonics by polynomials of the harmonics of one direction, and the ring."""
    degrees, orders = (1, 2, 3), (1, 2, 3)
    with style():
        figure = Figure(figsize=(7.2, 2.5), layout="constrained")
        both = figure.subplots(1, 2, width_ratios=(3, 2))
        rows = [(order, degree) for order in orders for degree in degrees]
        values = np.array([held_out_r2(*row, HIGHEST)[1:] for row in rows])
        _map(both[0], values, [f"L = {order}, d = {degree}" for order, degree in rows])
        both[0].set(xlabel="injected degree ℓ", title="One direction: R² ends at ℓ = dL")
        for row, (order, degree) in enumerate(rows):
            edge = min(order * degree, HIGHEST)
            both[0].plot([edge - 0.5] * 2, [row - 0.5, row + 0.5], color=PALETTE[3], lw=2)
        ring = np.array(
            [[ring_r2(order, degree, atoms) for order in range(1, 6)]
             for atoms in (1, 5) for degree in (1, 2, 3)]
        )  # fmt: skip
        told = ["1 atom", "ring of 5"]
        labels = [f"{what}, d = {degree}" for what in told for degree in degrees]
        _map(both[1], ring, labels)
        both[1].set(xlabel="L of the features", title="C5: R² of cos 5φ")
    return figure


def _map(axes: Axes, values: np.ndarray, labels: Sequence[str]) -> None:
    axes.imshow(np.clip(values, 0, 1), cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        text = f"{value:.2f}" if value >= 0.005 else "0"
        colour = "white" if value > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xticks(range(values.shape[1]), [str(k + 1) for k in range(values.shape[1])])
    axes.grid(visible=False)
    axes.tick_params(length=0)


def curves(panels: Mapping[str, Sequence[Curve]], labels: Mapping[str, str]) -> Figure:
    """R² by injected degree, a panel a design, a line a model; the boundary dL is a tick below.

    Args:
        panels: Curves by title.
        labels: What a model is called, by name.
    """
    shown = {title: [one for one in some if one.values] for title, some in panels.items()}
    models = list(dict.fromkeys(one.model for some in shown.values() for one in some))
    if not models:
        return saying("No model has features with an angular degree.")
    colours = {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(models)}
    marks = {name: "osD^v<>P"[k // len(PALETTE) % 8] for k, name in enumerate(models)}
    with style():
        width = 2.7 * len(shown) + 1.7
        figure = Figure(figsize=(width, 2.9), layout="constrained")
        every = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, (title, some) in zip(every, shown.items(), strict=True):
            for one in some:
                place = models.index(one.model)
                shift = 0.05 * (place - (len(models) - 1) / 2) / max(1, len(models) / 8)
                degrees = 1 + np.arange(len(one.values)) + shift
                axes.plot(
                    degrees, np.maximum(one.values, FLOOR), "-", lw=1, ms=3.5,
                    marker=marks[one.model], color=colours[one.model], label=labels[one.model],
                )  # fmt: skip
                axes.plot(one.boundary + 0.5 + shift, FLOOR, "|", ms=9, color=colours[one.model])
            axes.axhline(READABLE, color=GREY, lw=0.7, ls=":")
            axes.axhline(0, color=GREY, lw=0.7)
            axes.set(xlabel="injected degree ℓ", title=title, ylim=(FLOOR - 0.05, 1.05))
            axes.set_xticks(range(1, 1 + max((len(one.values) for one in some), default=1)))
        every[0].set_ylabel("R² on held-out conformers")
        _legend(figure, every)
    return figure


def _legend(figure: Figure, every: Sequence[Axes]) -> None:
    """One legend for all panels, beside them."""
    handles: dict[str, Line2D] = {}
    for axes in every:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize=7)


def smoothness(points: Sequence[Point], labels: Mapping[str, str]) -> Figure:
    """Roughness of bond scans against the ceiling, a point a potential, full for one that counts.

    Args:
        points: The potentials.
        labels: What a model is called, by name.
    """
    with style():
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        axes = figure.subplots()
        for k, one in enumerate(points):
            colour = PALETTE[k % len(PALETTE)]
            face = colour if one.counts else "white"
            label = labels.get(one.potential, one.potential)  # the first seed may have no scores
            axes.plot(one.ceiling, one.roughness, "osD^v<>P"[k % 8], ms=6, color=colour, mfc=face,
                      label=label)  # fmt: skip
        axes.set(xlabel="readable up to ℓ (B, two channels)", ylabel="mean FSD (Å⁻¹)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(figure, [axes])
    return figure


def controls(rows: Mapping[str, Mapping[str, Curve]], names: Sequence[str]) -> Figure:
    """R² by injected degree, a panel a model, a line a control.

    Args:
        rows: Curves by model and by name of the control.
        names: Of the controls, in order.
    """
    rows = {model: some for model, some in rows.items() if any(c.values for c in some.values())}
    if not rows:
        return saying("No model has features with an angular degree.")
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    with style():
        figure = Figure(figsize=(2.6 * columns + 1.9, 2.1 * lines + 0.3), layout="constrained")
        every = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in every[len(rows) :]:
            axes.set_visible(False)
        for axes, (model, some) in zip(every, rows.items(), strict=False):
            for k, name in enumerate(names):
                one = some.get(name)
                if one is None or not one.values:
                    continue
                degrees = 1 + np.arange(len(one.values))
                axes.plot(
                    degrees, np.maximum(one.values, FLOOR), lw=1, ms=3,
                    ls="--" if k >= len(PALETTE) else "-", marker="osD^v<>P"[k % 8],
                    color=PALETTE[k % len(PALETTE)], label=name,
                )  # fmt: skip
            axes.axhline(0, color=GREY, lw=0.7)
            axes.set(title=model, ylim=(FLOOR - 0.05, 1.05))
            axes.xaxis.set_major_locator(MultipleLocator(1))
        figure.supxlabel("injected degree ℓ", fontsize=9)
        figure.supylabel("R²", fontsize=9)
        _legend(figure, every)
    return figure
