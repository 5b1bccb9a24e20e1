"""Scans through an evaluator, in common batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pesbench.core.interface import Batch, ModelInfo, Result, Status, batch_of
from pesbench.core.scans import Scan
from pesbench.engine.batching import BatchLimit, choose_limit
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.worker import Worker
from pesbench.files.evaluation import ScanEvaluation
from pesbench.models.registry import ModelEntry


def frames_batch(scans: Sequence[Scan]) -> Batch:
    """All frames of some scans, in order, as one batch."""
    return batch_of(
        [scan for scan in scans for _ in range(scan.n_frames)],
        [frame for scan in scans for frame in scan.positions],
        labels=[(scan.id, frame) for scan in scans for frame in range(scan.n_frames)],
    )


def initial_limit(worker: Worker, entry: ModelEntry, typical: Scan) -> BatchLimit:
    """The entry's fixed batch size, or the best one on the frames of a typical scan."""
    if entry.batch_size != "auto":
        return BatchLimit(systems=int(entry.batch_size))
    everything = frames_batch([typical])

    def frames(count: int) -> Batch:
        return everything.select([k % typical.n_frames for k in range(count)])

    return choose_limit(worker, frames, typical.n_atoms)


def _scan_evaluation(scan: Scan, result: Result, wall_s: float, deaths: int) -> ScanEvaluation:
    """The part of a result that belongs to one scan, with the status of the scan.

    Frames without a reference are never scored, so that a failure there costs nothing; of a scan
    that has no reference at all, because it is being made, every frame counts.
    """
    counted = np.isfinite(scan.energy)
    if not counted.any():
        counted[:] = True
    status, message = Status.OK, ""
    for frame, (s, m) in enumerate(zip(result.status, result.messages, strict=True)):
        if s not in (Status.OK, Status.MASKED) and counted[frame]:
            status, message = s, f"frame {frame} at {scan.coordinate[frame]:.3f} Å: {m}"
            break
    energies = result.energies
    return ScanEvaluation(
        scan_id=scan.id,
        energy=np.full(scan.n_frames, np.nan) if energies is None else energies,
        forces=result.forces.reshape(scan.n_frames, scan.n_atoms, 3),
        frame_status=np.array([s.code for s in result.status], dtype=np.int8),
        status=status,
        message=message,
        wall_s=wall_s,
        worker_deaths=deaths,
    )


def answerable(scan: Scan, info: ModelInfo) -> Scan:
    """An isolated pair as a model is asked about it, which may take no spin.

    Such a model has one surface, which is asked, whatever the number of electrons.
    """
    return scan if info.spins else replace(scan, spin=1)


def without_model(scan: Scan, status: Status, message: str) -> ScanEvaluation:
    """Result of a scan that was not evaluated at all."""
    return ScanEvaluation(
        scan_id=scan.id,
        energy=np.full(scan.n_frames, np.nan),
        forces=np.full(scan.positions.shape, np.nan),
        frame_status=np.full(scan.n_frames, status.code, dtype=np.int8),
        status=status,
        message=message,
        wall_s=0.0,
    )


def evaluate_scans(evaluator: Evaluator, scans: Sequence[Scan]) -> list[ScanEvaluation]:
    """Evaluate some scans in common batches.

    Returns:
        One a scan, in order; a scan the model cannot be asked about is `unsupported`.
    """
    info = evaluator.worker.start()
    reasons = [why_unsupported(scan, info) for scan in scans]
    asked = [scan for scan, reason in zip(scans, reasons, strict=True) if not reason]
    done: dict[str, ScanEvaluation] = {}
    if asked:
        batch = frames_batch(asked)
        before, lost = evaluator.wall_s, evaluator.worker.losses.total()
        result = evaluator.evaluate(batch)
        per_atom = (evaluator.wall_s - before) / batch.n_atoms
        # on which of the scans is not known where the model answered at the second attempt
        deaths = evaluator.worker.losses.total() - lost
        system = atom = 0
        for scan in asked:
            last_system, last_atom = system + scan.n_frames, atom + scan.n_frames * scan.n_atoms
            part = Result(
                energies=None if result.energies is None else result.energies[system:last_system],
                forces=result.forces[atom:last_atom],
                status=result.status[system:last_system],
                messages=result.messages[system:last_system],
            )
            wall_s = per_atom * (last_atom - atom)
            done[scan.id] = _scan_evaluation(scan, part, wall_s, 0 if done else deaths)
            system, atom = last_system, last_atom
    return [
        done[scan.id] if not reason else without_model(scan, Status.UNSUPPORTED, reason)
        for scan, reason in zip(scans, reasons, strict=True)
    ]
