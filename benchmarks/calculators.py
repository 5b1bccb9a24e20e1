"""Item 11: family `ase` against the bare calculator, frame by frame on the same frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench import Inputs, Row, isolated, ratio_row
from benchmarks.models import SMALL

ITEM = "11 family ase"
TARGET = 1.1
MOLECULE = "CH3CH2OH"
FRAMES = 20  # of a round
OURS, BY_ASE = "ours", "asked as callers of ASE ask"
SHAKEN_ANGSTROM = 0.03


def measure(inputs: Inputs) -> Iterator[Row]:
    """Seconds of CPU of the adapter divided by those of the calculator alone, one thread each.

    Of each, the shortest of some rounds counts, which others on the machine disturb least.
    """
    rounds = 2 if inputs.quick else 20
    cases: list[tuple[str, Path | None]] = [
        ("ASE's EMT", None),
        (
            f"MACECalculator, {SMALL.name}, float64",
            Path(inputs.mace(SMALL, "float64").settings["weights"]),
        ),
    ]
    for name, path in cases:
        found = isolated(_compare, path, rounds, inputs.repeats)
        for way, ratios in found["ratios"].items():
            yield ratio_row(
                ITEM,
                f"{name}, {found['ms'][way]:.2f} ms a frame {way}",
                ratios,
                # where the molecule stays the same, this spares EMT its preparation
                target=None if way == BY_ASE and path is None else TARGET,
                at_least=False,
            )


def _calculator(path: Path | None) -> Any:
    if path is None:
        from ase.calculators.emt import EMT

        return EMT()
    from mace.calculators import MACECalculator

    return MACECalculator(model_paths=str(path), device="cpu", default_dtype="float64")


def _compare(path: Path | None, rounds: int, repeats: int) -> dict[str, Any]:
    """Measure one calculator; runs in a process of its own."""
    import numpy as np
    from ase.build import molecule
    from ase.calculators.calculator import all_changes

    from pesbench.core.interface import molecules_batch
    from pesbench.models.families.ase import ASEModel

    atoms, rng = molecule(MOLECULE), np.random.default_rng(0)
    shaken = [
        atoms.positions + rng.normal(0, SHAKEN_ANGSTROM, atoms.positions.shape)
        for _ in range(FRAMES)
    ]
    batch = molecules_batch(shaken, [atoms.numbers] * FRAMES, [0] * FRAMES, [1] * FRAMES)
    model, alone = ASEModel(lambda: _calculator(path), {}), _calculator(path)

    def ours() -> None:
        model.evaluate(batch)

    def as_callers_of_ase() -> None:
        atoms.calc = alone
        for positions in shaken:
            atoms.positions[:] = positions
            atoms.get_potential_energy()
            atoms.get_forces()

    def everything_changed() -> None:
        for positions in shaken:
            atoms.positions[:] = positions
            alone.calculate(atoms, ["energy", "forces"], all_changes)

    ways: dict[str, Callable[[], None]] = {
        BY_ASE: as_callers_of_ase,
        "told that all has changed, as the adapter tells it": everything_changed,
    }
    ratios: dict[str, list[float]] = {way: [] for way in ways}
    best: dict[str, float] = {}
    for loop in (ours, *ways.values()):  # to warm up
        loop()
    for _ in range(repeats):
        least = dict.fromkeys((OURS, *ways), float("inf"))
        for _ in range(rounds):
            for way, loop in {OURS: ours, **ways}.items():
                least[way] = min(least[way], _seconds(loop))
        for way in ways:
            ratios[way].append(least[OURS] / least[way])
            best[way] = min(best.get(way, float("inf")), 1e3 * least[way] / FRAMES)
    return {"ratios": ratios, "ms": best}


def _seconds(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start
