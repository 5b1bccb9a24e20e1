"""One training of the data study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pesbench.models.families.mace.family import MACE
from pesbench.models.families.testbed.settings import PotentialSettings
from pesbench.testbed.cards import Sources, train_variant
from pesbench.testbed.variants import Variant
from pesbench.training.data_plan import CORE, DataPlan, DataTraining
from pesbench.training.mace import write_model


def train_one(
    plan: DataPlan, training: DataTraining, frames: Path, record: Path, work: Path, out: Path
) -> None:
    """Train one potential of a plan and write its weights with their card.

    Args:
        plan: The plan.
        training: Which of it.
        frames: Its nested set.
        record: How that was made.
        work: Folder of the checkpoint; what is there is continued.
        out: The weights.

    Raises:
        UserError: the frames or their record are unfit.
    """
    core = training.kind == CORE
    if training.family == MACE.name:
        how = replace(plan.mace(), pair_repulsion=core)
        write_model(training.name, frames, record, how, work, out)
        return
    switches = {**plan.potential, **({"repulsion": "zbl_fixed"} if core else {})}
    variant = Variant(
        training.name,
        PotentialSettings.of(switches, training.name),
        plan.schedule(),
    )
    train_variant(variant, Sources(frames, record), work, out)
