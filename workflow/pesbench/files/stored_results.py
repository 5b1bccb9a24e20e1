"""Common content of files of results of all tasks.

Every file that `run` of a task writes is HDF5 with the attributes

    format, version      `format` begins with "pesbench-"; `version` is that of `files.stored`
    model, entry         name of the model, and what of its entry decides numbers, as JSON
    scan_set_sha256      of the scan set whose items it holds
    settings             of the task as JSON, where they decide what the file holds
    provenance           see `files.provenance`
    device, dtype, wall_s

and a group an item, which is called as the item and has an attribute `status`. A task whose files
are built or compared otherwise has a module `results.py` with a function `results(path)` that
returns an instance of a subclass.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from pesbench.core import found
from pesbench.core.closing import Closing
from pesbench.core.task import Key, Task, row_key
from pesbench.files.rounding import Rounding, largest
from pesbench.files.stored import Reader, open_stored


class Groups(Reader):
    """A file with a group an item, opened for reading.

    Attributes:
        names: Names of the items, sorted.
    """

    def __init__(self, path: Path, what: str) -> None:
        """Open a file.

        Args:
            path: Path of the file.
            what: Name of this kind of file in messages.

        Raises:
            UserError: there is none, it is damaged, or it is something else.
        """
        cure = "make it with the rule `run`"
        super().__init__(open_stored(path, None, what, cure), marker="status")
        self.names = tuple(self._groups)

    def outcome(self, name: str) -> tuple[str, dict[str, NDArray[np.float64]]]:
        """Status of an item, and its datasets of floating-point numbers.

        Raises:
            UserError: one is damaged.
        """
        group, file = self._groups[name], self._file
        arrays = {}
        for key in file.names(group):
            if group.get(key, getclass=True, getlink=True) is not h5py.HardLink:
                raise file.wrong(f"{group.name}/{key}", "is a link, which is not followed")
            held = group[key]
            if isinstance(held, h5py.Dataset) and held.dtype.kind == "f":
                shape = (None,) * held.ndim
                arrays[key] = file.array(group, key, np.float64, shape, values="any")
        return self.status(group), arrays


class StoredResults(Closing):
    """Results of one model for one task from one file, opened for reading.

    Attributes:
        path: Path of the file.
        attributes: Attributes of the file.
        opened: Reader of the file.
        rows: Name of the item of each row that the scores of the file have, by the row's key.
        items: Id of the scan or system of each row, by the row's key.
        model: Name of the entry.
        scan_set_sha256: sha256 of the scan set.
        settings: Settings of the task, as far as the file states them.
    """

    opened: Any

    def __init__(
        self,
        opened: Reader,
        rows: Mapping[Key, str],
        items: Mapping[Key, str] | None = None,
    ) -> None:
        """Read the header of an open file, which is closed on an error.

        Raises:
            UserError: an attribute is missing or something else.
        """
        self.path, self.attributes, self.opened = opened.path, opened.attributes, opened
        self.rows, self.items = rows, rows if items is None else items
        try:
            self.model = str(self.attributes["model"])
            self.scan_set_sha256 = str(self.attributes["scan_set_sha256"])
            self.settings: dict[str, Any] = json.loads(self.attributes.get("settings", "{}"))
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        self.opened.close()

    def work(self) -> dict[Key, float]:
        """Share of each row in the wall time of the file, in any unit."""
        return dict.fromkeys(self.rows, 1.0)

    def remove(self, file: h5py.File, keys: Collection[Key]) -> None:
        """Remove rows from a copy of this file that is open for writing."""
        for key in keys:
            del file[self.rows[key]]

    def alike(self, other: Self, key: Key, digits: float, rounding: Rounding) -> bool:
        """Whether a row is the same in another file within rounding.

        Args:
            other: File of the same model.
            key: Key of a row that both hold.
            digits: Largest difference, relative to the largest number of an array.
            rounding: Receives the largest differences.

        Raises:
            UserError: one of them is damaged.
        """
        status, arrays = self.opened.outcome(self.rows[key])
        other_status, others = other.opened.outcome(other.rows[key])
        return (
            status == other_status
            and arrays.keys() == others.keys()
            and all(
                rounding.within(one, others[name], digits * largest(one), "")
                for name, one in arrays.items()
            )
        )


def stored_results(task: Task, path: Path) -> StoredResults:
    """A file of results of a task, opened for reading.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
    """
    if found.has_stage(task.name, "results"):
        own: StoredResults = found.stage(task.name, "results")(path)
        return own
    opened = Groups(path, f"file of results of `{task.name}`")
    return StoredResults(opened, {row_key((name,)): name for name in opened.names})
