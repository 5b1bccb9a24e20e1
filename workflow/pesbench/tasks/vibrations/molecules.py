"""Molecules relaxed with a model, and their Hessians from central differences of forces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import Batch, Result, Status, batch_of
from pesbench.core.systems import System
from pesbench.engine.relaxation import Relaxed, relax
from pesbench.metrics.stability import (
    internal_degrees_of_freedom,
)
from pesbench.tasks.vibrations import normal_modes
from pesbench.tasks.vibrations.settings import VibrationSettings
from pesbench.tasks.vibrations.stored import MoleculeVibrations


def find_vibrations(
    systems: Sequence[System], evaluate: Callable[[Batch], Result], settings: VibrationSettings
) -> list[MoleculeVibrations]:
    """Relax molecules and find their harmonic frequencies, in common batches.

    The number of vibrations is that of the scan set's geometry, the same for all models.

    Args:
        systems: Systems with their initial geometries.
        evaluate: The model; energies are not needed.
        settings: Settings of the task, the same for all molecules.

    Returns:
        One a molecule, in order. A single atom is `unsupported`.
    """
    vibrating = [system for system in systems if len(system.numbers) > 1]
    relaxed = relax(vibrating, evaluate, max_steps=settings.relax_steps, fmax=settings.relax_fmax)
    starts = {system.id: one for system, one in zip(vibrating, relaxed, strict=True)}
    asked = [system for system in vibrating if starts[system.id].status is Status.OK]
    done = {one.system: one for one in _at_minima(asked, starts, evaluate, settings)}
    found = []
    for system in systems:
        if system.id in done:
            found.append(done[system.id])
        elif system.id in starts:
            one = starts[system.id]
            found.append(without_modes(system, one.status, one.message))
        else:
            found.append(
                without_modes(system, Status.UNSUPPORTED, "a single atom does not vibrate")
            )
    return found


def _at_minima(
    systems: Sequence[System],
    starts: dict[str, Relaxed],
    evaluate: Callable[[Batch], Result],
    settings: VibrationSettings,
) -> Iterator[MoleculeVibrations]:
    """The vibrations of relaxed molecules, whose displaced copies share batches."""
    if not systems:
        return
    copies = [
        normal_modes.displaced(starts[system.id].positions, settings.displacement_angstrom)
        for system in systems
    ]
    counts = [len(some) for some in copies]
    result = evaluate(
        batch_of(
            [s for s, n in zip(systems, counts, strict=True) for _ in range(n)],
            [copy for some in copies for copy in some],
            [(s.id, k) for s, n in zip(systems, counts, strict=True) for k in range(n)],
        )
    )
    first_copy = first_atom = 0
    for system, some in zip(systems, copies, strict=True):
        last_copy, last_atom = first_copy + len(some), first_atom + some.size // 3
        yield _of_molecule(
            system,
            starts[system.id],
            result.forces[first_atom:last_atom].reshape(some.shape),
            result.status[first_copy:last_copy],
            result.messages[first_copy:last_copy],
            settings.displacement_angstrom,
        )
        first_copy, first_atom = last_copy, last_atom


def _of_molecule(
    system: System,
    start: Relaxed,
    forces: NDArray[np.float64],
    status: Sequence[Status],
    messages: Sequence[str],
    displacement: float,
) -> MoleculeVibrations:
    """The vibrations of a molecule from the forces on its displaced copies."""
    for copy, (how, said) in enumerate(zip(status, messages, strict=True)):
        if how is not Status.OK:
            coordinate, sign = divmod(copy, 2)
            moved = f"atom {coordinate // 3} moved along {'+-'[sign]}{'xyz'[coordinate % 3]}"
            return without_modes(system, how, f"{moved}: {said}", start)
    with np.errstate(over="ignore", invalid="ignore"):  # forces of an absurd size
        matrix = normal_modes.hessian(forces, displacement)
        asymmetry = normal_modes.asymmetry(matrix)
    try:
        found = normal_modes.frequencies(
            matrix, system.numbers, start.positions, internal_degrees_of_freedom(system.positions)
        )
    except np.linalg.LinAlgError as error:
        return without_modes(system, Status.NONFINITE, str(error), start)
    except ValueError as error:  # a molecule that is not linear became so
        return without_modes(system, Status.ERROR, f"relaxed until {error}", start)
    return MoleculeVibrations(
        system=system.id,
        numbers=system.numbers,
        positions=start.positions,
        hessian=matrix,
        frequencies_cm1=found.internal_cm1,
        external_cm1=found.external_cm1,
        asymmetry=asymmetry,
        status=Status.OK,
        message=start.message,
        relaxed=start.converged,
        relax_steps=start.steps,
        relax_fmax=start.fmax,
    )


def without_modes(
    system: System, status: Status, message: str, start: Relaxed | None = None
) -> MoleculeVibrations:
    """A molecule without frequencies, relaxed or not even that."""
    n, n_vibrations = 3 * len(system.numbers), internal_degrees_of_freedom(system.positions)
    before = f"{start.message}; " if start is not None and start.message else ""
    return MoleculeVibrations(
        system=system.id,
        numbers=system.numbers,
        positions=system.positions if start is None else start.positions,
        hessian=np.full((n, n), np.nan),
        frequencies_cm1=np.full(n_vibrations, np.nan),
        external_cm1=np.full(n - n_vibrations, np.nan),
        asymmetry=float("nan"),
        status=status,
        message=before + message,
        relaxed=False if start is None else start.converged,
        relax_steps=0 if start is None else start.steps,
        relax_fmax=float("nan") if start is None else start.fmax,
    )
