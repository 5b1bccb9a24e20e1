"""Vibrations of one model: HDF5 files with a group per molecule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Status
from pesbench.files.hdf5 import Values
from pesbench.files.stored import MoleculeReader, writing_stored

VIBRATIONS_FORMAT = "pesbench-vibrations"
FARTHEST_ATOM = 1e6  # Å; farther than any relaxation leads


@dataclass(frozen=True)
class MoleculeVibrations:
    """Hessian and harmonic frequencies of one molecule at a model's own minimum.

    Attributes:
        system: Id of the molecule.
        numbers: Atomic numbers, shape (N,).
        positions: Positions at which the Hessian was taken, Å, shape (N, 3).
        hessian: eV/Å², shape (3N, 3N), as differences gave it and not made symmetric; NaN where
            there is none.
        frequencies_cm1: Frequencies of vibrations, ascending, imaginary ones negative, shape (M,);
            NaN where there are none.
        external_cm1: Frequencies of projected translations and rotations, shape (3N − M,).
        asymmetry: Asymmetry of the Hessian, see `normal_modes.asymmetry`.
        status: `ok`, or how the model failed.
        message: What went wrong, or "".
        relaxed: Whether the largest force is below the limit of the relaxation.
        relax_steps: Taken.
        relax_fmax: Largest force there, eV/Å; NaN if unknown.
    """

    system: str
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    hessian: NDArray[np.float64]
    frequencies_cm1: NDArray[np.float64]
    external_cm1: NDArray[np.float64]
    asymmetry: float
    status: Status
    message: str
    relaxed: bool
    relax_steps: int
    relax_fmax: float


def write_vibrations(
    path: Path, molecules: Iterable[MoleculeVibrations], *, attributes: Mapping[str, Any]
) -> None:
    """Write a model's vibrations, a group a molecule; mappings among the attributes as JSON."""
    with writing_stored(path, VIBRATIONS_FORMAT, attributes) as file:
        for one in molecules:
            group = file.create_group(one.system)
            for field in fields(one):
                value = getattr(one, field.name)
                if isinstance(value, np.ndarray):
                    group.create_dataset(field.name, data=value)
                elif field.name != "system":  # the name of the group
                    group.attrs[field.name] = value.value if isinstance(value, Status) else value


class Vibrations(MoleculeReader):
    """A model's vibrations, opened for reading."""

    def __init__(self, path: Path) -> None:
        """Open a file of vibrations; errors as `MoleculeReader`."""
        super().__init__(path, VIBRATIONS_FORMAT, "file of vibrations")

    def molecule(self, system: str) -> MoleculeVibrations:
        """Results of one molecule.

        Raises:
            UserError: the file has no such molecule, or one that is not what it should be.
        """
        group, file = self._group(system), self._file
        numbers = self.numbers(group)
        n = 3 * len(numbers)
        status = self.status(group)
        values: Values = "finite" if status is Status.OK else "any"
        frequencies = file.array(group, "frequencies_cm1", np.float64, (None,), values=values)
        n_external = n - len(frequencies)
        positions = file.array(group, "positions", np.float64, (len(numbers), 3), values=values)
        if status is Status.OK and np.abs(positions).max(initial=0.0) > FARTHEST_ATOM:
            raise file.wrong(f"{group.name}/positions", f"are farther than {FARTHEST_ATOM:g} Å")
        return MoleculeVibrations(
            system=system,
            numbers=numbers,
            positions=positions,
            hessian=file.array(group, "hessian", np.float64, (n, n), values=values),
            frequencies_cm1=frequencies,
            external_cm1=file.array(
                group, "external_cm1", np.float64, (n_external,), values=values
            ),
            asymmetry=file.attribute(group, "asymmetry", float),
            status=status,
            message=file.attribute(group, "message", str),
            relaxed=file.attribute(group, "relaxed", bool),
            relax_steps=file.attribute(group, "relax_steps", int),
            relax_fmax=file.attribute(group, "relax_fmax", float),
        )
