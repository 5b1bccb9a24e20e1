"""Commands of the data study: frames, trainings, and the registry of what was trained."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pesbench.commands.arguments import threads, whole
from pesbench.commands.parsing import ENTRY_SHA256, Stages
from pesbench.core.host_memory import keep_freed_memory

PLAN = "file of the trainings, such as config/data_training.yaml"
SAMPLED = "file made by `sample`"


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "sample-approach", help="make closest-approach frames to train on, from sampled frames"
    )
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
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
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
    stage.add_argument("--frames", type=Path, required=True, help=SAMPLED)
    stage.add_argument("--record", type=Path, required=True, help=SAMPLED)
    stage.add_argument(
        "--count", type=whole(1, 1_000_000), required=True, help="frames to train on"
    )
    stage.add_argument("--draw", type=whole(1, 1_000_000), default=1,
                       help="number of the draw; the sets of one are nested")  # fmt: skip
    stage.add_argument("--approach", type=Path,
                       help="file made by `sample-approach`, whose frames replace one "
                       "tenth")  # fmt: skip
    stage.add_argument("--out", action="output", required=True, help="extxyz of the frames")
    stage.add_argument(
        "--out-record", action="output", required=True, help="JSON of how they were made"
    )
    stage.set_defaults(run=_training_set)

    stage = stages.add_parser("train-data", help="train one potential of the data study")
    stage.add_argument("name", help="name of the training")
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
    stage.add_argument("--frames", type=Path, required=True, help="file made by `training-set`")
    stage.add_argument("--record", type=Path, required=True, help="file made by `training-set`")
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--work", type=Path, required=True,
                       help="folder of checkpoints; a training found there is "
                       "continued")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="the weights; their card is written beside them")  # fmt: skip
    stage.set_defaults(run=_train_data)

    stage = stages.add_parser("data-models", help="write the registry of the data study")
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
    stage.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    stage.add_argument(
        "--models-file", type=Path, required=True, help="registry with the entry of the method"
    )
    stage.add_argument("--method", required=True, help="name of the entry that labelled the frames")
    stage.add_argument(
        "--split", type=Path, required=True, help="CSV with the columns system and split"
    )
    stage.add_argument("--out", action="output", required=True, help="the registry (YAML)")
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
    from pesbench.training.data_plan import read_plan
    from pesbench.training.nested import write_nested_set

    plan = read_plan(arguments.plan)
    write_nested_set(
        arguments.frames,
        arguments.record,
        arguments.count,
        plan.repeats(arguments.count),
        arguments.out,
        arguments.out_record,
        arguments.approach,
        arguments.draw,
    )


def _train_data(arguments: argparse.Namespace) -> None:
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before torch is imported
    keep_freed_memory()
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
