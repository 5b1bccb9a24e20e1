"""Scores of trajectories at constant energy against closed forms and slow computations by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.data import covalent_radii
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pesbench.core.interface import Status
from pesbench.metrics import aggregate
from pesbench.metrics import stability as s
from pesbench.metrics import survival as v
from pesbench.metrics.stability import FailureCause
from pesbench.metrics.survival import Outcome
from pesbench.tasks.dynamics import conservation as c
from pesbench.tasks.dynamics import elsewhere

seeds = st.integers(0, 2**32 - 1)
bad_values = pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])

# --- temperature ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_atoms", "linear", "dof"),
    [(2, True, 1), (2, False, 1), (3, True, 4), (3, False, 3), (28, False, 78)],
)
def test_degrees_of_freedom(n_atoms, linear, dof):
    assert s.degrees_of_freedom(n_atoms, linear) == dof


def test_an_atom_does_not_vibrate():
    with pytest.raises(ValueError, match="vibration"):
        s.degrees_of_freedom(1, False)


@pytest.mark.parametrize(
    ("name", "linear"),
    [("CO2", True), ("HCN", True), ("C2H2", True), ("N2", True), ("H2O", False), ("NH3", False),
     ("CH4", False), ("C6H6", False), ("O3", False)],
)  # fmt: skip
@given(seeds)
def test_linear_molecules_are_known_in_any_place_and_orientation(name, linear, seed):
    rng = np.random.default_rng(seed)
    turn = Rotation.random(rng=rng).as_matrix()
    positions = molecule(name).positions @ turn + rng.normal(scale=10.0, size=3)
    assert s.is_linear(positions) is linear
    assert s.is_linear(positions + rng.uniform(-0.01, 0.01, positions.shape)) is linear


@given(st.integers(1, 144), st.floats(1.0, 3000.0))
def test_equipartition_gives_t_and_the_start_is_twice_that(dof, temperature):
    energy = dof * units.kB * temperature  # of a harmonic molecule; all of it kinetic at the start
    assert s.kinetic_temperature(energy / 2, dof) == pytest.approx(temperature)
    assert s.kinetic_temperature(energy, dof) == pytest.approx(2 * temperature)
    assert 2 * temperature < s.temperature_limit(temperature, dof)


@pytest.mark.parametrize("dof", [1, 3, 24, 78])
def test_the_width_is_that_of_a_harmonic_molecule_at_constant_energy(dof):
    """Directions in phase space are uniform on a sphere of 2f dimensions."""
    point = np.random.default_rng(0).normal(size=(40_000, 2 * dof)) ** 2
    temperature = 2 * 300 * point[:, :dof].sum(axis=1) / point.sum(axis=1)
    exact = s.temperature_width(300, dof) * np.sqrt(dof / (dof + 1))
    assert temperature.std() == pytest.approx(exact, rel=0.03)
    assert temperature.mean() == pytest.approx(300, rel=0.02)


def test_limits_use_the_nominal_temperature():
    assert s.temperature_limit(300, 1) == pytest.approx(300 + 3000)
    assert s.temperature_limit(300, 9) == pytest.approx(300 + 1000)
    assert s.temperature_limit(300, 25) == s.temperature_limit(300, 144) == pytest.approx(900)
    for wrong in [(0, 3), (-5, 3), (np.nan, 3), (300, 0)]:
        with pytest.raises(ValueError, match="positive"):
            s.temperature_limit(*wrong)


# --- failures ------------------------------------------------------------------------------------


def test_codes_do_not_change():
    """They are stored."""
    assert [(cause.code, cause.value) for cause in FailureCause] == [
        (0, "none"), (1, "nonfinite"), (2, "hot"), (3, "long_bond"), (4, "short_bond"),
        (5, "close_pair"),
    ]  # fmt: skip
    assert all(FailureCause.from_code(cause.code) is cause for cause in FailureCause)


def _by_hand(numbers, bonds, temperature_k, linear, positions, temperature):
    """The criteria of one molecule, pair by pair."""
    if not (np.isfinite(positions).all() and np.isfinite(temperature)):
        return FailureCause.NONFINITE
    n = len(numbers)
    freedom = 3 * n - 5 if linear or n == 2 else 3 * n - 6
    if temperature > max(3 * temperature_k, temperature_k + 10 * temperature_k / freedom**0.5):
        return FailureCause.HOT
    found = set()
    bonded = {tuple(sorted(bond)) for bond in np.asarray(bonds).tolist()}
    for i in range(n):
        for j in range(i + 1, n):
            length = np.linalg.norm(positions[i] - positions[j])
            total = covalent_radii[numbers[i]] + covalent_radii[numbers[j]]
            if (i, j) in bonded and length > 2 * total:
                found.add(FailureCause.LONG_BOND)
            if length < 0.5 * total:
                short = (i, j) in bonded
                found.add(FailureCause.SHORT_BOND if short else FailureCause.CLOSE_PAIR)
    return min(found, key=lambda cause: cause.code, default=FailureCause.NONE)


def _random_batch(seed):
    """Chains of 2 to 6 atoms, strained until some of them break."""
    rng = np.random.default_rng(seed)
    numbers, bonds, positions, kelvin, linear, temperature = [], [], [], [], [], []
    for _ in range(rng.integers(1, 7)):
        n = int(rng.integers(2, 7))
        numbers.append(rng.choice([1, 6, 7, 8, 16, 53], n))
        chain = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
        bonds.append(chain[:, ::-1] if rng.random() < 0.5 else chain)
        step = rng.normal(size=(n, 3))
        step *= rng.uniform(1.0, rng.choice([1.6, 3.5])) / np.linalg.norm(step, axis=1)[:, None]
        positions.append(np.cumsum(step, axis=0))
        kelvin.append(float(rng.choice([300.0, 1000.0])))
        linear.append(bool(rng.random() < 0.3))
        temperature.append(rng.uniform(0.5, rng.choice([2.5, 8.0])) * kelvin[-1])
        if rng.random() < 0.1:
            positions[-1][rng.integers(n), rng.integers(3)] = np.nan
    return numbers, bonds, kelvin, linear, positions, np.array(temperature)


@given(seeds)
def test_a_batch_is_checked_as_each_molecule_is_by_hand(seed):
    numbers, bonds, kelvin, linear, positions, temperature = _random_batch(seed)
    check = s.FailureCheck.of(numbers, bonds, kelvin, linear)
    joined = np.concatenate(positions)
    codes = check.check(joined, temperature)
    every = zip(numbers, bonds, kelvin, linear, positions, temperature, strict=True)
    expected = [_by_hand(*one) for one in every]
    assert [FailureCause.from_code(code) for code in codes] == expected
    for k, cause in enumerate(expected):
        failure = check.failure(k, 7, joined, temperature)
        if cause is FailureCause.NONE:
            assert failure is None
        else:
            assert (failure.cause, failure.step) == (cause, 7)


def test_the_random_batches_hold_every_cause():
    seen = set()
    for seed in range(60):
        numbers, bonds, kelvin, linear, positions, temperature = _random_batch(seed)
        check = s.FailureCheck.of(numbers, bonds, kelvin, linear)
        seen |= set(check.check(np.concatenate(positions), temperature).tolist())
    assert seen == {cause.code for cause in FailureCause}


@bad_values
@pytest.mark.parametrize("place", ["positions", "temperature", "energy", "forces"])
def test_what_is_not_finite_fails_its_molecule_and_no_other(place, bad):
    positions = np.concatenate([molecule("H2O").positions] * 3)
    step = {
        "positions": positions,
        "temperature": np.full(3, 300.0),
        "energy": np.zeros(3),
        "forces": np.zeros((9, 3)),
    }
    bonds = [np.array([[0, 1], [0, 2]])] * 3
    check = s.FailureCheck.of([np.array([8, 1, 1])] * 3, bonds, [300.0] * 3, [False] * 3)
    assert check.check(**step).tolist() == [0, 0, 0]
    if step[place].ndim == 2:
        step[place][4, 1] = bad
    else:
        step[place][1] = bad
    assert check.check(**step).tolist() == [0, FailureCause.NONFINITE.code, 0]
    failure = check.failure(1, 3, **step)
    assert failure.cause is FailureCause.NONFINITE
    assert failure.detail.removesuffix(" not finite") == place.removesuffix("s")
    if place == "energy":  # a model without energies cannot fail by one
        assert check.check(**(step | {"energy": None})).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("length", "cause", "words"),
    [
        (0.31 + 0.31, FailureCause.NONE, None),
        (1.24, FailureCause.NONE, None),  # exactly 2
        (1.2401, FailureCause.LONG_BOND, "H0-H1 at 1.24 Å, limit 1.24 Å"),
        (0.31, FailureCause.NONE, None),  # exactly 0.5
        (0.25, FailureCause.SHORT_BOND, "H0-H1 at 0.25 Å, limit 0.31 Å"),
        (1e200, FailureCause.LONG_BOND, "H0-H1 at inf Å, limit 1.24 Å"),
    ],
)
def test_limits_of_a_bond_in_a_diatomic(length, cause, words):
    check = s.FailureCheck.of([np.array([1, 1])], [np.array([[0, 1]])], [300.0], [True])
    step = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, length]]), np.array([300.0])
    assert FailureCause.from_code(check.check(*step)[0]) is cause
    failure = check.failure(0, 12, *step)
    assert failure == (None if words is None else s.Failure(cause, 12, words))


def test_a_pair_without_a_bond_and_a_molecule_without_bonds():
    water = np.array([[0.0, 0, 0], [0.96, 0, 0], [0.96, 0.25, 0]])
    check = s.FailureCheck.of(
        [np.array([10, 10]), np.array([8, 1, 1])], [np.zeros((0, 2), int), [[0, 1], [0, 2]]],
        [300.0, 300.0], [False, False],
    )  # fmt: skip
    step = np.concatenate([[[0, 0, 0], [50.0, 0, 0]], water]), np.array([300.0, 300.0])
    assert check.check(*step).tolist() == [0, FailureCause.CLOSE_PAIR.code]
    assert check.failure(1, 0, *step).detail == "H1-H2 at 0.25 Å, limit 0.31 Å"
    assert check.failure(0, 0, *step) is None
    hot = step[0], np.array([300.0, 2500.0])
    assert check.failure(1, 0, *hot).detail == "2500 K, limit 2032 K"
    limit = s.temperature_limit(300, 3)
    apart = np.concatenate([[[0, 0, 0], [50.0, 0, 0]], molecule("H2O").positions])
    for factor, cause in [(1.0, FailureCause.NONE), (1.0 + 1e-12, FailureCause.HOT)]:
        assert check.check(apart, np.array([300.0, factor * limit])).tolist() == [0, cause.code]
    with pytest.raises(ValueError, match="no molecule"):
        s.FailureCheck.of([], [], [], [])


def _first_failure(
    numbers, bonds, temperature_k, linear, positions, temperature, energy=None, forces=None
):
    """The first failed frame of one molecule, or None."""
    check = s.FailureCheck.of([numbers], [bonds], [temperature_k], [linear])
    for frame in range(len(positions)):
        step = (
            positions[frame],
            temperature[frame : frame + 1],
            None if energy is None else energy[frame : frame + 1],
            None if forces is None else forces[frame],
        )
        if check.check(*step)[0]:
            return check.failure(0, frame, *step)
    return None


@given(st.integers(1, 40), st.floats(0.01, 0.2))
def test_the_first_failure_of_a_bond_that_grows_steadily(before, speed):
    """b(f) = 0.74 Å until frame `before`, then longer by `speed` a frame; the limit is 1.24 Å."""
    frames = np.arange(100)
    length = 0.74 + speed * np.maximum(frames - before, 0)
    positions = np.zeros((100, 2, 3))
    positions[:, 1, 2] = length
    case = np.array([1, 1]), np.array([[0, 1]]), 300.0, True
    failure = _first_failure(*case, positions, np.full(100, 300.0))
    assert failure.cause is FailureCause.LONG_BOND
    assert failure.step == np.flatnonzero(length > 1.24)[0]
    assert _first_failure(*case, positions[: failure.step], np.full(100, 300.0)) is None
    hot = np.where(frames >= before, 3301.0, 300.0)  # 11 T for a single vibration
    assert _first_failure(*case, positions, hot).step == before
    energy = np.where(frames == before, np.nan, 0.0)
    failure = _first_failure(*case, positions, np.full(100, 300.0), energy)
    assert (failure.cause, failure.step) == (FailureCause.NONFINITE, before)
    forces = np.zeros((100, 2, 3))
    forces[before - 1, 0, 0] = np.inf
    failure = _first_failure(*case, positions, hot, energy, forces)
    assert failure == s.Failure(FailureCause.NONFINITE, before - 1, "force not finite")


# --- conservation --------------------------------------------------------------------------------

STEP = 5e-4


def _times(n=4001):
    return np.arange(n) * STEP


@given(st.floats(-10, 10), st.floats(-2e5, 2e5), st.integers(2, 50))
def test_a_drift_comes_out_as_put_in(drift, offset, n_atoms):
    """In meV/atom/ps, whatever the zero of energy."""
    time = _times()
    energy = offset + n_atoms * drift / 1000 * time
    found = c.energy_drift(time, energy, n_atoms)
    assert found.slope == pytest.approx(drift, abs=1e-6)
    assert found.standard_error < 1e-6
    assert c.detrended_rms(time, energy, n_atoms) < 1e-6
    assert c.largest_jump(time, energy) == pytest.approx(abs(drift) * n_atoms * STEP, abs=1e-6)
    assert c.largest_excursion(time, energy, n_atoms) == pytest.approx(abs(drift) * 1.8, abs=1e-6)


def test_a_picosecond_is_not_ten_units_of_time_of_ase():
    """LAMBench prints 10.18 meV/atom/ps for this one."""
    step_ase = 0.5 * units.fs
    power = 1e-3 / (1000 * units.fs)  # 1 meV a picosecond, in eV a unit of ASE's
    energy = power * step_ase * np.arange(4001)
    assert c.energy_drift(_times(), energy, 1).slope == pytest.approx(1.0)
    assert elsewhere.lambench_slope(_times(), energy, 1) == pytest.approx(1e-3)


@given(seeds)
def test_the_first_fifth_of_a_picosecond_does_not_count(seed):
    rng = np.random.default_rng(seed)
    time, energy = _times(), np.cumsum(rng.normal(size=4001))
    other = np.where(np.arange(4001) < 400, 100 * rng.normal(size=4001), energy)
    for score in (c.energy_drift, c.detrended_rms, c.largest_excursion):
        assert score(time, energy, 3) == score(time, other, 3)
        assert score(time, energy, 3, discard_ps=0) != score(time, other, 3, discard_ps=0)
    assert c.largest_jump(time, energy) == c.largest_jump(time, other)
    assert c.temperature_spike_index(time, energy, 300, 9) == c.temperature_spike_index(
        time, other, 300, 9
    )
    other[400] += 1e4
    assert c.energy_drift(time, energy, 3) != c.energy_drift(time, other, 3)


def test_fluctuation_jump_and_excursion_of_a_sine_and_a_step():
    time = _times()
    sine = 0.01 * np.sin(2 * np.pi * 50 * (time + STEP / 2))  # two samples astride each zero
    assert c.detrended_rms(time, sine, 5) == pytest.approx(10 / np.sqrt(2) / 5, rel=1e-3)
    steepest = 2 * 10 * np.sin(np.pi * 50 * STEP)
    assert c.largest_jump(time, sine) == pytest.approx(steepest, rel=1e-3)
    step = np.where(time > 1.1, 0.03, 0.0)
    assert c.largest_jump(time, step) == pytest.approx(30)
    assert c.largest_jump(time, -step) == pytest.approx(30)
    assert c.largest_excursion(time, -step, 5) == pytest.approx(6)
    # the slope of a step in the middle of a span D is 3h/2D, and h/4 is left about it
    assert c.energy_drift(time, step, 5).slope == pytest.approx(1.5 * 6 / 1.8, rel=2e-3)
    assert c.detrended_rms(time, step, 5) == pytest.approx(6 / 4, rel=2e-3)


@pytest.mark.parametrize(
    ("memory_ps", "too_large"), [(0.0, 4.0), (0.1, 3.2), (1.0, 1.4), (np.inf, 1.0)]
)
def test_the_standard_error_of_a_drift_is_never_too_small(memory_ps, too_large):
    """Right for a random walk, larger than the scatter of slopes where memory is shorter."""
    from scipy.signal import lfilter
    from scipy.stats import linregress
    from scipy.stats import t as student

    rng = np.random.default_rng(3)
    time = np.arange(2000) * 1e-3
    keep = np.exp(-1e-3 / memory_ps) if memory_ps else 0.0
    noise = rng.normal(size=(400, 4000))
    series = lfilter([1.0], [1.0, -keep], noise, axis=1)[:, 2000:] + 0.5 * time
    found = [c.energy_drift(time, one, 1000, discard_ps=0) for one in series]
    slope = np.array([one.slope for one in found])
    error = np.array([one.standard_error for one in found])
    inside = np.abs(slope - 0.5) < student.ppf(0.975, c.PIECES - 1) * error
    assert 0.93 <= inside.mean() <= 1.0
    ratio = np.sqrt(np.mean(error**2)) / slope.std()
    assert ratio == pytest.approx(too_large, rel=0.15)
    naive = np.mean([linregress(time, one).stderr for one in series])
    assert naive < slope.std() if memory_ps else naive == pytest.approx(slope.std(), rel=0.15)


@bad_values
@pytest.mark.parametrize("at", [0, 399, 400, 2000, 4000])
def test_nothing_that_is_not_finite_has_a_score(bad, at):
    energy = np.zeros(4001)
    energy[at] = bad
    time = _times()
    drift = c.energy_drift(time, energy, 3)
    scores = [
        drift.slope,
        drift.standard_error,
        c.detrended_rms(time, energy, 3),
        c.largest_excursion(time, energy, 3),
        c.largest_jump(time, energy),
        c.temperature_spike_index(time, energy, 300, 9),
    ]
    assert np.isnan(scores).all()
    assert elsewhere.mlipaudit_energy_conservation(time, energy, np.sin(time)) == 0.0
    slope = elsewhere.lambench_slope(time, energy, 3)
    assert np.isnan(slope)
    assert elsewhere.lambench_instability(slope, True) == 5.0


def test_too_short_a_series_has_no_score():
    for count in (0, 1, 300, 400, 401):
        time, energy = _times(count), np.zeros(count)
        assert np.isnan(c.energy_drift(time, energy, 3).slope)
        assert np.isnan(c.detrended_rms(time, energy, 3))
        assert np.isnan(c.largest_jump(time, energy))
        assert np.isnan(c.largest_excursion(time, energy, 3))
        assert np.isnan(c.temperature_spike_index(time, energy, 300, 9))
    assert np.isnan(c.energy_drift(_times(499), np.zeros(499), 3).slope)
    assert c.energy_drift(_times(500), np.zeros(500), 3) == c.Drift(0.0, 0.0)
    assert np.isnan(c.temperature_spike_index(_times(1400), np.zeros(1400), 300, 9))
    assert c.temperature_spike_index(_times(1401), np.zeros(1401), 300, 9) == 0.0


def test_series_that_make_no_sense_are_refused():
    time = _times(1000)
    with pytest.raises(ValueError, match="one length"):
        c.energy_drift(time, np.zeros(999), 3)
    with pytest.raises(ValueError, match="rise"):
        c.detrended_rms(time[::-1], np.zeros(1000), 3)
    with pytest.raises(ValueError, match="negative"):
        c.largest_jump(time, np.zeros(1000), discard_ps=-0.1)
    with pytest.raises(ValueError, match="equal time steps"):
        c.temperature_spike_index(time + time**2, np.zeros(1000), 300, 9)


@given(st.floats(0.5, 40), st.integers(410, 3990), st.integers(1, 150))
def test_one_spike_counts_in_units_of_the_width(size, at, dof):
    temperature = np.full(4001, 310.0)
    temperature[at] += size * 300 / np.sqrt(dof)
    temperature[0] = 600  # the start
    found = c.temperature_spike_index(_times(), temperature, 300, dof)
    assert found == pytest.approx(size)
    cooled = c.temperature_spike_index(_times(), 620 - temperature, 300, dof)
    assert cooled == pytest.approx(0, abs=1e-9)


def test_a_slow_change_of_the_temperature_is_no_spike():
    time = _times()
    slow = 300 + 50 * time
    # at the mirrored end the median stands a quarter of a half window back
    assert c.temperature_spike_index(time, slow, 300, 9) == pytest.approx(50 * 0.125 / 100, rel=0.1)
    late = np.where(time > 1.5, 600.0, 300.0)  # a median keeps an edge: a level that lasts is none
    assert c.temperature_spike_index(time, late, 300, 9) == 0.0
    for length, index in [(0.24, 3.0), (0.26, 0.0)]:  # on either side of half the window
        pulse = np.where(np.abs(time - 1.5) < length / 2, 600.0, 300.0)
        assert c.temperature_spike_index(time, pulse, 300, 9) == pytest.approx(index)


@given(seeds, st.sampled_from([1, 3, 9, 24, 78]))
def test_the_spike_index_of_harmonic_molecules_is_small_and_bounded(seed, dof):
    """All energy amounts to 2T: no spike of a harmonic molecule exceeds about √f."""
    rng = np.random.default_rng(seed)
    share = rng.exponential(size=dof)
    angle = 2 * np.pi * rng.uniform(10, 100, (dof, 1)) * _times() + rng.uniform(0, 7, (dof, 1))
    temperature = 300 * (share / share.sum()) @ (2 * np.cos(angle) ** 2)
    found = c.temperature_spike_index(_times(), temperature, 300, dof)
    assert 0.5 < found < min(6, 1.3 * np.sqrt(dof))


@given(st.floats(-1, 4), st.floats(1e-4, 10), st.floats(0.05, 2), st.floats(1.1, 10))
def test_the_order_of_a_power_law(order, scale, dt, ratio):
    rms = [scale * step**order for step in (dt, dt * ratio)]
    assert c.rms_order(*rms, dt, dt * ratio) == pytest.approx(order, abs=1e-9)
    assert c.rms_order(*rms[::-1], dt * ratio, dt) == pytest.approx(order, abs=1e-9)


def test_orders_that_do_not_exist():
    for rms in (0.0, -1.0, np.nan, np.inf):
        assert np.isnan(c.rms_order(rms, 1.0, 0.5, 0.25))
        assert np.isnan(c.rms_order(1.0, rms, 0.5, 0.25))
    for steps in [(0.5, 0.5), (0.0, 0.5), (0.5, -1.0)]:
        with pytest.raises(ValueError, match="time steps"):
            c.rms_order(1.0, 1.0, *steps)


def _verlet_energy(dt_fs, period_fs=10.0):
    """E(t) of a harmonic oscillator under velocity Verlet, in closed form, with 1 eV at the start.

    The scheme keeps p² + (1 − a²) q² with a = ω dt/2, so that p² + q² = 1 + a²/(1 − a²) sin²(ω't)
    from q = 0, where sin(ω' dt/2) = a (Hairer, Lubich, Wanner, Acta Numerica 12, 399 (2003)).
    """
    time = np.arange(round(2000 / dt_fs)) * dt_fs
    a = np.pi * dt_fs / period_fs
    turned = 2 * np.arcsin(a) / dt_fs * time
    return time / 1000, 1 + a**2 / (1 - a**2) * np.sin(turned) ** 2


def test_the_fluctuation_of_verlet_falls_with_the_square_of_the_step_and_a_jump_does_not():
    steps = np.geomspace(0.05, 0.5, 5)
    smooth, rough = [], []
    for dt in steps:
        time, energy = _verlet_energy(dt)
        smooth.append(c.detrended_rms(time, energy, 2))
        rough.append(c.detrended_rms(time, energy + 0.1 * (time > 1.1), 2))
        assert abs(c.energy_drift(time, energy, 2).slope) < 0.05
    for k in range(4):
        pair = slice(k, k + 2)
        assert c.rms_order(*smooth[pair], *steps[pair]) == pytest.approx(2, abs=0.1)
        assert abs(c.rms_order(*rough[pair], *steps[pair])) < 0.1


@given(st.floats(0.01, 0.3), st.floats(0.1, 1), st.floats(0, 1))
def test_the_energy_of_a_curl_force_drifts_alike_at_every_step(rate, a, b):
    """E = |A|² exp(κt/ω) + |B|² exp(−κt/ω): the slope lies between those at the two ends."""
    drifts = []
    for dt_fs in (0.25, 0.5):
        time = np.arange(0, 2000, dt_fs) / 1000
        energy = a * np.exp(rate * time) + b * np.exp(-rate * time)
        drifts.append(c.energy_drift(time, energy, 1).slope / 1000)
        ends = np.array([0.2, 2.0])
        slopes = rate * (a * np.exp(rate * ends) - b * np.exp(-rate * ends))
        assert slopes[0] - 1e-9 <= drifts[-1] <= slopes[1] + 1e-9  # convex: the slope rises
    assert drifts[0] == pytest.approx(drifts[1], abs=1e-3 * rate)


# --- survival ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_an_outcome(status):
    fails = {Status.NONFINITE, Status.ERROR, Status.CRASHED}
    absent = {Status.UNSUPPORTED, Status.MASKED}
    expected = {
        Status.OK: Outcome.SURVIVED,
        Status.TIMEOUT: Outcome.CENSORED,
        Status.OUT_OF_MEMORY: Outcome.CENSORED,
        Status.ALARM: Outcome.CENSORED,
        **dict.fromkeys(fails, Outcome.FAILED),
        **dict.fromkeys(absent, Outcome.NOT_AT_RISK),
    }
    assert v.outcome(status, "", 1.0) is expected[status]
    assert v.outcome(status, FailureCause.NONE, 1.0) is expected[status]
    if status in fails:
        assert v.outcome(status, "", 0.0) is Outcome.NOT_AT_RISK


def test_a_physical_failure_is_an_event_from_the_first_step_on():
    assert v.outcome("ok", "hot", 1.0) is Outcome.FAILED
    assert v.outcome("timeout", FailureCause.CLOSE_PAIR, 1.0) is Outcome.FAILED
    assert v.outcome("ok", FailureCause.CLOSE_PAIR, 0.0) is Outcome.NOT_AT_RISK
    for wrong in [("ok", "", -1.0), ("ok", "", np.nan), ("fine", "", 1.0), ("ok", "bored", 1.0)]:
        with pytest.raises(ValueError, match=r"."):
            v.outcome(*wrong)


def test_where_the_reference_fails_no_model_is_judged():
    good, bad, cut, gone = (
        Outcome.SURVIVED, Outcome.FAILED, Outcome.CENSORED, Outcome.NOT_AT_RISK,
    )  # fmt: skip
    reference = [("a", 300), ("a", 300), ("a", 500), ("a", 500), ("b", 300), ("b", 300), ("d", 300)]
    found = v.in_excess_of_reference(
        [bad, good, good, bad, good, bad, gone, bad, gone],
        [("a", 300), ("a", 300), ("a", 500), ("a", 500), ("b", 300), ("c", 300), ("c", 300),
         ("d", 300), ("a", 300)],
        [good, good, good, bad, good, cut, gone],
        reference,
    )  # fmt: skip
    assert np.flatnonzero(found.counted).tolist() == [0, 1]
    assert np.flatnonzero(found.reference_failed).tolist() == [2, 3]  # one replicate is enough
    assert np.flatnonzero(found.reference_unknown).tolist() == [4, 5, 7]
    assert np.flatnonzero(found.not_at_risk).tolist() == [6, 8]


@given(st.lists(st.sampled_from(Outcome), max_size=12), seeds)
def test_every_trajectory_has_one_place_and_the_reference_loses_nothing(reference, seed):
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 4, len(reference)).tolist()
    n = int(rng.integers(1, 12))
    outcomes = [list(Outcome)[k] for k in rng.integers(0, 4, n)]
    conditions = rng.integers(0, 5, n).tolist()
    found = v.in_excess_of_reference(outcomes, conditions, reference, places)
    masks = [found.counted, found.not_at_risk, found.reference_failed, found.reference_unknown]
    assert (np.sum(masks, axis=0) == 1).all()
    assert all(isinstance(mask, np.ndarray) and mask.dtype == bool for mask in masks)
    own = v.in_excess_of_reference(reference, places, reference, places)
    kept = [how for how, keep in zip(reference, own.counted, strict=True) if keep]
    assert set(kept) <= {Outcome.SURVIVED}


def _product_limit(times, event, horizon):
    """Area under the Kaplan-Meier curve, by the textbook."""
    alive, area, last = 1.0, 0.0, 0.0
    for moment in sorted({t for t, dead in zip(times, event, strict=True) if dead and t < horizon}):
        area += alive * (moment - last)
        at_risk = sum(t >= moment for t in times)
        deaths = sum(t == moment and dead for t, dead in zip(times, event, strict=True))
        alive, last = alive * (1 - deaths / at_risk), moment
    return area + alive * (horizon - last)


run_times = st.lists(
    st.tuples(st.integers(0, 12).map(lambda k: k / 2), st.sampled_from(["failed", "censored"])),
    min_size=1, max_size=25,
)  # fmt: skip


@given(run_times, st.sampled_from([0.3, 3.0, 5.5]))
def test_the_restricted_mean_is_the_textbooks_and_lies_within_its_bounds(runs, horizon):
    times = [time for time, _ in runs]
    event = [how == "failed" for _, how in runs]
    mean = v.restricted_mean_survival_time(times, event, horizon)
    assert mean == pytest.approx(_product_limit(times, event, horizon))
    outcomes = [Outcome(how) for _, how in runs]
    found = v.survival(times, outcomes, ["a"] * len(runs), horizon, "test")
    assert found.mean == pytest.approx(mean)
    assert found.all_fail - 1e-9 <= mean <= found.all_survive + 1e-9
    worst = v.restricted_mean_survival_time(times, [True] * len(times), horizon)
    assert found.all_fail == pytest.approx(worst)
    late = [time if dead else horizon for time, dead in zip(times, event, strict=True)]
    best = v.restricted_mean_survival_time(late, event, horizon)
    assert found.all_survive == pytest.approx(best)
    assert found.n == len(runs)
    assert np.isnan(found.low)
    assert np.isnan(found.high)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.floats(0.1, 9))
def test_without_censoring_the_restricted_mean_is_a_plain_one(times, horizon):
    mean = v.restricted_mean_survival_time(times, [True] * len(times), horizon)
    assert mean == pytest.approx(np.minimum(times, horizon).mean())


def test_the_curve_starts_at_one_and_ends_at_the_horizon():
    time, share = v.survival_curve([1.0, 2.0, 2.0, 3.0, 9.0], [1, 0, 1, 1, 1], 5.0)
    assert time.tolist() == [0, 1, 2, 3, 5]
    assert share == pytest.approx([1, 0.8, 0.6, 0.3, 0.3])
    assert v.survival_curve([7.0], [True], 5.0)[1].tolist() == [1, 1]
    assert v.survival_curve([0.0], [True], 5.0)[1].tolist() == [1, 0, 0]


def test_the_interval_is_a_bootstrap_over_molecules():
    rng = np.random.default_rng(2)
    time = np.minimum(rng.exponential(4.0, 60), 5.0)
    outcomes = [Outcome.FAILED if t < 5 else Outcome.SURVIVED for t in time]
    systems = [f"m{k // 6}" for k in range(60)]
    found = v.survival(time, outcomes, systems, 5.0, "x", resamples=300)
    expected = aggregate.mean_interval(time, systems, "x", resamples=300)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.mean == pytest.approx(time.mean())
    assert found.low < found.mean < found.high
    assert (found.all_fail, found.all_survive) == pytest.approx((found.mean, found.mean))
    # one run that is cut just before the end takes the other way, to the same numbers
    survivor = outcomes.index(Outcome.SURVIVED)
    outcomes[survivor], time[survivor] = Outcome.CENSORED, 5 - 1e-7
    cut = v.survival(time, outcomes, systems, 5.0, "x", resamples=300)
    assert cut.all_fail < cut.all_survive
    assert (cut.mean, cut.low, cut.high) == pytest.approx((found.mean, found.low, found.high))
    order = rng.permutation(60)
    again = v.survival(
        time[order], [outcomes[k] for k in order], [systems[k] for k in order], 5.0, "x", 300
    )
    assert (again.mean, again.low, again.high) == pytest.approx((cut.mean, cut.low, cut.high))


def test_all_survive_and_all_fail():
    alive = v.survival([5.0, 6.0], [Outcome.SURVIVED] * 2, ["a", "b"], 5.0, "x")
    # nobody of two failed, which says little; the bound is (α/2)^(1/n)
    assert (alive.mean, alive.low, alive.high) == pytest.approx((5, 5 * 0.025**0.5, 5))
    dead = v.survival([0.5, 0.5], [Outcome.FAILED] * 2, ["a", "b"], 5.0, "x")
    assert dead.mean == 0.5
    assert 0 < dead.low < 0.5 < dead.high < 5


def test_the_exact_interval_is_that_of_clopper_and_pearson():
    assert v.exact_interval(1.0, 9) == pytest.approx((0.025 ** (1 / 9), 1.0))  # 9 of 9
    assert v.exact_interval(0.0, 9) == pytest.approx((0.0, 1 - 0.025 ** (1 / 9)))
    assert v.exact_interval(0.5, 10) == pytest.approx((0.18709, 0.81291), abs=1e-5)  # their table
    assert v.exact_interval(1.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("times", "outcomes", "horizon", "match"),
    [
        ([], [], 5.0, "at least one"),
        ([1.0, 2.0], [Outcome.FAILED], 5.0, "one time and one event"),
        ([np.nan], [Outcome.FAILED], 5.0, "missing"),
        ([-1.0], [Outcome.FAILED], 5.0, "negative"),
        ([5.0], [Outcome.SURVIVED], 0.0, "horizon"),
        ([5.0], [Outcome.SURVIVED], np.inf, "horizon"),
        ([5.0], [Outcome.NOT_AT_RISK], 5.0, "at risk"),
        ([4.0], [Outcome.SURVIVED], 5.0, "shortest planned"),
    ],
)
def test_survival_of_nothing_is_refused(times, outcomes, horizon, match):
    with pytest.raises(ValueError, match=match):
        v.survival(times, outcomes, ["a"] * len(times), horizon, "x")


# --- other benchmarks ----------------------------------------------------------------------------


@given(st.integers(1, 60), st.sampled_from([-1, 1]), st.floats(0.02, 0.2))
def test_fu_bonds_off_by_half_an_angstrom(before, sign, speed):
    frames = np.arange(100)
    positions = np.zeros((100, 3, 3))
    positions[:, 1, 0] = 1.0
    positions[:, 2, 1] = 1.4 + sign * np.minimum(speed * np.maximum(frames - before, 0), 1.3)
    lengths = elsewhere.bond_lengths(positions, np.array([[0, 1], [0, 2]]))
    found = elsewhere.fu_stability(frames * 0.1, lengths, np.array([1.0, 1.4]))
    over = np.flatnonzero(np.abs(lengths[:, 1] - 1.4) > 0.5)
    assert found == pytest.approx(over[0] * 0.1)
    lengths[before] = np.nan
    found = elsewhere.fu_stability(frames * 0.1, lengths, np.array([1.0, 1.4]))
    assert found == pytest.approx(before * 0.1)


def test_fu_a_run_without_a_collapse():
    time, lengths = np.arange(10) * 0.1, np.full((10, 2), 1.5)
    exactly = elsewhere.fu_stability(time, lengths, np.array([1.0, 2.0]))
    assert exactly == pytest.approx(0.9)
    assert elsewhere.fu_stability(time, lengths, np.array([1.4, 1.5])) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="one row"):
        elsewhere.fu_stability(time, lengths, np.array([1.4]))
    with pytest.raises(ValueError, match="one row"):
        elsewhere.fu_stability(time[:0], lengths[:0], np.array([1.4, 1.5]))


METHANOL = molecule("CH3OH")
METHANOL_BONDS = np.array([[0, 1], [0, 2], [0, 4], [0, 5], [1, 3]])


def _audit(temperature=None, positions=None, n_planned=50, **flags):
    temperature = np.full(50, 300.0) if temperature is None else temperature
    if positions is None:
        positions = np.broadcast_to(METHANOL.positions, (len(temperature), 6, 3))
    return elsewhere.mlipaudit_stability(
        temperature, positions, METHANOL.numbers, METHANOL_BONDS, 300.0, n_planned, **flags
    )


@pytest.mark.parametrize("frame", [0, 1, 20, 49])
def test_mlipaudit_explosions(frame):
    def with_value(value, rest=300.0):
        series = np.full(50, rest)
        series[frame:] = value
        return series

    assert _audit() == 1.0
    assert _audit(with_value(10_300.0)) == 1.0  # exactly
    assert _audit(with_value(10_301.0)) == pytest.approx(0.5 * frame / 50)
    for bad in (np.nan, np.inf):
        assert _audit(with_value(bad)) == pytest.approx(0.5 * frame / 50)
        positions = np.array(np.broadcast_to(METHANOL.positions, (50, 6, 3)))
        positions[frame:, 2, 1] = bad
        assert _audit(positions=positions) == pytest.approx(0.5 * frame / 50)
    if frame:
        assert _audit(with_value(1001.0, rest=10.0)) == pytest.approx(0.5 * frame / 50)
        assert _audit(with_value(1000.0, rest=10.0)) == 1.0
    assert _audit(np.full(frame + 1, 300.0), stopped=True) == pytest.approx(0.5 * frame / 50)
    assert _audit(raised=True) == 0.0


@pytest.mark.parametrize("hydrogen", [2, 3, 4, 5])
@pytest.mark.parametrize("frame", [0, 7, 49])
def test_mlipaudit_a_hydrogen_that_leaves(hydrogen, frame):
    positions = np.array(np.broadcast_to(METHANOL.positions, (50, 6, 3)))
    positions[frame:, hydrogen] += 20.0
    assert _audit(positions=positions) == pytest.approx(0.5 + 0.5 * frame / 50)
    if frame < 20:
        # it comes back for one frame: lost only from then on
        positions[20, hydrogen] -= 20.0
        assert _audit(positions=positions) == pytest.approx(0.5 + 0.5 * 21 / 50)
        # and back at the end: not lost
        positions[49, hydrogen] -= 20.0
        assert _audit(positions=positions) == 1.0


def test_mlipaudit_the_first_of_several_hydrogens_counts_and_another_heavy_atom_keeps_it():
    positions = np.array(np.broadcast_to(METHANOL.positions, (50, 6, 3)))
    positions[30:, 2] += 20.0
    positions[10:, 5] += 30.0
    assert _audit(positions=positions) == pytest.approx(0.5 + 0.5 * 10 / 50)
    moved = np.array(np.broadcast_to(METHANOL.positions, (50, 6, 3)))
    oxygen = METHANOL.positions[1]
    moved[10:, 2] = oxygen + (oxygen - METHANOL.positions[0])  # 2.9 Å from its carbon
    assert np.linalg.norm(moved[-1, 2] - moved[-1, 0]) > 2.5
    assert _audit(positions=moved) == 1.0
    # no heavy atom at all: H2 loses its partner
    pair = np.zeros((50, 2, 3))
    pair[:, 1, 0] = np.where(np.arange(50) < 25, 0.74, 2.6)
    found = elsewhere.mlipaudit_stability(
        np.full(50, 300.0), pair, np.array([1, 1]), np.array([[0, 1]]), 300.0, 50
    )
    assert found == pytest.approx(0.75)


def test_mlipaudit_a_run_that_was_cut_has_no_score():
    with pytest.raises(ValueError, match="49 of 50 frames"):
        _audit(np.full(49, 300.0))
    with pytest.raises(ValueError, match="51 of 50 frames"):
        _audit(np.full(51, 300.0))
    with pytest.raises(ValueError, match="at least one"):
        _audit(np.zeros(0), stopped=True)


@pytest.mark.parametrize(("ratio", "score"), [(0.5, 1.0), (0.99, 1.0), (2.0, np.exp(-3))])
@pytest.mark.parametrize("sign", [-1, 1])
def test_mlipaudit_energy_conservation(ratio, score, sign):
    time = np.linspace(0, 2, 4001)
    kinetic = 3 + 0.4 * np.sin(2 * np.pi * 40 * time)
    energy = -1e4 + sign * ratio * 0.4 / np.sqrt(2) * time / 2
    found = elsewhere.mlipaudit_energy_conservation(time, energy, kinetic)
    assert found == pytest.approx(score, rel=1e-2)


def test_mlipaudit_energy_that_cannot_be_judged():
    time, flat = np.linspace(0, 2, 100), np.zeros(100)
    kinetic = np.sin(40 * time)
    assert elsewhere.mlipaudit_energy_conservation(time, flat, kinetic) == 1.0
    assert elsewhere.mlipaudit_energy_conservation(time, flat, flat) == 0.0
    assert elsewhere.mlipaudit_energy_conservation(time, flat, kinetic * np.nan) == 0.0
    with pytest.raises(ValueError, match="one length"):
        elsewhere.mlipaudit_energy_conservation(time, flat[1:], kinetic)


@given(st.floats(-1, 1), st.floats(-2e5, 2e5), st.integers(1, 50))
def test_lambench_slope_in_its_stated_unit(slope, offset, n_atoms):
    time = np.linspace(0, 10, 101)
    energy = offset + slope * n_atoms * time
    energy[:20] += 7.0  # discarded
    assert elsewhere.lambench_slope(time, energy, n_atoms) == pytest.approx(abs(slope), abs=1e-7)


def test_lambench_unit_factor_is_the_originals_error():
    """It fits against ASE's unit of time and multiplies by 1000."""
    time = np.linspace(0, 10, 101)
    printed = np.polyfit(time * 1000 * units.fs, 1e-3 * time, 1)[0] * 1000
    true = elsewhere.lambench_slope(time, 1e-3 * time, 1)
    assert printed / true == pytest.approx(elsewhere.LAMBENCH_UNIT_FACTOR)
    assert printed == pytest.approx(1.018e-2, rel=1e-4)


@pytest.mark.parametrize(
    ("slope", "instability"),
    [(0.0, 0), (8e-6, 0), (5e-4, 0), (5e-3, 1), (0.223, np.log10(446)), (50.0, 5), (1e9, 5)],
)
def test_lambench_instability(slope, instability):
    assert elsewhere.lambench_instability(slope, True) == pytest.approx(instability)
    assert elsewhere.lambench_instability(slope, False) == 5.0


def test_lambench_a_model_that_fails_on_eight_of_nine_does_not_look_best():
    slopes = [1e-7, *[np.nan] * 5, 1e-7, 60.0, 1e-7]
    found = elsewhere.lambench_board(slopes, [True] * 6 + [False] + [True, False])
    assert found.slope == pytest.approx(1e-7)
    assert (found.n_successful, found.n) == (1, 9)
    assert found.instability == pytest.approx(8 * 5 / 9)
    good = elsewhere.lambench_board([1e-3, 1e-5], [True, True])
    assert (good.slope, good.n_successful) == (pytest.approx(1e-4), 2)
    assert np.isnan(elsewhere.lambench_board([np.nan], [True]).slope)
    with pytest.raises(ValueError, match="at least one run"):
        elsewhere.lambench_board([], [])


def test_lambench_ends_where_the_energy_explodes():
    time, energy = np.linspace(0, 10, 101), np.zeros(101)
    energy[3] = -2e10  # within what is discarded
    assert np.isnan(elsewhere.lambench_slope(time, energy, 3))
    assert np.isnan(elsewhere.lambench_slope(time[:1], np.zeros(1), 3))
    with pytest.raises(ValueError, match="one length"):
        elsewhere.lambench_slope(time, energy[1:], 3)
