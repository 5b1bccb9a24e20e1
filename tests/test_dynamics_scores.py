"""Scores of trajectories, and what the leaderboard says of dynamics."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from conftest import fake_entry
from pesbench.dynamics import DynamicsSettings, run_dynamics_shard
from pesbench.dynamics_scores import COLUMNS, METRICS, trajectory_rows, write_dynamics_scores
from pesbench.errors import UserError
from pesbench.metrics import conservation
from pesbench.report import dynamics as report
from pesbench.storage import ScanSet
from pesbench.trajectories import Trajectories

SETTINGS = DynamicsSettings(
    temperatures_k=(300.0,), replicates=1, duration_ps=1.0, timestep_fs=1.0, store_every=10
)


@pytest.fixture(scope="module")
def shard(tmp_path_factory, toy_set):
    path = tmp_path_factory.mktemp("dynamics") / "0000.h5"
    with ScanSet(toy_set) as scans:
        systems = sorted({scans.scan(i).system for i in scans.ids})[:2]
    old = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(__file__).rpartition("/")[0], old])
    try:
        run_dynamics_shard(fake_entry(), toy_set, systems, SETTINGS, path, device="cpu")
    finally:
        os.environ["PYTHONPATH"] = old
    return path


def test_every_trajectory_has_a_row_with_the_numbers_of_its_series(shard):
    rows = trajectory_rows([shard])
    assert len(rows) == 2
    with Trajectories(shard) as opened:
        for row in rows:
            assert set(row) == set(COLUMNS)
            assert row["outcome"] == "survived"
            assert row["time_ps"] == row["planned_ps"] == 1.0
            series = opened.series(row["trajectory"])
            drift = conservation.energy_drift(series.time_ps, series.total, row["n_atoms"])
            assert row["energy_drift_mev_per_atom_ps"] == drift.slope
            # of a diatomic the temperature passes zero, which MLIPAudit takes for an explosion
            assert 0 <= row["mlipaudit_stability"] < 1
            assert row["lambench_instability"] < 5
            assert row["fu_stable_ps"] == pytest.approx(1.0)
        wall_s = float(opened.attributes["wall_s"])
    assert sum(row["wall_s"] for row in rows) == pytest.approx(wall_s)


def test_files_of_one_trajectory_twice_or_two_models_are_refused(shard, tmp_path):
    with pytest.raises(UserError, match="in another shard, too"):
        trajectory_rows([shard, shard])
    with pytest.raises(UserError, match="no such trajectory file"):
        trajectory_rows([tmp_path / "none.h5"])


def test_the_split_is_carried(shard, tmp_path):
    system = trajectory_rows([shard])[0]["system"]
    (tmp_path / "s.csv").write_text(f"system,split\n{system},unseen\n")
    write_dynamics_scores([shard], tmp_path / "d.parquet", split=tmp_path / "s.csv")
    frame = pd.read_parquet(tmp_path / "d.parquet")
    assert frame.set_index("system").loc[system, "seen"] == "unseen"
    assert frame.attrs["settings"]["duration_ps"] == 1.0


# --- what the leaderboard makes of it -----------------------------------------------------------


def _runs(lives, *, planned=1.0, timestep_fs=0.5, **values):
    """Trajectories of one model: `lives` is (system, temperature, outcome, time) of each."""
    rows = pd.DataFrame(lives, columns=["system", "temperature_k", "outcome", "time_ps"])
    rows["trajectory"] = rows["system"] + rows["temperature_k"].astype(str)
    rows["planned_ps"], rows["timestep_fs"] = planned, timestep_fs
    rows["failure"] = np.where(rows["outcome"] == "failed", "hot", "")
    rows["status"] = np.where(rows["outcome"] == "not_at_risk", "unsupported", "ok")
    for column in (*METRICS, "wall_s"):
        rows[column] = values.get(column, 1.0)
    return rows


REFERENCE = _runs(
    [("a", 500, "survived", 1.0), ("b", 500, "survived", 1.0), ("c", 500, "failed", 0.5)]
)


def test_failures_count_in_excess_of_the_reference():
    model = _runs(
        [("a", 500, "failed", 0.4), ("b", 500, "survived", 1.0), ("c", 500, "failed", 0.1)]
    )
    table = report.dynamics_columns({"m": model, "ref": REFERENCE}, "ref").set_index("model")
    row = table.loc["m"]
    assert (row["md_n_planned"], row["md_n_finished"], row["md_n_counted"]) == (3, 1, 2)
    assert row["md_n_reference_failed"] == 1
    assert row["survival"] == pytest.approx((0.4 + 1.0) / 2)
    assert row["md_missing"] == "2 hot"
    assert table.loc["ref", "survival"] == 1.0
    # without a reference every failure counts
    alone = report.dynamics_columns({"m": model}, None).set_index("model").loc["m"]
    assert alone["survival"] == pytest.approx((0.4 + 1.0 + 0.1) / 3)
    assert alone["md_n_counted"] == 3


def test_what_is_not_at_risk_is_in_no_mean_but_counted():
    model = _runs([("a", 500, "not_at_risk", 0.0), ("b", 500, "survived", 1.0)])
    row = report.dynamics_columns({"m": model, "ref": REFERENCE}, "ref").set_index("model").loc["m"]
    assert (row["md_n_planned"], row["md_n_counted"], row["survival"]) == (2, 1, 1.0)
    assert row["md_missing"] == "1 unsupported"


def test_cut_runs_bound_the_survival():
    model = _runs([("a", 500, "censored", 0.4), ("b", 500, "survived", 1.0)])
    row = report.dynamics_columns({"m": model, "ref": REFERENCE}, "ref").set_index("model").loc["m"]
    assert row["survival_all_fail"] == pytest.approx(0.7)
    assert row["survival_all_survive"] == pytest.approx(1.0)


def test_drifts_of_both_signs_do_not_cancel_and_missing_ones_leave_no_zero():
    model = _runs(
        [("a", 500, "survived", 1.0), ("b", 500, "survived", 1.0), ("c", 500, "failed", 0.01)],
        energy_drift_mev_per_atom_ps=[-2.0, 2.0, np.nan],
    )
    row = report.dynamics_columns({"m": model}, None).set_index("model").loc["m"]
    assert row["energy_drift"] == 2.0


def test_the_order_comes_from_two_time_steps_and_the_finer_runs_from_no_mean():
    coarse = _runs([("a", 500, "survived", 1.0)], energy_rms_mev_per_atom=0.4)
    fine = _runs([("a", 500, "failed", 0.5)], timestep_fs=0.25, energy_rms_mev_per_atom=0.1)
    both = pd.concat([coarse, fine], ignore_index=True)
    row = report.dynamics_columns({"m": both}, None).set_index("model").loc["m"]
    assert row["energy_rms_order"] == pytest.approx(2.0)
    assert row["md_n_planned"] == 1
    assert row["survival"] == 1.0
    assert row["md_seconds"] == 2.0


def test_the_section_says_what_was_counted():
    model = _runs([("a", 500, "censored", 0.4), ("b", 500, "survived", 1.0)])
    runs = {"m": model, "ref": REFERENCE, "defect": model}
    board = report.dynamics_columns(runs, "ref").assign(
        scan_seconds=3.0, role=["model", "reference", "perturbed"]
    )
    text = report.section(board).table.set_index("model")
    assert text.index.tolist() == ["m", "ref (reference)", "defect (perturbed)"]
    assert text.loc["m", "finished / planned"] == "1 / 2"
    assert (text.loc["defect (perturbed)"] == text.loc["m"]).all()
    assert "bounds 0.70–1.00" in text.loc["m", "survival (ps of 1)"]
    assert report.section(report.dynamics_columns({}, None)) is None
