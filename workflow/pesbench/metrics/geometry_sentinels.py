"""Geometry sentinels: what the positions alone say. Pure functions.

Every score is larger the less usual a frame is. Radii are ASE's covalent radii.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Kind = tuple[int, int, int]  # atomic numbers, ascending, and bonds between: 1, 2, or 3 for more

FAR = 3


@dataclass(frozen=True)
class Pairs:
    """The pairs of atoms of a molecule.

    Attributes:
        first, second: Atoms of each pair, shape (P,).
        apart: Bonds between them: 1, 2, or `FAR` for three and more, shape (P,).
        kinds: Elements and `apart` of each.
    """

    first: Index
    second: Index
    apart: Index
    kinds: tuple[Kind, ...]

    @classmethod
    def of(cls, numbers: Index, bonds: Index) -> Pairs:
        """The pairs of a molecule with a bond graph of the shape (B, 2)."""
        linked = np.zeros((len(numbers), len(numbers)), dtype=bool)
        linked[bonds[:, 0], bonds[:, 1]] = linked[bonds[:, 1], bonds[:, 0]] = True
        first, second = np.triu_indices(len(numbers), k=1)
        through = (linked.astype(np.int64) @ linked.astype(np.int64)) > 0
        apart = np.where(linked, 1, np.where(through, 2, FAR))[first, second]
        elements = np.sort(np.stack([numbers[first], numbers[second]], axis=1), axis=1)
        kinds = tuple((int(a), int(b), int(n)) for (a, b), n in zip(elements, apart, strict=True))
        return cls(first, second, apart, kinds)

    def distances(self, positions: Array) -> Array:
        """Å, shape (F, P), of positions of the shape (F, N, 3)."""
        return np.linalg.norm(positions[:, self.first] - positions[:, self.second], axis=-1)

    def ratios(self, positions: Array, numbers: Index) -> Array:
        """Distances over the sums of the covalent radii, shape (F, P)."""
        radii = covalent_radii[numbers]
        return self.distances(positions) / (radii[self.first] + radii[self.second])


def close_pair(ratios: Array) -> Array:
    """Minus the smallest distance of two atoms over the sum of their radii, shape (F,).

    Args:
        ratios: `Pairs.ratios`; of a single atom there is none, and the score is NaN.
    """
    return -ratios.min(axis=1, initial=np.inf) if ratios.shape[1] else _undefined(ratios)


def long_bond(ratios: Array, apart: Index) -> Array:
    """The longest bond over the sum of its radii, shape (F,); NaN of a molecule without bonds."""
    bonded = ratios[:, apart == 1]
    return bonded.max(axis=1) if bonded.shape[1] else _undefined(ratios)


def _undefined(ratios: Array) -> Array:
    return np.full(len(ratios), np.nan)


def distance_ranges(seen: Iterable[tuple[Pairs, Array]]) -> dict[Kind, tuple[float, float]]:
    """The smallest and the largest distance of each kind of pair in a reference set, in Å.

    Args:
        seen: Pairs of a molecule, and distances in the frames of the set, shape (F, P).
    """
    found: dict[Kind, tuple[float, float]] = {}
    for pairs, distances in seen:
        if not len(distances):
            continue
        low, high = distances.min(axis=0), distances.max(axis=0)
        for k, kind in enumerate(pairs.kinds):
            least, most = found.get(kind, (np.inf, -np.inf))
            found[kind] = min(least, float(low[k])), max(most, float(high[k]))
    return found


def beyond_ranges(
    pairs: Pairs, distances: Array, ranges: Mapping[Kind, tuple[float, float]]
) -> Array:
    """How far the worst pair lies outside the distances of its kind in the reference set, in Å.

    Atoms three bonds and more apart may be at any distance above the smallest. A pair inside has a
    negative value. Kinds that the set does not hold are left out.

    Args:
        pairs: Pairs of the molecule.
        distances: Å, shape (F, P).
        ranges: `distance_ranges`.

    Returns:
        Shape (F,); NaN where no kind is in the set.
    """
    known = [k for k, kind in enumerate(pairs.kinds) if kind in ranges]
    if not known:
        return np.full(len(distances), np.nan)
    low = np.array([ranges[pairs.kinds[k]][0] for k in known])
    high = np.array(
        [np.inf if pairs.kinds[k][2] == FAR else ranges[pairs.kinds[k]][1] for k in known]
    )
    here = distances[:, known]
    return np.maximum(low - here, here - high).max(axis=1)
