"""One run at a time in a folder of results, whatever folders the runs are started from.

Snakemake's lock lies in the folder that it runs in. Here every run leaves a marker in the results,
which says who it is; it needs no locks of the file system. A marker whose process is gone, or,
on another machine, has given no sign for a while, counts for nothing and is removed.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import platform
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pesbench.core.errors import UserError, disk_failure
from pesbench.core.text import printable
from pesbench.orchestration.running import started

SIGN_S = 20.0  # between two signs of life
SILENT_S = 180.0  # after so long without one, a run on another machine is gone
_PREFIX = ".at-work-"


@dataclass(frozen=True)
class Marker:
    """The run that uses a results folder.

    Attributes:
        host: Name of the machine.
        place: Place in which process ids mean something: that machine, or a container on it.
        pid: Id of the process.
        started: When it was started, in the kernel's ticks; "" where that is not known.
        folder: Folder that it runs in.
        since: Local time, for readers.
    """

    host: str
    place: str
    pid: int
    started: str
    folder: str
    since: str


def _place() -> str:
    """Identifier of this machine, or of this container."""
    told = [platform.node()]
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            path = Path(source)
            told.append(
                str(path.readlink()) if path.is_symlink() else path.read_text(encoding="ascii")
            )
    return " ".join(word.strip() for word in told)


def _read(path: Path) -> Marker | None:
    """A marker; None where it is gone, or was cut short with its machine."""
    try:
        found = Marker(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    texts = (found.host, found.place, found.started, found.folder, found.since)
    whole = isinstance(found.pid, int) and all(isinstance(text, str) for text in texts)
    return found if whole else None


def _is_alive(marker: Marker, silent_s: float) -> bool:
    if marker.place == _place() and marker.started:
        return started(marker.pid) == marker.started
    return silent_s < SILENT_S


def take(results: Path, folder: Path) -> None:
    """Mark results as in use by this process until it ends.

    Args:
        results: Folder; made if it is missing.
        folder: Folder that this process runs in. Snakemake keeps others in the same folder apart.

    Raises:
        UserError: a run that was started in another folder is at work in them.
        HostError: the disk is full, or cannot be written.
    """
    pid, since = os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S")
    own = Marker(platform.node(), _place(), pid, started(pid), str(folder.resolve()), since)
    path = results / f"{_PREFIX}{own.host}-{pid}.json"
    try:
        results.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(own)), encoding="utf-8")
    except OSError as error:
        if (failure := disk_failure(error, results)) is not None:
            raise failure from error
        raise
    atexit.register(path.unlink, missing_ok=True)
    now = path.stat().st_mtime  # by the clock of that file system
    for other in sorted(results.glob(f"{_PREFIX}*.json")):
        if other == path or (marker := _read(other)) is None:
            continue
        with contextlib.suppress(OSError):  # it has just ended
            if not _is_alive(marker, now - other.stat().st_mtime):
                other.unlink()
            elif marker.folder != own.folder:
                path.unlink()
                raise UserError(_who(results, marker))
    threading.Thread(target=_give_signs, args=(path,), daemon=True).start()


def _who(results: Path, marker: Marker) -> str:
    here = marker.host == platform.node()
    end = f"`kill -INT {marker.pid}`" if here else f"`kill -INT {marker.pid}` on {marker.host}"
    return printable(
        f"{results}: another run is at work there (process {marker.pid} on {marker.host}, started "
        f"in {marker.folder} at {marker.since}); wait for it, end it with {end}, or make other "
        "files with `--config results=FOLDER`"
    )


def _give_signs(path: Path) -> None:
    while True:
        time.sleep(SIGN_S)
        with contextlib.suppress(OSError):
            os.utime(path)
