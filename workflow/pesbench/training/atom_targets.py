"""Quantities of atoms by extended tight binding: what a pretraining learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import Bohr
from numpy.typing import NDArray

from pesbench.core.errors import UserError


@dataclass(frozen=True)
class AtomTargets:
    """Quantities of the atoms of one frame.

    Attributes:
        charges: Mulliken charges, e, shape (N,).
        pairs: Pairs of atoms i < j, shape (P, 2).
        bond_orders: Wiberg bond orders of the pairs, shape (P,).
        lengths: Their distances, Å, shape (P,).
    """

    charges: NDArray[np.float64]
    pairs: NDArray[np.int64]
    bond_orders: NDArray[np.float64]
    lengths: NDArray[np.float64]


def atom_targets(atoms: Atoms, method: str) -> AtomTargets:
    """Charges and bond orders of a frame by tblite.

    Args:
        atoms: Frame; `info` may hold `charge` and `spin`, a multiplicity.
        method: Name of a parametrisation, such as `GFN2-xTB`.

    Raises:
        UserError: tblite does not converge.
    """
    from tblite.interface import Calculator

    calculator = Calculator(
        method, atoms.numbers, atoms.positions / Bohr,
        charge=float(atoms.info.get("charge", 0)), uhf=int(atoms.info.get("spin", 1)) - 1,
    )  # fmt: skip
    calculator.set("verbosity", 0)
    try:
        result = calculator.singlepoint()
    except RuntimeError as error:
        name = atoms.info.get("system", atoms.symbols)
        raise UserError(
            f"{name} at step {atoms.info.get('step', 'unknown')}: {method} gives no charges "
            f"({' '.join(str(error).split())}); take the frame out"
        ) from error
    n = len(atoms)
    # xTB without spin polarisation has one channel, the last axis
    orders = np.asarray(result.get("bond-orders"), dtype=np.float64).reshape(n, n, -1)[:, :, 0]
    i, j = np.triu_indices(n, 1)
    lengths = np.linalg.norm(atoms.positions[i] - atoms.positions[j], axis=1)
    charges = np.asarray(result.get("charges"), dtype=np.float64)
    return AtomTargets(charges, np.stack([i, j], axis=1), orders[i, j], lengths)
