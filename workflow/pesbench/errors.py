"""The two ways a command may end that are not results: bad input and a broken host."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

_KEPT = "what was finished before is kept, and the same command continues"
_CURES = {
    errno.ENOSPC: f"free some; {_KEPT}",
    errno.EDQUOT: f"free some; {_KEPT}",
    errno.EROFS: f"make it writable, or take another folder (`results` of the config); {_KEPT}",
    errno.EACCES: "check its owner and permissions, or take another folder",
    errno.EIO: f"look after the disk; {_KEPT}",
}


class UserError(Exception):
    """Bad input. The message is one line naming the place and the cure."""

    exit_code = 2


class FileError(UserError):
    """A stored file is not what it should be.

    Args:
        place: The file.
        reason: What is wrong, naming the item.
        cure: What to do.
    """

    def __init__(self, place: object, reason: str, cure: str) -> None:
        super().__init__(f"{place}: {reason}; {cure}")
        self.reason = reason


class HostError(Exception):
    """The machine failed, not the model (memory, a killed worker): the command may be retried."""

    exit_code = os.EX_TEMPFAIL


def _number(error: BaseException) -> int | None:
    """The number of the system's error; HDF5 hides it in its text."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (told := re.search(r"\berrno = (\d+)", str(error))):
        number = int(told[1]) or None  # 0: HDF5 itself found the fault
    return number


def host_failure(error: BaseException, place: object) -> HostError | None:
    """One line for an error of the system, which says nothing of a file's content; else None.

    Args:
        error: What was raised while a file was read.
        place: Which.
    """
    if (found := disk_failure(error, None)) is not None or _number(error) is None:
        return found
    told = " ".join(str(error).split())
    return HostError(f"{place}: cannot be read now ({told}); the same command tries again")


def disk_failure(error: BaseException, place: Path | None) -> HostError | None:
    """One line for a disk that is full or cannot be written; None for any other error.

    Args:
        error: What was raised.
        place: Where the command writes, for errors that do not name a file.
    """
    number = _number(error)
    if number not in _CURES:
        return None
    where = (error.filename if isinstance(error, OSError) else None) or place or "the disk"
    return HostError(f"{where}: {os.strerror(number)}; {_CURES[number]}")


def check_writable(folder: Path) -> None:
    """Refuse to begin where nothing can be written.

    Args:
        folder: Of the results; need not exist.

    Raises:
        HostError: its file system is full or read-only, or it belongs to somebody else.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    failure = None
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        failure = OSError(errno.EROFS, "", str(folder))
    elif not os.access(there, os.W_OK):
        failure = OSError(errno.EACCES, "", str(folder))
    elif not shutil.disk_usage(there).free:
        failure = OSError(errno.ENOSPC, "", str(folder))
    if failure is not None and (told := disk_failure(failure, folder)) is not None:
        raise told
