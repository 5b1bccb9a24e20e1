"""Columns for the leaderboard, from the scores of a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from pesbench.core.section import FLAG, INTEGER, NUMBER, TEXT, BoardColumn, Metric
from pesbench.core.text import number
from pesbench.metrics import aggregate


def scored_values(scores: pd.DataFrame, metric: str) -> pd.Series:
    """A metric of the rows that have it: those whose status is `ok`, and whose value is finite."""
    values = scores.loc[scores["status"] == "ok", metric].astype("Float64").dropna().astype(float)
    return values[np.isfinite(values)]


def mean_columns(
    task: str, metrics: Iterable[Metric], scores: Mapping[str, pd.DataFrame]
) -> list[BoardColumn]:
    """The mean of every metric with `on_board` over the rows that have it.

    Args:
        task: Name of the task, with which the names of the columns begin.
        metrics: Metrics of the task.
        scores: Scores by model.

    Returns:
        `<task>_n_planned`, the number of rows; of each metric `<task>_<metric>`, with the number of
        rows behind it. A model without any such row has no value: a failure is no 0.
    """
    planned = Metric(f"{task}_n_planned", f"{task}: planned", help="Number of rows.")
    rows = {name: len(frame) for name, frame in scores.items()}
    found = [BoardColumn(planned, rows, kind=INTEGER)]
    for metric in metrics:
        if not metric.on_board:
            continue
        values = {name: scored_values(frame, metric.name) for name, frame in scores.items()}
        shown = Metric(f"{task}_{metric.name}", metric.title, metric.unit, metric.better,
                       metric.help)  # fmt: skip
        found.append(
            BoardColumn(
                shown,
                {name: aggregate.mean(some) for name, some in values.items() if len(some)},
                {name: len(some) for name, some in values.items()},
            )
        )
    return found


def mean_table(
    metrics: Iterable[Metric], scores: Mapping[str, pd.DataFrame], labels: Mapping[str, str]
) -> pd.DataFrame:
    """The means of `mean_columns` as text cells: a row a model, a column a metric.

    Args:
        metrics: Metrics of the task; those with `on_board` are shown.
        scores: Scores by model.
        labels: What a model is called, by name.

    Returns:
        `model`, `scored / planned`, each metric with its unit, and `not scored`: the number of
        failures by status. A mean of fewer rows than are scored has their number in brackets.
    """
    shown = [metric for metric in metrics if metric.on_board]
    rows = []
    for name, frame in scores.items():
        ok = int((frame["status"] == "ok").sum())
        cells = {"model": labels[name], "scored / planned": f"{ok} / {len(frame)}"}
        for metric in shown:
            values = scored_values(frame, metric.name)
            text = number(aggregate.mean(values) if len(values) else float("nan"))
            few = 0 < len(values) < ok
            cells[metric.heading] = f"{text} ({len(values)} of {ok})" if few else text
        failed = frame.loc[frame["status"] != "ok", "status"].value_counts()
        told = (f"{count} {str(status).replace('_', ' ')}" for status, count in failed.items())
        rows.append(cells | {"not scored": ", ".join(told) or "–"})
    return pd.DataFrame(rows)


def frame_columns(
    frame: pd.DataFrame, metrics: Mapping[str, Metric] | None = None
) -> list[BoardColumn]:
    """Columns of a table with one row a model, for the leaderboard.

    Args:
        frame: A column `model` and others; kinds follow from their types.
        metrics: What is known of a column, by name.
    """
    known = metrics or {}
    found = []
    for name in frame.columns:
        if name == "model":
            continue
        kept = frame.loc[frame[name].notna(), ["model", name]]
        values = dict(zip(kept["model"], kept[name], strict=True))
        metric = known.get(name) or Metric(name, name)
        found.append(BoardColumn(metric, values, kind=_kind(frame[name])))
    return found


def board_frame(columns: Sequence[BoardColumn], models: Sequence[str]) -> pd.DataFrame:
    """The reverse of `frame_columns`: one row a model, missing values where there is none.

    Args:
        columns: Columns of sections.
        models: Models of the rows, in order.
    """
    found: dict[str, pd.Series] = {"model": pd.Series(list(models), dtype=object)}
    for column in columns:
        values = [column.values.get(name) for name in models]
        found[column.metric.name] = _series(values, column.kind)
        if column.counts:
            counts = [column.counts.get(name) for name in models]
            found[f"{column.metric.name}_n"] = _series(counts, INTEGER)
    return pd.DataFrame(found)


def _kind(values: pd.Series) -> str:
    kinds = pd.api.types
    if kinds.is_bool_dtype(values):
        return FLAG
    if kinds.is_integer_dtype(values):
        return INTEGER
    return NUMBER if kinds.is_float_dtype(values) or values.isna().all() else TEXT


def _series(values: list[object], kind: str) -> pd.Series:
    if kind == TEXT:
        return pd.Series(["" if value is None else value for value in values], dtype=object)
    if kind == NUMBER:
        return pd.Series([np.nan if value is None else value for value in values], dtype=float)
    return pd.Series(values, dtype="boolean" if kind == FLAG else "Int64")
