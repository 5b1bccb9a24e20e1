"""Systems: elements, charge, spin, geometry and bond graph of one molecule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class System:
    """One molecule.

    Attributes:
        id: Name, unique in its scan set.
        numbers: Atomic numbers, shape (N,).
        positions: Å, shape (N, 3), float64.
        bonds: Pairs of atom indices i < j, sorted, shape (B, 2).
        charge: Total charge in units of e.
        spin: Multiplicity 2S + 1.
        smiles: SMILES whose atom-map numbers are the atom indices plus one, or "".
        scan_bonds: The bonds to scan, shape (S, 2); None for all that can be.
        failed: Why the molecule has no geometry to scan, or "".
    """

    id: str
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    bonds: NDArray[np.int64]
    charge: int = 0
    spin: int = 1
    smiles: str = ""
    scan_bonds: NDArray[np.int64] | None = None
    failed: str = ""
