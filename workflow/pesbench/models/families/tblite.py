"""Family `tblite`: extended tight binding (GFN1-xTB, GFN2-xTB, IPEA1-xTB) through tblite.

Every frame gets a fresh calculator: a warm start changes forces by up to 4e-3 eV/Å.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from ase.units import Bohr, Hartree

from pesbench.core.family import EntrySettings, Family, LoadJob
from pesbench.core.interface import Batch, Model, ModelInfo
from pesbench.core.settings import setting
from pesbench.models.frame_by_frame import FrameByFrame

HEAVIEST_ELEMENT = 86  # radon, where the parametrisations end


@dataclass(frozen=True, kw_only=True)
class TBLiteSettings(EntrySettings):
    """Keys of an entry."""

    method: str = setting(help="Parametrisation.", choices=("GFN1-xTB", "GFN2-xTB", "IPEA1-xTB"))
    accuracy: float = setting(
        1.0, help="tblite's numerical accuracy; smaller is tighter.", above=0, at_most=1_000_000
    )


class TBLiteModel(FrameByFrame):
    """An xTB method.

    Args:
        method: A name tblite knows, such as `GFN2-xTB`.
        accuracy: tblite's numerical accuracy; 1 is its default, smaller is tighter.
    """

    def __init__(self, method: str, accuracy: float = 1.0) -> None:
        from tblite.interface import Calculator

        self._calculator: Any = Calculator
        self._method, self._accuracy = method, accuracy

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            elements=frozenset(range(1, HEAVIEST_ELEMENT + 1)),
            charges=True,
            spins=True,
            batched=False,
            device="cpu",
            dtype="float64",
            details={"tblite": version("tblite"), "method": self._method},
        )

    def single(self, system: Batch) -> tuple[float, np.ndarray]:
        calculator = self._calculator(
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


class TBLite(Family):
    """Extended tight binding."""

    name = "tblite"
    about = (
        "Extended tight binding, a method: self-consistent, with a fresh calculator for every "
        "frame."
    )
    settings = TBLiteSettings
    packages = ("tblite",)
    modules = ("tblite",)
    extra = "tblite"
    gpu = False
    seconds_on_cpu = 2e-3
    peak_memory_mb = 2000
    runs_code = False

    def is_method(self, settings: Mapping[str, Any]) -> bool:
        return True

    def load(self, job: LoadJob) -> Model:
        return TBLiteModel(job.settings["method"], job.settings["accuracy"])


FAMILY = TBLite()
