"""Harmonic frequencies of the molecules of a scan set, by any model, at the model's own minima.

Every molecule is relaxed with the model under test, then its Hessian comes from central
differences of forces: 6N displaced copies of a molecule of N atoms, of many molecules in common
batches. A molecule that does not relax all the way has frequencies all the same, and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import ModelInfo, Status
from pesbench.core.jobs import RunJob
from pesbench.core.systems import System
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.in_units import Questions, asked_in_units, chosen_molecules
from pesbench.files.checkpoint import Arrays, stored_array
from pesbench.tasks.vibrations.molecules import find_vibrations, without_modes
from pesbench.tasks.vibrations.settings import VibrationSettings
from pesbench.tasks.vibrations.stored import MoleculeVibrations, write_vibrations

UNIT_SYSTEMS = 64  # molecules in common batches, between two checkpoints


def run(job: RunJob) -> None:
    """Find the vibrations of some molecules with a model and write a file of vibrations.

    Continues from its checkpoint if an earlier call was killed; a molecule whose scans were all
    dropped by the quality gate is passed over, as are those scans.

    Args:
        job: Items are ids of molecules; their geometries in the scan set are where relaxation
            starts.

    Raises:
        UserError: a control, or no such molecule or scan set.
        HostError: the machine failed; a second call continues.
    """
    settings = job.settings.check()
    systems, scan_set = chosen_molecules(job, "vibrations")
    molecules = _Molecules(systems, settings)
    with asked_in_units(job, systems, scan_set, molecules, __name__) as (found, made):
        held = {"settings": asdict(settings), "masses": "ase.data.atomic_masses"}
        write_vibrations(job.out, found, attributes=made | held)


class _Molecules(Questions[System, MoleculeVibrations]):
    """The molecules, each of which is a question."""

    words = "groups of molecules"

    def __init__(self, items: Sequence[System], settings: VibrationSettings) -> None:
        self.items, self.settings = items, settings
        self.system_of = {one.id: one.id for one in items}

    def units(self, left: Sequence[System], info: ModelInfo) -> Iterator[Sequence[System]]:
        size = UNIT_SYSTEMS if info.batched else 1  # what gains nothing by batches loses less
        return (left[first : first + size] for first in range(0, len(left), size))

    def ask(
        self, unit: Sequence[System], evaluator: Evaluator, info: ModelInfo
    ) -> Sequence[MoleculeVibrations]:
        reasons = {one.id: why_unsupported(one, info) for one in unit}
        asked = [one for one in unit if not reasons[one.id]]
        done = {
            one.system: one for one in find_vibrations(asked, evaluator.evaluate, self.settings)
        }
        return [
            done.get(one.id) or self.without(one, Status.UNSUPPORTED, reasons[one.id])
            for one in unit
        ]

    def without(self, one: System, status: Status, message: str) -> MoleculeVibrations:
        return without_modes(one, status, message)

    def label(self, answer: MoleculeVibrations) -> str:
        return answer.system

    def to_arrays(self, answers: Sequence[MoleculeVibrations]) -> dict[str, Any]:
        return _to_arrays(answers)

    def from_arrays(self, arrays: Arrays) -> Sequence[MoleculeVibrations]:
        return _from_arrays(arrays)


def _to_arrays(molecules: Sequence[MoleculeVibrations]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"n_molecules": np.array(len(molecules))}
    for k, one in enumerate(molecules):
        for name in (f.name for f in fields(one)):
            value = getattr(one, name)
            arrays[f"{name}_{k}"] = np.array(value.value if isinstance(value, Status) else value)
    return arrays


def _from_arrays(arrays: Arrays) -> list[MoleculeVibrations]:
    found = []
    for k in range(int(stored_array(arrays, "n_molecules", "i"))):
        numbers = stored_array(arrays, f"numbers_{k}", "i", (None,))
        n = 3 * len(numbers)
        frequencies = stored_array(arrays, f"frequencies_cm1_{k}", "f", (None,))
        found.append(
            MoleculeVibrations(
                system=str(stored_array(arrays, f"system_{k}", "U")),
                numbers=numbers,
                positions=stored_array(arrays, f"positions_{k}", "f", (len(numbers), 3)),
                hessian=stored_array(arrays, f"hessian_{k}", "f", (n, n)),
                frequencies_cm1=frequencies,
                external_cm1=stored_array(
                    arrays, f"external_cm1_{k}", "f", (n - len(frequencies),)
                ),
                asymmetry=float(stored_array(arrays, f"asymmetry_{k}", "f")),
                status=Status(str(stored_array(arrays, f"status_{k}", "U"))),
                message=str(stored_array(arrays, f"message_{k}", "U")),
                relaxed=bool(stored_array(arrays, f"relaxed_{k}", "b")),
                relax_steps=int(stored_array(arrays, f"relax_steps_{k}", "i")),
                relax_fmax=float(stored_array(arrays, f"relax_fmax_{k}", "f")),
            )
        )
    return found
