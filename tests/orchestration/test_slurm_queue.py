"""Jobs that a killed Snakemake has left in Slurm's queue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pesbench.core.errors import UserError
from pesbench.orchestration import slurm_queue
from pesbench.orchestration.slurm_queue import PREFIX, Queued, queued, refuse_left_over

REPO = Path(__file__).parents[2]
STUDY = Path("/home/me/study")
QUEUE = """\
7|pesbench_1d32ee8f|/home/me/study|PENDING
12|pesbench_1d32ee8f|/home/me/study|COMPLETING
13|pesbench_1d32ee8f|/home/me/other|RUNNING
14|relaxation|/home/me/study|RUNNING
"""


def squeue(folder: Path, answer: str, code: int = 0) -> None:
    program = folder / "squeue"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\nexit {code}\n")
    program.chmod(0o755)


def test_jobs_of_this_folder_are_found():
    assert queued(QUEUE, STUDY) == [Queued("7", False), Queued("12", True)]
    assert queued(QUEUE, Path("/home/me")) == []
    assert queued("", STUDY) == []
    barred = "9|pesbench_1|/home/me/a|b|COMPLETING\n"
    assert queued(barred, Path("/home/me/a|b")) == [Queued("9", True)]


def test_the_profile_names_its_jobs_so_that_they_are_found():
    profile = yaml.safe_load((REPO / "slurm" / "config.yaml").read_text())
    assert profile["slurm-jobname-prefix"] + "_" == PREFIX


def test_a_run_beside_jobs_of_an_earlier_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    squeue(tmp_path, QUEUE)
    with pytest.raises(UserError, match=re.escape("of another run") + ".*scancel 7 12"):
        refuse_left_over(STUDY)
    refuse_left_over(Path("/home/me/nothing"))


def test_jobs_that_were_cancelled_are_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(slurm_queue, "POLL_S", 0.01)
    answers = [{"7": True, "12": True}, {"12": True}, {}]
    asked = iter(answers)
    monkeypatch.setattr(
        slurm_queue, "_ask", lambda _: [Queued(k, e) for k, e in next(asked).items()]
    )
    refuse_left_over(STUDY)
    assert next(asked, None) is None
    assert capsys.readouterr().err.count("waiting for cancelled jobs") == 1
    monkeypatch.setattr(slurm_queue, "WAIT_S", 0.0)
    monkeypatch.setattr(slurm_queue, "_ask", lambda _: [Queued("7", True)])
    with pytest.raises(UserError, match=r"7 in .* were cancelled, and have not ended"):
        refuse_left_over(STUDY)


def test_a_queue_that_does_not_answer_refuses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    squeue(tmp_path, QUEUE, code=1)
    refuse_left_over(STUDY)
    (tmp_path / "squeue").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    refuse_left_over(STUDY)
