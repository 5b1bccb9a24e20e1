"""What a step of molecular dynamics costs a model: one molecule alone, one call after the other.

Every call has a geometry of its own, so that neither a list of neighbours nor a converged density
of the call before helps. A call is timed in the model's process, from the positions to energy and
forces as NumPy arrays; the integrator costs nothing beside it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo, Status, batch_of
from pesbench.core.jobs import RunJob
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine import supervisor
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator, why_unsupported
from pesbench.engine.shard import Spent, refuse_control, results_attributes
from pesbench.engine.worker import ModelFailureError, ModelLoadError, Worker
from pesbench.files.checkpoint import Checkpoint
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.tasks.cost.settings import CostSettings
from pesbench.tasks.cost.stored import MoleculeTimes, write_times

FEWEST = 3  # calls that are timed, however long they take
logger = logging.getLogger("pesbench")


def run(job: RunJob) -> None:
    """Time a model on some molecules and write a file of times.

    A call that is killed starts from the beginning: a time measured in two parts is none.

    Args:
        job: Items are ids of molecules.

    Raises:
        UserError: a control, or no such molecule or scan set.
        HostError: the machine failed.
    """
    entry, settings = job.entry, job.settings.check()
    refuse_control(entry, "cost")
    with ScanSet(job.scan_set) as scan_set:
        known = {system.id: system for system in scan_set_systems(scan_set)}
        of_set = scan_set.name, scan_set.sha256
    if missing := sorted(set(job.items) - known.keys()):
        raise UserError(
            f"{job.scan_set}: no molecule {missing[0]!r} in this set, or all of its scans were "
            "dropped; name another one"
        )
    code = stage_fingerprint(__name__, *family_modules(entry.families))
    checkpoint = Checkpoint(job.out, {"model": entry.deciding(), "code": code})
    with Worker(
        entry,
        scan_set=job.scan_set,
        device=job.device,
        threads=job.threads,
        timeout_s=entry.timeout_s,
        environment=job.environment,
    ) as worker:
        evaluator, spent = (
            Evaluator(worker, BatchLimit(systems=1)),
            Spent.resume(checkpoint, worker),
        )
        spent.save()
        info, found = None, []
        for name in track(sorted(job.items), len(job.items), "molecules"):
            try:
                info = worker.start()
                found.append(_timed(known[name], info, evaluator, settings))
            except ModelLoadError as failure:
                found.append(_failed(known[name], failure.status, failure.message))
        worker.close()
    made = results_attributes(entry, of_set, info, evaluator, spent, job.threads)
    write_times(job.out, found, attributes=made | machine() | {"settings": asdict(settings)})
    checkpoint.remove()


def machine() -> dict[str, Any]:
    """Name of the processor, and the number of cores that this process may use."""
    cpu, told = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if told.is_file():
        lines = (line.partition(":") for line in told.read_text(errors="replace").splitlines())
        cpu = next((value.strip() for key, _, value in lines if key.strip() == "model name"), cpu)
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0))}


def geometries(system: System, displacement_angstrom: float) -> Iterator[Batch]:
    """The molecule in one geometry after another, the same ones for all models.

    Args:
        system: The molecule at its minimum.
        displacement_angstrom: Standard deviation of the displacement of a coordinate, in Å.
    """
    seed = np.frombuffer(hashlib.sha256(f"cost {system.id}".encode()).digest(), dtype="<u4")
    random, number = np.random.default_rng(seed), 0
    while True:
        moved = displacement_angstrom * random.standard_normal(system.positions.shape)
        yield batch_of([system], [system.positions + moved], [(system.id, number)])
        number += 1


def _timed(
    system: System, info: ModelInfo, evaluator: Evaluator, settings: CostSettings
) -> MoleculeTimes:
    if reason := why_unsupported(system, info):
        return _failed(system, Status.UNSUPPORTED, reason)
    worker, seconds, start, starts = evaluator.worker, [], 0.0, 0
    before: list[float] | None = None
    batches = geometries(system, settings.displacement_angstrom)
    try:
        for call in range(settings.warm_up + settings.steps):
            if call == settings.warm_up:
                start, before, starts = time.monotonic(), worker.call(used_seconds), worker.starts
            elif len(seconds) >= FEWEST and time.monotonic() - start > settings.budget_s:
                break
            began_s = evaluator.wall_s
            result = evaluator.evaluate(next(batches))
            if result.status[0] is not Status.OK:
                return _failed(system, result.status[0], f"call {call}: {result.messages[0]}")
            if call >= settings.warm_up:
                seconds.append(evaluator.wall_s - began_s)
        after = worker.call(used_seconds)
    except ModelLoadError:
        raise
    except ModelFailureError as failure:
        return _failed(system, failure.status, failure.message)
    cpu_s = queue_s = float("nan")
    if before is not None and after is not None and worker.starts == starts:
        cpu_s, queue_s = (np.array(after) - before) / len(seconds)
    return MoleculeTimes(
        system=system.id,
        numbers=system.numbers,
        seconds=np.array(seconds),
        status=Status.OK,
        message="",
        cpu_s=float(cpu_s),
        queue_s=float(queue_s),
        load_average=os.getloadavg()[0],
    )


def used_seconds(model: object) -> list[float] | None:
    """CPU time, and time in the queue for a processor; runs in the model's process.

    The first is of this process, its threads and its ended children, the second of its main thread
    (Linux, second number of `schedstat`; NaN elsewhere). None where a program that it started goes
    on: what that has computed is not known.
    """
    if supervisor.children():
        return None
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = time.process_time() + children.ru_utime + children.ru_stime
    told = Path("/proc/self/schedstat")
    if not told.is_file():
        return [cpu_s, float("nan")]
    return [cpu_s, int(told.read_text(encoding="ascii").split()[1]) / 1e9]


def _failed(system: System, status: Status, message: str) -> MoleculeTimes:
    logger.warning("%s: %s", system.id, message)
    return MoleculeTimes(
        system=system.id,
        numbers=system.numbers,
        seconds=np.array([]),
        status=status,
        message=message,
        cpu_s=float("nan"),
        queue_s=float("nan"),
        load_average=os.getloadavg()[0],
    )
