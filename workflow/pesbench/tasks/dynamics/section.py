"""Section of dynamics: survival, conservation of energy, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.core.section import Section, SectionInputs, Table
from pesbench.core.text import number
from pesbench.metrics.board import frame_columns
from pesbench.tasks.dynamics.board import MEANS, dynamics_columns

_IN_EXCESS = (
    "Failures count in excess of the reference: a molecule and temperature at which the reference "
    "itself fails is left out, and their number is given."
)
_ALL_COUNT = (
    "The reference ran no dynamics, so that survival is plain: every failure counts, none is in "
    "excess of one of the reference."
)


def notes(rows: pd.DataFrame) -> tuple[str, ...]:
    """Notes on how to read the section, for what this run has.

    Args:
        rows: Rows of the board that ran dynamics.
    """
    has_reference = (rows["role"] == "reference").any()
    interval = rows["survival_low"].notna().any()
    halved = rows["n_orders_planned"].fillna(0).gt(0).any()
    return (
        "Survival is the restricted mean survival time in ps, up to the horizon in brackets"
        + (", with the interval of a bootstrap over molecules" if interval else "")
        + f". {_IN_EXCESS if has_reference else _ALL_COUNT} Spike: largest temperature above its "
        "running median in units of the natural width; drift: mean of the absolute slopes; RMS: "
        "about the line"
        + (
            "; order: the order at which the RMS falls with the time step, 2 for a smooth "
            "conservative "
            "surface, as the median over the runs that survive with both steps."
            if halved
            else "; order: n/a, because no run was repeated with half the time step."
        ),
        "A mean of fewer runs than planned has their number in brackets. A run that ends early "
        "has no "
        "spike, drift or RMS, so that those of a model that mostly fails are from its other runs. "
        "dynamics (s): all runs"
        + (", including those with half the time step" if halved else "")
        + ". Means by the definitions of Fu et al., MLIPAudit and LAMBench are in leaderboard.csv "
        "(tasks/dynamics/README.md).",
    )


def _mean_cell(row: Mapping[str, Any], column: str) -> str:
    """A mean, with its number of runs where these are fewer than planned."""
    text, n = number(row[column]), row[MEANS[column][1]]
    planned = row["md_n_planned"]
    return text if pd.isna(row[column]) or n == planned else f"{text} ({n} of {planned})"


def _order_cell(row: Mapping[str, Any]) -> str:
    """The median order with its number of runs, whose planned number no other cell has."""
    if not row["n_orders_planned"]:
        return "n/a"
    return f"{number(row['energy_rms_order'])} ({row['n_orders']} of {row['n_orders_planned']})"


def _not_finished(row: Mapping[str, Any]) -> str:
    """Runs that did not finish, by cause, and how often a model was restarted for the others."""
    text = str(row["md_missing"] or "–")
    lost = row["md_worker_deaths"]
    return f"{text}; process lost {lost:.0f} times" if lost > 0 else text


def section(inputs: SectionInputs) -> Section:
    """The section of dynamics; rows of other roles than `model` state their role."""
    columns = dynamics_columns(inputs.scores, inputs.reference)
    ran = columns.assign(
        role=[inputs.facts[name].role for name in columns["model"]],
        scan_seconds=[_scan_seconds(inputs, name) for name in columns["model"]],
    )
    shown = [_text_row(row) for row in ran.to_dict("records")]
    return Section(
        title="Dynamics",
        tables=[Table("dynamics", pd.DataFrame(shown), models=ran["model"].tolist())],
        notes=notes(ran),
        board=frame_columns(columns),
    )


def _scan_seconds(inputs: SectionInputs, model: str) -> float:
    """Wall time of the model's scans, for comparison; NaN if their scores do not hold it."""
    scans = inputs.others.get("bonds", {}).get(model)
    if scans is None or "command_s" not in scans:
        return float("nan")
    return float(scans["command_s"].sum(skipna=False))


def _text_row(row: Mapping[str, Any]) -> dict[str, str]:
    name = row["model"] if row["role"] == "model" else f"{row['model']} ({row['role']})"
    lived = "n/a"
    if not pd.isna(row["survival"]):
        lived = f"{row['survival']:.2f}"
        if not pd.isna(row["survival_low"]):
            lived += f" ({row['survival_low']:.2f}–{row['survival_high']:.2f})"
        if row["survival_all_fail"] != row["survival_all_survive"]:
            lived += f", bounds {row['survival_all_fail']:.2f}–{row['survival_all_survive']:.2f}"
    return {
        "model": name,
        "finished / planned": f"{row['md_n_finished']:.0f} / {row['md_n_planned']:.0f}",
        "counted": f"{row['md_n_counted']:.0f}",
        f"survival (ps of {row['survival_horizon_ps']:g})": lived,
        "spike (σ)": _mean_cell(row, "temperature_spike"),
        "drift (meV/atom/ps)": _mean_cell(row, "energy_drift"),
        "RMS (meV/atom)": _mean_cell(row, "energy_rms"),
        "order": _order_cell(row),
        "not finished": _not_finished(row),
        "dynamics (s)": number(row["md_seconds"]),
        "scans (s)": number(row["scan_seconds"]),
    }
