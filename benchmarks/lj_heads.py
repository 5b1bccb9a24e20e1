"""Training of heads on the Lennard-Jones dimer: all seeds in one network against one after another.

    python -m benchmarks.lj_heads [--seeds N] [--steps N]

prints the CPU time of a step of all seeds both ways, and their ratio.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from pesbench.tasks.lj_core.designs import Design, Schedule, main_designs
from pesbench.tasks.lj_core.head_training import HeadTraining


def cpu_s(design: Design, groups: Sequence[Sequence[int]], steps: int, folder: Path) -> float:
    """CPU seconds of a training of groups of seeds, one group after the other."""
    schedule = Schedule(steps=steps, chunk=steps)
    trainings = [
        HeadTraining(design, group, schedule, folder / "-".join(map(str, group)))
        for group in groups
    ]
    start = time.process_time()
    for training in trainings:
        training.run()
    return time.process_time() - start


def main() -> None:
    """Measure both ways for the two main rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = list(range(1, arguments.seeds + 1))
    for name in ("rational", "mlp"):
        design = main_designs()[name]
        with tempfile.TemporaryDirectory() as folder:
            together = cpu_s(design, [seeds], arguments.steps, Path(folder))
            apart = cpu_s(design, [[seed] for seed in seeds], arguments.steps, Path(folder))
        each = 1e3 / arguments.steps
        print(f"{design.name}: {each * together:.1f} ms a step of {len(seeds)} seeds together, "
              f"{each * apart:.1f} ms one after another, ratio {apart / together:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
