"""Whether a trajectory ends as the molecule that it began as."""

from __future__ import annotations

import numpy as np
import pytest
from ase.data import covalent_radii

from pesbench.tasks.dynamics.rearrangement import graph_changed

NUMBERS = np.array([8, 1, 8])  # a hydrogen between two oxygens, bonded to the first
BONDS = np.array([[0, 1]])
OH = covalent_radii[8] + covalent_radii[1]
TIME = np.arange(51) * 0.01


def _moved(*where):
    """The hydrogen at some places in fractions of 2.6 Å, one a frame; the last one is kept."""
    places = np.array([*where, *[where[-1]] * (len(TIME) - len(where))])
    positions = np.zeros((len(TIME), 3, 3))
    positions[:, 1, 0], positions[:, 2, 0] = places, 2.6
    return positions


def test_a_hydrogen_that_changes_its_place():
    assert not graph_changed(NUMBERS, BONDS, TIME, _moved(OH))
    assert graph_changed(NUMBERS, BONDS, TIME, _moved(OH, 2.6 - OH))
    assert not graph_changed(NUMBERS, BONDS, TIME, _moved(OH, 2.6 - OH, OH))  # and returns
    # in the middle both bonds are long, and none is broken
    assert not graph_changed(NUMBERS, BONDS, TIME, _moved(OH, 1.3))
    assert graph_changed(NUMBERS, BONDS, TIME, _moved(OH, -1.6 * OH))  # to nowhere


def test_two_hydrogens_that_become_a_molecule():
    """The bond of hydrogen is 1.2 times the sum of its radii, and longer when it is hot."""
    numbers, nothing = np.array([1, 1]), np.zeros((0, 2), dtype=np.int64)
    positions = np.zeros((len(TIME), 2, 3))
    positions[:, 1, 0] = np.where(TIME < 0.1, 1.6, 0.76)
    assert graph_changed(numbers, nothing, TIME, positions)


def test_a_vibration_at_the_end_changes_nothing():
    swing = 1.1 * OH + 0.6 * OH * np.sin(2 * np.pi * np.arange(51) / 5)
    assert swing.max() > 1.6 * OH
    assert not graph_changed(NUMBERS, BONDS, TIME, _moved(*swing))


def test_pairs_that_start_close_are_no_new_bond():
    close = np.array([[0.0, 0, 0], [0.95, 0, 0], [1.4, 0, 0]])
    assert not graph_changed(NUMBERS, BONDS, TIME, np.repeat(close[None], 51, axis=0))
    assert not graph_changed(NUMBERS, BONDS, TIME[:1], _moved(OH)[:1])
    with pytest.raises(ValueError, match="needs a frame"):
        graph_changed(NUMBERS, BONDS, TIME[:0], _moved(OH)[:0])
