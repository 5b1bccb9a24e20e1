"""Bond graphs: from distances, their parts, and the fragments that a cut bond leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms


def canonical_bonds(bonds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bonds as sorted unique pairs i < j, shape (B, 2)."""
    pairs = np.sort(np.asarray(bonds, dtype=np.int64).reshape(-1, 2), axis=1)
    return np.unique(pairs, axis=0)


def bonds_from_geometry(atoms: Atoms) -> NDArray[np.int64]:
    """The bond graph by distance: ASE's natural cutoffs (covalent radii) times 1.2.

    Returns:
        Bonds, shape (B, 2), as `canonical_bonds`.
    """
    from ase.neighborlist import natural_cutoffs, neighbor_list

    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.2))
    return canonical_bonds(np.stack([i, j], axis=1))


def n_parts(n_atoms: int, bonds: NDArray[np.int64]) -> int:
    """Number of parts of a bond graph that are not connected with each other."""
    return connected_parts(n_atoms, bonds)[0]


def connected_parts(n_atoms: int, bonds: NDArray[np.int64]) -> tuple[int, NDArray[np.int32]]:
    """The number of connected parts of a bond graph, and that of each atom, shape (N,)."""
    # a third of a second, which every start of Snakemake would pay
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = bonds[:, 0], bonds[:, 1]
    graph = coo_array((np.ones(len(bonds)), ends), shape=(n_atoms, n_atoms))
    count, part = connected_components(graph, directed=False)
    return int(count), part


def bond_type(number_i: int, number_j: int) -> str:
    """The two element symbols in alphabetical order, such as `C-N`."""
    return "-".join(sorted((chemical_symbols[number_i], chemical_symbols[number_j])))


def to_hydrogen(bond: str) -> bool:
    """Whether a bond type is one with a hydrogen, which BSCT-SPICE has none of."""
    return "H" in bond.split("-")


def atom_classes(numbers: NDArray[np.int64], bonds: NDArray[np.int64]) -> list[int]:
    """A number of each atom, which atoms share that the bond graph does not distinguish.

    Atoms begin with their element and are told apart by what their neighbours are, again and again
    until no more are (colour refinement).

    Args:
        numbers: Atomic numbers, shape (N,).
        bonds: Bond graph, shape (B, 2).
    """
    neighbours: list[list[int]] = [[] for _ in numbers]
    for i, j in bonds.tolist():
        neighbours[i].append(j)
        neighbours[j].append(i)
    colours: list[int] = [int(number) for number in numbers]
    while True:
        signs = [
            (colour, sorted(colours[k] for k in near))
            for colour, near in zip(colours, neighbours, strict=True)
        ]
        ranks = {repr(sign): k for k, sign in enumerate(sorted(signs))}
        refined = [ranks[repr(sign)] for sign in signs]
        if len(set(refined)) == len(set(colours)):
            return refined
        colours = refined


def bond_class(classes: Sequence[int], atoms: tuple[int, int]) -> str:
    """A name that equivalent bonds of one molecule share; `classes` is of `atom_classes`."""
    return "-".join(map(str, sorted(classes[atom] for atom in atoms)))


def fragments(
    n_atoms: int, bonds: NDArray[np.int64], cut: tuple[int, int]
) -> NDArray[np.int64] | None:
    """The two parts a molecule falls into when one bond is cut.

    Args:
        n_atoms: N.
        bonds: Bond graph, shape (B, 2).
        cut: The bond (i, j) that is removed.

    Returns:
        Labels, shape (N,): 0 for the atoms connected to i, 1 for those connected to j; None if
        i and j stay connected, that is if the bond is in a ring and cannot be scanned.

    Raises:
        ValueError: `cut` is not a bond, or the molecule was not connected before.
    """
    keep = [tuple(bond) != tuple(sorted(cut)) for bond in bonds.tolist()]
    if all(keep):
        raise ValueError(f"atoms {cut} are not bonded")
    count, label = connected_parts(n_atoms, bonds[keep])
    i, j = cut
    if label[i] == label[j]:
        return None
    if count != 2:
        raise ValueError(f"{count} parts after cutting {cut}: the molecule was not connected")
    return (label == label[j]).astype(np.int64)
