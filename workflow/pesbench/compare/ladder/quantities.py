"""Quantities of a design ladder: its columns, and how each is measured for one model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pesbench.compare.inputs import main_runs, survivors
from pesbench.compare.ladder.cards import Card
from pesbench.core.interface import Status
from pesbench.files.split import SEEN, UNSEEN

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """A column of the ladder.

    Attributes:
        column: Column of the CSV, with its unit.
        title: Title for readers, without its unit.
        unit: Unit for readers.
        better: −1 if lower is better, +1 if higher is.
        of: What it is the mean, median or sum over: `scans`, `runs`, `molecules`, or "" for a
            number of the whole model.
        scale: Factor from the unit of the CSV to that for readers.
        total: Whether it is a sum and no mean.
        median: Whether it is a median and no mean, over the runs that survive.
        share: Whether it is the share of what it is of that has a property.
        log: Whether seeds differ by a factor rather than by an amount, as of what spans decades:
            noise and differences are of its natural logarithm.
    """

    column: str
    title: str
    unit: str
    better: int
    of: str = ""
    scale: float = 1.0
    total: bool = False
    median: bool = False
    share: bool = False
    log: bool = False

    def statistic(self, values: Array) -> Array:
        """The number of each seed, shape (seeds,), from what it is of, shape (n, seeds)."""
        if self.median:
            return np.asarray(np.median(values, axis=0), np.float64)
        return values.sum(axis=0) if self.total else values.mean(axis=0)

    def compared(self, seeds: Array) -> Array:
        """What of the numbers of some seeds is compared; none where one has no logarithm."""
        if not self.log:
            return seeds
        return np.log(seeds) if (seeds > 0).all() else np.empty(0)


_LISTED = (
    Quantity("frames_force_mae_seen_mev_per_angstrom", "force MAE on seen frames", "meV/Å", -1),
    Quantity("frames_force_mae_unseen_mev_per_angstrom", "force MAE on unseen frames", "meV/Å", -1),
    Quantity("rotation_force_rms_mev_per_angstrom", "rotation variance", "meV/Å", -1),
    Quantity("force_mae_seen_ev_per_angstrom", "force MAE on seen scans", "eV/Å", -1, "scans"),
    Quantity("force_mae_unseen_ev_per_angstrom", "force MAE on unseen scans", "eV/Å", -1, "scans"),
    Quantity("fsd_full_per_angstrom", "FSD", "Å⁻¹", -1, "scans"),
    Quantity("fsd_compress_per_angstrom", "compressed FSD", "Å⁻¹", -1, "scans"),
    Quantity("fsd_stretch_per_angstrom", "stretched FSD", "Å⁻¹", -1, "scans"),
    Quantity("fsd_windowed_per_angstrom", "windowed FSD", "Å⁻¹", -1, "scans"),
    Quantity(
        "compression_monotone_fraction",
        "walls without a hole",
        "%",
        1,
        "scans",
        scale=100,
        share=True,
    ),
    Quantity("spurious_extrema_per_scan", "spurious extrema", "per scan", -1, "scans"),
    Quantity("survival_ps", "survival", "ps", 1),
    Quantity(
        "energy_drift_mev_per_atom_ps", "drift", "meV/atom/ps", -1, "runs", median=True, log=True
    ),
    Quantity("energy_rms_mev_per_atom", "RMS", "meV/atom", -1, "runs", median=True, log=True),
    Quantity("frequency_mae_cm1", "frequency MAE", "cm⁻¹", -1, "molecules"),
    Quantity(
        "imaginary_modes_excess", "imaginary modes in excess", "total", -1, "molecules", total=True
    ),
    Quantity("seconds_per_step", "time a step", "ms", -1, scale=1e3),
)
QUANTITIES = {quantity.column: quantity for quantity in _LISTED}

_SCAN_MEANS = {
    "fsd_full_per_angstrom": "fsd_full",
    "fsd_compress_per_angstrom": "fsd_compress",
    "fsd_stretch_per_angstrom": "fsd_stretch",
    "fsd_windowed_per_angstrom": "fsd_windowed",
    "compression_monotone_fraction": "compression_monotone",
    "spurious_extrema_per_scan": "spurious_extrema",
}


@dataclass(frozen=True, eq=False)
class Measured:
    """A quantity of one model.

    Attributes:
        values: Values by scan, trajectory or molecule; a number of the whole model has one item.
        planned: How many there would be if nothing failed.
    """

    values: pd.Series
    planned: int


# --- what is measured ----------------------------------------------------------------------------


def _numbers(values: pd.Series) -> pd.Series:
    """Values that exist, as numbers; flags are 0 and 1."""
    # a column with flags and gaps comes as objects
    return values.astype("Float64").dropna().astype(float)


def _scalar(value: float | None) -> pd.Series:
    known = value is not None and np.isfinite(value)
    return pd.Series([value] if known else [], index=["model"] if known else [], dtype=float)


def of_scans(rows: pd.DataFrame) -> dict[str, Measured]:
    """Quantities from the scores of the scans of one model."""
    table = rows.set_index("scan")
    scored = table[table["status"] == Status.OK.value]
    found = {
        column: Measured(_numbers(scored[score]), len(table))
        for column, score in _SCAN_MEANS.items()
    }
    for group in (SEEN, UNSEEN):
        planned = int((table["seen"] == group).sum())
        if planned:
            values = _numbers(scored.loc[scored["seen"] == group, "force_mae"])
            found[f"force_mae_{group}_ev_per_angstrom"] = Measured(values, planned)
    return found


def of_card(card: Card) -> dict[str, Measured]:
    """Quantities from the model card."""
    numbers = {
        f"frames_force_mae_{part}_mev_per_angstrom": card.force_mae_mev_per_angstrom.get(part)
        for part in (SEEN, UNSEEN)
    }
    numbers["rotation_force_rms_mev_per_angstrom"] = card.rotation_mev_per_angstrom
    return {
        column: Measured(_scalar(value), 1)
        for column, value in numbers.items()
        if value is not None
    }


def of_dynamics(rows: pd.DataFrame, survival_ps: float) -> dict[str, Measured]:
    """Quantities from the scores of the trajectories of one model."""
    runs = main_runs(rows).set_index("trajectory")
    lived = survivors(runs)
    steps = float((1e3 * rows["time_ps"] / rows["timestep_fs"]).sum())
    seconds = float(rows["wall_s"].sum()) / steps if steps else None
    return {
        "survival_ps": Measured(_scalar(survival_ps), 1),
        "energy_drift_mev_per_atom_ps": Measured(
            _numbers(lived["energy_drift_mev_per_atom_ps"]).abs(), len(runs)
        ),
        "energy_rms_mev_per_atom": Measured(_numbers(lived["energy_rms_mev_per_atom"]), len(runs)),
        "seconds_per_step": Measured(_scalar(seconds), 1),
    }


def of_vibrations(rows: pd.DataFrame) -> dict[str, Measured]:
    """Quantities from the scores of the frequencies of one model."""
    table = rows.set_index("system")
    return {
        "frequency_mae_cm1": Measured(_numbers(table["mae_cm1"]), len(table)),
        "imaginary_modes_excess": Measured(_numbers(table["n_imaginary_excess"]), len(table)),
    }
