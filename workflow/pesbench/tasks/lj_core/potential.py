"""The Lennard-Jones dimer, its regions, and the stored grid of its core.

Source of the regions and of ε: the public posts on the improper rational head (ZeroProofML); see
the README of this task. Lengths are in units of σ, energies in units in which ε is 20.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pesbench.files.csv_files import read_rows

EPSILON, SIGMA = 20.0, 1.0
TRAINED_FROM, TRAINED_TO = 0.95, 3.0  # distances of the training
CORE_FROM, CORE_TO = 0.2, 0.6  # distances of the test
SCORED_TO = 0.5  # of `log10_energy_mae_core`, as published
RANGE_POINTS = 400  # of the grids that are not of the core
_GRID = Path(__file__).with_name("core_grid.csv")

Array = NDArray[np.float64]
Values = TypeVar("Values", bound=Any)  # arrays, or tensors of torch


def energy(r: Values) -> Values:
    """V(r) = 4ε[(σ/r)¹² − (σ/r)⁶], in the shape of `r`."""
    sixth = (SIGMA / r) ** 6
    return 4 * EPSILON * (sixth**2 - sixth)


def slope(r: Values) -> Values:
    """dV/dr, in the shape of `r`."""
    sixth = (SIGMA / r) ** 6
    return 4 * EPSILON * (6 * sixth - 12 * sixth**2) / r


@functools.cache
def core_grid() -> Array:
    """The stored distances of the core, ascending, shape (1000,).

    They are the midpoints of 1000 equal intervals of log r between 0.2 and 0.6 σ, so that a mean
    over them is that over the log-uniform distribution, without the noise of a sample. The file
    fixes them: the score depends on the distribution of r by about 0.35.

    Raises:
        UserError: the file is missing or no such table.
    """
    return np.array([float(cells["r"]) for _, cells in read_rows(_GRID, ["r"])])


def trained_range() -> Array:
    """Distances at equal steps from 0.95 to 3 σ, for the error in range, shape (400,)."""
    return np.linspace(TRAINED_FROM, TRAINED_TO, RANGE_POINTS)


def wall() -> Array:
    """Distances at equal ratios from 0.2 to 0.95 σ, for monotonicity, shape (400,)."""
    return np.geomspace(CORE_FROM, TRAINED_FROM, RANGE_POINTS)
