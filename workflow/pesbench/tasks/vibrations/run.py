"""Harmonic frequencies of the molecules of a scan set, by any model, at the model's own minima.

Every molecule is relaxed with the model under test, then its Hessian comes from central
differences of forces: 6N displaced copies of a molecule of N atoms, of many molecules in common
batches. What a model does wrong ends in the status of the molecules it happened on; a molecule that
does not relax all the way has frequencies all the same, and says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo, Result, Status, molecules_batch
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit, choose_limit
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.patient_worker import PatientWorker, systems_batch
from pesbench.engine.relaxation import Relaxed, relax
from pesbench.engine.shard import Spent, caller_state
from pesbench.engine.worker import ModelLoadError
from pesbench.files import provenance
from pesbench.files.checkpoint import Arrays, Checkpoint, stored_array
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry
from pesbench.tasks.dynamics.run import internal_degrees_of_freedom, scan_set_systems
from pesbench.tasks.vibrations import normal_modes
from pesbench.tasks.vibrations.settings import VibrationSettings
from pesbench.tasks.vibrations.stored import MoleculeVibrations, write_vibrations

UNIT_SYSTEMS = 64  # molecules in common batches, between two checkpoints
logger = logging.getLogger("pesbench")


# --- molecules -----------------------------------------------------------------------------------


def find_vibrations(
    systems: Sequence[System], evaluate: Callable[[Batch], Result], settings: VibrationSettings
) -> list[MoleculeVibrations]:
    """Relax molecules and find their harmonic frequencies, in common batches.

    The number of vibrations is that of the scan set's geometry, the same for all models.

    Args:
        systems: From where they relax.
        evaluate: The model; energies are not needed.
        settings: The same for all of them.

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
            found.append(_without(system, one.status, one.message))
        else:
            found.append(_without(system, Status.UNSUPPORTED, "a single atom does not vibrate"))
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
        molecules_batch(
            positions=[copy for some in copies for copy in some],
            numbers=[s.numbers for s, n in zip(systems, counts, strict=True) for _ in range(n)],
            charge=[s.charge for s, n in zip(systems, counts, strict=True) for _ in range(n)],
            spin=[s.spin for s, n in zip(systems, counts, strict=True) for _ in range(n)],
            labels=[(s.id, k) for s, n in zip(systems, counts, strict=True) for k in range(n)],
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
            return _without(system, how, f"{moved}: {said}", start)
    with np.errstate(over="ignore", invalid="ignore"):  # forces of an absurd size
        matrix = normal_modes.hessian(forces, displacement)
        asymmetry = normal_modes.asymmetry(matrix)
    try:
        found = normal_modes.frequencies(
            matrix, system.numbers, start.positions, internal_degrees_of_freedom(system)
        )
    except np.linalg.LinAlgError as error:
        return _without(system, Status.NONFINITE, str(error), start)
    except ValueError as error:  # a molecule that is not linear became so
        return _without(system, Status.ERROR, f"relaxed until {error}", start)
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


def _without(
    system: System, status: Status, message: str, start: Relaxed | None = None
) -> MoleculeVibrations:
    """A molecule without frequencies, relaxed or not even that."""
    n, n_vibrations = 3 * len(system.numbers), internal_degrees_of_freedom(system)
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


# --- the command ---------------------------------------------------------------------------------


def run_vibrations(
    entry: ModelEntry,
    scan_set_path: Path,
    system_ids: Sequence[str],
    settings: VibrationSettings,
    out: Path,
    *,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Find the vibrations of some molecules with a model and write a file of vibrations.

    Continues from its checkpoint if an earlier call was killed; a molecule whose scans were all
    dropped by the quality gate is passed over, as are those scans.

    Args:
        entry: Resolved model entry.
        scan_set_path: Scan set file; its geometries are where relaxation starts.
        system_ids: Which molecules; sorted here.
        settings: The same for all of them.
        out: File of vibrations.
        device: `auto`, `cpu` or `cuda`.
        threads: For the model's arithmetic.

    Raises:
        UserError: settings that make no sense, a control, or no such molecule or scan set.
        HostError: the machine failed; a second call continues.
    """
    settings.check()
    if entry.family == "control":
        raise UserError(
            f"model {entry.name!r}: a control is defined on the frames of scans only; "
            "leave it out of `vibrations`"
        )
    with ScanSet(scan_set_path) as scan_set:
        systems = _chosen(scan_set, system_ids)
        scan_set_name, scan_set_sha256 = scan_set.name, scan_set.sha256
    checkpoint = Checkpoint(
        out,
        {
            "model": entry.deciding(),
            "scan_set_sha256": scan_set_sha256,
            "systems": [system.id for system in systems],
            "settings": asdict(settings),
            "device": device,
            "threads": threads,
            "code": stage_fingerprint(__name__, *family_modules(entry.families)),
        },
    )
    with PatientWorker(
        entry,
        systems,
        scan_set=scan_set_path,
        device=device,
        threads=threads,
        timeout_s=float(entry.settings.get("timeout_s", 600.0)),
    ) as worker:
        run = _Run(entry, systems, settings, worker, checkpoint)
        info = run.run()
        worker.close()
    pieces = [checkpoint.read(piece, _from_arrays) for piece in range(checkpoint.count)]
    write_vibrations(
        out,
        (one for piece in pieces for one in piece),
        attributes={
            "model": entry.name,
            "entry": entry.deciding(),
            "scan_set": scan_set_name,
            "scan_set_sha256": scan_set_sha256,
            "settings": asdict(settings),
            "masses": "ase.data.atomic_masses",
            "device": info.device if info else "not loaded",
            "dtype": info.dtype if info else "not loaded",
            "model_details": (info.details if info else {})
            | {"device_peak_bytes": run.evaluator.device_bytes},
            "threads": threads,
            "batch_limit": asdict(run.evaluator.limit),
            **run.spent.attributes(),
            "peak_memory_bytes": worker.peak_bytes,
            "provenance": provenance.collect(),
        },
    )
    checkpoint.remove()


def _chosen(scan_set: ScanSet, system_ids: Sequence[str]) -> list[System]:
    known = {system.id: system for system in scan_set_systems(scan_set)}
    dropped = {
        scan_set.scan(scan_id).system
        for scan_id in scan_set.ids
        if scan_set.quality(scan_id)[0] == "dropped"
    } - known.keys()
    wanted = set(system_ids)
    if missing := sorted(wanted - known.keys() - dropped):
        raise UserError(
            f"{scan_set.path}: no molecule {missing[0]!r} in this set; see the systems of its scans"
        )
    if passed := sorted(wanted & dropped):
        logger.warning("passed over, all of their scans are dropped: %s", ", ".join(passed))
    return [known[name] for name in sorted(wanted & known.keys())]


@dataclass
class _Run:
    """A command under way. Each piece of its checkpoint is some molecules that are done.

    Attributes:
        entry: Resolved model entry.
        systems: All molecules, in order.
        settings: The same for all of them.
        worker: Where the model lives.
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
            info = self._load()
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
            except ModelLoadError as failure:  # it died, and does not come up again
                self._give_up(first, failure)
                break
            self._keep(found)
        return info

    def _load(self) -> ModelInfo:
        """Load the model, and set the batch size that the run began with.

        Raises:
            ModelLoadError: it does not load.
        """
        info = self.worker.start()
        # what decides rounding, and is known only once the model is loaded
        made = {"device": info.device, "dtype": info.dtype, "details": info.details}
        if self.checkpoint.read_note("made") != json.loads(json.dumps(made)):
            if self.checkpoint.count:
                logger.warning("checkpoint of another device or version; starting anew")
            self.checkpoint.clear()
            self.checkpoint.write_note("made", made)
        limit = self.checkpoint.read_note("limit", lambda note: BatchLimit(**note))
        if limit is None:
            limit = self._first_limit(info)
            self.checkpoint.write_note("limit", asdict(limit))
        self.evaluator.limit = limit
        return info

    def _first_limit(self, info: ModelInfo) -> BatchLimit:
        """The entry's fixed batch size, or the best one on the molecule of median size."""
        fixed = self.entry.settings.get("batch_size", "auto")
        if fixed != "auto":
            return BatchLimit(systems=int(fixed))
        asked = [system for system in self.systems if not why_unsupported(system, info)]
        if not asked:
            return BatchLimit(systems=1)
        asked.sort(key=lambda system: (len(system.numbers), system.id))
        typical = asked[len(asked) // 2]
        return choose_limit(
            self.worker, lambda count: systems_batch([typical] * count), len(typical.numbers)
        )

    def _unit(self, systems: Sequence[System], info: ModelInfo) -> list[MoleculeVibrations]:
        reasons = {system.id: why_unsupported(system, info) for system in systems}
        asked = [system for system in systems if not reasons[system.id]]
        found = find_vibrations(asked, self.evaluator.evaluate, self.settings)
        done = {one.system: one for one in found}
        return [
            done.get(system.id) or _without(system, Status.UNSUPPORTED, reasons[system.id])
            for system in systems
        ]

    def _give_up(self, first: int, failure: ModelLoadError) -> None:
        """Give all molecules from one on the status of a model that does not load."""
        logger.warning("%s", failure.message)
        left = self.systems[first:]
        self._keep([_without(system, failure.status, failure.message) for system in left])

    def _keep(self, found: Sequence[MoleculeVibrations]) -> None:
        limit = self.evaluator.limit
        self.checkpoint.append(
            **_to_arrays(found),
            limit=np.array([limit.systems or 0, limit.atoms or 0]),
            deaths=np.array(sorted(self.worker.deaths), dtype=str),
        )
        self.spent.save()

    def _restore(self) -> None:
        last = self.checkpoint.count - 1
        self.evaluator.limit, self.worker.deaths = self.checkpoint.read(last, caller_state)


# --- the checkpoint ------------------------------------------------------------------------------


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
