"""Paired differences where the truth is known: a constant, a missing scan, ties, chance alone."""

import numpy as np
import pytest

from pesbench.metrics import coverage
from pesbench.metrics.paired import LEAST_SYSTEMS, paired_differences

K = 24  # systems, two scans each
SYSTEMS = [f"s{k // 2}" for k in range(2 * K)]


def scans(seed=0, size=2 * K):
    return np.random.default_rng(seed).lognormal(3, 0.6, size)


def test_a_constant_difference_is_found_exactly_and_has_no_width():
    """A model that is worse by 2 on every scan, however much the scans differ from each other."""
    base = scans()
    found = paired_differences([base, base + 2.0], SYSTEMS, "t")
    np.testing.assert_allclose(found.mean[[0, 1], [1, 0]], [-2, 2])
    np.testing.assert_allclose(found.low[0, 1], -2)
    np.testing.assert_allclose(found.high[0, 1], -2)
    assert (found.won[0, 1], found.won[1, 0], found.tied[0, 1]) == (1, 0, 0)
    assert found.differs[0, 1]
    assert found.differs[1, 0]
    assert (found.n[0, 1], found.n_systems[0, 1]) == (2 * K, K)
    assert np.isnan(np.diag(found.mean)).all()


def test_equal_models_do_not_differ_whatever_rounding_leaves():
    base = scans()
    found = paired_differences([base, base * (1 + 1e-15), base + 30 * scans(1)], SYSTEMS, "t")
    assert found.mean[0, 1] == 0
    assert (found.won[0, 1], found.tied[0, 1], found.won[1, 0]) == (0, 1, 0)
    assert (found.low[0, 1], found.high[0, 1], found.p[0, 1]) == (0, 0, 1)
    assert found.differs.tolist() == [
        [False, False, True], [False, False, True], [True, True, False],
    ]  # fmt: skip


def test_ties_are_no_wins():
    base = np.full(2 * K, 10.0)
    other = base + np.repeat([0.0, 1.0, -1.0, 1.0], K // 2)
    found = paired_differences([base, other], SYSTEMS, "t")
    assert (found.won[0, 1], found.tied[0, 1], found.won[1, 0]) == (0.5, 0.25, 0.25)


def test_a_pair_is_compared_on_what_both_have_and_no_other_model_matters():
    """b lacks its worst scans: by its own mean it is the better one, on common scans the worse."""
    a = np.where(np.arange(2 * K) < 30, 5.0, 90.0) + scans(3) / 100
    b = np.where(np.arange(2 * K) < 30, a + 1, np.nan)
    c = np.full(2 * K, np.nan)
    c[:2] = 7.0
    found = paired_differences([a, b, c], SYSTEMS, "t")
    assert np.nanmean(b) < np.mean(a)
    assert found.mean[0, 1] == pytest.approx(-1)
    assert (found.n[0, 1], found.n_systems[0, 1]) == (30, 15)
    assert found.differs[0, 1]
    # one system in common: a mean, and no decision
    assert found.n_systems[0, 2] == 1 < LEAST_SYSTEMS
    assert np.isfinite(found.mean[0, 2])
    assert np.isnan([found.low[0, 2], found.high[0, 2], found.p[0, 2]]).all()
    assert not found.decided[0, 2]
    alone = paired_differences([a, b], SYSTEMS, "t")
    assert found.mean[0, 1] == alone.mean[0, 1]


def test_models_without_a_common_scan_have_no_difference():
    half = np.where(np.arange(2 * K) < K, 1.0, np.nan)
    found = paired_differences([half, half[::-1]], SYSTEMS, "t")
    assert found.n.tolist() == [[0, 0], [0, 0]]
    assert np.isnan(found.mean).all()
    assert np.isnan(found.won).all()
    assert not found.decided.any()


def test_reversing_the_order_of_models_and_scans_changes_nothing():
    values = np.array([scans(k) for k in range(4)])
    values[1, 3:9] = np.nan
    found = paired_differences(values, SYSTEMS, "t")
    other = paired_differences(values[::-1, ::-1], SYSTEMS[::-1], "t")
    for name in ("mean", "won", "tied", "low", "high", "p"):
        one, two = getattr(found, name), getattr(other, name)[::-1, ::-1]
        np.testing.assert_allclose(one, two, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(found.mean, -found.mean.T)
    np.testing.assert_allclose(found.low, -found.high.T)


def noisy(rng, m, k):
    """Scores of m equal models: hard systems and scans are hard for all of them."""
    systems = np.repeat(np.arange(k), 2)
    hard = rng.lognormal(0, 0.6, k)[systems] * rng.lognormal(0, 0.4, 2 * k)
    values = (
        30 * hard * rng.lognormal(0, 0.4, (m, k))[:, systems] * rng.lognormal(0, 0.8, (m, 2 * k))
    )
    return values, [f"s{k}" for k in systems]


@pytest.mark.parametrize(("models", "systems"), [(5, K), (12, LEAST_SYSTEMS)])
def test_of_equal_models_hardly_ever_any_pair_differs(models, systems):
    """At most 5 % of boards; of 60, more than 7 have a probability below 1 % then."""
    rng = np.random.default_rng(5)
    draws = (noisy(rng, models, systems) for _ in range(60))
    found = [paired_differences(*draw, f"null {k}", 300) for k, draw in enumerate(draws)]
    assert sum(one.differs.any() for one in found) <= 7
    inside = [((one.low <= 0) & (one.high >= 0))[one.decided].mean() for one in found]
    assert 0.9 < np.mean(inside) < 0.99
    naive = sum(((one.low > 0) | (one.high < 0)).any() for one in found)
    assert naive > 10  # what is decided is decided for all pairs together


def test_models_that_are_half_as_rough_are_told_from_the_others():
    rng = np.random.default_rng(6)
    values, systems = noisy(rng, 6, 60)
    values[:3] /= 2
    found = paired_differences(values, systems, "t")
    truth = np.arange(6)[:, None] // 3 != np.arange(6)[None, :] // 3
    np.testing.assert_array_equal(found.differs, truth)
    assert (found.won[:3, 3:] > 0.6).all()


def test_thirty_models_on_bsct_spice_take_seconds():
    import time

    values, systems = noisy(np.random.default_rng(7), 30, 243)
    values[np.random.default_rng(8).random(values.shape) < 0.03] = np.nan
    start = time.process_time()
    paired_differences(values, systems, "t")
    coverage.ranks_with_and_without(values, np.ones(30, dtype=bool))
    assert time.process_time() - start < 10
