"""The registry of the potentials that are trained with apax, and of those beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pesbench.core.errors import reading
from pesbench.models.families.apax.family import FAMILY
from pesbench.training.apax_variants import ApaxVariant, read_variants
from pesbench.training.registry import read_beside, write_registry

ABOUT = "Written by `pesbench apax-models`: the practitioner's experiment (docs/apax.md)."


def write_apax_registry(
    variants: Path, weights: Path, models_file: Path, beside: Sequence[str], split: Path, out: Path
) -> None:
    """Write the entries of the trainings that are done, and of some models beside them.

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

    def entry_of(_: ApaxVariant, path: Path) -> dict[str, Any]:
        place = path.with_suffix(".json")
        with reading(place, "no model card", "train again: `make weights-apax`"):
            card = json.loads(place.read_text(encoding="utf-8"))
            temperatures = " and ".join(f"{t:g}" for t in card["sampling"]["temperatures_k"])
            data = f"{card['counts']['frames_train']} frames of {', '.join(card['seen'])} at"
            return {
                "family": FAMILY.name,
                "level_of_theory": card["level_of_theory"],
                "training_dispersion": "included",
                "training_data": f"{data} {temperatures} K",
                "conservative": True,
                "elements": card["elements"],
                "seen_systems": str(split),
                "license": "MIT",
            }

    trainings = read_variants(variants).values()
    known = read_beside(models_file, beside)
    write_registry(out, ABOUT, "make weights-apax", trainings, weights, known, entry_of)
