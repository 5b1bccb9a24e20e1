"""Family `ase`: any ASE calculator, by import path and arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers

from pesbench.models.frame_by_frame import evaluate_frame_by_frame
from pesbench.models.interface import Batch, ModelInfo, Result, one_energy


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
        atoms.calc = self._calculator or self._factory(**self._arguments)
        # asked in one go, so that the calculator computes once
        properties = [p for p in ("energy", "forces") if p in atoms.calc.implemented_properties]
        if "forces" not in properties:
            raise ValueError("this calculator has no forces")
        atoms.calc.calculate(atoms, properties, ["positions", "numbers", "cell", "pbc"])
        results = atoms.calc.results
        return (one_energy(results["energy"]) if "energy" in properties else None), results[
            "forces"
        ]
