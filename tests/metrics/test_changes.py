"""Changes of a mean between two runs: closed forms, rounding, and how often chance is believed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pesbench.metrics.changes import holm, mean_change
from pesbench.metrics.paired import LEAST_SYSTEMS

RNG = np.random.default_rng(7)
DIGITS = 1e-8


def test_one_row_a_system_is_the_paired_t_test():
    before, after = RNG.normal(size=(2, 20))
    found = mean_change(before, after, [f"s{k}" for k in range(20)], DIGITS)
    test = stats.ttest_rel(after, before)
    interval = test.confidence_interval()
    # its error has n - 1 where ours has K/(K - 1)/n², the same for one row a system
    assert found.p == pytest.approx(test.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.mean == pytest.approx((after - before).mean())


def test_rows_of_one_system_are_no_independent_witnesses():
    systems = np.repeat([f"s{k}" for k in range(15)], 4)
    shift = np.repeat(RNG.normal(size=15), 4)  # the same for all rows of a system
    many = mean_change(np.zeros(60), shift, systems, DIGITS)
    one = mean_change(np.zeros(15), shift[::4], systems[::4], DIGITS)
    assert many.p == pytest.approx(one.p)
    assert (many.n, many.n_systems) == (60, 15)


def test_rounding_is_no_change():
    before = RNG.normal(size=30)
    found = mean_change(before, before + 1e-9, [f"s{k}" for k in range(30)], DIGITS)
    assert (found.n_apart, found.mean, found.p) == (0, 0.0, 1.0)
    assert mean_change(before, before + 1e-7, range(30), DIGITS).p < 1e-6  # the same for all rows


def test_few_systems_decide_nothing():
    few = [f"s{k}" for k in range(LEAST_SYSTEMS - 1)]
    found = mean_change(np.zeros(len(few)), np.ones(len(few)), few, DIGITS)
    assert found.n_apart == len(few)
    assert np.isnan([found.p, found.low, found.high]).all()


@pytest.mark.parametrize("bad", [([], []), ([1.0], [np.nan]), ([1.0, 2.0], [1.0])])
def test_what_is_no_pair_of_numbers_is_refused(bad):
    with pytest.raises(ValueError, match="two finite values"):
        mean_change(*bad, ["s"] * len(bad[0]), DIGITS)


def test_holm_is_what_it_says():
    assert holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx(
        [0.03, 0.06, 0.06, np.nan], nan_ok=True
    )
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert not holm([]).size


@pytest.mark.parametrize("systems", [LEAST_SYSTEMS, 40])
def test_chance_is_seldom_believed(systems):
    """Runs that differ by chance alone, of skewed size, 20 scores at a time."""
    runs, scores = 400, 20
    names = np.repeat([f"s{k}" for k in range(systems)], 2)
    believed = 0
    for _ in range(runs):
        noise = RNG.normal(size=(scores, len(names))) * RNG.lognormal(size=(scores, len(names)))
        p = [mean_change(np.zeros(len(names)), one, names, DIGITS).p for one in noise]
        believed += bool((holm(p) <= 0.05).any())
    assert believed / runs <= 0.07  # 0.05 and two standard errors
