"""The commands `lj-heads` and `lj-heads-table`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.core.errors import UserError

if TYPE_CHECKING:
    from pesbench.commands.parsing import Stages

MOST_SEEDS = 100


def add(stages: Stages) -> None:
    """The subcommands of this task."""
    stage = stages.add_parser(
        "lj-heads", help="train output heads on the Lennard-Jones dimer and judge their core"
    )
    stage.add_argument("part", help="name of the part, such as main-rational")
    stage.add_argument("--smoke", action="store_true",
                       help="train four steps, to test the installation")  # fmt: skip
    stage.add_argument("--seeds", type=int, metavar="N",
                       help="train so many seeds of each design (default: those of the "
                       "part)")  # fmt: skip
    stage.add_argument("--threads", type="threads", metavar="N", default=1)
    stage.add_argument("--work", type=Path, required=True,
                       help="folder of checkpoints; a training found there is "
                       "continued")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="CSV of a row a seed; its card is written beside it")  # fmt: skip
    stage.set_defaults(run=_train)

    stage = stages.add_parser("lj-heads-table", help="join the tables of `lj-heads`")
    stage.add_argument("--parts", type=Path, nargs="+", required=True, metavar="CSV",
                       help="files made by `lj-heads`")  # fmt: skip
    stage.add_argument("--out", action="output", required=True,
                       help="CSV of a row a seed; its card is written beside it")  # fmt: skip
    stage.set_defaults(run=_join)


def _train(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from pesbench.core.host_memory import keep_freed_memory
    from pesbench.core.paths import check_outputs
    from pesbench.tasks.lj_core.designs import Schedule, part_of
    from pesbench.tasks.lj_core.head_table import card_of

    part = part_of(arguments.part)
    if arguments.seeds is not None:
        if not 1 <= arguments.seeds <= MOST_SEEDS:
            raise UserError(f"lj-heads: --seeds {arguments.seeds}: give 1 to {MOST_SEEDS}")
        part = replace(part, seeds=arguments.seeds)
    check_outputs({"out": arguments.out, "card": card_of(arguments.out)}, [])
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before torch is imported
    keep_freed_memory()
    from pesbench.tasks.lj_core.head_parts import train_part
    from pesbench.tasks.lj_core.head_training import SMOKE

    train_part(part, SMOKE if arguments.smoke else Schedule(), arguments.work, arguments.out)


def _join(arguments: argparse.Namespace) -> None:
    from pesbench.core.paths import check_outputs
    from pesbench.tasks.lj_core.head_table import card_of, join

    inputs = [*arguments.parts, *map(card_of, arguments.parts)]
    check_outputs({"out": arguments.out, "card": card_of(arguments.out)}, inputs)
    join(arguments.parts, arguments.out)
