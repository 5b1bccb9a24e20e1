"""Frames of a molecule from a file of `pesbench sample`."""

from __future__ import annotations

import functools
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from pesbench.core.errors import UserError, reading
from pesbench.core.systems import System
from pesbench.tasks.spectral.designs import Conformers, spread
from pesbench.tasks.spectral.settings import HELD_OUT_SHARE, SpectralSettings

# as `pesbench sample` names them
ENERGY, SYSTEM, PART = "REF_energy", "system", "part"
TRAINED, HELD_OUT = ("train", "valid"), ("seen", "unseen")
CLOSEST_ANGSTROM = 0.1
CURE = "make it with `pesbench sample`"


def read_conformers(
    path: Path, system: System, settings: SpectralSettings, *, natural: bool = False
) -> Conformers:
    """Frames of a molecule, evenly over its trajectories, in the order of time.

    Frames that are tested with come from the trajectories that `pesbench sample` holds out.

    Args:
        path: File of `pesbench sample`.
        system: The molecule.
        settings: How many frames are taken; one in `HELD_OUT_SHARE` is held out.
        natural: Whether these are the frames of design C, which are more.

    Raises:
        UserError: the file is missing or damaged, or lacks frames of the molecule to train on or
            to test with.
    """
    frames = [atoms for atoms in _read(path) if str(atoms.info.get(SYSTEM)) == system.id]
    count = settings.natural_frames if natural else settings.conformers
    held_out = max(2, count // HELD_OUT_SHARE)
    chosen = []
    for parts, number, what in (
        (TRAINED, count - held_out, "train on"),
        (HELD_OUT, held_out, "test with"),
    ):
        some = [atoms for atoms in frames if atoms.info.get(PART) in parts]
        if len(some) < 2:
            raise UserError(
                f"{path}: holds {len(some)} frames of {system.id!r} to {what}; "
                "sample this molecule, as `seen`"
            )
        if any(not np.array_equal(atoms.numbers, system.numbers) for atoms in some):
            raise UserError(
                f"{path}: frames of {system.id!r} have other atoms than the scan set's molecule; "
                "sample that"
            )
        for atoms in some:
            energy = atoms.info.get(ENERGY)
            if not isinstance(energy, int | float) or not np.isfinite(energy):
                raise UserError(f"{path}: a frame of {system.id!r} has no `{ENERGY}`; {CURE}")
            if not _is_sound(atoms.positions):
                raise UserError(
                    f"{path}: a frame of {system.id!r} has a position that is not a number, or two "
                    f"atoms at one place; {CURE}"
                )
        positions = np.array([atoms.positions for atoms in some])
        index = spread(positions, number)
        chosen.append((positions[index], np.array([some[k].info[ENERGY] for k in index])))
    (trained, trained_ev), (tested, tested_ev) = chosen
    return Conformers(trained, tested, trained_ev, tested_ev)


def _is_sound(positions: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(positions).all()) and (
        pdist(positions).min(initial=np.inf) > CLOSEST_ANGSTROM
    )


@functools.lru_cache(maxsize=1)
def _read(path: Path) -> list[Atoms]:
    if not path.is_file():
        raise UserError(f"{path}: no such file of frames; {CURE}")
    with reading(path, "no file of frames", CURE):
        found: list[Atoms] = ase.io.read(path, index=":", format="extxyz")
    return found
