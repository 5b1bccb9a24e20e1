"""Does smoothness predict stability?"""

from __future__ import annotations

from pesbench.compare.comparison import DYNAMICS, Comparison, ReportRun


class AssociationComparison(Comparison):
    """Rank correlation of the smoothness of models with how long their dynamics survive."""

    name = "association"
    title = "Does smoothness predict stability?"
    summary = "Rank correlation of smoothness with the survival time lost, over models."
    unasked = "No model ran dynamics: whether smoothness predicts stability is not asked."

    def applies(self, run: ReportRun) -> bool:
        """Whether models, or perturbed models, ran dynamics."""
        return bool(run.ran_as(DYNAMICS, "model") or run.ran_as(DYNAMICS, "perturbed"))


COMPARISON = AssociationComparison()
