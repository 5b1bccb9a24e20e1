"""Optimisers started inside the core: do two overlapped atoms come apart?

BFGS and FIRE of ASE 3.29 for two atoms of a dimer, all starts in lock-step. Along the line of two
equal atoms both reduce to one number, the signed distance d, of which each atom takes half: the
Hessian of BFGS keeps its first value in all other directions, where the gradient is 0. The test of
this module compares each step with ASE's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from pesbench.tasks.lj_core.potential import CORE_FROM, CORE_TO, Array

STARTS = 200
MOST_STEPS = 500
FORCE_LIMIT = 0.05  # ASE's default
MOST_STEP = 0.2  # of an atom, likewise
OVERLAPPED = 0.8  # σ; an end below lies where no training data are
FUSED = 0.02  # σ; where a run stops, since 1/r has no end
FIRST_CURVATURE = 70.0  # of BFGS

Slope = Callable[[Array], Array]


def starts() -> Array:
    """Distances at equal steps from 0.2 to 0.6 σ, shape (200,)."""
    return np.linspace(CORE_FROM, CORE_TO, STARTS)


def overlapped_share(ends: Array) -> float:
    """Share of the runs that end below 0.8 σ."""
    return float((ends < OVERLAPPED).mean())


def bfgs(slope: Slope, first: Array, most_steps: int = MOST_STEPS) -> Array:
    """Distances at which BFGS ends.

    Args:
        slope: dE/dr at distances, in their shape.
        first: Distances to start from, any shape.
        most_steps: Largest number of steps.

    Returns:
        In the shape of `first`: where the force is below 0.05, where it is no number, where the
        atoms fuse, or the last.
    """
    d, curvature = first.astype(float).copy(), np.full(first.shape, FIRST_CURVATURE)
    before_d = before_g = None
    with np.errstate(all="ignore"):
        for _ in range(most_steps):
            g = np.sign(d) * slope(np.abs(d))
            moving = np.isfinite(g) & (np.abs(g) >= FORCE_LIMIT) & (np.abs(d) >= FUSED)
            if not moving.any():
                break
            if before_d is not None:
                moved = (d - before_d) / 2
                newer = (g - before_g) / moved
                curvature = np.where(np.abs(moved) >= 1e-7, newer, curvature)
            before_d, before_g = d, g
            step = np.clip(-g / np.abs(curvature), -MOST_STEP, MOST_STEP)
            d = np.where(moving, d + 2 * step, d)
    return np.abs(d)


def fire(slope: Slope, first: Array, most_steps: int = MOST_STEPS) -> Array:
    """Distances at which FIRE ends; arguments and return value are those of `bfgs`."""
    d = first.astype(float).copy()
    velocity = np.zeros_like(d)
    dt, mixing = np.full(d.shape, 0.1), np.full(d.shape, 0.1)
    downhill = np.zeros(d.shape, dtype=int)
    with np.errstate(all="ignore"):
        for number in range(most_steps):
            force = -np.sign(d) * slope(np.abs(d))
            moving = np.isfinite(force) & (np.abs(force) >= FORCE_LIMIT) & (np.abs(d) >= FUSED)
            if not moving.any():
                break
            if number:
                on = force * velocity > 0
                mixed = (1 - mixing) * velocity + mixing * np.sign(force) * np.abs(velocity)
                faster = on & (downhill > 5)
                velocity = np.where(on, mixed, 0.0)
                dt = np.where(on, np.where(faster, np.minimum(1.1 * dt, 1.0), dt), 0.5 * dt)
                mixing = np.where(on, np.where(faster, 0.99 * mixing, mixing), 0.1)
                downhill = np.where(on, downhill + 1, 0)
            velocity = velocity + dt * force
            # ASE limits the length of the step of both atoms together
            most = MOST_STEP / math.sqrt(2)
            d = np.where(moving, d + 2 * np.clip(dt * velocity, -most, most), d)
    return np.abs(d)


OPTIMISERS: Mapping[str, Callable[[Slope, Array], Array]] = {
    "overlapped_bfgs": bfgs,
    "overlapped_fire": fire,
}  # by the column of the share that each leaves overlapped


def ended_overlapped(slope: Slope) -> dict[str, float]:
    """Share of the 200 starts that each optimiser leaves overlapped, by its column."""
    return {name: overlapped_share(run(slope, starts())) for name, run in OPTIMISERS.items()}
