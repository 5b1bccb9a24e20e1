"""The adapter of family `testbed`: the attention potentials that are trained here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pesbench.core.interface import Batch, ModelInfo, NodeFeatures, Result
from pesbench.models.families.testbed.weights import Trained, potential_of
from pesbench.models.torch_devices import (
    DTYPES,
    choose_device,
    telling_out_of_memory,
    torch_details,
)
from pesbench.models.weights import Weights


class TestbedModel:
    """A trained potential behind the contract: molecules of like size, padded to the largest.

    Args:
        trained: What `potential_of` read.
        details: Details for the provenance.
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
            details=details | torch_details(self._device),
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
        energies = np.bincount(batch.system, self._atomic[batch.numbers], batch.n_systems)
        forces = np.empty_like(batch.positions)
        for group, part, place in _parts(batch):
            positions, numbers = self._padded(part, place)
            with telling_out_of_memory():
                energy, force = self._network(positions, numbers)
                force = force.detach().to("cpu", torch.float64).numpy()
                energies[group] += energy.detach().to("cpu", torch.float64).numpy()
            forces[np.isin(batch.system, group)] = force[part.system, place]
        return Result.ok(energies, forces)

    def describe(self, batch: Batch) -> dict[str, NodeFeatures]:
        """What the head reads: the atoms' own tokens after the last block, which have no irreps."""
        values = np.empty((batch.n_atoms, self._network.settings.channels))
        for group, part, place in _parts(batch):
            positions, numbers = self._padded(part, place)
            with telling_out_of_memory(), torch.no_grad():
                tokens, _ = self._network.atoms(positions, numbers, numbers > 0)
                found = tokens.to("cpu", torch.float64).numpy()
            values[np.isin(batch.system, group)] = found[part.system, place]
        return {f"blocks.{len(self._network.blocks) - 1}": NodeFeatures(None, values)}

    def _padded(self, batch: Batch, place: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        positions, numbers = padded(batch, place)
        return (
            torch.as_tensor(positions, dtype=self._dtype, device=self._device),
            torch.as_tensor(numbers, device=self._device),
        )


def _parts(batch: Batch) -> Iterator[tuple[NDArray[np.int64], Batch, NDArray[np.int64]]]:
    """Systems of like size: their indices, they alone, and the places of their atoms.

    Raises:
        ValueError: a periodic system.
    """
    if batch.pbc.any():
        raise ValueError("a periodic system; this potential knows molecules only")
    for group in like_sizes(np.bincount(batch.system, minlength=batch.n_systems)):
        part = batch.select(group.tolist())
        yield group, part, places(part)


def like_sizes(sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Systems in groups whose largest is at most a fifth larger than their smallest.

    Ranks cost the third power of the padded size, a further call some milliseconds.

    Args:
        sizes: Atoms of each system, shape (S,).

    Returns:
        Indices of the systems of each group, ascending.
    """
    groups: list[NDArray[np.int64]] = []
    order = np.argsort(sizes, kind="stable")
    while len(order):
        near = sizes[order] <= 1.2 * sizes[order[0]]
        groups.append(np.sort(order[near]))
        order = order[~near]
    return groups


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


def load_testbed(settings: Mapping[str, Any], weights: Weights, device: str) -> TestbedModel:
    """A testbed potential from the settings of its entry.

    Args:
        settings: `dtype`.
        weights: Content of the `.pt` file.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the file holds something else.
    """
    trained = potential_of(weights, DTYPES[settings["dtype"]], choose_device(device))
    details = {
        "weights_sha256": weights.sha256,
        "switches": trained.network.settings.to_dict(),
    }
    return TestbedModel(trained, details)
