"""The trainings of backbones for the spectral diagnosis: which degree L, of which family."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.names import closest
from pesbench.core.settings import setting
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import validate
from pesbench.models.families.mace.family import FAMILY as MACE
from pesbench.models.families.sevennet.family import FAMILY as SEVENNET
from pesbench.models.registry import ModelEntry

SEVENNET_TO_BE_TRAINED = ModelEntry(SEVENNET.name, SEVENNET.name, {})
ENDINGS = {SEVENNET.name: ".pth", MACE.name: ".model"}


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network that is trained."""

    family: str = setting(help="Its family.", choices=tuple(ENDINGS))
    l_max: int = setting(
        help="Highest degree l of the node features between two layers.", at_least=0, at_most=6
    )
    channels: int = setting(16, help="Channels of each degree.", at_least=1, at_most=1024)
    correlation: int = setting(
        2, help="Body order of MACE's products less one.", at_least=1, at_most=4
    )
    layers: int = setting(
        3, help="Interactions of SevenNet; the last gives scalars. MACE has 2.", at_least=2,
        at_most=8,
    )  # fmt: skip
    epochs: int = setting(60, help="Number of epochs.", at_least=1, at_most=1_000_000)
    seeds: int = setting(1, help="How many are trained.", at_least=1, at_most=100)


@dataclass(frozen=True, kw_only=True)
class BackbonePlan:
    """The trainings of backbones."""

    molecule: str = setting(help="Id of the molecule whose frames are trained on.")
    temperature_k: float = setting(
        500.0, help="Temperature of the dynamics, K.", above=0, at_most=10_000
    )
    frames: int = setting(
        help="Frames of each of two trajectories, one of which is held out.", at_least=10,
        at_most=1_000_000,
    )  # fmt: skip
    interval_steps: int = setting(
        20, help="Steps of 0.5 fs between two frames.", at_least=1, at_most=1_000_000
    )
    cutoff_angstrom: float = setting(4.5, help="Cutoff of SevenNet, Å.", above=1, at_most=20)
    batch_frames: int = setting(8, help="Frames a step.", at_least=1, at_most=10_000)
    learning_rate: float = setting(0.004, help="Of SevenNet at the start.", above=0, at_most=1)
    backbones: Mapping[str, Backbone] = setting(help="The networks by name.")

    @property
    def sampling_words(self) -> list[str]:
        """The frames as options of `pesbench sample`."""
        told = {
            "--only": self.molecule,
            "--temperatures-k": f"{self.temperature_k:g}",
            "--interval-steps": str(self.interval_steps),
            "--frames": str(self.frames),
        }
        return [word for pair in told.items() for word in pair]

    def trainings(self) -> dict[str, BackboneTraining]:
        """All trainings by name."""
        found = [
            BackboneTraining(name, backbone, seed)
            for name, backbone in self.backbones.items()
            for seed in range(1, 1 + backbone.seeds)
        ]
        return {one.name: one for one in found}

    def training_of(self, name: str, place: str) -> BackboneTraining:
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

    def asked_of(self, training: BackboneTraining) -> dict[str, Any]:
        """What one training is given beside its frames: arguments of the training of its family.

        They are those of `MACETraining` or `SevenNetTraining`, which are trained anew when one of
        them changes, and not when another family does.
        """
        asked = training.backbone
        if asked.family == MACE.name:
            return {
                "num_channels": asked.channels,
                "max_l": asked.l_max,
                "correlation": asked.correlation,
                "epochs": asked.epochs,
                "batch_size": self.batch_frames,
                "alike": True,
            }
        return {
            "l_max": asked.l_max,
            "channels": asked.channels,
            "layers": asked.layers,
            "cutoff_angstrom": self.cutoff_angstrom,
            "epochs": asked.epochs,
            "batch_frames": self.batch_frames,
            "learning_rate": self.learning_rate,
        }


@dataclass(frozen=True)
class BackboneTraining:
    """One training.

    Attributes:
        potential: Name that its seeds share, that of the first.
        backbone: The network.
        seed: 1, 2, ...
    """

    potential: str
    backbone: Backbone
    seed: int

    @property
    def name(self) -> str:
        """Name of the model, from which all random numbers are drawn."""
        return self.potential + (f"-seed_{self.seed}" if self.seed > 1 else "")

    @property
    def weights_name(self) -> str:
        """Name of its weight file."""
        return f"{self.name}{ENDINGS[self.backbone.family]}"


@functools.cache
def read_backbones(path: Path) -> BackbonePlan:
    """The plan of a file.

    Args:
        path: YAML, see `BackbonePlan`.

    Raises:
        UserError: one line with the file, the key and the cure.
    """
    plan: BackbonePlan = validate(BackbonePlan, read_yaml(path), str(path))
    for name, backbone in plan.backbones.items():
        if not name.startswith(f"{backbone.family}-"):  # by which the rules tell their family
            raise UserError(
                f"{path}: backbones.{name}: is of family {backbone.family!r}; call it "
                f"`{backbone.family}-{name}`"
            )
    return plan


def asked_of_training(path: Path, name: str) -> dict[str, Any]:
    """What a training is given of a plan; a change elsewhere in it is no reason to train again.

    Args:
        path: File of the plan.
        name: Of the training.

    Raises:
        UserError: the plan cannot be read, or has no such training.
    """
    plan = read_backbones(path)
    return plan.asked_of(plan.training_of(name, str(path)))
