"""The leaderboard: one row a model, from the scores of its scans.

Rules (design.md): only the role `model` is ranked; the reference, the perturbed models and the
controls stand beside it. A scan without a score is never a 0 and never leaves a mean in silence:
`n_scored` of `n_planned` is printed, and `missing` says what became of the rest. Ranks compare
models on the scans all of them share, or say that they share none.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pesbench.core.errors import UserError
from pesbench.core.text import (
    csv_table,
    markdown,
    markdown_list,
    markdown_paragraph,
    markdown_table,
)
from pesbench.files.atomic import write_text
from pesbench.files.split import SEEN, UNSEEN
from pesbench.metrics import aggregate

HEADINGS = {  # of the sections by role, in their order
    "model": "Models",
    "reference": "Reference",
    "perturbed": "Perturbed models",
    "control": "Controls",
}
ROLES = tuple(HEADINGS)
DOSE_UNITS = {  # of the kinds of `pesbench.models.families.perturbed`
    "ripple": "eV",
    "step": "eV",
    "dip": "eV",
    "wall": "eV",
    "curl": "eV/Å²",
    "noise": "eV/Å",
}
NEAR_EQUILIBRIUM_ANGSTROM = 0.15
MESSAGE_CHARACTERS = 160
LOWER_IS_BETTER = (
    "fsd_full",
    "fsd_compress",
    "fsd_stretch",
    "fsd_windowed",
    "fsd_slope_p95",
    "force_mae",
    "force_mae_compress",
    "force_mae_stretch",
    "energy_mae",
    "energy_mae_compress",
    "energy_mae_stretch",
    "energy_mae_aligned",
    "spurious_extrema",
    "spurious_extrema_force",
    "energy_force_inconsistency",
)
# Zero forces computed in float32 must not pass as better than zero forces.
_EQUAL = 1e-6


@dataclass(frozen=True)
class More:
    """A section below the leaderboard.

    Attributes:
        heading: Of the section.
        table: Text cells; titles carry units.
        notes: How to read it.
    """

    heading: str
    table: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFacts:
    """What a leaderboard says about a model beside its scores.

    Attributes:
        name: Of the entry.
        family: Of the entry.
        role: One of `ROLES`.
        level_of_theory: Of the method, or of the data a model was trained on; "" if unknown.
        theory_gap: Whether that differs from the scan set's, so that scores contain the gap.
        control: Kind and dose of a control, None for the other roles.
        perturbation: Kind and dose of a perturbed model, None for the other roles.
        base: Entry that a perturbed model is made from, "" for the other roles.
    """

    name: str
    family: str
    role: str
    level_of_theory: str = ""
    theory_gap: bool = False
    control: tuple[str, float | None] | None = None
    perturbation: tuple[str, float] | None = None
    base: str = ""


@dataclass(frozen=True)
class Ladder:
    """A kind of control whose dose a score is translated to.

    Attributes:
        kind: Of the control.
        column: Of the leaderboard, for the number.
        no_defect: The dose that leaves the reference as it is.
        sentence: How a dose is said.
    """

    kind: str
    column: str
    no_defect: float
    sentence: Callable[[float], str]

    def size(self, dose: float) -> float | None:
        """Where a control stands on the ladder; None if it has no place on it.

        A shift to shorter and one to longer bonds have the same size.
        """
        if self.kind == "shift":
            return abs(dose)
        return dose if dose > self.no_defect else None


LADDERS = (
    Ladder("step", "equivalent_step", 1.0, lambda d: f"{d:.3g}-fold force step"),
    Ladder("shift", "equivalent_shift_angstrom", 0.0, lambda d: f"{d:.2g} Å bond-length shift"),
    Ladder("noise", "equivalent_noise_ev_per_angstrom", 0.0, lambda d: f"{d:.2g} eV/Å noise"),
)


@dataclass(frozen=True)
class Column:
    """A column of the printed leaderboard.

    Attributes:
        title: With the unit.
        cell: Text of a row.
        sort: Column of the leaderboard that orders the rows.
        help: One sentence.
    """

    title: str
    cell: Callable[[Mapping[str, Any]], str]
    sort: str
    help: str


def check_rank_by(rank_by: str) -> None:
    """Refuse a score that is no error.

    Raises:
        UserError: with those that can rank.
    """
    if rank_by not in LOWER_IS_BETTER:
        raise UserError(
            f"rank_by: {rank_by!r} cannot rank models; use one of {', '.join(LOWER_IS_BETTER)}"
        )


def leaderboard(
    scores: Mapping[str, pd.DataFrame], facts: Iterable[ModelFacts], rank_by: str = "fsd_full"
) -> pd.DataFrame:
    """The leaderboard, one row a model: ranked models, unranked ones, then the other roles.

    Args:
        scores: One row a scan for every model, the columns of `scores/bonds.parquet`.
        facts: Of every model in `scores`.
        rank_by: Column of the scores that ranks, one of `LOWER_IS_BETTER`.

    Returns:
        Columns as in tasks/bonds/README.md. Numbers that do not exist are missing; the
        `equivalent_...` columns are infinite where a score lies beyond the ladder.

    Raises:
        UserError: `rank_by` is no score where lower is better, or no model is given.
    """
    check_rank_by(rank_by)
    facts = list(facts)
    if not facts:
        raise UserError("no model to put on a leaderboard; check `models`")
    scored = {fact.name: _scored(scores[fact.name]) for fact in facts}
    ladders = {ladder.kind: _ladder_scores(ladder, facts, scored) for ladder in LADDERS}
    zeros = [fact for fact in facts if fact.control is not None and fact.control[0] == "zero"]
    zero = _values(scored[zeros[0].name], "fsd_full") if zeros else None
    board = pd.DataFrame(
        [_row(fact, scores[fact.name], scored[fact.name], ladders, zero) for fact in facts]
    )
    candidates = {fact.name: scored[fact.name] for fact in facts if fact.role == "model"}
    board = board.merge(_rank_columns(candidates, rank_by), on="model", how="left")
    whole = ("rank", "rank_low", "rank_high", "rank_windowed", "n_shared", "n_seen", "n_unseen")
    for column in whole:
        board[column] = board[column].astype("Int64")
    for column in ("no_better_than_zero", "theory_gap"):
        board[column] = board[column].astype("boolean")
    board["rank_by"] = rank_by
    return _in_order(board)[list(_COLUMNS)]


_COLUMNS = (
    "rank",
    "model",
    "family",
    "role",
    "n_planned",
    "n_scored",
    "fsd_full",
    "fsd_full_low",
    "fsd_full_high",
    "fsd_compress",
    "fsd_stretch",
    "fsd_windowed",
    "force_mae",
    "energy_mae",
    "energy_mae_aligned",
    "spurious_extrema",
    "equivalent",
    "rank_low",
    "rank_high",
    "rank_windowed",
    "n_shared",
    "fsd_full_shared",
    "fsd_full_median",
    "fsd_full_macro",
    "fsd_slope_p95",
    "fsd_peak_near_equilibrium",
    "spurious_extrema_force",
    "energy_force_inconsistency",
    "compression_monotone",
    "compression_monotone_force",
    "n_seen",
    "n_unseen",
    "fsd_full_seen",
    "fsd_full_unseen",
    "force_mae_seen",
    "force_mae_unseen",
    "level_of_theory",
    "theory_gap",
    "base",
    "defect",
    "dose",
    "no_better_than_zero",
    "missing",
    "missing_example",
    *(ladder.column for ladder in LADDERS),
    "seconds_per_frame",
    "worker_deaths",
    "rank_by",
    "rank_score",
)
_MEANS = (
    "fsd_full",
    "fsd_compress",
    "fsd_stretch",
    "fsd_windowed",
    "fsd_slope_p95",
    "force_mae",
    "energy_mae",
    "energy_mae_aligned",
    "spurious_extrema",
    "spurious_extrema_force",
    "energy_force_inconsistency",
    "compression_monotone",
    "compression_monotone_force",
)
_DERIVED = (
    "fsd_full_low",
    "fsd_full_high",
    "fsd_full_median",
    "fsd_full_macro",
    "fsd_peak_near_equilibrium",
    *(f"{column}_{group}" for column in ("n", "fsd_full", "force_mae") for group in (SEEN, UNSEEN)),
    *(ladder.column for ladder in LADDERS),
    "seconds_per_frame",
)


def _scored(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["status"] == "ok"].set_index("scan")


def _values(scored: pd.DataFrame, column: str) -> pd.Series:
    """A score of the scans that have it, indexed by scan; flags are 0 and 1."""
    # a column with flags and gaps comes as objects
    return scored[column].astype("Float64").dropna().astype(float)


def _row(
    fact: ModelFacts,
    rows: pd.DataFrame,
    scored: pd.DataFrame,
    ladders: Mapping[str, pd.DataFrame],
    zero: pd.Series | None,
) -> dict[str, Any]:
    """What a model's row says without looking at the other ranked models."""
    values = {column: _values(scored, column) for column in _MEANS}
    defect, dose = fact.perturbation or fact.control or ("", None)
    row: dict[str, Any] = {
        "model": fact.name,
        "family": fact.family,
        "role": fact.role,
        "level_of_theory": fact.level_of_theory,
        "theory_gap": fact.theory_gap,
        "base": fact.base,
        "defect": defect,
        "dose": float("nan") if dose is None else dose,
        "n_planned": len(rows),
        "n_scored": len(scored),
        # scores of earlier versions do not tell
        "worker_deaths": int(rows["worker_deaths"].sum()) if "worker_deaths" in rows else 0,
        "no_better_than_zero": pd.NA,
        "equivalent": "n/a",
    }
    row |= _missing(rows, values, len(scored))
    row |= dict.fromkeys((*_MEANS, *_DERIVED), float("nan"))
    row |= {column: aggregate.mean(v) for column, v in values.items() if len(v)}
    full = values["fsd_full"]
    if not len(full):
        return row
    about = scored.loc[full.index]
    row["fsd_full_low"], row["fsd_full_high"] = aggregate.mean_interval(
        full, about["system"].tolist(), "leaderboard"
    )
    row["fsd_full_median"] = aggregate.median(full)
    row["fsd_full_macro"] = aggregate.macro_mean(full, about["bond"].tolist())
    rough = full > 0  # the reference has no slope, hence no peak
    if rough.any():
        offset = _values(about[rough], "fsd_peak_offset").abs()
        row["fsd_peak_near_equilibrium"] = aggregate.mean(offset <= NEAR_EQUILIBRIUM_ANGSTROM)
    row |= _by_split(scored)
    row["seconds_per_frame"] = float(scored["wall_s"].sum() / scored["n_frames"].sum())
    if fact.role == "model":
        row |= _equivalents(full, ladders)
        if zero is not None and len(both := full.index.intersection(zero.index)):
            floor = aggregate.mean(zero[both]) * (1 - _EQUAL)
            row["no_better_than_zero"] = bool(aggregate.mean(full[both]) >= floor)
    return row


def _by_split(scored: pd.DataFrame) -> dict[str, Any]:
    """Means over the systems that a model was trained on, and over those it never saw."""
    found: dict[str, Any] = {}
    for group in (SEEN, UNSEEN):
        part = scored[scored["seen"] == group]
        found[f"n_{group}"] = len(part)
        for column in ("fsd_full", "force_mae"):
            values = _values(part, column)
            if len(values):
                found[f"{column}_{group}"] = aggregate.mean(values)
    return found


def _missing(rows: pd.DataFrame, values: Mapping[str, pd.Series], n_scored: int) -> dict[str, str]:
    """What became of the scans without a score, and scores that only some scans have."""
    failed = rows[rows["status"] != "ok"]
    counts = failed["status"].value_counts(sort=True)
    parts = [f"{count} {str(status).replace('_', ' ')}" for status, count in counts.items()]
    parts += [
        f"{column} of {len(v)} scans only" for column, v in values.items() if 0 < len(v) < n_scored
    ]
    example = ""
    if len(failed):
        first = failed[failed["status"] == counts.index[0]].iloc[0]
        message = textwrap.shorten(str(first["message"]), MESSAGE_CHARACTERS, placeholder=" …")
        example = f"{first['scan']}: {message or first['status']}"
    return {"missing": ", ".join(parts), "missing_example": example}


def _ladder_scores(
    ladder: Ladder, facts: Iterable[ModelFacts], scored: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """FSD of a ladder's controls: one row a scan, one column a size of the defect.

    Two controls of one size (shifts of both signs) are averaged. Only scans that every control
    of the ladder has a score for are in it.
    """
    by_size: dict[float, list[pd.Series]] = {}
    for fact in facts:
        if fact.control is None or fact.control[0] != ladder.kind or fact.control[1] is None:
            continue
        size = ladder.size(fact.control[1])
        if size is not None:
            by_size.setdefault(size, []).append(_values(scored[fact.name], "fsd_full"))
    columns = {
        size: pd.concat(controls, axis=1, join="inner").mean(axis=1, skipna=False)
        for size, controls in sorted(by_size.items())
    }
    return pd.concat(columns, axis=1, join="inner") if columns else pd.DataFrame()


def _equivalents(full: pd.Series, ladders: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """The doses at which the ladders score as a model does, on the scans both have."""
    found: dict[str, Any] = {}
    words = []
    for ladder in LADDERS:
        table = ladders[ladder.kind]
        both = full.index.intersection(table.index)
        if table.empty or not len(both):
            continue
        equivalent = aggregate.equivalent_dose(
            aggregate.mean(full[both]),
            table.columns.to_numpy(dtype=float),
            table.loc[both].mean(axis=0, skipna=False).to_numpy(),
            ladder.no_defect,
        )
        said = ladder.sentence(equivalent.dose)
        words.append(f"beyond {said}" if equivalent.beyond else said)
        found[ladder.column] = np.inf if equivalent.beyond else equivalent.dose
    return {"equivalent": "; ".join(words) or "n/a", **found}


def _shared(scored: Mapping[str, pd.DataFrame], column: str) -> tuple[pd.DataFrame, list[str]]:
    """Scores of the models that have any, on the scans all of those have.

    Returns:
        One row a scan, one column a model, and the system of each row.
    """
    values = {name: _values(rows, column) for name, rows in scored.items()}
    values = {name: v for name, v in values.items() if len(v)}
    if not values:
        return pd.DataFrame(), []
    table = pd.concat(values, axis=1, join="inner").sort_index()
    systems = next(scored[name]["system"] for name in values)
    return table, systems.loc[table.index].tolist()


def _rank_columns(scored: Mapping[str, pd.DataFrame], rank_by: str) -> pd.DataFrame:
    """Ranks of the models on the scans they share; no rank for a model without the score."""
    columns = ["rank", "rank_low", "rank_high", "rank_windowed", "n_shared", "rank_score"]
    ranks = pd.DataFrame(index=list(scored), columns=[*columns, "fsd_full_shared"], dtype=float)
    ranks.index.name = "model"
    shared, systems = _shared(scored, rank_by)
    ranks.loc[shared.columns, "n_shared"] = len(shared)
    if len(shared):
        found = aggregate.rank_intervals(shared.to_numpy().T, systems, "leaderboard")
        names = list(shared.columns)
        ranks.loc[names, "rank"] = found.rank
        ranks.loc[names, "rank_low"] = found.low
        ranks.loc[names, "rank_high"] = found.high
        for name in names:
            ranks.loc[name, "rank_score"] = aggregate.mean(shared[name])
            full = _values(scored[name].loc[shared.index], "fsd_full")
            if len(full) == len(shared):
                ranks.loc[name, "fsd_full_shared"] = aggregate.mean(full)
    windowed, systems = _shared(scored, "fsd_windowed")
    if len(windowed):
        found = aggregate.rank_intervals(windowed.to_numpy().T, systems, "leaderboard")
        ranks.loc[windowed.columns, "rank_windowed"] = found.rank
    return ranks.reset_index()


def _natural(name: str) -> tuple[tuple[str, float], ...]:
    """A key that sorts `step_2` before `step_10`."""
    parts = re.findall(r"(\D*)(\d+\.?\d*)?", name)
    return tuple((text, float(number or 0)) for text, number in parts)


def _in_order(board: pd.DataFrame) -> pd.DataFrame:
    def key(index: int) -> tuple[Any, ...]:
        row = board.loc[index]
        rank = np.inf if pd.isna(row["rank"]) else int(row["rank"])
        own = row["fsd_full"] if np.isfinite(row["fsd_full"]) else np.inf
        if row["role"] != "model":  # the place of a known defect is its dose, not its score
            own = 0.0
        known = (row["defect"], row["dose"]) if row["role"] == "perturbed" else ()
        return ROLES.index(row["role"]), rank, own, known, _natural(row["model"])

    return board.loc[sorted(board.index, key=key)].reset_index(drop=True)


def scan_table(scores: Mapping[str, pd.DataFrame], column: str = "fsd_full") -> pd.DataFrame:
    """Means of a score by model and bond type, over the scans that have it.

    Returns:
        Columns model, bond, n_planned, n_scored, mean; the mean is NaN where nothing is scored.
    """
    rows = []
    for model, table in scores.items():
        for bond, planned in table.groupby("bond", sort=True):
            values = _values(_scored(planned), column)
            rows.append(
                {
                    "model": model,
                    "bond": bond,
                    "n_planned": len(planned),
                    "n_scored": len(values),
                    "mean": aggregate.mean(values) if len(values) else float("nan"),
                }
            )
    return pd.DataFrame(rows, columns=["model", "bond", "n_planned", "n_scored", "mean"])


def number(value: Any, digits: int = 3) -> str:
    """A number with so many significant digits; `n/a` if missing."""
    if pd.isna(value):
        return "n/a"
    if not np.isfinite(value):
        return "∞"
    if value == 0:
        return "0"
    if abs(value) < 1e-5:
        return f"{value:.1e}"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}".replace(",", "\u202f")


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
    """† for another level of theory, ‡ for no better than zero forces."""
    gap = bool(row["theory_gap"])
    worthless = not pd.isna(row["no_better_than_zero"]) and bool(row["no_better_than_zero"])
    return "†" * gap + "‡" * worthless


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
        lambda row: f"{row['dose']:g} {DOSE_UNITS[row['defect']]}",
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
    name, unit = _title_of(rank_by).split(" (")
    by = Column(
        f"{name}, shared scans ({unit}",
        _significant("rank_score"),
        "rank_score",
        "What the ranks are by: the mean over the scans that all ranked models share.",
    )
    told = rank_by == "fsd_full" and (ranked["n_scored"] == ranked["n_shared"]).all()
    ranked_by = () if told else (by,)
    fsds = (fsd, EQUIVALENT, compress, stretch, windowed)
    return (rank, model, coverage, *ranked_by, *fsds, rank_windowed, *rest, _TIME)


def _title_of(score: str) -> str:
    """A score as a title with its unit; its own printed title where it has one."""
    titles = {column.sort: column.title for column in _SCORES}
    return titles.get(score, f"{score} ({unit_of(score)})")


def unit_of(score: str) -> str:
    """The unit of a score that ranks."""
    units = {"fsd": "Å⁻¹", "force": "eV/Å", "energy": "eV", "spurious": "per scan"}
    return units[score.partition("_")[0]]


def section(board: pd.DataFrame, role: str) -> pd.DataFrame:
    """A section of the leaderboard as text cells, titles with units."""
    rows = board[board["role"] == role].to_dict("records")
    return pd.DataFrame({c.title: [c.cell(row) for row in rows] for c in columns_of(board, role)})


def notes(board: pd.DataFrame) -> list[str]:
    """What a reader must know about this board: denominators, ranks, marks, what is missing."""
    models = board[board["role"] == "model"]
    ranked = models[models["rank"].notna()]
    rank_by = board["rank_by"].iloc[0]
    bent = board["role"] == "perturbed"
    perturbed = bool(bent.any())
    found = [_rank_note(models, ranked, rank_by, perturbed)]
    if perturbed:
        ran = "md_n_planned" in board and board.loc[bent, "md_n_planned"].notna().any()
        found.append(
            "Perturbed models, another entry with one defect of known kind and size, are no models "
            "to compare: they have no rank and change none"
            + (", and are drawn in the figure of dose and response only." if ran else ".")
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
        "on the scans and was started anew; what it answered at another attempt is scored."
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
    """How to read any board, with what this one has to compare to."""
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
    "FSD does not see what is smooth but wrong; read it beside the force MAE. A bond length off by "
    "0.01 Å costs about as much as a visible step in the force, and its peak lies at the minimum: "
    "the windowed FSD leaves that region out.",
    "n/a: the quantity does not exist, such as an energy of a model or control that has forces "
    "only. Every mean is over the scored scans only; a failed scan is counted, never scored as 0.",
)


_LEFT = ("model", "variant", "base", "change", "defect", "molecules", EQUIVALENT.title)


def to_markdown(board: pd.DataFrame, title: str = "Leaderboard", more: Sequence[More] = ()) -> str:
    """The leaderboard as Markdown: a section a role, more, and how to read it."""
    parts = [f"# {markdown(title)}"]
    for role, heading in HEADINGS.items():
        table = section(board, role)
        if len(table):
            parts += [f"## {heading}", markdown_table(table, _LEFT)]
    for extra in more:
        parts += [f"## {markdown(extra.heading)}", markdown_table(extra.table, _LEFT)]
        parts += [markdown_paragraph(note) for note in extra.notes]
    items = markdown_list((*notes(board), *guide(board)))
    return "\n\n".join([*parts, "## How to read it", items]) + "\n"


def write(
    board: pd.DataFrame,
    csv: Path,
    md: Path,
    title: str = "Leaderboard",
    made: Sequence[tuple[str, str]] = (),
    more: Sequence[More] = (),
) -> None:
    """Write the leaderboard as csv and md, each whole or not at all.

    Args:
        board: Of `leaderboard`.
        csv: Where to.
        md: Where to.
        title: Heading of the md.
        made: Names and values at the foot of the md: how it was made.
        more: Sections of the md below the models.
    """
    write_text(csv, csv_table(board))
    text = to_markdown(board, title, more)
    if made:
        items = markdown_list(f"{name}: {value}" for name, value in made)
        text += f"\n## How it was made\n\n{items}\n"
    write_text(md, text)
