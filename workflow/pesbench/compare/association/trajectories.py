"""Which trajectories of models count, and the survival time that each of them loses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pesbench.metrics.stability import FailureCause
from pesbench.metrics.survival import (
    Outcome,
    in_excess_of_reference,
    restricted_mean_survival_time,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_DECIMALS_OF_PS = 9  # a millionth of a femtosecond
_FAILING = ("nonfinite", "error", "crashed")  # statuses that are failures of the model


def runs_in_excess(runs: pd.DataFrame, reference: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """The trajectories that count: at risk, where the reference survives.

    Args:
        runs: Runs of one or more models, with `model`, `system`, `temperature_k` and `outcome`.
        reference: Runs of the reference, with the same columns, from the same seeds.

    Returns:
        The rows that count, and how many rows did not, by the name of the mask in
        `pesbench.metrics.survival.Selection`.
    """
    chosen = in_excess_of_reference(
        [Outcome(how) for how in runs["outcome"]],
        list(zip(runs["system"], runs["temperature_k"], strict=True)),
        [Outcome(how) for how in reference["outcome"]],
        list(zip(reference["system"], reference["temperature_k"], strict=True)),
    )
    left = {
        name: int(getattr(chosen, name).sum())
        for name in ("not_at_risk", "reference_failed", "reference_unknown")
    }
    return runs[chosen.counted].reset_index(drop=True), pd.Series(left, dtype=int)


def start_failures(runs: pd.DataFrame) -> Mask:
    """Mask of the trajectories that failed before their first step, shape (n,).

    A molecule that breaks in relaxation, a step 0 that is not finite, an error or a crash. Not at
    risk, like what was not put to the model (unsupported, masked, in no merged result), which is no
    failure of it.

    Args:
        runs: n trajectories with `outcome`, `status` and `failure`.
    """
    absent = runs["outcome"] == Outcome.NOT_AT_RISK.value
    broken = ~runs["failure"].fillna("").isin(["", FailureCause.NONE.value])
    return (absent & (broken | runs["status"].isin(_FAILING))).to_numpy(dtype=bool)


def failed_at_start(runs: pd.DataFrame) -> pd.DataFrame:
    """The trajectories that failed before their first step, as failures at time 0.

    So they are at risk, lose all of the horizon, and `runs_in_excess` selects among them.

    Args:
        runs: Runs as for `start_failures`, with `time_ps`.
    """
    rows = runs[start_failures(runs)].reset_index(drop=True)
    return rows.assign(outcome=Outcome.FAILED.value, time_ps=0.0)


@dataclass(frozen=True, eq=False)
class TimeLost:
    """Survival time lost by each of n trajectories of a model, in ps; arrays of shape (n,).

    Attributes:
        value: Pseudo-values whose mean is the restricted mean survival time lost.
        all_fail: The time lost if what was cut had failed at that moment.
        all_survive: The time lost if what was cut had lived to the horizon.
    """

    value: Array
    all_fail: Array
    all_survive: Array


def time_lost(time_ps: Array, failed: Mask, horizon_ps: float) -> TimeLost:
    """Survival time lost, trajectory by trajectory.

    Without a run that was cut it is τ − min(t, τ). With one, it is τ minus the jackknife
    pseudo-value n θ − (n − 1) θ₍₋ᵢ₎ of the Kaplan–Meier restricted mean θ, so that means of
    trajectories stand for the estimator (Andersen, Hansen & Klein, Lifetime Data Anal. 10, 335
    (2004)).

    Args:
        time_ps: When each ended, shape (n,).
        failed: Whether it failed then, shape (n,).
        horizon_ps: τ.

    Raises:
        ValueError: as `pesbench.metrics.survival.survival_curve`.
    """
    mean = restricted_mean_survival_time(time_ps, failed, horizon_ps)
    time = np.minimum(np.asarray(time_ps, np.float64), horizon_ps)
    event = np.asarray(failed, bool)
    cut = (time < horizon_ps * (1 - 1e-9)) & ~event
    value, n = horizon_ps - time, len(time)
    if cut.any() and n > 1:
        rest = [np.delete(np.arange(n), i) for i in range(n)]
        without = [restricted_mean_survival_time(time[k], event[k], horizon_ps) for k in rest]
        value = horizon_ps - (n * mean - (n - 1) * np.array(without))
    elif cut.any():
        value = np.array([horizon_ps - mean])
    # what rounding leaves of 0 would be ranked: those that lose nothing are tied
    value, lost = value.round(_DECIMALS_OF_PS), (horizon_ps - time).round(_DECIMALS_OF_PS)
    return TimeLost(value, lost, np.where(cut, 0.0, lost))
