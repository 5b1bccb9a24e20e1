"""Answers of one model about overlapped atoms: HDF5 files with a group a case."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import FileError
from pesbench.core.interface import Status
from pesbench.files.checkpoint import Arrays, stored_array
from pesbench.files.stored import COMPRESSION, Reader, open_stored, writing_stored

CORES_FORMAT = "pesbench-cores"
_KINDS: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "energy": ("f", (None,)),
    "frame_status": ("i", (None,)),
    "positions": ("f", (None, 3)),
}


@dataclass(frozen=True)
class Answer:
    """What a model says about a case.

    Attributes:
        case: Its name.
        energy: eV of each frame of a wall, shape (F,), NaN where there is none; of a relaxation
            that at its end, shape (1,).
        frame_status: `Status.code` of each, shape (F,).
        positions: Geometry at the end of a relaxation, Å, shape (N, 3); of a wall (0, 3).
        status: `ok`, or how the model failed.
        message: What went wrong, or "".
        relaxed: Whether a relaxation came below its limit.
        relax_steps: Its steps.
    """

    case: str
    energy: NDArray[np.float64]
    frame_status: NDArray[np.int8]
    positions: NDArray[np.float64]
    status: Status
    message: str
    relaxed: bool = False
    relax_steps: int = 0


def to_arrays(answers: Sequence[Answer]) -> dict[str, NDArray[Any]]:
    """Answers as a piece of a checkpoint."""
    arrays: dict[str, NDArray[Any]] = {"n_answers": np.array(len(answers))}
    for k, one in enumerate(answers):
        for name in (f.name for f in fields(one)):
            value = getattr(one, name)
            arrays[f"{name}_{k}"] = np.array(value.value if isinstance(value, Status) else value)
    return arrays


def from_arrays(arrays: Arrays) -> list[Answer]:
    """The answers of a piece.

    Raises:
        ValueError: an array is missing, or of another type or shape.
    """
    return [
        Answer(
            case=str(stored_array(arrays, f"case_{k}", "U")),
            **{
                name: stored_array(arrays, f"{name}_{k}", kind, shape)
                for name, (kind, shape) in _KINDS.items()
            },
            status=Status(str(stored_array(arrays, f"status_{k}", "U"))),
            message=str(stored_array(arrays, f"message_{k}", "U")),
            relaxed=bool(stored_array(arrays, f"relaxed_{k}", "b")),
            relax_steps=int(stored_array(arrays, f"relax_steps_{k}", "i")),
        )
        for k in range(int(stored_array(arrays, "n_answers", "i")))
    ]


def write_answers(path: Path, answers: Iterable[Answer], *, attributes: Mapping[str, Any]) -> None:
    """Write a model's answers, a group a case; mappings among the attributes as JSON."""
    with writing_stored(path, CORES_FORMAT, attributes) as file:
        for one in answers:
            group = file.create_group(one.case)
            for name in _KINDS:
                value = getattr(one, name)
                group.create_dataset(name, data=value, **(COMPRESSION if value.size else {}))
            group.attrs["status"] = one.status.value
            for name in ("message", "relaxed", "relax_steps"):
                group.attrs[name] = getattr(one, name)


class Answers(Reader):
    """A model's answers, opened for reading.

    Attributes:
        cases: Names of the cases, sorted.
        model: Name of the model entry.
        scan_set_sha256: sha256 of the scan set that the molecules are from.
        settings: `CoreSettings` as a mapping.
        systems: Molecules of the job, sorted.
    """

    def __init__(self, path: Path) -> None:
        """Open a file of answers.

        Raises:
            UserError: there is none, it is damaged, or it is something else.
        """
        cure = "make it with the rule `run`"
        file = open_stored(path, CORES_FORMAT, "file of repulsive cores", cure)
        super().__init__(file, marker="status")
        self.cases = tuple(self._groups)
        with self._file.closed_on_error():
            try:
                self.model = str(self.attributes["model"])
                self.scan_set_sha256 = str(self.attributes["scan_set_sha256"])
                self.settings: dict[str, Any] = dict(json.loads(self.attributes["settings"]))
                told = json.loads(self.attributes["systems"])
            except (KeyError, TypeError, ValueError) as error:
                raise FileError(path, "an attribute is missing or damaged", cure) from error
            if not (told and isinstance(told, list) and all(isinstance(s, str) for s in told)):
                raise FileError(path, "`@systems` names no molecules", cure)
            self.systems = sorted(told)

    def outcome(self, case: str) -> tuple[str, dict[str, NDArray[np.float64]]]:
        """Status of a case, and its numbers, which a merge compares."""
        one = self.answer(case)
        return one.status.value, {"energy": one.energy, "positions": one.positions}

    def answer(self, case: str, shape: tuple[int | None, int | None] = (None, None)) -> Answer:
        """The answer about one case.

        Args:
            case: Its name.
            shape: Numbers of frames, and of atoms of a relaxed geometry, that it must have.

        Raises:
            UserError: the file has no such case, or one that is not what it should be.
        """
        if case not in self._groups:
            raise self._file.wrong(case, "is not in this file")
        group, file = self._groups[case], self._file
        found = Answer(
            case,
            file.array(group, "energy", np.float64, (shape[0],), values="any"),
            file.array(group, "frame_status", np.int8, (shape[0],)),
            file.array(group, "positions", np.float64, (shape[1], 3)),
            self.status(group),
            file.attribute(group, "message", str),
        )
        return replace(
            found,
            relaxed=file.attribute(group, "relaxed", bool),
            relax_steps=file.attribute(group, "relax_steps", int),
        )
