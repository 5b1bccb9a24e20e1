"""Labels of frames by any method of the registry, which a killed call continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
    """Labels under way. Each piece of the checkpoint is at most `PIECE` frames.

    Attributes:
        method: The method.
        frames: Frames, in order, each a system with its own positions.
        out: File that is being made.
        labels: By the number of the frame, in the order in which they were wanted.
        spent: Time and work, over all calls.
    """

    method: Method
    frames: Sequence[System]
    out: Path
    labels: dict[int, Label] = field(default_factory=dict)
    spent: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = hashlib.sha256()
        for one in self.frames:
            told.update(json.dumps(asdict(one), default=np.ndarray.tolist).encode())
        self.checkpoint = Checkpoint(
            self.out,
            {
                "model": self.method.entry.deciding(),
                "frames": told.hexdigest(),
                "device": self.method.device,
                "threads": self.method.threads,
                "code": stage_fingerprint(__name__, *family_modules(self.method.entry.families)),
            },
        )

    def run(self, wanted: Callable[[Mapping[int, Label]], Sequence[int]] | None = None) -> None:
        """Label the frames that are wanted, until none is.

        A label that an earlier call has stored is taken where its frame is wanted again.

        Args:
            wanted: Numbers of the frames to label next, by the labels so far; it is asked again
                when all of these have one. None for all frames, in order.

        Raises:
            UserError: the method does not load or has no energies, or the checkpoint is damaged.
            HostError: the machine failed; a second call continues.
        """
        ask = wanted or (lambda labels: [k for k in range(len(self.frames)) if k not in labels])
        if not (some := ask(self.labels)):
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
            stored: dict[int, Label] = {}
            for piece in range(self.checkpoint.count):
                stored |= self.checkpoint.read(piece, _labels)
            while some:
                pieces = [some[k : k + PIECE] for k in range(0, len(some), PIECE)]
                for numbers in track(pieces, len(pieces), "groups of frames"):
                    if new := [k for k in numbers if k not in stored]:
                        self.checkpoint.append(**self._label(evaluator, new, info))
                        spent.save()
                        stored |= self.checkpoint.read(self.checkpoint.count - 1, _labels)
                    self.labels |= {k: stored[k] for k in numbers}
                some = ask(self.labels)
            self.spent = spent.attributes()

    def _label(self, evaluator: Evaluator, numbers: Sequence[int], info: ModelInfo) -> Arrays:
        """The labels of the frames of some numbers, as arrays."""
        some = [self.frames[k] for k in numbers]
        names = [(f"{k}", 0) for k in numbers]
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
            "frames": np.array(numbers), "sizes": np.bincount(batch.system),
            "status": np.array(status), "message": np.array(messages), "energy": energies,
            "forces": forces,
        }  # fmt: skip


def _labels(arrays: Arrays) -> dict[int, Label]:
    """The labels of a piece, by the number of the frame."""
    sizes = stored_array(arrays, "sizes", "i", (None,))
    numbers = stored_array(arrays, "frames", "i", (len(sizes),))
    status = stored_array(arrays, "status", "U", (len(sizes),))
    messages = stored_array(arrays, "message", "U", (len(sizes),))
    energies = stored_array(arrays, "energy", "f", (len(sizes),))
    forces = stored_array(arrays, "forces", "f", (int(sizes.sum()), 3))
    each = np.split(forces, np.cumsum(sizes)[:-1])
    rows = zip(
        numbers.tolist(), status.tolist(), messages.tolist(), energies.tolist(), each, strict=True
    )
    return {number: Label(Status(how), *rest) for number, how, *rest in rows}
