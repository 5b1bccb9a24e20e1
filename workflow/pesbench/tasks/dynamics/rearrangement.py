"""Whether a trajectory ends as the molecule that it began as.

A run can survive and be of another molecule at its end: a hydrogen that moves to another atom
exceeds no limit of `pesbench.metrics.stability`. Units: Å, ps.
"""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

END_PS = 0.1  # over which lengths are averaged: some periods of a vibration
BROKEN = 1.5  # of the sum of covalent radii; a bond of the graph that is longer on average
FORMED = 1.3  # any other pair that is closer on average; H2 at rest, 0.74 Å, is at 1.2


def graph_changed(
    numbers: NDArray[np.int64],
    bonds: NDArray[np.int64],
    time_ps: NDArray[np.float64],
    positions: NDArray[np.float64],
) -> bool:
    """Whether the bond graph at the end is another than at the start.

    Distances are averaged over the frames of the last 0.1 ps. A bond is broken above 1.5 times the
    sum of its covalent radii; another pair is bonded below 1.3 times, unless the first frame has it
    that close already. Conformers have one graph.

    Args:
        numbers: Atomic numbers, shape (N,).
        bonds: Bond graph of the scan set, shape (B, 2).
        time_ps: Times of the frames, rising, shape (F,).
        positions: Shape (F, N, 3).

    Raises:
        ValueError: there is no frame.
    """
    if not len(positions):
        raise ValueError("a bond graph needs a frame")
    first, second = np.triu_indices(len(numbers), k=1)
    summed = covalent_radii[numbers[first]] + covalent_radii[numbers[second]]
    bonded = np.zeros((len(numbers), len(numbers)), dtype=bool)
    bonded[bonds[:, 0], bonds[:, 1]] = bonded[bonds[:, 1], bonds[:, 0]] = True
    bonded = bonded[first, second]

    def ratio(some: NDArray[np.float64]) -> NDArray[np.float64]:
        lengths = np.linalg.norm(some[:, first] - some[:, second], axis=-1)
        return np.asarray(lengths.mean(axis=0) / summed, np.float64)

    start, end = ratio(positions[:1]), ratio(positions[time_ps >= time_ps[-1] - END_PS])
    formed = ~bonded & (end < FORMED) & (start >= FORMED)
    return bool((bonded & (end > BROKEN)).any() or formed.any())
