"""Section of the heads on a dimer and in potentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pesbench.compare.comparison import APPROACH
from pesbench.compare.heads.comparison import COMPARISON, LJ_CORE, READOUT
from pesbench.compare.inputs import CompareInputs
from pesbench.compare.ladder.cards import read_card
from pesbench.core.section import Section, Table
from pesbench.core.text import number
from pesbench.metrics.board import scored_values
from pesbench.tasks.approach.pairs import BOND
from pesbench.tasks.approach.summary import of_kind, share, worst_pair
from pesbench.tasks.lj_core.designs import BOUNDED, MLP, NONE, RATIONAL, Design
from pesbench.tasks.lj_core.head_summary import FACTORS, SCORE

LEAST_HEADS = 8  # for any sentence on a rank; below, it is not resolved
# the head of the dimer that is nearest to a readout
MAIN_ROWS = {"linear": MLP, "bounded": BOUNDED, "rational": RATIONAL}
PLAIN = "rational_plain"
PLAIN_CELL = Design(RATIONAL, "relu", transform=NONE)  # the main row's, but for its latent


def section(inputs: CompareInputs) -> Section:
    """A row a potential: its head on the dimer beside its own walls."""
    rows = potentials(inputs)
    return Section(
        title=COMPARISON.title,
        sentence=sentence(rows),
        tables=[Table("heads", shown(rows))],
        notes=(
            "The head on the dimer is the main row of `lj_core` that a readout is nearest to: MLP "
            "(linear), bounded, rational with z = x + softplus; that of a plain latent is the cell "
            "of the grid with z = h. Core errors are in decades, holes and shares those of "
            "`approach` on bonded pairs. The potentials have no repulsion of their own and differ "
            "in their readout alone; each is one training, so that what a seed does is part of "
            "every difference.",
        ),
    )


def dimer_error(readout: str, heads: Mapping[str, Any]) -> float | None:
    """Core error on the dimer of the head that is nearest to a readout; None if not trained.

    Args:
        readout: Of a testbed's potential.
        heads: `head_summary.summary` of the trained heads, or empty.
    """
    if readout == PLAIN:
        wanted = {factor: getattr(PLAIN_CELL, factor) for factor in FACTORS}
        same = (one for one in heads.get("cells", ()) if wanted.items() <= one.items())
        return next((one[RATIONAL] for one in same), None)
    main = heads.get("main", {}).get(MAIN_ROWS.get(readout, ""))
    return main["numbers"][SCORE][0] if main else None


def potentials(inputs: CompareInputs) -> list[dict[str, Any]]:
    """Name, readout and numbers of each potential, in the order of the run."""
    found = []
    for name, core in inputs.tables.get(LJ_CORE, {}).items():
        card = read_card(inputs.entries[name])
        assert card is not None  # or the comparison had not named it
        bonds = of_kind(inputs.tables[APPROACH][name], BOND)
        errors = scored_values(of_kind(core, BOND), "log10_energy_mae")
        worst = worst_pair(bonds)
        found.append(
            {
                "potential": name,
                "readout": str(card.choices[READOUT]),
                "dimer": dimer_error(str(card.choices[READOUT]), core.attrs.get("heads") or {}),
                "error": float(errors.mean()) if len(errors) else None,
                "monotone": share(bonds, "monotone"),
                "hole": None if worst is None else float(worst["hole_radius_angstrom"]),
            }
        )
    return found


def shown(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows as text."""
    return pd.DataFrame(
        [
            {
                "potential": row["potential"],
                "readout": row["readout"],
                "head on the dimer, core error": number(row["dimer"]),
                "own bonds, core error": number(row["error"]),
                "bonds that repel": row["monotone"].text,
                "largest hole (Å)": "–" if row["hole"] is None else f"{row['hole']:.2f}",
            }
            for row in rows
        ]
    )


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many heads have both numbers, and that so few resolve nothing."""
    heads = {row["readout"]: row for row in rows if row["dimer"] is not None and row["monotone"].n}
    if len(heads) < 2:
        return "Fewer than two heads have numbers on the dimer and on bonds."
    best = min(heads.values(), key=lambda row: row["dimer"])
    most = max(rows, key=lambda row: row["monotone"].passed)
    verdict = "not resolved" if len(heads) < LEAST_HEADS else "see the table"
    return (
        f"Whether the rank of heads on the dimer predicts walls of potentials with them: {verdict} "
        f"(n = {len(heads)} heads); the best on the dimer is that of readout {best['readout']}, "
        f"with which {best['monotone'].passed} of {best['monotone'].n} bonds repel, and most bonds "
        f"repel with {most['readout']} ({most['monotone'].passed} of {most['monotone'].n})."
    )
