"""The precision that a model computes in, measured by its forces."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.polynomial.polynomial import polyfit, polyval

from pesbench.core.errors import HostError
from pesbench.core.interface import Batch, ModelInfo, Result, Status, batch_of
from pesbench.core.systems import System
from pesbench.engine.batching import split
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.worker import ModelFailureError

TINY_STEP_ANGSTROM = 2e-6
TINY_STEPS = 4  # on either side
LARGE_STEP_ANGSTROM = 0.01
COARSE = 0.5  # largest relative deviation of the change over the tiny steps
FLOAT64_NOISE = 1e-10  # relative noise below which arithmetic is double
FLOAT32_NOISE = 1e-4
BENT_ANGSTROM = 0.05  # off the minimum, where forces are no longer small
MOST_TRIED = 3  # molecules, until one is answered
SLOW_S = 2.0  # a frame that takes longer is not asked for eleven times more
_SIZES = np.array(
    [
        *(TINY_STEP_ANGSTROM * np.arange(-TINY_STEPS, TINY_STEPS + 1)),
        -LARGE_STEP_ANGSTROM,
        LARGE_STEP_ANGSTROM,
    ]
)
logger = logging.getLogger("pesbench")


def relative_noise(
    evaluate: Callable[[Batch], Result],
    batch: Batch,
    base: Result,
    generator: np.random.Generator,
) -> float:
    """Granularity of the forces, relative to their size: which precision is really used.

    All atoms are moved along random directions in nine steps of 2·10⁻⁶ Å. Over so short a way a
    smooth force is a cubic polynomial to 10⁻¹³ of itself; what is left after the fit of one is
    rounding. Of float64 about 10⁻¹⁵ to 10⁻¹³ is left, of float32 10⁻⁸ to 10⁻⁶, wherever in the
    model the rounding takes place. Forces that change over the whole way by something else than the
    slope over ±0.01 Å foretells, such as not at all, are coarser than the way; their noise is
    infinite.

    Args:
        evaluate: The model.
        batch: S systems, all of them ok in `base`.
        base: The model's answer.
        generator: Random generator of the directions.

    Returns:
        Median over the systems of the root mean square of what is left, over the largest force; NaN
        if no system moves its forces at all or none could be measured.
    """
    moved = []
    for s in range(batch.n_systems):
        positions = batch.positions[batch.system == s]
        direction = generator.standard_normal(positions.shape)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        moved += [positions + size * direction for size in _SIZES]
    copies = batch.select(np.repeat(np.arange(batch.n_systems), len(_SIZES)).tolist())
    answer = evaluate(replace(copies, positions=np.concatenate(moved)))
    steps = _SIZES[:-2]
    noise = []
    start = 0
    for s in range(batch.n_systems):
        shape = (len(_SIZES), int(np.count_nonzero(batch.system == s)) * 3)
        size = shape[0] * shape[1] // 3
        forces = answer.forces[start : start + size].reshape(shape)
        start += size
        scale = np.max(np.abs(base.forces[batch.system == s]))
        if not np.isfinite(forces).all() or scale == 0:
            continue
        near, back, forth = forces[:-2], forces[-2], forces[-1]
        foretold = (forth - back) * (steps[-1] / LARGE_STEP_ANGSTROM)
        change = near - near[0]
        if not foretold.any():
            continue
        if np.linalg.norm(change[-1] - foretold) > COARSE * np.linalg.norm(foretold):
            noise.append(np.inf)
            continue
        x = steps / steps[-1]
        left = change - polyval(x, polyfit(x, change, 3)).T
        variance = np.sum(left**2, axis=0) / (len(x) - 4)
        noise.append(float(np.sqrt(np.mean(variance))) / scale)
    return float(np.median(noise)) if noise else float("nan")


def precision(noise: float) -> str:
    """The precision that a relative noise speaks of: `float64`, `float32`, `coarser` or ""."""
    if np.isnan(noise):
        return ""
    if noise < FLOAT64_NOISE:
        return "float64"
    return "float32" if noise < FLOAT32_NOISE else "coarser"


def measured_precision(
    evaluator: Evaluator, info: ModelInfo | None, systems: Iterable[System]
) -> str:
    """The precision of a model, by `relative_noise` on the smallest molecule that it answers.

    It takes twelve evaluations of one frame. A job asks once it has all answers, so that they
    cannot change with it: what a just-in-time compiler does depends on every call before. A
    method that is not converged to the last digit, such as DFT, shows its convergence instead.

    Args:
        evaluator: Evaluator of the job.
        info: What the model tells of itself; None if it did not load.
        systems: Molecules of the job that the model has answered: one that ended its process or
            hung is not asked again.

    Returns:
        `float64`, `float32`, `coarser`, or "" where it is not measured: the model failed, takes
        longer than `SLOW_S` for a frame, or its forces do not move; or the machine failed, which
        must not cost the answers that are there.
    """
    if info is None:
        return ""
    worker = evaluator.worker
    answered, losses = worker.atom_frames, worker.losses.copy()
    try:
        return _measured(evaluator, systems)
    finally:  # files count the frames and the losses of what the job was asked for
        worker.atom_frames, worker.losses = answered, losses


def _measured(evaluator: Evaluator, systems: Iterable[System]) -> str:
    known = sorted(systems, key=lambda one: (len(one.numbers), one.id))
    for system in [one for one in known if len(one.numbers) > 1][:MOST_TRIED]:
        seed = hashlib.sha256(f"precision {system.id}".encode()).digest()
        generator = np.random.default_rng(np.frombuffer(seed, dtype=np.uint32))
        bent = system.positions + BENT_ANGSTROM * generator.standard_normal(system.positions.shape)
        frame = batch_of([system], [bent], [(system.id, 0)])
        try:
            timed = evaluator.worker.evaluate(frame)
            if timed.wall_s > SLOW_S:
                return ""
            if timed.result.status[0] is Status.OK:
                noise = relative_noise(_asker(evaluator), frame, timed.result, generator)
                return precision(noise)
        except ModelFailureError as failure:
            if failure.ended:  # a second one may hang as long
                logger.warning("the precision is not measured: %s", failure.message)
                return ""
        except HostError as failure:
            logger.warning("the precision is not measured: %s", failure)
            return ""
    return ""


def _asker(evaluator: Evaluator) -> Callable[[Batch], Result]:
    """The forces on the systems of a batch, asked in batches that are known to fit."""

    def ask(batch: Batch) -> Result:
        sizes = np.bincount(batch.system, minlength=batch.n_systems).tolist()
        parts = [batch.select(part) for part in split(sizes, evaluator.limit)]
        answers = [evaluator.worker.evaluate(part).result for part in parts]
        return Result(
            energies=None,
            forces=np.concatenate([one.forces for one in answers]),
            status=tuple(status for one in answers for status in one.status),
            messages=tuple(message for one in answers for message in one.messages),
        )

    return ask
