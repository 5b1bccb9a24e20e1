"""`python -m pesbench check` and `pesbench.check`: every row finds the fault it is there for."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import ase.build
import numpy as np
import pandas as pd
import pytest
import yaml

import check_calculators as fakes
import pesbench
from examples import fake_entry, faulty
from pesbench.cli import main, parser
from pesbench.commands.check import conformance, ladders, subset
from pesbench.commands.check import dynamics as short_dynamics
from pesbench.commands.check.limits import Limits
from pesbench.commands.check.local import CalculatorModel, InProcess
from pesbench.commands.check.report import CheckReport, CheckRow, Verdict
from pesbench.commands.check.run import SCORES, run_check, silently
from pesbench.commands.check.supervised import (
    MOST_STARTS,
    PatientWorker,
    changed_inputs,
    check_entry,
)
from pesbench.core.bond_graph import bond_type
from pesbench.core.errors import UserError
from pesbench.core.interface import Result, Status, check_result, molecules_batch
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.files.evaluation import ScanEvaluation
from pesbench.files.scan_set import ScanSet
from pesbench.models.families.ase import ASEModel
from pesbench.models.registry import ModelEntry
from pesbench.tasks.bonds.score import score_scan
from pesbench.tasks.bonds.worst import worst_scans
from pesbench.tasks.dynamics import conservation
from pesbench.tasks.dynamics.score import METRICS, trajectory_rows
from pesbench.tasks.dynamics.stored import Trajectories
from shards import run_dynamics_shard

REPO = Path(__file__).parents[2]
CONFORMANCE = ("conformance",)
STILL = ("conformance", "scans")


def failures(report: CheckReport) -> set[str]:
    return {row.name for row in report.rows if row.verdict in (Verdict.FAIL, Verdict.ERROR)}


def conform(calculator, **options) -> CheckReport:
    return pesbench.check(calculator, parts=CONFORMANCE, **options)


# --- the library call ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smooth() -> CheckReport:
    return pesbench.check(fakes.Smooth(), dtype="float64")


def test_a_good_calculator_passes_everything(smooth):
    assert failures(smooth) == set()
    assert smooth.passed
    assert smooth.exit_code == 0
    assert smooth.row("gradient").value < 1e-8
    assert smooth.row("dtype").value < 1e-12
    assert smooth.about["dtype_measured"] == "float64"
    assert smooth.row("translation_far_energy").verdict is Verdict.INFO


def test_scores_are_the_means_over_the_scans(smooth):
    assert smooth.scores["n_scored"] == smooth.scores["n_planned"] == 30
    for name, _ in SCORES:
        mean = np.mean([row[name] for row in smooth.scans])
        assert smooth.scores[name] == pytest.approx(mean)
        assert smooth.row(name).value == smooth.scores[name]
    # an independent way to one of them: the pair potential against the stored reference
    (scan,) = subset.read_subset(["N-O/hydroxylamine_0-1"])
    forces = np.array([fakes.pairs(scan.numbers, p)[1] for p in scan.positions])
    own = next(row for row in smooth.scans if row["scan"] == scan.id)
    assert own["force_mae"] == pytest.approx(np.mean(np.abs(forces - scan.forces)))


def test_the_three_worst_bonds_are_named_as_in_worst_csv(smooth):
    """The pair potential is far from the reference: wells are missing, walls too soft."""
    named = [row for row in smooth.rows if row.name.startswith("worst_")]
    assert [row.name for row in named] == ["worst_1", "worst_2", "worst_3"]
    table = worst_scans(pd.DataFrame(smooth.scans).assign(bond="", seen=""))
    for row, kind in zip(named, ("extrema", "slope"), strict=False):
        first = table[(table["list"] == kind) & (table["rank"] == 1)].iloc[0]
        assert row.note.startswith(f"{first['scan']}: {first['kind']}")
        assert row.value == first["distance_angstrom"]
        assert row.unit == "Å"
        assert f"{first['distance_angstrom']:.2f} Å" in row.note
        assert row.verdict is Verdict.INFO
    assert len({row.note.split(":")[0] for row in named}) == 3


def test_a_model_without_faults_has_no_worst_bond():
    (scan,) = subset.read_subset(["N-O/hydroxylamine_0-1"])
    report = pesbench.check(OwnReference(scan), parts=["scans"], scans=[scan.id])
    assert report.scores["fsd_full"] == 0
    assert not [row for row in report.rows if row.name.startswith("worst_")]


class OwnReference(fakes.Smooth):
    """Knows the reference of one scan by heart, and elements by the pair potential."""

    def __init__(self, scan):
        super().__init__()
        self.scan = scan

    def calculate(self, atoms, properties=None, system_changes=None):
        super().calculate(atoms, properties, system_changes)
        if len(atoms) == self.scan.n_atoms:
            distance = np.abs(self.scan.positions - atoms.positions).max(axis=(1, 2))
            k = int(np.argmin(distance))
            if distance[k] < 1e-9:
                self.results |= {"energy": self.scan.energy[k], "forces": self.scan.forces[k]}


@pytest.mark.parametrize(
    ("calculator", "found"),
    [
        (fakes.Swirl, {"gradient"}),
        (fakes.Mutating, {"inputs_changed"}),
        (fakes.Ordered, {"permutation_energy", "permutation_forces"}),
        (fakes.Placed, {"translation_energy"}),
        (fakes.Oriented, set()),
    ],
)
def test_each_fault_is_found_and_no_other(calculator, found):
    assert failures(conform(calculator())) == found


def test_the_size_of_a_fault_is_measured():
    report = conform(fakes.Unsteady())
    assert {"deterministic_energy", "batched_energy"} <= failures(report)
    assert not {"deterministic_forces", "batched_forces", "dtype"} & failures(report)
    assert 1e-5 < report.row("deterministic_energy").value <= 1e-3
    assert conform(fakes.Oriented()).row("rotation_forces").value > 1e-3
    limited = conform(fakes.Oriented(), limits=Limits(rotation=1e-3))
    assert failures(limited) == {"rotation_forces"}
    assert failures(conform(fakes.Swirl(), limits=Limits(gradient_error=1.0))) == set()


def test_single_precision_behind_a_claim_of_double_is_told():
    report = conform(fakes.Float32(), dtype="float64")
    assert "dtype" in failures(report)
    assert 1e-9 < report.row("dtype").value < 1e-4
    assert "float32; claimed is float64" in report.row("dtype").note
    # where single precision is what it claims, its own limits hold
    assert failures(conform(fakes.Float32(), dtype="float32")) == set()
    assert conform(fakes.Float32()).row("dtype").verdict is Verdict.INFO


def test_forces_without_energies():
    report = pesbench.check(fakes.ForcesOnly(), scans=["N-O/*"])
    assert failures(report) == set()
    assert report.row("gradient").value is None
    assert "no energy" in report.row("gradient").note
    assert report.row("permutation_forces").verdict is Verdict.PASS
    assert report.scores["fsd_full"] > 0
    assert math.isnan(report.scores["energy_mae_aligned"])
    assert json.loads(report.to_json())["scores"]["energy_mae_aligned"] is None


def test_unknown_elements_are_unsupported_and_no_failure():
    with_phosphorus = [s.id for s in subset.read_subset() if 15 in s.numbers]
    report = pesbench.check(fakes.NoPhosphorus())
    assert report.passed
    assert "not P: NotImplementedError: no parameters for P" in report.row("elements").note
    assert report.scores["n_scored"] == 30 - len(with_phosphorus)
    unsupported = {row["scan"] for row in report.scans if row["status"] == "unsupported"}
    assert unsupported == set(with_phosphorus)
    stayed = {r["system"]: r["message"] for r in report.trajectories if r["status"] != "ok"}
    says = "NotImplementedError: no parameters for P"
    assert stayed == {"aminophosphinous-acid": says, "methylphosphine": says}
    # told beforehand, it is not asked
    told = pesbench.check(
        fakes.Smooth(), elements=["H", "C", "N", "O"], scans=["C-S/*", "N-O/*"], parts=STILL
    )
    assert told.passed
    assert 0 < told.scores["n_scored"] < told.scores["n_planned"]


def test_a_check_that_scored_nothing_does_not_pass():
    unknown = pesbench.check(
        fakes.Smooth(), elements=["H", "C", "N", "O"], scans=["C-S/*"], parts=STILL
    )
    failing = fakes.FailsWhenStretched()
    failing.longest = 0.0
    # nor does any number of failures that is allowed make it pass
    failed = pesbench.check(
        failing, scans=["N-O/hydroxylamine_0-1"], parts=["scans"], limits=Limits(failed_scans=30)
    )
    for report, failures_counted in ((unknown, 0), (failed, 1)):
        assert report.scores["n_scored"] == 0
        row = report.row("scans_failed")
        assert (row.value, row.verdict) == (failures_counted, Verdict.ERROR)
        assert "0 of " in row.note
        assert failures(report) == {"scans_failed"}
        assert report.exit_code == 1
        assert report.row("fsd_full").value is None


@pytest.mark.parametrize(
    ("calculator", "says"),
    [
        (fakes.NotFinite, "energy or force is not finite"),
        (fakes.FlatForces, r"ValueError: forces have shape \(\d+,\), expected \(\d+, 3\)"),
    ],
)
def test_a_defect_is_not_told_as_an_unknown_element(calculator, says):
    """They raise on sulphur, too; that is not why the others are not answered."""
    row = conform(calculator()).row("elements")
    assert row.verdict is Verdict.ERROR
    assert re.search(says, row.note)


def test_a_failing_scan_is_counted_and_may_be_allowed():
    report = pesbench.check(fakes.FailsWhenStretched(), scans=["C-N/*", "N-O/*"], parts=STILL)
    failed = [row["scan"] for row in report.scans if row["status"] == "error"]
    assert failed == ["N-O/hydroxylamine_0-1"]
    assert report.row("scans_failed").value == 1
    assert "SCF not converged" in report.row("scans_failed").note
    assert failures(report) == {"scans_failed"}
    assert report.scores["n_scored"] == len(report.scans) - 1
    allowed = Limits(failed_scans=1)
    again = pesbench.check(
        fakes.FailsWhenStretched(), scans=["N-O/*"], limits=allowed, parts=["scans"]
    )
    assert again.passed


def test_a_system_without_an_answer_costs_only_itself():
    calculator = fakes.FailsWhenStretched()
    calculator.longest = 1.7  # the stretched one of the three geometries
    report = conform(calculator)
    assert failures(report) == {"unanswered"}
    assert report.row("unanswered").value == 1
    assert "SCF not converged" in report.row("unanswered").note
    assert report.row("charge").note == "+1 ignored, -1 ignored"


def test_limits_of_scores(smooth):
    value = smooth.scores["fsd_full"]
    for limit, failed in ((value * 1.01, set()), (value * 0.99, {"fsd_full"})):
        report = pesbench.check(
            fakes.Smooth(), parts=("scans",), limits=Limits(fsd=limit, force_mae=1e3)
        )
        assert failures(report) == failed
        assert report.exit_code == bool(failed)
    # a limit on a score that no scan has is not passed
    silent = pesbench.check(
        fakes.Smooth(), elements=["H", "C"], scans=["N-O/*"], limits=Limits(fsd=1e3)
    )
    assert not silent.passed
    with pytest.raises(ValueError, match="at least 0"):
        Limits(fsd=-1.0)


def test_charge_and_spin_are_tried():
    report = conform(fakes.Charged())
    assert report.row("charge").note == "+1 accepted, -1 refused (error: ValueError: no anions)"
    assert "accepted" in report.row("spin").note
    ignored = conform(fakes.Smooth())
    assert ignored.row("charge").note == "+1 ignored, -1 ignored"
    assert ignored.row("spin").note == "multiplicity 3 ignored"


@pytest.mark.parametrize(("change", "kind"), [(1e-12, "ignored"), (1e-3, "accepted")])
def test_rounding_is_no_answer_to_a_charge(change, kind):
    batch = molecules_batch([np.zeros((1, 3))], [np.array([1])], [0], [2])
    base = Result(np.zeros(1), np.zeros((1, 3)), (Status.OK,), ("",))
    other = Result(np.zeros(1), np.full((1, 3), change), (Status.OK,), ("",))
    assert conformance.response(lambda _: other, batch, base, 1, 1).kind == kind


def test_the_calculator_is_left_as_it_was():
    calculator = fakes.Smooth()
    atoms = ase.build.molecule("CH3OH")
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    before, calls = calculator.atoms, calculator.calls
    pesbench.check(calculator, scans=["N-O/hydroxylamine_0-1"], parts=STILL)
    assert calculator.calls > calls
    assert calculator.atoms is before
    calls = calculator.calls
    assert atoms.get_potential_energy() == energy
    assert calculator.calls == calls  # still cached


def test_bad_arguments_are_refused():
    with pytest.raises(UserError, match="no ASE calculator"):
        pesbench.check("gfn2")
    with pytest.raises(UserError, match="has no forces"):
        pesbench.check(fakes.EnergyOnly())
    with pytest.raises(UserError, match="did you mean 'N-O/hydroxylamine_0-1'"):
        pesbench.check(fakes.Smooth(), scans=["N-O/hydroxylamin"])
    with pytest.raises(UserError, match="no part 'dynamic'; there are conformance, scans, dynam"):
        pesbench.check(fakes.Smooth(), parts=["dynamic"])
    with pytest.raises(UserError, match="'Xx' is no element"):
        pesbench.check(fakes.Smooth(), elements=["Xx"])
    with pytest.raises(UserError, match=r"Smooth is a class; give an instance, Smooth\(\)"):
        pesbench.check(fakes.Smooth)
    with pytest.raises(UserError, match="no dtype 'float16'; give float32 or float64"):
        pesbench.check(fakes.Smooth(), dtype="float16")
    with pytest.raises(UserError, match="scans: none is given"):
        pesbench.check(fakes.Smooth(), scans=[])
    with pytest.raises(UserError, match="parts: none is given"):
        pesbench.check(fakes.Smooth(), parts=[])
    with pytest.raises(UserError, match="'scans' is not among the parts"):
        pesbench.check(fakes.Smooth(), parts=["conformance"], scans=["C-N/*"])


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def test_it_runs_with_the_base_packages_alone():
    blocked = ["pandas", "torch", "yaml", "pydantic", "tqdm", "rdkit", "seaborn", "jinja2"]
    code = f"""{BLOCKED.format(names=blocked)}
import pesbench
from check_calculators import Smooth
report = pesbench.check(Smooth(), scans=["N-O/hydroxylamine_0-1"])
print(report)
assert report.passed
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fsd full" in done.stdout


# --- conformance, function by function -----------------------------------------------------------


@pytest.fixture(scope="module")
def systems():
    return conformance.frames(conformance.representative(subset.read_subset()))


def _evaluate(batch):
    return check_result(batch, CalculatorModel(fakes.Smooth()).evaluate(batch))


def test_the_systems_hold_every_element_in_three_geometries(systems):
    assert set(systems.numbers.tolist()) == {1, 6, 7, 8, 15, 16}
    scans = {scan.id: scan for scan in subset.read_subset()}
    for position in range(0, systems.n_systems, 3):
        scan = scans[systems.labels[position][0]]
        lengths = [scan.coordinate[systems.labels[position + k][1]] for k in range(3)]
        rest = scan.coordinate[np.argmin(scan.energy)]
        assert lengths == pytest.approx(np.array(conformance.FRAMES) * rest, abs=0.02)


def test_what_else_is_in_a_batch_must_not_matter(systems):
    def depends_on_the_batch(batch):
        result = _evaluate(batch)
        return replace(result, energies=result.energies + 1e-3 * batch.n_systems)

    base = depends_on_the_batch(systems)
    found = conformance.single_and_batched(depends_on_the_batch, systems, base)
    assert found.energy == pytest.approx(1e-3 * (systems.n_systems - 1))
    assert found.forces == 0
    assert conformance.single_and_batched(_evaluate, systems, _evaluate(systems)).energy == 0


def test_the_gradient_error_is_the_part_of_a_force_along_the_direction(systems):
    wrong = np.array([0.3, -0.2, 0.1])

    def pushed(batch):
        result = _evaluate(batch)
        return replace(result, forces=result.forces + wrong)

    atoms = [[0, 1]] * systems.n_systems
    found = conformance.gradient_error(
        pushed, systems, pushed(systems), atoms, np.random.default_rng(3)
    )
    directions = np.random.default_rng(3).standard_normal((2 * systems.n_systems, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert found.error == pytest.approx(np.max(np.abs(directions @ wrong)), abs=1e-4)
    assert found.count == len(directions)


def test_the_best_step_is_found_by_measuring(systems):
    """Energies rounded to 0.1 meV need a long step; exact ones a short one."""

    def rounded(batch):
        result = _evaluate(batch)
        return replace(result, energies=np.round(result.energies, 4))

    atoms = [[0]] * systems.n_systems
    coarse, exact = (
        conformance.gradient_error(
            evaluate, systems, _evaluate(systems), atoms, np.random.default_rng(1)
        )
        for evaluate in (rounded, _evaluate)
    )
    assert coarse.step > exact.step
    assert exact.error < 1e-8 < coarse.error < 0.02


def test_noise_tells_precisions_apart(systems):
    def in_precision(kind):
        def evaluate(batch):
            coarse = replace(batch, positions=batch.positions.astype(kind).astype(np.float64))
            return _evaluate(coarse)

        return evaluate

    def noise(evaluate):
        generator = np.random.default_rng(0)
        return conformance.relative_noise(evaluate, systems, evaluate(systems), generator)

    assert conformance.precision(noise(_evaluate)) == "float64"
    assert conformance.precision(noise(in_precision(np.float32))) == "float32"
    assert noise(in_precision(np.float16)) == np.inf
    assert conformance.precision(np.inf) == "coarser"

    def still(batch):
        return replace(_evaluate(batch), forces=np.ones((batch.n_atoms, 3)))

    assert np.isnan(noise(still))

    def cast_at_the_end(batch):
        result = _evaluate(batch)
        return replace(result, forces=result.forces.astype(np.float32).astype(np.float64))

    assert conformance.precision(noise(cast_at_the_end)) == "float32"


def test_a_copy_that_fails_is_told_and_not_compared(systems):
    base = _evaluate(systems)

    def fails_on_the_first(batch):
        result = _evaluate(batch)
        status = (Status.ERROR, *result.status[1:])
        forces = np.where(batch.system[:, None] == 0, np.nan, result.forces)
        energies = np.where(np.arange(batch.n_systems) == 0, np.nan, result.energies)
        return Result(energies, forces, status, ("lost", *result.messages[1:]))

    found = conformance.translated(fails_on_the_first, systems, base, np.ones(3))
    assert found.failed == "error: lost"
    assert found.energy < 1e-9


def test_a_model_that_changes_its_batch_is_seen(systems):
    def centres(batch):
        batch.positions[:] -= 1.0
        return _evaluate(batch)

    copy = systems.select(range(systems.n_systems))
    assert conformance.changed_fields(centres, copy) == ["positions"]
    assert conformance.changed_fields(_evaluate, systems) == []


# --- short dynamics ------------------------------------------------------------------------------

EVERY = conformance.Elements(frozenset({1, 6, 7, 8, 15, 16}), frozenset())
SHORT = replace(short_dynamics.SETTINGS, duration_ps=0.25)
DYNAMICS_ROWS = ["runs_failed", "not_relaxed", "energy_drift", "energy_rms", "temperature_spike"]


def run_short(evaluate, limits=None, settings=SHORT, elements=EVERY, track=silently):
    """Rows and records by name; `evaluate` is a function of a batch or a calculator."""
    if not callable(evaluate):
        model = InProcess(CalculatorModel(evaluate))
        evaluate = Evaluator(model, BatchLimit()).evaluate
    rows, records = short_dynamics.check_dynamics(
        evaluate, elements, limits or Limits(), track, settings
    )
    assert [row.name for row in rows] == DYNAMICS_ROWS
    assert {row.section for row in rows} == {"dynamics"}
    return {row.name: row for row in rows}, {record["system"]: record for record in records}


def changed(change):
    """The good calculator with a change of its result at a step of a trajectory.

    Args:
        change: Of the batch, the result, the molecules and their steps.
    """

    def evaluate(batch):
        result = _evaluate(batch)
        running = [(name.split("_")[0], step) for name, step in batch.labels if "K_" in name]
        if not running:
            return result
        names, steps = zip(*running, strict=True)
        return check_result(batch, change(batch, result, np.array(names), np.array(steps)))

    return evaluate


@pytest.fixture(scope="module")
def undisturbed():
    """Rows and records of the good calculator."""
    return run_short(_evaluate)


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
    assert [row.name for row in smooth.rows[-5:]] == DYNAMICS_ROWS
    failed = smooth.row("runs_failed")
    assert (failed.value, failed.limit, failed.verdict) == (0, 0, Verdict.PASS)
    assert failed.note == "6 of 6 lived 0.75 ps at 1000 K"
    assert smooth.row("not_relaxed").value == 0
    for row, column in (
        ("energy_drift", "energy_drift_mev_per_atom_ps"),
        ("energy_rms", "energy_rms_mev_per_atom"),
        ("temperature_spike", "temperature_spike"),
    ):
        largest = max(abs(record[column]) for record in smooth.trajectories)
        assert smooth.row(row).value == largest
        assert smooth.row(row).verdict is Verdict.INFO
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
    assert rows["energy_drift"].note.startswith(f"largest of 6 runs: {worst['system']}, ")
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
        for row in short_dynamics.dynamics_rows(records, Limits(drift=8.0))
        if row.name == "energy_drift"
    )
    assert (row.value, row.limit, row.verdict) == (9.0, 8.0, Verdict.FAIL)
    assert row.note == "largest of 6 runs: formaldoxime, -9 ± 0.5"


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
    assert rows["energy_drift"].note.startswith("largest of 5 of 6 runs: ")
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
        result = _evaluate(batch)
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
    rows, records = run_short(_evaluate, settings=strict)
    assert (rows["not_relaxed"].value, rows["not_relaxed"].verdict) == (6, Verdict.INFO)
    assert rows["not_relaxed"].note == "acetaldehyde: not relaxed after 75 steps"
    assert rows["runs_failed"].note == "6 of 6 lived 0.01 ps at 1000 K"
    assert not any(record["relaxed"] for record in records.values())


@pytest.mark.parametrize(
    ("calculator", "says"), [("ForcesOnly", "n/a: no energy"), ("EnergyOnly", "n/a: no forces")]
)
def test_dynamics_need_energies_and_forces(calculator, says):
    factory = getattr(fakes, calculator)
    model = ASEModel(factory, {}, fresh=False, elements=None, charges=False)
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
    assert told.row("energy_drift").note.startswith("largest of 1 runs: hydrazine")
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

    run_short(_evaluate, settings=replace(SHORT, duration_ps=0.005), track=track)
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


# --- the scans that ship, and the ladders --------------------------------------------------------


def test_the_shipped_scans_are_thirty_good_ones_of_every_bond_type(repo):
    scans = subset.read_subset()
    assert len(scans) == subset.N_SCANS == 30
    assert {scan.quality for scan in scans} == {"ok"}
    counts = Counter(scan.bond for scan in scans)
    bonds = "C-C C-N C-O C-P C-S N-N N-O N-P O-P"
    assert set(counts) == set(bonds.split())
    assert min(counts.values()) >= 3
    assert all(np.isfinite(scan.energy).all() for scan in scans)
    assert subset.SCANS.stat().st_size < 1_500_000


def test_their_reference_is_what_the_method_gives():
    from pesbench.core.interface import molecules_batch
    from pesbench.models.families.tblite import TBLiteModel

    scans = subset.read_subset(["C-P/*", "N-N/hydrazine_0-1"])
    frames = [(scan, frame) for scan in scans for frame in (5, 40, 70)]
    batch = molecules_batch(
        [scan.positions[f] for scan, f in frames], [scan.numbers for scan, _ in frames],
        [0] * len(frames), [1] * len(frames),
    )  # fmt: skip
    result = TBLiteModel("GFN2-xTB").evaluate(batch)
    assert result.energies == pytest.approx([scan.energy[f] for scan, f in frames], abs=1e-6)
    forces = np.concatenate([scan.forces[f] for scan, f in frames])
    assert result.forces == pytest.approx(forces, abs=1e-5)


def test_scans_are_chosen_evenly_and_the_command_writes_them(tmp_path, toy_set):
    candidates = [("A/1", "A", "m"), ("A/2", "A", "n"), ("A/3", "A", "o"), ("B/1", "B", "m")]
    # m is taken for A first; B has only m left; then n comes before o
    assert subset.choose(candidates, 3) == ["A/1", "A/2", "B/1"]
    assert subset.choose(reversed(candidates), 9) == [scan for scan, _, _ in candidates]
    assert subset.choose([*candidates, ("B/2", "B", "n")], 2) == ["A/1", "B/2"]

    subset.write_subset(toy_set, tmp_path / "four.h5", 4)
    with ScanSet(tmp_path / "four.h5") as four, ScanSet(toy_set) as toys:
        assert four.ids == ("C-C/a", "C-N/b", "C-O/c", "N-N/d")
        assert (four.scan("C-O/c").forces == toys.scan("C-O/c").forces).all()
    out = tmp_path / "none.h5"
    assert main(["check-scans", "--scan-set", str(toy_set), "--out", str(out)]) == 2
    assert not out.exists()


def test_the_ladders_are_those_of_the_leaderboard(repo):
    from pesbench.report import tables

    registry = yaml.safe_load((repo / "config/models.yaml").read_text())
    assert [ladder.kind for ladder in ladders.LADDERS] == [t.kind for t in tables.LADDERS]
    for own, shown in zip(ladders.LADDERS, tables.LADDERS, strict=True):
        assert own.no_defect == shown.no_defect
        assert [own.sentence(d) for d in own.doses] == [shown.sentence(d) for d in own.doses]
        doses = {
            shown.size(entry["dose"]) for entry in registry.values()
            if entry.get("control") == own.kind
        }  # fmt: skip
        assert set(own.doses) == doses


@pytest.mark.parametrize(("kind", "dose"), [("step", 1.5), ("shift", -0.02), ("zero", None)])
def test_a_control_scores_as_the_workflow_scores_it(kind, dose):
    from pesbench.models.families import control as controls

    (scan,) = subset.read_subset(["C-S/methanethiol_0-1"])
    prediction = controls.predict(kind, dose, scan)
    status = np.where(prediction.defined, Status.OK.code, Status.MASKED.code).astype(np.int8)
    energy = np.full(scan.n_frames, np.nan)
    evaluation = ScanEvaluation(scan.id, energy, prediction.forces, status, Status.OK, "", 0.0)
    expected = score_scan(scan, evaluation)["fsd_full"]
    assert ladders.fsd_of_control(kind, dose, scan) == pytest.approx(expected)


def test_an_equivalent_returns_the_dose_of_a_control():
    scans = subset.read_subset(["N-O/*"])
    fsd = np.mean([ladders.fsd_of_control("step", 1.2, scan) for scan in scans])
    assert ladders.equivalent(fsd, scans).startswith("1.2-fold force step; ")
    assert ladders.equivalent(1e4, scans).startswith("beyond 2-fold force step; beyond")


# --- the report ----------------------------------------------------------------------------------


def test_verdicts_follow_from_values():
    row = CheckRow.measured("s", "a", 1.0, "eV", 1.0)
    assert row.verdict is Verdict.PASS
    assert CheckRow.measured("s", "a", 1.1, "eV", 1.0).verdict is Verdict.FAIL
    assert CheckRow.measured("s", "a", 1.1, "eV", None).verdict is Verdict.INFO
    assert CheckRow.measured("s", "a", math.inf, "", 1e-10).verdict is Verdict.FAIL
    missing = CheckRow.measured("s", "b", math.nan, "eV", None)
    assert missing.verdict is Verdict.ERROR
    assert not CheckReport("m", (row, missing)).passed


def test_json_and_table(tmp_path, smooth):
    smooth.to_json(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["format"] == "pesbench-check"
    assert content["passed"] is True
    assert content["rows"][0]["verdict"] == "info"
    assert len(content["scans"]) == 30
    assert [r["trajectory"] for r in content["trajectories"]] == [
        f"{name}_1000K_0" for name in short_dynamics.SYSTEMS
    ]
    assert content["scores"]["fsd_full"] == smooth.scores["fsd_full"]
    lines = str(smooth).splitlines()
    assert lines[0].split() == ["check", "value", "limit", "verdict", "note"]
    assert "passed" in lines[-1]
    assert any("gradient" in line and "pass" in line for line in lines)
    sections = [line for line in lines if line.isupper() and " " not in line]
    assert sections == ["CONFORMANCE", "SCANS", "DYNAMICS"]


# --- the command ---------------------------------------------------------------------------------


def _registry(tmp_path, **entry) -> list[str]:
    path = tmp_path / "models.yaml"
    defaults = {"family": "ase", "calculator": "check_calculators:Smooth"}
    control = {"family": "control", "control": "zero"}
    path.write_text(yaml.safe_dump({"fake": defaults | entry, "control-zero": control}))
    return ["--models-file", str(path), "--out", str(tmp_path / "out.json")]


def test_the_command_passes_a_good_model(tmp_path, capsys):
    assert main(["check", "fake", *_registry(tmp_path)]) == 0
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["passed"] is True
    assert content["scores"]["n_scored"] == 30
    assert content["about"]["entry"]["name"] == "fake"
    out = capsys.readouterr().out
    assert "fake: passed" in out
    assert "Å⁻¹" in out


def test_the_command_fails_a_bad_model(tmp_path, capsys):
    entry = {"calculator": "check_calculators:Mutating", "charges": True}
    limits = ["--max-fsd", "0.1", "--max-drift", "1e-6", "--max-failed-runs", "6"]
    limits += ["--max-rms", "1e-6", "--max-temperature-spike", "1e6"]
    assert main(["check", "fake", *_registry(tmp_path, **entry), *limits]) == 1
    content = json.loads((tmp_path / "out.json").read_text())
    verdicts = {row["name"]: row["verdict"] for row in content["rows"]}
    failed = {name for name, verdict in verdicts.items() if verdict in ("fail", "error")}
    # in a worker the calculator changes a copy, and a claimed charge that is ignored is a fault
    assert failed == {"inputs_changed", "charge", "fsd_full", "energy_drift", "energy_rms"}
    assert verdicts["temperature_spike"] == "pass"
    assert content["about"]["limits"]["failed_runs"] == 6
    assert "NOT PASSED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give one of: the name of an entry; `--weights` and `--family`; `--calculator`"),
        (["fake", "--weights", "x.model"], "give one of"),
        (["fake", "--calculator", "check_calculators:Smooth"], "give one of"),
        (["--weights", "x", "--family", "mace", "--calculator", "a:b"], "give one of"),
        (["--calculator", "check_calculators"], "write module:Class"),
        (["--calculator", "check calculators:Smooth"], "write module:Class"),
        (["--calculator", "check_calculators:"], "write module:Class"),
        (["--calculator", "check_calculators:Smoth"], "has no 'Smoth'"),
        (["--calculator", "no_such_module:Smooth"], "does not import (ModuleNotFoundError"),
        (["--calculator", "os.path:join"], "did not load: TypeError"),
        (["--calculator", "check_calculators:Smooth", "--dtype", "float32"], "go with `--weights`"),
        (["fake", "--parts", "scan"], "no part 'scan'; there are conformance, scans, dynamics"),
        (["fake", "--parts", "scans", "fast"], "no part 'fast'"),
        (["fake", "--scans", "C-N/nosuch"], "'C-N/nosuch' matches none of the check's scans"),
        (["fake", "--parts", "dynamics", "--scans", "C-N/*"], "'scans' is not among the parts"),
        (["fake", "--dtype", "float32"], "go with `--weights`"),
        (["--weights", "x.model"], "needs `--family`"),
        (["--weights", "x.model", "--family", "mace"], "no weight file at"),
        (["--weights", "file:///x.model", "--family", "mace"], "give a path, or an address"),
        (["--weights", "https:///x.model", "--family", "mace"], "names no host"),
        (["--weights", "x.model", "--family", "macee"], "did you mean 'mace'?"),
        (["--weights", "x.model", "--family", "tblite"], "unknown key 'weights'"),
        (["control-zero"], "is a control"),
        (["fakee"], "did you mean 'fake'?"),
    ],
)
def test_bad_input_is_one_line(tmp_path, caplog, arguments, says):
    assert main(["check", *arguments, *_registry(tmp_path)]) == 2
    (record,) = [r for r in caplog.records if "error" in r.message]
    assert says in record.message
    assert "\n" not in record.message
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("arguments", [["--parts", "fast"], ["--scans", "x"]])
def test_parts_and_scans_are_looked_at_before_anything_is_loaded(tmp_path, caplog, arguments):
    calculator = ["--calculator", "no_such_module:Smooth"]
    assert main(["check", *calculator, *arguments, "--out", str(tmp_path / "out.json")]) == 2
    assert "no_such_module" not in caplog.text


def test_the_command_takes_a_calculator_parts_and_scans(tmp_path, capsys):
    """As the library call does with an instance: the same scores."""
    chosen = ["--parts", "scans", "--scans", "N-O/hydroxylamine_0-1", "C-S/*"]
    out = ["--out", str(tmp_path / "out.json")]
    assert main(["check", "--calculator", "check_calculators:Smooth", *chosen, *out]) == 0
    content = json.loads((tmp_path / "out.json").read_text())
    ids = {row["scan"] for row in content["scans"]}
    assert "N-O/hydroxylamine_0-1" in ids
    assert {scan_id.split("/")[0] for scan_id in ids} == {"N-O", "C-S"}
    assert {row["section"] for row in content["rows"]} == {"conformance", "scans"}
    assert content["model"] == "Smooth"
    assert content["about"]["entry"]["settings"]["calculator"] == "check_calculators:Smooth"
    assert content["trajectories"] == []
    report = pesbench.check(fakes.Smooth(), parts=["scans"], scans=[chosen[3], chosen[4]])
    assert content["scores"] == pytest.approx(dict(report.scores))
    assert "Smooth: passed" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["yaml", "pydantic"])
def test_without_the_extra_the_command_names_it(missing):
    code = f"""{BLOCKED.format(names=[missing, "tqdm", "pandas"])}
from pesbench.cli import main
sys.exit(main(["check", "--weights", "x.model", "--family", "mace"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"need {missing}, which is not installed; pip install 'pesbench[check]'" in line


def test_the_extra_is_enough(tmp_path):
    """On a terminal, too: the command has a progress bar only where there is tqdm."""
    blocked = ["pandas", "torch", "tqdm", "rdkit", "seaborn", "jinja2", "tabulate", "snakemake"]
    code = f"""{BLOCKED.format(names=blocked)}
sys.stderr.isatty = lambda: True
from pesbench.cli import main
from pesbench.core.progress import track
assert list(track([1, 2], 2, "scans")) == [1, 2]
sys.exit(main(["check", "control-zero", *{_registry(tmp_path)}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "is a control" in done.stderr


def test_an_installed_package_has_its_data(repo, tmp_path):
    """As setuptools lays it out for a wheel: nothing beside the package."""
    pytest.importorskip("setuptools")
    source, built = tmp_path / "source", tmp_path / "built"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repo / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    package = source / "workflow" / "pesbench"
    shutil.copytree(repo / "workflow" / "pesbench", package, symlinks=True, ignore=ignored)
    subprocess.run(
        [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build_py",
         "--build-lib", str(built)],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    shutil.rmtree(source)
    assert (built / "pesbench/commands/check/scans.h5").is_file()
    assert list((built / "pesbench/report").glob("*.jinja"))
    done = subprocess.run(
        [sys.executable, "-m", "pesbench", "check", "--weights", "x.model", "--family", "mace"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(built)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "no weight file at" in line


def test_weights_of_an_address_are_fetched(tmp_path, monkeypatch, caplog):
    asked = []

    def fetch(address, **_):
        asked.append(address)
        raise UserError(f"{address}: the server answers 404 Not Found")

    monkeypatch.setattr("pesbench.models.download.fetch", fetch)
    address = "https://example.org/v1/my%20best.model?download=true"
    arguments = ["check", "--weights", address, "--family", "mace", "--out", str(tmp_path / "o")]
    assert main(arguments) == 2
    assert asked == []
    assert "nothing says that you trust https://example.org" in caplog.text
    assert "--trust" in caplog.text
    assert main([*arguments, "--trust"]) == 2
    assert asked == [address]
    assert f"model 'my-best': {address}: the server answers 404" in caplog.text


STAGES = {  # with what each must be given
    "check": ["fake"],
    "evaluate": ["--entry", "e", "--scan-set", "s", "--out", "o"],
    "dynamics": ["--entry", "e", "--scan-set", "s", "--temperatures-k", "300", "--out", "o"],
    "prepare-molecules": ["--molecules", "m", "--out", "o"],
    "probe": ["--entry", "e", "--scan-set", "s", "--out", "o"],
    "train": [
        "m",
        "--variants",
        "v",
        "--frames",
        "f",
        "--record",
        "r",
        "--work",
        "w",
        "--out",
        "o",
    ],
    "train-mace": ["m", "--frames", "f", "--record", "r", "--work", "w", "--out", "o"],
    "vibrations": ["--entry", "e", "--scan-set", "s", "--out", "o"],
}


VALUES = {  # good and bad ones
    "--device": (["auto", "cpu", "cuda", "cuda:1"], ["cudda", "gpu", "cuda:", "cuda:x", "cpu\n"]),
    "--threads": (["1", "16"], ["0", "-1", "two", "1.5"]),
}


@pytest.mark.parametrize(
    ("stage", "option"),
    [(s, o) for s in STAGES for o in VALUES if (s, o) != ("train-mace", "--device")],
)
def test_devices_and_threads_are_looked_at_by_every_stage(stage, option, capsys):
    good, bad = VALUES[option]
    for value in good:
        parsed = vars(parser().parse_args([stage, *STAGES[stage], option, value]))
        assert str(parsed[option[2:]]) == value
    for value in bad:
        with pytest.raises(SystemExit) as ended:
            main([stage, *STAGES[stage], f"{option}={value}"])
        assert ended.value.code == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"error: argument {option}: " in said
        assert repr(value) in said


def test_no_stage_that_takes_them_is_forgotten():
    (stages,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    taking = {
        name
        for name, stage in stages.choices.items()
        if {"--device", "--threads"} & set(stage._option_string_actions)
    }
    assert taking == set(STAGES)


def test_a_model_that_does_not_load_is_one_line(tmp_path, caplog):
    options = _registry(tmp_path, calculator="fake_calculators:construction_raises")
    assert main(["check", "fake", *options]) == 2
    assert "did not load: FileNotFoundError: no parameters for this method" in caplog.text


def test_a_model_that_kills_the_worker_is_a_report():
    entry = faulty("exit", elements=["H", "C", "N", "O", "P", "S"])
    report = check_entry(entry)
    assert not report.passed
    assert report.row("unanswered").verdict is Verdict.ERROR
    assert report.row("scans_failed").value == 30
    statuses = Counter(row["status"] for row in report.scans)
    assert statuses == {"crashed": 30}
    assert f"{MOST_STARTS} times" in report.scans[-1]["message"]


def test_the_inputs_are_watched_in_a_process_of_their_own(systems):
    def entry(what: str) -> ModelEntry:
        settings = {"calculator": f"check_calculators:{what}", "arguments": {}}
        return ModelEntry("fake", "ase", settings | {"fresh": False, "charges": False})

    few = systems.select([0, 1])
    assert changed_inputs(entry("Mutating"), few, device="cpu", timeout_s=60) == ["positions"]


def test_weights_that_are_no_model(tmp_path, caplog):
    pytest.importorskip("mace")
    weights = tmp_path / "my best.model"
    weights.write_bytes(os.urandom(100))
    out = tmp_path / "out.json"
    assert main(["check", "--weights", str(weights), "--family", "mace", "--out", str(out)]) == 2
    assert "give the .model file that mace_run_train writes" in caplog.text
    assert "model 'my-best'" in caplog.text
    assert not out.exists()
