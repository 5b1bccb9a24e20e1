"""Family `tblite`: extended tight binding (GFN1-xTB, GFN2-xTB, IPEA1-xTB) through tblite.

Every frame gets a fresh calculator: a warm start changes forces by up to 4e-3 eV/Å.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from ase.units import Bohr, Hartree
from tblite.interface import Calculator

from pesbench.core.interface import Batch, ModelInfo, Result
from pesbench.models.frame_by_frame import evaluate_frame_by_frame

HEAVIEST_ELEMENT = 86  # radon, where the parametrisations end


class TBLiteModel:
    """An xTB method.

    Args:
        method: A name tblite knows, such as `GFN2-xTB`.
        accuracy: tblite's numerical accuracy; 1 is its default, smaller is tighter.
    """

    def __init__(self, method: str, accuracy: float = 1.0) -> None:
        self._method, self._accuracy = method, accuracy

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            elements=frozenset(range(1, HEAVIEST_ELEMENT + 1)),
            charges=True,
            batched=False,
            device="cpu",
            dtype="float64",
            details={"tblite": version("tblite"), "method": self._method},
        )

    def evaluate(self, batch: Batch) -> Result:
        return evaluate_frame_by_frame(batch, self._single)

    def _single(self, system: Batch) -> tuple[float, np.ndarray]:
        calculator = Calculator(
            self._method,
            system.numbers,
            system.positions / Bohr,
            charge=float(system.charge[0]),
            uhf=int(system.spin[0]) - 1,
        )
        calculator.set("accuracy", self._accuracy)
        calculator.set("verbosity", 0)
        result = calculator.singlepoint()
        return float(result.get("energy")) * Hartree, -result.get("gradient") * (Hartree / Bohr)
