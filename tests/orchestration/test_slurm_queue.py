"""Jobs that a killed Snakemake has left in Slurm's queue."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pesbench.core.errors import UserError
from pesbench.orchestration import slurm_queue
from pesbench.orchestration.slurm_queue import (
    PREFIX,
    Queued,
    ask_left_over,
    queued,
    refuse_left_over,
)

REPO = Path(__file__).parents[2]
STUDY = Path("/home/me/study")
QUEUE = """\
7|pesbench_1d32ee8f|/home/me/study|PENDING
12|pesbench_1d32ee8f|/home/me/study|COMPLETING
12|pesbench_1d32ee8f|/home/me/study|RUNNING
13|pesbench_1d32ee8f|/home/me/other|RUNNING
14|relaxation|/home/me/study|RUNNING
"""


def squeue(folder: Path, answer: str, code: int = 0) -> None:
    program = folder / "squeue"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\nexit {code}\n")
    program.chmod(0o755)


def test_jobs_of_this_folder_are_found_and_an_array_is_one():
    run = "pesbench_1d32ee8f"
    assert queued(QUEUE, STUDY) == [Queued("7", run, False), Queued("12", run, False)]
    assert queued(QUEUE, Path("/home/me")) == []
    assert queued("", STUDY) == []
    barred = "9|pesbench_1|/home/me/a|b|COMPLETING\n"
    assert queued(barred, Path("/home/me/a|b")) == [Queued("9", "pesbench_1", True)]


def test_the_profile_names_its_jobs_so_that_they_are_found():
    profile = yaml.safe_load((REPO / "slurm" / "config.yaml").read_text())
    assert profile["slurm-jobname-prefix"] + "_" == PREFIX


def test_a_run_beside_jobs_of_an_earlier_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    squeue(tmp_path, QUEUE)
    with pytest.raises(UserError, match=re.escape("of an earlier run") + ".*scancel 7 12"):
        refuse_left_over(STUDY, {})
    refuse_left_over(Path("/home/me/nothing"), {})
    assert ask_left_over(STUDY) == ["7", "12"]


def test_jobs_of_a_snakemake_that_is_at_work_are_no_left_overs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    squeue(tmp_path, QUEUE + "20|pesbench_77|/home/me/study|RUNNING\n")
    with pytest.raises(UserError, match=r"of an earlier run .* \(1\); .* scancel 20$"):
        refuse_left_over(STUDY, {"pesbench_1d32ee8f": ""})
    refuse_left_over(STUDY, {"pesbench_1d32ee8f": "", "pesbench_77": ""})
    # nobody knows whether one of another host is: its user does
    with pytest.raises(UserError, match=r"on login2, .* if it is gone, cancel .* scancel 20$"):
        refuse_left_over(STUDY, {"pesbench_1d32ee8f": "", "pesbench_77": "login2"})


def test_jobs_that_were_cancelled_are_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(slurm_queue, "POLL_S", 0.01)
    answers = [{"7": True, "12": True}, {"12": True}, {}]
    asked = iter(answers)
    monkeypatch.setattr(
        slurm_queue, "_ask", lambda _: [Queued(k, "pesbench_1", e) for k, e in next(asked).items()]
    )
    refuse_left_over(STUDY, {})
    assert next(asked, None) is None
    assert capsys.readouterr().err.count("waiting for cancelled jobs") == 1
    monkeypatch.setattr(slurm_queue, "WAIT_S", 0.0)
    monkeypatch.setattr(slurm_queue, "_ask", lambda _: [Queued("7", "pesbench_1", True)])
    with pytest.raises(UserError, match=r"7 in .* were cancelled, and have not ended"):
        refuse_left_over(STUDY, {})


def test_a_queue_that_does_not_answer_refuses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    squeue(tmp_path, QUEUE, code=1)
    refuse_left_over(STUDY, {})
    assert ask_left_over(STUDY) is None
    (tmp_path / "squeue").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    refuse_left_over(STUDY, {})
    assert ask_left_over(STUDY) is None
