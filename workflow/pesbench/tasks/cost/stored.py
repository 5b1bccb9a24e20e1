"""Times of one model: HDF5 files with a group per molecule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.files.stored import MoleculeReader, writing_stored

COST_FORMAT = "pesbench-cost"


@dataclass(frozen=True)
class MoleculeTimes:
    """Times of the calls of a model for one molecule.

    Attributes:
        system: Id of the molecule.
        numbers: Atomic numbers, shape (N,).
        seconds: Time of each call in the model, in order, shape (K,); empty where it failed.
        status: `ok`, or how the model failed.
        message: What went wrong, or "".
        cpu_s: CPU time of the model's process a call, all threads together, in seconds; NaN
            where the model failed, or where it is not known.
        queue_s: Time a call that the model's process waited for a processor, in seconds; NaN where
            it is not known.
        load_average: Processes that the machine ran over the last minute, at the end of the calls.
    """

    system: str
    numbers: NDArray[np.int64]
    seconds: NDArray[np.float64]
    status: Status
    message: str
    cpu_s: float
    queue_s: float
    load_average: float


def write_times(
    path: Path, molecules: Iterable[MoleculeTimes], *, attributes: Mapping[str, Any]
) -> None:
    """Write a model's times, a group a molecule; mappings among the attributes as JSON."""
    with writing_stored(path, COST_FORMAT, attributes) as file:
        for one in molecules:
            group = file.create_group(one.system)
            group.create_dataset("numbers", data=one.numbers)
            group.create_dataset("seconds", data=one.seconds)
            group.attrs["status"] = one.status.value
            group.attrs["message"] = one.message
            group.attrs["cpu_s"] = one.cpu_s
            group.attrs["queue_s"] = one.queue_s
            group.attrs["load_average"] = one.load_average


class Times(MoleculeReader):
    """A model's times, opened for reading."""

    def __init__(self, path: Path) -> None:
        """Open a file of times; errors as `MoleculeReader`."""
        super().__init__(path, COST_FORMAT, "file of times")

    def molecule(self, system: str) -> MoleculeTimes:
        """Times of one molecule.

        Raises:
            UserError: the file has no such molecule, or one that is not what it should be.
        """
        group, file = self._group(system), self._file
        status = self.status(group)
        seconds = file.array(group, "seconds", np.float64, (None,))
        if (seconds < 0).any() or (status is Status.OK and not seconds.size):
            raise file.wrong(f"{group.name}/seconds", "holds what is no time of a call")
        return MoleculeTimes(
            system=system,
            numbers=self.numbers(group),
            seconds=seconds,
            status=status,
            message=file.attribute(group, "message", str),
            cpu_s=file.attribute(group, "cpu_s", float),
            queue_s=file.attribute(group, "queue_s", float),
            load_average=file.attribute(group, "load_average", float),
        )
