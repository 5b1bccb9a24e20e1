"""All numbers of one continuation of the Lennard-Jones wall."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pesbench.tasks.lj_core import metrics, potential
from pesbench.tasks.lj_core.potential import Array

Curve = Callable[[Array], Array]

SCORE, IN_RANGE = "log10_energy_mae_core", "in_range_mae"
NUMBERS = (
    SCORE,
    IN_RANGE,
    "right_sign_share",
    "monotone",
    "log10_force_mae_core",
)


_REGIONS = potential.core_grid, potential.trained_range, potential.wall


def places() -> Array:
    """The distances in σ at which a curve is judged, one region after another, shape (R,)."""
    return np.concatenate([region() for region in _REGIONS])


def judge_curve(energy: Curve, slope: Curve) -> dict[str, float]:
    """`judge` of functions of distances, energy and dE/dr."""
    return judge(energy(places()), slope(places()))


def judge(energy: Array, slope: Array) -> dict[str, float]:
    """Judge a curve.

    Args:
        energy: Energies at `places`, shape (R,).
        slope: dE/dr there, likewise.

    Returns:
        `log10_energy_mae_core` and `log10_force_mae_core` below 0.5 σ, in decades;
        `in_range_mae` from 0.95 to 3 σ, in units of ε = 20; `right_sign_share` from 0.2 to 0.6 σ;
        `monotone`, 1 where the energy rises inwards at each step from 0.95 to 0.2 σ, else 0. One
        that needs a value that is not finite is NaN.
    """
    ends = np.cumsum([len(region()) for region in _REGIONS])[:-1]
    core, trained, wall = np.split(energy, ends)
    r, in_range, _ = np.split(places(), ends)
    scored = r < potential.SCORED_TO  # in the core, which stands first
    own_slope = slope[: len(r)][scored]
    return {
        SCORE: metrics.log10_error(core[scored], potential.energy(r[scored])),
        IN_RANGE: metrics.mean_absolute_error(trained, potential.energy(in_range)),
        "right_sign_share": metrics.right_sign_share(core, potential.energy(r)),
        "monotone": metrics.rises_inwards(wall),
        "log10_force_mae_core": metrics.log10_error(own_slope, potential.slope(r[scored])),
    }
