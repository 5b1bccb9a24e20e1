"""Dose and response."""

from __future__ import annotations

from pesbench.compare.comparison import DYNAMICS, Comparison, ReportRun


class DoseComparison(Comparison):
    """Metrics and stability of models with a defect of known kind and size."""

    name = "dose"
    title = "Dose and response"
    summary = "Metrics and stability of a model with one defect at a time, against its size."

    def applies(self, run: ReportRun) -> bool:
        """Whether perturbed models ran dynamics."""
        return bool(run.ran_as(DYNAMICS, "perturbed"))


COMPARISON = DoseComparison()
