"""All numbers of one continuation of the Lennard-Jones wall."""

from __future__ import annotations

import math
from collections.abc import Callable

from pesbench.tasks.lj_core import metrics, potential
from pesbench.tasks.lj_core.potential import Array

NUMBERS = (
    "log10_energy_mae_core",
    "in_range_mae",
    "right_sign_share",
    "monotone",
    "log10_force_mae_core",
)


def judge(energy: Callable[[Array], Array], slope: Callable[[Array], Array]) -> dict[str, float]:
    """Judge a curve on the grids of `potential`.

    Args:
        energy: Energies at distances in σ, in the shape of the distances.
        slope: dE/dr, likewise.

    Returns:
        `log10_energy_mae_core` and `log10_force_mae_core` below 0.5 σ, in decades;
        `in_range_mae` from 0.95 to 3 σ, in units of ε = 20; `right_sign_share` from 0.2 to 0.6 σ;
        `monotone`, 1 where the energy rises inwards at each step from 0.95 to 0.2 σ, else 0. All
        are NaN where an energy or a slope is not finite.
    """
    core, scored, trained = (
        potential.core_grid(),
        potential.scored_core(),
        potential.trained_range(),
    )
    found = {
        "log10_energy_mae_core": metrics.log10_error(energy(scored), potential.energy(scored)),
        "in_range_mae": metrics.mean_absolute_error(energy(trained), potential.energy(trained)),
        "right_sign_share": metrics.right_sign_share(energy(core), potential.energy(core)),
        "monotone": float(metrics.is_wall(energy(potential.wall()))),
        "log10_force_mae_core": metrics.log10_error(slope(scored), potential.slope(scored)),
    }
    if not all(map(math.isfinite, found.values())):
        return dict.fromkeys(NUMBERS, math.nan)
    return found
