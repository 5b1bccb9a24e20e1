"""Dose and response: perturbed models that ran dynamics, and the models they are made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.compare.association.panel import CHEAP_METRICS
from pesbench.compare.association.trajectories import start_failures
from pesbench.compare.inputs import CompareInputs, dynamics_columns, main_runs
from pesbench.models.facts import ModelFacts
from pesbench.models.families.perturbed import DOSE_UNITS, PARAMETERS
from pesbench.models.registry import ModelEntry

BASE = "none"  # kind of defect of a model without one
_LIVES = {  # column of the table, of the leaderboard
    "survival_ps": "survival",
    "survival_low_ps": "survival_low",
    "survival_high_ps": "survival_high",
    "survival_all_fail_ps": "survival_all_fail",
    "survival_all_survive_ps": "survival_all_survive",
    "drift_mev_per_atom_ps": "energy_drift",
    "rms_mev_per_atom": "energy_rms",
}
_COUNTS = {  # column of the table, of the leaderboard
    "n_counted": "md_n_counted",
    "n_failed": "md_n_failed",
    "n_drifts": "n_drift",
    "n_rms": "n_rms",
}
COLUMNS = (
    "model",
    "base",
    "kind",
    "dose",
    "dose_unit",
    "series",
    "survival_ps",
    "survival_low_ps",
    "survival_high_ps",
    "survival_all_fail_ps",
    "survival_all_survive_ps",
    "horizon_ps",
    "n_planned",
    "n_counted",
    "n_failed",
    "n_start_failed",
    "drift_mev_per_atom_ps",
    "n_drifts",
    "rms_mev_per_atom",
    "n_rms",
    "n_scans_planned",
    *(column for metric in CHEAP_METRICS for column in (metric, f"n_{metric}")),
)


def dose_table(inputs: CompareInputs, entries: Mapping[str, ModelEntry]) -> pd.DataFrame:
    """The perturbed models that ran dynamics, and their bases.

    Args:
        inputs: Facts and scores of a run.
        entries: Entries of its models, by name.

    Returns:
        `COLUMNS`, sorted by kind, series and dose; none if no perturbed model ran dynamics. A base
        that is in the run stands below them, of the kind `BASE` and dose 0, with itself as base.
        `series` names what one line of doses has in common: the base, and parameters that the doses
        of that kind and base do not all share.

        Survival is the restricted mean up to `horizon_ps` over the `n_counted` of `n_planned`
        trajectories with the nominal time step. `n_failed` of the planned ones failed, and
        `n_start_failed` of them before their first step. Drift is the median absolute one of the
        `n_drifts` that survive, RMS the median of `n_rms`. Each of `CHEAP_METRICS` is a mean over
        as many scans as the column `n_…` of it says, of `n_scans_planned`; units as in
        tasks/bonds/README.md.
    """
    facts = {fact.name: fact for fact in inputs.facts}
    perturbed = [name for name in inputs.dynamics if facts[name].role == "perturbed"]
    rows = []
    if perturbed:
        lives = dynamics_columns(inputs.dynamics, inputs.reference).set_index("model")
        bases = {facts[name].base for name in perturbed}
        for name in [*perturbed, *sorted(bases & set(inputs.scores))]:
            rows.append(_row(facts[name], entries[name], inputs, lives))
    table = pd.DataFrame(rows, columns=[*COLUMNS, "_parameters"])
    for _, group in table[table["kind"] != BASE].groupby(["kind", "base"]):
        if len(set(group["_parameters"])) > 1:
            table.loc[group.index, "series"] += ", " + group["_parameters"]
    table["_base"] = table["kind"] == BASE
    order = ["_base", "kind", "series", "dose", "model"]
    return table.sort_values(order, ignore_index=True)[list(COLUMNS)]


def _row(
    fact: ModelFacts, entry: ModelEntry, inputs: CompareInputs, lives: pd.DataFrame
) -> dict[str, Any]:
    name = fact.name
    row: dict[str, Any] = {"model": name, "base": name, "kind": BASE, "series": name}
    row |= {"dose": 0.0, "dose_unit": "", "_parameters": ""}
    if fact.perturbation is not None:
        kind, dose = fact.perturbation
        parameters = ", ".join(f"{key} {entry.settings[key]:g}" for key in PARAMETERS[kind])
        row |= {"kind": kind, "dose": dose, "dose_unit": DOSE_UNITS[kind]}
        row |= {"base": fact.base, "series": fact.base, "_parameters": parameters}
    row |= _of_scans(inputs.scores[name])
    row |= dict.fromkeys(_LIVES, float("nan")) | dict.fromkeys(_COUNTS, 0)
    row |= {"n_planned": 0, "n_start_failed": 0}
    row["horizon_ps"] = float(lives["survival_horizon_ps"].iloc[0])
    if name in lives.index:
        one, runs = lives.loc[name], main_runs(inputs.dynamics[name])
        row |= {column: one[source] for column, source in _LIVES.items()}
        row |= {column: int(one[source]) for column, source in _COUNTS.items()}
        row["n_planned"] = len(runs)
        row["n_start_failed"] = int(start_failures(runs).sum())
    return row


def _of_scans(scores: pd.DataFrame) -> dict[str, Any]:
    """Mean of every cheap metric and the number of scans that have it."""
    scored = scores[scores["status"] == "ok"]
    row: dict[str, Any] = {"n_scans_planned": len(scores)}
    for metric in CHEAP_METRICS:
        if metric not in scored:  # scores of an older version
            row |= {metric: float("nan"), f"n_{metric}": 0}
            continue
        # a column with flags and gaps comes as objects
        values = scored[metric].astype("Float64").astype(float).dropna()
        row |= {metric: float(values.mean()), f"n_{metric}": len(values)}
    return row
