import numpy as np
import pytest

from pesbench.models.vacuum_box import boxed


@pytest.mark.parametrize("extent", [0.0, 7.3, 50.0])
def test_images_are_at_least_the_padding_apart(extent):
    positions = np.array([[1.0, 2.0, 3.0], [1.0, 2.0 + extent, 3.5]])
    before = positions.copy()
    cell, pbc = boxed(positions, 30.0)
    assert pbc.tolist() == [True] * 3
    edge = cell[0, 0]
    np.testing.assert_array_equal(cell, np.eye(3) * edge)
    assert max(extent, 0.5) + 30.0 <= edge < max(extent, 0.5) + 31.0
    np.testing.assert_array_equal(positions, before)


def test_the_box_follows_the_extent_and_not_the_place():
    positions = np.random.default_rng(0).normal(size=(9, 3))
    there, _ = boxed(positions + 1000.0, 10.0)
    np.testing.assert_array_equal(boxed(positions, 10.0)[0], there)
