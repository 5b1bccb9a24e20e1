"""The two ways a command may end that are not results: bad input and a broken host."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

_KEPT = "what was finished before is kept, and the same command continues"
_CURES = {
    errno.ENOSPC: f"free some; {_KEPT}",
    errno.EDQUOT: f"free some; {_KEPT}",
    errno.EROFS: f"make it writable, or take another folder (`results` of the config); {_KEPT}",
    errno.EACCES: "check its owner and permissions, or take another folder",
    errno.EFBIG: f"raise the limit of the size of files (`ulimit -f`); {_KEPT}",
    errno.ENOLCK: "this file system has no locks; take another folder (`results` of the config)",
    errno.EIO: f"look after the disk; {_KEPT}",
}


# a path leads to no file, or (with a damaged offset) to no place in it
_OF_CONTENT = {
    errno.EINVAL, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip


class UserError(Exception):
    """Bad input. The message is one line naming the place and the cure."""

    exit_code = 2


class FileError(UserError):
    """A stored file is damaged, or not of the expected kind.

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
    """One line for a system error that is independent of a file's content; None for other errors.

    Args:
        error: What was raised while a file was read.
        place: File or folder that the message names.
    """
    if (found := disk_failure(error, None)) is not None or isinstance(error, MemoryError):
        told = " ".join(str(error).split()) or "not enough memory"
        return found or HostError(f"{place}: {told}; free some memory, or ask for more")
    if (number := _number(error)) is None or number in _OF_CONTENT:
        return None
    told = " ".join(str(error).split())
    return HostError(f"{place}: cannot be read now ({told}); the same command tries again")


@contextlib.contextmanager
def reading(place: object, fault: str, cure: str) -> Iterator[None]:
    """One line for whatever is raised while a stored file is read and understood.

    Parsers raise errors of many types for bytes that are not what was written. What stands within
    is to be no more than the parser and the look at what it found: a mistake of our own there
    looks like a fault of the file.

    Args:
        place: The file, or the file and the item.
        fault: What it is not, such as "not a resolved model entry"; the error follows.
        cure: What to do.

    Raises:
        FileError: the content is wrong.
        HostError: the system failed, and not the file.
    """
    try:
        yield
    except (UserError, HostError):
        raise
    except Exception as error:
        if (lost := host_failure(error, place)) is not None:
            raise lost from error
        told = " ".join(str(error).split())
        name = "" if isinstance(error, OSError) and told else type(error).__name__
        raise FileError(
            place, f"{fault} ({': '.join(filter(None, (name, told)))})", cure
        ) from error


def disk_failure(error: BaseException, place: Path | None) -> HostError | None:
    """One line for a disk that is full or cannot be written; None for any other error.

    Args:
        error: What was raised.
        place: Folder that the command writes, for errors that do not name a file.
    """
    number = _number(error)
    if number not in _CURES:
        return None
    where = (error.filename if isinstance(error, OSError) else None) or place or "the disk"
    return HostError(f"{where}: {os.strerror(number)}; {_CURES[number]}")


def check_writable(folder: Path) -> None:
    """Refuse to begin where nothing can be written.

    Args:
        folder: Folder of the results; need not exist.

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


def signal_name(number: int) -> str:
    """Such as `SIGKILL`; the number of a signal without a name."""
    return next((one.name for one in signal.Signals if one.value == number), str(number))
