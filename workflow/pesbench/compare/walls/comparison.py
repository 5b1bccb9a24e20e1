"""Repulsion and readout against the walls of potentials that are trained here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pesbench.compare.comparison import Comparison, ReportRun
from pesbench.compare.ladder.cards import Card, read_card
from pesbench.models.registry import ModelEntry

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
        return len(_cards(run)) > 1

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of these potentials, and those that hold heads on a dimer."""
        names = list(_cards(run))
        core = [name for name in names if name in run.ran.get(LJ_CORE, ())]
        return {APPROACH: names} | ({LJ_CORE: core} if core else {})

    def files(self, run: ReportRun) -> list[Path]:
        """Their model cards."""
        return sorted({card.path for card in _cards(run).values()})


def compared_cards(entries: Mapping[str, ModelEntry], names: Iterable[str]) -> dict[str, Card]:
    """The cards of the potentials that are compared, by name.

    Those that were trained on a chosen set of frames are left to the comparisons of such sets:
    each of their seeds has frames of its own.

    Args:
        entries: Resolved, by name.
        names: Models that were approached.

    Raises:
        UserError: a card is that of other weights, or not understood.
    """
    cards = {name: read_card(entries[name]) for name in names}
    return {
        name: card
        for name, card in cards.items()
        if card and REPULSION in card.choices and not card.chosen_frames
    }


def _cards(run: ReportRun) -> dict[str, Card]:
    return compared_cards(run.entries, run.ran.get(APPROACH, ()))


COMPARISON = WallsComparison()
