"""A Gaussian process on energies and forces, to compare the interpolation of states with.

A constant mean and a squared exponential of the logarithms of the distances of all pairs of atoms:
invariant under rotation and translation, and smooth. Forces enter as slopes along the directions of
these features that the atoms of a geometry can take, so that what no force can show (rotation, or
leaving the line of a linear molecule) counts nowhere. Length scale and noise are those of largest
marginal likelihood on a grid, the variance that of the closed form.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

LENGTHS = tuple(np.geomspace(0.03, 100, 36))  # of log r
NOISES = tuple(np.geomspace(1e-14, 1e-4, 11))  # variance, relative to the prior's of each datum
_MOVES = 1e-8  # of the largest singular value, below it no motion changes a distance


def log_distances(
    positions: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log r of all P pairs, r in Å, shape (P,), and its derivative by the positions, (P, 3N)."""
    i, j = np.triu_indices(len(positions), 1)
    apart = positions[i] - positions[j]
    distance = np.linalg.norm(apart, axis=1)
    slope = apart / (distance**2)[:, None]
    by_atom = np.zeros((len(i), *positions.shape))
    rows = np.arange(len(i))
    by_atom[rows, i], by_atom[rows, j] = slope, -slope
    return np.log(distance), by_atom.reshape(len(i), -1)


class GaussianProcess:
    """A fit of one molecule.

    Args:
        positions: Training geometries in Å, shape (T, N, 3).
        energies: eV, shape (T,).
        forces: eV/Å, shape (T, N, 3).

    Attributes:
        length: Length scale of log r.
        noise: Variance of the noise of each datum, relative to that of its prior.
    """

    def __init__(
        self,
        positions: NDArray[np.float64],
        energies: NDArray[np.float64],
        forces: NDArray[np.float64],
    ) -> None:
        self._mean = float(energies.mean())
        features, owners, directions, slopes = [], [], [], []
        for number, (place, force) in enumerate(zip(positions, forces, strict=True)):
            feature, by_position = log_distances(place)
            _, values, moves = np.linalg.svd(by_position, full_matrices=False)
            moves = moves[values > _MOVES * values[0]]
            features.append(feature)
            owners += [number] * len(moves)
            directions.append(moves @ by_position.T)
            slopes.append(-moves @ force.ravel())
        self._features = np.array(features)  # (T, P)
        self._owners = np.array(owners)  # geometry of a slope, (M,)
        self._directions = np.concatenate(directions)  # of a slope, (M, P)
        data = np.concatenate([energies - self._mean, *slopes])
        best = -np.inf
        for length in LENGTHS:
            prior = self._covariance(length)
            for noise in NOISES:
                covariance = prior + np.diag(noise * np.diag(prior))
                try:
                    factor = cho_factor(covariance, lower=True)
                except np.linalg.LinAlgError:
                    continue
                weights = cho_solve(factor, data)
                half_determinant = np.log(np.diag(factor[0])).sum()
                square = max(float(data @ weights), np.finfo(float).tiny)
                likelihood = -len(data) / 2 * np.log(square / len(data)) - half_determinant
                if likelihood > best:
                    best, self._weights = likelihood, weights
                    self.length, self.noise = float(length), float(noise)

    def evaluate(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Energy in eV and forces in eV/Å, shape (N, 3), at positions in Å, shape (N, 3)."""
        feature, by_position = log_distances(positions)
        count = len(self._features)
        apart = (feature - self._features) / self.length**2
        value = np.exp(-0.5 * self.length**2 * (apart**2).sum(axis=1))
        # of the slopes of a geometry: their directions together
        moved = np.zeros_like(apart)
        np.add.at(moved, self._owners, self._weights[count:, None] * self._directions)
        along = value * (self._weights[:count] + (apart * moved).sum(axis=1))
        by_feature = -apart.T @ along + moved.T @ value / self.length**2
        return self._mean + float(along.sum()), -(by_feature @ by_position).reshape(-1, 3)

    def _covariance(self, length: float) -> NDArray[np.float64]:
        """Of all T energies, then all M slopes, at a variance of 1; shape (T + M, T + M)."""
        apart = (self._features[:, None] - self._features[None]) / length**2
        value = np.exp(-0.5 * length**2 * (apart**2).sum(axis=2))
        own, slopes = self._owners, self._directions
        # (T, M), and (M, M): the first index is the geometry that `apart` points to
        energy_slope = value[:, own] * np.einsum("tmp,mp->tm", apart[:, own], slopes)
        towards = np.einsum("nmp,mp->nm", apart[own][:, own], slopes)
        back = -np.einsum("nmp,np->nm", apart[own][:, own], slopes)
        inner = slopes @ slopes.T / length**2
        slope_slope = value[own][:, own] * (inner + towards * back)
        return np.block([[value, energy_slope], [energy_slope.T, slope_slope]])
