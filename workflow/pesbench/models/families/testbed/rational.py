"""An energy as a quotient of two polynomials, which can grow without a bound.

Source: the improper rational head of ZeroProofML (`tasks/lj_core`): degree 3 over 1, a positive
leading coefficient, a denominator that is always positive. A rational function of features that are
bounded need not diverge where atoms overlap: `crowding` does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pesbench.models.families.testbed.repulsion import envelope

DEGREE = 3
LEAST_LEADING = 0.1
LEAST_DENOMINATOR = 1e-4
COEFFICIENT_SPREAD = 0.01  # standard deviation of the coefficients at the start
_SHORTEST_ANGSTROM = 1e-3


def crowding(distance: Tensor, real: Tensor, cutoff: float) -> Tensor:
    """Σ_j f_c(d_ij)/d_ij, d in Å, which diverges where atoms overlap.

    f_c = ¼(cos(πd/r_c) + 1)², whose first three derivatives vanish at the cutoff, as 1,3 pairs of
    atoms sit there: with the plain cosine the slope of the force would jump.

    Args:
        distance: Å, shape (S, N, N).
        real: Which places hold atoms, shape (S, N).
        cutoff: r_c in Å.

    Returns:
        Å⁻¹, shape (S, N); an atom is no neighbour of its own.
    """
    itself = torch.eye(distance.shape[1], dtype=torch.bool, device=distance.device)
    both = real[:, :, None] & real[:, None, :] & ~itself
    d = torch.where(both, distance, cutoff).clamp(min=_SHORTEST_ANGSTROM)
    return (envelope(d, cutoff) ** 2 / d).sum(2)


def quotient(coefficients: Sequence[Tensor], z: Tensor) -> Tensor:
    """P(z)/Q(z) with P of degree 3, its leading coefficient at least 0.1, and Q above 1e-4.

    Args:
        coefficients: a₀ to a₃, b₀ and b₁, each of a shape that broadcasts against that of z.
        z: Any shape.
    """
    *lower, leading, b0, b1 = coefficients
    above = functional.softplus(leading) + LEAST_LEADING
    for one in reversed(lower):
        above = above * z + one
    return above / (functional.softplus(b0 + b1 * z) + LEAST_DENOMINATOR)


def first_coefficients(generator: torch.Generator | None = None) -> Tensor:
    """Coefficients of a quotient before training: close to 0, but b₀ = 1; shape (6,)."""
    drawn = COEFFICIENT_SPREAD * torch.randn(DEGREE + 3, generator=generator)
    drawn[DEGREE + 1] = 1.0
    return drawn


class RationalReadout(nn.Module):
    """The quotient as a module, with coefficients that are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(first_coefficients())

    def forward(self, z: Tensor) -> Tensor:
        """The quotient at each z, in its shape."""
        return quotient(self.coefficients.unbind(), z)
