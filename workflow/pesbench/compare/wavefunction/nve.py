"""Dynamics at constant energy with states that are calculated along the way, and their error.

The states of one molecule begin with that of its first geometry. A short run with the states so far
visits geometries; the one at which the variance of the energy is largest is calculated next, and
the run begins again. With the last states one long run follows, whose geometries are compared with
full CI at equal intervals.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from ase.units import Bohr, Hartree
from numpy.typing import NDArray

from pesbench.compare.wavefunction.scans import model_of
from pesbench.core.progress import track
from pesbench.models.as_calculator import EvaluationError, ModelCalculator
from pesbench.models.families.wavefunction.full_ci import solved
from pesbench.models.families.wavefunction.supported import STATES
from pesbench.tasks.dynamics.start import starting_velocities
from pesbench.training.wavefunction import Trainer
from pesbench.training.wavefunction_plan import MoleculePlan

VISITED = 40  # geometries of a short run whose variance is asked for


@dataclass(frozen=True)
class Run:
    """What is run.

    Attributes:
        calculations: Reference calculations, at most.
        steps: Steps of the long run.
        exploring_steps: Steps of a short run.
        every: Steps between two geometries that are compared with full CI.
        timestep_fs: Time of a step, fs.
        temperature_k: Velocities are drawn for twice this temperature, K.
        length_angstrom: Bonds of the first geometry; None for the molecule's own.
    """

    calculations: int = 22
    steps: int = 12_000
    exploring_steps: int = 1500
    every: int = 50
    timestep_fs: float = 0.5
    temperature_k: float = 300.0
    length_angstrom: float | None = None


def _start(plan: MoleculePlan, trainer: Trainer, run: Run) -> Atoms:
    """The first geometry with velocities that depend on the molecule's name alone."""
    atoms = Atoms(plan.system.numbers, trainer.positions[0])
    atoms.set_velocities(
        starting_velocities(plan.system, atoms.positions, run.temperature_k, replicate=0)
    )
    # the atoms of the run keep the order of its own training, also where it is no longer a chain
    model = model_of(trainer.states(), STATES, None, in_order=True)
    atoms.calc = ModelCalculator(model.evaluate)
    return atoms


def _steps(atoms: Atoms, run: Run, steps: int) -> Iterator[Atoms]:
    """The atoms at the start and after every step; ends where the model has no answer."""
    integrator = VelocityVerlet(atoms, timestep=run.timestep_fs * units.fs)
    yield atoms
    for _ in range(steps):
        try:
            integrator.run(1)
        except EvaluationError:
            return
        yield atoms


def calculated_along(
    plan: MoleculePlan, first: NDArray[np.float64], run: Run
) -> tuple[Trainer, list[float]]:
    """States that are calculated where short runs with the earlier ones know least.

    Args:
        plan: The molecule.
        first: First geometry in Å, shape (N, 3).
        run: What is run.

    Returns:
        The states, and the largest variance in Hartree² that each was chosen for.
    """
    keys = replace(plan.keys, calculations=run.calculations)
    trainer = Trainer(replace(plan, keys=keys))
    trainer.add(first)
    largest: list[float] = []
    interval = max(1, run.exploring_steps // VISITED)
    for _ in track(range(run.calculations - 1), run.calculations - 1, f"{plan.system.id}: states"):
        moving = _start(plan, trainer, run)
        visited = [
            atoms.positions.copy()
            for step, atoms in enumerate(_steps(moving, run, run.exploring_steps))
            if step and step % interval == 0
        ]
        variances = trainer.variances(visited) if visited else []
        if not variances or max(variances) < plan.keys.least_variance:
            break
        largest.append(max(variances))
        trainer.add(visited[int(np.argmax(variances))])
        if trainer.new[-1] < plan.keys.least_new:
            break
    return trainer, largest


def nve_rows(
    plan: MoleculePlan, first: NDArray[np.float64], run: Run
) -> tuple[pd.DataFrame, dict[str, object]]:
    """One long run of a molecule.

    Args:
        plan: The molecule.
        first: First geometry in Å, shape (N, 3).
        run: What is run.

    Returns:
        A row for each geometry that is compared with full CI, and what there is to tell of the run:
        numbers of geometries and calculations, drift and largest deviation of the total energy in
        meV/atom, errors against full CI, and processor time.
    """
    started = time.process_time()
    trainer, variances = calculated_along(plan, first, run)
    trained_s = time.process_time() - started
    totals, rows = [], []
    moving = _start(plan, trainer, run)
    running_s = 0.0
    before = time.process_time()
    moved = track(_steps(moving, run, run.steps), run.steps + 1, plan.system.id)
    for step, atoms in enumerate(moved):
        totals.append(atoms.get_total_energy())
        if step % run.every == 0:
            running_s += time.process_time() - before
            exact = solved(trainer.numbers, trainer.basis, atoms.positions / Bohr)
            wrong = np.abs(atoms.get_forces() + exact.gradient * (Hartree / Bohr)).mean()
            rows.append(
                {
                    "system": plan.system.id,
                    "time_ps": step * run.timestep_fs / 1000,
                    "energy_error_ev": atoms.get_potential_energy() - exact.energy * Hartree,
                    "force_mae_ev_per_angstrom": float(wrong),
                    "total_energy_ev": totals[-1],
                }
            )
            before = time.process_time()
    running_s += time.process_time() - before
    table = pd.DataFrame(rows)
    per_atom = 1000 * (np.array(totals) - totals[0]) / len(plan.system.numbers)
    time_ps = np.arange(len(totals)) * run.timestep_fs / 1000
    drift = float(np.polyfit(time_ps, per_atom, 1)[0]) if len(totals) > 1 else float("nan")
    error = table["energy_error_ev"]
    return table, {
        "system": plan.system.id,
        **asdict(run),
        "basis": trainer.basis,
        "geometries": len(totals),
        "finished": len(totals) == run.steps + 1,
        "reference_calculations": len(trainer.ranks),
        "states": len(trainer.vectors),
        "variances": variances,
        "drift_mev_per_atom_ps": drift,
        "largest_deviation_mev_per_atom": float(np.abs(per_atom).max()),
        "compared": len(table),
        "largest_energy_error_mev": 1000 * float(error.max()),
        "median_energy_error_mev": 1000 * float(error.median()),
        "force_mae_mev_per_angstrom": 1000 * float(table["force_mae_ev_per_angstrom"].mean()),
        "training_processor_s": round(trained_s, 1),
        "running_processor_s": round(running_s, 1),
    }
