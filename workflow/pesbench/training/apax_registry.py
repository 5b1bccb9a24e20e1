"""The registry of the potentials that are trained with apax, and of those beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pesbench.core.errors import UserError, reading
from pesbench.core.names import closest
from pesbench.files.atomic import write_text
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.addresses import file_sha256
from pesbench.models.families.apax.family import FAMILY
from pesbench.training.apax_variants import read_variants

_ABOUT = "# Written by `pesbench apax-models`: the practitioner's experiment (docs/apax.md).\n"


def write_registry(
    variants: Path, weights: Path, models_file: Path, beside: Sequence[str], split: Path, out: Path
) -> None:
    """Write the entries of the trainings that are done, and of some models beside them.

    Trainings without weights are named in a comment, so that one that failed stops no other.

    Args:
        variants: File of the trainings, see `pesbench.training.apax_variants`.
        weights: Folder of their weights and cards.
        models_file: Registry with the models beside them.
        beside: Names of these, such as the method of the labels.
        split: CSV of the molecules that were trained on.
        out: The registry.

    Raises:
        UserError: no training is done, a card cannot be read, or the registry lacks a model.
    """
    registry = read_yaml(models_file)
    for name in beside:
        if name not in registry:
            raise UserError(f"{models_file}: no model {name!r}; {closest(name, registry)}")
    entries = {name: registry[name] for name in beside}
    missing: list[str] = []
    firsts: dict[str, str] = {}  # of each potential the first seed that is there
    for one in read_variants(variants).values():
        path = weights / f"{one.name}.zip"
        if not path.is_file():
            missing.append(one.name)
            continue
        first = firsts.setdefault(one.potential, one.name)
        seed = {"seed_of": first} if one.name != first else {}
        entries[one.name] = _entry(path, split) | seed
    if not firsts:
        raise UserError(f"{weights}: holds no weights of {variants}; train: `make weights-apax`")
    lacking = "".join(f"# not trained: {name}\n" for name in missing)
    content = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    write_text(out, _ABOUT + lacking + content)


def _entry(path: Path, split: Path) -> dict[str, Any]:
    """What weights and their card say."""
    place = path.with_suffix(".json")
    with reading(place, "no model card", "train again: `make weights-apax`"):
        card = json.loads(place.read_text(encoding="utf-8"))
        temperatures = " and ".join(f"{t:g}" for t in card["sampling"]["temperatures_k"])
        data = f"{card['counts']['frames_train']} frames of {', '.join(card['seen'])} at"
        return {
            "family": FAMILY.name,
            "weights": str(path),
            "sha256": file_sha256(path),
            "level_of_theory": card["level_of_theory"],
            "training_dispersion": "included",
            "training_data": f"{data} {temperatures} K",
            "conservative": True,
            "elements": card["elements"],
            "seen_systems": str(split),
            "license": "MIT",
        }
