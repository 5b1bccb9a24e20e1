"""Frames of an approach: grids, pairs, positions."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import molecule
from ase.data import atomic_numbers, covalent_radii

from pesbench.core.coordinates import approach as frames
from pesbench.core.systems import System
from pesbench.tasks.approach import pairs
from pesbench.tasks.approach.settings import ApproachSettings

ETHANOL = molecule("CH3CH2OH")
BONDS = np.array([[0, 1], [1, 2], [0, 3], [1, 4], [1, 5], [2, 6], [2, 7], [2, 8]])


def system(name="ethanol", atoms=ETHANOL):
    from pesbench.core.bond_graph import bonds_from_geometry

    return System(name, atoms.numbers.astype(np.int64), atoms.positions, bonds_from_geometry(atoms))


def test_both_grids_lead_to_a_tenth_of_an_angstrom():
    published, ours = frames.figure_distances(2.2), frames.number_distances(2.2)
    assert len(published) == 20
    assert len(ours) == 64
    assert published[[0, -1]] == pytest.approx([2.2, 0.1])
    assert ours[[0, -1]] == pytest.approx([2.2, 0.1])
    assert np.diff(published) == pytest.approx(np.full(19, -2.1 / 19))
    assert ours[1:] / ours[:-1] == pytest.approx(np.full(63, (0.1 / 2.2) ** (1 / 63)))


def test_the_grids_of_others():
    assert frames.inner_distances()[[0, -1]] == pytest.approx([0.30, 0.03])
    assert len(frames.inner_distances()) == 30
    carbon = frames.arena_distances(6)
    assert np.diff(carbon) == pytest.approx(np.full(len(carbon) - 1, -0.01))
    assert carbon[-1] == pytest.approx(0.9 * covalent_radii[6])
    assert carbon[0] == pytest.approx(3.1 * 1.77, abs=0.01)  # van der Waals radius of Alvarez
    # Alvarez gives none of polonium
    assert frames.arena_distances(84)[0] == pytest.approx(6.0, abs=0.01)


def test_a_hydrogen_moves_alone_from_twice_the_bond_length():
    numbers = np.array([8, 1, 1, 6])
    assert frames.shares(numbers, (0, 1)) == (0.0, 1.0)
    assert frames.shares(numbers, (1, 0)) == (1.0, 0.0)
    assert frames.shares(numbers, (1, 2)) == (0.5, 0.5)  # two of them share the way
    assert frames.shares(numbers, (0, 3)) == (0.5, 0.5)
    assert frames.start_distance(numbers, (0, 1), 0.96) == pytest.approx(1.92)
    assert frames.start_distance(numbers, (0, 3), 1.4) == 1.4
    assert frames.start_distance(numbers, (1, 2), 0.74) == 0.74


@pytest.mark.parametrize("moving", [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5)])
def test_two_atoms_come_close_along_their_line_and_the_others_stay(moving):
    distances = np.array([2.0, 1.0, 0.1])
    found = frames.approach_frames(ETHANOL.positions, (1, 2), distances, moving)
    assert np.linalg.norm(found[:, 2] - found[:, 1], axis=1) == pytest.approx(distances)
    others = [0, *range(3, 9)]
    assert np.array_equal(found[:, others], np.repeat(ETHANOL.positions[None, others], 3, axis=0))
    axis = ETHANOL.positions[2] - ETHANOL.positions[1]
    assert np.linalg.norm(np.cross(found[:, 2] - found[:, 1], axis), axis=1) == pytest.approx(
        np.zeros(3), abs=1e-12
    )
    still = (1, 2)[moving.index(0.0)] if 0.0 in moving else None
    if still is not None:
        assert np.array_equal(found[:, still], np.repeat(ETHANOL.positions[None, still], 3, axis=0))
    else:
        middle = ETHANOL.positions[[1, 2]].mean(axis=0)
        assert found[:, [1, 2]].mean(axis=1) == pytest.approx(np.repeat(middle[None], 3, axis=0))


def test_contacts_are_the_closest_pairs_without_a_bond():
    positions = np.array([[0.0, 0, 0], [1.0, 0, 0], [1.9, 0, 0], [0, 5.0, 0]])
    bonds = np.array([[0, 1], [1, 2]])
    assert frames.closest_contacts(positions, bonds, 2) == [(0, 2), (0, 3)]
    assert len(frames.closest_contacts(positions, bonds, 9)) == 4
    assert frames.nearest_neighbour(positions, 0) == 1
    assert frames.nearest_neighbour(positions, 1) == 2
    assert frames.nearest_neighbour(positions, 3) == 0


def test_isolated_pairs_are_all_pairs_of_nine_elements_at_their_lowest_spin():
    found = frames.element_pairs()
    assert len(found) == 45
    assert len(set(found)) == 45
    spins = {pair: frames.lowest_spin(pair) for pair in found}
    assert spins[(1, 1)] == 1
    assert spins[(1, 6)] == 2
    assert spins[(7, 8)] == 2
    assert spins[(6, atomic_numbers["Br"])] == 2


def test_the_pairs_of_a_molecule():
    every = pairs.approaches([system()], ApproachSettings())
    kinds = [one.kind for one in every]
    assert {kind: kinds.count(kind) for kind in pairs.KINDS} == {
        "bond": 8, "contact": 3, "inner": 9, "diatomic": 45,
    }  # fmt: skip
    assert len({one.id for one in every}) == len(every)
    hydrogen = next(one for one in every if one.scan.bond == "H-O" and one.kind == "bond")
    assert hydrogen.scan.coordinate[0] == pytest.approx(2 * hydrogen.distance)
    for one in every:
        i, j = one.scan.atoms
        length = np.linalg.norm(one.scan.positions[:, j] - one.scan.positions[:, i], axis=1)
        assert length == pytest.approx(one.scan.coordinate)
        assert sum(part.stop - part.start for part in one.grids.values()) == one.scan.n_frames
    shown = next(one for one in every if one.kind == "bond").grids
    assert shown[pairs.NUMBERS] == slice(0, 64)
    assert shown[pairs.FIGURE] == slice(64, 84)


def test_settings_leave_pairs_out():
    few = pairs.approaches(
        [system()], ApproachSettings(contacts=0, in_molecule=False, diatomics=False)
    )
    assert {one.kind for one in few} == {"bond"}


def test_the_molecule_of_a_pair_follows_from_its_name():
    every = pairs.approaches([system("a_1-2"), system("b")], ApproachSettings())
    for one in every:
        assert pairs.item_of(one.id, ["a_1-2", "b"]) == one.scan.system
    assert {one.scan.system for one in every if one.kind == "diatomic"} == {"a_1-2"}
