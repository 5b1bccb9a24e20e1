"""One training of a small SevenNet network, in a process of sevenn's environment.

    python -m pesbench.models.families.sevennet.train JOB

JOB is the JSON that `pesbench.training.sevennet` writes. The network is sevenn's, the loop is ours
and not sevenn's trainer, so that it resumes exactly: after each epoch the state is written beside
it, and the order of the frames of an epoch follows from the seed and the epoch alone. The
checkpoint that is left holds what sevenn's own calculator needs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import sevenn
import sevenn._keys as keys
import torch
from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG
from sevenn.atom_graph_data import AtomGraphData
from sevenn.model_build import build_E3_equivariant_model
from sevenn.train.dataload import unlabeled_atoms_to_graph
from torch_geometric.data import Batch as GraphBatch

STATE, WEIGHTS, HISTORY = "state.pt", "weights.pth", "history.json"  # in the folder of a job
ENERGY, FORCES = "REF_energy", "REF_forces"


@dataclass(frozen=True)
class Labelled:
    """A frame with its labels.

    Attributes:
        graph: As sevenn builds it.
        energy_ev: Its energy above that of its isolated atoms, eV.
        forces: eV/Å, shape (N, 3).
    """

    graph: AtomGraphData
    energy_ev: float
    forces: torch.Tensor


def read_labelled(path: Path, cutoff: float, atoms_ev: Mapping[int, float]) -> list[Labelled]:
    """Frames of a file with energies and forces, each about the origin."""
    found = []
    for atoms in ase.io.read(path, index=":", format="extxyz"):
        alone = sum(atoms_ev[int(z)] for z in atoms.numbers)
        positions = atoms.get_positions()
        atoms.set_positions(positions - (positions.min(axis=0) + positions.max(axis=0)) / 2)
        graph = AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, cutoff))
        forces = torch.tensor(atoms.arrays[FORCES], dtype=torch.float32)
        found.append(Labelled(graph, float(atoms.info[ENERGY]) - alone, forces))
    return found


def network_config(job: Mapping[str, Any], frames: Sequence[Labelled]) -> dict[str, Any]:
    """The configuration that sevenn builds the network from, and keeps in its checkpoints.

    The energy of an atom is shifted by the mean of the frames and scaled by the root mean square
    of their forces; the isolated atoms' energies come on top of the shift, by element.

    Args:
        job: `l_max`, `channels`, `layers`, `cutoff_angstrom` and `atoms_ev`.
        frames: Frames that are trained on.
    """
    elements = sorted(int(z) for z in job["atoms_ev"])
    atoms = sum(len(one.forces) for one in frames)
    edges = sum(one.graph[keys.EDGE_IDX].shape[1] for one in frames)
    shift = sum(one.energy_ev for one in frames) / atoms
    forces = torch.cat([one.forces for one in frames])
    return DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG | {
        "cutoff": float(job["cutoff_angstrom"]),
        "channel": int(job["channels"]),
        "lmax": int(job["l_max"]),
        "is_parity": False,
        "num_convolution_layer": int(job["layers"]),
        "self_connection_type": "linear",
        "conv_denominator": edges / atoms,
        "shift": [job["atoms_ev"][str(z)] + shift for z in elements],
        "scale": [float(forces.pow(2).mean().sqrt())] * len(elements),
        "version": sevenn.__version__,
        "chemical_species": [ase.data.chemical_symbols[z] for z in elements],
        "_number_of_species": len(elements),
        "_type_map": {z: k for k, z in enumerate(elements)},
    }


@dataclass
class Training:
    """A training under way.

    Attributes:
        job: `epochs`, `batch_frames`, `learning_rate`, `seed` and the weights of energy and force.
        folder: Folder of the state.
    """

    job: Mapping[str, Any]
    folder: Path

    def __post_init__(self) -> None:
        cutoff = float(self.job["cutoff_angstrom"])
        self._alone = {int(z): float(value) for z, value in self.job["atoms_ev"].items()}
        self.train, self.valid = (
            read_labelled(self.folder / f"{part}.extxyz", cutoff, self._alone)
            for part in ("train", "valid")
        )
        torch.manual_seed(int(self.job["seed"]))
        self.config = network_config(self.job, self.train)
        self.network = build_E3_equivariant_model(dict(self.config))
        self.network.set_is_batch_data(True)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=float(self.job["learning_rate"]), amsgrad=True
        )
        gamma = float(self.job["final_share"]) ** (1 / max(1, int(self.job["epochs"]) - 1))
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, gamma)
        self.history: list[dict[str, float]] = []

    def run(self) -> None:
        """Train the epochs that the state does not hold yet, and write the weights."""
        self._restore()
        for epoch in range(len(self.history), int(self.job["epochs"])):
            start = time.process_time()
            loss = self._epoch(epoch)
            self.history.append(
                {"loss": loss, **self._errors(), "processor_s": time.process_time() - start}
            )
            self.scheduler.step()
            self._save()
            print(f"epoch {epoch + 1}: {json.dumps(self.history[-1])}", flush=True)
        state = {"model_state_dict": self.network.state_dict(), "config": self.config}
        _write(state | {"epoch": len(self.history)}, self.folder / WEIGHTS)
        (self.folder / HISTORY).write_text(json.dumps(self.history), encoding="utf-8")

    def _answers(self, frames: Sequence[Labelled]) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies above those of isolated atoms in eV, and forces in eV/Å."""
        graphs = GraphBatch.from_data_list([one.graph.clone() for one in frames])
        output = self.network(graphs)
        alone = [sum(self._alone[int(z)] for z in one.graph[keys.ATOMIC_NUMBERS]) for one in frames]
        # the shift holds the isolated atoms, whose energy sevenn adds up in float32
        energies = output[keys.PRED_TOTAL_ENERGY].double() - torch.tensor(alone).double()
        return energies, output[keys.PRED_FORCE]

    def _epoch(self, epoch: int) -> float:
        self.network.train()
        order = np.random.default_rng([int(self.job["seed"]), epoch]).permutation(len(self.train))
        size, losses = int(self.job["batch_frames"]), []
        for start in range(0, len(order), size):
            some = [self.train[k] for k in order[start : start + size]]
            atoms = torch.tensor([len(one.forces) for one in some], dtype=torch.float64)
            energies, forces = self._answers(some)
            wanted = torch.tensor([one.energy_ev for one in some], dtype=torch.float64)
            of_energy = (((energies - wanted) / atoms) ** 2).mean()
            of_force = ((forces - torch.cat([one.forces for one in some])) ** 2).mean()
            loss = self.job["energy_weight"] * of_energy + self.job["force_weight"] * of_force
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def _errors(self) -> dict[str, float]:
        self.network.eval()
        of_energy, of_force = [], []
        size = int(self.job["batch_frames"])
        for start in range(0, len(self.valid), size):
            some = self.valid[start : start + size]
            energies, forces = self._answers(some)
            wanted = torch.tensor([one.energy_ev for one in some], dtype=torch.float64)
            atoms = torch.tensor([len(one.forces) for one in some])
            of_energy += ((energies.detach() - wanted).abs() / atoms).tolist()
            of_force.append(
                float((forces.detach() - torch.cat([one.forces for one in some])).abs().mean())
            )
        return {
            "energy_mae_mev_per_atom": 1000 * float(np.mean(of_energy)),
            "force_mae_mev_per_angstrom": 1000 * float(np.mean(of_force)),
        }

    def _save(self) -> None:
        _write(
            {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "history": self.history,
            },
            self.folder / STATE,
        )

    def _restore(self) -> None:
        path = self.folder / STATE
        if not path.is_file():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.history = list(state["history"])
        print(f"going on after epoch {len(self.history)}", flush=True)


def _write(content: Mapping[str, Any], path: Path) -> None:
    """Write a file of torch whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    torch.save(dict(content), part)
    part.replace(path)


def main(arguments: list[str]) -> None:
    """Train the job that the first argument names."""
    path = Path(arguments[0])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    Training(json.loads(path.read_text(encoding="utf-8")), path.parent).run()


if __name__ == "__main__":
    main(sys.argv[1:])
