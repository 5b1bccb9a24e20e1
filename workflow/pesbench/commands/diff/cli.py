"""The command `diff`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pesbench.commands.arguments import number
from pesbench.commands.parsing import Stages


def add(stages: Stages) -> None:
    """The subcommands of this module."""
    stage = stages.add_parser(
        "diff", help="which scores of two folders of results changed, and why", for_people=True
    )
    stage.add_argument("before", type=Path, metavar="A", help="folder, such as results/mini")
    stage.add_argument("after", type=Path, metavar="B", help="folder of the other run")
    stage.add_argument("--tolerance", type=number(0, 0.5), default=0.0, metavar="SHARE",
                       help="relative drift of a value that is no change, such as 0.01 (default, "
                       "rounding alone)")  # fmt: skip
    stage.add_argument("--allow-missing", action="store_true",
                       help="B may lack models, tasks and scores that A has")  # fmt: skip
    stage.add_argument("--out", action="output", help="JSON of everything that is compared")
    stage.add_argument("--page", type=Path, metavar="FOLDER",
                       help="a page of it, which opens in a browser from disk")  # fmt: skip
    stage.set_defaults(run=_diff)


def _diff(arguments: argparse.Namespace) -> int:
    from pesbench.commands.diff.differences import UNCHANGED, differences
    from pesbench.commands.diff.folders import read_both
    from pesbench.commands.diff.page import check_page, write_page
    from pesbench.commands.diff.told import content, text
    from pesbench.files.atomic import write_json

    if arguments.page is not None:
        check_page(arguments.page)
    one, other = read_both(arguments.before, arguments.after)
    found = differences(
        one, other, tolerance=arguments.tolerance, allow_missing=arguments.allow_missing
    )
    if arguments.out is not None:
        write_json(arguments.out, content(found))
    if arguments.page is not None:
        write_page(arguments.page, found)
    print(text(found))
    return int(found.answer != UNCHANGED)
