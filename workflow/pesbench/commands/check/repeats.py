"""A short trajectory, three times: in a batch, in a batch again, and every frame alone.

What a calculator carries over from call to call (a list of neighbours, the last density) shows
along a path, where each frame is close to the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pesbench.commands.check.conformance import (
    Difference,
    Evaluate,
    difference,
    largest,
    put_together,
)
from pesbench.core.interface import Batch, Result
from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.engine.patient_worker import systems_batch
from pesbench.metrics.stability import internal_degrees_of_freedom
from pesbench.tasks.dynamics.integrator import LockStep
from pesbench.tasks.dynamics.start import starting_velocities
from pesbench.tasks.dynamics.stored import Trajectory

STEPS = 20
TIMESTEP_FS = 0.5
TEMPERATURE_K = 500.0  # of the trajectory; the start has twice as much
Call = tuple[Batch, Result]


def run_once(evaluate: Evaluate, scans: Sequence[Scan]) -> list[Call]:
    """Every call of a short trajectory of some molecules, from the reference's geometry."""
    calls: list[Call] = []

    def recorded(batch: Batch) -> Result:
        asked = replace(batch, positions=batch.positions.copy())  # the integrator writes on
        calls.append((asked, evaluate(batch)))
        return calls[-1][1]

    systems = [
        System(
            id=scan.system, numbers=scan.numbers, bonds=scan.bonds, charge=scan.charge,
            spin=scan.spin, smiles=scan.smiles,
            positions=scan.positions[int(np.nanargmin(scan.energy))],
        )
        for scan in scans
    ]  # fmt: skip
    velocities = [starting_velocities(one, one.positions, TEMPERATURE_K, 0) for one in systems]
    positions = np.concatenate([one.positions for one in systems])
    run = LockStep(
        trajectories=[
            Trajectory(
                system=one.id, temperature_k=TEMPERATURE_K, replicate=0, numbers=one.numbers,
                bonds=one.bonds, charge=one.charge, spin=one.spin,
                degrees_of_freedom=internal_degrees_of_freedom(one.positions),
            )
            for one in systems
        ],
        batch=systems_batch(systems),
        timestep_fs=TIMESTEP_FS,
        evaluate=recorded,
        make_check=None,
        positions=positions,
        velocities=np.concatenate(velocities),
        forces=np.full_like(positions, np.nan),
        running=np.ones(len(systems), dtype=bool),
    )  # fmt: skip
    run.leave(run.start())
    for _ in range(STEPS):
        if run.running.any():
            run.leave(run.step())
    return calls


def alone(evaluate: Evaluate, calls: Sequence[Call]) -> list[Result]:
    """What the model says of each system of some calls alone: one molecule's path after another.

    Returns:
        One result a call, its systems in the order of the call.
    """
    parts: dict[tuple[int, int], Result] = {}
    for name in dict.fromkeys(name for batch, _ in calls for name, _ in batch.labels):
        for k, (batch, _) in enumerate(calls):
            for s, (other, _) in enumerate(batch.labels):
                if other == name:
                    parts[k, s] = evaluate(batch.select([s]))
    return [
        put_together(base, [parts[k, s] for s in range(batch.n_systems)])
        for k, (batch, base) in enumerate(calls)
    ]


@dataclass(frozen=True)
class RepeatedRun:
    """How far a trajectory differs when it is asked for again.

    Attributes:
        difference: Largest difference of the second run and of single calls from the first run.
        energy_call: Call of the first run with that difference of the energy.
        forces_call: Call with that difference of the forces.
    """

    difference: Difference
    energy_call: Call
    forces_call: Call


def repeated_run(evaluate: Evaluate, scans: Sequence[Scan]) -> RepeatedRun:
    """A short trajectory of some molecules in a batch, again, and each frame alone.

    Args:
        evaluate: The model.
        scans: Molecules, at least one.
    """
    first, second = run_once(evaluate, scans), run_once(evaluate, scans)
    singly = alone(evaluate, first)
    found: list[tuple[Difference, Call]] = []
    for k, (batch, base) in enumerate(first):
        found.append((difference(batch, base, singly[k]), first[k]))
        if k < len(second) and len(second[k][1].status) == len(base.status):
            found.append((difference(batch, base, second[k][1]), first[k]))
    whole = largest([one for one, _ in found])

    def call(of: Callable[[Difference], bool]) -> Call:
        return next((call for one, call in found if of(one)), first[0])

    if whole.failed:
        lost = call(lambda one: bool(one.failed))
        return RepeatedRun(whole, lost, lost)
    return RepeatedRun(
        whole,
        call(lambda one: one.energy == whole.energy),
        call(lambda one: one.forces == whole.forces),
    )
