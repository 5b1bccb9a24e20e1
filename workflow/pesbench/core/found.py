"""Tasks by looking: every folder of `pesbench.tasks` that holds a `task.py`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pesbench.core.settings import keys
from pesbench.core.task import Task

if TYPE_CHECKING:
    from pesbench.core.section import Metric

_TASKS = Path(__file__).parents[1] / "tasks"


@functools.cache
def tasks() -> dict[str, Task]:
    """All tasks by name, sorted."""
    names = sorted(path.parent.name for path in _TASKS.glob("*/task.py"))
    return {name: importlib.import_module(f"pesbench.tasks.{name}.task").TASK for name in names}


def ranking(every: Iterable[Task] | None = None) -> dict[str, Metric]:
    """The metrics that may rank the models, by name: those of the task that always runs.

    Only this task has scores of all models; its first metric with `ranks` is the default.

    Args:
        every: Tasks to choose from; None for all.
    """
    chosen = tasks().values() if every is None else every
    return {one.name: one for task in chosen if task.always for one in task.metrics if one.ranks}


def default_rank_by() -> str:
    """The name of the metric that ranks the models where nothing else is asked for."""
    return next(iter(ranking()))


def stage_module(task: str, stage: str) -> str:
    """The dotted name of the module of a stage, such as `pesbench.tasks.dynamics.run`."""
    return f"pesbench.tasks.{task}.{stage}"


def stage_modules(task: str, stage: str) -> tuple[str, ...]:
    """The modules whose code, with all that they import, decides what a stage writes.

    That of the stage, and that of the settings if the stage takes any: it gets them made, and need
    not import their module.

    Args:
        task: Name of the task.
        stage: `prepare`, `run` or `score`.
    """
    settings = tasks()[task].settings
    of = "run" if stage == "prepare" else stage
    takes = any(key.about.stage == of for key in keys(settings))
    return (stage_module(task, stage), *([settings.__module__] if takes else []))


def has_stage(task: str, stage: str) -> bool:
    """Whether the task has the stage: all have run, score and section."""
    return (_TASKS / task / f"{stage}.py").is_file()


def stage(task: str, name: str) -> Any:
    """The function of a stage, which its module names as the stage: `run` of `run.py`."""
    return getattr(importlib.import_module(stage_module(task, name)), name)
