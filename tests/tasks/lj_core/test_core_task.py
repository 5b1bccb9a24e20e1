"""Real models: cases, runs, scores and the section, with models in a process of their own."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.data import covalent_radii

from examples import REPO, fake_entry, faulty, written_entry
from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import RunJob, ScoreJob
from pesbench.core.section import SectionInputs
from pesbench.core.settings import named_files
from pesbench.core.systems import System
from pesbench.core.task import Size
from pesbench.engine import in_units
from pesbench.files.integrity import seal
from pesbench.files.rounding import Rounding
from pesbench.files.stored_tables import read_scores
from pesbench.orchestration.config import resolve
from pesbench.tasks.lj_core import figures
from pesbench.tasks.lj_core import run as lj_core
from pesbench.tasks.lj_core.cases import (
    ATOM,
    BOND,
    DIMER,
    OVERLAP,
    atoms_of,
    cases,
    item_of,
    overlaps,
)
from pesbench.tasks.lj_core.designs import Design, Schedule, main_designs
from pesbench.tasks.lj_core.head_table import SCORED, Row, card_of, read_heads, write_table
from pesbench.tasks.lj_core.results import results
from pesbench.tasks.lj_core.score import score
from pesbench.tasks.lj_core.section import closed_errors, heads_table, section, sentence
from pesbench.tasks.lj_core.settings import CoreSettings
from pesbench.tasks.lj_core.stored import Answer, Answers
from pesbench.tasks.lj_core.task import TASK
from pesbench.tasks.lj_core.walls import closest_ratio, judge_atom, judge_overlap, judge_wall
from pictures import covered

ALONE = CoreSettings(dimers=False, bonds=1, overlaps=(0.5,), relax_steps=60)


def ethanol():
    atoms = molecule("CH3CH2OH")
    i, j = np.triu_indices(len(atoms), 1)
    radii = covalent_radii[atoms.numbers]
    close = atoms.get_all_distances()[i, j] < 1.2 * (radii[i] + radii[j])
    bonds = np.stack([i[close], j[close]], axis=1)
    return System("ethanol_1", atoms.numbers.astype(np.int64), atoms.positions, bonds)


# --- cases ---------------------------------------------------------------------------------------


def test_the_cases_are_walls_of_all_bonds_isolated_atoms_and_pairs_and_overlaps():
    system = ethanol()
    found = cases([system], CoreSettings())
    kinds = [one.kind for one in found]
    assert [kinds.count(kind) for kind in (BOND, ATOM, DIMER, OVERLAP)] == [8, 9, 45, 6]
    assert len({one.id for one in found}) == len(found)
    assert {item_of(one.id, ["ethanol_1"]) for one in found} == {"ethanol_1"}
    by_id = {one.id: one for one in found}
    dimer = by_id["dimer/C-H"]
    d = np.linalg.norm(dimer.scan.positions[:, 1] - dimer.scan.positions[:, 0], axis=1)
    assert (d[0], d[-1]) == (pytest.approx(4), pytest.approx(0.1))
    assert dimer.scan.n_frames == 64
    assert all(name in by_id for one in found if one.kind == DIMER for name in atoms_of(one))
    assert atoms_of(dimer) == ("atom/C", "atom/H")
    told = {name: (by_id[name].scan.numbers.tolist(), by_id[name].scan.spin)
            for name in ("atom/H", "atom/C", "atom/Br")}  # fmt: skip
    assert told == {"atom/H": ([1], 2), "atom/C": ([6], 1), "atom/Br": ([35], 2)}


def test_an_overlap_moves_two_atoms_to_its_share_of_the_covalent_sum():
    system = ethanol()
    for one in overlaps(system, CoreSettings(bonds=8)):
        i, j = one.scan.atoms
        d = np.linalg.norm(one.start.positions[i] - one.start.positions[j])
        assert d == pytest.approx(one.ratio * one.covalent_sum)
        others = np.setdiff1d(np.arange(9), [i, j])
        assert np.array_equal(one.start.positions[others], system.positions[others])
        assert one.start.id == one.id
    assert list(overlaps(system, CoreSettings(bonds=0))) == []
    assert len(list(overlaps(system, CoreSettings(bonds=100)))) == 3 * 8


def test_the_smallest_distance_over_the_covalent_sum():
    positions = np.array([[0, 0, 0], [0, 0, 1.0], [0, 0, 3.0]])
    sums = covalent_radii[6] + covalent_radii[8], covalent_radii[8] + covalent_radii[1]
    assert closest_ratio(np.array([6, 8, 1]), positions) == pytest.approx(
        min(1.0 / sums[0], 2.0 / sums[1])
    )


# --- judged --------------------------------------------------------------------------------------


def wall(kind="bond"):
    return next(one for one in cases([ethanol()], CoreSettings()) if one.kind == kind)


def said(case, energy, status=Status.OK, bad=()):
    codes = np.full(case.scan.n_frames, Status.OK.code, dtype=np.int8)
    codes[list(bad)] = Status.NONFINITE.code
    return Answer(case.id, np.asarray(energy, float), codes, np.empty((0, 3)), status, "why")


def alone(*energies, status=Status.OK):
    codes = np.array([status.code], dtype=np.int8)
    return [
        Answer(f"atom/{name}", np.array([one]), codes, np.empty((0, 3)), status, "why")
        for name, one in zip("CH", energies, strict=True)
    ]


@pytest.mark.parametrize("kind", [BOND, DIMER])
def test_a_wall_of_a_tenth_has_an_error_of_one_decade(kind):
    case = wall(kind)
    energy = 1e6 / case.scan.coordinate**6
    start = 100.0 if kind == DIMER else energy[
        np.abs(case.scan.coordinate - case.distance) <= 0.2
    ].min()  # fmt: skip
    atoms = list(zip(alone(40, 60), alone(67, 40), strict=True)) if kind == DIMER else []
    core = case.scan.coordinate < 0.6 * case.covalent_sum
    tenth = start + (energy - start) / 10
    found = judge_wall(case, said(case, tenth), said(case, energy + 7.0), atoms)
    expected = np.log10(np.abs(energy - start) + 1) - np.log10(np.abs(energy - start) / 10 + 1)
    assert found.log10_energy_mae == pytest.approx(expected[core].mean(), rel=1e-9)
    assert found.log10_energy_mae == pytest.approx(1, abs=1e-3)
    assert (found.right_sign_share, found.n_frames) == (1, core.sum())


def test_a_hole_has_the_wrong_sign():
    case = wall()
    energy = 1e3 / case.scan.coordinate**6
    hole = np.where(case.scan.coordinate < 0.3, -energy, energy)
    found = judge_wall(case, said(case, hole), said(case, energy))
    core = case.scan.coordinate < 0.6 * case.covalent_sum
    expected = 1 - (case.scan.coordinate < 0.3).sum() / core.sum()
    assert found.right_sign_share == pytest.approx(expected)


def test_frames_without_a_reference_are_left_out_and_counted():
    case = wall()
    energy = 1e3 / case.scan.coordinate**6
    n = case.scan.n_frames
    found = judge_wall(case, said(case, energy, bad=[n - 1]), said(case, energy, bad=[n - 1]))
    assert (found.status, found.n_masked, found.log10_energy_mae) == (Status.OK, 1, 0)
    masked = judge_wall(case, said(case, energy), said(case, energy, bad=range(n)))
    assert masked.status is Status.MASKED
    failed = judge_wall(case, said(case, energy, Status.NONFINITE, bad=[n - 1]), said(case, energy))
    assert (failed.status, failed.message) == (Status.NONFINITE, "why")
    assert np.isnan(failed.log10_energy_mae)


def test_a_pair_whose_atoms_have_no_energy_says_so():
    case = wall(DIMER)
    energy = said(case, 1e3 / case.scan.coordinate**6)
    good, bad = alone(0, 0), alone(0, 0, status=Status.NONFINITE)
    masked = judge_wall(case, energy, energy, [(good[0], good[0]), (good[1], bad[1])])
    assert (masked.status, masked.message) == (Status.MASKED, "the reference has no atom/H: why")
    failed = judge_wall(case, energy, energy, [(bad[0], good[0]), (good[1], good[1])])
    assert (failed.status, failed.message) == (Status.NONFINITE, "atom/C: why")
    nothing = judge_atom(alone(np.nan, 0)[0])
    assert (nothing.status, nothing.message) == (Status.UNSUPPORTED, "the model has no energies")


def test_a_relaxation_ends_overlapped_below_its_limit():
    case = next(overlaps(ethanol(), ALONE))
    end = said(case, [0.0])
    apart = judge_overlap(case, replace(end, positions=ethanol().positions))
    assert apart.overlapped == 0
    stuck = judge_overlap(case, replace(end, positions=case.start.positions))
    assert (stuck.overlapped, stuck.closest_ratio) == (1, pytest.approx(0.5))
    lost = judge_overlap(case, replace(end, status=Status.CRASHED))
    assert np.isnan(lost.overlapped)


# --- runs and scores -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(toy_set, tmp_path_factory):
    """Answers of a sound model, which is the reference, of one with a hole, and of forces."""
    folder = tmp_path_factory.mktemp("cores")
    made = {
        "sound": fake_entry(name="sound"),
        "holed": fake_entry("Holed", name="holed"),
        "forces": fake_entry("ForcesOnly", name="forces"),
    }
    for name, entry in made.items():
        lj_core.run(RunJob(entry, toy_set, ("b", "c"), ALONE, folder / f"{name}.h5"))
    return {name: folder / f"{name}.h5" for name in made}


@pytest.fixture(scope="module")
def tables(files, toy_set):
    return {
        name: score(ScoreJob([path], toy_set, ALONE, reference=[files["sound"]]))
        for name, path in files.items()
    }


def test_the_file_holds_walls_and_where_relaxations_end(files):
    with Answers(files["sound"]) as opened:
        assert opened.cases == (
            "bond/b_0-1", "bond/c_0-1", "overlap/b_0-1_0.5", "overlap/c_0-1_0.5",
        )  # fmt: skip
        assert opened.settings == json.loads(json.dumps(asdict(ALONE)))
        assert opened.systems == ["b", "c"]
        end = opened.answer("overlap/b_0-1_0.5", (1, 2))
    assert end.relaxed
    assert end.relax_steps > 1
    assert closest_ratio(np.array([6, 7]), end.positions) > 0.9
    assert sorted(path.name for path in files["sound"].parent.iterdir()) == sorted(
        path.name for path in files.values()
    )
    with results(files["sound"]) as one, results(files["holed"]) as other:
        assert one.items["bond/c_0-1",] == "c"
        assert one.items["overlap/c_0-1_0.5",] == "c"
        assert one.alike(one, ("overlap/c_0-1_0.5",), 1e-9, Rounding())
        assert not one.alike(other, ("bond/c_0-1",), 1e-9, Rounding())


def test_the_reference_has_no_error_and_a_hole_has_one(tables):
    sound, holed = (tables[name].set_index("case") for name in ("sound", "holed"))
    assert list(tables["sound"].columns) == list(TASK.columns)
    assert set(sound["status"]) == {"ok"}
    assert set(sound["log10_energy_mae"].dropna()) == {0.0}
    assert set(sound["overlapped"].dropna()) == {0.0}
    bonds = holed[holed["kind"] == BOND]
    assert (bonds["log10_energy_mae"] > 0).all()
    assert (bonds["right_sign_share"] < 1).all()
    forces = tables["forces"].set_index("case")
    assert set(forces.loc[forces["kind"] == BOND, "status"]) == {"unsupported"}
    assert set(forces.loc[forces["kind"] == OVERLAP, "overlapped"]) == {0.0}


def test_a_killed_run_continues(toy_set, tmp_path, files, monkeypatch):
    entry = fake_entry(name="sound", batch_size=1)
    whole = tmp_path / "whole.h5"
    lj_core.run(RunJob(entry, toy_set, ("b", "c"), ALONE, whole))
    keep = in_units._Run._keep

    def killed(self, found):
        keep(self, found)
        raise KeyboardInterrupt

    out = tmp_path / "killed.h5"
    with monkeypatch.context() as patch:
        patch.setattr(in_units._Run, "_keep", killed)
        with pytest.raises(KeyboardInterrupt):
            lj_core.run(RunJob(entry, toy_set, ("b", "c"), ALONE, out))
    assert not out.exists()
    lj_core.run(RunJob(entry, toy_set, ("b", "c"), ALONE, out))
    with Answers(whole) as one, Answers(out) as other:
        for case in one.cases:
            a, b = one.answer(case), other.answer(case)
            assert np.array_equal(a.energy, b.energy)
            assert np.array_equal(a.positions, b.positions)


def test_a_model_that_dies_costs_its_case_alone(toy_set, tmp_path):
    dies = faulty("segfault", arguments={"formulas": ["CN"], "window": [0.09, 0.101]})
    lj_core.run(RunJob(dies, toy_set, ("b", "c"), ALONE, tmp_path / "a.h5"))
    with Answers(tmp_path / "a.h5") as opened:
        found = {case: opened.answer(case).status for case in opened.cases}
    assert found["bond/b_0-1"] is Status.CRASHED
    assert {found["bond/c_0-1"], found["overlap/b_0-1_0.5"]} == {Status.OK}


def test_a_relaxation_that_the_model_fails_on_has_no_end(toy_set, tmp_path, files):
    """It is no ghost: the geometry before is where the model failed, and not where it ended."""
    dies = faulty("raise", arguments={"formulas": ["CN"], "window": [0.9, 1.3]})
    lj_core.run(RunJob(dies, toy_set, ("b", "c"), ALONE, tmp_path / "a.h5"))
    with Answers(tmp_path / "a.h5") as opened:
        end = opened.answer("overlap/b_0-1_0.5")
    assert end.status is Status.ERROR
    assert end.message.startswith("relaxation step ")
    assert "SCF did not converge" in end.message
    table = score(
        ScoreJob([tmp_path / "a.h5"], toy_set, ALONE, reference=[files["sound"]])
    ).set_index("case")
    assert table.loc["overlap/b_0-1_0.5", "status"] == "error"
    assert np.isnan(table.loc["overlap/b_0-1_0.5", "overlapped"])


def test_isolated_pairs_are_counted_from_their_atoms(toy_set, tmp_path):
    settings, out = replace(ALONE, dimers=True, bonds=0), tmp_path / "a.h5"
    lj_core.run(RunJob(fake_entry(name="sound"), toy_set, ("b",), settings, out))
    table = score(ScoreJob([out], toy_set, settings, reference=[out])).set_index("case")
    assert dict(table["kind"].value_counts()) == {DIMER: 45, ATOM: 9, BOND: 1}
    assert set(table["status"]) == {"ok"}
    assert table.loc["atom/Cl", "elements"] == "Cl"
    assert set(table.loc[table["kind"] == DIMER, "system"]) == {""}
    assert set(table.loc[table["kind"] == DIMER, "log10_energy_mae"]) == {0.0}
    with results(out) as opened:
        assert {row for (row,) in opened.rows} == set(table.index)
        assert set(opened.items.values()) == {"b"}


def test_wrong_files_are_one_line(toy_set, files, tmp_path):
    def scored(**changes):
        defaults = {"files": [files["sound"]], "reference": [files["sound"]]}
        return score(ScoreJob(scan_set=toy_set, settings=ALONE, **(defaults | changes)))

    with pytest.raises(UserError, match="the answers of the reference are missing"):
        scored(reference=[])
    with pytest.raises(UserError, match="no selected molecule"):
        scored(selected=["z"])
    with pytest.raises(UserError, match="is in another file, too"):
        scored(files=[files["sound"], files["sound"]])
    with pytest.raises(UserError, match="No such file"):
        score(ScoreJob([files["sound"]], toy_set, replace(ALONE, heads=str(tmp_path / "no.csv")),
                       reference=[files["sound"]]))  # fmt: skip


def _attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def _in_case(name, value, case="overlap/b_0-1_0.5"):
    def spoil(file):
        del file[case][name]
        file[case][name] = value

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        _attribute("systems", "[]"),
        _attribute("systems", '"b"'),
        _attribute("systems", "[1]"),
        _attribute("systems", '["nobody"]'),
        _attribute("settings", "[]"),
        _attribute("settings", "{}"),
        _attribute("settings", json.dumps(asdict(ALONE) | {"overlaps": [1e9]})),
        _attribute("settings", json.dumps(asdict(ALONE) | {"bonds": 10**9})),
        _attribute("settings", json.dumps(asdict(ALONE) | {"heads": "/etc/passwd", "bonds": "x"})),
        _attribute("model", h5py.Empty("f")),
        _in_case("positions", np.full((2, 3), np.nan)),
        _in_case("positions", np.zeros((3, 3))),
        _in_case("energy", np.zeros(2)),
        _in_case("energy", np.array([b"x"])),
        _in_case("frame_status", np.zeros(64, dtype=np.int8)),
        _in_case("energy", h5py.ExternalLink("/etc/passwd", "x")),
        lambda file: file["overlap/b_0-1_0.5"].attrs.__setitem__("status", "fine"),
        lambda file: file["overlap/b_0-1_0.5"].attrs.__setitem__("relax_steps", "many"),
        lambda file: file.__delitem__("overlap/b_0-1_0.5"),
    ],
)
def test_a_file_from_elsewhere_is_refused_in_one_line(toy_set, files, tmp_path, spoil):
    path = tmp_path / "a.h5"
    path.write_bytes(files["sound"].read_bytes())
    with h5py.File(path, "r+") as file:
        spoil(file)
    seal(path)
    with pytest.raises(UserError) as error:
        score(ScoreJob([path], toy_set, ALONE, reference=[files["sound"]]))
    told = str(error.value)
    assert str(path) in told
    assert ";" in told  # what to do
    assert "\n" not in told


def test_a_merge_refuses_isolated_cases_of_no_molecule(files, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(files["sound"].read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["systems"] = "[]"
    seal(path)
    with pytest.raises(UserError, match="names no molecules"):
        results(path)


def test_the_commands_run_and_score(toy_set, tmp_path, files):
    entry = fake_entry(name="sound")
    chosen = ["--no-dimers", "--bonds", "1", "--overlaps", "0.5", "--relax-steps", "60"]
    asked = [*written_entry(entry, tmp_path / "e.json"), "--scan-set", str(toy_set)]
    out, table = tmp_path / "o.h5", tmp_path / "lj_core.parquet"
    assert (
        cli.main(["run", "lj_core", *asked, "--systems", "b", "c", *chosen, "--out", str(out)]) == 0
    )
    words = ["score", "lj_core", "--files", str(out), "--reference", str(files["sound"])]
    assert cli.main([*words, "--scan-set", str(toy_set), "--out", str(table)]) == 0
    assert set(read_scores(table)["status"]) == {"ok"}


# --- plan and section ----------------------------------------------------------------------------


def test_only_the_first_job_has_the_dimers_and_the_plan_counts_frames():
    jobs = TASK.shards(["a", "b"], ["a", "b"], CoreSettings(), 1)
    assert [jobs[name].settings.dimers for name in sorted(jobs)] == [True, False]
    told = [asdict(jobs[name].settings) for name in sorted(jobs)]
    assert TASK.comparable(told)[0] == TASK.comparable(told)[1]
    assert "heads" not in TASK.comparable(told)[0]
    assert TASK.atom_frames(Size(1, 9), ALONE) == 9 * (9 * 64 + 60)
    with pytest.raises(UserError, match="`overlaps`"):
        TASK.shards(["a"], ["a"], replace(CoreSettings(), overlaps=(0.9,)), 1)


def test_the_config_asks_all_its_models_about_all_molecules(architecture):
    run = resolve(architecture, REPO)
    own = [name for name in run.models if not name.startswith(("sevennet-l", "mace-l", "7net-l"))]
    for task in ("lj_core", "approach"):
        assert run.tasks[task].models == own
        assert len(run.tasks[task].selected) == 29
    # all scans of aspirin and one of each other molecule, in one job a model
    assert len(run.tasks["bonds"].selected) == 13 + 29
    assert [len(shard.items) for shard in run.tasks["bonds"].shards.values()] == [42]
    settings = run.tasks["lj_core"].settings
    # the rule `lj_heads` makes this file
    assert settings.heads == str(run.results.parent / "weights/lj_core/heads.csv")
    assert named_files(settings, "score") == [settings.heads]


def row(part, design, seed, score, **numbers):
    known = dict.fromkeys(SCORED, 0.5) | {"right_sign_share": 1.0, "monotone": 1.0} | numbers
    return Row(part, design, seed, known | {"log10_energy_mae_core": score}, 0.1)


def seeds(part, design, mean, **numbers):
    return [row(part, design, k, mean + 0.2 * (k - 2), **numbers) for k in (1, 2, 3)]


@pytest.fixture
def heads(tmp_path):
    main, mlp = main_designs(), Design("mlp", "relu")
    turned, good = (Design("rational", "relu", transform=one) for one in ("none", "abs"))
    rows = [
        *seeds("main-rational", main["rational"], 0.7, in_range_mae=1.25),
        *seeds("main-mlp", main["mlp"], 4.5, in_range_mae=0.05),
        row("main-mlp_r12", main["mlp_r12"], 1, np.nan),
        *seeds("grid-mlp-relu-2", mlp, 4.8),
        *seeds("grid-rational-relu-2", turned, 0.9, right_sign_share=0.0),
        *seeds("grid-rational-relu-2", good, 1.2),
    ]
    curve = {"r": [0.2, 1.0], "median": [1e9, 0.0], "least": [None, -1.0], "largest": [2e9, 1.0]}
    write_table(tmp_path / "heads.csv", rows)
    card = {"curves": {"mlp": curve}, "schedule": asdict(Schedule())}
    card_of(tmp_path / "heads.csv").write_text(json.dumps(card))
    return read_heads(tmp_path / "heads.csv")


def inputs(tables, heads=None):
    facts = {name: SimpleNamespace(role="reference" if name == "sound" else "model")
             for name in tables}  # fmt: skip
    for table in tables.values():
        table.attrs["heads"] = heads.kept() if heads else {}
    return SectionInputs("lj_core", {name: one.copy() for name, one in tables.items()}, facts)


def test_the_section_tells_heads_grid_and_models(tables, heads):
    found = section(inputs(tables, heads))
    assert found.sentence == (
        "At distances below its data the rational head errs by 0.70 ± 0.20 decades in 3 of 3 seeds "
        "(mean and standard deviation; 1.25 in range), the MLP by 4.50 ± 0.20 decades in 3 of 3 "
        "seeds (mean and standard deviation; 0.0500 in range); the rational head has the lower "
        "error and is a wall in 1 of 96 cells of the grid, in 0 of these with the better fit in "
        "range; in 1 the error is lower and it is no wall, and 94 are lost or not trained; of 2 "
        "models, 2 relax from all overlapped starts without a failure, and 2 of these leave none "
        "overlapped."
    )
    main, grid, models = (table.rows for table in found.tables)
    assert main.loc[0, "core error (decades)"] == "0.70 ± 0.20"
    assert main.loc[0, "published, core error"] == "1.33 ± 0.40"
    assert list(main.loc[2, ["seeds", "core error (decades)"]]) == ["0 / 1", "n/a"]
    assert list(main["core error (decades)"][3:]) == [
        "7.90", "6.30", "5.02", "4.55", "3.38", "2.48", "1.78", "0.80",
    ]  # fmt: skip
    assert len(grid) == 1 + (3 + 2 + 4 + 2 + 2) + 8
    assert dict(grid.iloc[0, 2:7]) == {
        "cells": "96", "rational head wins": "1", "lower, no wall": "1", "higher": "0",
        "lost or not trained": "94",
    }  # fmt: skip
    assert grid.loc[0, "rational head, seeds that are walls"] == "3 of 6"
    told = " ".join(found.notes)
    assert "Means of 1 of 2 designs of the grid are within: rational-relu-2-abs" in told
    assert "Means of 1 of 1 designs of the grid are within: mlp-relu-2" in told
    assert "depends most on transform" in told
    assert "Not trained: main-mlp_log_energy, main-bounded, grid-mlp-relu-3" in told
    assert models.loc[0, "model"] == "sound (reference)"
    assert models.loc[2, "bonded: scored / planned"] == "0 / 2"
    assert [one.name for one in found.figures] == ["cores", "walls", "cells"]
    assert all(covered(one.figure) == [] for one in found.figures)
    values = {column.metric.name: column.values for column in found.board}
    assert values["lj_core_overlapped"]["holed"] == 0


def test_a_model_that_fails_on_starts_is_not_said_to_be_free(tables):
    holed = tables["holed"].copy()
    holed.loc[holed["kind"] == OVERLAP, ["status", "overlapped"]] = ["error", np.nan]
    assert sentence({}, [], {"holed": holed, "forces": tables["forces"]}) == (
        "Of 2 models, 1 relax from all overlapped starts without a failure, and 1 of these leave "
        "none overlapped."
    )


def test_without_heads_closed_forms_stand_alone(tables):
    found = section(inputs(tables))
    assert [one.name for one in found.figures] == ["cores"]
    assert [one.name for one in found.tables] == ["heads", "models"]
    assert any("No trained heads" in note for note in found.notes)
    assert sentence({}, [], {}) == "No head is trained, and no model has a relaxation."
    assert len(heads_table({})) == 8


def test_the_figure_of_cores_needs_no_score():
    assert covered(figures.cores({}, {}, closed_errors(), {}, {})) == []
