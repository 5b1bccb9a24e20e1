"""Files that are written whole and renamed.

A file appears under its name only when it is complete; until then it is `<name>.part`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pesbench.core.paths import file_to_write
from pesbench.files.integrity import seal


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A `.part` path that takes the name `path` on success and is removed on failure.

    What it holds is on the disk before it takes its name: else a node that is lost could leave a
    name without content. An HDF5 file (`.h5`) gets its sha256, see `integrity`. A symbolic link
    stays one, and what it leads to is written.

    Raises:
        UserError: something else than a file stands there.
    """
    path = file_to_write(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # of a command that was killed; or a link, which is not followed
    try:
        yield part
        if path.suffix == ".h5":
            seal(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno and error.filename in (None, str(part)):  # a write does not name its file
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, keys in the order given."""
    write_text(path, json.dumps(value, indent=2) + "\n")
