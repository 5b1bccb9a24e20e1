"""What happened where a model failed?"""

from __future__ import annotations

from collections.abc import Mapping

from pesbench.compare.comparison import ANSWERS, Comparison, ReportRun


class AtlasComparison(Comparison):
    """Every failure and every high peak of the FSD, placed by what happened."""

    name = "atlas"
    title = "The failure atlas"
    summary = (
        "Every failure and every high peak of the FSD, placed by what happened: kind, pair of "
        "elements, distance in sums of covalent radii."
    )

    def applies(self, run: ReportRun) -> bool:
        """Whether there are stored answers of a model."""
        return any(
            run.roles[name] == "model" for some in self.answers(run).values() for name in some
        )

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of the models whose answers are read."""
        return self.answers(run)

    def answers(self, run: ReportRun) -> dict[str, list[str]]:
        """By task, all but the controls, whose defects are known, as far as answers are there."""
        return {task: self._whole(run, task, run.scored_only) for task in ANSWERS}

    def _whole(self, run: ReportRun, task: str, without: Mapping[str, object]) -> list[str]:
        lacking = without.get(task, ())
        return [
            name
            for name in run.ran.get(task, ())
            if name not in lacking and run.roles[name] != "control"
        ]


COMPARISON = AtlasComparison()
