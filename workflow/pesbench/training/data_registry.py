"""The registry of the potentials of a study of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pesbench.training.data_plan import KINDS, ROUNDS, DataPlan, DataTraining
from pesbench.training.registry import read_beside, write_registry

ABOUT = "Written by `pesbench data-models`: the potentials of a study of data."


def write_data_registry(
    plan: DataPlan, weights: Path, models_file: Path, method: str, split: Path, out: Path
) -> None:
    """Write the entries of the trainings that are done, and of the method of their labels.

    Args:
        plan: The plan.
        weights: Folder of the weights.
        models_file: Registry with the entry of the method.
        method: Its name.
        split: CSV of the molecules that were trained on.
        out: The registry.

    Raises:
        UserError: no training is done, or the registry has no such entry.
    """
    beside = read_beside(models_file, [method])

    def entry_of(one: DataTraining, path: Path) -> dict[str, Any]:
        return {
            "family": one.family,
            "dtype": "float64",
            "level_of_theory": beside[method]["level_of_theory"],
            "training_dispersion": "included",
            "conservative": True,
            "seen_systems": str(split),
            "description": _described(one),
            "license": "MIT",
        }

    trainings = plan.trainings().values()
    write_registry(out, ABOUT, f"make {plan.target}", trainings, weights, beside, entry_of)


def _described(one: DataTraining) -> str:
    if one.kind in ROUNDS:
        return f"Study of harvest: {one.frames} frames, {ROUNDS[one.kind]} in {one.round} rounds"
    return f"Data study: {one.frames} frames, {KINDS[one.kind]}"
