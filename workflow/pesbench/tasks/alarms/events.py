"""Alarms along a trajectory: events, thresholds, lead times, rates. Pure functions.

An alarm is a score above the threshold; one contiguous crossing is one event. What is infinite is
above every finite threshold. A rate is of the time below the threshold, in which an event may
begin: a detector that is always above has one event a run, and says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

Array = NDArray[np.float64]
Index = NDArray[np.int64]

USEFUL_LEAD_FS = 20.0
USEFUL_ALARMS_PER_PS = 0.1
LEAST_EXPOSURE_PS = 30.0


def events(scores: Array, threshold: float) -> Index:
    """Frames at which an event begins. A score that is no number is above every threshold.

    Args:
        scores: Of consecutive frames, shape (T,).
        threshold: Of the alarm.
    """
    above = ~(scores <= threshold)
    return np.flatnonzero(above & ~np.append(False, above[:-1])).astype(np.int64)


def quiet_time(scores: Array, threshold: float, time_per_frame: float) -> float:
    """Time in which no alarm is on: that up to each frame that is not above the threshold.

    Args:
        scores: Of consecutive frames, shape (T,).
        threshold: Of the alarm.
        time_per_frame: Time between two frames, in the unit of the result.
    """
    return float((scores[1:] <= threshold).sum() * time_per_frame)


def threshold_of_events(
    runs: Sequence[Array], rate: float, time_per_frame: Sequence[float]
) -> float:
    """The smallest threshold from which on all runs together have at most a rate of events.

    Args:
        runs: Scores of each run; a broken frame is infinite.
        rate: Events that are allowed per time in which no alarm is on (`quiet_time`).
        time_per_frame: Time between two frames of each run.

    Returns:
        NaN if there is no frame.

    Raises:
        ValueError: a score is not a number.
    """
    every = np.concatenate(runs) if len(runs) else np.empty(0)
    if not len(every):
        return float("nan")
    if np.isnan(every).any():
        raise ValueError("a score is not a number")
    time = np.concatenate([
        np.append(0.0, np.full(len(run) - 1, one))
        for run, one in zip(runs, time_per_frame, strict=True)
        if len(run)
    ])  # fmt: skip
    # an event begins at frame k for thresholds from s[k-1] up to, but not at, s[k]
    begins = np.concatenate([np.append(-np.inf, run[:-1]) for run in runs if len(run)])
    rising = every > begins
    n = int(rising.sum())
    values = np.concatenate([begins[rising], every[rising], every])
    steps = np.concatenate([np.ones(n), -np.ones(n), np.zeros(len(every))])
    quiet = np.concatenate([np.zeros(2 * n), time])
    places, where = np.unique(values, return_inverse=True)
    # from places[k] up to the next
    counts = np.cumsum(np.bincount(where, weights=steps))
    exposure = np.cumsum(np.bincount(where, weights=quiet))
    too_many = np.flatnonzero(counts > rate * exposure + 1e-9)
    return float(places[too_many[-1] + 1] if len(too_many) else places[0])


def lead_fs(
    scores: Array, threshold: float, fs_per_frame: float, failure_fs: float
) -> float | None:
    """Time from the first alarm before a failure to the failure, in fs; None without an alarm.

    Args:
        scores: Of frames from the start on, shape (T,).
        threshold: Of the alarm.
        fs_per_frame: Time between two frames.
        failure_fs: Time of the failure.
    """
    first = events(scores, threshold)
    if not len(first) or first[0] * fs_per_frame >= failure_fs:
        return None
    return float(failure_fs - first[0] * fs_per_frame)


def rate_interval(n_events: int, exposure: float, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of the rate of a Poisson process (Garwood), per unit of the exposure.

    Raises:
        ValueError: no exposure, or a negative number of events.
    """
    if not exposure > 0 or n_events < 0:
        raise ValueError("a rate needs an exposure, and a number of events of at least 0")
    tail = (1 - level) / 2
    low = float(chi2.ppf(tail, 2 * n_events)) / 2 if n_events else 0.0
    return low / exposure, float(chi2.ppf(1 - tail, 2 * n_events + 2)) / 2 / exposure


def exposure_needed(n_events: int, level: float = 0.95) -> float:
    """Time in ps from which on so many false alarms are fewer than a useful detector may have.

    The upper end of `rate_interval` is at the limit then: 37 ps without an alarm, 56 ps with one.
    """
    return rate_interval(n_events, 1.0, level)[1] / USEFUL_ALARMS_PER_PS
