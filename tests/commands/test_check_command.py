"""`python -m pesbench check`: the scans that ship, ladders, the report and the command."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import ase.io
import numpy as np
import pytest
import yaml

import check_calculators as fakes
import pesbench
from checked import BLOCKED, LOOSE, conform, options
from examples import faulty
from pesbench.cli import main, parser
from pesbench.commands.check import dynamics as short_dynamics
from pesbench.commands.check import ladders, subset
from pesbench.commands.check.report import CheckReport, CheckRow, Verdict
from pesbench.commands.check.supervised import (
    MOST_STARTS,
    changed_inputs,
    check_entry,
)
from pesbench.core.errors import UserError
from pesbench.core.interface import Status, molecules_batch
from pesbench.files.evaluation import ScanEvaluation
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry
from pesbench.tasks.bonds.control_ladders import CONTROL_LADDERS
from pesbench.tasks.bonds.score import score_scan

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


def test_the_doses_are_those_of_the_registry(repo):
    registry = yaml.safe_load((repo / "config/models.yaml").read_text())
    assert list(ladders.DOSES) == [ladder.kind for ladder in CONTROL_LADDERS]
    for ladder in CONTROL_LADDERS:
        doses = {
            ladder.size(entry["dose"]) for entry in registry.values()
            if entry.get("control") == ladder.kind
        }  # fmt: skip
        assert set(ladders.DOSES[ladder.kind]) == doses


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
    assert CheckReport("m", (row,)).verdict == "passed"
    assert CheckReport("m", (replace(row, section="conformance"),)).verdict == "conforms"
    failing = CheckRow.measured("conformance", "a_b", 1.1, "eV", 1.0, "of water")
    told = CheckReport("m", (row, failing, CheckRow.error("s", "c", "no answer")))
    assert told.verdict == "failed: a b 1.1 eV (limit 1): of water"
    assert CheckReport("m", told.rows[2:]).verdict == "failed: c: no answer"
    assert told.to_dict()["verdict"] == told.verdict
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
    assert sections == ["CONFORMANCE", "SCANS", "APPROACH", "DYNAMICS"]


# --- the command ---------------------------------------------------------------------------------


def _registry(tmp_path, **entry) -> list[str]:
    path = tmp_path / "models.yaml"
    defaults = {"family": "ase", "calculator": "check_calculators:Smooth"}
    control = {"family": "control", "control": "zero"}
    path.write_text(yaml.safe_dump({"fake": defaults | entry, "control-zero": control}))
    return ["--models-file", str(path), "--out", str(tmp_path / "out.json")]


def test_the_command_passes_a_good_model(tmp_path, capsys):
    stale = tmp_path / "out.extxyz"
    conform(fakes.Pushed()).write_frames(stale)  # of an earlier check
    assert stale.exists()
    assert main(["check", "fake", *_registry(tmp_path), *options(LOOSE)]) == 0
    assert not stale.exists()
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["passed"] is True
    assert content["scores"]["n_scored"] == 30
    assert content["about"]["entry"]["name"] == "fake"
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "fake: passed"
    assert content["verdict"] == "passed"
    assert "Å⁻¹" in out


def test_the_command_fails_a_bad_model(tmp_path, capsys):
    entry = {"calculator": "check_calculators:Mutating", "charges": True}
    limits = ["--max-fsd", "0.1", "--max-drift", "1e-6", "--max-failed-runs", "6"]
    limits += ["--max-rms", "1e-6", "--max-temperature-spike", "1e6"]
    limits = [*options(LOOSE), *limits]
    assert main(["check", "fake", *_registry(tmp_path, **entry), *limits]) == 1
    content = json.loads((tmp_path / "out.json").read_text())
    verdicts = {row["name"]: row["verdict"] for row in content["rows"]}
    failed = {name for name, verdict in verdicts.items() if verdict in ("fail", "error")}
    # in a worker the calculator changes a copy, and a claimed charge that is ignored is a fault
    assert failed == {"inputs_changed", "charge", "fsd_full", "energy_drift", "energy_rms"}
    assert verdicts["temperature_spike"] == "pass"
    assert content["about"]["limits"]["failed_runs"] == 6
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"fake: {content['verdict']}"
    assert last.startswith("fake: failed: charge 0 eV/Å: +1 ignored, -1 ignored; it tells")
    frames = ase.io.read(tmp_path / "out.extxyz", index=":")
    assert {frame.info["row"] for frame in frames} == {"fsd_full", "energy_drift", "energy_rms"}


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
        (["--calculator", "os.path:join"], "missing a required argument"),
        (["--calculator", "check_calculators:Smooth", "--dtype", "float32"], "go with `--weights`"),
        (
            ["fake", "--parts", "scan"],
            "no part 'scan'; there are conformance, scans, approach, dynamics",
        ),
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


def test_the_report_does_not_take_the_name_of_the_frames(tmp_path, caplog):
    out = tmp_path / "report.extxyz"
    assert main(["check", "fake", *_registry(tmp_path)[:2], "--out", str(out)]) == 2
    assert f"the frames of what fails are written to {out}; give another name" in caplog.text
    assert not out.exists()


def test_geometries_and_weights_of_the_user_are_not_overwritten(tmp_path, caplog):
    frames = tmp_path / "out.extxyz"
    ase.io.write(frames, ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]))
    before = frames.read_bytes()
    assert main(["check", "fake", *_registry(tmp_path)]) == 2
    assert f"{frames} is not of a check" in caplog.text
    assert frames.read_bytes() == before
    assert not (tmp_path / "out.json").exists()
    weights = tmp_path / "w.pt"
    shutil.copy("resources/weights/testbed-base.pt", weights)
    named = ["--weights", str(weights), "--family", "testbed", "--out", str(weights)]
    assert main(["check", *named]) == 2
    assert "would write over it" in caplog.text


@pytest.mark.parametrize("arguments", [["--parts", "fast"], ["--scans", "x"]])
def test_parts_and_scans_are_looked_at_before_anything_is_loaded(tmp_path, caplog, arguments):
    calculator = ["--calculator", "no_such_module:Smooth"]
    assert main(["check", *calculator, *arguments, "--out", str(tmp_path / "out.json")]) == 2
    assert "no_such_module" not in caplog.text


def test_the_command_takes_a_calculator_parts_and_scans(tmp_path, capsys):
    """As the library call does with an instance: the same scores."""
    chosen = ["--parts", "scans", "--scans", "N-O/hydroxylamine_0-1", "C-S/*"]
    out = ["--out", str(tmp_path / "out.json")]
    # none of these curves of the pair potential has a minimum that the self-aligned FSD needs
    chosen += options(replace(LOOSE, fsd_aligned=None))
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
    own = {name: None if math.isnan(x) else x for name, x in report.scores.items()}
    assert content["scores"] == pytest.approx(own)
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
    assert (built / "pesbench/commands/check/reference.json").is_file()
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
    "approach": ["fake", "--molecule", "CO"],
    "check": ["fake"],
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
    "train-apax": [
        *("m", "--variants", "v", "--frames", "f", "--record", "r", "--work", "w", "--out", "o")
    ],
    "train-backbone": [
        *("m", "--plan", "p", "--frames", "f", "--record", "r", "--work", "w", "--out", "o")
    ],
    "train-data": [
        "m",
        "--plan",
        "p",
        "--frames",
        "f",
        "--record",
        "r",
        "--work",
        "w",
        "--out",
        "o",
    ],
    "pretrain": [
        *("m", "--plan", "p", "--frames", "f", "--record", "r", "--work", "w", "--out", "o")
    ],
    "train-transfer": [
        *("m", "--plan", "p", "--frames", "f", "--record", "r", "--work", "w", "--out", "o")
    ],
    "data-dynamics": ["m", "--plan", "p", "--weights", "w", "--scan-set", "s", "--out", "o"],
    "harvest": ["t", "--labels", "e", "--out", "o.extxyz"],
    "label-frames": [
        *("--frames", "f", "--record", "r", "--method", "m", "--pool", "5", "--held-out", "5"),
        *("--out", "o", "--out-record", "p"),
    ],
    "lj-heads": ["main-mlp", "--work", "w", "--out", "o"],
    "train-wavefunction": ["m", "--plan", "p", "--out", "o"],
    "wavefunction-far": ["m", "--plan", "p", "--folder", "f"],
    "wavefunction-nve": ["m", "--plan", "p", "--systems", "water", "--folder", "f"],
    "wavefunction-page": ["--folder", "f"],
    "wavefunction-scans": ["--scan-set", "s", "--weights", "w", "--folder", "f"],
    "train-mace": ["m", "--frames", "f", "--record", "r", "--work", "w", "--out", "o"],
    "run approach": ["--entry", "e", "--scan-set", "s", "--out", "o"],
    "run alarms": ["--entry", "e", "--scan-set", "s", "--out", "o"],
    "run bonds": ["--entry", "e", "--scan-set", "s", "--out", "o"],
    "run cost": ["--entry", "e", "--scan-set", "s", "--out", "o"],
    "run dynamics": ["--entry", "e", "--scan-set", "s", "--temperatures-k", "300", "--out", "o"],
    "run lj_core": ["--entry", "e", "--scan-set", "s", "--out", "o"],
    "run spectral": ["--entry", "e", "--scan-set", "s", "--out", "o"],
    "run vibrations": ["--entry", "e", "--scan-set", "s", "--out", "o"],
}


ON_THE_CPU = (
    *("lj-heads", "train-apax", "train-backbone", "train-data", "train-mace"),
    *("data-dynamics", "pretrain", "train-transfer"),
    *("train-wavefunction", "wavefunction-far", "wavefunction-nve", "wavefunction-page"),
    "wavefunction-scans",
)
VALUES = {  # good and bad ones
    "--device": (["auto", "cpu", "cuda", "cuda:1"], ["cudda", "gpu", "cuda:", "cuda:x", "cpu\n"]),
    "--threads": (["1", "16"], ["0", "-1", "two", "1.5"]),
}


@pytest.mark.parametrize(
    ("stage", "option"),
    [(s, o) for s in STAGES for o in VALUES if o == "--threads" or s not in ON_THE_CPU],
)
def test_devices_and_threads_are_looked_at_by_every_stage(stage, option, capsys):
    good, bad = VALUES[option]
    for value in good:
        parsed = vars(parser().parse_args([*stage.split(), *STAGES[stage], option, value]))
        assert str(parsed[option[2:]]) == value
    for value in bad:
        with pytest.raises(SystemExit) as ended:
            main([*stage.split(), *STAGES[stage], f"{option}={value}"])
        assert ended.value.code == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"error: argument {option}: " in said
        assert repr(value) in said


def test_no_stage_that_takes_them_is_forgotten():
    def stages(of, before=""):
        for action in of._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, stage in action.choices.items():
                    yield f"{before}{name}", stage
                    yield from stages(stage, f"{before}{name} ")

    taking = {
        name
        for name, stage in stages(parser())
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
