"""Commands of interpolated wave functions."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pesbench.commands.arguments import threads
from pesbench.commands.parsing import Stages
from pesbench.core.host_memory import keep_freed_memory

PLAN = "file of trainings, such as config/wavefunction_training.yaml"


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "train-wavefunction", help="calculate the states of family `wavefunction`"
    )
    stage.add_argument("name", help="name of the training")
    stage.add_argument("--plan", type=Path, required=True, help=PLAN)
    stage.add_argument("--threads", type=threads, default=1)
    stage.add_argument("--out", action="output", required=True,
                       help="the weights (zip); their card is written beside them")  # fmt: skip
    stage.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> None:
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before PySCF is imported
    keep_freed_memory()
    from pesbench.training.wavefunction import train_wavefunction

    train_wavefunction(arguments.name, arguments.plan, arguments.out)
