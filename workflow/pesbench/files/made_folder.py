"""Folders that a command makes whole and may make again, such as those of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pesbench.core.errors import UserError


def check_replaceable(folder: Path, marker: str, what: str) -> None:
    """Refuse to replace what this program did not make.

    Args:
        folder: Folder that is going to be written; it need not exist.
        marker: Name of the file by which one of ours is known.
        what: What the folder is to be, for messages, such as `explorer`.

    Raises:
        UserError: a file or link stands there, or a folder that holds something else.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(
            f"{folder}: is no folder that another {what} could replace; give another name"
        )
    if folder.is_dir():
        held = [path for path in folder.iterdir() if not path.name.startswith(".snakemake")]
        if held and not (folder / marker).is_file():
            raise UserError(
                f"{folder}: holds {held[0].name!r} and is no {what}; give another folder"
            )


@contextmanager
def replacing(folder: Path, marker: str, what: str) -> Iterator[Path]:
    """An empty folder that takes the place of another one when it is finished.

    Args:
        folder: Its name in the end.
        marker: Name of a file that is written into it.
        what: What it is, for messages.

    Raises:
        UserError: see `check_replaceable`.
    """
    check_replaceable(folder, marker, what)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
