"""The supervised worker process that holds the model, as the command sees it.

A hang, a segmentation fault or an `error stop` of a model ends the worker and not the command: the
caller learns what happened and the next call starts a fresh worker; so does an error after which
the accelerator refuses every call of the process. Not the model's fault, and a `HostError`, are a
worker that the kernel or a scheduler kills and an accelerator that fails before the model is asked.

The model's process and all that it starts end with the worker, see `supervisor`; what it sends is
data, see `wire`, and is waited for no longer than the time limit.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.core import host_memory
from pesbench.core.closing import Closing
from pesbench.core.errors import HostError, signal_name
from pesbench.core.family import EntrySettings
from pesbench.core.interface import Batch, ModelInfo, Status, one_line
from pesbench.engine import wire
from pesbench.engine.process import LARGE, DeathError, LateError, Process, TooLargeError, of_memory
from pesbench.engine.wire import Timed, UnreadableError
from pesbench.files.environment import HERE, Environment
from pesbench.models.registry import ModelEntry

LOAD_TIMEOUT_S = 1800.0
_HOST_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
logger = logging.getLogger("pesbench")


class ModelFailureError(Exception):
    """The model failed on a batch, or could not be loaded.

    Attributes:
        status: How.
        message: What it said, one line.
        ended: Whether the worker was lost.
    """

    def __init__(self, status: Status, message: str, *, ended: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.ended = ended


class ModelLoadError(ModelFailureError):
    """The model could not be loaded: no batch of any size will fare better."""


class Worker(Closing):
    """A model in a process of its own.

    Args:
        entry: Resolved model entry.
        scan_set: Needed by controls.
        device: `auto`, `cpu` or `cuda`.
        threads: Number of threads of the model's arithmetic.
        timeout_s: Longest time a call may take.
        environment: Where the model runs; None for the environment of this process.

    Attributes:
        environment: Where the model runs.
        info: What the model told when it was loaded; None while no worker runs.
        starts: Number of starts of the process.
        losses: How often the process was lost, by status (`crashed`, `timeout`, `out_of_memory`).
        peak_bytes: Peak of its resident memory, as far as it is known.
        loaded_bytes: Resident memory with the model loaded and warmed up.
        atom_frames: Atoms of all frames that it has answered, whatever they were for.
    """

    def __init__(
        self,
        entry: ModelEntry,
        *,
        scan_set: Path | None = None,
        device: str = "auto",
        threads: int = 1,
        timeout_s: float = EntrySettings.timeout_s,
        load_timeout_s: float = LOAD_TIMEOUT_S,
        environment: Environment | None = None,
    ) -> None:
        # paths as text: another version of Python has another class for them
        held = None if scan_set is None else str(scan_set)
        self._arguments = (entry, held, device, threads)
        self.environment = environment or HERE
        self._threads = threads
        self._timeout_s = timeout_s
        self._load_timeout_s = load_timeout_s
        self._process: Process | None = None
        self._number = 0  # of the question
        self._waiting = False  # for an answer
        self._looked_s, self._settled_bytes = 0.0, 0
        self.info: ModelInfo | None = None
        self.starts = 0
        self.losses: Counter[str] = Counter()
        self.peak_bytes = 0
        self.loaded_bytes = 0
        self.atom_frames = 0

    @property
    def pid(self) -> int | None:
        """Id of the model's process, while there is one."""
        return self._process.pid if self._process is not None else None

    def start(self) -> ModelInfo:
        """Start the process and load the model, if it is not running.

        Raises:
            ModelLoadError: the model could not be loaded, or has no environment to run in.
            HostError: the machine failed.
        """
        if self._process is not None and self.info is not None:
            return self.info
        if self.environment.failure:
            raise ModelLoadError(Status.ERROR, self.environment.failure)
        try:
            self._process = Process(self._threads, self.environment)
        except OSError as error:
            raise HostError(f"no process can be started for the model: {error}") from error
        self.starts += 1
        self._settled_bytes = 0
        try:
            header, _ = self._ask(self._arguments, None, self._load_timeout_s, "loading the model")
            if header["kind"] == "ready":
                self.info, self.loaded_bytes = wire.read_info(header)
                return self.info
        except ModelFailureError as failure:
            raise ModelLoadError(
                failure.status, f"the model did not load: {failure}", ended=True
            ) from failure
        except UnreadableError as error:
            self._stop()
            self.losses[Status.CRASHED] += 1
            message = f"the model did not load: its answer cannot be read ({error})"
            raise ModelLoadError(Status.CRASHED, message, ended=True) from error
        self._stop()
        status, message = _failure(header)
        if status is None or header["kind"] == "lost":  # the model has not been called yet
            raise HostError(f"while loading the model: {message}")
        raise ModelLoadError(status, f"the model did not load: {message}")

    def evaluate(self, batch: Batch) -> Timed:
        """Evaluate a batch; starts the worker if need be.

        Raises:
            ModelFailureError: with `error`, `out_of_memory`, `timeout` or `crashed`; after the
                last two the worker is gone.
            HostError: the machine failed.
        """
        self._restart_if_large()
        timed = self._call(batch, batch, lambda header, rest: wire.read_result(header, rest, batch))
        self._settled_bytes = self._settled_bytes or timed.host_bytes
        answered = np.array([status is Status.OK for status in timed.result.status])
        self.atom_frames += int(answered[batch.system].sum())
        return timed

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Result of a function that runs in the model's process; it must fit into JSON.

        Args:
            function: Called with the model first.
            arguments: What else it is called with.

        Raises:
            ModelFailureError, HostError: as `evaluate`.
        """
        return self._call((function, *arguments), None, lambda header, _: header["value"])

    def _call(
        self, asked: Any, batch: Batch | None, read: Callable[[dict[str, Any], memoryview], Any]
    ) -> Any:
        self.start()
        doing = "evaluating a batch"
        try:
            header, rest = self._ask(asked, batch, self._timeout_s, doing)
            if header["kind"] in ("result", "value"):
                return read(header, rest)
            status, message = _failure(header)
        except (UnreadableError, KeyError) as error:
            raise self._lost(
                Status.CRASHED, f"the worker's answer cannot be read ({error}) while {doing}"
            ) from error
        if status is None:
            self._stop()
            raise HostError(f"out of memory on the host ({message})")
        if header["kind"] == "lost":
            raise self._lost(status, f"the accelerator was lost: {message}")
        raise ModelFailureError(status, message)

    def _restart_if_large(self) -> None:
        """Restart the worker if memory is nearly exhausted, before the kernel ends a process."""
        if self._process is None or time.monotonic() - self._looked_s < 1.0:
            return
        self._looked_s = time.monotonic()
        if self._process.is_growing_large(self._settled_bytes):
            logger.warning("the model's process holds most of the memory; it starts anew")
            self.losses[Status.OUT_OF_MEMORY] += 1
            self._end_normally()

    def close(self) -> None:
        """End the worker; its peak memory is known afterwards if it ended normally."""
        if self._process is not None:
            self._end_normally()

    def _end_normally(self) -> None:
        assert self._process is not None
        if not self._waiting:  # else the worker is busy and would not read a request
            self.peak_bytes = max(self.peak_bytes, self._process.close())
        self._stop()

    def _ask(
        self, content: Any, batch: Batch | None, timeout_s: float, doing: str
    ) -> tuple[dict[str, Any], memoryview]:
        """Ask the worker, and read the answer to this and no other question.

        Raises:
            ModelFailureError: it died, hung or grew too large.
            UnreadableError: it answers something else.
            HostError: the machine failed.
        """
        assert self._process is not None
        self._number += 1
        self._waiting = True
        deadline = time.monotonic() + timeout_s
        try:
            self._process.send(wire.question(self._number, content), deadline)
            received = self._process.receive(wire.largest_answer(batch), deadline)
        except DeathError as death:
            raise self._mourned(death, doing) from None
        except LateError:
            message = f"no answer in {timeout_s:g} s while {doing}"
            raise self._lost(Status.TIMEOUT, message) from None
        except TooLargeError as error:
            message = f"the worker was ended: it held {error} while {doing}"
            raise self._out_of_memory(message) from None
        self._waiting = False
        header, rest = wire.read_answer(received)
        if header.get("number") != self._number or not isinstance(header.get("kind"), str):
            raise UnreadableError("it answers another question")
        return header, rest

    def _mourned(self, death: DeathError, doing: str) -> Exception:
        code = death.code
        self.peak_bytes = max(self.peak_bytes, death.peak_bytes)
        if -code in _HOST_SIGNALS:
            name = signal_name(-code)
            total = host_memory.total_bytes()
            if -code == signal.SIGKILL and death.peak_bytes > LARGE * total:
                held = of_memory(death.peak_bytes, total)
                message = f"the worker was killed by {name}, having held {held}, while {doing}"
                return self._out_of_memory(message)
            self._stop()
            return HostError(
                f"the worker was killed by {name} while {doing}: "
                "out of memory on the host, or stopped by the scheduler; run again to continue"
            )
        how = f"signal {signal_name(-code)}" if code < 0 else f"exit code {code}"
        return self._lost(Status.CRASHED, f"the worker died ({how}) while {doing}")

    def _out_of_memory(self, message: str) -> Exception:
        """The model's failure where this is all that there is; a scheduler may give more."""
        if "SLURM_JOB_ID" in os.environ:
            self._stop()
            return HostError(f"{message}; the next attempt asks for more and continues")
        return self._lost(Status.OUT_OF_MEMORY, message)

    def _lost(self, status: Status, message: str) -> ModelFailureError:
        """End the rest of the worker, count the loss and log it."""
        self._stop()
        self.losses[status] += 1
        return ModelFailureError(status, message, ended=True)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process = self.info = None
        self._waiting = False


def _failure(header: Mapping[str, Any]) -> tuple[Status | None, str]:
    """Failure that an answer reports; no status if it is a failure of the machine."""
    message = one_line(header.get("message", ""))
    if header["kind"] == "host":
        return None, message
    if header["kind"] == "lost":
        return Status.CRASHED, message
    failed = header["kind"] == "failed" and header.get("status") == Status.OUT_OF_MEMORY.value
    return (Status.OUT_OF_MEMORY if failed else Status.ERROR), message
