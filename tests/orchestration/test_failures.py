"""Failures, caused: kills, full disks, damaged and misplaced files, memory, left-over locks."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from examples import fake_entry, write_toys
from pesbench import cli
from pesbench.core.errors import HostError, UserError, check_writable
from pesbench.core.interface import Status
from pesbench.engine.worker import ModelFailureError, Worker
from pesbench.files.atomic import write_json
from pesbench.files.checkpoint import Checkpoint
from pesbench.files.evaluation import Evaluation
from pesbench.files.integrity import readable
from pesbench.models.calls import Named
from pesbench.models.import_check import check_imports
from pesbench.models.trust import entry_sha256
from pesbench.orchestration import running
from pesbench.report.strict import model_failures
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.stored import Trajectories
from pesbench.tasks.vibrations.settings import VibrationSettings
from pesbench.tasks.vibrations.stored import Vibrations
from shards import evaluate_shard, run_dynamics_shard, run_vibrations

REPO = Path(__file__).parents[2]
SYSTEMS = ("a", "b", "c", "d", "e", "f")
SHORT = DynamicsSettings(temperatures_k=(300.0,), duration_ps=0.02, replicates=1, store_every=5)


def _make(stage, entry, scan_set, out):
    """The file of a stage, of all molecules of the toys."""
    match stage:
        case "bonds":
            ids = ("C-C/a", "C-N/b", "C-O/c", "N-N/d", "N-O/e", "O-S/f")
            evaluate_shard(entry, scan_set, ids, out, device="cpu")
        case "dynamics":
            run_dynamics_shard(entry, scan_set, SYSTEMS, SHORT, out, device="cpu")
        case "vibrations":
            run_vibrations(entry, scan_set, SYSTEMS, VibrationSettings(), out, device="cpu")


STAGES = ("bonds", "dynamics", "vibrations")


@pytest.fixture(scope="module")
def made(toy_set, tmp_path_factory):
    """A file of every stage, of one model; they are not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    entry = fake_entry(batch_size=13)
    write_json(folder / "model.json", entry.deciding())
    for stage in STAGES:
        _make(stage, entry, toy_set, folder / f"{stage}.h5")
    return folder


# --- memory of the device ------------------------------------------------------------------------


class _Device:
    """Stands for a device: what is larger than its memory, or holds a certain molecule, fails."""

    def __init__(self, monkeypatch, atoms, formula=()):
        self.calls = []
        start, evaluate = Worker.start, Worker.evaluate

        def batched(worker):
            worker.info = replace(start(worker), batched=True)
            return worker.info

        def limited(worker, batch):
            batched(worker)
            self.calls.append(batch.n_systems)
            first = [batch.numbers[batch.system == k].tolist() for k in range(batch.n_systems)]
            if batch.n_atoms > atoms or sorted(formula) in map(sorted, first):
                raise ModelFailureError(Status.OUT_OF_MEMORY, "CUDA out of memory")
            return evaluate(worker, batch)

        monkeypatch.setattr(Worker, "start", batched)
        monkeypatch.setattr(Worker, "evaluate", limited)


def _read(stage, path):
    """Status, message and numbers by molecule; the limit of the batches."""
    opened = {"bonds": Evaluation, "dynamics": Trajectories, "vibrations": Vibrations}[stage]
    with opened(path) as file:
        limit = json.loads(file.attributes["batch_limit"])
        if stage == "bonds":
            found = {i[-1]: file.scan(i) for i in file.ids}
            numbers = {k: (one.energy, one.forces) for k, one in found.items()}
        elif stage == "vibrations":
            found = {name: file.molecule(name) for name in file.systems}
            numbers = {k: (one.hessian, one.frequencies_cm1) for k, one in found.items()}
        else:
            found = {name[0]: file.trajectory(name) for name in file.names}
            numbers = {
                name[0]: (file.series(name).potential, file.frames(name).positions)
                for name in file.names
            }
    return {k: (one.status, one.message) for k, one in found.items()}, numbers, limit


@pytest.mark.parametrize("stage", STAGES)
def test_out_of_device_memory_halves_the_batch_down_to_the_system_alone(
    toy_set, tmp_path, monkeypatch, stage
):
    entry = fake_entry(batch_size=64)
    with monkeypatch.context() as patch:
        _Device(patch, atoms=10**9)
        _make(stage, entry, toy_set, tmp_path / "enough.h5")
    device = _Device(monkeypatch, atoms=8, formula=(7, 8))
    _make(stage, entry, toy_set, tmp_path / "little.h5")
    enough, expected, _ = _read(stage, tmp_path / "enough.h5")
    found, numbers, limit = _read(stage, tmp_path / "little.h5")
    assert set(found) == set(enough) == set(SYSTEMS)
    assert {status for status, _ in enough.values()} == {Status.OK}
    for name in SYSTEMS:
        status, message = found[name]
        if name == "e":  # NO
            assert status is Status.OUT_OF_MEMORY
            assert "CUDA out of memory" in message
        else:
            assert status is Status.OK
            assert all(map(np.array_equal, numbers[name], expected[name]))
    assert max(device.calls) > 4  # it was asked for more than fits,
    assert 1 < limit["systems"] <= 4  # and NO, which fits in no batch, tells nothing of the others


# --- a disk that is full or cannot be written ----------------------------------------------------


@pytest.fixture
def mounted(tmp_path):
    """A file system of its own: `mounted(size)`, and `mounted.read_only()` later."""
    if os.getuid() != 0:
        pytest.skip("to mount a file system needs root")
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(*options):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def _command(stage, made, toy_set, out):
    digest = entry_sha256(json.loads((made / "model.json").read_text()))
    words = [sys.executable, "-m", "pesbench", "run", stage, "--entry", made / "model.json",
             "--entry-sha256", digest, "--scan-set", toy_set, "--device", "cpu",
             "--out", out]  # fmt: skip
    if stage == "dynamics":
        words += ["--temperatures-k", "300", "--duration-ps", "0.02", "--store-every", "5"]
    return [str(word) for word in words]


def _one_line(done, *words):
    """Whether a command failed with one line that holds some words, and no traceback."""
    lines = [line for line in done.stderr.splitlines() if "pesbench: error:" in line]
    assert len(lines) == 1, done.stderr
    assert all(word in lines[0] for word in words), lines[0]
    assert "Traceback" not in done.stderr
    assert done.returncode == os.EX_TEMPFAIL


@pytest.mark.parametrize("stage", ["bonds", "dynamics"])
def test_a_full_disk_is_one_line_and_the_same_command_continues(made, toy_set, mounted, stage):
    folder = mounted("-o", "size=96k")
    earlier = folder / "earlier.h5"
    earlier.write_bytes((made / "bonds.h5").read_bytes())
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:  # but for two pages, which take the settings
        file.write(bytes(shutil.disk_usage(folder).free - 2 * 4096))
    out = folder / f"{stage}.h5"
    command = _command(stage, made, toy_set, out)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _one_line(done, "No space left on device", "the same command continues")
    assert not list(folder.glob("*.part"))
    assert not out.exists()
    with Evaluation(earlier) as evaluation:
        assert len(evaluation.ids) == 6
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=10m", str(folder)], check=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert _read(stage, out)[0].keys() == set(SYSTEMS)


def test_a_full_disk_where_the_file_is_written(made, toy_set, mounted):
    """HDF5 tells of it when the file is closed, and not as an error of the system."""
    folder = mounted("-o", "size=64k")
    out = folder / "bonds.h5"
    command = _command("bonds", made, toy_set, out)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _one_line(done, str(out), "No space left on device")
    assert sorted(path.name for path in folder.iterdir()) == ["bonds.h5.checkpoint"]
    assert len(list((folder / "bonds.h5.checkpoint").glob("0*.npz"))) == 6


def test_a_read_only_folder_is_one_line_and_stays_as_it_is(made, toy_set, mounted):
    folder = mounted("-o", "size=1m")
    earlier = folder / "earlier.h5"
    earlier.write_bytes((made / "bonds.h5").read_bytes())
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    for stage in ("bonds", "dynamics"):
        command = _command(stage, made, toy_set, folder / "results" / f"{stage}.h5")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        _one_line(done, str(folder), "Read-only file system", "make it writable")
    with Evaluation(earlier) as evaluation:
        assert len(evaluation.ids) == 6
    assert [path.name for path in folder.iterdir()] == ["earlier.h5"]


def test_a_run_does_not_begin_where_nothing_can_be_written(mounted, tmp_path):
    check_writable(tmp_path / "not" / "there")
    folder = mounted("-o", "size=64k")
    check_writable(folder)
    with (folder / "filler").open("wb", buffering=0) as file:
        file.write(bytes(shutil.disk_usage(folder).free))
    with pytest.raises(HostError, match=f"{folder}/results: No space left on device; free some"):
        check_writable(folder / "results")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(HostError, match=f"{folder}: Read-only file system; make it writable"):
        check_writable(folder)


# --- damaged files, and files of something else --------------------------------------------------


def _score(stage, path, made, toy_set, out):
    words = ["score", stage, "--files", path, "--entry", made / "model.json",
             "--scan-set", toy_set, "--out", out]  # fmt: skip
    if stage == "vibrations":
        words += ["--reference", made / "vibrations.h5"]
    return cli.main([str(word) for word in words])


def _refused(stage, path, made, toy_set, tmp_path, caplog):
    """The one line that a file is refused with."""
    caplog.clear()
    out = tmp_path / "scores.parquet"
    assert _score(stage, path, made, toy_set, out) == UserError.exit_code
    assert not out.exists()
    (record,) = (r for r in caplog.records if r.levelname == "ERROR")
    message = record.getMessage()
    assert message.startswith(f"pesbench: error: {path}: ")
    assert "\n" not in message
    assert "remove it" in message
    assert "same snakemake command" in message
    return message


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_as_it_was_written_is_scored(made, toy_set, tmp_path, stage):
    assert _score(stage, made / f"{stage}.h5", made, toy_set, tmp_path / "s.parquet") == 0
    assert len(pd.read_parquet(tmp_path / "s.parquet")) == 6


@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_file_is_refused_by_name(made, toy_set, tmp_path, caplog, stage):
    """A flipped byte anywhere, in numbers, names or HDF5's own tables, and any missing end."""
    whole = (made / f"{stage}.h5").read_bytes()
    path = tmp_path / "file.h5"
    rng = np.random.default_rng(5)
    for place in [0, len(whole) - 90, *rng.integers(len(whole) - 90, size=20).tolist()]:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        assert "damaged" in _refused(stage, path, made, toy_set, tmp_path, caplog)
    for keep in (0, 1, 200, len(whole) // 2, len(whole) - 1000):
        path.write_bytes(whole[:keep])
        assert "not a readable" in _refused(stage, path, made, toy_set, tmp_path, caplog)


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_of_an_older_version_has_no_checksum_and_is_read(made, toy_set, tmp_path, stage):
    path = tmp_path / "file.h5"
    shutil.copyfile(made / f"{stage}.h5", path)
    with h5py.File(path, "r+") as file:
        file.attrs["threads"] = 7
    assert _score(stage, path, made, toy_set, tmp_path / "s.parquet") == 0


@pytest.mark.parametrize("stage", ["bonds", "dynamics"])
def test_shards_of_one_model_that_were_made_otherwise_are_refused(
    made, toy_set, tmp_path, caplog, stage
):
    """What Snakemake cannot see of a job that a cluster ended after Snakemake was killed."""
    files = [tmp_path / "0000.h5", tmp_path / "0001.h5"]
    for path in files:
        shutil.copyfile(made / f"{stage}.h5", path)
    words = ["score", stage, "--files", *files, "--entry", made / "model.json"]
    words += ["--scan-set", toy_set, "--out", tmp_path / "s"]

    def said():
        caplog.clear()
        assert cli.main([str(word) for word in words]) == UserError.exit_code
        (record,) = (r for r in caplog.records if r.levelname == "ERROR")
        return record.getMessage()

    assert "is in another shard, too" in said()  # alike as they are
    changes = {
        "provenance": lambda how: how["code"].update(dict.fromkeys(how["code"], "older")),
    }
    if stage == "dynamics":
        changes["settings"] = lambda how: how.update(duration_ps=7.0)
    for attribute, change in changes.items():
        shutil.copyfile(made / f"{stage}.h5", files[1])
        with h5py.File(files[1], "r+") as file:
            how = json.loads(file.attrs[attribute])
            change(how)
            file.attrs[attribute] = json.dumps(how)
        message = said()
        assert f"{files[0]} and {files[1]}: were made with different settings or code" in message
        assert ("'older'" if attribute == "provenance" else "`duration_ps`") in message
        assert "remove the older one" in message


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_of_another_model_or_scan_set_is_refused(
    made, toys, toy_set, tmp_path, caplog, stage
):
    other = tmp_path / "other.h5"
    for entry, said in (
        (fake_entry(batch_size=13, name="other"), "belongs to model 'other', not 'fake'"),
        (fake_entry(batch_size=12), "made with another entry than model.json beside it "
         "(`batch_size` 12 and 13)"),
    ):  # fmt: skip
        _make(stage, entry, toy_set, other)
        assert said in _refused(stage, other, made, toy_set, tmp_path, caplog)
    moved = tmp_path / "moved.h5"
    write_toys(moved, [replace(scan, energy=scan.energy + 1) for scan in toys.values()])
    _make(stage, fake_entry(batch_size=13), moved, other)
    said = _refused(stage, other, made, toy_set, tmp_path, caplog)
    assert f"was made on another scan set than {toy_set}" in said


def test_a_damaged_checkpoint_is_told_with_the_cure(tmp_path):
    checkpoint = Checkpoint(tmp_path / "out.h5", {"a": 1})
    checkpoint.append(x=np.arange(300))
    piece = checkpoint.folder / "000000.npz"
    whole = piece.read_bytes()
    for content in (b"", whole[:200], whole[:-30], whole[:400] + b"\xff" + whole[401:]):
        piece.write_bytes(content)
        with pytest.raises(UserError, match=rf"{piece}: damaged .*; remove {checkpoint.folder} "):
            checkpoint.read(0)


# --- strict --------------------------------------------------------------------------------------


def test_what_a_strict_run_calls_a_failure():
    def rows(**statuses):
        return pd.DataFrame(
            [(s, f"said {s} {k}") for s, n in statuses.items() for k in range(n)],
            columns=["status", "message"],
        )

    good = {"good": rows(ok=3, unsupported=2, masked=1)}
    assert model_failures({"scans": good, "trajectories": good, "molecules": {}}) == []
    found = model_failures(
        {
            "scans": good | {"bad": rows(ok=1, crashed=2, timeout=1)},
            "trajectories": {"good": rows(nonfinite=1), "bad": rows(out_of_memory=2)},
            "molecules": {"bad": rows(ok=1, error=1)},
        }
    )
    assert [str(one) for one in found] == [
        "good: nonfinite on 1 of 1 trajectories (said nonfinite 0)",
        "bad: timeout on 1 of 4 scans (said timeout 0)",
        "bad: crashed on 2 of 4 scans (said crashed 0)",
        "bad: out_of_memory on 2 of 2 trajectories (said out_of_memory 0)",
        "bad: error on 1 of 2 molecules (said error 0)",
    ]
    failing = set(Status) - {Status.OK, Status.UNSUPPORTED, Status.MASKED, Status.ALARM}
    for status in failing:
        assert model_failures({"scans": {"m": rows(**{status.value: 1})}})


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("fails_at_import:Morse", "RuntimeError: the licence server does not answer"),
        ("dies_at_import:Morse", "signal SIGABRT"),
    ],
)
def test_a_model_that_fails_at_import_is_no_bad_input(tmp_path, toy_set, caplog, path, said):
    check_imports("fake", [Named("calculator", path)])
    assert f"model 'fake': fails when it is imported ({said})" in caplog.text
    entry = replace(fake_entry(), settings=fake_entry().settings | {"calculator": path})
    _make("bonds", entry, toy_set, tmp_path / "out.h5")
    for status, message in _read("bonds", tmp_path / "out.h5")[0].values():
        assert status in (Status.ERROR, Status.CRASHED)
        assert said in message


# --- jobs of a Snakemake that is killed ----------------------------------------------------------

AT_WORK = """
import os, sys, time
from pesbench.orchestration import running
running.announce()
print(os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", '''
import time
from pathlib import Path
from pesbench.orchestration import running
running.join()
Path("joined").touch()
time.sleep(60)
''']), flush=True)
time.sleep(60)
"""


def _runs(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("slurm", [False, True])
def test_a_job_ends_with_a_snakemake_of_this_machine_that_is_killed(tmp_path, monkeypatch, slurm):
    """A job of Slurm's is Slurm's to end."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if slurm:
        monkeypatch.setenv("SLURM_JOB_ID", "17")
    with subprocess.Popen(
        [sys.executable, "-c", AT_WORK], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        job = int(process.stdout.readline())
        while not (tmp_path / "joined").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    until = time.monotonic() + (3 if slurm else 30)
    while _runs(job) and time.monotonic() < until:
        time.sleep(0.05)
    assert _runs(job) == slurm
    if slurm:
        os.kill(job, signal.SIGKILL)


def test_a_job_that_starts_too_late_does_nothing(tmp_path):
    """Its Snakemake has ended already."""
    gone = f"{os.uname().nodename} {os.getpid()} 1"
    done = subprocess.run(
        [sys.executable, "-m", "pesbench", "entry", "emt", "--models-file",
         str(REPO / "config" / "models.yaml"), "--out", str(tmp_path / "entry.json")],
        env=os.environ | {running.RUN: gone}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    _one_line(done, "Snakemake has ended; the same command continues")
    assert not (tmp_path / "entry.json").exists()


def test_an_error_of_the_system_is_no_damaged_file():
    """Who is told to remove it would lose what is whole."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/dev/full")
    with pytest.raises(HostError, match="/dev/full: No space"), readable("results/m/scans"):
        raise full
    many = OSError("Unable to open file (errno = 24, error message = 'Too many open files')")
    with pytest.raises(HostError, match="cannot be read now"), readable("results/m/scans"):
        raise many
    for text in ("Unable to open file (truncated file: eof = 96)", "Can't read data (errno = 0)"):
        with pytest.raises(UserError, match="damaged"), readable("results/m/scans"):
            raise OSError(text)


def test_a_command_by_hand_belongs_to_no_snakemake(monkeypatch):
    monkeypatch.delenv(running.RUN, raising=False)
    threads = threading.active_count()
    running.join()
    assert threading.active_count() == threads
