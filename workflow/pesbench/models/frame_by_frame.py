"""Adapter base for methods that take one system at a time."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from pesbench.core.interface import (
    Batch,
    Result,
    Status,
    atom_forces,
    is_host_failure,
    is_lost_device,
    is_out_of_device_memory,
    one_energy,
    told,
)

_OF_A_CELL = re.compile(r"singular matrix|lattice|\bcell\b|\bpbc\b", re.IGNORECASE)
_NEEDS_A_CELL = (
    " (it seems to need a periodic cell, which a molecule does not have; "
    "`vacuum_box_angstrom` of the entry puts it into one)"
)


class UnsupportedError(Exception):
    """A system that a method is not made for; the message says why."""


class FrameByFrame:
    """A model that takes one system at a time."""

    def evaluate(self, batch: Batch) -> Result:
        """Energies and forces of a batch; a system that raises costs only itself."""
        return evaluate_frame_by_frame(batch, self.single)

    def single(self, system: Batch) -> tuple[Any | None, Any]:
        """Energy and forces of a batch of one system, as `evaluate_frame_by_frame` takes them."""
        raise NotImplementedError


def evaluate_frame_by_frame(
    batch: Batch, single: Callable[[Batch], tuple[Any | None, Any]]
) -> Result:
    """Evaluate the systems of a batch one by one; a system that raises costs only itself.

    Args:
        batch: Any number of systems.
        single: Energy in eV (one number in any container; None where the method has none) and
            forces in eV/Å, shape (N, 3), of a batch of one system. A system on which it raises
            `UnsupportedError` is `unsupported`.

    Raises:
        Exception: the host is out of memory, which is no fault of the system's, or the accelerator
            was lost, and no further system can be evaluated.
    """
    energies: list[float] = []
    forces: list[np.ndarray] = []
    status: list[Status] = []
    messages: list[str] = []
    has_energy = False
    for s in range(batch.n_systems):
        system = batch.select([s])
        try:
            answered, force = _asked(single, system)
            energy = np.nan if answered is None else one_energy(answered)
            force = atom_forces(force, system.n_atoms)
        except Exception as error:
            if is_lost_device(error) or is_host_failure(error):
                raise
            energy, force = np.nan, np.full((system.n_atoms, 3), np.nan)
            kind, message = _failure(error, system)
            status.append(kind)
            messages.append(message)
            has_energy = True  # NaN in both cases; the status distinguishes them
        else:
            has_energy |= answered is not None
            status.append(Status.OK)
            messages.append("")
        energies.append(energy)
        forces.append(force)
    return Result(
        energies=np.array(energies) if has_energy else None,
        forces=np.concatenate(forces),
        status=tuple(status),
        messages=tuple(messages),
    )


def _asked(single: Callable[[Batch], tuple[Any | None, Any]], system: Batch) -> tuple[Any, Any]:
    """What a method answers; it is asked once more if the device may have the memory then.

    There is no batch smaller than one system. What does not fit may do so once the memory is given
    back that torch holds for systems of other sizes.
    """
    try:
        return single(system)
    except Exception as error:
        if not is_out_of_device_memory(error):
            raise
        lost = error.with_traceback(None)  # which holds what the call has allocated
    if not _free_device_memory():
        raise lost
    return single(system)


def _free_device_memory() -> bool:
    """Give back the memory that torch holds; whether there is a GPU in use."""
    torch = sys.modules.get("torch")  # it is not imported for that
    if torch is None or not torch.cuda.is_initialized():
        return False
    gc.collect()
    torch.cuda.empty_cache()
    return True


def _failure(error: Exception, system: Batch) -> tuple[Status, str]:
    if isinstance(error, UnsupportedError):
        return Status.UNSUPPORTED, str(error)
    status = Status.OUT_OF_MEMORY if is_out_of_device_memory(error) else Status.ERROR
    message = told(error)
    without = not system.pbc.any() and not system.cell.any()
    lacks_cell = without and _OF_A_CELL.search(message)
    return status, message + _NEEDS_A_CELL if lacks_cell else message
