"""How much data, and which."""

from __future__ import annotations

from pathlib import Path

from pesbench.compare.comparison import APPROACH, BONDS, DYNAMICS, Comparison, ReportRun
from pesbench.compare.data.cards import trained_of


class DataComparison(Comparison):
    """Potentials that differ in the number and the kind of the frames that they were trained on."""

    name = "data"
    title = "How much data, and which"
    summary = "Smoothness and stability of potentials against the number and kind of their frames."

    def applies(self, run: ReportRun) -> bool:
        """Whether cards of several potentials tell of chosen sets of frames."""
        return len(trained_of(run.entries)) > 1

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of these potentials, and of all that ran dynamics: they give the reference."""
        studied = trained_of(run.entries)
        return {
            BONDS: [name for name in run.entries if name in studied],
            DYNAMICS: list(run.ran.get(DYNAMICS, ())),
            APPROACH: [name for name in run.ran.get(APPROACH, ()) if name in studied],
        }

    def files(self, run: ReportRun) -> list[Path]:
        """The model cards."""
        return sorted({one.path for one in trained_of(run.entries).values()})


COMPARISON = DataComparison()
