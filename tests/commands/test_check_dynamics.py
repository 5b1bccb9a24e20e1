"""The short dynamics of `pesbench check`."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import check_calculators as fakes
import pesbench
from checked import failures, smoothly
from examples import fake_entry
from pesbench.commands.check import conformance, subset
from pesbench.commands.check import dynamics as short_dynamics
from pesbench.commands.check.limits import TOLERANCES, Limits
from pesbench.commands.check.local import CalculatorModel, InProcess
from pesbench.commands.check.report import Verdict
from pesbench.commands.check.run import run_check, silently
from pesbench.commands.check.run_rows import dynamics_rows
from pesbench.commands.check.supervised import (
    PatientWorker,
)
from pesbench.core.bond_graph import bond_type
from pesbench.core.interface import check_result
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.models.families.ase import ASEModel
from pesbench.models.registry import ModelEntry
from pesbench.tasks.dynamics import conservation
from pesbench.tasks.dynamics.score import METRICS, trajectory_rows
from pesbench.tasks.dynamics.stored import Trajectories
from shards import run_dynamics_shard

# --- short dynamics ------------------------------------------------------------------------------

EVERY = conformance.Elements(frozenset({1, 6, 7, 8, 15, 16}), frozenset())
SHORT = replace(short_dynamics.SETTINGS, duration_ps=0.25)
DYNAMICS_ROWS = [
    "runs_failed", "not_relaxed", "energy_drift", "energy_rms", "energy_jump", "temperature_spike"
]  # fmt: skip


def run_short(
    evaluate, limits=None, settings=SHORT, elements=EVERY, track=silently, reference=None
):
    """Rows and records by name; `evaluate` is a function of a batch or a calculator.

    Without a reference drift, RMS and jumps have the limits of the caller alone.
    """
    if not callable(evaluate):
        model = InProcess(CalculatorModel(evaluate))
        evaluate = Evaluator(model, BatchLimit()).evaluate
    rows, records = short_dynamics.check_dynamics(
        evaluate, elements, limits or Limits(), TOLERANCES["float64"], track, settings,
        reference or {},
    )  # fmt: skip
    assert [row.name for row in rows] == DYNAMICS_ROWS
    assert {row.section for row in rows} == {"dynamics"}
    return {row.name: row for row in rows}, {record["system"]: record for record in records}


def changed(change):
    """The good calculator with a change of its result at a step of a trajectory.

    Args:
        change: Of the batch, the result, the molecules and their steps.
    """

    def evaluate(batch):
        result = smoothly(batch)
        running = [(name.split("_")[0], step) for name, step in batch.labels if "K_" in name]
        if not running:
            return result
        names, steps = zip(*running, strict=True)
        return check_result(batch, change(batch, result, np.array(names), np.array(steps)))

    return evaluate


@pytest.fixture(scope="module")
def undisturbed():
    """Rows and records of the good calculator."""
    return run_short(smoothly)


def test_the_molecules_hold_every_element_and_bond_type():
    scans = subset.read_subset()
    systems = short_dynamics.check_systems()
    assert tuple(system.id for system in systems) == short_dynamics.SYSTEMS
    assert {system.id for system in systems} <= {scan.system for scan in scans}
    assert max(len(system.numbers) for system in systems) == 7
    assert {z for system in systems for z in system.numbers.tolist()} == {1, 6, 7, 8, 15, 16}
    bonds = {
        bond_type(system.numbers[i], system.numbers[j])
        for system in systems
        for i, j in system.bonds
    }
    assert {scan.bond for scan in scans} <= bonds
    # long enough for every score
    kept = short_dynamics.SETTINGS.duration_ps - conservation.DISCARD_PS
    assert kept > conservation.SPIKE_WINDOW_PS


def test_short_dynamics_of_a_good_calculator(smooth):
    settings = short_dynamics.SETTINGS
    assert [r["system"] for r in smooth.trajectories] == list(short_dynamics.SYSTEMS)
    for record in smooth.trajectories:
        assert record["outcome"] == "survived"
        assert record["time_ps"] == record["planned_ps"] == settings.duration_ps
        assert record["relaxed"]
        assert 0 < record["relax_fmax"] <= settings.relax_fmax
        assert all(np.isfinite(record[name]) for name in METRICS)
        assert record["mean_temperature_k"] == pytest.approx(1000, rel=0.15)
        assert abs(record["energy_drift_mev_per_atom_ps"]) < 1
        assert record["energy_rms_mev_per_atom"] < 1
    assert [row.name for row in smooth.rows[-6:]] == DYNAMICS_ROWS
    failed = smooth.row("runs_failed")
    assert (failed.value, failed.limit, failed.verdict) == (0, 0, Verdict.PASS)
    assert failed.note == "6 of 6 lived 0.75 ps at 1000 K"
    assert smooth.row("not_relaxed").value == 0
    for row, column in (
        ("energy_drift", "energy_drift_mev_per_atom_ps"),
        ("energy_rms", "energy_rms_mev_per_atom"),
        ("energy_jump", "energy_jump_mev"),
        ("temperature_spike", "temperature_spike"),
    ):
        values = {abs(record[column]) for record in smooth.trajectories}
        assert smooth.row(row).value in values
        info = row == "temperature_spike"
        assert smooth.row(row).verdict is (Verdict.INFO if info else Verdict.PASS)
    assert smooth.row("temperature_spike").value == max(values)
    assert smooth.about["dynamics"]["systems"] == list(short_dynamics.SYSTEMS)
    assert smooth.about["dynamics"]["temperatures_k"] == (1000.0,)


def test_the_runs_are_those_of_the_workflow(tmp_path):
    """One that survives, one that breaks and one on which the model raises, to the bit."""
    settings = {"calculator": "check_calculators:LooseAndFails", "arguments": {}, "fresh": False}
    entry = ModelEntry("fake", "ase", settings | {"charges": False, "batch_size": 100})
    names = ["formaldoxime", "hydrazine", "methanethiol"]
    run_dynamics_shard(entry, subset.SCANS, names, SHORT, tmp_path / "t.h5", device="cpu")
    _, records = run_short(fakes.LooseAndFails())
    outcomes = []
    for row in trajectory_rows([tmp_path / "t.h5"]):
        own = records[row["system"]]
        outcomes.append((own["status"], own["failure"], own["outcome"]))
        for column in own.keys() & row.keys():
            assert own[column] == row[column] or (own[column] != own[column] != row[column])
        beside = {"model", "seen", "replicate", "timestep_fs", "wall_s", "worker_deaths"}
        beside |= {"temperature_off", "graph_changed", "alarm_ps", "n_alarms"}
        assert set(row) - set(own) == beside
    assert outcomes == [
        ("ok", "", "survived"), ("ok", "hot", "failed"), ("error", "", "failed"),
    ]  # fmt: skip
    systems = [s for s in short_dynamics.check_systems() if s.id in names]
    evaluator = Evaluator(InProcess(CalculatorModel(fakes.LooseAndFails())), BatchLimit())
    runs = short_dynamics.run_trajectories(evaluator.evaluate, systems, SHORT, silently)
    with Trajectories(tmp_path / "t.h5") as stored:
        for run in runs:
            name = run.trajectory.name
            for own, other in (
                (run.series, stored.series(name)),
                (run.frames, stored.frames(name)),
            ):
                for key, value in vars(own).items():
                    np.testing.assert_array_equal(value, getattr(other, key), err_msg=key)
            other = stored.trajectory(name)
            for key, value in vars(run.trajectory).items():
                np.testing.assert_array_equal(value, getattr(other, key), err_msg=key)


def test_an_energy_that_runs_away_has_the_slope_it_was_given(undisturbed):
    """Energies with a ramp of 2 meV/atom/ps and a tremor of 5 meV/atom; forces unchanged."""

    def ramp(batch, result, names, steps):
        n_atoms = np.bincount(batch.system)
        added = 2e-3 * steps * SHORT.timestep_fs / 1000 + 5e-3 * (-1.0) ** steps
        return replace(result, energies=result.energies + n_atoms * added)

    limits = Limits(drift=8.0, rms=1.0)
    rows, bad = run_short(changed(ramp), limits)
    good = undisturbed[1]
    for name, record in bad.items():
        slope = good[name]["energy_drift_mev_per_atom_ps"] + 2.0
        # the tremor itself has a slope where the number of samples is odd: none beyond rounding
        assert record["energy_drift_mev_per_atom_ps"] == pytest.approx(slope, abs=1e-6)
        square = good[name]["energy_rms_mev_per_atom"] ** 2 + 25
        assert record["energy_rms_mev_per_atom"] == pytest.approx(np.sqrt(square), rel=0.02)
    worst = max(bad.values(), key=lambda r: abs(r["energy_drift_mev_per_atom_ps"]))
    assert rows["energy_drift"].value == abs(worst["energy_drift_mev_per_atom_ps"])
    assert rows["energy_drift"].verdict is Verdict.PASS
    assert rows["energy_drift"].note.startswith(f"worst of 6 runs: {worst['system']}, ")
    assert rows["energy_rms"].verdict is Verdict.FAIL
    assert rows["runs_failed"].verdict is Verdict.PASS


def test_a_drift_downwards_counts_as_one_upwards(undisturbed):
    records = list(undisturbed[1].values())
    assert records[2]["system"] == "formaldoxime"
    records[2] = records[2] | {
        "energy_drift_mev_per_atom_ps": -9.0, "energy_drift_error_mev_per_atom_ps": 0.5
    }  # fmt: skip
    row = next(
        row
        for row in dynamics_rows(records, Limits(drift=8.0), TOLERANCES["float64"], {}, {})
        if row.name == "energy_drift"
    )
    assert (row.value, row.limit, row.verdict) == (9.0, 8.0, Verdict.FAIL)
    assert row.note == "worst of 6 runs: formaldoxime, -9 ± 0.5"


def test_forces_that_are_no_gradient_drift(undisturbed):
    swirling = run_short(fakes.Swirl(), Limits(drift=20.0))[0]["energy_drift"]
    assert swirling.verdict is Verdict.FAIL
    assert swirling.value > 20.0 > undisturbed[0]["energy_drift"].value


def test_a_molecule_that_falls_apart_is_a_failed_run_with_its_reason(undisturbed):
    rows, records = run_short(fakes.Loose())
    row = rows["runs_failed"]
    assert (row.value, row.verdict) == (1, Verdict.FAIL)
    assert re.match(r"5 of 6 lived .*; hydrazine: step \d+ \(0\.00\d+ ps\): hot: ", row.note)
    failed = records.pop("hydrazine")
    assert (failed["status"], failed["failure"], failed["outcome"]) == ("ok", "hot", "failed")
    assert failed["time_ps"] < 0.02
    assert math.isnan(failed["energy_drift_mev_per_atom_ps"])  # shorter than what is discarded
    # the others are as they are without it
    good = undisturbed[1]
    assert all(record == pytest.approx(good[name], nan_ok=True) for name, record in records.items())
    assert rows["energy_drift"].note.startswith("worst of 5 of 6 runs: ")
    soon = replace(SHORT, duration_ps=0.02)
    allowed, _ = run_short(fakes.Loose(), Limits(failed_runs=1), soon)
    assert allowed["runs_failed"].value == 1
    assert allowed["runs_failed"].verdict is Verdict.PASS


def test_a_step_without_a_number_is_a_failed_run():
    def nan_at_step_123(batch, result, names, steps):
        hit = (names == "methanethiol") & (steps == 123)
        return replace(result, forces=np.where(hit[batch.system][:, None], np.nan, result.forces))

    rows, records = run_short(changed(nan_at_step_123))
    assert rows["runs_failed"].value == 1
    assert rows["runs_failed"].note.endswith(
        "methanethiol: nonfinite: step 123 (0.0615 ps): energy or force is not finite"
    )
    failed = records["methanethiol"]
    assert (failed["status"], failed["outcome"]) == ("nonfinite", "failed")
    assert failed["time_ps"] == pytest.approx(122 * 0.0005)
    assert [r["outcome"] for r in records.values()].count("survived") == 5


def test_where_nothing_survives_nothing_passes():
    def nan(batch, result, names, steps):
        hit = (steps == 5)[batch.system][:, None]
        return replace(result, forces=np.where(hit, np.nan, result.forces))

    rows, records = run_short(changed(nan), Limits(failed_runs=6, drift=1e9))
    assert (rows["runs_failed"].value, rows["runs_failed"].verdict) == (6, Verdict.ERROR)
    assert {record["outcome"] for record in records.values()} == {"failed"}
    assert rows["energy_drift"].verdict is Verdict.ERROR
    assert rows["energy_rms"].verdict is Verdict.INFO
    assert rows["energy_rms"].note == "n/a: no run was long enough"


def test_a_failure_before_the_first_step_is_a_failed_run():
    def silent(batch):
        result = smoothly(batch)
        return check_result(batch, replace(result, energies=np.full(batch.n_systems, np.nan)))

    rows, records = run_short(silent)
    assert (rows["runs_failed"].value, rows["runs_failed"].verdict) == (6, Verdict.ERROR)
    assert (
        "acetaldehyde: nonfinite: relaxation step 0: nonfinite: energy or force is not finite"
        in rows["runs_failed"].note
    )
    assert rows["not_relaxed"].value == 6
    assert {record["outcome"] for record in records.values()} == {"not_at_risk"}


def test_a_molecule_that_does_not_relax_runs_all_the_same():
    strict = replace(SHORT, relax_steps=75, relax_fmax=1e-18, duration_ps=0.01)
    rows, records = run_short(smoothly, settings=strict)
    assert (rows["not_relaxed"].value, rows["not_relaxed"].verdict) == (6, Verdict.INFO)
    assert rows["not_relaxed"].note == "acetaldehyde: not relaxed after 75 steps"
    assert rows["runs_failed"].note == "6 of 6 lived 0.01 ps at 1000 K"
    assert not any(record["relaxed"] for record in records.values())


@pytest.mark.parametrize(
    ("calculator", "says"), [("ForcesOnly", "n/a: no energy"), ("EnergyOnly", "n/a: no forces")]
)
def test_dynamics_need_energies_and_forces(calculator, says):
    model = ASEModel(getattr(fakes, calculator), {})
    evaluate = Evaluator(InProcess(model), BatchLimit()).evaluate
    rows, records = run_short(evaluate)
    assert records == {}
    for row in rows.values():
        assert (row.value, row.verdict, row.note) == (None, Verdict.INFO, says)
    limited, _ = run_short(evaluate, Limits(failed_runs=1, drift=1.0))
    errors = {name for name, row in limited.items() if row.verdict is Verdict.ERROR}
    assert errors == {"runs_failed", "energy_drift"}


def test_molecules_of_unknown_elements_do_not_run():
    told = pesbench.check(
        fakes.Smooth(), elements=["H", "C", "N"], parts=["dynamics"], limits=Limits(drift=100.0)
    )
    assert told.passed
    statuses = Counter(record["status"] for record in told.trajectories)
    assert statuses == {"ok": 1, "unsupported": 5}
    note = told.row("runs_failed").note
    assert note == "1 of 6 lived 0.75 ps at 1000 K, 5 unsupported"
    assert told.trajectories[0]["message"] == "unknown elements: O"
    assert math.isnan(told.trajectories[0]["temperature_spike"])
    assert told.row("energy_drift").note.startswith("worst of 1 runs: hydrazine")
    # it knows a molecule of the scans, and none of these
    none = pesbench.check(
        fakes.Smooth(), elements=["H", "O", "P"], parts=["dynamics"], limits=Limits(rms=1.0)
    )
    assert failures(none) == {"runs_failed", "energy_rms"}
    assert none.row("runs_failed").value == 0
    assert none.row("energy_drift").note == "n/a: no run"


def test_progress_is_told():
    told = []

    def track(items, total, what):
        for item in items:
            told.append((item, total, what))
            yield item

    run_short(smoothly, settings=replace(SHORT, duration_ps=0.005), track=track)
    assert told == [(step, 11, "steps") for step in range(11)]


def test_a_model_that_dies_on_the_way_costs_its_trajectory():
    settings = {"calculator": "check_calculators:DiesWhenHot", "arguments": {}, "fresh": False}
    settings |= {"charges": False, "elements": ["C", "H", "N", "S"]}
    with PatientWorker(ModelEntry("fake", "ase", settings), device="cpu") as worker:
        report = run_check(
            Evaluator(worker, BatchLimit(systems=20)),
            name="fake",
            limits=Limits(),
            claimed_dtype=None,
            inputs_changed=lambda batch: [],
            parts=["dynamics"],
        )
        assert worker.starts == 2
    statuses = {r["system"]: r["status"] for r in report.trajectories}
    assert statuses.pop("methanethiol") == "crashed"
    assert statuses.pop("hydrazine") == "ok"
    assert set(statuses.values()) == {"unsupported"}
    assert report.row("runs_failed").value == 1
    assert "methanethiol: crashed: step" in report.row("runs_failed").note
    assert "exit code 3" in report.row("runs_failed").note


def test_a_model_that_does_not_come_back_is_no_traceback(tmp_path):
    arguments = {"marker": str(tmp_path / "marker"), "formula": "CH4S"}
    entry = fake_entry("dies_and_does_not_come_back", arguments=arguments)
    with PatientWorker(entry, device="cpu") as worker:
        worker.start()
        evaluate = Evaluator(worker, BatchLimit(systems=1)).evaluate
        rows, records = run_short(evaluate)
    assert rows["runs_failed"].value == 6
    assert all("the model did not load" in record["message"] for record in records.values())
