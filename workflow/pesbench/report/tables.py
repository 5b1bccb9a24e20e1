"""The leaderboard as text: a table a role, and how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pesbench.core.text import (
    csv_table,
    markdown,
    markdown_list,
    markdown_paragraph,
    markdown_table,
)
from pesbench.files.atomic import write_text
from pesbench.metrics.smoothness import PUBLISHED_STEPS_ANGSTROM
from pesbench.report.columns import EQUIVALENT, section
from pesbench.report.rank_notes import rank_notes
from pesbench.report.sections import StoredSection, StoredTable

HEADINGS = {  # of the sections by role, in their order
    "model": "Models",
    "reference": "Reference",
    "perturbed": "Perturbed models",
    "control": "Controls",
}


def notes(board: pd.DataFrame) -> list[str]:
    """Notes on this board: denominators, ranks, marks, missing values."""
    models = board[board["role"] == "model"]
    rank_by = board["rank_by"].iloc[0]
    bent = board["role"] == "perturbed"
    perturbed = bool(bent.any())
    found = rank_notes(models, rank_by, perturbed)
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
    gaps = board[board["theory_gap"].fillna(False)]
    if len(gaps):
        pairs = zip(gaps["model"], gaps["level_of_theory"], strict=True)
        levels = "; ".join(f"{name}: {level or 'unknown'}" for name, level in pairs)
        found.append(
            f"† another level of theory than the reference's ({levels}): the scores contain the "
            "gap between the two."
        )
    worthless = models[models["no_better_than_zero"].fillna(False)]
    if len(worthless):
        pairs = zip(worthless["model"], worthless["no_better_than_zero_in"], strict=True)
        told = "; ".join(f"{name}: {what}" for name, what in pairs)
        found.append(
            "‡ on the scans it was scored on, its mean of a score is no better than that of zero "
            f"forces ({told})."
        )
    # sections of older versions lack it
    seen = board[board["overlap"] != ""] if "overlap" in board else board[:0]
    if len(seen):
        pairs = zip(seen["model"], seen["overlap"], strict=True)
        found.append(
            "§ the training data may overlap with the scan set, so that the scores may be better "
            f"than those of unseen molecules ({'; '.join(f'{n}: {said}' for n, said in pairs)})."
        )
    found += _of_the_grid(board)
    for lacking, some in board[board["lacks"] != ""].groupby("lacks"):
        found.append(
            f"n/a: the scores of {', '.join(some['model'])} are of an older version, without "
            f"{lacking}; score again."
        )
    if not (board["role"] == "control").any():
        found.append(
            "No control was run: without them there are no equivalents and no floor to compare to."
        )
    return found


def _of_the_grid(board: pd.DataFrame) -> list[str]:
    """A note where steps differ from those of BSCT-SPICE, whose values cannot be compared then."""
    low, high = board["step_low"].min(), board["step_high"].max()
    least, most = PUBLISHED_STEPS_ANGSTROM
    if pd.isna(low) or (low >= least and high <= most):
        return []
    steps = f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"
    return [
        f"The scans of this set have steps of {steps} Å, those of BSCT-SPICE {least:.3f} to "
        f"{most:.3f} Å. A jump of the force costs an FSD that is inversely proportional to the "
        "step: do not compare with values on BSCT-SPICE."
    ]


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
    "The self-aligned FSD takes each side about its own minimum, so that an error of the bond "
    "length costs nothing.",
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
