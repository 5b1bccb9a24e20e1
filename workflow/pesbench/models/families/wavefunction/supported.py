"""What full CI is made for here, and words of an entry and a file, without its packages."""

from __future__ import annotations

from collections.abc import Sequence

from ase.data import atomic_numbers, chemical_symbols
from ase.formula import Formula

from pesbench.core.interface import Batch
from pesbench.models.frame_by_frame import UnsupportedError

CONTENT = "wavefunctions.json"  # member of a weight file
MOST_ATOMS = 8
MOST_ORBITALS = 60  # a density matrix of two electrons has 100 MB
STATES, ENERGIES = "states", "energies"  # what an entry interpolates


def hill(formula: str) -> str:
    """A sum formula in Hill's order, such as `HLi` of `LiH`.

    Raises:
        ValueError: it is no sum formula.
    """
    parsed = Formula(formula)
    if not parsed.count() or not set(parsed.count()) <= set(atomic_numbers):
        raise ValueError(f"{formula!r} is no sum formula")
    return str(parsed.format("hill"))


def formula_of(numbers: Sequence[int]) -> str:
    """Sum formula of atomic numbers, in Hill's order."""
    return str(Formula.from_list([chemical_symbols[z] for z in numbers]).format("hill"))


def check_state(system: Batch) -> None:
    """Refuse a batch of one system that is no neutral singlet.

    Raises:
        UnsupportedError: it is charged, or has another multiplicity.
    """
    if system.charge[0]:
        raise UnsupportedError("neutral molecules only")
    if system.spin[0] != 1:
        raise UnsupportedError("singlets only")
