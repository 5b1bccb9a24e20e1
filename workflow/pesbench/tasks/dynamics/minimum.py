"""Relaxation to a minimum: away from a saddle point of the model, on which forces vanish, too.

The geometry of the scan set is a minimum of the reference. By another model it may relax to a
saddle point, from which a trajectory descends and gains temperature: hypophosphorous acid by
IPEA1-xTB releases 0.25 eV and is at 480 K instead of 300 K.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from pesbench.core.interface import Batch, Result, Status
from pesbench.core.systems import System
from pesbench.engine.relaxation import Relaxed, relax
from pesbench.tasks.dynamics.rearrangement import graph_changed
from pesbench.tasks.dynamics.start import generator

KICK_ANGSTROM = 0.1  # 0.05 does not leave the saddle point of hypophosphorous acid
KICKS = 3
LOWER_EV = 1e-3  # less is what a relaxation to 0.05 eV/Å leaves


def relax_to_minimum(
    systems: Sequence[System],
    evaluate: Callable[[Batch], Result],
    *,
    max_steps: int,
    fmax: float,
) -> list[Relaxed]:
    """Relax molecules, kick each from where it came to rest, and relax it again.

    The second geometry is taken if its energy is lower by more than 1 meV and its bond graph is the
    same; it is kicked again then, three times at most. Each kick draws every coordinate from a
    normal distribution of 0.1 Å; the random numbers depend on the name of the molecule alone. A
    molecule that does not relax is not kicked.

    Args:
        systems: Systems with their initial geometries.
        evaluate: The model.
        max_steps: Of each relaxation, see `relax`; with 0 nothing is kicked.
        fmax: eV/Å.

    Returns:
        One a molecule, in order, with the steps of all its relaxations.
    """
    found = relax(systems, evaluate, max_steps=max_steps, fmax=fmax)
    moving = [k for k, one in enumerate(found) if one.converged] if max_steps else []
    for kick in range(KICKS):
        if not moving:
            break
        kicked = [_kicked(systems[k], found[k], kick) for k in moving]
        again = relax(kicked, evaluate, max_steps=max_steps, fmax=fmax)
        lower = []
        for k, other in zip(moving, again, strict=True):
            best, steps = found[k], found[k].steps + other.steps
            if _better(systems[k], other, best):
                best = other
                lower.append(k)
            found[k] = replace(best, steps=steps)
        moving = lower
    return found


def _kicked(system: System, at_rest: Relaxed, kick: int) -> System:
    draw = generator(f"kick {system.id} {kick}")
    shift = draw.normal(scale=KICK_ANGSTROM, size=at_rest.positions.shape)
    return replace(system, positions=at_rest.positions + shift)


def _better(system: System, other: Relaxed, best: Relaxed) -> bool:
    """Whether it is another minimum, or one at all, of the same molecule."""
    if other.status is not Status.OK or not other.converged:
        return False
    if not other.energy < best.energy - LOWER_EV:  # false without an energy
        return False
    both = np.stack([best.positions, other.positions])
    return not graph_changed(system.numbers, system.bonds, np.array([0.0, 1.0]), both)
