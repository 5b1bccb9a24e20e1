"""Equilibration before constant energy: a Langevin thermostat, then the energy of the temperature.

A thermostat takes away what a molecule releases that finds a lower conformer, and leaves it with
one of the energies of the canonical distribution. The temperatures of runs at constant energy from
there would scatter by T/√f, 20 % for ten atoms. So the last geometry is quenched, and the
velocities are scaled so that the total energy is f k_B T above the minimum that is found: that of a
harmonic molecule whose temperature is T.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from ase import units
from ase.data import atomic_masses

from pesbench.core.interface import Batch, Result, Status
from pesbench.core.systems import System
from pesbench.engine.relaxation import relax
from pesbench.tasks.dynamics.integrator import LockStep
from pesbench.tasks.dynamics.start import generator, kinetic_energy, without_drift
from pesbench.tasks.dynamics.stored import Trajectory

FRICTION_PER_PS = 20.0  # the energy of a mode is forgotten in 0.05 ps
LEAST_KINETIC = 0.25  # of its mean, where the last geometry holds more than is left
logger = logging.getLogger("pesbench")


def _places(run: LockStep) -> list[tuple[Trajectory, slice]]:
    """The running trajectories with their atoms."""
    ends = np.cumsum([one.n_atoms for one in run.trajectories]).tolist()
    return [
        (one, slice(end - one.n_atoms, end))
        for one, end, running in zip(run.trajectories, ends, run.running, strict=True)
        if running
    ]


def thermalise(run: LockStep, step: int) -> None:
    """The thermostat's part of a step, on the velocities before it.

    v ← c v + √((1 − c²) k_B T/m) ξ with c = exp(−γ dt), the exact Ornstein–Uhlenbeck process; then
    the motion of the centre of mass and the rotation are removed. The random numbers ξ depend on
    molecule, temperature, replicate and step, so that a run that continues draws what an
    undisturbed one draws, and all models draw the same.

    Args:
        run: The integrator; its velocities are changed in place.
        step: Number of the step that follows.
    """
    keep = math.exp(-FRICTION_PER_PS * run.timestep_fs / 1000)
    for one, atoms in _places(run):
        masses = atomic_masses[one.numbers]
        text = f"langevin {one.system} {one.temperature_k:g} {one.replicate} {step}"
        draw = generator(text).standard_normal((one.n_atoms, 3))
        width = np.sqrt((1 - keep**2) * units.kB * one.temperature_k / masses)
        velocities = keep * run.velocities[atoms] + width[:, None] * draw
        linear = one.degrees_of_freedom == 3 * one.n_atoms - 5
        run.velocities[atoms] = without_drift(velocities, run.positions[atoms], masses, linear)


def settle(
    run: LockStep,
    systems: Sequence[System],
    evaluate: Callable[[Batch], Result],
    *,
    max_steps: int,
    fmax: float,
) -> None:
    """Scale the velocities to the total energy of the nominal temperature.

    K becomes f k_B T − (U − U₀), with U the potential energy of the last geometry and U₀ that of
    the minimum to which it relaxes, but at least an eighth of f k_B T. A trajectory of which no
    minimum is found keeps its velocities: what its geometry holds is not known then, and taken for
    nothing it would make the molecule half as hot again.

    Args:
        run: The integrator; its velocities are changed in place.
        systems: Molecule of each trajectory.
        evaluate: The model.
        max_steps: Of the relaxation, see `relax`.
        fmax: eV/Å.
    """
    of_name = dict(zip((one.name for one in run.trajectories), systems, strict=True))
    places = _places(run)
    here = [
        replace(of_name[one.name], id=one.name, positions=run.positions[atoms])
        for one, atoms in places
    ]
    before = relax(here, evaluate, max_steps=0, fmax=fmax)
    minima = relax(here, evaluate, max_steps=max_steps, fmax=fmax)
    for (one, atoms), last, minimum in zip(places, before, minima, strict=True):
        known = last.status is Status.OK and minimum.converged
        if not known or not np.isfinite(last.energy - minimum.energy):
            logger.info("%s: keeps its velocities; %s", one.name, minimum.message)
            continue
        whole = one.degrees_of_freedom * units.kB * one.temperature_k
        wanted = max(whole - (last.energy - minimum.energy), LEAST_KINETIC * whole / 2)
        held = kinetic_energy(run.velocities[atoms], atomic_masses[one.numbers])
        run.velocities[atoms] *= math.sqrt(wanted / held)
