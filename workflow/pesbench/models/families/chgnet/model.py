"""The adapter of family `chgnet`: the graphs that chgnet builds, several in a call."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from chgnet.graph.crystalgraph import CrystalGraph
from chgnet.model.model import CHGNet
from numpy.typing import NDArray
from pymatgen.core import Lattice, Structure

from pesbench.core.errors import UserError
from pesbench.core.family import Family
from pesbench.core.interface import Batch, ModelInfo, Result
from pesbench.core.text import quoted
from pesbench.models.packaged import packaged_weights
from pesbench.models.torch_devices import choose_device, telling_out_of_memory, torch_details
from pesbench.models.vacuum_box import boxed
from pesbench.models.weights import Weights

# Po, At, Rn, Fr and Ra: in none of the data sets of the Materials Project, and the networks have
# an embedding and a reference energy for them that no training has changed
_UNTRAINED = frozenset(range(84, 89))
_LEAST_REFERENCE_EV = 1e-9  # the reference energy of an element without data is zero or rounding


class CHGNetModel:
    """A CHGNet network behind the contract. It computes in float32, as chgnet does.

    Args:
        network: Network as chgnet made it.
        device: Device that it computes on.
        padding_angstrom: What the box of a molecule is larger than the molecule, in Å.
        details: Details for the provenance.
    """

    def __init__(
        self,
        network: CHGNet,
        device: torch.device,
        padding_angstrom: float,
        details: dict[str, Any],
    ) -> None:
        # an atom that has lost all its neighbours has an energy and no force
        network.graph_converter.set_isolated_atom_response("ignore")
        for parameter in network.parameters():
            parameter.requires_grad_(requires_grad=False)  # forces need the graph of positions only
        self._network = network.to(device).eval()
        self._device = device
        self._padding = padding_angstrom
        self._info = ModelInfo(
            elements=_elements(network),
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
        graphs = [self._graph(batch, system) for system in range(batch.n_systems)]
        energies, forces = np.empty(batch.n_systems), np.empty((batch.n_atoms, 3))
        # The network leaves its layer of bonds out where no graph of the batch has an angle, and
        # its biases else change the bonds of a molecule without angles, which has to go apart.
        angles = np.array([len(graph.bond_graph) > 0 for graph in graphs])
        with telling_out_of_memory():
            for group in (np.flatnonzero(angles), np.flatnonzero(~angles)):
                if len(group):
                    atoms = np.isin(batch.system, group)
                    energies[group], forces[atoms] = self._evaluate([graphs[s] for s in group])
        return Result.ok(energies, forces)

    def _graph(self, batch: Batch, system: int) -> CrystalGraph:
        mine = batch.system == system
        positions, cell, pbc = batch.positions[mine], batch.cell[system], batch.pbc[system]
        if not pbc.any():
            cell, pbc = boxed(positions, self._padding)
            # float32 has steps of 1e-5 Å at 100 Å from the origin
            positions = positions - (positions.min(axis=0) + positions.max(axis=0)) / 2
        lattice = Lattice(cell, pbc=tuple(pbc.tolist()))
        numbers = batch.numbers[mine].tolist()
        return self._network.graph_converter(
            Structure(lattice, numbers, positions, coords_are_cartesian=True)
        )

    def _evaluate(
        self, graphs: Sequence[CrystalGraph]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies in eV, shape (S,), and forces in eV/Å, shape (A, 3).

        `predict_graph` computes forces in a way that could be differentiated again, which takes
        more time and memory.
        """
        output = self._network([graph.to(self._device) for graph in graphs], task="e")
        sizes = torch.tensor([len(graph.atomic_number) for graph in graphs], device=self._device)
        energies = output["e"] * sizes if self._network.is_intensive else output["e"]
        gradients = torch.autograd.grad(
            energies.sum(), [graph.atom_frac_coord for graph in graphs], materialize_grads=True
        )
        forces = [
            -np.linalg.solve(graph.lattice.detach().double().numpy(), gradient.double().numpy().T).T
            for graph, gradient in zip(graphs, gradients, strict=True)
        ]
        return energies.detach().to("cpu", torch.float64).numpy(), np.concatenate(forces)


def load_chgnet(settings: Mapping[str, Any], weights: Weights, device: str) -> CHGNetModel:
    """A CHGNet network from the settings of its entry.

    Args:
        settings: `vacuum_box_angstrom` and perhaps `pretrained`.
        weights: Content of the `.pth.tar` file.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UserError: the file holds no CHGNet network.
    """
    # as `CHGNet.load`: the file does not say that the oldest network has this bias
    options = {"mlp_out_bias": True} if settings.get("pretrained") == "0.2.0" else {}
    network = _read_network(weights, options)
    details = {
        "weights_sha256": weights.sha256,
        "chgnet": version("chgnet"),
        "vacuum_box_angstrom": settings["vacuum_box_angstrom"],
    }
    return CHGNetModel(network, choose_device(device), settings["vacuum_box_angstrom"], details)


def packaged(name: str, wanted: str | None, family: Family) -> Weights:
    """A network that chgnet's package carries.

    Args:
        name: Name that chgnet calls it by.
        wanted: Checksum that it must have, or None.
        family: The family `chgnet`.

    Raises:
        UserError: there is no such network, or it is another one.
    """
    with importlib.resources.as_file(importlib.resources.files("chgnet")) as package:
        folder = package / "pretrained" / name
        path = min(folder.glob("*.pth.tar"), default=folder / "*.pth.tar")
        return packaged_weights(path, wanted, family, f"chgnet {version('chgnet')}")


def _read_network(weights: Weights, options: Mapping[str, Any]) -> CHGNet:
    path, cure = weights.path, weights.cure
    try:
        state = torch.load(weights.open(), map_location="cpu", weights_only=True)
        return CHGNet.from_dict(state["model"], **options)
    except Exception as error:
        raise UserError(
            f"{path}: chgnet cannot read these weights ({type(error).__name__}: {quoted(error)}); "
            f"{cure}"
        ) from error


def _elements(network: CHGNet) -> frozenset[int]:
    """Elements of the data that the network was trained on."""
    known = set(range(1, network.atom_embedding.embedding.num_embeddings + 1)) - _UNTRAINED
    if network.composition_model is not None:
        references = network.composition_model.fc.weight.detach().cpu().numpy()[0]
        fitted = np.flatnonzero(np.abs(references) > _LEAST_REFERENCE_EV) + 1
        known &= set(fitted.tolist())
    return frozenset(known)
