"""Weight of a neighbour: by distance, by rank, or by a differentiable rank.

Every pair (i, j) of a molecule has an edge coordinate x that is symmetric, 0 for i = j and at
least 1 where the edge has vanished. Attention takes it as an additive bias b(x), that is, a factor
exp(b(x)) of an edge's weight.

Source: fairchem's EScAIP and AllScAIP, credited to MinDScAIP (Ryan Liu); the equations are those of
its differentiable bidirectional k-nearest-neighbour graph.

Shapes: S molecules of at most N atoms; distances (S, N, N) in Å, `real` (S, N) bool, which atoms
there are; M slots, of an atom and its neighbours. What is said of places that hold no atom is of no
meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Slots:
    """The pairs that attention is about: of each atom itself first, then those with x < 1.

    Beyond, the factor exp(b) is 0. Atoms with fewer neighbours than others have slots of such pairs
    at the end. As x is symmetric, a pair that counts has a slot at both of its ends.

    Attributes:
        other: The other atom of each slot, shape (S, N, M).
        there: The slot of the same pair at its other end, as an index into the N·M slots of a
            molecule, shape (S, N·M); without meaning for pairs that do not count.
    """

    other: Tensor
    there: Tensor

    def of(self, pairs: Tensor) -> Tensor:
        """What belongs to the slots, shape (S, N, M, …), of what belongs to all pairs."""
        index = self.other.view(*self.other.shape, *[1] * (pairs.dim() - 3))
        return pairs.gather(2, index.expand(*self.other.shape, *pairs.shape[3:]))

    def swapped(self, tokens: Tensor) -> Tensor:
        """Tokens (S, N, M, C) seen from the other ends of their pairs."""
        flat = tokens.flatten(1, 2)
        return flat.gather(1, self.there[..., None].expand_as(flat)).view_as(tokens)


def neighbour_slots(x: Tensor) -> Slots:
    """The slots of a batch, as many as the atom with most neighbours needs.

    Args:
        x: `edge_coordinate`, shape (S, N, N).
    """
    s, n, _ = x.shape
    counts = ~(x >= 1.0)  # an atom itself, whose x is 0, and pairs of positions that are no numbers
    itself = torch.eye(n, dtype=torch.int8, device=x.device)
    order = (counts + itself).argsort(dim=2, descending=True, stable=True)
    m = int(counts.sum(2).max())
    other = order[:, :, :m]
    # where the others' lists have this atom
    back = order.argsort(dim=2).transpose(1, 2).gather(2, other).clamp(max=m - 1)
    return Slots(other, (other * m + back).view(s, n * m))
