"""The universal repulsion of screened nuclei (Ziegler, Biersack, Littmark 1985)."""

from __future__ import annotations

import torch
from torch import Tensor

COULOMB_EV_ANGSTROM = 14.3996  # e²/(4πε₀)
BOHR_FRACTION_ANGSTROM = 0.4685  # 0.8854 Bohr radii
AMPLITUDES = (0.18175, 0.50986, 0.28022, 0.02817)
EXPONENTS = (3.1998, 0.94229, 0.4029, 0.20162)
_SHORTEST_ANGSTROM = 1e-3


def envelope(distance: Tensor, cutoff: float) -> Tensor:
    """½(cos(πd/r_c) + 1), and 0 beyond the cutoff r_c; both in Å."""
    return 0.5 * (torch.cos(torch.pi * (distance / cutoff).clamp(max=1.0)) + 1.0)


def zbl(distance: Tensor, first: Tensor, second: Tensor, cutoff: float) -> Tensor:
    """E(d) = 14.3996 Z_i Z_j/d Σ_a A_a exp(−b_a d/a_ij) · ½(cos(πd/r_c) + 1), in eV.

    a_ij = 0.4685/(Z_i^0.23 + Z_j^0.23) Å. Beyond the cutoff it is 0.

    Args:
        distance: Å, any shape.
        first: Atomic numbers, broadcast with `distance`.
        second: Atomic numbers of the other atoms.
        cutoff: r_c in Å.

    Returns:
        eV, one a pair.
    """
    d = distance.clamp(min=_SHORTEST_ANGSTROM)
    z, other = first.to(d.dtype), second.to(d.dtype)
    length = BOHR_FRACTION_ANGSTROM / (z**0.23 + other**0.23)
    screening = sum(
        amplitude * torch.exp(-exponent * d / length)
        for amplitude, exponent in zip(AMPLITUDES, EXPONENTS, strict=True)
    )
    return COULOMB_EV_ANGSTROM * z * other / d * screening * envelope(d, cutoff)
