"""Section of the data study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.compare.data.answer import monotone_sentences, sentence
from pesbench.compare.data.comparison import COMPARISON
from pesbench.compare.data.figure import figure
from pesbench.compare.data.notes import (
    lost_note,
    missing_note,
    start_note,
    told,
)
from pesbench.compare.data.table import (
    HOLE,
    HOLE_WITH,
    HOLE_WITHOUT,
    PAIRS,
    PLANNED,
    RUNS,
    SCANS,
    WITH,
    WITHOUT,
    DataStudy,
    Quantity,
    make_study,
    potential_rows,
)
from pesbench.compare.inputs import CompareInputs
from pesbench.compare.ladder.noise import CONFIDENCE
from pesbench.core.section import Drawing, Section, Table
from pesbench.core.text import csv_table, number
from pesbench.training.data_plan import HARVESTED

_CAPTION = (
    "Smoothness, stability and accuracy against the number of frames that a potential was trained "
    "on. Points are seeds, lines join their means; all trainings take the same number of gradient "
    "steps."
)


def section(inputs: CompareInputs) -> Section:
    """The data study; every number in `data.csv`, and those of each seed in `data_models.csv`.

    Raises:
        UserError: a card is that of other weights, or not understood.
    """
    study = make_study(inputs)
    rows = potential_rows(study)
    return Section(
        title=COMPARISON.title,
        sentence=sentence(study),
        tables=[Table("shown", shown_table(study, rows))],
        figures=[Drawing("data", figure(study), _CAPTION)],
        notes=[*monotone_sentences(study), *notes(study, rows)],
        files={"data.csv": csv_table(rows), "data_models.csv": csv_table(study.models)},
    )


def shown_table(study: DataStudy, rows: pd.DataFrame) -> pd.DataFrame:
    """The table for readers, as text cells."""
    cells = []
    for row in rows.to_dict("records"):
        one = {
            "family": row["family"],
            "trained on": study.kinds[row["kind"]],
            "frames": str(row["frames"]),
            "seeds": str(row["n_seeds"]),
            "pairs": f"{row['pairs_scored']} / {row['pairs_planned']}",
        }
        for column, quantity in study.quantities.items():
            unit = f" ({quantity.unit})" if quantity.unit else ""
            text = number(row[column])
            if pd.notna(row[f"{column}_seed_sd"]):
                text += f" ± {number(row[f'{column}_seed_sd'], 2)}"
            said = [*_number_of(row, quantity), *_failed(row, column)]
            one[quantity.title + unit] = f"{text} ({', '.join(said)})" if said else text
        cells.append(one)
    return pd.DataFrame(cells)


def _number_of(row: Mapping[str, Any], quantity: Quantity) -> list[str]:
    """What a mean is over, and of how many planned: `28`, `26 of 28`; nothing for no mean."""
    n = row[f"{quantity.column}_n"]
    planned = row.get(quantity.column + PLANNED, n)
    if quantity.of not in (RUNS, SCANS, PAIRS) or (not n and not planned):
        return []
    return [f"{n}" if n == planned else f"{n} of {planned}"]


def _failed(row: Mapping[str, Any], column: str) -> list[str]:
    """Pairs without a hole radius, which count as not monotone; nothing for another column."""
    share = {HOLE_WITH: WITH, HOLE_WITHOUT: WITHOUT}.get(column)
    failed = row["pairs_failed"] if column == HOLE else 0
    if share:
        failed = row[f"{share}_n"] - row[f"{column}_n"]
    return [f"{failed} failed"] if failed else []


def notes(study: DataStudy, rows: pd.DataFrame) -> list[str]:
    """How to read the section."""
    found = [
        "Numbers are means over seeds, ± their standard deviation. Two potentials are resolved if "
        "they differ by more than chance makes of seeds alone: Student's "
        f"{100 * CONFIDENCE:g} % quantile of the noise pooled over all potentials of the family "
        "with several seeds. Comparisons are many, and of a hundred by chance alone "
        f"{100 * (1 - CONFIDENCE):.0f} count as resolved. What holds for one family need not hold "
        "for another.",
        "Pairs are bonded pairs that approach to 0.1 Å (scored / planned, all seeds). A pair that "
        "failed, as after an energy that is not finite, is not monotone; it has no hole radius, "
        "which is a mean over the scored pairs, 0 for a pair without a hole, with the number of "
        "those that failed beside it. Brackets: pairs, runs and scans of all seeds that a mean is "
        "over, and of how many that were planned where some are left out. Survival is in excess of "
        "the reference's failures where it ran. A run that fails before its first step counts as "
        "one that survives 0 ps. Survival and shares are resolved only beyond what as many runs or "
        "pairs scatter by chance.",
    ]
    found += start_note(rows)
    if study.approached:
        found.append(
            f"Molecules with approach frames: {', '.join(sorted(study.approached))}. The others "
            "are divided from them for every potential, whatever it was trained on."
        )
        fewer = rows[rows["approach_molecules"].between(1, len(study.approached) - 1)]
        found += [
            f"{n} of these {len(study.approached)} molecules are all that approach frames of a "
            f"training on {frames} frames are of."
            for frames, n in fewer.groupby("frames")["approach_molecules"].min().items()
        ]
    found += lost_note(rows)
    harvested = rows[rows["kind"] == HARVESTED]
    found += told(harvested, "harvested_frames", "Harvested frames among those of a training")
    return found + missing_note(study, HARVESTED)
