"""Aggregation against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from pesbench.metrics import aggregate


def test_means_are_the_textbook_ones():
    assert aggregate.mean([1, 2, 6]) == 3
    assert aggregate.median([1, 2, 6]) == 2
    assert aggregate.macro_mean([1, 3, 8], ["a", "a", "b"]) == 5


@pytest.mark.parametrize("function", [aggregate.mean, aggregate.median])
@pytest.mark.parametrize("values", [[], [1.0, np.nan]])
def test_a_missing_value_is_an_error_and_never_passed_over(function, values):
    with pytest.raises(ValueError, match=r"nothing|missing"):
        function(values)
    with pytest.raises(ValueError, match=r"nothing|missing"):
        aggregate.macro_mean(values, ["a"] * len(values))


def test_interval_of_a_constant_is_that_constant():
    low, high = aggregate.mean_interval([7.0] * 6, list("aabbcd"), "x")
    assert low == pytest.approx(7.0, rel=1e-14)
    assert high == pytest.approx(7.0, rel=1e-14)


def test_a_single_system_has_no_interval():
    assert np.isnan(aggregate.mean_interval([1.0, 2.0], ["a", "a"], "x")).all()


def test_seed_is_the_name_and_nothing_else():
    values, clusters = np.arange(9.0), list("abcdefghi")
    first = aggregate.bootstrap_means(values, clusters, "x")
    assert np.array_equal(first, aggregate.bootstrap_means(values, clusters, "x"))
    assert not np.array_equal(first, aggregate.bootstrap_means(values, clusters, "y"))


def _where(clusters, name):
    return np.flatnonzero(clusters == name)


def test_resamples_equal_a_plain_loop_over_drawn_clusters():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2, 7))
    clusters = np.array(list("abbaccc"))
    fast = aggregate.bootstrap_means(values, clusters, "loop", resamples=50)
    counts = aggregate.resample(3, "loop", resamples=50)
    for r, row in enumerate(counts):
        drawn = [i for c, k in zip("abc", row, strict=True) for i in k * [*_where(clusters, c)]]
        assert fast[r] == pytest.approx(values[:, drawn].mean(axis=1), rel=1e-12)
    assert aggregate.bootstrap_means(values[0], clusters, "loop", 50) == pytest.approx(fast[:, 0])


def test_interval_is_as_wide_as_the_normal_one():
    values = np.random.default_rng(7).normal(size=400)
    low, high = aggregate.mean_interval(values, [str(i) for i in range(400)], "x", resamples=20000)
    assert high - low == pytest.approx(2 * 1.95996 * values.std() / 20, rel=0.03)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.005)


def test_coverage_on_normal_data_is_about_nominal():
    generator = np.random.default_rng(1)
    clusters = [str(i) for i in range(60)]
    hits = 0
    for trial in range(400):
        low, high = aggregate.mean_interval(
            generator.normal(3.0, 1.0, 60), clusters, f"coverage {trial}", resamples=400
        )
        hits += low <= 3.0 <= high
    # the percentile interval of 60 values holds 94 %; three standard errors of 400 trials
    assert 0.90 < hits / 400 < 0.975


def test_scans_of_one_molecule_do_not_narrow_the_interval():
    """Ten copies of every scan are no more evidence; resampling scans would divide by √10."""
    generator = np.random.default_rng(2)
    values = generator.normal(size=40)
    names = [str(i) for i in range(40)]
    once = aggregate.mean_interval(values, names, "x")
    copied = aggregate.mean_interval(np.repeat(values, 10), np.repeat(names, 10), "x")
    assert copied == pytest.approx(once, rel=1e-12)


def test_ranks_of_clearly_separated_models_are_certain():
    generator = np.random.default_rng(3)
    noise = generator.normal(size=(3, 50))
    ranks = aggregate.rank_intervals(
        noise + np.array([[20.0], [0.0], [10.0]]), [str(i) for i in range(50)], "x"
    )
    assert ranks.rank.tolist() == [3, 1, 2]
    assert ranks.low.tolist() == ranks.high.tolist() == [3, 1, 2]


def test_ranks_of_models_that_cannot_be_told_apart_are_wide():
    generator = np.random.default_rng(4)
    ranks = aggregate.rank_intervals(
        generator.normal(size=(2, 50)) * 5, [str(i) for i in range(50)], "x"
    )
    assert ranks.low.tolist() == [1, 1]
    assert ranks.high.tolist() == [2, 2]


def test_equal_models_share_the_better_rank():
    values = np.random.default_rng(5).normal(size=30)
    ranks = aggregate.rank_intervals([values, values, values + 1], [str(i) for i in range(30)], "x")
    assert ranks.rank.tolist() == [1, 1, 3]
    assert ranks.high.tolist() == [1, 1, 3]


def test_resamples_are_paired_over_models():
    """A model worse by 0.1 on every scan is worse in every resample, however hard the scans."""
    hard = np.random.default_rng(6).normal(scale=100, size=30)
    ranks = aggregate.rank_intervals([hard, hard + 0.1], [str(i) for i in range(30)], "x")
    assert ranks.low.tolist() == ranks.high.tolist() == [1, 2]


def test_one_system_gives_ranks_without_intervals():
    ranks = aggregate.rank_intervals([[2.0], [1.0]], ["a"], "x")
    assert ranks.rank.tolist() == [2, 1]
    assert np.isnan(ranks.low).all()
    assert np.isnan(ranks.high).all()


@pytest.mark.parametrize(("no_defect", "doses"), [(0.0, [0.1, 0.3, 0.7]), (1.0, [1.1, 1.5, 2.0])])
def test_equivalence_inverts_the_ladder(no_defect, doses):
    scores = [4.0, 9.0, 30.0]
    shuffled = [2, 0, 1]
    for dose in np.linspace(no_defect, doses[-1], 23):
        score = np.interp(dose, [no_defect, *doses], [0.0, *scores])
        found = aggregate.equivalent_dose(
            score, [doses[k] for k in shuffled], [scores[k] for k in shuffled], no_defect
        )
        assert found.dose == pytest.approx(dose)
        assert not found.beyond


def test_equivalence_of_a_ladder_whose_dose_falls():
    found = aggregate.equivalent_dose(7.0, [0.9, 0.98, 0.95], [14.0, 2.0, 6.0], 1.0)
    assert found.dose == pytest.approx(0.95 - 0.05 / 8)


def test_equivalence_beyond_the_ladder_and_beyond_its_rising_part():
    assert aggregate.equivalent_dose(31.0, [1, 2], [10, 30]) == aggregate.EquivalentDose(2.0, True)
    # the ladder turns at dose 2: 25 is reached twice after it, and only dose < 2 counts
    turning = aggregate.equivalent_dose(25.0, [1, 2, 3, 4], [10, 30, 20, 40])
    assert turning == aggregate.EquivalentDose(1.75, False)
    assert aggregate.equivalent_dose(35.0, [1, 2, 3, 4], [10, 30, 20, 40]).beyond
    assert aggregate.equivalent_dose(0.0, [1, 2], [10, 30]).dose == 0.0


def test_equivalence_needs_numbers():
    for score, ladder in ((np.nan, [1.0]), (1.0, [np.nan])):
        with pytest.raises(ValueError, match="missing"):
            aggregate.equivalent_dose(score, [1.0], ladder)
    with pytest.raises(ValueError, match="nothing"):
        aggregate.equivalent_dose(1.0, [], [])
