"""FSD by bond type: every scan of every model, the mean, and what zero forces score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from pesbench.files.figures import GREY, PALETTE, saying, style
from pesbench.metrics import aggregate
from pesbench.metrics.aggregate import seed_of
from pesbench.models.facts import ModelFacts
from pesbench.tasks.bonds.board import scan_values, scored_rows

FSD_LABEL = "FSD (Å⁻¹)"
_COLUMNS = 3


def scan_table(scores: Mapping[str, pd.DataFrame], column: str = "fsd_full") -> pd.DataFrame:
    """Means of a score by model and bond type, over the scans that have it.

    Returns:
        Columns model, bond, n_planned, n_scored, mean; the mean is NaN where nothing is scored.
    """
    rows = []
    for model, table in scores.items():
        for bond, planned in table.groupby("bond", sort=True):
            values = scan_values(scored_rows(planned), column)
            rows.append(
                {
                    "model": model,
                    "bond": bond,
                    "n_planned": len(planned),
                    "n_scored": len(values),
                    "mean": aggregate.mean(values) if len(values) else float("nan"),
                }
            )
    return pd.DataFrame(rows, columns=["model", "bond", "n_planned", "n_scored", "mean"])


def fsd_by_bond(
    board: pd.DataFrame, scores: Mapping[str, pd.DataFrame], facts: Iterable[ModelFacts]
) -> Figure:
    """One panel a bond type: every scan of every model, the mean, and what zero forces score.

    Perturbed models are left out: there are dozens, and each is a point of a ladder.

    Args:
        board: Board of `pesbench.tasks.bonds.board.leaderboard`; gives the order of the models.
        scores: One row a scan for every model.
        facts: Facts about every model; they show which control has zero forces.
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
