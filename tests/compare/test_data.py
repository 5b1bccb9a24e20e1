"""How much data, and which: table, answer and figure from made-up cards and scores."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_association_report import entry, runs, scans

from pesbench.compare.comparison import ReportRun, comparisons, section_of
from pesbench.compare.data import answer
from pesbench.compare.data.cards import trained_of
from pesbench.compare.data.comparison import COMPARISON
from pesbench.compare.data.figure import figure
from pesbench.compare.data.section import section
from pesbench.compare.data.table import (
    HOLE_WITH,
    HOLE_WITHOUT,
    WITH,
    WITHOUT,
    DataStudy,
    Quantity,
    make_study,
    potential_rows,
    survival_column,
)
from pesbench.compare.inputs import CompareInputs
from pesbench.core.errors import UserError
from pesbench.models.facts import model_facts
from pesbench.models.registry import ModelEntry
from pictures import covered

LEVEL = "a method"
SIZES = (25, 100, 400, 1600)
SURVIVAL = survival_column(1000.0)
GIVES, GIVES_NONE = ("m0", "m1"), ("m2",)


def card(folder, name, kind, frames, force_mae=50.0, family="testbed", **more):
    """An entry whose card tells what it was trained on."""
    chosen = {
        "frames": frames,
        "approach_frames": -(-frames // 10) if kind == "approach" else 0,
        "approach_molecules": list(GIVES) if kind == "approach" else [],
    }
    content = {
        "sha256": name,
        "training_set": chosen,
        "errors": {"seen": {"force_mae_mev_per_angstrom": force_mae}},
        "frames_sha256": name[::-1],  # each seed has its own draw
    }
    if family == "testbed":
        content["switches"] = {"repulsion": "zbl_fixed" if kind == "core" else "none"}
    else:
        content["training_command"] = ["--pair_repulsion"] if kind == "core" else []
    (folder / f"{name}.json").write_text(json.dumps(content))
    settings = {"weights": str(folder / f"{name}.pt"), "sha256": name, "level_of_theory": LEVEL}
    return ModelEntry(name, family, settings | more)


def approaches(name, with_share, without_share, hole=0.5, pairs=10, failed=0):
    """Bonded pairs of three molecules, and a contact, which is of no number here."""
    rows = []
    for system in (*GIVES, *GIVES_NONE):
        share = with_share if system in GIVES else without_share
        for k in range(pairs):
            monotone = k < round(share * pairs)
            rows.append(
                {
                    "model": name, "pair": f"bond/{system}_0-{k}", "kind": "bond",
                    "system": system, "status": "ok", "monotone": float(monotone),
                    "hole_radius_angstrom": 0.0 if monotone else hole,
                }
            )  # fmt: skip
    for row in rows[:failed]:
        row |= {"status": "nonfinite", "monotone": np.nan, "hole_radius_angstrom": np.nan}
    contact = rows[-1] | {"pair": "contact/m0_0-1", "kind": "contact", "hole_radius_angstrom": 9.0}
    return pd.DataFrame([*rows, contact])


def hot(name, life_ps):
    """Runs at 500 K that all survive, and at 1000 K that live so long."""
    cold, warm = runs(name, 2.0), runs(name, life_ps)
    warm["temperature_k"] = 1000.0
    warm["trajectory"] = warm["system"] + "_1000K_0"
    return pd.concat([cold, warm], ignore_index=True)


def a_study(folder, lives, families=("testbed",)):
    """A run of the study: life at 1000 K in ps by kind and size; three seeds at both ends."""
    entries, tables = {}, {"bonds": {}, "dynamics": {}, "approach": {}}
    for family in families:
        for kind, times in lives.items():
            for frames, life in zip(SIZES, times, strict=True):
                first = f"{family}-{kind}-{frames}"
                for seed in range(3 if frames in (SIZES[0], SIZES[-1]) else 1):
                    name = first if seed == 0 else f"{first}-seed_{seed + 1}"
                    more = {"seed_of": first} if seed else {}
                    entries[name] = card(folder, name, kind, frames, 3000 / frames, family, **more)
                    tables["dynamics"][name] = hot(name, life + 0.02 * (seed - 1))
                    tables["bonds"][name] = scans(name, 200 / np.sqrt(frames))
                    share = {"md": 0.2, "approach": 0.9, "core": 1.0}[kind]
                    tables["approach"][name] = approaches(name, share, share / 2)
    entries["ref"] = entry("ref", "tblite")
    tables["dynamics"]["ref"] = hot("ref", 2.0)
    tables["bonds"]["ref"] = scans("ref", 0.0)
    facts = [model_facts(one, LEVEL) for one in entries.values()]
    return CompareInputs(facts, tables, entries)


def study_of(lives, families=("testbed",), noise=0.02, spread=True, n_runs=10**9):
    """A study with the survival at 1000 K alone, as `a_study` has it, of many runs or of few."""
    rows = [
        {
            "model": f"{family}-{kind}-{frames}-{seed}", "family": family, "kind": kind,
            "frames": frames, SURVIVAL: life + noise * seed, f"{SURVIVAL}_n": n_runs,
        }
        for family in families
        for kind, times in lives.items()
        for frames, life in zip(SIZES, times, strict=True)
        for seed in ((-1, 0, 1) if spread and frames in (SIZES[0], SIZES[-1]) else (0,))
    ]  # fmt: skip
    alive = Quantity(SURVIVAL, "survival at 1000 K", "ps", 1, "runs")
    return DataStudy(pd.DataFrame(rows), {SURVIVAL: alive}, [1000.0], 2.0, frozenset())


NONE = float("nan")
LIVES = {
    "md": (0.4, 0.8, 1.4, 1.6),
    "approach": (0.4, 1.2, 1.4, 1.6),
    "core": (1.4, 1.5, 1.6, 1.8),
}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A run of two families, of which two pairs of one seed failed."""
    inputs = a_study(tmp_path_factory.mktemp("cards"), LIVES, families=("testbed", "mace"))
    inputs.tables["approach"]["mace-md-25"] = approaches("mace-md-25", 0.2, 0.1, failed=2)
    return inputs


def test_it_applies_to_runs_whose_cards_tell_of_chosen_frames(tmp_path):
    inputs = a_study(tmp_path, LIVES)
    run = ReportRun(inputs.entries, LEVEL, {"bonds": list(inputs.entries), "dynamics": ["ref"]})
    assert COMPARISON.applies(run)
    asked = COMPARISON.scores(run)
    assert asked["dynamics"] == ["ref"]
    assert "ref" not in asked["bonds"]
    assert asked["approach"] == []  # that task did not run
    assert len(COMPARISON.files(run)) == len(asked["bonds"]) == 3 * 8
    alone = {"ref": inputs.entries["ref"]}
    assert not COMPARISON.applies(ReportRun(alone, LEVEL, {"bonds": ["ref"]}))


def test_every_comparison_that_applies_to_the_study_can_be_made(tmp_path):
    """Seeds have frames of their own, which is no reason to refuse them."""
    inputs = a_study(tmp_path, {kind: LIVES[kind] for kind in ("md", "core")})
    ran = {task: list(rows) for task, rows in inputs.tables.items()}
    run = ReportRun(inputs.entries, LEVEL, {**ran, "bonds": list(inputs.entries)})
    applied = {name: one for name, one in comparisons().items() if one.applies(run)}
    assert "data" in applied
    assert "walls" not in applied  # its potentials share their frames
    for name, one in applied.items():
        tables = {
            task: {model: inputs.tables[task][model] for model in asked}
            for task, asked in one.scores(run).items()
        }
        assert section_of(name)(replace(inputs, tables=tables)).title == one.title


def test_the_kind_is_what_the_card_says(tmp_path):
    for family in ("testbed", "mace"):
        for kind in ("md", "approach", "core"):
            one = card(tmp_path, f"{family}-{kind}", kind, 25, family=family)
            assert trained_of({"a": one})["a"].kind == kind
    trained_core = card(tmp_path, "t", "md", 25)
    content = json.loads((tmp_path / "t.json").read_text())
    content["switches"]["repulsion"] = "zbl"
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="core that is trained"):
        trained_of({"t": trained_core})


def test_a_card_of_other_weights_is_refused(tmp_path):
    one = card(tmp_path, "a", "md", 25)
    other = ModelEntry("a", "testbed", one.settings | {"sha256": "another"})
    with pytest.raises(UserError, match="the model card is that of other weights"):
        trained_of({"a": other})
    (tmp_path / "a.json").write_text('{"sha256": "a", "training_set": {}}')
    with pytest.raises(UserError, match="not a model card that is understood"):
        trained_of({"a": one})


def test_seeds_are_one_row_with_what_it_is_the_mean_over(tmp_path):
    inputs = a_study(tmp_path, LIVES)
    inputs.tables["approach"]["testbed-md-25"] = approaches("testbed-md-25", 0.2, 0.1, failed=4)
    rows = potential_rows(make_study(inputs)).set_index(["kind", "frames"])
    assert list(rows.index[:5]) == [("md", 25), ("md", 100), ("md", 400), ("md", 1600),
                                    ("approach", 25)]  # fmt: skip
    one = rows.loc["md", 25]
    assert (one["n_seeds"], one[f"{SURVIVAL}_seeds"]) == (3, 3)
    assert one[SURVIVAL] == pytest.approx(0.4)
    assert one[f"{SURVIVAL}_seed_sd"] == pytest.approx(0.02)
    assert one[f"{SURVIVAL}_n"] == 3 * len(runs("a", 1.0))
    assert one[survival_column(500.0)] == pytest.approx(2.0)
    # 4 of the 30 pairs of one seed failed, the 2 monotone ones of m0 among them: they count as not
    # monotone; the contact is of no number
    assert [one[f"pairs_{what}"] for what in ("planned", "scored", "failed")] == [90, 86, 4]
    assert one[WITH] == pytest.approx((2 * 4 + 2) / 60)
    assert (one[f"{WITH}_n"], one[f"{WITHOUT}_n"]) == (60, 30)
    assert one[WITHOUT] == pytest.approx(0.1)
    assert one["largest_hole_angstrom"] == 0.5
    full = rows.loc["md", 100]
    assert full[WITH] == pytest.approx(0.2)
    assert (full[f"{WITH}_n"], full[f"{WITHOUT}_n"]) == (20, 10)
    assert full[HOLE_WITH] == pytest.approx(0.5 * 0.8)
    assert full[HOLE_WITHOUT] == pytest.approx(0.5 * 0.9)
    assert (full[f"{HOLE_WITH}_n"], full[f"{HOLE_WITHOUT}_n"]) == (20, 10)
    assert one[f"{HOLE_WITH}_n"] == 56  # those that failed are in no mean
    (whole,) = make_study(inputs).models.query("model == 'testbed-md-100'").to_dict("records")
    assert whole["hole_radius_angstrom"] == pytest.approx(0.5 * (2 * 0.8 + 0.9) / 3)
    assert np.isnan(full[f"{SURVIVAL}_seed_sd"])
    assert rows.loc["approach", 25]["approach_frames"] == 3


def test_the_answer_is_what_the_numbers_say():
    said = answer.sentence(study_of(LIVES))
    assert said.startswith("By survival at 1000 K (of 2 ps): testbed: with MD frames alone 0.400")
    assert "at 25 and 1.60 at 1600 frames, and up to 1600 more frames help" in said
    assert "one tenth of approach frames instead change it by +0.4 at 100 frames" in said
    # 1.4 ps with the core: better than 0.4 and 0.8, as good as 1.4, worse than 1.6
    assert said.endswith(
        "a fixed core with 25 frames (1.40) does better than 100 without and worse than 1600, so "
        "that it is worth more than 75 and less than 1575 frames."
    )
    assert said.count(". ") == 0  # one sentence


@pytest.mark.parametrize(
    ("lives", "noise", "spread", "told"),
    [
        ({"core": (1.9, 1.9, 1.9, 1.9)}, 0.02, True,
         "does better than 1600 without and is worth more than 1575 frames"),
        ({"core": (0.6, 1.5, 1.5, 1.5)}, 0.02, True,
         "does better than 25 without and worse than 100, so that it is worth less than 75 frames"),
        ({"md": (0.4, 0.8, 1.4, 1.41), "core": (1.4, 1.5, 1.6, 1.8)}, 0.02, True,
         "does better than 100 without and is worth more than 75 frames, how many more is open "
         "(not resolved from 400 and 1600)"),
        ({"md": (0.4, 0.61, 0.6, 0.61), "core": (0.6, 1.5, 1.5, 1.5)}, 0.02, True,
         "does better than 25 without, how many more is open (not resolved from 100, 400 and "
         "1600)"),
        ({"md": (0.4, 0.8, NONE, 1.41), "core": (1.4, 1.5, 1.6, 1.8)}, 0.02, True,
         "worth more than 75 frames, how many more is open (not resolved from 1600, no number at "
         "400)"),
        ({"core": (0.4, 1.0, 1.5, 1.6)}, 0.02, True, "its worth is not resolved"),
        ({"core": (0.1, 1.0, 1.5, 1.6)}, 0.02, True, "does worse than 25 frames without"),
        ({}, 0.3, True, "not resolved from each other"),
        ({}, 0.02, False, "not resolved: the noise of seeds or a number is unknown"),
        ({"md": (0.4, 0.8, 1.58, 1.6)}, 0.02, True,
         "and more than 400 frames buy nothing that is resolved"),
        ({}, 0.02, False, "(0.400) is not resolved from 25 frames without"),
        ({"md": (1.6, 1.6, 1.6, 0.4)}, 0.02, True, "where 25 do better than 1600"),
        ({"approach": LIVES["md"]}, 0.02, True, "change nothing that is resolved,"),
        ({"approach": (NONE,) * 4}, 0.02, True,
         "one tenth of approach frames instead: not resolved, the noise of seeds or a number is "
         "unknown"),
        ({"approach": (NONE, 1.2, 1.4, NONE)}, 0.02, True,
         "change it by +0.4 at 100 frames (no number at 25 and 1600)"),
        ({"approach": (0.4, NONE, 1.4, 1.6)}, 0.02, True,
         "change nothing that is resolved (no number at 100)"),
    ],
)  # fmt: skip
def test_the_answer_says_what_is_not_resolved(lives, noise, spread, told):
    base = {"md": (0.4, 0.8, 1.4, 1.6), "approach": (0.4, 1.2, 1.4, 1.6), "core": (0.4,) * 4}
    if noise > 0.1:
        base = dict.fromkeys(base, (1.0, 1.0, 1.1, 1.2))
    assert told in answer.sentence(study_of(base | lives, noise=noise, spread=spread))


@pytest.mark.parametrize(
    ("life", "told"),
    [(2.0, "(nearly) all runs survive"), (1.99, "(nearly) all runs survive"),
     (0.0, "(nearly) all runs fail at once")],
)  # fmt: skip
def test_where_all_are_at_one_end_the_answer_is_not_informative(life, told):
    every = dict.fromkeys(LIVES, (life,) * 4)
    said = answer.sentence(study_of(every, noise=0.0))
    assert said == f"By survival at 1000 K (of 2 ps): testbed: not informative, since {told}."


def test_survival_of_few_runs_is_not_resolved_though_seeds_are_alike():
    """One of 14 runs that fails halfway, beside seeds that all live or all fail."""
    lives = {"md": (0.0, 0.1, 1.93, 2.0), "core": (2.0,) * 4}
    said = [answer.sentence(study_of(lives, noise=1e-4, n_runs=n)) for n in (10**9, 14)]
    assert "up to 1600 more frames help" in said[0]
    assert "more than 400 frames buy nothing that is resolved" in said[1]
    assert "worth more than 375 frames" in said[0]
    assert "worth more than 75 frames, how many more is open (not resolved from 400" in said[1]


def test_a_number_that_does_worse_than_fewer_frames_is_told():
    said = answer.sentence(study_of({"md": (1.9, 1.2, 1.9, 1.9)}))
    assert "but they do not rise with the number: 100 do worse than 1600, and 25 does not" in said


def test_runs_that_fail_at_their_start_count_as_no_life(tmp_path):
    """Else a potential with one run left would do as well as that run."""
    inputs = a_study(tmp_path, LIVES)
    for seed in ("", "-seed_2", "-seed_3"):
        rows = inputs.tables["dynamics"][f"testbed-md-25{seed}"]
        broken = (rows["temperature_k"] == 1000.0) & (rows["system"] != rows["system"].iloc[0])
        rows.loc[broken, ["outcome", "failure", "time_ps"]] = ["not_at_risk", "bond_broken", 0.0]
        rows.loc[~broken & (rows["temperature_k"] == 1000.0), "time_ps"] = 2.0
    study = make_study(inputs)
    rows = potential_rows(study).set_index(["kind", "frames"])
    per_seed = len(runs("a", 1.0))
    assert rows.loc[("md", 25), f"{SURVIVAL}_n"] == 3 * per_seed
    assert rows.loc[("md", 25), "runs_failed_at_start"] == 3 * (per_seed - 1)
    assert rows.loc[("md", 25), SURVIVAL] == pytest.approx(2.0 / per_seed)
    notes = " ".join(section(inputs).notes)
    assert f"Runs that fail before their first step: testbed md 25: {3 * (per_seed - 1)}." in notes


def test_potentials_that_are_missing_are_named(tmp_path):
    inputs = a_study(tmp_path, LIVES)
    gone = {"testbed-core-25", "testbed-core-25-seed_2", "testbed-core-25-seed_3",
            "testbed-md-1600-seed_3"}  # fmt: skip
    tables = {
        task: {name: rows for name, rows in of.items() if name not in gone}
        for task, of in inputs.tables.items()
    }
    entries = {name: one for name, one in inputs.entries.items() if name not in gone}
    found = section(CompareInputs([f for f in inputs.facts if f.name not in gone], tables, entries))
    assert "what a core is worth is not known, since 100 are the fewest frames with it" in (
        found.sentence
    )
    notes = " ".join(found.notes)
    assert "testbed core 25 (0 of 3 seeds)" in notes
    assert "testbed md 1600 (2 of 3 seeds)" in notes
    assert "missing" not in " ".join(section(inputs).notes)


def test_harvested_frames_are_counted(tmp_path):
    inputs = a_study(tmp_path, LIVES)
    path = tmp_path / "testbed-approach-100.json"
    told = json.loads(path.read_text())
    grown = {"kind": "harvested", "added": [7], "asked_frames": 100, "method_calls": 7}
    told["training_set"] = {
        "frames": 97, "approach_frames": 0, "approach_molecules": [], "grown": grown
    }  # fmt: skip
    path.write_text(json.dumps(told))
    notes = " ".join(section(inputs).notes)
    assert "Harvested frames among those of a training: testbed harvested 100: 7." in notes


def test_without_md_frames_nothing_is_compared_with_them():
    said = answer.sentence(study_of({"core": LIVES["core"]}))
    assert said.endswith("testbed: fewer than two numbers of MD frames (not resolved).")


def test_without_dynamics_nothing_is_said_of_stability(tmp_path):
    inputs = a_study(tmp_path, LIVES)
    without = {**inputs.tables, "dynamics": {}}
    found = section(CompareInputs(inputs.facts, without, inputs.entries))
    assert found.sentence == "No dynamics were run, so that nothing is said of stability."
    assert covered(found.figures[0].figure) == []


def test_the_section_has_every_number_and_says_what_failed(both):
    found = section(both)
    assert "; testbed: " in found.sentence  # both families in one sentence
    shown = found.tables[0].rows
    assert len(shown) == 2 * 3 * 4
    assert shown["seeds"].tolist()[:4] == ["3", "1", "1", "3"]
    assert shown["pairs"][0] == "88 / 90"
    given, not_given = (
        shown[f"hole radius, molecules {of} (Å)"] for of in ("with approach frames", "without")
    )
    assert given[0].endswith(" (58, 2 failed)")
    assert not given.str.contains("failed")[1:].any()
    assert not not_given.str.contains("failed").any()
    notes = " ".join(found.notes)
    assert "Molecules with approach frames: m0, m1." in notes
    assert "Pairs without a score: mace md 25: 2." in notes
    assert "By the share of monotone pairs of molecules without approach frames: mace: " in notes
    models = pd.read_csv(pd.io.common.StringIO(found.files["data_models.csv"]))
    assert len(models) == 2 * 3 * 8
    assert len(pd.read_csv(pd.io.common.StringIO(found.files["data.csv"]))) == 24


def test_the_figure_has_a_panel_a_quantity_and_covers_no_text(both):
    study = make_study(both)
    made = figure(study)
    titles = [axes.get_title(loc="left") for axes in made.axes if axes.axison]
    assert len(titles) == len(study.quantities) == 8
    assert covered(made) == []
    survival = next(a for a in made.axes if a.get_title(loc="left").startswith("survival at 1000"))
    lines = [line for line in survival.lines if line.get_linestyle() != "None"]
    assert len(lines) == 2 * 3
    drawn = np.asarray(lines[0].get_ydata(), float)
    assert drawn == pytest.approx([study.seeds("mace", "md", n, SURVIVAL).mean() for n in SIZES])
    legend = [text.get_text() for text in made.axes[8].get_legend().get_texts()]
    assert legend[-4:] == [
        "n at 25: 3 seeds", "n at 100: 1 seed", "n at 400: 1 seed", "n at 1600: 3 seeds"
    ]  # fmt: skip
