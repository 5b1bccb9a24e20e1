"""What cheap labels are worth: the curve, its interval, and the section from made-up cards."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_association_report import entry, runs, scans

from pesbench.compare.comparison import ReportRun
from pesbench.compare.data.cards import trained_of
from pesbench.compare.inputs import CompareInputs
from pesbench.compare.transfer import answer
from pesbench.compare.transfer.cards import transferred_of
from pesbench.compare.transfer.comparison import COMPARISON
from pesbench.compare.transfer.section import section
from pesbench.compare.transfer.table import DISTANCE, HELD_OUT, make_transfer
from pesbench.core.errors import UserError
from pesbench.core.text import number
from pesbench.models.facts import model_facts
from pesbench.models.registry import ModelEntry

LEVEL = "wB97X/6-31G*"
SIZES = (20, 50, 100, 200)
REPEATED = (20, 200)
# errors that fall as 1/√N: four times the labels, half the error
ALONE = {n: 100 / np.sqrt(n / 20) for n in SIZES}


# --- the curve -----------------------------------------------------------------------------------


def test_the_equivalent_number_of_a_power_law_is_exact():
    """1/√N: an error that is half of that of 20 labels is that of 80."""
    errors = list(ALONE.values())
    assert answer.equivalent(SIZES, errors, 50.0) == pytest.approx(80)
    for n in SIZES:
        assert answer.equivalent(SIZES, errors, ALONE[n]) == pytest.approx(n)
    assert answer.equivalent(SIZES, errors, 101.0) == 0
    assert answer.equivalent(SIZES, errors, 1.0) == np.inf


def test_a_curve_that_rises_again_counts_by_its_lowest_so_far():
    assert answer.equivalent((20, 40, 80), (8.0, 9.0, 2.0), 4.0) == pytest.approx(
        40 * 2 ** (np.log(2) / np.log(4))
    )
    assert answer.equivalent((20, 40), (8.0, 8.0), 8.0) == pytest.approx(20)


# --- made-up potentials --------------------------------------------------------------------------


def moments_at(distance):
    return {"distance": distance, "skewness": distance / 2, "excess_kurtosis": 3.0, "rejected": 0.9}


def card(folder, name, route, frames, error, distance=1.0, family="mace", **more):
    """An entry whose card tells what it started from."""
    own = {"route": route, "frames": frames, "descriptors": moments_at(distance)}
    if route != "scratch":
        after = {"atomic": 0.5, "cheap": 1.5}.get(route, 1.0)
        own["start_descriptors"] = {"before": moments_at(2.0), "after": moments_at(after)}
    content = {
        "sha256": name,
        "training_set": {"frames": frames, "approach_frames": 0, "approach_molecules": []},
        "errors": {"seen": {"force_mae_mev_per_angstrom": error}},
        "transfer": own,
    }
    (folder / f"{name}.json").write_text(json.dumps(content))
    settings = {"weights": str(folder / f"{name}.pt"), "sha256": name, "level_of_theory": LEVEL}
    return ModelEntry(name, family, settings | more)


def pairs(name, hole):
    rows = [
        {"model": name, "pair": f"bond/ethanol_0-{k}", "kind": "bond", "system": "ethanol",
         "status": "ok", "monotone": 0.0, "hole_radius_angstrom": hole}
        for k in range(4)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def scores(name, error):
    rows = scans(name, 10 * error)
    for metric in ("force_mae_1ev", "force_mae_compress", "force_mae_stretch", "fsd_compress",
                   "fsd_stretch", "spurious_extrema"):  # fmt: skip
        rows[metric] = rows["fsd_full"] * error / 100
    return rows


def a_study(folder, routes, spread=0.01, families=("mace",)):
    """A run: errors of routes by number of labels, three seeds at both ends, and the cheap method.

    A seed's error is the given one times 1 − spread, 1 and 1 + spread; the spread may depend on the
    number of labels.
    """
    wide = spread if isinstance(spread, dict) else dict.fromkeys(REPEATED, spread)
    entries, tables = {}, {"bonds": {}, "dynamics": {}, "approach": {}}
    for family in families:
        for route, errors in routes.items():
            for n, error in errors.items():
                first = f"{family}-{route}-{n}"
                for seed in range(3 if n in REPEATED else 1):
                    name = first if seed == 0 else f"{first}-seed_{seed + 1}"
                    own = error * (1 + wide[n] * (seed - 1)) if n in REPEATED else error
                    more = {"seed_of": first} if seed else {}
                    entries[name] = card(folder, name, route, n, own, own / 50, family, **more)
                    tables["bonds"][name] = scores(name, own)
                    tables["dynamics"][name] = runs(name, 60 / own)
                    tables["approach"][name] = pairs(name, own / 100)
    entries["gfn2-xtb"] = entry("gfn2-xtb", "tblite")
    tables["bonds"]["gfn2-xtb"] = scores("gfn2-xtb", 30.0)
    tables["dynamics"]["gfn2-xtb"] = runs("gfn2-xtb", 2.0)
    tables["approach"]["gfn2-xtb"] = pairs("gfn2-xtb", 0.0)
    facts = [model_facts(one, LEVEL) for one in entries.values()]
    return CompareInputs(facts, tables, entries)


CHEAPER = {n: error / 2 for n, error in ALONE.items()}


@pytest.fixture
def inputs(tmp_path):
    return a_study(tmp_path, {"scratch": ALONE, "cheap": CHEAPER, "atomic": ALONE})


def test_half_the_error_is_worth_four_times_the_labels(inputs):
    study = make_transfer(inputs)
    found = answer.worth(study, "mace", "cheap", 20, HELD_OUT)
    assert found.labels == pytest.approx(80, rel=0.01)
    assert found.low < 80 < found.high
    assert found.high / found.low < 1.4
    assert found.resolved
    # by hand: the spread of log errors is that of log 0.99, 0, log 1.01, at 20 labels of each route
    sd = np.std(np.log([0.99, 1, 1.01]), ddof=1)
    wide = 2.447 * sd * np.sqrt(1 / 3 + 1)  # Student's of 6 degrees of freedom
    assert found.high == pytest.approx(found.labels * np.exp(2 * wide), rel=0.01)
    none = answer.worth(study, "mace", "atomic", 20, HELD_OUT)
    assert none.resolved is False
    most = answer.worth(study, "mace", "cheap", 200, HELD_OUT)
    assert most.labels == np.inf


def test_the_noise_of_seeds_is_that_of_as_many_labels(tmp_path):
    """The seeds nearly coincide at 200 labels, which says nothing of those at 20."""
    routes = {"scratch": ALONE, "cheap": CHEAPER, "atomic": ALONE}
    study = make_transfer(a_study(tmp_path, routes, {20: 0.2, 200: 0.001}))
    few, one_seed, many = (answer.worth(study, "mace", "cheap", n, HELD_OUT) for n in (20, 50, 200))
    sd = {n: np.std(np.log([1 - w, 1, 1 + w]), ddof=1) for n, w in ((20, 0.2), (200, 0.001))}
    wide = 2.447 * sd[20] * np.sqrt(1 / 3 + 1)  # Student's of 6 degrees of freedom
    assert few.low == pytest.approx(few.labels * np.exp(-2 * wide), rel=0.05)
    wide = 2.179 * np.hypot(*sd.values()) / np.sqrt(2) * np.sqrt(1 + 1)  # of all 12, with one seed
    assert one_seed.low == pytest.approx(200 * np.exp(-2 * wide), rel=0.05)
    assert many.resolved
    changed = answer.changes(study)
    assert any("at 20 (better)" in one and "at 200 (better)" in one for one in changed)


def test_what_is_worth_something_is_a_change_and_the_other_way_round(tmp_path):
    """Both take the noise of logarithms: seeds at 20 labels do not hide what 50 show."""
    alone = {20: 300.0, 50: 200.0, 100: 140.0, 200: 100.0}
    cheap = {20: 150.0, 50: 120.0, 100: 90.0, 200: 80.0}
    study = make_transfer(
        a_study(tmp_path, {"scratch": alone, "cheap": cheap}, {20: 0.15, 200: 0.03})
    )
    resolved = [n for n in SIZES if answer.worth(study, "mace", "cheap", n, HELD_OUT).resolved]
    (said,) = (one for one in answer.changes(study) if one.startswith("force MAE, held-out"))
    assert resolved == [n for n in SIZES if f"at {n} (better)" in said]
    assert 50 in resolved
    assert "×0.6 at 50" in said


def test_potentials_that_are_missing_and_runs_that_fail_at_once_are_named(inputs):
    gone = "mace-cheap-200-seed_3"
    tables = {
        task: {name: rows for name, rows in of.items() if name != gone}
        for task, of in inputs.tables.items()
    }
    tables["dynamics"]["mace-cheap-20"].loc[0, ["outcome", "status"]] = ["not_at_risk", "error"]
    entries = {name: one for name, one in inputs.entries.items() if name != gone}
    facts = [one for one in inputs.facts if one.name != gone]
    notes = " ".join(section(CompareInputs(facts, tables, entries)).notes)
    assert "mace cheap 200 (2 of 3 seeds)" in notes
    assert "Runs that fail before their first step: mace cheap 20: 1." in notes


def test_what_cheap_labels_are_worth_is_told_of_every_number_and_error(inputs):
    found = section(inputs)
    rows = pd.read_csv(pd.io.common.StringIO(found.files["transfer_worth.csv"]))
    errors = [HELD_OUT, "force_mae_near", "force_mae_compress", "force_mae_stretch", "fsd",
              "fsd_compress", "fsd_stretch"]  # fmt: skip
    assert list(dict.fromkeys(rows["quantity"])) == errors
    assert len(rows) == len(errors) * 2 * len(SIZES)
    of = rows.set_index(["quantity", "route", "frames"])
    assert of.loc[(HELD_OUT, "cheap", 20), "labels"] == pytest.approx(80, rel=0.01)
    # these errors are as the square of the other, so that the same labels reach half of each
    assert of.loc[("force_mae_stretch", "cheap", 20), "labels"] == pytest.approx(80, rel=0.01)
    assert of.loc[(HELD_OUT, "cheap", 200), "labels"] == np.inf
    assert set(rows["expensive_level"]) == {LEVEL}
    assert any("transfer_worth.csv" in note for note in found.notes)


def test_errors_of_zero_are_worth_nothing(tmp_path):
    study = make_transfer(a_study(tmp_path, {"scratch": ALONE, "cheap": CHEAPER}))
    study.models["fsd"] = 0.0
    assert answer.worth(study, "mace", "cheap", 20, "fsd") is None


def test_the_sentence_tells_worth_interval_and_what_is_not_resolved(inputs):
    said = answer.sentence(make_transfer(inputs))
    assert said.startswith(
        f"By the force MAE on held-out frames of {LEVEL}: mace, 20 expensive labels: 100.0 meV/Å"
    )
    assert "50.0 with cheap energies and forces first, as 80 alone (95 % interval over" in said
    assert "charges and bond orders first (worth not resolved from none)." in said


def test_without_seeds_nothing_is_resolved_and_worse_is_said(tmp_path):
    alone = {n: e for n, e in ALONE.items() if n not in REPEATED}
    one = a_study(tmp_path, {"scratch": alone, "cheap": {50: 40.0}})
    assert "not resolved: the noise of seeds is unknown" in answer.sentence(make_transfer(one))
    worse = a_study(tmp_path, {"scratch": ALONE, "cheap": {20: 200.0}})
    assert "worse and worth less than none" in answer.sentence(make_transfer(worse))
    only = a_study(tmp_path, {"cheap": CHEAPER})
    assert answer.sentence(make_transfer(only)).startswith("No potential was trained on expensive")


def test_the_claim_of_gaussian_descriptors_is_told_with_its_numbers(inputs):
    (said,) = answer.claim(make_transfer(inputs))
    assert "by charges and bond orders from 2.00 to 0.500 (1 pretrainings)" in said
    assert "by cheap energies and forces from 2.00 to 1.50 (1 pretrainings)" in said
    assert "after 20 expensive labels not resolved than without" in said
    # distance is proportional to the error, and survival falls with it
    assert "more robust: the correlation of ranks of distance and survival" in said
    assert "n = 12 potentials of 4 numbers of labels" in said


def test_a_trend_with_the_number_of_labels_alone_makes_nothing_robust(inputs):
    """More labels: descriptors nearer to normal, and longer lives; of as many labels, neither."""
    study = make_transfer(inputs)
    column, models = "survival_1000_k_ps", study.models.copy()
    route = models["kind"].map({"scratch": 0.0, "cheap": 0.1, "atomic": 0.2})
    step = models["frames"].map({n: k for k, n in enumerate(SIZES)})
    turned = np.where(step % 2, 0.2 - route, route)  # the order of routes says nothing
    study = replace(
        study, models=models.assign(**{DISTANCE: 5 - step + turned, column: step + route})
    )
    assert stats.spearmanr(study.models[DISTANCE], study.models[column]).statistic < -0.9
    (said,) = answer.claim(study)
    assert "Being nearer to normal is not resolved" in said
    assert "is -0.00 " in said or "is 0.00 " in said
    assert "n = 12 potentials" in said


def test_where_the_cheap_method_is_worse_is_told_by_region(inputs):
    study = make_transfer(inputs)
    beside = pd.DataFrame([{"model": "cheap", "force_mae_near": 1e-9, "force_mae_stretch": 1e9,
                            "spurious": 1e9, "fsd_stretch": np.nan}])  # fmt: skip
    (said,) = answer.beside_potentials(study, beside)
    assert said.startswith(f"cheap against {LEVEL}: force MAE near equilibrium 1.0e-09 eV/Å (lower "
                           "for 0 of 12 potentials); force MAE, stretched")  # fmt: skip
    assert said.endswith("(lower for 12 of 12 potentials). Most potentials are better than it by: "
                         "force MAE, stretched, spurious extrema.")  # fmt: skip
    assert "FSD" not in said
    # by the cheap method of the fixture: errors of potentials are e²/10, its own 90
    (note,) = [one for one in section(inputs).notes if one.startswith("gfn2-xtb against")]
    assert note.count("(lower for 2 of 12 potentials)") == 6
    assert note.endswith("better than it by: none of these.")


def test_the_section_has_every_number_and_the_cheap_method_beside(inputs):
    found = section(inputs)
    assert found.title == "Cheap labels first"
    assert found.sentence.startswith("By the force MAE on held-out frames")
    rows = pd.read_csv(pd.io.common.StringIO(found.files["transfer.csv"]))
    assert len(rows) == 3 * len(SIZES)
    assert not [name for name in rows if name.startswith(("approach", "monotone"))]
    assert rows.loc[(rows["kind"] == "cheap") & (rows["frames"] == 20), HELD_OUT].item() == (
        pytest.approx(50)
    )
    models = pd.read_csv(pd.io.common.StringIO(found.files["transfer_models.csv"]))
    assert len(models) == 3 * (3 + 1 + 1 + 3)
    others = pd.read_csv(pd.io.common.StringIO(found.files["transfer_others.csv"]))
    assert list(others["model"]) == ["gfn2-xtb"]
    assert others["hole_radius_angstrom"].item() == 0
    assert any("force MAE, stretched" in note and "better" in note for note in found.notes)
    (drawing,) = found.figures
    assert f"Expensive labels and reference: {LEVEL}." in drawing.caption
    for table in (rows, models, others):
        assert set(table["expensive_level"]) == {LEVEL}


def test_skewness_kurtosis_and_test_of_descriptors_are_told(inputs):
    found = section(inputs)
    models = pd.read_csv(pd.io.common.StringIO(found.files["transfer_models.csv"]))
    atomic = models[models["kind"] == "atomic"]
    assert set(atomic["descriptor_skewness_untrained"]) == {1.0}
    assert set(atomic["descriptor_skewness_pretrained"]) == {0.25}
    np.testing.assert_allclose(models["descriptor_skewness"], models["descriptor_distance"] / 2)
    assert models.loc[models["kind"] == "scratch", "descriptor_rejected_untrained"].isna().all()
    (note,) = [one for one in found.notes if "K²" in one]
    mean = models.groupby("kind")["descriptor_skewness"].mean()
    for kind, states in (
        ("scratch", ""),
        ("cheap", "1.00 → 0.750 → "),
        ("atomic", "1.00 → 0.250 → "),
    ):
        assert f"mace {kind} {states}{number(mean[kind])}, 3.00" in note


def test_it_applies_to_such_cards_and_the_data_study_does_not(inputs, tmp_path):
    entries = inputs.entries
    run = ReportRun(entries, LEVEL, {"dynamics": list(entries)})
    assert COMPARISON.applies(run)
    assert len(COMPARISON.files(run)) == len(entries) - 1
    assert trained_of(entries) == {}
    assert not COMPARISON.applies(ReportRun({"gfn2-xtb": entries["gfn2-xtb"]}, LEVEL, {}))


def test_a_card_of_other_weights_or_of_no_route_is_one_line(tmp_path):
    one = card(tmp_path, "m", "cheap", 20, 1.0)
    other = ModelEntry("m", "mace", one.settings | {"sha256": "else"})
    with pytest.raises(UserError, match="that of other weights"):
        transferred_of({"m": other})
    odd = card(tmp_path, "m", "free", 20, 1.0)
    with pytest.raises(UserError, match="not a model card that is understood"):
        transferred_of({"m": odd})
