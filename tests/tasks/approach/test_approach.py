"""Runs, scores and the section of the closest approach, with models in a process of their own."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import fake_calculators
from examples import fake_entry, faulty, tblite_entry, toy_scan, write_toys, written_entry
from pesbench import cli
from pesbench.commands.scoring import write_scores
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import RunJob, ScoreJob
from pesbench.core.section import SectionInputs
from pesbench.core.task import Size
from pesbench.files.evaluation import Evaluation, write_evaluation
from pesbench.files.rounding import Rounding
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import chosen_systems
from pesbench.files.stored_tables import read_scores
from pesbench.metrics import shares
from pesbench.models.registry import ModelEntry
from pesbench.tasks.approach import figures, summary
from pesbench.tasks.approach import run as approach
from pesbench.tasks.approach.elsewhere import INNER_METRICS
from pesbench.tasks.approach.judged import METRICS
from pesbench.tasks.approach.pairs import approaches
from pesbench.tasks.approach.results import results
from pesbench.tasks.approach.score import COLUMNS, score
from pesbench.tasks.approach.section import section, sentence
from pesbench.tasks.approach.settings import ApproachSettings
from pesbench.tasks.approach.task import FRAMES_OF_BOND, TASK
from pictures import covered

BONDS_ALONE = ApproachSettings(contacts=0, in_molecule=False, diatomics=False)
WITHOUT_DIATOMICS = ApproachSettings(diatomics=False)
ALL = ("a", "b", "c", "d", "e", "f")


def run(entry, scan_set, out, items=("b", "c"), settings=BONDS_ALONE, **more):
    approach.run(RunJob(entry, scan_set, items, settings, out, **more))
    with Evaluation(out) as file:
        return {pair: file.scan(pair) for pair in file.ids}


def scores(scan_set, *files, reference, settings=BONDS_ALONE, **more):
    return score(ScoreJob(sorted(files), scan_set, settings, reference=[reference], **more))


# --- run -----------------------------------------------------------------------------------------


def test_the_file_holds_energies_and_forces_of_all_frames(toy_set, tmp_path):
    out = tmp_path / "a.h5"
    done = run(fake_entry(batch_size=7), toy_set, out, settings=WITHOUT_DIATOMICS)
    with ScanSet(toy_set) as scan_set:
        systems = chosen_systems(scan_set, ["b", "c"])
        sha256 = scan_set.sha256
    pairs = {pair.id: pair for pair in approaches(systems, WITHOUT_DIATOMICS)}
    assert done.keys() == pairs.keys()
    assert set(pairs) == {
        "bond/b_0-1", "bond/c_0-1", "inner/b_0-1", "inner/b_1-0", "inner/c_0-1", "inner/c_1-0",
    }  # fmt: skip
    for name, found in done.items():
        scan = pairs[name].scan
        plain = [fake_calculators.morse(scan.numbers, x) for x in scan.positions]
        assert found.energy == pytest.approx([energy for energy, _ in plain], rel=1e-12)
        assert found.forces == pytest.approx(np.stack([f for _, f in plain]), rel=1e-9, abs=1e-9)
        assert found.status is Status.OK
    with Evaluation(out) as file:
        about = file.attributes
        assert (file.model, file.scan_set_sha256) == ("fake", sha256)
    assert json.loads(about["settings"]) == asdict(WITHOUT_DIATOMICS)
    assert json.loads(about["systems"]) == ["b", "c"]
    assert json.loads(about["batch_limit"]) == {"systems": 7, "atoms": None}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5"]


def test_what_a_model_does_wrong_is_the_status_of_the_pair(toy_set, tmp_path):
    end = {"formulas": ["CN"], "window": [0.09, 0.101]}  # the last frame
    done = run(faulty("nan_energy", arguments=end), toy_set, tmp_path / "a.h5")
    assert done["bond/b_0-1"].status is Status.NONFINITE
    assert "at 0.100 Å: energy or force is not finite" in done["bond/b_0-1"].message
    assert done["bond/c_0-1"].status is Status.OK
    done = run(faulty("segfault", arguments=end), toy_set, tmp_path / "b.h5")
    assert done["bond/b_0-1"].status is Status.CRASHED
    assert done["bond/c_0-1"].status is Status.OK
    done = run(fake_entry(elements=["C", "N"]), toy_set, tmp_path / "c.h5")
    assert done["bond/b_0-1"].status is Status.OK
    assert (done["bond/c_0-1"].status, done["bond/c_0-1"].message) == (
        Status.UNSUPPORTED, "unknown elements: O",
    )  # fmt: skip
    done = run(fake_entry("construction_raises"), toy_set, tmp_path / "d.h5")
    assert {one.status for one in done.values()} == {Status.ERROR}
    assert "no parameters for this method" in done["bond/b_0-1"].message


def test_a_wall_that_overflows_in_float32_is_a_failure(toy_set, tmp_path):
    """Its energies are finite down to 0.12 Å; the published grid ends there, too."""
    done = run(fake_entry("OverflowsInFloat32"), toy_set, tmp_path / "a.h5", ("b",))
    found = done["bond/b_0-1"]
    assert found.status is Status.NONFINITE
    (grid,) = (pair.grids["numbers"] for pair in approaches(toy_systems(toy_set, "b"), BONDS_ALONE))
    bad = np.flatnonzero(found.frame_status[grid] != Status.OK.code)
    assert bad.size
    assert bad[-1] == grid.stop - 1
    finite = found.energy[: bad[0]]
    assert np.isfinite(finite).all()
    assert 1e30 < finite.max() < np.finfo(np.float32).max
    table = scores(toy_set, tmp_path / "a.h5", reference=tmp_path / "a.h5")
    assert table["status"].item() == "nonfinite"
    assert np.isnan(table["monotone"].item())


def toy_systems(toy_set, *names):
    with ScanSet(toy_set) as scan_set:
        return chosen_systems(scan_set, names)


def test_isolated_pairs_are_asked_once_and_by_elements(toy_set, tmp_path):
    settings = replace(BONDS_ALONE, diatomics=True)
    entry = fake_entry(elements=["C", "N", "O"])
    done = run(entry, toy_set, tmp_path / "a.h5", settings=settings)
    isolated = {name: one for name, one in done.items() if name.startswith("diatomic/")}
    assert len(isolated) == 45
    known = {name for name, one in isolated.items() if one.status is Status.OK}
    # N–O has an odd number of electrons; a model that takes no spin has one surface
    assert known == {f"diatomic/{one}" for one in ("C-C", "C-N", "C-O", "N-N", "N-O", "O-O")}
    found = results(tmp_path / "a.h5")
    assert {found.items[key] for key in found.rows if key[0].startswith("diatomic")} == {"b"}
    assert found.items[("bond/c_0-1",)] == "c"
    found.close()


def test_a_killed_run_continues(toy_set, tmp_path, monkeypatch):
    tally = tmp_path / "tally"
    entry = fake_entry(arguments={"tally": str(tally)})
    whole = run(entry, toy_set, tmp_path / "whole.h5", ALL)
    asked = len(tally.read_text().splitlines())
    tally.unlink()
    original, calls = approach.evaluate_scans, []

    def stopping(evaluator, scans):
        calls.append([scan.id for scan in scans])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(evaluator, scans)

    with monkeypatch.context() as patch:
        patch.setattr(approach, "evaluate_scans", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(entry, toy_set, tmp_path / "a.h5", ALL)
    assert not (tmp_path / "a.h5").exists()
    before = len(tally.read_text().splitlines())
    assert 0 < before < asked
    again = run(entry, toy_set, tmp_path / "a.h5", ALL)
    assert len(tally.read_text().splitlines()) < before + asked
    for name, one in whole.items():
        assert np.array_equal(one.energy, again[name].energy)
        assert np.array_equal(one.forces, again[name].forces)
    with Evaluation(tmp_path / "a.h5") as file:
        assert file.attributes["times_interrupted"] == 1


def test_what_is_refused(toy_set, tmp_path):
    out = tmp_path / "a.h5"
    with pytest.raises(UserError, match="a control is defined on the frames of scans only"):
        run(ModelEntry("control-zero", "control", {"control": "zero"}), toy_set, out)
    with pytest.raises(UserError, match="no molecule 'x' in this set"):
        run(fake_entry(), toy_set, out, ("b", "x"))
    with pytest.raises(UserError, match="`contacts` is -1; give a whole number of at least 0"):
        run(fake_entry(), toy_set, out, settings=ApproachSettings(contacts=-1))
    assert not list(tmp_path.iterdir())


def test_molecules_whose_scans_were_all_dropped_are_passed_over(tmp_path, caplog):
    left, dropped = toy_scan("a", "CC"), replace(toy_scan("b", "CN"), quality="dropped")
    write_toys(tmp_path / "set.h5", [left, dropped])
    done = run(fake_entry(), tmp_path / "set.h5", tmp_path / "a.h5", ("a", "b"))
    assert set(done) == {"bond/a_0-1"}
    assert "passed over, all of their scans are dropped: b" in caplog.text


# --- score ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def answered(toy_set, tmp_path_factory):
    """Files of Morse, of a model with a fault at the end of C-N, and of one of forces alone."""
    folder = tmp_path_factory.mktemp("approach")
    end = {"formulas": ["CN"], "window": [0.09, 0.101]}
    entries = {
        "sound": fake_entry(name="sound"),
        "faulty": faulty("infinite_force", arguments=end, name="faulty"),
        "blind": fake_entry("ForcesOnly", name="blind"),
    }
    for name, entry in entries.items():
        run(entry, toy_set, folder / f"{name}.h5", ALL, WITHOUT_DIATOMICS)
    return {name: folder / f"{name}.h5" for name in entries}


@pytest.fixture(scope="module")
def tables(toy_set, answered):
    return {
        name: scores(toy_set, path, reference=answered["sound"], settings=WITHOUT_DIATOMICS)
        for name, path in answered.items()
    }


def test_a_row_a_pair(tables):
    table = tables["sound"]
    assert tuple(table.columns) == COLUMNS
    assert set(TASK.columns) <= set(COLUMNS)
    assert set(METRICS) == {metric.name for metric in TASK.metrics}
    assert list(table["pair"]) == sorted(table["pair"])
    assert set(table["kind"]) == {"bond", "inner"}  # a molecule of two atoms has no contact
    bonds = table[table["kind"] == "bond"].set_index("system")
    assert list(bonds["elements"]) == ["C-C", "C-N", "C-O", "N-N", "N-O", "O-S"]
    assert (bonds["monotone"] == 1).all()
    assert bonds["wall_ratio_05"].to_numpy() == pytest.approx(np.ones(6))
    assert set(table["judged_by"]) == {"own minimum"}
    drawn = table.attrs["curves"]
    assert drawn["molecule"] == "a"  # there is no ethanol
    assert len(drawn["pairs"]["bond/a_0-1"]["energy"]) == 20


def test_a_failure_is_a_row_without_a_number(tables):
    table = tables["faulty"]
    lost = table[table["status"] != "ok"]
    assert list(lost["pair"]) == ["bond/b_0-1", "inner/b_0-1", "inner/b_1-0"]
    lost = lost[lost["kind"] == "bond"]
    assert lost["status"].item() == "nonfinite"
    assert "at 0.100 Å" in lost["message"].item()
    assert np.isnan(lost["monotone"].item())
    assert shares.share(summary.of_kind(table, "bond"), "monotone").n == 5
    assert summary.failures(summary.of_kind(table, "bond")) == "1 nonfinite"


def test_a_model_without_energies_has_its_forces_judged(tables):
    bonds = summary.of_kind(tables["blind"], "bond")
    assert (bonds["status"] == "ok").all()
    assert (bonds["force_monotone"] == 1).all()
    assert bonds["monotone"].isna().all()
    assert (summary.of_kind(tables["blind"], "inner")["inner_repulsive"] == 1).all()


def test_scores_are_read_back_as_they_were_written(toy_set, answered, tmp_path):
    out = tmp_path / "approach.parquet"
    job = ScoreJob(
        [answered["sound"]], toy_set, WITHOUT_DIATOMICS, reference=[answered["sound"]]
    )  # fmt: skip
    write_scores("approach", job, out)
    kept = read_scores(out, TASK.columns, TASK.text)
    pd.testing.assert_frame_equal(kept, score(job))
    assert kept.attrs["curves"] == score(job).attrs["curves"]
    assert kept.attrs["settings"]["contacts"] == 3


def test_scores_that_cannot_be_made(toy_set, answered, tmp_path):
    sound = answered["sound"]
    run(fake_entry(name="sound"), toy_set, tmp_path / "few.h5", ("a",), WITHOUT_DIATOMICS)
    with pytest.raises(UserError, match=r"the reference says nothing of pair 'bond/b_0-1'"):
        scores(toy_set, sound, reference=tmp_path / "few.h5")
    with pytest.raises(UserError, match=r"pair 'bond/a_0-1' is in another file, too"):
        scores(toy_set, sound, tmp_path / "few.h5", reference=sound)
    with pytest.raises(UserError, match="holds no selected molecule"):
        scores(toy_set, sound, reference=sound, selected=("x",))
    write_toys(tmp_path / "other.h5", [toy_scan("a", "CC")])
    with pytest.raises(UserError, match="was made on another scan set"):
        scores(tmp_path / "other.h5", sound, reference=sound)


def test_bonds_alone_need_no_reference(toy_set, answered, tmp_path):
    """It is not read where it is given: what it says of bonds in another run decides nothing."""
    out = tmp_path / "a.h5"
    run(fake_entry(name="sound"), toy_set, out, ALL)
    alone = score(ScoreJob([out], toy_set, BONDS_ALONE))
    assert (alone["monotone"] == 1).all()
    assert alone["zbl_ratio_05"].notna().all()
    assert alone["wall_ratio_05"].isna().all()
    pd.testing.assert_frame_equal(scores(toy_set, out, reference=answered["faulty"]), alone)
    with pytest.raises(UserError, match=r"judged by the reference .* with `--reference`"):
        score(ScoreJob([answered["sound"]], toy_set, WITHOUT_DIATOMICS))


def test_a_frame_in_error_is_a_failure_where_the_reference_is_not_asked(toy_set, tmp_path):
    end = {"formulas": ["CN"], "window": [0.09, 0.15]}
    run(faulty("error", arguments=end), toy_set, tmp_path / "a.h5", ("b",))
    found = score(ScoreJob([tmp_path / "a.h5"], toy_set, BONDS_ALONE))
    assert found["status"].item() == "error"
    assert found["n_masked"].item() == 0


def test_selected_molecules_are_scored(toy_set, answered):
    table = scores(toy_set, answered["sound"], reference=answered["sound"], selected=("c",))
    assert set(table["system"]) == {"c"}
    assert table.attrs["curves"]["molecule"] == "c"


def test_isolated_pairs_are_scored_whatever_is_selected(toy_set, tmp_path):
    """They are counted with the first molecule of the file, which may not be selected."""
    settings = replace(BONDS_ALONE, diatomics=True)
    entry, split = fake_entry(elements=["C", "N", "O"]), tmp_path / "split.csv"
    split.write_text("system,split\nb,seen\nc,seen\n")
    run(entry, toy_set, tmp_path / "a.h5", settings=settings)
    files = {"reference": tmp_path / "a.h5", "settings": settings, "split": split}
    every = scores(toy_set, tmp_path / "a.h5", **files)
    some = scores(toy_set, tmp_path / "a.h5", **files, selected=("c",))
    assert summary.of_kind(some, "bond")["pair"].tolist() == ["bond/c_0-1"]
    isolated = summary.of_kind(some, "diatomic")
    assert len(isolated) == 45
    assert (isolated["status"] == "ok").sum() == 6
    assert set(isolated["seen"]) == {""}  # they are in no split
    assert set(summary.of_kind(some, "bond")["seen"]) == {"seen"}
    pd.testing.assert_frame_equal(
        isolated.reset_index(drop=True),
        summary.of_kind(every, "diatomic").reset_index(drop=True),
    )
    with pytest.raises(UserError, match="holds no selected molecule"):
        scores(toy_set, tmp_path / "a.h5", **files, selected=("x",))


def test_a_file_that_lacks_a_pair_or_its_settings_is_refused(toy_set, answered, tmp_path):
    whole = answered["sound"]
    with Evaluation(whole) as file:
        said, attributes = [file.scan(name) for name in file.ids], dict(file.attributes)
    write_evaluation(tmp_path / "few.h5", said[1:], attributes=attributes)
    with pytest.raises(UserError, match=rf"lacks pair '{said[0].scan_id}'; make it again"):
        scores(toy_set, tmp_path / "few.h5", reference=whole)
    # a merge leaves each pair in one of the files
    write_evaluation(tmp_path / "rest.h5", said[:1], attributes=attributes)
    both = scores(toy_set, tmp_path / "few.h5", tmp_path / "rest.h5", reference=whole)
    assert len(both) == len(said)
    for wrong in ("{}", json.dumps(asdict(WITHOUT_DIATOMICS) | {"contacts": "few"})):
        write_evaluation(tmp_path / "a.h5", said, attributes=attributes | {"settings": wrong})
        with pytest.raises(UserError, match=r"a\.h5: `@settings` holds no settings of the closest"):
            scores(toy_set, tmp_path / "a.h5", reference=whole)


def test_the_scores_tell_the_settings_of_all_files(toy_set, tmp_path):
    """The first job of several alone has the isolated pairs."""
    entry = fake_entry(elements=["C", "N", "O"])
    run(entry, toy_set, tmp_path / "1.h5", ("b",), replace(BONDS_ALONE, diatomics=True))
    run(entry, toy_set, tmp_path / "2.h5", ("c",), BONDS_ALONE)
    files = tmp_path / "1.h5", tmp_path / "2.h5"
    made = score(ScoreJob(files, toy_set, BONDS_ALONE, reference=files))
    assert made.attrs["settings"] == asdict(replace(BONDS_ALONE, diatomics=True))


def test_two_runs_of_one_model_are_alike(toy_set, answered, tmp_path):
    run(fake_entry(name="sound", batch_size=3), toy_set, tmp_path / "a.h5", ALL, WITHOUT_DIATOMICS)
    with results(answered["sound"]) as one, results(tmp_path / "a.h5") as two:
        assert one.rows == two.rows
        assert all(one.alike(two, key, 1e-8, Rounding()) for key in one.rows)
        assert sum(one.work().values()) > 0
    with results(answered["sound"]) as one, results(answered["faulty"]) as two:
        assert not one.alike(two, ("bond/b_0-1",), 1e-8, Rounding())
        assert one.alike(two, ("bond/c_0-1",), 1e-8, Rounding())


# --- the task ------------------------------------------------------------------------------------


def test_the_first_job_has_the_isolated_pairs():
    found = TASK.shards(["a", "b", "c"], ["b", "c"], ApproachSettings(), 1)
    assert {name: shard.items for name, shard in found.items()} == {"0001": ("b",), "0002": ("c",)}
    assert [shard.settings.diatomics for shard in found.values()] == [True, False]
    told = [asdict(shard.settings) for shard in found.values()]
    assert TASK.comparable(told) == [asdict(ApproachSettings())] * 2
    without = TASK.shards(["a", "b"], ["a", "b"], replace(ApproachSettings(), diatomics=False), 1)
    assert [shard.settings.diatomics for shard in without.values()] == [False, False]


def test_the_predicted_frames_are_those_of_a_molecule(repo):
    """Ethanol has nine atoms and eight bonds; as many bonds as atoms are predicted."""
    settings = WITHOUT_DIATOMICS
    (ethanol,) = mini(repo, "ethanol")
    (phase,) = TASK.phases(Size(frames=1, atoms=9), settings)
    frames = [pair.scan.n_frames for pair in approaches([ethanol], settings)]
    assert phase.copies == sum(frames) + FRAMES_OF_BOND
    assert phase.along_scan
    stored = 24 * 9 * sum(frames)  # bytes of forces
    assert 0.8 * stored < TASK.stored_bytes(Size(frames=1, atoms=9), settings) < 1.5 * stored
    isolated = approaches([ethanol], replace(settings, diatomics=True))[len(frames) :]
    assert sum(pair.scan.n_frames for pair in isolated) == pytest.approx(7000, rel=0.02)


def mini(repo, *names):
    from pesbench.files.molecules.reading import read_systems

    found = {one.id: one for one in read_systems(repo / "resources/mini/molecules.extxyz")}
    return [found[name] for name in names]


def test_gfn2_repels_everywhere(repo, tmp_path):
    """The reference of this project, on the published pairs of its hardest small molecule.

    Bonds and the in-molecule protocol are judged without a reference: whatever converges passes.
    Contacts compare the method with itself here, and say only that all of them are judged.
    """
    from pesbench.core.coordinates.bond import bond_scans

    write_toys(tmp_path / "set.h5", bond_scans(*mini(repo, "methanethiol")))
    out = tmp_path / "a.h5"
    run(tblite_entry(), tmp_path / "set.h5", out, ("methanethiol",), WITHOUT_DIATOMICS)
    table = scores(tmp_path / "set.h5", out, reference=out, settings=WITHOUT_DIATOMICS)
    assert table.groupby("kind").size().to_dict() == {"bond": 5, "contact": 3, "inner": 6}
    assert (table["status"] == "ok").all()
    assert (table["n_masked"] == 0).all()  # each frame converges, so that no pass is an empty one
    bonds, inner = (summary.of_kind(table, kind) for kind in ("bond", "inner"))
    assert (bonds[["monotone", "force_monotone", "consistent"]] == 1).all(axis=None)
    assert (inner[[*INNER_METRICS]] == 1).all(axis=None)


# --- section -------------------------------------------------------------------------------------


def inputs(tables, **roles):
    facts = {name: SimpleNamespace(role=roles.get(name, "model")) for name in tables}
    return SectionInputs("approach", tables, facts)


def with_hole(table, pair, radius, barrier):
    changed = table.copy()
    changed.attrs = table.attrs
    row = changed["pair"] == pair
    changed.loc[row, ["monotone", "hole_radius_angstrom", "barrier_ev"]] = [0.0, radius, barrier]
    return changed


def test_the_section_tells_shares_holes_and_failures(tables):
    holed = with_hole(tables["sound"], "bond/c_0-1", 0.75, 2.0)
    holed = with_hole(holed, "bond/d_0-1", 0.5, 0.5).assign(model="holed")
    made = section(inputs(tables | {"holed": holed}))
    assert (
        "of every bonded pair rises down to 0.1 Å with 1 of 3 models; with 1 more it rises in "
        "every pair that did not fail" in made.sentence
    )
    assert "that of holed: N-N of d, atoms 0 and 1, 0.500 eV above the minimum at 0.50 Å" in (
        made.sentence
    )
    alone = section(inputs(tables | {"holed": holed}, holed="perturbed", sound="reference"))
    assert "with 0 of 1 models; with 1 more" in alone.sentence  # one has no energies
    assert alone.sentence.endswith("; with the reference sound it rises in 6 of 6 pairs.")
    assert "holed" not in alone.sentence
    assert "holed (perturbed)" in alone.tables[0].rows["model"].tolist()
    shares, holes, others, inner = (table.rows.set_index("model") for table in made.tables)
    rises = "energy rises on approach"
    assert shares.loc["sound", rises].startswith("6 of 6 (100 %; 54–100 %")
    assert shares.loc["holed", rises].startswith("4 of 6 (67 %")
    assert shares.loc["sound", "no spurious minimum"].startswith("6 of 6")
    assert shares.loc["faulty", "scored / planned"] == "5 / 6"
    assert shares.loc["faulty", "not scored"] == "1 nonfinite"
    assert shares.loc["blind", rises] == "n/a"
    assert holes.loc["holed", "largest hole (Å)"] == "0.75"
    assert holes.loc["holed", "worst pair"] == "C-O of c, atoms 0 and 1"
    assert holes.loc["holed", "lowest barrier (eV)"] == "0.500"
    assert holes.loc["holed", "over k_B (K)"] == "5\u202f800"
    assert holes.loc["sound", "worst pair"] == "–"
    assert holes.loc["sound", "deepest spurious minimum (eV)"] == "0"
    assert others.loc["sound", "contacts: scored / planned"] == "0 / 0"
    assert inner.loc["MACE-OMol (published)", "energy monotone"] == "25 %"
    assert inner.loc["sound", "energy monotone"].startswith("12 of 12")
    assert any(note.startswith("faulty: 3 of 18 pairs failed") for note in made.notes)
    plot = made.figures[1].plot
    cells = pd.read_csv(io.StringIO(made.files[plot.file])).set_index("model")
    assert list(plot.x) == list(cells.columns)
    assert cells.loc["holed", ["C-O", "N-N"]].tolist() == [0.75, 0.5]
    assert cells.loc["sound"].tolist() == [0.0] * len(cells.columns)
    assert cells.loc["blind"].isna().all()
    board = {column.metric.name: column for column in made.board}
    assert board["approach_monotone"].values == {"sound": 1.0, "faulty": 1.0, "holed": 4 / 6}
    assert board["approach_monotone"].counts == {"sound": 6, "faulty": 5, "blind": 0, "holed": 6}
    assert board["approach_hole_radius_angstrom"].values["holed"] == 0.75
    assert board["approach_barrier_ev"].values == {"holed": 0.5}
    planned, scored = (board[f"approach_n_{what}"].values for what in ("planned", "scored"))
    assert set(planned.values()) == {6}
    assert scored == {"sound": 6, "faulty": 5, "blind": 6, "holed": 6}


def test_the_section_tells_the_frames_that_are_left_out(tables):
    """Of scored pairs: those of others stand under what is not scored."""
    few = tables["sound"].copy()
    few.attrs = tables["sound"].attrs
    few.loc[few["pair"].isin(["bond/a_0-1", "bond/b_0-1", "inner/a_0-1"]), "n_masked"] = 5
    few.loc[few["pair"] == "bond/c_0-1", ["status", "n_masked"]] = ["masked", 60]
    made = section(inputs({"sound": tables["sound"], "few": few}))
    bonds, holes, others, inner = (table.rows.set_index("model") for table in made.tables)
    for table in (bonds, holes):
        assert table.loc["few", "frames left out"] == "10 in 2 pairs"
        assert table.loc["sound", "frames left out"] == "–"
    assert bonds.loc["few", "not scored"] == "1 masked"
    assert inner.loc["few", "frames left out"] == "5 in 1 pair"
    assert {"contacts: frames left out", "isolated: frames left out"} <= set(others.columns)


def test_an_interval_does_not_shrink_where_one_pair_fails():
    """Shares of 29 pairs of five molecules."""
    systems = [name for name, n in zip("abcde", (3, 5, 8, 8, 5), strict=True) for _ in range(n)]

    def share(passed, systems=systems):
        values = [1.0] * passed + [0.0] * (len(systems) - passed)
        rows = {"status": "ok", "monotone": values, "system": systems}
        return shares.share(pd.DataFrame(rows), "monotone")

    found = [share(passed) for passed in range(30)]
    assert found[29].text == "29 of 29 (100 %; 48–100 %)"
    assert found[0].text == "0 of 29 (0 %; 0–52 %)"
    assert found[28].low == pytest.approx(0.4386, abs=1e-4)
    for one, more in pairwise(found):
        assert one.low <= more.low
        assert one.high <= more.high
        assert one.low <= one.passed / one.n <= one.high
    # as of Clopper and Pearson where the molecules pass or fail whole: 4 of 5
    assert share(4, list("abcde")).text == "4 of 5 (80 %; 28–99 %)"
    assert share(2, ["a", "a", "a"]).text == "2 of 3 (67 %)"  # one molecule has no interval


def test_where_no_pair_is_scored(tables):
    lost = tables["sound"].assign(status="error")
    lost.attrs = tables["sound"].attrs
    made = section(inputs({"lost": lost}))
    assert made.sentence == "No model has a scored bonded pair."
    assert sentence({}, {}) == "No model has a scored bonded pair."


def test_figures_have_a_panel_a_model_and_a_cell_a_type(tables):
    labels = {name: name for name in tables}
    drawn = {name: frame.attrs["curves"] for name, frame in tables.items()}
    curves = figures.curves(drawn, labels)
    # the model of forces alone has no curve, and a panel that shows so
    assert [axes.get_title() for axes in curves.axes if axes.get_visible()] == list(tables)
    assert not covered(curves)
    holed = with_hole(tables["sound"], "bond/c_0-1", 0.75, 2.0)
    radii = summary.hole_radii({"sound": tables["sound"], "holed": holed})
    assert radii.loc["holed"].to_dict() == {
        "C-C": 0, "C-N": 0, "C-O": 0.75, "N-N": 0, "N-O": 0, "O-S": 0,
    }  # fmt: skip
    picture = figures.hole_map(radii, {"sound": "sound", "holed": "holed"})
    texts = [text.get_text() for text in picture.axes[0].texts]
    assert (texts.count("0.75"), texts.count("–")) == (1, 11)
    assert not covered(picture)
    assert not covered(figures.curves({}, {}))
    assert not covered(figures.hole_map(radii.iloc[:0], {}))


# --- the command ---------------------------------------------------------------------------------


def test_the_stages_as_commands(toy_set, tmp_path):
    options = written_entry(fake_entry(name="sound"), tmp_path / "sound.json")
    out, made = tmp_path / "a.h5", tmp_path / "approach.parquet"
    command = ["run", "approach", *options, "--scan-set", str(toy_set), "--systems", "a", "b"]
    assert cli.main([*command, "--no-diatomics", "--contacts", "0", "--out", str(out)]) == 0
    with results(out) as held:
        assert held.settings == {"contacts": 0, "in_molecule": True, "diatomics": False}
    command = ["score", "approach", "--files", str(out), "--reference", str(out)]
    assert cli.main([*command, "--scan-set", str(toy_set), "--out", str(made)]) == 0
    assert set(read_scores(made)["pair"]) > {"bond/a_0-1", "bond/b_0-1"}


@pytest.fixture
def registry(tmp_path):
    """Entries of a sound model, one that has a hole, and a control."""
    path = tmp_path / "models.yaml"
    entry = "{name}: {{family: ase, calculator: 'fake_calculators:{what}', charges: false}}\n"
    path.write_text(
        entry.format(name="sound", what="Morse")
        + entry.format(name="holed", what="Holed")
        + "zero: {family: control, control: zero}\n"
    )
    return path


def test_one_molecule_of_ones_own(registry, tmp_path, capsys):
    out = tmp_path / "sound.png"
    command = ["approach", "sound", "--models-file", str(registry), "--trust", "--molecule"]
    assert cli.main([*command, "CO", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "sound: 5 of 5 pairs repel down to 0.1 Å" in said
    assert "C-O 0-1" in said
    assert out.stat().st_size > 10_000
    assert not out.with_suffix(".extxyz").exists()  # there is no worst pair
    command[1] = "holed"
    assert cli.main([*command, "CO", "--out", str(tmp_path / "holed.png")]) == 0
    said = capsys.readouterr().out
    assert "the hole that costs the least is" in said
    assert "the worst pair to" in said
    import ase.io

    frames = ase.io.read(tmp_path / "holed.extxyz", index=":")
    assert len(frames) == 64
    assert frames[-1].info["distance"] == pytest.approx(0.1)
    assert np.isfinite(frames[-1].get_potential_energy())


def test_contacts_need_a_reference(registry, tmp_path, capsys):
    command = ["approach", "sound", "--models-file", str(registry), "--trust", "--molecule", "CO"]
    command += ["--out", str(tmp_path / "a.png"), "--reference", "sound"]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert said.count("(contact)") == 3
    assert "8 of 8 pairs" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sound", "--molecule", "none.xyz"], "no such file"),
        (["sound", "--molecule", "CX"], "cannot be read; correct it ('CX' is no file"),
        (["sound", "--molecule", "C.C"], "holds more than one molecule"),
        (["sound", "--molecule", "[He]"], "one atom approaches nothing"),
        (["sound", "--molecule", "[CH3]"], "give `spin`, the multiplicity, such as 2"),
        (["sound", "--molecule", "MINI"], "holds 29 molecules; give a file of one"),
        (["sound", "--molecule", "CO", "--out", "a.jpg"], "the curves are a PNG"),
        (["zero", "--molecule", "CO"], "'zero' is a control"),
        (["other", "--molecule", "CO"], "no model 'other'"),
    ],
)
def test_bad_input_is_one_line(arguments, said, registry, repo, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    mini = str(repo / "resources/mini/molecules.extxyz")
    arguments = [mini if one == "MINI" else one for one in arguments]
    before = sorted(tmp_path.iterdir())
    assert cli.main(["approach", *arguments, "--models-file", str(registry), "--trust"]) == 2
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said in line
    assert "\n" not in line
    assert sorted(tmp_path.iterdir()) == before
