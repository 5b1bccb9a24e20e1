"""A periodic box around a molecule, for models that know periodic systems only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def boxed(
    positions: NDArray[np.float64], padding_angstrom: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The cubic box of a molecule; its positions stay as they are.

    The edge is the largest extent of the molecule along x, y or z plus the padding, rounded up to
    a whole Å, so that the box seldom changes while atoms move. Atoms of different images are at
    least `padding_angstrom` apart.

    Args:
        positions: Å, shape (N, 3).
        padding_angstrom: What the box is larger than the molecule, in Å.

    Returns:
        Row vectors of the cell in Å, shape (3, 3), and the periodic directions, shape (3,).
    """
    extent = float(np.ptp(positions, axis=0).max())
    return np.eye(3) * np.ceil(extent + padding_angstrom), np.ones(3, dtype=bool)
