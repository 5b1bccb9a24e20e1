"""Scores of stability that others publish, under their names and with their thresholds.

So that a reader can place a number beside theirs. Comparable, not identical: they run other
molecules for longer, most of them with a thermostat. Each docstring names the defects of the
original that are not repeated. Common to all: a comparison with NaN is false, so that where the
original only compares, a run that turned into NaN passes for stable; here the first frame with a
value that is not finite is a failure. And a run that was `stopped` by a failure of
`pesbench.metrics.stability` counts as failed at its last frame, if their criterion did not find a
failure before. A run that was cut by the clock or by memory has no score here: the caller leaves it
out, since a cut is no failure.

Units: Å, eV, ps, K.

Sources:
    Fu et al., "Forces are not enough", arXiv:2210.07237, `observable.ipynb` of kyonofx/MDsim.
    MLIPAudit (InstaDeep): stability (2025) and energy conservation (2026, beta).
    LAMBench, `nve_md.py` and `metrics_calculations.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.units import fs
from numpy.typing import NDArray
from scipy.stats import gmean, linregress

Array = NDArray[np.float64]
Index = NDArray[np.int64]

FU_BOND_ANGSTROM = 0.5
MLIPAUDIT_EXPLOSION_K = 10_000.0
MLIPAUDIT_EXPLOSION_RATIO = 100.0
MLIPAUDIT_HYDROGEN_ANGSTROM = 2.5
MLIPAUDIT_DRIFT_RATIO = 1.0
MLIPAUDIT_DECAY = 3.0
LAMBENCH_DISCARD = 0.2
LAMBENCH_TOLERANCE = 5e-4  # eV/atom/ps
LAMBENCH_WORST = 5.0
LAMBENCH_ENERGY_EV = 1e10
LAMBENCH_SLOPE = 50.0  # eV/atom/ps
LAMBENCH_UNIT_FACTOR = 1 / fs  # 10.18: a slope as LAMBench prints it, over the true one


def _first(bad: NDArray[np.bool_]) -> int | None:
    """Index of the first True, None if there is none."""
    return int(np.argmax(bad)) if bad.any() else None


def bond_lengths(positions: Array, bonds: Index) -> Array:
    """Å, shape (F, B).

    Args:
        positions: Å, shape (F, N, 3).
        bonds: Shape (B, 2).
    """
    return np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=-1)


# --- Fu et al. -----------------------------------------------------------------------------------


def fu_stability(time_ps: Array, lengths: Array, reference_lengths: Array) -> float:
    """Stability of Fu et al. for molecules: time in ps to a bond that is off by more than 0.5 Å.

    Collapse when max_b |b(t) − ⟨b⟩| > 0.5 Å, over the bonds of the graph.

    Not repeated: NaN lengths exceed nothing and never collapse. Differs: ⟨b⟩ is theirs from a
    reference trajectory; pass that or the relaxed lengths.

    Args:
        time_ps: Shape (F,), 0 at the start.
        lengths: `bond_lengths` in Å, shape (F, B).
        reference_lengths: ⟨b⟩ in Å, shape (B,).

    Returns:
        Time of the first frame in which one is; of the last frame if there is none.

    Raises:
        ValueError: no frame, or shapes that disagree.
    """
    if not len(time_ps) or lengths.shape != (len(time_ps), len(reference_lengths)):
        raise ValueError("there must be one row of lengths a frame, and at least one frame")
    # "not within", so that NaN counts as outside
    off = ~(np.abs(lengths - reference_lengths) <= FU_BOND_ANGSTROM).all(axis=1)
    frame = _first(off)
    return float(time_ps[-1 if frame is None else frame])


# --- MLIPAudit -----------------------------------------------------------------------------------


def mlipaudit_stability(
    temperature: Array,
    positions: Array,
    numbers: Index,
    bonds: Index,
    temperature_k: float,
    n_planned: int,
    stopped: bool = False,
    raised: bool = False,
) -> float:
    """Stability score of MLIPAudit, from 0 (worst) to 1.

    0 if the simulation raised an error; ½ f/N if it explodes at frame f of N; ½ + ½ f/N if a
    hydrogen is lost from frame f on; else 1. Explosion: T > T₀ + 10 000 K, or a temperature more
    than 100 times that of the frame before. Loss: a hydrogen is further than 2.5 Å from the atom it
    was bonded to and from every heavy atom, in that frame and all that follow.

    Not repeated: NaN temperatures and distances exceed nothing, so that a run of NaN scores 1; and
    the frames of lost hydrogens are overwritten by indices of bonds. Differs: theirs is a
    thermostatted run of 100 ps in 1000 frames.

    Args:
        temperature: K, shape (F,).
        positions: Å, shape (F, N, 3).
        numbers: Atomic numbers, shape (N,).
        bonds: Bond graph, shape (B, 2).
        temperature_k: T₀ in K.
        n_planned: N, the frames of a complete run.
        stopped: Whether the run was ended by another failure after the last frame.
        raised: Whether the model raised an error or crashed.

    Raises:
        ValueError: shapes that disagree, no frame, or a run that is neither complete nor stopped.
    """
    if raised:
        return 0.0
    count = len(temperature)
    if not count or len(positions) != count:
        raise ValueError("there must be one temperature and one geometry a frame, at least one")
    if count > n_planned or (count < n_planned and not stopped):
        raise ValueError(f"{count} of {n_planned} frames: a run that was cut has no score")
    explodes = ~np.isfinite(temperature) | ~np.isfinite(positions).all(axis=(1, 2))
    explodes |= temperature > temperature_k + MLIPAUDIT_EXPLOSION_K
    explodes[1:] |= temperature[1:] > MLIPAUDIT_EXPLOSION_RATIO * temperature[:-1]
    exploded = _first(explodes)
    if exploded is None and stopped:
        exploded = count - 1
    if exploded is not None:
        return 0.5 * exploded / n_planned
    lost = _hydrogen_lost(positions, numbers, bonds)
    return 1.0 if lost is None else 0.5 + 0.5 * lost / n_planned


def _hydrogen_lost(positions: Array, numbers: Index, bonds: Index) -> int | None:
    """First frame from which on a hydrogen stays lost to the end."""
    first = []
    for hydrogen in np.flatnonzero(numbers == 1):
        partners = bonds[(bonds == hydrogen).any(axis=1)]
        near = np.union1d(np.flatnonzero(numbers > 1), partners)
        near = near[near != hydrogen].astype(np.int64)
        if not len(partners):
            continue  # nothing it could be lost from
        apart = np.linalg.norm(positions[:, near] - positions[:, [hydrogen]], axis=-1)
        away = (apart > MLIPAUDIT_HYDROGEN_ANGSTROM).all(axis=1)
        if away[-1]:
            returned = np.flatnonzero(~away)
            first.append(int(returned[-1]) + 1 if len(returned) else 0)
    return min(first) if first else None


def mlipaudit_energy_conservation(time_ps: Array, energy: Array, kinetic_energy: Array) -> float:
    """Score of MLIPAudit's energy conservation, from 0 (worst) to 1.

    ratio = |slope of E · duration| / std(K); 1 if ratio < 1, else exp(−3 (ratio − 1)). 0 if an
    energy is not finite or std(K) is 0. Theirs is a run of 50 ps; the ratio grows with the
    duration.

    Args:
        time_ps: Shape (F,), rising.
        energy: Total, eV, shape (F,).
        kinetic_energy: eV, shape (F,).

    Raises:
        ValueError: different lengths, or fewer than 2 frames.
    """
    if len(time_ps) < 2 or not len(time_ps) == len(energy) == len(kinetic_energy):
        raise ValueError("three series of one length of at least two frames are needed")
    if not (np.isfinite(energy).all() and np.isfinite(kinetic_energy).all()):
        return 0.0
    width = float(np.std(kinetic_energy))
    if width == 0:
        return 0.0
    drift = linregress(time_ps, energy).slope * (time_ps[-1] - time_ps[0])
    ratio = abs(float(drift)) / width
    over = (ratio - MLIPAUDIT_DRIFT_RATIO) / MLIPAUDIT_DRIFT_RATIO
    return float(np.exp(-MLIPAUDIT_DECAY * max(over, 0.0)))


# --- LAMBench ------------------------------------------------------------------------------------


def lambench_slope(time_ps: Array, energy: Array, n_atoms: int) -> float:
    """|Slope| of the total energy per atom by least squares, the first 20 % discarded.

    Not repeated: the original fits in eV per ASE time unit and multiplies by 1000, so that what it
    prints as eV/atom/ps is 10.18 times (`LAMBENCH_UNIT_FACTOR`) too large.

    Args:
        time_ps: Shape (F,), rising.
        energy: Total, eV, shape (F,).
        n_atoms: N.

    Returns:
        eV/atom/ps; NaN if an energy is not finite or beyond 1e10 eV (theirs ends there), or if
        fewer than 2 samples are left.

    Raises:
        ValueError: different lengths.
    """
    if len(time_ps) != len(energy):
        raise ValueError("times and energies must be two series of one length")
    kept = slice(int(LAMBENCH_DISCARD * len(energy)), None)
    if not (np.abs(energy) <= LAMBENCH_ENERGY_EV).all() or len(energy[kept]) < 2:
        return float("nan")
    return abs(float(linregress(time_ps[kept], energy[kept]).slope)) / n_atoms


def lambench_instability(slope: float, completed: bool) -> float:
    """clip(log10(slope / 5·10⁻⁴ eV/atom/ps), 0, 5); 5 for a run that is not complete, or NaN.

    Their tolerance is kept at its stated value with the slope in the stated unit. The published
    values have both with the factor `LAMBENCH_UNIT_FACTOR` on the slope alone, that is up to
    log10(10.18) = 1.008 more.

    Args:
        slope: `lambench_slope` in eV/atom/ps.
        completed: Whether the run reached its planned length.
    """
    if not completed or not np.isfinite(slope):
        return LAMBENCH_WORST
    if slope <= LAMBENCH_TOLERANCE:
        return 0.0
    return float(min(np.log10(slope / LAMBENCH_TOLERANCE), LAMBENCH_WORST))


@dataclass(frozen=True)
class LambenchBoard:
    """LAMBench's numbers of a model.

    Attributes:
        slope: Geometric mean in eV/atom/ps over the successful runs; NaN if there is none.
        n_successful: Runs in it.
        n: All runs that were not cut.
        instability: Plain mean over all runs, 5 for each that is not complete.
    """

    slope: float
    n_successful: int
    n: int
    instability: float


def lambench_board(slopes: Sequence[float], completed: Sequence[bool]) -> LambenchBoard:
    """Means over runs; a run is successful if complete with a slope below 50 eV/atom/ps.

    Not repeated: the original's slope is a mean over successful runs only, without their number, so
    that a model that fails on eight of nine systems can show the best one. It never stands here
    without both counts, and the instability has all runs.

    Args:
        slopes: `lambench_slope` of each run that was not cut, in eV/atom/ps.
        completed: Whether each reached its planned length.

    Raises:
        ValueError: no run, or different lengths.
    """
    slope, done = np.asarray(slopes, np.float64), np.asarray(completed, bool)
    if not slope.size or slope.shape != done.shape:
        raise ValueError("there must be a slope and a flag a run, and at least one run")
    good = slope[done & (slope < LAMBENCH_SLOPE)]
    instability = [lambench_instability(s, bool(d)) for s, d in zip(slope, done, strict=True)]
    return LambenchBoard(
        slope=float(gmean(good)) if len(good) else float("nan"),
        n_successful=len(good),
        n=len(slope),
        instability=float(np.mean(instability)),
    )
