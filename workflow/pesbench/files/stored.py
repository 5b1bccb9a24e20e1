"""Common part of all HDF5 formats: opening a file and reading its groups.

A file is compared with the sha256 behind it when it is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pesbench.core.closing import Closing
from pesbench.core.errors import UserError, host_failure
from pesbench.core.interface import Status
from pesbench.files.atomic import atomic_path
from pesbench.files.hdf5 import StoredFile, writing
from pesbench.files.integrity import is_intact

VERSION = 1
LAST_ELEMENT = 118
COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


@contextmanager
def writing_stored(
    path: Path, format_name: str, attributes: Mapping[str, Any]
) -> Iterator[h5py.File]:
    """A file of one of our HDF5 contracts, opened for writing; it appears when it is whole.

    Args:
        path: File to write; it is written as `.part` and renamed.
        format_name: Its attribute `format`.
        attributes: More attributes of the file; mappings and lists are stored as JSON.
    """
    with atomic_path(path) as part, writing(part) as file:
        for key, value in {"format": format_name, "version": VERSION, **attributes}.items():
            plain = isinstance(value, str | int | float | bool)
            file.attrs[key] = value if plain else json.dumps(value)
        yield file


def open_stored(
    path: Path, format_name: str | None, what: str, cure: str, *, verify: bool = True
) -> StoredFile:
    """A file of one of our HDF5 contracts, opened for reading.

    Args:
        path: Path of the file.
        format_name: Required attribute `format`; None for any format of this package.
        what: Name of this kind of file in messages.
        cure: How it is made.
        verify: Whether its content is compared with the sha256 behind it.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
        HostError: the system failed, and not the file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such {what}; {cure}")
    again = f"remove it and {cure}, as the same snakemake command does"
    try:
        if verify and not is_intact(path):
            raise UserError(f"{path}: damaged {what}, its content has another sha256; {again}")
    except OSError as error:
        raise host_failure(error, path) or UserError(f"{path}: {error}; {again}") from error
    file = StoredFile(path, what, again)
    found, version = (file.attributes.get(key) for key in ("format", "version"))
    known = found == format_name if format_name else str(found).startswith("pesbench-")
    if not known or version != VERSION:
        file.close()
        raise UserError(f"{path}: not a {what} of version {VERSION} (format {found!r}); {again}")
    return file


class Reader(Closing):
    """An open HDF5 file with groups of one kind, which are read one at a time.

    Attributes:
        path: Path of the file.
        attributes: Attributes of the file.
    """

    def __init__(self, file: StoredFile, marker: str | None = None) -> None:
        self._file, self.path, self.attributes = file, file.path, file.attributes
        with file.closed_on_error():
            self._groups = self._find(marker)

    def _find(self, marker: str | None) -> dict[str, h5py.Group]:
        return self._file.groups(self._file.root, marker)

    def close(self) -> None:
        self._file.close()

    def numbers(self, group: h5py.Group) -> NDArray[np.int64]:
        """The atomic numbers of a group, shape (N,).

        Raises:
            UserError: there is none, or what is none.
        """
        numbers = self._file.array(group, "numbers", np.int64, (None,))
        if not numbers.size or not 1 <= numbers.min() <= numbers.max() <= LAST_ELEMENT:
            raise self._file.wrong(f"{group.name}/numbers", "holds what is no atomic number")
        return numbers

    def status(self, group: h5py.Group) -> Status:
        """The status of a group.

        Raises:
            UserError: it has none that this version knows.
        """
        value = self._file.attribute(group, "status", str)
        if value not in {status.value for status in Status}:
            raise self._file.wrong(f"{group.name}@status", f"is {value!r}, which is no status")
        return Status(value)


class MoleculeReader(Reader):
    """Results of one model, opened for reading: a file with a group a molecule.

    Attributes:
        systems: Names of the molecules, sorted.
        model: Name of the model entry.
        scan_set_sha256: sha256 of the scan set that the molecules are from.
        settings: Settings of the task, as a mapping.
    """

    def __init__(self, path: Path, format_name: str, what: str) -> None:
        """Open a file of results.

        Args:
            path: Path of the file.
            format_name: Required attribute `format`.
            what: Name of this kind of file in messages.

        Raises:
            UserError: there is none, it is damaged, or it is something else.
        """
        file = open_stored(path, format_name, what, "make it with the rule `run`")
        super().__init__(file, marker="status")  # a name may hold a slash: a group of groups
        self.systems = tuple(self._groups)
        with self._file.closed_on_error():
            self.model = str(self.attributes["model"])
            self.scan_set_sha256 = str(self.attributes["scan_set_sha256"])
            self.settings: dict[str, Any] = json.loads(self.attributes["settings"])

    def _group(self, system: str) -> h5py.Group:
        """The group of a molecule.

        Raises:
            UserError: the file has no such molecule.
        """
        if system not in self._groups:
            raise UserError(f"{self.path}: no molecule {system!r} in this file; see its systems")
        return self._groups[system]
