"""The trainings of a study of data: how many frames, of which kind, for which family and seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.settings import setting
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import validate
from pesbench.models.families.mace.family import MACE
from pesbench.models.families.testbed.family import FAMILY as TESTBED
from pesbench.training.nested import tenth_of
from pesbench.training.nested_plan import NestedPlan, check_nested

MD, APPROACH, CORE, HARVESTED = "md", "approach", "core", "harvested"  # kinds of trainings
KINDS = {
    MD: "MD frames only",
    APPROACH: "one tenth of approach frames",
    CORE: "MD frames, fixed ZBL core",
    HARVESTED: "one tenth of harvested frames",
}
ADDED, RANDOM = "added", "random"  # kinds of rounds, which add to the frames of the start
ROUNDS = {ADDED: "harvested frames added", RANDOM: "as many random frames added"}
FAMILIES = (TESTBED.name, MACE.name)


@dataclass(frozen=True, kw_only=True)
class Harvest:
    """Dynamics of trained potentials, and what of it is trained on."""

    frames: tuple[int, ...] = setting(
        (),
        help="Those of the numbers of frames that are also trained with harvested frames.",
        unique=True,
    )
    rounds: int = setting(
        0,
        help="Rounds that add harvested frames, and random ones for comparison, to those of the "
        "start. With 0, harvested frames replace one tenth, once.",
        at_least=0,
        at_most=100,
    )
    per_round: int = setting(20, help="Most frames a round adds.", at_least=1, at_most=100_000)
    temperature_k: float = setting(
        1000.0, help="Temperature of the dynamics and of random frames, K.", above=0, at_most=1e4
    )
    replicates: int = setting(2, help="Trajectories of each molecule.", at_least=1, at_most=10_000)
    duration_ps: float = setting(1.0, help="Their duration, ps.", above=0, at_most=1e5)


@dataclass(frozen=True, kw_only=True)
class DataPlan(NestedPlan["DataTraining"]):
    """The trainings of a study of data."""

    epoch_frames: int | None = setting(
        None,
        help="Frames of an epoch, which passes over a smaller set several times; without it the "
        "largest of `frames`, which are divisors of it.",
        at_least=1,
        at_most=1_000_000,
    )
    kinds: tuple[str, ...] = setting(
        (MD, APPROACH, CORE),
        help="Kinds of trainings of every number of frames.",
        choices=(MD, APPROACH, CORE),
        unique=True,
    )
    approached: tuple[str, ...] = setting(
        (), help="Molecules that give closest-approach frames.", unique=True
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
    harvest: Harvest = setting(
        Harvest(), help="Frames that potentials ask for themselves; see docs/harvest.md."
    )

    @property
    def largest(self) -> int:
        """The number of frames of an epoch, in every training."""
        return self.epoch_frames or max(self.frames)

    def trainings(self) -> dict[str, DataTraining]:
        """All trainings by name."""
        steps = range(1, 1 + self.harvest.rounds)
        grown = [(HARVESTED, 1)] if not steps else [(kind, k) for kind in ROUNDS for k in steps]
        found = [
            DataTraining(family, kind, frames, seed, number)
            for family in FAMILIES
            for kind, number in [*((kind, 0) for kind in self.kinds), *grown]
            for frames in sorted(self.harvest.frames if number else self.frames)
            for seed in self.seeds_of(frames)
        ]
        return {one.name: one for one in found}

    def md_frames(self, training: DataTraining) -> int:
        """MD frames of a training that harvested ones are added to."""
        return training.frames - (self.most_harvested(training) if self._replaces else 0)

    def most_harvested(self, training: DataTraining) -> int:
        """Most frames that are harvested from the dynamics of a potential."""
        return tenth_of(training.frames) if self._replaces else self.harvest.per_round

    @property
    def target(self) -> str:
        """Target of make that runs the study."""
        return "study-harvest" if self.harvest.rounds else "data-study"

    @property
    def _replaces(self) -> bool:
        return not self.harvest.rounds

    @property
    def asked_of_approaches(self) -> list[Any]:
        """What decides the closest-approach frames."""
        return [list(self.approached), self.largest, self.highest_ev, self.approach_weight]

    def asked_of(self, training: DataTraining) -> dict[str, Any]:
        """The keys of the plan that one training takes, beside its frames."""
        if training.family == MACE.name:
            return {"schedule": asdict(self.mace()), "kind": training.kind}
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
        kind: One of `KINDS` or `ROUNDS`.
        frames: Number of frames to train on; in rounds, that of the start.
        seed: 1, 2, ...
        round: How often potentials were asked for frames.
    """

    family: str
    kind: str
    frames: int
    seed: int
    round: int = 0

    @property
    def potential(self) -> str:
        """Name that its seeds share, that of the first."""
        name = f"{self.family}-{self.kind}-{self.frames}"
        return name + (f"-round_{self.round}" if self.kind in ROUNDS else "")

    @property
    def name(self) -> str:
        """Name of the model, from which all random numbers are drawn."""
        return self.potential + (f"-seed_{self.seed}" if self.seed > 1 else "")

    @property
    def frames_name(self) -> str:
        """Name of its file of frames: those of a core are the same as without."""
        if self.round:
            return f"frames-{self.name}"
        return f"{APPROACH if self.kind == APPROACH else MD}-{self.frames}-draw_{self.seed}"

    @property
    def asked(self) -> list[DataTraining]:
        """The potentials whose dynamics its frames are harvested from, the first one first.

        Random frames are as many as those of harvest in the same round.
        """
        start = DataTraining(self.family, MD, self.frames, self.seed)
        later = [replace(start, kind=ADDED, round=number) for number in range(1, self.round)]
        return [start, *later] if self.round else []

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
    if unknown := [n for n in plan.harvest.frames if n not in plan.frames]:
        raise UserError(
            f"{path}: `harvest.frames`: {unknown[0]} is not among `frames`; add it there"
        )
    if APPROACH in plan.kinds and not plan.approached:
        raise UserError(f"{path}: `kinds` has {APPROACH}, and `approached` names no molecule")
    if plan.harvest.frames and MD not in plan.kinds:
        raise UserError(f"{path}: `harvest` begins with potentials of {MD}; add it to `kinds`")
    return plan
