"""Family `ase`: any ASE calculator, by import path and arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers

from pesbench.core.family import LoadJob
from pesbench.core.interface import Batch, Model, ModelInfo, one_energy
from pesbench.core.settings import setting
from pesbench.models.called import QUANTITIES, CalledFamily, CalledSettings, info_of
from pesbench.models.calls import DEVICE, DTYPE, IMPORT_PATH
from pesbench.models.frame_by_frame import FrameByFrame
from pesbench.models.vacuum_box import boxed

UNKNOWN = "calculator"  # device or precision that only the calculator knows


@dataclass(frozen=True, kw_only=True)
class ASESettings(CalledSettings):
    """Keys of an entry."""

    calculator: str = setting(
        help="Import path of the calculator, `module:Class`, `module:function` or "
        "`module:Class.method`. The module may lie in the working folder, which is searched after "
        "all packages.",
        pattern=IMPORT_PATH,
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
    trained: bool = setting(
        True,
        help="Whether `level_of_theory` is that of the training data of a potential. Set `false` "
        "for a method of quantum chemistry, which is the reference of a scan set of the "
        "same level.",
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
        self._quantities = {key: QUANTITIES[what] for key, what in info_of(settings).items()}
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
        # or one that fails without a word would answer with those of another system
        with contextlib.suppress(AttributeError):  # some give them as a property
            calculator.results = {}
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


class ASE(CalledFamily):
    """Any ASE calculator."""

    name = "ase"
    about = (
        "Any ASE calculator, frame by frame ([calculators of any "
        "package](#calculators-of-any-package))."
    )
    settings = ASESettings
    path_key = "calculator"
    packages = ("ase",)
    seconds_on_cpu = 5e-3
    seconds_on_gpu = 5e-3  # a call a frame
    peak_memory_mb = 4000

    def load(self, job: LoadJob) -> Model:
        told = self.uses_gpu(job.settings) or job.settings.get(DEVICE) is not None
        device = self.device_of(job) if told else UNKNOWN
        return ASEModel(self.maker(job), job.settings, device)


FAMILY = ASE()
