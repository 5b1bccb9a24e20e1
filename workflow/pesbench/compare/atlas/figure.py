"""Figure of the atlas: how often each kind happens to each model, and where."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pesbench.compare.atlas.kinds import Kind
from pesbench.compare.atlas.table import SCANS, TRAJECTORIES, Atlas
from pesbench.core.text import label
from pesbench.files.figures import PALETTE, saying, style

_ROW, _COLUMN = 0.24, 0.42  # inches a model, a kind
_PLACES = 3.4  # inches of the right part
_FARTHEST = 2.5  # sums of covalent radii that are shown


def figure(found: Atlas) -> Figure:
    """Two panels: a matrix of models and kinds, and the places of each kind."""
    columns = [
        (what, kind)
        for what in (SCANS, TRAJECTORIES)
        for kind in Kind
        if ((found.rows["source"] == what) & (found.rows["kind"] == kind.value)).any()
    ]
    models = [name for name in found.roles if any(name in some for some in found.asked.values())]
    if not columns:
        return saying("nothing happened that the atlas places")
    names = 0.3 + 0.075 * max(len(name) for name in models)
    wide = names + _COLUMN * len(columns) + _PLACES + 1.9
    kinds = list(dict.fromkeys(kind for _, kind in columns))
    high = max(_ROW * len(models), _ROW * len(kinds)) + 2.1
    with style():
        made = Figure(figsize=(wide, high), layout="constrained")
        left, right = made.subplots(
            1, 2, width_ratios=[names + _COLUMN * len(columns), _PLACES + 1.6]
        )
        _matrix(left, found, models, columns)
        _places(right, found, kinds)
    return made


def _matrix(axes: Axes, found: Atlas, models: list[str], columns: list[tuple[str, Kind]]) -> None:
    share = np.full((len(models), len(columns)), np.nan)
    rows = found.rows
    of = rows.groupby(["model", "source", "kind"]).size()
    for i, model in enumerate(models):
        for j, (what, kind) in enumerate(columns):
            if n_asked := found.asked[what].get(model, 0):
                share[i, j] = 100.0 * of.get((model, what, kind.value), 0) / n_asked
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for i, j in np.argwhere(np.isfinite(share)).tolist():
        value = share[i, j]
        text = "" if value == 0 else "<1" if value < 1 else f"{value:.0f}"
        colour = "white" if value > 60 else "black"
        axes.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
    for i, j in np.argwhere(~np.isfinite(share)).tolist():
        axes.text(j, i, "–", ha="center", va="center", fontsize=7, color="0.6")
    axes.set_yticks(range(len(models)), [label(name) for name in models])
    axes.set_xticks(range(len(columns)), [kind.value for _, kind in columns], rotation=90)
    border = sum(what == SCANS for what, _ in columns)
    if 0 < border < len(columns):
        axes.axvline(border - 0.5, color="black", lw=1.0)
    told = [f"{what} (%)" for what in (SCANS, TRAJECTORIES) if any(w == what for w, _ in columns)]
    axes.set_title(" | ".join(told))
    axes.grid(visible=False)
    axes.tick_params(length=0)


def _places(axes: Axes, found: Atlas, kinds: list[Kind]) -> None:
    rows = found.rows[found.rows["reduced"].notna()]
    generator = np.random.default_rng(0)  # only spreads the points
    for colour, what in zip(PALETTE, (SCANS, TRAJECTORIES), strict=False):
        part = rows[rows["source"] == what]
        place = {kind.value: k for k, kind in enumerate(kinds)}
        y = part["kind"].map(place).to_numpy(dtype=float)
        if not len(y):
            continue
        x = np.minimum(part["reduced"].to_numpy(dtype=float), _FARTHEST)
        axes.plot(
            x, y + generator.uniform(-0.3, 0.3, len(y)), linestyle="none", marker="o",
            markersize=2.5, alpha=0.35, color=colour, markeredgewidth=0, label=what,
            rasterized=True,
        )  # fmt: skip
    axes.axvline(1.0, color="0.6", lw=0.8)
    axes.set_yticks(range(len(kinds)), [kind.value for kind in kinds])
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.set_xlim(0.2, _FARTHEST + 0.05)
    axes.set_xlabel("distance of the two atoms / sum of covalent radii")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2, frameon=False)
