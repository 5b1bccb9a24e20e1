"""Normal modes of a molecule: its Hessian from displaced forces, its harmonic frequencies.

Translations and rotations are projected out of the mass-weighted Hessian before it is
diagonalised: a molecule that is not quite at a minimum, or a model that is not invariant under
rotations, has a curvature along them, too, which would mix with the softest vibrations (Miller,
Handy, Adams, J. Chem. Phys. 72, 99 (1980)). Masses are ASE's (`ase.data.atomic_masses`); a
frequency in cm⁻¹ is that of `ase.vibrations.VibrationsData`, an imaginary one has a minus sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from ase.vibrations import VibrationsData
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]

STRAIGHT = 1e-4  # smallest to largest singular value: below it, a rotation moves no atom


@dataclass(frozen=True)
class Frequencies:
    """Harmonic frequencies of one molecule.

    Attributes:
        internal_cm1: Frequencies of vibrations, ascending, imaginary ones negative, shape (M,).
        external_cm1: Frequencies of the projected translations and rotations, ascending, shape
            (3N − M,); 0 at a minimum of an invariant potential.
    """

    internal_cm1: Array
    external_cm1: Array


def displaced(positions: Array, displacement: float) -> Array:
    """The copies of a molecule that central differences need.

    Args:
        positions: Å, shape (N, 3).
        displacement: Å.

    Returns:
        Å, shape (6N, N, 3): coordinate 0 plus, coordinate 0 minus, coordinate 1 plus, ...; the
        coordinates are x, y, z of atom 0, x, y, z of atom 1, ...
    """
    n = positions.size
    steps = displacement * np.eye(n).reshape(n, *positions.shape)
    return positions + np.stack([steps, -steps], axis=1).reshape(2 * n, *positions.shape)


def hessian(forces: Array, displacement: float) -> Array:
    """Second derivatives by central differences of forces, not made symmetric.

    Args:
        forces: eV/Å, of the copies of `displaced`, shape (6N, N, 3).
        displacement: Å.

    Returns:
        eV/Å², shape (3N, 3N): row i is −dF_i/dx_j by j. Its error is of second order in the
        displacement.
    """
    flat = forces.reshape(-1, 2, forces[0].size)
    return -(flat[:, 0] - flat[:, 1]).T / (2.0 * displacement)


def asymmetry(matrix: Array) -> float:
    """‖(H − Hᵀ)/2‖ / ‖H‖ by Frobenius norm, from 0 to 1: 0 where forces are a gradient.

    Args:
        matrix: Shape (n, n); NaN is returned of a matrix of zeros.
    """
    norm = np.linalg.norm(matrix)
    return float(np.linalg.norm(matrix - matrix.T) / (2.0 * norm)) if norm > 0 else float("nan")


def external_motions(positions: Array, masses: Array, count: int) -> Array:
    """Orthonormal translations and rotations in mass-weighted coordinates.

    Args:
        positions: Å, shape (N, 3).
        masses: Shape (N,).
        count: 6, or 5 to leave out the rotation that moves the atoms least, about the axis of a
            linear molecule.

    Returns:
        Shape (3N, count).

    Raises:
        ValueError: the atoms stand on a straight line and have no sixth motion.
    """
    centred = positions - masses @ positions / masses.sum()
    moves = [np.tile(axis, (len(masses), 1)) for axis in np.eye(3)]
    moves += [np.cross(axis, centred) for axis in np.eye(3)]
    weighted = np.stack([(np.sqrt(masses)[:, None] * move).ravel() for move in moves], axis=1)
    basis, sizes, _ = np.linalg.svd(weighted, full_matrices=False)
    if sizes[count - 1] < STRAIGHT * sizes[0]:
        raise ValueError("all atoms stand on one straight line")
    return basis[:, :count]


def frequencies(matrix: Array, numbers: Index, positions: Array, n_vibrations: int) -> Frequencies:
    """Harmonic frequencies of a molecule.

    Args:
        matrix: Hessian in eV/Å², shape (3N, 3N); its symmetric part counts.
        numbers: Atomic numbers, shape (N,).
        positions: Å, shape (N, 3), where the Hessian was taken.
        n_vibrations: M, 3N − 6, or 3N − 5 of a linear molecule (`stability.degrees_of_freedom`).

    Raises:
        ValueError: as `external_motions`.
        numpy.linalg.LinAlgError: the Hessian holds a value that is not finite, or its eigenvalues
            do not converge.
    """
    n = positions.size
    masses = atomic_masses[numbers]
    root = np.sqrt(np.repeat(masses, 3))
    weighted = 0.5 * (matrix + matrix.T) / np.outer(root, root)
    if not np.isfinite(weighted).all():
        raise np.linalg.LinAlgError("the Hessian is not finite")
    basis = external_motions(positions, masses, n - n_vibrations)
    outside = basis @ basis.T
    inside = np.eye(n) - outside
    atoms = Atoms(numbers, positions)
    return Frequencies(
        _of_subspace(atoms, weighted, root, inside, n_vibrations),
        _of_subspace(atoms, weighted, root, outside, n - n_vibrations),
    )


def _of_subspace(atoms: Atoms, weighted: Array, root: Array, projector: Array, count: int) -> Array:
    """Frequencies of a mass-weighted Hessian in a subspace of `count` dimensions, ascending."""
    part = np.outer(root, root) * (projector @ weighted @ projector)
    complex_cm1 = VibrationsData.from_2d(atoms, part).get_frequencies()
    signed = complex_cm1.real - complex_cm1.imag
    # the others are 0; one of the subspace that is 0 itself may go in place of one: no difference
    return np.sort(signed[np.argsort(np.abs(signed), kind="stable")[len(root) - count :]])
