"""Frames of an approach: two atoms of a geometry come closer, all others stay. Pure functions.

Distances are in the order of the approach, from the largest to the smallest.
"""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers, covalent_radii, vdw_alvarez
from numpy.typing import NDArray

Array = NDArray[np.float64]
Pair = tuple[int, int]
Shares = tuple[float, float]

FINAL_ANGSTROM = 0.1
N_FIGURE, N_NUMBERS, N_INNER = 20, 64, 30
INNER_ANGSTROM = (0.30, 0.03)
FARTHEST_ANGSTROM = 4.0  # where a diatomic begins
STRETCH_TO_HYDROGEN = 2.0  # times the bond length
DIATOMIC_ELEMENTS = tuple(
    atomic_numbers[one] for one in ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br")
)
ARENA_STEP_ANGSTROM = 0.01
ARENA_RANGE = (0.9, 3.1)  # times the covalent and the van der Waals radius
ARENA_UNKNOWN_ANGSTROM = 6.0


# --- distances -----------------------------------------------------------------------------------


def figure_distances(start: float) -> Array:
    """The published grid: 20 distances at equal steps from `start` to 0.1 Å."""
    return np.linspace(start, FINAL_ANGSTROM, N_FIGURE)


def number_distances(start: float) -> Array:
    """The grid of the numbers: 64 distances at equal ratios from `start` to 0.1 Å."""
    return np.geomspace(start, FINAL_ANGSTROM, N_NUMBERS)


def inner_distances() -> Array:
    """The grid of "Attracting Trouble": 30 distances at equal steps from 0.30 to 0.03 Å."""
    return np.linspace(*INNER_ANGSTROM, N_INNER)


def arena_distances(number: int) -> Array:
    """The grid of MLIP Arena for two atoms of one element, from 3.1 r_vdW to 0.9 r_cov.

    Radii are those of Alvarez and of ASE; 6 Å where there is no van der Waals radius.
    """
    low = ARENA_RANGE[0] * covalent_radii[number]
    high = ARENA_RANGE[1] * vdw_alvarez.vdw_radii[number]
    high = high if np.isfinite(high) else ARENA_UNKNOWN_ANGSTROM
    return np.arange(low, high, ARENA_STEP_ANGSTROM)[::-1]


def start_distance(numbers: NDArray[np.int64], pair: Pair, distance: float) -> float:
    """Where the approach of a bonded pair begins: twice the length of a bond to hydrogen."""
    return distance * (STRETCH_TO_HYDROGEN if hydrogen_alone(numbers, pair) else 1.0)


# --- pairs ---------------------------------------------------------------------------------------


def hydrogen_alone(numbers: NDArray[np.int64], pair: Pair) -> bool:
    """Whether one of the two atoms, and not the other, is a hydrogen."""
    return (int(numbers[pair[0]]) == 1) != (int(numbers[pair[1]]) == 1)


def shares(numbers: NDArray[np.int64], pair: Pair) -> Shares:
    """Share of each atom in the motion: a hydrogen moves alone, two others half of the way each."""
    if not hydrogen_alone(numbers, pair):
        return 0.5, 0.5
    return (1.0, 0.0) if int(numbers[pair[0]]) == 1 else (0.0, 1.0)


def closest_contacts(positions: Array, bonds: NDArray[np.int64], count: int) -> list[Pair]:
    """The closest pairs of atoms without a bond between them, the closest first.

    Pairs at one distance, to 1e-6 Å, are in the order of their indices.

    Args:
        positions: Å, shape (N, 3).
        bonds: Bond graph, shape (B, 2).
        count: How many; all of them if there are fewer.
    """
    bonded = {tuple(sorted(bond)) for bond in bonds.tolist()}
    first, second = np.triu_indices(len(positions), 1)
    distances = np.linalg.norm(positions[first] - positions[second], axis=1)
    pairs = zip(np.round(distances, 6).tolist(), first.tolist(), second.tolist(), strict=True)
    return [(i, j) for _, i, j in sorted(pairs) if (i, j) not in bonded][:count]


def nearest_neighbour(positions: Array, atom: int) -> int:
    """The atom that is closest to another one; the first of several."""
    distance = np.linalg.norm(positions - positions[atom], axis=1)
    distance[atom] = np.inf
    return int(np.argmin(np.round(distance, 6)))


def element_pairs() -> list[Pair]:
    """All pairs of `DIATOMIC_ELEMENTS`, those of one element among them, as atomic numbers."""
    every = sorted(DIATOMIC_ELEMENTS)
    return [(z, other) for k, z in enumerate(every) for other in every[k:]]


def lowest_spin(numbers: Pair, charge: int = 0) -> int:
    """The lowest multiplicity that a number of electrons allows: 1 if it is even, else 2."""
    return 1 + (sum(numbers) - charge) % 2


# --- positions -----------------------------------------------------------------------------------


def approach_frames(positions: Array, pair: Pair, distances: Array, moving: Shares) -> Array:
    """Positions of every frame of an approach along the line through two atoms.

    Args:
        positions: Geometry in Å, shape (N, 3).
        pair: The atoms (i, j).
        distances: Their distances in Å, shape (F,).
        moving: Share of each of the two in the change of the distance; together 1.

    Returns:
        Å, shape (F, N, 3).
    """
    i, j = pair
    vector = positions[j] - positions[i]
    length = float(np.linalg.norm(vector))
    change = (np.asarray(distances) - length)[:, None] * (vector / length)
    frames = np.repeat(positions[None], len(distances), axis=0)
    frames[:, i] -= moving[0] * change
    frames[:, j] += moving[1] * change
    return frames
