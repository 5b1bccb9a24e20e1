"""Item 7: lock-step NVE against ASE one molecule after another, and the driver's own cost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.bench import ROOT, Inputs, Row, isolated, median, ratio_row

from pesbench.models.registry import ModelEntry

ITEM = "7 dynamics"
AGAINST_ASE = {"float32": 3.5, "float64": 2.3}
OVERHEAD = 1.15
N_MOLECULES = 16
WEIGHTS = ROOT / "resources/weights/mace-mini.model"


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds a step of 16 mini molecules, one thread on each side.

    ASE's side is mace-torch's own calculator under ASE's VelocityVerlet, one molecule after
    another; ours is the whole command: driver, worker and storage. Neither side's start-up counts:
    the time of two lengths is subtracted. The driver's own cost is the command's step beside bare
    calls of the model on the same batch.
    """
    path = inputs.scan_set("mini")
    lengths = (20, 120) if inputs.quick else (100, 600)
    for dtype, target in AGAINST_ASE.items():
        entry = _entry(dtype)
        seconds: dict[Callable[..., float], list[float]] = {
            _lock_step: [], _one_by_one: [], _bare: [],
        }  # fmt: skip
        for repeat in range(inputs.repeats):
            for side in list(seconds) if repeat % 2 == 0 else list(seconds)[::-1]:
                seconds[side].append(isolated(side, entry, path, inputs, lengths))
        ours, theirs, bare = seconds.values()
        what = f"{N_MOLECULES} mini molecules, mace-mini, {dtype}"
        yield ratio_row(
            ITEM,
            f"{what}: ASE VelocityVerlet / lock-step",
            [a / b for a, b in zip(theirs, ours, strict=True)],
            target,
        )
        yield ratio_row(
            ITEM,
            "  driver, worker and storage / bare model calls",
            [a / b for a, b in zip(ours, bare, strict=True)],
            OVERHEAD,
            at_least=False,
        )
        yield Row(
            ITEM,
            "  lock-step, a molecule and step",
            1e3 * median(ours) / N_MOLECULES,
            "ms",
            at_least=False,
        )


def _entry(dtype: str) -> ModelEntry:
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())
    settings = {
        "weights": str(WEIGHTS),
        "sha256": card["sha256"],
        "dtype": dtype,
        "compile": False,
        "batch_size": N_MOLECULES,
    }
    return ModelEntry("mace-mini", "mace", settings)


def _systems(path: Path):
    from pesbench.files.scan_set import ScanSet
    from pesbench.files.scan_set_systems import scan_set_systems

    with ScanSet(path) as scan_set:
        return scan_set_systems(scan_set)[:N_MOLECULES]


def _settings(n_steps: int):
    from pesbench.tasks.dynamics.settings import DynamicsSettings

    # not relaxed: that is no part of a step
    return DynamicsSettings(
        temperatures_k=(300.0,),
        replicates=1,
        timestep_fs=0.5,
        duration_ps=n_steps * 0.5e-3,
        relax_steps=0,
    )


def _lock_step(entry: ModelEntry, path: Path, inputs: Inputs, lengths: tuple[int, int]) -> float:
    """Seconds a step of the whole command."""
    from pesbench.core.jobs import RunJob
    from pesbench.tasks.dynamics.run import run

    ids = [system.id for system in _systems(path)]
    seconds = []
    for n_steps in lengths:
        out = inputs.folder / f"nve_{n_steps}.h5"
        begun = time.perf_counter()
        run(RunJob(entry, path, ids, _settings(n_steps), out, device=inputs.device))
        seconds.append(time.perf_counter() - begun)
    return (seconds[1] - seconds[0]) / (lengths[1] - lengths[0])


def _one_by_one(entry: ModelEntry, path: Path, inputs: Inputs, lengths: tuple[int, int]) -> float:
    """Seconds a step of all molecules under ASE, one after another."""
    from ase import Atoms, units
    from ase.md.verlet import VelocityVerlet
    from mace.calculators import MACECalculator

    from pesbench.tasks.dynamics.start import starting_velocities

    calculator = MACECalculator(
        model_paths=entry.settings["weights"],
        device=inputs.device,
        default_dtype=entry.settings["dtype"],
    )
    n_steps = lengths[1] - lengths[0]
    total = 0.0
    for system in _systems(path):
        atoms = Atoms(system.numbers, system.positions, calculator=calculator)
        atoms.set_velocities(starting_velocities(system, system.positions, 300.0, 0))
        dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
        dynamics.run(5)
        begun = time.perf_counter()
        dynamics.run(n_steps)
        total += time.perf_counter() - begun
    return total / n_steps


def _bare(entry: ModelEntry, path: Path, inputs: Inputs, lengths: tuple[int, int]) -> float:
    """Seconds of one call of the model on the batch of a step."""
    from pesbench.core.interface import molecules_batch
    from pesbench.models.registry import load

    systems = _systems(path)
    model = load(entry, scan_set=None, device=inputs.device)
    batch = molecules_batch(
        [s.positions for s in systems],
        [s.numbers for s in systems],
        [s.charge for s in systems],
        [s.spin for s in systems],
    )
    rng = np.random.default_rng(0)
    n_calls = lengths[1] - lengths[0]
    for _ in range(5):  # what is compiled for a new batch is on neither side
        model.evaluate(batch)
    begun = time.perf_counter()
    for _ in range(n_calls):  # atoms move between two steps
        moved = batch.positions + rng.normal(scale=0.01, size=batch.positions.shape)
        model.evaluate(replace(batch, positions=moved))
    return (time.perf_counter() - begun) / n_calls
