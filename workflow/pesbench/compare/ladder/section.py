"""Section of the design ladder."""

from __future__ import annotations

from pesbench.compare.inputs import CompareInputs
from pesbench.compare.ladder.claims import findings
from pesbench.compare.ladder.figure import figure
from pesbench.compare.ladder.rungs import make_ladder
from pesbench.compare.ladder.table import table
from pesbench.compare.ladder.text import HEADING, shown_notes, shown_table, to_markdown
from pesbench.core.section import Drawing, Section, Table
from pesbench.core.text import csv_table

_CAPTION = (
    "The ladder: one design choice at a time, against the baseline (line), with the noise of "
    "training seeds where it is known (band)."
)


def section(inputs: CompareInputs) -> Section:
    """The ladder; every number in `ladder.csv` and `ladder.md`, the claims in `ladder_claims.csv`.

    Raises:
        UserError: see `pesbench.compare.ladder.rungs.make_ladder`.
    """
    ladder = make_ladder(inputs, inputs.entries, inputs.ladder)
    rows, claims = table(ladder), findings(ladder)
    title = f"{inputs.scan_set}: {HEADING.lower()}"
    return Section(
        title=HEADING,
        tables=[Table("shown", shown_table(rows))],
        figures=[Drawing("ladder", figure(ladder), _CAPTION)],
        notes=shown_notes(ladder, rows, claims),
        files={
            "ladder.csv": csv_table(rows),
            "ladder_claims.csv": csv_table(claims),
            "ladder.md": to_markdown(ladder, title, inputs.made),
        },
    )
