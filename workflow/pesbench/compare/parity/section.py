"""Section of numerical variants of one checkpoint."""

from __future__ import annotations

from pesbench.compare.inputs import CompareInputs
from pesbench.compare.parity.comparison import COMPARISON
from pesbench.compare.parity.differences import text_rows
from pesbench.compare.parity.table import notes, parity, text_table
from pesbench.compare.parity.trajectories import NOTE, titles, trajectory_parity
from pesbench.core.section import Section, Table
from pesbench.core.text import csv_table


def section(inputs: CompareInputs) -> Section:
    """Every variant beside its base, every number in `parity.csv` and `trajectories.csv`."""
    entries = {name: inputs.entries[name] for name in inputs.scores}
    found = parity(entries, inputs.evaluations, inputs.scores)
    tables, files = [Table("variants", text_table(found))], {"parity.csv": csv_table(found)}
    if inputs.dynamics:
        entries = {name: inputs.entries[name] for name in inputs.dynamics}
        along = trajectory_parity(entries, inputs.trajectories, inputs.dynamics)
        if len(along):
            text, title = text_rows(along, titles(along)), "Along trajectories"
            tables.append(Table("along_trajectories", text, title=title, notes=[NOTE]))
        files["trajectories.csv"] = csv_table(along)
    return Section(title=COMPARISON.title, tables=tables, notes=notes(found), files=files)
