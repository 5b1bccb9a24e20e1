"""ASE calculators that do what no model should, so that supervision can be tested."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator

from fake_calculators import Morse, morse


class Answers(Morse):
    """Gives energy and forces in a container of a kind; the others are those of `Morse`."""

    def __init__(self, energy: str = "plain", forces: str = "plain") -> None:
        super().__init__()
        self.kinds = energy, forces

    def calculate(self, atoms, properties=None, system_changes=None) -> None:
        super().calculate(atoms, properties, system_changes)
        energy, forces = self.results["energy"], self.results["forces"]
        self.results = {
            "energy": _ENERGIES[self.kinds[0]](energy),
            "forces": _FORCES[self.kinds[1]](forces),
        }


def _tensor(value, **settings):
    import torch

    return torch.tensor(value, **settings)


def _matrix(value):
    with warnings.catch_warnings(action="ignore"):  # of its deprecation
        return np.matrix(value)


def _read_only(array):
    array.flags.writeable = False
    return array


_ENERGIES = {
    "plain": lambda e: e,
    "shape (1,)": lambda e: np.array([e]),
    "shape (1, 1)": lambda e: np.array([[e]]),
    "list": lambda e: [e],
    "shape ()": np.array,
    "matrix": lambda e: _matrix([[e]]),
    "unmasked": lambda e: np.ma.masked_array([e], mask=[False]),
    "read-only": lambda e: _read_only(np.array([e])),
    "tensor": lambda e: _tensor([e], dtype=__import__("torch").float64),
    "tensor with gradient": lambda e: _tensor(
        [[e]], dtype=__import__("torch").float64, requires_grad=True
    ),
    "list of tensors": lambda e: [
        _tensor(e, dtype=__import__("torch").float64, requires_grad=True)
    ],
    # what is no energy
    "two": lambda e: np.array([e, e]),
    "none": lambda _: None,
    "empty": lambda _: [],
    "text": str,
    "complex": complex,
    "complex without imaginary part": lambda e: np.array([e + 0j]),
    "truth value": lambda _: np.array([True]),
    "object": lambda e: np.array([e], dtype=object),
    "fraction": Fraction,
    "masked": lambda e: np.ma.masked_array([e], mask=[True]),
    "mapping": lambda e: {"energy": e},
    "ragged": lambda e: [[e], [e, e]],
}
_FORCES = {
    "plain": lambda f: f,
    "lists": lambda f: f.tolist(),
    "tuples": lambda f: tuple(map(tuple, f)),
    "read-only": _read_only,
    "float128": lambda f: f.astype(np.longdouble),
    "tensor with gradient": lambda f: _tensor(f, requires_grad=True),
    "matrix": _matrix,
    "fortran": np.asfortranarray,
    # what are no forces
    "complex": lambda f: f.astype(complex),
    "text": lambda f: f.astype(str),
    "object": lambda f: f.astype(object),
    "truth values": lambda f: f > 0,
    "masked": lambda f: np.ma.masked_array(f, mask=f > np.inf).filled(0) * np.ma.masked,
    "one dimension more": lambda f: f[None],
    "energy": lambda _: 1.0,
    "none": lambda _: None,
    "transposed": lambda f: np.zeros((3, len(f) + 1)),
}


class ByMethods:
    """Energy and forces by methods, without `calculate`."""

    implemented_properties = ("energy", "forces")

    def get_potential_energy(self, atoms):
        return morse(atoms.numbers, atoms.positions)[0]

    def get_forces(self, atoms):
        return morse(atoms.numbers, atoms.positions)[1]


class ByProperty(Calculator):
    """Overrides `get_property`, as wrappers do."""

    implemented_properties = ("energy", "forces")

    def get_property(self, name, atoms=None, allow_calculation=True):
        return dict(zip(("energy", "forces"), morse(atoms.numbers, atoms.positions), strict=True))[
            name
        ]


class Empty(Morse):
    """Has a length, of nothing."""

    def __len__(self) -> int:
        return 0

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Empty.made += 1
        if Empty.made > 1:
            raise RuntimeError("made again")


class SilentAtTimes(Morse):
    """Fails at every second call and tells nobody."""

    calls = 0

    def calculate(self, atoms, properties=None, system_changes=None) -> None:
        self.calls += 1
        if self.calls % 2:
            super().calculate(atoms, properties, system_changes)


class OneAtomTooMany(Morse):
    """Forces of N + 1 and of N - 1 atoms in turn."""

    calls = 0

    def calculate(self, atoms, properties=None, system_changes=None) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        n_atoms = len(atoms) + (1 if self.calls % 2 else -1)
        self.results["forces"] = np.ones((n_atoms, 3))


class NeedsACell(Morse):
    def calculate(self, atoms, properties=None, system_changes=None) -> None:
        np.linalg.inv(atoms.cell.array)


class _UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


class _UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__("cannot be pickled")
        self.lock = threading.Lock()


MESSAGES = {
    "nul": "a\0b",
    "surrogate": "half of a pair \ud83d",
    "escape": "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "direction": "\u202etxet",
    "long": "x" * 5_000_000,
    "lines": "one\r\n\u2028two\vthree",
    "formula": "=cmd|' /C calc'!A0",
    "tag": "<script>alert(1)</script>",
}


def _lasting_child(folder: str, how: str) -> None:
    """Start a process that writes its id to a file and stays."""
    code = (
        "import os, sys, time, pathlib\n"
        "if sys.argv[2] == 'daemon':\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "pathlib.Path(sys.argv[1], str(os.getpid())).touch()\n"
        "time.sleep(600)\n"
    )
    subprocess.Popen(
        [sys.executable, "-S", "-c", code, folder, how], start_new_session=how == "session"
    )
    while not any(Path(folder).iterdir()):
        time.sleep(0.01)


class Hostile(Morse):
    """Does one thing at every frame in a window of the distance of atoms 0 and 1."""

    def __init__(self, what: str, window=None, folder: str = "", every: int = 0) -> None:
        super().__init__()
        self.what, self.window, self.folder, self.every = what, window, folder, every

    def calculate(self, atoms, properties=None, system_changes=None) -> None:
        super().calculate(atoms, properties, system_changes)
        self.given = atoms
        inside = self.window is None or self.window[0] < atoms.get_distance(0, 1) < self.window[1]
        if self.every:  # at every so many-th call, over all processes
            with (Path(self.folder) / "calls").open("a") as file:
                file.write("x")
            inside = (Path(self.folder) / "calls").stat().st_size % self.every == 0
        if inside:
            getattr(self, f"_{self.what}")()

    def _say(self, text: str) -> None:
        raise RuntimeError(text)

    def __getattr__(self, name):
        if name.startswith("_say_"):
            return lambda: self._say(MESSAGES[name.removeprefix("_say_")])
        raise AttributeError(name)

    def _unprintable(self) -> None:
        raise _UnprintableError

    def _unpicklable(self) -> None:
        raise _UnpicklableError

    def _keyboard(self) -> None:
        raise KeyboardInterrupt

    def _generator(self) -> None:
        raise GeneratorExit("early")

    def _recursion(self) -> None:
        self._recursion()

    def _group(self) -> None:
        raise ExceptionGroup("several", [ValueError("a"), OSError("b")])

    def _decode(self) -> None:
        b"\xff".decode()

    def _overflow(self) -> None:
        int(float("inf"))

    def _absurd_memory(self) -> None:
        np.zeros(10**14)

    def _os_exit(self) -> None:
        os._exit(0)

    def _hang(self) -> None:
        time.sleep(600)

    def _hang_with_thread(self) -> None:
        threading.Thread(target=time.sleep, args=(600,)).start()
        sys.exit("a thread is left")

    def _real_time_signal(self) -> None:
        os.kill(os.getpid(), signal.SIGRTMIN + 3)

    def _ignore_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._hang()

    def _sockets(self) -> list[socket.socket]:
        return [one for one in gc.get_objects() if type(one) is socket.socket]

    def _half_an_answer(self) -> None:
        for one in self._sockets():
            one.sendall((1000).to_bytes(8, "little") + b"half")
        self._hang()

    def _one_byte(self) -> None:
        for one in self._sockets():
            one.sendall(b"\0")
        self._hang()

    def _drip(self) -> None:
        for one in self._sockets():
            one.sendall((10**6).to_bytes(8, "little"))
            while True:
                one.sendall(b"x")
                time.sleep(0.05)

    def _endless_answer(self) -> None:
        for one in self._sockets():
            one.sendall((2**62).to_bytes(8, "little"))
        self._hang()

    def _pickle(self) -> None:
        code = pickle.dumps(_Touches(str(Path(self.folder) / "it ran")))
        for one in self._sockets():
            one.sendall(len(code).to_bytes(8, "little") + code)
        self._hang()

    def _garbage(self) -> None:
        for one in self._sockets():
            one.sendall((8).to_bytes(8, "little") + b"\xff" * 8)
        self._hang()

    def _stale_answer(self) -> None:
        """As if an earlier question were answered once more."""
        text = b'{"number": 1, "kind": "failed", "message": "stale"}'
        frame = len(text).to_bytes(4, "little") + text
        for one in self._sockets():
            one.sendall(len(frame).to_bytes(8, "little") + frame)

    def _fork_and_die(self) -> None:
        if os.fork() == 0:
            time.sleep(600)
        os._exit(5)

    def _fork_and_both_answer(self) -> None:
        os.fork()

    def _close_everything(self) -> None:
        os.closerange(0, 200)

    def _close_output(self) -> None:
        os.closerange(1, 3)

    def _change_everything(self) -> None:
        os.chdir("/")
        os.environ.clear()
        np.seterr(all="raise")
        sys.setrecursionlimit(200)
        sys.path.clear()
        sys.stdout = sys.stderr = None

    def _print_much(self) -> None:
        with contextlib.suppress(OSError):
            for _ in range(300):
                os.write(1, b"\x1b[31m" + 99_990 * b"y" + b"\n")

    def _print_lines(self) -> None:
        for number in range(5000):
            print("Loading the model ...")
            print("a warning of no use", file=sys.stderr)
            if number % 1000 == 0:
                print("line", number)

    def _warn(self) -> None:
        warnings.simplefilter("always")
        for number in range(5000):
            warnings.warn("the cutoff is large", UserWarning, stacklevel=1)
            logging.getLogger("theirs").warning("no cell is given")
            if number % 1000 == 0:
                logging.getLogger("theirs").warning("line %d", number)

    def _threads(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(abs, range(-8, 0))) == list(range(8, 0, -1))
        threading.Thread(target=self._hang).start()  # which the end would wait for

    def _change_atoms(self) -> None:
        atoms = self.given
        atoms.positions += 5.0
        atoms.numbers[:] = 1
        atoms.cell[:] = 1.0
        atoms.pbc = True
        atoms.info.clear()
        atoms.info["charge"] = 7
        del atoms[0]

    def _child(self) -> None:
        _lasting_child(self.folder, "child")

    def _session(self) -> None:
        _lasting_child(self.folder, "session")

    def _daemon(self) -> None:
        _lasting_child(self.folder, "daemon")

    def _daemon_and_exit(self) -> None:
        _lasting_child(self.folder, "daemon")
        os._exit(3)

    def _daemon_and_hang(self) -> None:
        _lasting_child(self.folder, "daemon")
        self._hang()

    def _pool(self) -> None:
        context = multiprocessing.get_context(self.folder or None)
        with context.Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]

    def _grow(self) -> None:
        self.kept = []
        while True:
            self.kept.append(np.ones(1_000_000))
            time.sleep(0.01)

    def _leak(self) -> None:
        self.__dict__.setdefault("kept", []).append(np.ones(4_000_000))


class _Touches:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def telling(details: str) -> Morse:
    """A model whose details are hostile."""
    from pesbench.models.families import ase

    calculator = Morse()
    strange = {
        "text": {"\0key": "\x1b[2J\ud800", "long": "z" * 100_000},
        "numpy": {"a": np.float32(1.5), "b": np.arange(3), "c": {1, 2}},
        "keys": {(1, 2): "a tuple is no key"},
        "deep": None,
    }[details]
    if details == "deep":
        strange = value = {}
        for _ in range(100):
            value["in"] = value = {}
    original = ase.ASEModel.info.fget

    def info(self):
        from dataclasses import replace

        return replace(original(self), details=strange)

    ase.ASEModel.info = property(info)
    return calculator


def exits_at_construction() -> Morse:
    sys.exit(0)


def waits_for_a_reader() -> Morse:
    """Loads, and then reads no question: those that are large fill the pipe."""
    threading.Timer(0.0, _stop_reading).start()
    return Morse()


def _stop_reading() -> None:
    while True:  # once the model is loaded the main thread waits for a question
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGSTOP)
