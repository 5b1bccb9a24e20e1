"""Kinds of failures, and the two atoms at which one happened."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray


class Kind(StrEnum):
    """What happened, in scans and in trajectories; the value is what readers see."""

    SPURIOUS = "spurious minimum"
    BARRIER = "false barrier"
    MISSING = "missing minimum"
    DENT = "dent"
    WALL = "wall gives way"
    SOFT_WALL = "soft wall"
    STEP = "step"
    SPIKE = "spike"
    NOISE = "noise"
    RIPPLE = "ripple"
    UNCLASSIFIED = "unclassified"
    SHIFTED = "shifted minimum"
    FROZEN = "frozen"
    HYDROGEN = "hydrogen lost"
    LONG_BOND = "long bond"
    HEATED = "energy not conserved"
    FELL = "falls into a hole"
    OTHER_MOLECULE = "other molecule"
    NO_ANSWER = "no answer"


@dataclass(frozen=True)
class Place:
    """The two atoms at which something happened.

    Attributes:
        first: Index of an atom; -1 where no pair is told.
        second: Index of the other.
        elements: Their symbols in alphabetical order, such as `C-H`; "" where no pair is told.
        distance: Å.
        reduced: The distance in sums of the covalent radii of the two (ASE's).
        told_by: `forces`, `bond` (the one that is scanned) or `geometry`.
    """

    first: int = -1
    second: int = -1
    elements: str = ""
    distance: float = float("nan")
    reduced: float = float("nan")
    told_by: str = ""


def place_of(
    numbers: NDArray[np.int64],
    positions: NDArray[np.float64],
    pair: tuple[int, int],
    told_by: str,
) -> Place:
    """The place of a pair of atoms.

    Args:
        numbers: Atomic numbers, shape (N,).
        positions: Å, shape (N, 3).
        pair: Indices of two atoms.
        told_by: See `Place`.
    """
    first, second = pair
    distance = float(np.linalg.norm(positions[first] - positions[second]))
    summed = float(covalent_radii[numbers[first]] + covalent_radii[numbers[second]])
    symbols = sorted(chemical_symbols[numbers[atom]] for atom in pair)
    return Place(first, second, "-".join(symbols), distance, distance / summed, told_by)


MEANING = {  # of each kind, for readers
    Kind.SPURIOUS: "the energy has a minimum that the reference has not",
    Kind.BARRIER: "the energy has a barrier that the reference has not",
    Kind.MISSING: "the reference has a minimum that the model has not",
    Kind.DENT: "the error is a narrow well or hump that makes no extremum",
    Kind.WALL: "two atoms that come closer meet no resistance; in a trajectory, they come closer "
    "than half the sum of their covalent radii",
    Kind.SOFT_WALL: "a steep slope on the compressed side where the force lacks a quarter or more",
    Kind.STEP: "the force, or the energy without a force, jumps between two frames and stays",
    Kind.SPIKE: "the forces of one frame are off, those beside it are not",
    Kind.NOISE: "the error of the force changes from frame to frame without a period",
    Kind.RIPPLE: "the error of the force has a period of a few frames",
    Kind.UNCLASSIFIED: "a steep slope, or the end of a trajectory, that no rule explains",
    Kind.SHIFTED: "a steep slope within 0.25 Å of the minimum and a smooth error: most often a "
    "bond length that is off, by 0.01 Å or more",
    Kind.FROZEN: "the forces do not change along the scan; in a trajectory, the atoms come to rest",
    Kind.HYDROGEN: "a bond to a hydrogen becomes longer than twice the sum of covalent radii",
    Kind.LONG_BOND: "another bond becomes as long",
    Kind.HEATED: "the total energy rises by a quarter or more of the kinetic energy that is to be "
    "explained",
    Kind.FELL: "the potential energy falls below that of the relaxed start by as much",
    Kind.OTHER_MOLECULE: "the trajectory survives, and its bond graph is another at the end",
    Kind.NO_ANSWER: "the model raised an error, crashed, gave no finite number, or took too long",
}
