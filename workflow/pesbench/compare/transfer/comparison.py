"""What cheap labels are worth in expensive ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pesbench.compare.comparison import APPROACH, BONDS, DYNAMICS, Comparison, ReportRun

if TYPE_CHECKING:
    from pesbench.compare.transfer.cards import Transferred


class TransferComparison(Comparison):
    """Potentials that are trained on few expensive labels, with and without cheap ones first."""

    name = "transfer"
    title = "Cheap labels first"
    summary = "What pretraining on cheap labels is worth in expensive ones, by region and score."

    def applies(self, run: ReportRun) -> bool:
        """Whether cards of several potentials tell what they started from."""
        return len(_studied(run)) > 1

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of all models: the cheap method stands beside these potentials."""
        every = {task: list(run.ran.get(task, ())) for task in (DYNAMICS, APPROACH)}
        return {BONDS: list(run.entries), **every}

    def files(self, run: ReportRun) -> list[Path]:
        """The model cards."""
        return sorted({one.path for one in _studied(run).values()})


def _studied(run: ReportRun) -> dict[str, Transferred]:
    """The potentials of the study, by name. The base package lacks what reads their plan."""
    from pesbench.compare.transfer.cards import transferred_of

    return transferred_of(run.entries)


COMPARISON = TransferComparison()
