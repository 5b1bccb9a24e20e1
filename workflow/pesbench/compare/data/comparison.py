"""How much data, and which."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.compare.comparison import APPROACH, BONDS, DYNAMICS, Comparison, ReportRun

if TYPE_CHECKING:
    from pesbench.compare.data.cards import TrainedOn


class DataComparison(Comparison):
    """Potentials that differ in the number and the kind of the frames that they were trained on."""

    name = "data"
    title = "How much data, and which"
    summary = "Smoothness and stability of potentials against the number and kind of their frames."

    def applies(self, run: ReportRun) -> bool:
        """Whether cards of several potentials tell of chosen sets of frames."""
        return len(_studied(run)) > 1

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of these potentials, and of all that ran dynamics: they give the reference."""
        studied = _studied(run)
        return {
            BONDS: [name for name in run.entries if name in studied],
            DYNAMICS: list(run.ran.get(DYNAMICS, ())),
            APPROACH: [name for name in run.ran.get(APPROACH, ()) if name in studied],
        }

    def files(self, run: ReportRun) -> list[Path]:
        """The model cards."""
        return sorted({one.path for one in _studied(run).values()})


def _studied(run: ReportRun) -> dict[str, TrainedOn]:
    """The potentials of the study, by name; none where rounds are compared (`compare.harvest`).

    The base package lacks what reads their plan.
    """
    from pesbench.compare.data.cards import in_rounds, trained_of

    found = trained_of(run.entries)
    return {} if in_rounds(found) else found


COMPARISON = DataComparison()
