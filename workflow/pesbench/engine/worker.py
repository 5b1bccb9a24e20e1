"""The supervised process in which a model lives, as the command sees it.

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
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pesbench.core import host_memory
from pesbench.core.errors import HostError, signal_name
from pesbench.core.interface import Batch, ModelInfo, Status, one_line
from pesbench.engine import supervisor, wire
from pesbench.engine.wire import Timed, UnreadableError
from pesbench.models.registry import ModelEntry

LOAD_TIMEOUT_S = 1800.0
_TICK_S = 0.25  # between two looks at the memory of a worker that computes
_START_S = 60.0
_END_S = supervisor.END_S + 5.0
_CLOSE_S = 10.0
_LARGE = 0.5  # share of the machine's memory: a worker that holds more is to blame for a shortage
_GROWN = 1.5  # times what it held at first: a new start gives back the rest
_HOST_SIGNALS = (signal.SIGKILL, signal.SIGTERM)
logger = logging.getLogger("pesbench")
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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


class _DeathError(Exception):
    """The model's process has ended; its code is that of `subprocess`, negative for a signal."""

    def __init__(self, code: int, peak_bytes: int) -> None:
        super().__init__(code)
        self.code, self.peak_bytes = code, peak_bytes


class _LateError(Exception):
    """No answer in time."""


class _TooLargeError(Exception):
    """The worker took the machine's memory; the text says how much."""


class _Process:
    """A model's process and the sockets to it; every call ends at its deadline."""

    def __init__(self, threads: int) -> None:
        """Start the process.

        Raises:
            OSError: there can be no more processes.
        """
        self._data, data = socket.socketpair()
        self._control, control = socket.socketpair()
        numbers = [data.fileno(), control.fileno()]
        paths = [str(Path(path).absolute()) for path in sys.path]
        try:
            self.supervisor = subprocess.Popen(
                [sys.executable, "-P", supervisor.__file__, *map(str, numbers), *paths],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                # BLAS and OpenMP read these once, at import
                env=os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads)),
                start_new_session=True,  # Ctrl-C is for the command
            )
        finally:
            data.close()
            control.close()
        self._death: _DeathError | None = None
        self._data.setblocking(False)
        self._control.settimeout(_START_S)
        try:
            (self.pid,) = supervisor.STARTED.unpack(self._told(supervisor.STARTED.size))
        except (OSError, struct.error) as error:
            self.end()
            raise OSError(f"the supervisor did not start ({error})") from error
        self._poll_in, self._poll_out = select.poll(), select.poll()
        for poll, events in ((self._poll_in, select.POLLIN), (self._poll_out, select.POLLOUT)):
            poll.register(self._data, events)
            poll.register(self._control, select.POLLIN)

    def send(self, parts: list[memoryview | bytes], deadline: float) -> None:
        """Send a frame.

        Raises:
            _DeathError, _LateError, _TooLargeError: the worker's end.
        """
        for part in parts:
            view = memoryview(part)
            while view:
                try:
                    view = view[self._data.send(view) :]
                except BlockingIOError:
                    self._wait(self._poll_out, deadline)
                except OSError:
                    self._await_death(deadline)

    def receive(self, largest: int, deadline: float) -> bytearray:
        """A frame.

        Args:
            largest: Most bytes that it may have.
            deadline: By the monotonic clock.

        Raises:
            _DeathError, _LateError, _TooLargeError: the worker's end.
            UnreadableError: it is larger.
        """
        (length,) = wire.LENGTH.unpack(self._read(wire.LENGTH.size, deadline))
        if length > largest:
            raise UnreadableError(f"{length} bytes where at most {largest} are possible")
        return self._read(length, deadline)

    def _read(self, count: int, deadline: float) -> bytearray:
        content = bytearray(count)
        view = memoryview(content)
        while view:
            try:
                got = self._data.recv_into(view)
            except BlockingIOError:
                if self._death is not None:  # all that it sent has been read
                    raise self._death from None
                self._wait(self._poll_in, deadline)
                continue
            except OSError:
                got = 0
            if not got:
                self._await_death(deadline)
            view = view[got:]
        return content

    def _wait(self, poll: select.poll, deadline: float) -> None:
        """Until there is something to do; learns of a death."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _LateError
            ready = poll.poll(1000 * min(left, _TICK_S))
            if any(number == self._control.fileno() for number, _ in ready):
                self._learn()
                if self._death is not None and poll is self._poll_out:
                    raise self._death
                return
            if ready:
                return
            self._look_at_memory()

    def _told(self, count: int) -> bytes:
        return self._control.recv(count, socket.MSG_WAITALL)

    def _learn(self) -> None:
        """Read how the model's process ended."""
        try:
            status, peak_bytes = supervisor.ENDED.unpack(self._told(supervisor.ENDED.size))
            self._death = _DeathError(os.waitstatus_to_exitcode(status), peak_bytes)
        except (OSError, struct.error):  # the supervisor itself has ended
            try:
                code = self.supervisor.wait(_END_S)
            except subprocess.TimeoutExpired:
                code = -signal.SIGKILL
            self._death = _DeathError(code, 0)

    def _await_death(self, deadline: float) -> None:
        """The model's process has closed its end: either it has ended, or it cannot answer."""
        until = min(deadline, time.monotonic() + 2.0)
        only = select.poll()
        only.register(self._control, select.POLLIN)
        while self._death is None and (left := until - time.monotonic()) > 0:
            if only.poll(1000 * left):
                self._learn()
        if self._death is None:
            raise UnreadableError("it closed the connection")
        raise self._death

    def _look_at_memory(self) -> None:
        total = host_memory.total_bytes()
        if host_memory.available_bytes() < host_memory.SHORT * total:
            held = host_memory.held_bytes(self.supervisor.pid)
            if held > _LARGE * total:
                raise _TooLargeError(_of_memory(held, total))

    def is_growing_large(self, settled_bytes: int) -> bool:
        """Whether it has come near the machine's limit, so that it had better start anew.

        Args:
            settled_bytes: Held after its first answer.
        """
        total = host_memory.total_bytes()
        if host_memory.available_bytes() >= 2 * host_memory.SHORT * total:
            return False
        held = host_memory.held_bytes(self.supervisor.pid)
        return held > max(_LARGE * total, _GROWN * settled_bytes)

    def close(self) -> int:
        """Let the worker end in peace, if it will.

        Returns:
            Peak of its memory in bytes; 0 where it does not tell.
        """
        try:
            self._data.shutdown(socket.SHUT_WR)
            self._await_death(time.monotonic() + _CLOSE_S)
        except _DeathError as death:
            return death.peak_bytes
        except (OSError, UnreadableError):
            pass
        return 0

    def end(self) -> None:
        """End the worker and every process it has started."""
        self._control.close()
        self._data.close()
        try:
            self.supervisor.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            self.supervisor.wait()


def _of_memory(held: int, total: int) -> str:
    return (
        f"{held / host_memory.GIB:.2f} of the {total / host_memory.GIB:.2f} GiB of memory that "
        "there are"
    )


class Worker:
    """A model in a process of its own.

    Args:
        entry: Resolved model entry.
        scan_set: Needed by controls.
        device: `auto`, `cpu` or `cuda`.
        threads: For the model's arithmetic.
        timeout_s: Longest time a call may take.

    Attributes:
        info: What the model told when it was loaded; None while no worker runs.
        starts: Of the process.
        losses: How often the process was lost, by status (`crashed`, `timeout`, `out_of_memory`).
        peak_bytes: Of its resident memory, as far as its end has told.
        loaded_bytes: Resident memory with the model loaded and nothing evaluated.
        atom_frames: Atoms of all frames that it has answered, whatever they were for.
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
        self._process: _Process | None = None
        self._number = 0  # of the question
        self._waiting = False  # for an answer
        self._looked_s, self._settled_bytes = 0.0, 0
        self.info: ModelInfo | None = None
        self.starts = 0
        self.losses: Counter[str] = Counter()
        self.peak_bytes = 0
        self.loaded_bytes = 0
        self.atom_frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the model's process, while there is one."""
        return self._process.pid if self._process is not None else None

    def start(self) -> ModelInfo:
        """Start the process and load the model, if it is not running.

        Raises:
            ModelLoadError: the model could not be loaded.
            HostError: the machine failed.
        """
        if self._process is not None and self.info is not None:
            return self.info
        try:
            self._process = _Process(self._threads)
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
        if status is None or header["kind"] == "lost":  # the model has not been asked yet
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
        """What a function of a module returns in the model's process, which JSON must hold.

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
        """Start anew where memory is nearly exhausted, before the kernel has to end something."""
        if self._process is None or time.monotonic() - self._looked_s < 1.0:
            return
        self._looked_s = time.monotonic()
        if self._process.is_growing_large(self._settled_bytes):
            logger.warning("the model's process holds most of the memory; it starts anew")
            self.losses[Status.OUT_OF_MEMORY] += 1
            self._end_in_peace()

    def close(self) -> None:
        """End the worker; its peak memory is known afterwards if it ended in peace."""
        if self._process is not None:
            self._end_in_peace()

    def _end_in_peace(self) -> None:
        assert self._process is not None
        if not self._waiting:  # it would not listen, and the command is being interrupted
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
        except _DeathError as death:
            raise self._mourned(death, doing) from None
        except _LateError:
            message = f"no answer in {timeout_s:g} s while {doing}"
            raise self._lost(Status.TIMEOUT, message) from None
        except _TooLargeError as error:
            message = f"the worker was ended: it held {error} while {doing}"
            raise self._out_of_memory(message) from None
        self._waiting = False
        header, rest = wire.read_answer(received)
        if header.get("number") != self._number or not isinstance(header.get("kind"), str):
            raise UnreadableError("it answers another question")
        return header, rest

    def _mourned(self, death: _DeathError, doing: str) -> Exception:
        code = death.code
        self.peak_bytes = max(self.peak_bytes, death.peak_bytes)
        if -code in _HOST_SIGNALS:
            name = signal_name(-code)
            total = host_memory.total_bytes()
            if -code == signal.SIGKILL and death.peak_bytes > _LARGE * total:
                held = _of_memory(death.peak_bytes, total)
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
        """End what is left of the worker, count it, and say so."""
        self._stop()
        self.losses[status] += 1
        return ModelFailureError(status, message, ended=True)

    def _stop(self) -> None:
        if self._process is not None:
            self._process.end()
        self._process = self.info = None
        self._waiting = False


def _failure(header: Mapping[str, Any]) -> tuple[Status | None, str]:
    """What an answer says of a failure; no status where it is the machine's."""
    message = one_line(header.get("message", ""))
    if header["kind"] == "host":
        return None, message
    if header["kind"] == "lost":
        return Status.CRASHED, message
    failed = header["kind"] == "failed" and header.get("status") == Status.OUT_OF_MEMORY.value
    return (Status.OUT_OF_MEMORY if failed else Status.ERROR), message
