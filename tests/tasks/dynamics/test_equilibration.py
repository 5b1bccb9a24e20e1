"""The start of a trajectory: minima that are some, the thermostat, the energy that it leaves."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.data import atomic_masses

from pesbench.core.interface import Result, Status, check_result
from pesbench.core.systems import System
from pesbench.engine.patient_worker import systems_batch
from pesbench.engine.relaxation import relax
from pesbench.tasks.dynamics.integrator import LockStep
from pesbench.tasks.dynamics.minimum import relax_to_minimum
from pesbench.tasks.dynamics.start import kinetic_energy, without_drift
from pesbench.tasks.dynamics.stored import Trajectory
from pesbench.tasks.dynamics.thermostat import LEAST_KINETIC, settle, thermalise

PLACES = np.array([[0, 0, 0], [1.4, 0, 0], [2.1, 1.2, 0], [-0.7, 1.2, 0]])
BONDS = np.array([[0, 1], [1, 2], [0, 3]])
CHAIN = System("chain", np.full(4, 6), PLACES, BONDS)
FREEDOM = 6


def _answer(batch, energies, forces):
    count = batch.n_systems
    return check_result(
        batch, Result(np.asarray(energies), forces, (Status.OK,) * count, ("",) * count)
    )


def _trap(batch, barrier_ev=0.0, well=1.0):
    """Springs of 10 eV/Å² to `PLACES`; the last atom has a double well of z beside it."""
    shift = (batch.positions - np.tile(PLACES, (batch.n_systems, 1))).reshape(-1, 4, 3)
    energy, forces = 5 * (shift**2).sum(axis=(1, 2)), -10 * shift
    if barrier_ev:
        z = shift[:, 3, 2]
        u = (z / well) ** 2
        energy += barrier_ev * (u - 1) ** 2 - 5 * z**2
        forces[:, 3, 2] = -4 * barrier_ev * (u - 1) * z / well**2
    return _answer(batch, energy, forces.reshape(-1, 3))


def test_a_saddle_point_is_left():
    def ridge(batch):
        return _trap(batch, barrier_ev=0.3, well=0.5)

    (rest,) = relax([CHAIN], ridge, max_steps=200, fmax=0.05)
    assert rest.converged
    assert rest.positions[3, 2] == 0  # forces vanish there, too
    (found,) = relax_to_minimum([CHAIN], ridge, max_steps=200, fmax=0.05)
    assert found.converged
    assert abs(found.positions[3, 2]) == pytest.approx(0.5, abs=0.01)
    assert found.energy == pytest.approx(rest.energy - 0.3, abs=1e-3)
    assert found.steps > rest.steps
    (again,) = relax_to_minimum([CHAIN], ridge, max_steps=200, fmax=0.05)
    assert np.array_equal(found.positions, again.positions)


@pytest.mark.parametrize("change", ["minimum", "another molecule", "no relaxation", "no energy"])
def test_a_geometry_is_kept_where_nothing_better_is_known(change):
    def evaluate(batch):
        if change == "another molecule":  # whose bond is twice as long
            return _trap(batch, barrier_ev=3.0, well=3.0)
        answer = _trap(batch, barrier_ev=0.3 * (change != "minimum"), well=0.5)
        if change == "no energy":
            answer = Result(None, answer.forces, answer.status, answer.messages)
        return answer

    steps = 0 if change == "no relaxation" else 200
    (rest,) = relax([CHAIN], evaluate, max_steps=steps, fmax=0.05)
    (found,) = relax_to_minimum([CHAIN], evaluate, max_steps=steps, fmax=0.05)
    assert np.array_equal(found.positions, rest.positions)
    assert found.converged == rest.converged


def _lockstep(temperature_k, positions=PLACES, count=1, evaluate=_trap, timestep_fs=0.5):
    trajectories = [
        Trajectory("chain", temperature_k, k, CHAIN.numbers, BONDS, 0, 1, FREEDOM)
        for k in range(count)
    ]
    every = np.tile(positions, (count, 1))
    run = LockStep(
        trajectories, systems_batch([CHAIN] * count), timestep_fs, evaluate, None, every.copy(),
        np.zeros_like(every), np.full_like(every, np.nan), np.ones(count, bool),
    )  # fmt: skip
    run.start()
    return run


def test_the_thermostat_gives_the_temperature_to_the_internal_motion():
    run, masses = _lockstep(500.0, timestep_fs=10.0), atomic_masses[CHAIN.numbers]
    kinetic = []
    for step in range(1, 3001):
        thermalise(run, step)
        kinetic.append(kinetic_energy(run.velocities, masses))
    mean = np.mean(kinetic[100:])
    assert mean == pytest.approx(FREEDOM / 2 * units.kB * 500, rel=0.1)
    assert np.std(kinetic[100:]) / mean == pytest.approx(np.sqrt(2 / FREEDOM), rel=0.15)
    internal = without_drift(run.velocities, run.positions, masses, linear=False)
    assert np.allclose(internal, run.velocities, atol=1e-12)


def test_random_numbers_are_of_the_names_and_the_step():
    one, other = _lockstep(500.0, count=2), _lockstep(500.0, count=2)
    thermalise(one, 7)
    other.running[0] = False  # what shares the job changes nothing
    thermalise(other, 7)
    assert np.array_equal(one.velocities[4:], other.velocities[4:])
    assert not other.velocities[:4].any()
    assert not np.allclose(one.velocities[:4], one.velocities[4:])  # another replicate
    third = _lockstep(500.0, count=2)
    thermalise(third, 8)
    assert not np.allclose(third.velocities, one.velocities)


def test_the_total_energy_is_that_of_a_harmonic_molecule():
    shifted = PLACES + np.array([[0.05, 0, 0], [0, 0.02, 0], [0, 0, 0], [0, 0, 0.03]])
    run, masses = _lockstep(300.0, shifted), atomic_masses[CHAIN.numbers]
    thermalise(run, 1)
    settle(run, [CHAIN], _trap, max_steps=200, fmax=1e-4)
    whole = FREEDOM * units.kB * 300
    assert 0 < run.potential[0] < whole
    assert kinetic_energy(run.velocities, masses) + run.potential[0] == pytest.approx(whole)
    # a geometry that holds more than all of it
    run = _lockstep(300.0, PLACES + 10 * (shifted - PLACES))
    thermalise(run, 1)
    settle(run, [CHAIN], _trap, max_steps=200, fmax=1e-4)
    assert kinetic_energy(run.velocities, masses) == pytest.approx(LEAST_KINETIC * whole / 2)


def test_a_model_that_fails_there_leaves_the_velocities():
    run = _lockstep(300.0)
    thermalise(run, 1)
    before = run.velocities.copy()

    def fails(batch):
        good = _trap(batch)
        return Result(good.energies * np.nan, good.forces, (Status.ERROR,), ("no",))

    settle(run, [CHAIN], fails, max_steps=200, fmax=1e-4)
    assert np.array_equal(run.velocities, before)


@pytest.mark.parametrize("max_steps", [0, 2])
def test_without_a_minimum_the_velocities_stay(max_steps):
    """The energy of the geometry, taken for that of a minimum, would make it half as hot again."""
    run = _lockstep(300.0, PLACES + np.array([[0.05, 0, 0], [0, 0.02, 0], [0, 0, 0], [0, 0, 0.3]]))
    thermalise(run, 1)
    before = run.velocities.copy()
    settle(run, [CHAIN], _trap, max_steps=max_steps, fmax=1e-4)
    assert np.array_equal(run.velocities, before)
