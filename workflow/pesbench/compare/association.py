"""Whether smoothness predicts stability, of a run: the tests' tables and what went into them.

Rules (docs/association.md): one point a variant of the role `model`; numerical variants of a
checkpoint are one point, and so are the seeds of a potential; perturbed models are no independent
models and stand in a table and figures of their own (`pesbench.compare.dose`); runs with half the
time step are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pesbench.compare import association_cost
from pesbench.compare import association_metrics as association
from pesbench.compare.association_metrics import Answer, Association
from pesbench.compare.association_panel import (
    CHEAP_METRICS,
    FAILED,
    RESPONSES,
    TIME_LOST,
    failed_at_start,
    runs_in_excess,
    start_failures,
)
from pesbench.core.errors import reading
from pesbench.core.text import (
    csv_table,
    markdown,
    markdown_list,
    markdown_paragraph,
    markdown_table,
)
from pesbench.files.atomic import write_text
from pesbench.files.stored_tables import AGAIN, read_csv
from pesbench.metrics.aggregate import RESAMPLES
from pesbench.metrics.survival import Outcome
from pesbench.models.registry import ModelEntry
from pesbench.models.variants import potentials
from pesbench.report.tables import More, number
from pesbench.tasks.dynamics.section import main_runs

if TYPE_CHECKING:
    from pesbench.report.inputs import ReportInputs

HEADING = "Does smoothness predict stability?"
_SHORT = {
    TIME_LOST: "time lost",
    FAILED: "failures",
    "temperature_spike": "spike",
    "energy_drift_mev_per_atom_ps": "drift, absolute",
    "energy_rms_mev_per_atom": "RMS",
    "energy_excursion_mev_per_atom": "excursion",
    "energy_jump_mev": "jump",
}
_NO_MODELS = {"reference": "the reference", "control": "the controls"}
_NO_REFERENCE = "No reference ran dynamics: every failure counts, none is in excess of one."
_WHY_NOT = {
    "reference_failed": "where the reference itself fails",
    "reference_unknown": "where the reference was cut or is missing",
}


# --- what is compared ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Compared:
    """What enters the tests, and what does not.

    Attributes:
        scans: One row a (model, scan), see `association_panel.panel`.
        runs: One row a (model, trajectory) that counts.
        variants: Name of the variant of each model that is a numerical variant or a seed of one.
        seeds: The same of the models that say to be a seed.
        families: Of each variant.
        cost: Of both sides, see `pesbench.compare.association_cost.of_model`.
        left_out: Why a model is in no test, by model.
        perturbed: Kind of defect of the perturbed models of the run, by model.
        start_failed: Trajectories that failed before their first step where the reference
            survives, as failures at time 0; in no test, see `association.if_start_failed`.
        start_failures: Of each model that has any: `model`, `n` of `n_planned` trajectories that
            failed before their first step, `n_counted` of them where the reference survives,
            `n_systems` molecules, and `how` in words.
        runs_left_out: Number of trajectories by reason.
        n_half: Trajectories with half the time step, in no test.
        reference: What failures are counted in excess of, or None.
        roles: Of all that was run.
    """

    scans: pd.DataFrame
    runs: pd.DataFrame
    variants: Mapping[str, str]
    seeds: Mapping[str, str]
    families: Mapping[str, str]
    cost: pd.DataFrame
    left_out: Mapping[str, str]
    perturbed: Mapping[str, str]
    start_failed: pd.DataFrame
    start_failures: pd.DataFrame
    runs_left_out: Mapping[str, int]
    n_half: int
    reference: str | None
    roles: frozenset[str] = frozenset()


def compared(inputs: ReportInputs, entries: Mapping[str, ModelEntry]) -> Compared:
    """The models, scans and trajectories of the tests.

    Args:
        inputs: Facts and scores of a run.
        entries: Of its models, resolved, by name.
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
        association_cost.of_model(name, same.get(name, name), inputs.scores[name], main[name])
        for name in chosen
    )
    return Compared(
        scans=scans,
        runs=counted,
        variants=same,
        seeds={n: v for n, v in same.items() if "seed_of" in entries[n].settings},
        families={same.get(name, name): entries[name].family for name in reversed(chosen)},
        cost=pd.DataFrame(costs, columns=list(association_cost.COLUMNS)),
        left_out={name: "ran no dynamics" for name in candidates if name not in chosen},
        perturbed={f.name: f.perturbation[0] for f in inputs.facts if f.perturbation is not None},
        start_failed=start_failed,
        start_failures=_start_failures(runs, start_failed),
        runs_left_out={str(why): int(count) for why, count in runs_left_out.items()},
        n_half=sum(len(inputs.dynamics[name]) - len(main[name]) for name in chosen),
        reference=inputs.reference,
        roles=frozenset(fact.role for fact in inputs.facts),
    )


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
    return ["model", "scan", "system", *CHEAP_METRICS]


def _stacked(frames: Iterable[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    found = [frame[list(columns)] for frame in frames]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(columns))


def _scan_rows(scores: pd.DataFrame, model: str) -> pd.DataFrame:
    """Scores as numbers; a scan that failed has none, and is missing, not absent."""
    ok = scores["status"] == "ok"
    values = {
        # a column with flags and gaps comes as objects
        metric: scores[metric].astype("Float64").astype(float).where(ok)
        for metric in CHEAP_METRICS
    }
    return scores[["scan", "system"]].assign(model=model, **values)


# --- the tests -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Associations:
    """The tests of a run.

    Attributes:
        compared: What they are of.
        answer: The two named tests.
        table: Of `pesbench.compare.association_metrics.table`, and `verdict`: the sentence of the
            two named tests, "" for the exploratory ones.
    """

    compared: Compared
    answer: Answer
    table: pd.DataFrame


def associate(
    inputs: ReportInputs,
    entries: Mapping[str, ModelEntry],
    resamples: int = RESAMPLES,
    metrics: Iterable[str] = tuple(CHEAP_METRICS),
) -> Associations:
    """The primary, secondary and exploratory tests of a run.

    Args:
        inputs: Facts and scores of a run.
        entries: Of its models, resolved, by name.
        resamples: Bootstrap samples.
        metrics: Of the table, `fsd_full` and `fsd_windowed` among them.
    """
    data = compared(inputs, entries)
    answer = association.answer(
        data.scans,
        data.runs,
        data.variants,
        resamples=resamples,
        start_failed=data.start_failed,
        in_excess=data.reference is not None,
    )
    table = association.table(
        data.scans,
        data.runs,
        data.variants,
        metrics=metrics,
        resamples=resamples,
        start_failed=data.start_failed,
    )
    sentences = {
        "primary": answer.primary_verdict.sentence,
        "secondary": answer.secondary_verdict.sentence,
    }
    table["verdict"] = [sentences.get(role, "") for role in table["role"]]
    return Associations(data, answer, table)


# --- for readers ---------------------------------------------------------------------------------


def _interval(low: float, high: float) -> str:
    return "none" if np.isnan(low) else f"{low:.2f} to {high:.2f}"


def _decimal(value: float, form: str = ".2f") -> str:
    return "n/a" if value is None or np.isnan(value) else format(value, form)


def _named(found: pd.DataFrame) -> pd.DataFrame:
    """The two named tests as text cells, from rows of the table."""
    rows = found.set_index("role").loc[["primary", "secondary"]].reset_index()
    return pd.DataFrame(
        [
            {
                "test": row["role"],
                "metric": row["metric"],
                "n": f"{row['n']:.0f}",
                "Spearman ρ": _decimal(row["spearman"]),
                "95 % interval": _interval(row["spearman_low"], row["spearman_high"]),
                "ρ, start failures lose all": _start_failed_cell(row),
                "p": _decimal(row["p"], ".2g"),
                "given force MAE": _decimal(row["partial"]),
                "scans": f"{row['n_scans']:.0f}",
                "trajectories": f"{row['n_runs']:.0f}",
                "molecules": f"{row['n_systems']:.0f}",
            }
            for row in rows.to_dict("records")
        ]
    )


def _start_failed_cell(row: Mapping[str, Any]) -> str:
    """The bound, with its n where that is another one."""
    if pd.isna(row["n_start_failed"]):
        return "n/a"
    text = _decimal(row["spearman_start_failed"])
    same = row["n_start_failed"] == row["n"]
    return text if same else f"{text} (n = {row['n_start_failed']:.0f})"


def verdict(csv: Path) -> str:
    """The sentence of the primary test, from association.csv."""
    with reading(csv, "not a table that `associate` writes", AGAIN):
        return str(read_csv(csv, ("role", "verdict")).set_index("role")["verdict"]["primary"])


def section(csv: Path, *, has_reference: bool = True) -> More:
    """The section of the leaderboard and the page, from association.csv.

    Args:
        csv: Of `write`.
        has_reference: Whether a reference ran dynamics, that failures are counted in excess of.
    """
    with reading(csv, "not a table that `associate` writes", AGAIN):
        table = read_csv(csv, ("role", "verdict"))
        sentence = table.set_index("role")["verdict"]
        return More(
            HEADING,
            _named(table),
            (
                f"Primary: {sentence['primary']}",
                f"Secondary: {sentence['secondary']}",
                "Rank correlation of the mean metric of the scans with the survival time lost in "
                "the dynamics, one point a variant of a model, its seeds averaged. Who was left "
                "out, the exploratory tests and what both sides cost: association.md.",
                *(() if has_reference else (_NO_REFERENCE,)),
            ),
        )


def _points(found: Associations) -> pd.DataFrame:
    """The variants of the two named tests as text cells, smoothest first."""
    rows: dict[str, dict[str, Any]] = {}
    for test in (found.answer.primary, found.answer.secondary):
        for k, variant in enumerate(test.variants):
            row = rows.setdefault(variant, {"variant": variant})
            row[test.metric] = test.x[k]
            row["lost"], row["failed"] = test.y[k], test.failed[k]
    keys = sorted(rows, key=lambda name: (rows[name].get(association.PRIMARY, np.inf), name))
    members = found.compared.cost.groupby("variant")["model"].agg(", ".join)
    return pd.DataFrame(
        [
            {
                "variant": name,
                "models": members[name],
                "FSD (Å⁻¹)": number(rows[name].get(association.PRIMARY, np.nan)),
                "windowed (Å⁻¹)": number(rows[name].get(association.SECONDARY, np.nan)),
                "time lost (ps)": number(rows[name]["lost"]),
                "failed (%)": number(100 * rows[name]["failed"]),
            }
            for name in keys
        ]
    )


def _exploratory(table: pd.DataFrame, level: str) -> pd.DataFrame:
    """ρ and adjusted p of one level as text cells: a row a metric, a column a response."""
    rows = table[table["level"] == level].set_index(["metric", "response"])
    cells = []
    for metric in (name for name in CHEAP_METRICS if name in set(table["metric"])):
        row = {"metric": metric}
        for response in RESPONSES:
            one = rows.loc[(metric, response)]
            text = _decimal(one["spearman"])
            if one["role"] != "exploratory":
                text = f"{one['role']} test"
            elif not np.isnan(one["p_adjusted"]):
                text += f" ({one['p_adjusted']:.2g})"
            row[_SHORT[response]] = text
        cells.append(row)
    return pd.DataFrame(cells)


def _left_out(data: Compared, answer: Answer) -> list[str]:
    """Who and what is in no test, and why."""
    said = [f"{model}: {why}." for model, why in sorted(data.left_out.items())]
    tests: dict[tuple[str, str], list[str]] = {}
    for test in (answer.primary, answer.secondary):
        for model, why in test.left_out.items():
            tests.setdefault((model, why), []).append(test.metric)
    said += [
        f"{model}: {why}" + ("." if len(metrics) > 1 else f" (test of {metrics[0]}).")
        for (model, why), metrics in sorted(tests.items())
    ]
    said += [
        f"{model}: another seed of {variant}; the seeds of a potential are one point, their mean."
        if model in data.seeds
        else f"{model}: the same checkpoint as {variant}; the two are one point, their mean."
        for model, variant in sorted(data.variants.items())
    ]
    if data.perturbed:
        kinds = Counter(data.perturbed.values())
        said.append(
            f"{len(data.perturbed)} perturbed models "
            f"({', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}): another "
            "model plus a defect of known size, hence not independent of it; dose and response are "
            "a figure of their own."
        )
    absent, failed = data.runs_left_out["not_at_risk"], int(data.start_failures["n"].sum())
    if absent:
        said.append(
            f"{absent} trajectories not at risk: {failed} failed before the first step, "
            f"{absent - failed} were not put to the model (unsupported)."
        )
    said += [
        f"{data.runs_left_out[why]} trajectories {words}."
        for why, words in _WHY_NOT.items()
        if data.runs_left_out[why]
    ]
    if data.n_half:
        said.append(f"{data.n_half} trajectories with half the time step.")
    known = [words for role, words in _NO_MODELS.items() if role in data.roles]
    if known:
        said.append(f"{' and '.join(known).capitalize()}, which are no models.")
    return said or ["Nothing."]


def _bounds(test: Association) -> list[str]:
    if test.if_all_fail is None or test.if_all_survive is None:
        return []
    return [
        f"{test.metric}: runs were cut. ρ is {test.if_all_fail:.2f} if all of them had failed "
        f"then, {test.if_all_survive:.2f} if all had lived."
    ]


def _start_failed_bound(test: Association) -> list[str]:
    bound = test.if_start_failed
    if bound is None:
        return []
    return [
        f"{test.metric}: ρ is {_decimal(bound.spearman)} (n = {bound.n}) if what failed before its "
        f"first step (trajectories: {bound.n_runs}) had lost all of its time; "
        f"{_decimal(test.spearman)} (n = {test.n}) leaves that out, for all models."
    ]


def _start_failures_table(found: pd.DataFrame) -> pd.DataFrame:
    """Start failures of each model as text cells, most first."""
    rows = found.sort_values(["n", "model"], ascending=[False, True]).to_dict("records")
    return pd.DataFrame(
        [
            {
                "model": row["model"],
                "failed before the first step": f"{row['n']} of {row['n_planned']}",
                "where the reference survives": str(row["n_counted"]),
                "molecules": str(row["n_systems"]),
                "how": row["how"],
            }
            for row in rows
        ]
    )


def _grid(table: pd.DataFrame) -> str:
    words = ("test", "metric", "variant", "models", "model", "device", "how")
    return markdown_table(table, words)


def to_markdown(found: Associations, title: str = HEADING) -> str:
    """The tests of a run as Markdown: the verdict first, then what it rests on."""
    data, answer = found.compared, found.answer
    parts = [f"# {markdown(title)}", f"**{markdown(answer.primary_verdict.sentence)}**"]
    if data.reference is None:
        parts.append(_NO_REFERENCE)
    parts += [
        "## The two named tests",
        "Of the survival time lost, one point a variant of a model. Decided before there was an "
        "answer: fsd_full is the test, fsd_windowed stands beside it.",
        _grid(_named(found.table)),
        markdown(f"Secondary: {answer.secondary_verdict.sentence}"),
        *_bounds(answer.primary),
        *_bounds(answer.secondary),
        *_start_failed_bound(answer.primary),
        *_start_failed_bound(answer.secondary),
    ]
    if len(data.cost):
        parts.append(markdown_paragraph(association_cost.sentence(data.cost)))
    points = _points(found)
    if len(points):
        parts += [
            "Means over the scans and trajectories that all models of a test share:",
            _grid(points),
        ]
    parts += ["## Left out", markdown_list(_left_out(data, answer))]
    if len(data.start_failures):
        parts += [
            "## Failed before the first step",
            "In no test, and their molecules and temperatures for no model; models without such a "
            "failure are not listed. What they could change stands beside the named tests.",
            _grid(_start_failures_table(data.start_failures)),
        ]
    if len(data.cost):
        parts += [
            "## What both sides cost",
            _grid(association_cost.cells(data.cost)),
            markdown_paragraph(association_cost.explained(data.cost)),
        ]
    tested = int(found.table["p_adjusted"].notna().sum())
    parts += [
        "## Exploratory",
        f"Questions for other models, no results: Spearman's ρ, in brackets p after Benjamini and "
        f"Hochberg over the {tested} exploratory tests that have one. Every number, with intervals "
        "and denominators, stands in association.csv.",
    ]
    for level, heading in (
        (association.Level.MODEL, "Over models"),
        (association.Level.MODEL_SYSTEM, "Over (model, molecule) pairs"),
    ):
        parts += [f"### {heading}", _grid(_exploratory(found.table, level.value))]
    return "\n\n".join(parts) + "\n"


def write(
    found: Associations,
    csv: Path,
    md: Path,
    title: str = HEADING,
    made: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the tests as csv and md, each whole or not at all.

    Args:
        found: Of `associate`.
        csv: Where to.
        md: Where to.
        title: Heading of the md.
        made: Names and values at the foot of the md: how it was made.
    """
    write_text(csv, csv_table(found.table))
    text = to_markdown(found, title)
    if made:
        items = markdown_list(f"{name}: {value}" for name, value in made)
        text += f"\n## How it was made\n\n{items}\n"
    write_text(md, text)
