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
import pytest
import yaml

import check_calculators as fakes
import pesbench
from conftest import faulty
from pesbench.checks import Limits, Verdict, conformance, ladders, subset
from pesbench.checks.local import CalculatorModel
from pesbench.checks.report import CheckReport, CheckRow
from pesbench.checks.run import SCORES
from pesbench.checks.supervised import MOST_STARTS, changed_inputs, check_entry
from pesbench.cli import _parser, main
from pesbench.errors import UserError
from pesbench.models.interface import Result, Status, check_result
from pesbench.models.registry import ModelEntry
from pesbench.scores import score_scan
from pesbench.storage import ScanEvaluation, ScanSet

REPO = Path(__file__).parents[1]
CONFORMANCE = ("conformance",)


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
    # told beforehand, it is not asked
    told = pesbench.check(fakes.Smooth(), elements=["H", "C", "N", "O"], scans=["C-S/*", "N-O/*"])
    assert told.passed
    assert 0 < told.scores["n_scored"] < told.scores["n_planned"]


def test_a_check_that_scored_nothing_does_not_pass():
    unknown = pesbench.check(fakes.Smooth(), elements=["H", "C", "N", "O"], scans=["C-S/*"])
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
        (fakes.FlatForces, r"ValueError: forces have shape \(\d+,\), not \(\d+, 3\)"),
    ],
)
def test_a_defect_is_not_told_as_an_unknown_element(calculator, says):
    """They raise on sulphur, too; that is not why the others are not answered."""
    row = conform(calculator()).row("elements")
    assert row.verdict is Verdict.ERROR
    assert re.search(says, row.note)


def test_a_failing_scan_is_counted_and_may_be_allowed():
    report = pesbench.check(fakes.FailsWhenStretched(), scans=["C-N/*", "N-O/*"])
    failed = [row["scan"] for row in report.scans if row["status"] == "error"]
    assert failed == ["N-O/hydroxylamine_0-1"]
    assert report.row("scans_failed").value == 1
    assert "SCF not converged" in report.row("scans_failed").note
    assert failures(report) == {"scans_failed"}
    assert report.scores["n_scored"] == len(report.scans) - 1
    allowed = Limits(failed_scans=1)
    assert pesbench.check(fakes.FailsWhenStretched(), scans=["N-O/*"], limits=allowed).passed


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


def test_the_calculator_is_left_as_it_was():
    calculator = fakes.Smooth()
    atoms = ase.build.molecule("CH3OH")
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    before, calls = calculator.atoms, calculator.calls
    pesbench.check(calculator, scans=["N-O/hydroxylamine_0-1"])
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
    with pytest.raises(UserError, match="no part 'dynamics'"):
        pesbench.check(fakes.Smooth(), parts=["dynamics"])
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


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def test_it_runs_with_the_base_packages_alone():
    blocked = ["pandas", "torch", "yaml", "jsonschema", "tqdm", "rdkit", "seaborn", "jinja2"]
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


def test_importing_the_package_stays_light():
    code = "import sys, pesbench; print(pesbench.check.__name__, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["check", "False"]


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
    from pesbench.models.interface import molecules_batch
    from pesbench.models.tblite import TBLiteModel

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
    from pesbench.models import controls

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
    assert content["scores"]["fsd_full"] == smooth.scores["fsd_full"]
    lines = str(smooth).splitlines()
    assert lines[0].split() == ["check", "value", "limit", "verdict", "note"]
    assert "passed" in lines[-1]
    assert any("gradient" in line and "pass" in line for line in lines)


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
    assert main(["check", "fake", *_registry(tmp_path, **entry), "--max-fsd", "0.1"]) == 1
    content = json.loads((tmp_path / "out.json").read_text())
    verdicts = {row["name"]: row["verdict"] for row in content["rows"]}
    failed = {name for name, verdict in verdicts.items() if verdict in ("fail", "error")}
    # in a worker the calculator changes a copy, and a claimed charge that is ignored is a fault
    assert failed == {"inputs_changed", "charge", "fsd_full"}
    assert "NOT PASSED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give either the name of an entry or `--weights`"),
        (["fake", "--weights", "x.model"], "give either"),
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


@pytest.mark.parametrize("missing", ["yaml", "jsonschema"])
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
from pesbench.progress import track
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
    for name in ("pesbench", "schemas"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            repo / "workflow" / name, source / "workflow" / name, symlinks=True, ignore=ignored
        )
    subprocess.run(
        [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build_py",
         "--build-lib", str(built)],
        cwd=source, check=True, capture_output=True,
    )  # fmt: skip
    shutil.rmtree(source)
    for name in ("schemas/config.schema.yaml", "schemas/models.schema.yaml", "checks/scans.h5"):
        assert (built / "pesbench" / name).is_file()
        assert not (built / "pesbench" / name).is_symlink()
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
    assert asked == [address]
    assert f"model 'my-best': {address}: the server answers 404" in caplog.text


STAGES = {  # with what each must be given
    "check": ["fake"],
    "evaluate": ["--entry", "e", "--scan-set", "s", "--out", "o"],
    "dynamics": ["--entry", "e", "--scan-set", "s", "--temperatures-k", "300", "--out", "o"],
    "prepare-molecules": ["--molecules", "m", "--out", "o"],
    "train-mace": ["m", "--frames", "f", "--record", "r", "--work", "w", "--out", "o"],
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
        parsed = vars(_parser().parse_args([stage, *STAGES[stage], option, value]))
        assert str(parsed[option[2:]]) == value
    for value in bad:
        with pytest.raises(SystemExit) as ended:
            main([stage, *STAGES[stage], f"{option}={value}"])
        assert ended.value.code == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"error: argument {option}: " in said
        assert repr(value) in said


def test_no_stage_that_takes_them_is_forgotten():
    (stages,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
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
        return ModelEntry("fake", "ase", settings)

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
