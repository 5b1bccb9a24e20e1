"""Adapter base for models that TorchSim wraps (TorchSim 0.3 on Python 3.11, 0.6 on Python 3.12)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch_sim as ts
from torch_sim.models.interface import ModelInterface

from pesbench.core.interface import (
    Batch,
    ModelInfo,
    Result,
)
from pesbench.models.torch_devices import telling_out_of_memory, torch_details


class TorchSimModel:
    """A TorchSim model behind the contract.

    The state of the last batch is kept: as long as nothing else changes, only positions travel.

    Args:
        model: The wrapped model.
        elements: Atomic numbers it knows.
        details: Details for the provenance.
        charges: Whether it takes account of the total charge.
        spins: Whether it takes account of the multiplicity.
    """

    def __init__(
        self,
        model: ModelInterface,
        elements: frozenset[int] | None,
        details: dict[str, Any],
        *,
        charges: bool = False,
        spins: bool = False,
    ) -> None:
        self._model = model
        self._composition: tuple[bytes, ...] | None = None
        self._state: ts.SimState | None = None
        device = model.device
        self._info = ModelInfo(
            elements=elements,
            charges=charges,
            spins=spins,
            batched=True,
            device=str(device),
            dtype=str(model.dtype).removeprefix("torch."),
            details=details | torch_details(device),
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def extras(self, batch: Batch) -> dict[str, torch.Tensor]:
        """What a state holds beside the geometry, one value a system; nothing in TorchSim 0.3."""
        return {}

    def on_new_composition(self, state: ts.SimState) -> None:
        """What a family does when another state comes.

        Some wrappers (mace's of TorchSim 0.3, nequip's) tell batches apart by their elements alone;
        two batches with the same elements in another division into systems would share a stale
        index, so it is set anew here.
        """
        if hasattr(self._model, "setup_from_system_idx"):
            self._model.setup_from_system_idx(state.atomic_numbers, state.system_idx)

    def _state_of(self, batch: Batch) -> ts.SimState:
        composition = tuple(
            array.tobytes()
            for array in (
                batch.numbers, batch.system, batch.cell, batch.pbc, batch.charge, batch.spin,
            )
        )  # fmt: skip
        device, dtype = self._model.device, self._model.dtype
        positions = torch.as_tensor(batch.positions, dtype=dtype, device=device)
        if composition != self._composition or self._state is None:
            if batch.pbc.any() and not batch.pbc.all():
                raise ValueError("a batch must be periodic as a whole or not at all")
            self._state = ts.SimState(
                positions=positions,
                masses=torch.ones(batch.n_atoms, dtype=dtype, device=device),
                # TorchSim keeps cell vectors as columns
                cell=torch.as_tensor(
                    np.swapaxes(batch.cell, 1, 2).copy(), dtype=dtype, device=device
                ),
                pbc=bool(batch.pbc.any()),
                atomic_numbers=torch.as_tensor(batch.numbers, device=device),
                system_idx=torch.as_tensor(batch.system, device=device),
                **self.extras(batch),
            )
            self.on_new_composition(self._state)
            self._composition = composition
        self._state.positions = positions
        return self._state

    def evaluate(self, batch: Batch) -> Result:
        """Energies and forces.

        Raises:
            DeviceOutOfMemoryError: a smaller batch may fit.
        """
        with telling_out_of_memory():
            try:
                output = self._model(self._state_of(batch))
                energies = output["energy"].detach().to("cpu", torch.float64).numpy()
                forces = output["forces"].detach().to("cpu", torch.float64).numpy()
            except RuntimeError:
                self._composition = self._state = None  # which takes memory
                raise
        return Result.ok(energies, forces)
