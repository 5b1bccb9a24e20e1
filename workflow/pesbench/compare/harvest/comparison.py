"""Rounds of harvested frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.compare.comparison import APPROACH, BONDS, DYNAMICS, Comparison, ReportRun

if TYPE_CHECKING:
    from pesbench.compare.data.cards import TrainedOn


class HarvestComparison(Comparison):
    """Potentials of rounds that add frames: those on which they failed, or random ones."""

    name = "harvest"
    title = "Frames that a potential asks for"
    summary = "Stability and smoothness against rounds of harvested frames, and of random ones."

    def applies(self, run: ReportRun) -> bool:
        """Whether cards tell of frames that were added in rounds."""
        return bool(_studied(run))

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
    """The potentials of rounds and their starts, by name."""
    from pesbench.compare.data.cards import in_rounds, trained_of

    found = trained_of(run.entries)
    return found if in_rounds(found) else {}


COMPARISON = HarvestComparison()
