"""Alarms of a run under way: what positions, forces and energies of a step say.

The scores are those that `tasks/alarms` gives a frame. Most look only at what the integrator holds,
so that an alarm costs no evaluation; those of descriptors ask the model once more in each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.metrics.geometry_sentinels import Pairs, close_pair, long_bond
from pesbench.metrics.physics_sentinels import largest_force
from pesbench.metrics.stability import kinetic_temperature
from pesbench.tasks.dynamics.integrator import Ended, LockStep
from pesbench.tasks.dynamics.outside import Outside
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.stored import MOST_ALARMS, Trajectory

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Seen:
    """A step of one trajectory: positions and forces (N, 3), energies in eV, temperature in K."""

    positions: Array
    forces: Array
    total: float
    total_before: float
    temperature: float


_Score = Callable[[Trajectory, Pairs, _Seen], float]
_SCORES: dict[str, _Score] = {
    "largest_force": lambda _, __, seen: float(largest_force(seen.forces[None])[0]),
    "close_pair": lambda one, pairs, seen: float(
        close_pair(pairs.ratios(seen.positions[None], one.numbers))[0]
    ),
    "long_bond": lambda one, pairs, seen: float(
        long_bond(pairs.ratios(seen.positions[None], one.numbers), pairs.apart)[0]
    ),
    "energy_jump": lambda one, _, seen: abs(seen.total - seen.total_before) / one.n_atoms,
    "temperature": lambda one, _, seen: seen.temperature / one.temperature_k,
}


@dataclass
class Watch:
    """Looks at every step of some trajectories, and keeps their alarms.

    Attributes:
        settings: `alarm`, `alarm_threshold` and `stop_on_alarm`.
        trajectories: What is looked at.
        outside: Of an alarm of descriptors.
        steps: Steps of the first alarms of each trajectory, −1 behind the last, shape
            (S, `MOST_ALARMS`).
        count: Alarms of each: one contiguous crossing of the threshold is one, shape (S,).
        above: Whether each was above the threshold in its last step, shape (S,).
        total: Total energy of each in its last step, eV, shape (S,); NaN before the first.
    """

    settings: DynamicsSettings
    trajectories: Sequence[Trajectory]
    outside: Outside | None = None
    steps: NDArray[np.int64] = field(init=False)
    count: NDArray[np.int64] = field(init=False)
    above: NDArray[np.bool_] = field(init=False)
    total: Array = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.trajectories)
        self.steps, self.count = np.full((n, MOST_ALARMS), -1), np.zeros(n, dtype=np.int64)
        self.above, self.total = np.zeros(n, dtype=bool), np.full(n, np.nan)
        self._pairs = [Pairs.of(one.numbers, one.bonds) for one in self.trajectories]
        self._ends = np.cumsum([one.n_atoms for one in self.trajectories])

    def look(self, run: LockStep, ended: Sequence[Ended]) -> list[Ended]:
        """Look at the step that was just taken.

        Args:
            run: The trajectories.
            ended: Those that fail in this step: a failure is no alarm.

        Returns:
            The trajectories that leave because of an alarm, with `stop_on_alarm`.
        """
        settings, gone = self.settings, {one.index for one in ended}
        if settings.alarm is None or settings.alarm_threshold is None:
            return []
        leave: list[Ended] = []
        live = [k for k in np.flatnonzero(run.running).tolist() if k not in gone]
        described = (
            {} if self.outside is None else self.outside.scores(run.batch, run.positions, live)
        )
        # what the thermostat does to the energy is no alarm
        thermal = settings.equilibration_steps
        skipped = settings.alarm == "energy_jump" and 0 < thermal >= run.step_number - 1
        for k in live:
            seen, before = self._seen(run, k), self.above[k]
            self.total[k] = seen.total
            if skipped or (settings.alarm == "energy_jump" and np.isnan(seen.total_before)):
                continue
            value = described.get(k)
            if value is None:
                value = _SCORES[settings.alarm](self.trajectories[k], self._pairs[k], seen)
            self.above[k] = value > settings.alarm_threshold
            if not self.above[k] or before:
                continue
            if self.count[k] < MOST_ALARMS:
                self.steps[k, self.count[k]] = run.step_number
            self.count[k] += 1
            if settings.stop_on_alarm:
                when = f"step {run.step_number} ({run.step_number * run.timestep_fs / 1000:.4f} ps)"
                told = f"{settings.alarm} {value:.3g} > {settings.alarm_threshold:g}"
                leave.append(Ended(k, Status.ALARM, "", f"{when}: alarm: {told}"))
        return leave

    def _seen(self, run: LockStep, k: int) -> _Seen:
        one = self.trajectories[k]
        atoms = slice(self._ends[k] - one.n_atoms, self._ends[k])
        kinetic = float(run.kinetic[k])
        return _Seen(
            run.positions[atoms],
            run.forces[atoms],
            float(run.potential[k]) + kinetic,
            float(self.total[k]),
            float(kinetic_temperature(kinetic, one.degrees_of_freedom)),
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state, for a checkpoint."""
        return {
            "alarm_steps": self.steps,
            "alarm_count": self.count,
            "alarm_above": self.above,
            "alarm_total": self.total,
        }

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Go on from the state of `arrays`."""
        self.steps, self.count = arrays["alarm_steps"], arrays["alarm_count"]
        self.above, self.total = arrays["alarm_above"], arrays["alarm_total"]
