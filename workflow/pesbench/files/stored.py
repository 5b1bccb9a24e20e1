"""Common part of all HDF5 formats: opening a file and reading its groups.

A file is compared with the sha256 behind it when it is opened.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pesbench.core.closing import Closing
from pesbench.core.errors import UserError, host_failure
from pesbench.core.interface import Status
from pesbench.files.hdf5 import StoredFile
from pesbench.files.integrity import is_intact

VERSION = 1
LAST_ELEMENT = 118
COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


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
