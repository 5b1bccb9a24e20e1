"""The design ladder."""

from __future__ import annotations

from pathlib import Path

from pesbench.compare.comparison import BONDS, DYNAMICS, VIBRATIONS, Comparison, ReportRun


class LadderComparison(Comparison):
    """A baseline, and models that are one design choice apart from it."""

    name = "ladder"
    title = "Ladder"
    summary = "Comparison of models that differ from a baseline in one design choice."
    takes_ladder = True

    def applies(self, run: ReportRun) -> bool:
        """Whether the config names the models of a ladder."""
        return bool(run.ladder)

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of the ladder, and of all that ran dynamics: they give horizon and reference."""
        ran = run.ran.get(DYNAMICS, ())
        return {
            BONDS: [name for name in run.entries if name in run.ladder or name in ran],
            DYNAMICS: list(ran),
            VIBRATIONS: [name for name in run.ran.get(VIBRATIONS, ()) if name in run.ladder],
        }

    def files(self, run: ReportRun) -> list[Path]:
        """The model cards that are there."""
        paths = (run.entries[name].card_path for name in run.ladder)
        return sorted({path for path in paths if path is not None and path.is_file()})


COMPARISON = LadderComparison()
