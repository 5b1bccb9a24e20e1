"""Harmonic frequencies of a model against those of the reference, one molecule at a time.

Each side's frequencies are those of its own minimum, in cm⁻¹, imaginary ones negative. Modes are
matched by their order: the error is that of the spectrum, and two modes that change places cost
only what their frequencies differ by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# An imaginary mode softer than this cannot be told from a flat one. A frequency is the root of a
# curvature: an error of the curvature that moves a mode of 100 cm⁻¹ by 2 cm⁻¹ makes ±20 cm⁻¹ of a
# curvature of 0 (100² − 98² ≈ 20²). tasks/vibrations/README.md has the errors that were measured.
IMAGINARY_CM1 = -20.0


@dataclass(frozen=True)
class FrequencyErrors:
    """Errors of a model's frequencies of one molecule.

    Attributes:
        mae_cm1: Mean absolute error over the sorted modes.
        bias_cm1: Mean error, model minus reference; below 0 where the model is too soft.
        largest_cm1: Largest absolute error.
        n_imaginary: Imaginary modes of the model beyond `IMAGINARY_CM1`.
        n_imaginary_reference: Number of imaginary modes of the reference.
        n_imaginary_excess: How many more the model has, at least 0.
    """

    mae_cm1: float
    bias_cm1: float
    largest_cm1: float
    n_imaginary: int
    n_imaginary_reference: int
    n_imaginary_excess: int


def count_imaginary(frequencies_cm1: Array) -> int:
    """Number of imaginary modes, by `IMAGINARY_CM1`; exactly that is not beyond it.

    Args:
        frequencies_cm1: Imaginary ones negative, shape (M,).
    """
    return int(np.count_nonzero(frequencies_cm1 < IMAGINARY_CM1))


def compare_frequencies(model_cm1: Array, reference_cm1: Array) -> FrequencyErrors:
    """The errors of a model on one molecule.

    Args:
        model_cm1: Frequencies at the model's minimum, imaginary ones negative, shape (M,), any
            order.
        reference_cm1: Frequencies of the reference, in the same order and shape.

    Raises:
        ValueError: no modes, different numbers of them, or one that is not finite.
    """
    if model_cm1.shape != reference_cm1.shape or not model_cm1.size:
        raise ValueError(f"{model_cm1.size} modes cannot be compared with {reference_cm1.size}")
    if not (np.isfinite(model_cm1).all() and np.isfinite(reference_cm1).all()):
        raise ValueError("a frequency is not finite")
    errors = np.sort(model_cm1) - np.sort(reference_cm1)
    found, own = count_imaginary(model_cm1), count_imaginary(reference_cm1)
    return FrequencyErrors(
        mae_cm1=float(np.abs(errors).mean()),
        bias_cm1=float(errors.mean()),
        largest_cm1=float(np.abs(errors).max()),
        n_imaginary=found,
        n_imaginary_reference=own,
        n_imaginary_excess=max(0, found - own),
    )


def geometry_rmsd(positions: Array, others: Array) -> float:
    """Root mean square distance of the atoms of two geometries, superposed, in Å.

    The rotation is the best proper one (Kabsch, Acta Cryst. A 32, 922 (1976)); all atoms weigh the
    same.

    Args:
        positions: Å, shape (N, 3).
        others: Å, shape (N, 3), the same atoms in the same order.
    """
    one, other = positions - positions.mean(axis=0), others - others.mean(axis=0)
    left, sizes, right = np.linalg.svd(one.T @ other)
    sizes[-1] *= np.sign(np.linalg.det(left) * np.linalg.det(right))
    squared = np.sum(one**2) + np.sum(other**2) - 2.0 * sizes.sum()
    return float(np.sqrt(max(squared, 0.0) / len(positions)))
