"""Frames that stand for what a model knows, and the descriptors of their atoms.

Those that the model was trained on, where they are at hand; else frames of scans near the minimum
of the reference. No error of the model is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo, batch_of
from pesbench.core.scans import Scan
from pesbench.engine.describing import Describer
from pesbench.engine.evaluator import why_unsupported
from pesbench.files.scan_set import ScanSet
from pesbench.models.as_calculator import atoms_batch

WINDOW_ANGSTROM = 0.15
FRAMES = 32  # of a batch
_WRITE = "write frames of molecules as extxyz, as `pesbench sample` does"


def known_frames(scan: Scan) -> NDArray[np.bool_]:
    """Frames of a scan with a reference, shape (F,)."""
    return np.isfinite(scan.energy) & np.isfinite(scan.forces).all(axis=(1, 2))


def minimum(scan: Scan) -> int:
    """The frame of the lowest reference energy, of a scan that has a reference."""
    return int(np.argmin(np.where(known_frames(scan), scan.energy, np.inf)))


def near(scan: Scan, window: float) -> NDArray[np.bool_]:
    """Frames at most `window` Å from the minimum of the reference, shape (F,)."""
    return np.abs(scan.coordinate - scan.coordinate[minimum(scan)]) <= window


def frames_near_minima(path: Path, info: ModelInfo, window: float) -> Iterator[Batch]:
    """Frames near the minima of all scans of a set whose molecules the model knows.

    Args:
        path: The scan set.
        info: What the model tells of itself.
        window: Distance from the minimum in Å.

    Raises:
        UserError: there is no scan set.
    """
    with ScanSet(path) as scan_set:
        for scan_id in scan_set.ids:
            if scan_set.quality(scan_id)[0] == "dropped":
                continue
            scan = scan_set.scan(scan_id)
            if not known_frames(scan).any() or why_unsupported(scan, info):
                continue
            places = np.flatnonzero(near(scan, window)).tolist()
            frames = [scan.positions[k] for k in places]
            yield batch_of([scan] * len(frames), frames, [(scan_id, k) for k in places])


def frames_of_file(path: Path) -> Iterator[Batch]:
    """Frames of a file, such as those that a model was trained on.

    Args:
        path: extxyz; `charge` and `spin` of a frame are read.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file of frames; correct `reference_frames`")
    try:
        frames: list[Atoms] = ase.io.read(path, index=":", format="extxyz")
    except Exception as error:  # its readers raise whatever they meet
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{path}: is no file of frames ({why}); {_WRITE}") from error
    if not frames:
        raise UserError(f"{path}: holds no frame; {_WRITE}")
    for number, atoms in enumerate(frames):
        if not len(atoms) or atoms.pbc.any() or not np.isfinite(atoms.positions).all():
            raise UserError(f"{path}: frame {number} is no isolated molecule; take it out")
    for start in range(0, len(frames), FRAMES):
        yield atoms_batch(frames[start : start + FRAMES])


def described(
    describer: Describer, batches: Iterable[Batch]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Descriptors of the atoms of frames; frames that have none are left out.

    Returns:
        Shape (n, D) and the atomic numbers, shape (n,); both are empty where there are none.

    Raises:
        ModelLoadError: the model cannot be loaded again.
    """
    atoms: list[NDArray[np.float32]] = []
    numbers: list[NDArray[np.int64]] = []
    for batch in batches:
        values, _ = describer.atoms(batch)
        if values.shape[1]:
            broken = np.unique(batch.system[~np.isfinite(values).all(axis=1)])
            kept = ~np.isin(batch.system, broken)
            atoms.append(values[kept])
            numbers.append(batch.numbers[kept])
    if not atoms:
        return np.empty((0, 0), np.float32), np.empty(0, np.int64)
    return np.concatenate(atoms), np.concatenate(numbers)
