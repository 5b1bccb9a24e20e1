"""Item 15: a training of the testbed with denormal numbers against one in which they are zero."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import ROOT, Inputs, Row, isolated, ratio_row

ITEM = "15 denormal"
STEPS, BATCH_FRAMES, RATTLE_ANGSTROM = 20, 16, 0.1


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds of CPU of an epoch as torch begins divided by those with denormal numbers as zero."""
    ratios, seconds = isolated(_ratios, inputs.repeats)
    what = f"testbed-base, {BATCH_FRAMES} frames of 9 atoms, {1e3 * seconds:.0f} ms a step"
    yield ratio_row(ITEM, what, ratios, target=1.1)


def _ratios(repeats: int) -> tuple[list[float], float]:
    """Ratios, and seconds a step with denormal numbers as zero.

    Runs in a process of its own.
    """
    import statistics
    import time

    import numpy as np
    import torch
    from ase.io import read

    from pesbench.models.families.testbed.settings import PotentialSettings
    from pesbench.testbed.settings import TrainingSettings
    from pesbench.testbed.training import Training
    from pesbench.training.sampling import ENERGY, FORCES

    generator = np.random.default_rng(0)
    molecules = [a for a in read(ROOT / "resources/mini/molecules.extxyz", ":") if len(a) == 9]
    frames = []
    for k in range(STEPS * BATCH_FRAMES):  # the labels are of no matter to the time
        atoms = molecules[k % len(molecules)].copy()
        atoms.positions += generator.normal(scale=RATTLE_ANGSTROM, size=atoms.positions.shape)
        atoms.info[ENERGY] = 0.0
        atoms.arrays[FORCES] = generator.normal(size=atoms.positions.shape)
        frames.append(atoms)
    ratios, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        training = Training(
            "benchmark", PotentialSettings(smearing=0.1), TrainingSettings(epochs=2 + 2 * repeats),
            frames, frames[:1], Path(folder),
        )  # fmt: skip
        for k in range(1 + repeats):  # the first epochs prepare memory
            taken = []
            for zero in (False, True):
                torch.set_flush_denormal(zero)
                start = time.process_time()
                training._epoch(1 + 2 * k + zero)
                taken.append(time.process_time() - start)
            ratios.append(taken[0] / taken[1])
            seconds.append(taken[1] / STEPS)
    return ratios[1:], statistics.median(seconds[1:])
