"""Alarms of dynamics: recorded at their step, or the end of a run."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
from ase import Atoms

from examples import REPO, fake_entry
from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.settings import words
from pesbench.core.task import Size
from pesbench.engine.worker import ModelLoadError
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.metrics.descriptor_distances import reference_space
from pesbench.metrics.geometry_sentinels import Pairs, close_pair, long_bond
from pesbench.metrics.physics_sentinels import energy_jump, largest_force
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.models_file import read_models, resolve_entry
from pesbench.models.registry import ModelEntry, load
from pesbench.tasks.alarms.events import events
from pesbench.tasks.dynamics import watch
from pesbench.tasks.dynamics.outside import Outside
from pesbench.tasks.dynamics.score import trajectory_rows
from pesbench.tasks.dynamics.settings import ALARMS, OF_DESCRIPTORS, DynamicsSettings
from pesbench.tasks.dynamics.stored import MOST_ALARMS, Trajectories
from pesbench.tasks.dynamics.task import TASK
from pesbench.tasks.dynamics.watch import Watch
from shards import run_dynamics_shard

PLAIN = DynamicsSettings(temperatures_k=(300.0,), duration_ps=0.05, store_every=1)
SHORT = DynamicsSettings(temperatures_k=(300.0,), duration_ps=0.02, store_every=1)
NAME = "b_300K_0"


@pytest.fixture(scope="module")
def plain(toy_set, tmp_path_factory):
    """A run without alarms, all of its frames, and the forces there."""
    import fake_calculators

    out = tmp_path_factory.mktemp("watch") / "plain.h5"
    run_dynamics_shard(fake_entry(), toy_set, ("a", "b"), PLAIN, out, device="cpu")
    with Trajectories(out) as file:
        trajectory, frames, series = (
            read(NAME) for read in (file.trajectory, file.frames, file.series)
        )
    forces = np.stack([fake_calculators.morse(trajectory.numbers, x)[1] for x in frames.positions])
    return trajectory, frames, series, forces


def scores_of(plain, alarm):
    """What `tasks/alarms` gives every frame."""
    trajectory, frames, series, forces = plain
    pairs = Pairs.of(trajectory.numbers, trajectory.bonds)
    ratios = pairs.ratios(frames.positions, trajectory.numbers)
    return {
        "largest_force": lambda: largest_force(forces),
        "close_pair": lambda: close_pair(ratios),
        "long_bond": lambda: long_bond(ratios, pairs.apart),
        "energy_jump": lambda: energy_jump(series.total, 1, trajectory.n_atoms),
        "temperature": lambda: series.temperature / trajectory.temperature_k,
    }[alarm]()


@pytest.mark.parametrize("alarm", sorted({*ALARMS} - {*OF_DESCRIPTORS}))
def test_alarms_are_those_of_the_scores_of_frames(alarm, plain, toy_set, tmp_path):
    scores = scores_of(plain, alarm)
    threshold = float((np.sort(scores)[-20] + np.sort(scores)[-21]) / 2)
    expected = events(scores, threshold)
    assert len(expected)
    settings = replace(PLAIN, alarm=alarm, alarm_threshold=threshold).check()
    out = tmp_path / "t.h5"
    run_dynamics_shard(fake_entry(), toy_set, ("a", "b"), settings, out, device="cpu")
    with Trajectories(out) as file:
        found = file.trajectory(NAME)
        assert (found.alarm_steps, found.n_alarms) == (tuple(expected[:MOST_ALARMS]), len(expected))
        assert found.survived
        assert np.array_equal(file.frames(NAME).positions, plain[1].positions)
        assert file.last_steps(NAME) is None


def test_the_steps_of_the_first_alarms_are_kept_and_all_are_counted(
    plain, toy_set, tmp_path, monkeypatch
):
    monkeypatch.setattr(watch, "MOST_ALARMS", 2)
    scores = scores_of(plain, "temperature")
    threshold = float((np.sort(scores)[-20] + np.sort(scores)[-21]) / 2)
    expected = events(scores, threshold)
    assert len(expected) > 2
    settings = replace(PLAIN, alarm="temperature", alarm_threshold=threshold).check()
    out = tmp_path / "t.h5"
    run_dynamics_shard(fake_entry(), toy_set, ("a", "b"), settings, out, device="cpu")
    with Trajectories(out) as file:
        found = file.trajectory(NAME)
    assert (found.alarm_steps, found.n_alarms) == (tuple(expected[:2]), len(expected))


def test_a_run_ends_at_its_alarm(plain, toy_set, tmp_path):
    scores = scores_of(plain, "largest_force")
    threshold = float(np.median(scores[5:]))
    step = int(events(scores, threshold)[0])
    settings = replace(
        PLAIN, alarm="largest_force", alarm_threshold=threshold, stop_on_alarm=True
    ).check()
    out = tmp_path / "t.h5"
    run_dynamics_shard(fake_entry(), toy_set, ("b",), settings, out, device="cpu")
    with Trajectories(out) as file:
        found = file.trajectory(NAME)
        assert found.status is Status.ALARM
        assert (found.alarm_step, found.n_alarms, found.last_step) == (step, 1, step)
        assert (found.failure, found.failure_step, found.survived) == ("", -1, False)
        assert "alarm: largest_force" in found.message
        last = file.last_steps(NAME)
        assert last.step[-1] == step
        assert last.positions[-1] == pytest.approx(plain[1].positions[step], abs=1e-12)
        assert np.isfinite(last.potential[-1])
    (row,) = trajectory_rows([out])
    assert (row["status"], row["outcome"]) == ("alarm", "censored")
    assert (row["alarm_ps"], row["n_alarms"]) == (pytest.approx(step * 0.0005), 1)
    assert row["time_ps"] == pytest.approx(step * 0.0005)
    assert np.isnan(row["fu_stable_ps"])  # a run that was cut has no score of others


# --- of descriptors ------------------------------------------------------------------------------


def shipped() -> ModelEntry:
    models = REPO / "config" / "models.yaml"
    return resolve_entry(read_models(models)["testbed-rough"], models, REPO)


@pytest.fixture(scope="module")
def network(toy_set, toys, tmp_path_factory):
    """A run of a network without alarms, and its own features of the frames and near minima."""
    out = tmp_path_factory.mktemp("network") / "plain.h5"
    entry = shipped()
    run_dynamics_shard(entry, toy_set, ("a", "b"), SHORT, out, device="cpu")
    with Trajectories(out) as file:
        trajectory, frames = file.trajectory(NAME), file.frames(NAME)
    model = load(entry, scan_set=None, device="cpu")

    def features(numbers, positions):
        (held,) = model.describe(atoms_batch([Atoms(numbers, positions)])).values()
        return held.scalars

    atoms, numbers = [], []
    for scan in (toys[name] for name in sorted(toys)):
        if {*scan.numbers.tolist()} <= set(model.info.elements) and not scan.charge:
            near = np.abs(scan.coordinate - scan.coordinate[np.argmin(scan.energy)]) <= 0.15
            for positions in scan.positions[near]:
                atoms.append(features(scan.numbers, positions))
                numbers.append(scan.numbers)
    moved = [features(trajectory.numbers, x) for x in frames.positions]
    return trajectory, np.concatenate(atoms), np.concatenate(numbers), np.stack(moved)


@pytest.mark.parametrize("alarm", OF_DESCRIPTORS)
def test_alarms_of_descriptors_are_the_distances_from_frames_near_minima(
    alarm, network, toy_set, tmp_path
):
    trajectory, atoms, numbers, moved = network
    space = reference_space(atoms, numbers)
    scores = np.array([space.measured(x, trajectory.numbers)[alarm].max() for x in moved])
    threshold = float(np.sort(scores)[[-7, -8]].mean())
    expected = events(scores, threshold)
    assert 0 < expected[0] < len(scores) - 1
    settings = replace(SHORT, alarm=alarm, alarm_threshold=threshold).check()
    out = tmp_path / "t.h5"
    run_dynamics_shard(shipped(), toy_set, ("a", "b"), settings, out, device="cpu")
    with Trajectories(out) as file:
        found = file.trajectory(NAME)
    assert (found.alarm_steps, found.n_alarms) == (tuple(expected[:MOST_ALARMS]), len(expected))


def test_the_frames_that_a_model_was_trained_on_are_the_reference_set(
    network, toy_set, toys, tmp_path
):
    trajectory, _, _, moved = network
    positions, frames = toys["C-N/b"].positions[:6], tmp_path / "trained.extxyz"
    write_extxyz(frames, [Atoms(trajectory.numbers, x) for x in positions])
    settings = replace(
        SHORT, alarm="knn", alarm_threshold=1e-3, reference_frames=str(frames), stop_on_alarm=True
    )
    out = tmp_path / "t.h5"
    run_dynamics_shard(shipped(), toy_set, ("b",), settings.check(), out, device="cpu")
    with Trajectories(out) as file:
        found = file.trajectory(NAME)
    assert (found.status, found.alarm_step) == (Status.ALARM, 0)
    model = load(shipped(), scan_set=None, device="cpu")
    held = model.describe(atoms_batch([Atoms(trajectory.numbers, x) for x in positions]))
    atoms = next(iter(held.values())).scalars
    space = reference_space(atoms, np.tile(trajectory.numbers, 6))
    value = space.measured(moved[0], trajectory.numbers)["knn"].max()
    assert f"alarm: knn {value:.3g} > 0.001" in found.message
    for content, reason in (
        ("no frames", "is no file of frames"),
        ("", "is no file of frames|holds no frame"),
        (None, "no such file of frames"),
    ):
        frames.unlink() if content is None else frames.write_text(content)
        with pytest.raises(UserError, match=reason):
            run_dynamics_shard(shipped(), toy_set, ("b",), settings, tmp_path / "u.h5")


def test_the_plan_counts_what_describing_takes():
    size, described = Size(1, 8), replace(PLAIN, alarm="knn", alarm_threshold=1.0)
    more = TASK.atom_frames(size, described) - TASK.atom_frames(size, PLAIN)
    assert more == 8 * PLAIN.n_steps


def test_a_model_without_descriptors_has_no_such_alarm(toy_set, tmp_path):
    settings = replace(PLAIN, alarm="knn", alarm_threshold=1.0)
    with pytest.raises(UserError, match="has no alarm `knn` in dynamics: its family gives no"):
        run_dynamics_shard(fake_entry(), toy_set, ("b",), settings, tmp_path / "t.h5")


def test_a_frame_that_cannot_be_described_is_an_alarm():
    class Broken:
        def atoms(self, batch):
            assert batch.n_systems == 2
            values = np.zeros((batch.n_atoms, 2), np.float32)
            values[0] = np.nan
            return values, "it is tired"

    class Gone:
        def atoms(self, batch):
            raise ModelLoadError(Status.CRASHED, "gone")

    cloud = np.random.default_rng(1).normal(size=(40, 2))
    space = reference_space(cloud, np.full(40, 6))
    batch = atoms_batch([Atoms("C2"), Atoms("C"), Atoms("C3")])
    found = Outside("knn", Broken(), space).scores(batch, np.zeros((6, 3)), [0, 2])
    assert found[0] == np.inf
    assert np.isfinite(found[2])
    found = Outside("knn", Gone(), space).scores(batch, np.zeros((6, 3)), [1])
    assert found == {1: np.inf}


def test_a_failure_in_the_same_step_is_no_alarm(toy_set, tmp_path):
    """What breaks in its first step fails, whatever the alarm says."""
    entry = fake_entry("Faulty", arguments={"fault": "nan", "window": [0.0, 99.0]})
    settings = replace(PLAIN, alarm="temperature", alarm_threshold=-1.0, stop_on_alarm=True)
    out = tmp_path / "t.h5"
    run_dynamics_shard(entry, toy_set, ("b",), settings, out, device="cpu")
    with Trajectories(out) as file:
        found = file.trajectory(NAME)
    assert found.status is not Status.ALARM
    assert (found.alarm_step, found.n_alarms) == (-1, 0)


def content(path):
    """All arrays of a file, and what is said of each trajectory."""
    held = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, one: held.update({name: one[()]} if isinstance(one, h5py.Dataset) else {})
        )
        for name, group in file["particles"].items():
            held |= {f"{name}@{key}": value for key, value in group.attrs.items()}
    return held


def test_an_interrupted_run_has_the_same_alarms(plain, toy_set, tmp_path, monkeypatch):
    scores = scores_of(plain, "energy_jump")
    threshold = float(np.median(scores))
    settings = replace(PLAIN, alarm="energy_jump", alarm_threshold=threshold)
    look, count = Watch.look, []

    def interrupted(self, run, ended):
        count.append(1)
        if len(count) == 40:
            raise KeyboardInterrupt
        return look(self, run, ended)

    monkeypatch.setattr(Watch, "look", interrupted)
    out = tmp_path / "t.h5"
    with pytest.raises(KeyboardInterrupt):
        run_dynamics_shard(
            fake_entry(), toy_set, ("b",), settings, out, device="cpu", checkpoint_s=0.0
        )
    run_dynamics_shard(fake_entry(), toy_set, ("b",), settings, out, device="cpu")
    assert 100 < len(count) < 110  # it went on
    monkeypatch.setattr(Watch, "look", look)
    whole = tmp_path / "whole.h5"
    run_dynamics_shard(fake_entry(), toy_set, ("b",), settings, whole, device="cpu")
    first, second = content(whole), content(out)
    assert first.keys() == second.keys()
    assert len(first) > 20
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)
    expected = events(scores, threshold)
    with Trajectories(out) as file:
        found = file.trajectory(NAME)
    assert (found.alarm_steps, found.n_alarms) == (tuple(expected[:MOST_ALARMS]), len(expected))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alarm": "temperature"}, "`alarm` is given without `alarm_threshold`"),
        ({"alarm_threshold": 1.0}, "`alarm_threshold` is given without `alarm`"),
        ({"stop_on_alarm": True}, "`stop_on_alarm` is true without an `alarm`"),
        ({"alarm": "intuition", "alarm_threshold": 1.0}, "`alarm` is 'intuition'"),
        ({"alarm": "temperature", "alarm_threshold": float("nan")}, "`alarm_threshold` is nan"),
        ({"reference_frames": "x"}, "`reference_frames` is given without an `alarm` that reads it"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        replace(PLAIN, **wrong).check()


def test_the_command_takes_what_the_workflow_gives_it(capsys):
    settings = replace(PLAIN, alarm="close_pair", alarm_threshold=-0.65, stop_on_alarm=True)
    options = words(settings.check(), "run")
    given = ["run", "dynamics", "--entry", "e", "--scan-set", "s", *options, "--out", "o"]
    arguments = cli.parser().parse_args(given)
    assert (arguments.alarm, arguments.alarm_threshold) == ("close_pair", -0.65)
    assert arguments.stop_on_alarm
    assert "--alarm" not in words(PLAIN, "run")
