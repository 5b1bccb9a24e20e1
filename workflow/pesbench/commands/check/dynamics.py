"""Short trajectories at constant energy: does a molecule survive, and is its energy kept?

Relaxation, start, integrator, criteria of failure and scores are those of the workflow
(`pesbench.tasks.dynamics.run`, `pesbench.tasks.dynamics.score`); here is which molecules run, and
what the rows of a check say. All of them take each step together, in common batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from pesbench.commands.check.conformance import Elements, Evaluate
from pesbench.commands.check.limits import Limits, Tolerance
from pesbench.commands.check.reference import ReferenceRuns, read_reference
from pesbench.commands.check.report import CheckRow
from pesbench.commands.check.run_rows import Run, dynamics_rows, without_runs
from pesbench.commands.check.scan_rows import Track
from pesbench.commands.check.subset import SCANS
from pesbench.core.interface import Batch, Result, Status
from pesbench.core.systems import System
from pesbench.engine.evaluator import failed_result
from pesbench.engine.patient_worker import systems_batch
from pesbench.engine.relaxation import Relaxed
from pesbench.engine.worker import ModelLoadError
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.metrics.stability import internal_degrees_of_freedom, kinetic_temperature
from pesbench.metrics.survival import Outcome, outcome
from pesbench.tasks.dynamics.integrator import Ended, LockStep, failure_check
from pesbench.tasks.dynamics.minimum import relax_to_minimum
from pesbench.tasks.dynamics.score import METRICS, score_trajectory
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.start import starting_velocities
from pesbench.tasks.dynamics.stored import Frames, Series, Trajectory

Array = NDArray[np.float64]

# six to seven atoms each; together every element and every bond type of the scans
SYSTEMS = (
    "acetaldehyde",  # C-C, C-O
    "aminophosphinous-acid",  # N-P, O-P
    "formaldoxime",  # C-N, N-O
    "hydrazine",  # N-N
    "methanethiol",  # C-S
    "methylphosphine",  # C-P
)
# 9000 evaluations, which cost about as much as the scans; the spike index needs 0.7 ps. Hot: a run
# that survives 1000 K has visited what one at 500 K visits.
SETTINGS = DynamicsSettings(
    temperatures_k=(1000.0,),
    replicates=1,
    duration_ps=0.75,
    timestep_fs=0.5,
    store_every=20,
    relax_steps=200,
    relax_fmax=0.05,
)
_PS = 1000.0 * units.fs  # in ASE's unit of time


def check_systems() -> list[System]:
    """The molecules of this part, in the order of `SYSTEMS`."""
    with ScanSet(SCANS) as scan_set:
        known = {system.id: system for system in scan_set_systems(scan_set)}
    return [known[name] for name in SYSTEMS]


class _MissingError(Exception):
    """The model does not give what dynamics needs; the message says what."""


@dataclass
class _Asked:
    """The model as the integrator sees it: one that is gone has failed on every system."""

    evaluate: Evaluate

    def __call__(self, batch: Batch) -> Result:
        try:
            answer = self.evaluate(batch)
        except ModelLoadError as failure:  # the worker ended, the model cannot be loaded again
            return failed_result(batch, failure.status, failure.message)
        if answer.energies is None and Status.OK in answer.status:
            raise _MissingError("no energy")
        if all("has no forces" in message for message in answer.messages):
            raise _MissingError("no forces")
        return answer


def check_dynamics(
    evaluate: Evaluate,
    elements: Elements,
    limits: Limits,
    tolerance: Tolerance,
    track: Track,
    settings: DynamicsSettings = SETTINGS,
    reference: ReferenceRuns | None = None,
) -> tuple[list[CheckRow], list[dict[str, Any]]]:
    """The rows of this part, and one mapping a trajectory.

    Args:
        evaluate: The model; a `ModelLoadError` that it raises is how the trajectories end.
        elements: Elements that the model knows; molecules with others are not run.
        limits: What passes.
        tolerance: What rounding alone may change, by the precision of the model.
        track: Progress, as `pesbench.core.progress.track`.
        settings: Settings with one temperature and one replicate.
        reference: What the reference does on the same molecules with the same settings; None for
            what ships with the package.
    """
    systems = check_systems()
    reasons = {system.id: elements.refusal(system.numbers) for system in systems}
    asked = [system for system in systems if not reasons[system.id]]
    records: dict[str, dict[str, Any]] = {}
    runs: dict[str, Run] = {}
    for system in systems:
        if reason := reasons[system.id]:
            refused = replace(_planned(system, settings), status=Status.UNSUPPORTED, message=reason)
            records[system.id] = _record(refused, None, settings)
    if asked:
        try:
            done = run_trajectories(_Asked(evaluate), asked, settings, track)
        except _MissingError as missing:
            return without_runs(limits, f"n/a: {missing}"), []
        runs = {run.trajectory.system: run for run in done}
        for name, run in runs.items():
            records[name] = _record(run.trajectory, run, settings)
    ordered = [records[system.id] for system in systems]
    known = read_reference() if reference is None else reference
    return dynamics_rows(ordered, limits, tolerance, known, runs), ordered


def settings_of_part(settings: DynamicsSettings = SETTINGS) -> dict[str, Any]:
    """Settings of the trajectories, for the record."""
    return {"systems": list(SYSTEMS), **asdict(settings)}


# --- the runs ------------------------------------------------------------------------------------


def run_trajectories(
    evaluate: Evaluate, systems: Sequence[System], settings: DynamicsSettings, track: Track
) -> list[Run]:
    """One trajectory a molecule, at the first temperature of the settings.

    As `pesbench.tasks.dynamics.run.run`, without files and checkpoints.

    Args:
        evaluate: The model.
        systems: Molecules, at least one.
        settings: Settings with one temperature and one replicate.
        track: Progress.
    """
    relaxed = relax_to_minimum(
        systems, evaluate, max_steps=settings.relax_steps, fmax=settings.relax_fmax
    )
    run = _start(evaluate, systems, relaxed, settings)
    trajectories = list(run.trajectories)
    shape = (settings.n_steps + 1, len(systems))
    potential, kinetic = np.full(shape, np.nan), np.full(shape, np.nan)
    stored: list[tuple[Array, Array]] = []
    path: list[Array] = []
    steps = range(settings.n_steps + 1)
    for number in track(steps, len(steps), "steps"):
        if not run.running.any():
            break
        ended = run.start() if number == 0 else run.step()
        potential[number], kinetic[number] = run.potential, run.kinetic
        path.append(run.positions.copy())
        if number % settings.store_every == 0:
            stored.append((run.positions.copy(), run.velocities * _PS))
        for one in ended:
            trajectories[one.index] = _ended(trajectories[one.index], one, number)
        run.leave(ended)
    for k in np.flatnonzero(run.running):
        trajectories[k] = replace(trajectories[k], last_step=settings.n_steps)
    ends = np.cumsum([trajectory.n_atoms for trajectory in trajectories])
    atoms = [slice(end - one.n_atoms, end) for one, end in zip(trajectories, ends, strict=True)]
    return [
        Run(
            trajectory,
            *_cut(trajectory, potential[:, k], kinetic[:, k], stored, atoms[k], settings),
            relaxation=relaxed[k].message,
            path=np.array([step[atoms[k]] for step in path[: trajectory.last_step + 1]]),
        )
        for k, trajectory in enumerate(trajectories)
    ]


def _planned(system: System, settings: DynamicsSettings) -> Trajectory:
    return Trajectory(
        system=system.id,
        temperature_k=settings.temperatures_k[0],
        replicate=0,
        numbers=system.numbers,
        bonds=system.bonds,
        charge=system.charge,
        spin=system.spin,
        degrees_of_freedom=internal_degrees_of_freedom(system.positions),
    )


def _start(
    evaluate: Evaluate,
    systems: Sequence[System],
    relaxed: Sequence[Relaxed],
    settings: DynamicsSettings,
) -> LockStep:
    trajectories = tuple(
        replace(
            _planned(system, settings), status=start.status, message=start.message,
            relaxed=start.converged, relax_steps=start.steps, relax_fmax=start.fmax,
        )
        for system, start in zip(systems, relaxed, strict=True)
    )  # fmt: skip
    velocities = [
        starting_velocities(system, start.positions, settings.temperatures_k[0], 0)
        if start.status is Status.OK
        else np.zeros_like(start.positions)
        for system, start in zip(systems, relaxed, strict=True)
    ]
    positions = np.concatenate([start.positions for start in relaxed])
    return LockStep(
        trajectories=trajectories,
        batch=systems_batch(systems),
        timestep_fs=settings.timestep_fs,
        evaluate=evaluate,
        make_check=failure_check,
        positions=positions,
        velocities=np.concatenate(velocities),
        forces=np.full_like(positions, np.nan),
        running=np.array([start.status is Status.OK for start in relaxed]),
    )


def _ended(trajectory: Trajectory, end: Ended, step: int) -> Trajectory:
    answered = end.status is Status.OK
    relaxation = f"{trajectory.message}; " if trajectory.message else ""
    return replace(
        trajectory, status=end.status, failure=end.failure, message=relaxation + end.message,
        failure_step=step, last_step=step if answered else step - 1,
    )  # fmt: skip


def _cut(
    trajectory: Trajectory,
    potential: Array,
    kinetic: Array,
    stored: Sequence[tuple[Array, Array]],
    atoms: slice,
    settings: DynamicsSettings,
) -> tuple[Series, Frames]:
    """Data of a trajectory, up to its last step."""
    count = trajectory.last_step + 1
    temperature = kinetic_temperature(kinetic[:count], trajectory.degrees_of_freedom)
    time_ps = np.arange(count) * (settings.timestep_fs / 1000.0)
    step = np.arange(0, count, settings.store_every)
    shape = (len(step), trajectory.n_atoms, 3)
    frames = Frames(
        step=step,
        time_ps=time_ps[step],
        positions=np.array([x[atoms] for x, _ in stored[: len(step)]]).reshape(shape),
        velocities=np.array([v[atoms] for _, v in stored[: len(step)]]).reshape(shape),
        potential=potential[step],
        kinetic=kinetic[step],
        temperature=temperature[step],
    )
    return Series(time_ps, potential[:count], kinetic[:count], temperature), frames


# --- what they amount to -------------------------------------------------------------------------


def _record(trajectory: Trajectory, run: Run | None, settings: DynamicsSettings) -> dict[str, Any]:
    """A trajectory and its scores, under the names of `scores/dynamics.parquet`."""
    to_ps = settings.timestep_fs / 1000
    time_ps = max(trajectory.last_step, 0) * to_ps
    how = outcome(trajectory.status.value, trajectory.failure, time_ps)
    record: dict[str, Any] = {
        "trajectory": trajectory.name,
        "system": trajectory.system,
        "temperature_k": trajectory.temperature_k,
        "n_atoms": trajectory.n_atoms,
        "status": trajectory.status.value,
        "message": trajectory.message,
        "failure": trajectory.failure,
        "outcome": how.value,
        "time_ps": time_ps,
        "planned_ps": settings.n_steps * to_ps,
        "relaxed": trajectory.relaxed,
        "relax_steps": trajectory.relax_steps,
        "relax_fmax": trajectory.relax_fmax,
        "relaxation": run.relaxation if run is not None else "",
    }
    if run is None or how is Outcome.NOT_AT_RISK or trajectory.last_step < 1:
        return record | dict.fromkeys(METRICS, float("nan"))
    return record | score_trajectory(trajectory, run.series, run.frames, settings.n_steps)
