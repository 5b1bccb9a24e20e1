"""Item 12: a model's process that keeps freed memory against one that gives it back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec

from benchmarks.bench import ROOT, Inputs, Row, isolated, ratio_row

from pesbench.core.family import family_of
from pesbench.models.registry import ModelEntry

ITEM = "12 freed memory"
TARGET = 1.0
ENTRIES = ("mace-mini", "testbed-base", "so3lr", "chgnet-0.3.0", "7net-0")
MOLECULES = ROOT / "resources/midsize/molecules.extxyz"
ATOMS = 36  # BSCT-SPICE has 18 to 50 a molecule
FRAMES = 16  # of a batch
SHAKEN_ANGSTROM = 0.02


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds of CPU of a batch as glibc is by default divided by those with the memory kept."""
    from pesbench.orchestration.config import read_models

    known = read_models(ROOT / "config/models.yaml")
    for name in ENTRIES:
        entry = known[name]
        missing = [m for m in family_of(entry.family).modules if find_spec(m) is None]
        if missing:
            yield Row(ITEM, name, None, note=f"skipped: {missing[0]} is not installed")
            continue
        ratios = []
        for _ in range(inputs.repeats):
            given_back = isolated(_seconds, entry, 1 if inputs.quick else 5, False)
            kept = isolated(_seconds, entry, 1 if inputs.quick else 5, True)
            ratios.append(given_back / kept)
        milliseconds = 1e3 * kept / FRAMES
        yield ratio_row(
            ITEM,
            f"{name}, {FRAMES} frames of {ATOMS} atoms, {milliseconds:.1f} ms a frame",
            ratios,
            target=TARGET,
        )


def _seconds(entry: ModelEntry, rounds: int, keep: bool) -> float:
    """Seconds of CPU, of the system's too, of a batch; runs in a process of its own."""
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
    return (time.process_time() - start) / rounds
