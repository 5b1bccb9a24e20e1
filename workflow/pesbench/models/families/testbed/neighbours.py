"""Weight of a neighbour: by distance, by rank, or by a differentiable rank.

Every pair (i, j) of a molecule has an edge coordinate x that is symmetric, 0 for i = j and at
least 1 where the edge has vanished. Attention takes it as an additive bias b(x), that is, a factor
exp(b(x)) of an edge's weight.

Source: fairchem's EScAIP and AllScAIP, credited to MinDScAIP (Ryan Liu); the equations are those of
its differentiable bidirectional k-nearest-neighbour graph.

Shapes: S molecules of at most N atoms; distances (S, N, N) in Å, `real` (S, N) bool, which atoms
there are. What is said of places that hold no atom is of no meaning.
"""

from __future__ import annotations

import torch
from torch import Tensor

FAR_ANGSTROM = 1e3  # from an atom to a place without one
# where x comes this close to 1, the factor exp(-x²/(1-x²)) has long been rounded to 0
_LEAST_GAP = 1e-3


def soft_ranks(distance: Tensor, real: Tensor, width: float) -> Tensor:
    """ρ_i(j) = Σ_m σ((d_ij − d_im)/s), which tends to the rank of j among the neighbours of i.

    The sum is over all atoms, i and j among them (j itself counts ½).

    Args:
        distance: Å, shape (S, N, N).
        real: Shape (S, N).
        width: s in Å.

    Returns:
        Dimensionless, shape (S, N, N): of j, seen from i.
    """
    difference = distance.unsqueeze(3) - distance.unsqueeze(2)  # d_ij - d_im
    return (torch.sigmoid(difference / width) * real[:, None, None, :]).sum(3)


def hard_ranks(distance: Tensor, real: Tensor) -> Tensor:
    """The rank of j among the neighbours of i by distance, i itself being 0.

    Args:
        distance: Å, shape (S, N, N).
        real: Shape (S, N).

    Returns:
        Whole numbers as the distance's dtype, shape (S, N, N), without a gradient.
    """
    sortable = distance.detach().masked_fill(~real[:, None, :], FAR_ANGSTROM)
    return sortable.argsort(dim=2, stable=True).argsort(dim=2).to(distance.dtype)


def edge_coordinate(
    distance: Tensor,
    real: Tensor,
    *,
    kind: str,
    cutoff: float,
    k: float,
    rank_width: float,
    sharpness: float,
) -> Tensor:
    """x of every pair.

    * `radius`: d/r_c.
    * `hard_knn`: max(ρ_i(j)/k, ρ_j(i)/k, d/r_c) with ordinary ranks.
    * `soft_knn`: λ ln(e^(ρ_i(j)/kλ) + e^(ρ_j(i)/kλ) + e^(d/(r_c λ))) with soft ones.

    Args:
        distance: Å, shape (S, N, N).
        real: Shape (S, N).
        kind: One of the three.
        cutoff: r_c in Å.
        k: Rank that stands for 1.
        rank_width: s in Å, see `soft_ranks`.
        sharpness: λ.

    Returns:
        Dimensionless, shape (S, N, N), 0 on the diagonal.
    """
    reach = distance / cutoff
    if kind == "radius":
        x = reach
    elif kind == "hard_knn":
        rank = hard_ranks(distance, real) / k
        x = torch.maximum(torch.maximum(rank, rank.transpose(1, 2)), reach)
    else:
        rank = soft_ranks(distance, real, rank_width) / k
        terms = torch.stack((rank, rank.transpose(1, 2), reach))
        x = sharpness * torch.logsumexp(terms / sharpness, dim=0)
    own = torch.eye(distance.shape[1], dtype=torch.bool, device=distance.device)
    return x.masked_fill(own, 0.0)


def log_bias(x: Tensor) -> Tensor:
    """b(x) = −x²/(1 − x²) for x < 1, and so far below 0 beyond that nothing is left.

    The factor exp(b) is infinitely often differentiable at 1.

    Args:
        x: Any shape.
    """
    square = x * x
    return -square / (1.0 - square).clamp(min=_LEAST_GAP)
