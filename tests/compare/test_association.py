"""Does smoothness predict stability: known effects, null data, ceilings, closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from panels import panel_of
from pesbench.compare.association import correlations as association
from pesbench.compare.association import table as tables
from pesbench.compare.association import verdicts
from pesbench.compare.association.panel import (
    CHEAP_METRICS,
    FAILED,
    RESPONSES,
    TIME_LOST,
    Panel,
    Point,
    panel,
)
from pesbench.compare.association.trajectories import (
    failed_at_start,
    runs_in_excess,
    start_failures,
    time_lost,
)
from pesbench.compare.association.within import within_models
from pesbench.metrics import rank_statistics as statistics
from pesbench.metrics import survival
from pesbench.metrics.aggregate import resample
from pesbench.metrics.rank_statistics import Interval
from pesbench.tasks.bonds.task import TASK

HORIZON = 5.0


# --- the statistics ------------------------------------------------------------------------------


def plain_p(x, y, name="x"):
    """The p of variants of one family."""
    return float(statistics.stratified_p(x, y, ["one"] * len(x), name))


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
    assert np.isnan(plain_p([1, 1, 1, 1], [1, 2, 3, 4]))
    assert np.isnan(plain_p([1, 2], [1, 2]))
    with pytest.raises(ValueError, match="missing"):
        statistics.spearman([1, np.nan, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="missing"):
        plain_p([1, np.nan, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="one value a variant"):
        statistics.stratified_p([1, 2, 3], [1, 2, 3], ["a"], "x")


@pytest.mark.parametrize(("n", "p"), [(3, 1 / 3), (4, 2 / 24), (5, 2 / 120), (8, 2 / 40320)])
def test_smallest_p_of_few_models(n, p):
    assert plain_p(np.arange(n), np.arange(n) ** 3) == pytest.approx(p)
    assert plain_p(np.arange(n), -np.arange(n)) == pytest.approx(p)
    assert statistics.smallest_p(["one"] * n) == pytest.approx(p)


def test_four_models_never_reach_five_per_cent():
    found = {round(plain_p(np.arange(4), order), 6) for order in itertools.permutations(range(4))}
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
        assert plain_p(x, y) == pytest.approx(theirs)


@pytest.mark.parametrize("sizes", [(3, 4), (2, 2, 3), (1, 1, 1, 1, 3)])
def test_p_within_families_is_that_of_a_plain_loop(sizes):
    """Families of a single variant are exchanged with each other."""
    generator = np.random.default_rng(2)
    families = [f"f{k}" for k, count in enumerate(sizes) for _ in range(count)]
    blocks = [[k for k, f in enumerate(families) if f == one] for one in dict.fromkeys(families)]
    blocks = [b for b in blocks if len(b) > 1] + [[b[0] for b in blocks if len(b) == 1]]
    x, y = generator.normal(size=(2, 7)) + np.arange(7)
    place = [k for block in blocks for k in block]
    every = []
    for orders in itertools.product(*(itertools.permutations(block) for block in blocks)):
        shuffled = y.copy()
        shuffled[place] = y[[k for order in orders for k in order]]
        every.append(stats.spearmanr(x, shuffled).statistic)
    assert every[0] == pytest.approx(stats.spearmanr(x, y).statistic)
    tails = np.sum(np.array(every) >= every[0] - 1e-9), np.sum(np.array(every) <= every[0] + 1e-9)
    found = statistics.stratified_p(x, y, families, "x")
    assert found == pytest.approx(min(1, 2 * min(tails) / len(every)))
    assert statistics.smallest_p(families) == pytest.approx(min(1, 2 / len(every)))
    both = statistics.stratified_p(np.array([x, y]), np.array([y, y]), families, "x")
    assert both[0] == found


def test_nothing_can_be_exchanged_between_a_family_and_another():
    assert np.isnan(statistics.stratified_p([1, 2], [1, 2], ["a", "b"], "x"))
    apart = statistics.stratified_p([1, 2, 3], [1, 2, 3], ["a", "b", "b"], "x")
    assert apart == 1.0  # two orders


def test_correlation_within_families_is_that_of_centred_ranks():
    generator = np.random.default_rng(20)
    x, y = generator.normal(size=(2, 9))
    families = ["a"] * 4 + ["b"] * 3 + ["c", "d"]  # the last two are one stratum
    left = [stats.rankdata(v) for v in (x, y)]
    for block in (slice(0, 4), slice(4, 7), slice(7, 9)):
        for ranks in left:
            ranks[block] -= ranks[block].mean()
    found = statistics.stratified_spearman(x, y, families)
    assert found == pytest.approx(np.sum(left[0] * left[1]) / np.prod(np.linalg.norm(left, axis=1)))


def test_bare_families_explain_what_their_means_do():
    y = [1, 2, 3, 10, 11, 12]
    assert statistics.explained(y, ["a"] * 3 + ["b"] * 3) == pytest.approx(13.5 / 17.5)
    assert statistics.explained(y, list("abcdef")) == pytest.approx(1)
    assert statistics.explained(y, ["a"] * 6) == pytest.approx(0)
    assert np.isnan(statistics.explained([1, 1], ["a", "b"]))


def test_drawn_permutations_come_close_to_all_of_them():
    """Nine points: 362 880 permutations against 19 999 drawn ones, within four standard errors."""
    x, y = np.arange(9.0), np.array([1.0, 0, 4, 2, 8, 3, 5, 7, 6])
    order = np.array(list(itertools.permutations(range(9))), dtype=np.int8)
    products = np.outer(statistics.centred_ranks(x), statistics.centred_ranks(y))
    drawn = products[np.arange(9), order].sum(axis=1)
    exact = 2 * np.mean(drawn >= np.trace(products) - 1e-9)
    error = 2 * math.sqrt(exact / 2 / statistics.PERMUTATIONS)
    assert plain_p(x, y, "nine") == pytest.approx(exact, abs=4 * error)
    assert plain_p(x, y, "nine") != pytest.approx(exact, rel=1e-12)
    least = plain_p(x, x, "nine")
    assert least >= statistics.smallest_p(["one"] * 9) == 2 / (statistics.PERMUTATIONS + 1)


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
    few = np.where(np.arange(1001) < 100, np.nan, draws + 1)  # what is undefined shows nothing
    assert statistics.percentile_interval(few).low == 0
    assert statistics.percentile_interval(few, neutral=0.5).low == 0.5
    most = np.where(np.arange(1001) < 600, np.nan, draws)
    assert np.isnan(statistics.percentile_interval(most).low)


# --- error rates, coverage, power ----------------------------------------------------------------


def within(share: float, nominal: float, trials: int, errors: float = 4.0) -> bool:
    return abs(share - nominal) <= errors * math.sqrt(nominal * (1 - nominal) / trials)


@pytest.mark.parametrize(("n", "trials"), [(8, 1000), (12, 600)])
def test_null_data_are_rejected_at_the_nominal_rate(n, trials):
    generator = np.random.default_rng(n)
    p = [plain_p(*generator.normal(size=(2, n)), name="null") for _ in range(trials)]
    assert within(float(np.mean(np.array(p) < 0.05)), 0.05, trials)
    assert within(float(np.mean(np.array(p) < 0.2)), 0.2, trials)


def test_ties_make_the_test_cautious_and_never_bold():
    generator = np.random.default_rng(5)
    p = [plain_p(generator.normal(size=8), generator.random(8) < 0.3) for _ in range(600)]
    assert np.mean(np.array(p) < 0.05) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 600)


def test_families_keep_the_rate_where_variants_as_independent_points_do_not():
    """Families with effects of their own in x and in y, unrelated to each other."""
    generator = np.random.default_rng(6)
    trials, sizes = 1000, (6, 6, 6)
    families = [f"f{k}" for k, count in enumerate(sizes) for _ in range(count)]
    shared = np.repeat(np.eye(3), sizes, axis=0).T
    x, y = (
        3 * generator.normal(size=(trials, 3)) @ shared + generator.normal(size=(trials, 18))
        for _ in range(2)
    )
    ours = statistics.stratified_p(x, y, families, "families", 499)
    naive = stats.norm.sf(np.abs(statistics.spearman(x, y)) * math.sqrt(17)) * 2
    assert within(float(np.mean(ours < 0.05)), 0.05, trials)
    assert np.mean(naive < 0.05) > 0.3


def simulated_panel(generator, n, correlation, k=30, noise=0.5) -> Panel:
    """Normal true values of variants with a known correlation, seen through k noisy molecules."""
    x = generator.normal(size=n)
    y = correlation * x + math.sqrt(1 - correlation**2) * generator.normal(size=n)
    hard = generator.normal(size=k)
    return panel_of(
        x[:, None] + hard + noise * generator.normal(size=(n, k)),
        y[:, None] + hard + noise * generator.normal(size=(n, k)),
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


# --- the bootstrap -------------------------------------------------------------------------------


def test_bootstrap_over_families_variants_and_molecules_is_a_plain_loop():
    generator = np.random.default_rng(9)
    families = list("aaabbbccd")
    data = panel_of(*generator.normal(size=(2, 9, 5)), families)
    data.x_count[:] = [1, 2, 1, 0, 1]  # s03 has trajectories only
    data.y_count[:] = [1, 1, 0, 3, 2]  # s02 has scans only
    for sums, counts in ((data.x_sum, data.x_count), (data.y_sum, data.y_count)):
        sums[:, counts == 0] = 0
    found = association.over_models(data, "loop", resamples=200)

    variants = statistics.draw_variants(families, "loop", 200)
    counts = np.ones((200, 5), int)
    counts[:, [0, 1, 4]] = resample(3, "loop both", 200)
    rho = []
    for times, count in zip(variants.astype(int), counts, strict=True):
        systems, chosen = np.repeat(np.arange(5), count), np.repeat(np.arange(9), times)
        means = [
            [sums[v, systems].sum() / per[systems].sum() for v in chosen]
            for sums, per in ((data.x_sum, data.x_count), (data.y_sum, data.y_count))
        ]
        rho.append(float(statistics.spearman(*means)))
    assert [found.interval.low, found.interval.high] == pytest.approx(
        np.quantile(np.nan_to_num(rho), [0.025, 0.975])
    )


def test_families_are_drawn_first_and_variants_within_them():
    families = list("aaaabbbcc")
    drawn = statistics.draw_variants(families, "x", 4000)
    of = np.stack([drawn[:, [f == one for f in families]].sum(axis=1) for one in "abc"], axis=1)
    times = of / [4, 3, 2]
    assert np.array_equal(times, times.round())
    assert (times.sum(axis=1) == 3).all()
    assert np.mean(times == 3) == pytest.approx(1 / 27, abs=0.005)
    assert drawn.mean(axis=0) == pytest.approx(np.ones(9), abs=0.1)
    alone = statistics.draw_variants(["a"] * 4, "x", 100)
    assert (alone.sum(axis=1) == 4).all()


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
def test_a_model_below_the_entry_threshold_costs_itself_and_not_the_others(molecules, stays):
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    gone = scans["system"] >= f"s{molecules}"
    scans.loc[(scans["model"] == "m4") & gone, "fsd_full"] = np.nan
    found = associate(scans, runs, least_scans=0.5)
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
    assert list(associate(scans, runs).left_out) == ["m2"]  # has 6 of 8 scans
    found = associate(scans, runs, least_scans=0.75)
    assert found.x == pytest.approx([i + 2 for i in range(9)])  # molecules 1, 2, 3
    assert (found.n, found.n_scans, found.n_runs, found.n_systems) == (9, 6, 6, 2)


def test_models_that_share_nothing_have_no_correlation():
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    low = scans["system"].isin(["s0", "s1"])
    scans.loc[(scans["model"] == "m0") & low, "fsd_full"] = np.nan
    scans.loc[(scans["model"] == "m1") & ~low, "fsd_full"] = np.nan
    found = associate(scans, runs, least_scans=0.5)
    assert (found.n, found.n_scans) == (9, 0)
    assert np.isnan([found.spearman, found.p, found.interval.low]).all()
    said = verdicts.verdict(found).sentence
    assert said.startswith("not resolved across families at n = 9")
    assert "no correlation" in said
    inside = within_models(panel(scans, runs, "fsd_full", least_scans=0.5))
    assert np.isnan(inside.spearman)


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
    for attribute in ("spearman", "kendall", "p", "interval", "given_family"):
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


def test_drift_counts_by_its_size():
    runs = run_rows({model: time + HORIZON for model, time in TIMES.items()})
    found = associate(scan_rows(LEVELS), runs, response="energy_drift_mev_per_atom_ps")
    assert found.y == pytest.approx([1 / (14 - i) for i in range(9)])
    signed = associate(scan_rows(LEVELS), runs, response="energy_jump_mev")
    assert (signed.y < 0).all()


def test_what_a_run_does_while_it_breaks_is_no_drift():
    broken = panel(
        scan_rows(LEVELS), run_rows(TIMES), "fsd_full", response="energy_drift_mev_per_atom_ps"
    )
    assert broken.variants == ("m0", "m1", "m2", "m3", "m4")  # those that survive
    assert set(broken.left_out) == {"m5", "m6", "m7", "m8"}
    assert panel(scan_rows(LEVELS), run_rows(TIMES), "fsd_full").variants == tuple(LEVELS)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hardly_any_model(n):
    levels, times = ({k: v for k, v in d.items() if k < f"m{n}"} for d in (LEVELS, TIMES))
    scans, runs = scan_rows(LEVELS), run_rows(TIMES)
    scans, runs = scans[scans["model"].isin(levels)], runs[runs["model"].isin(times)]
    for test in (association.over_models, association.over_families):
        found = test(panel(scans, runs, "fsd_full"))
        assert found.n == n
        assert np.isnan([found.spearman, found.p, found.interval.low]).all()
        assert verdicts.verdict(found).sentence.startswith(f"not resolved at n = {n}: ")
    inside = within_models(panel(scans, runs, "fsd_full"))
    assert np.isnan([inside.spearman, inside.p, inside.interval.low, inside.auroc]).all()
    table = tables.table(scans, runs, metrics=["fsd_full"], responses=[TIME_LOST])
    assert table["n"].tolist() == [n, 0]


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


CLEAR = Interval(0.5, 0.99)
OPEN = Interval(-0.1, 0.99)
FIVE = tuple("aabbccddee")


def found_with(**changed) -> association.Association:
    """A clear result of 10 variants of five families."""
    values = {
        "metric": "fsd_full",
        "response": TIME_LOST,
        "expected": 1,
        "n": 10,
        "n_models": 10,
        "n_systems": 20,
        "n_scans": 20,
        "n_runs": 40,
        "spearman": 0.9,
        "kendall": 0.8,
        "interval": CLEAR,
        "given_family": 0.9,
        "p": 0.001,
        "family_explains": 0.3,
        "if_all_fail": None,
        "if_all_survive": None,
        "left_out": {},
        "variants": tuple("abcdefghij"),
        "families": FIVE,
        "x": np.arange(10.0),
        "y": np.arange(10.0),
        "failed": np.linspace(0.1, 0.9, 10),
    }
    return association.Association(**(values | changed))


def without(**changed):
    """Each family left out once; `changed` of family a."""
    kept = {family: found_with() for family in "bcde"}
    return kept | {"a": found_with(**changed)}


MINUS = {"spearman": -0.9, "given_family": -0.9, "interval": Interval(-0.99, -0.5)}
FOUR = tuple("aaaabbccdd")


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "supported: models with a higher FSD show more survival time lost"),
        (MINUS, "contradicted: models with a lower FSD show more survival time lost"),
        ({"expected": -1}, "contradicted: models with a higher"),
        ({"expected": -1, **MINUS}, "supported: models with a lower"),
        ({"n": 7}, "not resolved at n = 7"),
        ({"n": 8}, "supported: "),
        ({"p": 0.05}, "not resolved across families at n = 10 variants of 5 families"),
        ({"p": np.nan}, "not resolved across families"),
        ({"given_family": -0.1}, "not resolved across families"),
        ({"interval": Interval(0.0, 0.99)}, "not resolved across families"),
        ({"interval": Interval()}, "not resolved across families"),
        ({"without": without()}, "supported: "),
        ({"without": without(p=0.9)}, "supported: "),
        ({"without": without(interval=OPEN)}, "not resolved across families"),
        ({"without": without(interval=Interval())}, "not resolved across families"),
        ({"without": without(**MINUS)}, "not resolved across families"),
        ({"families": FOUR}, "not resolved across families at n = 10 variants of 4 families"),
        ({"failed": np.repeat([0.05, 0.9], [2, 8])}, "not resolved across families"),
        ({"failed": np.repeat([0.06, 0.9], [2, 8])}, "supported: "),
        ({"families": FOUR, "response": "energy_jump_mev"}, "not resolved across families"),
        ({"if_all_fail": 0.2, "if_all_survive": 0.9}, "supported: "),
        ({"if_all_fail": -0.2, "if_all_survive": 0.9}, "not resolved across families"),
        ({"if_all_fail": np.nan, "if_all_survive": 0.9}, "not resolved across families"),
        ({"failed": np.zeros(10)}, "not informative: nearly all survive"),
        ({"failed": np.ones(10)}, "not informative: nearly all fail"),
        ({"failed": np.full(10, 0.05)}, "not informative: nearly all survive"),
        ({"failed": np.full(10, 0.06)}, "supported: "),
        ({"failed": np.full(10, 0.95)}, "not informative: nearly all fail"),
        ({"failed": np.full(10, 0.94)}, "supported: "),
        ({"failed": np.eye(10)[0]}, "not informative: nearly all survive"),
        ({"failed": 1 - np.eye(10)[0]}, "not informative: nearly all fail"),
        ({"failed": np.zeros(10), "n": 7}, "not resolved at n = 7"),
        ({"failed": np.zeros(10), "response": "energy_jump_mev"}, "supported: "),
    ],
)
def test_verdict(changed, word):
    said = verdicts.verdict(found_with(**changed))
    assert said.sentence.startswith(word)
    assert said.sentence.startswith(said.finding.value)
    assert said.sentence.endswith(".")
    assert "\n" not in said.sentence


@pytest.mark.parametrize(
    ("alone", "word"),
    [
        ({}, "supported within a, not resolved across families: variants with a higher FSD"),
        (MINUS, "contradicted within a, not resolved across families: variants with a lower"),
        ({"n": 7}, "not resolved across families"),
        ({"p": 0.05}, "not resolved across families"),
        ({"interval": OPEN}, "not resolved across families"),
        ({"failed": np.zeros(10)}, "not resolved across families"),
    ],
)
def test_verdict_within_a_family(alone, word):
    """Three families: of models at large nothing is said, of the largest there may be."""
    families = tuple("aaaaaaaabc")
    one = found_with(**({"families": ("a",) * 10} | alone))
    found = found_with(families=families, alone={"a": one, "b": found_with(n=1)})
    said = verdicts.verdict(found)
    assert said.sentence.startswith(word)
    assert "in 3 of 3 families (a, b, c), 5 are needed" in said.sentence


def test_a_verdict_within_families_is_for_as_many_as_were_asked():
    one, two = found_with(p=0.03), found_with(p=0.5)
    alone = {"a": one, "b": found_with(n=3)}
    assert verdicts.within_families(found_with(alone=alone)) == {"a": 1}
    assert verdicts.within_families(found_with(alone={"a": one, "b": two})) == {}
    assert verdicts.within_families(found_with(alone={"a": one, "b": found_with()})) == {"b": 1}


def test_one_family_that_carries_it_all_is_not_models_at_large():
    """Within one family a strong effect, in the four others none: p is small, no claim follows."""
    generator = np.random.default_rng(7)
    sizes = (14, 3, 3, 3, 3)
    families = [f"f{k}" for k, count in enumerate(sizes) for _ in range(count)]
    x, y = generator.normal(size=(2, 26))
    y[:14] = x[:14] + 0.1 * generator.normal(size=14)
    data = panel_of(
        np.outer(x, np.ones(4)), np.outer(y, np.ones(4)), families,
        np.tile(np.arange(4) % 2.0, (26, 1)),
    )  # fmt: skip
    found = association.over_families(data, "one", resamples=300)
    assert found.p < 0.01
    assert not found.without["f0"].interval.excludes(0)
    assert set(found.alone) == set(found.without) == {f"f{k}" for k in range(5)}
    assert found.without["f0"].n == 12
    said = verdicts.verdict(found).sentence
    assert said.startswith("supported within f0, not resolved across families")


def test_an_effect_of_all_families_is_models_at_large():
    generator = np.random.default_rng(8)
    families = [f"f{k}" for k in range(6) for _ in range(4)]
    x = generator.normal(size=24)
    for sign, finding in (
        (1, verdicts.Finding.SUPPORTED),
        (-1, verdicts.Finding.CONTRADICTED),
    ):
        y = sign * x + 0.2 * generator.normal(size=24)
        data = panel_of(np.outer(x, np.ones(4)), np.outer(y, np.ones(4)), families)
        found = association.over_families(data, "all", resamples=300)
        said = verdicts.verdict(found)
        assert said.finding is finding
        assert "with each family left out once ρ is" in said.sentence


def test_a_perfect_order_of_four_models_is_not_resolved():
    """And the sentence tells that it could not have been."""
    levels, times = {f"m{i}": float(i) for i in range(4)}, {f"m{i}": 4.0 - i for i in range(4)}
    found = verdicts.answer(scan_rows(levels), run_rows(times))
    assert found.primary.spearman == 1
    assert found.primary.p == pytest.approx(2 / 24)
    assert found.primary_verdict.finding is verdicts.Finding.NOT_RESOLVED
    assert found.primary_verdict.sentence.startswith("not resolved at n = 4: ")
    assert "p = 0.083, at least 0.083 with these families" in found.primary_verdict.sentence
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
    start = "not resolved across families at n = 9 variants of 9 families"
    assert found.primary_verdict.sentence.startswith(start)


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
    assert table["level"].tolist() == ["model"] * 10 + ["molecule, within models"] * 10
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
    inside = table[table["level"] == "molecule, within models"].set_index(["metric", "response"])
    assert table.loc[table["level"] == "model", ["auroc", "n_auroc"]].isna().all(axis=None)
    one = inside.loc[("fsd_full", TIME_LOST)]
    # m4 on molecule 3 (7) survives, m5 on molecule 0 (5) fails: pairs tell models apart
    pairs = [(i + s, i > 4) for i in range(9) for s in range(4)]
    assert one["auroc_pooled"] == pytest.approx(statistics.auroc(*zip(*pairs, strict=True)))
    assert one["auroc_family"] == 1
    assert one["n_auroc"] == 0  # each model fails on all molecules or on none
    monotone = inside.loc[("compression_monotone", TIME_LOST), "auroc_pooled"]
    assert monotone == pytest.approx(one["auroc_pooled"])
