"""Labels of frames by any method of the registry, which a killed call continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import ModelInfo, Status, batch_of
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.patient_worker import PatientWorker
from pesbench.engine.shard import Spent, load_for_molecules
from pesbench.engine.worker import ModelFailureError
from pesbench.files.checkpoint import Arrays, Checkpoint, stored_array
from pesbench.files.environment import HERE, Environment
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.models.registry import ModelEntry

PIECE = 4  # frames from one checkpoint to the next: a label by DFT may take a minute


@dataclass(frozen=True)
class Method:
    """What labels, and where it runs.

    Attributes:
        entry: Resolved entry of the registry.
        device: `auto`, `cpu` or `cuda`.
        threads: Number of threads of its arithmetic.
        environment: That of its process.
    """

    entry: ModelEntry
    device: str = "auto"
    threads: int = 1
    environment: Environment = HERE


@dataclass(frozen=True)
class Label:
    """What the method says of a frame.

    Attributes:
        status: `ok`, with finite numbers, or how it failed.
        message: Why.
        energy: eV.
        forces: eV/Å, shape (N, 3).
    """

    status: Status
    message: str
    energy: float
    forces: NDArray[np.float64]


@dataclass
class Labelling:
    """Labels under way. Each piece of the checkpoint is `PIECE` frames.

    Attributes:
        method: The method.
        frames: Frames, in order, each a system with its own positions.
        out: File that is being made.
        labels: Of the first of the frames.
        spent: Time and work, over all calls.
    """

    method: Method
    frames: Sequence[System]
    out: Path
    labels: list[Label] = field(default_factory=list)
    spent: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = json.dumps([asdict(one) for one in self.frames], default=np.ndarray.tolist)
        self.checkpoint = Checkpoint(
            self.out,
            {
                "model": self.method.entry.deciding(),
                "frames": hashlib.sha256(told.encode()).hexdigest(),
                "device": self.method.device,
                "threads": self.method.threads,
                "code": stage_fingerprint(__name__, *family_modules(self.method.entry.families)),
            },
        )

    def run(self, enough: Callable[[Sequence[Label]], bool] = lambda labels: False) -> None:
        """Label until the labels so far are enough, or no frame is left.

        Raises:
            UserError: the method does not load or has no energies, or the checkpoint is damaged.
            HostError: the machine failed; a second call continues.
        """
        if not self.frames:
            return
        method = self.method
        with PatientWorker(
            method.entry,
            {f"{k}": one.id for k, one in enumerate(self.frames)},
            device=method.device,
            threads=method.threads,
            timeout_s=method.entry.timeout_s,
            environment=method.environment,
        ) as worker:
            spent = Spent.resume(self.checkpoint, worker)
            try:
                info, limit = load_for_molecules(worker, self.checkpoint, method.entry, self.frames)
            except ModelFailureError as failure:
                raise UserError(f"model {method.entry.name!r}: {failure.message}") from failure
            spent.save()
            evaluator = Evaluator(worker, limit)
            pieces = range(-(-len(self.frames) // PIECE))
            needed = takewhile(lambda _: not enough(self.labels), pieces)
            for piece in track(needed, len(pieces), "groups of frames"):
                if piece == self.checkpoint.count:
                    self.checkpoint.append(**self._label(evaluator, piece * PIECE, info))
                    spent.save()
                self.labels += self.checkpoint.read(piece, _labels)
            self.spent = spent.attributes()

    def _label(self, evaluator: Evaluator, first: int, info: ModelInfo) -> Arrays:
        """The labels of the piece that begins with a frame, as arrays."""
        some = self.frames[first : first + PIECE]
        names = [(f"{first + k}", 0) for k in range(len(some))]
        batch = batch_of(some, [one.positions for one in some], names)
        if not any(len(topology.bonds) for topology in batch.topologies):
            batch = replace(batch, topologies=())  # they are unknown: a force field says so
        messages = [why_unsupported(one, info) for one in some]
        status = [Status.UNSUPPORTED.value] * len(some)
        energies, forces = np.full(len(some), np.nan), np.full_like(batch.positions, np.nan)
        if asked := [k for k, why in enumerate(messages) if not why]:
            result = evaluator.evaluate(batch.select(asked))
            forces[np.isin(batch.system, asked)] = result.forces
            if result.energies is not None:
                energies[asked] = result.energies
            for k, how, why in zip(asked, result.status, result.messages, strict=True):
                status[k], messages[k] = how.value, why
                if how is Status.OK and np.isnan(energies[k]):
                    raise UserError(
                        f"model {self.method.entry.name!r}: gives no energies, and a label is of "
                        "energy and forces; take another method"
                    )
        return {
            "status": np.array(status), "message": np.array(messages), "energy": energies,
            "forces": forces, "sizes": np.bincount(batch.system),
        }  # fmt: skip


def _labels(arrays: Arrays) -> list[Label]:
    """The labels of a piece."""
    sizes = stored_array(arrays, "sizes", "i", (None,))
    status = stored_array(arrays, "status", "U", (len(sizes),))
    messages = stored_array(arrays, "message", "U", (len(sizes),))
    energies = stored_array(arrays, "energy", "f", (len(sizes),))
    forces = stored_array(arrays, "forces", "f", (int(sizes.sum()), 3))
    each = np.split(forces, np.cumsum(sizes)[:-1])
    rows = zip(status.tolist(), messages.tolist(), energies.tolist(), each, strict=True)
    return [Label(Status(how), *rest) for how, *rest in rows]
