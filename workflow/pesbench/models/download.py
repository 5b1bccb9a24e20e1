"""Downloads: whole or not at all, and weights with the checksum pinned at first use.

Weights of an address are kept in a folder outside of any run (`PESBENCH_CACHE`, or
`~/.cache/pesbench/weights`). Beside each file lies its pin, `<file>.json`, with the sha256 that it
had at first use: a file that changed in the cache or on the server is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pesbench.core.errors import HostError, UserError
from pesbench.files.atomic import write_json
from pesbench.models.addresses import (
    CACHE_VARIABLE,
    Pin,
    cache_path,
    file_sha256,
    pin_path,
    read_pin,
)
from pesbench.models.transfer import save

logger = logging.getLogger("pesbench")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time for a file of the cache; the others wait, and then find it."""
    with path.with_name(path.name + ".lock").open("wb") as lock:
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("%s: waiting for another process that downloads it", path)
                fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: both download, and renaming is atomic
            logger.warning("%s: this file system has no locks", path.parent)
        else:
            for part in path.parent.glob(f"{path.name}.*.part"):
                part.unlink(missing_ok=True)  # of a process that was killed
        yield


def fetch(
    address: str,
    *,
    sha256: str | None = None,
    defect: Callable[[Path], str | None] = lambda path: None,
) -> Pin:
    """The content of an address in the cache, downloaded if it is not there yet.

    A file that was put into the cache by hand, on a machine without network, is pinned as it is.

    Args:
        address: http(s).
        sha256: sha256 that the content must have, if it is known beforehand.
        defect: Tells what is wrong with a file before it is pinned, or None.

    Returns:
        The pin; the file is at `cache_path(address)`.

    Raises:
        UserError: there is no such file, or it is not what was pinned, asked for or expected.
        HostError: the download failed in a way that another attempt may not, or the disk did.
    """
    path = cache_path(address)
    try:
        if path.exists() and pin_path(path).exists():  # the folder may be one to read only
            return _fetch(address, path, sha256, defect)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            return _fetch(address, path, sha256, defect)
    except OSError as error:
        raise HostError(
            f"{path}: the cache cannot be used ({error.strerror}); free space there, or set "
            f"{CACHE_VARIABLE} to another folder"
        ) from error


def _fetch(
    address: str, path: Path, sha256: str | None, defect: Callable[[Path], str | None]
) -> Pin:
    pin = read_pin(path)
    if path.exists():
        found = file_sha256(path)
        if pin is not None and found != pin.sha256:
            raise UserError(
                f"{path}: changed in the cache: its sha256 is {found}, pinned on {pin.date} was "
                f"{pin.sha256}; delete it, and it is downloaded again"
            )
        _check(address, path, path, found, sha256, defect)
        return pin or _write_pin(address, path, path, found)
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        found = save(address, part, f"put the file at {path}")
        if pin is not None and found != pin.sha256:
            raise UserError(
                f"{address}: changed on the server: the sha256 is now {found}, pinned on "
                f"{pin.date} was {pin.sha256}; put the old file at {path}, or delete "
                f"{pin_path(path)} to take the new one"
            )
        _check(address, path, part, found, sha256, defect)
        part.chmod(0o644)  # mkstemp makes it private; a cache may be shared
        # the pin first: whatever comes in between, no file is there that was not compared with it
        pin = pin or _write_pin(address, path, part, found)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return pin


def _check(
    address: str,
    path: Path,
    file: Path,
    found: str,
    sha256: str | None,
    defect: Callable[[Path], str | None],
) -> None:
    """Refuse content that is not the requested file; `file` is `path` or not yet renamed."""
    cure = "" if file != path else f", and delete {path} and its .json"
    if sha256 is not None and found != sha256:
        raise UserError(
            f"{address}: the sha256 is {found}, the entry says {sha256}; "
            f"correct the address or `sha256`{cure}"
        )
    wrong = defect(file)
    if wrong is not None:
        raise UserError(f"{address}: what came {wrong}; correct the address{cure}")


def _write_pin(address: str, path: Path, file: Path, sha256: str) -> Pin:
    pin = Pin(address, sha256, file.stat().st_size, datetime.now(UTC).isoformat(timespec="seconds"))
    write_json(pin_path(path), asdict(pin))
    logger.info("%s: sha256 %s pinned", path, sha256)
    return pin
