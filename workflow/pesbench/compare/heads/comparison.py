"""Heads on the Lennard-Jones dimer against the walls of potentials with such a readout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pesbench.compare.comparison import APPROACH, Comparison, ReportRun
from pesbench.compare.ladder.cards import read_card

LJ_CORE = "lj_core"  # the task whose scores are compared with those of `APPROACH`
READOUT, REPULSION = "readout", "repulsion"  # switches that a card tells


class HeadsComparison(Comparison):
    """Potentials without a repulsion of their own, whose cards tell their readout."""

    name = "heads"
    title = "Heads on a dimer and in potentials"
    summary = (
        "Whether the rank of output heads on the Lennard-Jones dimer says anything about the walls "
        "of potentials with these heads."
    )

    def applies(self, run: ReportRun) -> bool:
        """Whether two potentials at least differ in their readout and ran both tasks."""
        return len({readout for _, readout in with_readouts(run)}) > 1

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Scores of these potentials in both tasks."""
        names = [name for name, _ in with_readouts(run)]
        return {APPROACH: names, LJ_CORE: names}

    def files(self, run: ReportRun) -> list[Path]:
        """Their model cards."""
        paths = (run.entries[name].card_path for name, _ in with_readouts(run))
        return sorted({path for path in paths if path is not None})


def with_readouts(run: ReportRun) -> Sequence[tuple[str, str]]:
    """The potentials and their readouts."""
    found = []
    for name in run.ran.get(LJ_CORE, ()):
        card = read_card(run.entries[name]) if name in run.ran.get(APPROACH, ()) else None
        if card and READOUT in card.choices and card.choices.get(REPULSION) == "none":
            found.append((name, str(card.choices[READOUT])))
    return found


COMPARISON = HeadsComparison()
