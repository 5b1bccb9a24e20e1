"""Settings of the dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pesbench.core.errors import UserError
from pesbench.core.settings import PATH, check_limits, setting

OF_DESCRIPTORS = ("mahalanobis", "knn")  # alarms that ask the model once more in each step
ALARMS = (
    "largest_force", "close_pair", "long_bond", "energy_jump", "temperature", *OF_DESCRIPTORS,
)  # fmt: skip
MOST_STEPS = 1e8  # of a trajectory, whose energies are stored at every one: some GB


@dataclass(frozen=True)
class DynamicsSettings:
    """Settings of the trajectories of a run."""

    temperatures_k: tuple[float, ...] = setting(
        (300.0, 500.0, 1000.0),
        help="Nominal temperatures in K. A trajectory starts from a relaxed geometry with "
        "velocities for twice the temperature.",
        above=0,
        at_most=1e4,
    )
    replicates: int = setting(
        1, help="Trajectories of each molecule and temperature.", at_least=1, at_most=10_000
    )
    duration_ps: float = setting(2.0, help="Duration of a trajectory, in ps.", above=0, at_most=1e5)
    timestep_fs: float = setting(
        0.5, help="Time step of velocity Verlet, in fs.", at_least=1e-4, at_most=10
    )
    store_every: int = setting(
        20,
        help="Steps from one stored frame to the next; energies and temperature are stored at "
        "every step.",
        at_least=1,
        at_most=1_000_000_000,
    )
    relax_steps: int = setting(
        200,
        help="Largest number of steps of the relaxation with the model before the start.",
        at_least=0,
        at_most=1_000_000,
    )
    relax_fmax: float = setting(
        0.05,
        help="Largest force on an atom of a relaxed molecule, in eV/Å.",
        at_least=1e-6,
        at_most=10,
    )
    equilibration_ps: float = setting(
        0.0,
        help="How long a Langevin thermostat acts at the start of `duration_ps`, in ps; 0 for "
        "none. The rest is at constant energy.",
        at_least=0,
        at_most=1e5,
    )
    alarm: str | None = setting(
        None,
        help="Score that gives an alarm in a step in which it is above `alarm_threshold`, as in "
        "[tasks/alarms](../workflow/pesbench/tasks/alarms/README.md): largest force (eV/Å), "
        "minus the closest pair and longest bond over the sum of radii, change of the total energy "
        "in a step (eV/atom), temperature over the nominal one, or the distance of the farthest "
        "atom from a reference set by the model's descriptors, which takes one more evaluation a "
        "step. Without it there are none.",
        choices=ALARMS,
    )
    alarm_threshold: float | None = setting(
        None, help="Threshold of `alarm`, in its unit.", at_least=-1e9, at_most=1e9
    )
    reference_frames: str | None = setting(
        None,
        help="extxyz file of the frames that the models were trained on, the reference set of an "
        "`alarm` of descriptors. Without one, frames of scans within 0.15 Å of the minimum are.",
        path=PATH,
    )
    stop_on_alarm: bool = setting(
        False,
        help="Whether a trajectory ends at its first alarm, with the status `alarm`. It counts as "
        "cut, and its last steps are stored.",
    )

    @property
    def n_steps(self) -> int:
        """Steps of a trajectory."""
        return round(1000.0 * self.duration_ps / self.timestep_fs)

    @property
    def equilibration_steps(self) -> int:
        """Steps with the thermostat, the first ones of a trajectory."""
        return round(1000.0 * self.equilibration_ps / self.timestep_fs)

    def check(self) -> Self:
        """The settings, where no value is out of its limits and none contradicts another.

        Raises:
            UserError: one line with the setting and the cure.
        """
        check_limits(self, "dynamics")
        names = [f"{value:g}" for value in self.temperatures_k]
        if len(set(names)) < len(names):
            raise UserError("dynamics: `temperatures_k` holds one value twice; give each once")
        if self.duration_ps * 1000.0 / self.timestep_fs > MOST_STEPS:
            raise UserError(
                f"dynamics: `duration_ps` is {self.duration_ps!r}, more than {MOST_STEPS:g} steps "
                f"of {self.timestep_fs!r} fs; give a shorter one"
            )
        if self.n_steps < 1:
            raise UserError(
                f"dynamics: `duration_ps` is {self.duration_ps!r}, less than a step of "
                f"{self.timestep_fs:g} fs; give a longer one"
            )
        if self.equilibration_ps and self.equilibration_steps < 1:
            raise UserError(
                f"dynamics: `equilibration_ps` is {self.equilibration_ps!r}, less than a step of "
                f"{self.timestep_fs:g} fs; give a longer one, or 0 for none"
            )
        if (self.alarm is None) != (self.alarm_threshold is None):
            given, lacks = ("alarm", "alarm_threshold")[:: 1 if self.alarm else -1]
            raise UserError(f"dynamics: `{given}` is given without `{lacks}`; give both, or none")
        if self.stop_on_alarm and self.alarm is None:
            raise UserError(
                "dynamics: `stop_on_alarm` is true without an `alarm`; name one, or leave it out"
            )
        if self.reference_frames is not None and self.alarm not in OF_DESCRIPTORS:
            raise UserError(
                "dynamics: `reference_frames` is given without an `alarm` that reads it; name "
                f"{' or '.join(OF_DESCRIPTORS)}, or leave it out"
            )
        if self.equilibration_steps >= self.n_steps:
            raise UserError(
                f"dynamics: `equilibration_ps` is {self.equilibration_ps!r}, which leaves nothing "
                f"of `duration_ps` ({self.duration_ps!r}); give a shorter one"
            )
        return self
