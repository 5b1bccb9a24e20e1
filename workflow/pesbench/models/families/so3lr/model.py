"""The adapter of family `so3lr`: batches of the graphs that so3krates-torch builds."""

from __future__ import annotations

import contextlib
import importlib.resources
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from so3krates_torch.data.neighborhood import get_neighborhood
from so3krates_torch.modules.models import SO3LR, MultiHeadSO3LR

from pesbench.core.errors import UserError
from pesbench.core.family import Family
from pesbench.core.interface import Batch, ModelInfo, NodeFeatures, Result
from pesbench.core.text import quoted
from pesbench.models.packaged import packaged_weights
from pesbench.models.torch_devices import (
    DTYPES,
    choose_device,
    telling_out_of_memory,
    torch_details,
)
from pesbench.models.torch_features import layer_outputs, node_features
from pesbench.models.torch_neighbours import MOST_ATOMS, neighbours
from pesbench.models.weights import Weights

DISPERSION_DAMPING_ANGSTROM = 2.0  # width of the switch of dispersion, as in `SO3LRCalculator`


class SO3LRModel:
    """An SO3LR network behind the contract.

    Args:
        network: Network as so3krates-torch made it; its long-range cutoffs are set.
        device: Device that it computes on.
        dtype: Precision of the arithmetic.
        details: Details for the provenance.
    """

    def __init__(
        self, network: SO3LR, device: torch.device, dtype: torch.dtype, details: dict[str, Any]
    ) -> None:
        self._network = network.to(device, dtype).eval()
        self._device, self._dtype = device, dtype
        self._info = ModelInfo(
            elements=_elements(network),
            charges=network.use_charge_embed,
            spins=network.use_spin_embed,
            batched=True,
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            details=details | torch_details(device),
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def evaluate(self, batch: Batch) -> Result:
        """Energies and forces.

        Raises:
            DeviceOutOfMemoryError: a smaller batch may fit.
        """
        with telling_out_of_memory():
            with _default_dtype(self._dtype):
                output = self._network(self._graphs(batch))
            energies = output["energy"].detach().to("cpu", torch.float64).numpy()
            forces = output["forces"].detach().to("cpu", torch.float64).numpy()
        return Result.ok(energies, forces)

    def describe(self, batch: Batch) -> dict[str, NodeFeatures]:
        """The features after each layer: scalars, and one channel of each degree l above 0."""
        network = self._network
        layers = {
            f"euclidean_transformers.{k}": layer
            for k, layer in enumerate(network.euclidean_transformers)
        }
        irreps = [(network.num_features, 0), *((1, degree) for degree in network.degrees)]
        with telling_out_of_memory(), _default_dtype(self._dtype):
            found = layer_outputs(
                layers, lambda: network(self._graphs(batch)), lambda output: output[:2]
            )
        return {name: node_features(irreps, values) for name, values in found.items()}

    def _graphs(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The input of the network, as `AtomicData` and its loader make it for an energy."""
        atoms = self._indices(batch.numbers)
        count = np.bincount(batch.system, minlength=batch.n_systems)
        starts = np.concatenate([[0], np.cumsum(count)])
        positions = _centred(batch, starts[:-1])
        at_once = not batch.pbc.any() and count.max() <= MOST_ATOMS
        edges = self._edges if at_once else self._edges_one_by_one
        near, shifts, far, far_shifts = edges(batch, positions)
        return {
            "positions": self._values(positions),
            "cell": self._values(batch.cell),
            "batch": self._indices(batch.system),
            "ptr": self._indices(starts),
            "head": self._indices(np.zeros(batch.n_systems)),
            "atomic_numbers": atoms,
            "node_attrs": torch.nn.functional.one_hot(
                atoms - 1, num_classes=self._network.num_elements
            ).to(self._dtype),
            "edge_index": near,
            "shifts": shifts,
            "edge_index_lr": far,
            "shifts_lr": far_shifts,
            "total_charge": self._values(batch.charge),
            # S, half the number of unpaired electrons, and not the multiplicity 2 S + 1
            "total_spin": self._values((batch.spin - 1) / 2),
        }

    def _edges(self, batch: Batch, positions: NDArray[np.float64]) -> tuple[torch.Tensor, ...]:
        """Pairs within both cutoffs, and their shifts, which are zero, of molecules."""
        where = torch.as_tensor(positions, device=self._device)
        system = self._indices(batch.system)
        found: list[torch.Tensor] = []
        for cutoff in (self._network.r_max, self._network.r_max_lr):
            pairs = neighbours(where, system, cutoff)
            found += [pairs, self._values(np.zeros((pairs.shape[1], 3)))]
        return tuple(found)

    def _edges_one_by_one(
        self, batch: Batch, positions: NDArray[np.float64]
    ) -> tuple[torch.Tensor, ...]:
        """Pairs within both cutoffs, and their shifts, one system after another."""
        edges: list[tuple[NDArray[Any], ...]] = []
        for s in range(batch.n_systems):
            mine = np.flatnonzero(batch.system == s)
            near, shifts, _, _, far, far_shifts, _ = get_neighborhood(
                positions=positions[mine],
                cutoff=self._network.r_max,
                cutoff_lr=self._network.r_max_lr,
                pbc=tuple(batch.pbc[s]),
                cell=batch.cell[s].copy(),
            )
            edges.append((near + mine[0], shifts.T, far + mine[0], far_shifts.T))
        near, shifts, far, far_shifts = (
            np.concatenate(parts, axis=1) for parts in zip(*edges, strict=True)
        )
        return (
            self._indices(near), self._values(shifts.T),
            self._indices(far), self._values(far_shifts.T),
        )  # fmt: skip

    def _values(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, dtype=self._dtype, device=self._device)

    def _indices(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, dtype=torch.int64, device=self._device)


def _centred(batch: Batch, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Positions with the origin amid each molecule; those of periodic systems as they are.

    float32 has steps of 1e-5 Å at 100 Å from the origin, and matscipy's search for neighbours takes
    memory that grows with the distance from it.
    """
    low = np.minimum.reduceat(batch.positions, starts)
    high = np.maximum.reduceat(batch.positions, starts)
    middle = np.where(batch.pbc.any(axis=1, keepdims=True), 0.0, (low + high) / 2)
    return batch.positions - middle[batch.system]


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Another default precision of torch, in which the network divides by numbers of atoms."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def load_so3lr(settings: Mapping[str, Any], weights: Weights, device: str) -> SO3LRModel:
    """An SO3LR network from the settings of its entry.

    Args:
        settings: `dtype` and `cutoff_lr_angstrom`.
        weights: Content of the `.model` file.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the file holds no SO3LR network, or one that cannot be run here.
    """
    network = _read_network(weights)
    network.r_max_lr = settings["cutoff_lr_angstrom"]
    network.dispersion_energy_cutoff_lr_damping = DISPERSION_DAMPING_ANGSTROM
    details = {
        "weights_sha256": weights.sha256,
        "so3krates-torch": version("so3krates-torch"),
        "cutoff_lr_angstrom": network.r_max_lr,
        "dispersion_damping_angstrom": DISPERSION_DAMPING_ANGSTROM,
    }
    return SO3LRModel(network, choose_device(device), DTYPES[settings["dtype"]], details)


def packaged(name: str, wanted: str | None, family: Family) -> Weights:
    """A network that so3krates-torch carries: code that was installed like the package itself.

    Args:
        name: Name that the package calls it by.
        wanted: Checksum that it must have, or None.
        family: The family `so3lr`.

    Raises:
        UserError: there is no such network, or it is another one.
    """
    folder = importlib.resources.files("so3krates_torch") / "pretrained" / name
    with importlib.resources.as_file(folder / f"{name}.model") as path:
        return packaged_weights(
            path, wanted, family, f"so3krates-torch {version('so3krates-torch')}"
        )


def _read_network(weights: Weights) -> SO3LR:
    path, cure = weights.path, weights.cure
    try:
        network = torch.load(weights.open(), map_location="cpu", weights_only=False)
    except Exception as error:
        raise UserError(
            f"{path}: torch cannot read these weights ({type(error).__name__}: {quoted(error)}); "
            f"{cure}"
        ) from error
    kind = type(network).__name__
    if not isinstance(network, SO3LR) or isinstance(network, MultiHeadSO3LR):
        raise UserError(f"{path}: a {kind} cannot be run here; give an SO3LR with one head")
    if not network.use_lr or getattr(network, "use_pme", False):
        raise UserError(
            f"{path}: has no long-range terms in real space, and cannot be run here; give an SO3LR "
            "with electrostatics or dispersion and without PME"
        )
    for parameter in network.parameters():
        parameter.requires_grad_(requires_grad=False)  # forces need the graph of positions only
    return network


def _elements(network: SO3LR) -> frozenset[int] | None:
    """Elements that the training saw; None where the weights do not tell.

    A network has a scale of the energy for each of 118 elements. Training moves those of the
    elements that it sees away from their initial 1.
    """
    scales = network.atomic_energy_output_block.energy_scales.weight.detach().cpu().numpy()
    return frozenset((np.flatnonzero(scales[0] != 1) + 1).tolist()) or None
