"""Place of a merged folder: nothing is removed or replaced that `merge` did not make."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.core.paths import real_path

_MARKER = ".made-by-pesbench-merge"


@contextlib.contextmanager
def new_folder(out: Path, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """A folder `<out>.part` that takes the name `out` on success and is removed on failure.

    A marker in it tells a folder that a killed merge has left from one of the user's, of which
    nothing is ever removed.

    Args:
        out: Path where nothing is, or an empty folder.
        inputs: Folders that are read: none of them may lie in `out`, or `out` in one of them.

    Raises:
        UserError: something else is at `out` or `<out>.part`, or it cannot be made.
    """
    out = out.absolute()  # its name begins with no dash, whatever the user's does
    part = out.with_name(out.name + ".part") if out.name else out
    for folder in inputs:
        for place in (out, part):
            a, b = real_path(folder), real_path(place)
            if a.is_relative_to(b) or b.is_relative_to(a):
                raise UserError(
                    f"--out {out}: lies in {folder}, which is read, or holds it; give another "
                    "folder"
                )
    try:
        if os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or any(out.iterdir())):
            raise UserError(f"--out {out}: is there already; remove it, or give another folder")
        if os.path.lexists(part):
            if part.is_symlink() or not (part / _MARKER).is_file():
                raise UserError(
                    f"--out {out}: {part} is there, and no merge that was stopped has left it; "
                    "move it, or give another folder"
                )
            shutil.rmtree(part)
        part.mkdir(parents=True)
        (part / _MARKER).touch()
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--out {out}: no folder can be made there ({error.strerror})") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UserError(f"--out {out}: the name is too long; give a shorter one") from error
    try:
        yield part
        part.replace(out)
        (out / _MARKER).unlink()
    finally:
        shutil.rmtree(part, ignore_errors=True)
