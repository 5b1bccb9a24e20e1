"""Commands of the data study: frames, trainings, and the registry of what was trained."""

from __future__ import annotations

import argparse
from pathlib import Path

from pesbench.commands.arguments import threads, whole
from pesbench.commands.parsing import ENTRY_SHA256, Stages
from pesbench.commands.plan_trainings import (
    NESTED,
    SAMPLED,
    begin_training,
    plan_of,
    registry_stage,
    training_stage,
)
from pesbench.core.errors import UserError

KINDS = ("added", "random", "harvested")  # of `training.data_plan`, which needs more than parsers
PLAN = "data_training.yaml"


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "sample-approach", help="make closest-approach frames to train on, from sampled frames"
    )
    plan_of(stage, PLAN)
    stage.add_argument("--frames", type=Path, required=True, help=SAMPLED)
    stage.add_argument("--molecules", type=Path, required=True, help="molecules of these frames")
    stage.add_argument("--tested", type=Path, required=True,
                       help="the same molecules in the geometries that tests start "
                       "from")  # fmt: skip
    stage.add_argument("--method", type=Path, required=True, help="resolved entry (JSON)")
    stage.add_argument("--entry-sha256", help=ENTRY_SHA256)
    stage.add_argument("--out", action="output", required=True, help="extxyz of the frames")
    stage.set_defaults(run=_sample_approach)

    stage = stages.add_parser(
        "training-set", help="choose frames to train on, so that a smaller set is in a larger one"
    )
    stage.add_argument("--frames", type=Path, required=True, help=SAMPLED)
    stage.add_argument("--record", type=Path, required=True, help=SAMPLED)
    stage.add_argument("--repeats", type=whole(1, 1_000_000), default=1,
                       help="how often an epoch passes over the frames")  # fmt: skip
    stage.add_argument("--study", default="data-study",
                       help="target of make that trains with them, for the cards")  # fmt: skip
    stage.add_argument(
        "--count", type=whole(1, 1_000_000), required=True, help="frames to train on"
    )
    stage.add_argument("--draw", type=whole(1, 1_000_000), default=1,
                       help="number of the draw; the sets of one are nested")  # fmt: skip
    stage.add_argument("--approach", type=Path,
                       help="file made by `sample-approach`, whose frames replace one "
                       "tenth")  # fmt: skip
    stage.add_argument("--harvested", type=Path, nargs="+", default=[], metavar="FILE",
                       help="files made by `harvest`, one a round, whose frames are "
                       "added")  # fmt: skip
    stage.add_argument("--random", type=Path,
                       help="file made by `sample`; as many random frames of it are added instead "
                       "of the harvested ones")  # fmt: skip
    stage.add_argument("--kind", choices=KINDS, default=KINDS[0],
                       help="what a set with added frames is called")  # fmt: skip
    stage.add_argument("--epoch-frames", type=whole(1, 1_000_000),
                       help="frames of an epoch, with added frames")  # fmt: skip
    stage.add_argument("--out", action="output", required=True, help="extxyz of the frames")
    stage.add_argument(
        "--out-record", action="output", required=True, help="JSON of how they were made"
    )
    stage.set_defaults(run=_training_set)

    stage = stages.add_parser("data-dynamics", help="dynamics of a trained potential, to harvest")
    stage.add_argument("name", help="name of the training")
    plan_of(stage, PLAN)
    stage.add_argument("--weights", type=Path, required=True, help="file made by `train-data`")
    stage.add_argument("--scan-set", type=Path, required=True,
                       help="file made by `scan-molecules`")  # fmt: skip
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--out", action="output", required=True, help="file of trajectories (HDF5)")
    stage.set_defaults(run=_data_dynamics)

    about = "train one potential of the data study"
    stage = training_stage(stages, "train-data", about, PLAN, NESTED)
    stage.set_defaults(run=_train_data)

    about = "write the registry of the data study"
    stage = registry_stage(stages, "data-models", about, PLAN)
    stage.add_argument("--method", required=True, help="name of the entry that labelled the frames")
    stage.set_defaults(run=_data_models)


def _sample_approach(arguments: argparse.Namespace) -> None:
    from pesbench.models.registry import ModelEntry
    from pesbench.training.approach_frames import Inputs, write_approaches
    from pesbench.training.data_plan import read_plan

    write_approaches(
        read_plan(arguments.plan),
        Inputs(arguments.frames, arguments.molecules, arguments.tested),
        ModelEntry.from_file(arguments.method, sha256=arguments.entry_sha256),
        arguments.out,
    )


def _training_set(arguments: argparse.Namespace) -> None:
    from pesbench.training.grown import Growth, write_grown_set
    from pesbench.training.nested import write_nested_set

    made_by = f"make {arguments.study}"
    if arguments.harvested:
        if arguments.approach or not arguments.epoch_frames:
            raise UserError("training-set: give `--harvested` with --epoch-frames, not --approach")
        write_grown_set(
            arguments.frames,
            arguments.record,
            arguments.count,
            arguments.epoch_frames,
            Growth(arguments.harvested, arguments.kind, arguments.random),
            arguments.out,
            arguments.out_record,
            made_by,
            arguments.draw,
        )
        return
    if arguments.random:
        raise UserError("training-set: `--random` needs `--harvested`, whose number it takes")
    write_nested_set(
        arguments.frames,
        arguments.record,
        arguments.count,
        arguments.repeats,
        arguments.out,
        arguments.out_record,
        arguments.approach,
        arguments.draw,
        made_by,
    )


def _data_dynamics(arguments: argparse.Namespace) -> None:
    from pesbench.training.data_dynamics import run_dynamics
    from pesbench.training.data_plan import read_plan

    plan = read_plan(arguments.plan)
    training = plan.training_of(arguments.name, str(arguments.plan))
    run_dynamics(
        plan, training, arguments.weights, arguments.scan_set, arguments.out, arguments.threads
    )


def _train_data(arguments: argparse.Namespace) -> None:
    begin_training(arguments)
    from pesbench.training.data_plan import read_plan
    from pesbench.training.data_training import train_one

    plan = read_plan(arguments.plan)
    training = plan.training_of(arguments.name, str(arguments.plan))
    train_one(plan, training, arguments.frames, arguments.record, arguments.work, arguments.out)


def _data_models(arguments: argparse.Namespace) -> None:
    from pesbench.training.data_plan import read_plan
    from pesbench.training.data_registry import write_data_registry

    write_data_registry(
        read_plan(arguments.plan),
        arguments.weights,
        arguments.models_file,
        arguments.method,
        arguments.split,
        arguments.out,
    )
