"""What the commands share that train what a plan names, and write the registry of it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pesbench.commands.arguments import threads
from pesbench.commands.parsing import Stages
from pesbench.core.host_memory import keep_freed_memory
from pesbench.core.paths import check_outputs

SAMPLED, NESTED = "file made by `sample`", "file made by `training-set`"


def plan_of(stage: argparse.ArgumentParser, example: str) -> None:
    """The option of the plan, of which there is an example in config/."""
    told = f"file of the trainings, such as config/{example}"
    stage.add_argument("--plan", type=Path, required=True, help=told)


def training_stage(
    stages: Stages, name: str, about: str, example: str, frames: str
) -> argparse.ArgumentParser:
    """A command that trains one potential of a plan.

    Args:
        stages: All commands.
        name: Of the command.
        about: Its line of help.
        example: A plan in config/.
        frames: What the frames are.
    """
    stage = stages.add_parser(name, help=about)
    stage.add_argument("name", help="name of the training")
    plan_of(stage, example)
    stage.add_argument("--frames", type=Path, required=True, help=frames)
    stage.add_argument("--record", type=Path, required=True, help=frames)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--work", type=Path, required=True,
                       help="folder of the state; a training found there is "
                       "continued")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="the weights; their card is written beside them")  # fmt: skip
    return stage


def registry_stage(stages: Stages, name: str, about: str, example: str) -> argparse.ArgumentParser:
    """A command that writes the registry of a plan, see `training_stage`."""
    stage = stages.add_parser(name, help=about)
    plan_of(stage, example)
    stage.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    stage.add_argument("--models-file", type=Path, required=True,
                       help="registry, whose entries are copied")  # fmt: skip
    stage.add_argument(
        "--split", type=Path, required=True, help="CSV with the columns system and split"
    )
    stage.add_argument("--out", action="output", required=True, help="the registry (YAML)")
    return stage


def begin_training(arguments: argparse.Namespace) -> None:
    """Set what torch reads when it is imported.

    Raises:
        UserError: the card of the weights would be written over them, or over an input.
    """
    out: Path = arguments.out
    check_outputs(
        {"out": out, "card": out.with_suffix(".json"), "page": out.with_suffix(".md")},
        [arguments.frames, arguments.record, arguments.plan],
    )
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # inherited by other processes
    keep_freed_memory()
