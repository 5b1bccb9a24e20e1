"""Scans: a system moved along one coordinate; positions of every frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pesbench.core.bond_graph import to_hydrogen


@dataclass(frozen=True)
class Scan:
    """One system along one coordinate, with its reference where there is one.

    Attributes:
        id: `<bond>/<name>`, such as `C-N/25729`.
        system: Name of the molecule; scans of one molecule share it.
        bond: Bond type, element symbols in alphabetical order.
        atoms: Indices (i, j) of the bond.
        coordinate: Bond length of every frame in Å, shape (F,).
        positions: Å, shape (F, N, 3).
        numbers: Atomic numbers, shape (N,).
        fragment: 0 or 1 for every atom, shape (N,).
        bonds: Bond graph, shape (B, 2).
        positions_unperturbed: The molecule before the scan, Å, shape (N, 3).
        energy: Reference in eV, shape (F,); NaN where there is none.
        forces: Reference in eV/Å, shape (F, N, 3).
        charge: Total charge in e.
        spin: Multiplicity.
        smiles: Mapped SMILES or "".
        kind: What is scanned; `bond` here.
        quality: `ok`, `marked` or `dropped`, by the gate on references.
        reason: Why it was marked or dropped.
    """

    id: str
    system: str
    bond: str
    atoms: tuple[int, int]
    coordinate: NDArray[np.float64]
    positions: NDArray[np.float64]
    numbers: NDArray[np.int64]
    fragment: NDArray[np.int64]
    bonds: NDArray[np.int64]
    positions_unperturbed: NDArray[np.float64]
    energy: NDArray[np.float64]
    forces: NDArray[np.float64]
    charge: int = 0
    spin: int = 1
    smiles: str = ""
    kind: str = "bond"
    quality: str = field(default="ok")
    reason: str = field(default="")

    @property
    def n_frames(self) -> int:
        return len(self.coordinate)

    @property
    def to_hydrogen(self) -> bool:
        """Whether the bond is one to a hydrogen, which BSCT-SPICE has none of."""
        return to_hydrogen(self.bond)

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)
