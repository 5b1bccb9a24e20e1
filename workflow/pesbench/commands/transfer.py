"""Commands of the transfer study: expensive labels, pretrainings, trainings and their registry."""

from __future__ import annotations

import argparse
from pathlib import Path

from pesbench.commands.arguments import whole
from pesbench.commands.parsing import ENTRY_SHA256, Stages, add_running, where_of
from pesbench.commands.plan_trainings import (
    NESTED,
    SAMPLED,
    begin_training,
    registry_stage,
    training_stage,
)

PLAN = "transfer_training.yaml"


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "label-frames", help="label sampled frames with another method of the registry"
    )
    stage.add_argument("--frames", type=Path, required=True, help=SAMPLED)
    stage.add_argument("--record", type=Path, required=True, help=SAMPLED)
    stage.add_argument("--method", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--entry-sha256", help=ENTRY_SHA256)
    stage.add_argument("--pool", type=whole(1, 1_000_000), required=True,
                       help="number of frames to train on or validate with")  # fmt: skip
    stage.add_argument("--held-out", type=whole(1, 1_000_000), required=True,
                       help="number of frames of trajectories that are held out")  # fmt: skip
    add_running(stage)
    stage.add_argument("--out", action="output", required=True, help="extxyz of the frames")
    stage.add_argument(
        "--out-record", action="output", required=True, help="JSON of how they were made"
    )
    stage.set_defaults(run=_label)

    about = "pretrain one potential of the transfer study on cheap labels"
    stage = training_stage(stages, "pretrain", about, PLAN, NESTED)
    stage.set_defaults(run=_pretrain)

    about = "train one potential of the transfer study on expensive labels"
    stage = training_stage(stages, "train-transfer", about, PLAN, NESTED)
    stage.add_argument("--start", type=Path, help="weights made by `pretrain` to start from")
    stage.set_defaults(run=_train)

    about = "write the registry of the transfer study"
    stage = registry_stage(stages, "transfer-models", about, PLAN)
    stage.set_defaults(run=_models)


def _label(arguments: argparse.Namespace) -> None:
    from pesbench.models.registry import ModelEntry
    from pesbench.training.labelling import write_labels
    from pesbench.training.labels import Method

    entry = ModelEntry.from_file(arguments.method, sha256=arguments.entry_sha256)
    write_labels(
        arguments.frames,
        arguments.record,
        arguments.pool,
        arguments.held_out,
        Method(entry, arguments.device, arguments.threads, where_of(arguments)),
        arguments.out,
        arguments.out_record,
    )


def _pretrain(arguments: argparse.Namespace) -> None:
    begin_training(arguments)
    from pesbench.training.transfer import train_start
    from pesbench.training.transfer_plan import read_transfer_plan

    plan = read_transfer_plan(arguments.plan)
    start = plan.start_of(arguments.name, str(arguments.plan))
    train_start(plan, start, arguments.frames, arguments.record, arguments.work, arguments.out)


def _train(arguments: argparse.Namespace) -> None:
    begin_training(arguments)
    from pesbench.training.transfer import train_transfer
    from pesbench.training.transfer_plan import read_transfer_plan

    plan = read_transfer_plan(arguments.plan)
    train_transfer(
        plan,
        plan.training_of(arguments.name, str(arguments.plan)),
        arguments.frames,
        arguments.record,
        arguments.start,
        arguments.work,
        arguments.out,
    )


def _models(arguments: argparse.Namespace) -> None:
    from pesbench.training.transfer import write_transfer_registry
    from pesbench.training.transfer_plan import read_transfer_plan

    write_transfer_registry(
        read_transfer_plan(arguments.plan),
        arguments.weights,
        arguments.models_file,
        arguments.split,
        arguments.out,
    )
