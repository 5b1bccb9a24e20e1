"""The tests of a run for readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pesbench.compare.association import cost
from pesbench.compare.association.compared import Associations, Compared
from pesbench.compare.association.comparison import COMPARISON
from pesbench.compare.association.correlations import Association, Level
from pesbench.compare.association.panel import CHEAP_METRICS, FAILED, RESPONSES, TIME_LOST
from pesbench.compare.association.partials import COVARIATES, Partial
from pesbench.compare.association.verdicts import PRIMARY, SECONDARY, SIGNIFICANCE, Answer
from pesbench.core.section import Table
from pesbench.core.text import markdown, markdown_list, markdown_paragraph, markdown_table, number

HEADING = COMPARISON.title
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
NO_REFERENCE = "No reference ran dynamics: every failure counts, none is in excess of one."
_WHY_NOT = {
    "reference_failed": "where the reference itself fails",
    "reference_unknown": "where the reference was cut or is missing",
}


def _interval(low: float, high: float) -> str:
    return "none" if np.isnan(low) else f"{low:.2f} to {high:.2f}"


def _decimal(value: float, form: str = ".2f") -> str:
    return "n/a" if value is None or np.isnan(value) else format(value, form)


def named_tests_table(found: pd.DataFrame) -> pd.DataFrame:
    """The two named tests as text cells, from rows of the table."""
    rows = found.set_index("role").loc[["primary", "secondary"]].reset_index()
    return pd.DataFrame(
        [
            {
                "test": row["role"],
                "metric": row["metric"],
                "n": f"{row['n']:.0f}",
                "families": f"{row['n_families']:.0f}",
                "Spearman ρ": _decimal(row["spearman"]),
                "95 % interval": _interval(row["spearman_low"], row["spearman_high"]),
                "ρ, start failures lose all": _start_failed_cell(row),
                "within families": _decimal(row["given_family"]),
                "p": _decimal(row["p"], ".2g"),
                "explained: metric": _decimal(row["spearman"] ** 2),
                "bare family": _decimal(row["family_explains"]),
                "scans": f"{row['n_scans']:.0f}",
                "trajectories": f"{row['n_runs']:.0f}",
                "molecules": f"{row['n_systems']:.0f}",
            }
            for row in rows.to_dict("records")
        ]
    )


def families_table(answer: Answer) -> pd.DataFrame:
    """Each family alone, and the tests with each family left out once, as text cells."""
    rows = []
    for role, test in (("primary", answer.primary), ("secondary", answer.secondary)):
        for family, alone in test.alone.items():
            rest = test.without.get(family)
            rows.append(
                {
                    "test": role,
                    "family": family,
                    "variants": str(alone.n),
                    "failed (%)": number(100 * float(alone.failed.mean())),
                    "ρ in it": _decimal(alone.spearman),
                    "95 % interval in it": _interval(alone.interval.low, alone.interval.high),
                    "p in it": _decimal(alone.p, ".2g"),
                    **_without(rest),
                }
            )
    return pd.DataFrame(rows)


def _without(rest: Association | None) -> dict[str, str]:
    if rest is None:
        return {"ρ without": "n/a", "95 % interval without": "none", "p without": "n/a"}
    return {
        "ρ without": _decimal(rest.spearman),
        "95 % interval without": _interval(rest.interval.low, rest.interval.high),
        "p without": _decimal(rest.p, ".2g"),
    }


def partials_table(found: Sequence[Partial]) -> pd.DataFrame:
    """The named tests given an error of the models, as text cells."""
    return pd.DataFrame(
        [
            {
                "metric": one.metric,
                "given": COVARIATES[one.covariate],
                "n": str(one.n),
                "family": ", ".join(one.families) or "n/a",
                "from (eV/Å)": number(one.low),
                "to (eV/Å)": number(one.high),
                "zero forces (eV/Å)": number(one.zero),
                "ρ": _decimal(one.plain),
                "ρ given it": one.refused or _decimal(one.spearman),
                "95 % interval": _interval(one.interval.low, one.interval.high),
            }
            for one in found
        ]
    )


def _within_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What both named metrics tell within models, rows of the table."""
    rows = table[(table["level"] == Level.WITHIN.value) & (table["response"] == TIME_LOST)]
    return rows[rows["metric"].isin([PRIMARY, SECONDARY])].sort_values("metric")


def within_table(table: pd.DataFrame) -> pd.DataFrame:
    """Whether the named metrics tell which molecule fails, as text cells."""
    return pd.DataFrame(
        [
            {
                "metric": row["metric"],
                "variants": f"{row['n']:.0f}",
                "molecules": f"{row['n_systems']:.0f}",
                "mean ρ within": _decimal(row["spearman"]),
                "95 % interval": _interval(row["spearman_low"], row["spearman_high"]),
                "p": _decimal(row["p"], ".2g"),
                "mean AUROC within": _decimal(row["auroc"]),
                "95 % interval of it": _interval(row["auroc_low"], row["auroc_high"]),
                "pooled AUROC": _decimal(row["auroc_pooled"]),
                "bare family": _decimal(row["auroc_family"]),
            }
            for row in _within_rows(table).to_dict("records")
        ]
    )


def within_sentence(table: pd.DataFrame) -> str:
    """Whether the primary metric tells which molecule fails."""
    rows = _within_rows(table)
    row = rows[rows["metric"] == PRIMARY].iloc[0].to_dict()
    if np.isnan(row["spearman"]):
        return (
            f"Which molecule fails: no model has a {PRIMARY} and a time lost that both differ over "
            f"the molecules with shared scans and trajectories (n = {row['n_systems']:.0f})."
        )
    low, high = row["spearman_low"], row["spearman_high"]
    tells = row["p"] < SIGNIFICANCE and (low if row["expected"] > 0 else -high) > 0
    said = "tells" if tells else "does not tell"
    numbers = [f"mean ρ over {row['n_systems']:.0f} molecules {row['spearman']:.2f}"]
    if np.isfinite(low):
        numbers.append(f"95 % interval {low:.2f} to {high:.2f}")
    numbers += [f"p = {_decimal(row['p'], '.2g')}", f"{row['n']:.0f} variants"]
    sentence = f"Which molecule fails: within models {PRIMARY} {said} it ({', '.join(numbers)})."
    if np.isfinite(row["auroc_pooled"]):
        sentence += (
            f" The AUROC over all pairs of model and molecule, {row['auroc_pooled']:.2f}, tells "
            f"models apart: the bare name of the family reaches {row['auroc_family']:.2f}; within "
            f"models it is {_decimal(row['auroc'])}."
        )
    return sentence


def _start_failed_cell(row: Mapping[str, Any]) -> str:
    """The bound, with its n where that is another one."""
    if pd.isna(row["n_start_failed"]):
        return "n/a"
    text = _decimal(row["spearman_start_failed"])
    same = row["n_start_failed"] == row["n"]
    return text if same else f"{text} (n = {row['n_start_failed']:.0f})"


def _points(found: Associations) -> pd.DataFrame:
    """The variants of the two named tests as text cells, smoothest first."""
    rows: dict[str, dict[str, Any]] = {}
    for test in (found.answer.primary, found.answer.secondary):
        for k, variant in enumerate(test.variants):
            row = rows.setdefault(variant, {"variant": variant})
            row[test.metric] = test.x[k]
            row["lost"], row["failed"] = test.y[k], test.failed[k]
    keys = sorted(rows, key=lambda name: (rows[name].get(PRIMARY, np.inf), name))
    family = {point.variant: point.family for point in found.compared.points.values()}
    cost_of = found.compared.cost
    gone = set(found.answer.primary.left_out) & set(found.answer.secondary.left_out)
    members = cost_of[~cost_of["model"].isin(gone)].groupby("variant")["model"].agg(", ".join)
    return pd.DataFrame(
        [
            {
                "variant": name,
                "family": family[name],
                "models": members[name],
                "FSD (Å⁻¹)": number(rows[name].get(PRIMARY, np.nan)),
                "windowed (Å⁻¹)": number(rows[name].get(SECONDARY, np.nan)),
                "time lost (ps)": number(rows[name]["lost"]),
                "failed (%)": number(100 * rows[name]["failed"]),
            }
            for name in keys
        ]
    )


def _exploratory(table: pd.DataFrame, level: str) -> pd.DataFrame:
    """ρ and adjusted p of one level as text cells: a row a metric, a column a response.

    Over models it is the correlation within families, which p tests.
    """
    tested = "given_family" if level == Level.MODEL.value else "spearman"
    rows = table[table["level"] == level].set_index(["metric", "response"])
    cells = []
    for metric in (name for name in CHEAP_METRICS if name in set(table["metric"])):
        row = {"metric": metric}
        for response in RESPONSES:
            one = rows.loc[(metric, response)]
            text = _decimal(one[tested])
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
        f"{model}: another seed of {variant}; the mean of the seeds of a potential is one point."
        if model in data.seeds
        else f"{model}: the same checkpoint as {variant}; the mean of the two is one point."
        for model, variant in sorted(data.variants.items())
    ]
    if data.perturbed:
        kinds = Counter(data.perturbed.values())
        said.append(
            f"{len(data.perturbed)} perturbed models "
            f"({', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}): another "
            "model plus a defect of known size, hence not independent of it; see the figure of "
            "dose and response."
        )
    absent, failed = data.runs_left_out["not_at_risk"], int(data.start_failures["n"].sum())
    if absent:
        said.append(
            f"{absent} trajectories not at risk: {failed} failed before the first step, "
            f"{absent - failed} were not put to the model (unsupported, masked or not evaluated)."
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
        f"{test.metric}: some runs were cut. ρ is {test.if_all_fail:.2f} if all of these failed at "
        f"that time, {test.if_all_survive:.2f} if all of them survived."
    ]


def _start_failed_bound(test: Association) -> list[str]:
    bound = test.if_start_failed
    if bound is None:
        return []
    return [
        f"{test.metric}: ρ is {_decimal(bound.spearman)} (n = {bound.n}) if trajectories that "
        f"failed before their first step ({bound.n_runs}) lose all of their time; "
        f"{_decimal(test.spearman)} (n = {test.n}) leaves them out, for all models."
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
    words = ("test", "metric", "variant", "family", "given", "models", "model", "device", "how")
    return markdown_table(table, words)


def further_tables(found: Associations) -> list[Table]:
    """Families left out, accuracy, single molecules; those that have rows."""
    tables = [
        Table(
            "families",
            families_table(found.answer),
            "Each family alone, and left out once",
            ["A statement about models has to hold without any one family."],
        ),
        Table(
            "given_accuracy",
            partials_table(found.partials),
            "Given the accuracy of the models",
            [
                "ρ of the variants that have the covariate, and what is left of it given the ranks "
                "of the covariate. A covariate of which at least half of the variants are no "
                "better than zero forces (the 95 % interval of their value contains that of zero "
                "forces or lies above it) is saturated: it is no measure of accuracy, and no "
                "correlation is given."
            ],
        ),
        Table(
            "within_models",
            within_table(found.table),
            "Which molecule fails",
            [within_sentence(found.table)],
        ),
    ]
    return [table for table in tables if len(table.rows)]


def _further(found: Associations) -> list[str]:
    """These tables, and the counterexamples."""
    parts = []
    for table in further_tables(found):
        parts += [f"## {table.title}", *(markdown(note) for note in table.notes), _grid(table.rows)]
    if found.counterexamples:
        parts += [
            "## Necessary, sufficient",
            "Perturbed models are the reference plus a defect of known size.",
            markdown_list(found.counterexamples),
        ]
    return parts


def to_markdown(
    found: Associations, title: str = HEADING, made: Sequence[tuple[str, str]] = ()
) -> str:
    """The tests of a run as Markdown: the verdict first, then what it rests on.

    Args:
        found: Tests of `pesbench.compare.association.compared.associate`.
        title: Heading.
        made: Names and values at the foot: how it was made.
    """
    data, answer = found.compared, found.answer
    parts = [f"# {markdown(title)}", f"**{markdown(answer.primary_verdict.sentence)}**"]
    if data.reference is None:
        parts.append(NO_REFERENCE)
    parts += [
        "## The two named tests",
        "The response is the survival time lost; a point is one variant of a model, and the "
        "population is families of models. Before there was an answer, fsd_full was chosen as the "
        "primary and fsd_windowed as the secondary metric. p is that of the correlation within "
        "families. *Explained* is the share of the variance of the ranks of the time lost: by the "
        "metric (ρ²), and by the bare name of the family.",
        _grid(named_tests_table(found.table)),
        markdown(f"Secondary: {answer.secondary_verdict.sentence}"),
        *_bounds(answer.primary),
        *_bounds(answer.secondary),
        *_start_failed_bound(answer.primary),
        *_start_failed_bound(answer.secondary),
    ]
    if len(data.cost):
        parts.append(markdown_paragraph(cost.sentence(data.cost)))
    points = _points(found)
    if len(points):
        parts += [
            "Means over the scans and trajectories that all models of a test share:",
            _grid(points),
        ]
    parts += _further(found)
    parts += ["## Left out", markdown_list(_left_out(data, answer))]
    if len(data.start_failures):
        parts += [
            "## Failed before the first step",
            "These trajectories are in no test, and their molecules and temperatures are left "
            "out for all models. Models without such a failure are not listed. The bound beside "
            "the named tests shows what they could change.",
            _grid(_start_failures_table(data.start_failures)),
        ]
    if len(data.cost):
        parts += [
            "## What both sides cost",
            _grid(cost.cells(data.cost)),
            markdown_paragraph(cost.explained(data.cost)),
        ]
    tested = int(found.table["p_adjusted"].notna().sum())
    parts += [
        "## Exploratory",
        f"These are hypotheses to test on other models, not results: Spearman's ρ, in brackets p "
        f"after Benjamini and Hochberg over the {tested} exploratory tests that have one. "
        "association.csv has all numbers, with intervals and denominators.",
    ]
    for level, heading in (
        (Level.MODEL, "Over models, within families"),
        (Level.WITHIN, "Over molecules within models, means over models"),
    ):
        parts += [f"### {heading}", _grid(_exploratory(found.table, level.value))]
    if made:
        parts += ["## How it was made", markdown_list(f"{name}: {value}" for name, value in made)]
    return "\n\n".join(parts) + "\n"
