"""The potentials of rounds as a table, seeds together, with what their frames cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from pesbench.compare.data.cards import trained_of
from pesbench.compare.data.table import (
    ALL_HOLES,
    HOLE,
    HOLE_WITH,
    HOLE_WITHOUT,
    WITH,
    WITHOUT,
    DataStudy,
    make_study,
)
from pesbench.compare.inputs import CompareInputs
from pesbench.training.data_plan import ADDED, MD, RANDOM

ARMS = {ADDED: "harvested", RANDOM: "random"}  # of which frames are added
START = MD  # kind of what both begin with
COSTS: Mapping[str, str] = {
    "method_calls": "method calls",
    "asking_wall_s": "dynamics and labels (s)",
    "training_wall_s": "training (s)",
}


def make_rounds(inputs: CompareInputs) -> DataStudy:
    """The study of a run, with the round in the place of the number of frames.

    Returns:
        A study whose `frames` are rounds, 0 for the start; its models have `n_frames` and the
        columns of `COSTS` beside.

    Raises:
        UserError: a card is that of other weights, or not understood.
    """
    study, trained = make_study(inputs), trained_of(inputs.entries)
    of = [trained[name] for name in study.models["model"]]
    models = study.models.assign(
        n_frames=study.models["frames"],
        frames=[one.round for one in of],
        **{key: [getattr(one, key) for one in of] for key in COSTS},
    )
    apart = (HOLE_WITH, HOLE_WITHOUT, WITH)  # by approach frames, of which there are none
    kept = {name: one for name, one in study.quantities.items() if name not in apart}
    quantities = {HOLE: ALL_HOLES, **kept}
    quantities[WITHOUT] = replace(quantities[WITHOUT], title="monotone pairs", panel="")
    kinds = {START: "start", **ARMS}
    return replace(study, models=models, quantities=quantities, kinds=kinds)


def rounds(study: DataStudy, family: str, arm: str) -> list[tuple[str, int]]:
    """The rounds of an arm as kind and number, the start first."""
    start = [(START, number) for number in study.frames(family, START)]
    return start + [(arm, number) for number in study.frames(family, arm)]


def round_rows(study: DataStudy) -> pd.DataFrame:
    """One row a potential, its seeds together.

    Returns:
        `family`, `kind`, `round`, `n_seeds`, `frames_least`, `frames_most`, and for each quantity
        its mean over the seeds, `_seed_sd`, `_seeds` (that have it) and `_n` (what it is the mean
        over, in all seeds); of `COSTS` the means over the seeds.
    """
    found = pd.DataFrame(_rows(study))
    return found.sort_values(["family", "kind", "round"], ignore_index=True, key=_in_order)


def _in_order(column: pd.Series) -> pd.Series:
    ranks = {START: 0, ADDED: 1, RANDOM: 2}
    return column.map(ranks) if column.name == "kind" else column


def _rows(study: DataStudy) -> Iterator[dict[str, object]]:
    for (family, kind, number), group in study.models.groupby(["family", "kind", "frames"]):
        row: dict[str, object] = {"family": family, "kind": kind, "round": int(number)}
        row |= {
            "n_seeds": len(group),
            "frames_least": int(group["n_frames"].min()),
            "frames_most": int(group["n_frames"].max()),
        }
        for column in study.quantities:
            values = group[column].astype(float).dropna()
            row[column] = float(values.mean()) if len(values) else float("nan")
            row[f"{column}_seed_sd"] = float(values.std(ddof=1)) if len(values) > 1 else np.nan
            row[f"{column}_seeds"] = len(values)
            row[f"{column}_n"] = int(group[f"{column}_n"].sum())
        row |= {key: float(group[key].astype(float).mean()) for key in COSTS}
        yield row
