"""Moments of descriptors against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pesbench.metrics.gaussianity import gaussianity

CARBON = np.full(4000, 6)
QUANTILES = (np.arange(4000) + 0.5) / 4000


def test_a_normal_distribution_has_neither_skewness_nor_kurtosis():
    found = gaussianity(stats.norm.ppf(QUANTILES)[:, None] * [1.0, 7.0] + 3, CARBON)
    assert found.columns == 2
    assert found.skewness == pytest.approx(0, abs=1e-9)
    assert found.excess_kurtosis == pytest.approx(0, abs=0.02)
    assert found.distance == pytest.approx(0, abs=0.01)
    assert found.rejected == 0


def test_two_values_have_the_least_kurtosis_there_is():
    """g₁ = 0 and g₂ = −2 of ±1, so that the distance is 1."""
    found = gaussianity(np.tile([-1.0, 1.0], 2000)[:, None], CARBON)
    assert found.skewness == pytest.approx(0, abs=1e-12)
    assert found.excess_kurtosis == pytest.approx(-2)
    assert found.distance == pytest.approx(1)
    assert found.rejected == 1


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_a_biased_coin(p):
    """g₁ = (1 − 2p)/√(p(1 − p)), g₂ = (1 − 6p(1 − p))/(p(1 − p))."""
    found = gaussianity((p > QUANTILES).astype(float)[:, None], CARBON)
    assert found.skewness == pytest.approx((1 - 2 * p) / np.sqrt(p * (1 - p)))
    assert found.excess_kurtosis == pytest.approx((1 - 6 * p * (1 - p)) / (p * (1 - p)))


def test_a_uniform_distribution_and_an_exponential_one():
    uniform = gaussianity(QUANTILES[:, None], CARBON)
    assert uniform.excess_kurtosis == pytest.approx(-1.2, abs=1e-3)
    exponential = gaussianity(-np.log(QUANTILES)[:, None], CARBON)
    assert exponential.skewness == pytest.approx(2, abs=0.05)
    assert exponential.distance > uniform.distance


def test_elements_are_not_mixed_and_constant_columns_not_counted():
    """Two elements whose means differ are normal each, though together they are not."""
    numbers = np.repeat([1, 6, 8], [2000, 2000, 5])
    half = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    values = np.concatenate([half - 50, half + 50, np.zeros(5)])
    found = gaussianity(np.stack([values, np.full(4005, 2.5)], axis=1), numbers)
    assert (found.columns, found.constant) == (2, 2)  # oxygen has too few atoms
    assert found.distance == pytest.approx(0, abs=0.02)
    mixed = gaussianity(values[:4000, None], np.full(4000, 6))
    assert mixed.excess_kurtosis == pytest.approx(-2, abs=0.01)


def test_no_number_for_what_has_none():
    with pytest.raises(ValueError, match="not finite"):
        gaussianity(np.array([[np.nan]] * 30), np.ones(30, dtype=int))
    with pytest.raises(ValueError, match="no element has 20 atoms"):
        gaussianity(np.ones((30, 2)), np.ones(30, dtype=int))
