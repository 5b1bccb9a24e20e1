"""Scores of trajectories, and what the leaderboard says of dynamics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from examples import fake_entry
from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.section import SectionInputs
from pesbench.files.scan_set import ScanSet
from pesbench.models.facts import ModelFacts
from pesbench.tasks.dynamics import board as report
from pesbench.tasks.dynamics import conservation
from pesbench.tasks.dynamics.score import (
    COLUMNS,
    METRICS,
    OTHERS_METRICS,
    OWN_METRICS,
    score_trajectory,
    trajectory_rows,
)
from pesbench.tasks.dynamics.section import section
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.stored import Frames, Segment, Series, Trajectories, Trajectory
from pesbench.tasks.dynamics.writing import write_trajectories
from shards import run_dynamics_shard, write_dynamics_scores

SETTINGS = DynamicsSettings(
    temperatures_k=(300.0,), replicates=1, duration_ps=1.0, timestep_fs=1.0, store_every=10
)


@pytest.fixture(scope="module")
def shard(tmp_path_factory, toy_set):
    path = tmp_path_factory.mktemp("dynamics") / "0000.h5"
    with ScanSet(toy_set) as scans:
        systems = sorted({scans.scan(i).system for i in scans.ids})[:2]
    run_dynamics_shard(fake_entry(), toy_set, systems, SETTINGS, path, device="cpu")
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


def test_steps_with_a_thermostat_conserve_no_energy_and_count_for_failures_alone():
    plain, same = _scores(_ended()), _scores(_ended(), 300, change=5.0)
    counted = set(OWN_METRICS) | {"mlipaudit_energy_conservation", "lambench_slope_ev_per_atom_ps"}
    late = _scores(_ended(), 300)
    assert {name: same[name] for name in counted} == {name: late[name] for name in counted}
    assert same["energy_drift_mev_per_atom_ps"] == pytest.approx(5.0, rel=0.05)
    assert same["energy_excursion_mev_per_atom"] < plain["energy_excursion_mev_per_atom"]
    assert same["fu_stable_ps"] == plain["fu_stable_ps"]
    broken = _scores(_ended(failure="hot", last_step=250, failure_step=250), 300)
    assert np.isnan([broken[name] for name in OWN_METRICS]).all()
    assert np.isnan(broken["lambench_slope_ev_per_atom_ps"])
    assert broken["mlipaudit_energy_conservation"] == 0.0


def test_the_thermostat_of_a_file_is_that_of_its_scores(toy_set, tmp_path):
    settings = replace(SETTINGS, equilibration_ps=0.3)
    path = tmp_path / "t.h5"
    with ScanSet(toy_set) as scans:
        system = sorted({scans.scan(i).system for i in scans.ids})[0]
    run_dynamics_shard(fake_entry(), toy_set, [system], settings, path, device="cpu")
    (row,) = trajectory_rows([path])
    with Trajectories(path) as opened:
        series = opened.series(row["trajectory"])
    assert np.ptp(series.total[301:]) < 1e-3 < np.ptp(series.total[:301])
    assert row["mean_temperature_k"] == series.temperature[301:].mean()
    assert row["energy_drift_mev_per_atom_ps"] == (
        conservation.energy_drift(series.time_ps, series.total, row["n_atoms"], 0.301).slope
    )
    assert row["temperature_off"] == row["mean_temperature_k"] / 300 - 1
    assert row["graph_changed"] is False


def test_files_of_one_trajectory_twice_or_two_models_are_refused(shard, tmp_path):
    with pytest.raises(UserError, match="in another shard, too"):
        trajectory_rows([shard, shard])
    with pytest.raises(UserError, match="no such trajectory file"):
        trajectory_rows([tmp_path / "none.h5"])


def test_the_split_is_carried(shard, toy_set, tmp_path):
    system = trajectory_rows([shard])[0]["system"]
    (tmp_path / "s.csv").write_text(f"system,split\n{system},unseen\n")
    split = tmp_path / "s.csv"
    write_dynamics_scores([shard], tmp_path / "d.parquet", scan_set=toy_set, split=split)
    frame = pd.read_parquet(tmp_path / "d.parquet")
    assert frame.set_index("system").loc[system, "seen"] == "unseen"
    assert frame.attrs["settings"]["duration_ps"] == 1.0


def test_only_selected_molecules_are_scored(shard, toy_set, tmp_path):
    first, second = (row["system"] for row in trajectory_rows([shard]))
    out = tmp_path / "d.parquet"
    write_dynamics_scores([shard], out, scan_set=toy_set, selected=[second])
    assert pd.read_parquet(out)["system"].tolist() == [second] != [first]
    with pytest.raises(UserError, match="holds no selected molecule"):
        write_dynamics_scores([shard], out, scan_set=toy_set, selected=["nobody"])


# --- how a run ended -----------------------------------------------------------------------------

N_STEPS, EVERY = 1000, 10


def _ended(status=Status.OK, failure="", last_step=N_STEPS, *, failure_step=-1, system="CO"):
    """A swinging diatomic and how it ended."""
    return Trajectory(
        system, 300.0, 0, np.array([6, 8]), np.array([[0, 1]]), 0, 1, 1,
        status=status, failure=failure, failure_step=failure_step, last_step=last_step,
    )  # fmt: skip


def _swing(step):
    """Potential and kinetic energy (eV) and positions (Å) of it, whose energy creeps up."""
    angle = 2 * np.pi * step / 25
    positions = np.zeros((len(step), 2, 3))
    positions[:, 1, 0] = 1.13 + 0.03 * np.sin(angle)
    return 1e-5 * step - 0.01 * np.cos(angle), 0.02 + 0.01 * np.cos(angle), positions


def _scores(trajectory, equilibration_steps=0, change=0.0):
    """`change` is added to the energy and, in 1000 K, the temperature of these first steps."""
    step = np.arange(trajectory.last_step + 1)
    potential, kinetic, positions = _swing(step)
    temperature = kinetic / 4.3e-5
    kinetic[: equilibration_steps + 1] += change
    temperature[: equilibration_steps + 1] += 1000 * change
    series = Series(step * 1e-3, potential, kinetic, temperature)
    stored = slice(None, None, EVERY)
    frames = Frames(
        step[stored], series.time_ps[stored], positions[stored], np.zeros_like(positions[stored]),
        potential[stored], kinetic[stored], temperature[stored],
    )  # fmt: skip
    return score_trajectory(trajectory, series, frames, N_STEPS, equilibration_steps)


@pytest.mark.parametrize("status", [Status.TIMEOUT, Status.OUT_OF_MEMORY])
def test_a_run_that_was_cut_has_no_score_of_other_benchmarks(status):
    cut, whole = _scores(_ended(status, last_step=700, failure_step=701)), _scores(_ended())
    assert list(cut) == list(whole) == list(METRICS)
    assert np.isnan([cut[name] for name in OTHERS_METRICS]).all()
    # of what it did there are our own numbers
    assert np.isfinite([cut[name] for name in OWN_METRICS]).all()
    assert cut["energy_drift_mev_per_atom_ps"] == pytest.approx(5.0, rel=0.02)
    assert np.isfinite(list(whole.values())).all()
    assert whole["mlipaudit_stability"] == 1.0
    assert whole["lambench_slope_ev_per_atom_ps"] == pytest.approx(5e-3, rel=0.02)
    assert whole["lambench_instability"] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("status", "failure", "stability"),
    [
        (Status.OK, "hot", 0.5 * 70 / 101),
        (Status.NONFINITE, "", 0.5 * 70 / 101),
        (Status.CRASHED, "", 0.0),
    ],
)
def test_a_run_that_failed_is_not_complete_for_other_benchmarks(status, failure, stability):
    found = _scores(_ended(status, failure, 700, failure_step=701))
    assert found["fu_stable_ps"] == pytest.approx(0.7)
    assert found["mlipaudit_stability"] == pytest.approx(stability)
    assert found["mlipaudit_energy_conservation"] == 0.0
    assert found["lambench_instability"] == 5.0


def _write(path, trajectories):
    """A shard of runs of `_swing`, cut where each ended."""
    step = np.arange(N_STEPS + 1)
    potential, kinetic, positions = _swing(step)
    frames, count = step[::EVERY], len(trajectories)
    positions = np.concatenate([positions[frames]] * count, axis=1)
    segment = Segment(
        0, np.stack([potential] * count, axis=1), np.stack([kinetic] * count, axis=1),
        frames, positions, np.zeros_like(positions),
    )  # fmt: skip
    write_trajectories(
        path, trajectories, [segment], timestep_fs=1.0, store_every=EVERY,
        attributes={"model": "toy", "n_steps": N_STEPS, "wall_s": 1.0},
    )  # fmt: skip
    return path


def test_what_counts_as_failed_before_the_first_step(tmp_path):
    """A model must answer for the geometry after the first step; a molecule may break there."""
    runs = {
        "no answer at the start": (_ended(Status.ERROR, "", -1, failure_step=0), "not_at_risk", 0),
        "broken at the start": (_ended(Status.OK, "hot", 0, failure_step=0), "not_at_risk", 0),
        "no answer after step 1": (_ended(Status.ERROR, "", 0, failure_step=1), "not_at_risk", 0),
        "broken after step 1": (_ended(Status.OK, "hot", 1, failure_step=1), "failed", 1e-3),
        "no answer after step 2": (_ended(Status.ERROR, "", 1, failure_step=2), "failed", 1e-3),
        "cut before step 1": (_ended(Status.TIMEOUT, "", 0, failure_step=1), "censored", 0),
        "unsupported": (_ended(Status.UNSUPPORTED, "", -1), "not_at_risk", 0),
        "survived": (_ended(), "survived", 1.0),
    }
    trajectories = [replace(one, system=name) for name, (one, _, _) in runs.items()]
    rows = trajectory_rows([_write(tmp_path / "0000.h5", trajectories)])
    assert {row["system"]: (row["outcome"], row["time_ps"]) for row in rows} == {
        name: (how, pytest.approx(time_ps)) for name, (_, how, time_ps) in runs.items()
    }
    for row in rows:
        judged = np.isfinite([row["fu_stable_ps"], row["lambench_instability"]])
        assert (judged == (row["outcome"] in ("failed", "survived"))).all()


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
    assert row["n_drift"] == 2


def _shown(runs, roles):
    """The table of the section."""
    facts = {name: ModelFacts(name, "ase", role) for name, role in roles.items()}
    (table,) = section(SectionInputs("dynamics", runs, facts)).tables
    return table.rows


def _one(model, reference=None):
    """The row of a model in the table, as numbers and as text."""
    runs = {"m": model} | ({} if reference is None else {"ref": reference})
    table = report.dynamics_columns(runs, None if reference is None else "ref")
    roles = {"m": "model"} | ({} if reference is None else {"ref": "reference"})
    shown = _shown(runs, roles)
    return table.set_index("model").loc["m"], shown.set_index("model").loc["m"]


def test_a_median_of_few_runs_says_of_how_many():
    """What a run does while it breaks is no drift, and a model that mostly fails says so."""
    gone = [np.nan] * 9
    model = _runs(
        [*((f"m{k}", 500, "failed", 0.3) for k in range(9)), ("m9", 500, "survived", 1.0)],
        temperature_spike=[*gone, 3.0],
        energy_drift_mev_per_atom_ps=[*gone[:8], 6.0, -2.0],
    )
    row, cells = _one(model)
    assert (row["n_spike"], row["n_drift"], row["n_rms"], row["md_n_failed"]) == (1, 1, 1, 9)
    assert (row["temperature_spike"], row["energy_drift"]) == (3.0, 2.0)
    assert cells["spike (σ)"] == "3.00 (1 of 10)"
    assert cells["drift (meV/atom/ps)"] == "2.00 (1 of 10)"
    assert cells["RMS (meV/atom)"] == "1.00 (1 of 10)"
    assert cells["failed"] == "9"
    assert cells["order"] == "n/a"
    assert (row["n_orders"], row["n_orders_planned"]) == (0, 0)
    row, cells = _one(model.assign(temperature_spike=np.nan))
    assert row["n_spike"] == 0
    assert cells["spike (σ)"] == "n/a"


def test_the_reference_on_the_same_runs_is_the_floor():
    lives = [(name, 500, "survived", 1.0) for name in "abc"]
    reference = _runs(
        [*lives, ("d", 500, "survived", 1.0)],
        energy_drift_mev_per_atom_ps=[-0.1, 0.2, 0.3, 9.0],
        energy_rms_mev_per_atom=[0.5, 0.6, 0.7, 9.0],
    )
    model = _runs(
        [*lives, ("d", 500, "failed", 0.9)],
        energy_drift_mev_per_atom_ps=[1.0, -2.0, 3.0, 99.0],
        energy_rms_mev_per_atom=[1.0, 2.0, 4.0, 99.0],
    )
    row, cells = _one(model, reference)
    assert (row["energy_drift"], row["energy_drift_reference"]) == (2.0, 0.2)
    assert (row["energy_rms"], row["energy_rms_reference"]) == (2.0, 0.6)
    assert cells["drift (meV/atom/ps)"] == "2.00 [0.200] (3 of 4)"
    assert np.isnan(_one(model)[0]["energy_drift_reference"])
    shown = _shown({"ref": reference}, {"ref": "reference"}).iloc[0]
    assert shown["drift (meV/atom/ps)"] == "0.250"


def test_the_error_of_a_drift_comes_from_replicates_where_there_are_some():
    rng = np.random.default_rng(0)
    n = 400
    runs = _runs(
        [(f"m{k // 2}", 500, "survived", 1.0) for k in range(n)],
        energy_drift_mev_per_atom_ps=rng.normal(0, 3.0, n),
        energy_drift_error_mev_per_atom_ps=70.0,
    )
    assert report.drift_error(runs) == pytest.approx(3.0, rel=0.2)
    assert report.drift_error(runs[::2]) == 70.0
    assert np.isnan(report.drift_error(runs[:0]))
    one = report.dynamics_columns({"m": runs[::2]}, None).iloc[0]
    assert np.isnan(one["energy_drift_error"])  # scores of earlier versions have another error
    one = report.dynamics_columns({"m": runs[::2].assign(graph_changed=False)}, None).iloc[0]
    assert one["energy_drift_error"] == 70.0


def test_runs_far_from_their_temperature_are_counted_and_those_of_another_molecule():
    runs = _runs(
        [*((name, 300, "survived", 1.0) for name in "abcd"), ("e", 300, "failed", 0.5)],
        mean_temperature_k=[300.0, 303.0, 390.0, 60.0, 900.0],
    )
    row, cells = _one(runs)
    assert row["temperature_off"] == pytest.approx(0.005)
    assert (row["md_n_temperature_off"], row["md_n_frozen"]) == (2, 1)
    assert cells["temperature (% of nominal)"] == "100.5, 2 off, 1 frozen"
    assert cells["changed"] == "n/a"  # scores of earlier versions
    row, cells = _one(runs.assign(graph_changed=[True, False, False, False, None]))
    assert row["md_n_graph_changed"] == 1  # of those that survive
    assert cells["changed"] == "1"
    row, cells = _one(runs.assign(graph_changed=[True, False, np.nan, False, True]))
    assert np.isnan(row["energy_drift_error"])  # scores of two versions, merged
    assert cells["changed"] == "n/a"


def test_counts_stay_whole_numbers_beside_models_without_dynamics(tmp_path):
    table = report.dynamics_columns({"m": REFERENCE}, None)
    counts = [name for name in table if name.startswith("n_")]
    assert counts == [
        "n_spike", "n_drift", "n_rms", "n_orders", "n_orders_planned", "n_others",
        "n_lambench_slope",
    ]  # fmt: skip
    for one in (table, report.dynamics_columns({}, None)):
        board = pd.DataFrame({"model": ["m", "other"]}).merge(one, on="model", how="left")
        assert (board[counts].dtypes == "Int64").all()
        board.to_csv(tmp_path / "b.csv")
        assert ".0," not in (tmp_path / "b.csv").read_text().splitlines()[2]


def test_the_order_comes_from_two_time_steps_and_the_finer_runs_from_no_mean():
    coarse = _runs([("a", 500, "survived", 1.0)], energy_rms_mev_per_atom=0.4)
    fine = _runs([("a", 500, "survived", 1.0)], timestep_fs=0.25, energy_rms_mev_per_atom=0.1)
    fine["temperature_spike"] = 50.0
    row, cells = _one(pd.concat([coarse, fine], ignore_index=True))
    assert row["energy_rms_order"] == pytest.approx(2.0)
    assert (row["n_orders"], row["n_orders_planned"]) == (1, 1)
    assert cells["order"] == "2.00 (1 of 1)"
    assert row["md_n_planned"] == 1
    assert row["survival"] == 1.0
    assert (row["temperature_spike"], row["n_spike"]) == (1.0, 1)
    assert row["md_seconds"] == 2.0  # of both, unlike every other column


@pytest.mark.parametrize("ended", ["failed", "censored", "not_at_risk"])
def test_no_order_comes_from_a_run_that_did_not_survive_with_both_steps(ended):
    """The RMS of a run that exploded has the explosion in it."""
    time_ps = 0.0 if ended == "not_at_risk" else 0.6
    ways = [("survived", 1.0), ("survived", 1.0), (ended, time_ps)]
    coarse = _runs(
        [(name, 500, *way) for name, way in zip("abc", ways, strict=True)],
        energy_rms_mev_per_atom=[0.4, 0.4, 900.0],
    )
    fine = _runs(
        [(name, 500, *way) for name, way in zip("abc", reversed(ways), strict=True)],
        timestep_fs=0.25,
        energy_rms_mev_per_atom=[700.0, 0.1, 0.1],
    )
    both = pd.concat([coarse, fine], ignore_index=True)
    orders = report.rms_orders(both)
    assert orders.index.tolist() == ["a500", "b500", "c500"]
    assert orders.tolist() == pytest.approx([np.nan, 2.0, np.nan], nan_ok=True)
    row, cells = _one(both)
    assert row["energy_rms_order"] == pytest.approx(2.0)
    assert (row["n_orders"], row["n_orders_planned"]) == (1, 3)
    assert cells["order"] == "2.00 (1 of 3)"
    none, cells = _one(both[both["system"] != "b"])
    assert np.isnan(none["energy_rms_order"])
    assert cells["order"] == "n/a (0 of 2)"


def test_means_by_the_definitions_of_others_say_of_how_many_runs_they_are():
    model = _runs(
        [
            ("a", 500, "survived", 1.0),
            ("b", 500, "survived", 1.0),
            ("c", 500, "failed", 0.2),
            ("d", 500, "censored", 0.3),
            ("e", 500, "not_at_risk", 0.0),
        ],
        fu_stable_ps=[1.0, 0.5, 0.2, np.nan, np.nan],
        mlipaudit_stability=[1.0, 0.5, 0.0, np.nan, np.nan],
        mlipaudit_energy_conservation=[1.0, 0.2, 0.0, np.nan, np.nan],
        lambench_slope_ev_per_atom_ps=[1e-3, 1e-5, 1e-9, np.nan, np.nan],
        lambench_instability=[np.log10(2), 0.0, 5.0, np.nan, np.nan],
    )
    # what the reference does changes nothing: others have none
    reference = _runs(
        [("a", 500, "failed", 0.5), *((name, 500, "survived", 1.0) for name in "bcde")]
    )
    for row in (_one(model)[0], _one(model, reference)[0]):
        assert (row["n_others"], row["n_lambench_slope"], row["md_n_planned"]) == (3, 2, 5)
        assert row["fu_stable_ps"] == pytest.approx(1.7 / 3)
        assert row["mlipaudit_stability"] == pytest.approx(0.5)
        assert row["mlipaudit_energy_conservation"] == pytest.approx(0.4)
        # the geometric mean of the two that are complete, not with the one that failed
        assert row["lambench_slope_ev_per_atom_ps"] == pytest.approx(1e-4)
        assert row["lambench_instability"] == pytest.approx((np.log10(2) + 5) / 3)
    alone = _one(model[model["outcome"] == "failed"])[0]
    assert np.isnan(alone["lambench_slope_ev_per_atom_ps"])
    assert (alone["n_others"], alone["n_lambench_slope"]) == (1, 0)
    # scores made before runs that were cut lost these numbers
    stale = model.fillna({"fu_stable_ps": 0.3} | dict.fromkeys(OTHERS_METRICS, 5.0))
    assert _one(stale)[0]["n_others"] == 3
    none = _one(model[model["outcome"] == "censored"])[0]
    assert np.isnan(none["fu_stable_ps"])
    assert (none["n_others"], none["n_lambench_slope"]) == (0, 0)


def test_the_section_says_what_was_counted():
    model = _runs([("a", 500, "censored", 0.4), ("b", 500, "survived", 1.0)])
    runs = {"m": model, "ref": REFERENCE, "defect": model}
    roles = {"m": "model", "ref": "reference", "defect": "perturbed"}
    text = _shown(runs, roles).set_index("model")
    assert text.index.tolist() == ["m", "ref (reference)", "defect (perturbed)"]
    assert text.loc["m", "finished / planned"] == "1 / 2"
    assert (text.loc["defect (perturbed)"] == text.loc["m"]).all()
    assert "bounds 0.70–1.00" in text.loc["m", "survival (ps of 1)"]
