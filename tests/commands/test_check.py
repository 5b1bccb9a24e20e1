"""`pesbench.check`: every row finds the fault it is there for."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import ase.build
import numpy as np
import pandas as pd
import pytest

import check_calculators as fakes
import pesbench
from checked import BLOCKED, LOOSE, conform, failures, smoothly
from pesbench.commands.check import conformance, subset
from pesbench.commands.check.limits import Limits
from pesbench.commands.check.report import Verdict
from pesbench.commands.check.scan_rows import SCORES
from pesbench.core.errors import UserError
from pesbench.core.interface import Result, Status, molecules_batch
from pesbench.engine.precision import precision, relative_noise
from pesbench.tasks.bonds.worst import worst_scans

STILL = ("conformance", "scans")


# --- the library call ----------------------------------------------------------------------------


def test_a_good_calculator_passes_everything(smooth):
    """All but the limits that its soft walls are beyond, which the fixture sets."""
    assert failures(smooth) == set()
    assert smooth.passed
    assert smooth.verdict == "passed"
    assert str(smooth).splitlines()[-1] == "Smooth: passed"
    assert smooth.exit_code == 0
    assert smooth.row("gradient").value < 1e-8
    assert smooth.row("dtype").value < 1e-12
    assert smooth.about["dtype_measured"] == "float64"
    assert smooth.row("translation_far_energy").verdict is Verdict.INFO


def test_scores_are_the_means_over_the_scans(smooth):
    assert smooth.scores["n_scored"] == smooth.scores["n_planned"] == 30
    for name, _ in SCORES:
        mean = np.nanmean([row[name] for row in smooth.scans])  # some curves have no minimum
        assert smooth.scores[name] == pytest.approx(mean)
        assert smooth.row(name).value == smooth.scores[name]
    # an independent way to one of them: the pair potential against the stored reference
    (scan,) = subset.read_subset(["N-O/hydroxylamine_0-1"])
    forces = np.array([fakes.pairs(scan.numbers, p)[1] for p in scan.positions])
    own = next(row for row in smooth.scans if row["scan"] == scan.id)
    assert own["force_mae"] == pytest.approx(np.mean(np.abs(forces - scan.forces)))


def test_the_three_worst_bonds_are_named_as_in_worst_csv(smooth):
    """The pair potential is far from the reference: wells are missing, walls too soft."""
    named = [row for row in smooth.rows if row.name.startswith("worst_") and row.section == "scans"]
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
    assert report.passed
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
        (fakes.Swirl, {"gradient", "rotation_forces", "net_torque", "locality"}),
        (fakes.Mutating, {"inputs_changed"}),
        (
            fakes.Ordered,
            {"permutation_energy", "permutation_forces", "extensivity", "locality"},
        ),
        (
            fakes.Placed,
            {
                "translation_energy",
                "rotation_energy",
                "rotation_forces",
                "net_force",
                "extensivity",
            },
        ),
        (
            fakes.Oriented,
            {"rotation_energy", "rotation_forces", "net_torque", "extensivity", "locality"},
        ),
        (fakes.NotExtensive, {"extensivity"}),
        (fakes.FarSighted, {"locality"}),
        (fakes.Pushed, {"net_force"}),
        (fakes.Grained, {"net_torque"}),
        (fakes.Sided, {"rotation_energy", "rotation_forces"}),
        (fakes.Truncated, {"crossing_energy"}),
        (fakes.Kinked, {"crossing_forces"}),
        (fakes.Lagging, {"trajectory_energy", "trajectory_forces"}),
        (fakes.LongTail, set()),
    ],
)
def test_each_fault_is_found_and_no_other(calculator, found):
    assert failures(conform(calculator())) == found


def test_the_size_of_a_fault_is_measured():
    report = conform(fakes.Unsteady())
    assert {"deterministic_energy", "batched_energy"} <= failures(report)
    assert not {"deterministic_forces", "batched_forces", "dtype"} & failures(report)
    assert 1e-5 < report.row("deterministic_energy").value <= 1e-3
    # the same with other limits
    free = Limits(rotation=1.0, rotation_energy=1.0)
    assert failures(conform(fakes.Sided(), limits=free)) == set()
    free = Limits(gradient_error=1.0, rotation=1.0, net_torque=5.0, locality=5.0)
    assert failures(conform(fakes.Swirl(), limits=free)) == set()
    assert failures(conform(fakes.Pushed(), limits=Limits(net_force=1e-2))) == set()
    assert failures(conform(fakes.NotExtensive(), limits=Limits(extensivity=1.0))) == set()
    assert failures(conform(fakes.FarSighted(), limits=Limits(locality=1.0))) == set()
    assert failures(conform(fakes.Kinked(), limits=Limits(crossing=100.0))) == set()
    assert failures(conform(fakes.Smooth(), limits=Limits(crossing=1.0))) == {
        "crossing_energy", "crossing_forces"
    }  # fmt: skip


def test_single_precision_behind_a_claim_of_double_is_told():
    report = conform(fakes.Float32(), dtype="float64")
    assert "dtype" in failures(report)
    assert 1e-9 < report.row("dtype").value < 1e-4
    assert "float32; claimed is float64" in report.row("dtype").note
    # where single precision is what it claims, its own limits hold
    assert failures(conform(fakes.Float32(), dtype="float32")) == set()
    assert conform(fakes.Float32()).row("dtype").verdict is Verdict.INFO


def test_forces_without_energies():
    report = pesbench.check(fakes.ForcesOnly(), scans=["N-O/*"], limits=LOOSE)
    assert failures(report) == set()
    for name in ("extensivity", "crossing_energy", "trajectory_energy"):
        assert report.row(name).note == "n/a: no energy"
    assert report.row("gradient").value is None
    assert "no energy" in report.row("gradient").note
    assert report.row("permutation_forces").verdict is Verdict.PASS
    said = re.fullmatch(r"passed, without (\d+) rows: (.*) n/a: no energy", report.verdict)
    assert int(said[1]) == sum(row.note.startswith("n/a") for row in report.rows) > 5
    assert report.scores["fsd_full"] > 0
    assert math.isnan(report.scores["energy_mae_aligned"])
    assert json.loads(report.to_json())["scores"]["energy_mae_aligned"] is None


def test_unknown_elements_are_unsupported_and_no_failure():
    with_phosphorus = [s.id for s in subset.read_subset() if 15 in s.numbers]
    report = pesbench.check(fakes.NoPhosphorus(), limits=LOOSE)
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
        fakes.Smooth(), elements=["H", "C", "N", "O"], scans=["C-S/*", "N-O/*"], parts=STILL,
        limits=LOOSE,
    )  # fmt: skip
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
    report = pesbench.check(
        fakes.FailsWhenStretched(), scans=["C-N/*", "N-O/*"], parts=STILL, limits=LOOSE
    )
    failed = [row["scan"] for row in report.scans if row["status"] == "error"]
    assert failed == ["N-O/hydroxylamine_0-1"]
    assert report.row("scans_failed").value == 1
    assert "SCF not converged" in report.row("scans_failed").note
    assert failures(report) == {"scans_failed"}
    assert report.scores["n_scored"] == len(report.scans) - 1
    allowed = replace(LOOSE, failed_scans=1)
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
        report = pesbench.check(fakes.Smooth(), parts=("scans",), limits=replace(LOOSE, fsd=limit))
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
    with pytest.raises(
        UserError, match="no part 'dynamic'; there are conformance, scans, approach, dynam"
    ):
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


def test_it_runs_with_the_base_packages_alone():
    blocked = ["pandas", "torch", "yaml", "pydantic", "tqdm", "rdkit", "seaborn", "jinja2"]
    code = f"""{BLOCKED.format(names=blocked)}
import pesbench
from check_calculators import Smooth
report = pesbench.check(Smooth(), scans=["N-O/hydroxylamine_0-1"])
print(report)
assert all(row.section == "scans" for row in report.rows if row.failed)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fsd full" in done.stdout


# --- conformance, function by function -----------------------------------------------------------


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
        result = smoothly(batch)
        return replace(result, energies=result.energies + 1e-3 * batch.n_systems)

    base = depends_on_the_batch(systems)
    found = conformance.single_and_batched(depends_on_the_batch, systems, base)
    assert found.energy == pytest.approx(1e-3 * (systems.n_systems - 1))
    assert found.forces == 0
    assert conformance.single_and_batched(smoothly, systems, smoothly(systems)).energy == 0


def test_the_gradient_error_is_the_part_of_a_force_along_the_direction(systems):
    wrong = np.array([0.3, -0.2, 0.1])

    def pushed(batch):
        result = smoothly(batch)
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
        result = smoothly(batch)
        return replace(result, energies=np.round(result.energies, 4))

    atoms = [[0]] * systems.n_systems
    coarse, exact = (
        conformance.gradient_error(
            evaluate, systems, smoothly(systems), atoms, np.random.default_rng(1)
        )
        for evaluate in (rounded, smoothly)
    )
    assert coarse.step > exact.step
    assert exact.error < 1e-8 < coarse.error < 0.02


def test_noise_tells_precisions_apart(systems):
    def in_precision(kind):
        def evaluate(batch):
            coarse = replace(batch, positions=batch.positions.astype(kind).astype(np.float64))
            return smoothly(coarse)

        return evaluate

    def noise(evaluate):
        generator = np.random.default_rng(0)
        return relative_noise(evaluate, systems, evaluate(systems), generator)

    assert precision(noise(smoothly)) == "float64"
    assert precision(noise(in_precision(np.float32))) == "float32"
    assert noise(in_precision(np.float16)) == np.inf
    assert precision(np.inf) == "coarser"

    def still(batch):
        return replace(smoothly(batch), forces=np.ones((batch.n_atoms, 3)))

    assert np.isnan(noise(still))

    def cast_at_the_end(batch):
        result = smoothly(batch)
        return replace(result, forces=result.forces.astype(np.float32).astype(np.float64))

    assert precision(noise(cast_at_the_end)) == "float32"


def test_a_copy_that_fails_is_told_and_not_compared(systems):
    base = smoothly(systems)

    def fails_on_the_first(batch):
        result = smoothly(batch)
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
        return smoothly(batch)

    copy = systems.select(range(systems.n_systems))
    assert conformance.changed_fields(centres, copy) == ["positions"]
    assert conformance.changed_fields(smoothly, systems) == []
