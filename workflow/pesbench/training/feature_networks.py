"""The networks of testbed and MACE as sources of features of atoms, for pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor, nn

from pesbench.models.families.testbed.network import AttentionPotential
from pesbench.testbed.tensors import rotations
from pesbench.training.mace_start import graphs_of, joined


class TestbedFeatures:
    """The atoms' own tokens, each frame turned at random: nothing in the network is symmetric.

    Args:
        module: The network.
    """

    __test__ = False  # no test, whatever pytest makes of its name

    def __init__(self, module: AttentionPotential) -> None:
        self.module: AttentionPotential = module

    def features(self, frames: Sequence[Atoms], generator: np.random.Generator) -> Tensor:
        """Features of the atoms of all frames, shape (A, channels)."""
        n = max(len(atoms) for atoms in frames)
        positions = torch.zeros((len(frames), n, 3))
        numbers = torch.zeros((len(frames), n), dtype=torch.long)
        for k, atoms in enumerate(frames):
            centred = atoms.positions - atoms.positions.mean(axis=0)
            positions[k, : len(atoms)] = torch.tensor(centred, dtype=torch.float32)
            numbers[k, : len(atoms)] = torch.tensor(atoms.numbers)
        turned = positions @ rotations(len(frames), generator)
        found, _ = self.module.atoms(turned, numbers, numbers > 0)
        return found[numbers > 0]


class MACEFeatures:
    """The features after all products of a MACE network, whose last layer has scalars only.

    Args:
        module: The network, of `mace_start.untrained`.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._graphs: dict[int, tuple[Atoms, Any]] = {}  # the frame with it, so that ids stay its

    def features(self, frames: Sequence[Atoms], generator: np.random.Generator) -> Tensor:
        """Features of the atoms of all frames, shape (A, D); nothing in it is random."""
        new = [atoms for atoms in frames if id(atoms) not in self._graphs]
        for atoms, graph in zip(new, graphs_of(self.module, new), strict=True):
            self._graphs[id(atoms)] = atoms, graph
        batch = joined([self._graphs[id(atoms)][1] for atoms in frames])
        return self.module(batch, compute_force=False)["node_feats"]
