"""Rows that differ, the exact test of pairs, and several questions at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pesbench.metrics.changes import apart, holm, mcnemar, signed_rank

DIGITS = 1e-8
NAN, INF = float("nan"), float("inf")


def test_rounding_is_of_the_larger_value_or_of_1():
    before = np.array([1e-3, 1.0, 1e6, -1e6, 0.0])
    assert not apart(before, before * (1 + 0.9e-8), DIGITS).any()
    assert apart(before, before * (1 + 1.2e-8), DIGITS).tolist() == [False, True, True, True, False]
    assert apart([0.0], [1e-6], DIGITS).all()


def test_a_tolerance_is_relative_to_the_value_alone():
    assert apart([1e-3, 1.0, 0.0, 1.0], [1.009e-3, 1.02, 1e-3, 0.0], DIGITS, 0.01).tolist() == [
        False, True, True, True,
    ]  # fmt: skip


def test_a_number_differs_from_none_and_two_missing_ones_do_not_differ():
    before, after = [NAN, NAN, 1.0, INF, INF, 1.0, -INF], [NAN, 1.0, NAN, INF, 1.0, INF, INF]
    told = [False, True, True, False, True, True, True]
    assert apart(before, after, DIGITS).tolist() == told
    assert apart(before, after, DIGITS, 0.5).tolist() == told
    assert not apart([], [], DIGITS).size


@pytest.mark.parametrize(("rise", "fall"), [(0, 0), (5, 0), (0, 6), (7, 2), (3, 3)])
def test_mcnemar_is_the_sum_of_the_two_tails(rise, fall):
    n = rise + fall
    tail = stats.binom.cdf(min(rise, fall), n, 0.5)
    assert mcnemar(rise, fall) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(rise, fall) == mcnemar(fall, rise)


def test_signed_ranks_see_size_and_say_no_more_than_the_signs_allow():
    change = np.where(np.arange(60) % 2, 1.0, -1.0) * np.linspace(0.9, 1.1, 60)
    assert signed_rank(change) > 0.5
    change[::2] /= 100  # as many fall as rise, and those that rise do so by much
    assert mcnemar(30, 30) == 1.0
    assert signed_rank(change) < 1e-3
    for n in (1, 4, 8):
        assert signed_rank(np.arange(1.0, n + 1)) == pytest.approx(mcnemar(n, 0))
        assert signed_rank(np.ones(n)) >= mcnemar(n, 0)
    assert signed_rank([]) == 1.0
    assert signed_rank([np.inf, -1.0, 2.0]) == pytest.approx(0.5)


def test_chance_is_seldom_believed():
    """Differences of heavy tails that are chance alone, as few and as many as trajectories are."""
    rng = np.random.default_rng(7)
    for n in (8, 30, 120):
        p = [signed_rank(rng.standard_t(1, size=n)) for _ in range(400)]
        assert np.mean(np.array(p) <= 0.05) <= 0.07  # 0.05 and two standard errors


def test_holm_is_what_it_says():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert not holm([]).size
