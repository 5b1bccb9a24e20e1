"""The lowest state in the span of trained ones at any geometry: energy, forces, and the state.

With orthonormal combinations of the trained states, whose coefficients over Löwdin's orbitals are
carried along, H_ab = ⟨Ψ_a|H|Ψ_b⟩ follows from the transition density matrices and the integrals of
the geometry. Its lowest eigenvalue lies above full CI and falls with every state that is added.
"""

from __future__ import annotations

import numpy as np
from ase.units import Bohr
from numpy.typing import NDArray

from pesbench.models.families.wavefunction.archive import States
from pesbench.models.families.wavefunction.frame import Frame, in_frame
from pesbench.models.families.wavefunction.full_ci import packed_integrals, unpacked
from pesbench.models.families.wavefunction.orbitals import (
    Orbitals,
    gradient,
    orbitals_at,
    orbitals_of,
    turns_with_the_molecule,
)
from pesbench.models.frame_by_frame import UnsupportedError


class Interpolation:
    """The states of one molecule.

    Args:
        states: What the training left.
        calculations: Use the first so many of its calculations; None for all.

    Raises:
        UnsupportedError: PySCF has no such basis set, or one of another number of orbitals.
    """

    def __init__(self, states: States, calculations: int | None = None) -> None:
        self.states = states
        used = min(calculations or len(states.ranks), len(states.ranks))
        self._rank = states.ranks[used - 1]
        self._rows = self._rank * (self._rank + 1) // 2
        self._turns = turns_with_the_molecule(states.numbers, states.basis)
        if (there := orbitals_of(states.numbers, states.basis)) != states.orbitals:
            raise UnsupportedError(
                f"states of {states.orbitals} orbitals, where {states.basis} has {there}"
            )

    def evaluate(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Energy in Hartree and gradient in Hartree/Bohr, shape (N, 3).

        Args:
            positions: Bohr, shape (N, 3), atoms in the order of the training.

        Raises:
            ValueError: the geometry has no orientation, or atoms are too close.
        """
        frame = self._frame(positions)
        orbitals = self._orbitals(positions if frame is None else frame.positions)
        energy, mixture = self._lowest(orbitals)
        weights = np.outer(mixture, mixture)
        low, high = np.tril_indices(self._rank)
        row = weights[low, high] * np.where(low == high, 1.0, 2.0)
        one, two = row @ self.states.one[: self._rows], row @ self.states.two[: self._rows]
        found = gradient(orbitals, *unpacked(one, two, orbitals.count))
        return energy, found if frame is None else frame.turned_back(found)

    def mixture(
        self, positions: NDArray[np.float64]
    ) -> tuple[Orbitals, float, NDArray[np.float64]]:
        """The integrals in the molecule's frame, the energy, and the state's coefficients (R,)."""
        frame = self._frame(positions)
        orbitals = self._orbitals(positions if frame is None else frame.positions)
        return (orbitals, *self._lowest(orbitals))

    def _frame(self, positions: NDArray[np.float64]) -> Frame | None:
        """The orientation of the training; None where the basis has only s functions."""
        return in_frame(positions, self.states.positions[0] / Bohr) if self._turns else None

    def _orbitals(self, positions: NDArray[np.float64]) -> Orbitals:
        return orbitals_at(self.states.numbers, self.states.basis, positions)

    def _lowest(self, orbitals: Orbitals) -> tuple[float, NDArray[np.float64]]:
        one, two = packed_integrals(orbitals)
        values = self.states.one[: self._rows] @ one + self.states.two[: self._rows] @ two
        matrix = np.zeros((self._rank, self._rank))
        matrix[np.tril_indices(self._rank)] = values
        energies, mixtures = np.linalg.eigh(matrix)  # reads the lower triangle
        return float(energies[0]) + orbitals.nuclear, mixtures[:, 0]
