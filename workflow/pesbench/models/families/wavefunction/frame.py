"""A frame that is fixed in the molecule, so that carried coefficients do not see its orientation.

Rotations mix the p functions of an atom, so that coefficients over Löwdin's orbitals belong to one
orientation of the molecule. Every geometry is therefore turned into the orientation in which it
lies nearest to a reference geometry (least squares over atoms, Kabsch's rotation). That orientation
is a smooth function of the positions, and forces follow by differentiating through it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_STIFFNESS = 1e-3  # relative; below it the orientation is taken for undefined
_ON_A_LINE = 1e-6  # ratio of the second to the first singular value of positions


@dataclass(frozen=True)
class Frame:
    """A geometry in the orientation of a reference.

    Attributes:
        positions: The turned geometry about its centroid, shape (N, 3), in the unit given.
        rotation: What turns it there, shape (3, 3): positions @ rotation.T.
        reference: The reference about its centroid, shape (N, 3).
    """

    positions: NDArray[np.float64]
    rotation: NDArray[np.float64]
    reference: NDArray[np.float64]

    def turned_back(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Gradient of E(turned positions) by the positions themselves, shape (N, 3).

        Moving an atom also turns the frame, by ω with (tr S − S) ω = Σ dy × r, where S = Σ y rᵀ,
        y are the turned positions and r the reference's. What results exerts no torque.

        Args:
            gradient: Derivative of the energy by the turned positions, shape (N, 3).
        """
        y, r = self.positions, self.reference
        torque = np.cross(y, gradient).sum(axis=0)
        # a rotation about the axis of a linear molecule moves nothing: it has no part in it
        turn = np.linalg.pinv(_stiffness(y.T @ r), rcond=_ON_A_LINE, hermitian=True) @ torque
        return (gradient + np.cross(r, turn)) @ self.rotation


def _stiffness(correlation: NDArray[np.float64]) -> NDArray[np.float64]:
    symmetric = (correlation + correlation.T) / 2
    return np.trace(symmetric) * np.eye(3) - symmetric


def is_linear(positions: NDArray[np.float64]) -> bool:
    """Whether all atoms lie on a line; shape (N, 3)."""
    values = np.linalg.svd(positions - positions.mean(axis=0), compute_uv=False)
    return bool(len(values) < 2 or values[1] <= _ON_A_LINE * values[0])


def in_frame(positions: NDArray[np.float64], reference: NDArray[np.float64]) -> Frame:
    """A geometry in the orientation in which it lies nearest to a reference.

    Args:
        positions: Shape (N, 3), of N > 1 atoms.
        reference: Shape (N, 3), atoms in the same order.

    Raises:
        ValueError: several orientations lie equally near.
    """
    x, r = positions - positions.mean(axis=0), reference - reference.mean(axis=0)
    left, values, right = np.linalg.svd(x.T @ r)
    sign = np.sign(np.linalg.det(left @ right))
    rotation = right.T @ np.diag([1.0, 1.0, sign]) @ left.T
    stiffness = values[1] + sign * values[2]
    linear = is_linear(reference)
    if (values[0] if linear else stiffness) < LEAST_STIFFNESS * np.sum(r**2):
        raise ValueError(
            "its orientation is undefined: the atoms lie on a line, or too far from the geometry "
            "that the training states are oriented by"
        )
    return Frame(x @ rotation.T, rotation, r)
