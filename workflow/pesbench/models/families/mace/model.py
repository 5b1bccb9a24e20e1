"""The adapter of family `mace`: MACE models through TorchSim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch_sim as ts
from torch_sim.models.mace import MaceModel
from torch_sim.neighbors import vesin_nl_ts

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, NodeFeatures, NotDescribedError, Result
from pesbench.core.text import quoted
from pesbench.models.torch_devices import DTYPES, choose_device, telling_out_of_memory
from pesbench.models.torch_features import layer_outputs, node_features
from pesbench.models.torch_neighbours import MOST_ATOMS, neighbours
from pesbench.models.torchsim import TorchSimModel
from pesbench.models.weights import Weights

_CHARGE, _SPIN = "total_charge", "total_spin"  # as mace calls them; the spin is a multiplicity
# of mace's classes, those that have no energy, or need a field and densities as well
_NOT_SERVED = ("AtomicDielectricMACE", "AtomicDipolesMACE", "PolarMACE")


class _Complete(torch.nn.Module):
    """A network with what TorchSim 0.3 does not pass: the head, total charge and spin.

    Args:
        network: The network as mace made it.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.inputs: dict[str, torch.Tensor] = {}

    def forward(self, data: dict[str, torch.Tensor], **options: bool) -> dict[str, torch.Tensor]:
        return self.network(data | self.inputs, **options)


class _Batched(MaceModel):
    """TorchSim's model, which takes all molecules of a batch at once.

    TorchSim 0.3 counts atoms and looks for neighbours one system after another, which takes most of
    the time on a GPU.
    """

    def setup_from_system_idx(self, atomic_numbers: torch.Tensor, system_idx: torch.Tensor) -> None:
        count = torch.bincount(system_idx)
        self.atomic_numbers, self.system_idx = atomic_numbers, system_idx
        self.n_systems, self.total_atoms = len(count), len(system_idx)
        self.n_atoms_per_system = count.tolist()
        self.ptr = torch.nn.functional.pad(count.cumsum(0), (1, 0))
        known = torch.as_tensor(self.z_table.zs, device=self.device)
        kind = atomic_numbers[:, None] == known
        if not kind.any(dim=1).all():
            unknown = sorted(set(atomic_numbers.tolist()) - set(self.z_table.zs))
            raise ValueError(f"the network does not know the elements {unknown}")
        self.node_attrs = kind.to(self.dtype)

    def forward(self, state: ts.SimState) -> dict[str, torch.Tensor]:
        if state.pbc.any() or max(self.n_atoms_per_system) > MOST_ATOMS:
            return super().forward(state)
        edges = neighbours(state.positions, state.system_idx, self.r_max)
        no_shifts = state.positions.new_zeros((edges.shape[1], 3))
        found = self.model(
            {
                "ptr": self.ptr,
                "node_attrs": self.node_attrs,
                "batch": state.system_idx,
                "pbc": state.pbc,
                "cell": state.row_vector_cell,
                "positions": state.positions,
                "edge_index": edges,
                "unit_shifts": no_shifts,
                "shifts": no_shifts,
            },
            compute_force=True,
            compute_stress=False,
        )
        return {name: found[name].detach() for name in ("energy", "forces")}


class MACE(TorchSimModel):
    """A MACE model.

    Args:
        model: TorchSim's model of it.
        elements: Atomic numbers it knows.
        details: Details for the provenance.
        head: Index of the readout of a network that has several, or None.
        embedded: Inputs of the network beside the geometry: `total_charge`, `total_spin` or none.
    """

    _model: MaceModel

    def __init__(
        self,
        model: MaceModel,
        elements: frozenset[int],
        details: dict[str, Any],
        *,
        head: int | None = None,
        embedded: Sequence[str] = (),
    ) -> None:
        super().__init__(
            model, elements, details, charges=_CHARGE in embedded, spins=_SPIN in embedded
        )
        self._head = head
        self._embedded = tuple(embedded)
        if head is not None or embedded:
            model.model = _Complete(model.model)

    def on_new_composition(self, state: ts.SimState) -> None:
        super().on_new_composition(state)
        state.pbc = torch.as_tensor(state.pbc)

    def evaluate(self, batch: Batch) -> Result:
        self._set_inputs(batch)
        return super().evaluate(batch)

    def describe(self, batch: Batch) -> dict[str, NodeFeatures]:
        """The features after each product; those of the last are scalars.

        Raises:
            NotDescribedError: TorchScript or cuEquivariance computes the network.
        """
        held = self._model.model
        network = held.network if isinstance(held, _Complete) else held
        products = getattr(network, "products", ())
        if any(getattr(one, "cueq_config", None) is not None for one in products):
            raise NotDescribedError("cuEquivariance computes it; leave `enable_cueq` out")
        layers = {f"products.{k}": one for k, one in enumerate(products)}
        self._set_inputs(batch)
        with telling_out_of_memory():
            found = layer_outputs(layers, lambda: self._model(self._state_of(batch)))
        return {
            name: node_features(layers[name].linear.irreps_out, values)
            for name, values in found.items()
        }

    def _set_inputs(self, batch: Batch) -> None:
        """Give the network what it takes beside the geometry, which may change with it."""
        if isinstance(self._model.model, _Complete):
            self._model.model.inputs = self._inputs(batch)

    def _inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        device, dtype = self._model.device, self._model.dtype
        values = {_CHARGE: batch.charge, _SPIN: batch.spin}
        inputs = {
            name: torch.as_tensor(values[name], dtype=dtype, device=device)
            for name in self._embedded
        }
        if self._head is not None:
            inputs["head"] = torch.full((batch.n_systems,), self._head, device=device)
        return inputs


def load_mace(settings: Mapping[str, Any], weights: Weights, device: str) -> MACE:
    """A MACE model from the settings of its entry.

    Args:
        settings: `dtype`, `compile`, and perhaps `enable_cueq` and `head`.
        weights: Content of the `.model` file.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the file is no MACE model, or one that cannot be run here.
    """
    torch_device, dtype = choose_device(device), DTYPES[settings["dtype"]]
    torch.set_default_dtype(dtype)  # e3nn makes constants in the default precision
    path = weights.path
    network = _read_network(weights, torch_device)
    embedded = tuple(getattr(network, "embedding_specs", None) or ())
    unknown = sorted(set(embedded) - {_CHARGE, _SPIN})
    if unknown:
        raise UserError(
            f"{path}: the network takes `{unknown[0]}` as an input, which a scan does not have; "
            "give another model"
        )
    head = _choose_head(path, list(getattr(network, "heads", None) or ()), settings.get("head"))
    elements = frozenset(int(z) for z in network.atomic_numbers)
    if settings.get("enable_cueq"):
        network = _accelerated(network.to(dtype), torch_device)
    for parameter in network.parameters():
        parameter.requires_grad_(requires_grad=False)  # forces need the graph of positions only
    if settings["compile"]:
        from e3nn.util import jit  # imported after mace, which prepares torch for e3nn's files

        network = jit.compile(network)
    model = _Batched(
        network,
        device=torch_device,
        dtype=dtype,
        compute_stress=False,
        neighbor_list_fn=_neighbor_list,
    )
    details = {"weights_sha256": weights.sha256, "mace-torch": version("mace-torch")}
    return MACE(model, elements, details, head=head, embedded=embedded)


def _accelerated(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """The network with cuEquivariance's layers, as mace's own calculator makes it."""
    from mace.cli.convert_e3nn_cueq import run

    return run(network, device=device.type)


def _choose_head(path: Path, heads: list[str], wanted: str | None) -> int | None:
    """The index of a head, as `MACECalculator` chooses it; None for a network with one only."""
    if wanted is not None and wanted not in heads:
        known = ", ".join(heads) or "none with a name"
        raise UserError(f"{path}: no head {wanted!r}; its heads: {known}; correct `head`")
    if len(heads) < 2:
        return None
    default = [name for name in heads if name.lower() == "default"]
    if wanted is None and not default:
        raise UserError(
            f"{path}: the network has the heads {', '.join(heads)}; name one with `head`"
        )
    return heads.index(default[0] if wanted is None else wanted)


def _neighbor_list(
    positions: torch.Tensor, cell: torch.Tensor, pbc: torch.Tensor, cutoff: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """TorchSim's default neighbour list, with `pbc` as a tensor: a compiled MACE takes no bool."""
    return vesin_nl_ts(positions, cell, bool(pbc), cutoff)


def _read_network(weights: Weights, device: torch.device) -> torch.nn.Module:
    path, cure = weights.path, weights.cure
    try:
        network = torch.load(weights.open(), map_location=device, weights_only=False)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: needs the module {error.name!r}, which is not installed here: the checkpoint "
            f"of another package? {cure}"
        ) from error
    except Exception as error:
        raise UserError(
            f"{path}: torch cannot read these weights ({type(error).__name__}: {quoted(error)}); "
            f"{cure}"
        ) from error
    kind = type(network).__name__
    if isinstance(network, dict):
        keys = ", ".join(quoted(key, 40) for key in list(network)[:3])
        raise UserError(f"{path}: holds a {kind} with the keys {keys}, no MACE model; {cure}")
    if not all(hasattr(network, name) for name in ("atomic_numbers", "r_max", "forward")):
        raise UserError(f"{path}: holds a {kind}, no MACE model; {cure}")
    if kind in _NOT_SERVED:
        raise UserError(f"{path}: a {kind} cannot be run here; give a MACE or a ScaleShiftMACE")
    return network
