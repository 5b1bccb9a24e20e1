"""The metrics against closed forms and symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pesbench.metrics import curves
from pesbench.metrics import smoothness as s

seeds = st.integers(0, 2**32 - 1)


def _case(seed, frames=30, atoms=4, scale=5.0):
    """A coordinate, model and reference forces, and an inner index of the minimum."""
    rng = np.random.default_rng(seed)
    coordinate = np.cumsum(rng.uniform(0.01, 0.05, frames))
    forces, reference = rng.normal(scale=scale, size=(2, frames, atoms, 3))
    return coordinate, forces, reference, int(rng.integers(1, frames - 1))


def _fsd(case, **kwargs):
    return s.force_smoothness_deviation(*case, **kwargs)


def _by_hand(coordinate, forces, reference, q, epsilon=1.0):
    """The definition of spec/bsct.md, frame by frame."""
    ratio = []
    for model, dft in zip(forces, reference, strict=True):
        a = max(float(((model - reference[q]) ** 2).sum()), epsilon**2)
        b = max(float(((dft - reference[q]) ** 2).sum()), epsilon**2)
        ratio.append(np.log(a) - np.log(b))
    return [
        abs((ratio[k + 1] - ratio[k]) / (coordinate[k + 1] - coordinate[k]))
        for k in range(len(ratio) - 1)
    ]


# --- FSD -----------------------------------------------------------------------------------------


@given(seeds, st.sampled_from([0.1, 1.0, 3.0]))
def test_fsd_is_its_definition(seed, epsilon):
    case = coordinate, _, _, q = _case(seed, scale=2.0)
    slope = _by_hand(*case, epsilon)
    fsd = _fsd(case, epsilon=epsilon)
    assert fsd.full == pytest.approx(max(slope), rel=1e-9)
    assert fsd.compress == pytest.approx(max(slope[:q]), rel=1e-9)
    assert fsd.stretch == pytest.approx(max(slope[q:]), rel=1e-9)
    assert fsd.full == max(fsd.compress, fsd.stretch)
    assert fsd.slope_p95 == pytest.approx(np.percentile(slope, 95), rel=1e-9)
    far = [
        value for k, value in enumerate(slope)
        if min(abs(coordinate[k] - coordinate[q]), abs(coordinate[k + 1] - coordinate[q])) > 0.25
    ]  # fmt: skip
    if far:
        assert fsd.windowed == pytest.approx(max(far), rel=1e-9)
    else:
        assert np.isnan(fsd.windowed)
    assert slope[fsd.peak_index] == pytest.approx(fsd.full, rel=1e-9)
    middle = (coordinate[fsd.peak_index] + coordinate[fsd.peak_index + 1]) / 2
    assert fsd.peak_coordinate == pytest.approx(middle)
    assert fsd.peak_offset == pytest.approx(middle - coordinate[q])


@given(seeds)
def test_fsd_does_not_see_a_common_rotation_a_permutation_or_a_shift_of_the_grid(seed):
    coordinate, forces, reference, q = case = _case(seed)
    fsd = _fsd(case).full
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    assert _fsd((coordinate, forces @ turn, reference @ turn, q)).full == pytest.approx(fsd)
    order = np.random.default_rng(seed).permutation(forces.shape[1])
    permuted = (coordinate, forces[:, order], reference[:, order], q)
    assert _fsd(permuted).full == pytest.approx(fsd)
    assert _fsd((coordinate + 0.7, forces, reference, q)).full == pytest.approx(fsd)
    assert _fsd((2 * coordinate, forces, reference, q)).full == pytest.approx(fsd / 2)
    backwards = (-coordinate[::-1], forces[::-1], reference[::-1], len(coordinate) - 1 - q)
    assert _fsd(backwards).full == pytest.approx(fsd)
    assert _fsd(backwards).compress == pytest.approx(_fsd(case).stretch)


@given(seeds)
def test_fsd_is_zero_where_the_norms_keep_their_ratio(seed):
    """A rotation of every ΔF, another one in each frame, keeps all norms: FSD is blind to it."""
    coordinate, _, reference, q = _case(seed)
    rng = np.random.default_rng(seed)
    delta = reference - reference[q]
    turned = np.stack([frame @ Rotation.random(rng=rng).as_matrix() for frame in delta])
    assert _fsd((coordinate, reference[q] + turned, reference, q)).full < 1e-9
    assert _fsd((coordinate, reference, reference, q)).full == 0.0


@given(seeds, st.integers(0, 29), st.floats(1.2, 5.0))
def test_fsd_is_not_zero_where_one_norm_changes(seed, frame, factor):
    coordinate, _, reference, q = _case(seed)
    norms = np.linalg.norm((reference - reference[q]).reshape(30, -1), axis=1)
    assume(norms[frame] > 1.0)
    forces = reference.copy()
    forces[frame] = reference[q] + factor * (reference[frame] - reference[q])
    steps = np.diff(coordinate)
    beside = [steps[k] for k in (frame - 1, frame) if 0 <= k < 29]
    expected = 2 * np.log(factor) / min(beside)
    assert _fsd((coordinate, forces, reference, q)).full == pytest.approx(expected)


@given(seeds, st.floats(0.3, 3.0))
def test_scaled_deviations_cost_nothing_beyond_the_clip_and_their_logarithm_at_it(seed, factor):
    """F̂ = F_q + λ(F − F_q): ℓ = 2 ln λ wherever both norms are above ε, and 0 at q."""
    coordinate, _, reference, q = _case(seed)
    delta = reference - reference[q]
    norms = np.linalg.norm(delta.reshape(30, -1), axis=1)
    others = np.arange(30) != q
    assume((norms[others] * min(factor, 1) > 1).all())
    case = (coordinate, reference[q] + factor * delta, reference, q)
    ratio = s.log_force_ratio(*case[1:])
    assert ratio[others] == pytest.approx(2 * np.log(factor))
    assert ratio[q] == 0.0
    fsd = _fsd(case)
    step = np.diff(coordinate)[[q - 1, q]].min()
    assert fsd.full == pytest.approx(2 * abs(np.log(factor)) / step, abs=1e-9)
    if not np.isnan(fsd.windowed):
        assert fsd.windowed < 1e-6


@given(seeds)
def test_everything_below_the_clip_is_equal(seed):
    coordinate, forces, reference, q = _case(seed, scale=0.05)
    assert _fsd((coordinate, forces, reference, q)).full == 0.0
    assert _fsd((coordinate, forces, reference, q), epsilon=1e-3).full > 0


def test_zero_forces_give_the_references_own_logarithm():
    """Two frames on either side by hand: B = 1, 4, 0, 9, 25 (eV/Å)², and A = F_q² = 16."""
    coordinate = np.array([1.0, 1.1, 1.3, 1.4, 1.6])
    reference = np.zeros((5, 1, 3))
    reference[:, 0, 0] = 4 + np.array([1.0, 2.0, 0.0, -3.0, -5.0])
    fsd = _fsd((coordinate, np.zeros((5, 1, 3)), reference, 2))
    assert fsd.full == pytest.approx(np.log(9) / 0.1)
    assert fsd.compress == pytest.approx(np.log(4) / 0.1)
    assert fsd.stretch == pytest.approx(np.log(9) / 0.1)
    assert (fsd.peak_index, fsd.peak_coordinate) == (2, pytest.approx(1.35))


@pytest.mark.parametrize("q", [0, 29])
def test_a_minimum_at_an_end_is_refused(q):
    coordinate, forces, reference, _ = _case(0)
    with pytest.raises(ValueError, match="at an end"):
        _fsd((coordinate, forces, reference, q))
    with pytest.raises(ValueError, match="at an end"):
        s.equilibrium_index(np.abs(np.arange(30) - q).astype(float))


def test_the_equilibrium_is_the_lowest_frame_and_nan_is_refused():
    assert s.equilibrium_index(np.array([3.0, 1.0, 0.5, 0.7])) == 2
    with pytest.raises(ValueError, match="finite"):
        s.equilibrium_index(np.array([3.0, 1.0, np.nan, 0.7]))


# --- errors --------------------------------------------------------------------------------------


@given(seeds, st.floats(-1e5, 1e5), st.integers(0, 29))
def test_an_offset_is_the_energy_mae_and_nothing_of_the_aligned_one(seed, offset, q):
    rng = np.random.default_rng(seed)
    energy, reference = rng.normal(size=(2, 30))
    aligned = s.energy_mae_aligned(energy, reference, q)
    assert s.energy_mae_aligned(energy + offset, reference, q) == pytest.approx(aligned, abs=1e-9)
    assert s.energy_mae_aligned(energy, reference - offset, q) == pytest.approx(aligned, abs=1e-9)
    assert s.energy_mae(reference + offset, reference) == pytest.approx(abs(offset), abs=1e-9)
    assert s.energy_mae(energy, reference) == pytest.approx(s.energy_mae(reference, energy))


@given(seeds, st.floats(-3, 3))
def test_force_mae_of_a_constant_error(seed, error):
    _, forces, *_ = _case(seed)
    assert s.force_mae(forces + error, forces) == pytest.approx(abs(error), abs=1e-12)


# --- energy from forces --------------------------------------------------------------------------


@given(seeds, st.floats(0.1, 50), st.integers(0, 39))
def test_the_integral_of_a_quadratic_potential_is_exact(seed, stiffness, q):
    """The trapezoidal rule has no error where forces are linear, on any path."""
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.normal(scale=0.1, size=(40, 3, 3)), axis=0)
    centre = rng.normal(size=(3, 3))
    forces = -stiffness * (positions - centre)
    energy = 0.5 * stiffness * ((positions - centre) ** 2).sum(axis=(1, 2))
    found = curves.integrated_energy(positions, forces, q)
    assert found == pytest.approx(energy - energy[q], abs=1e-9 * (1 + np.abs(energy).max()))
    assert found[q] == 0.0
    assert s.energy_force_inconsistency(positions, forces, energy) < 1e-9 * (1 + energy.max())
    jump = energy + np.where(np.arange(40) > 20, 0.5, 0.0)
    assert s.energy_force_inconsistency(positions, forces, jump) == pytest.approx(0.5, abs=1e-6)


@given(seeds)
def test_step_work_is_linear_and_changes_sign_with_the_direction(seed):
    rng = np.random.default_rng(seed)
    positions, one, two = rng.normal(size=(3, 12, 2, 3))
    work = curves.step_work(positions, one)
    both = curves.step_work(positions, one + 2 * two)
    assert both == pytest.approx(work + 2 * curves.step_work(positions, two))
    assert curves.step_work(positions[::-1], one[::-1]) == pytest.approx(-work[::-1])
    assert curves.step_work(positions + 5.0, one) == pytest.approx(work)


# --- extrema -------------------------------------------------------------------------------------

GRID = np.linspace(0.75, 3.0, 100)


def _morse(grid=GRID, rest=1.5):
    return 5 * (1 - np.exp(-2 * (grid - rest))) ** 2


def _bump(height, at, width=0.08, grid=GRID):
    return height * np.exp(-((grid - at) ** 2) / (2 * width**2))


@given(st.integers(1, 6), st.floats(0.05, 3.0), st.floats(0.1, 1.0))
def test_extrema_of_a_sine(periods, amplitude, phase):
    grid = np.linspace(0, 1, 400)
    angle = 2 * np.pi * periods * grid + phase
    found = curves.extrema(grid, amplitude * np.sin(angle))
    tops = np.pi / 2 + np.pi * np.arange(2 * periods + 2)
    inside = (tops - phase) / (2 * np.pi * periods)
    inside = inside[(inside > 0.01) & (inside < 0.99)]
    assert np.sort(found.coordinate) == pytest.approx(inside, abs=0.004)
    assert abs(np.count_nonzero(found.is_minimum) * 2 - len(inside)) <= 1
    assert (found.prominence <= 2 * amplitude + 1e-12).all()


def test_the_reference_has_no_spurious_extremum_of_its_own():
    assert s.count_spurious_extrema(GRID, _morse(), _morse()) == 0
    assert s.count_spurious_extrema(GRID, _morse(rest=1.7), _morse()) == 0  # within 0.25 Å
    assert s.count_spurious_extrema(GRID, _morse(rest=1.9), _morse()) == 1  # a minimum elsewhere
    assert s.count_spurious_extrema(GRID, np.zeros(100), _morse()) == 0
    assert s.count_spurious_extrema(GRID, -GRID, _morse()) == 0


@given(
    st.lists(st.sampled_from([2.2, 2.45, 2.7]), unique=True, max_size=3),
    st.floats(1.0, 2.0),
    st.floats(-100, 100),
)
def test_every_well_adds_a_minimum_and_a_maximum(places, depth, offset):
    model = _morse() - sum((_bump(depth, at, 0.04) for at in places), np.zeros(100)) + offset
    reference = _morse()
    assert s.count_spurious_extrema(GRID, model, reference) == 2 * len(places)
    assert s.count_spurious_extrema(GRID, model, model) == 0
    # in the reference's own curve the wells are no fault of the model's
    assert s.count_spurious_extrema(GRID, reference, model) == 0


def test_a_ripple_below_the_prominence_is_noise():
    ripple = _morse() + _bump(0.4, 2.5, 0.05)
    assert s.count_spurious_extrema(GRID, ripple, _morse()) == 2
    assert s.count_spurious_extrema(GRID, ripple, _morse(), prominence=1.0) == 0


def test_a_well_of_another_depth_matches_nothing():
    """A shallow well of the reference does not excuse a deep one at the same place."""
    shallow = _morse() - _bump(0.75, 2.4, 0.05)
    deep = _morse() - _bump(6.0, 2.4, 0.05)
    assert s.count_spurious_extrema(GRID, shallow, _morse()) == 2
    assert s.count_spurious_extrema(GRID, deep, shallow) >= 2


# --- the wall ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("energy", "monotone"),
    [
        (_morse(), True),
        (-GRID, True),
        (np.zeros(100), False),
        (GRID, False),
        (_morse() - _bump(30, 0.95, 0.05), False),  # a hole in the wall
        (np.minimum(_morse(), 3.0), False),  # a flat top
        (_morse(rest=1.6), True),  # the minimum of the model a little further out
        (_morse(rest=1.4), True),  # or in, within 0.25 Å
        (_morse() + _bump(2, 2.5), True),  # beyond the minimum nothing counts
    ],
)
def test_compression(energy, monotone):
    q = int(np.argmin(_morse()))
    assert s.is_compression_monotone(GRID, energy, q) is monotone


@given(seeds, st.floats(0.01, 100), st.floats(-1e4, 1e4))
def test_compression_does_not_see_scale_and_offset(seed, scale, offset):
    rng = np.random.default_rng(seed)
    energy = _morse() + rng.normal(scale=rng.choice([0.0, 0.3]), size=100)
    q = int(np.argmin(_morse()))
    before = s.is_compression_monotone(GRID, energy, q)
    assert s.is_compression_monotone(GRID, scale * energy + offset, q) == before
