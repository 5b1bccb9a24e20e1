"""Harvest: which frames of made-up trajectories are labelled, and what is left out and why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from scipy.spatial.transform import Rotation

from fake_calculators import morse
from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.checkpoint import Checkpoint, checkpoint_folder
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.tasks.dynamics.stored import BlackBox, Segment, Trajectory
from pesbench.tasks.dynamics.writing import write_trajectories
from pesbench.training.frames import read_frames
from pesbench.training.harvest import Distinct, candidates, distinct_from, trajectory_files
from pesbench.training.harvest_settings import HarvestSettings
from pesbench.training.harvesting import Choice
from pesbench.training.labels import Label

DT_FS, EVERY, N_STEPS = 0.5, 4, 20
SUM = 0.76 + 0.66  # of the covalent radii of C and O, Å
ALARMED, FAILED, STOPPED, CUT, AT_ONCE = "alarmed", "failed", "stopped", "cut", "at_once"


def _co(length: float) -> np.ndarray:
    return np.array([[0.0, 0.0, 0.0], [0.0, 0.0, length]])


# the length of the bond in the last steps of a trajectory, by its molecule
LAST = {
    FAILED: [1.0, 1.3, 1.34, 1.6, 2.0, 0.6, 3.0, np.nan],
    STOPPED: [1.1, 1.8],
    CUT: [2.5, 2.6],
    AT_ONCE: [1.42],
}


def _plan() -> list[Trajectory]:
    both = {"temperature_k": 1000.0, "replicate": 0, "numbers": np.array([6, 8]),
            "bonds": np.array([[0, 1]]), "charge": 0, "spin": 1,
            "degrees_of_freedom": 1}  # fmt: skip
    return [
        Trajectory(ALARMED, last_step=N_STEPS, alarm_steps=(13, 16), n_alarms=2, **both),
        Trajectory(AT_ONCE, failure="hot", failure_step=0, last_step=0, **both),
        Trajectory(CUT, status=Status.TIMEOUT, message="too long", last_step=12, **both),
        Trajectory(FAILED, failure="nonfinite", failure_step=14, last_step=13, **both),
        Trajectory(STOPPED, status=Status.ALARM, last_step=9, alarm_steps=(9,), n_alarms=1, **both),
    ]


def _written(path: Path, model: str = "toy", last: dict[str, list[float]] = LAST) -> Path:
    """Trajectories of five molecules CO; the stored frame of step n has the length 1 + n/10 Å."""
    plan = _plan()
    steps = np.arange(0, N_STEPS + 1, EVERY)
    positions = np.array([np.concatenate([_co(1 + n / 10)] * len(plan)) for n in steps])
    boxes = {}
    for k, one in enumerate(plan):
        if one.system in last:
            x = np.array([_co(length) for length in last[one.system]])
            end = one.last_step + (one.system == FAILED)
            boxes[k] = BlackBox(np.arange(end - len(x) + 1, end + 1), x, np.zeros_like(x))
    energies = np.zeros((N_STEPS + 1, len(plan)))
    whole = Segment(0, energies, energies, steps, positions, np.zeros_like(positions), boxes)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_trajectories(
        path, plan, [whole], timestep_fs=DT_FS, store_every=EVERY, attributes={"model": model}
    )
    return path


@pytest.fixture
def stored(tmp_path):
    return _written(tmp_path / "results/toy/dynamics/0000.h5")


def _told(some):
    return [(one.trajectory.system, one.step, one.why) for one in some]


# --- which frames ---------------------------------------------------------------------------------


def test_frames_of_alarms_and_of_the_last_steps_come_in_turns(stored):
    """The stored frame nearest to step 13 is that of step 12; a run that was cut gives none."""
    found = candidates([stored], 100)
    assert _told(found[:3]) == [
        (ALARMED, 12, "alarm"), (FAILED, 14, "nonfinite"), (STOPPED, 9, "alarm"),
    ]  # fmt: skip
    assert _told(found[3:]) == [(FAILED, step, "nonfinite") for step in range(13, 6, -1)]
    assert np.allclose(found[0].positions, _co(2.2))
    assert np.allclose(found[2].positions, _co(1.8))
    assert len(candidates([stored], 2)) == 4


def test_every_molecule_has_a_turn_before_one_has_a_second(tmp_path):
    """Sorted by name, two trajectories of `a` would both come before those of `b`."""
    plan = [
        replace(_plan()[-1], system=system, replicate=replicate)
        for system in ("a", "b") for replicate in (0, 1)
    ]  # fmt: skip
    steps = np.arange(0, N_STEPS + 1, EVERY)
    positions = np.array([np.concatenate([_co(1.8)] * len(plan)) for _ in steps])
    last = np.array([_co(1.8)])
    boxes = {k: BlackBox(np.array([9]), last, np.zeros_like(last)) for k in range(len(plan))}
    energies = np.zeros((N_STEPS + 1, len(plan)))
    whole = Segment(0, energies, energies, steps, positions, np.zeros_like(positions), boxes)
    path = tmp_path / "0000.h5"
    write_trajectories(
        path, plan, [whole], timestep_fs=DT_FS, store_every=EVERY, attributes={"model": "toy"}
    )
    found = [(one.trajectory.system, one.trajectory.replicate) for one in candidates([path], 1)]
    assert found == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_each_known_frame_leaves_out_what_is_near_it():
    """Also one that is itself near another known one."""
    known = [Atoms("CO", _co(length)) for length in (1.10, 1.19)]
    numbers = np.array([6, 8])
    assert not distinct_from(known, 0.1).add(numbers, _co(1.25), 0, 1)
    assert distinct_from(known, 0.1).add(numbers, _co(1.30), 0, 1)


def _reasons(stored, known=(), **limits):
    """Why each frame gets no label, "" for those that are wanted at first."""
    choice = Choice.of(candidates([stored], 100), HarvestSettings(**limits), known)
    wanted = [choice.fit[k] for k in choice.wanted({})]
    told = [(one, reason) for one, reason, _ in choice.left_out({}) if reason != "not needed"]
    told += [(one, "") for one in wanted]
    return {(one.trajectory.system, one.step): reason for one, reason in told}


def test_each_frame_that_gets_no_label_has_its_reason(stored):
    assert _reasons(stored) == {
        (ALARMED, 12): "", (STOPPED, 9): "",
        (FAILED, 14): "positions not finite",
        (FAILED, 13): "bond too long",  # 3.0 Å of 2.84
        (FAILED, 12): "atoms too close",  # 0.6 Å of 0.71
        (FAILED, 11): "",  # 2.0 Å
        (FAILED, 10): "",  # 1.6 Å
        (FAILED, 9): "",  # 1.34 Å
        (FAILED, 8): "like another frame",  # 1.3 Å, 0.04 Å from one that comes before
        (FAILED, 7): "",  # 1.0 Å
    }  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "reason", "unfit"),
    [
        ({"closest": 0.6 / SUM - 1e-9}, "atoms too close", 0),
        ({"closest": 0.6 / SUM + 1e-9}, "atoms too close", 1),
        ({"longest_bond": 3.0 / SUM + 1e-9}, "bond too long", 0),
        ({"longest_bond": 3.0 / SUM - 1e-9}, "bond too long", 1),
        ({"apart_angstrom": 0.04 - 1e-9}, "like another frame", 0),
        ({"apart_angstrom": 0.04 + 1e-9}, "like another frame", 1),
    ],
)
def test_limits_are_those_of_the_settings(stored, limit, reason, unfit):
    assert list(_reasons(stored, **limit).values()).count(reason) == unfit


def _label(force):
    return Label(Status.OK, "", 0.0, np.array([[0.0, 0.0, -force], [0.0, 0.0, force]]))


def test_a_frame_whose_label_is_rejected_stands_for_no_other(stored):
    """That of 1.34 Å is, so that the one of 1.3 Å, which is like it, is wanted next."""
    choice = Choice.of(candidates([stored], 100), HarvestSettings())
    of = {k: (one.trajectory.system, one.step) for k, one in enumerate(choice.fit)}
    labels = {k: _label(99.0 if of[k] == (FAILED, 9) else 1.0) for k in choice.wanted({})}
    (next_one,) = choice.wanted(labels)
    assert of[next_one] == (FAILED, 8)
    labels[next_one] = _label(1.0)
    assert choice.wanted(labels) == []
    assert next_one in choice.kept(labels)
    left_out = {(one.trajectory.system, one.step): why for one, why, _ in choice.left_out(labels)}
    assert left_out[FAILED, 9] == "force too large"
    assert "like another frame" not in left_out.values()


def test_so_many_are_wanted_as_are_missing(stored):
    choice = Choice.of(candidates([stored], 100), HarvestSettings(most=2))
    first = choice.wanted({})
    assert [choice.fit[k].step for k in first] == [12, 9]
    labels = dict(zip(first, (_label(99.0), _label(1.0)), strict=True))
    assert [choice.fit[k].step for k in choice.wanted(labels)] == [11]


def test_what_turns_or_exchanges_equal_atoms_is_the_same_frame():
    rng = np.random.default_rng(3)
    numbers, x = np.array([8, 1, 1, 6]), rng.normal(size=(4, 3))
    turned = x @ Rotation.random(random_state=1).as_matrix().T + 5.0
    order = [3, 2, 0, 1]
    distinct = Distinct(1e-6)
    assert distinct.add(numbers, x, 0, 1)
    assert not distinct.add(numbers, turned, 0, 1)
    assert not distinct.add(numbers[order], turned[order], 0, 1)
    assert distinct.add(numbers, x, 1, 2)  # of another charge it is another molecule
    assert distinct.add(numbers, x * 1.01, 0, 1)


def test_known_frames_need_no_others_like_them(stored):
    known = [Atoms("CO", _co(1.62)), Atoms("C", [(0, 0, 0)]), Atoms("OC", _co(2.05))]
    reasons = _reasons(stored, known)
    alike = [one for one, reason in reasons.items() if reason == "like another frame"]
    assert alike == [(FAILED, 11), (FAILED, 10), (FAILED, 8)]


def test_folders_of_results_hold_their_files(stored, tmp_path):
    results = tmp_path / "results"
    for path in (results, results / "toy", stored.parent, stored):
        assert trajectory_files([path]) == [stored.resolve()]
    assert trajectory_files([results, stored]) == [stored.resolve()]
    with pytest.raises(UserError, match="holds no trajectories"):
        trajectory_files([tmp_path / "results/toy/dynamics/../../.."])


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path):
    """A method that labels, one that does not converge between 1.55 and 1.65 Å, and others."""
    path = tmp_path / "models.yaml"
    path.write_text(
        "sound: {family: ase, calculator: 'fake_calculators:Morse'}\n"
        "faulty: {family: ase, calculator: 'fake_calculators:Faulty',\n"
        "         arguments: {fault: raise, window: [1.55, 1.65]}}\n"
        "infinite: {family: ase, calculator: 'fake_calculators:Faulty',\n"
        "           arguments: {fault: infinite_force, window: [1.55, 1.65]}}\n"
        "forces: {family: ase, calculator: 'fake_calculators:ForcesOnly'}\n"
        "tallied: {family: ase, calculator: 'fake_calculators:Morse',\n"
        f"          arguments: {{tally: {tmp_path / 'tally'}}}}}\n"
        "zero: {family: control, control: zero}\n"
    )
    return path


def _harvest(registry, paths, labels, out, *more):
    return cli.main(
        ["harvest", *map(str, paths), "--labels", labels, "--models-file", str(registry), "--trust",
         "--device", "cpu", "--out", str(out), *map(str, more)]
    )  # fmt: skip


def test_frames_are_written_with_their_labels(stored, registry, tmp_path):
    out = tmp_path / "found.extxyz"
    assert _harvest(registry, [stored], "sound", out) == 0
    frames = read(out, index=":")
    assert [(a.info["system"], a.info["step"]) for a in frames] == [
        (ALARMED, 12), (STOPPED, 9), (FAILED, 11), (FAILED, 10), (FAILED, 9), (FAILED, 7),
    ]  # fmt: skip
    for atoms in frames:
        energy, forces = morse(atoms.numbers, atoms.positions)
        assert atoms.info["REF_energy"] == pytest.approx(energy, abs=1e-7)
        assert np.allclose(atoms.arrays["REF_forces"], forces, atol=1e-7)
        assert (atoms.info["charge"], atoms.info["spin"]) == (0, 1)
        assert (atoms.info["part"], atoms.info["temperature_k"]) == ("train", 1000.0)
        assert atoms.info["model"] == "toy"
    assert [a.info["why"] for a in frames] == ["alarm"] * 2 + ["nonfinite"] * 4
    record = json.loads(out.with_suffix(".json").read_text())
    assert (record["candidates"], record["labelled"], record["frames"]) == (10, 6, 6)
    assert record["left_out"] == {
        "atoms too close": 1, "bond too long": 1, "like another frame": 1,
        "positions not finite": 1,
    }  # fmt: skip
    assert sum(record["left_out"].values()) == len(record["left_out_frames"])
    assert record["labels"]["name"] == "sound"
    assert record["spent"]["atom_frames"] >= 12
    assert not checkpoint_folder(out).exists()


@pytest.mark.parametrize(
    ("labels", "reason", "said"),
    [("faulty", "label error", "SCF did not converge"), ("infinite", "label nonfinite", "")],
)
def test_a_label_that_fails_is_counted_with_its_reason(
    stored, registry, tmp_path, labels, reason, said
):
    out = tmp_path / "found.extxyz"
    assert _harvest(registry, [stored], labels, out) == 0
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["left_out"][reason] == 1
    assert (record["labelled"], record["frames"]) == (6, 5)
    (one,) = [one for one in record["left_out_frames"] if one["reason"] == reason]
    assert (one["trajectory"], one["step"]) == ("failed_1000K_0", 10)
    assert said in one.get("message", "")
    assert 10 not in [atoms.info["step"] for atoms in read(out, index=":")]


def test_a_force_above_the_limit_is_left_out(stored, registry, tmp_path):
    """The forces of the Morse potential are known: at 1.0 Å, 19.7 eV/Å, at 1.34 Å, 1.9 eV/Å."""
    out = tmp_path / "found.extxyz"
    force = float(np.abs(morse(np.array([6, 8]), _co(1.0))[1]).max())
    assert force == pytest.approx(12 * (np.exp(0.63) - 1) * np.exp(0.63), rel=1e-9)
    for limit, frames in ((force + 1e-6, 6), (force - 1e-6, 5)):
        assert _harvest(registry, [stored], "sound", out, "--largest-force", limit) == 0
        record = json.loads(out.with_suffix(".json").read_text())
        assert record["frames"] == frames
        assert record["left_out"].get("force too large", 0) == 6 - frames


TAIL = [1.2, 1.16, 1.12, 1.08, 1.04, 1.0]  # Å; its last frame is the nearest to the failure
AT_MOST = 16.0  # eV/Å: the forces at 1.0 and 1.04 Å are 19.8 and 16.3 eV/Å, that at 1.08 Å is 13.3


def test_frames_like_one_with_too_large_a_force_are_kept(registry, tmp_path):
    """The first two are rejected. The third was like both; the frames after it are like it."""
    path = _written(tmp_path / "t.h5", last={FAILED: TAIL})
    out = tmp_path / "found.extxyz"
    only = ("--largest-force", AT_MOST, "--apart-angstrom", 0.25)
    assert _harvest(registry, [path], "sound", out, *only) == 0
    found = [a for a in read(out, index=":") if a.info["system"] == FAILED]
    assert [a.get_distance(0, 1) for a in found] == pytest.approx([1.08])
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["left_out"] == {"force too large": 2, "like another frame": 3}
    assert record["labelled"] == record["frames"] + 2


def test_a_call_that_was_killed_after_a_rejected_label_ends_alike(registry, tmp_path, monkeypatch):
    """One label a piece: the call ends after the second rejected one, which another pass wanted."""
    monkeypatch.setattr("pesbench.training.labels.PIECE", 1)
    path = _written(tmp_path / "t.h5", last={FAILED: TAIL})
    only = ("--largest-force", AT_MOST, "--apart-angstrom", 0.25)
    whole, out, tally = tmp_path / "whole.extxyz", tmp_path / "out.extxyz", tmp_path / "tally"
    assert _harvest(registry, [path], "tallied", whole, *only) == 0
    asked = len(tally.read_text().splitlines())
    append = Checkpoint.append

    def dies(self, **arrays):
        append(self, **arrays)
        if self.count == 3:
            raise KeyboardInterrupt

    tally.unlink()
    monkeypatch.setattr(Checkpoint, "append", dies)
    assert _harvest(registry, [path], "tallied", out, *only) == cli.INTERRUPTED
    monkeypatch.setattr(Checkpoint, "append", append)
    assert _harvest(registry, [path], "tallied", out, *only) == 0
    assert out.read_text() == whole.read_text()
    one, other = (json.loads(a.with_suffix(".json").read_text()) for a in (out, whole))
    assert one["left_out_frames"] == other["left_out_frames"]
    assert one["labelled"] == other["labelled"] == 4
    assert len(tally.read_text().splitlines()) == asked


def test_the_first_frames_are_enough(stored, registry, tmp_path):
    out = tmp_path / "found.extxyz"
    assert _harvest(registry, [stored], "sound", out, "--most", "2") == 0
    assert [a.info["system"] for a in read(out, index=":")] == [ALARMED, STOPPED]
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["left_out"]["not needed"] == 4


def test_the_order_of_files_changes_nothing(stored, registry, tmp_path):
    other = _written(tmp_path / "results/another/dynamics/0000.h5", "another")
    texts = []
    for k, paths in enumerate(([stored, other], [other, stored], [tmp_path / "results"])):
        out = tmp_path / f"{k}.extxyz"
        assert _harvest(registry, paths, "sound", out) == 0
        texts.append(out.read_text())
    assert texts[0] == texts[1] == texts[2]
    # the molecules are the same, so that the frames of the second model are known
    assert {a.info["model"] for a in read(out, index=":")} == {"another"}


def test_a_killed_call_continues_from_its_checkpoint(stored, registry, tmp_path, monkeypatch):
    """With two frames a piece, three pieces; the call ends after the first.

    Labels do not depend on what is asked of them.
    """
    monkeypatch.setattr("pesbench.training.labels.PIECE", 2)
    out, whole = tmp_path / "found.extxyz", tmp_path / "whole.extxyz"
    append, calls = Checkpoint.append, []

    def dies(self, **arrays):
        append(self, **arrays)
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "append", dies)
    assert _harvest(registry, [stored], "tallied", out) == cli.INTERRUPTED
    assert checkpoint_folder(out).is_dir()
    assert not out.exists()
    limit = ("--largest-force", 19)
    assert _harvest(registry, [stored], "tallied", out, *limit) == 0
    assert len(calls) == 3
    assert _harvest(registry, [stored], "tallied", whole, *limit) == 0
    assert out.read_text() == whole.read_text()
    assert json.loads(out.with_suffix(".json").read_text())["spent"]["times_interrupted"] == 1


def test_nothing_to_harvest_is_an_empty_file(registry, tmp_path):
    path = tmp_path / "t.h5"
    write_trajectories(path, [], [], timestep_fs=0.5, store_every=1, attributes={"model": "m"})
    out = tmp_path / "found.extxyz"
    assert _harvest(registry, [path], "sound", out) == 0
    assert out.read_text() == ""
    assert json.loads(out.with_suffix(".json").read_text())["candidates"] == 0


@pytest.mark.parametrize(
    ("paths", "labels", "out", "said"),
    [
        (["none.h5"], "sound", "o.extxyz", "none.h5"),
        (["."], "sound", "o.extxyz", "holds no trajectories"),
        (["text.h5"], "sound", "o.extxyz", "text.h5"),
        (["STORED"], "nobody", "o.extxyz", "no model 'nobody'"),
        (["STORED"], "zero", "o.extxyz", "a control is defined on the frames of scans only"),
        (["STORED"], "forces", "o.extxyz", "gives no energies"),
        (["STORED"], "sound", "o.xyz", "ends in .extxyz"),
    ],
)
def test_bad_input_is_one_line(
    stored, registry, tmp_path, monkeypatch, caplog, paths, labels, out, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.h5").write_text("no trajectories")
    given = [str(stored) if path == "STORED" else path for path in paths]
    assert _harvest(registry, given, labels, out) == 2
    (record,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert said in record.getMessage()
    assert "\n" not in record.getMessage()
    assert not (tmp_path / out).exists()


def test_known_frames_that_are_no_frames_are_one_line(stored, registry, tmp_path, caplog):
    known = tmp_path / "known.extxyz"
    known.write_text("2\ncut")
    out = tmp_path / "o.extxyz"
    assert _harvest(registry, [stored], "sound", out, "--known", known) == 2
    assert "known.extxyz" in caplog.text
    write_extxyz(known, [Atoms("CO", _co(1.6))])
    assert _harvest(registry, [stored], "sound", out, "--known", known) == 0
    assert [a.info["step"] for a in read_frames(out)] == [12, 9, 11, 9, 7]
