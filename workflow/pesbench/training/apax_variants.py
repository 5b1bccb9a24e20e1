"""The potentials of the practitioner's experiment, which are trained with apax, seeds by seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.names import closest, is_path_name
from pesbench.core.settings import setting
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import check_block, validate
from pesbench.models.families.apax.family import FAMILY
from pesbench.models.registry import ModelEntry

LINEAR, BOUNDED = "linear", "bounded"
NONE, ZBL = "none", "zbl"
# of whose environment the rules ask as long as there are no weights
TO_BE_TRAINED = ModelEntry(FAMILY.name, FAMILY.name, {})


@dataclass(frozen=True, kw_only=True)
class NetworkKeys:
    """Switches of a GMNN; all else is as apax has it."""

    n_basis: int = setting(
        16, help="Number of Bessel functions of the distance.", at_least=1, at_most=1000
    )
    readout: str = setting(
        LINEAR,
        help="Readout of the energy of an atom; `bounded` applies swish to the scalar before "
        "scale and shift.",
        choices=(LINEAR, BOUNDED),
    )
    repulsion: str = setting(NONE, help="apax's ZBL repulsion, or none.", choices=(NONE, ZBL))
    repulsion_scale: float = setting(
        0.1,
        help="Prefactor of the repulsion before training, in eV·Å; 14.4 is the physical one.",
        # apax starts from log(exp(x) - 1), which is no number far beyond either limit
        at_least=1e-6,
        at_most=500,
    )
    repulsion_cutoff: float = setting(
        1.5, help="Distance at which the repulsion vanishes, in Å.", above=0, at_most=20
    )


@dataclass(frozen=True, kw_only=True)
class ScheduleKeys:
    """Schedule of the training; all else is as apax has it."""

    epochs: int = setting(120, help="Epochs.", at_least=1, at_most=100_000)
    batch_frames: int = setting(8, help="Frames a step.", at_least=1, at_most=10_000)


@dataclass(frozen=True, kw_only=True)
class VariantsFile:
    """The potentials that `pesbench train-apax` trains."""

    network: Mapping[str, Any] = setting(dict, help="Switches of all potentials.")
    training: ScheduleKeys = setting(help="Schedule of all potentials.")
    seeds: int = setting(
        3,
        help="Trainings of each potential. The first has the name of the potential, the others end "
        "in `-seed_2` and so on.",
        at_least=1,
        at_most=100,
    )
    variants: Mapping[str, Any] = setting(
        help="The potentials by name, each with its own switches."
    )


@dataclass(frozen=True)
class ApaxVariant:
    """One training; its random numbers are drawn from its name.

    Attributes:
        name: Name of the trained potential.
        potential: Name that all seeds share.
        network: Switches.
        schedule: Schedule.
    """

    name: str
    potential: str
    network: NetworkKeys
    schedule: ScheduleKeys

    @property
    def weights_name(self) -> str:
        """Name of the file of its weights."""
        return f"{self.name}.zip"


def read_variants(path: Path) -> dict[str, ApaxVariant]:
    """The trainings of a file by name, in its order; the seeds of a potential follow each other.

    Args:
        path: YAML, see `VariantsFile`.

    Raises:
        UserError: one line with the file, the potential and the cure.
    """
    content = read_yaml(path)
    file: VariantsFile = validate(VariantsFile, content, str(path))
    found = {}
    for potential, own in file.variants.items():
        place = f"{path}: {potential}"
        if not is_path_name(potential):
            raise UserError(f"{place}: no name for a file; use letters, digits, . _ + and -")
        check_block(own, place)
        network = validate(NetworkKeys, {**file.network, **own}, place)
        for number in range(1, file.seeds + 1):
            name = potential if number == 1 else f"{potential}-seed_{number}"
            if name in found:
                raise UserError(f"{place}: the name {name!r} is that of a seed; give another one")
            found[name] = ApaxVariant(name, potential, network, file.training)
    return found


def find_variant(path: Path, name: str) -> ApaxVariant:
    """One training of a file.

    Raises:
        UserError: as `read_variants`, or there is none of that name.
    """
    variants = read_variants(path)
    if name not in variants:
        raise UserError(f"{path}: no variant {name!r}; {closest(name, variants)}")
    return variants[name]
