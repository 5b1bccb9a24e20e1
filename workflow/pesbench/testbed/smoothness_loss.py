"""A differentiable form of the Force Smoothness Deviation (FSD), to train with."""

from __future__ import annotations

import torch
from torch import Tensor

from pesbench.metrics.smoothness import EPSILON_EV_PER_ANGSTROM

POWER = 8
_SMALLEST_SLOPE = 1e-6  # Å⁻¹; keeps the slope of |x| finite at 0


def smooth_fsd(
    coordinate: Tensor, forces: Tensor, reference_forces: Tensor, q: int, power: float = POWER
) -> Tensor:
    """(mean_f |Δℓ/Δα|^p)^(1/p), which tends to the FSD max_f |Δℓ/Δα| as p grows.

    ℓ is that of `pesbench.metrics.smoothness.log_force_ratio`, with the same floor; where a frame
    lies below the floor it has no slope to learn from.

    Args:
        coordinate: Bond lengths in Å, shape (F,).
        forces: Forces of the model, eV/Å, shape (F, N, 3).
        reference_forces: Shape (F, N, 3).
        q: Index of the reference minimum.
        power: p.

    Returns:
        Å⁻¹, a scalar with a gradient; at most the FSD.
    """
    at_minimum = reference_forces[q]
    model = ((forces - at_minimum) ** 2).sum((1, 2))
    reference = ((reference_forces - at_minimum) ** 2).sum((1, 2))
    floor = EPSILON_EV_PER_ANGSTROM**2
    ratio = torch.log(model.clamp(min=floor)) - torch.log(reference.clamp(min=floor))
    slope = torch.diff(ratio) / torch.diff(coordinate)
    slope = torch.sqrt(slope**2 + _SMALLEST_SLOPE**2)
    largest = slope.max().detach()  # p-th powers of large slopes do not fit into float32
    return largest * ((slope / largest) ** power).mean() ** (1.0 / power)
