"""Section of the question whether smoothness predicts stability."""

from __future__ import annotations

import pandas as pd

from pesbench.compare.association.compared import Associations, associate
from pesbench.compare.association.figure import association
from pesbench.compare.association.text import (
    HEADING,
    NO_REFERENCE,
    further_tables,
    named_tests_table,
    to_markdown,
)
from pesbench.compare.inputs import CompareInputs
from pesbench.core.section import POINTS, Drawing, Plot, Section, Table
from pesbench.core.text import csv_table
from pesbench.models.variants import can_be_resolved

_PLOT = Plot(
    file="variants.csv",
    kind=POINTS,
    label="variant",
    x={"metric_per_angstrom": "mean metric of the scans (Å⁻¹)"},
    y={
        "time_lost_ps": "survival time lost (ps)",
        "failed_fraction": "trajectories that fail (%)",
    },
    scales={"failed_fraction": 100},
    group="family",
    panel="test",
)


def section(inputs: CompareInputs) -> Section:
    """The two named tests, and every number in `association.csv` and `association.md`."""
    found = associate(inputs, inputs.entries)
    ran = [fact.name for fact in inputs.facts if fact.role == "model"]
    compared = {name: inputs.entries[name] for name in ran if name in inputs.dynamics}
    title = f"{inputs.scan_set}: {HEADING.lower()}"
    return Section(
        title=HEADING,
        answer=f"Does smoothness predict stability here? {found.answer.primary_verdict.sentence}",
        tables=[Table("named_tests", named_tests_table(found.table)), *further_tables(found)],
        figures=_figures(found) if can_be_resolved(compared) else [],
        notes=_notes(found),
        files={
            "association.csv": csv_table(found.table),
            _PLOT.file: csv_table(variants_table(found)),
            "association.md": to_markdown(found, title, inputs.made),
        },
    )


def _figures(found: Associations) -> list[Drawing]:
    caption = "Smoothness against the survival time lost: one point a variant of a model."
    plot = None if variants_table(found).empty else _PLOT
    return [Drawing("association", association(found), caption, plot)]


def variants_table(found: Associations) -> pd.DataFrame:
    """The points of the figure: `test`, `metric`, `variant`, `family` and their numbers."""
    tests = {"primary": found.answer.primary, "secondary": found.answer.secondary}
    return pd.concat(
        pd.DataFrame(
            {
                "test": f"{name}: {one.metric}",
                "variant": list(one.variants),
                "family": list(one.families),
                "metric_per_angstrom": one.x,
                "time_lost_ps": one.y,
                "failed_fraction": one.failed,
            }
        )
        for name, one in tests.items()
    )


def _notes(found: Associations) -> tuple[str, ...]:
    return (
        f"Primary: {found.answer.primary_verdict.sentence}",
        f"Secondary: {found.answer.secondary_verdict.sentence}",
        *found.counterexamples,
        "Rank correlation of the mean metric of the scans with the survival time lost in the "
        "dynamics. A point is one variant of a model, averaged over its seeds; the population is "
        "families of models. p permutes variants within families. association.md names the models "
        "left out and has the exploratory tests and the cost of scans and dynamics.",
        *(() if found.compared.reference is not None else (NO_REFERENCE,)),
    )
