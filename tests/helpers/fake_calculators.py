"""ASE calculators that behave, and calculators that misbehave in every way a model can."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import covalent_radii

from pesbench.core.interface import DeviceOutOfMemoryError

DEPTH_EV, STEEPNESS = 4.0, 1.5


def morse(numbers, positions) -> tuple[float, np.ndarray]:
    """Energy and forces of a Morse potential between all pairs, minima at the covalent sums."""
    energy, forces = 0.0, np.zeros_like(positions)
    for i in range(len(numbers)):
        for j in range(i):
            vector = positions[j] - positions[i]
            length = np.linalg.norm(vector)
            rest = covalent_radii[numbers[i]] + covalent_radii[numbers[j]]
            decay = np.exp(-STEEPNESS * (length - rest))
            energy += DEPTH_EV * ((1 - decay) ** 2 - 1)
            pull = 2 * DEPTH_EV * STEEPNESS * (1 - decay) * decay * vector / length
            forces[i] += pull
            forces[j] -= pull
    return float(energy), forces


class Morse(Calculator):
    """Behaves; `tally` gets a line for every frame, `pause_s` makes it slow."""

    implemented_properties = ("energy", "forces")

    def __init__(self, tally: str | None = None, pause_s: float = 0.0) -> None:
        super().__init__()
        self.tally, self.pause_s = tally, pause_s

    def calculate(self, atoms: Atoms, properties=None, system_changes=None) -> None:
        if self.tally:
            with Path(self.tally).open("a") as file:
                file.write(f"{atoms.get_chemical_formula()} {atoms.get_distance(0, 1):.6f}\n")
        time.sleep(self.pause_s)
        energy, forces = morse(atoms.numbers, atoms.positions)
        self.results = {"energy": energy, "forces": forces}


class Holed(Morse):
    """Attracts two atoms that are closer than 0.5 Å."""

    def calculate(self, atoms: Atoms, properties=None, system_changes=None) -> None:
        super().calculate(atoms, properties, system_changes)
        vectors = atoms.positions[None] - atoms.positions[:, None]
        length = np.linalg.norm(vectors, axis=2) + np.eye(len(atoms)) * 9.0
        close = np.where(length < 0.5, 0.5 - length, 0.0)
        self.results["energy"] -= 5e3 * float((close**2).sum()) / 2
        pull = 1e4 * close / length
        self.results["forces"] = self.results["forces"] + (pull[:, :, None] * vectors).sum(axis=1)


class OverflowsInFloat32(Morse):
    """Has a wall d⁻⁴² that is computed in float32, as networks are: it overflows at 0.1 Å."""

    def calculate(self, atoms: Atoms, properties=None, system_changes=None) -> None:
        super().calculate(atoms, properties, system_changes)
        vector = (atoms.positions[1] - atoms.positions[0]).astype(np.float32)
        length = np.linalg.norm(vector)
        with np.errstate(over="ignore"):
            wall = np.float32(1e-3) * length ** np.float32(-42)
            push = np.float32(42) * wall / length * vector / length
        self.results["energy"] += float(wall)
        self.results["forces"] = self.results["forces"] + np.stack([-push, push])


class AsksAProgram(Morse):
    """Leaves a program running beside its process."""

    def __init__(self) -> None:
        super().__init__(pause_s=0.01)
        self.program = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
        )


class RoundsItsFirstCallDifferently(Morse):
    """As TorchScript does, whose compiler watches the first call of a process.

    Args:
        network: Whether it holds a network of torch.
    """

    def __init__(self, *, network: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)
        self.first = True
        if network:
            import torch

            self.network = torch.nn.Linear(1, 1)
            torch.nn.init.zeros_(self.network.weight)  # the same in every process
            torch.nn.init.zeros_(self.network.bias)

    def calculate(self, atoms: Atoms, properties=None, system_changes=None) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] *= 1 + 1e-12 * self.first
        self.first = False


class FailsOnHydrogen(RoundsItsFirstCallDifferently):
    """Has a network of torch that does not know hydrogen alone."""

    def calculate(self, atoms: Atoms, properties=None, system_changes=None) -> None:
        if set(atoms.get_chemical_symbols()) == {"H"}:
            raise IndexError("index 1 is out of range")
        super().calculate(atoms, properties, system_changes)


class ForcesOnly(Morse):
    implemented_properties = ("forces",)


class EnergyOnly(Morse):
    implemented_properties = ("energy",)


class TellsItsThreads(Morse):
    """The energy is the number of threads of its process in eV."""

    def __init__(self, device: str) -> None:
        super().__init__()
        if device != "cpu":
            raise ValueError(f"this device is no CPU: {device}")

    def calculate(self, atoms: Atoms, properties=None, system_changes=None) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["energy"] = float(os.environ["OMP_NUM_THREADS"])


class Faulty(Morse):
    """Does one thing wrong, on some formulas and in a window of the distance of atoms 0 and 1."""

    def __init__(self, fault: str, formulas=None, window=None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.fault, self.formulas, self.window = fault, formulas, window

    def _hits(self, atoms: Atoms) -> bool:
        if self.formulas is not None and atoms.get_chemical_formula() not in self.formulas:
            return False
        return self.window is None or self.window[0] < atoms.get_distance(0, 1) < self.window[1]

    def calculate(self, atoms: Atoms, properties=None, system_changes=None) -> None:
        super().calculate(atoms, properties, system_changes)
        if self._hits(atoms):
            getattr(self, f"_{self.fault}")()

    def _raise(self) -> None:
        raise RuntimeError("SCF did not converge\n   in 250 cycles")

    def _nan_energy(self) -> None:
        self.results["energy"] = float("nan")

    def _infinite_force(self) -> None:
        self.results["forces"][0, 2] = np.inf

    def _extra_atom(self) -> None:
        self.results["forces"] = np.zeros((len(self.results["forces"]) + 1, 3))

    def _flat_forces(self) -> None:
        self.results["forces"] = self.results["forces"].ravel()

    def _no_forces(self) -> None:
        del self.results["forces"]

    def _hang(self) -> None:
        time.sleep(3600)

    def _segfault(self) -> None:
        ctypes.string_at(0)

    def _exit(self) -> None:
        os._exit(3)

    def _sys_exit(self) -> None:
        sys.exit("error stop")

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _terminate(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    def _memory(self) -> None:
        leave_hardly_any_memory()
        np.ones(400_000_000)

    def _absurd(self) -> None:
        np.zeros(10**14)

    def _device_memory(self) -> None:
        raise DeviceOutOfMemoryError("CUDA out of memory")

    def _lose_device(self) -> None:
        self.formulas = self.window = None  # CUDA refuses every further call of this process
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with")


def construction_raises() -> Calculator:
    raise FileNotFoundError("no parameters\nfor this method")


def construction_dies() -> Calculator:
    os._exit(7)


class DiesAtTimes(Morse):
    """The kernel ends it at the so many-th call of each process, the first few times."""

    def __init__(self, marker: str, times: int, calls: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.marker, self.times, self.left = Path(marker), times, calls

    def calculate(self, atoms: Atoms, properties=None, system_changes=None) -> None:
        self.left -= 1
        died = len(self.marker.read_text()) if self.marker.exists() else 0
        if self.left < 0 and died < self.times:
            self.marker.write_text("x" * (died + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        super().calculate(atoms, properties, system_changes)


def construction_hangs() -> Calculator:
    time.sleep(3600)
    raise AssertionError


def construction_needs_device_memory() -> Calculator:
    raise DeviceOutOfMemoryError("CUDA out of memory: weights do not fit")


def construction_finds_no_device() -> Calculator:
    raise RuntimeError("CUDA error: uncorrectable ECC error encountered")


def construction_needs_memory() -> Calculator:
    leave_hardly_any_memory()
    raise MemoryError("weights do not fit")


def construction_is_absurd() -> Calculator:
    raise MemoryError("weights of 728 TiB")


def leave_hardly_any_memory() -> None:
    """As on a machine whose memory others hold: what this process has is nearly all it may have."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = int(1.02 * pages * resource.getpagesize())
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def dies_and_does_not_come_back(marker: str, formula: str) -> Calculator:
    """Dies on a formula; the second construction fails."""
    if Path(marker).exists():
        raise OSError("the weights are gone")
    Path(marker).touch()
    return Faulty("exit", [formula])


def visible_devices(model: object) -> str:
    """The GPUs that the process of a model sees; called in it."""
    return os.environ["CUDA_VISIBLE_DEVICES"]
