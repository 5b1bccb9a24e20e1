"""The command `export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.core.errors import UserError
from pesbench.core.text import printable

if TYPE_CHECKING:
    from pesbench.commands.parsing import Stages


def add(stages: Stages) -> None:
    """The subcommands of this task."""
    stage = stages.add_parser(
        "export", help="convert one trajectory for other programs", for_people=True
    )
    stage.add_argument(
        "trajectory", nargs="?", help="name of the trajectory, such as ethanol_300K_0"
    )
    stage.add_argument("--list", action="store_true",
                       help="list the trajectories of the file and how they ended, "
                       "instead")  # fmt: skip
    stage.add_argument("--trajectories", type=Path, required=True, help="trajectory file")
    stage.add_argument("--last-steps", action="store_true",
                       help="export all of the last steps before a failure, not the stored "
                       "frames")  # fmt: skip
    stage.add_argument(
        "--out", action="output", help="file to write: .h5md, .extxyz, .xyz or .traj"
    )
    stage.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> None:
    from pesbench.tasks.dynamics.export import export_trajectory, listed

    if arguments.list:
        if arguments.trajectory or arguments.out or arguments.last_steps:
            raise UserError("export: `--list` writes nothing; give it with --trajectories alone")
        print("\n".join(map(printable, listed(arguments.trajectories))))
        return
    if arguments.trajectory is None or arguments.out is None:
        raise UserError(
            "export: give the name of a trajectory and --out; `--list` shows the names that "
            f"{arguments.trajectories} holds"
        )
    export_trajectory(
        arguments.trajectories,
        arguments.trajectory,
        arguments.out,
        last_steps=arguments.last_steps,
    )
