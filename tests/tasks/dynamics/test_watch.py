"""Alarms of dynamics: recorded at their step, or the end of a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from examples import fake_entry
from pesbench import cli
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.settings import words
from pesbench.metrics.geometry_sentinels import Pairs, close_pair, long_bond
from pesbench.metrics.physics_sentinels import energy_jump, largest_force
from pesbench.tasks.alarms.events import events
from pesbench.tasks.dynamics.score import trajectory_rows
from pesbench.tasks.dynamics.settings import ALARMS, DynamicsSettings
from pesbench.tasks.dynamics.stored import Trajectories
from pesbench.tasks.dynamics.watch import Watch
from shards import run_dynamics_shard

PLAIN = DynamicsSettings(temperatures_k=(300.0,), duration_ps=0.05, store_every=1)
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


@pytest.mark.parametrize("alarm", ALARMS)
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
        assert (found.alarm_step, found.n_alarms) == (expected[0], len(expected))
        assert found.survived
        assert np.array_equal(file.frames(NAME).positions, plain[1].positions)
        assert file.last_steps(NAME) is None


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
    assert row["time_ps"] == pytest.approx(step * 0.0005)
    assert np.isnan(row["fu_stable_ps"])  # a run that was cut has no score of others


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
    expected = events(scores, threshold)
    with Trajectories(out) as file:
        found = file.trajectory(NAME)
    assert (found.alarm_step, found.n_alarms) == (expected[0], len(expected))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alarm": "temperature"}, "`alarm` is given without `alarm_threshold`"),
        ({"alarm_threshold": 1.0}, "`alarm_threshold` is given without `alarm`"),
        ({"stop_on_alarm": True}, "`stop_on_alarm` is true without an `alarm`"),
        ({"alarm": "intuition", "alarm_threshold": 1.0}, "`alarm` is 'intuition'"),
        ({"alarm": "temperature", "alarm_threshold": float("nan")}, "`alarm_threshold` is nan"),
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
