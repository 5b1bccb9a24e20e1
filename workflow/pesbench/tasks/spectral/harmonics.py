"""Real spherical harmonics, Legendre polynomials and random rotations."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def real_harmonics(directions: Array, l_max: int) -> Array:
    """Real spherical harmonics Y_lm of unit vectors, of all degrees up to one.

    They are normalised such that the mean of each square over the sphere is 1: Y_00 = 1.

    Args:
        directions: Unit vectors, shape (..., 3).
        l_max: Highest degree l.

    Returns:
        Shape (..., (l_max + 1)²): by l, within a degree by m from −l to l. Y_l0 is a multiple of
        P_l(z).
    """
    x, y, z = np.moveaxis(directions, -1, 0)
    found = np.empty((*x.shape, (l_max + 1) ** 2))
    real, imaginary = np.ones_like(x), np.zeros_like(x)  # of (x + iy)^m
    diagonal = 1.0  # (2m − 1)!!
    for m in range(l_max + 1):
        before, legendre = np.zeros_like(z), np.full_like(z, diagonal)
        for l in range(m, l_max + 1):  # noqa: E741 - the name that everybody knows
            size = (2 * l + 1) * math.factorial(l - m) / math.factorial(l + m)
            value = math.sqrt(size * (2 if m else 1)) * legendre
            found[..., l * l + l + m] = value * real
            if m:
                found[..., l * l + l - m] = value * imaginary
            after = ((2 * l + 1) * z * legendre - (l + m) * before) / (l + 1 - m)
            before, legendre = legendre, after
        real, imaginary = x * real - y * imaginary, x * imaginary + y * real
        diagonal *= 2 * m + 1
    return found


def degrees_of(l_max: int) -> NDArray[np.int64]:
    """The degree of each column of `real_harmonics` but the first, a constant."""
    degrees = np.arange(1, l_max + 1)
    return np.repeat(degrees, 2 * degrees + 1)


def legendre(cosines: Array, l_max: int) -> Array:
    """Legendre polynomials P_0 to P_l of cosines, shape (..., l_max + 1)."""
    return np.stack(
        [np.polynomial.legendre.Legendre.basis(degree)(cosines) for degree in range(l_max + 1)],
        axis=-1,
    )


def random_directions(count: int, rng: np.random.Generator) -> Array:
    """Unit vectors, uniform on the sphere, shape (count, 3)."""
    drawn = rng.standard_normal((count, 3))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def random_rotations(count: int, rng: np.random.Generator) -> Array:
    """Proper rotations, uniform by the Haar measure, shape (count, 3, 3).

    They come from unit quaternions, which are uniform on their sphere.
    """
    drawn = rng.standard_normal((count, 4))
    w, x, y, z = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
