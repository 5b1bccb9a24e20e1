"""Does smoothness predict stability: known effects, null data, ceilings, closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pesbench.compare.association import correlations as association
from pesbench.compare.association import statistics, verdicts
from pesbench.compare.association import table as tables
from pesbench.compare.association.panel import (
    CHEAP_METRICS,
    FAILED,
    RESPONSES,
    TIME_LOST,
    Panel,
    Point,
    failed_at_start,
    panel,
    runs_in_excess,
    start_failures,
    time_lost,
)
from pesbench.compare.association.statistics import Interval
from pesbench.metrics import survival
from pesbench.metrics.aggregate import resample
from pesbench.tasks.bonds.task import TASK

HORIZON = 5.0


# --- the statistics ------------------------------------------------------------------------------


def test_spearman_is_scipys_with_and_without_ties():
    generator = np.random.default_rng(0)
    for x, y in (generator.normal(size=(2, 9)), *generator.integers(3, size=(5, 2, 9))):
        assert statistics.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    many = generator.integers(4, size=(6, 10)), generator.normal(size=(6, 10))
    rows = [stats.spearmanr(a, b).statistic for a, b in zip(*many, strict=True)]
    assert statistics.spearman(*many) == pytest.approx(rows)


def test_what_has_no_order_has_no_correlation():
    assert np.isnan(statistics.spearman([1, 1, 1, 1], [1, 2, 3, 4]))
    assert np.isnan(statistics.spearman([1, 2], [1, 2]))
    assert np.isnan(statistics.block_permutation_p([1, 1, 1, 1], [1, 2, 3, 4], "x"))
    assert np.isnan(statistics.block_permutation_p([1, 2], [1, 2], "x"))
    with pytest.raises(ValueError, match="missing"):
        statistics.spearman([1, np.nan, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="missing"):
        statistics.block_permutation_p([1, np.nan, 3], [1, 2, 3], "x")


@pytest.mark.parametrize(("n", "p"), [(3, 1 / 3), (4, 2 / 24), (5, 2 / 120), (8, 2 / 40320)])
def test_smallest_p_of_few_models(n, p):
    assert statistics.block_permutation_p(np.arange(n), np.arange(n) ** 3, "x") == pytest.approx(p)
    assert statistics.block_permutation_p(np.arange(n), -np.arange(n), "x") == pytest.approx(p)
    assert statistics.smallest_p(n) == pytest.approx(p)


def test_four_models_never_reach_five_per_cent():
    found = {
        round(statistics.block_permutation_p(np.arange(4), order, "x"), 6)
        for order in itertools.permutations(range(4))
    }
    assert min(found) == pytest.approx(0.083, abs=5e-4)


def test_exact_p_is_scipys_permutation_test():
    generator = np.random.default_rng(1)
    for ties in (50, 3):
        x, y = generator.integers(ties, size=(2, 6))
        theirs = stats.permutation_test(
            (x,),
            lambda a, axis, y=y: statistics.spearman(a, y),
            permutation_type="pairings",
            n_resamples=np.inf,
            vectorized=True,
        ).pvalue
        assert statistics.block_permutation_p(x, y, "x") == pytest.approx(theirs)


def test_p_of_blocks_is_that_of_a_plain_loop():
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(2, 4, 3)) + np.arange(3)
    every = [
        stats.spearmanr(x.ravel(), y[list(order)].ravel()).statistic
        for order in itertools.permutations(range(4))
    ]
    tails = np.sum(np.array(every) >= every[0] - 1e-9), np.sum(np.array(every) <= every[0] + 1e-9)
    expected = min(1, 2 * min(tails) / 24)
    assert statistics.block_permutation_p(x, y, "x") == pytest.approx(expected)


def test_drawn_permutations_come_close_to_all_of_them():
    """Nine points: 362 880 permutations against 19 999 drawn ones, within four standard errors."""
    x, y = np.arange(9.0), np.array([1.0, 0, 4, 2, 8, 3, 5, 7, 6])
    order = np.array(list(itertools.permutations(range(9))), dtype=np.int8)
    products = np.outer(statistics.centred_ranks(x), statistics.centred_ranks(y))
    drawn = products[np.arange(9), order].sum(axis=1)
    exact = 2 * np.mean(drawn >= np.trace(products) - 1e-9)
    error = 2 * math.sqrt(exact / 2 / statistics.PERMUTATIONS)
    assert statistics.block_permutation_p(x, y, "nine") == pytest.approx(exact, abs=4 * error)
    assert statistics.block_permutation_p(x, y, "nine") != pytest.approx(exact, rel=1e-12)
    least = statistics.block_permutation_p(x, x, "nine")
    assert least >= statistics.smallest_p(9) == 2 / (statistics.PERMUTATIONS + 1)


def test_benjamini_hochberg_by_hand():
    found = statistics.adjusted([0.01, np.nan, 0.04, 0.03, 0.005])
    # m = 4: 0.005·4/1, 0.01·4/2, 0.03·4/3, 0.04·4/4, then the running minimum from the end
    assert found == pytest.approx([0.02, np.nan, 0.04, 0.04, 0.02], nan_ok=True)
    assert np.isnan(statistics.adjusted([np.nan])).all()


def test_partial_correlation_is_that_of_regression_residuals():
    generator = np.random.default_rng(3)
    x, y, z = generator.normal(size=(3, 15)) + generator.normal(size=15)
    ranks = [stats.rankdata(a) for a in (x, y, z)]
    left = [a - np.polyval(np.polyfit(ranks[2], a, 1), ranks[2]) for a in ranks[:2]]
    found = statistics.partial_spearman(x, y, z)
    assert found == pytest.approx(np.corrcoef(*left)[0, 1])
    assert np.isnan(statistics.partial_spearman(x, y, np.exp(x)))
    assert np.isnan(statistics.partial_spearman(x[:3], y[:3], z[:3]))


def test_auroc_counts_pairs():
    score = np.array([3.0, 1.0, 2.0, 2.0, 5.0])
    failed = np.array([True, False, False, True, True])
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in score[failed] for b in score[~failed]
    ]
    assert statistics.auroc(score, failed) == pytest.approx(np.mean(pairs))
    assert np.isnan(statistics.auroc(score, np.zeros(5, bool)))
    assert np.isnan(statistics.auroc(score, np.ones(5, bool)))


def test_weighted_correlations_are_those_of_repeated_points():
    generator = np.random.default_rng(4)
    x, z = generator.normal(size=(2, 12))
    y = generator.integers(4, size=12).astype(float)
    weights = generator.integers(4, size=(20, 12))
    rho, partial = statistics.weighted_spearman(x, y, z, weights.astype(float))
    for r, count in enumerate(weights):
        a, b, c = (np.repeat(v, count) for v in (x, y, z))
        assert rho[r] == pytest.approx(statistics.spearman(a, b))
        assert partial[r] == pytest.approx(statistics.partial_spearman(a, b, c))
    one = np.zeros((1, 12))
    one[0, 5] = 12
    assert np.isnan(statistics.weighted_spearman(x, y, z, one)).all()


def test_interval_of_draws():
    draws = np.linspace(0, 1, 1001)
    assert statistics.percentile_interval(draws) == Interval(
        pytest.approx(0.025), pytest.approx(0.975)
    )
    assert not Interval().excludes(0)
    assert Interval(0.1, 0.9).excludes(0)
    assert not Interval(-0.1, 0.9).excludes(0)
    few = np.where(np.arange(1001) < 100, np.nan, draws)
    assert np.isnan(statistics.percentile_interval(few).low)


# --- error rates, coverage, power ----------------------------------------------------------------


def within(share: float, nominal: float, trials: int, errors: float = 4.0) -> bool:
    return abs(share - nominal) <= errors * math.sqrt(nominal * (1 - nominal) / trials)


@pytest.mark.parametrize(("n", "trials"), [(8, 1000), (12, 600)])
def test_null_data_are_rejected_at_the_nominal_rate(n, trials):
    generator = np.random.default_rng(n)
    p = [
        statistics.block_permutation_p(*generator.normal(size=(2, n)), name="null")
        for _ in range(trials)
    ]
    assert within(float(np.mean(np.array(p) < 0.05)), 0.05, trials)
    assert within(float(np.mean(np.array(p) < 0.2)), 0.2, trials)


def test_ties_make_the_test_cautious_and_never_bold():
    generator = np.random.default_rng(5)
    p = [
        statistics.block_permutation_p(generator.normal(size=8), generator.random(8) < 0.3, "x")
        for _ in range(600)
    ]
    assert np.mean(np.array(p) < 0.05) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 600)


def test_blocks_keep_the_rate_where_pairs_as_independent_points_do_not():
    """Models and molecules with effects of their own, but none of x on y."""
    generator = np.random.default_rng(6)
    ours, naive, trials = [], [], 400
    for _ in range(trials):
        hard = generator.normal(size=10)
        x, y = (
            generator.normal(size=(8, 1)) + hard + 0.5 * generator.normal(size=(8, 10))
            for _ in range(2)
        )
        ours.append(statistics.block_permutation_p(x, y, "blocks"))
        naive.append(stats.spearmanr(x.ravel(), y.ravel()).pvalue)
    assert within(float(np.mean(np.array(ours) < 0.05)), 0.05, trials)
    assert np.mean(np.array(naive) < 0.05) > 0.4


def simulated_panel(generator, n, correlation, k=30, noise=0.5) -> Panel:
    """Normal true values of variants with a known correlation, seen through k noisy molecules."""
    x = generator.normal(size=n)
    y = correlation * x + math.sqrt(1 - correlation**2) * generator.normal(size=n)
    hard = generator.normal(size=k)
    return panel_of(
        x[:, None] + hard + noise * generator.normal(size=(n, k)),
        y[:, None] + hard + noise * generator.normal(size=(n, k)),
    )


def panel_of(x, y, z=None, failed=None) -> Panel:
    n, k = np.shape(x)
    return Panel(
        metric="fsd_full",
        response=TIME_LOST,
        expected=1,
        variants=tuple(f"v{i:02d}" for i in range(n)),
        families=("one",) * n,
        models=(1,) * n,
        systems=tuple(f"s{i:02d}" for i in range(k)),
        x_sum=np.asarray(x, float),
        x_count=np.ones(k, int),
        y_sum=np.asarray(y, float),
        y_count=np.ones(k, int),
        z_sum=z,
        failed_sum=np.tile(np.arange(k) % 2.0, (n, 1)) if failed is None else failed,
        y_all_fail=None,
        y_all_survive=None,
        left_out={},
    )


@pytest.mark.parametrize(("n", "correlation"), [(8, 0.8), (12, 0.0), (20, 0.6)])
def test_interval_covers_the_true_correlation(n, correlation):
    """Spearman's ρ of normal data is 6/π asin(r/2), r less the noise that molecules leave."""
    generator = np.random.default_rng(round(100 * correlation) + n)
    rho = 6 / math.pi * math.asin(correlation / (1 + 0.25 / 30) / 2)
    trials, held = 150, 0
    for trial in range(trials):
        data = simulated_panel(generator, n, correlation)
        interval = association.over_models(data, f"cover {trial}", resamples=300).interval
        held += interval.low <= rho <= interval.high
    # at these n the percentile interval holds 95 to 98 %
    assert 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials) < held / trials


def test_a_strong_effect_is_found_and_none_is_not():
    generator = np.random.default_rng(7)
    trials = 120
    found = {
        effect: [
            verdicts.verdict(
                association.over_models(simulated_panel(generator, 14, effect), "x", resamples=300)
            ).finding
            for _ in range(trials)
        ]
        for effect in (0.95, 0.0, -0.95)
    }
    right = {0.95: verdicts.Finding.SUPPORTED, -0.95: verdicts.Finding.CONTRADICTED}
    for effect, finding in right.items():
        assert found[effect].count(finding) > 0.95 * trials
    silent = found[0.0].count(verdicts.Finding.NOT_RESOLVED) / trials
    assert silent > 0.95 - 4 * math.sqrt(0.95 * 0.05 / trials)


def test_pairs_find_an_effect_within_molecules():
    """A model fails where it is rough, though all models are alike on average."""
    generator = np.random.default_rng(8)
    x = generator.normal(size=(8, 20))
    x -= x.mean(axis=1, keepdims=True)
    data = panel_of(x, x + 0.3 * generator.normal(size=(8, 20)), failed=(x > 1).astype(float))
    found = association.over_pairs(data, "pairs", resamples=300)
    assert found.spearman > 0.9
    assert found.interval.low > 0.7
    assert found.p < 0.001
    assert found.auroc == 1
    assert (found.n, found.n_points) == (8, 160)


# --- the bootstrap -------------------------------------------------------------------------------


def test_two_way_bootstrap_over_models_is_a_plain_loop():
    generator = np.random.default_rng(9)
    data = panel_of(*generator.normal(size=(3, 9, 5)))
    data.x_count[:] = [1, 2, 1, 0, 1]  # s03 has trajectories only
    data.y_count[:] = [1, 1, 0, 3, 2]  # s02 has scans only
    for sums, counts in ((data.x_sum, data.x_count), (data.y_sum, data.y_count)):
        sums[:, counts == 0] = 0
    data.z_sum[:, data.x_count == 0] = 0
    found = association.over_models(data, "loop", resamples=200)

    variants = statistics.draw(9, "loop variants", 200)
    counts = np.ones((200, 5), int)
    counts[:, [0, 1, 4]] = resample(3, "loop both", 200)
    rho, partial = [], []
    for chosen, count in zip(variants, counts, strict=True):
        systems = np.repeat(np.arange(5), count)
        means = [
            [sums[v, systems].sum() / per[systems].sum() for v in chosen]
            for sums, per in (
                (data.x_sum, data.x_count),
                (data.y_sum, data.y_count),
                (data.z_sum, data.x_count),
            )
        ]
        if len(set(chosen)) > 1:
            rho.append(stats.spearmanr(*means[:2]).statistic)
        partial.append(float(statistics.partial_spearman(*means)))
    assert [found.interval.low, found.interval.high] == pytest.approx(
        np.quantile(rho, [0.025, 0.975])
    )
    assert np.isnan(partial).mean() < 0.05
    assert found.partial_interval.low == pytest.approx(np.nanquantile(partial, 0.025))


def test_two_way_bootstrap_over_pairs_is_a_plain_loop():
    generator = np.random.default_rng(10)
    x, y = generator.normal(size=(2, 4, 5))
    found = association.over_pairs(panel_of(x, y), "loop", resamples=100)
    draws = []
    for v, s in zip(
        resample(4, "loop variants", 100), resample(5, "loop systems", 100), strict=True
    ):
        chosen = np.ix_(np.repeat(np.arange(4), v), np.repeat(np.arange(5), s))
        draws.append(statistics.spearman(x[chosen].ravel(), y[chosen].ravel()))
    assert [found.interval.low, found.interval.high] == pytest.approx(
        np.nanquantile(draws, [0.025, 0.975])
    )


def test_seed_is_the_name():
    data = simulated_panel(np.random.default_rng(11), 9, 0.5)
    one, same, other = (association.over_models(data, name) for name in ("a", "a", "b"))
    assert (one.interval, one.p) == (same.interval, same.p)
    assert one.interval != other.interval
    assert one.spearman == other.spearman


def test_one_molecule_has_no_interval():
    one = np.arange(9.0)[:, None]
    found = association.over_models(panel_of(one, one, failed=one / 9))
    assert found.spearman == 1
    assert np.isnan(found.interval.low)
    assert verdicts.verdict(found).finding is verdicts.Finding.NOT_RESOLVED


# --- from scores to a panel ----------------------------------------------------------------------


def scan_rows(levels, systems=4, **columns) -> pd.DataFrame:
    """Two scans a molecule; the metric of a model is its level plus a molecule's own."""
    return pd.DataFrame(
        [
            {
                "model": model,
                "scan": f"C-N/{s}.{k}",
                "system": f"s{s}",
                **dict.fromkeys(CHEAP_METRICS, level + s),
                "force_mae": float((7 * int(level) + 3) % 11),
                **columns,
            }
            for model, level in levels.items()
            for s in range(systems)
            for k in range(2)
        ]
    )


def run_rows(times, systems=4, cut=()) -> pd.DataFrame:
    """Two trajectories a molecule; those of a model all end at its time."""
    rows = []
    for model, time in times.items():
        for s, k in itertools.product(range(systems), range(2)):
            t = min(time, HORIZON)
            how = "survived" if t == HORIZON else "censored" if model in cut else "failed"
            rows.append(
                {
                    "model": model,
                    "trajectory": f"s{s}_300K_{k}",
                    "system": f"s{s}",
                    "temperature_k": 300.0,
                    "status": "ok",
                    "failure": "hot" if how == "failed" else "",
                    "outcome": how,
                    "time_ps": t,
                    "planned_ps": HORIZON,
                    **dict.fromkeys(RESPONSES[2:], -1.0 / time),
                }
            )
    return pd.DataFrame(rows)


LEVELS = {f"m{i}": float(i) for i in range(9)}
TIMES = {f"m{i}": 9.0 - i for i in range(9)}  # m0 to m4 survive 5 ps


def associate(scans, runs, metric="fsd_full", response=TIME_LOST, **options):
    return association.over_models(panel(scans, runs, metric, response, **options), "x", 200)


def test_metrics_are_all_that_can_rank_and_the_shares_of_monotone_scans():
    assert {m for m, sign in CHEAP_METRICS.items() if sign == 1} == {
        metric.name for metric in TASK.metrics if metric.ranks
    }
    assert {m for m, sign in CHEAP_METRICS.items() if sign == -1} == {
        "compression_monotone",
        "compression_monotone_force",
    }


def test_means_of_a_complete_panel():
    found = associate(scan_rows(LEVELS), run_rows(TIMES))
    assert found.x == pytest.approx([i + 1.5 for i in range(9)])
    assert found.y == pytest.approx([0, 0, 0, 0, 0, 1, 2, 3, 4])
    assert found.failed == pytest.approx([0, 0, 0, 0, 0, 1, 1, 1, 1])
    assert found.spearman == pytest.approx(stats.spearmanr(found.x, found.y).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(found.x, found.y).statistic)
    assert (found.n, found.n_models, found.n_scans, found.n_runs, found.n_systems) == (
        9,
        9,
        8,
        8,
        4,
    )
    assert found.if_all_fail is None
    assert found.left_out == {}


def test_a_model_without_a_score_is_left_out_and_named_and_never_taken_as_0():
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    scans.loc[scans["model"] == "m8", "fsd_full"] = np.nan
    found = associate(scans, runs)
    kept = associate(scans[scans["model"] != "m8"], runs[runs["model"] != "m8"])
    assert list(found.left_out) == ["m8"]
    assert "0 of 8" in found.left_out["m8"]
    assert found.n == 8
    assert (found.spearman, found.p, found.interval) == (kept.spearman, kept.p, kept.interval)


@pytest.mark.parametrize(("molecules", "stays"), [(1, False), (2, True)])
def test_a_model_with_less_than_half_of_the_scores_costs_itself_and_not_the_others(
    molecules, stays
):
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    gone = scans["system"] >= f"s{molecules}"
    scans.loc[(scans["model"] == "m4") & gone, "fsd_full"] = np.nan
    found = associate(scans, runs)
    assert ("m4" in found.variants) is stays
    assert found.n_scans == (4 if stays else 8)


@pytest.mark.parametrize("side", ["scans", "runs"])
def test_a_model_in_one_table_only_is_left_out_and_named(side):
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    if side == "scans":
        scans = scans[scans["model"] != "m3"]
    else:
        runs = runs[runs["model"] != "m3"]
    found = associate(scans, runs)
    assert list(found.left_out) == ["m3"]
    assert "m3" not in found.variants


def test_models_are_compared_on_what_all_of_them_share():
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    scans.loc[(scans["model"] == "m2") & (scans["system"] == "s0"), "fsd_full"] = np.inf
    runs = runs[~((runs["model"] == "m7") & (runs["system"] == "s3"))]
    found = associate(scans, runs)
    assert found.x == pytest.approx([i + 2 for i in range(9)])  # molecules 1, 2, 3
    assert (found.n, found.n_scans, found.n_runs, found.n_systems) == (9, 6, 6, 2)


def test_models_that_share_nothing_have_no_correlation():
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    low = scans["system"].isin(["s0", "s1"])
    scans.loc[(scans["model"] == "m0") & low, "fsd_full"] = np.nan
    scans.loc[(scans["model"] == "m1") & ~low, "fsd_full"] = np.nan
    found = associate(scans, runs)
    assert (found.n, found.n_scans) == (9, 0)
    assert np.isnan([found.spearman, found.p, found.partial, found.interval.low]).all()
    said = verdicts.verdict(found).sentence
    assert said.startswith("not resolved at n = 9")
    assert "no correlation" in said
    assert np.isnan(association.over_pairs(panel(scans, runs, "fsd_full")).spearman)


def test_seeds_of_a_variant_are_one_point():
    points = {m: Point("a", "one") for m in ("m0", "m1", "m2")}
    points |= {m: Point("b", "two") for m in ("m7", "m8")}
    found = associate(scan_rows(LEVELS), run_rows(TIMES), points=points)
    assert found.variants == ("a", "b", "m3", "m4", "m5", "m6")
    assert found.families == ("one", "two", "m3", "m4", "m5", "m6")
    assert found.x == pytest.approx([1 + 1.5, 7.5 + 1.5, 4.5, 5.5, 6.5, 7.5])
    assert found.y == pytest.approx([0, 3.5, 0, 0, 1, 2])
    assert (found.n, found.n_models) == (6, 9)
    assert verdicts.verdict(found).sentence.startswith("not resolved at n = 6")


@pytest.mark.parametrize("transform", [np.exp, lambda v: v**3, lambda v: 2 * np.log1p(v) - 5])
def test_order_is_all_that_counts(transform):
    scans = scan_rows(LEVELS).assign(fsd_full=lambda f: f["model"].map(LEVELS))
    plain = associate(scans, run_rows(TIMES))
    bent = associate(scans.assign(fsd_full=transform(scans["fsd_full"])), run_rows(TIMES))
    for attribute in ("spearman", "kendall", "p", "interval", "partial", "partial_interval"):
        assert str(getattr(bent, attribute)) == str(getattr(plain, attribute))
    turned = associate(scans.assign(fsd_full=-scans["fsd_full"]), run_rows(TIMES))
    assert turned.spearman == pytest.approx(-plain.spearman)
    assert turned.p == pytest.approx(plain.p, rel=0.2)


def test_models_that_are_equal_tie_whatever_the_order_of_the_sum():
    generator = np.random.default_rng(14)
    values = 10 ** generator.uniform(-3, 1, size=8)
    scans = scan_rows(LEVELS)
    scans["fsd_full"] = np.concatenate([generator.permutation(values) for _ in LEVELS])
    sums = panel(scans, run_rows(TIMES), "fsd_full").x_sum.sum(axis=1)
    assert len(set(sums.tolist())) > 1  # or the test would test nothing
    assert np.isnan(associate(scans, run_rows(TIMES)).spearman)


def test_partial_correlation_is_given_the_force_error():
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    found = associate(scans, runs)
    z = [(7 * i + 3) % 11 for i in range(9)]
    assert found.partial == pytest.approx(statistics.partial_spearman(found.x, found.y, z))
    assert np.isnan(associate(scans, runs, "force_mae").partial)
    gap = scans.copy()
    gap.loc[0, "force_mae"] = np.nan
    assert np.isnan(associate(gap, runs).partial)


def test_drift_counts_by_its_size():
    runs = run_rows(TIMES)
    found = associate(scan_rows(LEVELS), runs, response="energy_drift_mev_per_atom_ps")
    assert found.y == pytest.approx([1 / (9 - i) for i in range(9)])
    assert np.isnan(found.auroc)
    signed = associate(scan_rows(LEVELS), runs, response="energy_jump_mev")
    assert (signed.y < 0).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_model(n):
    levels, times = ({k: v for k, v in d.items() if k < f"m{n}"} for d in (LEVELS, TIMES))
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    scans, runs = scans[scans["model"].isin(levels)], runs[runs["model"].isin(times)]
    for test in (association.over_models, association.over_pairs):
        found = test(panel(scans, runs, "fsd_full"))
        assert found.n == n
        assert np.isnan([found.spearman, found.p, found.interval.low]).all()
        assert verdicts.verdict(found).sentence.startswith(f"not resolved at n = {n}: ")
    table = tables.table(scans, runs, metrics=["fsd_full"], responses=[TIME_LOST])
    assert table["n"].tolist() == [n, n]


def test_what_the_caller_got_wrong():
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    with pytest.raises(ValueError, match="twice"):
        panel(pd.concat([scans, scans]), runs, "fsd_full")
    with pytest.raises(ValueError, match="twice"):
        panel(scans, pd.concat([runs, runs]), "fsd_full")
    with pytest.raises(ValueError, match="no cheap metric"):
        panel(scans, runs, "wall_s")
    with pytest.raises(ValueError, match="no column"):
        panel(scans.drop(columns="fsd_full"), runs, "fsd_full")
    with pytest.raises(ValueError, match="not at risk"):
        panel(scans, runs.assign(outcome="not_at_risk"), "fsd_full")
    with pytest.raises(ValueError, match="before the horizon"):
        panel(scans, runs.assign(outcome="survived"), "fsd_full")


# --- survival ------------------------------------------------------------------------------------


def test_trajectories_count_where_the_reference_survives():
    runs = run_rows({"a": 1.0, "b": 9.0})
    runs.loc[runs["model"].eq("b") & runs["system"].eq("s3"), "outcome"] = "not_at_risk"
    reference = run_rows({"reference": 9.0})
    reference.loc[0, "outcome"] = "failed"  # s0, one replicate of two
    reference = reference[reference["system"] != "s1"]
    kept, left = runs_in_excess(runs, reference)
    assert set(zip(kept["model"], kept["system"], strict=True)) == {
        ("a", "s2"),
        ("a", "s3"),
        ("b", "s2"),
    }
    assert left.to_dict() == {"not_at_risk": 2, "reference_failed": 4, "reference_unknown": 4}


def test_time_lost_of_runs_that_were_not_cut_is_what_is_missing():
    found = time_lost(np.array([1.0, 5.0, 7.0, 0.5]), np.array([True, False, False, True]), 5.0)
    for values in (found.value, found.all_fail, found.all_survive):
        assert values == pytest.approx([4, 0, 0, 4.5])


def test_who_loses_no_time_is_tied_whether_or_not_a_run_was_cut():
    lived = np.full(7, 0.3)
    cut = np.concatenate([[0.1], lived[1:]])  # the jackknife leaves 1e-16 of each
    for time in (lived, cut, np.full(7, 0.1 + 0.2)):
        assert (time_lost(time, np.zeros(7, dtype=bool), 0.3).value == 0.0).all()


def test_time_lost_of_cut_runs_averages_to_the_restricted_mean():
    generator = np.random.default_rng(12)
    death, end = generator.exponential(3, 80), generator.exponential(6, 80)
    time, failed = np.minimum(np.minimum(death, end), HORIZON), death < np.minimum(end, HORIZON)
    found = time_lost(time, failed, HORIZON)
    mean = survival.restricted_mean_survival_time(time, failed, HORIZON)
    assert found.value.mean() == pytest.approx(HORIZON - mean, abs=0.01)
    assert found.all_fail.mean() == pytest.approx(HORIZON - time.mean())
    lived = np.where(failed, time, HORIZON)
    assert found.all_survive.mean() == pytest.approx(HORIZON - lived.mean())
    assert found.all_survive.mean() < found.value.mean() < found.all_fail.mean()
    assert time_lost(np.array([2.0]), np.array([False]), HORIZON).all_fail == pytest.approx([3.0])


def test_cut_runs_are_bounded_on_both_sides():
    runs = run_rows(TIMES, cut=("m8",))  # the roughest model, cut after 1 ps
    found = associate(scan_rows(LEVELS), runs)
    rough = np.arange(9)
    fail, live = np.array([0.0] * 5 + [1, 2, 3, 4]), np.array([0.0] * 5 + [1, 2, 3, 0])
    assert found.if_all_fail == pytest.approx(stats.spearmanr(rough, fail).statistic)
    assert found.if_all_survive == pytest.approx(stats.spearmanr(rough, live).statistic)
    said = verdicts.verdict(found).sentence
    assert f"{found.if_all_fail:.2f} if every run that was cut had failed" in said
    shares = associate(scan_rows(LEVELS), runs, response=FAILED)
    assert shares.y == pytest.approx([0, 0, 0, 0, 0, 1, 1, 1, 0])
    assert shares.if_all_fail == pytest.approx(stats.spearmanr(rough, fail > 0).statistic)


# --- failures before the first step --------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "failure", "time_ps", "failed"),
    [
        ("ok", "close_pair", 0.0, True),
        ("nonfinite", "", 0.0, True),
        ("nonfinite", "nonfinite", 0.0, True),
        ("error", "", 0.0, True),
        ("crashed", "", 0.0, True),
        ("timeout", "long_bond", 0.0, True),
        ("ok", "close_pair", 0.1, False),
        ("crashed", "", 0.1, False),
        ("timeout", "", 0.0, False),
        ("out_of_memory", "none", 0.0, False),
        ("unsupported", "", 0.0, False),
        ("masked", "", 0.0, False),
        ("ok", "", 5.0, False),
    ],
)
def test_what_fails_before_its_first_step_was_put_to_the_model(status, failure, time_ps, failed):
    how = survival.outcome(status, failure, time_ps).value
    row = {"outcome": how, "status": status, "failure": failure, "time_ps": time_ps}
    runs = pd.DataFrame([row, row | {"outcome": "survived", "status": "ok", "failure": ""}])
    assert start_failures(runs).tolist() == [failed, False]
    assert (failed_at_start(runs)["outcome"] == "failed").sum() == failed


def test_what_another_group_did_not_run_is_no_failure():
    row = {"outcome": "not_at_risk", "status": "not_evaluated", "failure": "", "time_ps": 0.0}
    assert not start_failures(pd.DataFrame([row])).any()


def start_failing(runs, model, systems, status="ok", failure="close_pair"):
    """The runs that count and the start failures, where `model` breaks some molecules at once."""
    broken = runs["model"].eq(model) & runs["system"].isin(systems)
    runs = runs.copy()
    columns = ["outcome", "status", "failure", "time_ps"]
    runs.loc[broken, columns] = ["not_at_risk", status, failure, 0.0]
    runs.loc[broken, list(RESPONSES[2:])] = np.nan
    reference = run_rows({"reference": 9.0})
    return runs_in_excess(runs, reference)[0], runs_in_excess(failed_at_start(runs), reference)[0]


def test_start_failures_change_no_test_and_their_bound_stands_beside():
    """m0, the smoothest, breaks two of four molecules: the test does not see it, the bound does."""
    scans = scan_rows(LEVELS)
    runs, start_failed = start_failing(run_rows(TIMES), "m0", ["s0", "s1"])
    assert (start_failed["time_ps"].tolist(), set(start_failed["model"])) == ([0.0] * 4, {"m0"})
    without = verdicts.answer(scans, runs, resamples=50).primary
    found = verdicts.answer(scans, runs, resamples=50, start_failed=start_failed).primary
    for one in ("spearman", "p", "interval", "kendall", "n", "n_runs", "left_out"):
        assert str(getattr(found, one)) == str(getattr(without, one))
    assert without.if_start_failed is None
    assert found.n_runs == 4  # molecules 2 and 3, for all models
    lost = np.array([0, 0, 0, 0, 0, 1, 2, 3, 4.0])
    assert found.y == pytest.approx(lost)
    lost[0] = HORIZON / 2  # of half its trajectories all
    expected = stats.spearmanr(np.arange(9), lost).statistic
    assert expected < found.spearman - 0.1
    assert found.if_start_failed == association.StartFailed(4, 9, pytest.approx(expected))


def test_a_model_that_fails_everywhere_before_its_first_step_comes_into_the_bound():
    scans = scan_rows(LEVELS)
    runs, start_failed = start_failing(run_rows(TIMES), "m8", [f"s{k}" for k in range(4)])
    found = verdicts.answer(scans, runs, resamples=50, start_failed=start_failed)
    for test in (found.primary, found.secondary):
        assert (test.n, list(test.left_out)) == (8, ["m8"])
        lost = np.array([0, 0, 0, 0, 0, 1, 2, 3, HORIZON])
        expected = stats.spearmanr(np.arange(9), lost).statistic
        assert test.if_start_failed == association.StartFailed(8, 9, pytest.approx(expected))


def test_start_failures_count_in_excess_of_the_reference():
    runs = run_rows({"a": 9.0})
    runs[["outcome", "status", "time_ps"]] = ["not_at_risk", "error", 0.0]
    reference = run_rows({"reference": 9.0})
    reference.loc[0, "outcome"] = "failed"
    kept, _ = runs_in_excess(failed_at_start(runs), reference)
    assert sorted(kept["system"]) == ["s1", "s1", "s2", "s2", "s3", "s3"]


@pytest.mark.parametrize("status", ["unsupported", "masked"])
def test_molecules_that_a_model_was_not_asked_for_have_no_bound(status):
    runs, start_failed = start_failing(run_rows(TIMES), "m0", ["s0"], status, "")
    found = verdicts.answer(scan_rows(LEVELS), runs, resamples=50, start_failed=start_failed)
    assert start_failed.empty
    assert found.primary.n_runs == 6
    assert found.primary.if_start_failed is None


def test_table_has_the_bound_of_what_derives_from_survival_over_models():
    runs, start_failed = start_failing(run_rows(TIMES), "m0", ["s0", "s1"])
    options = {"metrics": ["fsd_full", "force_mae"], "resamples": 50}
    scans = scan_rows(LEVELS)
    plain = tables.table(scans, runs, **options)
    bounds = ["spearman_start_failed", "n_start_failed", "n_runs_start_failed"]
    assert plain[bounds].isna().all(axis=None)
    table = tables.table(scans, runs, **options, start_failed=start_failed)
    pd.testing.assert_frame_equal(table.drop(columns=bounds), plain.drop(columns=bounds))
    has = table["spearman_start_failed"].notna()
    of_survival = table["level"].eq("model") & table["response"].isin([TIME_LOST, FAILED])
    assert has.tolist() == of_survival.tolist()
    assert table.loc[has, bounds[1:]].drop_duplicates().to_numpy().tolist() == [[9, 4]]
    primary = table[table["role"] == "primary"].iloc[0]
    answer = verdicts.answer(scans, runs, resamples=50, start_failed=start_failed)
    assert primary["spearman_start_failed"] == answer.primary.if_start_failed.spearman


# --- what may be said ----------------------------------------------------------------------------


def found_with(**changed) -> association.Association:
    """A clear result of 10 variants."""
    values = {
        "level": association.Level.MODEL,
        "metric": "fsd_full",
        "response": TIME_LOST,
        "expected": 1,
        "n": 10,
        "n_models": 10,
        "n_systems": 20,
        "n_points": 10,
        "n_scans": 20,
        "n_runs": 40,
        "spearman": 0.9,
        "kendall": 0.8,
        "interval": Interval(0.5, 0.99),
        "p": 0.001,
        "partial": 0.5,
        "partial_interval": Interval(),
        "if_all_fail": None,
        "if_all_survive": None,
        "auroc": 0.8,
        "left_out": {},
        "variants": tuple("abcdefghij"),
        "families": tuple("aaabbbcccc"),
        "x": np.arange(10.0),
        "y": np.arange(10.0),
        "failed": np.linspace(0.1, 0.9, 10),
    }
    return association.Association(**(values | changed))


MINUS = {"spearman": -0.9, "interval": Interval(-0.99, -0.5)}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "supported: models with a higher fsd_full show more survival time lost"),
        (MINUS, "contradicted: models with a lower fsd_full show more survival time lost"),
        ({"expected": -1}, "contradicted: models with a higher"),
        ({"expected": -1, **MINUS}, "supported: models with a lower"),
        ({"n": 7}, "not resolved at n = 7"),
        ({"n": 8}, "supported"),
        ({"p": 0.05}, "not resolved at n = 10"),
        ({"interval": Interval(0.0, 0.99)}, "not resolved at n = 10"),
        ({"interval": Interval()}, "not resolved at n = 10"),
        ({"if_all_fail": 0.2, "if_all_survive": 0.9}, "supported"),
        ({"if_all_fail": -0.2, "if_all_survive": 0.9}, "not resolved at n = 10"),
        ({"if_all_fail": np.nan, "if_all_survive": 0.9}, "not resolved at n = 10"),
        ({"failed": np.zeros(10)}, "not informative: nearly all survive"),
        ({"failed": np.ones(10)}, "not informative: nearly all fail"),
        ({"failed": np.full(10, 0.05)}, "not informative: nearly all survive"),
        ({"failed": np.full(10, 0.06)}, "supported"),
        ({"failed": np.full(10, 0.95)}, "not informative: nearly all fail"),
        ({"failed": np.full(10, 0.94)}, "supported"),
        ({"failed": np.eye(10)[0]}, "not informative: nearly all survive"),
        ({"failed": 1 - np.eye(10)[0]}, "not informative: nearly all fail"),
        ({"failed": np.zeros(10), "n": 7}, "not resolved at n = 7"),
        ({"failed": np.zeros(10), "response": "energy_jump_mev"}, "supported"),
    ],
)
def test_verdict(changed, word):
    said = verdicts.verdict(found_with(**changed))
    assert said.sentence.startswith(word)
    assert said.sentence.startswith(said.finding.value)
    assert said.sentence.endswith(".")
    assert "\n" not in said.sentence


def test_a_perfect_order_of_four_models_is_not_resolved():
    """And the sentence tells that it could not have been."""
    levels, times = {f"m{i}": float(i) for i in range(4)}, {f"m{i}": 4.0 - i for i in range(4)}
    found = verdicts.answer(scan_rows(levels), run_rows(times))
    assert found.primary.spearman == 1
    assert found.primary.p == pytest.approx(2 / 24)
    assert found.primary_verdict.finding is verdicts.Finding.NOT_RESOLVED
    assert found.primary_verdict.sentence.startswith("not resolved at n = 4: ")
    assert "p = 0.083, at least 0.083 at this n" in found.primary_verdict.sentence
    assert found.secondary.metric == "fsd_windowed"


def test_ceilings_from_scores():
    for times, said in (
        (dict.fromkeys(LEVELS, 9.0), "survive"),
        (dict.fromkeys(LEVELS, 1.0), "fail"),
    ):
        found = verdicts.answer(scan_rows(LEVELS), run_rows(times))
        assert found.primary_verdict.sentence.startswith(f"not informative: nearly all {said}")
        assert np.isnan(found.primary.spearman)


def test_a_metric_that_is_the_same_for_all_models_resolves_nothing():
    found = verdicts.answer(scan_rows(dict.fromkeys(LEVELS, 1.0)), run_rows(TIMES))
    assert found.primary_verdict.sentence.startswith("not resolved at n = 9")


# --- the table -----------------------------------------------------------------------------------


def test_table_ranks_metrics_and_adjusts_the_exploratory_ones():
    generator = np.random.default_rng(13)
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    scans["fsd_windowed"] = generator.normal(size=len(scans))
    scans["compression_monotone"] = -scans["fsd_full"]
    scans["energy_mae"] = np.nan
    metrics = ["energy_mae", "fsd_windowed", "compression_monotone", "fsd_full", "force_mae"]
    table = tables.table(scans, runs, metrics=metrics, responses=[FAILED, TIME_LOST], resamples=100)
    assert tuple(table.columns) == tables.TABLE_COLUMNS
    assert len(table) == 2 * 2 * 5
    assert table["level"].tolist() == ["model"] * 10 + ["model, system"] * 10
    assert table["response"].tolist() == ([TIME_LOST] * 5 + [FAILED] * 5) * 2
    named = table[table["role"] != "exploratory"]
    assert dict(zip(named["metric"], named["role"], strict=True)) == {
        "fsd_full": "primary",
        "fsd_windowed": "secondary",
    }
    assert set(named["level"]) == {"model"}
    assert set(named["response"]) == {TIME_LOST}
    assert named["p_adjusted"].isna().all()
    rest = table[(table["role"] == "exploratory") & table["p"].notna()]
    expected = stats.false_discovery_control(rest["p"])
    assert rest["p_adjusted"].to_numpy() == pytest.approx(expected)
    first = table[:5]
    assert set(first["metric"][:2]) == {"fsd_full", "compression_monotone"}
    assert first["metric"].tolist()[-1] == "energy_mae"
    assert first.iloc[-1][["n", "n_left_out"]].tolist() == [0, 9]
    strength = (first["spearman"] * first["expected"]).dropna()
    assert strength.is_monotonic_decreasing
    assert table.groupby("metric")["auroc"].nunique(dropna=False).eq(1).all()
    # m4 on molecule 3 (7) survives, m5 on molecule 0 (5) fails: pairs, not models
    pairs = [(i + s, i > 4) for i in range(9) for s in range(4)]
    found = table[table["metric"] == "fsd_full"]["auroc"].iloc[0]
    assert found == pytest.approx(statistics.auroc(*zip(*pairs, strict=True)))
    monotone = table[table["metric"] == "compression_monotone"]["auroc"].iloc[0]
    assert monotone == pytest.approx(found)
