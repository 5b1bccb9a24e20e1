"""Dynamics: starts, the integrator against closed forms, failures, checkpoints and resuming."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import subprocess
import sys
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.lj import LennardJones
from ase.data import atomic_masses, covalent_radii
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from test_trajectories import content

import fake_calculators
from examples import fake_entry, write_toys
from pesbench.core.coordinates.bond import bond_scans
from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, Result, Status, check_result
from pesbench.core.systems import System
from pesbench.engine.evaluator import GIVE_UP_AFTER
from pesbench.engine.patient_worker import systems_batch
from pesbench.engine.relaxation import relax
from pesbench.engine.worker import ModelFailureError, ModelLoadError, Timed, Worker
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.metrics.stability import internal_degrees_of_freedom
from pesbench.models import registry, warm_up
from pesbench.models.parameters import loaded_info
from pesbench.models.registry import ModelEntry
from pesbench.tasks.dynamics import run as dynamics
from pesbench.tasks.dynamics.integrator import LockStep
from pesbench.tasks.dynamics.recorder import BLACK_BOX_STEPS
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.start import kinetic_energy, starting_velocities, without_drift
from pesbench.tasks.dynamics.stored import Trajectories, Trajectory
from shards import run_dynamics_shard

FS = units.fs


# --- toys ----------------------------------------------------------------------------------------


def _system(name, symbols, positions, bonds=((0, 1),)):
    atoms = Atoms(symbols, positions)
    return System(name, atoms.numbers.astype(np.int64), atoms.positions, np.array(bonds))


SYSTEMS = {
    "cc": _system("cc", "CC", [[0, 0, 0], [1.4, 0.1, 0]]),
    "no": _system("no", "NO", [[0, 0, 0], [1.3, 0.1, 0.2]]),
    "ocs": _system("ocs", "OCS", [[0, 0, 0], [1.4, 0.1, 0], [0.7, 1.2, 0.3]], [[0, 1], [1, 2]]),
}
NAMES = tuple(SYSTEMS)


@pytest.fixture(scope="module")
def toys_set(tmp_path_factory):
    path = tmp_path_factory.mktemp("dynamics") / "toys.h5"
    write_toys(path, [scan for system in SYSTEMS.values() for scan in bond_scans(system)])
    return path


def _water():
    return _system("water", "OHH", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [[0, 1], [0, 2]])


def _lockstep(evaluate, numbers, positions, velocities, timestep_fs, freedom=3, check=None):
    """One system in the integrator, without a check."""
    numbers = np.asarray(numbers)
    n = len(numbers)
    trajectory = Trajectory("toy", 300.0, 0, numbers, np.zeros((0, 2), int), 0, 1, freedom)
    batch = Batch(
        numbers, np.array(positions, float), np.zeros(n, int), np.zeros((1, 3, 3)),
        np.zeros((1, 3), bool), np.zeros(1, int), np.ones(1, int), (("toy", 0),),
    )  # fmt: skip
    run = LockStep(
        [trajectory], batch, timestep_fs, evaluate, check, np.array(positions, float),
        np.array(velocities, float), np.full((n, 3), np.nan), np.array([True]),
    )  # fmt: skip
    run.start()
    return run


def _result(batch, energies, forces):
    count = batch.n_systems
    return check_result(
        batch, Result(np.asarray(energies), forces, (Status.OK,) * count, ("",) * count)
    )


def _total(run, n_steps):
    """Total energy of one system after every step."""
    found = [run.potential[0] + run.kinetic[0]]
    for _ in range(n_steps):
        assert run.step() == []
        found.append(run.potential[0] + run.kinetic[0])
    return np.array(found)


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"timestep_fs": 0}, "`timestep_fs` is 0; give a number of at least 0.0001 and at most 10"),
        ({"timestep_fs": -0.5}, "`timestep_fs` is -0.5"),
        ({"timestep_fs": 50.0}, "`timestep_fs` is 50.0"),
        ({"timestep_fs": float("nan")}, "`timestep_fs` is nan"),
        ({"timestep_fs": "fast"}, "`timestep_fs` is 'fast'"),
        ({"timestep_fs": True}, "`timestep_fs` is True"),
        ({"temperatures_k": (300.0, 0.0)}, "`temperatures_k` is 0.0; give a number above 0"),
        ({"temperatures_k": (-300.0,)}, "`temperatures_k` is -300.0"),
        ({"temperatures_k": (1e6,)}, "`temperatures_k` is 1000000.0"),
        ({"temperatures_k": ()}, "`temperatures_k` is empty; give at least one"),
        ({"temperatures_k": (300.0, 300.00001)}, "`temperatures_k` holds one value twice"),
        ({"duration_ps": 0.0}, "`duration_ps` is 0.0"),
        ({"duration_ps": -1.0}, "`duration_ps` is -1.0"),
        ({"duration_ps": 1e9}, "`duration_ps` is 1000000000.0"),
        ({"duration_ps": float("inf")}, "`duration_ps` is inf"),
        ({"duration_ps": 1e-5}, "less than a step of 0.5 fs"),
        ({"equilibration_ps": -0.1}, "`equilibration_ps` is -0.1"),
        ({"equilibration_ps": 1e-4}, "less than a step of 0.5 fs; give a longer one, or 0 for"),
        ({"equilibration_ps": 2.0}, "leaves nothing of `duration_ps` (2.0); give a shorter one"),
        ({"replicates": 0}, "`replicates` is 0; give a whole number of at least 1 and at most"),
        ({"replicates": 1.5}, "`replicates` is 1.5"),
        ({"store_every": 0}, "`store_every` is 0"),
        ({"relax_steps": -1}, "`relax_steps` is -1"),
        ({"relax_fmax": 0.0}, "`relax_fmax` is 0.0"),
    ],
)
def test_settings_that_make_no_sense(toys_set, tmp_path, change, said):
    settings = replace(DynamicsSettings(), **change)
    with pytest.raises(UserError) as failure:
        run_dynamics_shard(fake_entry(), toys_set, NAMES, settings, tmp_path / "t.h5")
    assert str(failure.value).startswith("dynamics: ")
    assert said in str(failure.value)
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.iterdir())


def test_the_molecules_of_a_scan_set(tmp_path, toys_set):
    with ScanSet(toys_set) as scan_set:
        found = scan_set_systems(scan_set)
    assert [system.id for system in found] == list(NAMES)  # ocs has two scans
    for system in found:
        assert np.array_equal(system.positions, SYSTEMS[system.id].positions)
        assert np.array_equal(system.bonds, SYSTEMS[system.id].bonds)
    scans = [scan for system in SYSTEMS.values() for scan in bond_scans(system)]
    dropped = [replace(s, quality="dropped") if s.id != "C-S/ocs_1-2" else s for s in scans]
    write_toys(tmp_path / "s.h5", dropped)
    with ScanSet(tmp_path / "s.h5") as scan_set:
        assert [system.id for system in scan_set_systems(scan_set)] == ["ocs"]
    with pytest.raises(UserError, match="no molecule 'cc' with a scan that is not dropped"):
        run_dynamics_shard(
            fake_entry(), tmp_path / "s.h5", ["cc", "ocs"], DynamicsSettings(), tmp_path / "t.h5"
        )


# --- starts --------------------------------------------------------------------------------------


def test_degrees_of_freedom():
    assert internal_degrees_of_freedom(_water().positions) == 3
    assert internal_degrees_of_freedom(SYSTEMS["cc"].positions) == 1
    line = (
        np.array([[-1.16, 0, 0], [0, 0, 0], [1.16, 0, 0]])
        @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    )
    assert internal_degrees_of_freedom(_system("co2", "OCO", line).positions) == 4
    assert internal_degrees_of_freedom(_system("he", "He", [[0, 0, 0]]).positions) == 0


def _external(positions, masses):
    """Orthonormal basis of translations and rotations in mass-weighted coordinates, by SVD."""
    columns = [np.tile(axis, (len(masses), 1)) for axis in np.eye(3)]
    columns += [np.cross(axis, positions) for axis in np.eye(3)]
    weighted = np.stack([(np.sqrt(masses)[:, None] * c).ravel() for c in columns], axis=1)
    u, s, _ = np.linalg.svd(weighted, full_matrices=False)
    return u[:, s > 1e-8 * s[0]]


@pytest.mark.parametrize("geometry", ["water", "co2", "cc"])
def test_the_start_is_exactly_twice_the_temperature_and_internal(geometry):
    line = [[-1.16, 0.3, 0], [0, 0.3, 0], [1.16, 0.3, 0]]
    system = {"water": _water(), "co2": _system("co2", "OCO", line), "cc": SYSTEMS["cc"]}[geometry]
    masses = atomic_masses[system.numbers]
    freedom = {"water": 3, "co2": 4, "cc": 1}[geometry]
    for temperature in (10.0, 300.0, 5000.0):
        v = starting_velocities(system, system.positions, temperature, 0)
        twice = 2 * kinetic_energy(v, masses) / (freedom * units.kB)
        assert twice == pytest.approx(2 * temperature, rel=1e-14)
        weighted = (np.sqrt(masses)[:, None] * v).ravel()
        basis = _external(system.positions, masses)
        assert basis.shape[1] == 3 * len(masses) - freedom
        assert np.abs(basis.T @ weighted).max() < 1e-13 * np.linalg.norm(weighted)


def test_the_random_numbers_depend_on_names_and_not_on_the_model():
    """The same draw, projected at the minimum of each model by an independent projector."""
    water = _water()
    masses = atomic_masses[water.numbers]
    digest = hashlib.sha256(b"velocities water 300 1").digest()
    rng = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
    draw = rng.standard_normal((3, 3)).ravel()
    for bend in (0.0, 0.05, -0.2):
        positions = water.positions + np.array([[0, 0, 0], [bend, 0, 0], [0, bend, 0.1]])
        basis = _external(positions, masses)
        internal = (draw - basis @ (basis.T @ draw)).reshape(3, 3)
        expected = internal * np.sqrt(3 * units.kB * 300 / (0.5 * np.sum(internal**2)))
        found = starting_velocities(water, positions, 300.0, 1) * np.sqrt(masses)[:, None]
        assert np.allclose(found, expected, rtol=0, atol=1e-13)
    one = starting_velocities(water, water.positions, 300.0, 1)
    assert np.array_equal(one, starting_velocities(water, water.positions, 300.0, 1))
    others = [
        starting_velocities(water, water.positions, 300.0, 2),
        starting_velocities(water, water.positions, 600.0, 1) / np.sqrt(2),
        starting_velocities(replace(water, id="w"), water.positions, 300.0, 1),
    ]
    assert all(np.abs(one - other).max() > 1e-3 for other in others)


def test_an_almost_linear_start_of_a_bent_molecule_is_finite():
    masses = atomic_masses[[8, 6, 8]]
    line = np.array([[-1.16, 0.0, 0], [0, 0, 0], [1.16, 0, 0]])
    v = without_drift(np.random.default_rng(0).normal(size=(3, 3)), line, masses, linear=False)
    assert np.isfinite(v).all()
    assert np.abs(masses @ np.cross(line, v)).max() < 1e-12


# --- relaxation ----------------------------------------------------------------------------------


def _morse(batch):
    parts = [np.flatnonzero(batch.system == s) for s in range(batch.n_systems)]
    answers = [fake_calculators.morse(batch.numbers[p], batch.positions[p]) for p in parts]
    return _result(batch, [e for e, _ in answers], np.concatenate([f for _, f in answers]))


def test_relaxation_in_lock_step_is_that_of_one_after_another():
    systems = list(SYSTEMS.values())
    calls = []

    def evaluate(batch):
        calls.append(batch.n_systems)
        return _morse(batch)

    found = relax(systems, evaluate, max_steps=200, fmax=0.01)
    for system, one in zip(systems, found, strict=True):
        atoms = Atoms(system.numbers, system.positions, calculator=fake_calculators.Morse())
        optimiser = BFGS(atoms, logfile=None)
        assert optimiser.run(fmax=0.01, steps=200)
        assert np.array_equal(one.positions, atoms.positions)
        assert (one.converged, one.steps) == (True, optimiser.nsteps)
        assert one.fmax == np.linalg.norm(atoms.get_forces(), axis=1).max() <= 0.01
        assert (one.status, one.message) == (Status.OK, "")
    cc = found[0].positions
    rest = 2 * covalent_radii[6]
    assert np.linalg.norm(cc[1] - cc[0]) == pytest.approx(rest, abs=1e-3)
    assert calls[0] == 3
    assert len(calls) == 1 + max(one.steps for one in found)
    assert calls == sorted(calls, reverse=True)  # who is done leaves


def test_a_relaxation_that_does_not_get_there_is_no_failure():
    (one,) = relax([SYSTEMS["ocs"]], _morse, max_steps=1, fmax=0.01)
    assert (one.status, one.converged, one.steps) == (Status.OK, False, 1)
    assert one.message == "not relaxed after 1 steps"
    assert one.fmax > 0.01
    assert not np.array_equal(one.positions, SYSTEMS["ocs"].positions)
    (none,) = relax([SYSTEMS["ocs"]], _morse, max_steps=0, fmax=0.01)
    assert np.array_equal(none.positions, SYSTEMS["ocs"].positions)


@pytest.mark.parametrize("step", [0, 2])
def test_a_model_that_fails_while_it_relaxes(step):
    asked = []

    def evaluate(batch):
        result = _morse(batch)
        asked.append(batch.positions[-3:].copy())
        if len(asked) <= step or batch.labels[-1][0] != "ocs":
            return result
        status = (*result.status[:-1], Status.NONFINITE)
        return replace(result, status=status, messages=(*result.messages[:-1], "it is NaN"))

    cc, ocs = relax([SYSTEMS["cc"], SYSTEMS["ocs"]], evaluate, max_steps=50, fmax=1e-4)
    assert cc.converged
    assert ocs.message == f"relaxation step {step}: nonfinite: it is NaN"
    assert not ocs.converged
    assert ocs.status is (Status.NONFINITE if step == 0 else Status.OK)
    # the last geometry that the model answered for
    assert np.array_equal(ocs.positions, asked[max(step - 1, 0)])


def test_forces_beyond_measure_leave_the_molecule_where_it_was():
    def evaluate(batch):
        result = _morse(batch)
        return replace(result, forces=result.forces * 1e300)

    with np.errstate(all="ignore"):
        (one,) = relax([SYSTEMS["ocs"]], evaluate, max_steps=5, fmax=0.05)
    assert not one.converged
    assert np.isfinite(one.positions).all()


# --- the integrator ------------------------------------------------------------------------------


def test_lock_step_is_velocity_verlet():
    """Against ASE's, one molecule after another."""
    entry = [(system, starting_velocities(system, system.positions, 500.0, 0))
             for system in SYSTEMS.values()]  # fmt: skip
    trajectories = [
        Trajectory(
            s.id, 500.0, 0, s.numbers, s.bonds, 0, 1, internal_degrees_of_freedom(s.positions)
        )
        for s, _ in entry
    ]
    positions = np.concatenate([s.positions for s, _ in entry])
    run = LockStep(
        trajectories, systems_batch([s for s, _ in entry]), 0.5, _morse, None,
        positions.copy(), np.concatenate([v for _, v in entry]), np.full_like(positions, np.nan),
        np.ones(3, bool),
    )  # fmt: skip
    assert run.start() == []
    atoms = [Atoms(s.numbers, s.positions, velocities=v, calculator=fake_calculators.Morse())
             for s, v in entry]  # fmt: skip
    others = [VelocityVerlet(one, 0.5 * FS) for one in atoms]
    for _ in range(60):
        assert run.step() == []
        for other in others:
            other.run(1)
        assert np.allclose(run.positions, np.concatenate([a.positions for a in atoms]), atol=1e-12)
        assert np.allclose(run.potential, [a.get_potential_energy() for a in atoms], atol=1e-12)
        assert np.allclose(run.kinetic, [a.get_kinetic_energy() for a in atoms], atol=1e-12)
    velocities = np.concatenate([a.get_velocities() for a in atoms])
    assert np.allclose(run.velocities, velocities, atol=1e-12)


def _springs(stiffness):
    """Every coordinate of every atom on a spring of its own, eV/Å²."""

    def evaluate(batch):
        energy = 0.5 * np.sum(stiffness * batch.positions**2)
        return _result(batch, [energy], -stiffness * batch.positions)

    return evaluate


def test_equipartition_brings_the_temperature_from_2t_to_t():
    """Forty atoms on springs of many frequencies, started at their minimum with 2T."""
    rng = np.random.default_rng(3)
    numbers = np.full(40, 6)
    stiffness = rng.uniform(5, 40, size=(40, 3))
    masses = atomic_masses[numbers]
    velocities = rng.normal(size=(40, 3))
    velocities *= np.sqrt(0.5 * 120 * units.kB * 600 / kinetic_energy(velocities, masses))
    run = _lockstep(_springs(stiffness), numbers, np.zeros((40, 3)), velocities, 0.5, freedom=120)
    kinetic = [run.kinetic[0]]
    for _ in range(2000):
        run.step()
        kinetic.append(run.kinetic[0])
    temperature = 2 * np.array(kinetic) / (120 * units.kB)
    assert temperature[0] == pytest.approx(600, rel=1e-12)
    assert temperature[400:].mean() == pytest.approx(300, rel=0.01)


def _slope(steps_fs, deviations):
    return np.polyfit(np.log(steps_fs), np.log(deviations), 1)[0]


DECADE = (0.2, 0.4, 1.0, 2.0)


def test_a_harmonic_oscillator_conserves_energy_at_second_order():
    """Velocity Verlet's total energy oscillates with the amplitude (ω dt)²/8 of the energy."""
    stiffness, mass = 20.0, atomic_masses[6]
    omega = np.sqrt(stiffness / mass)
    deviations = []
    for dt in DECADE:
        run = _lockstep(_springs(stiffness), [6], [[0.1, 0, 0]], [[0, 0, 0]], dt, freedom=1)
        energy = _total(run, int(400 / dt))
        deviations.append(np.ptp(energy))
        closed = (omega * dt * FS) ** 2 / 4 * energy[0]
        assert deviations[-1] == pytest.approx(closed, rel=0.02)
        # no drift: the first and the last quarter agree far better than that
        quarter = len(energy) // 4
        assert abs(energy[-quarter:].mean() - energy[:quarter].mean()) < 0.05 * deviations[-1]
    assert _slope(DECADE, deviations) == pytest.approx(2.0, abs=0.02)


def _argon(batch):
    atoms = Atoms(batch.numbers, batch.positions)
    atoms.calc = LennardJones(sigma=3.4, epsilon=0.0103, rc=100.0, smooth=False)
    return _result(batch, [atoms.get_potential_energy()], atoms.get_forces())


def test_a_lennard_jones_cluster_conserves_energy_at_second_order():
    """Seven argon atoms at 20 K; the same trajectory with steps over a decade."""
    corner = 2 ** (1 / 6) * 3.4
    ring = [
        (corner * 0.85 * np.cos(a), corner * 0.85 * np.sin(a), 0)
        for a in 2 * np.pi * np.arange(5) / 5
    ]
    start = np.array([*ring, (0, 0, 0.55 * corner), (0, 0, -0.55 * corner)])
    cluster = System("argon", np.full(7, 18), start, np.zeros((0, 2), int))
    (one,) = relax([cluster], _argon, max_steps=100, fmax=1e-3)
    velocities = starting_velocities(cluster, one.positions, 20.0, 0)
    steps_fs = tuple(10 * dt for dt in DECADE)  # argon is heavy and slow
    deviations = []
    for dt in steps_fs:
        run = _lockstep(_argon, cluster.numbers, one.positions, velocities, dt, freedom=15)
        deviations.append(_total(run, round(2000 / dt)).std())
    assert _slope(steps_fs, deviations) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("amplitudes", [(0.10, 0.02), (0.03, 0.08)])
def test_a_curl_force_feeds_one_circular_polarisation_and_drains_the_other(amplitudes):
    """F = −k r + κ(−y, x).

    With z = x + iy, m z̈ = −(k − iκ) z, so that z = A e^{iΩt} + B e^{−iΩt}, Ω = √((k − iκ)/m) ≈
    ω − iκ'/2ω: |A| grows as e^{κ't/2ω}, |B| falls as e^{−κ't/2ω} (κ' = κ/m). Averaged over a
    period, the energy is m ω² (|A|² e^{κ't/ω} + |B|² e^{−κ't/ω}): no shorter step changes it.
    """
    k, kappa, mass = 20.0, 0.08, atomic_masses[6]
    omega, curl = np.sqrt(k / mass), kappa / mass
    a, b = amplitudes
    frequency = np.sqrt((k - 1j * kappa) / mass + 0j)
    speed = 1j * frequency * (a - b)
    period_fs = 2 * np.pi / omega / FS

    def evaluate(batch):
        x, y, _ = batch.positions[0]
        forces = -k * batch.positions + kappa * np.array([[-y, x, 0.0]])
        return _result(batch, [0.5 * k * np.sum(batch.positions**2)], forces)

    gained = []
    for parts in (40, 400):  # of a period
        n_steps = 60 * parts
        run = _lockstep(
            evaluate, [6], [[a + b, 0, 0]], [[speed.real, speed.imag, 0]], period_fs / parts,
            freedom=2,
        )  # fmt: skip
        energy = _total(run, n_steps)
        time = np.arange(n_steps + 1) * (period_fs / parts) * FS
        closed = mass * omega**2 * (
            a**2 * np.exp(curl * time / omega) + b**2 * np.exp(-curl * time / omega)
        )  # fmt: skip
        window = np.ones(parts) / parts
        mean, expected = (np.convolve(e, window, mode="valid") for e in (energy, closed))
        assert np.allclose(mean, expected, rtol=0.01)
        gained.append(mean[-1] - mean[0])
    change = closed[-1] - closed[0]
    assert abs(change) > 0.2 * closed[0]
    assert gained[0] == pytest.approx(change, rel=0.03)
    assert gained[1] == pytest.approx(gained[0], rel=0.03)  # a tenth of the step: the same drift


# --- a shard -------------------------------------------------------------------------------------

SHORT = DynamicsSettings(
    temperatures_k=(300.0, 1000.0), replicates=2, duration_ps=0.1, store_every=7
)
WHO = tuple(sorted(f"{s}_{t}K_{r}" for s in NAMES for t in (300, 1000) for r in (0, 1)))


def _in_process(patch):
    """Models run in this process, which is faster; for those that do not end it."""

    def start(self):
        if self.info is None:
            entry, scan_set, device, _ = self._arguments
            try:
                self._model = registry.load(entry, scan_set=scan_set, device=device)
            except Exception as error:
                raise ModelLoadError(Status.ERROR, f"the model did not load: {error}") from error
            self.info = loaded_info(self._model)
            warm_up.warm_up(self._model, self.info)
        return self.info

    def evaluate(self, batch):
        start(self)
        try:
            return Timed(check_result(batch, self._model.evaluate(batch)), 0.0, 0)
        except Exception as error:
            raise ModelFailureError(Status.ERROR, str(error)) from error

    patch.setattr(Worker, "start", start)
    patch.setattr(Worker, "evaluate", evaluate)


@pytest.fixture
def in_process(monkeypatch):
    _in_process(monkeypatch)


def _run(entry, path, out, systems=NAMES, settings=SHORT, **kwargs):
    run_dynamics_shard(entry, path, systems, settings, out, device="cpu", **kwargs)
    return Trajectories(out)


def _same(one, other, name):
    """Whether two files hold the same trajectory to the bit."""
    pairs = [(one.frames(name), other.frames(name)), (one.series(name), other.series(name))]
    return all(
        np.array_equal(getattr(a, key), getattr(b, key)) for a, b in pairs for key in vars(a)
    )


@pytest.fixture(scope="module")
def good(toys_set, tmp_path_factory):
    """The shard of a model that behaves."""
    out = tmp_path_factory.mktemp("good") / "good.h5"
    with pytest.MonkeyPatch.context() as patch:
        _in_process(patch)
        file = _run(fake_entry(), toys_set, out)
    with file:
        yield file


def test_a_shard_of_a_model_that_behaves(good):
    assert good.names == WHO
    for name in good.names:
        found, series, frames = good.trajectory(name), good.series(name), good.frames(name)
        assert found.survived
        assert (found.message, found.failure_step, found.last_step) == ("", -1, 200)
        assert found.relaxed
        assert found.relax_fmax <= 0.05
        assert found.name == name
        system = SYSTEMS[found.system]
        assert np.array_equal(found.numbers, system.numbers)
        assert np.array_equal(found.bonds, system.bonds)
        assert len(series.potential) == 201
        assert frames.step.tolist() == list(range(0, 201, 7))
        assert series.temperature[0] == pytest.approx(2 * found.temperature_k, rel=1e-13)
        assert np.ptp(series.total) < 1e-3
        (relaxed,) = relax([system], _morse, max_steps=200, fmax=0.05)
        assert np.array_equal(frames.positions[0], relaxed.positions)
        wanted = starting_velocities(
            system, relaxed.positions, found.temperature_k, found.replicate
        )
        assert np.allclose(frames.velocities_ase[0], wanted, rtol=1e-14)
        for k, step in enumerate(frames.step):
            energy, _ = fake_calculators.morse(found.numbers, frames.positions[k])
            assert series.potential[step] == energy == frames.potential[k]
        assert good.last_steps(name) is None
    attributes = good.attributes
    assert attributes["model"] == "fake"
    assert json.loads(attributes["settings"])["temperatures_k"] == [300.0, 1000.0]
    assert json.loads(attributes["provenance"])["packages"]["ase"]
    assert [p.name for p in good.path.parent.iterdir()] == ["good.h5"]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_batch_size_does_not_matter_to_a_model_of_one_at_a_time(
    in_process, good, toys_set, tmp_path, batch_size
):
    with _run(fake_entry(batch_size=batch_size), toys_set, tmp_path / "t.h5") as file:
        assert all(_same(good, file, name) for name in WHO)


# --- failures ------------------------------------------------------------------------------------

FAULTS = {
    "raise": (Status.ERROR, "SCF did not converge"),
    "nan_energy": (Status.NONFINITE, "energy or force is not finite"),
    "infinite_force": (Status.NONFINITE, "energy or force is not finite"),
    "exit": (Status.CRASHED, "exit code 3"),
    "hang": (Status.TIMEOUT, "no answer in 0.5 s"),
}
ALONE = replace(SHORT, replicates=1)


def _farthest(good, name):
    """The step at which a diatomic is longest, and a window of lengths that begins just there."""
    found, frames = good.trajectory(name), good.frames(name)
    atoms = Atoms(found.numbers, frames.positions[0], velocities=frames.velocities_ase[0])
    atoms.calc = fake_calculators.Morse()
    run, lengths = VelocityVerlet(atoms, ALONE.timestep_fs * FS), [atoms.get_distance(0, 1)]
    for _ in range(good.trajectory(name).last_step):
        run.run(1)
        lengths.append(atoms.get_distance(0, 1))
    step = int(np.argmax(lengths))
    assert max(lengths[:step]) < lengths[step] - 2e-8
    return step, lengths, [lengths[step] - 1e-8, 99.0]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_trajectory_on_which_the_model_fails_leaves_and_the_others_go_on(
    good, toys_set, tmp_path, monkeypatch, fault
):
    status, said = FAULTS[fault]
    if fault not in ("exit", "hang"):
        _in_process(monkeypatch)
    step, lengths, window = _farthest(good, "cc_1000K_0")
    assert step > 20
    entry = fake_entry(
        "Faulty", arguments={"fault": fault, "formulas": ["C2"], "window": window}, timeout_s=0.5
    )
    with _run(entry, toys_set, tmp_path / "t.h5", settings=ALONE) as file:
        assert file.names == tuple(name for name in WHO if name.endswith("_0"))
        for name in set(file.names) - {"cc_1000K_0"}:
            assert file.trajectory(name).survived
            assert _same(good, file, name)
        found = file.trajectory("cc_1000K_0")
        assert found.status is status
        assert found.failure == ""
        assert not found.survived
        assert (found.failure_step, found.last_step) == (step, step - 1)
        assert found.message.startswith(f"step {step} ({step * 0.0005:.4f} ps): ")
        assert said in found.message
        series, whole = file.series("cc_1000K_0"), good.series("cc_1000K_0")
        assert np.array_equal(series.potential, whole.potential[:step])
        assert np.array_equal(series.kinetic, whole.kinetic[:step])
        last = file.last_steps("cc_1000K_0")
        first = max(0, step - BLACK_BOX_STEPS + 1)
        assert last.step.tolist() == list(range(first, step + 1))
        found_lengths = np.linalg.norm(last.positions[:, 1] - last.positions[:, 0], axis=1)
        assert np.allclose(found_lengths, lengths[first : step + 1], atol=1e-10)
        assert np.isfinite(last.velocities).all()
        assert np.array_equal(last.potential[:-1], whole.potential[first:step])
        assert np.isnan(last.potential[-1])


@pytest.fixture
def weak(in_process, monkeypatch):
    """Bonds of a tenth of their strength, which do not hold at 9000 K."""
    monkeypatch.setattr(fake_calculators, "DEPTH_EV", 0.4)


def test_a_molecule_that_breaks_leaves_with_the_cause(weak, toys_set, tmp_path):
    hot = replace(ALONE, temperatures_k=(300.0, 9000.0), duration_ps=0.3)
    with _run(fake_entry(), toys_set, tmp_path / "t.h5", settings=hot) as file:
        cold = [name for name in file.names if "_300K" in name]
        assert all(file.trajectory(name).survived for name in cold)
        found = file.trajectory("ocs_9000K_0")
        assert found.status is Status.OK
        assert found.failure == "long_bond"
        assert not found.survived
        assert found.failure_step == found.last_step
        assert ": long_bond: " in found.message
        last, series = file.last_steps(found.name), file.series(found.name)
        assert len(series.potential) == found.last_step + 1
        assert last.step[-1] == found.failure_step
        assert len(last.step) == min(BLACK_BOX_STEPS, found.failure_step + 1)
        assert np.array_equal(last.potential, series.potential[last.step])
        # by hand: at the last step a bond is beyond twice the covalent sum, and never before
        i, j = found.bonds.T
        longest = 2 * (covalent_radii[found.numbers[i]] + covalent_radii[found.numbers[j]])
        lengths = np.linalg.norm(last.positions[:, i] - last.positions[:, j], axis=2)
        assert (lengths[-1] > longest).any()
        assert not (lengths[:-1] > longest).any()
        # full rate: every step is velocity Verlet's
        masses = atomic_masses[found.numbers][:, None]
        for k in range(len(last.step) - 1):
            _, forces = fake_calculators.morse(found.numbers, last.positions[k])
            v = last.velocities[k] / (1000 * FS) + 0.25 * FS * forces / masses
            moved = last.positions[k] + 0.5 * FS * v
            assert np.allclose(moved, last.positions[k + 1], atol=1e-10)


def test_who_leaves_does_not_disturb_the_others(weak, toys_set, tmp_path):
    short = replace(ALONE, temperatures_k=(300.0,), duration_ps=0.2)
    hot = replace(short, temperatures_k=(300.0, 9000.0))
    with (
        _run(fake_entry(), toys_set, tmp_path / "a.h5", settings=short) as alone,
        _run(fake_entry(), toys_set, tmp_path / "b.h5", settings=hot) as together,
    ):
        assert any(not together.trajectory(name).survived for name in together.names)
        assert len(alone.names) == 3
        assert all(_same(alone, together, name) for name in alone.names)


def test_a_model_that_fails_on_the_first_geometry(in_process, toys_set, tmp_path):
    arguments = {"fault": "raise", "formulas": ["NO"]}
    with _run(fake_entry("Faulty", arguments=arguments), toys_set, tmp_path / "t.h5") as file:
        for name in WHO:
            found = file.trajectory(name)
            assert found.survived == (found.system != "no")
            if found.system == "no":
                assert found.status is Status.ERROR
                assert found.message.startswith("relaxation step 0: error: RuntimeError: SCF")
                assert (found.failure_step, found.last_step) == (-1, -1)
                assert len(file.frames(name).step) == 0


def test_a_relaxation_that_is_not_finished_is_recorded(in_process, toys_set, tmp_path):
    hurried = replace(SHORT, relax_steps=3, relax_fmax=1e-6)
    with _run(fake_entry(), toys_set, tmp_path / "t.h5", settings=hurried) as file:
        found = file.trajectory("ocs_300K_0")
        assert (found.relaxed, found.relax_steps) == (False, 3)
        assert found.message == "not relaxed after 3 steps"
        assert found.survived


def test_elements_that_a_model_does_not_know(in_process, good, toys_set, tmp_path):
    entry = fake_entry(elements=["C", "N", "O"])
    with _run(entry, toys_set, tmp_path / "t.h5") as file:
        assert file.names == WHO
        for name in WHO:
            found = file.trajectory(name)
            if found.system == "ocs":
                assert (found.status, found.message) == (Status.UNSUPPORTED, "unknown elements: S")
            else:
                assert _same(good, file, name)


def test_a_model_that_does_not_load_is_a_result(in_process, toys_set, tmp_path):
    with _run(fake_entry("construction_raises"), toys_set, tmp_path / "t.h5") as file:
        for name in WHO:
            found = file.trajectory(name)
            assert found.status is Status.ERROR
            assert "no parameters" in found.message
        assert file.attributes["device"] == "not loaded"


def test_giving_up_on_a_model_that_dies_on_every_molecule(tmp_path):
    systems = [_system(f"m{k}", "CC", [[0, 0, 0], [1.5, 0, 0]]) for k in range(6)]
    write_toys(tmp_path / "s.h5", [scan for s in systems for scan in bond_scans(s)])
    tally = tmp_path / "tally"
    entry = fake_entry("Faulty", arguments={"fault": "exit", "tally": str(tally)}, batch_size=1)
    names = [system.id for system in systems]
    with _run(entry, tmp_path / "s.h5", tmp_path / "t.h5", names, ALONE) as file:
        found = [file.trajectory(name) for name in file.names]
    assert {one.status for one in found} == {Status.CRASHED}
    assert len(tally.read_text().splitlines()) == GIVE_UP_AFTER == 3
    given_up = [one.system for one in found if "not tried: the worker died" in one.message]
    assert sorted(set(given_up)) == names[3:]


def test_a_model_that_dies_and_does_not_come_back(toys_set, tmp_path):
    marker = tmp_path / "marker"
    entry = fake_entry(
        "dies_and_does_not_come_back", arguments={"marker": str(marker), "formula": "NO"}
    )
    with _run(entry, toys_set, tmp_path / "t.h5", settings=ALONE) as file:
        found = [file.trajectory(name) for name in file.names]
    assert {one.status for one in found} == {Status.ERROR}
    assert all("the model did not load" in one.message for one in found)


@pytest.mark.parametrize(
    ("what", "said"),
    [("ForcesOnly", "gives no energies"), ("EnergyOnly", "gives no forces")],
)
def test_a_model_without_energies_or_forces_is_refused(in_process, toys_set, tmp_path, what, said):
    with pytest.raises(UserError, match=f"model 'fake' {said}; .*leave it out") as failure:
        _run(fake_entry(what), toys_set, tmp_path / "t.h5")
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "t.h5").exists()


def test_a_control_is_refused(toys_set, tmp_path):
    control = ModelEntry("control-zero", "control", {"control": "zero"})
    with pytest.raises(UserError, match="defined on the frames of scans only"):
        _run(control, toys_set, tmp_path / "t.h5")


# --- checkpoints ---------------------------------------------------------------------------------

BROKEN = replace(ALONE, temperatures_k=(300.0, 9000.0), duration_ps=0.15)


class _StoppedError(Exception):
    """Stands for a kill."""


def _stop_at(monkeypatch, count):
    """Stop at the so many-th call of the model."""
    original, calls = Worker.evaluate, 0

    def stopping(self, batch):
        nonlocal calls
        calls += 1
        if calls > count:
            raise _StoppedError
        return original(self, batch)

    monkeypatch.setattr(Worker, "evaluate", stopping)


@pytest.mark.parametrize(
    ("kills", "equilibration_ps"),
    [
        ((2, 3), 0.0),
        ((10, 3, 40), 0.0),
        ((60, 100, 101), 0.0),
        ((5, 140, 1, 1, 30), 0.0),
        ((30, 60, 100), 0.05),  # among the steps of the thermostat
        ((200, 10, 5, 5, 12, 40), 0.05),  # and where the energy is set
    ],
)
def test_an_interrupted_shard_ends_as_an_undisturbed_one_to_the_bit(
    weak, toys_set, tmp_path, monkeypatch, kills, equilibration_ps
):
    entry = fake_entry(batch_size=4)
    settings = replace(BROKEN, equilibration_ps=equilibration_ps)
    with _run(entry, toys_set, tmp_path / "whole.h5", settings=settings) as file:
        lost = [file.trajectory(name) for name in file.names]
        assert 0 < sum(not one.survived for one in lost) < len(lost)
        assert any(one.failure_step > BLACK_BOX_STEPS for one in lost)
    out = tmp_path / "t.h5"
    for calls in kills:
        with monkeypatch.context() as patch:
            _stop_at(patch, calls)
            with pytest.raises(_StoppedError):
                _run(entry, toys_set, out, settings=settings, checkpoint_s=0.0)
        assert not out.exists()
    _run(entry, toys_set, out, settings=settings).__exit__(None, None, None)
    assert content(out) == content(tmp_path / "whole.h5")
    assert not (tmp_path / "t.h5.checkpoint").exists()


def test_a_first_call_that_rounds_differently_does_not_show(
    in_process, toys_set, tmp_path, monkeypatch
):
    """As of TorchScript: the first call of a process is the one that its compiler watches."""
    entry = fake_entry("RoundsItsFirstCallDifferently")
    _run(entry, toys_set, tmp_path / "whole.h5").__exit__(None, None, None)
    for count in (9, 20):
        with monkeypatch.context() as patch:
            _stop_at(patch, count)
            with pytest.raises(_StoppedError):
                _run(entry, toys_set, tmp_path / "t.h5", checkpoint_s=0.0)
    _run(entry, toys_set, tmp_path / "t.h5").__exit__(None, None, None)
    assert content(tmp_path / "t.h5") == content(tmp_path / "whole.h5")
    # the same without warming up does differ
    monkeypatch.setattr(warm_up, "CALLS", 0)
    with monkeypatch.context() as patch:
        _stop_at(patch, 20)
        with pytest.raises(_StoppedError):
            _run(entry, toys_set, tmp_path / "u.h5", checkpoint_s=0.0)
    _run(entry, toys_set, tmp_path / "u.h5").__exit__(None, None, None)
    assert content(tmp_path / "u.h5") != content(tmp_path / "whole.h5")


def test_no_stored_step_is_computed_again(in_process, toys_set, tmp_path, monkeypatch):
    tally = tmp_path / "tally"
    entry = fake_entry(arguments={"tally": str(tally)})
    _run(entry, toys_set, tmp_path / "whole.h5", ["cc"], ALONE).__exit__(None, None, None)
    whole = tally.read_text().splitlines()
    tally.unlink()
    with monkeypatch.context() as patch:
        _stop_at(patch, 50)
        with pytest.raises(_StoppedError):
            _run(entry, toys_set, tmp_path / "t.h5", ["cc"], ALONE, checkpoint_s=0.0)
    _run(entry, toys_set, tmp_path / "t.h5", ["cc"], ALONE).__exit__(None, None, None)
    assert tally.read_text().splitlines() == whole
    with h5py.File(tmp_path / "t.h5") as file:
        assert file.attrs["times_interrupted"] == 1


SCRIPT = """
import json, sys
from pathlib import Path
from pesbench.tasks.dynamics.settings import DynamicsSettings
from shards import run_dynamics_shard
from pesbench.models.registry import ModelEntry
if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    run_dynamics_shard(
        ModelEntry.from_file(Path(given["entry"]), sha256=given["sha256"]),
        Path(given["scan_set"]), given["systems"],
        DynamicsSettings(**given["settings"]), Path(given["out"]), device="cpu", checkpoint_s=0.02,
    )
"""


def test_a_killed_shard_continues_to_the_bit(toys_set, tmp_path):
    """SIGKILL of the whole command at two points, whatever it does there."""
    fault = {"fault": "nan_energy", "formulas": ["C2"], "window": [1.75, 99], "pause_s": 5e-4}
    entry = fake_entry("Faulty", arguments=fault, batch_size=3)
    (tmp_path / "entry.json").write_text(json.dumps(entry.deciding()))
    (tmp_path / "run.py").write_text(SCRIPT)
    settings = {"temperatures_k": [300.0, 9000.0], "replicates": 1, "duration_ps": 0.1,
                "store_every": 7}  # fmt: skip
    plain = DynamicsSettings(**settings | {"temperatures_k": (300.0, 9000.0)})
    with pytest.MonkeyPatch.context() as patch:
        _in_process(patch)
        with _run(entry, toys_set, tmp_path / "whole.h5", settings=plain) as file:
            assert file.trajectory("cc_9000K_0").status is Status.NONFINITE
            assert file.trajectory("cc_300K_0").survived
    out = tmp_path / "t.h5"
    given = {"entry": str(tmp_path / "entry.json"), "sha256": entry.sha256,
             "scan_set": str(toys_set), "out": str(out),
             "systems": list(NAMES), "settings": settings}  # fmt: skip
    command = [sys.executable, str(tmp_path / "run.py"), json.dumps(given)]
    rng = np.random.default_rng(20)
    pieces = tmp_path / "t.h5.checkpoint"
    for already in (0, 3):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while len(list(pieces.glob("0*.npz"))) <= already:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        assert not out.exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert content(out) == content(tmp_path / "whole.h5")
    with h5py.File(out) as file:
        assert file.attrs["times_interrupted"] == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("timestep", "`dynamics.timestep_fs` was 0.5 and is 0.25"),
        ("temperatures", "`dynamics.temperatures_k` was [300.0, 1000.0] and is [300.0]"),
        ("model", "`model.settings.batch_size` was 100 and is 7"),
        ("systems", "`systems` was ['cc', 'no', 'ocs'] and is ['cc']"),
        ("threads", "`threads` was 1 and is 2"),
        ("code", "`code` was "),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    in_process, toys_set, tmp_path, monkeypatch, change, said
):
    out = tmp_path / "t.h5"
    with monkeypatch.context() as patch:
        _stop_at(patch, 20)
        with pytest.raises(_StoppedError):
            _run(fake_entry(), toys_set, out, settings=SHORT, checkpoint_s=0.0)
    entry, systems, settings, more = fake_entry(), NAMES, SHORT, {}
    match change:
        case "timestep":
            settings = replace(SHORT, timestep_fs=0.25)
        case "temperatures":
            settings = replace(SHORT, temperatures_k=(300.0,))
        case "model":
            entry = fake_entry(batch_size=7)
        case "systems":
            systems = ("cc",)
        case "threads":
            more = {"threads": 2}
        case "code":
            monkeypatch.setattr(dynamics, "stage_fingerprint", lambda *_: "other")
    before = sorted(p.name for p in (tmp_path / "t.h5.checkpoint").iterdir())
    with pytest.raises(UserError) as failure:
        _run(entry, toys_set, out, systems, settings, **more)
    message = str(failure.value)
    assert message.startswith(f"{tmp_path / 't.h5.checkpoint'}: an unfinished run of other")
    assert said in message
    assert "remove the folder to start anew" in message
    assert "\n" not in message
    assert sorted(p.name for p in (tmp_path / "t.h5.checkpoint").iterdir()) == before


@pytest.mark.parametrize("what", ["settings.json", "state_*.npz", "0*.npz"])
@pytest.mark.parametrize("rest", [0, 40])
def test_a_damaged_checkpoint_is_refused_by_name(
    in_process, toys_set, tmp_path, monkeypatch, what, rest
):
    out = tmp_path / "t.h5"
    with monkeypatch.context() as patch:
        _stop_at(patch, 20)
        with pytest.raises(_StoppedError):
            _run(fake_entry(), toys_set, out, settings=SHORT, checkpoint_s=0.0)
    folder = tmp_path / "t.h5.checkpoint"
    cut = max(folder.glob(what))
    cut.write_bytes(cut.read_bytes()[:rest])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError) as failure:
        _run(fake_entry(), toys_set, out, settings=SHORT)
    message = str(failure.value)
    assert message.startswith(f"{cut}: damaged (")
    assert message.endswith(f"; remove {folder} to start this file anew")
    assert "\n" not in message
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not out.exists()


def test_another_device_starts_anew(in_process, good, toys_set, tmp_path, monkeypatch, caplog):
    out = tmp_path / "t.h5"
    with monkeypatch.context() as patch:
        _stop_at(patch, 20)
        original = Worker.start

        def elsewhere(self):
            self.info = replace(original(self), device="cuda:0")
            return self.info

        patch.setattr(Worker, "start", elsewhere)
        with pytest.raises(_StoppedError):
            _run(fake_entry(), toys_set, out, checkpoint_s=0.0)
    with caplog.at_level(logging.WARNING, "pesbench"):
        file = _run(fake_entry(), toys_set, out)
    assert "checkpoint of another device or version; starting anew" in caplog.text
    with file:
        assert all(_same(good, file, name) for name in WHO)


def test_a_resumed_model_that_no_longer_loads_keeps_what_was_done(
    in_process, good, toys_set, tmp_path, monkeypatch
):
    out = tmp_path / "t.h5"
    with monkeypatch.context() as patch:
        _stop_at(patch, 30)
        with pytest.raises(_StoppedError):
            _run(fake_entry(), toys_set, out, checkpoint_s=0.0)

    def lost(self):
        raise ModelLoadError(Status.ERROR, "the model did not load: gone")

    monkeypatch.setattr(Worker, "start", lost)
    with _run(fake_entry(), toys_set, out) as file:
        for name in WHO:
            found = file.trajectory(name)
            assert found.status is Status.ERROR
            assert found.message == "the model did not load: gone"
            assert found.last_step == found.failure_step - 1 > 10
            had = file.series(name).potential
            assert np.array_equal(had, good.series(name).potential[: len(had)])
