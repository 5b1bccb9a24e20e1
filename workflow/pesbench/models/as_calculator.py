"""A model of the contract as an ASE calculator, for ASE's optimisers and thermostats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from pesbench.core.errors import HostError
from pesbench.core.interface import Batch, Result, Status, Topology, is_host_failure, told


class EvaluationError(Exception):
    """The model has no energy and forces for a geometry; the message says why."""


def atoms_batch(frames: Sequence[Atoms]) -> Batch:
    """Atoms as a batch; `info` may carry `charge` and `spin` (multiplicity)."""
    return Batch(
        numbers=np.concatenate([atoms.numbers for atoms in frames]).astype(np.int64),
        positions=np.concatenate([atoms.positions for atoms in frames]).astype(np.float64),
        system=np.repeat(np.arange(len(frames)), [len(atoms) for atoms in frames]),
        cell=np.array([atoms.cell.array for atoms in frames], dtype=np.float64),
        pbc=np.array([atoms.pbc for atoms in frames], dtype=bool),
        charge=np.array([atoms.info.get("charge", 0) for atoms in frames], dtype=np.int64),
        spin=np.array([atoms.info.get("spin", 1) for atoms in frames], dtype=np.int64),
    )


class ModelCalculator(Calculator):
    """Energy in eV and forces in eV/Å of one system at a time.

    Args:
        evaluate: `Model.evaluate`, or a worker's in its stead.
        topology: Bond graph of the system, which a classical force field needs.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(
        self, evaluate: Callable[[Batch], Result], topology: Topology | None = None
    ) -> None:
        super().__init__()
        self._evaluate = evaluate
        self._topologies = () if topology is None else (topology,)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy", "forces"),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results`.

        Raises:
            EvaluationError: the model failed on this geometry, or has no energies.
            HostError: the machine failed.
        """
        super().calculate(atoms, properties, system_changes)
        try:
            batch = replace(atoms_batch([self.atoms]), topologies=self._topologies)
            result = self._evaluate(batch)
        except (EvaluationError, HostError):
            raise
        except Exception as error:
            if is_host_failure(error):
                raise HostError(f"out of memory on the host ({told(error)})") from error
            raise EvaluationError(told(error)) from error
        if result.status[0] is not Status.OK:
            raise EvaluationError(f"{result.status[0]}: {result.messages[0]}")
        if result.energies is None:
            raise EvaluationError("the model has forces only")
        results: dict[str, Any] = {"energy": float(result.energies[0]), "forces": result.forces}
        self.results = results
