"""Weights that a MACE training begins with, in a file that holds tensors and plain values only.

`mace_run_train` begins with a pickled network, which runs code when it is read. Here the network is
built from its settings, as `mace_run_train` builds it, and its weights are read into it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.text import quoted
from pesbench.files.atomic import atomic_path
from pesbench.testbed.tensors import atomic_energies
from pesbench.training.mace_settings import MACETraining

FORMAT, VERSION = "pesbench-mace-start", 1
_BATCH = 32
_AGAIN = "make it again with `pesbench pretrain`"


def neighbours(frames: Sequence[Atoms], cutoff: float) -> float:
    """Mean number of atoms within a cutoff in Å, by which MACE divides its messages."""
    within = [(atoms.get_all_distances() < cutoff).sum() - len(atoms) for atoms in frames]
    return float(sum(within) / sum(len(atoms) for atoms in frames))


def untrained(
    training: MACETraining, elements: Sequence[int], avg_num_neighbors: float, seed: int
) -> torch.nn.Module:
    """A network with random weights, in float32; its energies of atoms are 0.

    Args:
        training: Architecture.
        elements: Atomic numbers, ascending.
        avg_num_neighbors: Mean number of neighbours.
        seed: Of the weights.
    """
    from e3nn import o3
    from mace import modules

    channels = training.num_channels
    irreps = [f"{channels}x{degree}{'oe'[degree % 2 == 0]}" for degree in range(training.max_l + 1)]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(seed)
    try:
        # of classes of e3nn, whatever they hold
        warnings.filterwarnings("ignore", message="The TorchScript type system")
        return modules.ScaleShiftMACE(
            r_max=training.r_max,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=training.max_ell,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
            num_interactions=2,
            num_elements=len(elements),
            hidden_irreps=o3.Irreps("+".join(irreps)),
            MLP_irreps=o3.Irreps("16x0e"),
            atomic_energies=np.zeros((1, len(elements))),
            avg_num_neighbors=avg_num_neighbors,
            atomic_numbers=list(elements),
            correlation=training.correlation,
            gate=modules.gate_dict["silu"],
            pair_repulsion=training.pair_repulsion,
            use_reduced_cg=False,
            radial_MLP=[64, 64, 64],
            radial_type="bessel",
            heads=["Default"],
            atomic_inter_scale=[1.0],
            atomic_inter_shift=[0.0],
        )
    finally:
        torch.set_default_dtype(before)


def write_start(network: torch.nn.Module, path: Path) -> None:
    """Write the weights of a network of `untrained`, or of one that `mace_run_train` made alike."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "elements": [int(z) for z in network.atomic_numbers],
        "avg_num_neighbors": float(network.interactions[0].avg_num_neighbors),
        "state": {name: one.detach().cpu() for name, one in network.state_dict().items()},
    }
    with atomic_path(path) as part:
        torch.save(content, part)


def read_start(path: Path, training: MACETraining) -> torch.nn.Module:
    """A network with the weights of a file; only tensors and plain values are unpickled.

    Raises:
        UserError: the file holds something else, or weights of another architecture.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        why = f"{type(error).__name__}: {quoted(error)}"
        raise UserError(f"{path}: torch cannot read these weights ({why}); {_AGAIN}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: no weights for MACE to start from; {_AGAIN}")
    if content.get("version") != VERSION:
        raise UserError(f"{path}: of another version than {VERSION}; {_AGAIN}")
    try:
        network = untrained(training, content["elements"], content["avg_num_neighbors"], 0)
        network.load_state_dict(content["state"])
    except (KeyError, TypeError, RuntimeError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: weights of another architecture ({said}); {_AGAIN}") from error
    return network


def graphs_of(network: torch.nn.Module, frames: Sequence[Atoms]) -> list[Any]:
    """Frames as the graphs that a network takes, see `joined`.

    Raises:
        UserError: a frame holds an element that the network does not know.
    """
    from mace import data, tools

    known = [int(z) for z in network.atomic_numbers]
    for atoms in frames:
        if unknown := sorted(set(atoms.numbers.tolist()) - set(known)):
            raise UserError(
                f"a frame of {atoms.info.get('system', atoms.symbols)} holds element {unknown[0]}, "
                "which the weights to start from do not know; pretrain with it, or take it out"
            )
    table = tools.AtomicNumberTable(known)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        return [
            data.AtomicData.from_config(
                data.config_from_atoms(Atoms(atoms.numbers, atoms.positions)),
                z_table=table,
                cutoff=float(network.r_max),
                heads=["Default"],
            )
            for atoms in frames
        ]
    finally:
        torch.set_default_dtype(before)


def joined(graphs: Sequence[Any]) -> dict[str, torch.Tensor]:
    """Graphs as one input of a network."""
    from mace.tools import torch_geometric

    return torch_geometric.Batch.from_data_list(list(graphs)).to_dict()


def refitted_energies(frames: Sequence[Atoms], start: torch.nn.Module | None) -> dict[int, float]:
    """Energies of the elements that sum, with what a network gives, to those of the frames.

    Args:
        frames: Labelled.
        start: The network to begin with; None for none.

    Returns:
        eV by atomic number, ascending; least squares, of least change where the frames do not tell.
    """
    elements = sorted({int(z) for atoms in frames for z in atoms.numbers})
    symbols = {atomic_numbers[symbol]: symbol for atoms in frames for symbol in atoms.symbols}
    given: NDArray[np.float64] | float = 0.0
    own = dict.fromkeys(elements, 0.0)
    if start is not None:
        graphs = graphs_of(start, frames)
        with torch.no_grad():
            found = [
                start(joined(graphs[k : k + _BATCH]), compute_force=False)["energy"]
                for k in range(0, len(graphs), _BATCH)
            ]
        given = torch.cat(found).double().numpy()
        energies = start.atomic_energies_fn.atomic_energies.double().reshape(-1)
        places = [int(z) for z in start.atomic_numbers]
        own = {z: float(energies[places.index(z)]) for z in elements}
    change = atomic_energies(frames, [symbols[z] for z in elements], given)
    return {z: own[z] + float(one) for z, one in zip(elements, change, strict=True)}
