"""Does smoothness predict stability?"""

from __future__ import annotations

from pathlib import Path

from pesbench.compare.comparison import DYNAMICS, Comparison, ReportRun


class AssociationComparison(Comparison):
    """Rank correlation of smoothness with how long dynamics survive, over families of models."""

    name = "association"
    title = "Does smoothness predict stability?"
    summary = "Rank correlation of smoothness with the survival time lost, over families of models."
    unasked = "No model ran dynamics: whether smoothness predicts stability is not asked."

    def applies(self, run: ReportRun) -> bool:
        """Whether models, or perturbed models, ran dynamics."""
        return bool(run.ran_as(DYNAMICS, "model") or run.ran_as(DYNAMICS, "perturbed"))

    def files(self, run: ReportRun) -> list[Path]:
        """The model cards that are there: they tell the error on held-out molecules."""
        paths = (run.entries[name].card_path for name in run.ran_as(DYNAMICS, "model"))
        return sorted({path for path in paths if path is not None and path.is_file()})


COMPARISON = AssociationComparison()
