"""Checks by distances alone whether a geometry is a complete molecule in three dimensions.

Files without bond orders (xyz, PDB, ASE's traj) do not say that hydrogens were left out. Carbon
tells: it has four bonds, and the length of a bond gives its order.
"""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray

from pesbench.core.bond_graph import connected_parts
from pesbench.core.systems import System

HYDROGEN, CARBON, NITROGEN, OXYGEN = 1, 6, 7, 8
FOUR_IN_SPACE = (6, 7, 14)  # four neighbours of C, N or Si are never in one plane,
NONMETALS = (1, 6, 7, 8, 9, 14, 15, 16, 17, 35, 53)  # if all are of these
LONGEST_TO_HYDROGEN = 1.3  # covalent-radius sums; a hydrogen between two oxygens has 1.25
FLAT_ANGSTROM = 1e-3
PAULING_ANGSTROM = 0.3  # bond order exp((r_single - r) / 0.3 Å), roughly, for the first rows
TOLERANCE = 0.25  # bond orders
OPEN_VALENCES = 2.0  # of carbenes, which charge and spin do not show
TRIPLE = 2.3  # least bond order of CO and isocyanides, whose carbon has no bond more
NITROGEN_TOLERANCE = 0.75  # bond orders, of a nitrogen without hydrogens in its molecule


def valences_left(
    numbers: NDArray[np.int64], positions: NDArray[np.float64], bonds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Number of bonds that each atom lacks to its valence, with bond orders from bond lengths.

    Carbon is judged everywhere, nitrogen where no hydrogen is in its molecule, oxygen and nitrogen
    where they have no bond at all.

    Args:
        numbers: Atomic numbers, shape (N,).
        positions: Å, shape (N, 3).
        bonds: Pairs of atoms, shape (B, 2).

    Returns:
        Numbers of at least 0, and 0 for all other elements, shape (N,).
    """
    count, part = connected_parts(len(numbers), bonds)
    i, j = bonds.T
    length = np.linalg.norm(positions[i] - positions[j], axis=1)
    single = covalent_radii[numbers[i]] + covalent_radii[numbers[j]]
    order = np.clip(np.exp((single - length) / PAULING_ANGSTROM), 0.5, 3.0)
    order[(numbers[i] == 1) | (numbers[j] == 1)] = 1.0
    total = np.zeros(len(numbers))
    np.add.at(total, i, order)
    np.add.at(total, j, order)
    left = np.where(numbers == CARBON, np.floor(4.0 - total + TOLERANCE), 0.0)
    highest = np.zeros(len(numbers))
    for atoms, others in ((i, j), (j, i)):
        hetero = (numbers[others] == NITROGEN) | (numbers[others] == OXYGEN)
        np.maximum.at(highest, atoms, np.where(hetero, order, 0.0))
    neighbours = np.bincount(bonds.ravel(), minlength=len(numbers))
    left[(numbers == CARBON) & (highest >= TRIPLE) & (neighbours == 1)] = 0.0
    hydrogens = np.bincount(part[numbers == HYDROGEN], minlength=count)[part]
    bare = (numbers == NITROGEN) & (hydrogens == 0)
    left[bare] = (3.0 - total - NITROGEN_TOLERANCE)[bare]
    left[(numbers == OXYGEN) & (neighbours == 0)] = 2.0
    return np.clip(left, 0.0, None)


def why_incomplete(system: System, bond_orders: bool = False) -> str:
    """What shows that a geometry is a drawing or lacks hydrogens, with the cure, or "".

    Args:
        system: System with a geometry.
        bond_orders: Whether its record states them, so that hydrogens need no guess. A mapped
            SMILES says which there are, too.
    """
    centred = system.positions - system.positions.mean(axis=0)
    if np.isnan(centred).any() or len(centred) < 2:
        return ""
    if np.linalg.svd(centred, compute_uv=False)[-1] < FLAT_ANGSTROM:
        organic = system.bonds[np.isin(system.numbers[system.bonds], NONMETALS).all(axis=1)]
        neighbours = np.bincount(organic.ravel(), minlength=len(system.numbers))
        flat = np.flatnonzero((neighbours >= 4) & np.isin(system.numbers, FOUR_IN_SPACE))
        if len(flat):
            symbol = chemical_symbols[system.numbers[flat[0]]]
            return (
                f"a 2D drawing: all atoms lie in one plane, and atom {flat[0]} ({symbol}) has "
                "four neighbours; give 3D coordinates, or its SMILES"
            )
    if reason := _far_hydrogens(system):
        return reason
    if system.smiles or bond_orders or not len(system.bonds):
        return ""
    left = valences_left(system.numbers, system.positions, system.bonds)
    carbon = system.numbers == CARBON
    open_shell = abs(system.charge) + (system.spin - 1)
    count, part = connected_parts(len(system.numbers), system.bonds)
    of_carbon = np.bincount(part, left * carbon, count)
    of_others = np.bincount(part, left * ~carbon, count)
    # two atoms may be a first guess of N2; of more, one nitrogen without a bond is enough
    others_open = np.where(np.bincount(part) == 2, OPEN_VALENCES, 1.0)
    wrong = (of_carbon > OPEN_VALENCES + open_shell) | (of_others > others_open + open_shell)
    if wrong.any():
        left = np.where(wrong[part], left, 0.0)
        return (
            f"about {left.sum():.0f} hydrogens seem to be missing (atom {int(np.argmax(left))} "
            f"lacks {left.max():.0f}); give all of them, or its SMILES, or, if it is complete, "
            "`smiles` with every atom mapped"
        )
    return ""


def _far_hydrogens(system: System) -> str:
    """Whether every hydrogen is far from all atoms, as in drawings and positions in bohr, or ""."""
    hydrogens = np.flatnonzero(system.numbers == HYDROGEN)
    if len(hydrogens) < 2 or len(hydrogens) == len(system.numbers):
        return ""
    separation = system.positions[hydrogens, None] - system.positions[None]
    sums = covalent_radii[HYDROGEN] + covalent_radii[system.numbers]
    ratio = np.linalg.norm(separation, axis=2) / sums
    ratio[np.arange(len(hydrogens)), hydrogens] = np.inf  # of itself
    if ratio.min() > LONGEST_TO_HYDROGEN:
        k, nearest = np.unravel_index(int(np.argmin(ratio)), ratio.shape)
        distance = float(ratio[k, nearest] * sums[nearest])
        return (
            f"no hydrogen is closer than {distance:.2f} Å to the next atom; give positions of the "
            "molecule in three dimensions and in Å (no drawing, not in bohr)"
        )
    return ""
