"""A small process between a command and its model: whatever the model starts ends with it.

Run as `python supervisor.py DATA CONTROL PACKAGE PATH...` by `process.Process`. DATA and CONTROL
are numbers of inherited sockets. PACKAGE is "" for the interpreter of the command, and the paths
are then all of `sys.path`; for the interpreter of another environment, PACKAGE is the folder of
`pesbench`, and the paths are searched after the packages of that environment. It forks the process
in which the model is loaded, in a session of its own, and does three things only:

* it tells the command, through CONTROL, the id of that process, and later how it ended;
* it passes on what the model prints, up to a limit;
* once the model's process has ended, or CONTROL is closed because the command wants the end or is
  gone, killed or not, it ends every process that the model has started.

Processes that left the model's session, or whose parent is gone, are found because Linux makes them
children of this process. Elsewhere only the model's process group is ended.

Nothing but the standard library is imported before the fork, so that this process stays small.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

STARTED = struct.Struct("<q")  # process id
ENDED = struct.Struct("<qq")  # status as of `os.wait`, peak resident memory in bytes
END_S = 10.0  # longest time that is spent on ending processes
PRINTED_BYTES = 10_000_000  # of what a model prints
EQUAL_LINES = 20  # of these, such as of one warning
_DIFFERENT_LINES, _LONGEST_LINE = 1000, 65536  # that are remembered; that is waited for, in bytes
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_LINUX = sys.platform == "linux"
_RSS_UNIT = 1024 if _LINUX else 1  # of ru_maxrss


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def die_with_parent() -> None:
    """Called in a child: it must not outlive a killed parent, though it hang."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def children() -> list[int]:
    """Processes whose parent is this one, ended ones that were not waited for included."""
    me, found = str(os.getpid()).encode(), []
    for folder in Path("/proc").iterdir() if _LINUX else ():
        with contextlib.suppress(OSError, IndexError):  # it has ended
            stat = (folder / "stat").read_bytes() if folder.name.isdigit() else b""
            if stat.rpartition(b")")[2].split()[1] == me:
                found.append(int(folder.name))
    return found


def _end_all(model: int) -> None:
    """End the model's process group and every child; the children of those become ours in turn."""
    until = time.monotonic() + END_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            os.killpg(model, signal.SIGKILL)
        for child in children():
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


class _Printed:
    """Output of a model, passed on up to a limit; of equal lines, the first few."""

    def __init__(self, source: int) -> None:
        self.source, self._left = source, PRINTED_BYTES
        self._begun = b""  # a line whose end has not come
        self._times: dict[int, int] = {}  # by the hash of a line
        self._repeated = 0
        os.set_blocking(source, False)

    def pass_on(self) -> bool:
        """Pass on the available output; False after its end."""
        try:
            text = os.read(self.source, 65536)
        except BlockingIOError:
            return True
        *lines, self._begun = (self._begun + text).split(b"\n")
        self._write(b"".join(line + b"\n" for line in lines if self._is_told(line)))
        if len(self._begun) > _LONGEST_LINE:
            self._write(self._begun)
            self._begun = b""
        return bool(text)

    def _is_told(self, line: bytes) -> bool:
        if len(self._times) > _DIFFERENT_LINES:
            self._times.clear()
        key = hash(line)
        self._times[key] = self._times.get(key, 0) + 1
        told = self._times[key] <= EQUAL_LINES
        self._repeated += not told
        return told

    def _write(self, text: bytes) -> None:
        if self._left <= 0 or not text:
            return
        kept, self._left = text[: self._left], self._left - len(text)
        with contextlib.suppress(OSError):
            os.write(2, kept)
            if self._left <= 0:
                os.write(2, b"\n(the model prints more, which is left out)\n")

    def pass_on_rest(self) -> None:
        """Pass on what was printed before the end, and tell what was left out."""
        for _ in range(PRINTED_BYTES // 65536):
            if not select.select([self.source], [], [], 0)[0] or not self.pass_on():
                break
        if self._begun:
            self._write(self._begun + b"\n")
        if self._repeated:
            self._write(b"(%d lines that equal earlier ones are left out)\n" % self._repeated)


def _reap(model: int) -> tuple[int, int] | None:
    """Wait for children that have ended; status and peak memory of the model's if it has."""
    ended = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == model:
                ended = status, usage.ru_maxrss * _RSS_UNIT
    return ended


def _watch(model: int, control: socket.socket, printed: _Printed, wake: int) -> None:
    """Watch until the model's process has ended or the command closes CONTROL."""
    sources = [control.fileno(), wake, printed.source]
    while True:
        ready = select.select(sources, [], [])[0]
        if printed.source in ready and not printed.pass_on():
            sources.remove(printed.source)  # the model closed its output but still runs
        if wake in ready:
            os.read(wake, 4096)
            if (ended := _reap(model)) is not None:
                printed.pass_on_rest()
                with contextlib.suppress(OSError):
                    control.sendall(ENDED.pack(*ended))
                return
        if control.fileno() in ready:  # nothing is ever sent: it was closed
            return


def _find_package(folder: str, paths: list[str]) -> None:
    """Make `pesbench` importable, and nothing else of the folder that it lies in."""
    if not folder:
        sys.path[:] = paths
        return
    import importlib.util

    sys.path += paths
    spec = importlib.util.spec_from_file_location(
        "pesbench", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["pesbench"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pesbench"])


def _become_model(data: socket.socket, package: str, paths: list[str], printed: int) -> None:
    """Load the model in the child process and serve. Does not return."""
    os.setsid()
    die_with_parent()
    with contextlib.suppress(OSError):  # the kernel takes the model, not the command
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.close(printed)
    _find_package(package, paths)
    from pesbench.engine.serving import serve

    serve(data)


def main(arguments: list[str]) -> None:
    """Start the model's process and watch it."""
    data, control = (socket.socket(fileno=int(number)) for number in arguments[:2])
    for one in (data, control):
        one.set_inheritable(False)
    # a scheduler or a terminal signals every process to end; this one must first clean up
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    read_end, write_end = os.pipe()
    wake, waker = os.pipe()
    model = os.fork()
    if model == 0:
        for number in (read_end, wake, waker):
            os.close(number)
        control.close()
        _become_model(data, arguments[2], arguments[3:], write_end)
        os._exit(0)
    data.close()
    os.close(write_end)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.write(waker, b"x")  # it may have ended before there was a handler
    with contextlib.suppress(OSError):
        control.sendall(STARTED.pack(model))
    _watch(model, control, _Printed(read_end), wake)
    _end_all(model)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
