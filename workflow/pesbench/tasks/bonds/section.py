"""Section of the scans: the leaderboard, FSD by bond type, the controls."""

from __future__ import annotations

import pandas as pd

from pesbench.core.section import Drawing, Section, SectionInputs
from pesbench.metrics.board import frame_columns
from pesbench.tasks.bonds import seen
from pesbench.tasks.bonds.board import leaderboard
from pesbench.tasks.bonds.board_metrics import METRICS
from pesbench.tasks.bonds.by_bond_figure import fsd_by_bond
from pesbench.tasks.bonds.control_figure import control_ladders
from pesbench.tasks.bonds.kinds import of_published_kind


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
    return Section(
        title="Bond scans",
        tables=[] if told is None else [told],
        figures=[
            Drawing("fsd_by_bond", fsd_by_bond(board, inputs.scores), _by_bond(board)),
            Drawing("control_ladders", control_ladders(board, facts), _controls(board)),
        ],
        board=frame_columns(board, METRICS),
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
