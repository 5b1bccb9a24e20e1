"""How far apart two geometries are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pesbench.core.geometry import apart

NUMBERS = np.array([8, 1, 1, 6])
POSITIONS = np.array([[0.0, 0, 0], [1.0, 0.1, 0], [-0.3, 0.9, 0.2], [0.2, -0.5, 1.3]])


def test_turns_mirror_images_and_equal_atoms_do_not_count():
    turn = Rotation.from_euler("xyz", [0.3, 1.1, 2.0]).as_matrix()
    moved = POSITIONS @ turn.T * [1, 1, -1] + [3.0, 2.0, 1.0]
    assert apart(NUMBERS, POSITIONS, moved) == pytest.approx(0, abs=1e-12)
    exchanged = POSITIONS[[0, 2, 1, 3]]  # the two hydrogens
    assert apart(NUMBERS, POSITIONS, exchanged) == pytest.approx(0, abs=1e-12)
    others = POSITIONS[[3, 1, 2, 0]]  # carbon where oxygen is
    assert apart(NUMBERS, POSITIONS, others) > 0.1


def test_of_two_atoms_it_is_the_change_of_their_distance():
    far = np.array([[0.0, 0, 0], [0, 0, 1.5]])
    assert apart(np.array([6, 8]), far, far * 0.8) == pytest.approx(0.3)


def test_of_three_atoms_it_is_the_root_mean_square():
    one = np.array([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0]])
    other = np.array([[0.0, 0, 0], [1.3, 0, 0], [-1.1, 0, 0]])
    numbers = np.array([8, 1, 1])
    assert apart(numbers, one, other) == pytest.approx(np.sqrt((0.3**2 + 0.1**2 + 0.4**2) / 3))
