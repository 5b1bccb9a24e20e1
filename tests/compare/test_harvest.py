"""Rounds of harvested frames: table, answer and figure from made-up cards and scores."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from test_association_report import entry, scans
from test_data import LEVEL, approaches, card, hot

from pesbench.compare.comparison import ReportRun
from pesbench.compare.data.answer import exchanged
from pesbench.compare.data.cards import trained_of
from pesbench.compare.data.comparison import COMPARISON as DATA
from pesbench.compare.data.table import make_study
from pesbench.compare.harvest.comparison import COMPARISON
from pesbench.compare.harvest.figure import figure
from pesbench.compare.harvest.section import section, sentence
from pesbench.compare.harvest.table import make_rounds, round_rows
from pesbench.compare.inputs import CompareInputs
from pesbench.models.facts import model_facts
from pictures import covered

LIVES = {"added": (0.9, 1.4, 1.8), "random": (0.6, 0.7, 0.8)}  # ps, after each round
START = 0.5


def _grown(folder, name, kind, number, calls, **more):
    """The card of a round: 20 frames a round, so many calls of the method."""
    path = folder / f"{name}.json"
    content = json.loads(path.read_text())
    content["training_set"]["grown"] = {
        "kind": kind, "start_frames": 100, "added": [20] * number, "method_calls": calls,
        "asking_wall_s": 100.0 * number,
    } | more  # fmt: skip
    content["training_wall_s"] = 50.0
    path.write_text(json.dumps(content))


def _run(folder, lives=LIVES, start=START, noise=0.02, families=("testbed", "mace")):
    """Two families, two seeds, a start, and three rounds of both kinds."""
    entries, tables = {}, {"bonds": {}, "dynamics": {}, "approach": {}}
    for family in families:
        wanted = [("md", 0, start)]
        for kind, times in lives.items():
            wanted += [(kind, k, life) for k, life in enumerate(times, 1)]
        for kind, number, life in wanted:
            first = f"{family}-{kind}-100" + (f"-round_{number}" if number else "")
            for seed in range(2):
                name = first + (f"-seed_{seed + 1}" if seed else "")
                more = {"seed_of": first} if seed else {}
                entries[name] = card(folder, name, "md", 100 + 20 * number, 50.0, family, **more)
                if number:
                    _grown(folder, name, kind, number, 22 * number if kind == "added" else 9000)
                tables["dynamics"][name] = hot(name, life + noise * (2 * seed - 1))
                tables["bonds"][name] = scans(name, 30.0)
                tables["approach"][name] = approaches(name, 0.5, 0.5)
    entries["ref"] = entry("ref", "tblite")
    tables["dynamics"]["ref"] = hot("ref", 2.0)
    tables["bonds"]["ref"] = scans("ref", 0.0)
    return CompareInputs([model_facts(one, LEVEL) for one in entries.values()], tables, entries)


def _of_many_runs(study):
    """The study as if each mean were over so many runs that these do not scatter."""
    return replace(study, models=study.models.assign(survival_1000_k_ps_n=10**9))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return _run(tmp_path_factory.mktemp("cards"))


def test_it_takes_the_place_of_the_data_study(inputs):
    run = ReportRun(inputs.entries, LEVEL, {"bonds": list(inputs.entries), "dynamics": ["ref"]})
    assert COMPARISON.applies(run)
    assert not DATA.applies(run)
    assert len(COMPARISON.files(run)) == 2 * 2 * 7
    starts = {name: one for name, one in inputs.entries.items() if "-md-" in name}
    alone = ReportRun(starts, LEVEL, {"bonds": list(starts)})
    assert not COMPARISON.applies(alone)
    assert DATA.applies(alone)


def test_seeds_are_one_row_with_what_their_frames_cost(inputs):
    rows = round_rows(make_rounds(inputs))
    assert len(rows) == 2 * 7
    rows = rows.set_index(["family", "kind", "round"])
    last = rows.loc["mace", "added", 3]
    assert (last["n_seeds"], last["frames_least"], last["frames_most"]) == (2, 160, 160)
    assert last["survival_1000_k_ps"] == pytest.approx(1.8)
    assert last["survival_1000_k_ps_seed_sd"] == pytest.approx(0.02 * np.sqrt(2))
    assert (last["method_calls"], last["asking_wall_s"], last["training_wall_s"]) == (66, 300, 50)
    assert rows.loc["mace", "random", 1]["method_calls"] == 9000
    assert rows.loc["testbed", "md", 0]["method_calls"] == 0
    assert last["monotone_without"] == pytest.approx(0.5)  # of all pairs


def test_the_sentence_says_what_is_resolved(inputs, tmp_path):
    said = sentence(_of_many_runs(make_rounds(inputs)))
    assert said.startswith("By survival at 1000 K (of 2 ps): mace: 0.5")
    assert said.count("1.8 ps") + said.count("1.80 ") == 2
    assert said.count("after 3 rounds of harvested frames (better)") == 2
    assert said.count("after 3 rounds of random frames (better)") == 2
    assert said.count("harvested against random frames: better") == 2
    noisy = _run(tmp_path, noise=0.3, families=("testbed",))
    said = sentence(_of_many_runs(make_rounds(noisy)))
    assert "after 3 rounds of random frames (not resolved)" in said


def test_rounds_that_are_missing_are_named(inputs):
    gone = {f"mace-added-100-round_3{seed}" for seed in ("", "-seed_2")}
    tables = {
        task: {name: rows for name, rows in of.items() if name not in gone}
        for task, of in inputs.tables.items()
    }
    entries = {name: one for name, one in inputs.entries.items() if name not in gone}
    facts = [one for one in inputs.facts if one.name not in gone]
    found = section(CompareInputs(facts, tables, entries))
    assert found.sentence.count("are not compared, as their rounds differ") == 1
    notes = " ".join(found.notes)
    assert "have not run: mace added 3 (0 of 2 seeds). What is said" in notes
    assert "missing" not in " ".join(section(inputs).notes)


def test_where_nothing_fails_nothing_is_said(tmp_path):
    lives = dict.fromkeys(LIVES, (2.0, 2.0))
    same = _run(tmp_path, lives, start=2.0, noise=0.0, families=("mace",))
    assert "not informative, since (nearly) all runs of the start survive" in sentence(
        make_rounds(same)
    )


def test_fewer_harvested_frames_than_asked_for_are_compared_at_the_number_asked_for(tmp_path):
    """The fourth curve of the data study: 97 frames where 100 were asked for."""
    entries, tables = {}, {"bonds": {}, "dynamics": {}, "approach": {}}
    for kind, life in (("md", 0.5), ("harvested", 1.2)):
        for seed in range(2):
            name = f"mace-{kind}-100" + (f"-seed_{seed + 1}" if seed else "")
            more = {"seed_of": f"mace-{kind}-100"} if seed else {}
            entries[name] = card(tmp_path, name, "md", 100 if kind == "md" else 97 + seed,
                                 family="mace", **more)  # fmt: skip
            if kind == "harvested":
                _grown(tmp_path, name, kind, 1, 20, asked_frames=100)
            tables["bonds"][name] = scans(name, 30.0)
            tables["dynamics"][name] = hot(name, life + 0.02 * seed)
    found = make_study(
        CompareInputs([model_facts(one, LEVEL) for one in entries.values()], tables, entries)
    )
    assert found.frames("mace", "harvested") == [100]
    of_many = _of_many_runs(found), "mace", "survival_1000_k_ps", "harvested"
    said = exchanged(*of_many, "up to one tenth")
    assert said == "up to one tenth instead change it by +0.7 at 100 frames"


def test_seconds_that_nobody_has_measured_are_no_number(tmp_path):
    one = card(tmp_path, "m", "md", 120)
    _grown(tmp_path, "m", "random", 1, 9000, asking_wall_s=None)
    assert np.isnan(trained_of({"m": one})["m"].asking_wall_s)


def test_the_section_has_every_number(inputs):
    made = section(inputs)
    assert {"harvest.csv", "harvest_models.csv"} == set(made.files)
    (table,) = made.tables
    assert len(table.rows) == 2 * 7
    assert list(table.rows["frames added"][:2]) == ["none", "harvested"]
    assert "round" in made.files["harvest_models.csv"].splitlines()[0]
    assert made.sentence == sentence(make_rounds(inputs))


def test_the_figure_covers_no_text_and_both_begin_with_the_start(inputs):
    study = make_rounds(inputs)
    made = figure(study)
    titles = [axes.get_title(loc="left") for axes in made.axes if axes.axison]
    assert len(titles) == len(study.quantities) == 6
    assert "monotone pairs" in titles
    assert covered(made) == []
    survival = next(a for a in made.axes if a.get_title(loc="left").startswith("survival at 1000"))
    lines = [line for line in survival.lines if line.get_linestyle() != "None"]
    drawn = [np.asarray(line.get_ydata(), float) for line in lines]
    assert np.allclose(drawn, [(START, *times) for _ in range(2) for times in LIVES.values()])
