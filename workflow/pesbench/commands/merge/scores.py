"""Scores of a task: read from a folder of any origin, or made by this version."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pesbench.core.errors import UserError, reading
from pesbench.core.found import stage_modules
from pesbench.core.interface import Status
from pesbench.core.settings import check_limits, keys
from pesbench.core.task import Task, row_key
from pesbench.files import stored_tables
from pesbench.files.fingerprint import stage_fingerprint
from pesbench.files.split import SEEN, UNSEEN

ABSENT = "not_evaluated"  # status of items that other models have and this one never ran
_TEXT = frozenset({"model", "seen", "status", "message"})  # of every task
_WORDS = {"status": frozenset(Status), "seen": frozenset(("", SEEN, UNSEEN))}
_SPENT = ("wall_s", "command_s")  # of every task that states them


def row_keys(rows: pd.DataFrame, task: Task) -> pd.Series:
    """The key of each row of scores, see `Task.keys`."""
    values = zip(*(rows[column].tolist() for column in task.keys), strict=True)
    return pd.Series([row_key(one) for one in values], index=rows.index, dtype=object)


def in_order(rows: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The rows sorted by their keys, those of one value of the last key together."""
    attributes = rows.attrs
    rows = rows.sort_values(list(reversed(task.keys)), ignore_index=True)
    rows.attrs = attributes
    return rows


def _required(task: Task) -> list[str]:
    """Columns that no scores lack, whatever their version."""
    return [*dict.fromkeys(("model", task.item, *task.keys, *task.identity, "status", "message"))]


def _text(task: Task) -> frozenset[str]:
    return _TEXT.union(task.text)


def read_scores(path: Path, task: Task) -> pd.DataFrame:
    """Stored scores without the rows of what was never evaluated.

    Columns that an older version did not write are there, without a value; `attrs["lacks"]` names
    them.

    Raises:
        UserError: they are no scores, are damaged, or hold what no score is.
        HostError: the system failed, and not the file.
    """
    cure = f"score again with `python -m pesbench score {task.name}`"
    required, text = _required(task), _text(task)
    texts = [column for column in required if column in text]
    gaps = [column for column in task.text if column not in required]
    rows = stored_tables.read_scores(path, required, texts, gaps, cure)
    declared = [*required, *gaps, *(metric.name for metric in task.metrics)]
    lacks = [column for column in dict.fromkeys(declared) if column not in rows]
    told = [*lacks, *(column for column in task.unstable if column not in (*rows, *lacks))]
    attributes = rows.attrs | {"lacks": told}
    rows = rows[rows["status"] != ABSENT].reindex(columns=[*rows.columns, *lacks])
    rows = rows.reset_index(drop=True)
    with reading(path, "not readable scores", cure):
        for column in rows:
            is_text = column in text or (column not in declared and _holds_text(rows[column]))
            rows[column] = _plain(rows[column], is_text=is_text)
        numbers = [column for column in required if column not in text]
        if not np.isfinite(rows[numbers].to_numpy(dtype=float)).all():
            raise ValueError(f"a gap in one of {', '.join(numbers)}")
    for column, known in (_WORDS | dict(task.words)).items():
        if column in rows and (others := sorted(set(rows[column]) - known)):
            raise UserError(f"{path}: {column} {others[0]!r} is unknown to this version; {cure}")
    rows.attrs = attributes
    return rows


def _holds_text(values: pd.Series) -> bool:
    return any(isinstance(value, str) for value in values)


def _plain(values: pd.Series, *, is_text: bool) -> pd.Series:
    """A column as text without gaps, or as numbers."""
    if is_text:
        return values.fillna("").astype(str)
    if pd.api.types.is_numeric_dtype(values):
        return values
    return values.astype("Float64").astype("float64")  # flags with gaps come as objects


def absent_rows(
    table: pd.DataFrame,
    task: Task,
    model: str,
    told: Collection[Mapping[str, Any]],
    message: str,
) -> pd.DataFrame:
    """Rows of items that a model never ran, with the columns of its scores.

    Args:
        table: Scores of the model.
        task: Task of the scores.
        model: Name of the model.
        told: Columns of each row that are known without asking the model.
        message: Why there is no score.
    """
    metrics, text = {metric.name for metric in task.metrics}, _text(task)
    blank: dict[str, Any] = {}
    for column, kind in table.dtypes.items():
        if column in metrics:
            blank[column] = float("nan")
        elif column in text or not pd.api.types.is_numeric_dtype(kind):
            blank[column] = ""
        elif pd.api.types.is_float_dtype(kind):
            blank[column] = 0.0 if column in _SPENT else float("nan")
        else:
            blank[column] = False if pd.api.types.is_bool_dtype(kind) else 0
    blank |= {"model": model, "status": ABSENT, "message": message, **task.absent}
    return pd.DataFrame([blank | dict(one) for one in told], columns=list(table.columns))


# --- made by this version ------------------------------------------------------------------------


def settings_of(task: Task, told: Mapping[str, Any] | None) -> Any:
    """Settings of a task from a file; settings that it lacks have their defaults.

    Raises:
        UserError: a value is none that the setting may have.
    """
    known = {key.name: key for key in keys(task.settings)}
    found = task.settings(
        **{
            name: tuple(value) if known[name].many and isinstance(value, list) else value
            for name, value in (told or {}).items()
            if name in known
        }
    )
    check_limits(found, f"`{task.name}` of what is merged")
    return found


def score_fingerprint(task: Task) -> str:
    """Fingerprint of the code that scores the task."""
    return stage_fingerprint(*stage_modules(task.name, "score"))
