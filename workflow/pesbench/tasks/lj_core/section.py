"""Section of the repulsive core: heads on the dimer, then real models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pesbench.core.section import Drawing, Section, SectionInputs, Table
from pesbench.core.text import number
from pesbench.metrics.board import mean_columns, scored_values
from pesbench.tasks.approach.summary import share
from pesbench.tasks.lj_core import figures
from pesbench.tasks.lj_core.cases import BOND, DIMER, OVERLAP
from pesbench.tasks.lj_core.closed_forms import closed_forms
from pesbench.tasks.lj_core.designs import (
    BOUNDED,
    LOG_ENERGY,
    MLP,
    POWER,
    PUBLISHED,
    RATIONAL,
)
from pesbench.tasks.lj_core.ghost import ended_overlapped
from pesbench.tasks.lj_core.head_summary import FACTORS, SCORE, wins, wins_by_factor
from pesbench.tasks.lj_core.judged import judge
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
    "in_range_mae": "error in range (ε = 20)",
    "right_sign_share": "right sign",
    "monotone": "monotone",
    "log10_force_mae_core": "force error in the core (decades)",
    "overlapped_bfgs": "BFGS ends overlapped",
    "overlapped_fire": "FIRE ends overlapped",
}
SHARES = ("right_sign_share", "monotone", "overlapped_bfgs", "overlapped_fire")
_PUBLISHED, _README = "published, core error", "tasks/lj_core/README.md"


def section(inputs: SectionInputs) -> Section:
    """The section; rows of other roles than `model` state their role."""
    labels = {
        name: name if (role := inputs.facts[name].role) == "model" else f"{name} ({role})"
        for name in inputs.scores
    }
    told = (frame.attrs.get("heads") for frame in inputs.scores.values())
    heads: Mapping[str, Any] = next((one for one in told if one), {})
    main, cells = heads.get("main", {}), heads.get("cells", [])
    tables = [Table("heads", heads_table(main), "Continuations of the Lennard-Jones wall")]
    if cells:
        tables.append(Table("grid", grid_table(cells), "In which cells the rational head wins"))
    rows = pd.DataFrame([{"model": labels[name], **model_cells(frame)}
                         for name, frame in inputs.scores.items()])  # fmt: skip
    tables.append(Table("models", rows, "Real models", models=list(inputs.scores)))
    models = [name for name in inputs.scores if inputs.facts[name].role == "model"]
    drawings = [
        Drawing("cores", figures.cores(main, closed_errors(), inputs.scores, labels),
                "Error of log₁₀(|E| + 1) in the core, in decades, a row a continuation of the "
                "Lennard-Jones wall (left; bars are standard deviations over seeds, open circles "
                "the published values) and a row a model (right; against the reference of the scan "
                "set, means over isolated and over bonded pairs)."),
    ]  # fmt: skip
    if heads.get("curves"):
        drawings.append(
            Drawing("walls", figures.walls(heads["curves"], NAMES),
                    "Energies of the trained heads from 0.2 to 1.5 σ, on an axis that is "
                    "logarithmic beyond 1: median over the seeds, and the range of all. Training "
                    "data begin at 0.95 σ.")
        )  # fmt: skip
    if cells:
        drawings.append(
            Drawing("cells", figures.cells(cells),
                    "Core error of the rational head against that of the MLP with the same "
                    "activation, depth, scale and sampling, a point a cell of the grid, mean over "
                    "three seeds; below the diagonal the rational head wins.")
        )  # fmt: skip
    return Section(
        title=TASK.title,
        sentence=sentence(main, cells, {name: inputs.scores[name] for name in models}),
        tables=tables,
        figures=drawings,
        notes=notes(heads, inputs.scores),
        board=mean_columns(inputs.task, TASK.metrics, inputs.scores),
    )


def closed_errors() -> dict[str, float]:
    """Core error of each closed form."""
    return {name: judge(*curves)[SCORE] for name, curves in closed_forms().items()}


def _value(name: str, mean: float | None, deviation: float | None = None) -> str:
    if mean is None:
        return "n/a"
    said = f"{mean:.2f}" if name in SHARES or name == SCORE else number(mean)
    if deviation is None:
        return said
    return f"{said} ± {deviation:.2f}" if name in (*SHARES, SCORE) else (
        f"{said} ± {number(deviation, 2)}"
    )  # fmt: skip


def heads_table(main: Mapping[str, Any]) -> pd.DataFrame:
    """Trained heads with their spread over seeds, then the closed forms."""
    rows = []
    for head, one in main.items():
        values = {title: _value(name, *one["numbers"][name]) for name, title in COLUMNS.items()}
        mean, deviation = PUBLISHED.get(head, (None, None))
        published = "–" if mean is None else f"{mean:.2f} ± {deviation:.2f}"
        rows.append({"continuation": NAMES[head], "seeds": f"{one['n_ok']} / {one['n_seeds']}",
                     **values, _PUBLISHED: published})  # fmt: skip
    for name, (energy, slope) in closed_forms().items():
        found = judge(energy, slope) | ended_overlapped(slope)
        values = {title: _value(key, found[key]) for key, title in COLUMNS.items()}
        rows.append({"continuation": name, "seeds": "–", **values, _PUBLISHED: "–"})
    return pd.DataFrame(rows)


def grid_table(cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Wins of the rational head by each level of each factor of the grid."""
    rows = []
    for factor, level, won, of in [("all", "", *wins(cells)), *wins_by_factor(cells)]:
        chosen = [cell for cell in cells if factor == "all" or cell[factor] == level]
        means = {
            f"{NAMES[head]}, core error": _range([cell[head] for cell in chosen])
            for head in (RATIONAL, MLP)
        }
        rows.append({"factor": factor, "level": str(level), "rational head wins": f"{won} of {of}",
                     **means})  # fmt: skip
    return pd.DataFrame(rows)


def _range(values: Sequence[float | None]) -> str:
    known = sorted(one for one in values if one is not None)
    if not known:
        return "n/a"
    return f"{known[0]:.2f} to {known[-1]:.2f}, median {known[len(known) // 2]:.2f}"


def model_cells(frame: pd.DataFrame) -> dict[str, str]:
    """The row of a model: core errors of isolated and bonded pairs, and the relaxations."""
    cells = {}
    for kind, said in ((DIMER, "isolated"), (BOND, "bonded")):
        some = frame[frame["kind"] == kind]
        errors, signs = (
            scored_values(some, name) for name in ("log10_energy_mae", "right_sign_share")
        )
        cells |= {
            f"{said}: scored / planned": f"{len(errors)} / {len(some)}",
            f"{said}: core error (decades)": number(errors.mean()) if len(errors) else "n/a",
            f"{said}: right sign": f"{signs.mean():.2f}" if len(signs) else "n/a",
        }
    starts = frame[frame["kind"] == OVERLAP]
    return cells | {
        "ends overlapped": share(starts, "overlapped").text,
        "did not converge": str(int((~starts["relaxed"].astype(bool)).sum())),
        "not scored": str(int((starts["status"] != "ok").sum())),
    }


def sentence(
    main: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    scores: Mapping[str, pd.DataFrame],
) -> str:
    """What the heads do on the dimer, how often the rational one wins, and what models do.

    Args:
        main: Main rows of the trained heads.
        cells: Cells of the grid.
        scores: Scores of those whose role is `model`.
    """
    said = []
    both = [main[head]["numbers"][SCORE] for head in (RATIONAL, MLP) if head in main]
    if len(both) == 2 and all(mean is not None for mean, _ in both):
        rational, mlp = (_value(SCORE, *one) for one in both)
        said.append(
            f"Inwards of its data the rational head errs by {rational} decades, the MLP by {mlp}"
        )
    if cells:
        won, of = wins(cells)
        said.append(f"the rational head wins in {won} of {of} cells of the grid")
    shares = {
        name: share(one[one["kind"] == OVERLAP], "overlapped") for name, one in scores.items()
    }
    known = [one for one in shares.values() if one.n]
    if known:
        free = sum(one.passed == 0 for one in known)
        said.append(
            f"with {free} of {len(known)} models no relaxation of overlapped atoms ends overlapped"
        )
    found = "; ".join(said) or "no head is trained, and no model has a scored relaxation"
    return f"{found[0].upper()}{found[1:]}."


def notes(heads: Mapping[str, Any], scores: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Notes on how to read the section: definitions, what is reproduced, failures."""
    found = [
        "The dimer is V = 4ε[(σ/r)¹² − (σ/r)⁶] with ε = 20, known at r ≥ 0.95 σ. The core error is "
        "the mean of |log₁₀(|V̂| + 1) − log₁₀(|V| + 1)| over a stored grid, log-uniform in r from "
        "0.2 to 0.5 σ; it ignores the sign, so that the share of right signs (0.2 to 0.6 σ) and "
        "whether the energy rises inwards at each step stand beside it. “Ends overlapped” is the "
        "share of 200 starts from 0.2 to 0.6 σ that end below 0.8 σ. The published values name no "
        "activation of the row, no optimiser and no number of epochs; the main rows take the "
        "defaults of the published package, and z = x + softplus(MLP(x)) as our choice "
        f"({_README})."
    ]
    if schedule := heads.get("schedule"):
        found.append(
            f"Heads: {schedule['steps']} steps of Adam at {schedule['learning_rate']:g}, "
            f"{schedule['batch']} distances a step, float64. Factors of the grid: "
            f"{', '.join(FACTORS)}."
        )
    else:
        found.append("No trained heads are given (`lj_core.heads`); closed forms stand alone.")
    found.append(
        "Real models: energies relative to the outermost frame, 12 Å apart at most, that model and "
        "reference both have (isolated), or to the model's own "
        "minimum (bonded), in eV, where the pair is closer than 0.6 of the sum of its covalent "
        "radii, against the reference of the scan set. A relaxation ends overlapped where any pair "
        "is below 0.7 of that sum. Intervals are the exact binomial ones of as many trials as "
        "there are molecules."
    )
    for name, frame in scores.items():
        lost = frame[~frame["status"].isin(["ok", "unsupported", "masked"])]
        if len(lost):
            first = lost.iloc[0]
            said = str(first["message"]) or str(first["status"])
            found.append(f"{name}: {len(lost)} of {len(frame)} cases failed; for example "
                         f"{first['case']}: {said}.")  # fmt: skip
    return tuple(found)
