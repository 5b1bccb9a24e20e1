"""Section of dynamics: survival, conservation of energy, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.core.section import Section, SectionInputs, Table
from pesbench.core.text import number
from pesbench.metrics.board import frame_columns
from pesbench.tasks.dynamics.board import FROZEN, MEDIANS, METRICS, OFF, dynamics_columns

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
        + f". {_IN_EXCESS if has_reference else _ALL_COUNT} Failed: runs in which the molecule "
        "breaks or the model fails. Spike (largest temperature above its running median in units "
        "of the natural width), drift (absolute slope) and RMS (about the line) are medians over "
        "the runs that survive, which have one length; what a run does while it breaks is no drift."
        + (
            " In square brackets stands the reference's own median over the same runs, below which "
            "nothing can be measured, and ±"
            if has_reference
            else " Behind ± stands"
        )
        + " the standard error of one run. "
        + (
            "Order: the order at which the RMS falls with the time step, 2 for a smooth "
            "conservative surface, as the median over the runs that survive with both steps."
            if halved
            else "Order: n/a, because no run was repeated with half the time step."
        ),
        "A median of fewer runs than planned has their number in brackets. Temperature: median of "
        "what is reached of the nominal one, and the number of surviving runs that are more "
        f"than {100 * OFF:.0f} % off or frozen (below {100 * FROZEN:.0f} %). Changed: surviving "
        "runs that end with another bond graph. "
        "dynamics (s): all runs"
        + (", including those with half the time step" if halved else "")
        + ". Means by the definitions of Fu et al., MLIPAudit and LAMBench are in leaderboard.csv "
        "(tasks/dynamics/README.md).",
    )


def _median_cell(row: Mapping[str, Any], column: str) -> str:
    """A median with its error, the reference's, and its number of runs if fewer than planned."""
    text, n = number(row[column]), row[MEDIANS[column][1]]
    if pd.isna(row[column]):
        return text
    if not pd.isna(row.get(f"{column}_error")):
        text += f" ± {number(row[f'{column}_error'], 2)}"
    if row["role"] != "reference" and not pd.isna(row[f"{column}_reference"]):
        text += f" [{number(row[f'{column}_reference'])}]"
    return text if n == row["md_n_planned"] else f"{text} ({n} of {row['md_n_planned']})"


def _temperature_cell(row: Mapping[str, Any]) -> str:
    """What is reached of the nominal temperature, and how many runs are far from it."""
    if pd.isna(row["temperature_off"]):
        return "n/a"
    text = f"{100 * (1 + row['temperature_off']):.1f}"
    if row["md_n_temperature_off"]:
        text += f", {row['md_n_temperature_off']:.0f} off"
    return text + (f", {row['md_n_frozen']:.0f} frozen" if row["md_n_frozen"] else "")


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
        board=frame_columns(columns, METRICS),
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
        "failed": f"{row['md_n_failed']:.0f}",
        "counted": f"{row['md_n_counted']:.0f}",
        f"survival (ps of {row['survival_horizon_ps']:g})": lived,
        "spike (σ)": _median_cell(row, "temperature_spike"),
        "drift (meV/atom/ps)": _median_cell(row, "energy_drift"),
        "RMS (meV/atom)": _median_cell(row, "energy_rms"),
        "order": _order_cell(row),
        "temperature (% of nominal)": _temperature_cell(row),
        "changed": number(row["md_n_graph_changed"], 1),
        "not finished": _not_finished(row),
        "dynamics (s)": number(row["md_seconds"]),
        "scans (s)": number(row["scan_seconds"]),
    }
