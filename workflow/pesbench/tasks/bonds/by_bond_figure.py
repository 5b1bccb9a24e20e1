"""FSD by bond type: a heat map of models and bond types, zero forces and controls set apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from pesbench.core.bond_graph import to_hydrogen
from pesbench.files.figures import saying, style
from pesbench.metrics import aggregate
from pesbench.tasks.bonds.board import EQUAL, scan_values, scored_rows

FSD_LABEL = "FSD (Å⁻¹)"
_MEAN = "mean"
_ROW_INCH, _LETTER_INCH = 0.21, 0.078
_CELL_INCH, _ALL_CELLS_INCH = 0.58, 14.0  # width of a cell, and of all of them at most
_TEXT_INCH = 0.48  # a narrower cell has no room for its number
_TOP_INCH, _BOTTOM_INCH, _RIGHT_INCH = 0.82, 0.12, 0.85
_LEAST_INCH = (5.4, 1.1)  # width of the explanation, height of the colour bar
_APART = 0.4  # between blocks of rows or columns
_BEYOND_ZERO = 1.5  # colours end at this multiple of what zero forces score
_NOTHING: Mapping[str, Any] = {"fc": "white", "ec": "0.75", "hatch": "////", "lw": 0}
_NO_BETTER: Mapping[str, Any] = {"marker": "D", "ms": 3, "mfc": "white", "mec": "black", "mew": 0.7}


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


def fsd_by_bond(board: pd.DataFrame, scores: Mapping[str, pd.DataFrame]) -> Figure:
    """The mean FSD of each model on each bond type, and how many scans there are.

    The mean over the scans that rank stands right of their bond types, before bonds to hydrogen.
    Below the models stand zero forces, and of each other kind of control the one with the highest
    FSD. Perturbed models are left out: there are dozens, and each is a point of a ladder.

    Args:
        board: Board of `pesbench.tasks.bonds.board.leaderboard`; gives the order of the models.
        scores: One row a scan for every model.
    """
    known = board[board["fsd_full"].notna()]
    models = known[known["role"] == "model"]["model"].tolist()
    if not models:
        if (board["role"] == "perturbed").any():
            return saying("No model has a scored scan; perturbed models are not in this figure.")
        return saying("No model has a scored scan.")
    controls = known[(known["role"] == "control") & (known["fsd_full"] > 0)]
    worst = controls.loc[controls.groupby("defect")["fsd_full"].idxmax()]
    zero = worst[worst["defect"] == "zero"]["model"].tolist()
    others = worst[worst["defect"] != "zero"]["model"].tolist()
    cells = scan_table({name: scores[name] for name in (*models, *zero, *others)})
    bonds = sorted(cells["bond"].unique())
    heavy = [bond for bond in bonds if not to_hydrogen(bond)]
    with_hydrogen = [bond for bond in bonds if to_hydrogen(bond)]
    overall = known.assign(bond=_MEAN, mean=known["fsd_full"]).set_index("model")
    overall = overall.loc[[*models, *zero, *others]].reset_index()[list(cells.columns)]
    cells = pd.concat([cells, overall]).set_index(["model", "bond"])
    means = cells["mean"]
    top = float(means.loc[[*models, *zero]].max())
    top = min(top, _BEYOND_ZERO * float(means.loc[zero].max())) if zero else top
    colours = ScalarMappable(Normalize(0, max(top, 1e-9)), "viridis_r")  # dark is rough
    rows = _places([models, zero, others])
    columns = _places([heavy, [_MEAN], with_hydrogen])
    with style():
        figure, axes, wide = _frame(rows, columns, cells)
        for (name, bond), cell in cells.iterrows():
            _draw(axes, (columns[bond], rows[name]), cell, colours, wide)
        for name in models if zero else ():
            for bond in _no_better(scores[name], scores[zero[0]]):
                axes.plot(columns[bond] - 0.44, rows[name], **_NO_BETTER)
        axes.set_yticks(list(rows.values()), ["zero forces" if n in zero else n for n in rows])
        _explain(figure, axes, colours, "max" if means.max() > top else "neither", zero=bool(zero))
    return figure


def _no_better(own: pd.DataFrame, zero: pd.DataFrame) -> list[str]:
    """The bond types on which a model's mean is no lower than that of zero forces, same scans."""
    of_bond = own.set_index("scan")["bond"]
    values = [scan_values(scored_rows(rows), "fsd_full") for rows in (own, zero)]
    means = pd.concat(values, axis=1, join="inner", keys=["own", "zero"]).groupby(of_bond).mean()
    return means.index[means["own"] >= (1 - EQUAL) * means["zero"]].tolist()


def _places(blocks: Sequence[Sequence[str]]) -> dict[str, float]:
    """Places of rows or columns, the blocks apart."""
    found: dict[str, float] = {}
    start = 0.0
    for block in blocks:
        found |= {name: start + k for k, name in enumerate(block)}
        start += len(block) + _APART * bool(block)
    return found


def _frame(
    rows: Mapping[str, float], columns: Mapping[str, float], cells: pd.DataFrame
) -> tuple[Figure, Axes, bool]:
    """Axes with names beside the rows and bond types above the columns, in inches.

    Returns:
        The figure, its axes, and whether a cell has room for a number.
    """
    across, down = max(columns.values()) + 1, max(rows.values()) + 1
    cell = min(_CELL_INCH, _ALL_CELLS_INCH / across)
    left = 0.25 + _LETTER_INCH * max(map(len, rows))
    wide = cell >= _TEXT_INCH
    top = _TOP_INCH if wide else _TOP_INCH + _LETTER_INCH * max(map(len, columns))
    width = max(left + cell * across + _RIGHT_INCH, _LEAST_INCH[0])
    height = top + max(_ROW_INCH * down, _LEAST_INCH[1]) + _BOTTOM_INCH
    figure = Figure(figsize=(width, height))
    across_inch, down_inch = cell * across, _ROW_INCH * down
    place = (left, height - top - down_inch, across_inch, down_inch)
    axes = figure.add_axes(tuple(np.divide(place, (width, height, width, height))))
    axes.set(xlim=(-0.5, across - 0.5), ylim=(down - 0.5, -0.5))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    planned = cells["n_planned"].groupby("bond").max()
    axes.set_xticks(
        list(columns.values()),
        [f"{bond.replace('-', '–')}\n{planned[bond]}" for bond in columns],
        rotation=0 if wide else 90,
    )  # fmt: skip
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    return figure, axes, wide


def _draw(
    axes: Axes, at: tuple[float, float], cell: pd.Series, colours: ScalarMappable, wide: bool
) -> None:
    """A cell with its mean, and the number of scans behind it where these are not all."""
    corner = (at[0] - 0.5, at[1] - 0.5)
    if not np.isfinite(cell["mean"]):
        axes.add_patch(Rectangle(corner, 1, 1, **_NOTHING))
        return
    shade = colours.to_rgba(cell["mean"])
    axes.add_patch(Rectangle(corner, 1, 1, fc=shade, ec="white", lw=0.8))
    if not wide:
        return
    said = f"{cell['mean']:.0f}" if cell["mean"] >= 9.95 else f"{cell['mean']:.1f}"
    if cell["n_scored"] < cell["n_planned"]:
        said += f" ({cell['n_scored']:.0f})"
    light = np.dot(shade[:3], (0.2126, 0.7152, 0.0722)) > 0.45
    axes.text(
        *at,
        said,
        ha="center",
        va="center_baseline",
        fontsize=7,
        color="black" if light else "white",
    )


def _explain(
    figure: Figure, axes: Axes, colours: ScalarMappable, extend: str, *, zero: bool
) -> None:
    """Legend above the columns, colour bar beside the rows."""
    width, height = figure.get_size_inches()
    box = axes.get_position()
    long = min(max(box.height, _LEAST_INCH[1] / height), 2.4 / height)
    bar = figure.add_axes((box.x1 + 0.15 / width, box.y1 - long, 0.13 / width, long))
    figure.colorbar(colours, cax=bar, extend=extend, label=f"mean {FSD_LABEL}")
    bar.grid(visible=False)
    handles = [Patch(label="no scored scan", **_NOTHING)]
    if zero:
        said = "no better than zero forces on these scans"
        handles.append(Line2D([], [], ls="", label=said, **_NO_BETTER))
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.1 / width, 1 - 0.06 / height),
        ncols=2, frameon=False, handletextpad=0.5, borderaxespad=0.0, borderpad=0.0,
    )  # fmt: skip
    figure.text(
        0.1 / width, 1 - 0.27 / height,
        "Below each bond type: its scans. In brackets: the scored scans, where not all are.",
        fontsize=8, va="top",
    )  # fmt: skip
