"""Adapter base for methods that take one system at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pesbench.models.interface import (
    Batch,
    Result,
    Status,
    is_lost_device,
    is_out_of_device_memory,
)


def evaluate_frame_by_frame(
    batch: Batch, single: Callable[[Batch], tuple[float | None, np.ndarray]]
) -> Result:
    """Evaluate the systems of a batch one by one; a system that raises costs only itself.

    Args:
        batch: Of any number of systems.
        single: Energy in eV (None where the method has none) and forces in eV/Å, shape (N, 3),
            of a batch of one system.

    Raises:
        MemoryError: the host is out of memory, which is no fault of the system's.
        Exception: the accelerator was lost, and no further system can be evaluated.
    """
    energies: list[float] = []
    forces: list[np.ndarray] = []
    status: list[Status] = []
    messages: list[str] = []
    has_energy = False
    for s in range(batch.n_systems):
        system = batch.select([s])
        try:
            energy, force = single(system)
        except MemoryError:
            raise
        except Exception as error:
            if is_lost_device(error):
                raise
            energy, force = np.nan, np.full((system.n_atoms, 3), np.nan)
            memory = is_out_of_device_memory(error)
            status.append(Status.OUT_OF_MEMORY if memory else Status.ERROR)
            messages.append(f"{type(error).__name__}: {' '.join(str(error).split())}")
            has_energy = True  # NaN either way; the status tells
        else:
            has_energy |= energy is not None
            status.append(Status.OK)
            messages.append("")
        energies.append(np.nan if energy is None else float(energy))
        forces.append(np.asarray(force, dtype=np.float64))
    return Result(
        energies=np.array(energies) if has_energy else None,
        forces=np.concatenate(forces),
        status=tuple(status),
        messages=tuple(messages),
    )
