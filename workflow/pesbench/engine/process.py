"""The process of a worker, and what is sent to it and received; every call ends at its deadline."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from pesbench.core import host_memory
from pesbench.engine import supervisor, wire
from pesbench.engine.wire import UnreadableError
from pesbench.files.environment import HERE, Environment, variables

_PACKAGE = Path(__file__).parents[1]  # the folder of this package
_TICK_S = 0.25  # between two looks at the memory of a worker that computes
_START_S = 60.0
_END_S = supervisor.END_S + 5.0
_CLOSE_S = 10.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LARGE = 0.5  # share of the machine's memory: a worker that holds more is to blame for a shortage
_GROWN = 1.5  # times what it held at first: a new start gives back the rest


class DeathError(Exception):
    """The model's process has ended; its code is that of `subprocess`, negative for a signal."""

    def __init__(self, code: int, peak_bytes: int) -> None:
        super().__init__(code)
        self.code, self.peak_bytes = code, peak_bytes


class LateError(Exception):
    """No answer in time."""


class TooLargeError(Exception):
    """The worker used up the machine's memory; the message says how much."""


class Process:
    """A model's process and the sockets to it; every call ends at its deadline."""

    def __init__(self, threads: int, environment: Environment = HERE) -> None:
        """Start the process.

        Args:
            threads: Number of threads of the model's arithmetic.
            environment: Where the model runs.

        Raises:
            OSError: there can be no more processes.
        """
        self._data, data = socket.socketpair()
        self._control, control = socket.socketpair()
        numbers = [data.fileno(), control.fileno()]
        try:
            self.supervisor = subprocess.Popen(
                _command(environment, numbers),
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                env=_variables(environment, threads),
                start_new_session=True,  # Ctrl-C is for the command
            )
        finally:
            data.close()
            control.close()
        self._death: DeathError | None = None
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
            DeathError, LateError, TooLargeError: the worker's end.
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
            deadline: Latest time, by the monotonic clock.

        Raises:
            DeathError, LateError, TooLargeError: the worker's end.
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
        """Wait until there is something to do; notes the end of the process."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LateError
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
            self._death = DeathError(os.waitstatus_to_exitcode(status), peak_bytes)
        except (OSError, struct.error):  # the supervisor itself has ended
            try:
                code = self.supervisor.wait(_END_S)
            except subprocess.TimeoutExpired:
                code = -signal.SIGKILL
            self._death = DeathError(code, 0)

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
            if held > LARGE * total:
                raise TooLargeError(of_memory(held, total))

    def is_growing_large(self, settled_bytes: int) -> bool:
        """Whether it has come near the machine's limit, so that it had better start anew.

        Args:
            settled_bytes: Held after its first answer.
        """
        total = host_memory.total_bytes()
        if host_memory.available_bytes() >= 2 * host_memory.SHORT * total:
            return False
        held = host_memory.held_bytes(self.supervisor.pid)
        return held > max(LARGE * total, _GROWN * settled_bytes)

    def close(self) -> int:
        """Let the worker end normally, or wait in vain until the time is up.

        Returns:
            Peak of its memory in bytes; 0 where it does not tell.
        """
        try:
            self._data.shutdown(socket.SHUT_WR)
            self._await_death(time.monotonic() + _CLOSE_S)
        except DeathError as death:
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


def _command(environment: Environment, sockets: list[int]) -> list[str]:
    """Words of the command that starts the supervisor.

    Here the model finds the modules that the command finds. In another environment it finds those
    of that one, this package alone, and last what lies in the working folder.
    """
    words = [supervisor.__file__, *map(str, sockets)]
    if environment.is_here:
        paths = [str(Path(path).absolute()) for path in sys.path]
        return [sys.executable, "-P", *words, "", *paths]
    last = []
    with contextlib.suppress(OSError):  # a working folder that was removed
        last.append(str(Path.cwd()))
    return [environment.python, "-I", *words, str(_PACKAGE), *last]


def _variables(environment: Environment, threads: int) -> dict[str, str]:
    """Environment variables of the process."""
    given = dict(os.environ) if environment.is_here else variables()
    # BLAS and OpenMP read these once, at import
    return given | dict.fromkeys(_THREAD_VARIABLES, str(threads)) | {"PYTHONSAFEPATH": "1"}


def of_memory(held: int, total: int) -> str:
    """Memory of a process and of the machine, both in bytes."""
    return (
        f"{held / host_memory.GIB:.2f} of the {total / host_memory.GIB:.2f} GiB of memory that "
        "there are"
    )
