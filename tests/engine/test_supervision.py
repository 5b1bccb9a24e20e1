"""One model stops nobody else's board: hostile models, through the worker and the commands."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from ase.build import molecule

import hostile_calculators
from examples import fake_entry, matches, written_entry
from hostile_calculators import MESSAGES
from pesbench.commands.check.local import check
from pesbench.core import host_memory
from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import Result, Status, one_line
from pesbench.core.systems import System
from pesbench.engine import supervisor, wire
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.scans import frames_batch
from pesbench.engine.worker import ModelFailureError, ModelLoadError, Worker
from pesbench.files.atomic import write_json
from pesbench.files.evaluation import Evaluation
from pesbench.files.scan_set import ScanSet
from pesbench.models.as_calculator import EvaluationError, ModelCalculator
from pesbench.models.calls import Named
from pesbench.models.facts import ModelFacts
from pesbench.models.frame_by_frame import evaluate_frame_by_frame
from pesbench.models.import_check import check_imports
from pesbench.references.molecules import prepare
from pesbench.report.tables import notes
from pesbench.tasks.bonds import shard as evaluate
from pesbench.tasks.bonds.board import leaderboard
from pesbench.tasks.bonds.score import score_rows
from pesbench.tasks.dynamics.board import dynamics_columns
from pesbench.tasks.dynamics.score import trajectory_rows
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.stored import Trajectories
from pesbench.tasks.vibrations.settings import VibrationSettings
from pesbench.tasks.vibrations.stored import Vibrations
from shards import evaluate_shard, run_dynamics_shard, run_vibrations

FRAME = 5
NO_ENERGIES = {
    "two": "2 elements",
    "none": "NoneType",
    "empty": "0 elements",
    "text": "real numbers",
    "complex": "complex",
    "complex without imaginary part": "complex128",
    "truth value": "bool",
    "object": "ndarray",
    "fraction": "Fraction",
    "masked": "masked",
    "mapping": "dict",
    "ragged": "inhomogeneous",
}
NO_FORCES = {
    "complex": "complex128",
    "text": "real numbers",
    "object": "ndarray",
    "truth values": "bool",
    "masked": "masked",
    "one dimension more": "shape",
    "energy": "shape",
    "none": "NoneType",
    "transposed": "shape",
}


@pytest.fixture
def scan(toys):
    return toys["C-N/b"]


def hostile(what, scan=None, frame=FRAME, name="Hostile", **arguments):
    """An entry whose model misbehaves at one frame of a scan, or at every one."""
    if scan is not None:
        here = scan.coordinate[frame]
        arguments["window"] = [here - 0.01, here + 0.01]
    settings = {k: arguments.pop(k) for k in ("batch_size", "timeout_s") if k in arguments}
    settings["calculator"] = f"hostile_calculators:{name}"
    return fake_entry(arguments={"what": what, **arguments}, **settings)


def _frame(scan, k):
    return frames_batch([scan]).select([k])


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _await_end(pids, seconds=15.0):
    assert pids
    until = time.monotonic() + seconds
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < until, "a process of the model's is still there"
        time.sleep(0.02)


# --- what a calculator answers -------------------------------------------------------------------


def _answers(scan, **kinds):
    calculator = hostile_calculators.Answers(**kinds)

    def single(system):
        from ase import Atoms

        calculator.calculate(Atoms(system.numbers, system.positions))
        return calculator.results["energy"], calculator.results["forces"]

    return evaluate_frame_by_frame(frames_batch([scan]), single)


@pytest.mark.parametrize("kind", [k for k in hostile_calculators._ENERGIES if k not in NO_ENERGIES])
def test_one_number_is_an_energy_in_any_container(scan, kind):
    if "tensor" in kind:
        pytest.importorskip("torch")
    assert np.array_equal(_answers(scan, energy=kind).energies, scan.energy)


@pytest.mark.parametrize("kind", [k for k in hostile_calculators._FORCES if k not in NO_FORCES])
def test_forces_in_any_container(scan, kind):
    if "tensor" in kind:
        pytest.importorskip("torch")
    result = _answers(scan, forces=kind)
    assert set(result.status) == {Status.OK}
    assert np.array_equal(result.forces.reshape(scan.forces.shape), scan.forces)


@pytest.mark.parametrize(
    ("what", "kind"),
    [("energy", kind) for kind in NO_ENERGIES if kind != "none"]
    + [("forces", kind) for kind in NO_FORCES],
)
def test_what_is_no_energy_or_no_forces_is_an_error_that_says_so(scan, what, kind):
    result = _answers(scan, **{what: kind})
    assert set(result.status) == {Status.ERROR}
    said = (NO_ENERGIES if what == "energy" else NO_FORCES)[kind]
    assert all(said in message for message in result.messages)


@pytest.mark.parametrize("kind", ["shape (1,)", "none", "two"])
def test_the_worker_and_the_check_in_a_notebook_say_the_same(scan, kind):
    entry = fake_entry(arguments={"energy": kind}, calculator="hostile_calculators:Answers")
    with Worker(entry) as worker:
        result = worker.evaluate(_frame(scan, 0)).result
    report = check(
        hostile_calculators.Answers(energy=kind), parts=["scans"], scans=["C-O/*"],
        elements=["H", "C", "O"],
    )  # fmt: skip
    if kind == "shape (1,)":
        assert (result.status, result.energies[0]) == ((Status.OK,), scan.energy[0])
        assert report.row("scans_failed").value == 0
    else:
        assert result.status == (Status.ERROR,)
        assert NO_ENERGIES[kind] in result.messages[0]
        assert report.row("scans_failed").value > 0


@pytest.mark.parametrize("name", ["ByMethods", "ByProperty", "Empty"])
def test_a_calculator_is_asked_as_callers_of_ase_ask(scan, name):
    with Worker(fake_entry(calculator=f"hostile_calculators:{name}")) as worker:
        result = worker.evaluate(frames_batch([scan])).result
    assert np.array_equal(result.energies, scan.energy)
    assert np.array_equal(result.forces.reshape(scan.forces.shape), scan.forces)
    calculator = getattr(hostile_calculators, name)()
    report = check(calculator, parts=["scans"], scans=["C-O/*"], elements=["H", "C", "O"])
    assert report.row("scans_failed").value == 0


def test_forces_are_checked_system_by_system(scan):
    """One atom too many and one too few in turn would fit together."""
    with Worker(fake_entry(calculator="hostile_calculators:OneAtomTooMany")) as worker:
        result = worker.evaluate(frames_batch([scan]).select(range(4))).result
    assert set(result.status) == {Status.ERROR}
    assert all("forces have shape" in message for message in result.messages)


def test_a_calculator_that_needs_a_cell_gets_a_hint(scan):
    with Worker(fake_entry(calculator="hostile_calculators:NeedsACell")) as worker:
        result = worker.evaluate(_frame(scan, 0)).result
    assert "Singular matrix (it seems to need a periodic cell" in result.messages[0]
    assert "`vacuum_box_angstrom`" in result.messages[0]


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "said"),
    [
        *((f"say_{name}", "RuntimeError: ") for name in MESSAGES),
        ("unprintable", "_UnprintableError: (no text: its __str__ raised ValueError)"),
        ("unpicklable", "cannot be pickled"),
        ("recursion", "RecursionError"),
        ("group", "ExceptionGroup: several"),
        ("decode", "UnicodeDecodeError"),
        ("overflow", "OverflowError"),
        ("absurd_memory", "Unable to allocate 728. TiB"),
    ],
)
def test_an_error_of_any_kind_is_a_result_that_every_file_takes(scan, tmp_path, what, said):
    with Worker(hostile(what, scan)) as worker:
        result = worker.evaluate(frames_batch([scan])).result
        assert worker.starts == 1
    expected = [Status.OK] * scan.n_frames
    expected[FRAME] = Status.ERROR
    assert list(result.status) == expected
    message = result.messages[FRAME]
    assert said in message
    assert message.isprintable()
    assert len(message) <= 500
    message.encode()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["message"] = message
    np.savez(tmp_path / "x.npz", messages=np.array([message]))
    write_json(tmp_path / "x.json", message)


@pytest.mark.parametrize("what", ["keyboard", "generator"])
def test_what_is_no_exception_costs_its_frame(scan, what):
    with Worker(hostile(what, scan)) as worker:
        evaluator = Evaluator(worker, BatchLimit(systems=100))
        result = evaluator.evaluate(frames_batch([scan]))
        assert worker.starts == 1
    assert result.status.count(Status.OK) == scan.n_frames - 1
    assert result.status[FRAME] is Status.ERROR


def test_text_is_one_printable_line():
    assert one_line(" a\n\tb ") == "a b"
    assert one_line("Å – é 水") == "Å – é 水"
    assert one_line("x" * 10_000) == "x" * 499 + "…"
    assert one_line("\ud800\0\x1b[0m").isprintable()


@pytest.mark.parametrize("details", ["text", "numpy", "keys", "deep"])
def test_details_that_a_model_tells_are_made_fit_to_store(scan, details):
    entry = fake_entry("telling", calculator="hostile_calculators:telling",
                       arguments={"details": details})  # fmt: skip
    with Worker(entry) as worker:
        if details in ("keys", "deep"):
            with pytest.raises(ModelLoadError):
                worker.start()
            return
        found = worker.start().details
    assert all(key.isprintable() for key in found)
    assert len(json.dumps(found)) < 10_000
    if details == "numpy":
        known = {"a": 1.5, "b": [0, 1, 2], "c": [1, 2]}
        assert found == known | {"parameters_sha256": "not visible"}


def test_more_details_than_a_file_takes_are_left_out():
    header = {
        "elements": None, "charges": False, "spins": False, "batched": False,
        "device": "cpu", "dtype": "float64",
        "details": {f"key {k}": "x" * 1000 for k in range(100)}, "host_bytes": 1,
    }  # fmt: skip
    info, _ = wire.read_info(header)
    assert "left_out" in info.details
    assert len(json.dumps(info.details)) < 100


@pytest.mark.parametrize(
    "error",
    [
        RecursionError("deep"),
        OverflowError("large"),
        KeyError("x"),
        ExceptionGroup("g", [OSError()]),
    ],
)
def test_a_model_that_raises_within_an_optimiser_or_thermostat_is_an_evaluation_error(error):
    def evaluate(_batch):
        raise error

    atoms = molecule("H2O")
    atoms.calc = ModelCalculator(evaluate)
    with pytest.raises(EvaluationError, match=type(error).__name__):
        atoms.get_forces()
    system = System("w", atoms.numbers, atoms.positions, np.array([[0, 1], [0, 2]]))
    assert type(error).__name__ in prepare(system, evaluate)[1]


def test_forces_of_an_absurd_size_are_told_of_the_molecule():
    atoms = molecule("H2O")
    system = System("w", atoms.numbers, atoms.positions, np.array([[0, 1], [0, 2]]))
    rng = np.random.default_rng(1)

    def evaluate(batch):
        forces = 10.0 ** rng.uniform(150, 300, (batch.n_atoms, 3))
        return Result(np.zeros(1), forces, (Status.OK,), ("",))

    assert prepare(system, evaluate)[1]


@pytest.mark.parametrize("path", ["a\0b:C", "os\x1b[31m:path", "bytes_to_stderr:Missing"])
def test_an_import_path_that_says_strange_things_is_one_line(tmp_path, monkeypatch, path):
    (tmp_path / "bytes_to_stderr.py").write_text("import os; os.write(2, b'\\xff\\x00\\n')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError) as caught:
        check_imports("m", [Named("calculator", path)])
    assert "\n" not in str(caught.value)


def test_what_an_import_starts_ends_with_its_check(tmp_path, monkeypatch):
    """It holds what the check listens to, too."""
    (tmp_path / "starts_a_child.py").write_text(
        "import pathlib, subprocess\n"
        "class C: pass\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    start = time.monotonic()
    check_imports("m", [Named("calculator", "starts_a_child:C")])
    assert time.monotonic() - start < 60
    _await_end([int((tmp_path / "pid").read_text())])


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("os_exit", Status.CRASHED, "exit code 0"),
        ("hang_with_thread", Status.CRASHED, "exit code 1"),
        ("real_time_signal", Status.CRASHED, "signal"),
        ("fork_and_die", Status.CRASHED, "exit code 5"),
        ("close_everything", Status.CRASHED, "worker"),
        ("garbage", Status.CRASHED, "cannot be read"),
        ("stale_answer", Status.CRASHED, "answers another question"),
        ("pickle", Status.CRASHED, "cannot be read"),
        ("endless_answer", Status.CRASHED, "bytes where at most"),
        ("ignore_signals", Status.TIMEOUT, "no answer in 2 s"),
        ("half_an_answer", Status.TIMEOUT, "no answer in 2 s"),
        ("one_byte", Status.TIMEOUT, "no answer in 2 s"),
        ("drip", Status.TIMEOUT, "no answer in 2 s"),
    ],
)
def test_whatever_a_model_does_it_ends_in_time_and_the_next_one_answers(
    scan, tmp_path, what, status, said
):
    with Worker(hostile(what, scan, folder=str(tmp_path)), timeout_s=2.0) as worker:
        worker.start()
        # the question before this one was number 2
        worker.evaluate(_frame(scan, 0))
        pid, start = worker.pid, time.monotonic()
        with pytest.raises(ModelFailureError) as failure:
            worker.evaluate(_frame(scan, FRAME))
        assert time.monotonic() - start < 8
        assert failure.value.status is status
        assert said in failure.value.message
        assert failure.value.ended
        _await_end([pid])
        assert worker.losses == {status: 1}
        assert worker.evaluate(_frame(scan, 0)).result.energies[0] == scan.energy[0]
        assert worker.starts == 2
    assert not list(tmp_path.iterdir()), "code that the worker sent was run"


def test_a_crash_is_known_at_once_though_a_child_holds_the_pipe(scan):
    with Worker(hostile("fork_and_die", scan), timeout_s=100.0) as worker:
        worker.start()
        start = time.monotonic()
        with pytest.raises(ModelFailureError, match="exit code 5"):
            worker.evaluate(_frame(scan, FRAME))
        assert time.monotonic() - start < 20


def test_a_copy_of_the_process_that_answers_too_is_not_heard(scan):
    with Worker(hostile("fork_and_both_answer", scan)) as worker:
        for k in (FRAME, 1, 2, 3):
            result = worker.evaluate(_frame(scan, k)).result
            assert result.energies[0] == scan.energy[k]
        assert worker.starts == 1


def test_a_worker_that_does_not_read_is_not_waited_for(scan):
    entry = fake_entry(calculator="hostile_calculators:waits_for_a_reader")
    large = frames_batch([scan] * 2000)
    with Worker(entry, timeout_s=2.0) as worker:
        worker.start()
        time.sleep(1.0)
        start = time.monotonic()
        with pytest.raises(ModelFailureError, match="no answer in 2 s") as failure:
            worker.evaluate(large)
        assert failure.value.status is Status.TIMEOUT
        assert time.monotonic() - start < 8


def test_a_model_that_exits_while_it_is_made(scan):
    entry = fake_entry(calculator="hostile_calculators:exits_at_construction")
    with Worker(entry) as worker, pytest.raises(ModelLoadError, match=r"exit code 0.*loading"):
        worker.start()


@pytest.mark.parametrize(
    "what", ["close_output", "change_everything", "print_much", "change_atoms", "threads"]
)
def test_what_a_model_does_to_its_process_changes_no_number(scan, what, capfd):
    with Worker(hostile(what, scan)) as worker:
        result = worker.evaluate(frames_batch([scan])).result
        again = worker.evaluate(frames_batch([scan])).result
        assert worker.starts == 1
    for one in (result, again):
        assert set(one.status) == {Status.OK}
        assert np.array_equal(one.energies, scan.energy)
    assert len(capfd.readouterr().err) < supervisor.PRINTED_BYTES + 1000


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("print_lines", ("Loading the model ...", "a warning of no use")),
        ("warn", ("UserWarning: the cutoff is large", "no cell is given")),
    ],
)
def test_equal_lines_of_a_model_do_not_fill_a_log(scan, what, said, capfd):
    with Worker(hostile(what)) as worker:
        for _ in range(2):
            assert worker.evaluate(_frame(scan, 0)).result.status == (Status.OK,)
    lines = capfd.readouterr().err.splitlines()
    for text in said:
        assert sum(text in line for line in lines) == supervisor.EQUAL_LINES
    assert [line for line in lines if line.startswith("line ")] == [
        f"line {number}" for _ in range(2) for number in range(0, 5000, 1000)
    ]
    assert len(lines) < 100
    assert re.fullmatch(r"\(\d+ lines that equal earlier ones are left out\)", lines[-1])


def test_lines_are_passed_on_whole_and_in_order():
    """Also a line without an end, and one that is longer than what is waited for."""
    script = (
        "import os, sys; sys.path[:0] = [sys.argv[1]]\n"
        "from pesbench.engine.supervisor import _Printed\n"
        "printed = _Printed(0)\n"
        "while printed.pass_on(): pass\n"
        "printed.pass_on_rest()\n"
    )
    text = b"one\ntwo" + 200_000 * b"x" + b"\n" + 30 * b"\xff\n" + b"end"
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(supervisor.__file__).parents[2])],
        input=text, capture_output=True, check=True,
    )  # fmt: skip
    kept = text.replace(30 * b"\xff\n", supervisor.EQUAL_LINES * b"\xff\n")
    assert done.stderr == kept + b"\n(10 lines that equal earlier ones are left out)\n"


# --- processes that a model starts ---------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_calculator_may_start_processes(scan, method):
    with Worker(hostile("pool", folder=method), timeout_s=60) as worker:
        assert worker.evaluate(_frame(scan, 0)).result.status == (Status.OK,)


@pytest.mark.parametrize("what", ["child", "session", "daemon"])
def test_processes_of_a_model_end_with_it(scan, tmp_path, what):
    with Worker(hostile(what, folder=str(tmp_path))) as worker:
        assert worker.evaluate(_frame(scan, 0)).result.status == (Status.OK,)
        pids = [int(path.name) for path in matches(tmp_path, "*")]
        assert all(_runs(pid) for pid in pids)
    _await_end(pids, 2.0)


@pytest.mark.parametrize("what", ["daemon_and_exit", "daemon_and_hang"])
def test_processes_of_a_model_that_fails_end_with_it(scan, tmp_path, what):
    with Worker(hostile(what, folder=str(tmp_path)), timeout_s=2.0) as worker:
        worker.start()
        with pytest.raises(ModelFailureError):
            worker.evaluate(_frame(scan, 0))
        _await_end([int(path.name) for path in matches(tmp_path, "*")], 2.0)


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (signal.SIGKILL, "daemon_and_hang"),
        (signal.SIGTERM, "daemon_and_hang"),
        (signal.SIGINT, "ignore_signals"),
    ],
)
def test_nothing_outlives_a_command(toy_set, tmp_path, number, what):
    folder = tmp_path / "pids"
    folder.mkdir()
    entry = hostile(what, folder=str(folder), batch_size=1)
    command = subprocess.Popen(
        [sys.executable, "-m", "pesbench", "run", "bonds",
         *written_entry(entry, tmp_path / "entry.json"), "--scan-set", str(toy_set),
         "--device", "cpu", "--out", str(tmp_path / "out.h5")],
        stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        # a shell that starts the tests in its background has told all of them to ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    until = time.monotonic() + 60
    started: list[int] = []
    while not started or (what != "ignore_signals" and not any(folder.iterdir())):
        assert command.poll() is None
        assert time.monotonic() < until
        started = _descendants(command.pid)
        time.sleep(0.05)
    if what == "ignore_signals":
        time.sleep(2.0)
    pids = _descendants(command.pid) + [int(path.name) for path in folder.iterdir()]
    assert len(pids) >= 2
    command.send_signal(number)
    command.wait(20)
    _await_end(pids)


def _descendants(pid):
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


# --- memory --------------------------------------------------------------------------------------


@pytest.fixture
def small_machine(monkeypatch):
    """A machine of 600 MB that holds nothing but the worker."""
    total = 600_000_000
    me = os.getpid()

    def available():
        return total - sum(host_memory._held(pid) for pid in _descendants(me))

    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(host_memory, "total_bytes", lambda: total)
    monkeypatch.setattr(host_memory, "available_bytes", available)
    return total


def test_a_model_that_takes_all_memory_is_ended_with_that_reason(scan, small_machine):
    with Worker(hostile("grow", scan), timeout_s=60) as worker:
        with pytest.raises(ModelFailureError, match=r"it held 0.* GiB of memory") as failure:
            worker.evaluate(_frame(scan, FRAME))
        assert failure.value.status is Status.OUT_OF_MEMORY
        assert worker.losses == {Status.OUT_OF_MEMORY: 1}
        assert worker.evaluate(_frame(scan, 0)).result.status == (Status.OK,)


def test_under_a_scheduler_the_next_attempt_may_have_more(scan, small_machine, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with (
        Worker(hostile("grow", scan), timeout_s=60) as worker,
        pytest.raises(HostError, match="the next attempt asks for more"),
    ):
        worker.evaluate(_frame(scan, FRAME))


def test_a_model_that_grows_from_call_to_call_is_started_anew(scan, small_machine, monkeypatch):
    with Worker(hostile("leak"), timeout_s=60) as worker:
        for k in range(40):
            worker._looked_s = 0.0  # look before every call, as if each took a second
            result = worker.evaluate(_frame(scan, k % scan.n_frames)).result
            assert result.status == (Status.OK,)
        assert worker.starts > 1
        assert worker.losses == {Status.OUT_OF_MEMORY: worker.starts - 1}


def test_a_worker_that_the_kernel_ends_holding_most_of_the_memory(scan, monkeypatch):
    """Of a machine that is large enough for it, it is the machine's failure."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with Worker(fake_entry("Faulty", arguments={"fault": "kill"})) as worker:
        with pytest.raises(HostError, match="SIGKILL"):
            worker.evaluate(_frame(scan, 0))
        monkeypatch.setattr(host_memory, "total_bytes", lambda: 20_000_000)
        with pytest.raises(ModelFailureError, match="killed by SIGKILL, having held") as failure:
            worker.evaluate(_frame(scan, 0))
        assert failure.value.status is Status.OUT_OF_MEMORY


def test_memory_is_read_from_the_machine_and_from_control_groups(tmp_path):
    assert 0 < host_memory.available_bytes() <= host_memory.total_bytes()
    assert host_memory.held_bytes(os.getpid()) > 10_000_000
    assert not host_memory.is_short()


def test_a_model_that_takes_all_memory_on_every_scan_is_given_up(
    toys, toy_set, small_machine, tmp_path
):
    out = tmp_path / "out.h5"
    evaluate_shard(hostile("grow", batch_size=1), toy_set, list(toys), out, device="cpu")
    with Evaluation(out) as evaluation:
        scans = [evaluation.scan(scan_id) for scan_id in evaluation.ids]
        deaths = json.loads(evaluation.attributes["worker_deaths"])
    assert [scan.status for scan in scans[:3]] == [Status.OUT_OF_MEMORY] * 3
    assert all("not tried" in scan.message for scan in scans[3:])
    assert deaths == {"out_of_memory": 3}


# --- what is counted -----------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "status"), [("os_exit", "crashed"), ("hang", "timeout")])
def test_a_model_that_dies_now_and_then_leaves_a_trace(toys, toy_set, tmp_path, what, status):
    folder = tmp_path / "calls"
    folder.mkdir()
    entry = hostile(what, folder=str(folder), every=30, batch_size=13, timeout_s=2.0)
    out = tmp_path / "out.h5"
    evaluate_shard(entry, toy_set, list(toys), out, device="cpu")
    with Evaluation(out) as evaluation:
        deaths = json.loads(evaluation.attributes["worker_deaths"])
        assert evaluation.attributes["worker_starts"] == 1 + deaths[status]
        scans = [evaluation.scan(scan_id) for scan_id in evaluation.ids]
    assert deaths.keys() == {status}
    assert deaths[status] >= 2
    assert sum(scan.worker_deaths for scan in scans) == deaths[status]
    assert any(scan.worker_deaths and scan.status is Status.OK for scan in scans)
    with ScanSet(toy_set) as scan_set:
        rows = score_rows(scan_set, [out])
    assert sum(row["worker_deaths"] for row in rows) == deaths[status]
    facts = [ModelFacts("fake", "ase", "model")]
    told = notes(leaderboard({"fake": pd.DataFrame(rows)}, facts))
    assert any(f"out of memory {deaths[status]} times" in note for note in told)
    steady = [row | {"worker_deaths": 0} for row in rows]
    assert not any(
        "out of memory" in n for n in notes(leaderboard({"fake": pd.DataFrame(steady)}, facts))
    )


def test_deaths_are_counted_over_interruptions(toys, toy_set, tmp_path, monkeypatch):
    folder = tmp_path / "calls"
    folder.mkdir()
    entry = hostile("os_exit", folder=str(folder), every=25, batch_size=13)
    # it asks after the last scan, and would end the process once more
    monkeypatch.setattr(evaluate, "measured_precision", lambda *_: "")
    out, original, calls = tmp_path / "out.h5", evaluate.evaluate_scans, 0

    def interrupted(*arguments):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate_scans", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate_shard(entry, toy_set, list(toys), out, device="cpu")
    evaluate_shard(entry, toy_set, list(toys), out, device="cpu")
    with Evaluation(out) as evaluation:
        deaths = json.loads(evaluation.attributes["worker_deaths"])["crashed"]
        assert evaluation.attributes["worker_starts"] == 2 + deaths
        assert sum(evaluation.scan(i).worker_deaths for i in evaluation.ids) == deaths
    # every 25th call of all processes ended one
    assert deaths == (folder / "calls").stat().st_size // 25


def test_deaths_during_dynamics_and_vibrations_are_counted(toys, toy_set, tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    entry = hostile("os_exit", folder=str(folder), every=41, batch_size=1)
    settings = DynamicsSettings((100.0,), 1, duration_ps=0.05, relax_steps=20)
    run_dynamics_shard(entry, toy_set, ["a", "b"], settings, tmp_path / "t.h5", device="cpu")
    with Trajectories(tmp_path / "t.h5") as made:
        deaths = json.loads(made.attributes["worker_deaths"])["crashed"]
    assert deaths == (folder / "calls").stat().st_size // 41 > 0
    rows = trajectory_rows([tmp_path / "t.h5"])
    assert sum(row["worker_deaths"] for row in rows) == deaths
    columns = dynamics_columns({"fake": pd.DataFrame(rows)}, None)
    assert columns["md_worker_deaths"].tolist() == [deaths]

    (folder / "calls").unlink()
    entry = hostile("os_exit", folder=str(folder), every=11, batch_size=1)
    run_vibrations(entry, toy_set, ["a", "b"], VibrationSettings(), tmp_path / "v.h5", device="cpu")
    with Vibrations(tmp_path / "v.h5") as found:
        deaths = json.loads(found.attributes["worker_deaths"])["crashed"]
    assert deaths == (folder / "calls").stat().st_size // 11 > 0


def test_a_question_names_no_module_of_numpy() -> None:
    """NumPy 1 and 2 have different ones, and the worker may have another version."""
    asked = {
        "array": np.arange(6.0).reshape(2, 3)[:, ::2],
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3)),
        "number": np.int64(7),
        "text": np.array(["C-N/a"]),
    }
    parts = wire.question(3, asked)
    payload = bytes(parts[1])
    assert wire.LENGTH.unpack(parts[0]) == (len(payload),)
    assert b"numpy" not in payload
    number, found = pickle.loads(payload)
    assert number == 3
    for name, value in asked.items():
        assert np.array_equal(found[name], value)
        assert np.asarray(found[name]).dtype == np.asarray(value).dtype
    found["array"][0] = 1.0  # the worker's own copy, which a model may change
