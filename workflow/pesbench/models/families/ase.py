"""Family `ase`: any ASE calculator, by import path and arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import atomic_numbers

from pesbench.core.interface import Batch, ModelInfo, Result, one_energy
from pesbench.models.frame_by_frame import evaluate_frame_by_frame


class ASEModel:
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

    def evaluate(self, batch: Batch) -> Result:
        return evaluate_frame_by_frame(batch, self._single)

    def _single(self, system: Batch) -> tuple[float | None, Any]:
        atoms = Atoms(
            system.numbers, system.positions, cell=system.cell[0], pbc=system.pbc[0],
            info={"charge": int(system.charge[0]), "spin": int(system.spin[0])},
        )  # fmt: skip
        fresh = self._calculator is None
        return ask(self._factory(**self._arguments) if fresh else self._calculator, atoms)


def ask(calculator: Any, atoms: Atoms) -> tuple[float | None, Any]:
    """Energy in eV and forces in eV/Å that a calculator has for some atoms, computed anew.

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
        # asked in one go, so that the calculator computes once
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
