"""Data of dynamics for the explorer: survival curves, and energy and temperature of each run.

What is stored is thinned, so that the explorer of 30 models on BSCT-SPICE is no larger than one may
publish: a curve has 200 points, the smallest and the largest of each of 100 spans, so that no spike
is lost. Curves and last steps have a size for all models together. With few models or runs every
run has both; where the size is not enough, failures come first, and what is left out is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from pesbench.tasks.dynamics.task import TASK

Array = NDArray[np.float64]

SPANS = 100  # of a run, with two points each
CURVES_BYTES = 3e6  # of all models
CURVE_BYTES = 5e3  # of one run, both series
LAST_STEPS_BYTES = 2e6  # of all models
ATOM_BYTES = 8  # of an atom in one step: three half-precision numbers as base64
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
_TEXT = ("trajectory", "system", "outcome", "failure", "status", "message")


def explorer(job: ExplorerJob) -> dict[str, Any]:
    """Survival curves and all runs with the nominal time step.

    Piece: `run-<number>`, the energy and temperature of a run of `runs`, and the last steps before
    its failure.

    Returns:
        `runs`, one row a run, with the number of its piece where there is one; `help`, a sentence
            on each of its metrics; `survival` by model; `left_out`, how many runs with stored
            `curves` and with stored last steps (`animations`) are without them here, and `most`,
            how many curves a model has at most.
    """
    n_models = max(1, len(job.models))
    most = max(1, int(CURVES_BYTES / CURVE_BYTES / n_models))
    rows: list[list[Any]] = []
    left_out = {"curves": 0, "animations": 0}
    for k, one in job.models.items():
        stored = {str(row["trajectory"]): row for row in main_runs(one.scores).to_dict("records")}
        numbers = {name: len(rows) + n for n, name in enumerate(stored)}
        pieces: dict[str, int] = {}
        chosen = _chosen(stored, most)
        room = LAST_STEPS_BYTES / n_models
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
                    size = 0 if last is None else last.step.size * trajectory.n_atoms * ATOM_BYTES
                    shown = last if name in chosen and size <= room else None
                    room -= size if shown is not None else 0
                    left_out["animations"] += last is not None and shown is None
                    if name not in chosen:
                        left_out["curves"] += 1
                        continue
                    pieces[name] = numbers[name]
                    piece = _run_piece(opened, trajectory, shown, path)
                    piece["keeps_last"] = last is not None
                    job.put(f"run-{numbers[name]}", piece)
        for name, row in stored.items():
            cells = [k, *(_cell(column, row.get(column)) for column in COLUMNS[1:])]
            rows.append([*cells, pieces.get(name)])
    return {
        "runs": {"columns": [*COLUMNS, "piece"], "rows": rows},
        "help": {one.name: one.help for one in TASK.metrics if one.name in COLUMNS},
        "survival": {str(k): curve for k, one in job.models.items() if (curve := _curve(one))},
        "left_out": left_out,
        "most": {"curves": most},
    }


def _chosen(stored: Mapping[str, Mapping[str, Any]], most: int) -> set[str]:
    """The runs of a model whose curves are shown: failures first, each kind evenly spread."""
    failed = [name for name, row in stored.items() if row["outcome"] == Outcome.FAILED.value]
    others = [name for name in stored if name not in set(failed)]
    first = _spread(failed, most)
    return {*first, *_spread(others, most - len(first))}


def _spread(names: Sequence[str], most: int) -> list[str]:
    if len(names) <= most:
        return list(names)
    return [names[k] for k in np.linspace(0, len(names) - 1, most).astype(int)]


def _cell(column: str, value: Any) -> Any:
    if column in _TEXT:
        return value if isinstance(value, str) else ""  # an empty cell is NaN
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
        "alarms": [step * opened.timestep_fs / 1e3 for step in trajectory.alarm_steps],
        "n_alarms": trajectory.n_alarms,
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
