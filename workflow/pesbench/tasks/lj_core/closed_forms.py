"""Continuations of the wall that need no training: what a head has to beat.

Each knows the potential at 0.95 σ, where the training data end, and continues from there inwards.
"""

from __future__ import annotations

import math

from numpy.polynomial import Polynomial

from pesbench.tasks.lj_core.judged import Curve
from pesbench.tasks.lj_core.potential import EPSILON, SIGMA, TRAINED_FROM, energy, slope

DEGREES = (1, 2, 3, 4, 6)  # of the Taylor polynomials

# V as a polynomial in u = 1/r
_IN_U = Polynomial([0.0] * 6 + [-4 * EPSILON * SIGMA**6] + [0.0] * 5 + [4 * EPSILON * SIGMA**12])


def taylor(degree: int) -> Polynomial:
    """The Taylor polynomial of V in u − 1/(0.95 σ)."""
    start = 1 / TRAINED_FROM
    return Polynomial([_IN_U.deriv(k)(start) / math.factorial(k) for k in range(degree + 1)])


def closed_forms() -> dict[str, tuple[Curve, Curve]]:
    """Energy and slope dE/dr of each continuation, by its name."""
    start = float(energy(TRAINED_FROM)), float(slope(TRAINED_FROM))
    found: dict[str, tuple[Curve, Curve]] = {
        "zero": (lambda r: 0 * r, lambda r: 0 * r),
        "constant": (lambda r: 0 * r + start[0], lambda r: 0 * r),
        "linear in r": (
            lambda r: start[0] + start[1] * (r - TRAINED_FROM),
            lambda r: 0 * r + start[1],
        ),
    }
    for degree in DEGREES:
        found[f"Taylor in u, degree {degree}"] = _of_u(taylor(degree))
    return found


def _of_u(polynomial: Polynomial) -> tuple[Curve, Curve]:
    in_u = polynomial.deriv()
    return (
        lambda r: polynomial(1 / r - 1 / TRAINED_FROM),
        lambda r: -in_u(1 / r - 1 / TRAINED_FROM) / r**2,
    )
