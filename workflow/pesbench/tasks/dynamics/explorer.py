"""Data of dynamics for the explorer: survival curves, and energy and temperature of each run.

What is stored is thinned: 200 points a run, the smallest and the largest of each of 100 spans, so
that no spike is lost; and the last steps before a failure of some runs of each model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pesbench.core.exploring import Explored, ExplorerJob, packed
from pesbench.metrics.survival import Outcome
from pesbench.metrics.survival_band import share_alive, survival_band
from pesbench.tasks.dynamics.board import main_runs
from pesbench.tasks.dynamics.stored import Frames, Trajectories, Trajectory

Array = NDArray[np.float64]

SPANS = 100  # of a run, with two points each
ANIMATIONS = 8  # of a model
CURVE_POINTS = 61
COLUMNS = (
    "model",
    "trajectory",
    "system",
    "temperature_k",
    "replicate",
    "outcome",
    "failure",
    "status",
    "message",
    "time_ps",
    "planned_ps",
    "temperature_spike",
    "energy_drift_mev_per_atom_ps",
    "energy_rms_mev_per_atom",
)


def explorer(job: ExplorerJob) -> dict[str, Any]:
    """Survival curves and all runs with the nominal time step.

    Piece: `run-<number>`, the energy and temperature of a run of `runs`, and the last steps before
    its failure.

    Returns:
        `runs`, one row a run, with the number of its piece where there is one; `survival` by
        model; `left_out`, the number of failed runs whose last steps are not among the pieces.
    """
    rows: list[list[Any]] = []
    left_out = 0
    for k, one in job.models.items():
        stored = {str(row["trajectory"]): row for row in main_runs(one.scores).to_dict("records")}
        numbers = {name: len(rows) + n for n, name in enumerate(stored)}
        pieces: dict[str, int] = {}
        animated = 0
        for path in one.files:
            with Trajectories(path) as opened:
                for name in opened.names:
                    row = stored.get(name)
                    if row is None or not math.isclose(opened.timestep_fs, row["timestep_fs"]):
                        continue
                    trajectory = opened.trajectory(name)
                    if trajectory.last_step < 0:
                        continue
                    last = opened.last_steps(name)
                    shown = last if animated < ANIMATIONS else None
                    animated += shown is not None
                    left_out += last is not None and shown is None
                    pieces[name] = numbers[name]
                    piece = _run_piece(opened, trajectory, shown, path)
                    job.put(f"run-{numbers[name]}", piece)
        for name, row in stored.items():
            cells = [k, *(_cell(row.get(column)) for column in COLUMNS[1:])]
            rows.append([*cells, pieces.get(name)])
    return {
        "runs": {"columns": [*COLUMNS, "piece"], "rows": rows},
        "survival": {str(k): curve for k, one in job.models.items() if (curve := _curve(one))},
        "left_out": left_out,
    }


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return None
    return float(f"{float(value):.7g}")


def _curve(one: Explored) -> dict[str, Any] | None:
    """Share of the runs at risk that is alive, with its interval; None where none is at risk."""
    rows = main_runs(one.scores)
    rows = rows[rows["outcome"] != Outcome.NOT_AT_RISK.value]
    if rows.empty:
        return None
    horizon = float(rows["planned_ps"].min())
    times, event = rows["time_ps"].to_numpy(float), (rows["outcome"] == Outcome.FAILED.value)
    at = np.linspace(0, horizon, CURVE_POINTS)
    band = survival_band(times, event, rows["system"].tolist(), at, horizon, f"band {one.name}")
    return {
        "n": len(rows),
        "horizon": horizon,
        "time": packed(at),
        "share": packed(share_alive(times, event, at, horizon)),
        **({"low": packed(band[0]), "high": packed(band[1])} if band else {}),
    }


def thinned(values: Array) -> NDArray[np.int64]:
    """Steps that show a series: the smallest and the largest value of each span, and both ends.

    Args:
        values: Shape (T,); what is not finite is left out.

    Returns:
        Ascending, at most 2 `SPANS` + 2.
    """
    kept = {0, len(values) - 1}
    for span in np.array_split(np.arange(len(values)), SPANS):
        finite = span[np.isfinite(values[span])]
        if finite.size:
            kept |= {int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])}
    return np.array(sorted(kept))


def _run_piece(
    opened: Trajectories, trajectory: Trajectory, last: Frames | None, path: Path
) -> dict[str, Any]:
    series = opened.series(trajectory.name)
    with np.errstate(over="ignore", invalid="ignore"):
        energy = 1e3 * (series.total - series.total[0]) / trajectory.n_atoms
    piece: dict[str, Any] = {
        # from where the results are named in commands; else from the folder that holds them
        "file": "/".join(path.parts[-4:]) if path.is_absolute() else path.as_posix(),
        "numbers": trajectory.numbers.tolist(),
        "bonds": trajectory.bonds.tolist(),
        "failure": trajectory.failure,
        "failure_ps": trajectory.failure_step * opened.timestep_fs / 1e3
        if trajectory.failure_step >= 0
        else None,
        "alarms": [trajectory.alarm_step * opened.timestep_fs / 1e3]  # the first
        if trajectory.alarm_step >= 0
        else [],
        "nominal_k": trajectory.temperature_k,
        "relaxed": trajectory.relaxed,
        "series": {
            name: _series(series.time_ps, values)
            for name, values in (("energy", energy), ("temperature", series.temperature))
        },
    }
    if last is not None:
        centre = last.positions.mean(axis=1, keepdims=True)
        piece["last"] = {
            "step": last.step.tolist(),
            "time": packed(last.time_ps, "<f8"),
            "positions": packed(last.positions - centre, "<f2"),
        }
    return piece


def _series(time: Array, values: Array) -> Mapping[str, str]:
    kept = thinned(values)
    return {"time": packed(time[kept]), "values": packed(values[kept])}
