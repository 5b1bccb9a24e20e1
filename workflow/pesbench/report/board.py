"""The leaderboard, from the columns that sections give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pesbench.core.errors import FileError, UserError
from pesbench.core.found import tasks
from pesbench.files.scan_set import ScanSet
from pesbench.metrics.board import board_frame
from pesbench.report.columns import SCORE_COLUMNS
from pesbench.report.graph import SECTIONS, model_section_folder
from pesbench.report.sections import NAME, StoredSection, read_section

_CURE = "remove the folder, and the same snakemake command makes it again"


def read_sections(
    results: Path, scan_set: ScanSet, names: Sequence[str] | None = None
) -> list[StoredSection]:
    """The sections of a folder of results.

    Args:
        results: Folder of the scan set's results.
        scan_set: Scan set that they must be of.
        names: Names of sections, in order; None for all that exist, tasks before comparisons.

    Raises:
        UserError: one is missing, damaged or of another scan set.
    """
    folder = results / SECTIONS
    if names is None:
        there = sorted(path.parent.name for path in folder.glob(f"*/{NAME}"))
        always = [name for name, task in tasks().items() if task.always]
        names = sorted(there, key=lambda name: (name not in always, name not in tasks()))
    return [_of(scan_set, folder / name) for name in names]


def _of(scan_set: ScanSet, folder: Path) -> StoredSection:
    found = read_section(folder)
    if found.scan_set_sha256 != scan_set.sha256:
        raise FileError(folder, f"is of another scan set than {scan_set.path}", _CURE)
    return found


def board_of(sections: Sequence[StoredSection]) -> pd.DataFrame:
    """The leaderboard: one row a model, ranked models first.

    Args:
        sections: The first is that of the task that always runs, which gives the rows and the
            columns that ranks are by.

    Returns:
        `model` and the columns of all sections, see tasks/bonds/README.md.

    Raises:
        UserError: the first section is another one, or two give one column.
    """
    told = {column.metric.name: column.kind for one in sections[:1] for column in one.board}
    if missing := {name for name, kind in SCORE_COLUMNS.items() if told.get(name) != kind}:
        raise UserError(
            f"no section tells {sorted(missing)[0]!r} of the models; make that of the task that "
            "always runs first"
        )
    roles = next(column for column in sections[0].board if column.metric.name == "role")
    order = list(roles.values)
    seen: dict[str, str] = {}
    for one in sections:
        for column in one.board:
            name = column.metric.name
            if name in seen:
                raise UserError(
                    f"the sections {seen[name]!r} and {one.name!r} both have a column {name!r}; "
                    "name it otherwise in one of the tasks"
                )
            seen[name] = one.name
    board = board_frame([column for one in sections for column in one.board], order)
    names = [name for name in board.columns if name not in ("rank", "model")]
    return board[["rank", "model", *names]]


def model_sections_of(
    results: Path, scan_set: ScanSet, board: pd.DataFrame, sections: Sequence[StoredSection]
) -> dict[str, list[StoredSection]]:
    """The sections of single models, by model, in the order of the leaderboard.

    Args:
        results: Folder of the scan set's results.
        scan_set: Scan set that they must be of.
        board: Board of `board_of`; models have sections, other roles have none.
        sections: Sections of their tasks.

    Raises:
        UserError: one is damaged or of another scan set.
    """
    found: dict[str, list[StoredSection]] = {}
    for name in board.loc[board["role"] == "model", "model"]:
        folders = (model_section_folder(results, one.name, name) for one in sections)
        own = [_of(scan_set, folder) for folder in folders if (folder / NAME).is_file()]
        if own:
            found[name] = own
    return found
