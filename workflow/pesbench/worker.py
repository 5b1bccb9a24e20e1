"""The supervised process in which a model lives.

A hang, a segmentation fault or an `error stop` of a model ends the worker and not the command: the
caller learns what happened and the next call starts a fresh worker; so does an error after which
the accelerator refuses every call of the process. Not the model's fault, and a `HostError`, are a
worker that the kernel or a scheduler kills and an accelerator that fails before the model is asked.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pesbench.errors import HostError
from pesbench.models.interface import (
    Batch,
    ModelInfo,
    Result,
    Status,
    check_result,
    is_lost_device,
    is_out_of_device_memory,
)
from pesbench.models.registry import ModelEntry

LOAD_TIMEOUT_S = 1800.0
_HOST_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ModelFailureError(Exception):
    """The model failed on a batch, or could not be loaded.

    Attributes:
        status: How.
        message: What it said, one line.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ModelLoadError(ModelFailureError):
    """The model could not be loaded: no batch of any size will fare better."""


@dataclass(frozen=True)
class Timed:
    """A result and what it cost.

    Attributes:
        result: Checked by `check_result`.
        wall_s: Seconds in the model.
        device_bytes: Peak memory on the accelerator since the worker started; 0 on a CPU.
        host_bytes: Peak resident memory of the worker since it started.
    """

    result: Result
    wall_s: float
    device_bytes: int
    host_bytes: int = 0


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def die_with_parent() -> None:
    """Called in a child: it must not outlive a killed command, though it hang."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _device_bytes() -> int:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    devices = range(torch.cuda.device_count())
    return max(int(torch.cuda.max_memory_allocated(device)) for device in devices)


def _host_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _failure(error: Exception) -> tuple[Any, ...]:
    """What the worker says of an error of the model's."""
    if is_lost_device(error):
        return "lost", _one_line(error)
    memory = is_out_of_device_memory(error)
    return "failed", Status.OUT_OF_MEMORY if memory else Status.ERROR, _one_line(error)


def _serve(connection: Connection, entry: ModelEntry, scan_set: Path | None, device: str,
           threads: int) -> None:  # fmt: skip
    """The worker's main loop. Messages are `(kind, payload, ...)` tuples."""
    die_with_parent()
    os.dup2(2, 1)  # what a model prints belongs into the log
    try:
        from pesbench.models import registry

        model = registry.load(entry, scan_set=scan_set, device=device)
        if "torch" in sys.modules:  # it reads the environment, and a model may have changed it
            sys.modules["torch"].set_num_threads(threads)
        connection.send(("ready", model.info, _host_bytes()))
    except (MemoryError, HostError) as error:
        connection.send(("host", _one_line(error)))
        return
    except Exception as error:
        connection.send(_failure(error))
        return
    while True:
        try:
            batch = connection.recv()
        except EOFError:
            return
        if batch is None:
            connection.send(("peak", _host_bytes()))
            os._exit(0)  # taking torch down in good order takes a second or two
        start = time.perf_counter()
        try:
            result = check_result(batch, model.evaluate(batch))
            elapsed = time.perf_counter() - start
            connection.send(("result", Timed(result, elapsed, _device_bytes(), _host_bytes())))
        except MemoryError as error:
            connection.send(("host", _one_line(error)))
        except Exception as error:
            connection.send(_failure(error))


class Worker:
    """A model in a process of its own.

    Args:
        entry: Resolved model entry.
        scan_set: Needed by controls.
        device: `auto`, `cpu` or `cuda`.
        threads: For the model's arithmetic.
        timeout_s: Longest time a call may take.
    """

    def __init__(
        self,
        entry: ModelEntry,
        *,
        scan_set: Path | None = None,
        device: str = "auto",
        threads: int = 1,
        timeout_s: float = 600.0,
        load_timeout_s: float = LOAD_TIMEOUT_S,
    ) -> None:
        self._arguments = (entry, scan_set, device, threads)
        self._threads = threads
        self._timeout_s = timeout_s
        self._load_timeout_s = load_timeout_s
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self.info: ModelInfo | None = None
        self.starts = 0
        self.peak_bytes = 0
        self.loaded_bytes = 0  # resident memory with the model loaded and nothing evaluated

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> ModelInfo:
        """Start the process and load the model, if it is not running.

        Raises:
            ModelLoadError: the model could not be loaded.
            HostError: the machine failed.
        """
        if self._process is not None and self.info is not None:
            return self.info
        # BLAS and OpenMP read these once, at import, in the child
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[variable] = str(self._threads)
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(child, *self._arguments), daemon=True)
        self._process.start()
        child.close()
        self.starts += 1
        try:
            kind, *payload = self._receive(self._load_timeout_s, "loading the model")
        except ModelFailureError as failure:
            raise ModelLoadError(failure.status, f"the model did not load: {failure}") from failure
        if kind == "ready":
            self.info, self.loaded_bytes = payload
            return self.info
        self._stop()
        if kind in ("host", "lost"):  # the model has not been asked yet
            raise HostError(f"while loading the model: {payload[0]}")
        raise ModelLoadError(payload[0], f"the model did not load: {payload[1]}")

    def evaluate(self, batch: Batch) -> Timed:
        """Evaluate a batch; starts the worker if need be.

        Raises:
            ModelFailureError: with `error`, `out_of_memory`, `timeout` or `crashed`; after the
                last two the worker is gone.
            HostError: the machine failed.
        """
        self.start()
        assert self._connection is not None
        try:
            self._connection.send(batch)
        except (BrokenPipeError, ConnectionResetError):
            self._raise_death("between two batches")
        kind, *payload = self._receive(self._timeout_s, "evaluating a batch")
        if kind == "result":
            return payload[0]
        if kind == "host":
            self._stop()
            raise HostError(f"out of memory on the host ({payload[0]})")
        if kind == "lost":
            self._stop()
            raise ModelFailureError(Status.CRASHED, f"the accelerator was lost: {payload[0]}")
        raise ModelFailureError(payload[0], payload[1])

    def close(self) -> None:
        """End the worker; its peak memory is known afterwards if it ended in peace."""
        if self._process is not None and self._connection is not None:
            try:
                self._connection.send(None)
                if self._connection.poll(10):
                    self.peak_bytes = max(self.peak_bytes, self._connection.recv()[1])
            except (OSError, EOFError):
                pass
        self._stop()

    def _receive(self, timeout_s: float, doing: str) -> tuple[Any, ...]:
        assert self._connection is not None
        assert self._process is not None
        try:
            if self._connection.poll(timeout_s):
                return self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._raise_death(doing)
        self._process.kill()  # it hangs: there is nothing to wait for
        self._stop()
        raise ModelFailureError(Status.TIMEOUT, f"no answer in {timeout_s:g} s while {doing}")

    def _raise_death(self, doing: str) -> None:
        assert self._process is not None
        self._process.join(30)
        code = self._process.exitcode
        self._stop()
        if code is not None and -code in _HOST_SIGNALS:
            raise HostError(
                f"the worker was killed by {signal.Signals(-code).name} while {doing}: "
                "out of memory on the host, or stopped by the scheduler; run again to continue"
            )
        how = f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"
        raise ModelFailureError(Status.CRASHED, f"the worker died ({how}) while {doing}")

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.join(2)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._process = self._connection = self.info = None
