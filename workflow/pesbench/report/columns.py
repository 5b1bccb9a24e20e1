"""Columns of the printed leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pesbench.core.errors import UserError
from pesbench.core.found import ranking
from pesbench.core.section import FLAG, INTEGER, NUMBER, TEXT
from pesbench.core.text import number
from pesbench.models.families.perturbed import DOSE_UNITS

SCORE_COLUMNS = {  # what the tables cannot be without, and its kind
    **dict.fromkeys(("role", "base", "defect", "equivalent", "level_of_theory", "missing"), TEXT),
    **dict.fromkeys(
        ("missing_example", "rank_by", "lacks", "no_better_than_zero_in", "left_out"), TEXT
    ),
    **dict.fromkeys(("rank", "rank_low", "rank_high", "rank_full", "rank_aligned"), INTEGER),
    **dict.fromkeys(("rank_windowed", "n_rank_full", "n_rank_aligned", "n_rank_windowed"), INTEGER),
    **dict.fromkeys(("n_planned", "n_scored", "n_shared", "n_costs", "worker_deaths"), INTEGER),
    **dict.fromkeys(("theory_gap", "no_better_than_zero"), FLAG),
    **dict.fromkeys(("fsd_full", "fsd_full_low", "fsd_full_high", "fsd_compress"), NUMBER),
    **dict.fromkeys(("fsd_stretch", "fsd_windowed", "fsd_peak_near_equilibrium"), NUMBER),
    **dict.fromkeys(("fsd_aligned", "force_mae_1ev", "energy_mae_1ev"), NUMBER),
    **dict.fromkeys(("step_low", "step_high"), NUMBER),
    **dict.fromkeys(("n_planned_hydrogen", "n_scored_hydrogen"), INTEGER),
    **dict.fromkeys(("fsd_full_hydrogen", "fsd_aligned_hydrogen"), NUMBER),
    **dict.fromkeys(("force_mae_hydrogen", "spurious_extrema_hydrogen"), NUMBER),
    **dict.fromkeys(("force_mae", "energy_mae", "energy_mae_aligned", "rank_score"), NUMBER),
    **dict.fromkeys(("spurious_extrema", "spurious_extrema_force", "dose"), NUMBER),
    "seconds_per_frame": NUMBER,
}


@dataclass(frozen=True)
class Column:
    """A column of the printed leaderboard.

    Attributes:
        title: Title with the unit.
        cell: Text of a row.
        sort: Column of the leaderboard that orders the rows.
        help: One sentence.
    """

    title: str
    cell: Callable[[Mapping[str, Any]], str]
    sort: str
    help: str


def check_rank_by(rank_by: str) -> None:
    """Refuse a score that cannot rank.

    Raises:
        UserError: with those that can.
    """
    if rank_by not in ranking():
        known = ", ".join(ranking())
        raise UserError(f"rank_by: {rank_by!r} cannot rank models; use one of {known}")


def _fixed(column: str, decimals: int) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "n/a" if pd.isna(row[column]) else f"{row[column]:.{decimals}f}"


def _significant(column: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: number(row[column])


def _percent(column: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "n/a" if pd.isna(row[column]) else f"{100 * row[column]:.0f}"


def _rank_cell(row: Mapping[str, Any]) -> str:
    if pd.isna(row["rank"]):
        return "–"
    mark = "*" if row.get("rank_changes_with") else ""
    if pd.isna(row["rank_low"]) or row["rank_low"] == row["rank_high"]:
        return f"{row['rank']}{mark}"
    return f"{row['rank']}{mark} ({row['rank_low']}–{row['rank_high']})"


def marks(row: Mapping[str, Any]) -> str:
    """† for another level of theory, ‡ for no better than zero forces, § for seen data."""
    gap = bool(row["theory_gap"])
    worthless = not pd.isna(row["no_better_than_zero"]) and bool(row["no_better_than_zero"])
    return "†" * gap + "‡" * worthless + "§" * bool(row.get("overlap"))


def _model_cell(row: Mapping[str, Any]) -> str:
    sign = marks(row)
    return f"{row['model']} {sign}" if sign else str(row["model"])


def _score_cell(row: Mapping[str, Any]) -> str:
    if pd.isna(row["fsd_full"]):
        return "n/a"
    if pd.isna(row["fsd_full_low"]) or row["fsd_full_low"] == row["fsd_full_high"]:
        return f"{row['fsd_full']:.1f}"
    return f"{row['fsd_full']:.1f} ({row['fsd_full_low']:.1f}–{row['fsd_full_high']:.1f})"


def _whole(column: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "–" if pd.isna(row[column]) else str(row[column])


_RANK = Column(
    "rank",
    _rank_cell,
    "rank",
    "Rank on the shared scans, with its 95 % interval where there is one; * it changes among the "
    "others when another model takes part.",
)
_ALIKE = Column(
    "not different from (ranks)",
    lambda row: row["not_different_ranks"] or "n/a",
    "not_different_ranks",
    "Ranks of the models that it does not differ from in paired differences.",
)
OTHER_RANKS = {  # by the score; that of `rank_by` is left out
    "fsd_full": Column(
        "rank, FSD", _whole("rank_full"), "rank_full", "Rank by the FSD on the shared scans."
    ),
    "fsd_aligned": Column(
        "rank, self-aligned",
        _whole("rank_aligned"),
        "rank_aligned",
        "Rank by the self-aligned FSD on the scans of which all ranked models have it.",
    ),
    "fsd_windowed": Column(
        "rank, windowed",
        _whole("rank_windowed"),
        "rank_windowed",
        "Rank by the windowed FSD on the shared scans.",
    ),
}
_DEFECT = (
    Column(
        "defect",
        lambda row: f"{row['defect']} on {row['base']}",
        "defect",
        "Kind of the defect and the entry that it is added to.",
    ),
    Column(
        "dose",
        lambda row: f"{row['dose']:g} {DOSE_UNITS.get(row['defect'], '')}",
        "dose",
        "Size of the defect, in the unit of its kind.",
    ),
)
_SCORES = (
    Column("model", _model_cell, "model", "Name of the entry in config/models.yaml."),
    Column(
        "scored / planned",
        lambda row: f"{row['n_scored']} / {row['n_planned']}",
        "n_scored",
        "The denominator of every mean in the row.",
    ),
    Column(
        "FSD (Å⁻¹)",
        _score_cell,
        "fsd_full",
        "Force Smoothness Deviation, mean over the scored scans, with its 95 % interval where "
        "there is one.",
    ),
    Column(
        "compressed (Å⁻¹)", _fixed("fsd_compress", 1), "fsd_compress", "FSD of the compressed side."
    ),
    Column(
        "stretched (Å⁻¹)", _fixed("fsd_stretch", 1), "fsd_stretch", "FSD of the stretched side."
    ),
    Column(
        "windowed (Å⁻¹)",
        _fixed("fsd_windowed", 1),
        "fsd_windowed",
        "FSD without the slopes within 0.25 Å of the reference minimum.",
    ),
    Column(
        "self-aligned (Å⁻¹)",
        _fixed("fsd_aligned", 1),
        "fsd_aligned",
        "FSD of each side about its own minimum and its own force there: an error of the bond "
        "length costs nothing.",
    ),
    Column(
        "force MAE (eV/Å)",
        _significant("force_mae"),
        "force_mae",
        "Mean absolute error of force components.",
    ),
    Column(
        "force MAE below 1 eV (eV/Å)",
        _significant("force_mae_1ev"),
        "force_mae_1ev",
        "Force MAE over the frames of which the reference energy is at most 1 eV above its "
        "minimum: what dynamics reaches.",
    ),
    Column(
        "energy MAE, aligned (eV)",
        _significant("energy_mae_aligned"),
        "energy_mae_aligned",
        "Mean absolute error of energies relative to the reference minimum.",
    ),
    Column(
        "energy MAE below 1 eV, aligned (eV)",
        _significant("energy_mae_1ev"),
        "energy_mae_1ev",
        "The same over the frames of which the reference energy is at most 1 eV above its minimum.",
    ),
    Column(
        "energy MAE, raw (eV)",
        _significant("energy_mae"),
        "energy_mae",
        "Mean absolute error of total energies.",
    ),
    Column(
        "spurious extrema (per scan)",
        _fixed("spurious_extrema", 2),
        "spurious_extrema",
        "Extrema of the energy the reference does not have.",
    ),
    Column(
        "spurious extrema, integrated force (per scan)",
        _fixed("spurious_extrema_force", 2),
        "spurious_extrema_force",
        "Extrema of the integrated force the reference does not have.",
    ),
    Column(
        "peak near equilibrium (%)",
        _percent("fsd_peak_near_equilibrium"),
        "fsd_peak_near_equilibrium",
        "Scans whose largest slope lies within 0.15 Å of the reference minimum.",
    ),
)
_HYDROGEN = (  # where a set has such scans
    Column(
        "to hydrogen: scored / planned",
        lambda row: f"{row['n_scored_hydrogen']} / {row['n_planned_hydrogen']}",
        "n_scored_hydrogen",
        "Scans of bonds to hydrogen, which ranks and the other columns leave out.",
    ),
    Column(
        "to hydrogen: FSD (Å⁻¹)",
        _fixed("fsd_full_hydrogen", 1),
        "fsd_full_hydrogen",
        "FSD of the bonds to hydrogen; their steps are shorter, so that a jump costs more.",
    ),
    Column(
        "to hydrogen: self-aligned (Å⁻¹)",
        _fixed("fsd_aligned_hydrogen", 1),
        "fsd_aligned_hydrogen",
        "Self-aligned FSD of the bonds to hydrogen.",
    ),
    Column(
        "to hydrogen: force MAE (eV/Å)",
        _significant("force_mae_hydrogen"),
        "force_mae_hydrogen",
        "Force MAE of the bonds to hydrogen.",
    ),
    Column(
        "to hydrogen: spurious extrema (per scan)",
        _fixed("spurious_extrema_hydrogen", 2),
        "spurious_extrema_hydrogen",
        "Spurious extrema of the bonds to hydrogen.",
    ),
)
EQUIVALENT = Column(
    "same FSD as",
    lambda row: row["equivalent"],
    "fsd_full",
    "Size of a known defect of the reference that has the same FSD.",
)
_TIME = Column(
    "ms per frame",
    lambda row: (
        "n/a" if pd.isna(row["seconds_per_frame"]) else number(1e3 * row["seconds_per_frame"])
    ),
    "seconds_per_frame",
    "Time in the model; comparable only on one machine and device.",
)


def columns_of(board: pd.DataFrame, role: str) -> tuple[Column, ...]:
    """The printed columns of a role's section.

    Ranks and equivalents are for models only, the defect is for perturbed models: a control has
    it in its name.

    Where the ranks are not by the mean that is printed (another score, or fewer scans), the mean
    they are by stands beside them.
    """
    hydrogen = _HYDROGEN if board["n_planned_hydrogen"].any() else ()
    if role == "perturbed":
        return (_SCORES[0], *_DEFECT, *_SCORES[1:], *hydrogen)
    if role != "model":
        return (*_SCORES, *hydrogen)
    model, coverage, fsd, compress, stretch, windowed, aligned, *rest = _SCORES
    rank_by = board["rank_by"].iloc[0]
    ranked = board[board["rank"].notna()]
    score = ranking()[rank_by]
    by = Column(
        replace(score, title=f"{score.title}, shared scans").heading,
        _significant("rank_score"),
        "rank_score",
        "Score that decides the ranks: the mean over the scans that all ranked models share.",
    )
    told = rank_by == "fsd_full" and (ranked["n_scored"] == ranked["n_shared"]).all()
    ranked_by = () if told else (by,)
    fsds = (fsd, EQUIVALENT, compress, stretch, windowed, aligned)
    # only of several models
    alike = (_ALIKE,) if "not_different_ranks" in board else ()
    others = (column for by, column in OTHER_RANKS.items() if by != rank_by)
    ranks = (_RANK, model, coverage, *alike, *ranked_by)
    return (*ranks, *fsds, *others, *rest, *hydrogen, _TIME)


def title_and_unit(score: str) -> tuple[str, str]:
    """Title and unit of a score that ranks."""
    return ranking()[score].title, ranking()[score].unit


def section(board: pd.DataFrame, role: str) -> pd.DataFrame:
    """A section of the leaderboard as text cells, titles with units."""
    rows = board[board["role"] == role].to_dict("records")
    return pd.DataFrame({c.title: [c.cell(row) for row in rows] for c in columns_of(board, role)})
