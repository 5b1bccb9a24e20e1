"""Section of harmonic frequencies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from pesbench.core.section import Drawing, Section, SectionInputs, Table
from pesbench.core.text import csv_table
from pesbench.files.figures import PALETTE, saying, style
from pesbench.metrics.aggregate import seed_of
from pesbench.metrics.board import mean_columns, mean_table, scored_values
from pesbench.tasks.vibrations.task import TASK

_ERROR, _FIGURE = "mae_cm1", "frequency_errors"


def section(inputs: SectionInputs) -> Section:
    """The section of frequencies; rows of other roles than `model` state their role."""
    labels = {
        name: name if (role := inputs.facts[name].role) == "model" else f"{name} ({role})"
        for name in inputs.scores
    }
    return Section(
        title=TASK.title,
        tables=[
            Table(
                "vibrations",
                mean_table(TASK.metrics, inputs.scores, labels),
                models=list(inputs.scores),
            )
        ],
        figures=[
            Drawing(
                _FIGURE,
                frequency_errors(inputs.scores),
                "Frequency MAE of every molecule, with the mean over molecules (diamonds).",
            )
        ],
        notes=notes(inputs.scores),
        board=mean_columns(inputs.task, TASK.metrics, inputs.scores),
        files={f"{_FIGURE}.csv": csv_table(pd.concat(map(_by_molecule, inputs.scores.values())))},
    )


def _by_molecule(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["model", "system", "status", *(metric.name for metric in TASK.metrics)]]


def notes(scores: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Notes on how to read the section: definitions and missing values."""
    found = [
        "Harmonic frequencies of each molecule at the model's own minimum, compared with those "
        "of the "
        "reference at its own minimum: mean absolute error, mean error (bias), and imaginary "
        "frequencies that the reference does not have. Means are over the scored molecules; "
        "failures are counted and enter no mean (tasks/vibrations/README.md)."
    ]
    for name, frame in scores.items():
        failed = frame[frame["status"] != "ok"]
        if len(failed):
            first = failed.iloc[0]
            said = str(first["message"]) or str(first["status"])
            found.append(f"{name}: {len(failed)} of {len(frame)} molecules failed; for example "
                         f"{first['system']}: {said}.")  # fmt: skip
        ok = frame["status"] == "ok"
        unknown = int((ok & (frame["reference_status"] != "ok")).sum())
        if unknown:
            found.append(f"{name}: the reference has no frequencies of {unknown} molecules.")
        resting = int((ok & ~frame["relaxed"].astype(bool)).sum())
        if resting:
            found.append(
                f"{name}: {resting} molecules did not relax; their frequencies are at the last "
                "geometry."
            )
    return tuple(found)


def frequency_errors(scores: Mapping[str, pd.DataFrame]) -> Figure:
    """The frequency MAE of every molecule, a row a model, with the mean."""
    errors = {name: scored_values(frame, _ERROR) for name, frame in scores.items()}
    errors = {name: values for name, values in errors.items() if len(values)}
    if not errors:
        return saying("No model has a molecule with frequencies to compare.")
    every = np.concatenate(list(errors.values()))
    with style():
        figure = Figure(figsize=(6.4, 0.9 + 0.24 * len(errors)), layout="constrained")
        axes = figure.subplots()
        for y, (name, values) in enumerate(errors.items()):
            # the same places in every run
            generator = np.random.default_rng(seed_of(f"jitter {name}"))
            places = y + generator.uniform(-0.2, 0.2, len(values))
            axes.plot(values, places, "o", ms=3.8, color=PALETTE[0], alpha=0.5, mew=0)
            axes.plot(values.mean(), y, "D", ms=5, mfc="white", mec="black", mew=1.0, zorder=5)
        axes.set_yticks(range(len(errors)), list(errors))
        axes.set(xlabel="frequency MAE (cm⁻¹)", ylabel="", ylim=(len(errors) - 0.5, -0.5))
        if every.min() > 0:  # one molecule far off leaves the others apart
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.set_xlim(left=0)
        axes.grid(visible=True, axis="x")
    return figure
