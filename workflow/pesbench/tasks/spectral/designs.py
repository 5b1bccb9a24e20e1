"""The designs: which frames are shown to a network, and what is injected into them.

A  the whole molecule is rotated; targets Y_ℓm(n) of the marked bond's direction n
B  only the marked neighbour moves about its atom; the same targets
C  frames of dynamics as they are; target E + A·P_ℓ(cos θ) between two marked bonds

They are never mixed: what a head reads of one says nothing of another. Under A nothing above dL
can be read of any equivariant network, whatever it has learnt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.core.systems import System
from pesbench.tasks.spectral.harmonics import random_directions, random_rotations

Array = NDArray[np.float64]
Index = NDArray[np.int64]

ROTATED, MOVED, INVARIANT = "A", "B", "C"
COPIES = "B rotated"  # the held-out frames of B, each rotated as a whole
AMPLITUDE = 0.1  # of the injection of C, in standard deviations of the energy
CLOSEST_ANGSTROM = 0.8  # to another atom than its own: nearer, no network has been trained
BLOCK = 20  # consecutive frames of dynamics that are resampled together


@dataclass(frozen=True)
class MarkedBond:
    """The bond whose direction is injected.

    Attributes:
        centre: Index of the atom whose features are read.
        neighbour: Index of its terminal neighbour, which design B moves.
        other: Index of another neighbour of the centre; design C takes the angle between both.
        clearance_angstrom: Smallest distance of the neighbour from any other atom on its sphere.
    """

    centre: int
    neighbour: int
    other: int
    clearance_angstrom: float


def marked_bond(system: System) -> MarkedBond | None:
    """The terminal bond whose atom can go round its neighbour at the largest distance from others.

    The smallest distance from atom k on a sphere of radius r about c is |r_ck − r|.

    Returns:
        None where no terminal atom hangs on an atom with another neighbour.
    """
    neighbours: dict[int, list[int]] = {}
    for i, j in system.bonds.tolist():
        neighbours.setdefault(i, []).append(j)
        neighbours.setdefault(j, []).append(i)
    found = []
    for terminal, some in sorted(neighbours.items()):
        if len(some) != 1 or len(neighbours[some[0]]) < 2:
            continue
        centre = some[0]
        distances = np.linalg.norm(system.positions - system.positions[centre], axis=1)
        rest = [k for k in range(len(system.numbers)) if k not in (centre, terminal)]
        clearance = float(np.abs(distances[rest] - distances[terminal]).min())
        other = min(k for k in neighbours[centre] if k != terminal)
        found.append(MarkedBond(centre, terminal, other, clearance))
    return max(found, key=lambda one: round(one.clearance_angstrom, 6), default=None)


@dataclass(frozen=True)
class Conformers:
    """Frames of one molecule, those of each part from trajectories of their own.

    Attributes:
        trained: Positions in Å, shape (T, N, 3).
        held_out: Positions in Å, shape (H, N, 3).
        trained_ev: Energies in eV, shape (T,).
        held_out_ev: Energies in eV, shape (H,).
    """

    trained: Array
    held_out: Array
    trained_ev: Array
    held_out_ev: Array


@dataclass(frozen=True)
class Design:
    """Frames that are shown to a network.

    Attributes:
        name: `A`, `B`, `C` or `COPIES`.
        positions: Å, shape (S, N, 3).
        directions: Unit vectors n of the marked bond, shape (S, 3).
        groups: Conformer of each frame, or block of frames of design C; shape (S,).
        held_out: Whether the frame is one to test with, shape (S,).
        clear: Whether the marked neighbour is at least `CLOSEST_ANGSTROM` away from all other atoms
            than its own, shape (S,).
        cosines: cos θ of design C alone, shape (S,).
        energies_ev: Energies of design C alone in eV, shape (S,).
    """

    name: str
    positions: Array
    directions: Array
    groups: Index
    held_out: NDArray[np.bool_]
    clear: NDArray[np.bool_]
    cosines: Array | None = None
    energies_ev: Array | None = None

    def __len__(self) -> int:
        return len(self.positions)


def spread(positions: Array, count: int) -> Index:
    """Indices of at most `count` frames, evenly over all of them."""
    return np.unique(np.linspace(0, len(positions) - 1, min(count, len(positions))).astype(int))


def aligned(positions: Array, onto: Array, without: int) -> Array:
    """A geometry, turned and shifted onto another one (Kabsch) by all of its atoms but one.

    Args:
        positions: Å, shape (N, 3).
        onto: Å, shape (N, 3).
        without: Index of the atom that does not count.
    """
    kept = np.arange(len(positions)) != without
    centre, target = positions[kept].mean(axis=0), onto[kept].mean(axis=0)
    left, _, right = np.linalg.svd((positions[kept] - centre).T @ (onto[kept] - target))
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    return (positions - centre) @ (left @ proper @ right) + target


def bond_directions(positions: Array, bond: MarkedBond) -> Array:
    """Unit vectors from the centre to the marked neighbour, shape (S, 3)."""
    along = positions[:, bond.neighbour] - positions[:, bond.centre]
    return along / np.linalg.norm(along, axis=1, keepdims=True)


def is_clear(positions: Array, bond: MarkedBond) -> NDArray[np.bool_]:
    """Whether the marked neighbour is far enough from all atoms but its own, shape (S,)."""
    others = np.delete(positions, (bond.centre, bond.neighbour), axis=1)
    distances = np.linalg.norm(others - positions[:, bond.neighbour, None], axis=2)
    return distances.min(axis=1) >= CLOSEST_ANGSTROM


def rotated(
    conformers: Conformers, bond: MarkedBond, directions: int, rng: np.random.Generator
) -> Design:
    """Design A: each conformer in `directions` uniform rotations about its marked atom."""
    return _turned(ROTATED, conformers, bond, directions, rng)


def moved(
    conformers: Conformers, bond: MarkedBond, directions: int, rng: np.random.Generator
) -> Design:
    """Design B: the marked neighbour in `directions` uniform directions at its own bond length.

    The rest of every conformer is laid onto the first one, so that the frame of the molecule stays
    fixed.
    """
    return _turned(MOVED, conformers, bond, directions, rng)


def _turned(
    name: str, conformers: Conformers, bond: MarkedBond, count: int, rng: np.random.Generator
) -> Design:
    onto = conformers.trained[0]
    frames, groups, held_out = [], [], []
    number = 0
    for part, is_held_out in ((conformers.trained, False), (conformers.held_out, True)):
        for one in part:
            if name == MOVED:
                lying = aligned(one, onto, bond.neighbour)
                frames.append(_moved_frames(lying, bond, random_directions(count, rng)))
            else:
                centred = one - one[bond.centre]
                frames.append(centred @ random_rotations(count, rng).transpose(0, 2, 1))
            groups += [number] * count
            held_out += [is_held_out] * count
            number += 1
    positions = np.concatenate(frames)
    directions = bond_directions(positions, bond)
    return Design(
        name, positions, directions, np.array(groups), np.array(held_out), is_clear(positions, bond)
    )


def _moved_frames(positions: Array, bond: MarkedBond, directions: Array) -> Array:
    length = np.linalg.norm(positions[bond.neighbour] - positions[bond.centre])
    frames = np.repeat(positions[None], len(directions), axis=0)
    frames[:, bond.neighbour] = positions[bond.centre] + length * directions
    return frames


def rotated_copies(design: Design, bond: MarkedBond, rng: np.random.Generator) -> Design:
    """The held-out frames of design B, each rotated as a whole: a control that is never trained on.

    A head of design B may use that the rest of the molecule lies still; here it does not.
    """
    chosen = design.held_out
    positions = design.positions[chosen]
    rotations = random_rotations(len(positions), rng)
    centre = positions[:, bond.centre : bond.centre + 1]
    positions = (positions - centre) @ rotations.transpose(0, 2, 1)
    directions = bond_directions(positions, bond)
    return Design(
        COPIES,
        positions,
        directions,
        design.groups[chosen],
        design.held_out[chosen],
        design.clear[chosen],
    )


def invariant(conformers: Conformers, bond: MarkedBond) -> Design:
    """Design C: the frames as they are, with the angle between two bonds of the marked atom."""
    positions = np.concatenate([conformers.trained, conformers.held_out])
    directions = bond_directions(positions, bond)
    second = positions[:, bond.other] - positions[:, bond.centre]
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    counts = len(conformers.trained), len(conformers.held_out)
    first = -(-counts[0] // BLOCK)
    groups = np.concatenate([np.arange(counts[0]) // BLOCK, first + np.arange(counts[1]) // BLOCK])
    return Design(
        INVARIANT,
        positions,
        directions,
        groups,
        np.repeat([False, True], counts),
        is_clear(positions, bond),
        (directions * second).sum(axis=1),
        np.concatenate([conformers.trained_ev, conformers.held_out_ev]),
    )


def units(design: Design, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of consecutive frames of at most some size."""
    for start in range(0, len(design), size):
        yield start, min(start + size, len(design))
