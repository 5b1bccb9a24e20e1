"""Section of the repulsive core: heads on the dimer, then real models."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import pandas as pd

from pesbench.core.section import Drawing, Section, SectionInputs, Table
from pesbench.core.text import csv_table, number
from pesbench.metrics.board import mean_columns
from pesbench.metrics.shares import share
from pesbench.tasks.lj_core import figures
from pesbench.tasks.lj_core.cases import OVERLAP
from pesbench.tasks.lj_core.closed_forms import closed_forms
from pesbench.tasks.lj_core.designs import (
    BOUNDED,
    LOG_ENERGY,
    MLP,
    POWER,
    PUBLISHED,
    RATIONAL,
    SAMPLINGS,
    TRANSFORMS,
    Design,
)
from pesbench.tasks.lj_core.ghost import ended_overlapped
from pesbench.tasks.lj_core.head_summary import (
    FACTORS,
    HIGHER,
    LOST,
    NO_WALL,
    UNTRAINED,
    WINS,
    Cell,
    Seeds,
    cells,
    decisive,
    missing,
    outcomes,
    reproduced,
    seeds_of,
)
from pesbench.tasks.lj_core.head_table import TrainedHeads, heads_of
from pesbench.tasks.lj_core.judged import IN_RANGE, SCORE, judge_curve
from pesbench.tasks.lj_core.real_models import models_table, shared_note
from pesbench.tasks.lj_core.task import TASK

NAMES = {
    RATIONAL: "rational head",
    MLP: "MLP",
    POWER: "MLP + c·r⁻¹² (given the exponent)",
    LOG_ENERGY: "MLP on log-energy",
    BOUNDED: "MLP, bounded readout",
}
COLUMNS = {
    SCORE: "core error (decades)",
    IN_RANGE: "error in range (ε = 20)",
    "right_sign_share": "right sign",
    "monotone": "monotone",
    "log10_force_mae_core": "force error in the core (decades)",
    "overlapped_bfgs": "BFGS ends overlapped",
    "overlapped_fire": "FIRE ends overlapped",
}
SHARES = ("right_sign_share", "monotone", "overlapped_bfgs", "overlapped_fire")
_PUBLISHED, _README = "published, core error", "tasks/lj_core/README.md"


def section(inputs: SectionInputs) -> Section:
    """The section; rows of other roles than `model` state their role.

    Raises:
        UserError: scores hold heads that are none.
    """
    labels = {
        name: name if (role := inputs.facts[name].role) == "model" else f"{name} ({role})"
        for name in inputs.scores
    }
    heads = heads_of(inputs.scores)
    main = seeds_of(heads.rows, main=True) if heads else {}
    grid = cells(heads.rows) if heads else []
    tables = [Table("heads", heads_table(main), "Continuations of the Lennard-Jones wall")]
    if grid:
        tables.append(Table("grid", grid_table(grid), "In which cells the rational head wins"))
    rows = models_table(inputs.scores, labels)
    tables.append(Table("models", rows, "Real models", models=list(inputs.scores)))
    models = [name for name in inputs.scores if inputs.facts[name].role == "model"]
    files: dict[str, str] = {}
    drawings = [
        Drawing("cores", figures.cores(main, NAMES, closed_errors(), inputs.scores, labels),
                "Error of log₁₀(|E| + 1) in the core, in decades, a row a continuation of the "
                "Lennard-Jones wall (left; bars are standard deviations over seeds, open circles "
                "the published values) and a row a model (right; against the reference of the scan "
                "set, means over the isolated and over the bonded pairs that all models have). The "
                "error ignores the sign."),
    ]  # fmt: skip
    if heads and heads.curves:
        drawings.append(
            Drawing("walls", figures.walls(heads.curves, NAMES),
                    "Energies of the trained heads from 0.2 to 1.5 σ, on an axis that is "
                    "logarithmic beyond 1: median over the seeds, and the range of all. Training "
                    "data begin at 0.95 σ.")
        )  # fmt: skip
        curves = [pd.DataFrame(dict(one)).assign(head=name) for name, one in heads.curves.items()]
        files["walls.csv"] = csv_table(pd.concat(curves))
    if grid:
        drawings.append(
            Drawing("cells", figures.cells(grid),
                    "Core error of the rational head against that of the MLP with the same "
                    "activation, depth, scale and sampling, a point a cell of the grid, mean over "
                    "the seeds. Below the diagonal the rational head has the lower error; a cross "
                    "marks a cell in which not every seed of it is a wall.")
        )  # fmt: skip
    return Section(
        title=TASK.title,
        sentence=sentence(main, grid, {name: inputs.scores[name] for name in models}),
        tables=tables,
        figures=drawings,
        notes=notes(heads, inputs.scores),
        board=mean_columns(inputs.task, TASK.metrics, inputs.scores),
        files=files,
    )


def closed_errors() -> dict[str, float]:
    """Core error of each closed form."""
    return {name: judge_curve(*curves)[SCORE] for name, curves in closed_forms().items()}


def _value(name: str, mean: float, deviation: float = math.nan) -> str:
    if not math.isfinite(mean):
        return "n/a"
    fixed = name in SHARES or name == SCORE
    said = f"{mean:.2f}" if fixed else number(mean)
    if not math.isfinite(deviation):
        return said
    return f"{said} ± {deviation:.2f}" if fixed else f"{said} ± {number(deviation, 2)}"


def heads_table(main: Mapping[Design, Seeds]) -> pd.DataFrame:
    """Trained heads with their standard deviation over seeds, then the closed forms."""
    rows = []
    for design, one in main.items():
        values = {title: _value(name, *one.numbers[name]) for name, title in COLUMNS.items()}
        mean, deviation = PUBLISHED.get(design.head, (math.nan, math.nan))
        published = f"{mean:.2f} ± {deviation:.2f}" if design.head in PUBLISHED else "–"
        rows.append({"continuation": NAMES[design.head], "seeds": f"{one.n_ok} / {one.n}",
                     **values, _PUBLISHED: published})  # fmt: skip
    for name, (energy, slope) in closed_forms().items():
        found = judge_curve(energy, slope) | ended_overlapped(slope)
        found[IN_RANGE] = math.nan  # they go on inwards alone
        values = {title: _value(key, found[key]) for key, title in COLUMNS.items()}
        rows.append({"continuation": name, "seeds": "–", **values, _PUBLISHED: "–"})
    return pd.DataFrame(rows)


def grid_table(grid: Sequence[Cell]) -> pd.DataFrame:
    """Outcomes of the cells by each level of each factor, and by transform and sampling."""
    groups = [("all", "", list(grid))]
    for factor in FACTORS:
        levels = dict.fromkeys(getattr(cell.design, factor) for cell in grid)
        groups += [
            (factor, str(level), [one for one in grid if getattr(one.design, factor) == level])
            for level in levels
        ]
    groups += [
        ("transform, sampling", f"{transform}, {sampling}",
         [one for one in grid
          if (one.design.transform, one.design.sampling) == (transform, sampling)])
        for transform in TRANSFORMS for sampling in SAMPLINGS
    ]  # fmt: skip
    return pd.DataFrame(
        [{"factor": factor, "level": level, **_told(some)} for factor, level, some in groups]
    )


def _told(some: Sequence[Cell]) -> dict[str, str]:
    found = outcomes(some)
    told = {"cells": str(len(some)), "rational head wins": str(found[WINS])}
    told |= {one: str(found[one]) for one in (NO_WALL, HIGHER)}
    told |= {"lost or not trained": str(found[LOST] + found[UNTRAINED])}
    for head, sides in ((RATIONAL, [one.rational for one in some]),
                        (MLP, [one.mlp for one in some])):  # fmt: skip
        known = list({one.design: one for one in sides if one}.values())
        told |= {
            f"{NAMES[head]}, core error": _range([one.core for one in known]),
            f"{NAMES[head]}, error in range": _range([one.numbers[IN_RANGE][0] for one in known]),
            f"{NAMES[head]}, seeds that are walls": f"{sum(one.n_walls for one in known)} of "
            f"{sum(one.n for one in known)}",
        }
    return told


def _range(values: Sequence[float]) -> str:
    known = sorted(one for one in values if math.isfinite(one))
    if not known:
        return "n/a"
    return f"{known[0]:.2f} to {known[-1]:.2f}, median {statistics.median(known):.2f}"


def sentence(
    main: Mapping[Design, Seeds], grid: Sequence[Cell], scores: Mapping[str, pd.DataFrame]
) -> str:
    """What the heads do on the dimer, how often the rational one wins, and what models do.

    Args:
        main: Main rows of the trained heads.
        grid: Cells of the grid.
        scores: Scores of those whose role is `model`.
    """
    said = []
    by_head = {design.head: one for design, one in main.items() if one.n_ok}
    if RATIONAL in by_head and MLP in by_head:
        rational, mlp = (
            f"{_value(SCORE, *one.numbers[SCORE])} decades in {one.n_ok} of {one.n} seeds (mean "
            f"and standard deviation; {number(one.numbers[IN_RANGE][0])} in range)"
            for one in (by_head[RATIONAL], by_head[MLP])
        )
        said.append(
            f"At distances below its data the rational head errs by {rational}, the MLP by {mlp}"
        )
    if grid:
        won = [cell for cell in grid if cell.outcome == WINS]
        found = outcomes(grid)
        said.append(
            f"the rational head has the lower error and is a wall in {len(won)} of {len(grid)} "
            f"cells of the grid, in {sum(cell.fits_better for cell in won)} of these with the "
            f"better fit in range; in {found[NO_WALL]} the error is lower and it is no wall, and "
            f"{found[LOST] + found[UNTRAINED]} are lost or not trained"
        )
    starts = {name: one[one["kind"] == OVERLAP] for name, one in scores.items()}
    asked = {name: one[one["status"] != "unsupported"] for name, one in starts.items()}
    whole = [one for one in asked.values() if len(one) and (one["status"] == "ok").all()]
    if any(map(len, asked.values())):
        free = sum(share(one, "overlapped").passed == 0 for one in whole)
        said.append(
            f"of {len(asked)} models, {len(whole)} relax from all overlapped starts without a "
            f"failure, and {free} of these leave none overlapped"
        )
    told = "; ".join(said) or "no head is trained, and no model has a relaxation"
    return f"{told[0].upper()}{told[1:]}."


def notes(heads: TrainedHeads | None, scores: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Notes on how to read the section: definitions, what is reproduced, failures."""
    found = [
        "The dimer is V = 4ε[(σ/r)¹² − (σ/r)⁶] with ε = 20, known at r ≥ 0.95 σ. The core error is "
        "the mean of |log₁₀(|V̂| + 1) − log₁₀(|V| + 1)| over a stored grid, log-uniform in r from "
        "0.2 to 0.5 σ; it ignores the sign, so that the share of right signs (0.2 to 0.6 σ) and "
        "whether the energy rises inwards at each step stand beside it; a seed with both is a "
        "wall. “Ends overlapped” is the share of 200 starts from 0.2 to 0.6 σ that end below 0.8 σ."
    ]
    found += head_notes(heads) if heads else [
        "No trained heads are given (`lj_core.heads`); closed forms stand alone."
    ]  # fmt: skip
    found.append(
        "Real models: energies relative to the two atoms alone (isolated), or to the model's own "
        "minimum (bonded), in eV, where the pair is closer than 0.6 of the sum of its covalent "
        "radii, against the reference of the scan set. A relaxation ends overlapped where any pair "
        "is below 0.7 of that sum; one that the model fails on has no end. Those that did not "
        "converge are counted among those with an end. Intervals are the exact binomial ones of as "
        "many trials as there are molecules."
    )
    if scores:
        found.append(shared_note(scores))
    for name, frame in scores.items():
        lost = frame[~frame["status"].isin(["ok", "unsupported", "masked"])]
        if len(lost):
            first = lost.iloc[0]
            said = str(first["message"]) or str(first["status"])
            found.append(f"{name}: {len(lost)} of {len(frame)} cases failed; for example "
                         f"{first['case']}: {said}.")  # fmt: skip
    return tuple(found)


def head_notes(heads: TrainedHeads) -> list[str]:
    """How the heads were trained, what is reproduced, and what the ranking depends on."""
    schedule = heads.schedule
    found = [
        f"Heads: {schedule.steps} steps of Adam at {schedule.learning_rate:g}, {schedule.batch} "
        "distances a step, float64. The published values name no activation of their rows, no "
        "optimiser and no number of epochs: the definition of the error is reproduced, the "
        "training is not. The main rows take the defaults of the published package, and "
        f"z = x + softplus(MLP(x)) as our choice ({_README})."
    ]
    for head, (near, of) in reproduced(heads.rows).items():
        if of:
            mean, deviation = PUBLISHED[head]
            found.append(
                f"Published for the {NAMES[head]}: {mean:.2f} ± {deviation:.2f}. Means of "
                f"{len(near)} of {of} designs of the grid are within"
                f"{': ' if near else ''}{', '.join(near)}."
            )
    if grid := cells(heads.rows):
        found.append(
            f"{ranking(grid)} {len(grid)} cells share {len(grid) // len(TRANSFORMS)} MLPs and have "
            "few seeds each: they are no independent trials."
        )
    if lacking := missing(heads):
        found.append(f"Not trained: {', '.join(lacking)}.")
    return found


def ranking(grid: Sequence[Cell]) -> str:
    """On which factor of the grid it depends most whether the rational head wins a cell."""
    most = decisive(grid)
    if most is None:
        return "The rational head wins all decided cells of the grid, or none of them."
    told = ", ".join(f"{level} {won} of {of}" for level, (won, of) in most.levels.items())
    return (
        f"The ranking depends most on {most.factor}, whose levels explain {most.explained:.0%} of "
        "the variance of winning (cells that the rational head wins, of those that are decided: "
        f"{told})."
    )
