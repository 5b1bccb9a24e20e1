"""The dynamics of one shard under way: relaxation, integration, checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo, Result, Status
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import (
    Evaluator,
    failed_result,
    why_unsupported,
)
from pesbench.engine.patient_worker import PatientWorker, systems_batch
from pesbench.engine.relaxation import Relaxed
from pesbench.engine.shard import (
    Spent,
    caller_state,
    load_for_molecules,
    state_arrays,
)
from pesbench.engine.worker import ModelLoadError
from pesbench.files.checkpoint import (
    Arrays,
    Checkpoint,
    stored_array,
)
from pesbench.models.registry import ModelEntry
from pesbench.tasks.dynamics.integrator import Ended, LockStep, failure_check
from pesbench.tasks.dynamics.minimum import relax_to_minimum
from pesbench.tasks.dynamics.outside import Outside, outside
from pesbench.tasks.dynamics.recorder import Recorder
from pesbench.tasks.dynamics.settings import OF_DESCRIPTORS, DynamicsSettings
from pesbench.tasks.dynamics.start import starting_velocities
from pesbench.tasks.dynamics.stored import MOST_ALARMS, Trajectory
from pesbench.tasks.dynamics.thermostat import settle, thermalise
from pesbench.tasks.dynamics.watch import Watch

logger = logging.getLogger("pesbench")


@dataclass
class Asked:
    """The model as the integrator sees it: a model that is gone has failed on every system."""

    evaluator: Evaluator
    model: str

    def __call__(self, batch: Batch) -> Result:
        """Energies and forces.

        Raises:
            UserError: the model has no energies, or no forces.
        """
        try:
            result = self.evaluator.evaluate(batch)
        except ModelLoadError as failure:  # the worker ended, the model cannot be loaded again
            return failed_result(batch, failure.status, failure.message)
        if result.energies is None and Status.OK in result.status:
            self._refuse("energies")
        if all("has no forces" in message for message in result.messages):
            self._refuse("forces")
        return result

    def _refuse(self, what: str) -> None:
        raise UserError(
            f"model {self.model!r} gives no {what}; dynamics at constant energy needs both "
            "energies and forces: leave it out of `dynamics`"
        )


@dataclass
class DynamicsRun:
    """A shard under way.

    Its checkpoint holds, as piece 0, the relaxed molecules; as every further piece, steps. The
    state after the last of these lies beside them under that piece's number.
    """

    entry: ModelEntry
    systems: Sequence[System]
    trajectories: list[Trajectory]
    settings: DynamicsSettings
    worker: PatientWorker
    checkpoint: Checkpoint
    spent: Spent
    checkpoint_s: float
    scan_set: Path
    evaluator: Evaluator = field(init=False)

    def run(self) -> ModelInfo | None:
        """Do what the checkpoint does not hold yet.

        Returns:
            What the model tells of itself; None if it does not load.
        """
        self.evaluator = Evaluator(self.worker, BatchLimit(systems=1))
        info, lost = None, None
        try:
            info, self.evaluator.limit = load_for_molecules(
                self.worker, self.checkpoint, self.entry, self.systems
            )
        except ModelLoadError as failure:
            lost = failure
        ask = Asked(self.evaluator, self.entry.name)
        if not self.checkpoint.count:
            relaxed = self._relax(ask, info, lost)
            self._save_relaxed(relaxed)
        relaxed = self._read_relaxed()
        known = None
        if info is not None and self.settings.alarm in OF_DESCRIPTORS:
            known = outside(self.settings, self.worker, self.entry.name, info, self.scan_set)
        self._integrate(ask, relaxed, lost, known)
        return info

    # --- relaxation

    def _relax(
        self, ask: Asked, info: ModelInfo | None, lost: ModelLoadError | None
    ) -> list[Relaxed]:
        if info is None:
            assert lost is not None
            return [
                Relaxed(system.positions, lost.status, False, 0, np.nan, lost.message)
                for system in self.systems
            ]
        reasons = [why_unsupported(system, info) for system in self.systems]
        asked = [s for s, reason in zip(self.systems, reasons, strict=True) if not reason]
        logger.info("relaxing %d molecules", len(asked))
        settings = self.settings
        found = relax_to_minimum(
            asked, ask, max_steps=settings.relax_steps, fmax=settings.relax_fmax
        )
        done = iter(found)
        return [
            Relaxed(system.positions, Status.UNSUPPORTED, False, 0, np.nan, reason)
            if reason
            else next(done)
            for system, reason in zip(self.systems, reasons, strict=True)
        ]

    def _save_relaxed(self, relaxed: Sequence[Relaxed]) -> None:
        self.checkpoint.append(
            positions=np.concatenate([one.positions for one in relaxed]),
            status=np.array([one.status.value for one in relaxed], dtype=str),
            converged=np.array([one.converged for one in relaxed], dtype=bool),
            steps=np.array([one.steps for one in relaxed], dtype=np.int64),
            fmax=np.array([one.fmax for one in relaxed], dtype=np.float64),
            messages=np.array([one.message for one in relaxed], dtype=str),
            **self._caller_state(),
        )
        self.spent.save()

    def _read_relaxed(self) -> list[Relaxed]:
        self.evaluator.limit, self.worker.deaths = self.checkpoint.read(0, caller_state)
        return self.checkpoint.read(0, self._relaxed_of)

    def _relaxed_of(self, stored: Arrays) -> list[Relaxed]:
        ends = np.cumsum([len(system.numbers) for system in self.systems])
        positions = stored_array(stored, "positions", "f", (int(ends[-1]), 3))
        kinds = {"status": "U", "converged": "b", "steps": "i", "fmax": "f", "messages": "U"}
        of = {key: stored_array(stored, key, k, ends.shape) for key, k in kinds.items()}
        return [
            Relaxed(
                positions=own,
                status=Status(str(of["status"][k])),
                converged=bool(of["converged"][k]),
                steps=int(of["steps"][k]),
                fmax=float(of["fmax"][k]),
                message=str(of["messages"][k]),
            )
            for k, own in enumerate(np.split(positions, ends[:-1]))
        ]

    def _caller_state(self) -> dict[str, NDArray[Any]]:
        return state_arrays(self.evaluator.limit, self.worker.deaths)

    # --- integration

    def _integrate(
        self,
        ask: Asked,
        relaxed: Sequence[Relaxed],
        lost: ModelLoadError | None,
        known: Outside | None,
    ) -> None:
        run = self._start(ask, relaxed)
        recorder = Recorder(run, self.settings.store_every)
        self._watch = Watch(self.settings, run.trajectories, known)
        if self.checkpoint.count > 1:
            self._restore(run, recorder)
        if lost is not None:  # a model that loaded when the run began
            self._note([
                Ended(int(k), lost.status, "", lost.message) for k in np.flatnonzero(run.running)
            ], run.step_number + 1)  # fmt: skip
            run.running[:] = False
        saved, last = run.step_number, time.monotonic()
        steps = range(run.step_number + 1, self.settings.n_steps + 1)
        for number in track(steps, len(steps), "steps"):
            if not run.running.any():
                break
            self._equilibrate(run, ask, number)
            ended = run.start() if number == 0 else run.step()
            ended += self._watch.look(run, ended)
            recorder.record(ended)
            self._note(ended, number)
            run.leave(ended)
            if time.monotonic() - last >= self.checkpoint_s:
                self._save(run, recorder)
                saved, last = run.step_number, time.monotonic()
        for k in np.flatnonzero(run.running):
            self.trajectories[k] = replace(self.trajectories[k], last_step=self.settings.n_steps)
        for k, one in enumerate(self.trajectories):
            self.trajectories[k] = replace(
                one,
                alarm_steps=tuple(step for step in self._watch.steps[k].tolist() if step >= 0),
                n_alarms=int(self._watch.count[k]),
            )
        if run.step_number > saved:
            self._save(run, recorder)

    def _equilibrate(self, run: LockStep, ask: Asked, number: int) -> None:
        """What the thermostat does before a step."""
        settings = self.settings
        if 1 <= number <= settings.equilibration_steps:
            thermalise(run, number)
        elif settings.equilibration_steps and number == settings.equilibration_steps + 1:
            of_id = {system.id: system for system in self.systems}
            settle(
                run, [of_id[one.system] for one in run.trajectories], ask,
                max_steps=settings.relax_steps, fmax=settings.relax_fmax,
            )  # fmt: skip

    def _start(self, ask: Asked, relaxed: Sequence[Relaxed]) -> LockStep:
        by_system = {s.id: (s, one) for s, one in zip(self.systems, relaxed, strict=True)}
        positions, velocities = [], []
        for k, trajectory in enumerate(self.trajectories):
            system, start = by_system[trajectory.system]
            status, message = start.status, start.message
            if not trajectory.degrees_of_freedom and status is Status.OK:
                status, message = Status.UNSUPPORTED, "a single atom has no internal motion"
            self.trajectories[k] = replace(
                trajectory, status=status, message=message, relaxed=start.converged,
                relax_steps=start.steps, relax_fmax=start.fmax,
            )  # fmt: skip
            positions.append(start.positions)
            velocities.append(
                starting_velocities(
                    system, start.positions, trajectory.temperature_k, trajectory.replicate
                )
                if status is Status.OK
                else np.zeros_like(start.positions)
            )
        atoms = np.concatenate(positions)
        return LockStep(
            trajectories=tuple(self.trajectories),
            batch=systems_batch([by_system[t.system][0] for t in self.trajectories]),
            timestep_fs=self.settings.timestep_fs,
            evaluate=ask,
            make_check=failure_check,
            positions=atoms,
            velocities=np.concatenate(velocities),
            forces=np.full_like(atoms, np.nan),
            running=np.array([t.status is Status.OK for t in self.trajectories]),
        )

    def _note(self, ended: Sequence[Ended], step: int) -> None:
        """Write down how trajectories ended."""
        for one in ended:
            trajectory = self.trajectories[one.index]
            answered = one.status in (Status.OK, Status.ALARM)
            relaxation = f"{trajectory.message}; " if trajectory.message else ""
            self.trajectories[one.index] = replace(
                trajectory, status=one.status, failure=one.failure,
                message=relaxation + one.message,
                failure_step=-1 if one.status is Status.ALARM else step,
                last_step=step if answered else step - 1,
            )  # fmt: skip
            logger.info("%s: %s", trajectory.name, one.message)

    def _save(self, run: LockStep, recorder: Recorder) -> None:
        state = {
            "step_number": np.array(run.step_number),
            "positions": run.positions,
            "velocities": run.velocities,
            "forces": run.forces,
            "running": run.running,
            "ring_positions": recorder.ring_positions,
            "ring_velocities": recorder.ring_velocities,
            "status": np.array([t.status.value for t in self.trajectories], dtype=str),
            "failure": np.array([t.failure for t in self.trajectories], dtype=str),
            "messages": np.array([t.message for t in self.trajectories], dtype=str),
            "failure_step": np.array([t.failure_step for t in self.trajectories]),
            "last_step": np.array([t.last_step for t in self.trajectories]),
            **self._watch.arrays(),
            **self._caller_state(),
        }
        self.checkpoint.append_with_state(state, **recorder.take())
        self.spent.save()

    def _restore(self, run: LockStep, recorder: Recorder) -> None:
        self.evaluator.limit, self.worker.deaths = self.checkpoint.read_state(caller_state)
        ring = recorder.ring_positions.shape
        every = (len(self.trajectories),)
        kinds: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "step_number": ("i", ()), "positions": ("f", ring[1:]), "velocities": ("f", ring[1:]),
            "forces": ("f", ring[1:]), "running": ("b", every), "ring_positions": ("f", ring),
            "ring_velocities": ("f", ring), "status": ("U", every), "failure": ("U", every),
            "messages": ("U", every), "failure_step": ("i", every), "last_step": ("i", every),
            "alarm_steps": ("i", (*every, MOST_ALARMS)), "alarm_count": ("i", every),
            "alarm_above": ("b", every), "alarm_total": ("f", every),
        }  # fmt: skip

        def understand(stored: Arrays) -> tuple[Arrays, list[Status]]:
            found = {key: stored_array(stored, key, *kind) for key, kind in kinds.items()}
            if int(found["step_number"]) > self.settings.n_steps:
                raise ValueError(f"`step_number` is {found['step_number']}")
            return found, [Status(str(one)) for one in found["status"]]

        state, status = self.checkpoint.read_state(understand)
        run.restore(
            int(state["step_number"]), state["positions"], state["velocities"], state["forces"],
            state["running"],
        )  # fmt: skip
        recorder.restore(state["ring_positions"], state["ring_velocities"])
        self._watch.restore(state)
        for k, trajectory in enumerate(self.trajectories):
            self.trajectories[k] = replace(
                trajectory,
                status=status[k],
                failure=str(state["failure"][k]),
                message=str(state["messages"][k]),
                failure_step=int(state["failure_step"][k]),
                last_step=int(state["last_step"][k]),
            )
