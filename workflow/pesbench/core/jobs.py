"""Inputs of the stages of a task: `prepare`, `run` and `score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pesbench.files.environment import Environment
    from pesbench.models.registry import ModelEntry


@dataclass(frozen=True)
class RunJob:
    """Input of `run`.

    Attributes:
        entry: Resolved entry of the model.
        scan_set: Scan set file.
        items: Ids of scans or systems, sorted.
        settings: Settings of the task.
        out: File to write.
        device: `auto`, `cpu` or `cuda`.
        threads: Number of threads of the model's arithmetic.
        prepared: File that `prepare` wrote, of a task that has that stage.
        environment: Where the model runs; None for the environment of this process.
        answers: Files of answers of the tasks that `Task.run_reads` names, of all models.
    """

    entry: ModelEntry
    scan_set: Path
    items: Sequence[str]
    settings: Any
    out: Path
    device: str = "auto"
    threads: int = 1
    prepared: Path | None = None
    environment: Environment | None = None
    answers: Sequence[Path] = ()


@dataclass(frozen=True)
class PrepareJob:
    """Input of `prepare`; for the attributes see `RunJob`."""

    scan_set: Path
    items: Sequence[str]
    settings: Any
    out: Path


@dataclass(frozen=True)
class ScoreJob:
    """Input of `score` and of `model_section`.

    Attributes:
        files: Files that `run` wrote for the model, sorted.
        scan_set: Scan set file.
        settings: Settings of the task.
        entry: Entry of the model that the files must have; None if it is not known.
        reference: Files that `run` wrote for the method of the scan set, of a task that asks it.
        split: CSV with the columns `system` and `split`, of what the model was trained on.
        seen_scans: Ids of scans that the model was trained on.
        selected: Ids or globs of the items to score.
        prepared: File that `prepare` wrote, of a task that has that stage.
        answers: Files of answers of the tasks that `Task.score_reads` names, of all models.
        record: `models.json` of the run, which describes the models of these files.
    """

    files: Sequence[Path]
    scan_set: Path
    settings: Any
    entry: ModelEntry | None = None
    reference: Sequence[Path] = ()
    split: Path | None = None
    seen_scans: Sequence[str] = ()
    selected: Sequence[str] = ("*",)
    prepared: Path | None = None
    answers: Sequence[Path] = ()
    record: Path | None = None

    def selects(self, item: str) -> bool:
        """Whether an item, a scan or a system, is to be scored."""
        return any(fnmatchcase(item, pattern) for pattern in self.selected)
