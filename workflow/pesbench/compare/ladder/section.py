"""Section of the design ladder."""

from __future__ import annotations

import pandas as pd

from pesbench.compare.inputs import CompareInputs
from pesbench.compare.ladder.claims import findings
from pesbench.compare.ladder.figure import figure
from pesbench.compare.ladder.quantities import QUANTITIES
from pesbench.compare.ladder.rungs import make_ladder
from pesbench.compare.ladder.table import BASELINE, NOISE, table
from pesbench.compare.ladder.text import HEADING, shown_notes, shown_table, to_markdown
from pesbench.core.section import POINTS, Drawing, Plot, Section, Table
from pesbench.core.text import csv_table

_CAPTION = (
    "The ladder: one design choice at a time, against the baseline (line), with the noise of "
    "training seeds where it is known (band)."
)

_FILE = "ladder.csv"


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
        figures=[Drawing("ladder", figure(ladder), _CAPTION, _plot(rows))],
        notes=shown_notes(ladder, rows, claims),
        files={
            _FILE: csv_table(rows),
            "ladder_claims.csv": csv_table(claims),
            "ladder.md": to_markdown(ladder, title, inputs.made),
        },
    )


def _plot(rows: pd.DataFrame) -> Plot | None:
    """Any quantity that a potential has, a line a potential; None where none has one."""
    some = [one for one in QUANTITIES.values() if rows[one.column].notna().any()]
    if not some:
        return None
    return Plot(
        file=_FILE,
        kind=POINTS,
        label="model",
        x={one.column: f"{one.title} ({one.unit})" for one in some},
        scales={one.column: one.scale for one in some if one.scale != 1},
        base=("kind", BASELINE),
        left_out=("kind", NOISE),
    )
