"""Numerical variants of one checkpoint."""

from __future__ import annotations

from pesbench.compare.comparison import ANSWERS, BONDS, Comparison, ReportRun
from pesbench.models.variants import variants


class ParityComparison(Comparison):
    """Entries of one checkpoint that are computed differently, beside the most precise of them."""

    name = "parity"
    title = "Numerical variants"
    summary = (
        "Entries of one checkpoint in several numerical settings, compared frame by frame and "
        "along trajectories."
    )

    def applies(self, run: ReportRun) -> bool:
        """Whether a checkpoint runs in more than one setting."""
        return bool(self.answers(run)[BONDS])

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of the variants."""
        return self.answers(run)

    def answers(self, run: ReportRun) -> dict[str, list[str]]:
        """By task, the variants of every checkpoint that has several, the base of each first."""
        return {task: self._variants(run, task) for task in ANSWERS}

    def _variants(self, run: ReportRun, task: str) -> list[str]:
        without = run.scored_only.get(task, ())
        whole = [name for name in run.ran.get(task, ()) if name not in without]
        entries = (entry for name, entry in run.entries.items() if name in whole)
        return [name for group in variants(entries) for name in group]


COMPARISON = ParityComparison()
