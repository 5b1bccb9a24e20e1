"""What the plans of studies share that train on nested sets of frames, as many steps for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pesbench.core.errors import UserError
from pesbench.core.names import closest
from pesbench.core.settings import setting
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.testbed.settings import TrainingSettings
from pesbench.training.mace_settings import MACETraining
from pesbench.training.registry import Training

Some = TypeVar("Some", bound=Training)


@dataclass(frozen=True, kw_only=True)
class NestedPlan(Generic[Some]):
    """Numbers of frames, seeds and schedules of a study."""

    frames: tuple[int, ...] = setting(
        help="Numbers of frames to train on, each a divisor of the largest, so that every training "
        "takes the same number of gradient steps.",
        at_least=1,
        at_most=1_000_000,
        unique=True,
    )
    repeated: tuple[int, ...] = setting(
        help="Those of them that are trained with several seeds.", unique=True, empty=True
    )
    seeds: int = setting(3, help="Number of these seeds.", at_least=1, at_most=100)
    potential: Mapping[str, Any] = setting(dict, help="Switches of the testbed's potential.")
    training: Mapping[str, Any] = setting(
        dict,
        help="Schedule of the testbed's training. The small MACE takes its `epochs` and "
        "`batch_frames`.",
    )

    @property
    def largest(self) -> int:
        """The largest number of frames, which is that of an epoch in every training."""
        return max(self.frames)

    def repeats(self, frames: int) -> int:
        """How often an epoch passes over a set of so many frames.

        Raises:
            UserError: the plan has no such number.
        """
        if frames not in self.frames:
            told = ", ".join(map(str, self.frames))
            raise UserError(f"{frames} frames: the plan has sets of {told}; give one of them")
        return self.largest // frames

    def schedule(self, changes: Mapping[str, Any] | None = None) -> TrainingSettings:
        """The schedule of the testbed, whose epochs and frames a step MACE takes, too.

        Args:
            changes: Keys of `training` that are otherwise.

        Raises:
            UserError: a key or a value makes no sense; the plan that was read has none.
        """
        return TrainingSettings.of({**self.training, **(changes or {})}, "`training`")

    def mace(self, changes: Mapping[str, Any] | None = None) -> MACETraining:
        """The schedule of the small MACE; see `schedule`."""
        steps = self.schedule(changes)
        return MACETraining(epochs=steps.epochs, batch_size=steps.batch_frames, alike=True)

    def seeds_of(self, frames: int) -> range:
        """The seeds that are trained with so many frames: 1, 2, ..."""
        return range(1, 1 + (self.seeds if frames in self.repeated else 1))

    def trainings(self) -> dict[str, Some]:
        """All trainings by name."""
        raise NotImplementedError

    def training_of(self, name: str, place: str) -> Some:
        """A training by its name.

        Args:
            name: Its name.
            place: File of the plan, for the message.

        Raises:
            UserError: there is none.
        """
        every = self.trainings()
        if name not in every:
            raise UserError(f"{place}: no training {name!r}; {closest(name, every)}")
        return every[name]


def check_nested(plan: NestedPlan[Some], path: Path) -> None:
    """Refuse a plan whose trainings cannot all have the same number of steps.

    Raises:
        UserError: one line with the file, the key and the cure.
    """
    for frames in plan.frames:
        if plan.largest % frames:
            raise UserError(
                f"{path}: `frames`: {frames} is no divisor of {plan.largest}, so that an epoch "
                "cannot have the same number of steps; give another number"
            )
    if unknown := [n for n in plan.repeated if n not in plan.frames]:
        raise UserError(f"{path}: `repeated`: {unknown[0]} is not among `frames`; add it there")
    PotentialSettings.of(plan.potential, f"{path}: `potential`")
    check_schedule(plan.training, f"{path}: `training`")
    step = plan.schedule().batch_frames
    if step > plan.largest:  # MACE leaves out what does not fill a step
        raise UserError(
            f"{path}: `training`: `batch_frames` is {step}, more than the {plan.largest} frames of "
            f"an epoch; give {plan.largest} or fewer"
        )


def check_schedule(values: Mapping[str, Any], place: str) -> None:
    """Refuse a schedule that a training may leave before its last epoch.

    Args:
        values: Keys as the attributes of `TrainingSettings`.
        place: Place of the schedule, for messages.

    Raises:
        UserError: one line with the place, the key and the cure.
    """
    schedule = TrainingSettings.of(values, place)
    if schedule.patience_epochs < schedule.epochs:
        raise UserError(
            f"{place}: `patience_epochs` is {schedule.patience_epochs}, which may end a training "
            f"early and so with fewer steps than others; give {schedule.epochs}"
        )
