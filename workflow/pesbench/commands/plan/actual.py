"""Actual cost of a run beside the prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.core.errors import UserError
from pesbench.files.csv_files import read_rows
from pesbench.files.usage import read_usage
from pesbench.orchestration.requests import REFERENCE, SCAN_SET

COLUMNS = (
    "model",
    "task",
    "shards",
    "shards_done",
    "predicted_hours",
    "actual_hours",
    "actual_over_predicted",
    "predicted_memory_gb",
    "actual_memory_gb",
    "predicted_storage_gb",
    "actual_storage_gb",
    "predicted_device",
    "actual_device",
    "note",
)
LITTLE_WORK = 0.95  # share of the planned work below which a note says so
_NEEDED = ("model", "memory_gb", "device", "status", "reason")
_SHARDS = "_shards"


@dataclass(frozen=True)
class Spent:
    """Cost that the files of one task of a model record.

    Attributes:
        files: How many there are.
        hours: Sum of their wall time, interrupted calls among it.
        memory_gb: Largest peak of the process of the model; 0 where none was recorded.
        storage_gb: Sum of their sizes.
        devices: Devices that they were made on, sorted.
        atom_frames: Sum of the atoms of all frames that the model answered.
        interrupted: How often a job had to be continued.
    """

    files: int
    hours: float
    memory_gb: float
    storage_gb: float
    devices: tuple[str, ...]
    atom_frames: int
    interrupted: int


def spent(paths: Sequence[Path]) -> Spent:
    """Cost of the files of one task.

    Args:
        paths: Files of the task.

    Raises:
        UserError: one of them cannot be read.
    """
    every = [read_usage(path) for path in sorted(paths)]
    return Spent(
        files=len(every),
        hours=sum(one.wall_s for one in every) / 3600,
        memory_gb=max((one.peak_memory_bytes for one in every), default=0.0) / 1e9,
        storage_gb=sum(path.stat().st_size for path in paths) / 1e9,
        devices=tuple(sorted({one.device for one in every})),
        atom_frames=sum(one.atom_frames for one in every),
        interrupted=sum(one.times_interrupted for one in every),
    )


def files_of(results: Path, model: str, task: str) -> list[Path]:
    """The files of a model for a task, those that are there.

    Args:
        results: Folder of the scan set.
        model: Name of the model, or `REFERENCE`.
        task: Name of the task, or `SCAN_SET` for the reference's evaluations of the scan set.
    """
    place = results / model
    if task != SCAN_SET:
        return sorted((place / task).glob("*.h5"))
    return sorted(place.glob("[0-9]*.h5")) if model == REFERENCE else []


def beside(plan: Path, results: Path) -> pd.DataFrame:
    """Predicted beside actual, one row a model and task that was planned or run.

    A ratio is given where all shards are done; a task that is not, and a model that could not be
    timed, have their row all the same.

    Args:
        plan: CSV made by `pesbench plan`.
        results: Folder of the scan set.

    Raises:
        UserError: the plan is none, or a file of the results cannot be read.
    """
    rows = [
        row for place, cells in read_rows(plan, _NEEDED) for row in _rows(place, cells, results)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(place: str, cells: dict[str, str], results: Path) -> Iterator[dict[str, Any]]:
    model = cells["model"]
    for task in (key.removesuffix(_SHARDS) for key in cells if key.endswith(_SHARDS)):
        shards, files = _number(cells, f"{task}{_SHARDS}", place), files_of(results, model, task)
        if not shards and not files:
            continue
        took = spent(files)
        predicted = _number(cells, f"{task}_hours", place)
        whole = took.files == shards > 0
        planned = _number(cells, f"{task}_atom_frames", place)
        yield {
            "model": model,
            "task": task,
            "shards": int(shards),
            "shards_done": took.files,
            "predicted_hours": predicted,
            "actual_hours": took.hours if took.files else math.nan,
            "actual_over_predicted": took.hours / predicted if whole and predicted else math.nan,
            "predicted_memory_gb": _number(cells, "memory_gb", place),
            "actual_memory_gb": took.memory_gb or math.nan,
            "predicted_storage_gb": _number(cells, f"{task}_storage_gb", place),
            "actual_storage_gb": took.storage_gb if took.files else math.nan,
            "predicted_device": cells["device"],
            "actual_device": " ".join(took.devices),
            "note": "; ".join(_notes(cells, took, int(shards), planned if whole else math.nan)),
        }


def _notes(
    cells: dict[str, str], took: Spent, shards: int, planned_atom_frames: float
) -> Iterator[str]:
    """Notes that matter when the numbers are compared."""
    if cells["status"] not in ("ok", "assumed"):
        yield f"not predicted: {cells['reason']}"
    if took.files != shards:
        yield (
            f"{took.files} of {shards} shards done"
            if took.files < shards
            else (f"{took.files} files, planned were {shards} shards")
        )
    if took.devices and took.devices != (cells["device"],) and cells["status"] == "ok":
        yield "another device"
    if took.atom_frames < LITTLE_WORK * planned_atom_frames:
        share = took.atom_frames / planned_atom_frames
        yield f"evaluated {share:.0%} of the planned frames"
    if took.interrupted:
        yield f"continued {took.interrupted} times"


def _number(cells: dict[str, str], column: str, place: str) -> float:
    if column not in cells:
        raise UserError(f"{place}: no column {column!r}; make the plan again with `pesbench plan`")
    try:
        return float(cells[column]) if cells[column] else math.nan
    except ValueError as error:
        raise UserError(
            f"{place}: {column} is {cells[column]!r}, not a number; make the plan again"
        ) from error


def totals(table: pd.DataFrame) -> str:
    """One line: of what is done and was predicted, the hours of both."""
    both = table[table["actual_over_predicted"].notna()]
    if both.empty:
        return "No task that was predicted is done yet."
    predicted, actual = both["predicted_hours"].sum(), both["actual_hours"].sum()
    ratios = both["actual_over_predicted"]
    return (
        f"{len(both)} of {len(table)} rows are done and were predicted: {actual:.3g} h, predicted "
        f"{predicted:.3g} h ({actual / predicted:.2f} times; rows {ratios.min():.2f} to "
        f"{ratios.max():.2f})."
    )
