"""What a run took, beside what was predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.commands.plan.prediction import REFERENCE
from pesbench.core.errors import UserError
from pesbench.files.csv_files import read_rows
from pesbench.files.evaluation import Evaluation
from pesbench.tasks.dynamics.stored import Trajectories
from pesbench.tasks.vibrations.stored import Vibrations

COLUMNS = (
    "model",
    "stage",
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
_NEEDED = ("model", "memory_gb", "device", "status", "reason")


@dataclass(frozen=True)
class Spent:
    """What the files of one stage of a model tell.

    Attributes:
        files: How many there are.
        hours: Sum of their wall time, interrupted calls among it.
        memory_gb: Largest peak of the process of the model; 0 where none was recorded.
        storage_gb: Sum of their sizes.
        devices: That they were made on, sorted.
        failed: Scans, trajectories or molecules that the model did not answer or survive.
        interrupted: How often a job had to be continued.
    """

    files: int
    hours: float
    memory_gb: float
    storage_gb: float
    devices: tuple[str, ...]
    failed: int
    interrupted: int


def _failed_scans(file: Evaluation) -> int:
    return sum(file.spent(scan_id)[0] == 0 for scan_id in file.ids)


def _failed_runs(file: Trajectories) -> int:
    return sum(not file.trajectory(name).survived for name in file.names)


def _failed_molecules(file: Vibrations) -> int:
    return sum(file.molecule(name).status.value != "ok" for name in file.systems)


_READERS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "scans": (Evaluation, _failed_scans),
    "dynamics": (Trajectories, _failed_runs),
    "vibrations": (Vibrations, _failed_molecules),
}


def spent(stage: str, paths: Sequence[Path]) -> Spent:
    """What the files of one stage took.

    Args:
        stage: `scans`, `dynamics` or `vibrations`.
        paths: Its files.

    Raises:
        UserError: one of them cannot be read.
    """
    reader, count_failed = _READERS[stage]
    hours = memory = storage = 0.0
    devices, failed, interrupted = set(), 0, 0
    for path in sorted(paths):
        with reader(path) as file:
            attributes = file.attributes
            failed += count_failed(file)
        hours += float(attributes.get("wall_s", math.nan)) / 3600
        memory = max(memory, float(attributes.get("peak_memory_bytes", 0)) / 1e9)
        storage += path.stat().st_size / 1e9
        devices.add(str(attributes.get("device", "")))
        interrupted += int(attributes.get("times_interrupted", 0))
    return Spent(len(paths), hours, memory, storage, tuple(sorted(devices)), failed, interrupted)


def files_of(results: Path, model: str) -> dict[str, list[Path]]:
    """The files of a model by stage, those that are there."""
    place = results / model
    vibrations = [place / "vibrations.h5"]
    scans = place.glob("[0-9]*.h5") if model == REFERENCE else (place / "scans").glob("*.h5")
    return {
        "scans": sorted(scans),
        "dynamics": sorted((place / "dynamics").glob("*.h5")),
        "vibrations": [path for path in vibrations if path.is_file()],
    }


def beside(plan: Path, results: Path) -> pd.DataFrame:
    """Predicted beside actual, one row a model and stage that was planned or run.

    A ratio is given where all shards are done; a stage that is not, and a model that could not be
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
    files = files_of(results, model)
    for stage in _READERS:
        shards = _number(cells, f"{stage}_shards", place)
        if not shards and not files[stage]:
            continue
        took = spent(stage, files[stage])
        predicted = _number(cells, f"{stage}_hours", place)
        whole = took.files == shards > 0
        yield {
            "model": model,
            "stage": stage,
            "shards": int(shards),
            "shards_done": took.files,
            "predicted_hours": predicted,
            "actual_hours": took.hours if took.files else math.nan,
            "actual_over_predicted": took.hours / predicted if whole and predicted else math.nan,
            "predicted_memory_gb": _number(cells, "memory_gb", place),
            "actual_memory_gb": took.memory_gb or math.nan,
            "predicted_storage_gb": _number(cells, f"{stage}_storage_gb", place),
            "actual_storage_gb": took.storage_gb if took.files else math.nan,
            "predicted_device": cells["device"],
            "actual_device": " ".join(took.devices),
            "note": "; ".join(_notes(cells, took, int(shards))),
        }


def _notes(cells: dict[str, str], took: Spent, shards: int) -> Iterator[str]:
    """What a reader must know before the numbers are compared."""
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
    if took.failed:
        yield f"failed on {took.failed}"
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
        return "No stage that was predicted is done yet."
    predicted, actual = both["predicted_hours"].sum(), both["actual_hours"].sum()
    ratios = both["actual_over_predicted"]
    return (
        f"{len(both)} of {len(table)} rows are done and were predicted: {actual:.3g} h, predicted "
        f"{predicted:.3g} h ({actual / predicted:.2f} times; rows {ratios.min():.2f} to "
        f"{ratios.max():.2f})."
    )
