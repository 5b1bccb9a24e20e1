"""Metrics of others for approaching atoms, under their names. Pure functions.

Definitions are those of MLIP Arena and matbench-discovery (tortuosity, energy jump, force flips)
and of "Attracting Trouble" (three pass rates), as far as these tell them.
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pesbench.tasks.approach.metrics import tolerance

Array = NDArray[np.float64]

SMALL_STEP_EV = 1e-3
SMALL_FORCE_EV_PER_ANGSTROM = 1e-2
INNER_METRICS = ("inner_monotone", "inner_force_monotone", "inner_repulsive")
ARENA_METRICS = ("arena_tortuosity", "arena_energy_jump_ev", "arena_force_flips")
# "Attracting Trouble" (Geng, Burger, Bernales, Aspuru-Guzik 2026), 1000 samples of OMol: shares in
# percent, in the order of INNER_METRICS. Of GFN2-xTB 54 samples do not converge; all others pass.
PUBLISHED = MappingProxyType(
    {
        "MACE-OMol": (25.0, 68.8, 90.7),
        "UMA-M-1p1": (0.0, 0.0, 0.4),
        "UMA-S-1p1": (0.0, 0.0, 2.1),
        "UMA-S-1p2": (0.0, 0.0, 16.6),
        "GFN2-xTB": (94.6, 94.6, 94.6),
    }
)


def inner_passes(energy: Array, pair_force: Array) -> dict[str, float]:
    """Whether an approach from 0.30 to 0.03 Å passes each test of "Attracting Trouble".

    The publication names the tests; this is what is computed here: the energy never falls (by more
    than the tolerance of `metrics.tolerance`), the pair force never becomes less repulsive (by more
    than 10 meV/Å or a millionth of its range so far), the pair force is repulsive at the end.

    Args:
        energy: eV, shape (F,), in the order of the approach; NaN of a model without energies.
        pair_force: ½(F_j − F_i)·r̂ in eV/Å, shape (F,); above 0 it is repulsive.

    Returns:
        1 or 0 by the name of the metric; NaN for what is not known.
    """
    nothing = float("nan")
    falls = nothing
    if np.isfinite(energy).all():
        falls = float((np.diff(energy) < -tolerance(energy)[1:]).any())
    span = np.maximum.accumulate(pair_force) - np.minimum.accumulate(pair_force)
    allowed = np.maximum(SMALL_FORCE_EV_PER_ANGSTROM, 1e-6 * span)
    weaker = float((np.diff(pair_force) < -allowed[1:]).any())
    values = (1.0 - falls, 1.0 - weaker, float(pair_force[-1] > 0))
    return dict(zip(INNER_METRICS, values, strict=True))


def arena(energy: Array, force: Array) -> dict[str, float]:
    """Tortuosity, energy jump (eV) and force flips of a diatomic, as MLIP Arena defines them.

    tortuosity    Σ|ΔE| / (|E_far − E_min| + E_near − E_min), 1 for a curve with one minimum
    energy jump   sum of |ΔE| on both sides of each change of sign of ΔE, without steps below 1 meV
    force flips   changes of sign of the force along the bond, without forces below 10 meV/Å

    Args:
        energy: eV, shape (F,), from far to near; NaN of a model without energies.
        force: Along the bond, eV/Å, shape (F,).
    """
    strong = force[np.abs(force) >= SMALL_FORCE_EV_PER_ANGSTROM]
    flips = float((np.diff(np.sign(strong)) != 0).sum())
    tortuosity = jump = float("nan")
    if np.isfinite(energy).all():
        step = np.diff(energy)
        low = energy.min()
        way = abs(energy[0] - low) + (energy[-1] - low)
        tortuosity = float(np.abs(step).sum() / way) if way > 0 else float("nan")
        large = step[np.abs(step) >= SMALL_STEP_EV]
        turns = np.flatnonzero(np.diff(np.sign(large)) != 0)
        jump = float(np.abs(large[turns]).sum() + np.abs(large[turns + 1]).sum())
    return dict(zip(ARENA_METRICS, (tortuosity, jump, flips), strict=True))
