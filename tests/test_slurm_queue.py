"""Jobs that a killed Snakemake has left in Slurm's queue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pesbench.errors import UserError
from pesbench.slurm_queue import PREFIX, left_over, refuse_left_over

REPO = Path(__file__).parents[1]
QUEUE = """\
7|pesbench_1d32ee8f|/home/me/study
12|pesbench_1d32ee8f|/home/me/study
12|pesbench_1d32ee8f|/home/me/study
13|pesbench_1d32ee8f|/home/me/other
14|relaxation|/home/me/study
"""


def squeue(folder: Path, answer: str, code: int = 0) -> None:
    program = folder / "squeue"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\nexit {code}\n")
    program.chmod(0o755)


def test_jobs_of_this_folder_are_found_and_an_array_is_one():
    assert left_over(QUEUE, Path("/home/me/study")) == ["7", "12"]
    assert left_over(QUEUE, Path("/home/me")) == []
    assert left_over("", Path("/home/me/study")) == []


def test_the_profile_names_its_jobs_so_that_they_are_found():
    profile = yaml.safe_load((REPO / "slurm" / "config.yaml").read_text())
    assert profile["slurm-jobname-prefix"] + "_" == PREFIX


def test_a_run_beside_jobs_of_an_earlier_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    squeue(tmp_path, QUEUE)
    with pytest.raises(UserError, match=re.escape("scancel 7 12")):
        refuse_left_over(Path("/home/me/study"))
    refuse_left_over(Path("/home/me/nothing"))


def test_a_queue_that_does_not_answer_refuses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    squeue(tmp_path, QUEUE, code=1)
    refuse_left_over(Path("/home/me/study"))
    (tmp_path / "squeue").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    refuse_left_over(Path("/home/me/study"))
