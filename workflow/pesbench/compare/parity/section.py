"""Section of numerical variants of one checkpoint."""

from __future__ import annotations

from pesbench.compare.inputs import CompareInputs
from pesbench.compare.parity.comparison import COMPARISON
from pesbench.compare.parity.table import notes, parity, text_table
from pesbench.core.section import Section, Table
from pesbench.core.text import csv_table


def section(inputs: CompareInputs) -> Section:
    """Every variant beside its base, and every number in `parity.csv`."""
    entries = {name: inputs.entries[name] for name in inputs.scores}
    found = parity(entries, inputs.evaluations, inputs.scores)
    return Section(
        title=COMPARISON.title,
        tables=[Table("variants", text_table(found))],
        notes=notes(found),
        files={"parity.csv": csv_table(found)},
    )
