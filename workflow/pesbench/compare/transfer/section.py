"""Section of the transfer study."""

from __future__ import annotations

import pandas as pd

from pesbench.compare.data.figure import figure
from pesbench.compare.data.notes import (
    lost_note,
    missing_note,
    start_note,
)
from pesbench.compare.data.section import shown_table
from pesbench.compare.data.table import (
    DataStudy,
    potential_rows,
)
from pesbench.compare.inputs import CompareInputs
from pesbench.compare.ladder.noise import CONFIDENCE
from pesbench.compare.transfer.answer import (
    beside_potentials,
    changes,
    claim,
    moments,
    sentence,
    worth_rows,
)
from pesbench.compare.transfer.comparison import COMPARISON
from pesbench.compare.transfer.table import LEVEL, level_of, make_transfer, others
from pesbench.core.section import Drawing, Section, Table
from pesbench.core.text import csv_table, number

_CAPTION = (
    "Accuracy, smoothness and stability against the number of expensive labels, with and without "
    "cheap labels first. Points are seeds, lines join their means; all trainings on expensive "
    "labels take the same number of gradient steps, to which those of a pretraining come. "
    "Expensive labels and reference: {}."
)
_APPROACH = ["approach_frames", "approach_molecules", "monotone_with", "hole_radius_with"]


def section(inputs: CompareInputs) -> Section:
    """The transfer study; every number in `transfer.csv`, each seed in `transfer_models.csv`.

    What a pretraining is worth at every number of labels is in `transfer_worth.csv`.

    Raises:
        UserError: a card is that of other weights, or not understood.
    """
    study = make_transfer(inputs)
    rows = potential_rows(study)
    beside = others(inputs, study)
    level = {LEVEL: level_of(study)}
    tables = [Table("shown", shown_table(study, rows))]
    if len(beside):
        tables.append(Table("others", _shown_others(study, beside)))
    return Section(
        title=COMPARISON.title,
        sentence=sentence(study),
        tables=tables,
        figures=[Drawing("transfer", figure(study), _CAPTION.format(level_of(study)))],
        notes=[
            *changes(study),
            *beside_potentials(study, beside),
            *claim(study),
            moments(study),
            *notes(rows),
            *start_note(rows),
            *missing_note(study),
        ],
        files={
            "transfer.csv": csv_table(_without(rows).assign(**level)),
            "transfer_models.csv": csv_table(_without(study.models)),
            "transfer_others.csv": csv_table(beside.assign(**level)),
            "transfer_worth.csv": csv_table(worth_rows(study).assign(**level)),
        },
    )


def _without(table: pd.DataFrame) -> pd.DataFrame:
    """Without the columns of approach frames, of which there are none here."""
    return table.drop(columns=[name for name in table if name.startswith(tuple(_APPROACH))])


def _shown_others(study: DataStudy, beside: pd.DataFrame) -> pd.DataFrame:
    titles = {name: one.title + (f" ({one.unit})" if one.unit else "")
              for name, one in study.quantities.items()}  # fmt: skip
    text = beside.copy()
    for name in beside.columns[1:]:
        text[name] = [number(value) for value in beside[name]]
    return text.rename(columns=titles)


def notes(rows: pd.DataFrame) -> list[str]:
    """How to read the section."""
    found = [
        "Numbers are means over seeds, ± their standard deviation. Two potentials are resolved if "
        "they differ by more than chance makes of seeds alone: Student's "
        f"{100 * CONFIDENCE:g} % quantile of the noise of the potentials of the family with as "
        "many labels; where these have one seed each, of all its potentials. Comparisons are many, "
        f"and of a hundred by chance alone {100 * (1 - CONFIDENCE):.0f} count as resolved. What "
        "holds for one family need not hold for another. What each pretraining is worth at every "
        "number of labels, by every error, is in transfer_worth.csv.",
        "Near equilibrium are the frames of scans up to 1 eV above the minimum of the reference, "
        "whose level is that of the expensive labels. The hole radius is a mean over bonded pairs "
        "that approach to 0.1 Å. Survival is not in excess of the reference's failures unless it "
        "ran dynamics; a run that fails before its first step survives 0 ps, and survival is "
        "resolved only beyond what as many runs scatter by chance.",
    ]
    return found + lost_note(rows)
