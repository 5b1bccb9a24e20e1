"""Files of the alarms: descriptors and forces of one model on stored frames.

A file holds a group a molecule, with a group for each scan or trajectory of it:

    <system>/scans/<scan>               descriptors (F, N, D)
    <system>/own/<trajectory>           descriptors (T, N, D) and forces (T, N, 3), eV/Å
    <system>/of/<model>/<trajectory>    forces on the frames of another model's trajectory
    -reference_frames                   descriptors (n, D) and numbers (n,) of the atoms of the
                                        frames that the model was trained on, where given

Numbers are float32. A frame without an answer holds NaN; a scan or trajectory that was not answered
at all lacks the array and says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.files.stored import COMPRESSION, MoleculeReader, writing_stored

ALARMS_FORMAT = "pesbench-alarms"
SCANS, OWN, OF = "scans", "own", "of"  # groups of a molecule
REFERENCE = "-reference_frames"  # group beside the molecules, none of which begins so
OUTCOME = "outcome"  # status of a scan or trajectory; `status` marks molecules


@dataclass(frozen=True)
class Looked:
    """What a model says of the frames of a scan or trajectory.

    Attributes:
        status: `ok`, or how it failed.
        message: What went wrong, or "".
        descriptors: Shape (F, N, D), float32; None where there are none.
        forces: eV/Å, shape (F, N, 3), float32; None where there are none.
    """

    status: Status
    message: str = ""
    descriptors: NDArray[np.float32] | None = None
    forces: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class MoleculeAnswers:
    """All that a model says about one molecule.

    Attributes:
        system: Id of the molecule.
        numbers: Atomic numbers, shape (N,).
        status: `ok`, or why the model was not asked.
        message: The reason, or "".
        looked: By the path of the group below that of the molecule.
    """

    system: str
    numbers: NDArray[np.int64]
    status: Status
    message: str
    looked: Mapping[str, Looked] = field(default_factory=dict)


def write_answers(
    path: Path,
    molecules: Iterable[MoleculeAnswers],
    *,
    attributes: Mapping[str, Any],
    reference: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
) -> None:
    """Write the answers of a model; mappings among the attributes as JSON.

    Args:
        path: File to write.
        molecules: All molecules.
        attributes: Of the file.
        reference: Descriptors (n, D) and atomic numbers (n,) of `reference_frames`.
    """
    with writing_stored(path, ALARMS_FORMAT, attributes) as file:
        if reference is not None:
            held = file.create_group(REFERENCE)
            held.attrs["status"] = Status.OK.value  # as all groups beside it
            held.create_dataset("descriptors", data=reference[0], **COMPRESSION)
            held.create_dataset("numbers", data=reference[1])
        for one in molecules:
            group = file.create_group(one.system)
            group.create_dataset("numbers", data=one.numbers)
            group.attrs["status"], group.attrs["message"] = one.status.value, one.message
            for place, looked in one.looked.items():
                held = group.create_group(place)
                held.attrs[OUTCOME], held.attrs["message"] = looked.status.value, looked.message
                for name in ("descriptors", "forces"):
                    if (values := getattr(looked, name)) is not None:
                        held.create_dataset(name, data=values, **COMPRESSION)


class Answers(MoleculeReader):
    """The answers of a model, opened for reading.

    Attributes:
        not_described: Why the model has no descriptors, or "".
    """

    def __init__(self, path: Path) -> None:
        """Open a file of alarms; errors as `MoleculeReader`."""
        super().__init__(path, ALARMS_FORMAT, "file of alarms")
        with self._file.closed_on_error():
            self.not_described = str(self.attributes["not_described"])

    def _find(self, marker: str | None) -> dict[str, h5py.Group]:
        found = super()._find(marker)
        self._reference = found.pop(REFERENCE, None)
        return found

    def outcome(self, system: str) -> tuple[Status, str]:
        """Whether the model was asked about a molecule, or why not.

        Raises:
            UserError: the file has no such molecule, or one that is not what it should be.
        """
        group = self._group(system)
        return self.status(group), self._file.attribute(group, "message", str)

    def reference(self) -> tuple[NDArray[np.float32], NDArray[np.int64]] | None:
        """Descriptors (n, D) and atomic numbers (n,) of `reference_frames`; None without any.

        Raises:
            UserError: they are not what they should be.
        """
        group = self._reference
        if group is None:
            return None
        numbers = self.numbers(group)
        shape = (len(numbers), None)
        return self._file.array(group, "descriptors", np.float32, shape), numbers

    def n_atoms(self, system: str) -> int:
        """Number of atoms of a molecule; errors as `outcome`."""
        return len(self.numbers(self._group(system)))

    def looked(self, system: str, place: str, n_atoms: int) -> Looked | None:
        """What the model says of a scan or trajectory of a molecule; None if it was not asked.

        Args:
            system: Id of the molecule.
            place: Path of the group below that of the molecule, such as `scans/C-C/ethane_0-1`.
            n_atoms: Atoms that the arrays must have.

        Raises:
            UserError: the file has no such molecule, or the group is not what it should be.
        """
        group, file = self._group(system), self._file
        for part in place.split("/"):
            if part not in file.names(group):
                return None
            group = file.group(group, part)
        said = file.attribute(group, OUTCOME, str)
        if said not in {status.value for status in Status}:
            raise file.wrong(f"{group.name}@{OUTCOME}", f"is {said!r}, which is no status")
        arrays = {}
        for name, columns in (("descriptors", None), ("forces", 3)):
            if name in file.names(group):
                shape = (None, n_atoms, columns)
                arrays[name] = file.array(group, name, np.float32, shape, values="any")
        return Looked(Status(said), file.attribute(group, "message", str), **arrays)
