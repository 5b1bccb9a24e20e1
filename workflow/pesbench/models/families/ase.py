"""Family `ase`: any ASE calculator, by import path and arguments."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers

from pesbench.core.errors import HostError, UserError
from pesbench.core.family import DESCRIBING, EntrySettings, Family, LoadJob
from pesbench.core.interface import Batch, Model, ModelInfo, one_energy
from pesbench.core.settings import setting
from pesbench.models.calls import DEVICE, DTYPE, IMPORT_PATH, check_calls, placeholders, prepared
from pesbench.models.frame_by_frame import FrameByFrame
from pesbench.models.import_check import check_imports
from pesbench.models.vacuum_box import boxed

CPU, GPU, CUDA = "cpu", "gpu", "cuda"
UNKNOWN = "calculator"  # device or precision that only the calculator knows
_CHARGE = "charge"
QUANTITIES: Mapping[str, Callable[[int, int], float]] = {  # of a total charge and a multiplicity
    _CHARGE: lambda charge, multiplicity: charge,
    "multiplicity": lambda charge, multiplicity: multiplicity,
    "unpaired": lambda charge, multiplicity: multiplicity - 1,
    "S": lambda charge, multiplicity: (multiplicity - 1) / 2,
}
INFO = {"charge": _CHARGE, "spin": "multiplicity"}


@dataclass(frozen=True, kw_only=True)
class ASESettings(EntrySettings):
    """Keys of an entry."""

    calculator: str = setting(
        help="Import path of the calculator, `module:Class`, `module:function` or "
        "`module:Class.method`. The module may lie in the working folder, which is searched after "
        "all packages.",
        pattern=IMPORT_PATH,
    )
    arguments: Mapping[str, Any] = setting(
        dict,
        help="Keyword arguments of the calculator. A value may be a call or an object "
        "([calculators of any package](#calculators-of-any-package)), and a text may hold "
        "`${device}` and `${dtype}`.",
    )
    positional: Any = setting(
        None,
        help="Positional arguments of the calculator: a list, or a call that returns one.",
    )
    device: str | None = setting(
        None,
        help="Whether the calculator gets a GPU. Without the key it does where `arguments` holds "
        "`${device}`, which becomes `cuda` or `cpu`.",
        choices=(GPU, CPU),
    )
    dtype: str | None = setting(
        None,
        help="Precision of the arithmetic: what `${dtype}` becomes, and what the results are said "
        "to be computed in.",
        choices=("float32", "float64"),
    )
    vacuum_box_angstrom: float | None = setting(
        None,
        help="For a calculator that knows periodic systems only: a molecule is put into a periodic "
        "cubic box that is at least so much larger than its extent, in Å. Take more than the "
        "cutoff of the model.",
        above=0,
        at_most=10_000,
    )
    info: Mapping[str, str] | None = setting(
        None,
        help="How charge and spin reach the calculator: keys of `atoms.info` with the quantity "
        "that each holds; `unpaired` is a number of electrons, `S` the total spin. Without the "
        "key, `{charge: charge, spin: multiplicity}`.",
        choices=tuple(QUANTITIES),
        empty=True,
    )
    initial: bool | None = setting(
        None,
        help="Whether charge and unpaired electrons are also given as ASE's initial charges and "
        "magnetic moments, all on the first atom, for a calculator that takes the sums of those.",
    )
    fresh: bool = setting(
        False,
        help="Whether every frame gets a new calculator; self-consistent methods need this. What "
        "calls in its arguments return is made once.",
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
        help="Whether the calculator takes account of the total charge; if not, charged molecules "
        "are `unsupported`.",
    )
    spins: bool = setting(
        False,
        help="Whether the calculator takes account of the spin; if not, molecules with a "
        "multiplicity other than 1 are `unsupported`.",
    )


class ASEModel(FrameByFrame):
    """An ASE calculator, one system at a time.

    Args:
        make: Makes the calculator.
        settings: Keys of the entry; those that are left out have their defaults.
        device: Where it runs, `cpu` or `cuda`; `UNKNOWN` where only the calculator knows.
    """

    def __init__(
        self, make: Callable[[], Any], settings: Mapping[str, Any], device: str = UNKNOWN
    ) -> None:
        self._make = make
        self._calculator = None if settings.get("fresh") else make()
        self._box_angstrom: float | None = settings.get("vacuum_box_angstrom")
        self._quantities = {key: QUANTITIES[what] for key, what in _info(settings).items()}
        self._initial = bool(settings.get("initial"))
        elements: Sequence[str] | None = settings.get("elements")
        self._info = ModelInfo(
            elements=elements and frozenset(atomic_numbers[one] for one in elements),
            charges=bool(settings.get("charges")),
            spins=bool(settings.get("spins")),
            batched=False,
            device=device,
            dtype=settings.get(DTYPE) or UNKNOWN,
            details={"ase": version("ase")},
        )

    @property
    def info(self) -> ModelInfo:
        return self._info

    def calculator(self) -> Any:
        """The calculator; a new one where every frame gets its own."""
        return self._make() if self._calculator is None else self._calculator

    def atoms(self, system: Batch) -> Atoms:
        """A batch of one system as this calculator gets it."""
        charge, multiplicity = int(system.charge[0]), int(system.spin[0])
        cell, pbc = system.cell[0], system.pbc[0]
        if self._box_angstrom is not None and not pbc.any():
            cell, pbc = boxed(system.positions, self._box_angstrom)
        info = {key: of(charge, multiplicity) for key, of in self._quantities.items()}
        atoms = Atoms(system.numbers, system.positions, cell=cell, pbc=pbc, info=info)
        if self._initial:
            on_first = [1.0] + [0.0] * (len(atoms) - 1)
            atoms.set_initial_charges([charge * one for one in on_first])
            atoms.set_initial_magnetic_moments([(multiplicity - 1) * one for one in on_first])
        return atoms

    def single(self, system: Batch) -> tuple[float | None, Any]:
        return ask(self.calculator(), self.atoms(system))


def _info(settings: Mapping[str, Any]) -> Mapping[str, str]:
    """Keys of `atoms.info` with the quantity that each holds."""
    said: Mapping[str, str] | None = settings.get("info")
    return INFO if said is None else said


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


class ASE(Family):
    """Any ASE calculator."""

    name = "ase"
    about = (
        "Any ASE calculator, frame by frame ([calculators of any "
        "package](#calculators-of-any-package))."
    )
    settings = ASESettings
    describing = DESCRIBING - {"elements"}  # no other properties are requested
    packages = ("ase",)
    seconds_on_cpu = 5e-3
    seconds_on_gpu = 5e-3  # a call a frame
    peak_memory_mb = 4000

    def uses_gpu(self, settings: Mapping[str, Any]) -> bool:
        said = settings.get(DEVICE)
        return DEVICE in placeholders(_call(settings)) if said is None else said == GPU

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        place = f"model {name!r}"
        dtype = settings.get(DTYPE)
        filling = {DEVICE: CPU} | ({} if dtype is None else {DTYPE: dtype})
        paths = check_calls(_call(settings), place, filling)
        given = set(_info(settings).values())
        for key, quantities in ("charges", {_CHARGE}), ("spins", set(QUANTITIES) - {_CHARGE}):
            if settings.get(key) and not (given & quantities or settings.get("initial")):
                raise UserError(
                    f"{place}: `{key}: true`, and `info` gives the calculator none of "
                    f"{', '.join(sorted(quantities))}; name a key of `atoms.info` that holds it"
                )
        if not (settings.get("requirements") or settings.get("python")):
            check_imports(name, paths)

    def load(self, job: LoadJob) -> Model:
        settings, uses_gpu = job.settings, self.uses_gpu(job.settings)
        device = _device(job.device) if uses_gpu else CPU
        filling = {DEVICE: device, DTYPE: settings.get(DTYPE) or ""}
        told = uses_gpu or settings.get(DEVICE) is not None
        return ASEModel(prepared(_call(settings), filling), settings, device if told else UNKNOWN)


def _call(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The call that makes the calculator of an entry."""
    parts = {key: settings[key] for key in ("arguments", "positional") if key in settings}
    return {"call": settings["calculator"], **parts}


def _device(asked: str) -> str:
    """`cpu` or `cuda`, of what a job is asked for.

    Raises:
        HostError: a GPU is asked for, and there is none.
    """
    if asked == CPU:
        return CPU
    if importlib.util.find_spec("torch") is not None:
        from pesbench.models.torch_devices import choose_device

        return str(choose_device(asked))
    there = any(Path("/dev").glob("nvidia[0-9]*"))
    if asked != "auto" and not there:
        raise HostError(f"device {asked!r} is asked for, but this machine has no GPU")
    return CUDA if there else CPU


FAMILY = ASE()
