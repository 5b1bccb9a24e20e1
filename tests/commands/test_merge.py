"""Results of several groups on one leaderboard, from small synthetic results."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import shutil
import subprocess
from dataclasses import asdict, replace

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from examples import fake_entry, write_toys
from pesbench import cli
from pesbench.commands.merge.assembly import merge
from pesbench.commands.merge.contents import Choice
from pesbench.commands.merge.options import choices
from pesbench.commands.merge.place import new_folder
from pesbench.commands.scoring import write_scores
from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.interface import Status
from pesbench.core.jobs import ScoreJob
from pesbench.files.atomic import write_json
from pesbench.files.evaluation import Evaluation, ScanEvaluation, write_evaluation
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.provenance import summary
from pesbench.files.scan_set import ScanSet
from pesbench.models.record import (
    Described,
    deciding_entry,
    description,
    read_record,
    write_record,
)
from pesbench.models.registry import ModelEntry
from pesbench.tasks.dynamics.score import trajectory_rows
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.stored import Segment, Trajectories, Trajectory
from pesbench.tasks.dynamics.writing import write_trajectories
from pesbench.tasks.vibrations.settings import VibrationSettings
from pesbench.tasks.vibrations.stored import MoleculeVibrations, write_vibrations
from shards import evaluate_shard

SETTINGS = DynamicsSettings(
    temperatures_k=(300.0,), replicates=1, duration_ps=0.5, timestep_fs=1.0, store_every=10
)
COMMIT = "0123456789abcdef"
LEVEL = "Morse"  # of the toys
pytestmark = pytest.mark.usefixtures("not_drawn")


def net(name="net", sha="a", **settings) -> ModelEntry:
    """An entry with weights that are not on this machine."""
    told = {"sha256": sha * 64, "weights": f"/elsewhere/{name}.model", "dtype": "float64"}
    return ModelEntry(name, "mace", {**told, "level_of_theory": LEVEL, **settings})


def control(kind="zero", dose=None) -> ModelEntry:
    name = f"control-{kind}" + ("" if dose is None else f"_{dose:g}")
    return ModelEntry(name, "control", {"control": kind} | ({} if dose is None else {"dose": dose}))


METHOD = ModelEntry("truth", "tblite", {"method": "GFN2-xTB", "level_of_theory": LEVEL})


class Group:
    """A folder of results of one group, written file by file."""

    def __init__(self, folder, toy_set, toys, *, with_scan_set=True):
        self.folder, self.toys = folder, toys
        self.described: dict[str, Described] = {}
        folder.mkdir()
        with ScanSet(toy_set) as opened:
            self.sha256 = opened.sha256
        if with_scan_set:
            shutil.copy(toy_set, folder / "toys.h5")

    def add(self, entry, *, seen=None):
        self.described[entry.name] = Described(description(entry), seen or {})
        write_record(self.folder / "models.json", self.described)
        write_json(self.folder / entry.name / "model.json", entry.deciding())
        return entry

    def attributes(self, entry, stage, *, commit=COMMIT, code=None, wall_s=1.0):
        entries = (stage, *family_modules(entry.families))
        if code is None:  # must be given of a family that is not of this package
            code = stage_fingerprint(*entries)
        made_by = {" ".join(entries): code}
        return {
            "model": entry.name,
            "entry": entry.deciding(),
            "scan_set": "toys",
            "scan_set_sha256": self.sha256,
            "device": "cpu",
            "dtype": "float64",
            "wall_s": wall_s,
            "provenance": {
                "git_commit": commit,
                "code": made_by,
                "platform": "Linux",
            },
        }

    def scans(self, entry, ids=None, *, rough=0.0, shard="0000", failed=(), **how):
        """The reference's forces and a ripple of this size."""
        found = []
        for scan_id in sorted(ids or self.toys):
            scan = self.toys[scan_id]
            wave = rough * np.sin(40 * scan.coordinate)
            ok = scan_id not in failed
            found.append(
                ScanEvaluation(
                    scan_id=scan_id,
                    energy=scan.energy + wave if ok else np.full(scan.n_frames, np.nan),
                    forces=scan.forces * (1 + wave)[:, None, None],
                    frame_status=np.full(scan.n_frames, Status.OK.code, dtype=np.int8),
                    status=Status.OK if ok else Status.ERROR,
                    message="" if ok else "it broke",
                    wall_s=0.5,
                )
            )
        path = self.folder / entry.name / "bonds" / f"{shard}.h5"
        how = {"wall_s": len(found) / len(self.toys)} | how  # as long for each, whatever the shard
        write_evaluation(
            path, found, attributes=self.attributes(entry, "pesbench.tasks.bonds.run", **how)
        )
        return path

    def dynamics(
        self, entry, systems=("a", "b"), *, settings=SETTINGS, drift=0.0, shard=None, **how
    ):
        """Diatomics that swing: one trajectory a system."""
        n = settings.n_steps
        time_ps = np.arange(n + 1) * settings.timestep_fs / 1000
        trajectories = [
            Trajectory(
                system=name, temperature_k=300.0, replicate=0, numbers=np.array([6, 7]),
                bonds=np.array([[0, 1]]), charge=0, spin=1, degrees_of_freedom=1, last_step=n,
                relaxed=True, relax_steps=3, relax_fmax=0.01,
            )
            for name in systems
        ]  # fmt: skip
        swing = 0.02 * np.sin(2 * np.pi * time_ps / 0.02)[:, None] ** 2
        kinetic = np.repeat(swing, len(systems), axis=1)
        potential = drift * time_ps[:, None] - kinetic
        frames = np.arange(0, n + 1, settings.store_every)
        positions = np.zeros((len(frames), 2 * len(systems), 3))
        positions[:, 1::2, 0] = 1.3
        whole = Segment(0, potential, kinetic, frames, positions, np.zeros_like(positions))
        attributes = self.attributes(entry, "pesbench.tasks.dynamics.run", **how)
        attributes |= {"settings": asdict(settings), "n_steps": n}
        shard = shard or ("0000" if settings.timestep_fs == 1.0 else "half-0000")
        path = self.folder / entry.name / "dynamics" / f"{shard}.h5"
        write_trajectories(
            path, trajectories, [whole], timestep_fs=settings.timestep_fs,
            store_every=settings.store_every, attributes=attributes,
        )  # fmt: skip
        return path

    def vibrations(
        self, entry, systems=("a", "b"), *, stiffness=30.0, settings=None, reference=False,
        shard="0000", **how,
    ):  # fmt: skip
        """Diatomics with one spring; of the reference, as the workflow asks it."""
        molecules = []
        for name in systems:
            hessian = np.zeros((6, 6))
            hessian[::3, ::3] = stiffness * np.array([[1, -1], [-1, 1]])
            molecules.append(
                MoleculeVibrations(
                    system=name, numbers=np.array([6, 7]), hessian=hessian,
                    positions=np.array([[0.0, 0, 0], [1.3, 0, 0]]),
                    frequencies_cm1=np.array([300 * np.sqrt(stiffness)]), external_cm1=np.zeros(5),
                    asymmetry=0.0, status=Status.OK, message="", relaxed=True, relax_steps=3,
                    relax_fmax=0.001,
                )
            )  # fmt: skip
        attributes = self.attributes(entry, "pesbench.tasks.vibrations.run", **how)
        attributes |= {"settings": asdict(settings or VibrationSettings())}
        if reference:
            write_json(self.folder / "reference.json", entry.deciding())
        own = "reference" if reference else entry.name
        path = self.folder / own / "vibrations" / f"{shard}.h5"
        write_vibrations(path, molecules, attributes=attributes)
        return path

    def score(self):
        """What the rule `score` does, in each task."""
        for name in self.described:
            entry = deciding_entry(self.folder / name / "model.json")
            for task in tasks().values():
                if files := sorted((self.folder / name / task.name).glob("*.h5")):
                    reference = sorted((self.folder / "reference" / task.name).glob("*.h5"))
                    job = ScoreJob(files, self.folder / "toys.h5", task.settings(), entry=entry,
                                   reference=reference)  # fmt: skip
                    made = self.folder / name / "scores" / f"{task.name}.parquet"
                    write_scores(task.name, job, made)

    def only_scores(self):
        self.score()
        for task in tasks():
            for path in self.folder.glob(f"*/{task}"):
                shutil.rmtree(path)
        (self.folder / "toys.h5").unlink()


@pytest.fixture
def groups(tmp_path, toy_set, toys):
    """Two groups: one with the reference and a control, one with a model of its own."""
    a, b = (Group(tmp_path / name, toy_set, toys) for name in "ab")
    a.scans(a.add(METHOD))
    a.scans(a.add(control()), rough=1.0)
    a.scans(a.add(net("ours")), rough=0.05)
    b.scans(b.add(net("theirs", "b")), rough=0.01)
    return a, b


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(p.relative_to(folder)): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime)
        for p in files
    }


def merged(folders, out, **options):
    out.mkdir()
    return merge([g.folder if isinstance(g, Group) else g for g in folders], out, **options)


def refused(folders, out, **options) -> str:
    """The one line, and nothing is written."""
    with pytest.raises(UserError) as failure:
        merged(folders, out, **options)
    assert not list(out.iterdir())
    assert "\n" not in str(failure.value)
    return str(failure.value)


def tables(folders, out, **options) -> pd.DataFrame:
    """The leaderboard alone, without sections of models and page."""
    found = merged(folders, out, **options)
    for command in found.report("fsd_full"):
        if command[0] not in ("model-section", "page", "explorer"):
            assert cli.main(command) == 0
    return board(out)


def run(*arguments) -> int:
    return cli.main(["merge", *map(str, arguments)])


def board(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "leaderboard.csv").set_index("model")


def parts_of(folder, model, task="bonds") -> list[dict]:
    """What `merged.json` says of the files of a model."""
    content = json.loads((folder / "merged.json").read_text())
    return content["models"][model]["tasks"][task]["parts"]


def rows(folder, model, kind="bonds") -> pd.DataFrame:
    return pd.read_parquet(folder / model / "scores" / f"{kind}.parquet")


# --- one command --------------------------------------------------------------------------------


def test_two_groups_on_one_leaderboard(groups, tmp_path):
    """No entry is in the registry here and no weights lie on this machine."""
    a, b = groups
    for group in groups:
        for name in group.described:
            if name != "control-zero":
                group.dynamics(group.add(_entry(group, name)), drift=0.001)
    before = contents(tmp_path)
    out = tmp_path / "out"
    assert run(a.folder, b.folder, "--out", out) == 0
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    assert not (tmp_path / "out.part").exists()
    table = board(out)
    assert table["role"].to_dict() == {
        "theirs": "model", "ours": "model", "truth": "reference", "control-zero": "control",
    }  # fmt: skip
    assert table["rank"].dropna().to_dict() == {"theirs": 1, "ours": 2}
    assert (table["n_scored"] == 6).all()
    assert table.loc["truth", "fsd_full"] == 0
    assert not table["theory_gap"].any()
    assert table["md_n_planned"].dropna().to_dict() == {"theirs": 2, "ours": 2, "truth": 2}
    # what the rules would have written
    b.score()
    columns = ["scan", "fsd_full", "energy_mae", "wall_s"]
    pd.testing.assert_frame_equal(
        rows(out, "theirs")[columns], rows(b.folder, "theirs")[columns], check_exact=True
    )
    text = (out / "leaderboard.md").read_text()
    assert "## Where the results are from" in text
    assert re.search(rf"^\| theirs +\| {b.folder} +\| +6 \| +2 \| +cpu \| 01234567", text, re.M)
    page = (out / "leaderboard.html").read_text()
    assert "Where the results are from" in page
    assert str(b.folder) in page
    for name in (
        "sections/association/association.md", "sections/bonds/fsd_by_bond.png",
        "theirs/sections/bonds/worst.png", "toys.h5",
    ):  # fmt: skip
        assert (out / name).is_file(), name
    assert (out / "theirs/bonds/0000.h5").samefile(b.folder / "theirs/bonds/0000.h5")
    with Evaluation(out / "theirs" / "bonds" / "0000.h5") as evaluation:
        assert evaluation.model == "theirs"


def _entry(group, name) -> ModelEntry:
    known = {"truth": METHOD, "ours": net("ours"), "theirs": net("theirs", "b")}
    return known[name]


def test_the_manifest_says_where_everything_is_from(groups, tmp_path):
    a, b = groups
    out = tmp_path / "out"
    merged(groups, out)
    manifest = json.loads((out / "merged.json").read_text())
    assert manifest["scan_set"]["sha256"] == a.sha256
    assert manifest["folders"] == [str(a.folder), str(b.folder)]
    (part,) = manifest["models"]["theirs"]["tasks"]["bonds"]["parts"]
    assert (part["folder"], part["file"]) == (str(b.folder), "theirs/bonds/0000.h5")
    assert part["n"] == 6
    assert (part["as"], part["same_code"]) == ("files", True)
    code = stage_fingerprint("pesbench.tasks.bonds.run", *family_modules(["mace"]))
    assert part["made_from"] == [
        {"git_commit": COMMIT, "code": code, "device": "cpu", "dtype": "float64",
         "dtype_measured": "", "parameters": "", "elements": "", "platform": "Linux"}
    ]  # fmt: skip
    assert manifest["tasks"] == {"bonds": {"settings": None, "n_planned": 6}}
    digest = json.dumps(net("theirs", "b").deciding(), sort_keys=True).encode()
    assert manifest["models"]["theirs"]["entry_sha256"] == hashlib.sha256(digest).hexdigest()
    assert "dynamics" not in manifest["models"]["theirs"]["tasks"]


def test_shards_of_one_model_complete_each_other(groups, toys, tmp_path):
    """Two halves, one of them from elsewhere, are what one run gives, to the bit."""
    a, b = groups
    half = sorted(toys)[:3]
    shutil.rmtree(a.folder / "ours")
    a.scans(a.add(net("ours")), half, rough=0.05)
    b.scans(b.add(net("ours", weights="/other/place.model")), {*toys} - {*half}, rough=0.05)
    whole = Group(tmp_path / "whole", a.folder / "toys.h5", toys)
    whole.scans(whole.add(net("ours")), rough=0.05)
    whole.score()
    out = tmp_path / "out"
    merged(groups, out)
    pd.testing.assert_frame_equal(rows(out, "ours"), rows(whole.folder, "ours"), check_exact=True)
    assert sorted(p.name for p in (out / "ours" / "bonds").iterdir()) == ["0000.h5", "0001.h5"]


def test_results_that_are_there_twice_are_taken_once(groups, toys, tmp_path):
    a, b = groups
    some = sorted(toys)[:4]
    b.scans(b.add(net("ours")), some, rough=0.05)  # within those of a
    out = tmp_path / "one"
    merged(groups, out)
    assert len(rows(out, "ours")) == 6
    manifest = json.loads((out / "merged.json").read_text())
    assert [p["n"] for p in manifest["models"]["ours"]["tasks"]["bonds"]["parts"]] == [6]
    out = tmp_path / "two"  # in the other order two scans are new, four are not
    merged([b, a], out)
    pd.testing.assert_frame_equal(rows(out, "ours"), rows(tmp_path / "one", "ours"))
    parts = parts_of(out, "ours")
    assert [(p["n"], p["n_elsewhere"]) for p in parts] == [(4, 0), (2, 4)]
    with Evaluation(out / "ours" / "bonds" / "0001.h5") as evaluation:
        assert set(evaluation.ids) == {*toys} - {*some}


def test_other_results_for_one_scan_are_refused_and_can_be_left_out(groups, tmp_path):
    _, b = groups
    b.scans(b.add(net("ours")), ["C-N/b"], rough=0.05 + 1e-6)
    said = refused(groups, tmp_path / "out")
    assert "model 'ours' has other results for 'C-N/b' than" in said
    assert f"--without {b.folder}:ours" in said
    chosen = choices([], [f"{b.folder}:ou*"], [])
    assert tables(groups, tmp_path / "left", choices=chosen).loc["ours", "n_scored"] == 6
    # of controls, the cure takes all of them
    b.scans(b.add(control()), rough=1.0 + 1e-6)
    said = refused(groups, tmp_path / "control", choices={b.folder: Choice(without=("ours",))})
    assert f"--without '{b.folder}:control-*'" in said


def test_differences_of_rounding_are_taken_and_told(groups, tmp_path, caplog):
    a, b = groups
    b.add(net("ours"))
    b.scans(net("ours"), rough=0.05 + 1e-14)
    a.dynamics(net("ours"))
    b.dynamics(net("ours"), drift=1e-11)
    out = tmp_path / "out"
    merged(groups, out)
    told = json.loads((out / "merged.json").read_text())["warnings"]
    assert re.search(
        r"b/ours/bonds/0000.h5: 6 results of bonds .*at most \S+e-1\d eV and \S+e-1\d eV/Å", told[0]
    )
    assert re.search(r"2 results of dynamics .*, which 2 of them do not stay at", told[1])
    assert all(one in caplog.text for one in told)
    parts = parts_of(out, "ours")
    assert [part["folder"] for part in parts] == [str(a.folder)]
    # scores that stand for them are compared as closely
    b.only_scores()
    (b.folder / "ours" / "scores" / "dynamics.parquet").unlink()
    merged(groups, tmp_path / "scores")
    assert "(at most " in json.loads((tmp_path / "scores/merged.json").read_text())["warnings"][0]


def test_single_precision_has_fewer_digits(groups, tmp_path):
    a, b = groups
    entry = net("ours", dtype="float32")
    for group, rough in ((a, 0.05), (b, 0.05 + 1e-6)):
        path = group.scans(group.add(entry), rough=rough)
        with h5py.File(path, "r+") as file:
            file.attrs["dtype"] = "float32"
    merged(groups, tmp_path / "out")


# --- what cannot stand together -----------------------------------------------------------------


def test_another_scan_set_is_refused(groups, toys, tmp_path):
    a, _ = groups
    scans = [replace(one, energy=one.energy + 1e-9) for one in toys.values()]
    write_toys(tmp_path / "other.h5", scans)
    c = Group(tmp_path / "c", tmp_path / "other.h5", toys)
    c.scans(c.add(net("third", "c")))
    said = refused([a, c], tmp_path / "out")
    assert f"{c.folder}: its scan set toys.h5 ({c.sha256[:12]}) is another than" in said
    (c.folder / "toys.h5").unlink()  # then the files themselves tell
    said = refused([a, c], tmp_path / "out2")
    assert "third/bonds/0000.h5: model 'third' was evaluated on another scan set" in said
    assert f"--without {c.folder}:third" in said


def test_one_name_for_two_entries_is_refused_and_can_be_renamed(groups, tmp_path):
    a, b = groups
    b.scans(b.add(net("ours", "c")), rough=0.02)
    b.dynamics(net("ours", "c"))
    said = refused(groups, tmp_path / "out")
    assert f"{b.folder}: model 'ours' is another entry than in {a.folder} (`sha256`" in said
    assert f"--rename {b.folder}:ours=ours-2" in said
    before = contents(b.folder)
    out = tmp_path / "renamed"
    table = tables(groups, out, choices=choices([f"{b.folder}:ours=ours-2"], [], []))
    assert contents(b.folder) == before
    assert table.loc["ours-2", "fsd_full"] < table.loc["ours", "fsd_full"]
    assert set(rows(out, "ours-2")["model"]) == {"ours-2"}
    with Evaluation(out / "ours-2" / "bonds" / "0000.h5") as evaluation:
        assert evaluation.model == json.loads(evaluation.attributes["entry"])["name"] == "ours-2"
    assert json.loads((out / "ours-2" / "model.json").read_text())["name"] == "ours-2"
    assert f"ours-2: called ours in {b.folder}." in (out / "leaderboard.md").read_text()
    assert "Numerical variants" not in (out / "leaderboard.md").read_text()  # other weights


def test_numerical_variants_of_one_checkpoint_are_told_by_its_sha256(groups, tmp_path):
    a, b = groups
    b.scans(b.add(net("ours-float32", dtype="float32", weights="/b/x.model")), rough=0.0501)
    out = tmp_path / "out"
    tables([a, b], out)
    table = pd.read_csv(out / "sections" / "parity" / "parity.csv")
    assert set(zip(table["model"], table["base"], strict=True)) == {("ours-float32", "ours")}
    assert "## Numerical variants" in (out / "leaderboard.md").read_text()


def test_a_base_is_renamed_with_its_model(groups, tmp_path):
    """A defect on another group's `ours` is not one on ours."""
    a, b = groups
    base = ModelEntry("ours", "mace", {"sha256": "c" * 64, "dtype": "float64"})
    bent = ModelEntry(
        "bent", "perturbed",
        {"base": "ours", "perturbation": "ripple", "dose": 0.1, "wavelength": 0.1,
         "level_of_theory": LEVEL},
    ).with_base(base)  # fmt: skip
    b.scans(b.add(bent), rough=0.2)
    said = refused(groups, tmp_path / "out")
    assert f"{b.folder}: model 'bent' is made from another 'ours' than that of {a.folder}" in said
    assert f"--rename {b.folder}:ours=ours-2" in said
    out = tmp_path / "renamed"
    merged(groups, out, choices={b.folder: Choice(renamed={"ours": "ours-2"})})
    settings = json.loads((out / "bent" / "model.json").read_text())["settings"]
    assert settings["base"] == settings["base_entry"]["name"] == "ours-2"
    # the same base under the same name is none to refuse, with a batch size of its own
    (b.folder / "bent" / "bonds" / "0000.h5").unlink()
    same = ModelEntry("ours", "mace", {"sha256": "a" * 64, "dtype": "float64"})
    b.scans(b.add(bent.with_base(same)), rough=0.2)
    merged(groups, tmp_path / "same")


def test_dynamics_of_other_settings_are_refused_and_can_be_left_out(groups, tmp_path):
    a, b = groups
    a.dynamics(net("ours"))
    b.dynamics(net("theirs", "b"), settings=replace(SETTINGS, duration_ps=0.4))
    said = refused(groups, tmp_path / "out")
    assert "other settings than those of 'ours'" in said
    assert "`duration_ps` 0.4 and 0.5" in said
    assert f"--without-task {b.folder}:dynamics" in said
    table = tables(groups, tmp_path / "left", choices=choices([], [], [f"{b.folder}:dynamics"]))
    assert table["md_n_planned"].dropna().to_dict() == {"ours": 2}
    # half the time step beside the common one is no other setting, alone it is
    (b.folder / "theirs" / "dynamics" / "0000.h5").unlink()
    b.dynamics(net("theirs", "b"), settings=replace(SETTINGS, timestep_fs=0.5))
    assert "`timestep_fs` 0.5 and 1.0" in refused(groups, tmp_path / "half")
    b.dynamics(net("theirs", "b"))
    merged(groups, tmp_path / "both")
    steps = {n: rows(tmp_path / "both", n, "dynamics")["timestep_fs"] for n in ("theirs", "ours")}
    assert steps["theirs"].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert steps["ours"].tolist() == [1.0, 1.0]  # nobody planned halves of it
    assert {p.name for p in (tmp_path / "both/theirs/dynamics").iterdir()} == {
        "0000.h5", "half-0000.h5",
    }  # fmt: skip


@pytest.mark.parametrize("step", [0.3, 0.11, 0.25, 0.5 + 1e-6, 0.5, 0.5 + 1e-15])
@pytest.mark.parametrize("as_scores", [False, True])
def test_beside_a_time_step_stands_its_half_only(groups, tmp_path, step, as_scores):
    """One model, at 1 fs in one group and at another step in the other."""
    a, b = groups
    a.dynamics(net("ours"))
    b.scans(b.add(net("ours")), rough=0.05)
    path = b.dynamics(net("ours"), settings=replace(SETTINGS, timestep_fs=step))
    if as_scores:
        b.only_scores()
        path = b.folder / "ours" / "scores" / "dynamics.parquet"
    if math.isclose(step, 0.5):
        merged(groups, tmp_path / "out")
        return
    said = refused(groups, tmp_path / "out")
    assert said.startswith(f"{path}: results of 'ours' for dynamics were made with other settings")
    assert f"those of 'ours' in {a.folder / 'ours' / 'dynamics' / '0000.h5'}" in said
    assert f"(`timestep_fs` {step!r} and 1.0)" in said
    assert f"--without-task {b.folder}:dynamics" in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"level_of_theory": "another"}, "`level_of_theory` 'another' and 'Morse'"),
        ({"seed_of": "x"}, "`seed_of` 'x' and None"),
        ({"citation": "somebody"}, ""),  # readers may be told anything
    ],
)
def test_one_entry_is_described_alike(groups, toys, tmp_path, settings, said):
    _, b = groups
    b.scans(b.add(net("ours", **settings)), rough=0.05)
    if said:
        assert said in refused(groups, tmp_path / "out")
    else:
        merged(groups, tmp_path / "out")


SEEN, OTHERS = {"a": "seen"}, {"a": "unseen"}


@pytest.mark.parametrize(
    ("told", "second", "silent"),
    [
        ([SEEN, OTHERS], 1, None),
        ([SEEN, SEEN, OTHERS], 2, None),
        ([SEEN, None], 1, 1),
        ([None, SEEN], 1, 0),
        ([None, None, SEEN], 2, 0),
        ([SEEN, SEEN], None, None),
        ([None, None], None, None),
    ],
)
def test_an_entry_has_seen_the_same_everywhere(toys, toy_set, tmp_path, told, second, silent):
    found = [Group(tmp_path / str(number), toy_set, toys) for number in range(len(told))]
    for group, seen, part in zip(found, told, [["C-C/a"], ["C-N/b"], ["C-O/c"]], strict=False):
        group.scans(group.add(net("ours"), seen=seen), part)
    if second is None:
        assert merged(found, tmp_path / "out").models["ours"].seen == (told[0] or {})
        return
    said = refused(found, tmp_path / "out")
    assert said.startswith(f"{found[second].folder}: model 'ours' has seen other systems than")
    assert f"--without {found[second].folder}:ours" in said
    assert ("does not tell" in said) == (silent is not None)
    if silent is not None:
        assert f"{found[silent].folder} does not tell" in said


def test_trajectories_alone_are_no_row(groups, tmp_path):
    _, b = groups
    b.dynamics(b.add(net("third", "c")))
    assert "results of 'third' for dynamics and none for bonds" in refused(groups, tmp_path / "out")


# --- what is missing ----------------------------------------------------------------------------


def test_missing_scans_and_trajectories_are_counted(groups, toys, tmp_path, caplog):
    a, b = groups
    shutil.rmtree(b.folder / "theirs")
    theirs = b.add(net("theirs", "b"), seen={"a": "seen", "f": "unseen"})
    b.scans(theirs, sorted(toys)[:4], rough=0.01, failed=["C-C/a"])
    a.dynamics(METHOD)
    a.dynamics(net("ours"))
    b.dynamics(theirs, ["a"])
    out = tmp_path / "out"
    with caplog.at_level(logging.WARNING):
        row = tables(groups, out).loc["theirs"]
    assert "theirs: 2 of 6 results of bonds are in none of the merged results" in caplog.text
    assert "theirs: 1 of 2 results of dynamics are in none" in caplog.text
    assert (row["n_planned"], row["n_scored"]) == (6, 3)
    assert row["left_out"] == "3 of 6 scans scored, below the entry threshold of 90 %"
    assert pd.isna(row["rank"])
    assert row["missing"] == "2 not evaluated, 1 error"
    assert (row["md_n_planned"], row["md_n_finished"], row["md_n_counted"]) == (2, 1, 1)
    assert row["md_missing"] == "1 not evaluated"
    scores = rows(out, "theirs").set_index("scan")
    ours = rows(out, "ours").set_index("scan")
    assert (scores["status"] == "not_evaluated").sum() == 2
    assert scores.loc["O-S/f", "fsd_full"] != scores.loc["O-S/f", "fsd_full"]  # never a 0
    assert scores.loc["O-S/f", "seen"] == "unseen"
    identity = ["system", "bond", "n_atoms", "n_frames"]
    pd.testing.assert_frame_equal(scores[identity].sort_index(), ours[identity])
    text = (out / "leaderboard.md").read_text()
    assert "4 of 6" in text
    assert "were never run for this model" in text
    # what is absent is no result: merged once more, as scores, it stays to be filled in
    shutil.rmtree(out / "theirs" / "bonds")
    c = Group(tmp_path / "c", a.folder / "toys.h5", toys)
    c.scans(c.add(theirs, seen={"a": "seen", "f": "unseen"}), sorted(toys)[4:], rough=0.01)
    merged([out, c], tmp_path / "filled")
    found = rows(tmp_path / "filled", "theirs")["status"].value_counts().to_dict()
    assert found == {"ok": 5, "error": 1}


def test_scans_that_nobody_has_are_told_once(toys, toy_set, tmp_path):
    a = Group(tmp_path / "a", toy_set, toys)
    a.scans(a.add(net("ours")), sorted(toys)[:5], rough=0.1)
    out = tmp_path / "out"
    assert tables([a], out).loc["ours", "n_planned"] == 5
    assert (
        "1 of the 6 scans of the set were evaluated by no model"
        in (out / "leaderboard.md").read_text()
    )


def test_a_bond_that_no_model_has_a_score_of_has_its_panel(toys, toy_set, tmp_path):
    a = Group(tmp_path / "a", toy_set, toys)
    a.scans(a.add(net("ours")), rough=0.1, failed=["C-C/a"])
    out = tmp_path / "out"
    found = merged([a], out)
    (figures,) = (c for c in found.report("fsd_full") if c[:2] == ["section", "bonds"])
    assert cli.main(figures) == 0
    assert (out / "sections" / "bonds" / "fsd_by_bond.png").stat().st_size > 0


def test_part_of_a_file_of_trajectories_keeps_its_share_of_the_time(groups, tmp_path):
    a, b = groups
    a.dynamics(net("ours"), ["a"], wall_s=10.0)
    b.scans(b.add(net("ours")), rough=0.05)
    b.dynamics(net("ours"), ["a", "b", "c"], wall_s=90.0)
    out = tmp_path / "out"
    merged(groups, out)
    found = rows(out, "ours", "dynamics").set_index("system")["wall_s"]
    assert found.to_dict() == pytest.approx({"a": 10.0, "b": 30.0, "c": 30.0})
    with Trajectories(out / "ours" / "dynamics" / "0001.h5") as opened:
        assert opened.names == ("b_300K_0", "c_300K_0")
        assert not [name for name in h5py.File(opened.path)["observables"] if name.startswith("a")]
    b.dynamics(net("ours"), ["a", "b"], drift=0.1)
    assert "has other results for 'a_300K_0 (timestep_fs 1)'" in refused(groups, tmp_path / "other")


# --- scores without what they were made of ------------------------------------------------------


def test_scores_alone_stand_beside_a_fresh_run(groups, tmp_path):
    """As this project ships them: model.json, models.json and scores, no scan set."""
    a, b = groups
    for group, name in ((a, "truth"), (a, "ours"), (b, "theirs")):
        group.dynamics(_entry(group, name))
    want = tables(groups, tmp_path / "raw")
    b.only_scores()
    assert sorted(p.name for p in b.folder.rglob("*") if p.is_file()) == [
        "bonds.parquet", "dynamics.parquet", "model.json", "models.json",
    ]  # fmt: skip
    out = tmp_path / "out"
    assert run(a.folder, b.folder, "--out", out) == 0
    pd.testing.assert_frame_equal(board(out), want, check_exact=True)
    text = (out / "leaderboard.md").read_text()
    assert "Scores used as they are" in text
    assert "theirs (bonds), theirs (dynamics)" in text
    assert "6 (scores)" in text
    assert "Made by other code" not in text  # they tell by which, and it is this version's
    parts = parts_of(out, "theirs")
    assert [(p["as"], p["made_from"][0]["git_commit"]) for p in parts] == [("scores", COMMIT)]
    page = (out / "leaderboard.html").read_text()
    assert '<details id="bonds-theirs">' in page
    assert not (out / "theirs" / "sections" / "bonds" / "worst.png").exists()
    # merged once more, and alone: of its scan set it has but the name
    pd.testing.assert_frame_equal(tables([out], tmp_path / "again"), want, check_exact=True)
    assert "no folder holds the scan set; give its file with --scan-set" in refused(
        [b], tmp_path / "alone"
    )
    merged([b], tmp_path / "given", scan_set=a.folder / "toys.h5")


def test_scores_fill_in_what_evaluations_do_not_hold(groups, toys, tmp_path):
    a, _ = groups
    a.score()
    want = rows(a.folder, "ours")
    (a.folder / "ours" / "bonds" / "0000.h5").unlink()
    a.scans(net("ours"), sorted(toys)[:2], rough=0.05)
    out = tmp_path / "out"
    merged(groups, out)
    pd.testing.assert_frame_equal(rows(out, "ours"), want, check_exact=True)
    parts = parts_of(out, "ours")
    assert [(p["as"], p["n"]) for p in parts] == [("files", 2), ("scores", 4)]
    merged([out], tmp_path / "again")
    pd.testing.assert_frame_equal(rows(tmp_path / "again", "ours"), want, check_exact=True)


def test_scores_are_compared_with_evaluations_of_the_same_scans(groups, toys, tmp_path):
    """Row by row: a scan without a score equals one without a score."""
    a, b = groups
    failed = ["C-C/a"]
    a.scans(net("ours"), rough=0.05, failed=failed)
    b.scans(b.add(net("ours")), sorted(toys)[:3], rough=0.05, failed=failed)
    b.only_scores()
    merged(groups, tmp_path / "out")
    models = json.loads((tmp_path / "out" / "merged.json").read_text())["models"]
    assert [p["as"] for p in models["ours"]["tasks"]["bonds"]["parts"]] == ["files"]
    merged([b, a], tmp_path / "other")  # scores first: the other half is scored here
    models = json.loads((tmp_path / "other" / "merged.json").read_text())["models"]
    parts = models["ours"]["tasks"]["bonds"]["parts"]
    assert [(p["as"], p["n"]) for p in parts] == [("scores", 3), ("files", 3)]
    pd.testing.assert_frame_equal(rows(tmp_path / "other", "ours"), rows(tmp_path / "out", "ours"))
    a.scans(net("ours"), rough=0.051, failed=failed)
    said = refused(groups, tmp_path / "no")
    assert "scores/bonds.parquet: model 'ours' has other results for 'C-N/b' than" in said


def test_scores_of_another_version_are_marked_or_refused(groups, toys, tmp_path):
    _, b = groups
    b.only_scores()
    path = b.folder / "theirs" / "scores" / "bonds.parquet"
    table = pd.read_parquet(path)
    table.attrs["code"] = "of another version"
    table.to_parquet(path)
    out = tmp_path / "out"
    merged(groups, out)
    (part,) = parts_of(out, "theirs")
    assert part["same_code"] is False
    assert "not made by this version's code" in refused(groups, tmp_path / "s", strict=True)
    # beside evaluations they stay what they are, however often they are merged
    b.scans(net("theirs", "b"), sorted(toys)[:2], rough=0.01)
    merged(groups, tmp_path / "mixed")
    merged([tmp_path / "mixed"], tmp_path / "again")
    manifest = json.loads((tmp_path / "again" / "merged.json").read_text())
    parts = manifest["models"]["theirs"]["tasks"]["bonds"]["parts"]
    assert [(p["n"], p["same_code"]) for p in parts] == [(2, True), (4, False)]
    (b.folder / "theirs" / "bonds" / "0000.h5").unlink()
    table.drop(columns="n_frames").to_parquet(path)
    assert "no column 'n_frames'" in refused(groups, tmp_path / "c")


def edited(path, **attributes):
    """Scores with other attributes; None for one that is not there."""
    table = pd.read_parquet(path)
    table.attrs = {k: v for k, v in (table.attrs | attributes).items() if v is not None}
    table.to_parquet(path)


@pytest.mark.parametrize("kind", ["bonds", "dynamics"])
def test_scores_of_another_entry_are_refused(groups, toys, tmp_path, kind, caplog):
    """Weights were replaced, and their scores not made again."""
    a, b = groups
    for group, name in ((a, "ours"), (b, "theirs")):
        group.dynamics(_entry(group, name))
    b.only_scores()
    path = b.folder / "theirs" / "scores" / f"{kind}.parquet"
    edited(path, entry=net("theirs", "b").deciding())
    write_json(b.folder / "theirs" / "model.json", net("theirs", "d").deciding())
    said = refused(groups, tmp_path / "out")
    if kind == "dynamics":  # scans are read first
        assert "scores/bonds.parquet: made with another entry" in said
        edited(
            b.folder / "theirs" / "scores" / "bonds.parquet", entry=net("theirs", "d").deciding()
        )
        said = refused(groups, tmp_path / "out2")
    assert said.startswith(f"{path}: made with another entry than model.json beside it (`sha256` ")
    # what evaluations hold is scored anew, whatever lies beside them; what they do not is not
    b.scans(net("theirs", "d"), rough=0.01)
    b.dynamics(net("theirs", "d"))
    shutil.copy(a.folder / "toys.h5", b.folder)
    merged(groups, tmp_path / "anew")
    if kind == "bonds":
        b.scans(net("theirs", "d"), sorted(toys)[:5], rough=0.01)
    else:
        b.dynamics(net("theirs", "d"), ["a"])
    assert f"{path}: made with another entry" in refused(groups, tmp_path / "part")
    # scores of a version before this one do not tell: so does the leaderboard
    edited(path, entry=None)
    tables(groups, tmp_path / "older")
    told = f"{b.folder}: scores/{kind}.parquet of theirs does not tell the entry it was made with"
    assert told in caplog.text
    assert told in (tmp_path / "older" / "leaderboard.md").read_text()
    # nor do those that are merged with them
    attributes = rows(tmp_path / "older", "theirs", kind).attrs
    assert attributes["entry"] is None
    assert rows(tmp_path / "older", "ours", kind).attrs["entry"] == net("ours").deciding()


def test_scores_keep_their_entry_under_another_name(groups, tmp_path):
    """And a perturbed model that of its base, as it is called in the merged folder."""
    _, b = groups
    base = ModelEntry("ours", "mace", {"sha256": "c" * 64, "dtype": "float64"})
    bent = ModelEntry(
        "bent",
        "perturbed",
        {"base": "ours", "perturbation": "ripple", "dose": 0.1, "level_of_theory": LEVEL},
    ).with_base(base)
    b.scans(b.add(net("ours", "c")), rough=0.02)
    b.scans(b.add(bent), rough=0.2)
    b.only_scores()
    chosen = choices([f"{b.folder}:ours=ours-2"], [], [])
    out = tmp_path / "out"
    merged(groups, out, choices=chosen)
    for name in ("ours-2", "bent"):
        told = rows(out, name).attrs["entry"]
        assert told == json.loads((out / name / "model.json").read_text())
    assert rows(out, "ours-2").attrs["entry"]["name"] == "ours-2"
    assert rows(out, "bent").attrs["entry"]["settings"]["base_entry"]["name"] == "ours-2"
    merged([out], tmp_path / "again")
    assert not json.loads((out / "merged.json").read_text())["warnings"]
    # and the base's weights are a part of it
    other = bent.with_base(replace(base, settings=base.settings | {"sha256": "d" * 64}))
    write_json(b.folder / "bent" / "model.json", other.deciding())
    said = refused(groups, tmp_path / "no", choices=chosen)
    assert "bent/scores/bonds.parquet: made with another entry" in said
    assert "`base_entry.settings.sha256`" in said


@pytest.mark.parametrize("of_merge", [False, True])
def test_a_damaged_table_of_scores_is_refused(groups, tmp_path, of_merge):
    """By the sha256 of the whole file."""
    _, b = groups
    folder = b.folder
    if of_merge:
        folder = tmp_path / "out"
        merged(groups, folder)
    else:
        b.score()
    shutil.rmtree(folder / "theirs" / "bonds")
    path = folder / "theirs" / "scores" / "bonds.parquet"
    whole = path.read_bytes()
    column = next(
        c for k in range(99)
        if (c := pq.ParquetFile(path).metadata.row_group(0).column(k)).path_in_schema == "fsd_full"
    )  # fmt: skip
    last = column.data_page_offset + column.total_compressed_size - 1
    path.write_bytes(whole[:last] + bytes([whole[last] ^ 1]) + whole[last + 1 :])
    said = refused([folder], tmp_path / "again")
    assert said.startswith(f"{path}: damaged scores, their content has another sha256")
    path.write_bytes(whole)
    merged([folder], tmp_path / "whole")


# --- code and provenance ------------------------------------------------------------------------


def test_other_code_is_told_and_refused_if_asked(groups, tmp_path):
    a, b = groups
    merged(groups, tmp_path / "same", strict=True)
    b.scans(net("theirs", "b"), rough=0.01, code="0" * 16, commit="fedcba9876543210")
    said = refused(groups, tmp_path / "strict", strict=True)
    assert "theirs/bonds/0000.h5 (theirs, bonds by commit fedcba98)" in said
    out = tmp_path / "out"
    tables([a, b], out)
    assert "without a record of the code: theirs (bonds)." in (out / "leaderboard.md").read_text()
    b.scans(net("theirs", "b"), rough=0.01, code="")  # made before files told
    refused(groups, tmp_path / "untold", strict=True)


def test_a_family_that_this_version_does_not_have(groups, tmp_path):
    a, b = groups
    new = ModelEntry("seven", "sevennet", {"sha256": "e" * 64, "level_of_theory": LEVEL})
    b.scans(b.add(new), rough=0.03, code="1" * 16)
    out = tmp_path / "out"
    assert tables([a, b], out).loc["seven", "family"] == "sevennet"
    assert "seven (bonds)" in (out / "leaderboard.md").read_text()


def test_an_evaluation_tells_by_which_code_it_was_made(toy_set, tmp_path):
    evaluate_shard(fake_entry(), toy_set, ["C-C/a"], tmp_path / "e.h5", device="cpu")
    with Evaluation(tmp_path / "e.h5") as evaluation:
        made = summary(evaluation.attributes, "pesbench.tasks.bonds.run")
    assert made["code"] == stage_fingerprint("pesbench.tasks.bonds.run", *family_modules(["ase"]))
    assert made["device"] == "calculator"  # an ASE calculator knows
    job = ScoreJob([tmp_path / "e.h5"], toy_set, tasks()["bonds"].settings())
    write_scores("bonds", job, tmp_path / "s.parquet")
    assert pd.read_parquet(tmp_path / "s.parquet").attrs["made_from"] == [made]


# --- bad input ----------------------------------------------------------------------------------


def test_a_folder_must_say_what_its_models_are(groups, repo, tmp_path, monkeypatch):
    _, b = groups
    (b.folder / "models.json").unlink()
    said = refused(groups, tmp_path / "out")
    assert f"{b.folder / 'models.json'}: no such file" in said
    assert "python -m pesbench describe --models MODEL" in said
    # which is what the workflow does, from the registry
    monkeypatch.chdir(repo)
    out = tmp_path / "models.json"
    names = ["mace-mini", "gfn2-xtb", "gfn2-step_1", "mace-off23-small", "emt", "control-zero"]
    assert cli.main(["describe", "--models", *names, "--out", str(out)]) == 0
    found = read_record(out)
    assert list(found) == names
    assert found["mace-mini"].description["level_of_theory"] == "GFN2-xTB"
    assert "unseen" in found["mace-mini"].seen.values()
    assert "weights" not in found["mace-mini"].description
    assert found["gfn2-step_1"].description["level_of_theory"] == "GFN2-xTB"
    assert "elements" not in found["emt"].description  # which it asks for, and so decide
    assert found["mace-off23-small"].description["license"].startswith("ASL")
    assert found["control-zero"] == Described()


@pytest.mark.parametrize("file", ["theirs/scans/0000.h5", "theirs/scores/scans.parquet"])
def test_a_folder_of_an_older_layout_is_refused(groups, tmp_path, file):
    """In one line with the command that renames its files, which does so."""
    _, b = groups
    b.score()
    old = b.folder / file
    (b.folder / file.replace("scans", "bonds")).parent.rename(old.parent)
    if old.suffix == ".parquet":
        old.with_name("bonds.parquet").rename(old)
    said = refused(groups, tmp_path / "out")
    assert f"{file} has the name that an earlier version gave it" in said
    subprocess.run(["bash", "-c", said.split("rename such files: ")[1]], check=True)
    merged(groups, tmp_path / "renamed")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "theirs/model.json").write_text("{}"), "not a resolved model entry"),
        (lambda f: (f / "models.json").write_text("[1]"), "not what the workflow writes"),
        (lambda f: (f / "theirs/bonds/0000.h5").write_bytes(b"no"), "not a readable evaluation"),
        (lambda f: shutil.copytree(f / "theirs", f / "other"), ""),
        (lambda f: (f / "more.h5").touch(), "one scan set only can lie there"),
    ],
)
def test_spoilt_folders_are_refused_in_one_line(groups, tmp_path, caplog, spoil, said):
    _, b = groups
    spoil(b.folder)
    if said:
        assert said in refused(groups, tmp_path / "out")
    else:
        merged(groups, tmp_path / "out")
        assert "other is not in models.json" in caplog.text


def test_what_a_plan_has_left_in_a_folder_does_no_harm(groups, tmp_path):
    a, _ = groups
    shutil.copy(next(a.folder.glob("*.h5")), a.folder / "probe_scans.h5")
    merged(groups, tmp_path / "out")
    assert not (tmp_path / "out" / "probe_scans.h5").exists()


def test_nothing_left_is_no_leaderboard(groups, tmp_path):
    _, b = groups
    (b.folder / "theirs" / "bonds" / "0000.h5").unlink()
    assert "no result is left to merge" in refused([b], tmp_path / "out")


def test_a_file_of_another_model_or_entry_is_refused(groups, tmp_path):
    a, b = groups
    path = b.folder / "theirs" / "bonds" / "0000.h5"
    shutil.copy(a.folder / "ours" / "bonds" / "0000.h5", path)
    assert f"{path}: belongs to model 'ours', not 'theirs'" in refused(groups, tmp_path / "m")
    b.scans(net("theirs", "c"))
    said = refused(groups, tmp_path / "e")
    assert f"{path}: made with another entry than model.json beside it (`sha256`" in said


def test_a_damaged_file_leaves_nothing_behind(groups, tmp_path, caplog):
    """Bytes that no longer unpack are found when they are read, where no sha256 tells before."""
    a, b = groups
    path = b.folder / "theirs" / "bonds" / "0000.h5"
    with h5py.File(path, "r+") as file:  # as of an older version, without a sha256
        file.attrs["model"] = file.attrs["model"]
        chunk = file["C-N/b/forces"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(bytes(data))
    out = tmp_path / "out"
    assert run(a.folder, b.folder, "--out", out) == 2
    assert f"{path.parent}: damaged (" in caplog.records[-1].getMessage()
    assert "\n" not in caplog.records[-1].getMessage()
    assert not out.exists()
    assert not (tmp_path / "out.part").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rename", "B=c"], "give RESULTS:OLD=NEW"),
        (["--rename", "{b}:theirs=a/b"], "unfit for a path"),
        (["--rename", "{b}:thiers=x"], "did you mean 'theirs'?"),
        (["--rename", "{a}:ours=truth"], "there is a model 'truth' there"),
        (["--without", "{b}:thiers"], "did you mean 'theirs'?"),
        (["--without", "{b}"], "give RESULTS:MODEL"),
        (["--without", "{b}c:theirs"], "none of RESULTS"),
        (["--without-task", "nowhere:dynamics"], "none of RESULTS"),
        (["--without-task", "{b}"], "give RESULTS:TASK"),
        (["--without-task", "{b}:dynamic"], "did you mean 'dynamics'?"),
        (["--without-dynamics", "{b}"], "--without-task RESULTS:dynamics"),
        (["{b}"], "is given twice"),
        (["{b}/.."], "--out"),
        (["{b}x"], "no such folder"),
        (["--scan-set", "nowhere.h5"], "no such scan set"),
        (["--rank-by", "model"], "cannot rank models"),
    ],
)
def test_bad_options(groups, tmp_path, caplog, options, said):
    a, b = groups
    filled = [text.format(a=a.folder, b=b.folder) for text in options]
    assert run(a.folder, b.folder, *filled, "--out", tmp_path / "out") == 2
    message = caplog.records[-1].getMessage()
    assert said in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_not_written_over(groups, tmp_path, caplog):
    a, b = groups
    before = contents(a.folder)
    assert run(b.folder, "--out", a.folder) == 2
    assert "is there already; remove it" in caplog.records[-1].getMessage()
    assert contents(a.folder) == before


def _killed(out):
    """What a merge leaves that is killed between two files."""
    frozen = new_folder(out)
    part = frozen.__enter__()
    (part / "rest").touch()
    shutil.copytree(part, kept := out.with_name("kept"))
    frozen.gen.close()
    kept.rename(part)


def test_what_a_killed_merge_has_left_is_removed(tmp_path):
    out = tmp_path / "out"
    _killed(out)
    assert (tmp_path / "out.part" / "rest").exists()
    with new_folder(out) as part:
        (part / "new").touch()
    assert [path.name for path in out.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _file(out, _):
    out.write_text("mine")


def _filled(out, _):
    (out / "mine").mkdir(parents=True)


def _part(out, _):
    (out.with_name("out.part") / "mine").mkdir(parents=True)


def _linked_part(out, elsewhere):
    _killed(out)
    out.with_name("out.part").rename(elsewhere)
    out.with_name("out.part").symlink_to(elsewhere)


def _link(out, elsewhere):
    elsewhere.mkdir()
    out.symlink_to(elsewhere)


def _dangling(out, elsewhere):
    out.symlink_to(elsewhere)


@pytest.mark.parametrize("spoil", [_file, _filled, _part, _linked_part, _link, _dangling])
def test_nothing_is_removed_that_merge_did_not_make(groups, tmp_path, caplog, spoil):
    spoil(tmp_path / "out", tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    assert run(groups[0].folder, "--out", tmp_path / "out") == 2
    assert "\n" not in caplog.records[-1].getMessage()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("a/out", "which is read"),
        ("a/ours/bonds/0000.h5/out", "which is read"),
        (".", "which is read"),
        ("b/../a", "which is read"),
        ("/dev/null", "is a device"),
        ("/dev/null/out", "no folder can be made"),
        ("o" * 254, "too long"),
        ("file/out", "no folder can be made"),
    ],
)
def test_out_is_a_folder_of_its_own(groups, tmp_path, caplog, out, said):
    (tmp_path / "file").touch()
    before = contents(tmp_path)
    assert run(groups[0].folder, "--out", tmp_path / out) == 2
    assert said in caplog.records[-1].getMessage()
    assert contents(tmp_path) == before


def test_a_folder_may_have_the_name_of_an_option(groups, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    groups[1].folder.rename(tmp_path / "--help")
    assert run("--out=--help.merged", "--", "a", "--help") == 0
    assert (tmp_path / "--help.merged" / "leaderboard.md").is_file()


def test_models_of_an_earlier_run_are_left_out_aloud(groups, tmp_path, caplog):
    a, b = groups
    del a.described["ours"]
    write_record(a.folder / "models.json", a.described)
    b.add(net("planned", "d"))  # and has no result yet
    found = merged(groups, tmp_path / "out")
    assert "ours is not in models.json" in caplog.text
    assert "no result of planned; left out" in caplog.text
    assert list(found.models) == ["theirs", "truth", "control-zero"]


def test_a_file_without_a_link_is_copied(groups, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    out = tmp_path / "out"
    merged(groups, out)
    source = groups[1].folder / "theirs" / "bonds" / "0000.h5"
    assert (out / "theirs" / "bonds" / "0000.h5").read_bytes() == source.read_bytes()
    assert not (out / "theirs" / "bonds" / "0000.h5").samefile(source)


def test_a_mistake_of_our_own_is_no_damage(groups, tmp_path, monkeypatch):
    monkeypatch.setattr("pesbench.commands.merge.rows.write_scores", lambda *_, **__: {}["mine"])
    with pytest.raises(KeyError, match="mine"):
        merged(groups, tmp_path / "out")
    path = groups[1].folder / "theirs" / "bonds" / "0000.h5"
    with h5py.File(path, "r+") as file:
        del file.attrs["scan_set_sha256"]
    assert f"{path}: damaged (" in refused(groups, tmp_path / "damaged")


def test_wall_time_of_trajectories_is_what_the_rows_say(groups):
    """What the share of a part of a file rests on."""
    a, _ = groups
    path = a.dynamics(net("ours"), ["a", "b"], wall_s=8.0)
    assert [row["wall_s"] for row in trajectory_rows([path])] == [4.0, 4.0]
