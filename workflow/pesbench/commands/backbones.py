"""Commands of the backbones of the spectral diagnosis: their trainings and their registry."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pesbench.commands.arguments import threads
from pesbench.commands.parsing import ENVIRONMENT, Stages
from pesbench.core.host_memory import keep_freed_memory

PLAN = "file of the trainings, such as config/backbones.yaml"
SAMPLED = "file made by `sample`"


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser("train-backbone", help="train one backbone of the spectral diagnosis")
    stage.add_argument("name", help="name of the training")
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
    stage.add_argument("--frames", type=Path, required=True, help=SAMPLED)
    stage.add_argument("--record", type=Path, required=True, help=SAMPLED)
    stage.add_argument("--environment", metavar="WHERE", help=ENVIRONMENT)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--work", type=Path, required=True,
                       help="folder of the state; a training found there is "
                       "continued")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="the weights; their card is written beside them")  # fmt: skip
    stage.set_defaults(run=_train)

    stage = stages.add_parser(
        "backbone-models", help="write the registry of the backbones that are trained"
    )
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
    stage.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    stage.add_argument(
        "--models-file", type=Path, required=True, help="registry, whose entries are copied"
    )
    stage.add_argument("--method", required=True, help="the registry's entry of the labels")
    stage.add_argument(
        "--split", type=Path, required=True, help="CSV with the columns system and split"
    )
    stage.add_argument("--out", action="output", required=True, help="the registry (YAML)")
    stage.set_defaults(run=_models)


def _train(arguments: argparse.Namespace) -> None:
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # inherited by the training
    keep_freed_memory()
    from pesbench.files.environment import environment_of
    from pesbench.training.backbone_plan import read_backbones
    from pesbench.training.backbones import train_backbone

    plan = read_backbones(arguments.plan)
    train_backbone(
        plan,
        plan.training_of(arguments.name, str(arguments.plan)),
        arguments.frames,
        arguments.record,
        arguments.work,
        arguments.out,
        environment_of(arguments.environment),
        arguments.threads,
    )


def _models(arguments: argparse.Namespace) -> None:
    from pesbench.training.backbone_plan import read_backbones
    from pesbench.training.backbones import write_backbone_registry

    write_backbone_registry(
        read_backbones(arguments.plan),
        arguments.weights,
        arguments.models_file,
        arguments.method,
        arguments.split,
        arguments.out,
    )
