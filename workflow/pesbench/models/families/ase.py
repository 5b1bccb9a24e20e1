"""Family `ase`: any ASE calculator, by import path and arguments."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers

from pesbench.core.errors import UserError, signal_name
from pesbench.core.family import DESCRIBING, EntrySettings, Family, LoadJob
from pesbench.core.interface import Batch, Model, ModelInfo, one_energy, one_line
from pesbench.core.settings import setting
from pesbench.models.frame_by_frame import FrameByFrame

IMPORT_CHECK_TIMEOUT_S = 300
_FAILS_AT_IMPORT = 4  # exit code
logger = logging.getLogger("pesbench")


@dataclass(frozen=True, kw_only=True)
class ASESettings(EntrySettings):
    """Keys of an entry."""

    calculator: str = setting(
        help="Import path of the calculator, `module:Class` or `module:function`. The module may "
        "lie in the working folder, which is searched after all packages.",
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
    )
    arguments: Mapping[str, Any] = setting(dict, help="Keyword arguments of the calculator.")
    fresh: bool = setting(
        False, help="Whether every frame gets a new calculator; self-consistent methods need this."
    )
    elements: tuple[str, ...] | None = setting(
        None,
        help="Symbols of the elements that the calculator knows; scans with other elements are "
        "`unsupported` and not tried.",
    )
    trained: bool = setting(
        True,
        help="Whether `level_of_theory` is that of the training data of a potential. Set `false` "
        "for a method of quantum chemistry, which is the reference of a scan set of the "
        "same level.",
    )
    charges: bool = setting(
        False,
        help='Whether the calculator uses `atoms.info["charge"]`; if not, charged molecules are '
        "`unsupported`.",
    )


class ASEModel(FrameByFrame):
    """An ASE calculator, one system at a time.

    Args:
        factory: The calculator class, or a function that returns a calculator.
        arguments: Keyword arguments of the factory.
        fresh: Whether every frame gets a calculator of its own, as self-consistent methods need.
        elements: Symbols the calculator knows; None if it shall be asked for any.
        charges: Whether it takes account of `atoms.info["charge"]`.
    """

    def __init__(
        self,
        factory: Callable[..., Calculator],
        arguments: Mapping[str, Any],
        *,
        fresh: bool,
        elements: Sequence[str] | None,
        charges: bool,
    ) -> None:
        self._factory, self._arguments = factory, dict(arguments)
        self._calculator = None if fresh else factory(**self._arguments)
        known = None if elements is None else frozenset(atomic_numbers[e] for e in elements)
        self._info = ModelInfo(
            elements=known,
            charges=charges,
            batched=False,
            device="calculator",
            dtype="calculator",
            details={"ase": version("ase")},
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def single(self, system: Batch) -> tuple[float | None, Any]:
        fresh = self._calculator is None
        calculator = self._factory(**self._arguments) if fresh else self._calculator
        return ask(calculator, atoms_of(system))


def atoms_of(system: Batch) -> Atoms:
    """A batch of one system as ASE has it."""
    return Atoms(
        system.numbers, system.positions, cell=system.cell[0], pbc=system.pbc[0],
        info={"charge": int(system.charge[0]), "spin": int(system.spin[0])},
    )  # fmt: skip


def ask(calculator: Any, atoms: Atoms) -> tuple[float | None, Any]:
    """Energy in eV and forces in eV/Å of some atoms, computed again by a calculator.

    A calculator of ASE's fills `results` when `calculate` is called. One that overrides
    `get_property`, or has `get_potential_energy` and `get_forces` alone, is asked by these.

    Returns:
        The energy, None where the calculator offers none, and the forces as they were given.

    Raises:
        ValueError: it has no forces, or the energy is not one number.
        Exception: whatever it raises.
    """
    offered = calculator.implemented_properties
    properties = [name for name in ("energy", "forces") if name in offered]
    if "forces" not in properties:
        raise ValueError("this calculator has no forces")
    atoms.calc = calculator
    results: Mapping[str, Any] = {}
    if hasattr(calculator, "calculate"):
        # requested together, so that the calculator computes once
        calculator.calculate(atoms, list(properties), list(all_changes))
        results = calculator.results

    own = Calculator.get_property

    def value(name: str, method: str) -> Any:
        if name in results:
            return results[name]
        if not hasattr(calculator, "calculate"):
            return getattr(calculator, method)(atoms)
        if getattr(type(calculator), "get_property", own) is not own:
            return calculator.get_property(name, atoms)
        raise KeyError(f"the calculator has put no {name!r} into its results")

    forces = value("forces", "get_forces")
    if "energy" not in properties:
        return None, forces
    return one_energy(value("energy", "get_potential_energy")), forces


def import_object(path: str) -> Any:
    """The object at `module:name`, for instance `ase.calculators.emt:EMT`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def check_import(name: str, path: str) -> None:
    """Refuse an import path that leads nowhere.

    The import runs in a process of its own: it may be slow, or change global state. Code that is
    there and crashes or hangs when it is imported is a model that does not load, which is a result.

    Raises:
        UserError: with the original error.
    """
    if not all(path.partition(":")) or not path.isprintable():
        raise UserError(
            f"model {name!r}: `calculator: {path}` is no import path; write module:Class"
        )
    code = (
        "import os, sys; sys.path.append(os.getcwd())\n"  # last: see surroundings.py
        "import importlib; module, _, name = sys.argv[1].partition(':')\n"
        "try: found = importlib.import_module(module)\n"
        "except ImportError as error: sys.exit(f'{type(error).__name__}: {error}')\n"
        "except BaseException as error:\n"
        "    try: print(f'{type(error).__name__}: {error}', file=sys.stderr, flush=True)\n"
        f"    finally: os._exit({_FAILS_AT_IMPORT})\n"
        "if not hasattr(found, name): sys.exit(f'{module!r} has no {name!r}')"
    )
    with tempfile.TemporaryFile() as printed:  # no pipe, which a child of the import might hold
        process = subprocess.Popen(
            [sys.executable, "-c", code, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=printed,
            env=os.environ | {"PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )
        try:
            code_of_exit = process.wait(IMPORT_CHECK_TIMEOUT_S)
            printed.seek(max(0, printed.seek(0, os.SEEK_END) - 10_000))
            said = printed.read().decode(errors="replace").strip()
            reason = one_line(said.splitlines()[-1]) if said else "no message"
        except subprocess.TimeoutExpired:
            reason, code_of_exit = f"no answer in {IMPORT_CHECK_TIMEOUT_S} s", _FAILS_AT_IMPORT
        finally:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code_of_exit == 1:
        raise UserError(
            f"model {name!r}: `calculator: {path}` does not import ({reason}); "
            "correct the path (module:Class) or install its package"
        )
    if code_of_exit:
        died = f"exit code {code_of_exit}"
        if code_of_exit < 0:
            died = f"signal {signal_name(-code_of_exit)}"
        reason = reason if code_of_exit == _FAILS_AT_IMPORT else died
        logger.warning("model %r: fails when it is imported (%s)", name, reason)


class ASE(Family):
    """Any ASE calculator."""

    name = "ase"
    about = (
        "Any ASE calculator, frame by frame on CPUs in the environment of Snakemake. For a GPU or "
        "packages of its own write a family ([CONTRIBUTING.md](../CONTRIBUTING.md))."
    )
    settings = ASESettings
    describing = DESCRIBING - {"elements"}  # no other properties are requested
    packages = ("ase",)
    gpu = False
    seconds_on_cpu = 5e-3
    peak_memory_mb = 4000

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        check_import(name, settings["calculator"])

    def load(self, job: LoadJob) -> Model:
        settings = job.settings
        return ASEModel(
            import_object(settings["calculator"]),
            settings["arguments"],
            fresh=settings["fresh"],
            elements=settings.get("elements"),
            charges=settings["charges"],
        )


FAMILY = ASE()
