"""Time and memory that files of results took, for all tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.errors import UserError, reading
from pesbench.files.hdf5 import StoredFile
from pesbench.files.integrity import AGAIN, is_intact


@dataclass(frozen=True)
class Usage:
    """Time and memory that one file of results took.

    Attributes:
        wall_s: Seconds of the command, summed over the calls it took; NaN where none is stored.
        atom_frames: Atoms of all frames that the model answered; 0 where none are stored.
        peak_memory_bytes: Peak memory of the model's process; 0 if none is stored.
        device: Device that it was made on; "" if none is stored.
        times_interrupted: How often the command was continued.
    """

    wall_s: float
    atom_frames: int
    peak_memory_bytes: float
    device: str
    times_interrupted: int


def read_usage(path: Path) -> Usage:
    """Time and memory that a file of results took.

    Args:
        path: HDF5 file that a command which runs a model has written.

    Raises:
        UserError: it is damaged, or no such file.
        HostError: the system failed, and not the file.
    """
    with reading(path, "damaged", AGAIN):
        intact = is_intact(path)
    if not intact:
        raise UserError(f"{path}: damaged, its content has another sha256; {AGAIN}")
    with StoredFile(path, "file of results", AGAIN) as file:
        about = file.attributes
        return Usage(
            wall_s=float(about.get("wall_s", math.nan)),
            atom_frames=int(about.get("atom_frames", 0)),
            peak_memory_bytes=float(about.get("peak_memory_bytes", 0)),
            device=str(about.get("device", "")),
            times_interrupted=int(about.get("times_interrupted", 0)),
        )
