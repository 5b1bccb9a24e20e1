"""Family `testbed`: the attention potentials that are trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pesbench.models.interface import (
    Batch,
    DeviceOutOfMemoryError,
    ModelInfo,
    Result,
    Status,
)
from pesbench.models.torch_devices import DTYPES, choose_device
from pesbench.testbed.weights import Trained, read_weights


class TestbedModel:
    """A trained potential behind the contract: molecules padded to the largest of the batch.

    Args:
        trained: Of `read_weights`.
        details: For the provenance.
    """

    __test__ = False  # no test, whatever pytest makes of its name

    def __init__(self, trained: Trained, details: dict[str, Any]) -> None:
        self._network = trained.network
        parameter = next(trained.network.parameters())
        self._device, self._dtype = parameter.device, parameter.dtype
        self._atomic = np.zeros(120)
        self._atomic[trained.network.atomic_numbers] = trained.atomic_energies
        self._info = ModelInfo(
            elements=frozenset(trained.network.atomic_numbers),
            charges=False,
            batched=True,
            device=str(self._device),
            dtype=str(self._dtype).removeprefix("torch."),
            details=details | {"torch": str(torch.__version__)},
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def evaluate(self, batch: Batch) -> Result:
        """Energies and forces.

        Raises:
            ValueError: a periodic system; the potential knows molecules only.
            DeviceOutOfMemoryError: a smaller batch may fit.
        """
        if batch.pbc.any():
            raise ValueError("a periodic system; this potential knows molecules only")
        place = places(batch)
        positions, numbers = padded(batch, place)
        try:
            energy, forces = self._network(
                torch.as_tensor(positions, dtype=self._dtype, device=self._device),
                torch.as_tensor(numbers, device=self._device),
            )
            energies = energy.detach().to("cpu", torch.float64).numpy()
            all_forces = forces.detach().to("cpu", torch.float64).numpy()
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise
            torch.cuda.empty_cache()
            raise DeviceOutOfMemoryError(str(error).splitlines()[0]) from error
        base = np.bincount(batch.system, self._atomic[batch.numbers], batch.n_systems)
        return Result(
            energies=energies + base,
            forces=all_forces[batch.system, place],
            status=(Status.OK,) * batch.n_systems,
            messages=("",) * batch.n_systems,
        )


def places(batch: Batch) -> NDArray[np.int64]:
    """The number of each atom within its system, shape (A,)."""
    count = np.bincount(batch.system, minlength=batch.n_systems)
    return np.arange(len(batch.numbers)) - np.repeat(np.cumsum(count) - count, count)


def padded(batch: Batch, place: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Positions (S, N, 3) in Å and atomic numbers (S, N), 0 where there is no atom."""
    shape = (batch.n_systems, int(place.max()) + 1)
    positions, numbers = np.zeros((*shape, 3)), np.zeros(shape, dtype=np.int64)
    positions[batch.system, place] = batch.positions
    numbers[batch.system, place] = batch.numbers
    return positions, numbers


def load_testbed(settings: dict[str, Any], device: str) -> TestbedModel:
    """A testbed potential from the settings of its entry.

    Args:
        settings: `weights` (a path), its `sha256` and `dtype`.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the file holds something else.
    """
    trained = read_weights(
        Path(settings["weights"]), DTYPES[settings["dtype"]], choose_device(device)
    )
    details = {
        "weights_sha256": settings["sha256"],
        "switches": trained.network.settings.to_dict(),
    }
    return TestbedModel(trained, details)
