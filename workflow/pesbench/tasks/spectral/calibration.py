"""What polynomials of the harmonics of one direction hold, without any model.

For one direction n the monomials of degree d of {Y_lm(n), l ≤ L} span the harmonics of all degrees
up to dL: their rank is (dL + 1)², and no Y_ℓ with ℓ > dL is read from them.
"""

from __future__ import annotations

import functools
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from pesbench.tasks.spectral.harmonics import degrees_of, random_directions, real_harmonics
from pesbench.tasks.spectral.heads import fit_ridge, monomials
from pesbench.tasks.spectral.metrics import r2

Array = NDArray[np.float64]

SAMPLES = 10  # directions for each dimension that the monomials span
FEWEST = 1000
GROUPS = 8
RING_COSINE = 0.3  # of the angle between the axis and each atom of the ring


@functools.cache
def monomial_rank(l_max: int, degree: int, seed: int = 0) -> int:
    """The numerical rank of all monomials of one degree of {Y_lm(n), l ≤ L}, (dL + 1)².

    Y_00 is a constant, so that monomials of a lower degree are among them.
    """
    dimension = (degree * l_max + 1) ** 2
    directions = random_directions(3 * dimension, np.random.default_rng(seed))
    features = real_harmonics(directions, l_max)
    index = np.array(list(combinations_with_replacement(range(features.shape[1]), degree)))
    columns = np.prod(features[:, index], axis=2)
    return int(np.linalg.matrix_rank(columns, tol=1e-8 * np.linalg.norm(columns, 2)))


@functools.cache
def held_out_r2(l_max: int, degree: int, highest: int, seed: int = 0) -> Array:
    """R² of the harmonics Y_ℓm on directions that were held out, all m of a degree together.

    Args:
        l_max: L of the features.
        degree: d of the polynomial.
        highest: Largest ℓ of a target.
        seed: Of the directions.

    Returns:
        Shape (highest + 1,); NaN for ℓ = 0, a constant.
    """
    rng = np.random.default_rng(seed)
    width = (degree * l_max + 1) ** 2
    count = max(FEWEST, SAMPLES * width)
    directions = random_directions(2 * count, rng)
    columns = monomials(real_harmonics(directions, l_max)[:, 1:], degree)
    targets = real_harmonics(directions, highest)[:, 1:]
    return _scores(columns, targets, count, highest)


def _scores(columns: Array, targets: Array, count: int, highest: int) -> Array:
    groups = np.arange(count) % GROUPS
    head = fit_ridge(columns[:count], targets[:count], groups)
    predicted = head.predict(columns[count:])
    kinds = degrees_of(highest)
    found = [
        r2(predicted[:, kinds == k], targets[count:, kinds == k], head.offsets[kinds == k])
        for k in range(1, highest + 1)
    ]
    return np.array([np.nan, *found])


@functools.cache
def ring_r2(l_max: int, degree: int, atoms: int, seed: int = 0) -> float:
    """R² of cos 5φ from the summed harmonics of a ring of identical atoms that is turned by φ.

    A ring of five identical atoms about the axis is the calibration "C5" as it is read here: the
    first order that it does not hide is m = 5, so that features with l < 5 do not change at all and
    no polynomial of them helps. One atom on the ring hides nothing.

    Args:
        l_max: L of the features.
        degree: d of the polynomial.
        atoms: On the ring, 5 or 1.
        seed: Of the angles.
    """
    rng = np.random.default_rng(seed)
    width = (degree * l_max + 1) ** 2
    count = max(FEWEST, SAMPLES * width)
    angles = rng.uniform(0, 2 * np.pi, 2 * count)
    around = angles[:, None] + 2 * np.pi * np.arange(atoms) / atoms
    sine = np.sqrt(1 - RING_COSINE**2)
    directions = np.stack(
        [sine * np.cos(around), sine * np.sin(around), np.full_like(around, RING_COSINE)], axis=-1
    )
    features = real_harmonics(directions, l_max)[:, :, 1:].sum(axis=1)
    target = np.cos(5 * angles)[:, None]
    centred = features - features[:count].mean(axis=0)
    # at one polar angle only 2L of them are independent; what the ring hides is rounding
    _, sizes, turns = np.linalg.svd(centred[:count], full_matrices=False)
    kept = sizes > 1e-9 * np.sqrt(count)
    if not kept.any():
        return r2(np.full(count, target[:count].mean()), target[count:, 0], target[:count].mean())
    columns = monomials(centred @ turns[kept].T, degree)
    head = fit_ridge(columns[:count], target[:count], np.arange(count) % GROUPS)
    return r2(head.predict(columns[count:])[:, 0], target[count:, 0], head.offsets[0])
