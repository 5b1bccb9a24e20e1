"""Relaxation of many molecules in lock-step, with the model under test.

The steps are those of ASE's BFGS, one optimiser a molecule; only the energies and forces come from
common batches, which is where the time goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from pesbench.core.interface import Batch, Result, Status, batch_of
from pesbench.core.systems import System

if TYPE_CHECKING:
    from ase.optimize import BFGS


@dataclass(frozen=True)
class Relaxed:
    """Result of the relaxation of a molecule.

    Attributes:
        positions: The last geometry that the model answered for, Å, shape (N, 3).
        status: `ok` even where the minimum was not reached; anything else if the model could not
            be asked about the first geometry, which leaves nothing to start from.
        converged: Whether the largest force is below the limit.
        steps: Taken.
        fmax: Largest force on an atom there, eV/Å; NaN if there is none.
        message: Why it is not converged, or "".
        energy: Potential energy there in eV; NaN if there is none.
    """

    positions: NDArray[np.float64]
    status: Status
    converged: bool
    steps: int
    fmax: float
    message: str = ""
    energy: float = float("nan")


def relax(
    systems: Sequence[System],
    evaluate: Callable[[Batch], Result],
    *,
    max_steps: int,
    fmax: float,
) -> list[Relaxed]:
    """Relax molecules; one that does not reach a minimum keeps its last geometry, with the reason.

    A model that fails on the way ends the relaxation of that molecule at the geometry before.

    Args:
        systems: Systems with their initial geometries.
        evaluate: The model.
        max_steps: Largest number of steps of BFGS; each is one evaluation.
        fmax: A molecule is relaxed when no atom's force is larger, eV/Å.

    Returns:
        One a molecule, in order.
    """
    from ase.optimize import BFGS  # 0.3 s, which every start of Snakemake would pay

    atoms = [Atoms(system.numbers, system.positions) for system in systems]
    optimisers = [BFGS(molecule, logfile=None) for molecule in atoms]
    ends = [Relaxed(s.positions, Status.OK, False, 0, np.nan) for s in systems]
    active = list(range(len(systems)))
    for step in range(max_steps + 1):
        if not active:
            break
        batch = batch_of(
            [systems[k] for k in active],
            [atoms[k].positions for k in active],
            [(systems[k].id, step) for k in active],
        )
        result = evaluate(batch)
        forces = np.split(result.forces, np.cumsum([len(atoms[k]) for k in active])[:-1])
        remaining = []
        for place, k in enumerate(active):
            status, message = result.status[place], result.messages[place]
            if status is not Status.OK:
                said = f"relaxation step {step}: {status}: {message}"
                lost = status if step == 0 else Status.OK
                ends[k] = replace(ends[k], status=lost, message=said)
                continue
            largest = float(np.linalg.norm(forces[place], axis=1).max())
            energy = None if result.energies is None else float(result.energies[place])
            ends[k] = Relaxed(
                atoms[k].positions.copy(), Status.OK, largest <= fmax, step, largest,
                "" if largest <= fmax else f"not relaxed after {step} steps",
                float("nan") if energy is None else energy,
            )  # fmt: skip
            if largest <= fmax or step == max_steps:
                continue
            atoms[k].calc = SinglePointCalculator(atoms[k], energy=energy, forces=forces[place])
            if _moved(optimisers[k], atoms[k]):
                remaining.append(k)
        active = remaining
    return ends


def _moved(optimiser: BFGS, atoms: Atoms) -> bool:
    """Take one step; False where forces of an absurd size leave none to take."""
    try:
        optimiser.step()
    except Exception:  # for any error of linear algebra
        return False
    return bool(np.isfinite(atoms.positions).all())
