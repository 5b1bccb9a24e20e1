"""Whether a geometry is a complete molecule in three dimensions, judged by distances alone.

Files without bond orders (xyz, PDB, ASE's traj) do not say that hydrogens were left out. Carbon
tells: it has four bonds, and the length of a bond gives its order.
"""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from pesbench.structures import System

CARBON = 6
FOUR_IN_SPACE = (6, 7, 14)  # four neighbours of C, N or Si are never in one plane
FLAT_ANGSTROM = 1e-3
PAULING_ANGSTROM = 0.3  # bond order exp((r_single - r) / 0.3 Å), roughly, for the first rows
TOLERANCE = 0.25  # bond orders
OPEN_VALENCES = 2.0  # of CO, isocyanides and carbenes, which no charge or spin tells


def carbon_valences_left(
    numbers: NDArray[np.int64], positions: NDArray[np.float64], bonds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """By how many bonds each carbon stays below four, with bond orders from its bond lengths.

    Args:
        numbers: Atomic numbers, shape (N,).
        positions: Å, shape (N, 3).
        bonds: Pairs of atoms, shape (B, 2).

    Returns:
        Whole numbers of at least 0, and 0 for all other elements, shape (N,).
    """
    i, j = bonds.T
    length = np.linalg.norm(positions[i] - positions[j], axis=1)
    single = covalent_radii[numbers[i]] + covalent_radii[numbers[j]]
    order = np.clip(np.exp((single - length) / PAULING_ANGSTROM), 0.5, 3.0)
    order[(numbers[i] == 1) | (numbers[j] == 1)] = 1.0
    total = np.zeros(len(numbers))
    np.add.at(total, i, order)
    np.add.at(total, j, order)
    return np.where(numbers == CARBON, np.clip(np.floor(4.0 - total + TOLERANCE), 0.0, None), 0.0)


def why_incomplete(system: System, bond_orders: bool = False) -> str:
    """What shows that a geometry is a drawing or lacks hydrogens, with the cure, or "".

    Args:
        system: With a geometry.
        bond_orders: Whether its record states them, so that hydrogens need no guess. A mapped
            SMILES says which there are, too.
    """
    centred = system.positions - system.positions.mean(axis=0)
    if np.isnan(centred).any() or not len(system.bonds):
        return ""
    if np.linalg.svd(centred, compute_uv=False)[-1] < FLAT_ANGSTROM:
        neighbours = np.bincount(system.bonds.ravel(), minlength=len(system.numbers))
        flat = np.flatnonzero((neighbours >= 4) & np.isin(system.numbers, FOUR_IN_SPACE))
        if len(flat):
            symbol = chemical_symbols[system.numbers[flat[0]]]
            return (
                f"a 2D drawing: all atoms lie in one plane, and atom {flat[0]} ({symbol}) has "
                "four neighbours; give 3D coordinates, or its SMILES"
            )
    if system.smiles or bond_orders:
        return ""
    left = carbon_valences_left(system.numbers, system.positions, system.bonds)
    explained = OPEN_VALENCES + abs(system.charge) + (system.spin - 1)
    if left.sum() > explained:
        return (
            f"about {left.sum():.0f} hydrogens seem to be missing (atom {int(np.argmax(left))} "
            f"lacks {left.max():.0f}); give all of them, or its SMILES, or, if it is complete, "
            "`smiles` with every atom mapped"
        )
    return ""
