"""Scores of every trajectory of a model, from its stored file: no model, no GPU, seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pesbench.core.errors import UserError
from pesbench.core.jobs import ScoreJob
from pesbench.files import provenance
from pesbench.files.integrity import check_alike, check_owner, check_scan_set
from pesbench.files.scan_set import ScanSet
from pesbench.files.split import read_split
from pesbench.metrics.survival import Outcome, outcome
from pesbench.tasks.dynamics import conservation, elsewhere
from pesbench.tasks.dynamics.rearrangement import graph_changed
from pesbench.tasks.dynamics.stored import Frames, Series, Trajectories, Trajectory

if TYPE_CHECKING:
    import pandas as pd

    from pesbench.models.registry import ModelEntry

IDENTITY = (
    "model",
    "trajectory",
    "system",
    "seen",
    "temperature_k",
    "replicate",
    "timestep_fs",
    "n_atoms",
    "status",
    "message",
    "failure",
    "outcome",
    "time_ps",
    "planned_ps",
    "relaxed",
    "relax_steps",
)
OWN_METRICS = (
    "temperature_spike",
    "energy_drift_mev_per_atom_ps",
    "energy_drift_error_mev_per_atom_ps",
    "energy_rms_mev_per_atom",
    "energy_excursion_mev_per_atom",
    "energy_jump_mev",
    "mean_temperature_k",
)
OTHERS_METRICS = (  # of other benchmarks
    "fu_stable_ps",
    "mlipaudit_stability",
    "mlipaudit_energy_conservation",
    "lambench_slope_ev_per_atom_ps",
    "lambench_instability",
)
METRICS = (*OWN_METRICS, *OTHERS_METRICS)
ADDED = ("temperature_off", "graph_changed", "alarm_ps", "n_alarms")  # not in older tables
COLUMNS = (*IDENTITY, *METRICS, *ADDED, "wall_s", "worker_deaths")
ALWAYS = (*IDENTITY, *METRICS, "wall_s")  # in those of older versions, too
TEXT = ("model", "trajectory", "system", "seen", "status", "message", "failure", "outcome")


def score_trajectory(
    trajectory: Trajectory,
    series: Series,
    frames: Frames,
    n_steps: int,
    equilibration_steps: int = 0,
) -> dict[str, float]:
    """All scores of one trajectory that the model ran.

    Energies and temperatures are those of every step, bond lengths those of the stored frames.
    Fu's reference lengths are those of the relaxed start. A run that was cut by the clock or by
    memory has no score of other benchmarks; one that failed counts there as not complete.

    Args:
        trajectory: What it is and how it ended.
        series: Values of every step.
        frames: Stored.
        n_steps: Planned.
        equilibration_steps: The first ones, with a thermostat; they conserve no energy and count
            for failures alone.

    Returns:
        One number a metric (`METRICS`); NaN where it does not exist.
    """
    n, dof, nominal = trajectory.n_atoms, trajectory.degrees_of_freedom, trajectory.temperature_k
    total = series.total
    discard = conservation.DISCARD_PS
    # the thermostat sets the energy before the step that follows its last one
    after = slice(equilibration_steps + 1 if equilibration_steps else 0, None)
    if len(series.time_ps[after]):
        discard = max(discard, float(series.time_ps[after][0]))
    else:  # it failed before
        discard = np.inf
    drift = conservation.energy_drift(series.time_ps, total, n, discard)
    late = series.time_ps >= discard - 1e-9
    scores = dict.fromkeys(METRICS, float("nan")) | {
        "temperature_spike": conservation.temperature_spike_index(
            series.time_ps, series.temperature, nominal, dof, discard_ps=discard
        ),
        "energy_drift_mev_per_atom_ps": drift.slope,
        "energy_drift_error_mev_per_atom_ps": drift.standard_error,
        "energy_rms_mev_per_atom": conservation.detrended_rms(series.time_ps, total, n, discard),
        "energy_excursion_mev_per_atom": conservation.largest_excursion(
            series.time_ps, total, n, discard
        ),
        "energy_jump_mev": conservation.largest_jump(series.time_ps, total, discard),
        "mean_temperature_k": float(series.temperature[late].mean()) if late.any() else np.nan,
    }
    how = outcome(trajectory.status.value, trajectory.failure, float(series.time_ps[-1]))
    if how is not Outcome.CENSORED:
        scores |= _scores_of_others(trajectory, series, frames, n_steps, after)
    return scores


def _scores_of_others(
    trajectory: Trajectory, series: Series, frames: Frames, n_steps: int, conserving: slice
) -> dict[str, float]:
    """Scores of other benchmarks for a run that survived or failed: `OTHERS_METRICS`."""
    time_ps, total, kinetic = (
        part[conserving] for part in (series.time_ps, series.total, series.kinetic)
    )
    time_ps = time_ps - time_ps[:1]
    lengths = elsewhere.bond_lengths(frames.positions, trajectory.bonds)
    complete = trajectory.survived
    planned_frames = n_steps // max(1, int(frames.step[1])) + 1 if len(frames.step) > 1 else 1
    slope = elsewhere.lambench_slope(time_ps, total, trajectory.n_atoms)
    return {
        "fu_stable_ps": elsewhere.fu_stability(frames.time_ps, lengths, lengths[0]),
        "mlipaudit_stability": elsewhere.mlipaudit_stability(
            frames.temperature,
            frames.positions,
            trajectory.numbers,
            trajectory.bonds,
            trajectory.temperature_k,
            max(planned_frames, len(frames.step)),
            stopped=not complete,
            raised=trajectory.status.value in ("error", "crashed"),
        ),
        "mlipaudit_energy_conservation": (
            elsewhere.mlipaudit_energy_conservation(time_ps, total, kinetic)
            if complete and len(total) > 1
            else 0.0
        ),
        "lambench_slope_ev_per_atom_ps": slope,
        "lambench_instability": elsewhere.lambench_instability(slope, complete),
    }


def alarm_ps(trajectory: Trajectory, timestep_fs: float) -> float:
    """Time of the first alarm in ps; NaN without one."""
    step = trajectory.alarm_step
    return step * timestep_fs / 1000 if step >= 0 else float("nan")


def _row(
    opened: Trajectories, name: str, seen: Mapping[str, str], n_steps: int, equilibration_steps: int
) -> dict[str, Any]:
    trajectory = opened.trajectory(name)
    time_ps = max(trajectory.last_step, 0) * opened.timestep_fs / 1000
    how = outcome(trajectory.status.value, trajectory.failure, time_ps)
    row: dict[str, Any] = {
        "model": opened.model,
        "trajectory": name,
        "system": trajectory.system,
        "seen": seen.get(trajectory.system, ""),
        "temperature_k": trajectory.temperature_k,
        "replicate": trajectory.replicate,
        "timestep_fs": opened.timestep_fs,
        "n_atoms": trajectory.n_atoms,
        "status": trajectory.status.value,
        "message": trajectory.message,
        "failure": trajectory.failure,
        "outcome": how.value,
        "time_ps": time_ps,
        "planned_ps": n_steps * opened.timestep_fs / 1000,
        "relaxed": trajectory.relaxed,
        "relax_steps": trajectory.relax_steps,
        "alarm_ps": alarm_ps(trajectory, opened.timestep_fs),
        "n_alarms": trajectory.n_alarms,
    }
    if how is Outcome.NOT_AT_RISK or trajectory.last_step < 1:
        return row | dict.fromkeys((*METRICS, "temperature_off"), float("nan"))
    frames = opened.frames(name)
    row |= score_trajectory(trajectory, opened.series(name), frames, n_steps, equilibration_steps)
    off = row["mean_temperature_k"] / trajectory.temperature_k - 1
    changed = graph_changed(trajectory.numbers, trajectory.bonds, frames.time_ps, frames.positions)
    return row | {"temperature_off": off, "graph_changed": changed}


def trajectory_rows(
    shards: Sequence[Path],
    split: Mapping[str, str] | None = None,
    entry: ModelEntry | None = None,
) -> list[dict[str, Any]]:
    """One row a trajectory, sorted by time step and name.

    A shard's wall time is shared out by steps times atoms. How often the model's process was lost
    on its way (`worker_deaths`), which concerns all that go together, stands in its first row.

    Args:
        shards: Trajectory files of one model.
        split: `seen` or `unseen` by system.
        entry: Entry that the files must be of; without one they must be of one model.

    Raises:
        UserError: a damaged file, one of another entry, files of two models, or a trajectory that
            occurs twice.
    """
    rows: dict[tuple[float, str], dict[str, Any]] = {}
    model = None
    for path in sorted(shards):
        with Trajectories(path) as opened:
            if entry is not None:
                check_owner(path, opened.attributes, entry.name, entry.deciding())
            model = model or opened.model
            if opened.model != model:
                raise UserError(f"{path}: belongs to model {opened.model!r}, not {model!r}")
            attributes = opened.attributes
            n_steps, wall_s = int(attributes["n_steps"]), float(attributes["wall_s"])
            thermal = _equilibration_steps(path, opened)
            found = [_row(opened, name, split or {}, n_steps, thermal) for name in opened.names]
            work = np.array([row["time_ps"] * row["n_atoms"] for row in found])
            if not work.any():  # relaxation took what there is
                work = np.array([float(row["n_atoms"]) for row in found])
            share = work / work.sum()
            deaths = _worker_deaths(path, attributes)
            for row, part in zip(found, share, strict=True):
                key = (row["timestep_fs"], row["trajectory"])
                if key in rows:
                    raise UserError(f"{path}: {row['trajectory']!r} is in another shard, too")
                rows[key] = row | {"wall_s": float(part) * wall_s, "worker_deaths": deaths}
                deaths = 0
    return [rows[key] for key in sorted(rows)]


def _equilibration_steps(path: Path, opened: Trajectories) -> int:
    # files of earlier versions lack it
    told = json.loads(opened.attributes.get("settings", "{}")).get("equilibration_ps", 0.0)
    if type(told) not in (int, float) or not 0 <= told < 1e6:
        raise UserError(
            f"{path}: `@settings` holds no time of equilibration; remove the file and run its job "
            "again"
        )
    return round(1000.0 * told / opened.timestep_fs)


def _worker_deaths(path: Path, attributes: Mapping[str, Any]) -> int:
    # files of earlier versions lack it
    counts = json.loads(attributes.get("worker_deaths", "{}")).values()
    if not all(type(count) is int and 0 <= count < 1_000_000_000 for count in counts):
        raise UserError(
            f"{path}: `@worker_deaths` holds no counts; remove the file and run its job again"
        )
    return sum(counts)


def score(job: ScoreJob) -> pd.DataFrame:
    """Score a model's trajectories, one row each.

    Args:
        job: `files` are of trajectories; with an `entry`, they must be of it and made alike.

    Raises:
        UserError: see `trajectory_rows`; files of another scan set; or no selected molecule.
    """
    import pandas as pd  # the workflow's environment has it; a family's need not

    with ScanSet(job.scan_set) as scan_set:
        sha256 = scan_set.sha256
    settings, made_from, alike = [], [], {}
    for path in job.files:
        with Trajectories(path) as opened:
            found = str(opened.attributes["scan_set_sha256"])
            check_scan_set(path, found, job.scan_set, sha256)
            made_from.append(provenance.summary(opened.attributes, "pesbench.tasks.dynamics.run"))
            settings.append(json.loads(opened.attributes["settings"]))
        told = {key: value for key, value in settings[-1].items() if key != "timestep_fs"}
        alike[path] = {"code": made_from[-1]["code"], "settings": told}
    if job.entry is not None:  # files of several groups that are merged may differ
        check_alike(alike)
    rows = trajectory_rows(job.files, read_split(job.split) if job.split else None, job.entry)
    rows = [row for row in rows if job.selects(row["system"])]
    if not rows:
        raise UserError(f"{job.files[0]}: holds no selected molecule; select others")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame.attrs = {"scan_set_sha256": sha256, "settings": settings[0], "made_from": made_from}
    return frame
