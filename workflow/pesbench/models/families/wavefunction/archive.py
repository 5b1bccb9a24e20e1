"""The file of trained states: numbers in a zip archive, which no code needs to run to read.

`wavefunctions.json` says what they are for; the arrays are NumPy's `.npy`, without pickles. A
molecule has the density matrices of its orthonormalised states, not their vectors: they are all
that energies and forces need, and far smaller.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.text import quoted
from pesbench.files.atomic import atomic_path
from pesbench.models.families.wavefunction.supported import (
    CONTENT,
    MOST_ATOMS,
    MOST_ORBITALS,
)
from pesbench.models.weights import Weights

FORMAT, VERSION = "pesbench-wavefunction", 1
MOST_BYTES = 1 << 30  # that an archive may unpack to
MOST_TEXT_BYTES = 1 << 20  # of the text that says what the arrays are
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # date of the members: equal content makes equal archives
_ARRAYS = ("positions", "energies", "forces", "one", "two")


@dataclass(frozen=True)
class States:
    """What the training of one molecule leaves: T calculations, each with g − 1 images of it.

    An image is the same geometry with like atoms exchanged, which needs no calculation of its own.
    All of them span R ≤ T·g states.

    Attributes:
        numbers: Atomic numbers in the order of the training, shape (N,).
        basis: PySCF's name of the basis set.
        orbitals: Number n of its functions.
        ranks: The first t calculations span the first `ranks[t − 1]` states, T whole numbers.
        images: Number g of geometries a calculation.
        positions: Training geometries in Å, shape (T·g, N, 3), in one orientation. The first gives
            the orientation of all.
        energies: Full CI, eV, shape (T·g,).
        forces: Full CI, eV/Å, shape (T·g, N, 3).
        one: γ of pairs of states a ≥ b, row by row, shape (R(R+1)/2, n(n+1)/2).
        two: Γ of these pairs, shape (R(R+1)/2, m(m+1)/2) with m = n(n+1)/2.
    """

    numbers: tuple[int, ...]
    basis: str
    orbitals: int
    ranks: tuple[int, ...]
    images: int
    positions: NDArray[np.float64]
    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    one: NDArray[np.float64]
    two: NDArray[np.float64]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes that the arrays must have."""
        geometries, atoms = len(self.ranks) * self.images, len(self.numbers)
        states = self.ranks[-1]
        pairs = self.orbitals * (self.orbitals + 1) // 2
        rows = states * (states + 1) // 2
        return {
            "positions": (geometries, atoms, 3),
            "energies": (geometries,),
            "forces": (geometries, atoms, 3),
            "one": (rows, pairs),
            "two": (rows, pairs * (pairs + 1) // 2),
        }


def write_states(molecules: Sequence[States], made_of: Mapping[str, Any], path: Path) -> None:
    """Write the archive; equal content makes equal bytes.

    Args:
        molecules: One an elemental composition.
        made_of: What the states were made of, as plain values.
        path: The archive.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "made_of": dict(made_of),
        "molecules": [
            {
                "numbers": one.numbers,
                "basis": one.basis,
                "orbitals": one.orbitals,
                "ranks": one.ranks,
                "images": one.images,
            }
            for one in molecules
        ],
    }  # fmt: skip
    with atomic_path(path) as part, zipfile.ZipFile(part, "w") as archive:
        _write(archive, CONTENT, json.dumps(content, indent=1).encode())
        for number, one in enumerate(molecules):
            for name in _ARRAYS:
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, getattr(one, name), allow_pickle=False)
                _write(archive, f"{number}/{name}.npy", buffer.getvalue())


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, date_time=_EARLIEST)
    member.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(member, content, compresslevel=9)


def read_states(weights: Weights) -> list[States]:
    """The molecules of an archive.

    Raises:
        UserError: it is damaged, too large, or holds something else.
    """
    try:
        with zipfile.ZipFile(weights.open()) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise UserError(
                    f"{weights.path}: unpacks to more than {MOST_BYTES >> 30} GiB; give another"
                )
            if archive.getinfo(CONTENT).file_size > MOST_TEXT_BYTES:
                raise ValueError(f"{CONTENT} has more than {MOST_TEXT_BYTES >> 20} MiB")
            content = json.loads(archive.read(CONTENT))
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                raise ValueError("no trained wave functions")
            if content.get("version") != VERSION:
                raise ValueError(f"version {content.get('version')}, this is {VERSION}")
            _check_members(archive.namelist(), len(content["molecules"]))
            return [
                _molecule(archive, number, block)
                for number, block in enumerate(content["molecules"])
            ]
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
        KeyError, TypeError, AttributeError, IndexError, ArithmeticError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{weights.path}: holds no trained wave functions that can be read ({quoted(error)}); "
            f"{weights.cure}"
        ) from error


def _check_members(names: Sequence[str], molecules: int) -> None:
    """Refuse an archive whose members are not those that are read, each once.

    Raises:
        ValueError: the first that is too many, or missing.
    """
    expected = {CONTENT, *(f"{k}/{name}.npy" for k in range(molecules) for name in _ARRAYS)}
    for name in (*names, *sorted(expected)):
        if (name in expected) != (names.count(name) == 1):
            raise ValueError(f"its member {name} is missing, not known or there twice")


def _numbers(content: bytes) -> NDArray[np.float64]:
    """The array of a `.npy` file, whose header is compared with its size before memory is taken.

    Raises:
        ValueError: it holds no float64 in C order, or not as many as it says.
    """
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("it is not of version 1.0 of the format .npy")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype != np.float64 or 8 * math.prod(shape) != len(content) - file.tell():
        raise ValueError("it holds no float64 in C order, or not as many as it says")
    return np.frombuffer(content, offset=file.tell()).reshape(shape)


def _molecule(archive: zipfile.ZipFile, number: int, block: Mapping[str, Any]) -> States:
    numbers, basis = tuple(int(z) for z in block["numbers"]), str(block["basis"])
    orbitals, images = int(block["orbitals"]), int(block["images"])
    ranks = tuple(int(rank) for rank in block["ranks"])
    if not (1 < len(numbers) <= MOST_ATOMS and all(0 < z < 119 for z in numbers)):
        raise ValueError(f"molecule {number}: `numbers` are not those of 2 to {MOST_ATOMS} atoms")
    if not 0 < orbitals <= MOST_ORBITALS:
        raise ValueError(f"molecule {number}: `orbitals` is not 1 to {MOST_ORBITALS}")
    steps = np.diff((0, *ranks))
    if not (steps.size and steps[0] > 0 and (steps >= 0).all() and (steps <= images).all()):
        raise ValueError(f"molecule {number}: `ranks` do not grow as states are added")
    arrays = {}
    for name in _ARRAYS:
        try:
            arrays[name] = _numbers(archive.read(f"{number}/{name}.npy"))
        except ValueError as error:
            raise ValueError(f"molecule {number}: `{name}`: {error}") from error
    found = States(numbers, basis, orbitals, ranks, images, **arrays)
    for name, shape in found.shapes().items():
        array = arrays[name]
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"molecule {number}: `{name}` are no finite numbers of shape {shape}")
    return found
