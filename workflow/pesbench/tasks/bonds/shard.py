"""One shard of scans: evaluated, with checkpoints, and written."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from pesbench.core.interface import ModelInfo, Status
from pesbench.core.jobs import RunJob
from pesbench.core.progress import track
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import (
    GIVE_UP_AFTER,
    NOT_TRIED,
    Evaluator,
    why_unsupported,
)
from pesbench.engine.precision import measured_precision
from pesbench.engine.scan_pieces import from_arrays, to_arrays
from pesbench.engine.scans import evaluate_scans, initial_limit, without_model
from pesbench.engine.shard import (
    Spent,
    load_model,
    results_attributes,
    stored_limit,
)
from pesbench.engine.worker import ModelLoadError, Worker
from pesbench.files.checkpoint import (
    Arrays,
    Checkpoint,
    stored_array,
)
from pesbench.files.evaluation import ScanEvaluation, write_evaluation
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import system_of
from pesbench.models.registry import ModelEntry

STAGE = "pesbench.tasks.bonds.run"  # the module that enters here
UNIT_SCANS = 64  # at most so many scans between two checkpoints
logger = logging.getLogger("pesbench")


def evaluate_shard(job: RunJob) -> None:
    """Evaluate a model on some scans and write an evaluation file, whether one exists or not.

    Continues from its checkpoint if an earlier call was killed; scans that the quality gate
    dropped are passed over.

    Args:
        job: Items are ids of scans.

    Raises:
        UserError: no such scan or scan set.
        HostError: the machine failed; a second call continues.
    """
    entry = job.entry
    with (
        ScanSet(job.scan_set) as scan_set,
        Worker(
            entry,
            scan_set=job.scan_set,
            device=job.device,
            threads=job.threads,
            timeout_s=entry.timeout_s,
            environment=job.environment,
        ) as worker,
    ):
        ids = [i for i in sorted(job.items) if scan_set.quality(i)[0] != "dropped"]
        checkpoint = Checkpoint(
            job.out,
            {
                "model": entry.deciding(),
                "scan_set_sha256": scan_set.sha256,
                "scans": ids,
                "device": job.device,
                "threads": job.threads,
                "code": stage_fingerprint(STAGE, *family_modules(entry.families)),
            },
        )
        spent = Spent.resume(checkpoint, worker)
        evaluator, info = _run(entry, scan_set, ids, worker, checkpoint, spent)
        measured = ""
        if not entry.is_control:  # defined on the frames of scans only
            answered = [one.scan_id for one in _stored(checkpoint) if one.status is Status.OK]
            systems = (system_of(scan_set.scan(scan_id)) for scan_id in answered)
            measured = measured_precision(evaluator, info, systems)
        worker.close()
        of_set = scan_set.name, scan_set.sha256
        write_evaluation(
            job.out,
            _stored(checkpoint),
            attributes=results_attributes(
                entry, of_set, info, evaluator, spent, job.threads, measured
            ),
        )
        checkpoint.remove()


def _shard_limit(
    worker: Worker, entry: ModelEntry, scan_set: ScanSet, ids: Sequence[str]
) -> BatchLimit:
    """`initial_limit` on the scan of median size that the model can be asked about."""
    info = worker.start()
    asked = [i for i in ids if not why_unsupported(scan_set.scan(i), info)]
    if not asked:
        return BatchLimit(systems=1)
    asked.sort(key=lambda scan_id: (scan_set.shape(scan_id)[1], scan_id))
    return initial_limit(worker, entry, scan_set.scan(asked[len(asked) // 2]))


def _next_unit(scan_set: ScanSet, ids: Sequence[str], limit: BatchLimit) -> int:
    """Number of the next scans that share batches: whole scans up to one batch, at least one."""
    frames, atoms = 0, 0
    for count, scan_id in enumerate(ids[:UNIT_SCANS]):
        n_frames, n_atoms = scan_set.shape(scan_id)
        frames += n_frames
        atoms += n_frames * n_atoms
        too_many = limit.systems is not None and frames > limit.systems
        too_large = limit.atoms is not None and atoms > limit.atoms
        if count and (too_many or too_large):
            return count
    return min(len(ids), UNIT_SCANS)


def _to_arrays(
    scans: Sequence[ScanEvaluation], limit: BatchLimit, dead_in_a_row: int = 0
) -> dict[str, np.ndarray]:
    return to_arrays(scans) | {
        "limit": np.array([limit.systems or 0, limit.atoms or 0]),
        "dead_in_a_row": np.array(dead_in_a_row),
    }


def _from_arrays(arrays: Arrays) -> tuple[list[ScanEvaluation], BatchLimit, int]:
    """The scans of a piece, the batch size after it, and how many in a row had cost a worker."""
    in_a_row = int(stored_array(arrays, "dead_in_a_row", "i"))
    return from_arrays(arrays), stored_limit(arrays), in_a_row


def _stored(checkpoint: Checkpoint) -> Iterator[ScanEvaluation]:
    for piece in range(checkpoint.count):
        yield from checkpoint.read(piece, _from_arrays)[0]


def _pieces(
    checkpoint: Checkpoint, scan_set: ScanSet, ids: Sequence[str]
) -> Iterator[tuple[list[ScanEvaluation], BatchLimit, int]]:
    """Content of the checkpoint, compared with the requested scans.

    Raises:
        UserError: a piece is damaged, or of other scans.
    """
    done = 0

    def next_scans(arrays: Arrays) -> tuple[list[ScanEvaluation], BatchLimit, int]:
        found = _from_arrays(arrays)
        for one, wanted in zip(found[0], ids[done : done + len(found[0])], strict=True):
            if one.scan_id != wanted or one.forces.shape[:2] != scan_set.shape(wanted):
                raise ValueError(f"holds {one.scan_id!r}, not {wanted!r} as it is in the scan set")
        return found

    for piece in range(checkpoint.count):
        found = checkpoint.read(piece, next_scans)
        done += len(found[0])
        yield found


def _run(
    entry: ModelEntry,
    scan_set: ScanSet,
    ids: Sequence[str],
    worker: Worker,
    checkpoint: Checkpoint,
    spent: Spent,
) -> tuple[Evaluator, ModelInfo | None]:
    """Evaluate what the checkpoint does not hold yet."""
    evaluator = Evaluator(worker, BatchLimit(systems=1), GIVE_UP_AFTER)
    try:
        info, limit = load_model(
            worker, checkpoint, lambda info: _shard_limit(worker, entry, scan_set, ids)
        )
    except ModelLoadError as failure:
        held = sum(len(one) for one, _, _ in _pieces(checkpoint, scan_set, ids))
        _give_up(scan_set, ids[held:], failure, checkpoint)
        return evaluator, None
    done, deaths = 0, 0
    for held_scans, last, in_a_row in _pieces(checkpoint, scan_set, ids):
        limit = limit if last == BatchLimit() else last
        done += len(held_scans)
        deaths = in_a_row
    evaluator.limit = limit
    for unit in track(_units(scan_set, ids, done, evaluator), len(ids) - done, "scans"):
        if unit is None:  # the further scans of a unit, there for the count alone
            continue
        done += len(unit)
        scans = [scan_set.scan(scan_id) for scan_id in unit]
        if deaths >= GIVE_UP_AFTER:
            results = [without_model(scan, Status.CRASHED, NOT_TRIED) for scan in scans]
        else:
            try:
                results = evaluate_scans(evaluator, scans)
            except ModelLoadError as failure:  # the worker ended, the model cannot be loaded again
                _give_up(scan_set, [*unit, *ids[done:]], failure, checkpoint)
                break
        deaths = _deaths_in_a_row(results, deaths, evaluator.ended)
        checkpoint.append(**_to_arrays(results, evaluator.limit, deaths))
        spent.save()
    return evaluator, info


def _give_up(
    scan_set: ScanSet, ids: Sequence[str], failure: ModelLoadError, checkpoint: Checkpoint
) -> None:
    """Give some scans the status of a model that does not load."""
    logger.warning("%s", failure.message)
    for scan_id in ids:
        lost = without_model(scan_set.scan(scan_id), failure.status, failure.message)
        checkpoint.append(**_to_arrays([lost], BatchLimit()))  # states no batch size


def _units(
    scan_set: ScanSet, ids: Sequence[str], done: int, evaluator: Evaluator
) -> Iterator[list[str] | None]:
    while done < len(ids):
        count = _next_unit(scan_set, ids[done:], evaluator.limit)
        yield list(ids[done : done + count])
        yield from (None for _ in range(count - 1))
        done += count


def _deaths_in_a_row(scans: Sequence[ScanEvaluation], before: int, ended: Collection[str]) -> int:
    """Scans that ended the worker, up to the last one.

    Args:
        scans: The latest.
        before: How many there were in a row before them.
        ended: Ids of those that ended it, if only by taking all memory.
    """
    deaths = before
    for scan in scans:
        if scan.status in (Status.CRASHED, Status.TIMEOUT) or scan.scan_id in ended:
            deaths += 1
        elif scan.status is not Status.UNSUPPORTED:
            deaths = 0
    return deaths
