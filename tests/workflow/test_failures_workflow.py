"""Failures, caused: models that break and a Snakemake that is killed, through the workflow."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ase.io
import h5py
import pandas as pd
import pytest
import yaml
from ase import Atoms

from workflow_copy import Copy, refusal

LENGTHS = {"co": ("CO", 1.13), "n2": ("NN", 1.10), "cs": ("CS", 1.54), "pn": ("PN", 1.49)}
BROKEN = {  # of each status one; the tests of the tasks have every way to fail
    "at_import": {"calculator": "fails_at_import:Morse"},
    "one_system": {"fault": "segfault", "formulas": ["CO"]},
    "not_a_number": {"fault": "nan_energy"},
    "hang": {"fault": "hang", "formulas": ["CS"]},
}
# status of the first molecules that a model fails on, what is said, and of how many of four
EXPECTED = {
    "at_import": ("error", "RuntimeError: the licence server does not answer", 4),
    "one_system": ("crashed", "signal SIGSEGV", 1),
    "not_a_number": ("nonfinite", "not finite", 4),
    "hang": ("timeout", "no answer in 2 s", 1),
}
# each kind of the others has failed in two tasks already
OF_VIBRATIONS = ["at_import", "one_system"]
SLOW = "results/toys/slow/bonds/0000.h5"
# a job measures the precision on one geometry and eleven displacements, one of them of size zero
CALLS_OF_PRECISION, DISTINCT_OF_PRECISION = 12, 11
pytestmark = pytest.mark.xdist_group("failures")  # one copy, one order


def _entry(**settings: Any) -> dict[str, Any]:
    faults = {key: settings.pop(key) for key in ("fault", "formulas") if key in settings}
    plain = {"family": "ase", "calculator": "fake_calculators:Morse", "batch_size": 1,
             "level_of_theory": "Morse", "timeout_s": 2}  # fmt: skip
    if faults:
        plain |= {"calculator": "fake_calculators:Faulty", "arguments": faults}
    return plain | settings


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    made = Copy(tmp_path_factory.mktemp("failures") / "it's [a] folder & more")
    molecules = [
        Atoms(symbols, positions=[[0, 0, 0], [0, 0, length]], info={"id": name})
        for name, (symbols, length) in LENGTHS.items()
    ]
    for atoms in molecules:  # complete as they are
        first, second = atoms.get_chemical_symbols()
        atoms.info |= {"smiles": f"[{first}:1][{second}:2]", "spin": 1}
    ase.io.write(made.root / "toys.extxyz", molecules)
    marker = str(made.root / "marker")
    entries = {name: _entry(**settings) for name, settings in BROKEN.items()}
    entries["morse"] = _entry(trained=False)
    entries["slow"] = _entry(
        batch_size=10, arguments={"pause_s": 0.02, "tally": str(made.root / "tally")}
    )
    entries["killed"] = _entry(
        batch_size=10,
        calculator="fake_calculators:DiesAtTimes",
        arguments={"marker": marker, "times": 2, "calls": 150, "tally": str(made.root / "calls")},
    )
    (made.root / "toys_models.yaml").write_text(yaml.safe_dump(entries))
    config = {
        "scan_set": "toys",
        "scan_sets": {
            "toys": {"source": "molecules", "molecules": "toys.extxyz", "reference": "morse"}
        },
        "models_file": "toys_models.yaml",
        "models": ["morse", *BROKEN],
        "controls": [],
        "dynamics": {"models": ["morse", *BROKEN], "temperatures_k": [300], "duration_ps": 0.02},
        "vibrations": {"models": ["morse", *OF_VIBRATIONS]},
        "strict": True,
    }
    (made.root / "toys.yaml").write_text(yaml.safe_dump(config))
    few = config | {"models": ["morse", "slow", "killed"], "strict": False}
    for block in ("dynamics", "vibrations"):
        few[block] = {"models": []}
    (made.root / "few.yaml").write_text(yaml.safe_dump(few))
    return made


def _text(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_the_leaderboard_is_built_whatever_models_do_and_strict_tells_of_it(copy: Copy) -> None:
    done = copy.snakemake("--configfile", "toys.yaml")
    assert done.returncode == 1, _text(done)
    results = copy.root / "results" / "toys"
    board = pd.read_csv(results / "leaderboard.csv").set_index("model")
    page = (results / "leaderboard.html").read_text()
    told = (results / "logs" / "strict.log").read_text()
    assert f"strict: {len(BROKEN)} of {len(BROKEN) + 1} models failed" in told
    assert told.splitlines()[0] in _text(done)  # on the console, too
    assert "morse:" not in told
    assert board.loc["morse", ["n_scored", "md_n_finished"]].tolist() == [4, 4]
    for model, (status, said, count) in EXPECTED.items():
        assert board.loc[model, "n_planned"] == board.loc[model, "md_n_planned"] == 4
        assert board.loc[model, "n_scored"] == 4 - count, model
        assert board.loc[model, "md_n_finished"] == 4 - count, model
        assert status in board.loc[model, "missing"]
        assert said in board.loc[model, "missing_example"], model
        assert status in board.loc[model, "md_missing"]
        assert model in page
        for what, kind in (("scans", "bonds"), ("trajectories", "dynamics"),
                           ("molecules", "vibrations")):  # fmt: skip
            if kind == "vibrations" and model not in OF_VIBRATIONS:
                continue
            scores = pd.read_parquet(results / model / "scores" / f"{kind}.parquet")
            failed = scores[scores["status"] != "ok"]
            assert len(failed) == count, (model, kind)
            assert failed["message"].str.contains(said, regex=False).any(), (model, kind)
            line = f"{model}: {status} on "
            assert any(one.startswith(line) and what in one for one in told.splitlines())
    assert not (results / "strict.txt").exists()
    # without `strict` the same results are a run that has succeeded, and nothing is made again
    done = copy.snakemake("--configfile", "toys.yaml", "--config", "strict=False")
    assert done.returncode == 0, _text(done)
    assert "Nothing to be done" in _text(done)


def test_a_damaged_file_is_refused_and_made_again_on_request(copy: Copy) -> None:
    """By the steps that the message and config/README.md tell."""
    run = ("results/toys/morse/scores/bonds.parquet", "--configfile", "few.yaml")
    assert copy.snakemake(*run).returncode == 0
    path = copy.root / "results" / "toys" / "morse" / "bonds" / "0000.h5"
    before = path.read_bytes()
    with h5py.File(path) as file:
        place = file["C-O/co_0-1/energy"].id.get_offset()
    content = bytearray(before)
    content[place + 3] ^= 1
    path.write_bytes(content)
    done = copy.snakemake(*run)
    assert done.returncode == 1
    refusals = [s for s in _text(done).splitlines() if "pesbench: error:" in s]
    assert refusals
    assert "results/toys/morse/bonds/0000.h5: damaged evaluation" in refusals[0]
    assert "Traceback" not in _text(done)
    path.unlink()
    done = copy.snakemake(*run)
    assert done.returncode == 0, _text(done)
    with h5py.File(path) as again:
        assert again["C-O/co_0-1/energy"][()].tobytes() == before[place : place + 800]


def _await(condition: Any, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("whole_group", [False, True])
def test_after_snakemake_was_killed_the_same_command_continues(
    copy: Copy, whole_group: bool
) -> None:
    """Killed alone, its job ends by itself; the lock it leaves is removed by `--unlock`."""
    (copy.root / "tally").unlink(missing_ok=True)
    (copy.root / SLOW).unlink(missing_ok=True)
    run = (SLOW, "--configfile", "few.yaml")
    process = copy.start(*run)
    checkpoint = copy.root / f"{SLOW}.checkpoint"
    _await((checkpoint / "spent.json").exists, process)  # follows the first piece
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()
    refused = copy.snakemake(*run)
    assert refused.returncode != 0
    assert "Directory cannot be locked" in refused.stderr
    assert "--unlock" in refused.stderr
    unlocked = copy.snakemake(*run, "--unlock")
    assert unlocked.returncode == 0, _text(unlocked)
    done = copy.snakemake(*run)
    assert done.returncode == 0, _text(done)
    assert not checkpoint.exists()
    # four scans of 100 frames; at most one scan was made twice, and the precision is measured once
    calls = Counter((copy.root / "tally").read_text().splitlines())
    assert len(calls) == 400 + DISTINCT_OF_PRECISION
    assert 400 <= calls.total() - CALLS_OF_PRECISION <= 500
    with h5py.File(copy.root / SLOW) as file:
        assert file.attrs["times_interrupted"] == 1


def test_two_snakemakes_at_once(copy: Copy) -> None:
    (copy.root / SLOW).unlink(missing_ok=True)
    run = (SLOW, "--configfile", "few.yaml")
    first = copy.start(*run)
    checkpoint = copy.root / f"{SLOW}.checkpoint"
    _await((checkpoint / "000000.npz").exists, first)
    first.send_signal(signal.SIGSTOP)  # so that it does not end before the second one has looked
    second = copy.snakemake(*run)
    first.send_signal(signal.SIGCONT)
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stderr
    out, err = first.communicate()
    assert first.returncode == 0, out + err
    with h5py.File(copy.root / SLOW) as file:
        assert file.attrs["times_interrupted"] == 0


def test_a_worker_that_the_kernel_ends_is_retried_and_continues(copy: Copy) -> None:
    """As one that takes too much memory: twice, each time after a scan and a half."""
    target = "results/toys/killed/bonds/0000.h5"
    done = copy.snakemake(target, "--configfile", "few.yaml")
    assert done.returncode == 0, _text(done)
    assert _text(done).count("the worker was killed by SIGKILL") >= 2
    calls = Counter((copy.root / "calls").read_text().splitlines())
    assert len(calls) == 400 + DISTINCT_OF_PRECISION
    # what was done of the second and of the third scan
    assert calls.total() == 400 + 2 * 50 + CALLS_OF_PRECISION
    assert (copy.root / "marker").read_text() == "xx"
    with h5py.File(copy.root / target) as file:
        assert file.attrs["times_interrupted"] == 2
        assert {file[f"{k}/{name}"].attrs["status"] for k in file for name in file[k]} == {"ok"}


def test_a_read_only_results_folder_is_one_line_before_any_work(copy: Copy) -> None:
    if os.getuid() != 0:
        pytest.skip("to mount a file system needs root")
    folder = copy.root / "mounted"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        done = copy.snakemake("--configfile", "few.yaml", "--config", "results=mounted")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
    assert done.returncode != 0
    (line,) = (one for one in done.stderr.splitlines() if "pesbench: error:" in one)
    assert "mounted/toys: Read-only file system; make it writable" in line
    assert "Traceback" not in _text(done)


def test_a_config_says_whether_it_is_strict(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.root)
    said = refusal(copy.root, "--configfile", "few.yaml", "--config", "strict=perhaps")
    assert "`strict` must be true or false, not 'perhaps'" in said
    assert "strict" not in copy.planned("--configfile", "few.yaml")
    assert copy.planned("--configfile", "few.yaml", "--config", "strict=True")["strict"] == 1
    assert Path(copy.root / "config" / "README.md").read_text().count("| `strict` |") == 1
