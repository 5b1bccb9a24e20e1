"""What the explorer gets of dynamics: thinned curves, survival, the last steps of failures."""

from __future__ import annotations

import base64
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from test_trajectories import DT_FS, FAILED, FAILED_AT, N_STEPS, REFUSED, SURVIVED, path

from pesbench.core.errors import UserError
from pesbench.core.exploring import Explored, ExplorerJob
from pesbench.metrics.survival import survival_curve
from pesbench.metrics.survival_band import share_alive, survival_band
from pesbench.tasks.dynamics import explorer
from pesbench.tasks.dynamics.stored import Trajectories

__all__ = ["path"]  # a fixture of test_trajectories


def numbers(text: str, kind: str = "<f4"):
    return np.frombuffer(base64.b64decode(text), kind)


def scores(**more):
    ends = {SURVIVED: ("survived", N_STEPS), FAILED: ("failed", FAILED_AT)}
    ends[REFUSED] = ("not_at_risk", 0)
    return pd.DataFrame(
        [
            {
                "model": "toy", "trajectory": name, "system": name.partition("_")[0],
                "temperature_k": 300.0, "replicate": 0, "timestep_fs": DT_FS, "outcome": outcome,
                "failure": "", "status": "ok", "message": "",
                "time_ps": steps * DT_FS / 1e3, "planned_ps": N_STEPS * DT_FS / 1e3, **more,
            }
            for name, (outcome, steps) in ends.items()
        ]
    )  # fmt: skip


def explored(path, frame):
    put = {}
    job = ExplorerJob(path, {7: Explored("toy", "model", frame, [path])}, put.__setitem__)
    return explorer.explorer(job), put


def test_runs_have_their_curves_and_failures_their_last_steps(path):
    told, put = explored(path, scores())
    rows = [dict(zip(told["runs"]["columns"], row, strict=True)) for row in told["runs"]["rows"]]
    assert [row["trajectory"] for row in rows] == [SURVIVED, FAILED, REFUSED]
    assert [row["piece"] for row in rows] == [0, 1, None]  # nothing is known of what did not run
    assert set(put) == {"run-0", "run-1"}
    assert "last" not in put["run-0"]
    with Trajectories(path) as file:
        series, last = file.series(FAILED), file.last_steps(FAILED)
    piece = put["run-1"]
    assert piece["failure_ps"] == pytest.approx(FAILED_AT * DT_FS / 1e3)
    energy = 1e3 * (series.total - series.total[0]) / 2
    assert numbers(piece["series"]["energy"]["values"]) == pytest.approx(energy, rel=1e-6)
    assert numbers(piece["series"]["energy"]["time"]) == pytest.approx(series.time_ps, rel=1e-6)
    positions = numbers(piece["last"]["positions"], "<f2").reshape(last.positions.shape)
    centred = last.positions - last.positions.mean(axis=1, keepdims=True)
    assert positions == pytest.approx(centred, abs=2e-3)
    assert piece["last"]["step"] == last.step.tolist()
    assert told["left_out"] == {"curves": 0, "animations": 0}
    assert (piece["alarms"], piece["n_alarms"]) == ([], 0)


@pytest.mark.parametrize(
    ("stored", "steps"), [({"alarm_steps": [3, 5]}, [3, 5]), ({"alarm_step": 3}, [3])]
)
def test_the_alarms_of_a_run_are_marked(stored, steps, path, tmp_path):
    alarmed = tmp_path / "alarmed.h5"
    shutil.copy(path, alarmed)
    with h5py.File(alarmed, "r+") as file:
        attributes = file[f"particles/{FAILED}"].attrs
        del attributes["alarm_steps"]  # files of earlier versions have the first alone
        attributes.update(stored | {"n_alarms": 2})
    _, put = explored(alarmed, scores())
    assert put["run-1"]["alarms"] == pytest.approx([step * DT_FS / 1e3 for step in steps])
    assert put["run-0"]["alarms"] == []


@pytest.mark.parametrize("steps", [[5, 3], [-1], [N_STEPS + 1], list(range(101))])
def test_alarms_that_are_no_steps_of_the_run_are_refused(steps, path, tmp_path):
    wrong = tmp_path / "wrong.h5"
    shutil.copy(path, wrong)
    with h5py.File(wrong, "r+") as file:
        file[f"particles/{SURVIVED}"].attrs["alarm_steps"] = steps
    with pytest.raises(UserError, match="are no steps of the run"), Trajectories(wrong) as opened:
        opened.trajectory(SURVIVED)


def test_more_alarms_than_there_were_are_refused(path, tmp_path):
    wrong = tmp_path / "wrong.h5"
    shutil.copy(path, wrong)
    with h5py.File(wrong, "r+") as file:
        file[f"particles/{SURVIVED}"].attrs["alarm_steps"] = [0, 1]
    with pytest.raises(UserError, match="less than the alarms"), Trajectories(wrong) as opened:
        opened.trajectory(SURVIVED)


def test_animations_are_capped_and_the_rest_is_counted(path, monkeypatch):
    monkeypatch.setattr(explorer, "LAST_STEPS_BYTES", 0)
    told, put = explored(path, scores())
    assert told["left_out"] == {"curves": 0, "animations": 1}
    assert not any("last" in piece for piece in put.values())
    # that a run keeps them in its file is told, so that the command exports them
    assert [name for name, piece in put.items() if piece["keeps_last"]] == ["run-1"]


def test_curves_are_capped_failures_first_and_the_rest_is_counted(path, monkeypatch):
    monkeypatch.setattr(explorer, "CURVES_BYTES", 1.5 * explorer.CURVE_BYTES)
    told, put = explored(path, scores())
    assert told["left_out"] == {"curves": 1, "animations": 0}
    assert told["most"]["curves"] == 1
    rows = [dict(zip(told["runs"]["columns"], row, strict=True)) for row in told["runs"]["rows"]]
    assert [row["piece"] for row in rows] == [None, 1, None]
    assert set(put) == {"run-1"}


def test_what_is_chosen_of_many_runs_is_spread_over_all():
    rows = {f"r{k:03}": {"outcome": "failed" if k % 4 == 0 else "survived"} for k in range(400)}
    chosen = explorer._chosen(rows, 20)
    assert len(chosen) == 20
    assert all(rows[name]["outcome"] == "failed" for name in chosen)
    assert {"r000", "r396"} <= chosen
    few = {name: {"outcome": "failed" if name == "r000" else "survived"} for name in rows}
    chosen = explorer._chosen(few, 20)
    assert len(chosen) == 20
    assert {"r000", "r001", "r399"} <= chosen


def test_empty_cells_of_words_are_empty_text(path):
    told, _ = explored(path, scores().assign(failure=np.nan, message=None))
    rows = [dict(zip(told["runs"]["columns"], row, strict=True)) for row in told["runs"]["rows"]]
    assert {(row["failure"], row["message"]) for row in rows} == {("", "")}


def test_runs_with_another_time_step_are_no_runs_of_the_page(path):
    told, put = explored(path, scores(timestep_fs=2 * DT_FS))
    assert not put
    assert [row[-1] for row in told["runs"]["rows"]] == [None] * 3


def test_survival_is_that_of_runs_at_risk(path):
    told, _ = explored(path, scores())
    curve = told["survival"]["7"]
    assert curve["n"] == 2
    share = numbers(curve["share"])
    assert share[0] == 1
    assert share[-1] == 0.5
    assert "low" not in curve  # both are of one molecule
    alone = scores().assign(outcome="not_at_risk")
    assert explored(path, alone)[0]["survival"] == {}


def test_thinning_keeps_spikes_and_ends():
    values = np.zeros(20_000)
    values[[7, 12_345]] = 5, -5
    kept = explorer.thinned(values)
    assert {0, 7, 12_345, 19_999} <= set(kept.tolist())
    assert len(kept) <= 2 * explorer.SPANS + 2
    assert explorer.thinned(np.array([1.0, np.nan])).tolist() == [0, 1]
    assert explorer.thinned(np.full(3, np.nan)).tolist() == [0, 2]


def test_a_band_holds_its_curve_and_is_exact_where_all_molecules_are_alike():
    rng = np.random.default_rng(3)
    times, event = rng.exponential(0.5, 60).clip(max=1), np.ones(60, bool)
    event[times == 1] = False
    at = np.linspace(0, 1, 11)
    share = share_alive(times, event, at, 1.0)
    steps, whole = survival_curve(times, event, 1.0)
    assert share == pytest.approx([whole[steps <= t][-1] for t in at])
    low, high = survival_band(times, event, [str(k % 12) for k in range(60)], at, 1.0, "band")
    assert (low <= share + 1e-12).all()
    assert (share <= high + 1e-12).all()
    assert (high - low).max() > 0.05
    same = survival_band([0.2, 0.5, 0.2, 0.5], [1, 1, 1, 1], ["a", "a", "b", "b"], at, 1.0, "x")
    assert same[0][at < 0.2] == pytest.approx([1.0, *[0.025**0.5] * np.sum((at > 0) & (at < 0.2))])
    assert same[1][at < 0.2] == pytest.approx(1.0)
    assert ((same[0] < 0.5) & (same[1] > 0.5))[(at >= 0.2) & (at < 0.5)].all()
    alive = survival_band([1.0] * 9, [0] * 9, list("abcdefghi"), at, 1.0, "x")
    assert alive[0][1:] == pytest.approx(0.025 ** (1 / 9))  # 9 of 9
    cut = survival_band([0.45] * 9, [0] * 9, list("abcdefghi"), at, 1.0, "x")
    assert cut[0][at > 0.5] == pytest.approx(0.0)  # nobody is observed any more
    assert survival_band([0.2, 0.5], [1, 1], ["a", "a"], at, 1.0, "x") is None


def test_a_band_never_rises_where_all_have_failed():
    at = np.linspace(0, 1, 11)
    times = [0.15] * 9 + [0.55]  # of ten runs of five molecules one lives on
    low, high = survival_band(times, [1] * 10, list("aabbccddee"), at, 1.0, "x")
    assert (np.diff(low) <= 0).all()
    assert (np.diff(high) <= 0).all()
    assert high[-1] == pytest.approx(1 - 0.025**0.2)  # exact for none of five
