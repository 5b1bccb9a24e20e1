"""The supervised worker: whatever a model does, the caller learns what and goes on."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

from examples import fake_entry, faulty, tblite_entry
from pesbench.core.errors import HostError
from pesbench.core.interface import Status, is_lost_device, is_out_of_device_memory
from pesbench.engine.scans import frames_batch
from pesbench.engine.worker import ModelFailureError, Worker
from pesbench.models.registry import ModelEntry

FRAME = 5


@pytest.fixture
def scan(toys):
    return toys["C-N/b"]


def _frame(scan, k):
    return frames_batch([scan]).select([k])


def test_a_model_that_behaves(scan):
    with Worker(fake_entry(), device="cpu") as worker:
        info = worker.start()
        assert (info.batched, info.elements) == (False, None)
        timed = worker.evaluate(frames_batch([scan]))
        assert worker.start() is info
        assert worker.starts == 1
    assert timed.result.status == (Status.OK,) * scan.n_frames
    assert timed.result.messages == ("",) * scan.n_frames
    assert np.array_equal(timed.result.energies, scan.energy)
    assert np.array_equal(timed.result.forces.reshape(scan.forces.shape), scan.forces)
    assert 0 < timed.wall_s < 10
    assert timed.device_bytes == 0
    assert worker.peak_bytes > 10e6  # a Python process with NumPy


@pytest.mark.parametrize("network", [True, False])
def test_a_model_with_a_torch_network_is_warmed_up(scan, network):
    """Else a resumed run would differ from an undisturbed one in the last bits."""
    entry = fake_entry("RoundsItsFirstCallDifferently", arguments={"network": network})
    with Worker(entry, device="cpu") as worker:
        first, second = (worker.evaluate(_frame(scan, FRAME)).result.forces for _ in range(2))
    assert np.array_equal(first, second) == network


def test_a_model_that_fails_on_what_it_is_warmed_up_with_is_asked_all_the_same(scan):
    entry = fake_entry("FailsOnHydrogen")
    with Worker(entry, device="cpu") as worker:
        assert worker.evaluate(_frame(scan, FRAME)).result.status == (Status.OK,)
        assert worker.starts == 1


def test_forces_without_energies(scan):
    with Worker(fake_entry("ForcesOnly")) as worker:
        result = worker.evaluate(frames_batch([scan])).result
    assert result.energies is None
    assert set(result.status) == {Status.OK}


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        ("raise", Status.ERROR, "RuntimeError: SCF did not converge in 250 cycles"),
        ("nan_energy", Status.NONFINITE, "not finite"),
        ("infinite_force", Status.NONFINITE, "not finite"),
        ("no_forces", Status.ERROR, "KeyError"),
    ],
)
def test_a_frame_that_fails_costs_itself(scan, fault, status, said):
    """Inside a batch of a frame-by-frame method, without a new worker."""
    with Worker(faulty(fault, scan, FRAME)) as worker:
        result = worker.evaluate(frames_batch([scan])).result
        assert worker.starts == 1
    expected = [Status.OK] * scan.n_frames
    expected[FRAME] = status
    assert list(result.status) == expected
    assert said in result.messages[FRAME]
    assert "\n" not in result.messages[FRAME]
    others = np.arange(scan.n_frames) != FRAME
    assert np.array_equal(result.energies[others], scan.energy[others])
    forces = result.forces.reshape(scan.forces.shape)
    assert np.array_equal(forces[others], scan.forces[others])


@pytest.mark.parametrize("fault", ["extra_atom", "flat_forces"])
def test_a_wrong_shape_is_refused_and_the_worker_lives(scan, fault):
    with Worker(faulty(fault, scan, FRAME)) as worker:
        result = worker.evaluate(frames_batch([scan])).result
        assert worker.starts == 1
    expected = [Status.OK] * scan.n_frames
    expected[FRAME] = Status.ERROR
    assert list(result.status) == expected
    assert "ValueError: forces have shape" in result.messages[FRAME]


def test_energies_alone_are_no_model(scan):
    with Worker(fake_entry("EnergyOnly")) as worker:
        result = worker.evaluate(_frame(scan, 0)).result
    assert result.status == (Status.ERROR,)
    assert "no forces" in result.messages[0]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("segfault", "the worker died (signal SIGSEGV) while evaluating a batch"),
        ("exit", "the worker died (exit code 3) while evaluating a batch"),
        ("sys_exit", "the worker died (exit code 1) while evaluating a batch"),
    ],
)
def test_a_dead_worker_is_told_and_replaced(scan, fault, said):
    with Worker(faulty(fault, scan, FRAME)) as worker:
        with pytest.raises(ModelFailureError) as failure:
            worker.evaluate(_frame(scan, FRAME))
        assert failure.value.status is Status.CRASHED
        assert failure.value.message == said
        assert worker.info is None
        assert worker.evaluate(_frame(scan, 0)).result.energies[0] == scan.energy[0]
        assert worker.starts == 2


def test_a_hang_ends_at_the_timeout(scan):
    with Worker(faulty("hang", scan, FRAME), timeout_s=1.0) as worker:
        worker.start()
        process = worker.pid
        start = time.monotonic()
        with pytest.raises(ModelFailureError, match="no answer in 1 s") as failure:
            worker.evaluate(frames_batch([scan]).select([FRAME, 0]))
        assert 1.0 <= time.monotonic() - start < 8
        assert failure.value.status is Status.TIMEOUT
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
        assert worker.evaluate(_frame(scan, 0)).result.status == (Status.OK,)
        assert worker.starts == 2


@pytest.mark.parametrize("fault", ["kill", "terminate"])
def test_a_killed_worker_is_the_hosts_failure(scan, fault):
    name = {"kill": "SIGKILL", "terminate": "SIGTERM"}[fault]
    with Worker(faulty(fault, scan, FRAME)) as worker:
        with pytest.raises(HostError, match=f"killed by {name} while evaluating"):
            worker.evaluate(_frame(scan, FRAME))
        assert worker.evaluate(_frame(scan, 0)).result.status == (Status.OK,)


def test_a_worker_killed_between_two_batches_is_the_hosts_failure(scan):
    with Worker(fake_entry()) as worker:
        worker.start()
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(HostError, match="SIGKILL"):
            worker.evaluate(_frame(scan, 0))
        assert worker.evaluate(_frame(scan, 0)).result.status == (Status.OK,)


def test_host_memory_is_the_hosts_failure(scan):
    with (
        Worker(faulty("memory", scan, FRAME)) as worker,
        pytest.raises(HostError, match=r"out of memory on the host.*allocate 2.98 GiB"),
    ):
        worker.evaluate(_frame(scan, FRAME))


def test_a_lost_accelerator_ends_the_worker_and_the_next_one_has_it_again(scan):
    with Worker(faulty("lose_device", scan, FRAME)) as worker:
        with pytest.raises(ModelFailureError) as failure:
            worker.evaluate(_frame(scan, FRAME))
        assert failure.value.status is Status.CRASHED
        assert failure.value.message == (
            "the accelerator was lost: RuntimeError: CUDA error: an illegal memory access was "
            "encountered Compile with"
        )
        assert worker.info is None
        assert worker.evaluate(_frame(scan, 0)).result.energies[0] == scan.energy[0]
        assert worker.starts == 2


def test_an_accelerator_that_fails_before_the_model_was_asked_is_the_hosts_failure():
    with (
        Worker(fake_entry("construction_finds_no_device")) as worker,
        pytest.raises(HostError, match=r"while loading the model: .*uncorrectable ECC error"),
    ):
        worker.start()


def test_a_model_too_large_for_the_accelerator_is_out_of_memory():
    with Worker(fake_entry("construction_needs_device_memory")) as worker:
        with pytest.raises(ModelFailureError, match="weights do not fit") as failure:
            worker.start()
        assert failure.value.status is Status.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("said", "lost", "memory"),
    [
        ("CUDA error: device-side assert triggered", True, False),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`", True, False),
        ("CUDA error: out of memory", False, True),
        ("SCF did not converge", False, False),
    ],
)
def test_what_an_error_says_of_the_device(said, lost, memory):
    error = RuntimeError(said)
    assert (is_lost_device(error), is_out_of_device_memory(error)) == (lost, memory)
    assert is_lost_device(type("AcceleratorError", (RuntimeError,), {})("unspecified"))
    assert is_out_of_device_memory(type("OutOfMemoryError", (RuntimeError,), {})("CUDA"))


def test_a_frame_that_does_not_fit_on_the_device_is_out_of_memory(scan):
    """One system at a time: no smaller batch is left to try."""
    with Worker(faulty("device_memory", scan, FRAME)) as worker:
        result = worker.evaluate(frames_batch([scan])).result
    assert result.status[FRAME] is Status.OUT_OF_MEMORY
    assert result.status.count(Status.OK) == scan.n_frames - 1


def test_a_model_that_does_not_load():
    with Worker(fake_entry("construction_raises")) as worker:
        with pytest.raises(ModelFailureError) as failure:
            worker.start()
        assert worker.info is None
    assert failure.value.status is Status.ERROR
    assert failure.value.message == (
        "the model did not load: FileNotFoundError: no parameters for this method"
    )


def test_an_import_that_fails():
    entry = fake_entry("NoSuchClass")
    with Worker(entry) as worker, pytest.raises(ModelFailureError, match="NoSuchClass"):
        worker.start()


def test_a_model_that_dies_while_loading():
    with (
        Worker(fake_entry("construction_dies")) as worker,
        pytest.raises(ModelFailureError, match=r"exit code 7.*loading") as failure,
    ):
        worker.start()
    assert failure.value.status is Status.CRASHED


def test_a_model_that_hangs_while_loading():
    with (
        Worker(fake_entry("construction_hangs"), load_timeout_s=2) as worker,
        pytest.raises(ModelFailureError, match="no answer in 2 s while loading") as failure,
    ):
        worker.start()
    assert failure.value.status is Status.TIMEOUT


def test_host_memory_while_loading():
    with (
        Worker(fake_entry("construction_needs_memory")) as worker,
        pytest.raises(HostError, match="while loading the model: MemoryError"),
    ):
        worker.start()


def test_a_method_that_tblite_does_not_know(toys):
    with Worker(tblite_entry(method="GFN9-xTB")) as worker:
        result = worker.evaluate(_frame(toys["C-C/a"], 3)).result
    assert result.status == (Status.ERROR,)
    assert "GFN9-xTB" in result.messages[0]


def test_a_control_without_a_scan_set_and_without_labels(toys, toy_set):
    entry = ModelEntry("control-zero", "control", {"control": "zero"})
    with Worker(entry) as worker, pytest.raises(ModelFailureError, match="needs a scan set"):
        worker.start()
    batch = _frame(toys["C-C/a"], 0)
    unlabelled = type(batch)(**{**vars(batch), "labels": ()})
    with Worker(entry, scan_set=toy_set) as worker:
        with pytest.raises(ModelFailureError, match="scan set only"):
            worker.evaluate(unlabelled)
        assert worker.evaluate(batch).result.status == (Status.OK,)


def test_threads_reach_the_worker(scan, monkeypatch):
    """BLAS and OpenMP of the child get the number that was asked for."""
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with Worker(fake_entry(), threads=3) as worker:
        worker.start()
        environment = f"/proc/{worker.pid}/environ"
        with open(environment, "rb") as file:  # noqa: PTH123
            found = dict(line.split(b"=", 1) for line in file.read().split(b"\0") if b"=" in line)
    for variable in (b"OMP_NUM_THREADS", b"OPENBLAS_NUM_THREADS", b"MKL_NUM_THREADS"):
        assert found[variable] == b"3"


def test_closing_twice_and_closing_a_dead_worker(scan):
    worker = Worker(faulty("exit"))
    with pytest.raises(ModelFailureError):
        worker.evaluate(_frame(scan, 0))
    worker.close()
    worker.close()
    assert worker.info is None
