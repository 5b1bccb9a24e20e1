"""Pairs of atoms within a cutoff, of all molecules of a batch at once, on any device of torch."""

from __future__ import annotations

import torch

MOST_ATOMS = 1000  # of a molecule; all pairs of a larger one would take more than 100 MB


def neighbours(
    positions: torch.Tensor, system: torch.Tensor, cutoff: float | torch.Tensor
) -> torch.Tensor:
    """All ordered pairs of two atoms of one molecule whose distance is at most a cutoff.

    All pairs are looked at, so that a molecule of N atoms takes some 100 N² bytes. For molecules of
    more than `MOST_ATOMS`, take another way. A pair whose distance is not a number counts as near,
    so that the energy is not a number, either.

    Args:
        positions: Å, shape (A, 3); of molecules, without periodic images.
        system: Index of the molecule of each atom, shape (A,), ascending from 0.
        cutoff: Å.

    Returns:
        Indices of the atoms of each pair, shape (2, P), ascending.
    """
    count = torch.bincount(system)
    size = count[system]  # of the molecule of each atom
    first = (count.cumsum(0) - count)[system]  # atom of it
    atoms = torch.arange(len(system), device=system.device)
    one = atoms.repeat_interleave(size)
    rank = torch.arange(len(one), device=system.device) - (size.cumsum(0) - size)[one]
    other = first[one] + rank
    far = (positions[other] - positions[one]).square().sum(1) > cutoff**2
    near = ~far & (one != other)
    return torch.stack([one[near], other[near]])
