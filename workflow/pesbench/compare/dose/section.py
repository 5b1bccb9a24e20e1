"""Section of dose and response."""

from __future__ import annotations

from pesbench.compare.dose.comparison import COMPARISON
from pesbench.compare.dose.figures import dose_metrics, dose_response
from pesbench.compare.dose.table import dose_table
from pesbench.compare.inputs import CompareInputs
from pesbench.core.section import Drawing, Section
from pesbench.core.text import csv_table


def section(inputs: CompareInputs) -> Section:
    """Two figures, and every number in `dose_response.csv`."""
    doses = dose_table(inputs, inputs.entries)
    return Section(
        title=COMPARISON.title,
        figures=[
            Drawing(
                "dose_response",
                dose_response(doses),
                "Dose and response: one defect at a time, by kind and size, added to an "
                "unperturbed model (dashed line).",
            ),
            Drawing(
                "dose_metrics",
                dose_metrics(doses),
                "Every metric of the scans against dose, by kind of defect and family of metrics.",
            ),
        ],
        files={"dose_response.csv": csv_table(doses)},
    )
