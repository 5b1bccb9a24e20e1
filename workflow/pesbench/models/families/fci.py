"""Family `fci`: full configuration interaction, exact in a small basis set.

It is the reference of family `wavefunction`. Every frame is a calculation of its own. Energies and
forces are those of its vector over Löwdin's orbitals, whose forces need no response equations.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from ase.formula import Formula
from ase.units import Bohr, Hartree
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.family import EntrySettings, Family, LoadJob
from pesbench.core.interface import Batch, Model, ModelInfo
from pesbench.core.settings import setting
from pesbench.models.families.wavefunction.supported import check_state, formula_of, hill
from pesbench.models.frame_by_frame import FrameByFrame, UnsupportedError


@dataclass(frozen=True, kw_only=True)
class FCISettings(EntrySettings):
    """Keys of an entry. A frame may take a minute: `batch_size` and `timeout_s` differ."""

    bases: Mapping[str, str] = setting(
        help="PySCF's name of the basis set of each molecule, by its sum formula, such as `{H2O: "
        "sto-3g}`. All other molecules, ions and other multiplicities than singlets are "
        "`unsupported`, as are vectors of more than 2 000 000 determinants."
    )
    batch_size: int = setting(
        1,
        help="Frames of a call; `auto` would measure for a long time.",
        at_least=1,
        at_most=1_000_000,
    )
    timeout_s: float = setting(
        3600,
        help="Longest time that a call of the model may take, in seconds.",
        above=0,
        at_most=10_000_000,
    )


class FCIModel(FrameByFrame):
    """Full CI in a basis set that each molecule has of its own.

    Args:
        bases: Names of basis sets by sum formulas.
    """

    def __init__(self, bases: Mapping[str, str]) -> None:
        self._bases = {hill(formula): basis for formula, basis in bases.items()}

    @property
    def info(self) -> ModelInfo:
        symbols = {symbol for formula in self._bases for symbol in Formula(formula).count()}
        return ModelInfo(
            elements=frozenset(atomic_numbers[symbol] for symbol in symbols),
            charges=False,
            batched=False,
            device="cpu",
            dtype="float64",
            details={"pyscf": version("pyscf"), "bases": self._bases},
        )

    def single(self, system: Batch) -> tuple[float, NDArray[np.float64]]:
        """Energy in eV and forces in eV/Å of a batch of one system.

        Raises:
            UnsupportedError: the molecule has no basis set, is an ion or no singlet, or too large.
            NotConvergedError: there is no state.
            ValueError: atoms are too close.
        """
        from pesbench.models.families.wavefunction.full_ci import solved

        check_state(system)
        numbers = tuple(system.numbers.tolist())
        name = formula_of(numbers)
        if name not in self._bases:
            raise UnsupportedError(
                f"no basis set for {name}; there is one for {', '.join(self._bases)}"
            )
        found = solved(numbers, self._bases[name], system.positions / Bohr)
        return found.energy * Hartree, -found.gradient * (Hartree / Bohr)


def _check_bases(name: str, bases: Mapping[str, str]) -> None:
    """Refuse basis sets that PySCF lacks, before any work.

    Raises:
        UserError: one line with the entry, the molecule and the cure.
    """
    if find_spec("pyscf") is None:
        raise UserError(f"model {name!r}: pyscf is not installed; pip install '.[pyscf]'")
    from pyscf import gto

    from pesbench.models.families.wavefunction.orbitals import check_basis

    for formula, basis in bases.items():
        place = f"model {name!r}: `bases: {{{formula}: {basis}}}`"
        try:
            symbols = Formula(hill(formula)).count()
        except ValueError as error:
            raise UserError(f"{place}: no sum formula; write one such as H2O") from error
        try:
            check_basis(basis)
        except UnsupportedError as error:
            raise UserError(f"{place}: {error}") from error
        for symbol in symbols:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # advice to install another source
                    gto.basis.load(basis, symbol)
            except (KeyError, RuntimeError, ValueError, OSError) as error:
                raise UserError(
                    f"{place}: PySCF has no such basis set for {symbol}; give a name such as sto-3g"
                ) from error


class FCI(Family):
    """Full configuration interaction."""

    name = "fci"
    about = (
        "Full configuration interaction with PySCF, a method (extra `pyscf`): exact in a small "
        "basis set, for a few small molecules ([docs/wavefunction.md](../docs/wavefunction.md))."
    )
    settings = FCISettings
    packages = ("pyscf",)
    modules = ("pyscf",)
    extra = "pyscf"
    gpu = False
    seconds_on_cpu = 1.0
    peak_memory_mb = 2000
    runs_code = False

    def is_method(self, settings: Mapping[str, Any]) -> bool:
        return True

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        _check_bases(name, settings["bases"])

    def load(self, job: LoadJob) -> Model:
        return FCIModel(job.settings["bases"])


FAMILY = FCI()
