"""The tables and figures of "does smoothness predict stability", from simulated scores."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from examples import write_part_of_scores
from pesbench import cli
from pesbench.compare import decades
from pesbench.compare.association import compared as association
from pesbench.compare.association import cost as association_cost
from pesbench.compare.association import figure as association_figures
from pesbench.compare.association import labels
from pesbench.compare.association import section as association_section
from pesbench.compare.association import text as readers
from pesbench.compare.association import verdicts as statistics
from pesbench.compare.association.comparison import COMPARISON
from pesbench.compare.association.panel import CHEAP_METRICS
from pesbench.compare.comparison import ReportRun
from pesbench.compare.dose import figures as dose_figures
from pesbench.compare.dose import table as dose
from pesbench.compare.inputs import CompareInputs
from pesbench.core.section import SectionInputs
from pesbench.files import figures
from pesbench.files.scan_set import ScanSet
from pesbench.metrics.board import board_frame
from pesbench.metrics.survival import exact_interval
from pesbench.models.facts import model_facts
from pesbench.models.registry import ModelEntry
from pesbench.tasks.bonds.section import section as bonds_section
from pesbench.tasks.dynamics.score import METRICS
from pesbench.tasks.dynamics.section import section as dynamics_section
from pictures import covered

PNG = b"\x89PNG\r\n"
RESAMPLES = 40
LEVEL = "a method"
METRIC_NAMES = ("fsd_full", "fsd_windowed")
SYSTEMS = [f"m{k:02d}" for k in range(6)]
HORIZON = 2.0


def entry(name, family="ase", **settings):
    """An entry that needs no file: only facts and grouping look at it."""
    if family == "tblite":
        settings |= {"method": name, "level_of_theory": LEVEL}
    return ModelEntry(name, family, {"calculator": name} | settings)


def made_on(*devices):
    return {"made_from": [{"device": device} for device in devices]}


def scans(model, fsd, seconds=3.0, command_s=12.0, device="cpu"):
    count = 2 * len(SYSTEMS)
    table = pd.DataFrame(
        {
            "model": model,
            "scan": [f"C-C/{k:02d}" for k in range(count)],
            "system": [SYSTEMS[k // 2] for k in range(count)],
            "bond": "C-C",
            "seen": "",
            "fsd_peak_offset": 0.1,
            "status": "ok",
            "message": "",
            "n_atoms": 5,
            "n_frames": 100,
            "wall_s": seconds / count,
            "command_s": command_s / count,
        }
    )
    table.attrs = made_on(device)
    rough = fsd * (1 + 0.1 * np.arange(count) / count)
    return table.assign(**{metric: rough * (k + 1) for k, metric in enumerate(CHEAP_METRICS)})


def runs(model, life_ps, outcome=None, timestep_fs=0.5, seconds=60.0, device="cpu"):
    """Trajectories of `model`; those that live shorter than the horizon fail."""
    times = np.broadcast_to(np.asarray(life_ps, float), (len(SYSTEMS),))
    table = pd.DataFrame({"system": SYSTEMS, "time_ps": np.minimum(times, HORIZON)})
    table["model"], table["temperature_k"], table["replicate"] = model, 500.0, 0
    table["trajectory"] = table["system"] + "_500K_0"
    table["timestep_fs"], table["planned_ps"] = timestep_fs, HORIZON
    lived = np.where(table["time_ps"] < HORIZON, "failed", "survived")
    table["outcome"] = lived if outcome is None else outcome
    table["failure"], table["status"] = np.where(table["outcome"] == "failed", "hot", ""), "ok"
    table["wall_s"] = seconds / len(SYSTEMS)
    for column in METRICS:
        table[column] = 0.1 + HORIZON - table["time_ps"]
    table.attrs = made_on(device)
    return table


def break_at_start(rows, count, status="ok", failure="close_pair"):
    """The last molecules, in which no other model fails, fail before their first step, in place."""
    last = rows.index[-count:]
    columns = ["outcome", "status", "failure", "time_ps"]
    rows.loc[last, columns] = ["not_at_risk", status, failure, 0.0]
    rows.loc[last, list(METRICS)] = np.nan


def lives(k):
    """Model k fails in the first ⌈0.6 k⌉ molecules, 0.1 k ps before the end."""
    return np.where(np.arange(len(SYSTEMS)) < np.ceil(0.6 * k), HORIZON - 0.1 * k, HORIZON)


def perturbed(name, kind, dose, base="ref", **parameters):
    return entry(
        name, "perturbed", base=base, perturbation=kind, dose=dose, level_of_theory=LEVEL,
        base_entry={"name": base, "family": "tblite", "settings": {}}, **parameters,
    )  # fmt: skip


def a_run(n=9, extra=(), without=(), reference=True):
    """A run in which a rougher model lives shorter; `extra` are (entry, fsd, runs)."""
    models = [(entry(f"model-{k}"), 5.0 + 3 * k, runs(f"model-{k}", lives(k))) for k in range(n)]
    if reference:
        models.append((entry("ref", "tblite"), 0.0, runs("ref", HORIZON)))
    models += extra
    entries = {one.name: one for one, _, _ in models}
    inputs = CompareInputs(
        [model_facts(one, LEVEL) for one, _, _ in models],
        {
            "bonds": {one.name: scans(one.name, fsd) for one, fsd, _ in models},
            "dynamics": {one.name: rows for one, _, rows in models if one.name not in without},
        },
        entries,
        scan_set="toys",
        made=[("commit", "abc")],
    )
    return inputs, entries


def ladder():
    return [
        (perturbed(f"{kind}_{dose:g}", kind, dose, **parameters), 80 * dose, runs("", 2.5 - dose))
        for kind, parameters in {
            "ripple": {"wavelength": 0.1},
            "curl": {},
            "dip": {"distance": 1.2, "width": 0.05},
        }.items()
        for dose in (0.01, 0.1, 1.0)
    ]


def quick(inputs, entries):
    """The tests, with a small table."""
    return association.associate(inputs, entries, RESAMPLES, (*METRIC_NAMES, "force_mae"))


@pytest.fixture(scope="module")
def nine():
    """The tests of nine models, and of nine perturbed ones that are in no test."""
    inputs, entries = a_run(9, ladder())
    return association.associate(inputs, entries, RESAMPLES)


# --- what is compared ----------------------------------------------------------------------------


def test_numerical_variants_are_one_point_and_perturbed_models_none():
    extra = [
        (entry("model-0-again", calculator="model-0", repeat=1), 5.0, runs("", HORIZON)),
        *ladder(),
    ]
    inputs, entries = a_run(4, extra)
    found = quick(inputs, entries)
    assert found.answer.primary.variants == ("model-0", "model-1", "model-2", "model-3")
    assert found.answer.primary.n_models == 5
    assert len(found.compared.perturbed) == 9
    text = readers.to_markdown(found)
    assert "model-0-again: the same checkpoint as model-0" in text
    assert "9 perturbed models (3 curl, 3 dip, 3 ripple)" in text


def test_runs_with_half_the_time_step_are_in_no_test_and_no_cost():
    coarse, _ = a_run(4)
    fine, entries = a_run(4)
    for name, rows in fine.dynamics.items():
        half = runs(name, 0.1, timestep_fs=0.25)
        fine.dynamics[name] = pd.concat([half, rows], ignore_index=True)
    one = quick(coarse, entries)
    two = quick(fine, entries)
    pd.testing.assert_frame_equal(one.table, two.table)
    pd.testing.assert_frame_equal(one.compared.cost, two.compared.cost)
    assert two.compared.n_half == 4 * len(SYSTEMS)
    assert "24 trajectories with half the time step" in readers.to_markdown(two)


def test_who_is_left_out_is_named():
    gone = runs("gone", 0.0, outcome="not_at_risk")
    inputs, entries = a_run(4, [(entry("gone"), 1.0, gone)], without=["model-3"])
    inputs.dynamics["ref"].loc[0, ["outcome", "time_ps"]] = "failed", 1.0
    found = quick(inputs, entries)
    text = readers.to_markdown(found)
    assert found.answer.primary.n == 3
    assert "- model-3: ran no dynamics." in text
    assert "- gone: has no trajectory that counts." in text
    assert "- 3 trajectories where the reference itself fails" in text
    assert "- 6 trajectories not at risk: 0 failed before the first step, 6 were not put" in text


def test_a_seed_that_is_left_out_is_not_told_among_the_models_of_its_point():
    inputs, entries = a_run(4, [(entry("again", calculator="model-0", repeat=1), 5.0, runs("", 2))])
    entries["again"] = entry("again", calculator="model-0", repeat=1)
    inputs.scores["again"]["status"] = "error"
    points = readers._points(quick(inputs, entries)).set_index("variant")["models"]
    assert points["model-0"] == "model-0"
    inputs.scores["again"]["status"] = "ok"
    points = readers._points(quick(inputs, entries)).set_index("variant")["models"]
    assert points["model-0"] == "model-0, again"


def test_models_that_fail_everywhere_or_nowhere_tell_no_molecules_apart():
    """Their time lost may differ, so that there is a ρ, but no AUROC within a model."""
    inputs, entries = a_run(1)
    inputs.dynamics["model-0"]["outcome"] = "failed"
    inputs.dynamics["model-0"]["time_ps"] = np.linspace(0.1, 1.0, len(SYSTEMS))
    more, _ = a_run(2)
    inputs.dynamics["model-1"] = more.dynamics["model-0"].assign(model="model-1")
    inputs.scores["model-1"] = more.scores["model-1"]
    entries["model-1"] = entry("model-1")
    inputs.facts.append(model_facts(entries["model-1"], LEVEL))
    said = readers.within_sentence(quick(inputs, entries).table)
    assert said.endswith("reaches 1.00; within models it is n/a.")
    assert "nan" not in said


def test_one_molecule_is_not_said_to_fail_in_no_model():
    inputs, entries = a_run(2)
    for rows in inputs.dynamics.values():
        rows.drop(index=rows.index[1:], inplace=True)  # noqa: PD002
    said = readers.within_sentence(quick(inputs, entries).table)
    assert said.endswith("the molecules with shared scans and trajectories (n = 1).")


def test_a_scan_that_failed_is_missing_and_not_absent():
    inputs, entries = a_run(4)
    bad = inputs.scores["model-2"].index[:8]  # of 12: below the entry threshold
    inputs.scores["model-2"].loc[bad, "status"] = "error"
    found = quick(inputs, entries).answer.primary
    assert "model-2" not in found.variants
    said = "has 4 of 12 scans with a score, below the entry threshold of 90 %"
    assert found.left_out["model-2"] == said
    assert found.n_scans == 12


def test_without_a_reference_every_failure_counts_and_the_text_says_so():
    inputs, entries = a_run(4, reference=False)
    found = quick(inputs, entries)
    assert found.answer.primary.y.max() == pytest.approx(2 * 0.3 / 6)
    assert "No reference ran dynamics" in readers.to_markdown(found)


# --- what is said --------------------------------------------------------------------------------


def test_the_section_begins_with_the_sentence_of_the_verdict(monkeypatch, nine):
    found = nine
    inputs, _ = a_run(9, ladder())
    monkeypatch.setattr(association_section, "associate", lambda *_: found)
    section = association_section.section(inputs)
    sentence = statistics.verdict(found.answer.primary).sentence
    assert sentence.startswith("supported: models with a higher FSD")
    title, _, first, *rest = section.files["association.md"].splitlines()
    assert title == "# toys: does smoothness predict stability?"
    assert first == f"**{sentence}**"
    assert rest[-1] == "- commit: abc"
    table = pd.read_csv(io.StringIO(section.files["association.csv"]))
    assert table["role"].value_counts().to_dict() == {
        "exploratory": len(table) - 2,
        "primary": 1,
        "secondary": 1,
    }
    assert len(table) == 2 * 7 * len(CHEAP_METRICS)
    points = pd.read_csv(io.StringIO(section.files["variants.csv"]))
    primary, secondary = (rows for _, rows in points.groupby("test"))
    assert primary["test"].iloc[0] == "primary: fsd_full"
    assert primary["variant"].tolist() == list(found.answer.primary.variants)
    assert primary["metric_per_angstrom"].tolist() == found.answer.primary.x.tolist()
    assert secondary["time_lost_ps"].tolist() == found.answer.secondary.y.tolist()
    assert table["spearman_start_failed"].isna().all()
    primary = table.set_index("role").loc["primary"]
    assert primary["verdict"] == sentence
    assert primary["spearman"] == pytest.approx(1.0)
    assert np.isnan(primary["p_adjusted"])
    assert section.answer == f"Does smoothness predict stability here? {sentence}"
    assert section.notes[0] == f"Primary: {sentence}"
    assert section.tables[0].rows["n"].tolist() == ["9", "9"]
    assert [one.name for one in section.figures] == ["association"]
    names = ["named_tests", "families", "given_accuracy", "within_models"]
    assert [one.name for one in section.tables] == names
    assert "## Each family alone, and left out once" in section.files["association.md"]
    assert len(section.tables[1].rows) == 2 * 9  # two tests, nine packages
    (told,) = section.tables[3].notes
    assert told.startswith("Which molecule fails: within models fsd_full")
    assert told in section.files["association.md"]
    # here every perturbed model that loses time is rougher than those that lose none
    assert not [note for note in section.notes if "rough curve" in note]


def test_variants_of_one_package_are_one_family_and_it_alone_can_be_supported():
    one = [
        (entry(f"tried-{k}", calculator="toys:Model", arguments={"k": k}), 50.0 + 3 * k,
         runs(f"tried-{k}", lives(k)))
        for k in range(8)
    ]  # fmt: skip
    inputs, entries = a_run(2, one)
    found = quick(inputs, entries)
    assert found.answer.primary.families == ("model-0", "model-1", *["toys"] * 8)
    sentence = found.answer.primary_verdict.sentence
    assert sentence.startswith("supported within toys, not resolved across families: ")
    assert "in 2 of 3 families (model-1, toys), 5 are needed" in sentence
    rows = readers.families_table(found.answer).set_index(["test", "family"])
    assert rows.loc[("primary", "toys"), "ρ in it"] == "1.00"
    assert rows.loc[("primary", "toys"), "ρ without"] == "n/a"  # of two points
    assert rows.loc[("primary", "model-0"), "variants"] == "1"


def test_the_error_on_held_out_molecules_comes_from_cards_and_zero_forces_from_their_control(
    tmp_path,
):
    extra = []
    for k in range(8):
        weights = tmp_path / f"trained-{k}.pt"
        errors = {"unseen": {"force_mae_mev_per_angstrom": 300.0 + (5 * k) % 8}}
        card = {"sha256": "0", "frames_sha256": "f" * 8, "errors": errors}
        weights.with_suffix(".json").write_text(json.dumps(card))
        trained = ModelEntry(f"trained-{k}", "testbed", {"weights": str(weights), "sha256": "0"})
        extra.append((trained, 60.0 + 3 * k, runs("", lives(k))))
    zero = entry("nothing", "control", control="zero")
    extra.append((zero, 400.0, runs("", HORIZON)))
    inputs, entries = a_run(1, extra, without=["nothing"])
    found = quick(inputs, entries)
    held_out, thermal, whole = found.partials[:3]
    assert (held_out.n, held_out.families, held_out.refused) == (8, ("testbed",), "")
    assert (held_out.low, held_out.high) == pytest.approx((0.300, 0.307))
    assert thermal.zero > thermal.high > whole.low
    cells = readers.partials_table(found.partials)
    assert cells["n"].tolist() == ["8", "9", "9"] * 2
    files = COMPARISON.files(
        ReportRun(entries, LEVEL, {"dynamics": [one.name for one, _, _ in extra[:-1]]})
    )
    assert len(files) == 8


def test_the_cost_of_both_sides_is_that_of_whole_commands():
    """Not the 3 s in the model, which leave out what the seconds of the dynamics hold."""
    inputs, entries = a_run(3)
    cost = association.compared(inputs, entries).cost
    rows = association_cost.cells(cost).set_index("model")
    assert list(rows.columns) == ["device", "scans (s)", "dynamics (s)", "dynamics / scans"]
    assert rows.loc["model-1"].tolist() == ["cpu", "12.0", "60.0", "5.00"]
    assert rows.loc["all"].tolist() == ["cpu", "36.0", "180", "5.00"]
    text = readers.to_markdown(quick(inputs, entries))
    beside = "Cost: 180 s of dynamics for 36.0 s of scans, a ratio of 5.00 (device: cpu"
    assert text.index("## The two named tests") < text.index(beside) < text.index("## Left out")
    assert "from the start of the model's process to the written file" in text
    assert "GPU" not in text


def test_seconds_on_a_gpu_are_told_and_not_those_on_a_cpu():
    extra = [(entry("on-gpu"), 1.0, runs("", HORIZON, device="cuda:0"))]
    inputs, entries = a_run(2, extra)
    inputs.scores["on-gpu"].attrs = made_on("cuda:0", "cuda:0")
    inputs.scores["model-1"].attrs = made_on("cpu", "cuda:0")  # one file each
    inputs.dynamics["model-0"].attrs = {}
    cost = association.compared(inputs, entries).cost
    rows = association_cost.cells(cost).set_index("model")
    on_gpu = rows[["scans (GPU-s)", "dynamics (GPU-s)"]]
    assert on_gpu.loc["on-gpu"].tolist() == ["12.0", "60.0"]
    assert on_gpu.loc["model-1"].tolist() == ["n/a", "0"]
    assert on_gpu.loc["model-0"].tolist() == ["0", "n/a"]
    assert on_gpu.loc["all"].tolist() == ["n/a", "n/a"]
    assert rows["device"].tolist() == [
        "scans cpu; dynamics not told",
        "scans cpu, cuda:0; dynamics cpu",
        "cuda:0",
        "scans cpu, cuda:0; dynamics cpu, cuda:0, not told",
    ]
    assert "GPU-seconds are" in association_cost.explained(cost)


def test_scores_that_do_not_tell_the_seconds_of_their_command_give_no_ratio():
    inputs, entries = a_run(3)
    old = inputs.scores["model-1"].drop(columns="command_s")
    inputs.scores["model-1"] = old
    cost = association.compared(inputs, entries).cost
    rows = association_cost.cells(cost).set_index("model")
    assert rows["dynamics / scans"].tolist() == ["5.00", "n/a", "5.00", "n/a"]
    assert rows.loc["all", "scans (s)"] == "n/a"
    assert "score the evaluations again" in association_cost.explained(cost)


# --- failures before the first step --------------------------------------------------------------


def test_start_failures_are_told_by_model_and_bounded_beside_both_tests():
    inputs, entries = a_run(6)
    break_at_start(inputs.dynamics["model-0"], 3)  # the smoothest
    break_at_start(inputs.dynamics["model-4"], 1, "error", "")
    break_at_start(inputs.dynamics["model-5"], 2, "unsupported", "")
    inputs.dynamics["ref"].loc[4, ["outcome", "time_ps"]] = "failed", 1.0
    found = quick(inputs, entries)
    listed = found.compared.start_failures.set_index("model")
    assert listed.index.tolist() == ["model-0", "model-4"]
    assert listed.loc["model-0"].tolist() == [3, 6, 2, 3, "3 close pair"]
    assert listed.loc["model-4"].tolist() == [1, 6, 1, 1, "1 error"]
    for test in (found.answer.primary, found.answer.secondary):
        assert test.n_runs == 3  # without the last three molecules
        # where model-5 was not asked and where the reference fails nothing can be said
        assert test.if_start_failed.n_runs == 1
        assert test.if_start_failed.spearman < test.spearman - 0.1
    text = readers.to_markdown(found)
    told = readers._start_failures_table(found.compared.start_failures)
    assert told.iloc[0].tolist() == ["model-0", "3 of 6", "2", "3", "3 close pair"]
    assert readers._grid(told) in text
    assert "- 6 trajectories not at risk: 4 failed before the first step, 2 were not put" in text
    bound = found.answer.primary.if_start_failed.spearman
    assert f"fsd_full: ρ is {bound:.2f} (n = 6) if trajectories that failed before" in text
    cells = readers.named_tests_table(found.table)["ρ, start failures lose all"]
    assert cells.tolist() == [f"{bound:.2f}"] * 2


def test_a_bound_at_another_n_says_so():
    inputs, entries = a_run(5)
    break_at_start(inputs.dynamics["model-4"], 6)
    found = quick(inputs, entries)
    assert found.answer.primary.n == 4
    (cell, _) = readers.named_tests_table(found.table)["ρ, start failures lose all"]
    assert cell.endswith(" (n = 5)")


def test_without_a_start_failure_there_is_no_bound(nine):
    text = readers.to_markdown(nine)
    assert "## Failed before the first step" not in text
    assert (
        readers.named_tests_table(nine.table)["ρ, start failures lose all"].tolist() == ["n/a"] * 2
    )
    assert "had lost all" not in text


@pytest.mark.parametrize("n", [0, 1, 4])
def test_too_few_models_are_not_resolved_in_whole_sections(monkeypatch, n):
    monkeypatch.setattr(association_section, "associate", quick)
    inputs, _ = a_run(n, ladder())
    section = association_section.section(inputs)
    assert f"**not resolved at n = {n}: at least 8 independent" in section.files["association.md"]
    assert len(pd.read_csv(io.StringIO(section.files["association.csv"]))) == 2 * 7 * 3
    assert section.tables[0].rows["n"].tolist() == [str(n)] * 2
    assert not section.figures  # of fewer than 8 variants there is nothing to see
    found = quick(inputs, inputs.entries)
    assert figures.png(association_figures.association(found), dpi=40).startswith(PNG)


# --- dose and response ---------------------------------------------------------------------------


def test_doses_stand_beside_their_base():
    inputs, entries = a_run(3, ladder())
    table = dose.dose_table(inputs, entries)
    assert tuple(table.columns) == dose.COLUMNS
    curl = table[table["kind"] == "curl"]
    assert curl["dose"].tolist() == [0.01, 0.1, 1.0]
    assert set(curl["dose_unit"]) == {"eV/Å²"}
    assert curl["survival_ps"].tolist() == pytest.approx([2.0, 2.0, 1.5])
    # all live as long: the exact interval of a share, of the molecules
    exact = [2.0 * exact_interval(share, 6)[0] for share in (1.0, 1.0, 0.75)]
    assert curl["survival_low_ps"].tolist() == pytest.approx(exact)
    for column in ("drift_mev_per_atom_ps", "rms_mev_per_atom"):  # of runs that survive
        assert curl[column].tolist() == pytest.approx([0.1, 0.1, np.nan], nan_ok=True)
    counts = ["n_planned", "n_counted", "n_start_failed", "n_scans_planned"]
    assert curl[counts].drop_duplicates().to_numpy().tolist() == [[6, 6, 0, 12]]
    counts = ["n_failed", "n_drifts", "n_rms"]
    assert curl[counts].to_numpy().tolist() == [[0, 6, 6], [0, 6, 6], [6, 0, 0]]
    assert set(curl["series"]) == {"ref"}
    base = table[table["kind"] == dose.BASE]
    shown = ["model", "dose", "survival_ps", "n_counted", "fsd_full", "n_fsd_full"]
    assert base[shown].to_numpy().tolist() == [["ref", 0.0, 2.0, 6, 0.0, 12]]


def test_every_metric_is_a_mean_of_the_scans_that_have_it():
    inputs, entries = a_run(1, ladder())
    scores = inputs.scores["curl_1"]
    scores.loc[0, "status"] = "error"
    scores.loc[1, "energy_mae"] = np.nan
    table = dose.dose_table(inputs, entries).set_index("model")
    for metric in CHEAP_METRICS:
        n = 10 if metric == "energy_mae" else 11
        assert table.loc["curl_1", f"n_{metric}"] == n
        assert table.loc["curl_1", metric] == pytest.approx(scores[metric].tail(n).mean())
        assert table.loc["curl_0.1", f"n_{metric}"] == 12


def test_trajectories_that_do_not_count_are_counted():
    inputs, entries = a_run(1, ladder())
    break_at_start(inputs.dynamics["curl_1"], 2)
    break_at_start(inputs.dynamics["dip_1"], 2, "unsupported", "")
    break_at_start(inputs.dynamics["ripple_1"], 6)
    inputs.dynamics["ref"].loc[0, ["outcome", "time_ps"]] = "failed", 1.0
    table = dose.dose_table(inputs, entries).set_index("model")
    counts = table[["n_planned", "n_counted", "n_failed", "n_start_failed", "n_drifts"]]
    assert counts.loc["curl_1"].tolist() == [6, 3, 6, 2, 0]
    assert counts.loc["dip_1"].tolist() == [6, 3, 4, 0, 0]
    assert counts.loc["ripple_1"].tolist() == [6, 0, 6, 6, 0]
    assert np.isnan(table.loc["ripple_1", "survival_ps"])  # and not 0
    assert counts.loc["curl_0.1"].tolist() == [6, 5, 0, 0, 6]
    assert counts.loc["ref"].tolist() == [6, 5, 1, 0, 5]


def test_other_parameters_are_another_line():
    extra = [
        (perturbed(f"r{k}_{dose}", "ripple", dose, wavelength=k), 1.0, runs("", HORIZON))
        for k in (0.1, 0.2)
        for dose in (0.1, 1.0)
    ]
    table = dose.dose_table(*a_run(1, extra))
    assert set(table.loc[table["kind"] != dose.BASE, "series"]) == {
        "ref, wavelength 0.1",
        "ref, wavelength 0.2",
    }
    figure = dose_figures.dose_metrics(table)
    assert len({line.get_linestyle() for line in drawn(panels_of(figure)[0][0])}) == 2
    assert {text.get_text() for text in figure.legends[0].get_texts()} >= {
        "ref, wavelength 0.1 + defect",
        "ref, wavelength 0.2 + defect",
    }


def test_no_perturbed_model_no_doses():
    assert dose.dose_table(*a_run(3)).empty
    only_scans = ladder()
    inputs, entries = a_run(3, only_scans, without=[one.name for one, _, _ in only_scans])
    assert dose.dose_table(inputs, entries).empty


def panels_of(figure):
    """Rows of panels, without the sketches."""
    panels = [axes for axes in figure.axes if axes.axison]
    columns = len(figure.axes) - len(panels)
    return [panels[k : k + columns] for k in range(0, len(panels), columns)]


def drawn(axes):
    """The lines of doses: neither the dashed ones of the base nor symbols alone."""
    return [line for line in axes.lines if len(line.get_xdata()) > 1 and line.get_marker() == "None"
            and line.get_xdata()[0] > 0]  # fmt: skip


def symbols(axes, filled):
    """Doses of the open or of the filled symbols of a panel."""
    return [
        x
        for line in axes.lines
        if line.get_marker() not in ("None", "x")
        and (line.get_markerfacecolor() != "white") == filled
        for x in line.get_xdata()
    ]


def test_dose_figure_has_a_column_a_kind_and_a_row_a_response():
    figure = dose_figures.dose_response(dose.dose_table(*a_run(1, ladder())))
    columns = set(dose.dose_table(*a_run(1, ladder())))
    assert columns >= {*dose_figures.RESPONSES, *dose_figures.METRICS}
    assert dose_figures.RESPONSES["survival_ps"] == "survival (ps)"
    panels = panels_of(figure)
    assert [len(row) for row in panels] == [3] * 5
    assert [axes.get_xlabel() for axes in panels[-1]] == [
        "amplitude (eV)",
        "depth (eV)",
        "strength (eV/Å²)",
    ]
    survival = panels[0][0]
    dashed, line = (survival.lines[k] for k in (0, 1))
    assert dashed.get_ydata() == pytest.approx([2.0, 2.0])
    assert line.get_xdata().tolist() == [0.01, 0.1, 1.0]
    assert line.get_ydata() == pytest.approx([2.0, 2.0, 1.5])
    assert "incomplete" not in {text.get_text() for text in figure.legends[0].get_texts()}
    assert figures.png(figure, dpi=40).startswith(PNG)


def test_survival_of_fewer_trajectories_than_the_base_counts_is_drawn_open():
    inputs, entries = a_run(1, ladder())
    break_at_start(inputs.dynamics["dip_0.1"], 1)
    break_at_start(inputs.dynamics["curl_1"], 1, "unsupported", "")
    break_at_start(inputs.dynamics["ripple_1"], 6)
    # of no model, and no reason to draw one open
    inputs.dynamics["ref"].loc[0, ["outcome", "time_ps"]] = "failed", 1.0
    figure = dose_figures.dose_response(dose.dose_table(inputs, entries))
    ripple, dip, curl = panels_of(figure)[0]
    assert symbols(ripple, filled=False) == []
    assert symbols(ripple, filled=True) == [0.01, 0.1]
    (cross,) = [line for line in ripple.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert cross.get_xdata().tolist() == [1.0]
    assert (symbols(dip, filled=False), symbols(dip, filled=True)) == ([0.1], [0.01, 1.0])
    assert (symbols(curl, filled=False), symbols(curl, filled=True)) == ([1.0], [0.01, 0.1])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[-2:] == ["incomplete", "none got to its first step"]


def test_shaded_from_the_first_dose_at_which_trajectories_break():
    inputs, entries = a_run(1, ladder())
    break_at_start(inputs.dynamics["dip_0.1"], 1)
    base, edges = dose.dose_table(inputs, entries).set_index("model").loc[["ref"]], {}
    for kind, rows in dose.dose_table(inputs, entries).groupby("kind"):
        edges[kind] = dose_figures._unstable_from(rows, base)
    assert edges == {"curl": 1.0, "dip": 0.1, "ripple": 1.0, dose.BASE: None}


def test_metrics_figure_has_every_metric_once_with_a_look_of_its_own():
    inputs, entries = a_run(1, ladder())
    inputs.scores["dip_1"].loc[0, "status"] = "error"
    inputs.scores["ref"][list(CHEAP_METRICS)] = np.arange(len(CHEAP_METRICS)) + 0.5
    table = dose.dose_table(inputs, entries)
    figure = dose_figures.dose_metrics(table)
    panels = panels_of(figure)
    shown = [metric for family in dose_figures._FAMILIES for metric in family.metrics]
    assert sorted(shown) == sorted(CHEAP_METRICS)
    assert [len(row) for row in panels] == [3] * len(dose_figures._FAMILIES)
    base = table.set_index("model").loc["ref"]
    for family, row in zip(dose_figures._FAMILIES, panels, strict=True):
        for axes, kind in zip(row, ("ripple", "dip", "curl"), strict=True):
            rows = table[table["kind"] == kind]
            for metric, line in zip(family.metrics, drawn(axes), strict=True):
                assert line.get_xdata().tolist() == rows["dose"].tolist()
                assert line.get_ydata().tolist() == rows[metric].tolist()
            levels = [line.get_ydata()[0] for line in axes.lines if line.is_dashed()]
            assert sorted(levels) == sorted(base[metric] for metric in family.metrics)
            count = len(family.metrics)
            assert symbols(axes, filled=False) == ([1.0] * count if kind == "dip" else [])
        handles = row[-1].get_legend().legend_handles
        looks = [(line.get_color(), line.get_marker()) for line in handles]
        assert len({colour for colour, _ in looks}) == len(family.metrics)
        assert len({marker for _, marker in looks}) == len(family.metrics)
        texts = [text.get_text() for text in row[-1].get_legend().get_texts()]
        assert texts == list(family.metrics.values())
        assert [axes.get_legend() for axes in row[:-1]] == [None, None]
    top = [text.get_text() for text in figure.legends[0].get_texts()]
    assert top == ["ref without defect", "trajectories break", "incomplete"]
    assert figures.png(figure, dpi=40) == figures.png(dose_figures.dose_metrics(table), dpi=40)


@pytest.mark.parametrize(
    ("values", "scale", "zero_seen"),
    [
        ([0.01, 3.0], "log", False),
        ([0.0, 0.01, 3.0], "symlog", True),
        ([-0.002, 0.01, 3.0], "symlog", True),
        ([1e-14, 0.01, 3.0], "symlog", True),  # about 0, not 14 decades
    ],
)
def test_an_axis_of_decades_holds_zero_and_what_is_about_zero(values, scale, zero_seen):
    axes = figures.Figure().subplots()
    decades.with_zero(axes, np.array(values))
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    assert low < min(values)
    assert high > max(values)
    assert (0.0 in axes.get_yticks()) is zero_seen
    assert len(axes.get_yticks()) <= 5


def test_scatter_has_two_panels_with_every_number_a_key_and_the_sentence(nine):
    figure = association_figures.association(nine)
    assert len(figure.axes) == 2
    test = nine.answer.primary
    for axes in figure.axes:
        numbers = [text.get_text() for text in axes.texts]
        assert numbers == [str(k) for k in range(1, 10)]
        assert axes.get_yscale() == axes.get_xscale() == "linear"
        dots = [line for line in axes.lines if len(line.get_xdata()) == 1]
        lost = np.ravel([line.get_ydata() for line in dots])
        assert lost == pytest.approx(100 * test.y / HORIZON)
    said = [text.get_text() for text in figure.texts]
    for k, (name, share) in enumerate(zip(test.variants, test.failed, strict=True), start=1):
        at = said.index(str(k))
        assert said[at : at + 3] == [str(k), name, f"{100 * share:.0f} %"]
    assert said[said.index("9") + 2] == "83 %"
    assert " ".join(said[-1].split()) == nine.answer.primary_verdict.sentence
    one, two = (
        figures.png(association_figures.association(nine), dpi=40),
        figures.png(figure, dpi=40),
    )
    assert one == two


def crowd(found, count):
    """A found association of `count` variants, of which most lose next to nothing."""
    rng = np.random.default_rng(count)
    lost = np.where(np.arange(count) % 5, 0.0, rng.uniform(0, HORIZON, count))
    families = tuple(f"family-{k % 10}" for k in range(count))

    def test(one):
        return replace(
            one, n=count, y=lost, failed=lost / HORIZON, families=families,
            variants=tuple(f"{family}-a-variant-{k}" for k, family in enumerate(families)),
            x=rng.uniform(5, 60, count),
        )  # fmt: skip

    answer = found.answer
    answer = replace(answer, primary=test(answer.primary), secondary=test(answer.secondary))
    return replace(found, answer=answer)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 5, 30])
def test_numbers_cover_neither_points_nor_each_other_nor_lines(nine, count):
    figure = association_figures.association(crowd(nine, count))
    assert not covered(figure)
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        lines = [axes.transData.transform(line.get_xydata()) for line in axes.lines]
        dots = [line[0] for line in lines if len(line) == 1]
        assert len(boxes) == len(dots) == count
        assert not any(box.contains(*dot) for box in boxes for dot in dots)
        leaders = [line for line in lines if len(line) == 2]
        assert not any(
            # where a line ends it touches the number that it leads to
            box.padded(-1).contains(*(start + share * (end - start)))
            for box in boxes
            for start, end in leaders
            for share in np.linspace(0, 1, 20)
        )
    looks = {(line.get_color(), line.get_marker()) for line in figure.artists}
    assert len(looks) == len(figure.artists) == min(count, 10)


def test_a_label_that_fits_nowhere_is_beside_its_dot():
    """Wider than the panel: there is no place that is free."""
    (centre,) = labels.places(
        np.array([[50.0, 50.0]]), np.array([[300.0, 8.0]]), np.array([0.0, 0.0, 100.0, 100.0]), 3.0
    )
    assert centre == pytest.approx([50, 58.5])


# --- perturbed models beside the others ----------------------------------------------------------


def of(inputs, task):
    facts = {fact.name: fact for fact in inputs.facts}
    return SectionInputs(task, inputs.tables[task], facts, others=inputs.tables)


def run_board(inputs):
    """The leaderboard of a run's two sections."""
    columns = [*bonds_section(of(inputs, "bonds")).board]
    order = list(next(column for column in columns if column.metric.name == "role").values)
    return board_frame([*columns, *dynamics_section(of(inputs, "dynamics")).board], order)


def test_perturbed_models_change_no_number_of_the_others():
    """Among them a curl with the dynamics of the worst, first in the config."""
    alone, _ = a_run(4)
    beside, entries = a_run(4, ladder())
    beside.facts.reverse()
    boards = [run_board(run).set_index("model", drop=False) for run in (alone, beside)]
    names = boards[0].index.tolist()
    assert boards[1].index.tolist() == [
        *names, "curl_0.01", "curl_0.1", "curl_1", "dip_0.01", "dip_0.1", "dip_1",
        "ripple_0.01", "ripple_0.1", "ripple_1",
    ]  # fmt: skip
    pd.testing.assert_frame_equal(boards[1].loc[names], boards[0])
    ladders = boards[1].drop(names)
    assert ladders["survival"].tolist() == pytest.approx([2.0, 2.0, 1.5] * 3)
    assert ladders[["fsd_full", "scan_seconds", "md_seconds"]].notna().all(axis=None)
    one, two = quick(alone, entries), quick(beside, entries)
    pd.testing.assert_frame_equal(one.table, two.table)
    assert not one.compared.perturbed


def test_perturbed_models_stand_below_in_the_dynamics_and_not_among_the_seen():
    inputs, _ = a_run(2, ladder()[:3])
    (table,) = dynamics_section(of(inputs, "dynamics")).tables
    rows = dict(zip(table.models, table.rows["model"], strict=True))
    assert [rows[name] for name in run_board(inputs)["model"]] == [
        "model-0", "model-1", "ref (reference)",
        *(f"ripple_{dose} (perturbed)" for dose in ("0.01", "0.1", "1")),
    ]  # fmt: skip
    inputs.tables["bonds"]["ripple_1"]["seen"] = "seen"  # as its base has
    assert not bonds_section(of(inputs, "bonds")).tables
    inputs.tables["bonds"]["model-1"]["seen"] = "seen"
    (seen,) = bonds_section(of(inputs, "bonds")).tables
    assert seen.rows["model"].tolist() == ["model-0", "model-1", "ref"]


# --- the commands ---------------------------------------------------------------------------------


@pytest.fixture
def on_disk(tmp_path, toy_set, monkeypatch):
    """Scores of a run as files, with a registry that names its models."""
    few = partial(association.associate, resamples=RESAMPLES, metrics=(*METRIC_NAMES, "force_mae"))
    monkeypatch.setattr(association_section, "associate", few)
    inputs, _ = a_run(2, ladder()[:3])
    with ScanSet(toy_set) as scan_set:
        sha256, level = scan_set.sha256, scan_set.level_of_theory
    lines = []
    for name in inputs.scores:
        kind, _, dose = name.partition("_")
        if dose:
            text = f"{{family: perturbed, base: ref, perturbation: {kind}, dose: {dose}}}"
        elif name == "ref":
            text = f"{{family: tblite, method: GFN2-xTB, level_of_theory: '{level}'}}"
        else:
            method = ("GFN1-xTB", "IPEA1-xTB")[len(lines)]
            text = f"{{family: tblite, method: {method}, level_of_theory: {method}}}"
        lines.append(f"{name}: {text}")
        folder = tmp_path / name / "scores"
        folder.mkdir(parents=True)
        for frame, file in ((inputs.scores[name], "bonds"), (inputs.dynamics[name], "dynamics")):
            frame = frame.copy()
            frame.attrs = {"scan_set_sha256": sha256, **made_on("cpu")}
            write_part_of_scores(folder / f"{file}.parquet", frame)
    (tmp_path / "models.yaml").write_text("\n".join(lines) + "\n")
    return tmp_path, list(inputs.scores), toy_set


def command(stage, folder, models, scan_set, *more):
    return cli.main(
        [*stage.split(), "--results", str(folder), "--models", *models, "--models-file",
         str(folder / "models.yaml"), "--scan-set", str(scan_set), "--ran", "bonds", *models,
         "--ran", "dynamics", *models, *more]
    )  # fmt: skip


def whole_report(folder, models, scan_set, *comparisons):
    for task in ("bonds", "dynamics"):
        assert command(f"section {task}", folder, models, scan_set) == 0
    for name in comparisons:
        assert command(f"compare {name}", folder, models, scan_set) == 0
    places = ["--results", str(folder), "--scan-set", str(scan_set)]
    for stage in ("leaderboard", "page"):
        assert cli.main([stage, *places, "--sections", "bonds", "dynamics", *comparisons]) == 0
    return (folder / "leaderboard.md").read_text(), (folder / "leaderboard.html").read_text()


def test_leaderboard_and_page_show_what_comparisons_say(on_disk):
    folder, models, scan_set = on_disk
    board, html = whole_report(folder, models, scan_set, "association", "dose")
    told = (folder / "sections" / "association" / "association.md").read_text()
    assert "not resolved at n = 2" in told
    assert "- commit: " in told
    assert "device: cpu" in told
    assert len(pd.read_csv(folder / "sections" / "association" / "association.csv")) == 2 * 7 * 3
    doses = folder / "sections" / "dose"
    table = pd.read_csv(doses / "dose_response.csv", keep_default_na=False)
    assert tuple(table.columns) == dose.COLUMNS
    assert table["model"].tolist() == ["ripple_0.01", "ripple_0.1", "ripple_1", "ref"]
    assert table["kind"].tolist() == ["ripple"] * 3 + ["none"]
    assert table["dose"].tolist() == [0.01, 0.1, 1.0, 0.0]
    for text in (board, html):
        assert "Does smoothness predict stability?" in text
        assert "Primary: not resolved at n = 2" in text
    assert "Does smoothness predict stability here? not resolved at n = 2" in html
    for name in ("dose_response", "dose_metrics"):
        assert base64.b64encode((doses / f"{name}.png").read_bytes()).decode() in html


def test_a_page_without_the_comparison_says_that_it_was_not_asked(on_disk):
    _, html = whole_report(*on_disk)
    assert "No model ran dynamics: whether smoothness predicts stability is not asked." in html


def test_perturbed_models_alone_have_all_of_the_report(on_disk):
    """There is nothing to rank and nothing to test, and the files say so."""
    folder, models, scan_set = on_disk
    models = [name for name in models if "model" not in name]
    assert models == ["ref", "ripple_0.01", "ripple_0.1", "ripple_1"]
    texts = whole_report(folder, models, scan_set, "association", "dose")
    told = (folder / "sections" / "association" / "association.md").read_text()
    assert "**not resolved at n = 0: " in told
    assert "3 perturbed models (3 ripple)" in told
    board = pd.read_csv(folder / "leaderboard.csv").set_index("model")
    assert board["role"].tolist() == ["reference", *["perturbed"] * 3]
    assert board["survival"].tolist() == pytest.approx([2.0, 2.0, 2.0, 1.5])
    for text in texts:
        assert "Only perturbed models were run: there is nothing to rank." in text
        assert "ripple_1 (perturbed)" in text
        assert "Primary: not resolved at n = 0" in text
    assert texts[1].count("Perturbed models are left out.") == 4  # caption and alt of two figures


def test_a_comparison_that_does_not_apply_is_one_line(on_disk, caplog):
    folder, models, scan_set = on_disk
    models = [name for name in models if "_" not in name]
    for name in ("dose", "parity", "ladder"):
        assert command(f"compare {name}", folder, models, scan_set) == 2
        assert f"compare {name}: there is nothing to compare" in caplog.text
    assert not (folder / "sections").exists()
    assert command("compare associaton", folder, models, scan_set) == 2
    assert "did you mean 'association'?" in caplog.text
