"""Which models truly differ?"""

from __future__ import annotations

from pesbench.compare.comparison import BONDS, Comparison, ReportRun


class PairsComparison(Comparison):
    """Every model against every other, on the scans that both have."""

    name = "pairs"
    title = "Which models truly differ?"
    summary = (
        "Mean difference of every two models on the scans that both have, and how the scans that a "
        "model lacks change the ranks of the others."
    )

    def applies(self, run: ReportRun) -> bool:
        """Whether there are two models."""
        return len(run.ran_as(BONDS, "model")) > 1

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of the scans of the models; reference, controls and perturbed models are none."""
        return {BONDS: run.ran_as(BONDS, "model")}


COMPARISON = PairsComparison()
