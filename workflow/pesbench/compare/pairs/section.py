"""Section of paired differences."""

from __future__ import annotations

import numpy as np

from pesbench.compare.inputs import CompareInputs
from pesbench.compare.pairs.comparison import COMPARISON
from pesbench.compare.pairs.figure import matrix
from pesbench.compare.pairs.found import Pairs, find_pairs
from pesbench.compare.pairs.table import (
    MOST_WITH_ALL_PAIRS,
    board_columns,
    lacking_rows,
    model_rows,
    pair_rows,
    pair_text,
    rank_rows,
)
from pesbench.core.section import POINTS, Drawing, Plot, Section, Table
from pesbench.core.text import csv_table
from pesbench.metrics.paired import LEAST_SYSTEMS

_PAIRS = "pairs.csv"


def section(inputs: CompareInputs) -> Section:
    """A row a model, the matrix, and every number in three CSV files."""
    found = find_pairs(inputs)
    few = len(found.names) <= MOST_WITH_ALL_PAIRS
    return Section(
        title=COMPARISON.title,
        sentence=_sentence(found),
        answer=_answer(found),
        tables=[
            Table("models", model_rows(found), models=found.names),
            Table(
                "differences",
                pair_text(found),
                title="All pairs" if few else "Neighbours in rank",
                notes=["pairs.csv has every number of all pairs."],
            ),
        ],
        figures=[
            Drawing(
                "pairs",
                matrix(found),
                f"Paired differences of {found.metric.title}, each on the scans that both models "
                "have. A number beside a name is its rank.",
                _plot(found),
            )
        ],
        notes=[*_notes(found), *_stability(found)],
        board=board_columns(found),
        files={
            _PAIRS: csv_table(pair_rows(found)),
            "lacking.csv": csv_table(lacking_rows(found)),
            "ranks_without.csv": csv_table(rank_rows(found)),
        },
    )


def _plot(found: Pairs) -> Plot | None:
    """A model and those of a worse rank, one at a time; None of a single model."""
    if len(found.names) < 2:
        return None
    unit = f" ({found.metric.unit})" if found.metric.unit else ""
    return Plot(
        file=_PAIRS,
        kind=POINTS,
        label="other",
        x={
            "mean_difference": f"{found.metric.title}, the model minus the other{unit}",
            "won": "share of the scans with the lower value",
            "p_adjusted": "p for all pairs",
            "n_scans": "scans of both",
        },
        panel="model",
    )


def _sentence(found: Pairs) -> str:
    decided = int(found.paired.decided.sum()) // 2
    if not decided:
        return (
            "No pair of models has scans of so many molecules that a difference can be told from "
            f"chance; {LEAST_SYSTEMS} are needed."
        )
    differ = int(found.paired.differs.sum()) // 2
    return (
        f"{differ} of {decided} pairs of models differ in {found.metric.title}; of all these pairs "
        "together, none would be called different by chance in 95 of 100 cases."
    )


def _answer(found: Pairs) -> str:
    """Whether the first model is told from the others."""
    if not found.rank[0] or not found.paired.decided[0].any():
        return ""
    first, alike = found.names[0], [found.names[k] for k in found.alike(0)]
    if not alike:
        every = int(found.paired.decided[0].sum()) == len(found.names) - 1
        others = "every other model" if every else "every other model of which it can be told"
        return f"On the scans that both have, {first} differs from {others}."
    return f"On the scans that both have, {first} does not differ from {', '.join(alike)}."


def _notes(found: Pairs) -> list[str]:
    paired = found.paired
    notes = [
        "A pair differs if its mean difference is further from 0, in standard errors, than chance "
        "brings any of the pairs (bootstrap over molecules); the interval and p stand for this: "
        "intervals hold 95 % for one pair alone, p is adjusted for all pairs. Models that do not "
        "differ need not be equal: these scans do not tell them apart."
    ]
    undecided = int((~paired.decided).sum() - len(found.names)) // 2
    if undecided and paired.decided.any():
        notes.append(
            f"{undecided} pairs have scans of fewer than {LEAST_SYSTEMS} molecules in common and "
            "are not decided."
        )
    notes += [
        f"{name} takes no part in what is shared: {why}."
        for name, why in zip(found.names, found.reasons, strict=True)
        if why
    ]
    return notes


def _stability(found: Pairs) -> list[str]:
    """Whether ranks depend on which other models take part."""
    ranked = np.flatnonzero(found.rank)
    if len(ranked) < 2:
        return []
    changing = [k for k in ranked if found.changes(k)]
    said = (
        f"The rank among the others changes with another model for {len(changing)} of "
        f"{len(ranked)} ranked models ({', '.join(found.names[k] for k in changing)})"
        if changing
        else f"None of the {len(ranked)} ranks changes among the others"
    )
    return [
        f"{said} when one model that takes part is left out, or one below the entry threshold is "
        "added, each in turn: without a model, the others share the scans that it alone lacks. "
        f"A new model that has all {found.n_shared} shared scans changes no order of the others."
    ]
