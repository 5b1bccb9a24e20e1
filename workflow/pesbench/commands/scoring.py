"""Scores of any task, written with how they were made."""

from __future__ import annotations

from pathlib import Path

from pesbench.core.found import stage, stage_modules
from pesbench.core.jobs import ScoreJob
from pesbench.files import provenance, stored_tables
from pesbench.files.fingerprint import stage_fingerprint


def write_scores(task: str, job: ScoreJob, out: Path) -> None:
    """Score what a model answered in a task and write `scores/<task>.parquet`.

    Args:
        task: Name of the task.
        job: What is scored.
        out: File to write.

    Raises:
        UserError: see `score` of the task.
    """
    frame = stage(task, "score")(job)
    frame.attrs |= {
        "entry": job.entry and job.entry.deciding(),
        "code": stage_fingerprint(*stage_modules(task, "score")),
        "provenance": provenance.collect(),
    }
    stored_tables.write_scores(out, frame)
