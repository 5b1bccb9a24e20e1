"""Numerical variants of one checkpoint."""

from __future__ import annotations

from pesbench.compare.comparison import BONDS, Comparison, ReportRun
from pesbench.models.variants import variants


class ParityComparison(Comparison):
    """Entries that differ in numerical settings only, beside the most precise of them."""

    name = "parity"
    title = "Numerical variants"
    summary = "Entries of one checkpoint in several numerical settings, compared frame by frame."

    def applies(self, run: ReportRun) -> bool:
        """Whether a checkpoint runs in more than one setting."""
        return bool(self.evaluated(run))

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of the variants."""
        return {BONDS: self.evaluated(run)}

    def evaluated(self, run: ReportRun) -> list[str]:
        """The variants of every checkpoint that has several, the base of each first."""
        whole = [name for name in run.ran.get(BONDS, ()) if name not in run.scored_only]
        entries = (entry for name, entry in run.entries.items() if name in whole)
        return [name for group in variants(entries) for name in group]


COMPARISON = ParityComparison()
