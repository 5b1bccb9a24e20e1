"""Item 13: a GPU against one core of the same machine, and whether both compute the same."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.batched import InProcess, limit_of
from benchmarks.bench import Inputs, Row, SkippedError, isolated, rows_of_entries

from pesbench.models.registry import ModelEntry

ITEM = "13 GPU"
ENTRIES = ("mace-mini", "testbed-base", "so3lr")
SIZES = (1, 16, 128, 1024, 4096)  # frames a batch
N_SCANS = {"mini": 9, "bsct_spice": 8}
CALLS = 8  # at most so many measure the speed of one size of batches
CPU_EVERY = 20  # the core takes every so-manieth frame


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds a frame of one core divided by those of a GPU, each with the batch that it chooses.

    A second row gives the largest difference between the forces of both, and how far two answers of
    the GPU to the same question are apart, since sums on a GPU are taken in any order.

    Raises:
        SkippedError: no GPU is asked for.
    """
    if inputs.device == "cpu":
        raise SkippedError("needs --device cuda")
    for name in list(N_SCANS)[: 1 if inputs.quick else None]:
        path = inputs.scan_set(name)
        ids = inputs.scan_ids(name, 2 if inputs.quick else N_SCANS[name])
        rows = functools.partial(_rows, path, ids, inputs)
        yield from rows_of_entries(ITEM, ENTRIES, rows)


def device_name(device: str) -> str:
    """Name of a GPU, as its driver tells it. Runs in a process of its own, which imports torch.

    Raises:
        HostError: torch sees none.
    """
    from pesbench.models.torch_devices import choose_device, torch_details

    return torch_details(choose_device(device))["gpu"]


def _rows(path: Path, ids: Sequence[str], inputs: Inputs, entry: ModelEntry) -> Iterator[Row]:
    found = isolated(_compare, entry, path, ids, inputs.device, inputs.repeats)
    rates = ", ".join(f"{size}: {rate:.0f}" for size, rate in found["frames_a_second"].items())
    yield Row(
        ITEM,
        f"{entry.name}, {path.stem}, {found['dtype']}, {found['frames_a_batch']} frames a batch",
        statistics.median(found["ratios"]),
        low=min(found["ratios"]),
        high=max(found["ratios"]),
        note=f"{found['cpu_ms']:.2f} against {found['gpu_ms']:.3f} ms; frames a second by batch: "
        f"{rates}; at most {found['gpu_bytes'] / 1e9:.1f} GB",
        details=found,
    )
    yield Row(
        ITEM,
        "  largest difference of a force from the CPU's",
        1e6 * found["difference"],
        "µeV/Å",
        at_least=False,
        note=f"of {found['largest']:.3g} eV/Å; asked twice: {1e6 * found['twice']:.2g} µeV/Å",
    )


def _compare(
    entry: ModelEntry, path: Path, ids: Sequence[str], device: str, repeats: int
) -> dict[str, Any]:
    """Measure one model on one scan set; runs in a process of its own."""
    import numpy as np
    import torch

    from pesbench.engine.batching import BatchLimit
    from pesbench.engine.scans import frames_batch
    from pesbench.files.scan_set import ScanSet
    from pesbench.models.parameters import loaded_info
    from pesbench.models.registry import load
    from pesbench.models.warm_up import warm_up

    torch.set_num_threads(1)
    cpu, gpu = (load(entry, scan_set=None, device=one) for one in ("cpu", device))
    for model in (cpu, gpu):
        warm_up(model, loaded_info(model))
    known = cpu.info.elements or set(range(1, 119))
    with ScanSet(path) as scan_set:
        scans = sorted((scan_set.scan(i) for i in ids), key=lambda s: (s.n_atoms, s.id))
    scans = [scan for scan in scans if known.issuperset(scan.numbers.tolist())]
    everything = frames_batch(scans)
    typical = frames_batch([scans[len(scans) // 2]])
    few = everything.select(range(0, everything.n_systems, CPU_EVERY))
    limits = {one: limit_of(InProcess(one), typical) for one in (cpu, gpu)}

    wanted, forces, again = (m.evaluate(everything).forces for m in (cpu, gpu, gpu))
    # two batches of the largest size: an adapter keeps what follows from the atoms of its last one
    repeated = everything.select([k % everything.n_systems for k in range(2 * SIZES[-1])])
    seconds: dict[Any, list[float]] = {cpu: [], gpu: []}
    for _ in range(repeats):
        seconds[cpu].append(_seconds_a_frame(cpu, few, limits[cpu]))
        seconds[gpu].append(_seconds_a_frame(gpu, repeated, limits[gpu]))
    rates = {}
    for size in SIZES:
        part = repeated.select(range(max(2 * size, CALLS * min(size, SIZES[-1] // CALLS))))
        _seconds_a_frame(gpu, part.select(range(size)), BatchLimit(systems=size))
        rates[size] = 1 / _seconds_a_frame(gpu, part, BatchLimit(systems=size))
    return {
        "dtype": gpu.info.dtype,
        "ratios": [a / b for a, b in zip(seconds[cpu], seconds[gpu], strict=True)],
        "cpu_ms": 1e3 * statistics.median(seconds[cpu]),
        "gpu_ms": 1e3 * statistics.median(seconds[gpu]),
        "frames_a_batch": (limits[gpu].atoms or 0) // (typical.n_atoms // typical.n_systems),
        "frames_a_second": rates,
        "gpu_bytes": torch.cuda.max_memory_allocated(),
        "difference": float(np.abs(forces - wanted).max()),
        "largest": float(np.abs(wanted).max()),
        "twice": float(np.abs(again - forces).max()),
    }


def _seconds_a_frame(model: Any, batch: Any, limit: Any) -> float:
    import numpy as np

    from pesbench.engine.batching import split

    parts = [batch.select(part) for part in split(np.bincount(batch.system), limit)]
    start = time.perf_counter()
    for part in parts:
        model.evaluate(part)
    return (time.perf_counter() - start) / batch.n_systems
