"""Item 12: a model's process that keeps freed memory against one that gives it back."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

from benchmarks.bench import ROOT, Inputs, Row, isolated, ratio_row, rows_of_entries

from pesbench.models.registry import ModelEntry

ITEM = "12 freed memory"
TARGET = 1.0
ENTRIES = ("mace-mini", "testbed-base", "so3lr", "chgnet-0.3.0", "7net-0")
MOLECULES = ROOT / "resources/midsize/molecules.extxyz"
ATOMS = 36  # BSCT-SPICE has 5 to 50 a molecule, 29 in the mean
FRAMES = 16  # of a batch
SHAKEN_ANGSTROM = 0.02


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds of CPU of a batch as glibc is by default divided by those with the memory kept."""
    return rows_of_entries(ITEM, ENTRIES, functools.partial(_compare, inputs))


def _compare(inputs: Inputs, entry: ModelEntry) -> Iterator[Row]:
    rounds = 1 if inputs.quick else 5
    ratios = []
    for _ in range(inputs.repeats):
        given_back, dtype = isolated(_seconds, entry, rounds, False)
        kept, dtype = isolated(_seconds, entry, rounds, True)
        ratios.append(given_back / kept)
    what = f"{entry.name}, {dtype}, {FRAMES} frames of {ATOMS} atoms"
    yield ratio_row(ITEM, f"{what}, {1e3 * kept / FRAMES:.1f} ms a frame", ratios, target=TARGET)


def _seconds(entry: ModelEntry, rounds: int, keep: bool) -> tuple[float, str]:
    """Seconds of CPU, of the system's too, of a batch, and the precision.

    Runs in a process of its own.
    """
    import numpy as np
    from ase.io import read

    from pesbench.core import host_memory
    from pesbench.core.interface import molecules_batch
    from pesbench.models.registry import load

    if keep:
        host_memory.keep_freed_memory()
    atoms = next(atoms for atoms in read(MOLECULES, ":") if len(atoms) == ATOMS)
    rng = np.random.default_rng(0)
    shape = (FRAMES, *atoms.positions.shape)
    shaken = atoms.positions + rng.normal(0, SHAKEN_ANGSTROM, shape)
    batch = molecules_batch(list(shaken), [atoms.numbers] * FRAMES, [0] * FRAMES, [1] * FRAMES)
    model = load(entry, scan_set=None, device="cpu")
    model.evaluate(batch)
    start = time.process_time()
    for _ in range(rounds):
        model.evaluate(batch)
    return (time.process_time() - start) / rounds, model.info.dtype
