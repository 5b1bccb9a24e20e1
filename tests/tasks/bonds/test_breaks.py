"""Where a curve breaks: places in closed form, the wall, extrema, minima, equivalent bonds."""

from __future__ import annotations

import numpy as np
import pytest

from pesbench.core.bond_graph import atom_classes, bond_class
from pesbench.metrics import curves, smoothness
from pesbench.tasks.bonds import breaks

GRID = np.linspace(0.735, 2.94, 100)
REST, STIFFNESS, DEPTH = 1.47, 2.0, 4.0


def morse(rest=REST, depth=DEPTH, stiffness=STIFFNESS, grid=GRID):
    return depth * (1 - np.exp(-stiffness * (grid - rest))) ** 2


def bump(place, height, width=0.12, grid=GRID):
    return height * np.exp(-(((grid - place) / width) ** 2) / 2)


def q_of(energy):
    return int(np.argmin(energy))


# --- places of the largest slopes ----------------------------------------------------------------


@pytest.mark.parametrize(("frame", "highest"), [(80, False), (3, True), (60, False)])
def test_a_jump_of_the_force_is_found_where_it_is_and_only_below_the_ceiling(frame, highest):
    """ΔF of one atom in one direction, three times as large from one frame on."""
    reference_forces = np.zeros((100, 1, 3))
    reference_forces[:, 0, 0] = 30 * (REST - GRID)
    forces = reference_forces.copy()
    forces[frame + 1 :] *= 3.0
    energy = morse()
    q = q_of(energy)
    below = smoothness.below_ceiling(energy, q, 10.0)
    assert below[frame] != highest
    fsd = smoothness.force_smoothness_deviation(GRID, forces, reference_forces, q, below=below)
    middle = (GRID[frame] + GRID[frame + 1]) / 2
    at_rest, beside = reference_forces[[q, frame + 1], 0, 0]
    size = np.log(((3 * beside - at_rest) / (beside - at_rest)) ** 2) / (GRID[1] - GRID[0])
    assert fsd.windowed == pytest.approx(size)
    assert fsd.windowed_coordinate == pytest.approx(middle)
    if highest:
        assert fsd.below_ceiling < 0.1 * fsd.windowed
        assert below[np.argmin(np.abs(GRID - fsd.below_ceiling_coordinate))]
    else:
        assert fsd.below_ceiling == fsd.windowed
        assert fsd.below_ceiling_coordinate == fsd.windowed_coordinate


def test_no_mask_is_no_ceiling_and_no_frame_is_no_number():
    forces = np.random.default_rng(1).normal(size=(100, 2, 3))
    reference = np.random.default_rng(2).normal(size=(100, 2, 3))
    free = smoothness.force_smoothness_deviation(GRID, forces, reference, 33)
    assert free.below_ceiling == free.windowed
    nowhere = smoothness.force_smoothness_deviation(
        GRID, forces, reference, 33, below=np.zeros(100, bool)
    )
    assert np.isnan([nowhere.below_ceiling, nowhere.below_ceiling_coordinate]).all()
    assert nowhere.windowed == free.windowed


# --- the minimum ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [1.4, 1.4712, 1.48, 1.6])
@pytest.mark.parametrize("stiffness", [1.5, 2.5])
def test_bond_length_and_force_constant_are_those_of_a_morse_curve(rest, stiffness):
    curve = morse(rest, stiffness=stiffness)
    found = curves.nearest_minimum(GRID, curve, q_of(morse()), within=0.25)
    assert found.coordinate == pytest.approx(rest, abs=1e-5)
    assert found.force_constant == pytest.approx(2 * DEPTH * stiffness**2, rel=2e-3)


def test_the_minimum_is_the_one_of_the_bond_and_not_the_lowest_of_the_scan():
    q = q_of(morse())
    twice = morse() - bump(2.4, 6.0)  # lower, but far
    assert curves.nearest_minimum(GRID, twice, q, 0.25).coordinate == pytest.approx(REST, abs=0.02)
    moved = morse(rest=1.9)
    assert curves.nearest_minimum(GRID, moved, q, 0.25).coordinate == pytest.approx(1.9, abs=1e-3)
    near = morse() + bump(REST, 1.0, width=0.05) - bump(REST + 0.12, 1.5, width=0.03)
    assert GRID[q] < 1.48 < curves.nearest_minimum(GRID, near, q, 0.25).coordinate
    for curve in (GRID, -GRID, np.zeros(100)):
        assert curves.nearest_minimum(GRID, curve, q, 0.25) is None


# --- extrema -------------------------------------------------------------------------------------


def said(model, reference=None, **options):
    reference = morse() if reference is None else reference
    faults = breaks.extremum_faults(GRID, model, reference, q_of(reference), **options)
    return [(fault.words, round(fault.coordinate, 1)) for fault in faults]


@pytest.mark.parametrize("place", [2.0, 2.3, 2.6])
def test_a_false_barrier_has_a_place_and_a_depth(place):
    model = morse() + bump(place, 2.0)
    faults = breaks.extremum_faults(GRID, model, morse(), q_of(morse()))
    assert {fault.words for fault in faults[1:]} <= {"false well"}
    barrier = faults[0]
    assert barrier.words == "false barrier"
    assert barrier.coordinate == GRID[barrier.frame] == pytest.approx(place, abs=0.1)
    assert barrier.depth == model[barrier.frame] - model[barrier.frame :].min()


def test_of_a_barrier_and_its_well_of_one_depth_the_nearer_one_stands_first():
    model = morse() + bump(2.0, 1.0)  # rises again behind the well, beyond the barrier
    first, second = breaks.extremum_faults(GRID, model, morse(), q_of(morse()))
    assert (first.words, second.words) == ("false barrier", "false well")
    assert first.depth == second.depth == model[first.frame] - model[second.frame]


def test_extrema_that_the_reference_alone_has_are_missing():
    reference = morse() + bump(2.3, 2.0)
    assert said(morse(), reference) == [("missing barrier", 2.3), ("missing well", 2.6)]
    assert said(reference, reference) == []
    assert said(np.zeros(100)) == [("missing well", 1.5)]
    assert said(morse(rest=1.9)) == [("missing well", 1.5), ("false well", 1.9)]


def test_a_well_of_another_depth_is_one_fault_and_comes_after_false_barriers():
    assert said(0.1 * morse()) == [("well of another depth", 1.5)]
    (fault,) = breaks.extremum_faults(GRID, 0.1 * morse(), morse(), q_of(morse()))
    depth = morse()[-1]
    assert fault.depth == pytest.approx(0.9 * depth)
    shallow = 0.1 * morse() + bump(2.2, 0.3)
    assert [words for words, _ in said(shallow)][-1] == "well of another depth"


def test_missing_extrema_are_spurious_ones_seen_from_the_other_side():
    model, reference = morse(), morse() + bump(2.3, 2.0)
    assert smoothness.count_missing_extrema(GRID, model, reference) == 2
    assert smoothness.count_spurious_extrema(GRID, reference, model) == 2
    assert smoothness.count_missing_extrema(GRID, reference, model) == 0


# --- the wall ------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0.8, 0.9, 1.1])
def test_the_wall_gives_way_at_the_first_frame_that_is_pushed_over_on_the_way_in(place):
    model = np.where(place < GRID, morse(), morse(grid=2 * place - GRID))  # falls inwards of it
    top = breaks.wall_gives_way(GRID, model, morse(), q_of(morse()), REST)
    assert GRID[top] == pytest.approx(place, abs=0.03)
    assert model[top] >= model[top - 1]
    further_out = np.diff(model[top : q_of(morse()) - 12])
    assert (further_out < 0).all()


def test_a_wall_that_holds_or_gives_way_in_the_reference_too_is_no_fault():
    q = q_of(morse())
    hole = morse() - bump(0.9, 60.0)
    assert breaks.wall_gives_way(GRID, hole, morse(), q, REST) is not None
    assert breaks.wall_gives_way(GRID, hole, hole, q, REST) is None
    assert breaks.wall_gives_way(GRID, morse(), morse(), q, REST) is None
    assert breaks.wall_gives_way(GRID, 0.3 * morse(), morse(), q, REST) is None  # soft


def test_no_wall_at_all_gives_way_where_it_should_begin():
    q = q_of(morse())
    for flat in (np.zeros(100), GRID - 1.0):
        first = breaks.wall_gives_way(GRID, flat, morse(), q, None)
        assert GRID[first] == pytest.approx(GRID[q] - 0.25, abs=0.03)


def test_a_bond_that_is_too_short_by_more_than_the_window_is_no_hole():
    q, short = q_of(morse()), morse(rest=1.1)
    own = curves.nearest_minimum(GRID, short, q, 0.25)
    assert own.coordinate == pytest.approx(1.1, abs=1e-3)
    assert breaks.wall_gives_way(GRID, short, morse(), q, own.coordinate) is None
    assert not smoothness.is_compression_monotone(GRID, short, q)


# --- equivalent bonds ----------------------------------------------------------------------------

MOLECULES = {  # heavy atoms, then bonds; hydrogens where they tell atoms apart
    "dimethyl sulfide": ([6, 16, 6], [(0, 1), (1, 2)], [{(0, 1), (1, 2)}]),
    "ethanol": ([6, 6, 8, 1], [(0, 1), (1, 2), (2, 3)], [{(0, 1)}, {(1, 2)}]),
    "nitromethane": ([6, 7, 8, 8], [(0, 1), (1, 2), (1, 3)], [{(0, 1)}, {(1, 2), (1, 3)}]),
    "acetic acid": (
        [6, 6, 8, 8, 1], [(0, 1), (1, 2), (1, 3), (3, 4)], [{(0, 1)}, {(1, 2)}, {(1, 3)}]
    ),
    "hexane": (
        [6] * 6, [(k, k + 1) for k in range(5)], [{(0, 1), (4, 5)}, {(1, 2), (3, 4)}, {(2, 3)}]
    ),
    "neopentane": ([6] * 5, [(0, k) for k in (1, 2, 3, 4)], [{(0, k) for k in (1, 2, 3, 4)}]),
}  # fmt: skip


@pytest.mark.parametrize("name", MOLECULES)
def test_bonds_share_a_class_where_the_graph_does_not_tell_them_apart(name):
    numbers, bonds, classes = MOLECULES[name]
    generator = np.random.default_rng(0)
    for _ in range(3):  # whatever the order of the atoms
        order = generator.permutation(len(numbers))
        place = np.argsort(order)
        graph = np.array([[place[i], place[j]] for i, j in bonds])
        colours = atom_classes(np.array(numbers)[order], graph)
        of = {
            bond: bond_class(colours, (int(place[bond[0]]), int(place[bond[1]])))
            for members in classes
            for bond in members
        }
        assert len(set(of.values())) == len(classes)
        assert all(len({of[bond] for bond in members}) == 1 for members in classes)
