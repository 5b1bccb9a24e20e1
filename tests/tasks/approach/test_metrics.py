"""Holes, barriers and walls of curves that can be written down."""

from __future__ import annotations

import numpy as np
import pytest
from ase.units import kB
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from pesbench.core.coordinates import approach as frames
from pesbench.tasks.approach import elsewhere, metrics

BOND = 1.4  # Å


def morse(d, depth=4.0, steepness=2.0):
    return depth * ((1 - np.exp(-steepness * (d - BOND))) ** 2 - 1)


def repulsion(d):
    """Morse plus r⁻¹²."""
    return morse(d) + 1e-3 / d**12


def well(d, place, depth, width=0.05):
    return -depth * np.exp(-(((d - place) / width) ** 2) / 2)


def slope(function, d, step=1e-6):
    return (function(d + step) - function(d - step)) / (2 * step)


def judged(function, start=BOND, reference=None):
    """The wall of a bonded pair, or of one that is judged by a reference from its start on."""
    d = frames.number_distances(start)
    energy = function(d)
    if reference is not None:
        return metrics.wall(d, energy, float(energy[0]), reference(d))
    minimum = metrics.minimum_frame(d, energy, BOND)
    chosen = metrics.judged_frames(d, d[minimum])
    return metrics.wall(d[chosen], energy[chosen], float(energy[minimum]))


# --- walls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [BOND, 2 * BOND])
def test_morse_plus_a_power_is_monotone(start):
    found = judged(repulsion, start)
    assert found.monotone
    assert found.hole_radius_angstrom == 0
    assert np.isnan(found.barrier_ev)
    assert (found.n_spurious_minima, found.spurious_depth_ev, found.below_minimum_ev) == (0, 0, 0)
    assert found.energy_end_ev == pytest.approx(repulsion(0.1) - repulsion(BOND), rel=1e-3)


@pytest.mark.parametrize("place", [0.45, 0.6, 0.8])
def test_a_gaussian_well_has_the_hole_radius_that_it_was_given(place):
    """The hole begins at the maximum outside of the well, where the derivative is 0."""

    def curve(d):
        return morse(d) + well(d, place, 60.0)

    # the maximum lies between the well and the bond
    top = brentq(lambda d: slope(curve, d), place + 0.05, place + 0.3)
    found = judged(curve)
    assert not found.monotone
    assert found.hole_radius_angstrom == pytest.approx(top, abs=0.01)
    assert found.barrier_ev == pytest.approx(curve(top) - curve(BOND), rel=0.06)  # of a frame
    assert found.n_spurious_minima == 1
    bottom = brentq(lambda d: slope(curve, d), place - 0.05, place + 0.04)
    depth = curve(top) - curve(bottom)
    assert found.spurious_depth_ev == pytest.approx(depth, rel=0.15)  # the grid is 0.02 Å there
    assert found.below_minimum_ev == pytest.approx(max(0, curve(BOND) - curve(bottom)), rel=0.15)


def test_a_constant_below_half_an_angstrom_is_no_wall_but_does_not_attract():
    found = judged(lambda d: repulsion(np.maximum(d, 0.5)))
    assert found.monotone
    assert found.energy_end_ev == pytest.approx(repulsion(0.5) - repulsion(BOND), rel=1e-3)
    assert metrics.wall_ratio(found.energy_end_ev, metrics.zbl(0.1, 6, 6)) < 1


def test_a_curve_that_falls_to_the_end_is_a_hole_without_a_minimum():
    found = judged(lambda d: np.where(d > 0.5, repulsion(d), repulsion(0.5) - 1e5 * (0.5 - d)))
    assert not found.monotone
    assert found.n_spurious_minima == 0
    assert found.hole_radius_angstrom == pytest.approx(0.5, abs=0.03)  # a step of the grid
    assert found.below_minimum_ev > 1e4
    assert found.energy_end_ev < 0


def test_a_hole_before_an_overflow_is_seen():
    """The range of the tolerance is that so far: 1e-6 of 1e38 eV would hide everything."""

    def curve(d):
        return np.where(d < 0.15, 1e38, morse(d) + well(d, 0.7, 60.0))

    assert judged(curve).hole_radius_angstrom > 0.7


@pytest.mark.parametrize(
    ("height", "fall", "monotone"),
    [
        (1.0, 0.8e-3, True),
        (1.0, 1.2e-3, False),
        (1e5, 0.5e-6 * 1e5, True),  # of the range so far
        (1e5, 2e-6 * 1e5, False),
    ],
)
def test_small_falls_are_within_the_tolerance(height, fall, monotone):
    d = np.geomspace(BOND, 0.1, 6)
    energy = np.array([0.0, 0.5 * height, height, height - fall, 2e3 * height, 3e3 * height])
    found = metrics.wall(d, energy, 0.0)
    assert found.monotone is monotone
    assert found.hole_radius_angstrom == (0 if monotone else pytest.approx(d[2], abs=0.2))


def test_what_lies_near_the_minimum_is_not_judged():
    """A minimum 0.1 Å from that of the geometry is the model's own."""

    def moved(d):
        return repulsion(d + 0.1)

    d = frames.number_distances(BOND)
    minimum = metrics.minimum_frame(d, moved(d), BOND)
    assert d[minimum] == pytest.approx(BOND - 0.1, abs=0.03)
    assert judged(moved).monotone
    # one that is 0.4 Å away is not: the energy falls below the bond length
    assert not judged(lambda d: repulsion(d + 0.4)).monotone


def test_frames_of_a_stretched_hydrogen_are_not_judged():
    """Beyond the minimum the energy of a bond to hydrogen rises with the distance, or has wells."""
    assert judged(lambda d: repulsion(d) + well(d, 2.4, 3.0), 2 * BOND).monotone


# --- with a reference ----------------------------------------------------------------------------


def test_a_minimum_of_the_reference_is_no_defect():
    """Two hydrogens may meet at 0.74 Å."""
    found = judged(lambda d: morse(d) * 1.3, 4.0, repulsion)
    assert found.monotone
    assert found.n_spurious_minima == 0
    assert np.isnan(found.below_minimum_ev)  # a deeper well than the reference's is no hole


def test_a_minimum_at_another_place_is_spurious_and_a_hole_where_the_reference_repels():
    def shorter(d):
        return morse(d + 0.4)

    found = judged(shorter, 4.0, repulsion)
    assert found.n_spurious_minima == 1
    assert not found.monotone
    assert found.hole_radius_angstrom == pytest.approx(BOND, abs=0.05)
    # one farther out repels too early, and attracts nowhere where the reference repels
    longer = judged(lambda d: morse(d - 0.4), 4.0, repulsion)
    assert longer.n_spurious_minima == 1
    assert longer.monotone
    assert longer.hole_radius_angstrom == 0


def test_a_well_within_the_wall_is_one_with_a_reference_too():
    found = judged(lambda d: repulsion(d) + well(d, 0.8, 60.0), 4.0, repulsion)
    assert not found.monotone
    assert 0.8 < found.hole_radius_angstrom < 1.0
    assert found.n_spurious_minima == 1


@pytest.mark.parametrize("noise", [1e-9, 8e-4])
def test_noise_of_the_reference_is_no_repulsion(noise):
    """A well 0.4 Å too far out attracts where the reference attracts, whatever the last digits."""
    d = frames.number_distances(4.0)
    energy = morse(d - 0.4)
    whole = repulsion(d)
    first = whole.copy()
    first[0] = first[1] - noise  # the reference rises at the first step
    zigzag = whole + noise / 2 * (-1) ** np.arange(len(d))
    slope = np.where(d > 3.5, repulsion(3.5) + noise * (3.5 - d), whole)  # and beyond 3.5 Å
    for reference in (first, zigzag, slope):
        found = metrics.wall(d, energy, float(energy[0]), reference)
        assert found.monotone
        assert (found.hole_radius_angstrom, found.n_spurious_minima) == (0, 1)
        # one that is too far in is a hole as before
        energy_in = morse(d + 0.4)
        found = metrics.wall(d, energy_in, float(energy_in[0]), reference)
        assert found.hole_radius_angstrom == pytest.approx(BOND, abs=0.05)


def test_a_small_rise_of_the_reference_counts_from_the_tolerance_on():
    """Both fall, but for one step on which the reference rises."""
    d = np.linspace(2.0, 1.0, 6)
    energy = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
    for rise, monotone in ((0.8e-3, True), (1.2e-3, False)):
        # it ends higher and falls no more than the tolerance at the end, where the model does
        reference = np.array([5.0, 4.0, 3.0, 3.0 + rise, 3.0 + rise, 3.0 + rise])
        assert metrics.wall(d, energy, 5.0, reference).monotone is monotone


# --- forces --------------------------------------------------------------------------------------


def test_the_force_along_a_pair_is_the_derivative_of_the_energy():
    rng = np.random.default_rng(0)
    positions, constant = rng.normal(size=(4, 3)), 2.5
    for moving in ((0.0, 1.0), (1.0, 0.0), (0.5, 0.5)):
        distances = np.array([1.3, 0.9])
        x = frames.approach_frames(positions, (1, 3), distances, moving)
        # E = ½ Σ c (x − r)²: F = −c (x − r)
        centre = rng.normal(size=(4, 3))
        forces = -constant * (x - centre)

        def energy(d, moving=moving, centre=centre):
            at = frames.approach_frames(positions, (1, 3), np.array([d]), moving)
            return 0.5 * constant * ((at - centre) ** 2).sum()

        found = metrics.along_the_pair(forces, x, (1, 3), moving)
        assert found == pytest.approx([-slope(energy, d) for d in distances], rel=1e-6)


def test_energy_and_integrated_force_agree_where_the_force_is_the_gradient():
    d = frames.number_distances(BOND)
    force = -slope(repulsion, d)
    # the last value of 1e9 eV costs most of the digits of an interpolation
    assert metrics.integrated(d, force) == pytest.approx(repulsion(d) - repulsion(BOND), rel=0.02)
    assert metrics.consistency_gap(d, repulsion(d), force) < 2e-3
    assert metrics.consistency_gap(d, repulsion(d), 1.2 * force) == pytest.approx(0.2, abs=0.01)
    assert metrics.consistency_gap(d, repulsion(d), 0 * force) == pytest.approx(1)
    assert np.isnan(metrics.consistency_gap(d[:2], repulsion(d[:2]), force[:2]))


def test_a_huge_force_changes_nothing_before_it():
    d = frames.number_distances(BOND)
    force = -slope(repulsion, d)
    huge = force.copy()
    huge[-1] = 1e38
    assert metrics.integrated(d, huge)[:-2] == pytest.approx(
        metrics.integrated(d, force)[:-2], rel=1e-9
    )


# --- strength ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [  # eV at 0.3, 0.5 and 0.8 Å
        (1, 1, (16.5, 5.9, 1.9)),
        (6, 1, (80.7, 26.4, 7.6)),
        (6, 6, (398, 120, 31.8)),
        (6, 8, (511, 151, 39.4)),
        (8, 1, (103, 33, 9.4)),
    ],
)
def test_the_universal_repulsion_has_its_known_values(first, second, expected):
    assert metrics.zbl(np.array([0.3, 0.5, 0.8]), first, second) == pytest.approx(
        expected, rel=0.01
    )
    assert metrics.zbl(0.5, second, first) == pytest.approx(metrics.zbl(0.5, first, second))


def test_the_universal_repulsion_is_that_of_the_testbed():
    torch = pytest.importorskip("torch")
    from pesbench.models.families.testbed.repulsion import zbl

    d = np.linspace(0.1, 2.0, 7)
    cut = 0.5 * (np.cos(np.pi * d / 5.0) + 1)
    theirs = zbl(torch.tensor(d), torch.tensor(6), torch.tensor(8), 5.0)
    assert metrics.zbl(d, 6, 8) * cut == pytest.approx(theirs.numpy(), rel=1e-5)


def test_an_energy_between_two_frames():
    d = np.array([1.0, 0.5, 0.25])
    energy = np.array([0.0, 10.0, 30.0])
    assert metrics.energy_at(d, energy, 0.5) == 10
    assert metrics.energy_at(d, energy, np.sqrt(0.5 * 0.25)) == pytest.approx(20)
    assert np.isnan(metrics.energy_at(d, energy, 2.0))
    assert np.isnan(metrics.energy_at(d, energy, 0.2))
    assert np.isnan(metrics.energy_at(d, np.array([0.0, np.nan, 30.0]), 0.3))
    assert metrics.energy_at(d, energy, 1.0) == 0


def test_a_ratio_needs_a_wall_to_compare_with():
    assert metrics.wall_ratio(3.0, 6.0) == 0.5
    assert np.isnan(metrics.wall_ratio(3.0, 0.0))
    assert np.isnan(metrics.wall_ratio(np.nan, 6.0))


def test_the_temperature_of_a_barrier():
    assert metrics.temperature_scale(1.0) == pytest.approx(11604.5, rel=1e-4)
    assert np.exp(-1.0 / (kB * metrics.temperature_scale(1.0) / 10)) == pytest.approx(np.exp(-10))


# --- properties ----------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e4), min_size=3, max_size=64))
def test_what_never_falls_is_monotone_and_what_falls_much_is_not(steps):
    d = np.geomspace(1.4, 0.1, len(steps))
    rising = np.cumsum(steps)
    assert metrics.wall(d, rising, float(rising[0])).monotone
    falling = rising.copy()
    falling[-1] = rising.min() - 1.0 - 1e-5 * np.ptp(rising)
    found = metrics.wall(d, falling, float(falling[0]))
    assert not found.monotone
    assert found.hole_radius_angstrom > 0


@given(
    st.lists(st.floats(-50, 50), min_size=4, max_size=40),
    st.floats(-1e3, 1e3),
)
def test_an_offset_of_the_energy_changes_nothing(values, offset):
    d, energy = np.geomspace(1.4, 0.1, len(values)), np.array(values)
    one = metrics.descents(d, np.round(energy, 3))
    other = metrics.descents(d, np.round(energy, 3) + np.round(offset, 3))
    assert [(a.top, a.bottom) for a in one if a.drop_ev > 0.01] == [
        (a.top, a.bottom) for a in other if a.drop_ev > 0.01
    ]


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=40))
def test_descents_do_not_overlap_and_each_falls(values):
    d, energy = np.geomspace(1.4, 0.1, len(values)), np.array(values)
    found = metrics.descents(d, energy)
    ends = [frame for one in found for frame in (one.top, one.bottom)]
    assert ends == sorted(ends)
    for one in found:
        assert one.drop_ev > metrics.TOLERANCE_EV
        assert one.top_angstrom >= one.bottom_angstrom
        assert one.rise_ev >= 0


# --- of others -----------------------------------------------------------------------------------


def test_the_tests_of_attracting_trouble():
    d = frames.inner_distances()
    good = elsewhere.inner_passes(1 / d, 1 / d**2)
    assert set(good.values()) == {1.0}
    assert tuple(good) == elsewhere.INNER_METRICS
    falls = elsewhere.inner_passes(-1 / d, -1 / d**2)
    assert set(falls.values()) == {0.0}
    # repulsive everywhere, but less and less so
    soft = elsewhere.inner_passes(-(d**2), 2 * d)
    assert soft == {"inner_monotone": 1.0, "inner_force_monotone": 0.0, "inner_repulsive": 1.0}
    blind = elsewhere.inner_passes(np.full(30, np.nan), 1 / d**2)
    assert np.isnan(blind["inner_monotone"])
    assert blind["inner_repulsive"] == 1


def test_the_quantities_of_mlip_arena():
    d = frames.arena_distances(6)
    smooth = elsewhere.arena(morse(d), -slope(morse, d))
    assert smooth["arena_tortuosity"] == pytest.approx(1)
    assert smooth["arena_force_flips"] == 1
    step = np.diff(morse(d))
    large = step[np.abs(step) >= 1e-3]
    turn = np.flatnonzero(np.diff(np.sign(large)) != 0)
    assert len(turn) == 1
    assert smooth["arena_energy_jump_ev"] == pytest.approx(
        abs(large[turn[0]]) + abs(large[turn[0] + 1])
    )
    # two wells of 1 and 2 eV on a flat line, walked down and up: Σ|ΔE| = 6, |E_far − E_min| = 2
    energy = np.array([0.0, -1.0, 0.0, -2.0, 0.0])
    found = elsewhere.arena(energy, np.array([1.0, 0.0, -1.0, 0.005, 1.0]))
    assert found["arena_tortuosity"] == pytest.approx(6 / 4)
    assert found["arena_energy_jump_ev"] == pytest.approx(2 + 3 + 4)
    assert found["arena_force_flips"] == 2
