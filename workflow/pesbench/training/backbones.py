"""Train one backbone of a plan, and write the registry of those that are trained."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pesbench.files.atomic import write_text
from pesbench.files.environment import Environment
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.families.mace.family import FAMILY as MACE
from pesbench.training import mace, sevennet
from pesbench.training.backbone_plan import BackbonePlan, BackboneTraining
from pesbench.training.registry import read_beside, write_registry

ABOUT = "Written by `pesbench backbone-models`: the backbones of the spectral diagnosis."
TARGET = "snakemake weights_backbones --configfile config/weights.yaml"
logger = logging.getLogger("pesbench")


def train_backbone(
    plan: BackbonePlan,
    training: BackboneTraining,
    frames: Path,
    record: Path,
    work: Path,
    out: Path,
    environment: Environment,
    threads: int = 1,
) -> None:
    """Train one backbone and write its weights with their card.

    Args:
        plan: The plan.
        training: Which of it.
        frames: File of `pesbench sample`.
        record: How they were made.
        work: Folder of the state; what is there is continued.
        out: The weights.
        environment: Environment of the family; MACE is trained in that of this process.
        threads: Number of threads.

    Raises:
        UserError: the frames or their record are unfit, or the family's package is missing.
        HostError: the environment could not be made.
        RuntimeError: the training failed.
    """
    asked = plan.asked_of(training)
    if training.backbone.family == MACE.name:
        how = mace.MACETraining(**asked)
        mace.write_model(training.name, frames, record, how, work, out, again=TARGET)
        return
    schedule = sevennet.SevenNetTraining(**asked)
    sevennet.write_model(training.name, frames, record, schedule, work, out, environment, threads)


def write_backbone_registry(
    plan: BackbonePlan, weights: Path, models_file: Path, method: str, split: Path, out: Path
) -> None:
    """Write the entries of a registry, and of the backbones that are trained.

    Where none is trained these are the entries of the registry alone: what needs no backbone can be
    asked of them. Beside it a CSV of the same name names all backbones of the plan, with the
    potential that each is a seed of and whether it is trained.

    Args:
        plan: The plan.
        weights: Folder of the weights.
        models_file: The registry.
        method: Its entry of the method of the labels.
        split: CSV of the molecules that were trained on.
        out: The registry.

    Raises:
        UserError: the registry has no such entry.
    """
    level = read_beside(models_file, [method])[method]["level_of_theory"]

    def entry_of(one: BackboneTraining, path: Path) -> dict[str, Any]:
        asked = one.backbone
        kind = f", correlation {asked.correlation}" if asked.family == MACE.name else ""
        dtype = {"dtype": "float64"} if asked.family == MACE.name else {}
        return {
            "family": asked.family,
            **dtype,
            "level_of_theory": level,
            "training_dispersion": "included",
            "conservative": True,
            "seen_systems": str(split),
            "description": f"Backbone of the spectral diagnosis: L = {asked.l_max}{kind}",
            "license": "MIT",
        }

    trainings = plan.trainings().values()
    done = {one.name: (weights / one.weights_name).is_file() for one in trainings}
    lines = [f"{one.name},{one.potential},{'yes' if done[one.name] else 'no'}" for one in trainings]
    write_text(out.with_suffix(".csv"), "\n".join(["model,potential,trained", *lines, ""]))
    if any(done.values()):
        write_registry(out, ABOUT, TARGET, trainings, weights, read_yaml(models_file), entry_of)
        return
    logger.warning("%s: holds no weights of the trainings; train them: `%s`", weights, TARGET)
    told = f"# {ABOUT} None is trained.\n"
    write_text(out, told + models_file.read_text(encoding="utf-8"))
