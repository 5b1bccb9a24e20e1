"""Commands of the backbones of the spectral diagnosis: their trainings and their registry."""

from __future__ import annotations

import argparse

from pesbench.commands.parsing import ENVIRONMENT, Stages
from pesbench.commands.plan_trainings import (
    SAMPLED,
    begin_training,
    registry_stage,
    training_stage,
)

PLAN = "backbones.yaml"


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    about = "train one backbone of the spectral diagnosis"
    stage = training_stage(stages, "train-backbone", about, PLAN, SAMPLED)
    stage.add_argument("--environment", metavar="WHERE", help=ENVIRONMENT)
    stage.set_defaults(run=_train)

    about = "write the registry of the backbones that are trained"
    stage = registry_stage(stages, "backbone-models", about, PLAN)
    stage.add_argument("--method", required=True, help="the registry's entry of the labels")
    stage.set_defaults(run=_models)


def _train(arguments: argparse.Namespace) -> None:
    begin_training(arguments)
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
