"""The variants that are trained: one design choice apart, or one seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.names import closest, is_path_name
from pesbench.core.settings import setting
from pesbench.files.strict_yaml import read_yaml
from pesbench.files.validation import validate
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.testbed.settings import TrainingSettings


@dataclass(frozen=True)
class Variant:
    """A potential to train; all random numbers are drawn from its name.

    Attributes:
        name: Name of the potential.
        potential: Switches of the potential.
        training: Schedule of the training.
        fsd_scans: Scans whose FSD is looked at, or trained with.
        fsd_every: Epochs between two looks; 0 for none.
    """

    name: str
    potential: PotentialSettings
    training: TrainingSettings
    fsd_scans: tuple[str, ...] = ()
    fsd_every: int = 0


@dataclass(frozen=True)
class VariantKeys:
    """Keys of one variant in a file; `pesbench.testbed.settings` checks its switches."""

    potential: Mapping[str, Any] = setting(dict, help="Switches of this variant.")
    training: Mapping[str, Any] = setting(dict, help="Schedule of this variant.")
    like: str | None = setting(
        None, help="Name of the variant that is the same potential with another seed."
    )


@dataclass(frozen=True, kw_only=True)
class VariantsFile:
    """The variant that `pesbench train` trains."""

    potential: Mapping[str, Any] = setting(dict, help="Switches of all variants.")
    training: Mapping[str, Any] = setting(dict, help="Schedule of all variants.")
    fsd_scans: tuple[str, ...] = setting(
        (),
        help="Ids of the scans whose FSD is logged during training or is part of the loss.",
        unique=True,
    )
    fsd_every: int = setting(
        0, help="Epochs between two logs of their FSD; 0 for none.", at_least=0
    )
    variants: Mapping[str, VariantKeys] = setting(
        help="The potentials by name; the seed of each is derived from its name."
    )


def read_variants(path: Path) -> dict[str, Variant]:
    """The variants of a file, in its order.

    `potential` and `training` at the top hold for all; a variant's own stand above them. A variant
    that is `like` another is the same with another seed.

    Args:
        path: YAML, see `VariantsFile`.

    Raises:
        UserError: one line with the file, the variant and the cure.
    """
    content = read_yaml(path)
    validate(VariantsFile, content, str(path))
    variants: Mapping[str, dict[str, Any]] = content["variants"]
    found = {}
    for name, own in variants.items():
        place = f"{path}: {name}"
        if not is_path_name(name):
            raise UserError(f"{place}: no name for a file; use letters, digits, . _ + and -")
        like = own.get("like")
        if like is not None:
            if like not in variants or "like" in variants[like]:
                raise UserError(
                    f"{place}: `like: {like}` is no variant with switches of its own; "
                    f"{closest(like, [n for n, v in variants.items() if 'like' not in v])}"
                )
            if len(own) > 1:
                raise UserError(
                    f"{place}: `like: {like}` is that one with another seed; take out its own "
                    "switches, or `like`"
                )
            own = variants[like]
        potential = {**content.get("potential", {}), **own.get("potential", {})}
        training = {**content.get("training", {}), **own.get("training", {})}
        found[name] = Variant(
            name,
            PotentialSettings.of(potential, place),
            TrainingSettings.of(training, place),
            tuple(content.get("fsd_scans", ())),
            content.get("fsd_every", 0),
        )
    return found


def find_variant(path: Path, name: str) -> Variant:
    """One variant of a file.

    Raises:
        UserError: as `read_variants`, or there is none of that name.
    """
    variants = read_variants(path)
    if name not in variants:
        raise UserError(f"{path}: no variant {name!r}; {closest(name, variants)}")
    return variants[name]
