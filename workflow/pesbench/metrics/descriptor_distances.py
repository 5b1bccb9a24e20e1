"""Distances of atoms from a reference set in the space of a network's descriptors.

A reference set is fitted by element; elements with few atoms are pooled, each about its own mean.
Descriptors are projected on at most 64 principal axes of the set. Pure functions.

Sources: Ledoit and Wolf, J. Multivariate Anal. 88, 365 (2004) for the shrinkage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.metrics.maxvol import active_set, grades

Array = NDArray[np.float64]
Index = NDArray[np.int64]

AXES = 64
LEAST_ATOMS = 500  # of an element that is fitted on its own
POOLED = 0  # in place of an atomic number
NEIGHBOURS = 5
MOST_POINTS = 4000  # of a set, among which neighbours are looked for
OUTSIDE = 0.99  # quantile of the set's own distances, beyond which an atom is outside
_NOTHING = 1e-12  # variance of an axis, over the largest, that holds rounding alone
_CHUNK = 2048  # atoms whose distances are computed at a time


def shrinkage(centred: Array) -> float:
    """Share ρ of the identity in the covariance by Ledoit and Wolf, from 0 to 1.

    Args:
        centred: Samples about their mean, shape (n, p).
    """
    n, p = centred.shape
    covariance = centred.T @ centred / n
    mean = np.trace(covariance) / p
    spread = ((covariance - mean * np.eye(p)) ** 2).sum()
    noise = ((centred**2).sum(axis=1) ** 2).sum() / n**2 - (covariance**2).sum() / n
    return float(min(max(noise, 0.0), spread) / spread) if spread > 0 else 1.0


@dataclass(frozen=True)
class Fit:
    """A reference set of one element, or of several that are pooled.

    Attributes:
        means: Mean descriptor by atomic number, shape (D,) each; of `POOLED` for all others.
        axes: Principal axes, shape (D, k).
        widths: Standard deviation along each after shrinkage, shape (k,).
        points: Samples on the axes, at most `MOST_POINTS`, shape (m, k).
        inverse: Of the active set of MaxVol on the axes and a constant, shape (k + 1, k + 1); None
            where the set spans no volume.
        outside: Mahalanobis distance beyond which an atom is outside.
    """

    means: Mapping[int, Array]
    axes: Array
    widths: Array
    points: Array
    inverse: Array | None
    outside: float

    def project(self, descriptors: Array, numbers: Index) -> Array:
        """Atoms on the axes, shape (A, k), from descriptors of the shape (A, D)."""
        centred = descriptors - np.stack(
            [self.means.get(z, self.means[POOLED]) for z in numbers.tolist()]
        )
        return centred @ self.axes


def fit_set(descriptors: Array, numbers: Index) -> Fit:
    """Fit a reference set.

    Args:
        descriptors: Of n atoms, shape (n, D).
        numbers: Their atomic numbers, shape (n,).

    Raises:
        ValueError: fewer than two atoms, or all alike.
    """
    means = {int(z): descriptors[numbers == z].mean(axis=0) for z in np.unique(numbers)}
    means[POOLED] = descriptors.mean(axis=0)
    centred = descriptors - np.stack([means[z] for z in numbers.tolist()])
    if len(centred) < 2:
        raise ValueError("a set of fewer than two atoms has no width")
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    kept = min(AXES, int((sizes**2 > _NOTHING * sizes[0] ** 2).sum()))
    if not sizes[0] > 0:
        raise ValueError("all atoms have the same descriptor")
    axes = axes[:kept].T
    points = centred @ axes
    variances = (points**2).mean(axis=0)
    share = shrinkage(points)
    # the covariance is diagonal on its own axes, and so is what shrinkage makes of it
    widths = np.sqrt((1 - share) * variances + share * variances.mean())
    outside = float(np.quantile(np.linalg.norm(points / widths, axis=1), OUTSIDE))
    chosen = np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(np.int64))
    held = points[chosen]
    return Fit(means, axes, widths, held, _inverse(held), outside)


def _inverse(points: Array) -> Array | None:
    features = _affine(points)
    try:
        return np.linalg.inv(features[active_set(features)])
    except ValueError:
        return None


def _affine(points: Array) -> Array:
    return np.concatenate([points, np.ones((len(points), 1))], axis=1)


def _squared(one: Array, other: Array) -> Array:
    """Squared distances of all pairs of rows, by one product of matrices."""
    found = (one**2).sum(axis=1)[:, None] - 2 * one @ other.T + (other**2).sum(axis=1)
    return np.maximum(found, 0.0)


@dataclass(frozen=True)
class ReferenceSpace:
    """The fits of a reference set by element.

    Attributes:
        fits: By atomic number; under `POOLED` that of all elements with few atoms, and of those
            that the set does not hold.
    """

    fits: Mapping[int, Fit]

    def measured(self, descriptors: Array, numbers: Index) -> dict[str, Array]:
        """Distances of atoms.

        Args:
            descriptors: Shape (A, D).
            numbers: Shape (A,).

        Returns:
            `mahalanobis`, `knn`, `maxvol` and `outside` (1 where an atom is outside, else 0), each
            of the shape (A,); `maxvol` is NaN where a set spans no volume.
        """
        found = {
            name: np.full(len(numbers), np.nan)
            for name in ("mahalanobis", "knn", "maxvol", "outside")
        }
        fit_of = np.array([z if z in self.fits else POOLED for z in numbers.tolist()])
        for z in np.unique(fit_of):
            fit, mine = self.fits[int(z)], np.flatnonzero(fit_of == z)
            for some in np.array_split(mine, max(1, -(-len(mine) // _CHUNK))):
                here = fit.project(descriptors[some], numbers[some])
                distance = np.linalg.norm(here / fit.widths, axis=1)
                found["mahalanobis"][some] = distance
                outside = (distance > fit.outside).astype(np.float64)
                found["outside"][some] = np.where(np.isnan(distance), np.nan, outside)
                count = min(NEIGHBOURS, len(fit.points))
                near = np.partition(_squared(here, fit.points), count - 1, axis=1)[:, :count]
                found["knn"][some] = np.sqrt(near).mean(axis=1)
                if fit.inverse is not None:
                    found["maxvol"][some] = grades(_affine(here), fit.inverse)
        return found


def reference_space(descriptors: Array, numbers: Index) -> ReferenceSpace:
    """Fit a reference set by element, pooling elements with fewer than `LEAST_ATOMS` atoms.

    Args:
        descriptors: Shape (n, D).
        numbers: Shape (n,).

    Raises:
        ValueError: fewer than two atoms, or all alike.
    """
    elements, counts = np.unique(numbers, return_counts=True)
    many = {int(z) for z, count in zip(elements, counts, strict=True) if count >= LEAST_ATOMS}
    fits = {z: fit_set(descriptors[numbers == z], numbers[numbers == z]) for z in sorted(many)}
    few = np.array([z not in many for z in numbers.tolist()])
    # an element that the set does not hold is measured against all that it does
    pooled = few if few.sum() > 1 else np.ones(len(numbers), dtype=bool)
    fits[POOLED] = fit_set(descriptors[pooled], numbers[pooled])
    return ReferenceSpace(fits)
