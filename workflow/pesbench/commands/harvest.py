"""The command `harvest`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pesbench.commands.arguments import add_settings, settings_of
from pesbench.commands.parsing import TRUST, Stages, add_running
from pesbench.core.paths import MODELS_FILE
from pesbench.training.harvest_settings import HarvestSettings


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "harvest",
        help="label frames of alarms and failures in dynamics, to train on",
        for_people=True,
    )
    stage.add_argument("paths", type=Path, nargs="+", metavar="PATH",
                       help="files of trajectories, or folders of results that hold "
                       "them")  # fmt: skip
    stage.add_argument("--labels", required=True, metavar="ENTRY",
                       help="name of the entry of the registry that labels "
                       "them")  # fmt: skip
    stage.add_argument("--models-file", type=Path, default=Path(MODELS_FILE))
    stage.add_argument("--trust", action="store_true", help=TRUST)
    stage.add_argument("--known", type=Path, nargs="+", default=[], metavar="FILE",
                       help="extxyz of frames that need no others like them, such as those trained "
                       "on (default: none)")  # fmt: skip
    add_settings(stage, HarvestSettings, "run")
    add_running(stage)
    stage.add_argument("--out", action="output", required=True,
                       help="extxyz of the frames; its record (JSON) is written beside "
                       "it")  # fmt: skip
    stage.set_defaults(run=_harvest)


def _harvest(arguments: argparse.Namespace) -> None:
    from pesbench.training.harvesting import HarvestJob, write_harvest
    from pesbench.training.labels import Method

    entry, where = Stages.named_model(arguments, arguments.labels)
    write_harvest(
        HarvestJob(
            paths=arguments.paths,
            method=Method(entry, arguments.device, arguments.threads, where),
            settings=settings_of(arguments, HarvestSettings),
            out=arguments.out,
            known=arguments.known,
        )
    )
