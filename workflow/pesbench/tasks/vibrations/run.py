"""Harmonic frequencies of the molecules of a scan set, by any model, at the model's own minima.

Every molecule is relaxed with the model under test, then its Hessian comes from central
differences of forces: 6N displaced copies of a molecule of N atoms, of many molecules in common
batches. What a model does wrong ends in the status of the molecules it happened on; a molecule that
does not relax all the way has frequencies all the same, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.interface import ModelInfo, Status
from pesbench.core.jobs import RunJob
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import (
    Evaluator,
    why_unsupported,
)
from pesbench.engine.patient_worker import PatientWorker
from pesbench.engine.precision import measured_precision
from pesbench.engine.shard import (
    Spent,
    caller_state,
    load_for_molecules,
    molecules_checkpoint,
    refuse_control,
    results_attributes,
    state_arrays,
)
from pesbench.engine.worker import ModelLoadError
from pesbench.files.checkpoint import (
    Arrays,
    Checkpoint,
    stored_array,
)
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import chosen_systems
from pesbench.models.registry import ModelEntry
from pesbench.tasks.vibrations.molecules import find_vibrations, without_modes
from pesbench.tasks.vibrations.settings import VibrationSettings
from pesbench.tasks.vibrations.stored import MoleculeVibrations, write_vibrations

UNIT_SYSTEMS = 64  # molecules in common batches, between two checkpoints
logger = logging.getLogger("pesbench")


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
    entry, settings = job.entry, job.settings.check()
    refuse_control(entry, "vibrations")
    with ScanSet(job.scan_set) as scan_set:
        systems = chosen_systems(scan_set, job.items)
        of_set = scan_set.name, scan_set.sha256
    checkpoint = molecules_checkpoint(job, systems, of_set[1], __name__)
    with PatientWorker(
        entry,
        scan_set=job.scan_set,
        device=job.device,
        threads=job.threads,
        timeout_s=entry.timeout_s,
        environment=job.environment,
    ) as worker:
        under_way = _Run(entry, systems, settings, worker, checkpoint)
        info = under_way.run()
        pieces = [checkpoint.read(piece, _from_arrays) for piece in range(checkpoint.count)]
        answered = {one.system for piece in pieces for one in piece if one.status is Status.OK}
        known = [system for system in systems if system.id in answered]
        measured = measured_precision(under_way.evaluator, info, known)
        worker.close()
    made = results_attributes(
        entry, of_set, info, under_way.evaluator, under_way.spent, job.threads, measured
    )
    write_vibrations(
        job.out,
        (one for piece in pieces for one in piece),
        attributes=made | {"settings": asdict(settings), "masses": "ase.data.atomic_masses"},
    )
    checkpoint.remove()


@dataclass
class _Run:
    """A command under way. Each piece of its checkpoint is some molecules that are done.

    Attributes:
        entry: Resolved model entry.
        systems: All molecules, in order.
        settings: Settings of the task, the same for all molecules.
        worker: Worker that holds the model.
        checkpoint: What was done, by this call or an earlier one.
    """

    entry: ModelEntry
    systems: Sequence[System]
    settings: VibrationSettings
    worker: PatientWorker
    checkpoint: Checkpoint
    evaluator: Evaluator = field(init=False)
    spent: Spent = field(init=False)

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.worker, BatchLimit(systems=1))
        self.spent = Spent.resume(self.checkpoint, self.worker)

    def run(self) -> ModelInfo | None:
        """Do what the checkpoint does not hold yet.

        Returns:
            What the model tells of itself; None if it does not load.
        """
        info, lost = None, None
        try:
            info, self.evaluator.limit = load_for_molecules(
                self.worker, self.checkpoint, self.entry, self.systems
            )
        except ModelLoadError as failure:
            lost = failure
        self.spent.save()  # not before: a checkpoint of another device has been cleared by now
        held = sum(
            len(self.checkpoint.read(piece, _from_arrays)) for piece in range(self.checkpoint.count)
        )
        if info is None:
            assert lost is not None
            self._give_up(held, lost)
            return None
        if self.checkpoint.count:
            self._restore()
        size = UNIT_SYSTEMS if info.batched else 1  # what gains nothing by batches loses less
        firsts = range(held, len(self.systems), size)
        what = "molecules" if size == 1 else f"groups of {size} molecules"
        for first in track(firsts, len(firsts), what):
            try:
                found = self._unit(self.systems[first : first + size], info)
            except ModelLoadError as failure:  # the worker ended, the model cannot be loaded again
                self._give_up(first, failure)
                break
            self._keep(found)
        return info

    def _unit(self, systems: Sequence[System], info: ModelInfo) -> list[MoleculeVibrations]:
        reasons = {system.id: why_unsupported(system, info) for system in systems}
        asked = [system for system in systems if not reasons[system.id]]
        found = find_vibrations(asked, self.evaluator.evaluate, self.settings)
        done = {one.system: one for one in found}
        return [
            done.get(system.id) or without_modes(system, Status.UNSUPPORTED, reasons[system.id])
            for system in systems
        ]

    def _give_up(self, first: int, failure: ModelLoadError) -> None:
        """Give all molecules from one on the status of a model that does not load."""
        logger.warning("%s", failure.message)
        left = self.systems[first:]
        self._keep([without_modes(system, failure.status, failure.message) for system in left])

    def _keep(self, found: Sequence[MoleculeVibrations]) -> None:
        self.checkpoint.append(
            **_to_arrays(found), **state_arrays(self.evaluator.limit, self.worker.deaths)
        )
        self.spent.save()

    def _restore(self) -> None:
        last = self.checkpoint.count - 1
        self.evaluator.limit, self.worker.deaths = self.checkpoint.read(last, caller_state)


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
