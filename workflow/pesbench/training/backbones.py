"""Train one backbone of a plan, and write the registry of those that are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pesbench.files.environment import Environment
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.families.mace.family import FAMILY as MACE
from pesbench.training import mace, sevennet
from pesbench.training.backbone_plan import BackbonePlan, BackboneTraining
from pesbench.training.registry import read_beside, write_registry

ABOUT = "Written by `pesbench backbone-models`: the backbones of the spectral diagnosis."
TARGET = "snakemake weights_backbones --configfile config/weights.yaml"


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
    asked = training.backbone
    if asked.family == MACE.name:
        how = mace.MACETraining(
            num_channels=asked.channels,
            max_l=asked.l_max,
            correlation=asked.correlation,
            epochs=asked.epochs,
            batch_size=plan.batch_frames,
            alike=True,
        )
        mace.write_model(training.name, frames, record, how, work, out, again=TARGET)
        return
    schedule = sevennet.SevenNetTraining(
        l_max=asked.l_max,
        channels=asked.channels,
        layers=asked.layers,
        cutoff_angstrom=plan.cutoff_angstrom,
        epochs=asked.epochs,
        batch_frames=plan.batch_frames,
        learning_rate=plan.learning_rate,
    )
    sevennet.write_model(training.name, frames, record, schedule, work, out, environment, threads)


def write_backbone_registry(
    plan: BackbonePlan, weights: Path, models_file: Path, method: str, split: Path, out: Path
) -> None:
    """Write the entries of a registry, and of the backbones that are trained.

    Args:
        plan: The plan.
        weights: Folder of the weights.
        models_file: The registry.
        method: Its entry of the method of the labels.
        split: CSV of the molecules that were trained on.
        out: The registry.

    Raises:
        UserError: no training is done, or the registry has no such entry.
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
    write_registry(out, ABOUT, TARGET, trainings, weights, read_yaml(models_file), entry_of)
