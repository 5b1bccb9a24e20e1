"""Evaluations of scans as a piece of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.files.checkpoint import Arrays, stored_array
from pesbench.files.evaluation import ScanEvaluation

_KINDS = {"status": "U", "messages": "U", "wall_s": "f", "worker_deaths": "i"}


def to_arrays(scans: Sequence[ScanEvaluation]) -> dict[str, NDArray[Any]]:
    """What `from_arrays` reads: one array a value of a scan, and three for the frames of each."""
    arrays: dict[str, NDArray[Any]] = {
        "ids": np.array([scan.scan_id for scan in scans]),
        "status": np.array([scan.status.value for scan in scans]),
        "messages": np.array([scan.message for scan in scans]),
        "wall_s": np.array([scan.wall_s for scan in scans]),
        "worker_deaths": np.array([scan.worker_deaths for scan in scans]),
    }
    for k, scan in enumerate(scans):
        arrays[f"energy_{k}"] = scan.energy
        arrays[f"forces_{k}"] = scan.forces
        arrays[f"frame_status_{k}"] = scan.frame_status
    return arrays


def from_arrays(arrays: Arrays) -> list[ScanEvaluation]:
    """The scans of a piece.

    Raises:
        ValueError: an array is missing, or of another type or shape.
    """
    ids = stored_array(arrays, "ids", "U", (None,))
    of_scan = {name: stored_array(arrays, name, kind, ids.shape) for name, kind in _KINDS.items()}
    scans = []
    for k, scan_id in enumerate(ids):
        frame_status = stored_array(arrays, f"frame_status_{k}", "i", (None,))
        frames = frame_status.shape
        scans.append(
            ScanEvaluation(
                scan_id=str(scan_id),
                energy=stored_array(arrays, f"energy_{k}", "f", frames),
                forces=stored_array(arrays, f"forces_{k}", "f", (*frames, None, 3)),
                frame_status=frame_status,
                status=Status(str(of_scan["status"][k])),
                message=str(of_scan["messages"][k]),
                wall_s=float(of_scan["wall_s"][k]),
                worker_deaths=int(of_scan["worker_deaths"][k]),
            )
        )
    return scans
