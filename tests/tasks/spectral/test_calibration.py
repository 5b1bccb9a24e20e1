"""The calibration without a model: ranks, held-out R², the ring of five atoms."""

from __future__ import annotations

import numpy as np
import pytest

from pesbench.tasks.spectral.calibration import (
    held_out_r2,
    monomial_rank,
    ring_r2,
)
from pesbench.tasks.spectral.harmonics import (
    degrees_of,
    legendre,
    random_directions,
    random_rotations,
    real_harmonics,
)

RNG = np.random.default_rng(0)


def test_harmonics_are_orthonormal_and_those_of_degree_one_are_the_vector() -> None:
    directions = random_directions(20_000, np.random.default_rng(1))
    values = real_harmonics(directions, 3)
    overlap = values.T @ values / len(values)
    assert np.abs(overlap - np.eye(16)).max() < 0.06
    x, y, z = directions.T
    assert values[:, 1:4] == pytest.approx(np.sqrt(3) * np.stack([y, z, x], axis=1))
    assert values[:, 8] == pytest.approx(np.sqrt(15 / 4) * (x * x - y * y))


def test_the_addition_theorem_holds_up_to_degree_eight() -> None:
    one, other = random_directions(5, RNG), random_directions(5, RNG)
    product = real_harmonics(one, 8) * real_harmonics(other, 8)
    polynomials = legendre((one * other).sum(axis=1), 8)
    for degree in range(1, 9):
        assert product[:, 1:][:, degrees_of(8) == degree].sum(axis=1) == pytest.approx(
            (2 * degree + 1) * polynomials[:, degree]
        )


def test_rotations_are_proper_and_uniform() -> None:
    rotations = random_rotations(20_000, np.random.default_rng(2))
    assert np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max() < 1e-12
    assert np.linalg.det(rotations) == pytest.approx(1.0)
    assert np.abs(rotations.mean(axis=0)).max() < 0.02
    # the trace of a uniform rotation has the variance 1
    assert np.trace(rotations, axis1=1, axis2=2).var() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("l_max", [1, 2, 3])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_monomials_have_the_rank_of_all_harmonics_up_to_the_product(
    l_max: int, degree: int
) -> None:
    assert monomial_rank(l_max, degree) == (degree * l_max + 1) ** 2


@pytest.mark.parametrize("l_max", [1, 2, 3])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_held_out_r2_is_one_up_to_the_boundary_and_none_above(l_max: int, degree: int) -> None:
    boundary = degree * l_max
    found = held_out_r2(l_max, degree, highest=boundary + 1)
    assert found[1 : boundary + 1] == pytest.approx(1.0, abs=1e-6)
    assert (np.abs(found[boundary + 1 :]) < 0.05).all()


def test_a_ring_of_five_hides_every_order_below_five() -> None:
    """One atom shows cos 5φ to a polynomial of degree dL ≥ 5, the ring only from L = 5."""
    assert ring_r2(2, 3, atoms=1) > 0.99
    assert abs(ring_r2(2, 3, atoms=5)) < 0.05
    assert abs(ring_r2(4, 2, atoms=5)) < 0.05
    assert ring_r2(5, 1, atoms=5) > 0.99
