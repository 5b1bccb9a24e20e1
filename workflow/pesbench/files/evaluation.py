"""Evaluations: HDF5 files with a model's energies and forces on the frames of scans."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.stored import COMPRESSION, Reader, open_stored, writing_stored

EVALUATION_FORMAT = "pesbench-evaluation"


@dataclass(frozen=True)
class ScanEvaluation:
    """A model's energies and forces on the frames of one scan.

    Attributes:
        scan_id: Id of the scan.
        energy: eV, shape (F,); NaN where there is none.
        forces: eV/Å, shape (F, N, 3); NaN where there are none.
        frame_status: `Status` of every frame as its code, shape (F,), int8.
        status: The first frame's status that is not ok, or ok.
        message: What went wrong, with the frame.
        wall_s: Seconds spent in the model.
        worker_deaths: How often the model's process was lost on this scan, or on those that shared
            batches with it and come after it.
    """

    scan_id: str
    energy: NDArray[np.float64]
    forces: NDArray[np.float64]
    frame_status: NDArray[np.int8]
    status: Status
    message: str
    wall_s: float
    worker_deaths: int = 0


def write_evaluation(
    path: Path, scans: Iterable[ScanEvaluation], *, attributes: Mapping[str, Any]
) -> None:
    """Write the evaluation of one shard; mappings among the attributes are stored as JSON."""
    with writing_stored(path, EVALUATION_FORMAT, attributes) as file:
        file.attrs["status_codes"] = json.dumps({s.value: s.code for s in Status})
        for scan in scans:
            group = file.create_group(scan.scan_id)
            group.create_dataset("energy", data=scan.energy)
            group.create_dataset("forces", data=scan.forces, **COMPRESSION)
            group.create_dataset("frame_status", data=scan.frame_status)
            group.attrs["status"] = scan.status.value
            group.attrs["message"] = scan.message
            group.attrs["wall_s"] = scan.wall_s
            group.attrs["worker_deaths"] = scan.worker_deaths


class Evaluation(Reader):
    """The evaluation of one shard, opened for reading.

    Attributes:
        ids: Names of its scans, sorted.
        model: Name of the model entry.
        scan_set_sha256: sha256 of the scan set that it was made on.
    """

    def __init__(self, path: Path) -> None:
        """Open a file of the evaluation contract.

        Raises:
            UserError: there is none, it is damaged, or it is not an evaluation.
        """
        cure = "make it with the rule `run`"
        super().__init__(open_stored(path, EVALUATION_FORMAT, "evaluation", cure))
        self.ids = tuple(self._groups)
        with self._file.closed_on_error():
            self.model = str(self.attributes["model"])
            self.scan_set_sha256 = str(self.attributes["scan_set_sha256"])

    def _group(self, scan_id: str) -> h5py.Group:
        if scan_id not in self._groups:
            raise UserError(f"{self.path}: no scan {scan_id!r} in this file; see its ids")
        return self._groups[scan_id]

    def scan(self, scan_id: str, shape: tuple[int, int] | None = None) -> ScanEvaluation:
        """One scan's energies and forces.

        Args:
            scan_id: Id of the scan.
            shape: Numbers of frames and atoms it must have, those of `ScanSet.shape`.

        Raises:
            UserError: the file has no such scan, or one that is not what it should be.
        """
        group, file = self._group(scan_id), self._file
        frames, atoms = shape or (None, None)
        frame_status = file.array(group, "frame_status", np.int8, (frames,))
        if frame_status.size and not 0 <= frame_status.min() <= frame_status.max() < len(Status):
            raise file.wrong(f"{group.name}/frame_status", "holds a number that is no status")
        n_frames = len(frame_status)
        forces = file.array(group, "forces", np.float64, (n_frames, atoms, 3), values="any")
        energy = file.array(group, "energy", np.float64, (n_frames,), values="any")
        ok = frame_status == Status.OK.code
        if not np.isfinite(forces[ok]).all() or np.isinf(energy[ok]).any():
            raise file.wrong(group.name, "has a frame that is `ok` and holds what is no number")
        return ScanEvaluation(
            scan_id=scan_id,
            energy=energy,
            forces=forces,
            frame_status=frame_status,
            status=self.status(group),
            message=file.attribute(group, "message", str),
            wall_s=file.attribute(group, "wall_s", float),
            worker_deaths=(
                file.attribute(group, "worker_deaths", int)
                if h5py.h5a.exists(group.id, b"worker_deaths")  # not in files of older versions
                else 0
            ),
        )

    def spent(self, scan_id: str) -> tuple[int, int, float]:
        """Frames, atoms and seconds in the model of one scan, without reading its arrays.

        All of them 0 where the model did not answer every frame.
        """
        group = self._group(scan_id)
        if self.status(group) is not Status.OK:
            return 0, 0, 0.0
        n_frames, n_atoms, _ = self._file.shape(group, "forces", 3)
        return n_frames, n_atoms, self._file.attribute(group, "wall_s", float)
