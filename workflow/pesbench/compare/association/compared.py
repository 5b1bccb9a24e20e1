"""Whether smoothness predicts stability, of a run: the tests' tables and what went into them.

Rules (docs/association.md): one point a variant of the role `model`, of its family; numerical
variants of a checkpoint are one point, and so are the seeds of a potential; perturbed models are no
independent models and stand in a table and figures of their own (`pesbench.compare.dose`); runs
with half the time step are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pesbench.compare.association import cost
from pesbench.compare.association.known import counterexamples
from pesbench.compare.association.panel import (
    CHEAP_METRICS,
    FAILED,
    RESPONSES,
    TIME_LOST,
    Point,
    panel,
)
from pesbench.compare.association.partials import COVARIATES, HELD_OUT, HeldOut, Partial, partials
from pesbench.compare.association.table import table as association_table
from pesbench.compare.association.trajectories import (
    failed_at_start,
    runs_in_excess,
    start_failures,
)
from pesbench.compare.association.verdicts import PRIMARY, SECONDARY, Answer
from pesbench.compare.association.verdicts import answer as named_tests
from pesbench.compare.dose.table import dose_table
from pesbench.compare.inputs import CompareInputs, main_runs
from pesbench.compare.ladder.cards import read_card
from pesbench.metrics.aggregate import RESAMPLES
from pesbench.metrics.survival import Outcome
from pesbench.models.registry import ModelEntry
from pesbench.models.variants import architecture, potentials

# of the scans: what may predict, and what a correlation is given
_METRICS = tuple(dict.fromkeys([*CHEAP_METRICS, *(c for c in COVARIATES if c != HELD_OUT)]))

# --- what is compared ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Compared:
    """Data that enter the tests, and data that are left out.

    Attributes:
        scans: One row a (model, scan), see `association_panel.panel`.
        runs: One row a (model, trajectory) that counts.
        variants: Name of the variant of each model that is a numerical variant or a seed of one.
        seeds: Name of the point of each model that states to be a seed.
        points: Variant and family of each model.
        held_out: Error on held-out molecules of the models whose cards tell it.
        zero: Scores of the scans of the control of zero forces; None if it did not run.
        cost: Cost of scans and dynamics, see `pesbench.compare.association.cost.of_model`.
        left_out: Why a model is in no test, by model.
        perturbed: Kind of defect of the perturbed models of the run, by model.
        start_failed: Trajectories that failed before their first step where the reference
            survives, as failures at time 0; in no test, see `association.if_start_failed`.
        start_failures: For each model that has any: `model`, `n` of `n_planned` trajectories that
            failed before their first step, `n_counted` of them where the reference survives,
            `n_systems` molecules, and `how` in words.
        runs_left_out: Number of trajectories by reason.
        n_half: Trajectories with half the time step, in no test.
        reference: What failures are counted in excess of, or None.
        roles: Roles of all entries that ran.
    """

    scans: pd.DataFrame
    runs: pd.DataFrame
    variants: Mapping[str, str]
    seeds: Mapping[str, str]
    points: Mapping[str, Point]
    held_out: Mapping[str, HeldOut]
    zero: pd.DataFrame | None
    cost: pd.DataFrame
    left_out: Mapping[str, str]
    perturbed: Mapping[str, str]
    start_failed: pd.DataFrame
    start_failures: pd.DataFrame
    runs_left_out: Mapping[str, int]
    n_half: int
    reference: str | None
    roles: frozenset[str] = frozenset()


def compared(inputs: CompareInputs, entries: Mapping[str, ModelEntry]) -> Compared:
    """The models, scans and trajectories of the tests.

    Args:
        inputs: Facts and scores of a run.
        entries: Entries of its models, resolved, by name.
    """
    candidates = [fact.name for fact in inputs.facts if fact.role == "model"]
    chosen = [name for name in candidates if name in inputs.dynamics]
    potential = potentials({name: entries[name] for name in chosen})
    same = {name: variant for name, variant in potential.items() if variant != name}
    main = {name: main_runs(inputs.dynamics[name]).assign(model=name) for name in chosen}
    runs = _stacked(main.values(), _run_columns())
    reference = runs.assign(outcome=Outcome.SURVIVED.value)  # without one, every failure counts
    if inputs.reference is not None:
        reference = main_runs(inputs.dynamics[inputs.reference])
    counted, runs_left_out = runs_in_excess(runs, reference)
    start_failed, _ = runs_in_excess(failed_at_start(runs), reference)
    scans = _stacked((_scan_rows(inputs.scores[name], name) for name in chosen), _scan_columns())
    costs = (
        cost.of_model(name, same.get(name, name), inputs.scores[name], main[name])
        for name in chosen
    )
    return Compared(
        scans=scans,
        runs=counted,
        variants=same,
        seeds={n: v for n, v in same.items() if "seed_of" in entries[n].settings},
        points=_points(entries, chosen, same),
        held_out=_held_out(entries, chosen),
        zero=_zero(inputs),
        cost=pd.DataFrame(costs, columns=list(cost.COLUMNS)),
        left_out={name: "ran no dynamics" for name in candidates if name not in chosen},
        perturbed={f.name: f.perturbation[0] for f in inputs.facts if f.perturbation is not None},
        start_failed=start_failed,
        start_failures=_start_failures(runs, start_failed),
        runs_left_out={str(why): int(count) for why, count in runs_left_out.items()},
        n_half=sum(len(inputs.dynamics[name]) - len(main[name]) for name in chosen),
        reference=inputs.reference,
        roles=frozenset(fact.role for fact in inputs.facts),
    )


def _points(
    entries: Mapping[str, ModelEntry], chosen: Sequence[str], same: Mapping[str, str]
) -> dict[str, Point]:
    """The point of each model; a variant has the architecture of the entry it is named after."""
    variant = {name: same.get(name, name) for name in chosen}
    family = {one: architecture(entries[name]) for name, one in variant.items()}
    family |= {name: architecture(entries[name]) for name in chosen if name in family}
    return {name: Point(one, family[one]) for name, one in variant.items()}


def _held_out(entries: Mapping[str, ModelEntry], chosen: Sequence[str]) -> dict[str, HeldOut]:
    cards = {name: read_card(entries[name]) for name in chosen}
    return {
        name: HeldOut(card.frames, card.force_mae_mev_per_angstrom["unseen"] / 1000)
        for name, card in cards.items()
        if card is not None and card.frames and "unseen" in card.force_mae_mev_per_angstrom
    }


def _zero(inputs: CompareInputs) -> pd.DataFrame | None:
    names = [fact.name for fact in inputs.facts if fact.control == ("zero", None)]
    return next((_scan_rows(inputs.scores[n], n) for n in names if n in inputs.scores), None)


def _start_failures(runs: pd.DataFrame, counted: pd.DataFrame) -> pd.DataFrame:
    failed = runs[start_failures(runs)]
    rows = []
    for model, group in failed.groupby("model"):
        causes = Counter(group["failure"].where(group["failure"] != "", group["status"]))
        rows.append(
            {
                "model": str(model),
                "n": len(group),
                "n_planned": int((runs["model"] == model).sum()),
                "n_counted": int((counted["model"] == model).sum()),
                "n_systems": group["system"].nunique(),
                "how": ", ".join(
                    f"{count} {cause.replace('_', ' ')}" for cause, count in causes.most_common()
                ),
            }
        )
    columns = ["model", "n", "n_planned", "n_counted", "n_systems", "how"]
    return pd.DataFrame(rows, columns=columns)


def _run_columns() -> list[str]:
    identity = ("trajectory", "system", "temperature_k", "status", "failure", "outcome")
    return [
        "model",
        *identity,
        "time_ps",
        "planned_ps",
        *(name for name in RESPONSES if name not in (TIME_LOST, FAILED)),
    ]


def _scan_columns() -> list[str]:
    return ["model", "scan", "system", *_METRICS]


def _stacked(frames: Iterable[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    found = [frame[list(columns)] for frame in frames]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(columns))


def _scan_rows(scores: pd.DataFrame, model: str) -> pd.DataFrame:
    """Scores as numbers; a scan that failed has none, and is missing, not absent.

    So are metrics that scores of an older version do not have.
    """
    ok = scores["status"] == "ok"
    values = {
        # a column with flags and gaps comes as objects
        metric: scores[metric].astype("Float64").astype(float).where(ok)
        if metric in scores
        else float("nan")
        for metric in _METRICS
    }
    return scores[["scan", "system"]].assign(model=model, **values)


# --- the tests -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Associations:
    """The tests of a run.

    Attributes:
        compared: What they are of.
        answer: The two named tests.
        table: Table of `pesbench.compare.association.table.table`, and `verdict`: the sentence
            of the two named tests, "" for the exploratory ones.
        partials: The named tests given errors of the models.
        counterexamples: What perturbed models say of necessity and sufficiency, in sentences.
    """

    compared: Compared
    answer: Answer
    table: pd.DataFrame
    partials: Sequence[Partial]
    counterexamples: Sequence[str]


def associate(
    inputs: CompareInputs,
    entries: Mapping[str, ModelEntry],
    resamples: int = RESAMPLES,
    metrics: Iterable[str] = tuple(CHEAP_METRICS),
) -> Associations:
    """The primary, secondary and exploratory tests of a run.

    Args:
        inputs: Facts and scores of a run.
        entries: Entries of its models, resolved, by name.
        resamples: Bootstrap samples.
        metrics: Metrics of the table, including `fsd_full` and `fsd_windowed`.
    """
    data = compared(inputs, entries)
    answer = named_tests(
        data.scans,
        data.runs,
        data.points,
        resamples=resamples,
        start_failed=data.start_failed,
        in_excess=data.reference is not None,
        least_scans=inputs.entry_coverage,
    )
    table = association_table(
        data.scans,
        data.runs,
        data.points,
        metrics=metrics,
        resamples=resamples,
        start_failed=data.start_failed,
        least_scans=inputs.entry_coverage,
    )
    sentences = {
        "primary": answer.primary_verdict.sentence,
        "secondary": answer.secondary_verdict.sentence,
    }
    table["verdict"] = [sentences.get(role, "") for role in table["role"]]
    given = [
        one
        for metric in (PRIMARY, SECONDARY)
        for one in partials(
            panel(data.scans, data.runs, metric, TIME_LOST, data.points, inputs.entry_coverage),
            data.scans,
            data.zero,
            data.held_out,
            resamples=resamples,
        )
    ]
    shown = counterexamples(dose_table(inputs, entries))
    return Associations(data, answer, table, given, shown)
