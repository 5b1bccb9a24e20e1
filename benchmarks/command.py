"""Item 2: everything the scan command does against bare model calls on the same batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

from benchmarks.bench import Inputs, Row, isolated, median, ratio_row
from benchmarks.models import SMALL

from pesbench.models.registry import ModelEntry

ITEM = "2 command"
OVERHEAD = 1.1
BATCH_SIZE = 16  # frames; fixed, so that both sides see the same batches


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds from "worker ready" to "file written", divided by seconds in bare model calls.

    Loading the model is on neither side, nor is choosing the batch size, which is fixed. The end of
    the worker process is on the side of the command. Both sides start cold in a fresh process each
    time, so that what the first call costs is on both.
    """
    cases = (("mini", "float32", 25, inputs.repeats), ("bsct_spice", "float32", 3, 1))
    for name, dtype, n_scans, repeats in cases[: 1 if inputs.quick else None]:
        entry = inputs.mace(SMALL, dtype, BATCH_SIZE)
        path = inputs.scan_set(name)
        ids = inputs.scan_ids(name, 3 if inputs.quick else n_scans)
        out = inputs.folder / "command.h5"
        commands, bare = [], []
        for repeat in range(repeats):
            order = (_command, _bare) if repeat % 2 == 0 else (_bare, _command)
            for side in order:
                if side is _command:
                    commands.append(isolated(_command, entry, path, ids, out, inputs.device))
                else:
                    bare.append(isolated(_bare, entry, path, ids, inputs.device))
        what = f"{name}, {SMALL.channels} channels, {dtype}, {len(ids)} scans, batches of 16"
        work = [total - ready for total, ready, _ in commands]
        pairs = list(zip(work, bare, strict=True))
        yield ratio_row(
            ITEM,
            f"{what}: command without start-up / bare calls",
            [a / b for a, b in pairs],
            OVERHEAD,
            at_least=False,
            work_s=work,
            bare_s=bare,
        )
        yield ratio_row(
            ITEM,
            "  the same / seconds in the model within the same command",
            [total_s / model_s for total_s, (_, _, model_s) in zip(work, commands, strict=True)],
            at_least=False,
        )
        yield Row(
            ITEM,
            "  start-up of the command (imports, model; not counted above)",
            median([ready for _, ready, _ in commands]),
            "s",
            at_least=False,
        )


def _command(
    entry: ModelEntry, path: Path, ids: Sequence[str], out: Path, device: str
) -> tuple[float, float, float]:
    """Seconds of `evaluate_shard`, of them until the worker was ready, and in the model.

    The worker's `start` is timed by a subclass; nothing else is changed.
    """
    from pesbench.core.jobs import RunJob
    from pesbench.engine import worker
    from pesbench.files.evaluation import Evaluation
    from pesbench.tasks.bonds import shard
    from pesbench.tasks.bonds.settings import BondSettings

    begun = time.perf_counter()
    ready: list[float] = []

    class TimedWorker(worker.Worker):
        def start(self):
            info = super().start()
            if not ready:
                ready.append(time.perf_counter() - begun)
            return info

    with mock.patch.object(shard, "Worker", TimedWorker):
        shard.evaluate_shard(RunJob(entry, path, ids, BondSettings(), out, device=device))
    total = time.perf_counter() - begun
    with Evaluation(out) as evaluation:
        return total, ready[0], sum(evaluation.scan(i).wall_s for i in evaluation.ids)


def _bare(entry: ModelEntry, path: Path, ids: Sequence[str], device: str) -> float:
    """Seconds in the model on the batches that `evaluate_shard` makes, and nothing else."""
    import torch

    from pesbench.engine.batching import BatchLimit, split
    from pesbench.engine.scans import frames_batch
    from pesbench.files.scan_set import ScanSet
    from pesbench.models.registry import load

    torch.set_num_threads(1)
    model = load(entry, scan_set=None, device=device)
    limit = BatchLimit(systems=int(entry.settings["batch_size"]))
    parts = []
    with ScanSet(path) as scan_set:
        for scan_id in sorted(ids):  # a scan has more frames than a batch: no batch spans two
            batch = frames_batch([scan_set.scan(scan_id)])
            sizes = [batch.n_atoms // batch.n_systems] * batch.n_systems
            parts += [batch.select(part) for part in split(sizes, limit)]
    start = time.perf_counter()
    for part in parts:
        model.evaluate(part)
    return time.perf_counter() - start
