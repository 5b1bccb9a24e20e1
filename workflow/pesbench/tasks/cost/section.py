"""Section of the cost of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pesbench.core.section import INTEGER, TEXT, BoardColumn, Metric, Section, SectionInputs, Table
from pesbench.core.text import number
from pesbench.metrics.board import mean_columns
from pesbench.tasks.cost.task import TASK

UNDISTURBED = 0.9  # of the mean time of a call on a CPU that the process of a model computes
_GPU, _FAILED = "on the GPU (MB)", "not timed"


def section(inputs: SectionInputs) -> Section:
    """The section of the cost; rows of other roles than `model` state their role."""
    rows = pd.concat(list(inputs.scores.values()), ignore_index=True)
    records = rows.to_dict("records")
    labels = {
        name: name if (role := inputs.facts[name].role) == "model" else f"{name} ({role})"
        for name in inputs.scores
    }
    sizes = {name: _size(frame) for name, frame in inputs.scores.items()}
    size = Metric(f"{TASK.name}_n_atoms", "atoms", help="Atoms of the molecule, if it is one.")
    device = Metric(f"{TASK.name}_device", "device", help="What the steps were timed on.")
    devices = {name: _devices(frame) for name, frame in inputs.scores.items()}
    return Section(
        title=TASK.title,
        sentence=_sentence(rows),
        tables=[
            Table(
                TASK.name,
                _without_gaps(pd.DataFrame([_cells(row, labels) for row in records])),
                models=rows["model"].tolist(),
            )
        ],
        notes=_notes(rows),
        board=[
            *mean_columns(inputs.task, TASK.metrics, inputs.scores),
            BoardColumn(size, {n: one for n, one in sizes.items() if one}, kind=INTEGER),
            BoardColumn(device, devices, kind=TEXT),
        ],
    )


def _device(row: Mapping[str, Any]) -> str:
    """What a model was timed on: the GPU, or the processor with the number of threads."""
    if row["device"] != "cpu":
        return str(row["device"])
    threads = "1 thread" if row["threads"] == 1 else f"{row['threads']:.0f} threads"
    return f"{row['cpu']}, {threads}"


def _size(scores: pd.DataFrame) -> int:
    """Atoms of the molecules, if all have the same number; else 0."""
    sizes = set(scores["n_atoms"])
    return int(sizes.pop()) if len(sizes) == 1 else 0


def _devices(scores: pd.DataFrame) -> str:
    timed = scores[scores["status"] == "ok"]
    return "; ".join(dict.fromkeys(_device(row) for row in timed.to_dict("records")))


def _sentence(rows: pd.DataFrame) -> str:
    """The range of the times of the largest molecule."""
    timed = rows[rows["status"] == "ok"]
    if timed.empty:
        return "No model was timed."
    largest = timed[timed["n_atoms"] == timed["n_atoms"].max()].sort_values("ms_per_step")
    first, last = largest.iloc[0], largest.iloc[-1]
    what = f"A step of molecular dynamics of {first['system']} ({first['n_atoms']} atoms) takes"
    if len(largest) == 1:
        return f"{what} {number(first['ms_per_step'])} ms with {first['model']}."
    return (
        f"{what} between {number(first['ms_per_step'])} ms ({first['model']}, {_device(first)}) "
        f"and {number(last['ms_per_step'])} ms ({last['model']}, {_device(last)})."
    )


def _cells(row: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, str]:
    failed = row["status"] != "ok"
    per_day = row["steps_per_day"]
    return {
        "model": labels[row["model"]],
        "molecule": f"{row['system']} ({row['n_atoms']} atoms)",
        "ms a step": number(row["ms_per_step"]),
        "fastest (ms)": number(row["fastest_ms"]),
        "CPU (ms)": number(row["cpu_ms"]),
        "steps a day": number(per_day if pd.isna(per_day) else float(f"{per_day:.3g}")),
        "peak memory (MB)": number(row["peak_memory_mb"]),
        _GPU: number(row["device_memory_mb"]),
        "device": "–" if failed else _device(row),
        "load": number(row["load_average"], 2),
        "calls": "0" if failed else f"{row['n_steps']:.0f}",
        _FAILED: f"{row['status']}: {row['message']}" if failed else "–",
    }


def _without_gaps(cells: pd.DataFrame) -> pd.DataFrame:
    """The table without the columns of a GPU and of failures, where there is none."""
    empty = [name for name in (_GPU, _FAILED) if cells[name].isin(["n/a", "–"]).all()]
    return cells.drop(columns=empty)


def _notes(rows: pd.DataFrame) -> tuple[str, ...]:
    timed = rows[rows["status"] == "ok"]
    found = [
        "One molecule alone, one call after the other, each in a geometry of its own near the "
        "minimum, after calls that are not counted. A step is the median time of a call in the "
        "model's process, from positions to energy and forces; methods that converge start each "
        "call anew. Steps a day are by that time, on one thread without the time in the queue for "
        "a processor. Peak memory is that of the model's process with all packages that it loads "
        "(tasks/cost/README.md)."
    ]
    if not timed.empty:
        cores = " or ".join(f"{count:.0f}" for count in sorted(set(timed["cores"])))
        found.append(
            f"The machine had {cores} cores for its jobs. The load is the number of processes that "
            "ran on it over the last minute, the timed one included."
        )
    on_cpu = timed[timed["device"] == "cpu"]
    waited = on_cpu[on_cpu["cpu_ms"] < UNDISTURBED * on_cpu["ms_per_step"]]
    if len(waited):
        found.append(
            "A step of these models took longer than the CPU time that it needed, because the "
            "machine was busy, or because they wait for a program or a disk: "
            f"{', '.join(sorted(set(waited['model'])))}."
        )
    return tuple(found)
