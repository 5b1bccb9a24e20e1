"""An energy as a quotient of two polynomials, which can grow without a bound.

Source: the improper rational head of ZeroProofML (`tasks/lj_core`): degree 3 over 1, a positive
leading coefficient, a denominator that is always positive. A rational function of features that are
bounded need not diverge where atoms overlap: `crowding` does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

DEGREE = 3
LEAST_LEADING = 0.1
LEAST_DENOMINATOR = 1e-4
COEFFICIENT_SPREAD = 0.01  # standard deviation of the coefficients at the start
_SHORTEST_ANGSTROM = 1e-3


def crowding(distance: Tensor, real: Tensor, cutoff: float) -> Tensor:
    """Σ_j f_c(d_ij)/d_ij with f_c = ½(cos(πd/r_c) + 1), which diverges where atoms overlap.

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
    envelope = 0.5 * (torch.cos(torch.pi * (d / cutoff).clamp(max=1.0)) + 1.0)
    return (envelope / d).sum(2)


class RationalReadout(nn.Module):
    """P(z)/Q(z) with P of degree 3, its leading coefficient at least 0.1, and Q above 1e-4."""

    def __init__(self) -> None:
        super().__init__()
        start = COEFFICIENT_SPREAD * torch.randn(DEGREE + 3)
        start[DEGREE + 1] = 1.0  # b₀
        self.coefficients = nn.Parameter(start)  # a₀ to a₃, b₀, b₁

    def forward(self, z: Tensor) -> Tensor:
        """The quotient at each z, in its shape."""
        a = self.coefficients
        above = functional.softplus(a[DEGREE]) + LEAST_LEADING
        for k in reversed(range(DEGREE)):
            above = above * z + a[k]
        below = functional.softplus(a[DEGREE + 1] + a[DEGREE + 2] * z) + LEAST_DENOMINATOR
        return above / below
