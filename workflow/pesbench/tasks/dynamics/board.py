"""Columns of the leaderboard: survival, conservation of energy, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from pesbench.core.interface import Status
from pesbench.core.section import Metric
from pesbench.metrics import aggregate
from pesbench.metrics.survival import Outcome, in_excess_of_reference, outcome, survival
from pesbench.tasks.dynamics import conservation
from pesbench.tasks.dynamics.elsewhere import lambench_board

COLUMNS = (
    "md_n_planned",
    "md_n_finished",
    "md_n_failed",
    "md_n_counted",
    "md_n_reference_failed",
    "survival",
    "survival_low",
    "survival_high",
    "survival_all_fail",
    "survival_all_survive",
    "survival_horizon_ps",
    "temperature_spike",
    "temperature_spike_reference",
    "n_spike",
    "energy_drift",
    "energy_drift_error",
    "energy_drift_reference",
    "n_drift",
    "energy_rms",
    "energy_rms_reference",
    "n_rms",
    "temperature_off",
    "md_n_temperature_off",
    "md_n_frozen",
    "md_n_graph_changed",
    "energy_rms_order",
    "n_orders",
    "n_orders_planned",
    "fu_stable_ps",
    "mlipaudit_stability",
    "mlipaudit_energy_conservation",
    "lambench_instability",
    "n_others",
    "lambench_slope_ev_per_atom_ps",
    "n_lambench_slope",
    "md_missing",
    "md_seconds",
    "md_worker_deaths",
)
OFF = 0.15  # of the nominal temperature, from which a run is marked
FROZEN = 0.5  # of the nominal temperature, below which a run is frozen
METRICS = {  # what readers see of the columns
    one.name: one
    for one in (
        Metric("md_n_planned", "planned runs", help="Runs with the nominal time step."),
        Metric("md_n_finished", "finished runs", better="higher",
               help="Runs that survived to their planned end."),
        Metric("md_n_failed", "failed runs", better="lower",
               help="Runs in which the molecule breaks or the model fails."),
        Metric("survival", "survival", "ps", "higher",
               help="Restricted mean survival time up to the shortest planned run; failures count "
               "in excess of the reference."),
        Metric("survival_low", "survival, lower end", "ps",
               help="Lower end of its 95 % interval over molecules."),
        Metric("survival_high", "survival, upper end", "ps",
               help="Upper end of its 95 % interval over molecules."),
        Metric("survival_all_fail", "survival if all cut runs fail", "ps", "higher",
               help="Bound of the survival: as if each run that was cut had failed then."),
        Metric("survival_all_survive", "survival if all cut runs live", "ps", "higher",
               help="Bound of the survival: as if each run that was cut had lived on."),
        Metric("survival_horizon_ps", "horizon of the survival", "ps",
               help="Shortest planned run, to which the survival is restricted."),
        Metric("md_n_counted", "runs in the survival", help="Runs at risk, those left out where "
               "the reference fails or is unknown."),
        Metric("md_n_reference_failed", "runs where the reference fails",
               help="Runs left out of the survival because the reference fails there."),
        Metric("n_spike", "runs in the spike", help="Runs behind its median."),
        Metric("n_drift", "runs in the drift", help="Runs behind its median."),
        Metric("n_rms", "runs in the RMS", help="Runs behind its median."),
        Metric("temperature_spike_reference", "temperature spike of the reference", "σ",
               help="Its median over the same runs: below it nothing can be measured."),
        Metric("energy_drift_reference", "energy drift of the reference", "meV/atom/ps",
               help="Its median over the same runs: below it nothing can be measured."),
        Metric("energy_rms_reference", "energy RMS of the reference", "meV/atom",
               help="Its median over the same runs: below it nothing can be measured."),
        Metric("energy_drift_error", "error of the energy drift", "meV/atom/ps",
               help="Typical standard error of the drift of one run."),
        Metric("md_n_temperature_off", "runs off the temperature", better="lower",
               help=f"Surviving runs whose mean temperature is more than {100 * OFF:g} % off."),
        Metric("md_n_frozen", "frozen runs", better="lower",
               help="Surviving runs below half of the nominal temperature."),
        Metric("md_n_graph_changed", "runs that end as another molecule", better="lower",
               help="Surviving runs that end with another bond graph."),
        Metric("n_orders", "runs with an order", help="Runs that survived with both time steps."),
        Metric("n_orders_planned", "runs planned for an order",
               help="Runs planned with two time steps."),
        Metric("fu_stable_ps", "stable time of Fu et al.", "ps", "higher",
               help="Mean time to instability by their definition, of runs that ended."),
        Metric("mlipaudit_stability", "stability of MLIPAudit", better="higher",
               help="Mean of their score, of runs that ended."),
        Metric("mlipaudit_energy_conservation", "energy conservation of MLIPAudit",
               better="higher", help="Mean of their score, of runs that ended."),
        Metric("lambench_instability", "instability of LAMBench", better="lower",
               help="Mean of their score, of runs that ended."),
        Metric("n_others", "runs in the scores of others",
               help="Runs that survived or failed, behind these four means."),
        Metric("lambench_slope_ev_per_atom_ps", "drift of LAMBench", "eV/atom/ps", "lower",
               help="Mean slope of the total energy by their definition."),
        Metric("n_lambench_slope", "runs in the drift of LAMBench", help="Runs behind the mean."),
        Metric("md_missing", "runs that did not finish", help="How many, by cause."),
        Metric("md_worker_deaths", "lost processes of dynamics", better="lower",
               help="How often the process of the model was lost and started again."),
        Metric("temperature_spike", "temperature spike", "σ", "lower",
               help="Largest temperature above its running median in units of the natural width; "
               "median over the runs that survive."),
        Metric("energy_drift", "energy drift", "meV/atom/ps", "lower",
               help="Absolute slope of the total energy; median over the runs that survive."),
        Metric("energy_rms", "energy RMS", "meV/atom", "lower",
               help="RMS of the total energy about its slope; median over the runs that survive."),
        Metric("temperature_off", "temperature off",
               help="How far the temperature reached is from the nominal one, as a share of it; "
               "median."),
        Metric("energy_rms_order", "order of the energy RMS", better="higher",
               help="Order at which the RMS falls with the time step; 2 for a smooth conservative "
               "surface."),
        Metric("md_seconds", "time of dynamics", "s", "lower",
               help="Wall time of all runs, those with half the time step among them."),
    )
}  # fmt: skip
MEDIANS = {  # of the runs that survive: column of the scores, column of their number
    "temperature_spike": ("temperature_spike", "n_spike"),
    "energy_drift": ("energy_drift_mev_per_atom_ps", "n_drift"),
    "energy_rms": ("energy_rms_mev_per_atom", "n_rms"),
}
_MEANS_OF_OTHERS = (
    "fu_stable_ps",
    "mlipaudit_stability",
    "mlipaudit_energy_conservation",
    "lambench_instability",
)
_COUNTS = [column for column in COLUMNS if column.startswith("n_")]


def main_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs with the nominal time step; those with half of it serve the order only."""
    return rows[np.isclose(rows["timestep_fs"], rows["timestep_fs"].max())]


def survivors(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs that reached their planned length.

    Drift, fluctuation and spike are of these alone: what a run does while it breaks is no drift,
    and runs of one length have one noise, so that the reference's own value on the same runs is the
    floor of a model's.
    """
    return rows[rows["outcome"] == Outcome.SURVIVED.value]


def rms_orders(rows: pd.DataFrame) -> pd.Series:
    """The order at which the RMS of the energy falls, of every run planned with two time steps.

    NaN for a run that did not survive with both: its RMS would have the explosion in it.
    """
    lived = rows["outcome"] == Outcome.SURVIVED.value
    kept = rows.assign(rms=rows["energy_rms_mev_per_atom"].astype(float).where(lived))
    by_step = {
        step: part.set_index("trajectory")["rms"] for step, part in kept.groupby("timestep_fs")
    }
    if len(by_step) < 2:
        return pd.Series(dtype=float)
    dt, half_dt = max(by_step), min(by_step)
    coarse, fine = by_step[dt], by_step[half_dt]
    found = {
        name: conservation.rms_order(coarse[name], fine[name], dt, half_dt)
        for name in coarse.index.intersection(fine.index)
    }
    return pd.Series(found, dtype=float)


def _conditions(rows: pd.DataFrame) -> list[tuple[str, float]]:
    return list(zip(rows["system"], rows["temperature_k"], strict=True))


def _outcomes(rows: pd.DataFrame) -> list[Outcome]:
    return [Outcome(value) for value in rows["outcome"]]


def dynamics_columns(dynamics: Mapping[str, pd.DataFrame], reference: str | None) -> pd.DataFrame:
    """One row a model that ran dynamics.

    Args:
        dynamics: One row a trajectory, by model, the columns of `scores/dynamics.parquet`.
        reference: The model whose failures do not count, or None: then all are counted.

    Returns:
        `model` and the columns `COLUMNS`, see README.md: times in ps, drift in meV/atom/ps,
        RMS in meV/atom, seconds of wall time.
    """
    counts = dict.fromkeys(_COUNTS, "Int64")
    if not dynamics:
        return pd.DataFrame(columns=["model", *COLUMNS]).astype(counts)
    runs = {name: main_runs(rows).reset_index(drop=True) for name, rows in dynamics.items()}
    horizon = min(float(rows["planned_ps"].min()) for rows in runs.values())
    return pd.DataFrame(
        [
            {"model": name} | _row(name, rows, dynamics[name], runs.get(reference), horizon)
            for name, rows in runs.items()
        ],
        columns=["model", *COLUMNS],
    ).astype(counts)


def _row(
    name: str,
    rows: pd.DataFrame,
    every: pd.DataFrame,
    reference: pd.DataFrame | None,
    horizon_ps: float,
) -> dict[str, Any]:
    outcomes = _outcomes(rows)
    # without a reference every failure counts, as beside one that never fails
    against = rows if reference is None else reference
    lived = [Outcome.SURVIVED] * len(rows) if reference is None else _outcomes(reference)
    selection = in_excess_of_reference(outcomes, _conditions(rows), lived, _conditions(against))
    counted = rows[selection.counted]
    row: dict[str, Any] = {
        "md_n_planned": len(rows),
        "md_n_finished": sum(how is Outcome.SURVIVED for how in outcomes),
        "md_n_failed": _failed(rows),
        "md_n_counted": len(counted),
        "md_n_reference_failed": int(selection.reference_failed.sum()),
        "survival_horizon_ps": horizon_ps,
        "md_missing": _missing(rows),
        "md_seconds": float(every["wall_s"].sum()),
        # scores of earlier versions lack it
        "md_worker_deaths": float(every.get("worker_deaths", pd.Series(dtype=float)).sum()),
    }
    if len(counted):
        lives = survival(
            counted["time_ps"].to_numpy(),
            _outcomes(counted),
            counted["system"].tolist(),
            horizon_ps,
            f"survival {name}",
        )
        row |= {
            "survival": lives.mean,
            "survival_low": lives.low,
            "survival_high": lives.high,
            "survival_all_fail": lives.all_fail,
            "survival_all_survive": lives.all_survive,
        }
    row |= _of_survivors(survivors(rows), survivors(against if reference is not None else rows[:0]))
    planned = rms_orders(every)
    orders = planned.dropna()
    row["energy_rms_order"] = _median(orders)
    row |= {"n_orders": len(orders), "n_orders_planned": len(planned)}
    return row | _of_others(rows)


def _failed(rows: pd.DataFrame) -> int:
    """Runs that failed, those among them that failed before their first step."""
    at_start = rows[rows["outcome"] == Outcome.NOT_AT_RISK.value]
    at_start = at_start[at_start["status"].isin(list(Status))]  # merge adds those that never ran
    ways = zip(at_start["status"], at_start["failure"].fillna(""), strict=True)
    broken = sum(outcome(status, cause, 1.0) is Outcome.FAILED for status, cause in ways)
    return broken + int((rows["outcome"] == Outcome.FAILED.value).sum())


def _of_survivors(rows: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    """Conservation of energy and temperature of the runs that survive, as medians.

    Args:
        rows: Runs of a model that survive.
        reference: Runs of the reference that survive; the median of those of the same names is the
            floor of what can be measured on them.
    """
    found: dict[str, Any] = {}
    same = reference[reference["trajectory"].isin(rows["trajectory"])]
    for column, (score, number_of) in MEDIANS.items():
        # those of both signs must not cancel
        values, floor = (runs[score].astype(float).abs().dropna() for runs in (rows, same))
        found |= {column: _median(values), number_of: len(values)}
        found[f"{column}_reference"] = _median(floor)
    off = rows["mean_temperature_k"] / rows["temperature_k"] - 1
    found |= {
        "energy_drift_error": float("nan"),
        "temperature_off": _median(off.dropna()),
        "md_n_temperature_off": int((off.abs() > OFF).sum()),
        "md_n_frozen": int((off < FROZEN - 1).sum()),
        "md_n_graph_changed": float("nan"),
    }
    # scores of earlier versions lack it, like the new error; merged ones may lack it in part
    if "graph_changed" in rows and rows["graph_changed"].notna().all():
        found["energy_drift_error"] = drift_error(rows)
        found["md_n_graph_changed"] = int(rows["graph_changed"].astype(bool).sum())
    return found


def drift_error(rows: pd.DataFrame) -> float:
    """Typical standard error of the drift of one run, in meV/atom/ps; NaN for no run.

    The median over molecules and temperatures of the standard deviation of replicates, divided by
    its own median where there are few of them; where there is one replicate, of the error that its
    pieces give (`conservation.energy_drift`).

    Args:
        rows: Runs that survive.
    """
    errors = []
    for _, runs in rows.groupby(["system", "temperature_k"]):
        drifts = runs["energy_drift_mev_per_atom_ps"].dropna()
        more = len(drifts) - 1
        if more > 0:
            errors.append(drifts.std(ddof=1) / np.sqrt(chi2.median(more) / more))
        else:
            errors += runs["energy_drift_error_mev_per_atom_ps"].dropna().tolist()
    return _median(errors)


def _median(values: Any) -> float:
    return aggregate.median(values) if len(values) else float("nan")


def _of_others(rows: pd.DataFrame) -> dict[str, Any]:
    """Means by the definitions of other benchmarks, over the runs that survived or failed.

    They know no reference: runs where it fails itself are in these means.
    """
    ended = rows["outcome"].isin([Outcome.SURVIVED.value, Outcome.FAILED.value])
    runs = rows[ended & rows[list(_MEANS_OF_OTHERS)].notna().all(axis=1)]
    if runs.empty:
        return {"n_others": 0, "n_lambench_slope": 0}
    slopes = runs["lambench_slope_ev_per_atom_ps"].astype(float)
    board = lambench_board(slopes.tolist(), (runs["outcome"] == Outcome.SURVIVED.value).tolist())
    return {column: aggregate.mean(runs[column]) for column in _MEANS_OF_OTHERS} | {
        "n_others": board.n,
        "lambench_slope_ev_per_atom_ps": board.slope,
        "n_lambench_slope": board.n_successful,
    }


def _missing(rows: pd.DataFrame) -> str:
    """Runs that did not finish, by cause."""
    ended = rows[rows["outcome"] != Outcome.SURVIVED.value]
    causes = ended["failure"].where(ended["failure"] != "", ended["status"])
    return ", ".join(
        f"{count} {str(cause).replace('_', ' ')}" for cause, count in causes.value_counts().items()
    )
