"""Adapter base for models that TorchSim wraps (TorchSim 0.3 on Python 3.11, and newer)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch_sim as ts
from torch_sim.models.interface import ModelInterface

from pesbench.core.interface import (
    Batch,
    DeviceOutOfMemoryError,
    ModelInfo,
    Result,
    Status,
    is_out_of_device_memory,
)
from pesbench.models.torch_devices import torch_details


class TorchSimModel:
    """A TorchSim model behind the contract.

    The state of the last batch is kept: as long as the composition stays, only positions travel.

    Args:
        model: The wrapped model.
        elements: Atomic numbers it knows.
        details: Details for the provenance.
        charges: Whether it takes account of the total charge; TorchSim 0.3 does not pass it on.
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
        self._composition: tuple[bytes, bytes] | None = None
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

    def on_new_composition(self, state: ts.SimState) -> None:
        """What a family does when other atoms come; nothing here."""

    def _state_of(self, batch: Batch) -> ts.SimState:
        composition = (batch.numbers.tobytes(), batch.system.tobytes())
        device, dtype = self._model.device, self._model.dtype
        positions = torch.as_tensor(batch.positions, dtype=dtype, device=device)
        if composition != self._composition or self._state is None:
            if batch.pbc.any() and not batch.pbc.all():
                raise ValueError("a batch must be periodic as a whole or not at all")
            numbers = torch.as_tensor(batch.numbers, device=device)
            self._state = ts.SimState(
                positions=positions,
                masses=torch.ones(batch.n_atoms, dtype=dtype, device=device),
                # TorchSim keeps cell vectors as columns
                cell=torch.as_tensor(
                    np.swapaxes(batch.cell, 1, 2).copy(), dtype=dtype, device=device
                ),
                pbc=bool(batch.pbc.any()),
                atomic_numbers=numbers,
                system_idx=torch.as_tensor(batch.system, device=device),
            )
            self.on_new_composition(self._state)
            self._composition = composition
        self._state.positions = positions
        return self._state

    def evaluate(self, batch: Batch) -> Result:
        try:
            output = self._model(self._state_of(batch))
            energies = output["energy"].detach().to("cpu", torch.float64).numpy()
            forces = output["forces"].detach().to("cpu", torch.float64).numpy()
        except RuntimeError as error:
            if not is_out_of_device_memory(error):
                raise
            self._composition = self._state = None
            torch.cuda.empty_cache()
            raise DeviceOutOfMemoryError(str(error).splitlines()[0]) from error
        return Result(
            energies=energies,
            forces=forces,
            status=(Status.OK,) * batch.n_systems,
            messages=("",) * batch.n_systems,
        )
