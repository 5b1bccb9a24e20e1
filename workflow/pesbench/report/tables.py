"""The leaderboard as text: a table a role, and how to read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.core.errors import UserError
from pesbench.core.found import ranking
from pesbench.core.section import FLAG, INTEGER, NUMBER, TEXT
from pesbench.core.text import (
    csv_table,
    markdown,
    markdown_list,
    markdown_paragraph,
    markdown_table,
    number,
)
from pesbench.files.atomic import write_text
from pesbench.models.families.perturbed import DOSE_UNITS
from pesbench.report.sections import StoredSection, StoredTable

HEADINGS = {  # of the sections by role, in their order
    "model": "Models",
    "reference": "Reference",
    "perturbed": "Perturbed models",
    "control": "Controls",
}


SCORE_COLUMNS = {  # what the tables cannot be without, and its kind
    **dict.fromkeys(("role", "base", "defect", "equivalent", "level_of_theory", "missing"), TEXT),
    **dict.fromkeys(("missing_example", "rank_by"), TEXT),
    **dict.fromkeys(("rank", "rank_low", "rank_high", "rank_windowed"), INTEGER),
    **dict.fromkeys(("n_planned", "n_scored", "n_shared", "worker_deaths"), INTEGER),
    **dict.fromkeys(("theory_gap", "no_better_than_zero"), FLAG),
    **dict.fromkeys(("fsd_full", "fsd_full_low", "fsd_full_high", "fsd_compress"), NUMBER),
    **dict.fromkeys(("fsd_stretch", "fsd_windowed", "fsd_peak_near_equilibrium"), NUMBER),
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
    if pd.isna(row["rank_low"]) or row["rank_low"] == row["rank_high"]:
        return f"{row['rank']}"
    return f"{row['rank']} ({row['rank_low']}–{row['rank_high']})"


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


def _rank_windowed_cell(row: Mapping[str, Any]) -> str:
    return "–" if pd.isna(row["rank_windowed"]) else str(row["rank_windowed"])


_RANKS = (
    Column(
        "rank",
        _rank_cell,
        "rank",
        "Rank on the shared scans, with its 95 % interval where there is one.",
    ),
    Column(
        "rank, windowed",
        _rank_windowed_cell,
        "rank_windowed",
        "Rank by the windowed FSD on the shared scans.",
    ),
)
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
        "force MAE (eV/Å)",
        _significant("force_mae"),
        "force_mae",
        "Mean absolute error of force components.",
    ),
    Column(
        "energy MAE, aligned (eV)",
        _significant("energy_mae_aligned"),
        "energy_mae_aligned",
        "Mean absolute error of energies relative to the reference minimum.",
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
    if role == "perturbed":
        return (_SCORES[0], *_DEFECT, *_SCORES[1:])
    if role != "model":
        return _SCORES
    rank, rank_windowed = _RANKS
    model, coverage, fsd, compress, stretch, windowed, *rest = _SCORES
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
    fsds = (fsd, EQUIVALENT, compress, stretch, windowed)
    return (rank, model, coverage, *ranked_by, *fsds, rank_windowed, *rest, _TIME)


def unit_of(score: str) -> str:
    """The unit of a score that ranks."""
    return ranking()[score].unit


def section(board: pd.DataFrame, role: str) -> pd.DataFrame:
    """A section of the leaderboard as text cells, titles with units."""
    rows = board[board["role"] == role].to_dict("records")
    return pd.DataFrame({c.title: [c.cell(row) for row in rows] for c in columns_of(board, role)})


def notes(board: pd.DataFrame) -> list[str]:
    """Notes on this board: denominators, ranks, marks, missing values."""
    models = board[board["role"] == "model"]
    ranked = models[models["rank"].notna()]
    rank_by = board["rank_by"].iloc[0]
    bent = board["role"] == "perturbed"
    perturbed = bool(bent.any())
    found = [_rank_note(models, ranked, rank_by, perturbed)]
    if perturbed:
        ran = "md_n_planned" in board and board.loc[bent, "md_n_planned"].notna().any()
        found.append(
            "Perturbed models are another entry with one defect of known kind and size. They are "
            "not compared with models: they have no rank and change none"
            + (", and stand only in the figure of dose and response." if ran else ".")
        )
    found += [
        f"{row['model']}: {row['n_scored']} of {row['n_planned']} scans scored"
        + (f" ({row['missing']})" if row["missing"] else "")
        + (f"; for example {row['missing_example']}" if row["missing_example"] else "")
        + "."
        for row in board.to_dict("records")
        if row["missing"]
    ]
    found += [
        f"{row['model']}: its process died, hung or ran out of memory {row['worker_deaths']} times "
        "on the scans and was started again; answers of a later attempt are scored."
        for row in board.to_dict("records")
        if row["worker_deaths"]
    ]
    unscored = models[models["rank"].isna() & (models["n_scored"] > 0) & models["n_shared"].isna()]
    found += [f"{name} is not ranked: it has no {rank_by}." for name in unscored["model"]]
    gaps = board[board["theory_gap"].fillna(False)]
    if len(gaps):
        pairs = zip(gaps["model"], gaps["level_of_theory"], strict=True)
        levels = "; ".join(f"{name}: {level or 'unknown'}" for name, level in pairs)
        found.append(
            f"† another level of theory than the reference's ({levels}): the scores contain the "
            "gap between the two."
        )
    if models["no_better_than_zero"].fillna(False).any():
        found.append(
            "‡ on the scans it was scored on, its mean FSD is no better than that of zero forces."
        )
    # sections of older versions lack it
    seen = board[board["overlap"] != ""] if "overlap" in board else board[:0]
    if len(seen):
        pairs = zip(seen["model"], seen["overlap"], strict=True)
        found.append(
            "§ the training data may overlap with the scan set, so that the scores may be better "
            f"than those of unseen molecules ({'; '.join(f'{n}: {said}' for n, said in pairs)})."
        )
    if not (board["role"] == "control").any():
        found.append(
            "No control was run: without them there are no equivalents and no floor to compare to."
        )
    return found


def _rank_note(models: pd.DataFrame, ranked: pd.DataFrame, rank_by: str, perturbed: bool) -> str:
    if models.empty and perturbed:
        return "Only perturbed models were run: there is nothing to rank."
    if models.empty:
        return "No model was run: there is nothing to rank."
    if len(ranked):
        shared, most = ranked["n_shared"].iloc[0], models["n_planned"].max()
        text = f"Ranked by the mean {rank_by} over the {shared} scans that all ranked models share"
        text += f" (of {most} planned)" if shared < most else ""
        if ranked["rank_low"].isna().all():
            return text + "; they are of a single system, so that there are no intervals."
        return text + "; intervals hold 95 % of bootstrap samples of the systems."
    if (models["n_shared"] == 0).any():
        return (
            "The models share no scan, so that there are no ranks: "
            "each mean is over scans of its own."
        )
    return f"No model has a {rank_by}, so that there are no ranks."


def guide(board: pd.DataFrame) -> list[str]:
    """Notes on how to read any board, with the controls of this one."""
    known = []
    if (board["role"] == "reference").any():
        known.append("the reference scores 0")
    if ((board["role"] == "control") & (board["defect"] == "zero")).any():
        known.append("zero forces score what the control control-zero shows")
    said = f"; {', '.join(known)}" if known else ""
    return [f"{_FSD} Lower is smoother{said}.", *_GUIDE]


_FSD = (
    "FSD (Force Smoothness Deviation, arXiv:2602.04861) is the largest slope, along a bond scan, "
    "of the logarithm of the model's squared force change over the reference's."
)
_GUIDE = (
    "The FSD does not see errors that are smooth; read it beside the force MAE. A bond length off "
    "by 0.01 Å costs about as much as a visible step in the force, with its peak at the minimum: "
    "the "
    "windowed FSD leaves that region out.",
    "n/a: the quantity does not exist, such as an energy of a model or control that has forces "
    "only. Every mean is over the scored scans only; a failed scan is counted, never scored as 0.",
)


_LEFT = (
    "model", "variant", "base", "change", "defect", "molecules", EQUIVALENT.title,
    "level of theory", "elements", "licence", "parameters", "precision",
)  # fmt: skip


def in_order(table: StoredTable, models: Sequence[str]) -> pd.DataFrame:
    """The rows of a table: in the order of the leaderboard where they are of models."""
    if not table.models:
        return table.rows
    place = {name: k for k, name in enumerate(models)}
    order = sorted(range(len(table.rows)), key=lambda k: place.get(table.models[k], len(place)))
    return table.rows.iloc[order]


def _section_markdown(one: StoredSection, models: Sequence[str]) -> list[str]:
    """A section, without its figures; nothing where it has only those."""
    if not (one.sentence or one.tables or one.notes):
        return []
    parts = [f"## {markdown(one.title)}"]
    parts += [markdown_paragraph(one.sentence)] if one.sentence else []
    for table in one.tables:
        parts += [f"### {markdown(table.title)}"] if table.title else []
        parts += [markdown_paragraph(note) for note in table.notes]
        rows = in_order(table, models)
        parts += [markdown_table(rows, _LEFT)] if len(rows) else []
    return parts + [markdown_paragraph(note) for note in one.notes]


def to_markdown(
    board: pd.DataFrame,
    title: str = "Leaderboard",
    sections: Sequence[StoredSection] = (),
    about: StoredSection | None = None,
) -> str:
    """The leaderboard as Markdown: a table a role, the sections, and how to read it."""
    parts = [f"# {markdown(title)}"]
    for role, heading in HEADINGS.items():
        table = section(board, role)
        if len(table):
            parts += [f"## {heading}", markdown_table(table, _LEFT)]
            if role == "model" and about is not None:
                parts += _section_markdown(about, board["model"].tolist())
    for one in sections:
        parts += _section_markdown(one, board["model"].tolist())
    items = markdown_list((*notes(board), *guide(board)))
    return "\n\n".join([*parts, "## How to read it", items]) + "\n"


def write(
    board: pd.DataFrame,
    csv: Path,
    md: Path,
    title: str = "Leaderboard",
    made: Sequence[tuple[str, str]] = (),
    sections: Sequence[StoredSection] = (),
    *,
    about: StoredSection | None = None,
) -> None:
    """Write the leaderboard as csv and md, each whole or not at all.

    Args:
        board: Board of `pesbench.report.board`.
        csv: CSV file to write.
        md: Markdown file to write.
        title: Heading of the md.
        made: Names and values at the foot of the md: how it was made.
        sections: Sections of tasks and comparisons, below all roles.
        about: Section that describes the models, below their table.
    """
    write_text(csv, csv_table(board))
    text = to_markdown(board, title, sections, about)
    if made:
        items = markdown_list(f"{name}: {value}" for name, value in made)
        text += f"\n## How it was made\n\n{items}\n"
    write_text(md, text)
