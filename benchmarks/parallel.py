"""Item 3: two shards at a time on two cores, and the throughput of the machine on BSCT-SPICE."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.bench import (
    Command,
    Inputs,
    Isolated,
    Row,
    SkippedError,
    isolated,
    median,
    ratio_row,
)
from benchmarks.models import SMALL

from pesbench.core.coordinates.bond import N_FRAMES
from pesbench.models.registry import ModelEntry

ITEM = "3 parallel"
SPEED_UP = 1.8
THROUGHPUT = 2.3
DTYPE = "float32"
N_SHARD_SCANS = 25
POLL_S = 0.005
# what a user has without the package: processes and threads of each; the same target for all
_LOOPS = {
    "two loops at a time, 1 thread each": (2, 1),
    "one loop, 2 threads": (1, 2),
    "one loop, 1 thread": (1, 1),
}


@dataclass(frozen=True)
class Shard:
    """A shard that has been evaluated.

    Attributes:
        startup_s: From the start of the command to the worker being ready.
        work_s: From there to the end of the command.
    """

    startup_s: float
    work_s: float


class _Running:
    """A started `python -m pesbench run bonds`; notes when its worker is ready."""

    def __init__(
        self, inputs: Inputs, entry_arguments: Sequence[str | Path], name: str, ids: Sequence[str]
    ) -> None:
        out = inputs.folder / f"{name}.h5"
        # written when the worker is ready, for the batch size is fixed; gone at the end
        self._note = out.with_name(out.name + ".checkpoint") / "limit.json"
        self._start = time.perf_counter()
        self._ready: float | None = None
        self._command = Command(
            "run", "bonds", *entry_arguments, "--scan-set", inputs.bsct, "--device", "cpu",
            "--out", out, "--scans", *ids, log=inputs.folder / f"{name}.log",
        )  # fmt: skip

    def poll(self) -> bool:
        """Whether its worker is ready, or it has ended."""
        if self._ready is None and (self._note.is_file() or not self._alive()):
            self._ready = time.perf_counter()
        return self._ready is not None

    def _alive(self) -> bool:
        state = Path(f"/proc/{self._command.process.pid}/stat").read_text()
        return state.rpartition(")")[2].split()[0] != "Z"

    def wait(self) -> Shard:
        while not self.poll():
            time.sleep(POLL_S)
        self._command.wait()
        assert self._ready is not None
        return Shard(self._ready - self._start, time.perf_counter() - self._ready)


def measure(inputs: Inputs) -> Iterator[Row]:
    """Two shards one after the other and at a time; and all of them against loops.

    Raises:
        SkippedError: there is one core only.
    """
    if len(os.sched_getaffinity(0)) < 2:
        raise SkippedError("needs two cores")
    per_shard = 2 if inputs.quick else 5
    entry_arguments = inputs.entry_arguments(inputs.mace(SMALL, DTYPE, 8))
    ids = inputs.scan_ids("bsct_spice", 2 * per_shard)
    shards = {"shard-0": ids[0::2], "shard-1": ids[1::2]}
    rounds = [_round(inputs, entry_arguments, shards) for _ in range(min(2, inputs.repeats))]
    what = f"bsct_spice, {SMALL.channels} channels, {DTYPE}, 2 shards of {per_shard} scans"
    yield ratio_row(
        ITEM,
        f"{what}: one after the other / at a time, start-up excluded",
        [sum(s.work_s for s in one) / max(s.work_s for s in two) for one, two, _, _ in rounds],
        SPEED_UP,
        startup_s=[s.startup_s for one, two, _, _ in rounds for s in (*one, *two)],
    )
    yield ratio_row(
        ITEM,
        "  the same, whole commands",
        [one_s / two_s for _, _, one_s, two_s in rounds],
    )
    yield from _throughput(inputs, ids, per_shard, rounds)


def _round(
    inputs: Inputs, entry_arguments: Sequence[str | Path], shards: dict[str, Sequence[str]]
) -> tuple[list[Shard], list[Shard], float, float]:
    """The shards one after the other, the shards at a time, and the seconds of both as a whole."""
    start = time.perf_counter()
    one = [_Running(inputs, entry_arguments, name, ids).wait() for name, ids in shards.items()]
    middle = time.perf_counter()
    running = [_Running(inputs, entry_arguments, name, ids) for name, ids in shards.items()]
    two = _wait_all(running)
    return one, two, middle - start, time.perf_counter() - middle


def _wait_all(running: Sequence[_Running]) -> list[Shard]:
    """Wait for all, each timed to its own end."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(running)) as pool:
        return list(pool.map(_Running.wait, running))


def _throughput(
    inputs: Inputs,
    ids: Sequence[str],
    per_shard: int,
    rounds: Sequence[tuple[list[Shard], list[Shard], float, float]],
) -> Iterator[Row]:
    """Frames a second of the machine: shards two at a time against three kinds of loop."""
    work = median([max(s.work_s for s in two) for _, two, _, _ in rounds])
    startup = median([max(s.startup_s for s in two) for _, two, _, _ in rounds])
    entry = inputs.mace(SMALL, DTYPE)
    choosing = isolated(_choosing_s, entry, inputs.bsct)
    # a shard as the config cuts them, and two of them at a time
    of_shard = startup + choosing + work * N_SHARD_SCANS / per_shard
    ours = 2 * N_FRAMES * N_SHARD_SCANS / of_shard
    yield Row(
        ITEM, "  choosing the batch size, once a shard and counted below", choosing, "s",
        at_least=False,
    )  # fmt: skip
    rates = {}
    for kind, (processes, threads) in _LOOPS.items():
        barrier = get_context("spawn").Barrier(processes)
        loops = [
            Isolated(
                _loop_rate, entry.settings, inputs.bsct, list(ids[k::processes]), threads, barrier,
                threads=threads,
            )
            for k in range(processes)
        ]  # fmt: skip
        rates[kind] = rate = sum(loop.result() for loop in loops)
        yield Row(
            ITEM,
            f"BSCT-SPICE as a whole (2 shards of {N_SHARD_SCANS} at a time, with start-up and "
            f"choosing the batch) / {kind}",
            ours / rate,
            target=THROUGHPUT,
            note=f"{ours:.0f} against {rate:.0f} frames/s",
        )
    yield Row(
        ITEM,
        "  the same without start-up and choosing / two loops at a time",
        2 * N_FRAMES * per_shard / work / rates["two loops at a time, 1 thread each"],
    )


def _choosing_s(entry: ModelEntry, path: Path) -> float:
    """Seconds in which the batch size is chosen on the molecule of median size."""
    from benchmarks.batched import limit_of

    from pesbench.engine.scans import frames_batch
    from pesbench.engine.worker import Worker
    from pesbench.files.scan_set import ScanSet

    with ScanSet(path) as scan_set, Worker(entry, device="cpu") as worker:
        worker.start()
        ids = sorted(scan_set.ids, key=lambda i: (scan_set.shape(i)[1], i))
        start = time.perf_counter()
        limit_of(worker, frames_batch([scan_set.scan(ids[len(ids) // 2])]))
        return time.perf_counter() - start


def _loop_rate(
    settings: dict[str, Any], path: Path, ids: Sequence[str], threads: int, barrier: Any
) -> float:
    """Frames a second of a frame-by-frame loop over an ASE calculator, its start not counted."""
    import torch
    from ase import Atoms
    from mace.calculators import MACECalculator

    from pesbench.files.scan_set import ScanSet

    torch.set_num_threads(threads)
    calculator = MACECalculator(
        model_paths=settings["weights"], device="cpu", default_dtype=settings["dtype"]
    )
    frames = []
    with ScanSet(path) as scan_set:
        for scan_id in ids:
            scan = scan_set.scan(scan_id)
            frames += [Atoms(scan.numbers, positions) for positions in scan.positions[5::10]]
    for atoms in frames[:5]:  # warm
        calculator.calculate(atoms)
    barrier.wait()
    start = time.perf_counter()
    for atoms in frames:
        atoms.calc = calculator
        atoms.get_potential_energy()
        atoms.get_forces()
    return len(frames) / (time.perf_counter() - start)
