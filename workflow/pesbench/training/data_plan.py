"""The trainings of the data study: how many frames, of which kind, for which family and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.names import closest
from pesbench.core.settings import setting
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import validate
from pesbench.models.families.mace.family import MACE
from pesbench.models.families.testbed.family import FAMILY as TESTBED
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.testbed.settings import TrainingSettings

MD, APPROACH, CORE = "md", "approach", "core"  # kinds of trainings
KINDS = {
    MD: "MD frames only",
    APPROACH: "one tenth of approach frames",
    CORE: "MD frames, fixed ZBL core",
}
FAMILIES = (TESTBED.name, MACE.name)


@dataclass(frozen=True, kw_only=True)
class DataPlan:
    """The trainings of the data study."""

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
    approached: tuple[str, ...] = setting(
        help="Molecules that give closest-approach frames.", unique=True
    )
    highest_ev: float = setting(
        30.0,
        help="Largest energy of such a frame above the frame that it starts from, eV.",
        above=0,
        at_most=10_000,
    )
    approach_weight: float = setting(
        0.01,
        help="Weight of such a frame in MACE's loss, which is of squares; an MD frame has 1. The "
        "testbed's loss is of lengths and weighs all frames alike.",
        above=0,
        at_most=1000,
    )
    potential: Mapping[str, Any] = setting(dict, help="Switches of the testbed's potential.")
    training: Mapping[str, Any] = setting(dict, help="Schedule of the testbed's training.")
    mace_epochs: int = setting(
        help="Epochs of the small MACE, of which each passes over as many frames as the largest "
        "number.",
        at_least=1,
        at_most=1_000_000,
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

    def trainings(self) -> dict[str, DataTraining]:
        """All trainings by name."""
        found = [
            DataTraining(family, kind, frames, seed)
            for family in FAMILIES
            for kind in KINDS
            for frames in sorted(self.frames)
            for seed in range(1, 1 + (self.seeds if frames in self.repeated else 1))
        ]
        return {one.name: one for one in found}

    @property
    def asked_of_approaches(self) -> list[Any]:
        """What decides the closest-approach frames."""
        return [list(self.approached), self.largest, self.highest_ev, self.approach_weight]

    def asked_of(self, training: DataTraining) -> dict[str, Any]:
        """The keys of the plan that one training takes, beside its frames."""
        if training.family == MACE.name:
            return {"mace_epochs": self.mace_epochs, "kind": training.kind}
        return {
            "potential": dict(self.potential),
            "training": dict(self.training),
            "kind": training.kind,
        }

    def training_of(self, name: str, place: str) -> DataTraining:
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


@dataclass(frozen=True)
class DataTraining:
    """One training.

    Attributes:
        family: One of `FAMILIES`.
        kind: One of `KINDS`.
        frames: Number of frames to train on.
        seed: 1, 2, ...
    """

    family: str
    kind: str
    frames: int
    seed: int

    @property
    def potential(self) -> str:
        """Name that its seeds share, that of the first."""
        return f"{self.family}-{self.kind}-{self.frames}"

    @property
    def name(self) -> str:
        """Name of the model, from which all random numbers are drawn."""
        return self.potential + (f"-seed_{self.seed}" if self.seed > 1 else "")

    @property
    def frames_name(self) -> str:
        """Name of its file of frames: those of a core are the same as without."""
        return f"{APPROACH if self.kind == APPROACH else MD}-{self.frames}-draw_{self.seed}"

    @property
    def weights_name(self) -> str:
        """Name of its weight file."""
        return f"{self.name}.pt"


def read_plan(path: Path) -> DataPlan:
    """The plan of a file.

    Args:
        path: YAML, see `DataPlan`.

    Raises:
        UserError: one line with the file, the key and the cure.
    """
    plan: DataPlan = validate(DataPlan, read_yaml(path), str(path))
    for frames in plan.frames:
        if plan.largest % frames:
            raise UserError(
                f"{path}: `frames`: {frames} is no divisor of {plan.largest}, so that an epoch "
                "cannot have the same number of steps; give another number"
            )
    if unknown := [n for n in plan.repeated if n not in plan.frames]:
        raise UserError(f"{path}: `repeated`: {unknown[0]} is not among `frames`; add it there")
    PotentialSettings.of(plan.potential, f"{path}: `potential`")
    training = TrainingSettings.of(plan.training, f"{path}: `training`")
    if training.patience_epochs < training.epochs:
        raise UserError(
            f"{path}: `training`: `patience_epochs` is {training.patience_epochs}, which may end a "
            f"training early and so with fewer steps than others; give {training.epochs}"
        )
    return plan
