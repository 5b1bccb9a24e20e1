"""What holds within models, given accuracy, and of perturbed models."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from panels import panel_of
from pesbench.compare.association.known import counterexamples
from pesbench.compare.association.panel import FAILED, Panel
from pesbench.compare.association.partials import HELD_OUT, THERMAL, HeldOut, partials
from pesbench.compare.association.within import within_models
from pesbench.metrics import rank_statistics as statistics
from pesbench.metrics.aggregate import resample

# --- within models -------------------------------------------------------------------------------


def test_telling_families_apart_is_not_telling_molecules_apart():
    """Rough models fail, but which molecules these fail on has nothing to do with roughness."""
    generator = np.random.default_rng(1)
    families = ["rough"] * 6 + ["smooth"] * 4
    level = np.repeat([10.0, 0.0], [6, 4])[:, None]
    x = level + generator.normal(size=(10, 20))
    failed = (generator.random((10, 20)) < 0.8) & (level > 5)
    found = within_models(panel_of(x, failed * 1.0, families), "x", resamples=300)
    assert found.auroc_pooled > 0.8
    assert found.auroc_family > 0.8
    assert found.auroc == pytest.approx(0.5, abs=0.15)
    assert found.auroc_interval.low < 0.5 < found.auroc_interval.high
    assert found.interval.low < 0 < found.interval.high
    assert found.p > 0.05
    assert (found.n, found.n_auroc, found.n_variants, found.n_systems) == (6, 6, 10, 20)


def test_molecules_are_told_apart_where_all_models_are_alike():
    generator = np.random.default_rng(8)
    x = generator.normal(size=(8, 20))
    x -= x.mean(axis=1, keepdims=True)
    y = x + 0.3 * generator.normal(size=(8, 20))
    data = panel_of(x, y, list("aaabbbcc"), (x > 0.8) * 1.0)
    found = within_models(data, "x", resamples=300)
    rho = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert found.spearman == pytest.approx(np.mean(rho))
    assert found.interval.low > 0.7
    assert found.p < 0.001
    assert found.auroc == 1
    assert found.auroc_interval.low == 1


def test_molecules_that_are_hard_for_all_models_are_permuted_together():
    """p is that of all orders of four molecules, the same in each model."""
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(2, 3, 4))

    def mean(order):
        return np.mean(
            [stats.spearmanr(a, b[list(order)]).statistic for a, b in zip(x, y, strict=True)]
        )

    every = np.array([mean(order) for order in itertools.permutations(range(4))])
    tails = np.sum(every >= every[0] - 1e-9), np.sum(every <= every[0] + 1e-9)
    found = within_models(panel_of(x, y, "abc"), "x", resamples=50)
    assert found.p == pytest.approx(min(1, 2 * min(tails) / 24))


def test_bootstrap_within_models_is_a_plain_loop():
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(2, 4, 6))
    found = within_models(panel_of(x, y, "aabb"), "x", resamples=100)
    variants = statistics.draw_variants(list("aabb"), "x", 100).astype(int)
    systems = resample(6, "x both", 100)
    draws = []
    for v, s in zip(variants, systems, strict=True):
        chosen = np.repeat(np.arange(6), s)
        rho = [float(statistics.spearman(x[i, chosen], y[i, chosen])) for i in range(4)]
        draws.append(np.average(rho, weights=v))
    assert [found.interval.low, found.interval.high] == pytest.approx(
        np.quantile(draws, [0.025, 0.975])
    )


def test_what_never_varies_is_not_within_models():
    x = np.arange(12.0).reshape(3, 4)
    found = within_models(panel_of(x, np.zeros((3, 4)), "abc"), "x", resamples=20)
    assert np.isnan([found.spearman, found.p, found.auroc, found.auroc_pooled]).all()
    assert (found.n, found.n_auroc) == (0, 0)
    other = panel_of(x, x, "abc", response="energy_jump_mev")
    assert np.isnan(within_models(other, "x", resamples=20).auroc)
    assert within_models(panel_of(x, x, "abc", response=FAILED), "x", 20).spearman == 1


# --- given accuracy ------------------------------------------------------------------------------


def scans_of(data: Panel, **columns) -> pd.DataFrame:
    """Scores of the scans of a panel; a column is a value a variant, plus a little a molecule."""
    return pd.DataFrame(
        [
            {"model": model, "scan": scan, "system": system}
            | {name: values[v] + 0.01 * s for name, values in columns.items()}
            for v, (model,) in enumerate(data.members)
            for s, (scan, system) in enumerate(zip(data.scans, data.systems, strict=True))
        ]
    )


@pytest.fixture
def ten():
    """Ten variants of three families on six molecules."""
    generator = np.random.default_rng(5)
    x = generator.normal(size=10)
    y = x + generator.normal(size=10)
    return panel_of(np.outer(x, np.ones(6)), np.outer(y, np.ones(6)), "aaaaabbbcc")


def by_name(found):
    return {one.covariate: one for one in found}


def test_what_is_left_given_an_error_that_orders_the_models(ten):
    z = np.random.default_rng(6).uniform(0.1, 1.0, size=10)
    scans = scans_of(ten, force_mae=z, force_mae_1ev=z[::-1])
    zero = scans[scans["model"] == "v00"].assign(model="zero", force_mae=3.0, force_mae_1ev=2.0)
    found = by_name(partials(ten, scans, zero, {}, resamples=100))
    for name, values in (("force_mae", z), (THERMAL, z[::-1])):
        one = found[name]
        expected = statistics.partial_spearman(ten.x, ten.y, values)
        assert one.spearman == pytest.approx(float(expected))
        assert one.plain == pytest.approx(float(statistics.spearman(ten.x, ten.y)))
        assert (one.n, one.refused, one.n_saturated) == (10, "", 0)
        assert one.low == pytest.approx(values.min() + 0.025)
        assert one.interval.low < one.spearman < one.interval.high
    assert (found["force_mae"].zero, found[THERMAL].zero) == pytest.approx((3.0, 2.0))
    assert found[HELD_OUT].refused == "no model has a card that tells it"


@pytest.mark.parametrize(("n", "refused"), [(4, False), (5, True), (9, True)])
def test_a_covariate_that_is_that_of_zero_forces_is_refused(ten, n, refused):
    z = np.where(np.arange(10) < n, 2.99 + 0.001 * np.arange(10), 0.1 * np.arange(10))
    scans = scans_of(ten, force_mae=z)
    zero = scans[scans["model"] == "v00"].assign(force_mae=3.01)
    one = by_name(partials(ten, scans, zero, {}, resamples=200))["force_mae"]
    assert one.n_saturated == n
    assert bool(np.isnan(one.spearman)) is refused
    assert one.refused.startswith("saturated: " if refused else "")
    unknown = by_name(partials(ten, scans, None, {}, resamples=50))["force_mae"]
    assert np.isnan(unknown.zero)
    assert np.isfinite(unknown.spearman)


def test_scores_of_an_older_version_lack_a_covariate(ten):
    scans = scans_of(ten, force_mae=np.arange(10.0)).assign(force_mae_1ev=np.nan)
    found = by_name(partials(ten, scans, None, {}, resamples=20))
    assert found[THERMAL].refused == "scores of an older version do not have it"
    assert np.isnan(found[THERMAL].spearman)
    found = by_name(partials(ten, scans.drop(columns=THERMAL), None, {}, resamples=20))
    assert found[THERMAL].refused == "scores of an older version do not have it"


def test_held_out_errors_are_compared_on_the_same_frames(ten):
    """Eight variants were judged on one set of frames, one on another, one tells nothing."""
    errors = {f"v{k:02d}": HeldOut("one", 0.3 + 0.01 * ((k * 3) % 7)) for k in range(8)}
    held_out = errors | {"v08": HeldOut("two", 0.1)}
    scans = scans_of(ten, force_mae=np.arange(10.0))
    one = by_name(partials(ten, scans, None, held_out, resamples=50))[HELD_OUT]
    assert (one.n, one.families, one.refused) == (8, ("a", "b"), "")
    z = [errors[f"v{k:02d}"].force_mae for k in range(8)]
    assert one.spearman == pytest.approx(
        float(statistics.partial_spearman(ten.x[:8], ten.y[:8], z))
    )
    del held_out["v00"]
    one = by_name(partials(ten, scans, None, held_out, resamples=20))[HELD_OUT]
    assert one.refused == "7 variants have it, 8 are needed"


def test_a_variant_of_which_a_seed_has_no_card_has_no_held_out_error(ten):
    """Where no variant is whole there is nothing to compare; most frames are those of variants."""
    seeds = replace(ten, members=tuple((f"v{k:02d}", f"v{k:02d}-again") for k in range(10)))
    scans = scans_of(ten, force_mae=np.arange(10.0))
    scans = pd.concat([scans, scans.assign(model=scans["model"] + "-again")])
    alone = {f"v{k:02d}": HeldOut("one", 0.3) for k in range(10)}
    one = by_name(partials(seeds, scans, None, alone, resamples=20))[HELD_OUT]
    assert one.refused == "no variant has cards of all its models that tell it of the same frames"
    whole = {f"v0{k}{end}": HeldOut("two", 0.1) for k in range(2) for end in ("", "-again")}
    one = by_name(partials(seeds, scans, None, alone | whole, resamples=20))[HELD_OUT]
    assert one.refused == "2 variants have it, 8 are needed"


# --- necessary, sufficient -----------------------------------------------------------------------


def doses(*rows):
    columns = ("model", "kind", "fsd_full", "survival_ps", "survival_high_ps", "n_start_failed")
    table = pd.DataFrame(rows, columns=list(columns))
    return table.assign(dose=np.where(table["kind"] == "none", 0.0, 1.0), horizon_ps=2.0,
                        n_counted=116)  # fmt: skip


def test_counterexamples_are_the_smoothest_that_fails_and_the_roughest_that_lives():
    table = doses(
        ("curl", "curl", 0.4, 0.9, 0.95, 0),
        ("curl-little", "curl", 0.1, 1.9, 1.95, 0),
        ("dip", "dip", 140.0, 0.2, 0.3, 0),
        ("dip-little", "dip", 72.0, 2.0, 2.0, 0),
        ("dip-less", "dip", 71.0, 2.0, 2.0, 0),
        ("ripple", "ripple", 69.0, 2.0, 2.0, 0),
        ("wall", "wall", 99.0, 2.0, 2.0, 4),  # breaks some molecules before the first step
        ("ref", "none", 0.0, 2.0, 2.0, 0),
    )
    necessary, sufficient = counterexamples(table)
    assert "curl (curl, fsd_full 0.400 Å⁻¹) loses 1.10 of 2 ps" in necessary
    assert (
        "dip-little (dip, fsd_full 72.0 Å⁻¹) and ripple (ripple, fsd_full 69.0 Å⁻¹)" in sufficient
    )
    assert "lose nothing in 116 trajectories" in sufficient


def test_without_a_counterexample_nothing_is_said():
    assert counterexamples(doses(("dip", "dip", 140.0, 1.9, 2.0, 0))) == []
    assert counterexamples(doses()) == []


def test_what_smoothness_tells_apart_is_no_counterexample():
    """All that lose time are rougher than all that lose none: nothing speaks against the claim."""
    fails = ("noise", "noise", 80.0, 0.2, 0.3, 0)
    assert counterexamples(doses(fails, ("step", "step", 0.0, 2.0, 2.0, 0))) == []
    rough, smooth = ("dip", "dip", 90.0, 2.0, 2.0, 0), ("step", "step", 0.0, 2.0, 2.0, 0)
    _, sufficient = counterexamples(doses(fails, rough, smooth))
    assert "dip (dip, fsd_full 90.0 Å⁻¹) loses nothing" in sufficient
    assert "step" not in sufficient
