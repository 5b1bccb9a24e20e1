"""Repulsion and readout against the walls of potentials that are trained here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pesbench.compare.comparison import Comparison, ReportRun
from pesbench.compare.ladder.cards import read_card

APPROACH = "approach"  # the task whose scores are compared
LJ_CORE = "lj_core"  # the task whose scores hold the heads on a dimer
REPULSION = "repulsion"  # the switch that a card must tell


class WallsComparison(Comparison):
    """Potentials whose cards tell repulsion and readout, on approaching bonded pairs."""

    name = "walls"
    title = "Repulsion and readout"
    summary = (
        "Whether a repulsion, a bounded readout or another basis makes the walls of potentials "
        "monotone."
    )

    def applies(self, run: ReportRun) -> bool:
        """Whether two potentials at least tell their switches and were approached."""
        return len(_with_switches(run)) > 1

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of these potentials, and those that hold heads on a dimer."""
        names = _with_switches(run)
        core = [name for name in names if name in run.ran.get(LJ_CORE, ())]
        return {APPROACH: list(names)} | ({LJ_CORE: core} if core else {})

    def files(self, run: ReportRun) -> list[Path]:
        """Their model cards."""
        paths = (run.entries[name].card_path for name in _with_switches(run))
        return sorted({path for path in paths if path is not None})


def _with_switches(run: ReportRun) -> Sequence[str]:
    cards = {name: read_card(run.entries[name]) for name in run.ran.get(APPROACH, ())}
    return [name for name, card in cards.items() if card and REPULSION in card.choices]


COMPARISON = WallsComparison()
