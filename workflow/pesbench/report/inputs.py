"""Inputs of sections: the registry and the scores of every model of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.names import closest
from pesbench.core.task import Task
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_tables import read_scores
from pesbench.models.facts import ModelFacts, model_facts
from pesbench.models.models_file import read_models, resolve_entry
from pesbench.models.record import is_record, recorded_entries
from pesbench.models.registry import ModelEntry
from pesbench.report.graph import scores_file


@dataclass(frozen=True)
class RunScores:
    """Scores and facts of the models of a run.

    Attributes:
        entries: Entries of all models, resolved, in the requested order.
        facts: Facts about these models, for tables.
        tables: Scores by task and model.
    """

    entries: Mapping[str, ModelEntry]
    facts: Mapping[str, ModelFacts]
    tables: Mapping[str, Mapping[str, pd.DataFrame]]


def read_entries(models_file: Path, models: Sequence[str]) -> dict[str, ModelEntry]:
    """The models of a report, resolved: two ways to write one path are one checkpoint.

    Args:
        models_file: The registry, or `models.json` of a folder of results.
        models: Their names.

    Raises:
        UserError: the file is wrong, or lacks one.
    """
    recorded = is_record(models_file)
    entries = recorded_entries(models_file) if recorded else read_models(models_file)
    for name in models:
        if name not in entries:
            raise UserError(f"{models_file}: no model {name!r}; {closest(name, entries)}")
    if recorded:  # weights need not be here; their sha256 distinguishes them
        return {name: entries[name] for name in models}
    return {name: resolve_entry(entries[name], models_file, Path.cwd()) for name in models}


def read_run(
    results: Path,
    models: Sequence[str],
    models_file: Path,
    scan_set: ScanSet,
    ran: Mapping[str, Sequence[str]],
) -> RunScores:
    """Facts of some models and the scores of those that ran a task.

    Args:
        results: Folder of the scan set's results.
        models: Names of the models.
        models_file: The registry, or `models.json` of a folder of results, for their facts.
        scan_set: What they were scored on.
        ran: Models by task.

    Raises:
        UserError: a file is missing, scores belong to another scan set, or there is no such task.
    """
    entries = read_entries(models_file, models)
    for task, some in ran.items():
        if task not in tasks():
            raise UserError(f"--ran: no task {task!r}; {closest(task, tasks())}")
        if absent := sorted(set(some) - set(models)):
            raise UserError(f"--ran {task}: {absent[0]!r} is not among --models; add it")
    return RunScores(
        entries,
        {name: model_facts(entry, scan_set.level_of_theory) for name, entry in entries.items()},
        {
            task: {
                name: read_task_scores(scores_file(results, task, name), scan_set, tasks()[task])
                for name in models
                if name in some
            }
            for task, some in ran.items()
        },
    )


def read_task_scores(path: Path, scan_set: ScanSet, task: Task) -> pd.DataFrame:
    """The scores of one model.

    Metrics that an older version did not write are there, without a value; `attrs["lacks"]` names
    them.

    Raises:
        UserError: they are missing, damaged, empty or of another scan set.
    """
    metrics = [metric.name for metric in task.metrics]
    always = [column for column in task.columns if column not in metrics]
    found = read_scores(path, always, task.text, numbers=metrics)
    attributes = found.attrs
    lacks = [name for name in metrics if name not in found]
    found = found.assign(**dict.fromkeys(lacks, float("nan")))
    found.attrs = attributes | {"lacks": lacks}
    if found.attrs["scan_set_sha256"] != scan_set.sha256:
        raise UserError(
            f"{path}: scored on another scan set than {scan_set.path}; remove it and score again"
        )
    if found.empty:
        raise UserError(f"{path}: holds no row; remove it and score again")
    return found
