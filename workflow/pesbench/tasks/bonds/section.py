"""Section of the scans: the leaderboard, FSD by bond type, the controls."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pesbench.core.section import POINTS, Drawing, Plot, Section, SectionInputs
from pesbench.core.text import csv_table
from pesbench.metrics.board import frame_columns
from pesbench.models.facts import ModelFacts
from pesbench.tasks.bonds import seen
from pesbench.tasks.bonds.board import leaderboard
from pesbench.tasks.bonds.board_metrics import METRICS
from pesbench.tasks.bonds.by_bond_figure import FSD_LABEL, fsd_by_bond, scan_table
from pesbench.tasks.bonds.control_figure import UNITS, control_ladders
from pesbench.tasks.bonds.kinds import of_published_kind

_BY_BOND, _LADDERS = "fsd_by_bond", "control_ladders"


def section(inputs: SectionInputs) -> Section:
    """The section of the scans."""
    facts = [inputs.facts[name] for name in inputs.scores]
    board = leaderboard(inputs.scores, facts, inputs.rank_by, inputs.entry_coverage)
    seconds = {  # scores of an older version lack the seconds of the command
        name: float(frame["command_s"].sum(skipna=False))
        for name, frame in inputs.scores.items()
        if "command_s" in frame
    }
    board["scan_seconds"] = board["model"].map(seconds).astype(float)
    # a perturbed model has seen what its base has
    asked = {
        f.name: of_published_kind(inputs.scores[f.name])
        for f in facts
        if f.role in ("model", "reference")
    }
    told = seen.table(asked)
    doses = control_doses(board, facts)
    return Section(
        title="Bond scans",
        tables=[] if told is None else [told],
        figures=[
            Drawing(_BY_BOND, fsd_by_bond(board, inputs.scores), _by_bond(board)),
            Drawing(_LADDERS, control_ladders(board, facts), _controls(board), _plot(doses)),
        ],
        board=frame_columns(board, METRICS),
        files={
            f"{_BY_BOND}.csv": csv_table(scan_table(inputs.scores)),
            f"{_LADDERS}.csv": csv_table(doses),
        },
    )


def control_doses(board: pd.DataFrame, facts: Sequence[ModelFacts]) -> pd.DataFrame:
    """One row a scored control with a dose.

    Returns:
        `model`, `defect`, its `dose` in `unit`, and the mean FSD in 1/Å, `fsd_full`.
    """
    score = board.set_index("model")["fsd_full"]
    rows = [
        (fact.name, *fact.control, UNITS.get(fact.control[0], ""), score[fact.name])
        for fact in facts
        if fact.control is not None and fact.control[1] is not None
    ]
    found = pd.DataFrame(rows, columns=["model", "defect", "dose", "unit", "fsd_full"])
    return found[found["fsd_full"].notna()].sort_values(["defect", "dose"], ignore_index=True)


def _plot(doses: pd.DataFrame) -> Plot | None:
    if doses.empty:
        return None
    return Plot(
        file=f"{_LADDERS}.csv",
        kind=POINTS,
        label="model",
        x={"dose": "size of the defect"},
        y={"fsd_full": FSD_LABEL},
        group="defect",
        joined=True,
        panel="defect",
        unit="unit",
    )


def _without(board: pd.DataFrame) -> str:
    return " Perturbed models are left out." if (board["role"] == "perturbed").any() else ""


def _by_bond(board: pd.DataFrame) -> str:
    controls = board[board["role"] == "control"]
    below = " Below: zero forces, and the worst control of each kind." if len(controls) else ""
    return f"Mean FSD by bond type; dark is rough.{below}{_without(board)}"


def _controls(board: pd.DataFrame) -> str:
    known = "No ladder of controls was run."
    if ((board["role"] == "control") & board["dose"].notna()).any():
        known = "The control ladders: FSD of known defects, the models drawn in."
    return f"{known}{_without(board)}"
