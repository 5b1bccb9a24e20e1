"""A Gaussian process on energies and forces, to compare the interpolation of states with.

A constant mean and a squared exponential of the inverse distances 1/r_ij of all pairs of atoms:
invariant under rotation and translation, and smooth. Length scale and noise are those of largest
marginal likelihood on a grid, the variance that of the closed form.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

LENGTHS = tuple(np.geomspace(0.03, 30, 25))  # 1/Å
NOISES = (1e-10, 1e-8, 1e-6, 1e-4)  # variance, relative to the kernel's


def inverse_distances(
    positions: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """1/r of all P pairs in 1/Å, shape (P,), and its derivative by the positions, (P, 3N)."""
    i, j = np.triu_indices(len(positions), 1)
    apart = positions[i] - positions[j]
    inverse = 1 / np.linalg.norm(apart, axis=1)
    slope = -(inverse**3)[:, None] * apart
    by_atom = np.zeros((len(i), *positions.shape))
    rows = np.arange(len(i))
    by_atom[rows, i], by_atom[rows, j] = slope, -slope
    return inverse, by_atom.reshape(len(i), -1)


class GaussianProcess:
    """A fit of one molecule.

    Args:
        positions: Training geometries in Å, shape (T, N, 3).
        energies: eV, shape (T,).
        forces: eV/Å, shape (T, N, 3).
    """

    def __init__(
        self,
        positions: NDArray[np.float64],
        energies: NDArray[np.float64],
        forces: NDArray[np.float64],
    ) -> None:
        self._mean = float(energies.mean())
        self._features, self._slopes = map(
            np.array, zip(*map(inverse_distances, positions), strict=True)
        )
        data = np.concatenate([energies - self._mean, -forces.ravel()])
        best = -np.inf
        for length, noise in itertools.product(LENGTHS, NOISES):
            covariance = self._covariance(length)
            covariance[np.diag_indices(len(data))] += noise * (1 + 1 / length**2)
            try:
                factor = np.linalg.cholesky(covariance)
            except np.linalg.LinAlgError:
                continue
            weights = np.linalg.solve(covariance, data)
            half_determinant = np.log(np.diag(factor)).sum()
            likelihood = -len(data) / 2 * np.log(data @ weights / len(data)) - half_determinant
            if likelihood > best:
                best, self.length, self.noise, self._weights = likelihood, length, noise, weights

    def evaluate(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Energy in eV and forces in eV/Å, shape (N, 3), at positions in Å, shape (N, 3)."""
        feature, slope = inverse_distances(positions)
        count = len(self._features)
        by_energy, by_gradient = self._weights[:count], self._weights[count:].reshape(count, -1)
        apart = (feature - self._features) / self.length**2
        value = np.exp(-0.5 * self.length**2 * (apart**2).sum(axis=1))
        # of a gradient: by the feature of the training geometry, then by its positions
        moved = np.einsum("tps,ts->tp", self._slopes, by_gradient)
        along = np.einsum("tp,tp->t", apart, moved)
        energy = self._mean + value @ (by_energy + along)
        by_feature = -apart.T @ (value * (by_energy + along)) + moved.T @ value / self.length**2
        return float(energy), -(by_feature @ slope).reshape(-1, 3)

    def _covariance(self, length: float) -> NDArray[np.float64]:
        """Of all energies, then all components of gradients, at a variance of 1."""
        count, size = len(self._features), self._slopes.shape[2]
        apart = (self._features[:, None] - self._features[None]) / length**2
        value = np.exp(-0.5 * length**2 * (apart**2).sum(axis=2))
        first = np.einsum("tu,tup,ups->tus", value, apart, self._slopes)
        inner = np.einsum("tpa,upb->tuab", self._slopes, self._slopes) / length**2
        left = np.einsum("tup,tpa->tua", apart, self._slopes)
        right = np.einsum("tup,upb->tub", apart, self._slopes)
        second = value[:, :, None, None] * (inner - left[:, :, :, None] * right[:, :, None, :])
        both = np.zeros((count * (1 + size),) * 2)
        both[:count, :count] = value
        both[:count, count:] = first.reshape(count, -1)
        both[count:, :count] = both[:count, count:].T
        both[count:, count:] = second.transpose(0, 2, 1, 3).reshape(count * size, -1)
        return both
