"""Checks whether a stored file is unchanged and belongs to its folder.

Behind the content of an HDF5 file stands its sha256, where HDF5 does not look. Whoever changes the
file through HDF5 cuts that off and leaves a file without; so does an older version of this package.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pesbench.core.errors import FileError, UserError, host_failure

AGAIN = "remove it, and the same snakemake command makes it again"
_SEAL = b"\npesbench sha256 %s\n"
_SEAL_BYTES = len(_SEAL % (b"0" * 64))
_CHUNK_BYTES = 1 << 20
_OF_HDF5 = re.compile(r"""['"]?(Unable to|Can't|Couldn't)""")  # what h5py's own errors begin with
_verifying: ContextVar[bool] = ContextVar("verifying", default=True)


def _digest(path: Path, n_bytes: int) -> bytes:
    found, left = hashlib.sha256(), n_bytes
    with path.open("rb") as file:
        while left and (part := file.read(min(left, _CHUNK_BYTES))):
            found.update(part)
            left -= len(part)
    return found.hexdigest().encode()


def seal(path: Path) -> None:
    """Put the sha256 of a file's content behind it."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(_SEAL % digest)


def is_intact(path: Path) -> bool:
    """Whether a file's content has the sha256 that stands behind it; True if none does."""
    if not _verifying.get():
        return True
    stat = path.stat()
    return _is_intact(path, stat.st_size, stat.st_mtime_ns)


def is_sealed(path: Path) -> bool:
    """Whether a sha256 stands behind a file's content; True where none is asked for."""
    return not _verifying.get() or _stored(path, path.stat().st_size) is not None


def _stored(path: Path, n_bytes: int) -> bytes | None:
    """The sha256 behind a file's content, if there is one."""
    if n_bytes < _SEAL_BYTES:
        return None
    with path.open("rb") as file:
        file.seek(n_bytes - _SEAL_BYTES)
        found = re.fullmatch(_SEAL.strip() % rb"([0-9a-f]{64})", file.read().strip())
    return found and found[1]


@functools.lru_cache(maxsize=4096)  # a command opens a file more than once
def _is_intact(path: Path, n_bytes: int, _mtime_ns: int) -> bool:
    stored = _stored(path, n_bytes)
    return stored is None or stored == _digest(path, n_bytes - _SEAL_BYTES)


@contextlib.contextmanager
def unverified() -> Iterator[None]:
    """Files opened within are not compared with their sha256, which takes a second a gigabyte.

    For a look that decides nothing, such as how long an earlier job took.
    """
    before = _verifying.set(False)
    try:
        yield
    finally:
        _verifying.reset(before)


@contextlib.contextmanager
def readable(what: object, cure: str = AGAIN) -> Iterator[None]:
    """One line for a damaged HDF5 file that names another place, or another cure.

    For what is read from a copy; a reader of `stored` names the file and the item itself.

    Raises:
        UserError: instead.
        HostError: the system failed, a full disk perhaps, and not the file.
    """
    try:
        yield
    except FileError as error:
        raise UserError(f"{what}: damaged ({error.reason}); {cure}") from error
    except (OSError, KeyError, RuntimeError) as error:
        if (lost := host_failure(error, what)) is not None:
            raise lost from error
        if not isinstance(error, OSError) and not _OF_HDF5.match(str(error)):
            raise  # a mistake of our own
        reason = " ".join(str(error).split())
        raise UserError(f"{what}: damaged ({reason}); {cure}") from error


# --- what a file was made of ---------------------------------------------------------------------


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A nested mapping as one with dotted keys."""
    if not isinstance(value, Mapping):
        return {name: value}
    found = {}
    for key, part in value.items():
        found |= flat(part, f"{name}.{key}" if name else str(key))
    return found


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Differences of two mappings, in words."""
    a, b = flat(one), flat(other)
    keys = sorted(key for key in a.keys() | b.keys() if a.get(key) != b.get(key))
    said = [f"`{k.removeprefix('settings.')}` {a.get(k)!r} and {b.get(k)!r}" for k in keys]
    return ", ".join(said)


def check_owner(
    path: Path,
    attributes: Mapping[str, Any],
    name: str,
    deciding: Mapping[str, Any],
    cure: str = AGAIN,
) -> None:
    """Refuse a file that belongs to another model or entry than its folder.

    Args:
        path: Path of the file, for the message.
        attributes: Attributes of the file.
        name: Name of the model.
        deciding: `ModelEntry.deciding` of its entry.
        cure: What the message ends with.

    Raises:
        UserError: naming the settings that differ.
    """
    if str(attributes.get("model", "")) != name:
        raise UserError(
            f"{path}: belongs to model {attributes.get('model', '')!r}, not {name!r}; {cure}"
        )
    made = json.loads(attributes.get("entry", "{}"))
    if made != (now := json.loads(json.dumps(deciding))):
        raise UserError(
            f"{path}: made with another entry than model.json beside it ({differences(made, now)}"
            f"); {cure}"
        )


def check_scan_set(path: Path, sha256: str, scan_set: Path, scan_set_sha256: str) -> None:
    """Refuse a file that was made on another scan set.

    Args:
        path: Path of the file, for the message.
        sha256: sha256 of the scan set that the file states.
        scan_set: Scan set that it should have been made on.
        scan_set_sha256: sha256 of `scan_set`.

    Raises:
        UserError: naming both.
    """
    if sha256 != scan_set_sha256:
        raise UserError(f"{path}: was made on another scan set than {scan_set}; {AGAIN}")


def check_alike(made: Mapping[Path, Mapping[str, Any]]) -> None:
    """Refuse files of one model that were made by different code or with different settings.

    Snakemake makes again what other code or settings made, but knows nothing of a file that a
    cluster's job completed after Snakemake itself was killed.

    Args:
        made: What all files of the model must have in common, by file.

    Raises:
        UserError: naming the first two that differ.
    """
    files = sorted(made)
    for path in files[1:]:
        if said := differences(made[files[0]], made[path]):
            raise UserError(
                f"{files[0]} and {path}: were made with different settings or code "
                f"({said}); remove the older one, and the same snakemake command makes it again"
            )
