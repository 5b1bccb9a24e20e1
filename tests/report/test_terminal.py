"""What `make run` prints: one line a stage, and the first models when it has ended."""

from __future__ import annotations

import logging
import types

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from pesbench.report.terminal import summary
from snakemake_logger_plugin_pesbench import LogHandler

HEAD = "rank,model,role,n_scored,n_planned,rank_by,rank_score,fsd_windowed,force_mae\n"


def event(kind, message="", level=logging.INFO, **fields):
    record = logging.LogRecord("snakemake", level, "", 0, message, (), None)
    record.__dict__ |= fields | ({"event": kind} if kind else {})
    return record


@pytest.fixture
def handler():
    return LogHandler(types.SimpleNamespace(), None)


def test_a_stage_is_one_line_when_its_last_job_has_ended(handler, capsys):
    handler.emit(event(LogEvent.RUN_INFO, stats={"evaluate": 2, "page": 1, "all": 1, "total": 4}))
    for job, rule in ((1, "evaluate"), (2, "evaluate"), (3, "page"), (4, "all")):
        handler.emit(event(LogEvent.JOB_INFO, jobid=job, rule_name=rule))
    handler.emit(event(None, "Select jobs to execute..."))
    handler.emit(event(LogEvent.JOB_FINISHED, job_id=1))
    assert capsys.readouterr().err == "3 jobs of 2 stages\n"
    for job in (3, 2, 4):
        handler.emit(event(LogEvent.JOB_FINISHED, job_id=job))
    assert capsys.readouterr().err == "page: 1 job, 0 s\nevaluate: 2 jobs, 0 s\n"


@pytest.mark.parametrize("kind", [LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR, LogEvent.ERROR, None])
def test_errors_and_warnings_are_printed_whole(handler, capsys, kind):
    level = logging.WARNING if kind is None else logging.INFO
    handler.emit(event(kind, "a rule failed:\nits log", level))
    assert capsys.readouterr().err == "a rule failed:\nits log\n"


def test_the_first_models_and_the_page_are_named(tmp_path):
    rows = [f"{k},m-{k},model,54,54,fsd_full,{20 + k},1.25,0.35\n" for k in range(1, 8)]
    rows += [",bad,model,0,54,fsd_full,,,\n", ",truth,reference,54,54,fsd_full,0,0,0\n"]
    (tmp_path / "leaderboard.csv").write_text(HEAD + "".join(rows))
    assert summary(tmp_path) == ""  # the page is not there yet
    (tmp_path / "leaderboard.html").touch()
    lines = summary(tmp_path).splitlines()
    assert lines[0].split("  ")[0] == "rank"
    assert "fsd_full, shared scans" in lines[0]
    assert [line.split()[1] for line in lines[1:6]] == [f"m-{k}" for k in range(1, 6)]
    assert lines[1].split() == ["1", "m-1", "54", "54", "21", "1.2", "0.35"]
    assert lines[6:] == ["and 3 more models", f"page: {tmp_path / 'leaderboard.html'}"]
    explorer = tmp_path / "explorer" / "index.html"
    explorer.parent.mkdir()
    explorer.touch()
    assert summary(tmp_path).splitlines()[8:] == [f"explorer: {explorer}"]


def test_a_board_without_a_scored_model_is_shown(tmp_path):
    (tmp_path / "leaderboard.csv").write_text(HEAD + ",bad,model,0,54,fsd_full,,,\n")
    (tmp_path / "leaderboard.html").touch()
    assert summary(tmp_path).splitlines()[1].split() == ["–", "bad", "0", "54", "–", "–", "–"]
