"""Common part of the shards of all tasks: loading, batch size, time, attributes of the file."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import PARAMETERS_SHA256, ModelInfo
from pesbench.core.jobs import RunJob
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit, choose_limit
from pesbench.engine.evaluator import (
    Evaluator,
    why_unsupported,
)
from pesbench.engine.patient_worker import systems_batch
from pesbench.engine.worker import Worker
from pesbench.files import provenance
from pesbench.files.checkpoint import (
    Arrays,
    Checkpoint,
    stored_array,
)
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.models.registry import ModelEntry

logger = logging.getLogger("pesbench")


def refuse_control(entry: ModelEntry, task: str) -> None:
    """Refuse a control, for a task that asks for frames of its own.

    Raises:
        UserError: the entry is one.
    """
    if entry.is_control:
        raise UserError(
            f"model {entry.name!r}: a control is defined on the frames of scans only; "
            f"leave it out of `{task}`"
        )


def molecules_checkpoint(
    job: RunJob, systems: Sequence[System], scan_set_sha256: str, stage: str
) -> Checkpoint:
    """The checkpoint of a shard of molecules, which holds for the same question alone.

    Args:
        job: The shard; its `settings` are the task's.
        systems: Molecules, in order.
        scan_set_sha256: Of the scan set they are from.
        stage: Module of the task that runs, for the fingerprint of the code.
    """
    return Checkpoint(
        job.out,
        {
            "model": job.entry.deciding(),
            "scan_set_sha256": scan_set_sha256,
            "systems": [system.id for system in systems],
            "settings": asdict(job.settings),
            "device": job.device,
            "threads": job.threads,
            "code": stage_fingerprint(stage, *family_modules(job.entry.families)),
        },
    )


@dataclass
class Spent:
    """Time, work and starts of the worker of a command, summed over the calls it took.

    Attributes:
        checkpoint: Checkpoint that keeps them.
        worker: Worker of this call.
        before: What earlier calls spent, as `attributes`.
        start: Time of the start, by the monotonic clock.
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
        """Attributes of the file: seconds, interruptions, answered atoms, starts and losses."""
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


def load_model(
    worker: Worker, checkpoint: Checkpoint, first_limit: Callable[[ModelInfo], BatchLimit]
) -> tuple[ModelInfo, BatchLimit]:
    """Load the model of a shard, and set the batch size that the shard began with.

    What decides rounding and is known only once the model is loaded (device, dtype, details) is
    kept in the checkpoint, which is cleared where it is of another one.

    Args:
        worker: Worker that holds the model.
        checkpoint: Checkpoint of the shard.
        first_limit: Gives the batch size where the checkpoint holds none yet.

    Raises:
        ModelLoadError: the model does not load.
    """
    info = worker.start()
    # without the checksum of the parameters: that of a network with a buffer that each load draws
    # anew differs every time, and a job that is interrupted would never end; the board names it
    details = {key: value for key, value in info.details.items() if key != PARAMETERS_SHA256}
    made = {"device": info.device, "dtype": info.dtype, "details": details}
    if checkpoint.read_note("made") != json.loads(json.dumps(made)):
        if checkpoint.count:
            logger.warning("checkpoint of another device or version; starting anew")
        checkpoint.clear()
        checkpoint.write_note("made", made)
    limit = checkpoint.read_note("limit", lambda note: BatchLimit(**note))
    if limit is None:
        limit = first_limit(info)
        checkpoint.write_note("limit", asdict(limit))
    return info, limit


def load_for_molecules(
    worker: Worker, checkpoint: Checkpoint, entry: ModelEntry, systems: Sequence[System]
) -> tuple[ModelInfo, BatchLimit]:
    """Load the model of a shard of molecules: `load_model` with the batch size for these.

    Raises:
        ModelLoadError: the model does not load.
    """
    return load_model(
        worker, checkpoint, lambda info: _molecule_limit(worker, entry, systems, info)
    )


def _molecule_limit(
    worker: Worker, entry: ModelEntry, systems: Sequence[System], info: ModelInfo
) -> BatchLimit:
    """The entry's fixed batch size, or the best one on the molecule of median size."""
    if entry.batch_size != "auto":
        return BatchLimit(systems=int(entry.batch_size))
    asked = [system for system in systems if not why_unsupported(system, info)]
    if not asked:
        return BatchLimit(systems=1)
    asked.sort(key=lambda system: (len(system.numbers), system.id))
    typical = asked[len(asked) // 2]
    return choose_limit(
        worker, lambda count: systems_batch([typical] * count), len(typical.numbers)
    )


def results_attributes(
    entry: ModelEntry,
    scan_set: tuple[str, str],
    info: ModelInfo | None,
    evaluator: Evaluator,
    spent: Spent,
    threads: int,
    dtype_measured: str = "",
) -> dict[str, Any]:
    """Attributes of every file of results that describe how it was made.

    Args:
        entry: Entry of the model.
        scan_set: Name and sha256.
        info: What the model tells of itself; None if it did not load.
        evaluator: Evaluator that was used, with its batch size and peak of device memory.
        spent: Time and work.
        threads: Number of threads of the model's arithmetic.
        dtype_measured: Of `engine.precision.measured_precision`; "" where it was not measured.
    """
    return {
        "model": entry.name,
        "entry": entry.deciding(),
        "scan_set": scan_set[0],
        "scan_set_sha256": scan_set[1],
        "device": info.device if info else "not loaded",
        "dtype": info.dtype if info else "not loaded",
        "dtype_measured": dtype_measured,
        "elements": _symbols(info),
        "model_details": (info.details if info else {})
        | {"device_peak_bytes": evaluator.device_bytes},
        "threads": threads,
        "batch_limit": asdict(evaluator.limit),
        **spent.attributes(),
        "peak_memory_bytes": spent.worker.peak_bytes,
        "provenance": provenance.collect(spent.worker.environment.software),
    }


def _symbols(info: ModelInfo | None) -> str:
    """Symbols of the elements that the model knows, by a space; "" where it does not tell."""
    known = info.elements if info and info.elements else ()
    return " ".join(chemical_symbols[number] for number in sorted(known))


def state_arrays(limit: BatchLimit, deaths: Collection[str]) -> dict[str, NDArray[Any]]:
    """What `caller_state` reads, as arrays of a piece."""
    return {
        "limit": np.array([limit.systems or 0, limit.atoms or 0]),
        "deaths": np.array(sorted(deaths), dtype=str),
    }


def stored_limit(arrays: Arrays) -> BatchLimit:
    """The batch size that a piece of a checkpoint holds.

    Raises:
        ValueError: it holds none.
    """
    systems, atoms = stored_array(arrays, "limit", "i", (2,)).tolist()
    if min(systems, atoms) < 0:
        raise ValueError(f"`limit` holds {systems} and {atoms}")
    return BatchLimit(systems or None, atoms or None)


def caller_state(arrays: Arrays) -> tuple[BatchLimit, set[str]]:
    """State after a piece of a long run: batch size, and what had cost a worker by then."""
    deaths = stored_array(arrays, "deaths", "U", (None,))
    return stored_limit(arrays), {str(name) for name in deaths}
