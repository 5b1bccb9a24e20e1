"""Frames and scans as the tensors that a training takes, in batches and rotated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from pesbench.core.errors import UserError
from pesbench.core.scans import Scan
from pesbench.training.frames import WEIGHT
from pesbench.training.sampling import ENERGY, FORCES


@dataclass(frozen=True)
class FrameTensors:
    """Labelled frames, padded: positions and forces (F, N, 3), numbers (F, N), energies (F,).

    Energies are those beyond the atoms' own, eV; `sizes` (F,) counts atoms.
    """

    positions: Tensor
    numbers: Tensor
    forces: Tensor
    energies: Tensor
    sizes: NDArray[np.int64]

    def pick(self, index: NDArray[np.int64]) -> FrameTensors:
        """Some of the frames, padded to the largest of them."""
        sizes = self.sizes[index]
        n = int(sizes.max())
        return FrameTensors(
            self.positions[index, :n],
            self.numbers[index, :n],
            self.forces[index, :n],
            self.energies[index],
            sizes,
        )


@dataclass(frozen=True)
class ScanTensors:
    """A scan to train or to look at: its frames with a reference.

    Attributes:
        id: Id of the scan.
        frames: Frames of the scan; energies are not used.
        coordinate: Å, shape (F,).
        q: Index of the reference minimum.
    """

    id: str
    frames: FrameTensors
    coordinate: Tensor
    q: int

    @property
    def fingerprint(self) -> str:
        """Hash of its geometries and reference forces."""
        digest = hashlib.sha256()
        for array in (self.coordinate, self.frames.positions, self.frames.forces):
            digest.update(array.numpy().tobytes())
        return digest.hexdigest()[:16]


def check_elements(frames: Sequence[Atoms], elements: Sequence[str]) -> None:
    """Refuse frames that the potential cannot know.

    Raises:
        UserError: a frame holds an element that is not among the potential's.
    """
    for atoms in frames:
        for symbol in atoms.symbols:
            if symbol not in elements:
                raise UserError(
                    f"a frame of {atoms.info.get('system', atoms.symbols)} holds {symbol}, which "
                    f"is not among the potential's elements {', '.join(elements)}; add it to "
                    "`elements`, or take the frame out"
                )


def atomic_energies(
    frames: Sequence[Atoms], elements: Sequence[str], core: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """Energies of the elements that sum to those of the frames as closely as can be.

    Args:
        frames: Labelled; one with a weight, as closest-approach frames have, counts by it.
        elements: Symbols; a frame with another is refused.
        core: eV of each frame that a term which is not trained gives, shape (F,), or 0 for none.

    Returns:
        eV, one an element; least squares of least norm where the frames do not tell.

    Raises:
        UserError: see `check_elements`.
    """
    check_elements(frames, elements)
    counts = np.zeros((len(frames), len(elements)))
    for row, atoms in zip(counts, frames, strict=True):
        for symbol in atoms.symbols:
            row[elements.index(symbol)] += 1
    energies = np.array([atoms.info[ENERGY] for atoms in frames]) - core
    root = np.sqrt([float(atoms.info.get(WEIGHT, 1.0)) for atoms in frames])
    return np.linalg.lstsq(counts * root[:, None], energies * root, rcond=None)[0]


def frame_tensors(
    frames: Sequence[Atoms], elements: Sequence[str], atomic: NDArray[np.float64]
) -> FrameTensors:
    """Frames as tensors in float32; energies less those of their atoms."""
    n = max(len(atoms) for atoms in frames)
    positions, forces = np.zeros((len(frames), n, 3)), np.zeros((len(frames), n, 3))
    numbers = np.zeros((len(frames), n), dtype=np.int64)
    energies = np.zeros(len(frames))
    for f, atoms in enumerate(frames):
        size = len(atoms)
        positions[f, :size] = atoms.positions - atoms.positions.mean(axis=0)
        forces[f, :size] = atoms.arrays[FORCES]
        numbers[f, :size] = atoms.numbers
        base = sum(atomic[elements.index(symbol)] for symbol in atoms.symbols)
        energies[f] = atoms.info[ENERGY] - base
    return FrameTensors(
        torch.tensor(positions, dtype=torch.float32),
        torch.tensor(numbers),
        torch.tensor(forces, dtype=torch.float32),
        torch.tensor(energies, dtype=torch.float32),
        np.array([len(atoms) for atoms in frames]),
    )


def scan_tensors(scan: Scan, q: int, used: NDArray[np.bool_]) -> ScanTensors:
    """A scan as tensors.

    Args:
        scan: Scan with its reference.
        q: Index of the reference minimum among the used frames.
        used: Mask of the frames that have a reference, shape (F,).
    """
    f = int(used.sum())
    frames = FrameTensors(
        torch.tensor(scan.positions[used], dtype=torch.float32),
        torch.tensor(np.tile(scan.numbers, (f, 1)).astype(np.int64)),
        torch.tensor(scan.forces[used], dtype=torch.float32),
        torch.zeros(f),
        np.full(f, scan.n_atoms),
    )
    return ScanTensors(scan.id, frames, torch.tensor(scan.coordinate[used], dtype=torch.float32), q)


def batches(
    sizes: NDArray[np.int64], batch_frames: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """All frames once, in batches of molecules of like size: padding costs time.

    Args:
        sizes: Atoms of each frame, shape (F,).
        batch_frames: Frames of a batch, at most.
        generator: Decides which frames share a batch, and the order of the batches.
    """
    order = np.lexsort((generator.random(len(sizes)), sizes))
    found = [order[k : k + batch_frames] for k in range(0, len(order), batch_frames)]
    generator.shuffle(found)
    return found


def rotated(frames: FrameTensors, generator: np.random.Generator) -> FrameTensors:
    """Each frame turned by a rotation of its own, its forces with it."""
    turn = rotations(len(frames.sizes), generator).to(frames.positions)
    return FrameTensors(
        frames.positions @ turn,
        frames.numbers,
        frames.forces @ turn,
        frames.energies,
        frames.sizes,
    )


def rotations(count: int, generator: np.random.Generator) -> Tensor:
    """Random rotations, uniform over all, shape (count, 3, 3), float32."""
    quaternions = generator.standard_normal((count, 4))
    return torch.tensor(Rotation.from_quat(quaternions).as_matrix(), dtype=torch.float32)
