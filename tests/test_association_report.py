"""The tables and figures of "does smoothness predict stability", from simulated scores."""

from __future__ import annotations

import base64
from functools import partial

import numpy as np
import pandas as pd
import pytest

from pesbench import cli
from pesbench.dynamics_scores import METRICS
from pesbench.metrics import association as statistics
from pesbench.metrics.association_panel import CHEAP_METRICS
from pesbench.models.registry import ModelEntry
from pesbench.report import association, association_figures, figures, worst
from pesbench.report.inputs import ReportInputs, model_facts
from pesbench.storage import ScanSet

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


def scans(model, fsd, seconds=3.0):
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
        }
    )
    rough = fsd * (1 + 0.1 * np.arange(count) / count)
    return table.assign(**{metric: rough * (k + 1) for k, metric in enumerate(CHEAP_METRICS)})


def runs(model, life_ps, outcome=None, timestep_fs=0.5, seconds=60.0):
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
    return table


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
    inputs = ReportInputs(
        [model_facts(one, LEVEL) for one, _, _ in models],
        {one.name: scans(one.name, fsd) for one, fsd, _ in models},
        {one.name: rows for one, _, rows in models if one.name not in without},
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
    text = association.to_markdown(found)
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
    assert "24 trajectories with half the time step" in association.to_markdown(two)


def test_who_is_left_out_is_named():
    gone = runs("gone", 0.0, outcome="not_at_risk")
    inputs, entries = a_run(4, [(entry("gone"), 1.0, gone)], without=["model-3"])
    inputs.dynamics["ref"].loc[0, ["outcome", "time_ps"]] = "failed", 1.0
    found = quick(inputs, entries)
    text = association.to_markdown(found)
    assert found.answer.primary.n == 3
    assert "- model-3: ran no dynamics." in text
    assert "- gone: has no trajectory that counts." in text
    assert "- 3 trajectories where the reference itself fails" in text
    assert "- 6 trajectories not at risk" in text


def test_a_scan_that_failed_is_missing_and_not_absent():
    inputs, entries = a_run(4)
    bad = inputs.scores["model-2"].index[:8]  # of 12: has less than half
    inputs.scores["model-2"].loc[bad, "status"] = "error"
    found = quick(inputs, entries).answer.primary
    assert "model-2" not in found.variants
    assert found.left_out["model-2"] == "has fsd_full on scans of 4 of 12"
    assert found.n_scans == 12


def test_without_a_reference_every_failure_counts_and_the_text_says_so():
    inputs, entries = a_run(4, reference=False)
    found = quick(inputs, entries)
    assert found.answer.primary.y.max() == pytest.approx(2 * 0.3 / 6)
    assert "No reference ran dynamics" in association.to_markdown(found)


# --- what is said --------------------------------------------------------------------------------


def test_files_are_whole_and_begin_with_the_sentence_of_the_verdict(tmp_path, nine):
    found = nine
    csv, markdown = tmp_path / "a.csv", tmp_path / "a.md"
    association.write(found, csv, markdown, "A run", [("commit", "abc")])
    sentence = statistics.verdict(found.answer.primary).sentence
    assert sentence.startswith("supported: models with a higher fsd_full")
    title, _, first, *rest = markdown.read_text().splitlines()
    assert (title, first) == ("# A run", f"**{sentence}**")
    assert rest[-1] == "- commit: abc"
    table = pd.read_csv(csv)
    assert table["role"].value_counts().to_dict() == {
        "exploratory": len(table) - 2,
        "primary": 1,
        "secondary": 1,
    }
    assert len(table) == 2 * 7 * len(CHEAP_METRICS)
    primary = table.set_index("role").loc["primary"]
    assert primary["verdict"] == sentence
    assert primary["spearman"] == pytest.approx(1.0)
    assert np.isnan(primary["p_adjusted"])
    assert not list(tmp_path.glob("*.part"))
    section = association.section(csv)
    assert section.notes[0] == f"Primary: {sentence}"
    assert section.table["n"].tolist() == ["9", "9"]


def test_the_cost_of_both_sides():
    inputs, entries = a_run(9)
    rows = association._cost(association.compared(inputs, entries).cost).set_index("model")
    assert rows.loc["model-1"].tolist() == ["3.00", "60.0", "20.0"]
    assert rows.loc["all"].tolist() == ["27.0", "540", "20.0"]


@pytest.mark.parametrize("n", [0, 1, 4])
def test_too_few_models_are_not_resolved_in_whole_files(tmp_path, n):
    inputs, entries = a_run(n, ladder())
    found = quick(inputs, entries)
    association.write(found, tmp_path / "a.csv", tmp_path / "a.md")
    assert f"**not resolved at n = {n}: 8 independent" in (tmp_path / "a.md").read_text()
    assert len(pd.read_csv(tmp_path / "a.csv")) == 2 * 7 * 3
    assert association.section(tmp_path / "a.csv").table["n"].tolist() == [str(n)] * 2
    assert figures.png(association_figures.association(found), dpi=40).startswith(PNG)


# --- dose and response ---------------------------------------------------------------------------


def test_doses_stand_beside_their_base():
    inputs, entries = a_run(3, ladder())
    table = association.dose_table(inputs, entries)
    curl = table[table["kind"] == "curl"]
    assert curl["dose"].tolist() == [0.01, 0.1, 1.0]
    assert curl["survival"].tolist() == pytest.approx([2.0, 2.0, 1.5])
    assert curl["drift"].tolist() == pytest.approx([0.1, 0.1, 0.6])
    assert set(curl["series"]) == {"ref"}
    base = table[table["kind"] == ""]
    assert base[["model", "survival", "fsd_full"]].to_numpy().tolist() == [["ref", 2.0, 0.0]]
    edge = association_figures._unstable_from(curl, base.set_index("model"))
    assert edge == 1.0


def test_other_parameters_are_another_line():
    extra = [
        (perturbed(f"r{k}_{dose}", "ripple", dose, wavelength=k), 1.0, runs("", HORIZON))
        for k in (0.1, 0.2)
        for dose in (0.1, 1.0)
    ]
    table = association.dose_table(*a_run(1, extra))
    assert set(table.loc[table["kind"] != "", "series"]) == {
        "ref, wavelength 0.1",
        "ref, wavelength 0.2",
    }


def test_no_perturbed_model_no_doses():
    assert association.dose_table(*a_run(3)).empty
    only_scans = ladder()
    inputs, entries = a_run(3, only_scans, without=[one.name for one, _, _ in only_scans])
    assert association.dose_table(inputs, entries).empty


def test_dose_figure_has_a_column_a_kind_and_a_row_a_response():
    figure = association_figures.dose_response(association.dose_table(*a_run(1, ladder())))
    panels = [axes for axes in figure.axes if axes.axison]
    assert len(panels) == 5 * 3
    assert len(figure.axes) == 5 * 3 + 3  # and a sketch a kind
    assert [axes.get_xlabel() for axes in panels if axes.get_xlabel()] == [
        "amplitude (eV)",
        "depth (eV)",
        "strength (eV/Å²)",
    ]
    survival = panels[0]
    dashed, line = (survival.lines[k] for k in (0, 1))
    assert dashed.get_ydata() == pytest.approx([2.0, 2.0])
    assert line.get_xdata().tolist() == [0.01, 0.1, 1.0]
    assert line.get_ydata() == pytest.approx([2.0, 2.0, 1.5])
    assert figures.png(figure, dpi=40).startswith(PNG)


def test_scatter_has_two_panels_with_every_name_and_the_sentence(nine):
    figure = association_figures.association(nine)
    assert len(figure.axes) == 2
    for axes in figure.axes:
        names = {text.get_text() for text in axes.texts if text.get_text()}
        assert names == {f"model-{k}" for k in range(9)}
    caption = " ".join(figure.texts[-1].get_text().split())
    assert caption == nine.answer.primary_verdict.sentence
    one, two = (
        figures.png(association_figures.association(nine), dpi=40),
        figures.png(figure, dpi=40),
    )
    assert one == two


def test_names_cover_neither_points_nor_each_other():
    """Seven models of which five lose nothing: all on one line."""
    extra = [(entry(f"a-longer-name-{k}"), 4.0 + k, runs("", HORIZON)) for k in range(4)]
    inputs, entries = a_run(3, extra)
    found = quick(inputs, entries)
    figure = association_figures.association(found)
    figures.png(figure, dpi=figure.dpi)
    for axes in figure.axes:
        boxes = [t.get_window_extent() for t in axes.texts if t.get_text()]
        assert len(boxes) == 7
        shared = [
            association_figures._shared_area(a, b)
            for k, a in enumerate(boxes)
            for b in boxes[k + 1 :]
        ]
        assert max(shared) < 25  # square pixels


# --- perturbed models beside the others ----------------------------------------------------------


def test_perturbed_models_change_no_number_of_the_others():
    """Among them a curl with the dynamics of the worst, first in the config."""
    alone, _ = a_run(4)
    beside, entries = a_run(4, ladder())
    beside.facts.reverse()
    boards = [run.board("fsd_full").set_index("model", drop=False) for run in (alone, beside)]
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
    board = inputs.board("fsd_full")
    (section,) = inputs.more(None, board)
    assert section.table["model"].tolist() == [
        "model-0", "model-1", "ref (reference)",
        *(f"ripple_{dose} (perturbed)" for dose in ("0.01", "0.1", "1")),
    ]  # fmt: skip
    inputs.scores["ripple_1"]["seen"] = "seen"  # as its base has
    assert len(inputs.more(None, board)) == 1
    inputs.scores["model-1"]["seen"] = "seen"
    _, seen = inputs.more(None, board)
    assert seen.table["model"].tolist() == ["model-0", "model-1", "ref"]


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def on_disk(tmp_path, toy_set, monkeypatch):
    """Scores of a run as files, with a registry that names its models."""
    few = partial(association.associate, resamples=RESAMPLES, metrics=(*METRIC_NAMES, "force_mae"))
    monkeypatch.setattr(association, "associate", few)
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
        for frame, file in ((inputs.scores[name], "scans"), (inputs.dynamics[name], "dynamics")):
            frame = frame.copy()
            frame.attrs = {"scan_set_sha256": sha256}
            frame.to_parquet(folder / f"{file}.parquet", index=False)
    (tmp_path / "models.yaml").write_text("\n".join(lines) + "\n")
    return tmp_path, list(inputs.scores), toy_set


def command(folder, models, scan_set, *more):
    return cli.main(
        ["associate", "--results", str(folder), "--models", *models, "--models-file",
         str(folder / "models.yaml"), "--scan-set", str(scan_set), "--dynamics", *models,
         "--csv", str(folder / "association.csv"), "--markdown", str(folder / "association.md"),
         "--figure", str(folder / "association.png"), *more]
    )  # fmt: skip


def test_the_command_writes_all_of_it(on_disk):
    folder, models, scan_set = on_disk
    assert command(folder, models, scan_set, "--dose-figure", str(folder / "dose.png")) == 0
    assert "not resolved at n = 2" in (folder / "association.md").read_text()
    assert "- commit: " in (folder / "association.md").read_text()
    for file in ("association.png", "dose.png"):
        assert (folder / file).read_bytes().startswith(PNG)
    assert len(pd.read_csv(folder / "association.csv")) == 2 * 7 * 3


def test_leaderboard_and_page_repeat_the_verdict(on_disk):
    folder, models, scan_set = on_disk
    assert command(folder, models, scan_set, "--dose-figure", str(folder / "dose.png")) == 0
    common = [
        "--results", str(folder), "--models", *models, "--models-file", str(folder / "models.yaml"),
        "--scan-set", str(scan_set), "--dynamics", *models,
        "--association", str(folder / "association.csv"),
    ]  # fmt: skip
    board, html = folder / "leaderboard.md", folder / "page.html"
    tables = ["--csv", str(folder / "b.csv"), "--markdown", str(board)]
    assert cli.main(["leaderboard", *common, *tables]) == 0
    other = folder / "other.png"
    other.write_bytes(PNG)
    for name in models:
        pd.DataFrame(columns=list(worst.COLUMNS)).to_csv(folder / name / "worst.csv", index=False)
        (folder / name / "worst.png").write_bytes(PNG)
    shown = [
        "--by-bond", str(other), "--ladders", str(other), "--html", str(html),
        "--association-figure", str(folder / "association.png"),
        "--dose-figure", str(folder / "dose.png"),
    ]  # fmt: skip
    assert cli.main(["page", *common, *shown]) == 0
    for text in (board.read_text(), html.read_text()):
        assert "Does smoothness predict stability?" in text
        assert "Primary: not resolved at n = 2" in text
    for file in ("association.png", "dose.png"):
        assert base64.b64encode((folder / file).read_bytes()).decode() in html.read_text()


def test_perturbed_models_alone_have_all_of_the_report(on_disk):
    """There is nothing to rank and nothing to test, and the files say so."""
    folder, models, scan_set = on_disk
    models = [name for name in models if "model" not in name]
    assert models == ["ref", "ripple_0.01", "ripple_0.1", "ripple_1"]
    assert command(folder, models, scan_set, "--dose-figure", str(folder / "dose.png")) == 0
    assert "**not resolved at n = 0: " in (folder / "association.md").read_text()
    assert "3 perturbed models (3 ripple)" in (folder / "association.md").read_text()
    common = [
        "--results", str(folder), "--models", *models, "--models-file", str(folder / "models.yaml"),
        "--scan-set", str(scan_set), "--dynamics", *models,
    ]  # fmt: skip
    drawn = ["--by-bond", str(folder / "bonds.png"), "--ladders", str(folder / "ladders.png")]
    told = ["--association", str(folder / "association.csv")]
    files = ["--csv", str(folder / "b.csv"), "--markdown", str(folder / "b.md")]
    shown = ["--association-figure", str(folder / "association.png")]
    shown += ["--dose-figure", str(folder / "dose.png"), "--html", str(folder / "b.html")]
    assert cli.main(["leaderboard", *common, *told, *files]) == 0
    assert cli.main(["figures", *common, *drawn]) == 0
    assert cli.main(["page", *common, *drawn, *told, *shown]) == 0  # reads no worst scans
    board = pd.read_csv(folder / "b.csv").set_index("model")
    assert board["role"].tolist() == ["reference", *["perturbed"] * 3]
    assert board["survival"].tolist() == pytest.approx([2.0, 2.0, 2.0, 1.5])
    for text in ((folder / "b.md").read_text(), (folder / "b.html").read_text()):
        assert "Only perturbed models were run: there is nothing to rank." in text
        assert "ripple_1 (perturbed)" in text
        assert "Primary: not resolved at n = 0" in text
    page = (folder / "b.html").read_text()
    assert page.count("Perturbed models are left out.") == 4  # caption and alt of two figures


def test_without_a_perturbed_model_there_is_no_dose_figure(on_disk, caplog):
    folder, models, scan_set = on_disk
    models = [name for name in models if "_" not in name]
    assert command(folder, models, scan_set, "--dose-figure", str(folder / "dose.png")) == 2
    assert "no perturbed model ran dynamics" in caplog.text
    assert not (folder / "dose.png").exists()
    assert not (folder / "association.csv").exists()
    assert command(folder, models, scan_set) == 0
    assert (folder / "association.csv").exists()
