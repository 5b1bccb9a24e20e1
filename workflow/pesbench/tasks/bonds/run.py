"""Frames of a scan set through a model: batches, failures, checkpoints, progress.

A failure is a result. What a model does wrong ends in the status of the frames it happened on;
only the machine's own failures (`HostError`) end the command.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.core.interface import Batch, ModelInfo, Result, Status, molecules_batch
from pesbench.core.progress import track
from pesbench.core.scans import Scan
from pesbench.engine.batching import BatchLimit, choose_limit, split
from pesbench.engine.worker import ModelFailureError, ModelLoadError, Worker
from pesbench.files import provenance
from pesbench.files.checkpoint import Arrays, Checkpoint, stored_array
from pesbench.files.evaluation import ScanEvaluation, write_evaluation
from pesbench.files.fingerprint import stage_fingerprint
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry

GIVE_UP_AFTER = 3  # scans in a row on which the worker died or hung
_NOT_TRIED = f"not tried: the worker died or hung on {GIVE_UP_AFTER} scans before"
UNIT_SCANS = 64  # at most so many scans between two checkpoints
logger = logging.getLogger("pesbench")


def failed_result(batch: Batch, status: Status, message: str) -> Result:
    """The result of a batch on which the model failed as a whole."""
    return Result(
        energies=np.full(batch.n_systems, np.nan),
        forces=np.full((batch.n_atoms, 3), np.nan),
        status=(status,) * batch.n_systems,
        messages=(message,) * batch.n_systems,
    )


def _join(parts: Sequence[Result]) -> Result:
    energies: list[np.ndarray] = []
    has_energy = any(
        part.energies is not None and np.isfinite(part.energies).any() for part in parts
    )
    for part in parts:
        missing = np.full(len(part.status), np.nan)
        energies.append(missing if part.energies is None else part.energies)
    return Result(
        energies=np.concatenate(energies) if has_energy else None,
        forces=np.concatenate([part.forces for part in parts]),
        status=tuple(s for part in parts for s in part.status),
        messages=tuple(m for part in parts for m in part.messages),
    )


@dataclass
class Evaluator:
    """Sends batches to a worker and takes failures apart down to the frame.

    Attributes:
        worker: Where the model lives.
        limit: Largest batch; half of the batch that did not fit when device memory runs out, unless
            it was one system alone that did not.
        give_up_after: Once so many systems in a row ended the worker, the rest is not tried.
        wall_s: Seconds in the model so far.
        device_bytes: Peak memory on the accelerator so far.
        ended: Scans of the latest call of which a frame ended the worker.
    """

    worker: Worker
    limit: BatchLimit
    give_up_after: float = math.inf
    wall_s: float = 0.0
    device_bytes: int = 0
    ended: Collection[str] = ()
    _deaths: int = 0  # in a row, in this call

    def evaluate(self, batch: Batch) -> Result:
        """Energies and forces of every frame of a batch of any size.

        A batch on which the model fails is halved until the frames that fail stand alone; one on
        which it hangs is taken apart at once, for every further batch that hangs would be waited
        for. A frame that kills or hangs the worker costs the rest of its scan, which is not tried
        again.
        """
        before, self._deaths = self.limit, 0
        dead: dict[str, tuple[Status, str]] = {}
        result = self._evaluate_divided(batch, dead)
        self.ended = dead.keys()
        if Status.OUT_OF_MEMORY in result.status:
            self.limit = before  # one system alone was too large, which tells nothing of the others
        return result

    def _evaluate_divided(self, batch: Batch, dead: dict[str, tuple[Status, str]]) -> Result:
        sizes = np.bincount(batch.system, minlength=batch.n_systems).tolist()
        parts, start = [], 0
        while start < batch.n_systems:  # the limit may shrink on the way
            count = len(next(split(sizes[start:], self.limit)))
            chosen = range(start, start + count)
            parts.append(self._evaluate_part(batch.select(chosen), dead))
            start += count
        return _join(parts)

    def _evaluate_part(self, batch: Batch, dead: dict[str, tuple[Status, str]]) -> Result:
        if dead and any(scan_id in dead for scan_id, _ in batch.labels):
            return _join([self._alone(batch.select([k]), dead) for k in range(batch.n_systems)])
        if self._deaths >= self.give_up_after:
            return failed_result(batch, Status.CRASHED, _NOT_TRIED)
        try:
            timed = self.worker.evaluate(batch)
        except ModelLoadError:
            raise  # a smaller batch would not load it either
        except ModelFailureError as failure:
            if batch.n_systems == 1:
                return self._mourn(batch, failure, dead)
            if failure.status is Status.TIMEOUT:
                frames = range(batch.n_systems)
                return _join([self._alone(batch.select([k]), dead) for k in frames])
            middle = batch.n_systems // 2
            pieces = [range(middle), range(middle, batch.n_systems)]
            if failure.status is Status.OUT_OF_MEMORY:
                self.limit = self.limit.below(batch)
                what = failure.message if failure.ended else "out of device memory"
                logger.warning("%s: batches halved to %s", what, self.limit)
                return self._evaluate_divided(batch, dead)
            return _join([self._evaluate_part(batch.select(piece), dead) for piece in pieces])
        self._deaths = 0
        self.wall_s += timed.wall_s
        self.device_bytes = max(self.device_bytes, timed.device_bytes)
        return timed.result

    def _alone(self, frame: Batch, dead: dict[str, tuple[Status, str]]) -> Result:
        scan_id = frame.labels[0][0]
        if scan_id in dead:
            status, message = dead[scan_id]
            return failed_result(frame, status, message)
        return self._evaluate_part(frame, dead)

    def _mourn(
        self, frame: Batch, failure: ModelFailureError, dead: dict[str, tuple[Status, str]]
    ) -> Result:
        if failure.ended or failure.status in (Status.CRASHED, Status.TIMEOUT):
            scan_id, number = frame.labels[0]
            logger.warning("%s frame %d: %s", scan_id, number, failure.message)
            self._deaths += 1
            dead[scan_id] = (failure.status, f"not tried: frame {number} ended the worker")
        return failed_result(frame, failure.status, failure.message)


def frames_batch(scans: Sequence[Scan]) -> Batch:
    """All frames of some scans, in order, as one batch."""
    return molecules_batch(
        positions=[frame for scan in scans for frame in scan.positions],
        numbers=[scan.numbers for scan in scans for _ in range(scan.n_frames)],
        charge=[scan.charge for scan in scans for _ in range(scan.n_frames)],
        spin=[scan.spin for scan in scans for _ in range(scan.n_frames)],
        labels=[(scan.id, frame) for scan in scans for frame in range(scan.n_frames)],
    )


def why_unsupported(scan: Scan, info: ModelInfo) -> str:
    """The reason why a model cannot be asked about a scan, or ""."""
    from ase.data import chemical_symbols

    if info.elements is not None:
        unknown = sorted(set(scan.numbers.tolist()) - info.elements)
        if unknown:
            return "unknown elements: " + ", ".join(chemical_symbols[z] for z in unknown)
    if scan.charge and not info.charges:
        return f"the model takes no total charge ({scan.charge:+d})"
    return ""


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


def _without_model(scan: Scan, status: Status, message: str) -> ScanEvaluation:
    """A scan that was not put to the model at all."""
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
        done[scan.id] if not reason else _without_model(scan, Status.UNSUPPORTED, reason)
        for scan, reason in zip(scans, reasons, strict=True)
    ]


def _next_unit(scan_set: ScanSet, ids: Sequence[str], limit: BatchLimit) -> int:
    """How many of the next scans share batches: whole scans up to one batch, at least one."""
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
    arrays: dict[str, np.ndarray] = {
        "ids": np.array([scan.scan_id for scan in scans]),
        "status": np.array([scan.status.value for scan in scans]),
        "messages": np.array([scan.message for scan in scans]),
        "wall_s": np.array([scan.wall_s for scan in scans]),
        "worker_deaths": np.array([scan.worker_deaths for scan in scans]),
        "limit": np.array([limit.systems or 0, limit.atoms or 0]),
        "dead_in_a_row": np.array(dead_in_a_row),
    }
    for k, scan in enumerate(scans):
        arrays[f"energy_{k}"] = scan.energy
        arrays[f"forces_{k}"] = scan.forces
        arrays[f"frame_status_{k}"] = scan.frame_status
    return arrays


def _from_arrays(arrays: Arrays) -> tuple[list[ScanEvaluation], BatchLimit, int]:
    """The scans of a piece, the batch size after it, and how many in a row had cost a worker."""
    ids = stored_array(arrays, "ids", "U", (None,))
    of_scan = {
        name: stored_array(arrays, name, kind, ids.shape)
        for name, kind in (
            ("status", "U"), ("messages", "U"), ("wall_s", "f"), ("worker_deaths", "i")
        )
    }  # fmt: skip
    scans = []
    for k, scan_id in enumerate(ids):
        frame_status = stored_array(arrays, f"frame_status_{k}", "i", (None,))
        frames = frame_status.shape
        scans.append(
            ScanEvaluation(
                scan_id=str(scan_id),
                energy=stored_array(arrays, f"energy_{k}", "f", frames),
                forces=stored_array(arrays, f"forces_{k}", "f", (*frames, None, 3)),
                frame_status=frame_status,
                status=Status(str(of_scan["status"][k])),
                message=str(of_scan["messages"][k]),
                wall_s=float(of_scan["wall_s"][k]),
                worker_deaths=int(of_scan["worker_deaths"][k]),
            )
        )
    return scans, _stored_limit(arrays), int(stored_array(arrays, "dead_in_a_row", "i"))


def _stored_limit(arrays: Arrays) -> BatchLimit:
    systems, atoms = stored_array(arrays, "limit", "i", (2,)).tolist()
    if min(systems, atoms) < 0:
        raise ValueError(f"`limit` holds {systems} and {atoms}")
    return BatchLimit(systems or None, atoms or None)


def caller_state(arrays: Arrays) -> tuple[BatchLimit, set[str]]:
    """Of a piece of a long run: the batch size after it, and what had cost a worker by then."""
    deaths = stored_array(arrays, "deaths", "U", (None,))
    return _stored_limit(arrays), {str(name) for name in deaths}


def initial_limit(worker: Worker, entry: ModelEntry, typical: Scan) -> BatchLimit:
    """The entry's fixed batch size, or the best one on the frames of a typical scan."""
    fixed = entry.settings.get("batch_size", "auto")
    if fixed != "auto":
        return BatchLimit(systems=int(fixed))
    everything = frames_batch([typical])

    def frames(count: int) -> Batch:
        return everything.select([k % typical.n_frames for k in range(count)])

    return choose_limit(worker, frames, typical.n_atoms)


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


def evaluate_shard(
    entry: ModelEntry,
    scan_set_path: Path,
    scan_ids: Sequence[str],
    out: Path,
    *,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Evaluate a model on some scans and write an evaluation file.

    Continues from its checkpoint if an earlier call was killed; scans that the quality gate
    dropped are passed over.

    Args:
        entry: Resolved model entry.
        scan_set_path: Scan set file.
        scan_ids: Which scans; sorted here.
        out: Evaluation file.
        device: `auto`, `cpu` or `cuda`.
        threads: For the model's arithmetic.

    Raises:
        UserError: no such scan or scan set.
        HostError: the machine failed; a second call continues.
    """
    timeout_s = float(entry.settings.get("timeout_s", 600.0))
    with (
        ScanSet(scan_set_path) as scan_set,
        Worker(
            entry, scan_set=scan_set_path, device=device, threads=threads, timeout_s=timeout_s
        ) as worker,
    ):
        ids = [i for i in sorted(scan_ids) if scan_set.quality(i)[0] != "dropped"]
        checkpoint = Checkpoint(
            out,
            {
                "model": entry.deciding(),
                "scan_set_sha256": scan_set.sha256,
                "scans": ids,
                "device": device,
                "threads": threads,
                "code": stage_fingerprint("evaluate", *entry.families),
            },
        )
        spent = Spent.resume(checkpoint, worker)
        limit, info = _run(entry, scan_set, ids, worker, checkpoint, spent)
        worker.close()
        write_evaluation(
            out,
            _stored(checkpoint),
            attributes={
                "model": entry.name,
                "entry": entry.deciding(),
                "scan_set": scan_set.name,
                "scan_set_sha256": scan_set.sha256,
                "device": info.device if info else "not loaded",
                "dtype": info.dtype if info else "not loaded",
                "model_details": info.details if info else {},
                "threads": threads,
                "batch_limit": asdict(limit),
                **spent.attributes(),
                "peak_memory_bytes": worker.peak_bytes,
                "provenance": provenance.collect(),
            },
        )
        checkpoint.remove()


@dataclass
class Spent:
    """Time, work and starts of the worker of a command, summed over the calls it took.

    Attributes:
        checkpoint: That keeps them.
        worker: Of this call.
        before: What earlier calls spent, as `attributes`.
        start: By the monotonic clock.
    """

    checkpoint: Checkpoint
    worker: Worker
    before: Mapping[str, Any]
    start: float

    @classmethod
    def resume(cls, checkpoint: Checkpoint, worker: Worker) -> Spent:
        """Go on counting from what the checkpoint holds."""
        before = checkpoint.read_note(
            "spent",
            lambda note: {
                "wall_s": float(note["wall_s"]),
                "times_interrupted": int(note["times_interrupted"]) + 1,
                "atom_frames": int(note["atom_frames"]),
                "worker_starts": int(note["worker_starts"]),
                "worker_deaths": {str(k): int(n) for k, n in note["worker_deaths"].items()},
            },
        )
        if before is None:
            before = {"wall_s": 0.0, "times_interrupted": 0, "atom_frames": 0}
            before |= {"worker_starts": 0, "worker_deaths": {}}
        return cls(checkpoint, worker, before, time.monotonic())

    def attributes(self) -> dict[str, Any]:
        """For the file: seconds, interruptions, atoms of answered frames, starts and losses."""
        deaths = Counter(self.before["worker_deaths"]) + self.worker.losses
        return {
            "wall_s": self.before["wall_s"] + time.monotonic() - self.start,
            "times_interrupted": self.before["times_interrupted"],
            "atom_frames": self.before["atom_frames"] + self.worker.atom_frames,
            "worker_starts": self.before["worker_starts"] + self.worker.starts,
            "worker_deaths": {str(status): n for status, n in sorted(deaths.items())},
        }

    def save(self) -> None:
        """Keep what was spent so far."""
        self.checkpoint.write_note("spent", self.attributes())


def _stored(checkpoint: Checkpoint) -> Iterator[ScanEvaluation]:
    for piece in range(checkpoint.count):
        yield from checkpoint.read(piece, _from_arrays)[0]


def _pieces(
    checkpoint: Checkpoint, scan_set: ScanSet, ids: Sequence[str]
) -> Iterator[tuple[list[ScanEvaluation], BatchLimit, int]]:
    """What the checkpoint holds, compared with the scans that are asked for.

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
) -> tuple[BatchLimit, ModelInfo | None]:
    """Evaluate what the checkpoint does not hold yet."""
    try:
        info = worker.start()
        # what decides rounding, and is known only once the model is loaded
        made = {"device": info.device, "dtype": info.dtype, "details": info.details}
        if checkpoint.read_note("made") != made:
            if checkpoint.count:
                logger.warning("checkpoint of another device or version; starting anew")
            checkpoint.clear()
            checkpoint.write_note("made", made)
        limit = checkpoint.read_note("limit", lambda note: BatchLimit(**note))
        if limit is None:
            limit = _shard_limit(worker, entry, scan_set, ids)
            checkpoint.write_note("limit", asdict(limit))
    except ModelLoadError as failure:
        held = sum(len(one) for one, _, _ in _pieces(checkpoint, scan_set, ids))
        _give_up(scan_set, ids[held:], failure, checkpoint)
        return BatchLimit(systems=1), None
    done, deaths = 0, 0
    for held_scans, last, in_a_row in _pieces(checkpoint, scan_set, ids):
        limit = limit if last == BatchLimit() else last
        done += len(held_scans)
        deaths = in_a_row
    evaluator = Evaluator(worker, limit, GIVE_UP_AFTER)
    for unit in track(_units(scan_set, ids, done, evaluator), len(ids) - done, "scans"):
        if unit is None:  # the further scans of a unit, there for the count alone
            continue
        done += len(unit)
        scans = [scan_set.scan(scan_id) for scan_id in unit]
        if deaths >= GIVE_UP_AFTER:
            results = [_without_model(scan, Status.CRASHED, _NOT_TRIED) for scan in scans]
        else:
            try:
                results = evaluate_scans(evaluator, scans)
            except ModelLoadError as failure:  # it died, and does not come up again
                _give_up(scan_set, [*unit, *ids[done:]], failure, checkpoint)
                break
        deaths = _deaths_in_a_row(results, deaths, evaluator.ended)
        checkpoint.append(**_to_arrays(results, evaluator.limit, deaths))
        spent.save()
    return evaluator.limit, replace(
        info, details=info.details | {"device_peak_bytes": evaluator.device_bytes}
    )


def _give_up(
    scan_set: ScanSet, ids: Sequence[str], failure: ModelLoadError, checkpoint: Checkpoint
) -> None:
    """Give some scans the status of a model that does not load."""
    logger.warning("%s", failure.message)
    for scan_id in ids:
        lost = _without_model(scan_set.scan(scan_id), failure.status, failure.message)
        checkpoint.append(**_to_arrays([lost], BatchLimit()))  # says nothing of the batch size


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
