"""The trainings of the transfer study: cheap labels first, then a few expensive ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.names import closest
from pesbench.core.settings import setting
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import validate
from pesbench.models.families.mace.family import MACE
from pesbench.training.data_plan import FAMILIES
from pesbench.training.nested import TENTH, tenth_of
from pesbench.training.nested_plan import NestedPlan, check_nested, check_schedule

SCRATCH, CHEAP, ATOMIC = "scratch", "cheap", "atomic"  # routes to a potential
ROUTES = {
    SCRATCH: "expensive labels alone",
    CHEAP: "cheap energies and forces first",
    ATOMIC: "charges and bond orders first",
}
STARTED = (CHEAP, ATOMIC)


@dataclass(frozen=True, kw_only=True)
class TransferPlan(NestedPlan["TransferTraining"]):
    """The trainings of the transfer study."""

    molecules: tuple[str, ...] = setting(
        help="Ids of the molecules that are trained on.", unique=True
    )
    cheap: str = setting(
        help="Entry of the registry for the cheap labels. Charges and bond orders need one of "
        "family `tblite`."
    )
    expensive: str = setting(help="Entry of the registry for the expensive labels.")
    cheap_frames: int = setting(
        help="Frames that a pretraining takes.", at_least=1, at_most=1_000_000
    )
    temperatures_k: tuple[float, ...] = setting(
        (300.0, 600.0),
        help="Temperatures of the dynamics, K.",
        above=0,
        at_most=10_000,
        unique=True,
    )
    interval_steps: int = setting(
        40, help="Steps of 0.5 fs between two frames.", at_least=1, at_most=1_000_000
    )
    pool_frames: int = setting(
        help="Frames of the cheap dynamics with expensive labels, from which trainings draw.",
        at_least=1,
        at_most=1_000_000,
    )
    held_out_frames: int = setting(
        help="Frames of trajectories of their own with expensive labels, for errors.",
        at_least=1,
        at_most=1_000_000,
    )
    pretraining: Mapping[str, Any] = setting(
        dict,
        help="Keys of `training` that a pretraining has otherwise. One on charges and bond orders "
        "takes its `epochs` alone.",
    )
    start_rate: float = setting(
        0.3,
        help="Learning rate of a training that starts from a pretraining, over that of one from "
        "random weights.",
        above=0,
        at_most=1,
    )

    def trainings(self) -> dict[str, TransferTraining]:
        """All trainings by name; the pretrainings are not among them."""
        found = [
            TransferTraining(family, route, frames, seed)
            for family in FAMILIES
            for route in ROUTES
            for frames in sorted(self.frames)
            for seed in self.seeds_of(frames)
        ]
        return {one.name: one for one in found}

    def starts(self) -> dict[str, Start]:
        """The pretrainings by name, one for every seed."""
        seeds = self.seeds if self.repeated else 1
        found = [
            Start(family, route, seed)
            for family in FAMILIES
            for route in STARTED
            for seed in range(1, 1 + seeds)
        ]
        return {one.name: one for one in found}

    def start_of(self, name: str, place: str) -> Start:
        """A pretraining by its name.

        Args:
            name: Its name.
            place: File of the plan, for the message.

        Raises:
            UserError: there is none.
        """
        every = self.starts()
        if name not in every:
            raise UserError(f"{place}: no pretraining {name!r}; {closest(name, every)}")
        return every[name]

    @property
    def sampling_words(self) -> list[str]:
        """The cheap frames as options of `pesbench sample`: enough for the pretrainings.

        One frame in eleven validates, so that a pretraining takes eleven tenths of its number. One
        trajectory may end early.
        """
        needed = self.cheap_frames + tenth_of(self.cheap_frames) + TENTH
        whole = max(1, len(self.molecules) * len(self.temperatures_k) - 1)
        return [
            *("--only", *self.molecules),
            *("--temperatures-k", *(f"{t:g}" for t in self.temperatures_k)),
            *("--interval-steps", str(self.interval_steps)),
            *("--frames", str(-(-needed // whole))),
        ]

    def asked_of(self, training: TransferTraining) -> dict[str, Any]:
        """The keys of the plan that one training takes, beside its frames and its start."""
        rate = {} if training.route == SCRATCH else {"start_rate": self.start_rate}
        if training.family == MACE.name:
            return {"schedule": asdict(self.mace()), **rate}
        return {"potential": dict(self.potential), "training": dict(self.training), **rate}

    def asked_of_start(self, start: Start) -> dict[str, Any]:
        """The keys of the plan that one pretraining takes, beside its frames."""
        own = {} if start.family == MACE.name else {"potential": dict(self.potential)}
        if start.route == ATOMIC:
            return own | {"epochs": self.schedule(self.pretraining).epochs, "cheap": self.cheap}
        if start.family == MACE.name:
            return {"schedule": asdict(self.mace(self.pretraining))}
        return own | {"training": {**self.training, **self.pretraining}}


def _seeded(potential: str, seed: int) -> str:
    return potential + (f"-seed_{seed}" if seed > 1 else "")


@dataclass(frozen=True)
class Start:
    """One pretraining.

    Attributes:
        family: One of `FAMILIES`.
        route: `CHEAP` or `ATOMIC`.
        seed: 1, 2, ...
    """

    family: str
    route: str
    seed: int

    @property
    def name(self) -> str:
        """Its name, from which all random numbers are drawn."""
        return _seeded(f"{self.family}-{self.route}-start", self.seed)

    @property
    def weights_name(self) -> str:
        """Name of its weight file."""
        return f"{self.name}.pt"


@dataclass(frozen=True)
class TransferTraining:
    """One training.

    Attributes:
        family: One of `FAMILIES`.
        route: One of `ROUTES`.
        frames: Number of frames with expensive labels to train on.
        seed: 1, 2, ...
    """

    family: str
    route: str
    frames: int
    seed: int

    @property
    def potential(self) -> str:
        """Name that its seeds share, that of the first."""
        return f"{self.family}-{self.route}-{self.frames}"

    @property
    def name(self) -> str:
        """Name of the model, from which all random numbers are drawn."""
        return _seeded(self.potential, self.seed)

    @property
    def weights_name(self) -> str:
        """Name of its weight file."""
        return f"{self.name}.pt"

    @property
    def start(self) -> Start | None:
        """The pretraining that it starts from; None from random weights."""
        if self.route == SCRATCH:
            return None
        return Start(self.family, self.route, self.seed)


def read_transfer_plan(path: Path) -> TransferPlan:
    """The plan of a file.

    Args:
        path: YAML, see `TransferPlan`.

    Raises:
        UserError: one line with the file, the key and the cure.
    """
    plan: TransferPlan = validate(TransferPlan, read_yaml(path), str(path))
    check_nested(plan, path)
    check_schedule({**plan.training, **plan.pretraining}, f"{path}: `pretraining`")
    needed = plan.largest + tenth_of(plan.largest)
    if plan.pool_frames < needed:
        raise UserError(
            f"{path}: `pool_frames` is {plan.pool_frames}, fewer than the largest of `frames` and "
            f"one tenth to validate with; give {needed} or more"
        )
    return plan
