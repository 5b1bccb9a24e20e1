"""Velocity Verlet of many molecules in lock-step, through common batches.

Positions and velocities are float64 whatever the model computes in. All trajectories take each step
together. One that fails leaves with its status and the others go on; a model whose rounding depends
on what shares a batch gives them another continuation then, equal in its statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from ase import units
from ase.data import atomic_masses
from numpy.typing import NDArray

from pesbench.core.interface import Batch, Result, Status
from pesbench.metrics.stability import (
    Failure,
    FailureCheck,
    kinetic_temperature,
)
from pesbench.tasks.dynamics.stored import Trajectory

Array = NDArray[np.float64]


class Check(Protocol):
    """Tells of molecules whether they are still what they were; see `FailureCheck`."""

    def check(self, positions: Array, temperature: Array) -> NDArray[np.int64]: ...

    def failure(
        self, molecule: int, step: int, positions: Array, temperature: Array
    ) -> Failure | None: ...


CheckFactory = Callable[[Sequence[Trajectory]], Check]


def failure_check(trajectories: Sequence[Trajectory]) -> FailureCheck:
    """The criteria of `metrics.stability` for some trajectories."""
    return FailureCheck.of(
        [one.numbers for one in trajectories],
        [one.bonds for one in trajectories],
        [one.temperature_k for one in trajectories],
        [one.degrees_of_freedom == 3 * one.n_atoms - 5 for one in trajectories],
    )


@dataclass(frozen=True)
class Ended:
    """A trajectory that leaves: which one, with what status, physical failure and message."""

    index: int
    status: Status
    failure: str
    message: str


@dataclass
class LockStep:
    """Velocity Verlet of S trajectories with A atoms in all.

    Arrays keep the places of trajectories that have left; these are not touched any more.

    Attributes:
        trajectories: What is integrated.
        batch: Their atoms; its positions and labels are not used.
        timestep_fs: Time between two steps, in fs.
        evaluate: The model.
        make_check: Makes the check of the running trajectories; None for no check of failures.
        positions: Å, shape (A, 3).
        velocities: ASE units, shape (A, 3).
        forces: eV/Å, shape (A, 3).
        running: Mask of the running trajectories, shape (S,), bool.
        step_number: Number of the step of the state; −1 before `start`.
        potential: eV, shape (S,); NaN where the model gave none, or no more.
        kinetic: eV, shape (S,).
    """

    trajectories: Sequence[Trajectory]
    batch: Batch
    timestep_fs: float
    evaluate: Callable[[Batch], Result]
    make_check: CheckFactory | None
    positions: Array
    velocities: Array
    forces: Array
    running: NDArray[np.bool_]
    step_number: int = -1
    potential: Array = field(init=False)
    kinetic: Array = field(init=False)

    def __post_init__(self) -> None:
        masses = atomic_masses[self.batch.numbers]
        self._half_kick = (0.5 * self.timestep_fs * units.fs / masses)[:, None]
        self._half_mass = 0.5 * masses
        self._names = [trajectory.name for trajectory in self.trajectories]
        self._freedom = np.array([t.degrees_of_freedom for t in self.trajectories])
        self.potential = np.full(len(self.running), np.nan)
        self.kinetic = np.full(len(self.running), np.nan)
        self._choose()

    def _choose(self) -> None:
        """Gather what belongs to the trajectories under way."""
        self._live = np.flatnonzero(self.running)
        everyone = bool(self.running.all())
        # a slice copies faster than an index does
        self.atoms = slice(None) if everyone else np.flatnonzero(self.running[self.batch.system])
        self._part = self.batch if everyone or not len(self._live) else self._select()
        self._kick, self._mass = self._half_kick[self.atoms], self._half_mass[self.atoms]
        if self.make_check is not None and len(self._live):
            self._check = self.make_check([self.trajectories[k] for k in self._live])

    def _select(self) -> Batch:
        return self.batch.select(self._live.tolist())

    def start(self) -> list[Ended]:
        """Energies and forces of step 0."""
        zero = np.zeros_like(self.positions[self.atoms])
        return self._finish_step(self.positions[self.atoms], self.velocities[self.atoms], zero)

    def step(self) -> list[Ended]:
        """One step of velocity Verlet (Swope et al., J. Chem. Phys. 76, 637 (1982))."""
        half = self.velocities[self.atoms] + self._kick * self.forces[self.atoms]
        moved = self.positions[self.atoms] + self.timestep_fs * units.fs * half
        return self._finish_step(moved, half, self._kick)

    def _finish_step(self, positions: Array, velocities: Array, kick: Array) -> list[Ended]:
        self.step_number += 1
        part, live = self._part, self._live
        labels = tuple((self._names[k], self.step_number) for k in live)
        result = self.evaluate(replace(part, positions=positions, labels=labels))
        answered = np.array([status is Status.OK for status in result.status], dtype=bool)
        whole = velocities + kick * result.forces
        if not answered.all():  # the velocities of half a step before are the last ones known
            whole = np.where(answered[part.system][:, None], whole, velocities)
        kinetic = np.bincount(
            part.system, self._mass * np.einsum("ij,ij->i", whole, whole), len(live)
        )
        self.positions[self.atoms], self.velocities[self.atoms] = positions, whole
        self.forces[self.atoms] = result.forces
        self.potential[:], self.kinetic[:] = np.nan, np.nan
        if result.energies is not None:
            self.potential[live] = np.where(answered, result.energies, np.nan)
        self.kinetic[live] = np.where(answered, kinetic, np.nan)
        ended = self._model_failures(result, answered)
        if self.make_check is not None:
            temperatures = kinetic_temperature(kinetic, self._freedom[live])
            failed = self._check.check(positions, temperatures) != 0
            for place in np.flatnonzero(failed & answered).tolist():
                found = self._check.failure(place, self.step_number, positions, temperatures)
                assert found is not None
                message = f"{self._when}: {found.cause}: {found.detail}"
                ended.append(Ended(int(live[place]), Status.OK, found.cause.value, message))
        return ended

    @property
    def _when(self) -> str:
        return f"step {self.step_number} ({self.step_number * self.timestep_fs / 1000:.4f} ps)"

    def _model_failures(self, result: Result, answered: NDArray[np.bool_]) -> list[Ended]:
        return [
            Ended(
                int(self._live[place]),
                result.status[place],
                "",
                f"{self._when}: {result.messages[place]}",
            )
            for place in np.flatnonzero(~answered)
        ]

    def restore(
        self, step_number: int, positions: Array, velocities: Array, forces: Array,
        running: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        """Go on from a stored state."""
        self.step_number, self.running = step_number, running
        self.positions, self.velocities, self.forces = positions, velocities, forces
        self._choose()

    def leave(self, ended: Sequence[Ended]) -> None:
        """Take trajectories out; the others go on."""
        if ended:
            self.running[[one.index for one in ended]] = False
            self._choose()
