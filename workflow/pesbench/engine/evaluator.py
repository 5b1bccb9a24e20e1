"""Batches through a worker; what fails is taken apart down to the frame.

A failure is a result. What a model does wrong ends in the status of the frames it happened on;
only the machine's own failures (`HostError`) end the command.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from pesbench.core.interface import Batch, ModelInfo, Molecule, Result, Status
from pesbench.engine.batching import BatchLimit, split
from pesbench.engine.worker import ModelFailureError, ModelLoadError, Worker

GIVE_UP_AFTER = 3  # scans in a row on which the worker crashed or hung
NOT_TRIED = f"not tried: the worker died or hung on {GIVE_UP_AFTER} scans before"
logger = logging.getLogger("pesbench")


def why_unsupported(molecule: Molecule, info: ModelInfo) -> str:
    """Reason why a model does not support a scan or a system, or ""."""
    elements = frozenset(molecule.numbers.tolist())
    return why_unsupported_composition(elements, molecule.charge, molecule.spin, info)


def why_unsupported_composition(
    elements: frozenset[int], charge: int, spin: int, info: ModelInfo
) -> str:
    """Reason why a model does not support what a molecule is made of, or "".

    Args:
        elements: Atomic numbers.
        charge: Total charge in e.
        spin: Multiplicity.
        info: What the model takes.
    """
    if info.elements is not None and (unknown := sorted(elements - info.elements)):
        return "unknown elements: " + ", ".join(chemical_symbols[z] for z in unknown)
    if charge and not info.charges:
        return f"the model takes no total charge ({charge:+d})"
    if spin != 1 and not info.spins:
        return f"the model takes no spin (multiplicity {spin})"
    return ""


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
        worker: Worker that holds the model.
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
            self.limit = before  # one system alone was too large; others may fit
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
            return failed_result(batch, Status.CRASHED, NOT_TRIED)
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
