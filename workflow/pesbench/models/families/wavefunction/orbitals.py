"""Integrals over Löwdin's orthogonalised atomic orbitals, and the gradient of an energy of them.

The orbitals X = S^(-1/2) of a geometry are as near to its atomic orbitals as orthogonal ones can
be, and they follow the atoms smoothly. A vector of full configuration interaction (CI) over them
can therefore be carried from one geometry to another.

Everything here is in atomic units.
"""

from __future__ import annotations

import functools
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pyscf import ao2mo, gto
from pyscf.symm.Dmatrix import Dmatrix
from scipy.spatial.transform import Rotation

from pesbench.core.text import quoted
from pesbench.models.families.wavefunction.supported import MOST_ORBITALS, formula_of
from pesbench.models.frame_by_frame import UnsupportedError

MOST_DETERMINANTS = 2_000_000  # of a vector: H2O in 6-31G has 1 656 369
LEAST_OVERLAP = 1e-10  # eigenvalue of the overlap of the atomic orbitals
_KEPT = 32
_BASIS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+*(),_-]{0,39}")


class DependentOrbitalsError(ValueError):
    """Atomic orbitals depend on each other: atoms are too close."""


@dataclass(frozen=True)
class Orbitals:
    """Integrals of one geometry over Löwdin's orbitals, n of them.

    Attributes:
        molecule: PySCF's, at this geometry.
        nuclear: Repulsion of the nuclei.
        one: Core Hamiltonian, shape (n, n).
        two: (pq|rs), shape (n, n, n, n).
        core: Core Hamiltonian over the atomic orbitals, shape (n, n).
        values: Eigenvalues of the overlap S, shape (n,).
        vectors: Its eigenvectors in columns, shape (n, n).
    """

    molecule: Any
    nuclear: float
    one: NDArray[np.float64]
    two: NDArray[np.float64]
    core: NDArray[np.float64]
    values: NDArray[np.float64]
    vectors: NDArray[np.float64]

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def inverse_half(self) -> NDArray[np.float64]:
        """X = S^(-1/2), shape (n, n)."""
        return (self.vectors / np.sqrt(self.values)) @ self.vectors.T

    @property
    def half(self) -> NDArray[np.float64]:
        """S^(1/2), shape (n, n)."""
        return (self.vectors * np.sqrt(self.values)) @ self.vectors.T


def check_basis(basis: str) -> None:
    """Refuse what is not the name of a basis set of all electrons that PySCF has.

    PySCF takes paths and whole texts as well, and evaluates expressions in them, so that a basis
    of a weight file must be checked before PySCF sees it.

    Raises:
        UnsupportedError: it is none.
    """
    plain = re.sub("[-_]", "", basis.lower())
    known = plain in gto.basis.ALIAS or plain.startswith(("321", "431", "631"))
    if not (known and _BASIS_NAME.fullmatch(basis)) or Path(basis).exists():
        raise UnsupportedError(
            f"{quoted(basis)} is not the name of a basis set that PySCF has for all electrons, or "
            "is also a path here; take a name such as sto-3g"
        )


@functools.lru_cache(_KEPT)
def _template(numbers: tuple[int, ...], basis: str) -> Any:
    """PySCF's molecule of these atoms, at no geometry of use.

    Raises:
        UnsupportedError: an odd number of electrons, too many determinants or orbitals, or no such
            basis set.
    """
    check_basis(basis)
    name = formula_of(numbers)
    if sum(numbers) % 2:
        raise UnsupportedError(f"{name} has an odd number of electrons: singlets only")
    atoms = [(chemical_symbols[z], (0.0, 0.0, float(k))) for k, z in enumerate(numbers)]
    try:
        molecule = gto.M(atom=atoms, unit="Bohr", basis=basis, verbose=0)
    except (KeyError, RuntimeError, ValueError, AssertionError) as error:
        raise UnsupportedError(f"PySCF has no basis set {basis} for {name}") from error
    count = determinants(molecule.nao, sum(numbers))
    if count > MOST_DETERMINANTS:
        raise UnsupportedError(
            f"{name} in {basis} has {count:.3g} determinants, more than {MOST_DETERMINANTS:.3g}"
        )
    if molecule.nao > MOST_ORBITALS:
        raise UnsupportedError(
            f"{name} in {basis} has {molecule.nao} orbitals, more than {MOST_ORBITALS}"
        )
    return molecule


def orbitals_of(numbers: tuple[int, ...], basis: str) -> int:
    """Number of functions of a basis set.

    Raises:
        UnsupportedError: as `orbitals_at`.
    """
    return int(_template(numbers, basis).nao)


def determinants(orbitals: int, electrons: int) -> int:
    """Number of determinants of a singlet of full CI."""
    return math.comb(orbitals, electrons // 2) ** 2


def turns_with_the_molecule(numbers: tuple[int, ...], basis: str) -> bool:
    """Whether a basis has orbitals that a rotation mixes, which is all but s functions.

    Raises:
        UnsupportedError: as `orbitals_at`.
    """
    molecule = _template(numbers, basis)
    return any(molecule.bas_angular(shell) > 0 for shell in range(molecule.nbas))


def exchanged(
    numbers: tuple[int, ...],
    basis: str,
    order: Sequence[int],
    rotation: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What exchanged atoms and a rotation make of the orbitals of a geometry.

    Löwdin's orbitals of the exchanged and turned geometry are those of the geometry itself, on
    other atoms and turned, because S^(-1/2) changes with S.

    Args:
        numbers: Atomic numbers, N of them.
        basis: PySCF's name of a basis set.
        order: The atom `order[k]` takes the place k.
        rotation: Shape (3, 3), proper.

    Returns:
        Shape (n, n), orthogonal: the turned orbital i of the geometry is the combination of those
        of the other one with the coefficients of column i.

    Raises:
        UnsupportedError: as `orbitals_at`.
    """
    molecule = _template(numbers, basis)
    starts = molecule.aoslice_by_atom()[:, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one angle of three may be chosen freely
        angles = Rotation.from_matrix(rotation).as_euler("ZYZ")
    found = np.zeros((molecule.nao, molecule.nao))
    for place, atom in enumerate(order):
        to, start = starts[place], starts[atom]
        for shell in molecule.atom_shell_ids(atom):
            momentum = molecule.bas_angular(shell)
            turn = np.real(Dmatrix(momentum, *angles, reorder_p=True))
            for _ in range(molecule.bas_nctr(shell)):
                width = len(turn)
                found[to : to + width, start : start + width] = turn
                to, start = to + width, start + width
    return found


def orbitals_at(numbers: tuple[int, ...], basis: str, positions: NDArray[np.float64]) -> Orbitals:
    """The integrals at a geometry.

    Args:
        numbers: Atomic numbers, N of them.
        basis: PySCF's name of a basis set.
        positions: Bohr, shape (N, 3).

    Raises:
        UnsupportedError: an odd number of electrons, or too many determinants.
        DependentOrbitalsError: the atomic orbitals depend on each other, as where atoms are too
            close.
    """
    molecule = _template(numbers, basis).set_geom_(positions, unit="Bohr", inplace=False)
    values, vectors = np.linalg.eigh(molecule.intor("int1e_ovlp"))
    if not values[0] > LEAST_OVERLAP:
        raise DependentOrbitalsError(
            "the atomic orbitals depend on each other: the smallest eigenvalue of their overlap "
            f"is {values[0]:.1e}, not above {LEAST_OVERLAP:.0e}; atoms are too close"
        )
    inverse_half = (vectors / np.sqrt(values)) @ vectors.T
    core = molecule.intor("int1e_kin") + molecule.intor("int1e_nuc")
    two = ao2mo.restore(1, ao2mo.kernel(molecule.intor("int2e", aosym="s8"), inverse_half),
                        len(values))  # fmt: skip
    return Orbitals(
        molecule=molecule,
        nuclear=float(molecule.energy_nuc()),
        one=inverse_half.T @ core @ inverse_half,
        two=two,
        core=core,
        values=values,
        vectors=vectors,
    )


def gradient(
    orbitals: Orbitals, one: NDArray[np.float64], two: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Derivative of the energy of density matrices that the geometry does not change.

    E = V + Σ γ_pq h_pq + ½ Σ Γ_pqrs (pq|rs): the integrals change with the atomic orbitals and with
    their orthogonalisation. The derivative of S^(-1/2) is, over the eigenvectors of S with
    eigenvalues s, that of S divided by −√(s_i s_j)(√s_i + √s_j): equal eigenvalues are no trouble.

    Args:
        orbitals: Integrals of a geometry of N atoms.
        one: γ, shape (n, n), symmetric.
        two: Γ, shape (n, n, n, n), with the eight symmetries of the integrals.

    Returns:
        Hartree/Bohr, shape (N, 3).
    """
    molecule, x = orbitals.molecule, orbitals.inverse_half
    roots = np.sqrt(orbitals.values)
    # derivative by X, once a factor: h X γ and (μq|rs) Γ_pqrs, the first index an atomic orbital
    by_x = 2 * orbitals.core @ x @ one
    by_x += 2 * orbitals.half @ np.einsum("mqrs,pqrs->mp", orbitals.two, two, optimize=True)
    factor = -1 / (np.outer(roots, roots) * (roots[:, None] + roots[None, :]))
    inside = orbitals.vectors.T @ (by_x + by_x.T) @ orbitals.vectors / 2
    by_overlap = orbitals.vectors @ (factor * inside) @ orbitals.vectors.T
    one_ao = x @ one @ x
    two_ao = np.einsum("pqrs,mp,nq,lr,ks->mnlk", two, x, x, x, x, optimize=True)
    overlap = np.einsum("xmn,mn->xm", molecule.intor("int1e_ipovlp"), by_overlap)
    core = molecule.intor("int1e_ipkin") + molecule.intor("int1e_ipnuc")
    moved = overlap + np.einsum("xmn,mn->xm", core, one_ao)
    low, high = np.tril_indices(len(x))
    pairs = two_ao[:, :, low, high] * np.where(low == high, 1.0, 2.0)
    moved += np.einsum("xmnp,mnp->xm", molecule.intor("int2e_ip1", aosym="s2kl"), pairs)
    found = nuclear_gradient(molecule)
    for atom, (_, _, start, end) in enumerate(molecule.aoslice_by_atom()):
        found[atom] -= 2 * moved[:, start:end].sum(axis=1)
        with molecule.with_rinv_at_nucleus(atom):
            inverse = molecule.intor("int1e_iprinv")
        found[atom] -= 2 * molecule.atom_charge(atom) * np.einsum("xmn,mn->x", inverse, one_ao)
    return found


def nuclear_gradient(molecule: Any) -> NDArray[np.float64]:
    """Derivative of the repulsion of the nuclei, Hartree/Bohr, shape (N, 3)."""
    charges, place = molecule.atom_charges(), molecule.atom_coords()
    apart = place[:, None] - place[None]
    distance = np.linalg.norm(apart, axis=2)
    np.fill_diagonal(distance, np.inf)
    return -np.einsum("a,b,abx,ab->ax", charges, charges, apart, distance**-3.0)
