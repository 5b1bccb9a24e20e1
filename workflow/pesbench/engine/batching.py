"""Batch size: chosen by measuring, halved when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pesbench.core.interface import Batch, ModelInfo, Status
from pesbench.engine.worker import ModelFailureError, Timed, Worker

MAX_FRAMES = 4096
MEMORY_SHARE = 0.8  # of the accelerator, left for the model when a batch is chosen
GOOD_ENOUGH = 0.97  # of the best throughput: a smaller batch uses less memory
CALL_S = 1.0  # a frame-by-frame method is asked for about this long a call
TUNING_S = 30.0
HOST_BYTES = 400_000_000  # what a batch on a CPU may take beyond the loaded model
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class BatchLimit:
    """The largest batch: a number of systems, of atoms, or both.

    Attributes:
        systems: Largest number of systems; None for no limit.
        atoms: Largest number of atoms, but always one system; None for no limit.
    """

    systems: int | None = None
    atoms: int | None = None

    def below(self, batch: Batch) -> BatchLimit:
        """A limit of half of a batch that did not fit, in the terms of this limit."""
        if self.systems is not None:
            return BatchLimit(systems=max(1, min(self.systems, batch.n_systems // 2)))
        most = batch.n_atoms if self.atoms is None else self.atoms
        return BatchLimit(atoms=max(1, min(most, batch.n_atoms // 2)))


def split(sizes: Sequence[int], limit: BatchLimit) -> Iterator[range]:
    """Consecutive ranges of systems that each fit a limit.

    Args:
        sizes: Number of atoms of each system.
        limit: What fits; a system larger than it goes alone.
    """
    start, atoms = 0, 0
    for k, size in enumerate(sizes):
        too_many = limit.systems is not None and k - start >= limit.systems
        too_large = limit.atoms is not None and atoms + size > limit.atoms
        if k > start and (too_many or too_large):
            yield range(start, k)
            start, atoms = k, 0
        atoms += size
    if len(sizes) > start:
        yield range(start, len(sizes))


def choose_limit(worker: Worker, frames: Callable[[int], Batch], n_atoms: int) -> BatchLimit:
    """The batch size at which this model on this machine is fastest.

    A frame-by-frame method is asked for about a second of frames a call. On a CPU the size grows
    in powers of two until three doublings in a row gain nothing or the next one would take too
    much memory, and the smallest size within 3 % of the best is taken. On an accelerator it grows
    until memory would be short.

    Args:
        worker: Worker with a loaded model.
        frames: A batch of so many frames of a typical molecule.
        n_atoms: Number of atoms of that molecule.

    Raises:
        HostError: the machine failed. A failure of the model does not raise: it ends the search,
            and is met again, and recorded, in the evaluation.
    """
    info = worker.start()
    if not info.batched:
        timed = _best(worker, frames(1))
        if timed is None:
            return BatchLimit(systems=1)
        return BatchLimit(systems=max(1, min(100, int(CALL_S / max(timed.wall_s, 1e-9)))))
    memory = int(info.details.get("gpu_memory_bytes", 0))
    chosen = _by_memory(worker, frames, memory) if memory else _by_throughput(worker, frames, info)
    logger.info("batches of %d atoms (%d frames of %d atoms)", chosen * n_atoms, chosen, n_atoms)
    return BatchLimit(atoms=chosen * n_atoms)


def _call(worker: Worker, batch: Batch) -> Timed | None:
    try:
        timed = worker.evaluate(batch)
    except ModelFailureError as failure:
        if failure.status is not Status.OUT_OF_MEMORY:
            logger.info("batch size: stopped measuring at %d (%s)", batch.n_systems, failure)
        return None
    return timed


def _best(worker: Worker, batch: Batch, repeats: int = 2) -> Timed | None:
    """The fastest of some calls; None if the model fails."""
    best = _call(worker, batch)
    if best is None or best.wall_s > TUNING_S / 10:  # slow models are not measured again
        return best
    for _ in range(repeats):
        again = _call(worker, batch)
        if again is None:
            return None
        best = again if again.wall_s < best.wall_s else best
    return best


def _by_throughput(worker: Worker, frames: Callable[[int], Batch], info: ModelInfo) -> int:
    rates: dict[int, float] = {}
    spent, size, best, in_vain = 0.0, 1, 0.0, 0
    _best(worker, frames(1))  # TorchScript's first calls are slow
    while size <= 256 and spent < TUNING_S:
        timed = _best(worker, frames(size))
        if timed is None:
            break
        rates[size] = size / max(timed.wall_s, 1e-9)
        spent += 3 * timed.wall_s
        in_vain = 0 if GOOD_ENOUGH * rates[size] >= best else in_vain + 1
        best = max(best, rates[size])
        if in_vain == 3:  # one or two may be disturbances, however large
            break
        if 2 * (timed.host_bytes - worker.loaded_bytes) > HOST_BYTES:  # twice as much would not fit
            break
        size *= 2
    if not rates:
        return 1
    logger.info(
        "frames a second by batch size on %s: %s",
        info.device,
        ", ".join(f"{n}: {rate:.0f}" for n, rate in rates.items()),
    )
    return next(n for n, rate in rates.items() if rate >= GOOD_ENOUGH * best)


def _by_memory(worker: Worker, frames: Callable[[int], Batch], memory: int) -> int:
    size, largest = 1, 1
    while size <= MAX_FRAMES:
        timed = _call(worker, frames(size))
        if timed is None or timed.device_bytes > MEMORY_SHARE * memory:
            break
        largest = size
        if 2 * timed.device_bytes > MEMORY_SHARE * memory:
            break
        size *= 2
    return largest
