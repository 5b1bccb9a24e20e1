"""The adapter of family `sevennet`: checkpoints, on the graphs that sevenn builds.

sevenn's own TorchSim module needs a newer TorchSim and Python than the other families here, so that
the graphs of a batch are put together as sevenn's own inference does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sevenn._keys as keys
import torch
from ase import Atoms
from sevenn.atom_graph_data import AtomGraphData
from sevenn.checkpoint import SevenNetCheckpoint
from sevenn.nn.equivariant_gate import EquivariantGate
from sevenn.nn.sequential import AtomGraphSequential
from sevenn.train.dataload import unlabeled_atoms_to_graph
from sevenn.util import pretrained_name_to_path
from torch_geometric.data import Batch as GraphBatch

from pesbench.core.errors import UserError
from pesbench.core.family import Family
from pesbench.core.interface import Batch, ModelInfo, NodeFeatures, Result
from pesbench.core.text import quoted
from pesbench.models.packaged import packaged_weights
from pesbench.models.torch_devices import choose_device, telling_out_of_memory, torch_details
from pesbench.models.torch_features import layer_outputs, node_features
from pesbench.models.weights import Weights


class SevenNetModel:
    """A SevenNet network behind the contract. It computes in float32, as sevenn does.

    Args:
        network: Network that `SevenNetCheckpoint.build_model` made, which tells its elements and
            its cutoff.
        device: Device that it computes on.
        details: Details for the provenance.
        modal: Level of a multi-fidelity network; None for any other network.
    """

    def __init__(
        self,
        network: AtomGraphSequential,
        device: torch.device,
        details: dict[str, Any],
        modal: str | None = None,
    ) -> None:
        network.set_is_batch_data(True)
        self._network = network.to(device, torch.float32).eval()
        self._device = device
        self._modal = modal
        self._info = ModelInfo(
            elements=frozenset(int(z) for z in network.type_map or ()),
            charges=False,
            batched=True,
            device=str(device),
            dtype="float32",
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
            output = self._network(self._graphs(batch))
            energies = output[keys.PRED_TOTAL_ENERGY].detach().to("cpu", torch.float64).numpy()
            forces = output[keys.PRED_FORCE].detach().to("cpu", torch.float64).numpy()
        return Result.ok(energies, forces)

    def describe(self, batch: Batch) -> dict[str, NodeFeatures]:
        """The features after the gate of each interaction; those of the last are scalars."""
        layers = {
            name: one
            for name, one in self._network.named_children()
            if isinstance(one, EquivariantGate)
        }
        with telling_out_of_memory():
            found = layer_outputs(
                layers,
                lambda: self._network(self._graphs(batch)),
                lambda output: output[keys.NODE_FEATURE],
            )
        return {
            name: node_features(layers[name].gate.irreps_out, values)
            for name, values in found.items()
        }

    def _graphs(self, batch: Batch) -> GraphBatch:
        graphs = [self._graph(batch, system) for system in range(batch.n_systems)]
        return GraphBatch.from_data_list(graphs).to(self._device)

    def _graph(self, batch: Batch, system: int) -> AtomGraphData:
        mine = batch.system == system
        positions = batch.positions[mine]
        if not batch.pbc[system].any():
            # the box in which sevenn looks for neighbours of a molecule reaches from the origin to
            # the farthest atom, and its memory grows with it
            positions = positions - (positions.min(axis=0) + positions.max(axis=0)) / 2
        atoms = Atoms(batch.numbers[mine], positions, cell=batch.cell[system])
        atoms.pbc = batch.pbc[system]
        graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, self._network.cutoff))
        if self._modal is not None:
            graph[keys.DATA_MODALITY] = self._modal
        return graph


def load_sevennet(settings: Mapping[str, Any], weights: Weights, device: str) -> SevenNetModel:
    """A SevenNet network from the settings of its entry.

    Args:
        settings: Perhaps `modal`.
        weights: Content of the checkpoint.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the file is no SevenNet checkpoint or another one, or `modal` does not fit it.
    """
    torch_device = choose_device(device)
    network = _read_checkpoint(weights)
    modal = _choose_modal(weights.path, sorted(network.modal_map or ()), settings.get("modal"))
    details = {
        "weights_sha256": weights.sha256,
        "sevenn": version("sevenn"),
        "e3nn": version("e3nn"),
    }
    return SevenNetModel(network, torch_device, details, modal)


def packaged(name: str, wanted: str | None, family: Family) -> Weights:
    """A checkpoint that sevenn's package carries: code that was installed like the package itself.

    Args:
        name: Name that sevenn calls it by.
        wanted: Checksum that it must have, or None.
        family: The family `sevennet`.

    Raises:
        UserError: there is no such checkpoint, or it is another one.
    """
    try:
        path = Path(pretrained_name_to_path(name))
    except (FileNotFoundError, ValueError) as error:
        raise UserError(
            f"sevenn {version('sevenn')} carries no checkpoint {name!r}; give its file as `weights`"
        ) from error
    return packaged_weights(path, wanted, family, f"sevenn {version('sevenn')}")


def _read_checkpoint(weights: Weights) -> AtomGraphSequential:
    path, cure = weights.path, weights.cure
    try:
        with weights.file() as copy:
            checkpoint = SevenNetCheckpoint(copy)
            whole = checkpoint.config and checkpoint.model_state_dict
            network = checkpoint.build_model() if whole else None
    except Exception as error:
        raise UserError(
            f"{path}: sevenn cannot read this checkpoint ({type(error).__name__}: "
            f"{quoted(error)}); {cure}"
        ) from error
    if network is None:
        raise UserError(f"{path}: holds no SevenNet checkpoint; {cure}")
    for parameter in network.parameters():
        parameter.requires_grad_(requires_grad=False)  # forces need the graph of edges only
    return network


def _choose_modal(path: Path, known: list[str], wanted: str | None) -> str | None:
    """The level that is asked for; None for a network with one only."""
    if wanted is None and not known:
        return None
    if wanted is None:
        raise UserError(
            f"{path}: the network was trained on {', '.join(known)}; name one with `modal`"
        )
    if wanted not in known:
        names = ", ".join(known) or "none, it was trained on one only"
        raise UserError(f"{path}: no level {wanted!r}; its levels: {names}; correct `modal`")
    return wanted
