"""Options of `pesbench merge` for each folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pesbench.commands.merge.contents import Choice
from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.names import closest, why_unfit
from pesbench.core.paths import given_path, real_path

_RENAME = re.compile(r"(?P<folder>.+):(?P<old>[^:=]+)=(?P<new>[^:=]+)")
_WITHOUT = re.compile(r"(?P<folder>.+):(?P<model>[^:]+)")


def choices(
    rename: Sequence[str], without: Sequence[str], without_task: Sequence[str]
) -> dict[Path, Choice]:
    """Part that is used of each folder that an option names.

    Args:
        rename: `RESULTS:OLD=NEW`.
        without: `RESULTS:MODEL`, a name or a glob.
        without_task: `RESULTS:TASK`.

    Returns:
        By folder, as an absolute path.

    Raises:
        UserError: an option that says something else, or a name that is no path.
    """
    renamed: dict[Path, dict[str, str]] = {}
    left_out: dict[Path, list[str]] = {}
    for text in rename:
        if (found := _RENAME.fullmatch(text)) is None:
            raise UserError(
                f"--rename {text}: give RESULTS:OLD=NEW, such as results/mini:my-model=their-model"
            )
        if reason := why_unfit(found["new"]):
            raise UserError(f"--rename {text}: {found['new']!r} {reason}")
        names = renamed.setdefault(real_path(given_path(found["folder"])), {})
        if found["old"] in names:
            raise UserError(f"--rename {text}: {found['old']!r} has a new name already; give one")
        names[found["old"]] = found["new"]
    for text in without:
        if (found := _WITHOUT.fullmatch(text)) is None:
            raise UserError(
                f"--without {text}: give RESULTS:MODEL, such as 'results/mini:control-*'"
            )
        left_out.setdefault(real_path(given_path(found["folder"])), []).append(found["model"])
    tasks_out: dict[Path, list[str]] = {}
    for text in without_task:
        if (found := _WITHOUT.fullmatch(text)) is None:
            raise UserError(
                f"--without-task {text}: give RESULTS:TASK, such as results/mini:dynamics"
            )
        if found["model"] not in tasks():
            raise UserError(
                f"--without-task {text}: no task {found['model']!r}; "
                f"{closest(found['model'], tasks())}"
            )
        folder = real_path(given_path(found["folder"]))
        tasks_out.setdefault(folder, []).append(found["model"])
    return {
        folder: Choice(
            without=tuple(left_out.get(folder, ())),
            without_tasks=tuple(tasks_out.get(folder, ())),
            renamed=renamed.get(folder, {}),
        )
        for folder in {*renamed, *left_out, *tasks_out}
    }
