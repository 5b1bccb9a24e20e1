"""Columns of the explorer's leaderboard: titles, units, help and groups, as sections tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from pesbench.core.found import tasks
from pesbench.report.columns import EQUIVALENT, columns_of
from pesbench.report.sections import StoredSection

SMOOTHNESS, ACCURACY, COST, MODEL = "Smoothness", "Accuracy", "Cost", "Model"
_ENERGY_UNITS = ("eV", "eV/Å", "meV", "meV/Å")
_OWN = ("rank", "model")  # which every row shows
_OF_MODEL = (
    "family", "role", "level_of_theory", "n_elements", "lacking", "conservative", "license",
    "overlap", "parameters", "precision", "base", "defect", "dose",
)  # fmt: skip
_SCALE = {"seconds_per_frame": 1e3, "fsd_peak_near_equilibrium": 100}  # as printed
# a number and that of which it is a part
_OF = {
    "n_scored": "n_planned",
    "n_scored_hydrogen": "n_planned_hydrogen",
    "approach_n_scored": "approach_n_planned",
}
# not shown until a reader asks: ranks by other scores, what says little of a model, and bounds,
# counts and scores of other benchmarks beside the survival
_ASKED_FOR = (
    "rank_full", "rank_aligned", "rank_windowed", "energy_mae", "spurious_extrema_force",
    "md_n_finished", "survival_all_fail", "survival_all_survive", "md_n_temperature_off",
    "md_n_frozen", "md_n_graph_changed", "energy_rms_order", "fu_stable_ps",
    "mlipaudit_stability", "mlipaudit_energy_conservation", "lambench_instability",
    "lambench_slope_ev_per_atom_ps", "md_seconds", "md_worker_deaths",
)  # fmt: skip
# what stands beside a value and is shown with it
_BESIDE = ("_low", "_high", "_n")


def leaderboard_columns(
    board: pd.DataFrame, sections: Sequence[StoredSection]
) -> list[dict[str, Any]]:
    """Columns in order, group by group.

    Args:
        board: Board of `pesbench.report.board`.
        sections: Sections that gave it.

    Returns:
        Of each `name`, `title`, `unit`, `help`, `better`, `kind`, `group`, `shown` (whether it
        is shown unless a reader asks otherwise), and the names of `low`, `high` and `count` where
        there are such columns.
    """
    printed = {}
    for column in columns_of(board, "model"):
        if column is not EQUIVALENT:
            title, _, unit = column.title.partition(" (")
            printed[column.sort] = (title, unit.rstrip(")"), column.help)
    found = []
    for section in sections:
        always = section.name in tasks() and tasks()[section.name].always
        names = {one.metric.name for one in section.board}
        for one in section.board:
            name = one.metric.name
            if name in _OWN or any(_is_beside(name, end, names) for end in _BESIDE):
                continue
            title, unit, told = printed.get(
                name, (one.metric.title, one.metric.unit, one.metric.help)
            )
            told_of = bool(one.metric.better) or f"{name}_low" in board
            shown = name in printed if always else told_of
            found.append(
                {
                    "name": name,
                    "title": title,
                    "unit": unit,
                    "help": told,
                    "better": one.metric.better or _better(name, unit),
                    "kind": one.kind,
                    "group": _group(name, unit, one.kind, section, always=always),
                    "shown": bool(board[name].notna().any()) and shown and name not in _ASKED_FOR,
                    **({"of": _OF[name]} if name in _OF else {}),
                    "scale": _SCALE.get(name, 1) if name in printed else 1,
                    **{
                        key: f"{name}{end}"
                        for key, end in (("low", "_low"), ("high", "_high"), ("count", "_n"))
                        if f"{name}{end}" in board
                    },
                }
            )
    groups, order = [SMOOTHNESS, ACCURACY], list(printed)

    def place(one: dict[str, Any]) -> tuple[int, int]:
        group, name = one["group"], one["name"]
        return (
            groups.index(group) if group in groups else len(groups),
            order.index(name) if name in order else len(order),
        )

    return sorted(found, key=place)


def _is_beside(name: str, end: str, names: set[str]) -> bool:
    return name.endswith(end) and name.removesuffix(end) in names


def _better(name: str, unit: str) -> str:
    lower = name.startswith(("fsd_", "force_mae", "energy_mae", "spurious_")) and bool(unit)
    return "lower" if lower else ""


def _group(name: str, unit: str, kind: str, section: StoredSection, *, always: bool) -> str:
    if name in _OF_MODEL:
        return MODEL
    if not always:
        return section.title
    if "second" in name or name == "worker_deaths":
        return COST
    if kind == "text":
        return MODEL
    return ACCURACY if unit in _ENERGY_UNITS else SMOOTHNESS
