"""Models of TorchSim 0.6 that are easy to write down; imported with Python 3.12."""

from __future__ import annotations

import torch
from torch_sim import SimState
from torch_sim.models.interface import ModelInterface


class Springs(ModelInterface):
    """Every atom is bound to the origin, and every system has q + 10 m eV beside that.

    Args:
        device: Of torch.
        dtype: Of torch.
        charge: Name of the extra that holds the charge q.
        spin: Name of the extra that holds m.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype, charge: str = "charge", spin: str = "spin"
    ) -> None:
        super().__init__()
        self._device, self._dtype = device, dtype
        self._compute_forces, self._compute_stress = True, False
        self._names = charge, spin

    def forward(self, state: SimState, **_: object) -> dict[str, torch.Tensor]:
        charge, spin = (getattr(state, name) for name in self._names)
        energy = torch.zeros(state.n_systems, device=self.device, dtype=self.dtype)
        energy.index_add_(0, state.system_idx, 0.5 * (state.positions**2).sum(dim=1))
        return {"energy": energy + charge + 10 * spin, "forces": -state.positions}


def no_model(**_: object) -> str:
    """What is no model."""
    return "a text"
