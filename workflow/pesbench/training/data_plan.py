"""The trainings of the data study: how many frames, of which kind, for which family and seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.settings import setting
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import validate
from pesbench.models.families.mace.family import MACE
from pesbench.models.families.testbed.family import FAMILY as TESTBED
from pesbench.training.nested_plan import NestedPlan, check_nested

MD, APPROACH, CORE = "md", "approach", "core"  # kinds of trainings
KINDS = {
    MD: "MD frames only",
    APPROACH: "one tenth of approach frames",
    CORE: "MD frames, fixed ZBL core",
}
FAMILIES = (TESTBED.name, MACE.name)


@dataclass(frozen=True, kw_only=True)
class DataPlan(NestedPlan["DataTraining"]):
    """The trainings of the data study."""

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

    def trainings(self) -> dict[str, DataTraining]:
        """All trainings by name."""
        found = [
            DataTraining(family, kind, frames, seed)
            for family in FAMILIES
            for kind in KINDS
            for frames in sorted(self.frames)
            for seed in self.seeds_of(frames)
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
    check_nested(plan, path)
    return plan
