"""Like atoms: what their exchange may change, and how their order is found in a geometry.

Trained states know like atoms by their place in the order of the training. They are invariant under
the exchanges that keep the bonds of the training, because a calculation counts with all of these
(`exchanges`). Another order of the atoms is found by the shortest tree of a geometry: that is the
same tree whichever order the atoms have, and where it is the tree of the training in one way, up to
these exchanges, the energy cannot depend on the order that was given.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pesbench.models.families.wavefunction.frame import in_frame, is_linear
from pesbench.models.families.wavefunction.supported import formula_of
from pesbench.models.frame_by_frame import UnsupportedError

CLEARLY = 0.95  # a bond of the tree is at most so long, by any pair that could replace it
MOST_APART = 1e-6  # Å, of a molecule and its image where they superpose
MOST_TURNING = 3  # atoms with p functions: more have mirror images that no rotation superposes

Bond = tuple[int, int]


def shortest_tree(positions: NDArray[np.float64]) -> list[Bond] | None:
    """Bonds (from, to) of the tree of least length, walked from the first atom.

    Args:
        positions: Å, shape (N, 3).

    Returns:
        N − 1 bonds; None where another tree is nearly as short: where a pair is not clearly longer
        than a bond that it could replace.
    """
    distance = _distances(positions)
    reached: list[int] = [0]
    bonds: list[Bond] = []
    longest = np.zeros_like(distance)  # bond of the way between two atoms in the tree
    left = set(range(1, len(positions)))
    while left:
        start, end = min(((i, j) for i in reached for j in left), key=lambda pair: distance[pair])
        for other in reached:
            longest[other, end] = longest[end, other] = max(
                longest[other, start], distance[start, end]
            )
            if other != start and not longest[other, end] <= CLEARLY * distance[other, end]:
                return None
        bonds.append((start, end))
        reached.append(end)
        left.remove(end)
    return bonds


def fits(
    numbers: Sequence[int], bonds: Sequence[Bond], others: Sequence[int], tree: Sequence[Bond]
) -> list[tuple[int, ...]]:
    """Orders that make a tree of bonds of one molecule from that of another, sorted.

    Args:
        numbers: Atomic numbers of the wanted molecule, N of them.
        bonds: Its N − 1 bonds, in any order.
        others: Atomic numbers of the other molecule.
        tree: Its bonds.

    Returns:
        Orders of N atoms: the atom `order[k]` of the other molecule takes the place k.
    """
    near: dict[int, set[int]] = {k: set() for k in range(len(others))}
    for i, j in tree:
        near[i].add(j)
        near[j].add(i)
    walk = walked(bonds)

    def placed(found: dict[int, int], step: int) -> Iterator[tuple[int, ...]]:
        if step == len(walk):
            yield tuple(found[k] for k in range(len(numbers)))
            return
        start, end = walk[step]
        for atom in near[found[start]] - set(found.values()):
            if others[atom] == numbers[end]:
                yield from placed({**found, end: atom}, step + 1)

    if len(numbers) != len(others) or len(walk) != len(numbers) - 1:
        return []
    return sorted(
        order
        for atom, number in enumerate(others)
        if number == numbers[0]
        for order in placed({0: atom}, 0)
    )


def walked(bonds: Sequence[Bond]) -> list[Bond]:
    """Bonds (from, to) such that every atom is reached once, starting at the first."""
    steps: list[Bond] = []
    reached = [0]
    for start in reached:
        for i, j in bonds:
            end = {i: j, j: i}.get(start)
            if end is not None and end not in reached:
                reached.append(end)
                steps.append((start, end))
    return steps


def exchanges(numbers: Sequence[int], bonds: Sequence[Bond]) -> list[tuple[int, ...]]:
    """Orders of the atoms that keep elements and bonds as they are, the given one first.

    Those of a molecule of two atoms are rotations, which the energy does not see.
    """
    return [(0, 1)] if len(numbers) == 2 else fits(numbers, bonds, numbers, bonds)


def like_orders(numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """All orders of like atoms that are no rotations of every geometry, the given one first."""
    if len(numbers) == 2:
        return [(0, 1)]
    return [
        order
        for order in itertools.permutations(range(len(numbers)))
        if all(numbers[atom] == numbers[k] for k, atom in enumerate(order))
    ]


def tree_to_match(
    numbers: Sequence[int], turns: bool, positions: NDArray[np.float64], images: int
) -> list[Bond] | None:
    """The tree by which the order of like atoms is found, of states that exchanges do not change.

    With p functions a geometry is turned to where it lies nearest to the first one. Exchanging like
    atoms turns all geometries by one rotation only if that rotation superposes the first geometry
    and its image. Up to three atoms lie in a plane, whose mirror images are rotations.

    Args:
        numbers: Atomic numbers in the order of the training, N of them.
        turns: Whether there are p functions, which a rotation mixes.
        positions: Training geometries in Å, each followed by its images, shape (T·g, N, 3).
        images: Number g.

    Returns:
        None where all orders have the same energy.

    Raises:
        UnsupportedError: the energy would change with an exchange or a mirror; the reason.
    """
    name, first = formula_of(numbers), positions[0]
    if turns and len(numbers) > MOST_TURNING:
        raise UnsupportedError(
            f"{name}: p functions with more than {MOST_TURNING} atoms, whose energy would change "
            "when like atoms are exchanged or the molecule is mirrored; s functions only, or at "
            f"most {MOST_TURNING} atoms"
        )
    if turns and len(numbers) > 2 and is_linear(first):
        raise UnsupportedError(
            f"{name}: a chain of more than two atoms with p functions has no orientation about its "
            "axis"
        )
    tree = shortest_tree(first)
    found, every = exchanges(numbers, tree or []), like_orders(numbers)
    if images == len(every):
        tree, found = None, every
    if len(found) != images or not all(
        np.abs(_distances(image) - _distances(block[0][list(order)])).max() <= MOST_APART
        for block in positions.reshape(-1, images, *first.shape)
        for order, image in zip(found, block, strict=True)
    ):
        raise UnsupportedError(
            f"{name}: its training geometries do not come with the exchanges of like atoms that "
            "keep the shortest bonds of the first one"
        )
    for image in positions[1:images] if turns else ():
        try:
            turned = in_frame(image, first)
        except ValueError as error:
            raise UnsupportedError(f"{name}: the first training geometry: {error}") from error
        apart = np.abs(turned.positions - turned.reference).max()
        if apart > MOST_APART:
            raise UnsupportedError(
                f"{name}: the first training geometry and that with like atoms exchanged do not "
                f"superpose, by {apart:.1e} Å, so that the energy would change; begin with equal "
                "bonds"
            )
    return tree


def _distances(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(positions[:, None] - positions[None], axis=2))
