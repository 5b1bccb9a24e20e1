"""HDF5 files of any origin: what is read is checked first, what is written survives a full disk.

A file that was not made here may hold links that lead out of it, data that lie elsewhere, and
sizes that no memory holds. Nothing of it is followed or allocated before it is checked, and
whatever is wrong is one line that names the file and the item.

HDF5 is given a file that Python opened, and so takes none of its locks, which some network file
systems do not have: a file has one writer, and takes its name only when it is whole.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from pesbench.core.closing import Closing
from pesbench.core.errors import FileError, HostError, UserError, reading

LARGEST_ARRAY_BYTES = 2 << 30
LARGEST_CHUNK_BYTES = 2 << 20  # what it unpacks to may be a thousand times of this, not more
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_KINDS = {"f": "numbers", "i": "whole numbers", "u": "whole numbers"}
_ACCEPTED = {str: "t", dict: "t", int: "iu", float: "fiu", bool: "b", None: "tiufb"}
_WORDS = {
    str: "text", dict: "text", int: "a whole number", float: "a number", bool: "true or false",
}  # fmt: skip
Values = Literal["finite", "nan", "any"]
_ROOT: dict[str, type] = {  # attributes of files, of whatever contract; a dict is JSON
    "format": str, "version": int, "name": str, "level_of_theory": str, "source": str,
    "sha256": str, "provenance": dict, "status_codes": dict, "model": str, "entry": dict,
    "scan_set": str, "scan_set_sha256": str, "device": str, "dtype": str,
    "dtype_measured": str, "model_details": dict, "threads": int, "batch_limit": dict,
    "wall_s": float, "times_interrupted": int, "atom_frames": int,
    "worker_starts": int, "worker_deaths": dict, "peak_memory_bytes": float, "settings": dict,
    "masses": str, "n_steps": int, "timestep_fs": float, "store_every": int,
}  # fmt: skip


class Attributes(dict[str, Any]):
    """Attributes of a file, checked; one that is asked for and not there is one line, too."""

    def __init__(self, values: Mapping[str, Any], path: Path, cure: str) -> None:
        super().__init__(values)
        self._path, self._cure = path, cure

    def __missing__(self, key: str) -> Any:
        raise FileError(self._path, f"attribute `{key}` is missing", self._cure)


class _Reading:
    """`errors.reading` at a tenth of its cost, as it stands around each call of HDF5."""

    __slots__ = ("_file", "_group", "_name")

    def __init__(self, file: StoredFile, group: h5py.Group | None, name: str) -> None:
        self._file, self._group, self._name = file, group, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, UserError | HostError):
            self._file.blame(error, self._group, self._name)


class StoredFile(Closing):
    """An HDF5 file opened for reading.

    Args:
        path: Path of the file.
        what: Kind of file that it should be, for messages.
        cure: What every message ends with.

    Attributes:
        attributes: Attributes of the file that are text, numbers or truth values; JSON as text.

    Raises:
        UserError: it is no HDF5 file, or an attribute of a known name is something else.
        HostError: the system failed, and not the file.
    """

    def __init__(self, path: Path, what: str, cure: str) -> None:
        self.path, self.cure, self._what = path, cure, what
        self._file: Any = None
        with self._reading():
            self._disk = path.open("rb", buffering=0)
        with self.closed_on_error(), self._reading():
            self._file = h5py.File(self._disk, "r")
        with self.closed_on_error():
            self.attributes = Attributes(self._root_attributes(), path, cure)

    def _root_attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with self._reading():
            names = list(self._file.attrs)
        for name in names:
            if name not in _ROOT:  # of a later version, or a note of the user's
                with contextlib.suppress(UserError):
                    found[name] = self.attribute(self._file, name, None)
                continue
            found[name] = value = self.attribute(self._file, name, _ROOT[name])
            if _ROOT[name] in (int, float) and not (math.isfinite(value) and value >= 0):
                raise self.wrong(f"@{name}", f"is {value}")
        return found

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Context for reading while the file is opened: an error closes it."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        with contextlib.closing(self._disk):
            if self._file is not None:
                self._file.close()

    @property
    def root(self) -> h5py.Group:
        return self._file

    def wrong(self, item: str, reason: str) -> FileError:
        """The error for an item that is not as expected, in one line."""
        return FileError(self.path, f"`{item.strip('/')}` {reason}", self.cure)

    def _reading(self, group: h5py.Group | None = None, name: str = "") -> _Reading:
        return _Reading(self, group, name)

    def blame(self, error: Exception, group: h5py.Group | None, name: str) -> None:
        """Raise one line for an error of HDF5, whatever its type.

        Args:
            error: What was raised.
            group: Group of the item; None for the file as a whole.
            name: Name of the item in it.

        Raises:
            FileError: the content is wrong.
            HostError: the system failed, and not the file.
        """
        fault = f"not a readable {self._what}"
        if group is not None:
            fault = f"`{group.name}/{name}` is damaged".replace("//", "/").replace("`/", "`")
        with reading(self.path, fault, self.cure):
            raise error

    # --- groups

    def group(self, parent: h5py.Group, name: str) -> h5py.Group:
        """A group below another; `name` may be a path.

        Raises:
            UserError: it is missing, is no group, or a link leads to another place.
        """
        return h5py.Group(self._item(parent, name, h5py.h5g.GroupID, "group"))

    def names(self, parent: h5py.Group) -> list[str]:
        """Names of what a group holds, sorted.

        Raises:
            UserError: one is no text that can be printed.
        """
        with self._reading(parent):
            names = sorted(parent)
        for name in names:
            if not name.isprintable():
                raise self.wrong(f"{parent.name}/{name!a}", "has a name that is no plain text")
        return names

    def groups(self, parent: h5py.Group, marker: str | None = None) -> dict[str, h5py.Group]:
        """The groups below one by name, a group of groups opened.

        Args:
            parent: Group or file that holds them.
            marker: An attribute that the groups have which are meant, whose names may hold
                slashes; without it those two levels down.

        Raises:
            UserError: what should be a group is none, or a group is there a second time.
        """
        found: dict[str, h5py.Group] = {}
        seen: set[int] = set()

        def look(group: h5py.Group, prefix: str, depth: int) -> None:
            for name in self.names(group):
                child = self.group(group, name)
                with self._reading(group, name):
                    address = h5py.h5o.get_info(child.id).addr
                    done = depth == 1 if marker is None else marker in child.attrs
                if address in seen:
                    raise self.wrong(f"{group.name}/{name}", "is a second name of another group")
                seen.add(address)
                if done:
                    found[prefix + name] = child
                else:
                    look(child, f"{prefix}{name}/", depth + 1)

        with self._reading(parent):
            seen.add(h5py.h5o.get_info(parent.id).addr)
        look(parent, "", 0)
        return dict(sorted(found.items()))

    def _item(self, parent: h5py.Group, path: str, kind: type, what: str) -> Any:
        """The identifier of what lies in this file at a path, each link on the way looked at."""
        here = parent.id
        with self._reading(parent, path):
            for name in map(str.encode, path.split("/")):
                if not isinstance(here, h5py.h5g.GroupID) or name not in here:
                    raise self.wrong(f"{parent.name}/{path}", "is missing")
                if here.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                    reason = "is a link to another place, which is not followed"
                    raise self.wrong(f"{parent.name}/{path}", reason)
                here = h5py.h5o.open(here, name)
        if not isinstance(here, kind):
            raise self.wrong(f"{parent.name}/{path}", f"is no {what}")
        return here

    # --- arrays

    def shape(self, group: h5py.Group, name: str, n_axes: int) -> tuple[int, ...]:
        """The shape of a dataset, without reading it.

        Raises:
            UserError: it is missing, no dataset, or has another number of axes.
        """
        found = self._item(group, name, h5py.h5d.DatasetID, "dataset")
        with self._reading(group, name):
            shape = found.shape
        if shape is None or len(shape) != n_axes:
            raise self.wrong(f"{group.name}/{name}", f"has the shape {shape}, not {n_axes} axes")
        return shape

    def array(
        self,
        group: h5py.Group,
        name: str,
        dtype: type[np.generic],
        shape: tuple[int | None, ...],
        *,
        values: Values = "finite",
    ) -> NDArray[Any]:
        """A dataset, read once its link, place, type, shape and size are right.

        Args:
            group: Group that holds it.
            name: Below that; may be a path.
            dtype: What it is returned as. The file may hold a narrower one of the same kind.
            shape: Required shape; None stands for any size.
            values: What numbers it may hold: finite ones, also NaN, or any.

        Raises:
            UserError: anything is wrong.
            HostError: the system failed, and not the file.
        """
        found = self._item(group, name, h5py.h5d.DatasetID, "dataset")
        wanted = np.dtype(dtype)
        with self._reading(group, name):
            size, held = found.shape, found.dtype
            reason = _why_unreadable(found, size, held, wanted, shape)
            if not reason:
                read = np.empty(size, held)
                found.read(h5py.h5s.ALL, h5py.h5s.ALL, read)
                read = read.astype(wanted, copy=False)
                if wanted.kind == "f" and values != "any":
                    bad = np.isinf(read) if values == "nan" else ~np.isfinite(read)
                    if bad.any():
                        reason = f"holds {read[bad].flat[0]}, which is no value"
        if reason:
            raise self.wrong(f"{group.name}/{name}", reason)
        return read

    # --- attributes

    def attribute(
        self, item: h5py.Group, name: str, kind: type | None, shape: tuple[int | None, ...] = ()
    ) -> Any:
        """An attribute, read once its type and shape are right.

        Args:
            item: Group, dataset or file that has the attribute.
            name: Name of the attribute.
            kind: `str`, `int`, `float`, `bool`, `dict` (JSON, returned as text), or None for any
                of these.
            shape: Shape of an array of `int`; () is a single value.

        Raises:
            UserError: it is missing, or something else.
        """
        encoded = name.encode(errors="surrogateescape")
        with self._reading(item, f"@{name}"):
            if not h5py.h5a.exists(item.id, encoded):
                raise self.wrong(f"{item.name}/@{name}", "is missing")
            found = h5py.h5a.open(item.id, encoded)
            dtype, size = found.dtype, found.shape
            text = h5py.check_string_dtype(dtype) is not None
            accepted = _ACCEPTED[kind]
            if (
                ("t" if text else dtype.kind) not in accepted
                or size is None
                or len(size) != len(shape)
                or any(n not in (None, m) for n, m in zip(shape, size, strict=True))
                or math.prod(size) * dtype.itemsize > LARGEST_CHUNK_BYTES
            ):
                raise self.wrong(f"{item.name}/@{name}", f"is not {_WORDS.get(kind, 'plain')}")
            read = np.empty(size, dtype)
            found.read(read)
            if shape:
                return read.astype(np.int64)
            value = read.item()
            if text:
                value = value.decode()  # what was no UTF-8 is no text that can be written again
            if kind is dict and not isinstance(json.loads(value), dict):
                raise self.wrong(f"{item.name}/@{name}", "is not a JSON object")
        return float(value) if kind is float else value


def _why_unreadable(
    found: h5py.h5d.DatasetID,
    size: tuple[int, ...] | None,
    held: np.dtype,
    wanted: np.dtype,
    shape: tuple[int | None, ...],
) -> str:
    """Why a dataset is not read; "" if it is what is wanted and holds what it declares."""
    same_kind = _KINDS.get(held.kind) == _KINDS[wanted.kind]
    if size is None or not same_kind or not np.can_cast(held, wanted, "safe"):
        return f"holds {held}, not {wanted}"
    if len(shape) != len(size) or any(n not in (None, m) for n, m in zip(shape, size, strict=True)):
        told = ", ".join("any" if n is None else str(n) for n in shape)
        return f"has the shape {size}, not ({told})"
    n_bytes = math.prod(size) * held.itemsize
    if n_bytes > LARGEST_ARRAY_BYTES:
        return f"declares {n_bytes / 1e9:.3g} GB, more than is read"
    made = found.get_create_plist()
    layout = made.get_layout()
    if layout == h5py.h5d.VIRTUAL or made.get_external_count():
        return "has its data in another file, which is not read"
    if not n_bytes:
        return ""
    if layout != h5py.h5d.CHUNKED:
        stored = found.get_storage_size()
        return "" if stored >= n_bytes else f"declares {n_bytes} bytes and holds {stored}"
    filters = [made.get_filter(k)[0] for k in range(made.get_nfilters())]
    if len(set(filters)) < len(filters) or not _FILTERS.issuperset(filters):
        return "is packed in a way that is not read"
    chunks = made.get_chunk()
    chunk_bytes = math.prod(chunks) * held.itemsize
    if chunk_bytes > LARGEST_CHUNK_BYTES:
        return f"has pieces of {chunk_bytes} bytes, more than is read"
    expected = math.prod(-(-n // m) for n, m in zip(size, chunks, strict=True))
    if (n_chunks := found.get_num_chunks()) != expected:
        return f"has {n_chunks} of its {expected} pieces"
    limit = chunk_bytes + chunk_bytes // 100 + 1024
    if any(found.get_chunk_info(k).size > limit for k in range(n_chunks)):
        return "has pieces that are larger than what they hold"
    return ""


# --- writing -------------------------------------------------------------------------------------


class _Disk:
    """The file below HDF5, whose writes never fail: HDF5 ends the process where one does.

    What the disk does not take is kept in memory, and `failure` tells why.
    """

    def __init__(self, path: Path, mode: str) -> None:
        self._file = path.open("w+b" if mode == "w" else "r+b", buffering=0)
        self._at = 0
        self._kept: list[tuple[int, bytes]] = []
        self.failure: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            ends = [start + len(data) for start, data in self._kept]
            offset += max([self._file.seek(0, os.SEEK_END), *ends])
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def read(self, n_bytes: int = -1) -> bytes:
        """Not called, but h5py knows a file by it."""
        raise NotImplementedError

    def readinto(self, buffer: memoryview) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._at)
        got = 0
        while got < len(view) and (n := self._file.readinto(view[got:])):
            got += n
        view[got:] = bytes(len(view) - got)
        for start, data in self._kept:
            first, last = max(start, self._at), min(start + len(data), self._at + len(view))
            if first < last:
                view[first - self._at : last - self._at] = data[first - start : last - start]
        return len(view)

    def write(self, buffer: memoryview) -> int:
        view, done = memoryview(buffer).cast("B"), 0
        if self.failure is None:
            try:
                self._file.seek(self._at)
                while done < len(view):
                    done += self._file.write(view[done:])
            except OSError as error:
                self.failure = error
        if done < len(view):
            self._kept.append((self._at + done, bytes(view[done:])))
        return len(view)

    def truncate(self, size: int) -> None:
        if self.failure is None:
            try:
                self._file.truncate(size)
            except OSError as error:
                self.failure = error

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def writing(path: Path, mode: str = "w") -> Iterator[h5py.File]:
    """An HDF5 file to write, or to change with the mode `r+`.

    Raises:
        OSError: the disk did not take it.
    """
    disk = _Disk(path, mode)
    try:
        with h5py.File(disk, mode) as file:
            yield file
    finally:
        disk.close()
        if disk.failure is not None:
            raise disk.failure
