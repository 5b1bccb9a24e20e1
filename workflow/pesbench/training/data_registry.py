"""The registry of the potentials of the data study."""

from __future__ import annotations

from pathlib import Path

import yaml

from pesbench.core.errors import UserError
from pesbench.files.atomic import write_text
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.addresses import file_sha256
from pesbench.training.data_plan import KINDS, DataPlan

ABOUT = "# Written by `pesbench data-models`: the potentials of the data study (docs/data.md).\n"


def write_registry(
    plan: DataPlan, weights: Path, models_file: Path, method: str, split: Path, out: Path
) -> None:
    """Write the entries of the trainings that are done, and of the method of their labels.

    Trainings without weights are named in a comment, so that one that failed stops no other.

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
    registry = read_yaml(models_file)
    if method not in registry:
        raise UserError(f"{models_file}: no model {method!r}, which labelled the frames; add it")
    entries = {method: registry[method]}
    missing: list[str] = []
    firsts: dict[str, str] = {}  # of each potential the first seed that is there
    for one in plan.trainings().values():
        path = weights / one.weights_name
        if not path.is_file():
            missing.append(one.name)
            continue
        first = firsts.setdefault(one.potential, one.name)
        entries[one.name] = {
            "family": one.family,
            "weights": str(path),
            "sha256": file_sha256(path),
            "dtype": "float64",
            "level_of_theory": registry[method]["level_of_theory"],
            "training_dispersion": "included",
            "conservative": True,
            "seen_systems": str(split),
            "description": f"Data study: {one.frames} frames, {KINDS[one.kind]}",
            "license": "MIT",
        } | ({"seed_of": first} if one.name != first else {})
    if len(entries) == 1:
        raise UserError(f"{weights}: holds no weights of the plan; train them: `make data-study`")
    lacking = "".join(f"# not trained: {name}\n" for name in missing)
    content = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    write_text(out, ABOUT + lacking + content)
