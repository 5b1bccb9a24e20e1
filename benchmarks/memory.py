"""Item 6: memory of evaluating BSCT-SPICE beyond that of the loaded model."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import MB, Command, Inputs, Row, control, isolated
from benchmarks.models import LARGE, SMALL

from pesbench.files.evaluation import Evaluation
from pesbench.files.scan_set import ScanSet
from pesbench.models.registry import ModelEntry

ITEM = "6 memory"
BEYOND_MB = 500.0
FLAT_MB = 50.0  # what 200 scans may take beyond 1: two sets of buffers, not an array a scan


def measure(inputs: Inputs) -> Iterator[Row]:
    """Peak of command and worker together less that of both with the model loaded.

    The batch size is chosen by measuring, which is part of the peak. A control, which costs
    nothing but the room of its frames, goes through many scans to show that the peak is flat.
    """
    plans = ((SMALL, "float32", (1, 4)), (SMALL, "float64", (1,)), (LARGE, "float64", (1,)))
    for size, dtype, counts in plans[: 1 if inputs.quick else None]:
        entry = inputs.mace(size, dtype)
        loaded = isolated(_loaded_bytes, entry, inputs.bsct)
        for count in counts:
            ids = _ids_with_largest(inputs, count)
            yield _beyond(
                inputs, entry, ids, loaded,
                f"{size.channels} channels, {dtype}, batch chosen, {count} scans",
            )  # fmt: skip
    yield from _flat(inputs)


def _ids_with_largest(inputs: Inputs, count: int) -> list[str]:
    """So many scans, evenly spaced, the one with most atoms among them."""
    with ScanSet(inputs.bsct) as scan_set:
        largest = max(scan_set.ids, key=lambda i: (scan_set.shape(i)[1], i))
    return sorted({largest, *inputs.scan_ids("bsct_spice", count)[: count - 1]})


def _flat(inputs: Inputs) -> Iterator[Row]:
    entry = control("noise", "noise", 0.1)
    loaded = isolated(_loaded_bytes, entry, inputs.bsct)
    counts = (1, 10) if inputs.quick else (1, 60, 200, 485)
    rows = [
        _beyond(
            inputs, entry, _ids_with_largest(inputs, count), loaded, f"a control, {count} scans"
        )
        for count in counts
    ]
    yield from rows
    peaks = [row.details["command_bytes"] + row.details["worker_bytes"] for row in rows]
    yield Row(
        ITEM, f"a control: growth of the peak from {counts[0]} to {counts[-1]} scans",
        (peaks[-1] - peaks[0]) / MB, "MB", FLAT_MB, False,
    )  # fmt: skip


def _beyond(
    inputs: Inputs, entry: ModelEntry, ids: Sequence[str], loaded: tuple[int, int], what: str
) -> Row:
    """Evaluate some scans by the command line and read the peaks of both processes."""
    out = inputs.folder / "memory.h5"
    done = Command(
        "run", "bonds", *inputs.entry_arguments(entry), "--scan-set", inputs.bsct,
        "--device", "cpu", "--out", out, "--scans", *ids, log=inputs.folder / "memory.log",
    ).wait()  # fmt: skip
    with Evaluation(out) as evaluation:
        worker = int(evaluation.attributes["peak_memory_bytes"])
        limit = evaluation.attributes["batch_limit"]
    beyond = (max(0, done.peak_bytes - loaded[0]), max(0, worker - loaded[1]))
    return Row(
        ITEM,
        what,
        sum(beyond) / MB,
        "MB",
        BEYOND_MB,
        at_least=False,
        note=f"command {beyond[0] / MB:.0f}, worker {beyond[1] / MB:.0f}, "
        f"loaded {sum(loaded) / MB:.0f} MB",
        details={
            "command_bytes": done.peak_bytes,
            "worker_bytes": worker,
            "loaded_command_bytes": loaded[0],
            "loaded_worker_bytes": loaded[1],
            "batch_limit": limit,
            "seconds": done.seconds,
        },
    )


def _loaded_bytes(entry: ModelEntry, scan_set: Path) -> tuple[int, int]:
    """Peak of this process and of its worker once the model is loaded and nothing is evaluated."""
    import pesbench.tasks.bonds.run  # noqa: F401 - what the command imports
    from pesbench.engine.worker import Worker

    with Worker(entry, scan_set=scan_set, device="cpu") as worker:
        worker.start()
        worker.close()
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return own, worker.peak_bytes
