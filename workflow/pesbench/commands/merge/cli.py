"""The command `merge`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pesbench.commands.parsing import Stages, add_ranking, parser
from pesbench.core.errors import UserError


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "merge", help="combine results of several groups into one leaderboard", for_people=True
    )
    stage.add_argument("results", type=Path, nargs="+", metavar="RESULTS",
                       help="folders of one scan set, such as results/mini")  # fmt: skip
    stage.add_argument("--out", type=Path, required=True, help="folder of the merged results")
    stage.add_argument("--scan-set", type=Path, help="scan set file, if no folder holds it")
    stage.add_argument("--rename", action="append", default=[], metavar="RESULTS:OLD=NEW",
                       help="another name for a model of one folder")  # fmt: skip
    stage.add_argument("--without", action="append", default=[], metavar="RESULTS:MODEL",
                       help="leave out a model of one folder; a name or a glob")  # fmt: skip
    stage.add_argument("--without-task", action="append", default=[], metavar="RESULTS:TASK",
                       help="leave out the results of one folder for a task")  # fmt: skip
    stage.add_argument("--without-dynamics", help=argparse.SUPPRESS)  # of earlier versions
    stage.add_argument("--strict", action="store_true",
                       help="refuse results that were not made by the code of this "
                       "version")  # fmt: skip
    add_ranking(stage)
    stage.set_defaults(run=_merge)


def _merge(arguments: argparse.Namespace) -> None:
    from pesbench.commands.merge.assembly import merge
    from pesbench.commands.merge.options import choices
    from pesbench.commands.merge.place import new_folder
    from pesbench.report.columns import check_rank_by

    if arguments.without_dynamics is not None:
        raise UserError("--without-dynamics: give --without-task RESULTS:dynamics in its place")
    check_rank_by(arguments.rank_by)
    chosen = choices(arguments.rename, arguments.without, arguments.without_task)
    with new_folder(arguments.out, arguments.results) as folder:
        merged = merge(
            arguments.results,
            folder,
            choices=chosen,
            scan_set=arguments.scan_set,
            strict=arguments.strict,
        )
        for command in merged.report(arguments.rank_by, arguments.entry_coverage):
            stage = parser().parse_args(command)
            stage.run(stage)
    print(f"{len(merged.models)} models: {arguments.out / 'leaderboard.md'}, .csv and .html")
