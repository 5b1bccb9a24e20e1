"""Geometries that a check shows of what failed, as ASE knows them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from pesbench.core.interface import Batch, Result, Status

Array = NDArray[np.float64]


def geometry(
    numbers: NDArray[np.int64],
    positions: Array,
    note: str,
    *,
    energy: float = float("nan"),
    forces: Array | None = None,
    charge: int = 0,
    spin: int = 1,
) -> Atoms:
    """A geometry with what a model says of it.

    Args:
        numbers: Atomic numbers, shape (N,).
        positions: Å, shape (N, 3).
        note: What it is.
        energy: eV; NaN where the model gave none.
        forces: eV/Å, shape (N, 3), None or not finite where the model gave none.
        charge: Total charge in e.
        spin: Multiplicity.
    """
    atoms = Atoms(numbers, positions, info={"note": note, "charge": charge, "spin": spin})
    said = {} if np.isnan(energy) else {"energy": float(energy)}
    if forces is not None and np.isfinite(forces).all():
        said["forces"] = np.array(forces)
    if said:
        atoms.calc = SinglePointCalculator(atoms, **said)
    return atoms


def of_batch(batch: Batch, result: Result | None, systems: Sequence[int], note: str) -> list[Atoms]:
    """Some systems of a batch, each with the model's answer where it is ok.

    Args:
        batch: S systems.
        result: The model's answer; None where there is none to show.
        systems: Which of them.
        note: What they show; the label of a system, where it has one, is put before it.
    """
    shown = []
    for s in systems:
        atoms = batch.system == s
        energy, forces = float("nan"), None
        if result is not None and result.status[s] is Status.OK:
            forces = result.forces[atoms]
            energy = energy if result.energies is None else float(result.energies[s])
        label = " ".join(str(part) for part in batch.labels[s]) if batch.labels else ""
        shown.append(
            geometry(
                batch.numbers[atoms],
                batch.positions[atoms],
                f"{label}: {note}" if label else note,
                energy=energy,
                forces=forces,
                charge=int(batch.charge[s]),
                spin=int(batch.spin[s]),
            )
        )
    return shown
