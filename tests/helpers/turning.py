"""Whether features turn with the molecule like the harmonics of their degree."""

from __future__ import annotations

import numpy as np

from pesbench.core.interface import NodeFeatures


def blocks(found: NodeFeatures, n_systems: int) -> list[tuple[int, np.ndarray]]:
    """Of each block its degree, and features of shape (systems, atoms, channels, 2l + 1)."""
    assert found.irreps is not None
    parts, start = [], 0
    for channels, degree in found.irreps:
        end = start + channels * (2 * degree + 1)
        shape = (n_systems, -1, channels, 2 * degree + 1)
        parts.append((degree, found.values[:, start:end].reshape(shape)))
        start = end
    return parts


def turned_degrees(
    described: dict[str, NodeFeatures], rotations: np.ndarray, rounding: float
) -> set[int]:
    """The degrees for which all of D_l is told, where every block turns as it should.

    One orthogonal D_l of a rotation by θ turns all channels of a block, and its trace is
    sin((2l + 1)θ/2)/sin(θ/2).

    Args:
        described: Features of one molecule in several rotations.
        rotations: Shape (S, 3, 3).
        rounding: Of the features, relative to the largest.
    """
    turned = set()
    traces = np.trace(rotations[1:] @ rotations[0].T, axis1=1, axis2=2)
    for name, found in described.items():
        for degree, block in blocks(found, len(rotations)):
            first = block[0].reshape(-1, 2 * degree + 1)
            for rotated, trace in zip(block[1:], traces, strict=True):
                angle = np.arccos((trace - 1) / 2)
                other = rotated.reshape(-1, 2 * degree + 1)
                matrix, _, rank, sizes = np.linalg.lstsq(first, other, rcond=1e-6)
                error = np.abs(first @ matrix - other).max() / np.abs(first).max()
                assert error < rounding, (name, degree, error)
                if rank < 2 * degree + 1:
                    continue  # too few atoms and channels to tell all of D_l
                allowed = rounding * sizes[0] / sizes[-1]
                assert np.abs(matrix @ matrix.T - np.eye(len(matrix))).max() < allowed
                expected = np.sin((2 * degree + 1) * angle / 2) / np.sin(angle / 2)
                assert abs(np.trace(matrix) - expected) < allowed, (name, degree)
                turned.add(degree)
    return turned
