"""MACE models with random weights, of a stated size, the same for the same seed.

The time of a call depends on the size of the network and not on what it has learnt, so that these
serve until trained ones ship.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17, 35, 53)  # those of BSCT-SPICE
R_MAX_ANGSTROM = 5.0
L_MAX = 3  # of the spherical harmonics on edges
N_LAYERS = 2


@dataclass(frozen=True)
class Size:
    """Size of a MACE model.

    Attributes:
        channels: Features of each irrep.
        correlation: Body order of the products less one; `mace_run_train` takes 3.
        max_l: Highest order of the messages; 0 is scalars only.
    """

    channels: int
    correlation: int
    max_l: int = 0

    @property
    def name(self) -> str:
        """Such as `mace-32x0-c2`: 32 channels, max L 0, correlation 2."""
        return f"mace-{self.channels}x{self.max_l}-c{self.correlation}"


SMALL = Size(channels=32, correlation=2)
SMALL_DEFAULT = Size(channels=32, correlation=3)
LARGE = Size(channels=96, correlation=3)


def write_mace(path: Path, size: Size, seed: int = 0) -> None:
    """Write a ScaleShiftMACE in float64 as a `.model` file, as `mace_run_train` does.

    Leaves torch's default precision at float64 and its random state changed: call it in a process
    of its own where that matters.

    Args:
        path: Where to.
        size: Of the network.
        seed: Of its weights.
    """
    import mace  # noqa: F401 - before e3nn, whose files torch then reads
    import numpy as np
    import torch
    from e3nn import o3
    from mace import modules

    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float64)
    hidden = o3.Irreps([(size.channels, (order, (-1) ** order)) for order in range(size.max_l + 1)])
    network = modules.ScaleShiftMACE(
        r_max=R_MAX_ANGSTROM,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=L_MAX,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=N_LAYERS,
        num_elements=len(ELEMENTS),
        hidden_irreps=hidden,
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros((1, len(ELEMENTS))),
        avg_num_neighbors=10.0,
        atomic_numbers=list(ELEMENTS),
        correlation=size.correlation,
        radial_type="bessel",
        atomic_inter_scale=[1.0],
        atomic_inter_shift=[0.0],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network, path)
