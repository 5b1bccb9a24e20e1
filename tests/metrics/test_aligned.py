"""The self-aligned FSD against closed forms: a shift is free, and a defect costs what it costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pesbench.core.coordinates.bond import bond_grid
from pesbench.metrics import aligned
from pesbench.metrics import smoothness as s

DEPTH, WIDTH, REST = 4.0, 2.0, 1.52  # eV, Å⁻¹, Å: a C-C bond
GRID = bond_grid(6, 6)
SIDEWAYS = np.array([[0.0, 0.4, 0.0], [0.0, -0.4, 0.0]])  # a force that is no stationary point's


def slope(length):
    """dE/dα of a Morse curve, eV/Å."""
    decay = np.exp(-WIDTH * (length - REST))
    return 2 * DEPTH * WIDTH * decay * (1 - decay)


def forces_of(slopes, grid=GRID):
    """Forces of two atoms on the x axis, and across it, shape (F, 2, 3)."""
    forces = np.zeros((len(grid), 2, 3))
    forces[:, 1, 0], forces[:, 0, 0] = -slopes, slopes
    return forces + SIDEWAYS


def positions_of(grid=GRID):
    positions = np.zeros((len(grid), 2, 3))
    positions[:, 1, 0], positions[:, 0, 0] = grid / 2, -grid / 2
    return positions


REFERENCE = forces_of(slope(GRID))
Q = int(np.argmin(np.abs(GRID - REST)))
BEYOND = GRID > 1.5 * REST


def of(forces, reference=REFERENCE, grid=GRID, q=Q):
    return aligned.self_aligned_deviation(grid, positions_of(grid), forces, reference, q)


def full(forces, reference=REFERENCE):
    return s.force_smoothness_deviation(GRID, forces, reference, Q).full


def test_the_reference_itself_costs_exactly_nothing():
    assert of(REFERENCE) == aligned.AlignedDeviation(0.0, "")


@given(st.floats(-0.2, 0.2))
def test_a_pure_shift_of_the_bond_length_costs_less_than_one(shift):
    """Of which the published FSD costs 20 to 60 Å⁻¹ from 0.01 Å on."""
    assert of(forces_of(slope(GRID - shift))).value < 0.2
    if abs(shift) > 0.01:
        assert full(forces_of(slope(GRID - shift))) > 15


def test_a_force_that_is_the_same_in_all_frames_costs_nothing():
    across = np.array([[0.0, 3.0, 1.0], [0.0, 0.0, -2.0]])
    assert of(REFERENCE + across).value < 1e-9
    assert full(REFERENCE + across) > 20


@given(st.floats(-0.05, 0.05), st.sampled_from([1.1, 1.5, 2.0]))
def test_a_step_costs_its_logarithm_wherever_the_minimum_is(shift, factor):
    """ΔF jumps by the factor between two frames, shifted or not: frames are not interpolated."""
    moved = slope(GRID - shift) * np.where(BEYOND, factor, 1.0)
    straight = of(forces_of(slope(GRID) * np.where(BEYOND, factor, 1.0))).value
    assert straight == pytest.approx(2 * np.log(factor) / (GRID[1] - GRID[0]), rel=0.03)
    assert of(forces_of(moved)).value == pytest.approx(straight, rel=0.1)


@pytest.mark.parametrize("shift", [0.0, 0.013, -0.031])
def test_a_dip_a_ripple_and_a_spike_cost_what_the_fsd_says(shift):
    centre = GRID - 1.5 * REST
    dip = 0.5 * centre / 0.05**2 * np.exp(-(centre**2) / (2 * 0.05**2))
    ripple = 0.6 * np.cos(2 * np.pi * (GRID - REST) / 0.1) * (np.abs(GRID - REST) > 0.3)
    spike = np.where(np.arange(len(GRID)) == np.argmin(np.abs(centre)), 10.0, 0.0)
    for defect in (dip, ripple, spike):
        expected = full(forces_of(slope(GRID) + defect))
        assert expected > 10
        found = of(forces_of(slope(GRID - shift) + defect)).value
        assert found == pytest.approx(expected, rel=0.02 if shift == 0 else 0.15)


def test_a_softer_curve_costs_by_its_shape_alone():
    """0.9 F has the same minimum: what is left is that its norm leaves the floor ε later."""
    assert of(0.9 * REFERENCE).value == pytest.approx(2 * np.log(1 / 0.9) / 0.0233, rel=0.2)


@pytest.mark.parametrize("forces", [np.zeros_like(REFERENCE), -REFERENCE, forces_of(GRID - 4)])
def test_a_curve_without_a_minimum_of_its_own_has_none_and_says_so(forces):
    found = of(forces)
    assert np.isnan(found.value)
    assert found.reason == aligned.NO_MINIMUM


def test_a_minimum_far_away_is_not_the_same_bond():
    found = of(forces_of(slope(GRID - 0.4)))
    assert np.isnan(found.value)
    assert found.reason == aligned.NO_MINIMUM


def test_a_reference_whose_forces_have_no_minimum_is_not_held_against_the_model():
    assert of(REFERENCE, np.zeros_like(REFERENCE)).reason == aligned.NO_REFERENCE_MINIMUM


def test_too_few_frames_are_said():
    few = slice(Q - 2, Q + 2)
    found = of(REFERENCE[few], REFERENCE[few], GRID[few], 2)
    assert (np.isnan(found.value), found.reason) == (True, aligned.TOO_FEW_FRAMES)


def test_nothing_is_interpolated_over_a_gap_of_missing_frames():
    keep = np.ones(len(GRID), dtype=bool)
    keep[9:12] = False  # on the wall, where a cubic over the gap would be off
    grid = GRID[keep]
    q = Q - 3
    moved = forces_of(slope(grid - 0.01), grid)
    assert of(moved, REFERENCE[keep], grid, q).value < 0.2
    known = aligned.self_aligned_deviation(
        grid, positions_of(grid), REFERENCE[keep], REFERENCE[keep], q
    )
    assert known.value == 0.0


def test_the_value_is_its_definition_on_a_grid_that_holds_both_minima():
    """Minima on frames, a shift of whole steps: no interpolation, every number by hand."""
    rest = np.linspace(1.0, 2.0, 51)
    moved = 3 * (rest[1] - rest[0])
    reference = 40 * (rest - rest[20])
    model = 40 * (rest - rest[20] - moved)
    model[40:] *= 1.5
    found = of(forces_of(model, rest), forces_of(reference, rest), rest, 20)
    a = np.maximum(2 * model[3:] ** 2, 1.0)
    b = np.maximum(2 * reference[:-3] ** 2, 1.0)
    expected = np.abs(np.diff(np.log(a / b)) / np.diff(rest[3:])).max()
    assert expected == pytest.approx(2 * np.log(1.5) / 0.02, rel=1e-9)
    assert found.value == pytest.approx(expected, rel=1e-3)
