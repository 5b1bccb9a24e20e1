"""What every run keeps of a shard beside its results: time, worker starts, batch size."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pesbench.engine.batching import BatchLimit
from pesbench.engine.worker import Worker
from pesbench.files.checkpoint import Arrays, Checkpoint, stored_array


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


def stored_limit(arrays: Arrays) -> BatchLimit:
    """The batch size after a piece, from its array `limit`.

    Raises:
        ValueError: the array holds what is no batch size.
    """
    systems, atoms = stored_array(arrays, "limit", "i", (2,)).tolist()
    if min(systems, atoms) < 0:
        raise ValueError(f"`limit` holds {systems} and {atoms}")
    return BatchLimit(systems or None, atoms or None)


def caller_state(arrays: Arrays) -> tuple[BatchLimit, set[str]]:
    """Of a piece of a long run: the batch size after it, and what had cost a worker by then."""
    deaths = stored_array(arrays, "deaths", "U", (None,))
    return stored_limit(arrays), {str(name) for name in deaths}
