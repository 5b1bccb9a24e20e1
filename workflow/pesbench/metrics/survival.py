"""Survival of trajectories: failures in excess of the reference, restricted mean survival time.

- Event: a physical failure (`pesbench.metrics.stability`), a non-finite step, or a step at which
  the model raised an error or crashed.
- Censored: the run was cut by the wall clock or by memory, or ended by an alarm
  (`dynamics.stop_on_alarm`). It lived at least so long.
- Not at risk: the model does not support the molecule, or failed before the first step. Counted,
  and in no mean.
- In excess of the reference: a (molecule, temperature) in which the reference itself fails in any
  replicate is left out with all its replicates, and counted. Where the reference was cut or is
  missing nothing is known; those are left out and counted apart. In what remains the reference's
  own restricted mean is the horizon, so that the time lost in excess is the horizon minus the
  model's restricted mean.

Times are in ps. With a planned length of at least the horizon and nothing censored, the
restricted mean is the plain mean of min(t, horizon).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import CensoredData, beta, ecdf

from pesbench.metrics.aggregate import LEVEL, RESAMPLES, resample
from pesbench.metrics.stability import FailureCause

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Outcome(StrEnum):
    """Outcome of a trajectory in the survival analysis."""

    SURVIVED = "survived"
    FAILED = "failed"
    CENSORED = "censored"
    NOT_AT_RISK = "not_at_risk"


_OF_STATUS: Mapping[str, Outcome] = {
    "ok": Outcome.SURVIVED,
    "nonfinite": Outcome.FAILED,
    "error": Outcome.FAILED,
    "crashed": Outcome.FAILED,
    "timeout": Outcome.CENSORED,
    "out_of_memory": Outcome.CENSORED,
    "alarm": Outcome.CENSORED,
    "unsupported": Outcome.NOT_AT_RISK,
    "masked": Outcome.NOT_AT_RISK,
    "not_evaluated": Outcome.NOT_AT_RISK,  # in none of the results that were merged
}


def outcome(status: str, failure: str, time_ps: float) -> Outcome:
    """Outcome of a trajectory in the survival analysis.

    Args:
        status: Status of the trajectory, as in `pesbench.core.interface.Status`.
        failure: The `FailureCause` of a physical failure; "" or `NONE` if there was none.
        time_ps: How long it ran, 0 if it ended before the first step.

    Raises:
        ValueError: an unknown status or cause, or a time that is negative or not a number.
    """
    if not time_ps >= 0:
        raise ValueError(f"a trajectory cannot have run for {time_ps} ps")
    try:
        by_status = _OF_STATUS[status]
    except KeyError:
        raise ValueError(f"unknown status {status!r}") from None
    cause = FailureCause(failure or FailureCause.NONE)
    fails = cause is not FailureCause.NONE or by_status is Outcome.FAILED
    if by_status is Outcome.NOT_AT_RISK or (fails and time_ps == 0):
        return Outcome.NOT_AT_RISK
    return Outcome.FAILED if fails else by_status


@dataclass(frozen=True, eq=False)
class Selection:
    """Trajectories that count and those that do not, by reason; each in exactly one mask, (n,).

    Attributes:
        counted: Trajectories at risk where the reference survives in all replicates.
        not_at_risk: Trajectories that are not at risk, see `Outcome`.
        reference_failed: The reference fails in this (molecule, temperature).
        reference_unknown: The reference does not fail there, but is missing, cut or not at risk.
    """

    counted: Mask
    not_at_risk: Mask
    reference_failed: Mask
    reference_unknown: Mask


def in_excess_of_reference(
    outcomes: Sequence[Outcome],
    conditions: Sequence[Hashable],
    reference_outcomes: Sequence[Outcome],
    reference_conditions: Sequence[Hashable],
) -> Selection:
    """Selects the trajectories that are scored in excess of the reference.

    Args:
        outcomes: Outcomes of the model's n trajectories.
        conditions: (molecule, temperature) of each, shared by replicates.
        reference_outcomes: Outcomes of the reference's trajectories, from the same seeds.
        reference_conditions: (molecule, temperature) of each.
    """
    seen: dict[Hashable, set[Outcome]] = {}
    for condition, how in zip(reference_conditions, reference_outcomes, strict=True):
        seen.setdefault(condition, set()).add(how)
    reference = [seen.get(condition, set()) for condition in conditions]
    absent = np.array([how is Outcome.NOT_AT_RISK for how in outcomes], dtype=bool)
    failed = np.array([Outcome.FAILED in found for found in reference], dtype=bool)
    sound = np.array([found == {Outcome.SURVIVED} for found in reference], dtype=bool)
    if len(absent) != len(sound):
        raise ValueError("outcomes and conditions differ in number")
    return Selection(
        counted=~absent & sound,
        not_at_risk=absent,
        reference_failed=~absent & failed,
        reference_unknown=~absent & ~failed & ~sound,
    )


def _valid(times_ps: ArrayLike, event: ArrayLike, horizon_ps: float) -> tuple[Array, Mask]:
    """Times cut at the horizon, and the events before it."""
    time, happened = np.asarray(times_ps, np.float64), np.asarray(event, bool)
    if not horizon_ps > 0 or not np.isfinite(horizon_ps):
        raise ValueError("the horizon must be a positive time")
    if time.shape != happened.shape or time.ndim != 1 or not time.size:
        raise ValueError("there must be one time and one event flag a trajectory, and at least one")
    if not (time >= 0).all():
        raise ValueError("a time is negative or missing; select the trajectories at risk first")
    return np.minimum(time, horizon_ps), happened & (time < horizon_ps)


def survival_curve(times_ps: ArrayLike, event: ArrayLike, horizon_ps: float) -> tuple[Array, Array]:
    """Kaplan–Meier estimate of the share still alive, as a step function up to the horizon.

    Args:
        times_ps: When each trajectory ended, shape (n,).
        event: Whether it failed then; otherwise it was cut, or had survived, shape (n,).
        horizon_ps: End of the curve.

    Returns:
        Times from 0 to the horizon and the share alive from each time on, both (m,). Beyond the
        last trajectory, where the estimate is not defined, it keeps its last value.

    Raises:
        ValueError: no trajectory, a time that is negative or NaN, or a horizon not positive.
    """
    time, happened = _valid(times_ps, event, horizon_ps)
    found = ecdf(CensoredData(uncensored=time[happened], right=time[~happened])).sf
    before = found.quantiles < horizon_ps
    steps = found.quantiles[before]
    share = found.probabilities[before]
    alive = float(share[-1]) if len(share) else 1.0
    return np.concatenate([[0.0], steps, [horizon_ps]]), np.concatenate([[1.0], share, [alive]])


def restricted_mean_survival_time(
    times_ps: ArrayLike, event: ArrayLike, horizon_ps: float
) -> float:
    """Area under `survival_curve` from 0 to the horizon in ps; arguments and errors the same."""
    time, share = survival_curve(times_ps, event, horizon_ps)
    return float(share[:-1] @ np.diff(time))


@dataclass(frozen=True)
class Survival:
    """Restricted mean survival time of one model and what bounds it, in ps.

    Attributes:
        mean: Restricted mean by Kaplan–Meier.
        low: Lower end of its interval over molecules; NaN for a single molecule.
        high: Upper end.
        all_fail: The mean if every run that was cut had failed at that moment.
        all_survive: The mean if every run that was cut had lived to the horizon.
        horizon: The time the mean is restricted to.
        n: Trajectories in the mean.
    """

    mean: float
    low: float
    high: float
    all_fail: float
    all_survive: float
    horizon: float
    n: int


def exact_interval(share: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a share by Clopper and Pearson (Biometrika 26, 404, 1934).

    Args:
        share: Of `n`, from 0 to 1; it need be no multiple of 1/n.
        n: Independent trials; with none the interval is all from 0 to 1.
        level: Probability the interval is to hold, or more.
    """
    if n <= 0:
        return 0.0, 1.0
    tail, hits = (1 - level) / 2, share * n
    low = 0.0 if hits <= 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits >= n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return low, high


def survival(
    times_ps: ArrayLike,
    outcomes: Sequence[Outcome],
    systems: Sequence[str],
    horizon_ps: float,
    name: str,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Survival:
    """Restricted mean survival time with its bounds and an interval.

    The interval is a percentile interval of the cluster bootstrap over molecules: all temperatures
    and replicates of a molecule are drawn together. Where all molecules have one mean, as if all
    live, the bootstrap has no width, which is no certainty; there it is `exact_interval` of the
    share of the horizon, with the molecules as its trials.

    Args:
        times_ps: When each trajectory ended, shape (n,).
        outcomes: How; only trajectories at risk (`Selection.counted`).
        systems: Molecule of each.
        horizon_ps: One for all models: the shortest planned run.
        name: What the seed derives from.
        resamples: Number of bootstrap samples.
        level: Probability the interval is to hold.

    Raises:
        ValueError: as `survival_curve`; or a trajectory was not at risk, or is said to have
            survived though it ends before the horizon.
    """
    if Outcome.NOT_AT_RISK in outcomes:
        raise ValueError("a trajectory was not at risk; select those at risk first")
    failed = np.array([how is Outcome.FAILED for how in outcomes], dtype=bool)
    ended = np.array([how is Outcome.SURVIVED for how in outcomes], dtype=bool)
    time, event = _valid(times_ps, failed, horizon_ps)
    short = time < horizon_ps * (1 - 1e-9)
    if (ended & short).any():
        raise ValueError("a run ends before the horizon; it must be at most the shortest planned")
    cut = short & ~event
    mean = restricted_mean_survival_time(time, event, horizon_ps)
    labels, index = np.unique(np.asarray(systems, dtype=str), return_inverse=True)
    low = high = float("nan")
    if len(labels) > 1:
        counts = resample(len(labels), name, resamples)
        if cut.any():
            drawn = (np.repeat(np.arange(len(time)), weight) for weight in counts[:, index])
            means = np.array(
                [restricted_mean_survival_time(time[k], event[k], horizon_ps) for k in drawn]
            )
        else:  # the same numbers without 2000 curves
            sums = np.bincount(index, weights=time)
            means = counts @ sums / (counts @ np.bincount(index))
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2]).tolist()
        if np.isclose(low, high, rtol=1e-9, atol=0.0):
            share = min(mean / horizon_ps, 1.0)
            low, high = (horizon_ps * end for end in exact_interval(share, len(labels), level))
    return Survival(
        mean=mean,
        low=low,
        high=high,
        all_fail=float(time.mean()),
        all_survive=float(np.where(cut, horizon_ps, time).mean()),
        horizon=float(horizon_ps),
        n=len(time),
    )
