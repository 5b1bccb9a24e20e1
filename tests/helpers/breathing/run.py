"""Asks a model for the energies of scaled molecules."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from pesbench.core.interface import Status, molecules_batch
from pesbench.core.jobs import RunJob
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator, failed_result
from pesbench.engine.shard import Spent, results_attributes
from pesbench.engine.worker import ModelLoadError, Worker
from pesbench.files.atomic import atomic_path
from pesbench.files.checkpoint import Checkpoint
from pesbench.files.hdf5 import writing
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.files.stored import VERSION


def run(job: RunJob) -> None:
    """Evaluate every molecule in some sizes and write a group a molecule."""
    with ScanSet(job.scan_set) as scan_set:
        systems = {system.id: system for system in scan_set_systems(scan_set)}
        of_set = scan_set.name, scan_set.sha256
    settings, found, info = job.settings, {}, None
    checkpoint = Checkpoint(job.out, {"settings": asdict(settings)})
    with Worker(
        job.entry, device=job.device, threads=job.threads, environment=job.environment
    ) as worker:
        evaluator, spent = (
            Evaluator(worker, BatchLimit(systems=1)),
            Spent.resume(checkpoint, worker),
        )
        for name in job.items:
            system, sizes = systems[name], np.linspace(-1, 1, settings.frames)
            batch = molecules_batch(
                positions=[system.positions * (1 + settings.largest * size) for size in sizes],
                numbers=[system.numbers] * settings.frames,
                charge=[system.charge] * settings.frames,
                spin=[system.spin] * settings.frames,
                labels=[(name, frame) for frame in range(settings.frames)],
            )
            try:
                info = worker.start()
                found[name] = evaluator.evaluate(batch)
            except ModelLoadError as failure:
                found[name] = failed_result(batch, failure.status, failure.message)
        worker.close()
        made = results_attributes(job.entry, of_set, info, evaluator, spent, job.threads)
    with atomic_path(job.out) as part, writing(part) as file:
        made |= {"format": "pesbench-breathing", "version": VERSION, "settings": asdict(settings)}
        for key, value in made.items():
            plain = isinstance(value, str | int | float | bool)
            file.attrs[key] = value if plain else json.dumps(value)
        for name, result in found.items():
            group = file.create_group(name)
            nothing = np.full(settings.frames, np.nan)
            group.create_dataset("energy", data=nothing if result.energies is None
                                 else result.energies)  # fmt: skip
            wrong = [k for k, status in enumerate(result.status) if status is not Status.OK]
            group.attrs["status"] = (result.status[wrong[0]] if wrong else Status.OK).value
            said = f"{len(wrong)} frames, the first: {result.messages[wrong[0]]}" if wrong else ""
            group.attrs["message"] = said
            group.attrs["n_atoms"] = len(systems[name].numbers)
    checkpoint.remove()
