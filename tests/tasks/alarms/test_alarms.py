"""Runs, scores and the section of the alarms, with models in processes of their own."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from examples import REPO, fake_entry, write_toys
from pesbench import cli
from pesbench.commands.scoring import write_scores
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import RunJob, ScoreJob
from pesbench.core.section import SectionInputs
from pesbench.core.task import Size
from pesbench.engine.evaluator import GIVE_UP_AFTER
from pesbench.engine.worker import ModelFailureError
from pesbench.files.evaluation import Evaluation
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import chosen_systems
from pesbench.files.stored_tables import read_scores
from pesbench.metrics.descriptor_distances import POOLED
from pesbench.models.models_file import read_models, resolve_entry
from pesbench.models.record import Described, describe, write_record
from pesbench.models.registry import ModelEntry
from pesbench.tasks.alarms import figures, motion, summary
from pesbench.tasks.alarms import run as alarms
from pesbench.tasks.alarms.detectors import COMPRESSION, DETECTORS, DYNAMICS, STRETCH
from pesbench.tasks.alarms.events import LEAST_EXPOSURE_PS, exposure_needed
from pesbench.tasks.alarms.frames import Source, Unit
from pesbench.tasks.alarms.kin import kin
from pesbench.tasks.alarms.ladder import folds, joined_side, known_set
from pesbench.tasks.alarms.reads import reads
from pesbench.tasks.alarms.score import score
from pesbench.tasks.alarms.section import section
from pesbench.tasks.alarms.settings import AlarmSettings
from pesbench.tasks.alarms.stored import Answers
from pesbench.tasks.alarms.task import TASK
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.stored import Trajectories
from shards import evaluate_shard, run_dynamics_shard, run_vibrations

SEEDS = ("testbed-rough", "testbed-rough-seed_2")
SYSTEMS = ("a", "b", "c", "d")  # of the toys, the elements of which the networks know
MOVED = DynamicsSettings(temperatures_k=(300.0,), duration_ps=0.02, store_every=2)
MODELS_FILE = REPO / "config" / "models.yaml"
pytestmark = pytest.mark.xdist_group("alarms")  # what is made once is made by one process


def shipped(name: str) -> ModelEntry:
    return resolve_entry(read_models(MODELS_FILE)[name], MODELS_FILE, REPO)


@dataclass
class Made:
    """What two seeds and the exact model answered.

    Attributes:
        folder: Of all files.
        scan_set: The toys, of which the calculator `Morse` is the reference.
        entries: By name.
        frame: Scores of the first seed.
    """

    folder: Path
    scan_set: Path
    entries: dict[str, ModelEntry]
    frame: pd.DataFrame

    def files(self, *tasks: str) -> list[Path]:
        return sorted(path for task in tasks for path in self.folder.glob(f"*.{task}.h5"))

    @property
    def record(self) -> Path:
        return self.folder / "models.json"

    def job(self, name: str = SEEDS[0], **more) -> ScoreJob:
        settled = {
            "answers": self.files("bonds", "dynamics", "alarms"),
            "record": self.record,
            "entry": self.entries[name],
        }
        file = self.folder / f"{name}.alarms.h5"
        # frames of the toys are 0.18 Å apart
        settings = AlarmSettings(reference_window_angstrom=0.2)
        fixed = {"files": [file], "settings": settings}
        return ScoreJob(scan_set=self.scan_set, **(fixed | settled | more))


@pytest.fixture(scope="module")
def made(toy_set, tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("alarms")
    entries = {name: shipped(name) for name in SEEDS} | {"exact": fake_entry(name="exact")}
    described = describe([entries[name] for name in SEEDS], REPO)
    write_record(folder / "models.json", described | {"exact": Described()})
    scans = ["C-C/a", "C-N/b", "C-O/c", "N-N/d"]
    for name, entry in entries.items():
        evaluate_shard(entry, toy_set, scans, folder / f"{name}.bonds.h5")
        run_dynamics_shard(entry, toy_set, SYSTEMS, MOVED, folder / f"{name}.dynamics.h5")
    result = Made(folder, toy_set, entries, pd.DataFrame())
    for name, entry in entries.items():
        out = folder / f"{name}.alarms.h5"
        job = RunJob(entry, toy_set, SYSTEMS, AlarmSettings(), out)
        alarms.run(RunJob(**(vars(job) | {"answers": result.files("dynamics")})))
    result.frame = score(result.job())
    return result


def rows_of(frame: pd.DataFrame, detector: str, domain: str) -> pd.DataFrame:
    return frame[(frame["detector"] == detector) & (frame["domain"] == domain)]


# --- run -----------------------------------------------------------------------------------------


def test_the_file_holds_descriptors_of_scans_and_forces_of_all_trajectories(made, toys):
    with Answers(made.folder / f"{SEEDS[0]}.alarms.h5") as file:
        assert (file.model, file.systems, file.not_described) == (SEEDS[0], SYSTEMS, "")
        held = file.looked("a", "scans/C-C/a", 2)
        assert held.descriptors.shape[:2] == toys["C-C/a"].positions.shape[:2]
        assert np.ptp(held.descriptors, axis=0).max() > 0
        assert held.forces is None
        own = file.looked("a", "own/a_300K_0", 2)
        other = file.looked("a", "of/exact/a_300K_0", 2)
        assert file.looked("a", "of/nobody/a_300K_0", 2) is None
        with pytest.raises(UserError, match="no molecule 'z'"):
            file.outcome("z")
        with pytest.raises(UserError, match="has the shape"):
            file.looked("a", "own/a_300K_0", 3)
    with Trajectories(made.folder / f"{SEEDS[0]}.dynamics.h5") as moved:
        n_frames = len(moved.frames("a_300K_0").positions)
    assert own.descriptors.shape[:2] == (n_frames, 2)
    assert own.forces.shape == (n_frames, 2, 3)
    assert other.forces.shape == (n_frames, 2, 3)
    assert other.descriptors is None


def test_forces_are_those_of_the_model_on_the_frames_of_others(made):
    import fake_calculators

    name = "c_300K_0"
    with (
        Answers(made.folder / "exact.alarms.h5") as file,
        Trajectories(made.folder / f"{SEEDS[1]}.dynamics.h5") as moved,
    ):
        found = file.looked("c", f"of/{SEEDS[1]}/{name}", 2).forces
        positions = moved.frames(name).positions
        numbers = moved.trajectory(name).numbers
        assert file.not_described == "its family gives no features of atoms"
    plain = [fake_calculators.morse(numbers, x)[1] for x in positions]
    assert found == pytest.approx(np.stack(plain), rel=1e-5, abs=1e-5)


def test_a_killed_run_continues(made, tmp_path, monkeypatch):
    out = tmp_path / "again.h5"
    job = RunJob(made.entries["exact"], made.scan_set, SYSTEMS, AlarmSettings(), out,
                 answers=made.files("dynamics"))  # fmt: skip
    append, count = alarms.Checkpoint.append, []

    def interrupted(self, **arrays):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        append(self, **arrays)

    monkeypatch.setattr(alarms.Checkpoint, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        alarms.run(job)
    alarms.run(job)
    assert len(count) > 8
    with h5py.File(out) as again, h5py.File(made.folder / "exact.alarms.h5") as first:
        assert int(again.attrs["times_interrupted"]) == 1
        names: list[str] = []
        first.visit(names.append)
        arrays = [n for n in names if isinstance(first[n], h5py.Dataset)]
        assert any(name.endswith("forces") for name in arrays)
        for name in arrays:
            assert np.array_equal(again[name][()], first[name][()], equal_nan=True), name


def test_what_a_model_does_not_know_is_told(toy_set, tmp_path):
    out = tmp_path / "a.h5"
    entry = fake_entry(elements=["C", "O"])
    alarms.run(RunJob(entry, toy_set, ("a", "b"), AlarmSettings(), out))
    with Answers(out) as file:
        assert file.outcome("a") == (Status.OK, "")
        assert file.outcome("b") == (Status.UNSUPPORTED, "unknown elements: N")
        assert file.looked("b", "scans/C-N/b", 2) is None


def test_a_model_that_does_not_load_is_told(toy_set, tmp_path):
    out = tmp_path / "a.h5"
    alarms.run(RunJob(fake_entry("NoSuchThing"), toy_set, ("a",), AlarmSettings(), out))
    with Answers(out) as file:
        status, message = file.outcome("a")
    assert status is Status.ERROR
    assert "did not load" in message


def test_a_frame_without_an_answer_is_nan(made, tmp_path):
    entry = fake_entry("Faulty", arguments={"fault": "raise", "window": [0.0, 99.0]})
    out = tmp_path / "a.h5"
    alarms.run(RunJob(entry, made.scan_set, ("a",), AlarmSettings(), out,
                      answers=made.files("dynamics")))  # fmt: skip
    with Answers(out) as file:
        assert np.isnan(file.looked("a", "of/exact/a_300K_0", 2).forces).all()


def test_without_others_the_model_is_asked_about_its_own_trajectories_alone(made, tmp_path):
    out = tmp_path / "a.h5"
    job = RunJob(made.entries["exact"], made.scan_set, ("a",), AlarmSettings(others=False), out,
                 answers=made.files("dynamics"))  # fmt: skip
    alarms.run(job)
    with h5py.File(out) as file:
        assert set(file["a"]) == {"numbers", "own", "scans"}


def test_coarse_trajectories_are_refused(made, tmp_path):
    coarse = tmp_path / "coarse.h5"
    settings = DynamicsSettings(temperatures_k=(300.0,), duration_ps=0.02, store_every=20)
    run_dynamics_shard(made.entries["exact"], made.scan_set, ("a",), settings, coarse)
    job = RunJob(made.entries["exact"], made.scan_set, ("a",), AlarmSettings(), tmp_path / "a.h5",
                 answers=[coarse])  # fmt: skip
    with pytest.raises(UserError, match=r"every 20th step.*write `store_every: 2`"):
        alarms.run(job)
    with pytest.raises(UserError, match=r"`dynamics.store_every` is 20.*write `store_every: 2`"):
        TASK.check_beside({"dynamics": settings, "alarms": AlarmSettings()})
    stopped = DynamicsSettings(alarm="temperature", alarm_threshold=3.0, stop_on_alarm=True)
    with pytest.raises(UserError, match=r"`dynamics.stop_on_alarm` ends the trajectories"):
        TASK.check_beside({"dynamics": stopped, "alarms": AlarmSettings()})
    TASK.check_beside({"dynamics": MOVED})
    TASK.check_beside({})


def test_controls_and_settings_that_make_no_sense_are_refused(toy_set, tmp_path):
    control = ModelEntry("control-zero", "control", {"control": "zero"})
    with pytest.raises(UserError, match="leave it out of `alarms`"):
        alarms.run(RunJob(control, toy_set, ("a",), AlarmSettings(), tmp_path / "a.h5"))
    for wrong in ({"reference_window_angstrom": 0.0}, {"calibration_alarms_per_ps": -1.0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            AlarmSettings(**wrong).check()


# --- kin -----------------------------------------------------------------------------------------


def relatives() -> dict[str, ModelEntry]:
    return {
        name: ModelEntry(name, family, settings)
        for name, family, settings in (
            ("net", "testbed", {}),
            ("net-2", "testbed", {"seed_of": "net"}),
            ("net-32", "testbed", {"variant_of": "net"}),
            ("other", "mace", {"level_of_theory": "L"}),
            ("other-2", "mace", {"seed_of": "other", "level_of_theory": "L"}),
            ("reference", "tblite", {"level_of_theory": "L", "method": "GFN2-xTB"}),
            ("method", "tblite", {"level_of_theory": "M", "method": "GFN1-xTB"}),
            ("broken", "perturbed", {"base": "other", "perturbation": "dip", "dose": 1.0}),
        )
    }


def test_a_committee_is_of_seeds_and_others_are_of_other_potentials():
    entries = relatives()
    assert kin("net", entries, "L") == (("net", "net-2"), ("method", "other"))
    assert kin("net-2", entries, "L") == (("net", "net-2"), ("method", "other"))
    assert kin("net-32", entries, "L") == ((), ("method", "other"))
    assert kin("reference", entries, "L")[1] == ("method", "net", "other")


def test_further_seeds_are_asked_about_their_own_potential_alone():
    entries = relatives()
    # a model does not disagree with a variant of itself
    assert reads("net", entries, "L") == [name for name in entries if name != "net-32"]
    assert reads("net-2", entries, "L") == ["net", "net-2"]
    assert reads("other", entries, "L") == list(entries)
    assert reads("other-2", entries, "L") == ["other", "other-2"]
    assert reads("method", entries, "L") == list(entries)
    # no model disagrees with a variant, the reference or a perturbed model
    for alone in ("net-32", "reference", "broken"):
        assert reads(alone, entries, "L") == [alone]


def test_half_of_the_molecules_calibrates_the_other():
    of = folds(f"molecule {k}" for k in range(11))
    assert sorted(of.values()) == [0] * 6 + [1] * 5 or sorted(of.values()) == [0] * 5 + [1] * 6
    assert folds(reversed(list(of))) == of


# --- scores --------------------------------------------------------------------------------------


def test_there_is_a_row_for_each_molecule_detector_and_domain(made):
    frame = made.frame
    assert tuple(frame.columns) == TASK.columns
    expected = {
        (system, one.name, domain)
        for system in SYSTEMS
        for one in DETECTORS
        for domain in one.domains
    }
    assert {*frame[list(TASK.keys)].itertuples(index=False, name=None)} == expected
    assert frame.attrs["committee"] == list(SEEDS)
    assert frame.attrs["others"] == ["exact"]
    ok = frame[frame["status"] == "ok"]
    assert set(ok["detector"]) == {one.name for one in DETECTORS}


def test_errors_are_those_of_the_stored_forces(made, toys):
    scan = toys["C-C/a"]
    with Evaluation(made.folder / f"{SEEDS[0]}.bonds.h5") as file:
        forces = file.scan("C-C/a").forces
    error = np.linalg.norm(forces - scan.forces, axis=-1)
    limit = np.maximum(0.5, 0.2 * np.linalg.norm(scan.forces, axis=-1))
    wrong = (error > limit).any(axis=1)
    off = scan.coordinate - scan.coordinate[np.argmin(scan.energy)]
    for domain, side in ((STRETCH, off > 0), (COMPRESSION, off < 0)):
        row = rows_of(made.frame, "largest_force", domain).set_index("system").loc["a"]
        assert row["n_frames"] == side.sum() > 0
        assert row["n_wrong"] == wrong[side].sum()


def test_frames_of_scans_are_measured_from_other_molecules(made, monkeypatch):
    """Else a frame near the minimum would be its own nearest neighbour."""
    from pesbench.tasks.alarms import score as module

    seen = []

    def watched(scans, known):
        seen.append({one.scan.system for one in scans})

    def fitted(scans, *rest):
        seen.append({one.scan.system for one in scans})
        return known_set(scans, *rest)

    monkeypatch.setattr(module, "add_fitted", watched)
    monkeypatch.setattr(module, "known_set", fitted)
    score(made.job())
    of = folds(SYSTEMS)
    halves = [{name for name in SYSTEMS if of[name] == half} for half in (0, 1)]
    assert seen == [set(SYSTEMS), halves[1], halves[0], halves[0], halves[1]]


def test_a_detector_and_the_baselines_are_compared_on_the_same_frames():
    wrong = np.array([False, False, True, True, True])
    scan = SimpleNamespace(
        side=lambda _: np.array([True] * 5),
        answered=np.array([True, True, True, True, False]),
        wrong=wrong,
        error=wrong * 1.0,
        scores={
            "coordinate": np.array([1.0, 2.0, 3.0, 4.0, 5.0]),
            "largest_force": np.array([1.0, 4.0, 3.0, 2.0, 5.0]),
            "knn": np.array([0.0, 0.0, np.nan, 1.0, 1.0]),
        },
    )
    without = SimpleNamespace(**(vars(scan) | {"scores": {}}))
    found = joined_side([scan, without], "knn", STRETCH)
    assert found.scores.tolist() == [0.0, 0.0, 1.0]
    assert found.wrong.tolist() == [False, False, True]
    assert found.trivial["coordinate"].tolist() == [1.0, 2.0, 4.0]
    assert found.trivial["largest_force"].tolist() == [1.0, 4.0, 2.0]
    assert found.n_unanswered == 7
    assert joined_side([without], "knn", STRETCH) is None
    scan.scores["knn"][:] = np.nan
    assert joined_side([scan], "knn", STRETCH) is None


def test_scores_have_the_baselines_of_the_same_frames(made):
    ok = made.frame[(made.frame["status"] == "ok") & (made.frame["domain"] != DYNAMICS)]
    baseline = ok[ok["detector"] == "coordinate"]
    assert (baseline["auroc"] == baseline["auroc_coordinate"]).equals(baseline["auroc"].notna())
    assert ok["auroc_largest_force"].notna().equals(ok["auroc"].notna())


def test_disagreement_with_the_truth_is_the_error(made):
    """The other model here is the reference, so that it ranks frames as their errors do."""
    found = rows_of(made.frame, "disagreement", STRETCH)
    assert (found["spearman"] > 0.9).all()
    assert (rows_of(made.frame, "disagreement", COMPRESSION)["spearman"] > 0.9).all()


def test_dynamics_count_runs_and_alarms(made):
    found = rows_of(made.frame, "largest_force", DYNAMICS)
    assert (found["n_runs"] == 1).all()
    assert found["threshold"].nunique() == 2  # of two halves
    ok = found[(found["n_failed"] == 0) & (found["n_early"] == 0)]
    with Trajectories(made.folder / f"{SEEDS[0]}.dynamics.h5") as moved:
        survived = {moved.trajectory(n).system for n in moved.names if moved.trajectory(n).survived}
    assert set(ok["system"]) == survived
    assert ok["stable_ps"].to_numpy() == pytest.approx(0.02)
    assert (ok["quiet_ps"] <= ok["stable_ps"] + 1e-12).all()
    assert ok["quiet_ps"].max() > 0
    assert ok["lead_fs"].isna().all()
    # at one temperature a failure shares it with a trajectory that survives
    shared = [300.0] if found["n_failed"].sum() and survived else []
    assert made.frame.attrs["shared_temperatures_k"] == shared
    assert found["n_failed_shared"].sum() == (found["n_failed"].sum() if shared else 0)
    assert found["quiet_ps_shared"].sum() == (found["quiet_ps"].sum() if shared else 0)


def test_a_model_without_descriptors_has_the_other_detectors(made):
    frame = score(made.job("exact"))
    told = frame[frame["status"] != "ok"].groupby("detector")["message"].unique()
    assert set(told.index) >= {"mahalanobis", "knn", "maxvol", "cli", "committee"}
    assert told["mahalanobis"].tolist() == ["n/a: its family gives no features of atoms"]
    assert told["committee"].tolist() == ["n/a: no other seed is among the models"]
    ok = frame[(frame["status"] == "ok") & (frame["domain"] != DYNAMICS)]
    assert {"coordinate", "largest_force", "disagreement", "long_bond"} <= set(ok["detector"])
    assert (ok["n_wrong"] == 0).all()  # it is the reference
    assert ok["auroc"].isna().all()


class Fragile:
    """A worker that describes atoms by their x, and breaks on some frames."""

    def __init__(self, broken, *, ends: bool = False) -> None:
        self.broken, self.ends, self.asked, self.atom_frames = broken, ends, 0, 0

    def call(self, _, batch):
        self.asked += 1
        if any(frame in self.broken for _, frame in batch.labels):
            raise ModelFailureError(Status.CRASHED if self.ends else Status.ERROR, "it is tired",
                                    ended=self.ends)  # fmt: skip
        values = np.stack([batch.positions[:, 0]] * 3, axis=1).astype("<f4")
        content = base64.b64encode(values.tobytes()).decode()
        return {"layer": "x", "shape": list(values.shape), "content": content}


def described(toy_set, worker, n_frames=9):
    with ScanSet(toy_set) as scan_set:
        (system,) = chosen_systems(scan_set, ["a"])
    frames = system.positions + np.arange(n_frames)[:, None, None]
    source = Source("a", "own/a", frames, True, False)
    fresh = SimpleNamespace(read_note=lambda *_: None)
    under_way = alarms._Run([system], [source], worker, fresh)
    return frames, under_way._answer(Unit(source, 2, n_frames))


def test_a_frame_that_is_not_described_takes_no_other_with_it(toy_set):
    frames, found = described(toy_set, Fragile({4}))
    expected = frames[2:, :, :1].repeat(3, axis=2)
    assert str(found["status"]) == "ok"
    assert str(found["message"]) == "frame 4: it is tired"
    held = found["descriptors"]
    assert np.isnan(held[2]).all()
    np.testing.assert_allclose(np.delete(held, 2, 0), np.delete(expected, 2, 0), rtol=1e-6)


def test_a_model_that_dies_over_descriptors_is_not_asked_for_ever(toy_set):
    worker = Fragile(set(range(9)), ends=True)
    _, found = described(toy_set, worker)
    assert worker.asked == GIVE_UP_AFTER
    assert found["descriptors"].shape == (7, 2, 0)
    assert "it is tired" in str(found["message"])


def test_the_frames_that_a_model_was_trained_on_are_the_reference_set(made, toys, tmp_path):
    scan, trained = toys["C-C/a"], tmp_path / "trained.extxyz"
    write_extxyz(trained, [Atoms(scan.numbers, x) for x in scan.positions])
    settings, out = AlarmSettings(reference_frames=str(trained)), tmp_path / "a.h5"
    alarms.run(RunJob(made.entries[SEEDS[0]], made.scan_set, ("a",), settings, out))
    with Answers(out) as file:
        assert file.systems == ("a",)
        atoms, numbers = file.reference()
        own = file.looked("a", "scans/C-C/a", 2).descriptors
    assert numbers.tolist() == scan.numbers.tolist() * len(scan.positions)
    np.testing.assert_allclose(atoms, own.reshape(-1, own.shape[2]), rtol=1e-4, atol=1e-5)
    frame = score(made.job(files=[out], answers=made.files("bonds")))
    assert frame.attrs["trained_atoms"] == len(numbers)
    assert made.frame.attrs["trained_atoms"] == 0
    (row,) = rows_of(frame, "knn", STRETCH).to_dict("records")
    assert row["n_frames"] > 0
    (row,) = rows_of(frame, "pair_range", STRETCH).to_dict("records")
    assert "holds none of its kinds of pairs" in row["message"]  # there is no other molecule
    space = known_set([], 0.15, (atoms, numbers)).space
    assert space.fits[POOLED].points.shape[0] == len(numbers)
    notes = section(inputs_of(rough=frame)).notes
    assert any(f"is {len(numbers)} atoms of `reference_frames`" in note for note in notes)


def test_trajectories_that_are_not_scored_are_counted(made, tmp_path):
    copy = tmp_path / "cut.h5"
    with h5py.File(made.folder / f"{SEEDS[0]}.dynamics.h5") as old, h5py.File(copy, "w") as file:
        for name in old:
            old.copy(name, file)
        file.attrs.update(old.attrs)
        file["particles/a_300K_0"].attrs["status"] = "alarm"
        # it fails where it starts: no alarm can be before that
        file["particles/b_300K_0"].attrs["status"] = "error"
        file["particles/b_300K_0"].attrs["failure_step"] = 1
        for place in ("particles/b_300K_0", "observables/b_300K_0"):
            _cut(file, place)
        file["particles/b_300K_0"].attrs["last_step"] = 0
    answers = [*made.files("bonds", "alarms"), copy]
    frame = score(made.job(answers=answers))
    assert frame.attrs["left_out"] == {
        "cut by the clock, by memory or by an alarm": 1, "never began": 1,
    }  # fmt: skip
    assert not (rows_of(frame, "largest_force", DYNAMICS)["n_failed"] > 0).any()
    notes = section(inputs_of(rough=frame)).notes
    assert any("1 trajectories are left out: never began" in note for note in notes)


def _cut(file: h5py.File, place: str) -> None:
    """Keep the first frame alone of a group of frames."""
    for group in [file[place], *file[place].values()]:
        if not isinstance(group, h5py.Group):
            continue
        for name in [n for n, one in group.items() if isinstance(one, h5py.Dataset) and one.shape]:
            first = group[name][:1]
            del group[name]
            group[name] = first


def test_a_scan_that_is_not_described_says_why(made, tmp_path):
    copy = tmp_path / "copy.h5"
    with h5py.File(made.folder / f"{SEEDS[0]}.alarms.h5") as old, h5py.File(copy, "w") as file:
        for name in old:
            old.copy(name, file)
        file.attrs.update(old.attrs)
        group = file["a/scans/C-C/a"]
        del group["descriptors"]
        group.attrs["outcome"], group.attrs["message"] = "error", "frames 0 to 12: it is tired"
    frame = score(
        ScoreJob(**(vars(made.job()) | {"files": [copy], "answers": made.files("bonds")}))
    )
    # no two of the toys have a kind of pairs in common
    told = frame[(frame["status"] != "ok") & (frame["detector"] != "pair_range")]
    assert set(told["system"]) == {"a"}
    assert {"mahalanobis", "knn", "maxvol", "cli"} <= set(told["detector"])
    descriptors = told[told["detector"] == "knn"]["message"]
    assert set(descriptors) == {"frames 0 to 12: it is tired"}


def test_without_trajectories_the_ladder_stands_alone(made):
    frame = score(made.job(answers=made.files("bonds", "alarms")))
    assert set(frame["domain"]) == {COMPRESSION, STRETCH}
    pd.testing.assert_frame_equal(
        frame,
        made.frame[made.frame["domain"] != DYNAMICS].reset_index(drop=True),
        check_dtype=False,
    )


def test_one_molecule_has_nothing_to_calibrate_on(made):
    frame = score(made.job(selected=("a",)))
    assert set(frame["system"]) == {"a"}
    assert rows_of(frame, "coordinate", STRETCH)["n_false"].isna().all()
    moving = rows_of(frame, "largest_force", DYNAMICS)
    assert "no stable trajectory of another molecule" in moving["message"].iloc[0]


def test_bad_files_are_refused_by_name(made, toys, tmp_path):
    with pytest.raises(UserError, match="give --record"):
        score(made.job(record=None))
    with pytest.raises(UserError, match="no evaluation of 'testbed-rough' among --answers"):
        score(made.job(answers=made.files("alarms")))
    with pytest.raises(UserError, match="holds no selected molecule"):
        score(made.job(selected=("nothing",)))
    with pytest.raises(UserError, match="belongs to model"):
        score(made.job(entry=made.entries["exact"]))
    other = tmp_path / "other.h5"
    write_toys(other, list(toys.values())[:2])
    with pytest.raises(UserError, match="another scan set"):
        score(ScoreJob(**(vars(made.job()) | {"scan_set": other})))
    vibrations = tmp_path / "vibrations.h5"
    run_vibrations(made.entries["exact"], made.scan_set, ("a",), _vibration_settings(), vibrations)
    with pytest.raises(UserError, match="holds pesbench-vibrations, which alarms do not read"):
        score(made.job(answers=[*made.files("bonds"), vibrations]))
    broken = tmp_path / "broken.h5"
    broken.write_bytes((made.folder / "exact.bonds.h5").read_bytes()[:-300])
    with pytest.raises(UserError, match=r"broken\.h5"):
        score(made.job(answers=[*made.files("bonds"), broken]))


def _vibration_settings():
    from pesbench.tasks.vibrations.settings import VibrationSettings

    return VibrationSettings(relax_steps=2)


def test_the_commands_do_the_same(made, tmp_path, capsys):
    entry = tmp_path / "model.json"
    from pesbench.files.atomic import write_json

    write_json(entry, made.entries[SEEDS[0]].deciding())
    out = tmp_path / "alarms.parquet"
    cli.main([
        "score", "alarms", "--scan-set", str(made.scan_set), "--entry", str(entry), "--files",
        str(made.folder / f"{SEEDS[0]}.alarms.h5"), "--answers",
        *map(str, made.files("bonds", "dynamics", "alarms")), "--record", str(made.record),
        "--reference-window-angstrom", "0.2", "--out", str(out),
    ])  # fmt: skip
    found = read_scores(out, TASK.columns, TASK.text)
    pd.testing.assert_frame_equal(found, made.frame, check_dtype=False)


# --- section -------------------------------------------------------------------------------------


def inputs_of(**frames: pd.DataFrame) -> SectionInputs:
    facts = {
        name: SimpleNamespace(role="reference" if name == "exact" else "model") for name in frames
    }
    return SectionInputs("alarms", frames, facts)


def test_the_section_of_few_molecules_resolves_nothing(made):
    found = section(inputs_of(rough=made.frame, exact=score(made.job("exact"))))
    assert "nothing is resolved" in found.sentence
    assert not found.answer
    ladder = next(one for one in found.tables if one.name == "ladder").rows
    assert list(ladder.columns) == ["detector", "rough", "exact (reference)"]
    # no two of the toys have a kind of pairs in common
    on_scans = [one for one in DETECTORS if one.domains != (DYNAMICS,) and one.name != "pair_range"]
    assert ladder["detector"].tolist() == [one.title for one in on_scans]
    assert any("holds none of its kinds of pairs" in note for note in found.notes)
    assert any("committee of testbed-rough, testbed-rough-seed_2" in note for note in found.notes)
    assert any("its family gives no features of atoms" in note for note in found.notes)
    assert {one.name for one in found.figures} == {"ladder", "dynamics"}
    assert list(found.board) == []


def made_up(n_molecules: int = 20, **dynamics: float) -> pd.DataFrame:
    """Scores in which `knn` is better than both baselines and `mahalanobis` as good."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(n_molecules):
        for one in DETECTORS:
            for domain in one.domains:
                row = dict.fromkeys(TASK.columns, np.nan) | {
                    "model": "m", "system": f"s{k}", "detector": one.name, "domain": domain,
                    "status": "ok", "message": "", "n_atoms": 5,
                }  # fmt: skip
                if domain == DYNAMICS:
                    row |= {
                        "n_runs": 3, "n_early": 0, "n_failed": 1, "n_warned": 1, "n_in_time": 1,
                        "lead_fs": 50.0, "stable_ps": 4.0, "quiet_ps": 4.0,
                        "threshold": 1.0 + k % 2,
                        "n_false_events": 0 if one.name == "knn" else 3,
                    } | dynamics  # fmt: skip
                    shared = {
                        "n_failed_shared": row["n_failed"],
                        "n_in_time_shared": row["n_in_time"],
                        "n_false_shared": row["n_false_events"],
                        "quiet_ps_shared": row["quiet_ps"],
                    }
                    row |= shared | dynamics
                else:
                    better = 0.2 if one.name == "knn" else 0.0
                    row |= {
                        f"auroc_{name}": 0.7 + 0.02 * rng.normal()
                        for name in ("coordinate", "largest_force")
                    }
                    row |= {
                        "auroc": 0.7 + better + 0.02 * rng.normal(), "auprc": 0.5 + 0.01 * k,
                        "spearman": 0.3,
                        "n_frames": 40, "n_wrong": 10, "n_unanswered": 0, "n_found": 9,
                        "n_false": 6,
                    }  # fmt: skip
                rows.append(row)
    return pd.DataFrame(rows)


def test_the_sentence_names_the_detector_to_use():
    found = section(inputs_of(one=made_up(), two=made_up()))
    assert found.answer == found.sentence
    assert "most often useful detector is distance of neighbours" in found.sentence
    assert "for 2 of 2 potentials" in found.sentence
    assert "under compression distance of neighbours, for 2 of 2 potentials" in found.sentence
    table = next(one for one in found.tables if one.name == "ladder").rows
    cells = dict(zip(table["detector"], table["one"], strict=True))
    assert cells["distance of neighbours"].count("*") == 2
    assert "*" not in cells["Mahalanobis distance"]
    # 6 of 30 right frames, 9 of 10 wrong ones
    assert cells["Mahalanobis distance"].count("(20 % at 90 %)") == 2


def test_the_sentence_counts_potentials_and_not_their_seeds():
    """One potential of three seeds of which two are well served, and one that is not."""
    frames = {
        "a": made_up(),
        "a-2": made_up(),
        "a-3": made_up(n_in_time=0),
        "b": made_up(n_in_time=0),
    }
    for name in ("a", "a-2", "a-3"):
        frames[name].attrs["committee"] = ["a", "a-2", "a-3"]
    said = section(inputs_of(**frames)).sentence
    assert "for 1 of 2 potentials" in said
    assert "under stretch distance of neighbours, for 2 of 2 potentials" in said
    frames["a-2"] = made_up(n_in_time=0)
    frames["a-2"].attrs["committee"] = ["a", "a-2", "a-3"]
    said = section(inputs_of(**frames)).sentence
    assert "In dynamics no detector is found to be useful" in said
    assert "for any of 2 potentials" in said


def test_failures_that_no_alarm_can_be_in_time_for_are_counted_apart():
    """An alarm 30 fs before a failure at 40 fs, and failures at 20 fs and before it."""
    scores = {"knn": np.array([0.0] * 10 + [2.0] * 30)}
    runs = [motion.Moving("s", "r", 300.0, 1.0, failure, scores) for failure in (40.0, 20.0, 3.0)]
    said = motion.alarmed(runs, "knn", 1.0)
    assert said.n_in_time == 1
    assert (said.n_runs, said.n_early, said.leads_fs, said.n_warned) == (3, 2, (30.0,), 1)
    table = summary.dynamics({"m": made_up(n_early=3)}).set_index("detector")
    assert table.loc["knn", ["n_early", "n_failed"]].tolist() == [60, 20]
    assert table.loc["knn", "verdict"] == summary.USEFUL
    few = summary.dynamics({"m": made_up(n_failed=0, n_in_time=0, n_early=3)})
    assert set(few["verdict"]) == {summary.OPEN}


def test_temperatures_are_shared_by_a_survivor_and_a_later_failure():
    def moving(temperature: float, failure: float | None) -> motion.Moving:
        return motion.Moving("s", "r", temperature, 1.0, failure, {})

    runs = [
        moving(200.0, None),
        moving(300.0, None),
        moving(300.0, 100.0),
        moving(500.0, None),
        moving(500.0, 20.0),  # no alarm can be in time
        moving(1000.0, 100.0),
    ]
    assert motion.shared_temperatures(runs) == {300.0}


def test_an_alarm_that_may_be_a_thermometer_is_not_resolved():
    """All that fail are hotter than all that survive."""
    frame = made_up(n_failed_shared=0, n_in_time_shared=0, n_false_shared=0, quiet_ps_shared=0.0)
    frame.attrs = {"trajectories": True, "shared_temperatures_k": []}
    table = summary.dynamics({"m": frame}).set_index("detector")
    assert table.loc["knn", ["n_in_time", "n_failed"]].tolist() == [20, 20]  # still shown
    assert set(table["verdict"]) == {summary.OPEN}
    found = section(inputs_of(one=frame))
    reason = "no failures at temperatures at which a trajectory survives"
    assert f"In dynamics nothing is resolved: {reason}." in found.sentence
    assert "one: shared temperatures: none." in found.notes
    table = next(one for one in found.tables if one.name == "dynamics").rows
    assert set(table["verdict"]) == {f"not resolved: {reason}"}
    assert set(table["of these at shared temperatures"]) == {"0 / 0"}
    few = summary.dynamics({"m": made_up(n_failed_shared=0.2, n_in_time_shared=0.2)})
    assert few["reason"].str.startswith("fewer than 5 failures at temperatures").all()


def test_false_alarms_at_the_temperatures_of_failures_count_twice():
    """Few on all stable trajectories, many where it is as hot as where others fail."""
    many = {"n_false_shared": 0.2, "quiet_ps_shared": 0.1}  # 4 in 2 ps
    row = summary.dynamics({"m": made_up(n_false_events=0.2, stable_ps=8.0, quiet_ps=8.0, **many)})
    assert set(row["verdict"]) == {summary.NOT_USEFUL}
    assert set(row["reason"]) == {"too many false alarms"}
    some = {"n_false_shared": 0.1, "quiet_ps_shared": 0.5}  # 2 in 10 ps
    row = summary.dynamics({"m": made_up(n_false_events=0.2, stable_ps=8.0, quiet_ps=8.0, **some)})
    assert set(row["verdict"]) == {summary.OPEN}
    assert row["reason"].str.startswith("false alarms at the temperatures of the failures").all()


def test_useful_is_not_said_where_the_interval_reaches_the_limit():
    for n_events, needed in ((0, 36.9), (1, 55.7), (3, 87.7)):
        assert exposure_needed(n_events) == pytest.approx(needed, abs=0.05)
    row = {
        "stable_ps": 60.0, "quiet_ps": 36.0, "n_failed": 9, "n_failed_shared": 9,
        "n_in_time_shared": 9, "n_false_events": 0, "n_false_shared": 0, "quiet_ps_shared": 9.0,
    }  # fmt: skip
    assert summary.verdict(row) == (
        summary.OPEN, "the interval of false alarms reaches 0.1 per ps",
    )  # fmt: skip
    assert summary.verdict(row | {"quiet_ps": 37.0}) == (summary.USEFUL, "")
    assert summary.verdict(row | {"n_in_time_shared": 4}) == (summary.NOT_USEFUL, "too late")
    often = row | {"n_false_events": 20, "quiet_ps": 60.0}
    assert summary.verdict(often) == (summary.NOT_USEFUL, "too many false alarms")
    frames = {"one": made_up(), "two": made_up(n_false_events=0.2)}  # 4 in 80 ps
    said = section(inputs_of(**frames)).sentence
    assert "for 1 of 1 potential" in said
    assert "12 of 24 pairs of a model and a detector are not resolved" in said


def test_the_sentence_says_that_none_is_useful():
    late = section(inputs_of(one=made_up(n_in_time=0)))
    assert "In dynamics no detector is found to be useful" in late.sentence
    assert "not resolved" not in late.sentence
    short = section(inputs_of(one=made_up(n_molecules=7)))  # 28 ps
    assert LEAST_EXPOSURE_PS > 28
    assert "In dynamics nothing is resolved" in short.sentence


def test_rates_have_exact_intervals():
    table = summary.dynamics({"m": made_up()}).set_index("detector")
    assert table.loc["knn", "stable_ps"] == 80.0
    assert table.loc["knn", "alarms_per_ps"] == 0.0
    assert table.loc["knn", "alarms_per_ps_high"] == pytest.approx(3.689 / 80, rel=1e-3)
    assert table.loc["maxvol", "verdict"] == summary.NOT_USEFUL
    assert table.loc["knn", "verdict"] == summary.USEFUL
    assert table.loc["knn", ["threshold_low", "threshold_high"]].tolist() == [1.0, 2.0]


def test_rates_are_of_the_time_without_an_alarm():
    table = summary.dynamics({"m": made_up(quiet_ps=2.0)}).set_index("detector")
    assert table.loc["maxvol", "alarms_per_ps"] == 1.5  # 3 in 2 ps of 4
    always = summary.dynamics({"m": made_up(quiet_ps=0.0)}).set_index("detector")
    assert always["alarms_per_ps"].isna().all()
    assert set(always["verdict"]) == {summary.NOT_USEFUL}


def test_useful_are_alarms_in_time_for_most_failures_whatever_the_median_of_medians():
    frame = made_up()
    few = frame["system"].isin([f"s{k}" for k in range(4)])
    # four molecules with five failures each of which two are in time, and sixteen with one in time
    frame.loc[few, ["n_failed", "n_in_time", "lead_fs"]] = 5, 2, 18.0
    table = summary.dynamics({"m": frame}).set_index("detector")
    assert (table.loc["knn", "n_in_time"], table.loc["knn", "n_failed"]) == (24, 36)
    assert table.loc["knn", "lead_fs"] == 18.0
    assert table.loc["knn", "verdict"] == summary.USEFUL


def test_precision_stands_beside_the_share_of_wrong_frames_of_the_same_molecules():
    frame = made_up(n_molecules=6)
    wrong_alone = frame["system"] == "s0"
    frame.loc[wrong_alone, ["auroc", "auprc"]] = np.nan
    frame.loc[wrong_alone, "n_wrong"] = 40
    table = summary.scans({"m": frame})
    assert set(table["n_molecules"]) == {5}
    assert table["share_wrong"].to_numpy() == pytest.approx(0.25)


def test_values_on_scans_have_intervals_over_molecules():
    table = summary.scans({"m": made_up()})
    for name in ("auroc", "auprc"):
        assert (table[f"{name}_low"] < table[name]).all()
        assert (table[name] < table[f"{name}_high"]).all()
    row = table.iloc[0]
    assert row["auprc"] == pytest.approx(0.595)
    # twice the standard error of 20 equidistant values
    assert row["auprc_high"] - row["auprc_low"] == pytest.approx(4 * 0.0577 / 20**0.5, rel=0.1)
    assert row[["recall", "recall_low", "recall_high"]].tolist() == [0.9, 0.9, 0.9]
    shown = next(
        one for one in section(inputs_of(one=made_up())).tables if one.name == "ladder_intervals"
    ).rows
    knn = shown[shown["detector"] == "distance of neighbours"].iloc[0]
    assert (knn["side"], knn["molecules"], knn["wrong frames"]) == (COMPRESSION, 20, "25 %")
    assert knn["AUPRC"] == f"{row['auprc']:.2f} (0.57 to 0.62)"
    assert knn["wrong frames found"] == "90 % (90 % to 90 %)"
    single = section(inputs_of(one=made_up(n_molecules=1))).tables
    cells = next(one for one in single if one.name == "ladder_intervals").rows
    assert set(cells["AUPRC"]) == {"0.50"}


def test_the_median_lead_has_an_interval_over_molecules():
    frame = made_up()
    frame.loc[frame["domain"] == DYNAMICS, "lead_fs"] = frame["system"].str[1:].astype(float)
    row = summary.dynamics({"m": frame}).iloc[0]
    assert row["lead_fs"] == 9.5
    assert 3 <= row["lead_fs_low"] < 9.5 < row["lead_fs_high"] <= 16
    alike = summary.dynamics({"m": made_up()}).iloc[0]
    assert alike[["lead_fs", "lead_fs_low", "lead_fs_high"]].tolist() == [50.0] * 3


def test_frames_without_an_answer_are_told():
    frame = made_up(n_molecules=6)
    frame.loc[frame["detector"] == "knn", "n_unanswered"] = 5
    notes = section(inputs_of(one=frame, two=made_up())).notes
    (told,) = [note for note in notes if "without an answer" in note]
    assert told.startswith("one: frames of scans without an answer")
    assert told.endswith(": knn 60 of 540.")


def test_empty_figures_say_so():
    for figure in (
        figures.ladder(summary.scans({"m": made_up().assign(status="error")}), {"m": "m"}),
        figures.alarms(summary.dynamics({"m": made_up().assign(status="error")}), {"m": "m"}),
    ):
        (told,) = [text.get_text() for text in figure.texts]
        assert told.startswith("No m")


def test_scores_are_written_with_the_rest(made, tmp_path):
    out = tmp_path / "alarms.parquet"
    write_scores("alarms", made.job(), out)
    assert read_scores(out, TASK.columns, TASK.text).attrs["committee"] == list(SEEDS)


def test_the_plan_counts_the_frames_of_scans():
    size = Size(1, 8)
    assert TASK.atom_frames(size, AlarmSettings()) == 8 * 4 * 100
    assert TASK.stored_bytes(size, AlarmSettings()) > 4 * 128 * 3200
