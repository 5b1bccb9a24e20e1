"""Results of tasks are merged from what tasks declare, vibrations and made-up ones among them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import h5py
import numpy as np
import pandas as pd
import pytest
from test_merge import (
    METHOD,
    Group,
    board,
    contents,
    control,
    merged,
    net,
    parts_of,
    refused,
    rows,
    run,
)

from pesbench.commands.merge.options import choices
from pesbench.core.errors import FileError
from pesbench.core.found import tasks
from pesbench.core.interface import Status
from pesbench.files.atomic import atomic_path, write_json
from pesbench.files.evaluation import ScanEvaluation, write_evaluation
from pesbench.files.hdf5 import writing
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import chosen_systems
from pesbench.files.stored_results import Groups
from pesbench.files.stored_tables import write_scores
from pesbench.metrics.survival import Outcome
from pesbench.tasks.approach.pairs import approaches
from pesbench.tasks.approach.settings import ApproachSettings
from pesbench.tasks.bonds.score import PLACES
from pesbench.tasks.lj_core.cases import cases
from pesbench.tasks.lj_core.settings import CoreSettings
from pesbench.tasks.lj_core.stored import Answer, write_answers
from pesbench.tasks.vibrations.settings import VibrationSettings

SCALED = VibrationSettings(displacement_angstrom=0.02)
pytestmark = pytest.mark.usefixtures("not_drawn")


@pytest.fixture
def groups(tmp_path, toy_set, toys):
    """Two groups with vibrations: each holds those of the reference, too."""
    a, b = (Group(tmp_path / name, toy_set, toys) for name in "ab")
    a.scans(a.add(METHOD))
    a.scans(a.add(control()), rough=1.0)
    for group, name, letter in ((a, "ours", "a"), (b, "theirs", "b")):
        group.scans(group.add(net(name, letter)), rough=0.05)
        group.vibrations(METHOD, reference=True)
    a.vibrations(net("ours"), stiffness=31.0)
    b.vibrations(net("theirs", "b"), stiffness=32.0)
    return a, b


def test_what_tasks_declare_is_what_their_modules_say():
    assert tasks()["bonds"].unstable == PLACES
    assert tasks()["dynamics"].words["outcome"] == frozenset(Outcome)
    assert tasks()["dynamics"].absent["outcome"] == Outcome.NOT_AT_RISK


# --- vibrations ----------------------------------------------------------------------------------


def test_vibrations_of_two_folders_stand_on_one_leaderboard(groups, tmp_path):
    a, b = groups
    before = contents(tmp_path)
    out = tmp_path / "out"
    assert run(a.folder, b.folder, "--out", out) == 0
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    columns = [name for name in board(out) if name.startswith("vibrations_")]
    assert {"vibrations_mae_cm1", "vibrations_n_imaginary_excess"} <= {*columns}
    assert set(board(out)["vibrations_mae_cm1"].dropna().index) == {"ours", "theirs"}
    b.score()
    for column in ("system", "mae_cm1", "asymmetry", "reference"):
        assert rows(out, "theirs", "vibrations")[column].tolist() == (
            rows(b.folder, "theirs", "vibrations")[column].tolist()
        )
    manifest = json.loads((out / "merged.json").read_text())
    assert [part["folder"] for part in manifest["reference"]["vibrations"]] == [str(a.folder)]
    assert manifest["tasks"]["vibrations"]["n_planned"] == 2
    assert json.loads((out / "reference.json").read_text()) == METHOD.deciding()
    assert "Harmonic frequencies" in (out / "leaderboard.md").read_text()
    # and once more, from the merged folder
    assert run(out, "--out", tmp_path / "again") == 0
    pd.testing.assert_frame_equal(board(tmp_path / "again"), board(out), check_exact=True)


def test_vibrations_of_one_model_complete_each_other(groups, tmp_path):
    _, b = groups
    b.scans(b.add(net("ours")), rough=0.05)
    b.vibrations(METHOD, ["b", "c"], reference=True)
    b.vibrations(net("ours"), ["b", "c"], stiffness=31.0)
    b.vibrations(net("theirs", "b"), ["b", "c"], stiffness=32.0)
    out = tmp_path / "out"
    merged(groups, out)
    assert rows(out, "ours", "vibrations")["system"].tolist() == ["a", "b", "c"]
    assert [(part["n"], part["n_elsewhere"]) for part in parts_of(out, "ours", "vibrations")] == [
        (2, 0), (1, 1),
    ]  # fmt: skip
    assert sorted(path.name for path in (out / "reference" / "vibrations").iterdir()) == [
        "0000.h5", "0001.h5",
    ]  # fmt: skip
    theirs = rows(out, "theirs", "vibrations").set_index("system")
    assert theirs["status"].to_dict() == {"a": "not_evaluated", "b": "ok", "c": "ok"}
    assert np.isnan(theirs.loc["a", "mae_cm1"])
    assert theirs.loc["a", "n_atoms"] == 2


def test_other_vibrations_of_one_molecule_are_refused(groups, tmp_path):
    _, b = groups
    b.scans(b.add(net("ours")), rough=0.05)
    b.vibrations(net("ours"), stiffness=31.0 + 1e-3)
    said = refused(groups, tmp_path / "out")
    assert "vibrations/0000.h5: model 'ours' has other results for 'a' than" in said
    assert "0.001 eV/Å²" in said
    assert f"--without {b.folder}:ours" in said
    b.vibrations(net("ours"), stiffness=31.0 + 1e-9)
    merged(groups, tmp_path / "rounding")
    told = json.loads((tmp_path / "rounding" / "merged.json").read_text())["warnings"]
    assert "2 results of vibrations are there and in" in told[0]
    # as are scores of them
    shutil.rmtree(b.folder / "theirs" / "vibrations")
    b.vibrations(net("ours"), stiffness=30.0)
    b.score()
    shutil.rmtree(b.folder / "ours" / "vibrations")
    said = refused(groups, tmp_path / "scores")
    assert "scores/vibrations.parquet: model 'ours' has other results for 'a' than" in said


def test_two_references_are_refused(groups, tmp_path):
    _, b = groups
    b.vibrations(METHOD, reference=True, stiffness=30.1)
    said = refused(groups, tmp_path / "out")
    assert "reference/vibrations/0000.h5: model 'truth' has other results for 'a' than" in said
    assert f"--without-task {b.folder}:vibrations" in said
    left = choices([], [], [f"{b.folder}:vibrations"])
    merged(groups, tmp_path / "left", choices=left)
    assert not (tmp_path / "left" / "theirs" / "vibrations").exists()
    b.vibrations(replace(METHOD, settings={**METHOD.settings, "method": "GFN1-xTB"}),
                 reference=True)  # fmt: skip
    assert "its reference is another entry" in refused(groups, tmp_path / "entry")


def test_frequencies_without_their_reference_are_refused(groups, tmp_path):
    for group in groups:
        shutil.rmtree(group.folder / "reference")
    said = refused(groups, tmp_path / "out")
    assert "no folder holds what the reference says of 'a' (reference/vibrations/*.h5)" in said
    # scores need none
    for group in groups:
        group.vibrations(METHOD, reference=True)
        group.score()
        for folder in group.folder.glob("*/vibrations"):
            shutil.rmtree(folder)
    merged(groups, tmp_path / "scores")
    (part,) = parts_of(tmp_path / "scores", "ours", "vibrations")
    assert part["as"] == "scores"


def test_vibrations_of_other_settings_are_refused(groups, tmp_path):
    _, b = groups
    b.vibrations(METHOD, reference=True, settings=SCALED)
    b.vibrations(net("theirs", "b"), settings=SCALED)
    said = refused(groups, tmp_path / "out")
    assert "results of 'theirs' for vibrations were made with other settings" in said
    assert "(`displacement_angstrom` 0.02 and 0.01)" in said
    assert f"--without-task {b.folder}:vibrations" in said


def test_a_task_that_one_folder_only_has(groups, tmp_path):
    """Its rows are complete, and nobody else's leaderboard entry changes."""
    a, b = groups
    shutil.rmtree(b.folder / "theirs" / "vibrations")
    out = tmp_path / "out"
    assert run(a.folder, b.folder, "--out", out) == 0
    assert not (out / "theirs" / "scores" / "vibrations.parquet").exists()
    assert board(out)["vibrations_mae_cm1"].dropna().index.tolist() == ["ours"]
    manifest = json.loads((out / "merged.json").read_text())
    assert "vibrations" not in manifest["models"]["theirs"]["tasks"]
    assert manifest["models"]["ours"]["tasks"]["vibrations"]["n_absent"] == 0


# --- repulsive cores, whose isolated pairs are of no molecule ------------------------------------

CORES = CoreSettings(bonds=1, overlaps=(0.5,))


def _cores(group, entry, systems, *, wall=1.0, reference=False):
    """Walls of this height, and relaxations that stay where they began."""
    with ScanSet(group.folder / "toys.h5") as scan_set:
        chosen = chosen_systems(scan_set, systems)
    answers = [
        Answer(
            case=one.id, energy=wall / (one.scan.coordinate + 0.05) ** 4,
            frame_status=np.full(one.scan.n_frames, Status.OK.code, dtype=np.int8),
            positions=one.scan.positions[0] if one.kind == "overlap" else np.empty((0, 3)),
            status=Status.OK, message="", relaxed=True, relax_steps=3,
        )
        for one in cases(chosen, CORES)
    ]  # fmt: skip
    attributes = group.attributes(entry, "pesbench.tasks.lj_core.run")
    attributes |= {"settings": asdict(CORES) | {"dimers": True}, "systems": list(systems)}
    own = "reference" if reference else entry.name
    if reference:
        write_json(group.folder / "reference.json", entry.deciding())
    write_answers(group.folder / own / "lj_core" / "0000.h5", answers, attributes=attributes)


def test_repulsive_cores_of_two_folders_complete_each_other(tmp_path, toy_set, toys):
    """Both have all isolated pairs, which each counts with its first molecule."""
    a, b = (Group(tmp_path / name, toy_set, toys) for name in "ab")
    a.scans(a.add(METHOD))
    for group, systems in ((a, ("a", "b")), (b, ("b", "c"))):
        group.scans(group.add(net("ours")), rough=0.05)
        _cores(group, METHOD, systems, reference=True)
        _cores(group, net("ours"), systems, wall=1.1)
    out = tmp_path / "out"
    assert run(a.folder, b.folder, "--out", out) == 0
    found = rows(out, "ours", "lj_core").set_index("case")
    assert dict(found["kind"].value_counts()) == {"dimer": 45, "atom": 9, "bond": 3, "overlap": 3}
    assert set(found["status"]) == {"ok"}
    assert (found.loc[found["kind"] == "dimer", "log10_energy_mae"] > 0).all()
    assert board(out).loc["ours", "lj_core_overlapped"] == 1
    # and once more, from the merged folder
    assert run(out, "--out", tmp_path / "again") == 0
    pd.testing.assert_frame_equal(board(tmp_path / "again"), board(out), check_exact=True)


# --- the closest approach, which needs the reference or does not ----------------------------------


def _approaching(group, entry, systems, settings):
    """Walls, without an answer of the reference."""
    with ScanSet(group.folder / "toys.h5") as scan_set:
        chosen = chosen_systems(scan_set, systems)
    answers = [
        ScanEvaluation(
            scan_id=one.id, energy=1 / one.scan.coordinate**4,
            forces=np.zeros((one.scan.n_frames, one.scan.n_atoms, 3)),
            frame_status=np.full(one.scan.n_frames, Status.OK.code, dtype=np.int8),
            status=Status.OK, message="", wall_s=0.5,
        )
        for one in approaches(chosen, settings)
    ]  # fmt: skip
    attributes = group.attributes(entry, "pesbench.tasks.approach.run")
    attributes |= {"settings": asdict(settings), "systems": list(systems)}
    path = group.folder / entry.name / "approach" / "0000.h5"
    write_evaluation(path, answers, attributes=attributes)


@pytest.mark.parametrize("contacts", [0, 3])
def test_a_reference_is_missed_where_contacts_come_close(tmp_path, toy_set, toys, contacts):
    settings = ApproachSettings(contacts=contacts, in_molecule=False, diatomics=False)
    a, b = (Group(tmp_path / name, toy_set, toys) for name in "ab")
    a.scans(a.add(METHOD))
    for group, systems in ((a, ("a", "b")), (b, ("c", "d"))):
        group.scans(group.add(net("ours")), rough=0.05)
        _approaching(group, net("ours"), systems, settings)
    if contacts:
        said = refused((a, b), tmp_path / "out")
        assert "no folder holds what the reference says of" in said
        assert "(reference/approach/*.h5)" in said
        return
    assert run(a.folder, b.folder, "--out", tmp_path / "out") == 0
    found = rows(tmp_path / "out", "ours", "approach")
    assert list(found["system"]) == ["a", "b", "c", "d"]
    assert (found["monotone"] == 1).all()


# --- a task whose scores follow from what else was in the run -------------------------------------


def test_scores_that_follow_from_the_whole_run_are_taken_as_they_are(groups, toy_set, tmp_path):
    """Those of alarms: their answers alone do not give them, and are not looked at."""
    a, b = groups
    answers = a.folder / "ours" / "alarms" / "0000.h5"
    answers.parent.mkdir()
    answers.write_bytes(b"no HDF5")
    task = tasks()["alarms"]
    table = pd.DataFrame(
        [
            dict.fromkeys(task.columns, np.nan)
            | {"model": "ours", "system": system, "detector": "knn", "domain": domain,
               "n_atoms": 2, "status": "ok", "message": "", "auroc": 0.75, "n_frames": 6}
            for domain in ("compression", "stretch")
            for system in "ab"
        ]
    )  # fmt: skip
    with ScanSet(toy_set) as scan_set:
        table.attrs = {"scan_set_sha256": scan_set.sha256, "entry": net("ours").deciding(),
                       "settings": asdict(task.settings())}  # fmt: skip
    write_scores(a.folder / "ours" / "scores" / "alarms.parquet", table)
    out = tmp_path / "out"
    assert run(a.folder, b.folder, "--out", out) == 0
    found = rows(out, "ours", "alarms")
    columns = ["system", "detector", "domain", "status", "auroc"]
    pd.testing.assert_frame_equal(found[columns], table[columns], check_dtype=False)
    assert "Alarms" in (out / "leaderboard.md").read_text()


# --- a task that this package does not have ------------------------------------------------------

STIFFNESS = {
    "settings.py": """
from dataclasses import dataclass
from pesbench.core.settings import setting

@dataclass(frozen=True)
class StiffnessSettings:
    push_angstrom: float = setting(0.1, help="How far atoms are pushed, in Å.", above=0)
""",
    "task.py": """
from pesbench.core.section import Metric
from pesbench.core.task import Phase, Task
from pesbench.tasks.stiffness.settings import StiffnessSettings

class Stiffness(Task):
    name = "stiffness"
    title = "Stiffness"
    summary = "How hard molecules are pushed."
    settings = StiffnessSettings
    metrics = (Metric("push_ev", "work of a push", "eV", "lower", on_board=True),)
    keys = ("system",)
    identity = ("system", "n_atoms")
    text = ("model", "system", "seen", "status", "message")

    def phases(self, size, settings):
        return (Phase(copies=2),)

    def stored_bytes(self, size, settings):
        return 100.0

TASK = Stiffness()
""",
    "prepare.py": "def prepare(job):\n    raise NotImplementedError\n",
    "run.py": "def run(job):\n    raise NotImplementedError\n",
    "score.py": """
import json
import pandas as pd
from pesbench.files.stored_results import stored_results

def score(job):
    assert job.prepared.read_text() == "pushes"
    from pesbench.tasks.stiffness.task import TASK
    rows = []
    for path in sorted(job.files):
        with stored_results(TASK, path) as opened:
            for (system,), name in opened.rows.items():
                status, arrays = opened.opened.outcome(name)
                rows.append({"model": opened.model, "system": system, "n_atoms": 2, "seen": "",
                             "status": status.value, "message": "", "wall_s": 1.0,
                             "push_ev": float(arrays["work"].mean()) if status == "ok"
                             else float("nan")})
            sha256 = opened.scan_set_sha256
            settings = opened.settings
    frame = pd.DataFrame(sorted(rows, key=lambda row: row["system"]))
    frame.attrs = {"scan_set_sha256": sha256, "settings": settings, "made_from": []}
    return frame
""",
    "section.py": """
from pesbench.core.section import Section

def section(inputs):
    return Section(title="Stiffness", sentence=f"{len(inputs.scores)} models were pushed.")
""",
    "README.md": "# Stiffness\n",
}


def _pushed(group, entry, works, *, push=0.1, shard="0000"):
    """A file of the made-up task; a molecule whose work is NaN failed."""
    path = group.folder / entry.name / "stiffness" / f"{shard}.h5"
    attributes = group.attributes(entry, "pesbench.tasks.bonds.run")
    attributes |= {"format": "pesbench-stiffness", "version": 1}
    attributes |= {"settings": {"push_angstrom": push}}
    with atomic_path(path) as part, writing(part) as file:
        for key, value in attributes.items():
            file.attrs[key] = json.dumps(value) if isinstance(value, dict) else value
        for system, work in works.items():
            held = file.create_group(system)
            held.attrs["status"] = "error" if np.isnan(work) else "ok"
            held.create_dataset("work", data=np.array([work, work]))
    return path


@pytest.fixture(scope="module")
def package(repo, tmp_path_factory):
    """A copy of the package with one folder more."""
    copy = tmp_path_factory.mktemp("copy")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(repo / "workflow", copy / "workflow", ignore=skip)
    folder = copy / "workflow" / "pesbench" / "tasks" / "stiffness"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A made-up task."""\n')
    for name, text in STIFFNESS.items():
        (folder / name).write_text(text)
    return copy / "workflow"


def test_a_task_that_was_removed_is_left_out_and_named(package, groups, tmp_path):
    """A version without `tasks/vibrations` merges everything else."""
    shutil.copytree(package, tmp_path / "workflow")
    shutil.rmtree(tmp_path / "workflow" / "pesbench" / "tasks" / "vibrations")
    a, b = groups
    out = tmp_path / "out"
    done = _merge(tmp_path / "workflow", a.folder, b.folder, "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"{a.folder}: results of vibrations, no task of this version; left out" in done.stderr
    assert not any(name.startswith("vibrations") for name in board(out))
    assert set(board(out).index) == {"ours", "theirs", "truth", "control-zero"}


def test_links_in_files_of_any_task_are_not_followed(groups, tmp_path):
    path = _pushed(groups[0], net("ours"), {"a": 1.0})
    with h5py.File(path, "r+") as file:
        file["a"]["more"] = h5py.ExternalLink(groups[0].folder / "toys.h5", "/")
    with Groups(path, "file of a task") as opened:
        assert opened.names == ("a",)
        with pytest.raises(FileError, match="is a link, which is not followed"):
            opened.outcome("a")


def _merge(package, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pesbench", "merge", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_made_up_task_is_merged_from_two_folders(package, tmp_path, toy_set, toys):
    a, b = (Group(tmp_path / name, toy_set, toys) for name in "ab")
    for group in (a, b):
        (inputs := group.folder / "inputs" / "stiffness.h5").parent.mkdir()
        inputs.write_text("pushes")
    a.scans(a.add(METHOD))
    a.scans(a.add(net("ours")), rough=0.05)
    b.scans(b.add(net("theirs", "b")), rough=0.02)
    b.scans(b.add(net("ours")), rough=0.05)
    _pushed(a, net("ours"), {"a": 1.0, "b": float("nan")})
    _pushed(b, net("ours"), {"a": 1.0, "c": 2.0})
    _pushed(b, net("theirs", "b"), {"a": 3.0})
    out = tmp_path / "out"
    done = _merge(package, a.folder, b.folder, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "theirs: 2 of 3 results of stiffness are in none of the merged results" in done.stderr
    found = rows(out, "ours", "stiffness").set_index("system")
    assert found["status"].to_dict() == {"a": "ok", "b": "error", "c": "ok"}
    theirs = rows(out, "theirs", "stiffness").set_index("system")
    assert theirs["status"].to_dict() == {"a": "ok", "b": "not_evaluated", "c": "not_evaluated"}
    assert board(out)["stiffness_push_ev"].dropna().to_dict() == {"ours": 1.5, "theirs": 3.0}
    assert "2 models were pushed" in (out / "leaderboard.html").read_text()
    manifest = json.loads((out / "merged.json").read_text())
    assert manifest["tasks"]["stiffness"]["settings"] == {"push_angstrom": 0.1}
    assert [part["n"] for part in parts_of(out, "ours", "stiffness")] == [2, 1]
    # other results, other settings, and the cure
    path = _pushed(b, net("ours"), {"a": 1.1, "c": 2.0})
    done = _merge(package, a.folder, b.folder, "--out", tmp_path / "other")
    assert f"{path}: model 'ours' has other results for 'a' than" in done.stderr
    _pushed(b, net("ours"), {"c": 2.0}, push=0.2)
    done = _merge(package, a.folder, b.folder, "--out", tmp_path / "settings")
    assert "(`push_angstrom` 0.2 and 0.1)" in done.stderr
    option = f"--without-task {b.folder}:stiffness"
    assert option in done.stderr
    done = _merge(package, a.folder, b.folder, *option.split(), "--out", tmp_path / "left")
    assert done.returncode == 0, done.stderr
    _pushed(b, net("ours"), {"c": 2.0})
    inputs.write_text("others")
    done = _merge(package, a.folder, b.folder, "--out", tmp_path / "inputs")
    assert f"{inputs}: other inputs than {a.folder}" in done.stderr
    assert option in done.stderr
    # a version that does not have the task says so
    assert run(out, "--out", tmp_path / "without") == 0
    text = (tmp_path / "without" / "leaderboard.md").read_text()
    assert "results of stiffness, no task of this version; left out" in text
