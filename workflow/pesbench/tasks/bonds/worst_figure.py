"""Energy and force change of a model's worst scans, with the places of their faults marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.core.scans import Scan
from pesbench.core.text import label
from pesbench.files.evaluation import ScanEvaluation
from pesbench.files.figures import GREY, PALETTE, saying, style
from pesbench.files.scan_set import ScanSet
from pesbench.metrics import smoothness
from pesbench.metrics.curves import integrated_energy
from pesbench.tasks.bonds.breaks import MISSING, ExtremumFault
from pesbench.tasks.bonds.faults import Fault, fault_lists, headlines, older_scores
from pesbench.tasks.bonds.score import curve_faults
from pesbench.tasks.bonds.settings import BondSettings
from pesbench.tasks.bonds.worst import open_evaluations, read_evaluation

Array = NDArray[np.float64]

COUNT = 6
NONE = "no false or missing barrier, no abrupt change of the force,\nno wall that gives way"
_COLUMNS = 3
_BAND, _WALL, _EXTREMUM = PALETTE[3], PALETTE[4], PALETTE[7]


def worst_scans(
    scan_set: ScanSet,
    evaluations: Sequence[Path],
    scores: pd.DataFrame,
    model: str,
    count: int = COUNT,
) -> Figure:
    """Energy and force change against bond length of the scans that break worst.

    Args:
        scan_set: The scans.
        evaluations: Shards of the model's evaluation.
        scores: Scores of the model, with the columns of `scores/bonds.parquet`.
        model: Name of the model.
        count: How many scans at most.
    """
    rows = scores.to_dict("records")
    cards = headlines(fault_lists(rows), count)
    if not cards:
        return saying(f"{label(model)}: {older_scores(rows) or NONE}")
    ceiling = float(scores.attrs.get("energy_ceiling_ev", BondSettings.energy_ceiling_ev))
    title_lines = max(map(len, cards))
    columns = min(_COLUMNS, len(cards))
    lines = -(-len(cards) // columns)
    with open_evaluations(evaluations) as holder, style():
        figure = Figure(figsize=(0.4 + 3.5 * columns, 0.7 + 3.9 * lines), layout="constrained")
        figure.get_layout_engine().set(hspace=0.02, wspace=0.03)
        cells = figure.add_gridspec(lines, columns)
        handles: dict[str, Line2D] = {}
        for k, faults in enumerate(cards):
            cell = cells[k // columns, k % columns].subgridspec(2, 1, height_ratios=[3, 2])
            upper = figure.add_subplot(cell[0])
            lower = figure.add_subplot(cell[1], sharex=upper)
            scan = scan_set.scan(faults[0].scan)
            evaluation = read_evaluation(holder, scan)
            handles |= _card(upper, lower, scan, evaluation, faults, ceiling)
            said = [fault.sentence for fault in faults]
            said += [""] * (title_lines - len(said))  # panels of one height
            upper.set_title(
                "\n".join([f"{k + 1}. {label(scan.id)}", *said]), fontsize=8, loc="left"
            )
            if k % columns == 0:
                upper.set_ylabel("E − E($a_q$) (eV)")
                lower.set_ylabel("ΔF² (eV²/Å²)")
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside upper center",
            ncols=4 if columns == _COLUMNS else columns,
            frameon=False,
            title=f"Where {label(model)} breaks",
            title_fontsize=10,
        )
    return figure


def _card(
    upper: Axes,
    lower: Axes,
    scan: Scan,
    evaluation: ScanEvaluation,
    faults: Sequence[Fault],
    ceiling: float,
) -> dict[str, Line2D]:
    """Draw one scan; returns what belongs in the legend."""
    known = np.isfinite(scan.energy) & (evaluation.frame_status == Status.OK.code)
    x, reference = scan.coordinate[known], scan.energy[known]
    forces, reference_forces = evaluation.forces[known], scan.forces[known]
    q = smoothness.equilibrium_index(reference)
    below = smoothness.below_ceiling(reference, q, ceiling)
    reference = reference - reference[q]
    curves = {"reference": (reference, {"color": "black", "lw": 1.8})}
    work = integrated_energy(scan.positions[known], forces, q)
    pairs = [(work, integrated_energy(scan.positions[known], reference_forces, q))]
    energy = evaluation.energy[known]
    if np.isfinite(energy).all():
        energy = energy - energy[q]
        curves["model energy"] = (energy, {"color": PALETTE[0], "lw": 1.4})
        pairs.insert(0, (energy, reference))
    curves["model force, integrated"] = (work, {"color": PALETTE[1], "lw": 1.4, "ls": "--"})
    handles = {}
    for name, (values, look) in curves.items():
        (handles[name],) = upper.plot(x, values, **look)
    handles |= _force_change(lower, x, forces, reference_forces, q)
    own = pairs[0][0]
    handles |= _marks(upper, lower, scan, faults, ceiling)
    handles |= _extrema(upper, x, own, reference, curve_faults(x, pairs, q, below))
    for axes in (upper, lower):
        handles["reference minimum $a_q$"] = axes.axvline(x[q], color=GREY, lw=0.8, ls="-.")
    at = [int(np.argmin(np.abs(x - fault.distance))) for fault in faults]
    upper.set_ylim(*_energy_limits([v for v, _ in curves.values()], own, at))
    upper.tick_params(labelbottom=False)
    lower.set_xlabel(f"{scan.bond.replace('-', '–')} bond length (Å)")
    return handles


def _force_change(
    axes: Axes, x: Array, forces: Array, reference_forces: Array, q: int
) -> dict[str, Line2D]:
    changes = [
        np.sum((side - reference_forces[q]) ** 2, axis=(1, 2))
        for side in (reference_forces, forces)
    ]
    floor = smoothness.EPSILON_EV_PER_ANGSTROM**2
    (line,) = axes.plot(x, changes[1], color=PALETTE[2], lw=1.4, zorder=3)
    axes.plot(x, changes[0], color="black", lw=1.8, zorder=2)
    level = axes.axhline(floor, color=GREY, ls=":", lw=1)
    axes.set_yscale("log")
    axes.set_ylim(0.1 * floor, 5 * max(floor, *(float(change.max()) for change in changes)))
    return {"model ΔF²": line, "ε², floor of both ΔF²": level}


def _marks(
    upper: Axes, lower: Axes, scan: Scan, faults: Sequence[Fault], ceiling: float
) -> dict[str, Line2D]:
    """The largest slopes and where the wall gives way, in both panels."""
    row = faults[0].row
    half = 0.5 * float(np.median(np.diff(scan.coordinate)))
    bands = {
        "force changes most": (row["fsd_windowed_coordinate"], 0.22),
        f"force changes most, reference below {ceiling:g} eV": (
            row["fsd_below_ceiling_coordinate"],
            0.6,
        ),
    }
    handles = {}
    for axes in (upper, lower):
        for name, (place, alpha) in bands.items():
            if np.isfinite(place):
                handles[name] = axes.axvspan(
                    place - half, place + half, color=_BAND, alpha=alpha, lw=0, zorder=1
                )
        if np.isfinite(row["wall_coordinate"]):
            handles["wall gives way"] = axes.axvline(row["wall_coordinate"], color=_WALL, lw=1.6)
    return handles


def _extrema(
    axes: Axes, x: Array, own: Array, reference: Array, faults: Sequence[ExtremumFault]
) -> dict[str, Line2D]:
    """False extrema on the curve of the model, missing ones on that of the reference.

    A barrier points up, a well down.
    """
    handles = {}
    for fault in faults:
        missing = fault.kind == MISSING
        (handle,) = axes.plot(
            x[fault.frame],
            (reference if missing else own)[fault.frame],
            marker="v" if fault.is_minimum else "^",
            ms=7,
            ls="",
            mfc="none" if missing else _EXTREMUM,
            mec="black",
            mew=1.0,
            zorder=6,
        )
        handles[fault.words] = handle
    return handles


def _energy_limits(
    curves: Sequence[Array], own: Array, places: Sequence[int]
) -> tuple[float, float]:
    """Limits that show the well and the faults; the wall beyond both would hide them.

    Args:
        curves: Energies relative to the minimum in eV, the reference first, each shape (F,).
        own: The curve of the model that is judged, shape (F,).
        places: Frames at the faults.
    """
    shown = [2.0 * abs(curves[0][-1]), *(1.3 * abs(own[k]) for k in places)]
    top = max(*shown, 0.1)
    low = min(float(values.min()) for values in curves)
    return max(low, -top) - 0.08 * top, top
