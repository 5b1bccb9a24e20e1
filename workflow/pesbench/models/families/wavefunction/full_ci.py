"""Full configuration interaction: the lowest singlet, over Löwdin's orbitals.

A vector over all determinants has the same energy in any orbitals. It is found over the molecular
orbitals of Hartree and Fock, where few determinants matter, and turned into those of Löwdin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyscf import ao2mo, scf
from pyscf.fci import addons, cistring, direct_spin1

from pesbench.models.families.wavefunction.orbitals import Orbitals, gradient, orbitals_at

ENERGY_TOLERANCE = 1e-12  # Hartree, of the last step of Davidson's method
RESIDUAL_TOLERANCE = 1e-7  # Hartree; forces have errors of its order
MOST_RESIDUAL = 1e-5  # Hartree, of the vector that is taken
MAX_CYCLES = 500
_SPACE = 30  # vectors
_PSPACE = 200  # determinants that the first guess is made of
_MOSTLY = 0.7  # norm of the symmetric part of a singlet, of which the first guess has not all
_NOISE = 0.03  # norm of what the first guess has of all determinants
_PENALTY = 0.3  # Hartree for each unit of S², so that the lowest state is a singlet


class NotConvergedError(Exception):
    """No state was found: the geometry has no energy."""


def _electrons(orbitals: Orbitals) -> tuple[int, int]:
    return orbitals.molecule.nelec  # type: ignore[no-any-return]


def lowest_singlet(orbitals: Orbitals) -> NDArray[np.float64]:
    """The lowest singlet of full CI.

    Args:
        orbitals: Integrals of a geometry.

    Returns:
        Normalised coefficients over determinants of Löwdin's orbitals, shape (D, D) with the
        strings of either spin; its sign is arbitrary.

    Raises:
        NotConvergedError: Davidson's method does not converge, or not to an eigenvector.
    """
    field = scf.RHF(orbitals.molecule)
    field.chkfile = None
    field.max_cycle = 100
    field.kernel()  # orbitals that are not converged are good enough
    # molecular orbitals over Löwdin's: they are orthogonal matrices
    turn = orbitals.half @ field.mo_coeff
    one = turn.T @ orbitals.one @ turn
    two = ao2mo.kernel(ao2mo.restore(8, orbitals.two, orbitals.count), turn)
    solver = direct_spin1.FCISolver()
    solver.verbose = 0
    solver.max_cycle = MAX_CYCLES
    solver.max_space = _SPACE
    solver.conv_tol = ENERGY_TOLERANCE
    solver.conv_tol_residual = RESIDUAL_TOLERANCE
    solver = addons.fix_spin(solver, shift=_PENALTY, ss=0)
    guess = _guess(one, two, orbitals.count, _electrons(orbitals))
    _, vector = solver.kernel(one, two, orbitals.count, _electrons(orbitals), ci0=guess)
    if not solver.converged:
        raise NotConvergedError(f"full CI not converged in {MAX_CYCLES} cycles")
    found = over_orbitals(np.asarray(vector), turn, _electrons(orbitals))
    found = found / np.linalg.norm(found)
    rest = times_hamiltonian(orbitals, found)
    rest -= np.vdot(found, rest) * found
    if not np.linalg.norm(rest) < MOST_RESIDUAL:
        raise NotConvergedError(f"full CI leaves a residual of {np.linalg.norm(rest):.1e} Hartree")
    return found


def _guess(
    one: NDArray[np.float64], two: NDArray[np.float64], orbitals: int, electrons: tuple[int, int]
) -> NDArray[np.float64]:
    """Where Davidson's method starts: few determinants, and a little of all others.

    A start of one spatial symmetry would stay in it, and end in an excited state where the ground
    state has another one: water with both bonds at 2.5 Å is such a place.
    """
    places, small = direct_spin1.pspace(one, two, orbitals, electrons, np=_PSPACE)
    strings = cistring.num_strings(orbitals, electrons[0])
    noise = np.random.default_rng(0).standard_normal((strings, strings))
    noise = noise + noise.T  # singlets are symmetric
    for column in np.linalg.eigh(small)[1].T:
        found = np.zeros(strings * strings)
        found[places] = column
        table = found.reshape(strings, strings)
        table = (table + table.T) / 2
        if np.linalg.norm(table) > _MOSTLY:  # no triplet
            break
    return table / np.linalg.norm(table) + _NOISE * noise / np.linalg.norm(noise)


def over_orbitals(
    vector: NDArray[np.float64], turn: NDArray[np.float64], electrons: tuple[int, int]
) -> NDArray[np.float64]:
    """A vector over other orthonormal orbitals of the same space.

    Args:
        vector: Coefficients, shape (D, D).
        turn: Old orbitals in terms of the new ones, in columns, shape (n, n).
        electrons: Number of electrons of either spin.

    Returns:
        Coefficients over determinants of the new orbitals, shape (D, D).
    """
    return np.asarray(addons.transform_ci(vector, electrons, turn.T))


def times_hamiltonian(orbitals: Orbitals, vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """H|Ψ⟩ without the repulsion of the nuclei, shape (D, D), of a vector of that shape."""
    n, electrons = orbitals.count, _electrons(orbitals)
    both = direct_spin1.absorb_h1e(orbitals.one, orbitals.two, n, electrons, 0.5)
    return np.asarray(direct_spin1.contract_2e(both, vector, n, electrons))


def densities(
    bra: NDArray[np.float64], ket: NDArray[np.float64], orbitals: int, electrons: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Transition density matrices of two vectors, as far as real integrals see them.

    Args:
        bra: Coefficients, shape (D, D).
        ket: Coefficients, shape (D, D).
        orbitals: Number n of orbitals.
        electrons: Number of electrons of either spin.

    Returns:
        γ, shape (n(n+1)/2,), and Γ, shape (m(m+1)/2,) with m = n(n+1)/2: the mean over index
        permutations that leave an integral as it is, in the order of `ao2mo.restore(8, ...)`.
    """
    one, two = direct_spin1.trans_rdm12(bra, ket, orbitals, electrons)
    one = (one + one.T) / 2
    two = (two + two.transpose(1, 0, 2, 3)) / 2
    two = (two + two.transpose(0, 1, 3, 2)) / 2
    two = (two + two.transpose(2, 3, 0, 1)) / 2
    return one[np.tril_indices(orbitals)], ao2mo.restore(8, two, orbitals)


def packed_integrals(orbitals: Orbitals) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Core Hamiltonian and half of (pq|rs), packed as `densities` are and weighted.

    The scalar products with γ and Γ are the energies of one and two electrons: what stands for
    several elements of a matrix counts as often.
    """
    n = orbitals.count
    low, high = np.tril_indices(n)
    weight = np.where(low == high, 1.0, 2.0)
    pair_low, pair_high = np.tril_indices(len(weight))
    weights = weight[pair_low] * weight[pair_high] * np.where(pair_low == pair_high, 1.0, 2.0)
    return (
        weight * orbitals.one[low, high],
        0.5 * weights * ao2mo.restore(8, orbitals.two, n),
    )


def unpacked(
    one: NDArray[np.float64], two: NDArray[np.float64], orbitals: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Density matrices as packed by `densities` in full, shapes (n, n) and (n, n, n, n)."""
    full = np.zeros((orbitals, orbitals))
    low, high = np.tril_indices(orbitals)
    full[low, high] = full[high, low] = one
    return full, ao2mo.restore(1, two, orbitals)


@dataclass(frozen=True)
class Solved:
    """Full CI at one geometry.

    Attributes:
        orbitals: Integrals.
        vector: As `lowest_singlet`.
        energy: Hartree.
        gradient: Hartree/Bohr, shape (N, 3).
    """

    orbitals: Orbitals
    vector: NDArray[np.float64]
    energy: float
    gradient: NDArray[np.float64]


def solved(numbers: tuple[int, ...], basis: str, positions: NDArray[np.float64]) -> Solved:
    """Full CI at a geometry.

    Args:
        numbers: Atomic numbers, N of them.
        basis: PySCF's name of a basis set.
        positions: Bohr, shape (N, 3).

    Raises:
        UnsupportedError: an odd number of electrons, or too many determinants.
        NotConvergedError: there is no state.
        ValueError: atoms are too close.
    """
    orbitals = orbitals_at(numbers, basis, positions)
    vector = lowest_singlet(orbitals)
    one, two = densities(vector, vector, orbitals.count, _electrons(orbitals))
    h, g = packed_integrals(orbitals)
    return Solved(
        orbitals=orbitals,
        vector=vector,
        energy=orbitals.nuclear + float(one @ h + two @ g),
        gradient=gradient(orbitals, *unpacked(one, two, orbitals.count)),
    )
