"""Item 14: the testbed's attention over neighbours against attention over all pairs."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator

from benchmarks.bench import ROOT, Inputs, Row, isolated, ratio_row, rows_of_entries

from pesbench.models.registry import ModelEntry

ITEM = "14 slots"
ENTRIES = ("testbed-base", "testbed-rough", "testbed-hard_knn")
TARGETS = {"mini": 0.9, "midsize": 3.0}  # in mini nearly all atoms are neighbours
AT_A_TIME = 5  # molecules of a batch, the default of a shard


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds of CPU of a batch with a slot for every pair divided by those of neighbours."""
    return rows_of_entries(ITEM, ENTRIES, functools.partial(_compare, inputs))


def _compare(inputs: Inputs, entry: ModelEntry) -> Iterator[Row]:
    for name, target in TARGETS.items():
        ratios, seconds, size = isolated(_ratios, entry, name, inputs.repeats)
        what = f"{entry.name}, {name}, molecules of {size} atoms, {1e3 * seconds:.1f} ms a frame"
        yield ratio_row(ITEM, what, ratios, target=target)


def _ratios(entry: ModelEntry, name: str, repeats: int) -> tuple[list[float], float, str]:
    """Ratios, seconds a frame over neighbours, and the least and the largest number of atoms.

    Runs in a process of its own.
    """
    import time

    import torch
    from ase.io import read

    from pesbench.core.interface import molecules_batch
    from pesbench.models.families.testbed import network
    from pesbench.models.registry import load

    def all_pairs(x: torch.Tensor) -> network.Slots:
        return neighbours(torch.zeros_like(x))

    frames = sorted(read(ROOT / f"resources/{name}/molecules.extxyz", ":"), key=len)
    middle = len(frames) // 2
    frames = frames[middle - AT_A_TIME // 2 :][:AT_A_TIME]
    batch = molecules_batch(
        [atoms.positions for atoms in frames], [atoms.numbers for atoms in frames],
        [0] * len(frames), [1] * len(frames),
    )  # fmt: skip
    model = load(entry, scan_set=None, device="cpu")
    neighbours = network.neighbour_slots
    ratios, seconds = [], []
    for _ in range(1 + repeats):  # the first call prepares memory
        taken = []
        for slots in (all_pairs, neighbours):
            network.neighbour_slots = slots
            start = time.process_time()
            model.evaluate(batch)
            taken.append(time.process_time() - start)
        ratios.append(taken[0] / taken[1])
        seconds.append(taken[1] / len(frames))
    sizes = f"{len(frames[0])} to {len(frames[-1])}"
    return ratios[1:], statistics.median(seconds[1:]), sizes
