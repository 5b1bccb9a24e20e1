"""Section of dose and response."""

from __future__ import annotations

from dataclasses import replace

from pesbench.compare.dose.comparison import COMPARISON
from pesbench.compare.dose.figures import METRICS, RESPONSES, dose_metrics, dose_response
from pesbench.compare.dose.table import BASE, dose_table
from pesbench.compare.inputs import CompareInputs
from pesbench.core.section import POINTS, Drawing, Plot, Section
from pesbench.core.text import csv_table

_PLOT = Plot(
    file="dose_response.csv",
    kind=POINTS,
    label="model",
    x={"dose": "dose"},
    y=RESPONSES,
    group="series",
    joined=True,
    panel="kind",
    unit="dose_unit",
    intervals={"survival_ps": ("survival_low_ps", "survival_high_ps")},
    base=("kind", BASE),
)


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
                _PLOT,
            ),
            Drawing(
                "dose_metrics",
                dose_metrics(doses),
                "Every metric of the scans against dose, by kind of defect and family of metrics.",
                replace(_PLOT, y=METRICS, intervals={}),
            ),
        ],
        files={_PLOT.file: csv_table(doses)},
    )
