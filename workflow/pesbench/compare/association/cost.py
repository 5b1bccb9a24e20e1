"""Cost of scans and of dynamics of the compared models.

Both sides are seconds of wall time of whole commands: `wall_s` of a scan is the time in the model
alone, that of a trajectory its share of the command, and the two must not be divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.core.text import number

COLUMNS = (
    "model",
    "variant",
    "scan_seconds",
    "dynamics_seconds",
    "scan_device",
    "dynamics_device",
)
_NOT_TOLD = "not told"
_SECONDS = (
    "Seconds are the wall time of the commands `run bonds` and `run dynamics`, from the start of "
    "the model's process to the written file: loading, choice of the batch size, relaxation, "
    "failure checks and storing, summed over interruptions. The seconds of a file are divided "
    "among its items. References, scoring, frequencies and trajectories with half the time step "
    "are not counted. Times are comparable only on one machine and device."
)
_GPU_SECONDS = " GPU-seconds are the seconds of commands that held one GPU."
_OLD_SCORES = (
    " n/a: scores of an older version, which do not hold the seconds of their command; score the "
    "evaluations again."
)


def of_model(
    model: str, variant: str, scores: pd.DataFrame, runs: pd.DataFrame
) -> dict[str, float | str]:
    """Cost of a model.

    Args:
        model: Name of the model.
        variant: Variant to which it belongs.
        scores: One row a scan, with `command_s`, its share of the command that evaluated it, where
            the scores tell it.
        runs: One row a trajectory that is to be counted; `wall_s` is its share of the command.

    Returns:
        `COLUMNS`: seconds of either side, NaN if not told, and devices from `made_from` of the
        scores, several joined by ", ", "" if not told.
    """
    told = "command_s" in scores
    return {
        "model": model,
        "variant": variant,
        "scan_seconds": float(scores["command_s"].sum(skipna=False)) if told else float("nan"),
        "dynamics_seconds": float(runs["wall_s"].sum(skipna=False)),
        "scan_device": _device(scores),
        "dynamics_device": _device(runs),
    }


def _device(scores: pd.DataFrame) -> str:
    made_from = scores.attrs.get("made_from", ())
    return ", ".join(sorted({str(how["device"]) for how in made_from if how.get("device")}))


def _gpu_seconds(row: Mapping[str, Any], side: str) -> float:
    """Seconds of one side on a GPU: all or none; NaN if its devices differ or are not known."""
    told = str(row[f"{side}_device"])
    on_gpu = {device.startswith("cuda") for device in told.split(", ")}
    if not told or len(on_gpu) > 1:
        return float("nan")
    return float(row[f"{side}_seconds"]) if on_gpu == {True} else 0.0


def _has_gpu(cost: pd.DataFrame) -> bool:
    devices = [*cost["scan_device"], *cost["dynamics_device"]]
    return any("cuda" in str(device) for device in devices)


def _devices(row: Mapping[str, Any]) -> str:
    scans, runs = (row[f"{side}_device"] or _NOT_TOLD for side in ("scan", "dynamics"))
    return scans if scans == runs else f"scans {scans}; dynamics {runs}"


def _with_total(cost: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of models by name, then of all of them; a sum of which a part is missing is missing."""
    rows = [
        row | {f"{side}_gpu_seconds": _gpu_seconds(row, side) for side in ("scan", "dynamics")}
        for row in cost.sort_values("model").to_dict("records")
    ]
    total: dict[str, Any] = {"model": "all"}
    for side in ("scan", "dynamics"):
        told = {one for row in rows for one in (row[f"{side}_device"] or _NOT_TOLD).split(", ")}
        total[f"{side}_device"] = ", ".join(sorted(told))
        for what in ("seconds", "gpu_seconds"):
            total[f"{side}_{what}"] = sum(row[f"{side}_{what}"] for row in rows)
    return [*rows, total]


def _ratio(row: Mapping[str, Any]) -> str:
    return number(row["dynamics_seconds"] / row["scan_seconds"]) if row["scan_seconds"] else "n/a"


def cells(cost: pd.DataFrame) -> pd.DataFrame:
    """Seconds of both sides and their ratio as text cells, a row a model and one for all.

    GPU-seconds stand beside them if any side had a GPU.

    Args:
        cost: Rows of `of_model`, at least one.
    """
    rows = _with_total(cost)
    has_gpu = _has_gpu(cost)
    found = []
    for row in rows:
        cell = {
            "model": row["model"],
            "device": _devices(row),
            "scans (s)": number(row["scan_seconds"]),
            "dynamics (s)": number(row["dynamics_seconds"]),
        }
        if has_gpu:
            cell["scans (GPU-s)"] = number(row["scan_gpu_seconds"])
            cell["dynamics (GPU-s)"] = number(row["dynamics_gpu_seconds"])
        found.append(cell | {"dynamics / scans": _ratio(row)})
    return pd.DataFrame(found)


def explained(cost: pd.DataFrame) -> str:
    """What `cells` counts.

    Args:
        cost: Rows of `of_model`.
    """
    said = _SECONDS
    if _has_gpu(cost):
        said += _GPU_SECONDS
    if cost["scan_seconds"].isna().any():
        said += _OLD_SCORES
    return said


def sentence(cost: pd.DataFrame) -> str:
    """The ratio of all models, to stand beside the tests.

    Args:
        cost: Rows of `of_model`, at least one.
    """
    total = _with_total(cost)[-1]
    scans, runs = number(total["scan_seconds"]), number(total["dynamics_seconds"])
    return (
        f"Cost: {runs} s of dynamics for {scans} s of scans, a ratio of {_ratio(total)} "
        f"(device: {_devices(total)}; what is counted stands below)."
    )
