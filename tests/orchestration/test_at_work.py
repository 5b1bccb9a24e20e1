"""Results in use by a run of another working folder; left-overs of killed runs block nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from pesbench.core.errors import UserError
from pesbench.orchestration import at_work
from pesbench.orchestration.at_work import SILENT_S, Marker, take
from pesbench.orchestration.running import started
from workflow_copy import REPO

THERE = Marker("other", "another boot", 7, "123", "/home/b/work", "2026-01-02 03:04:05")


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results (a'b)" / "mini"


@pytest.fixture
def here(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def living():
    """A process that is there as long as the test."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


def _leave(results, marker, age_s=0.0):
    results.mkdir(parents=True, exist_ok=True)
    path = results / f".at-work-{marker.host}-{marker.pid}.json"
    path.write_text(json.dumps(vars(marker)))
    os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    return path


def _here(pid, folder):
    place, since = at_work._place(), "2026-01-02 03:04:05"
    return Marker(os.uname().nodename, place, pid, started(pid), str(folder), since)


def _own(results):
    return [path for path in results.glob(".at-work-*") if f"-{os.getpid()}." in path.name]


def test_the_first_run_marks_the_results(results, here):
    take(results, here)
    (path,) = _own(results)
    assert json.loads(path.read_text())["folder"] == str(here)


@pytest.mark.parametrize("age_s", [0.0, 10 * SILENT_S], ids=["at once", "after hours"])
def test_a_living_run_of_another_folder_is_named(results, here, tmp_path, living, age_s):
    """On this machine the process tells, however long it gave no sign (it may be suspended)."""
    path = _leave(results, _here(living, tmp_path / "elsewhere"), age_s)
    with pytest.raises(UserError) as caught:
        take(results, here)
    said = str(caught.value)
    assert "\n" not in said
    for word in (f"process {living}", str(tmp_path / "elsewhere"), "2026-01-02 03:04:05", "kill"):
        assert word in said
    assert path.exists()
    assert not _own(results)


def test_a_run_on_another_machine_is_named_as_long_as_it_gives_signs(results, here):
    path = _leave(results, THERE, SILENT_S / 2)
    with pytest.raises(UserError, match="process 7 on other, started in /home/b/work"):
        take(results, here)
    _leave(results, THERE, 2 * SILENT_S)
    take(results, here)
    assert not path.exists()


def test_a_run_of_the_same_folder_is_left_to_snakemake(results, here, living):
    path = _leave(results, _here(living, here))
    take(results, here)
    assert path.exists()


def _killed(folder):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        marker = _here(process.pid, folder)
        process.kill()
    return marker


@pytest.mark.parametrize(
    "kind", ["killed", "its number is another's", "before a reboot", "cut short", "no marker"]
)
def test_a_left_over_stops_nobody(results, here, tmp_path, living, kind):
    other = tmp_path / "elsewhere"
    match kind:
        case "killed":
            path = _leave(results, _killed(other))
        case "its number is another's":
            path = _leave(results, replace(_here(living, other), started="1"))
        case "before a reboot":
            path = _leave(results, replace(_here(living, other), place="before"), 2 * SILENT_S)
        case "cut short":
            _leave(results, THERE).write_text("{")
            path = None
        case "no marker":
            _leave(results, replace(THERE, pid=None))
            path = None
    take(results, here)
    assert _own(results)
    assert path is None or not path.exists()


def test_a_marker_goes_with_its_process(results, here):
    code = "import sys; from pathlib import Path; from pesbench.orchestration.at_work import take\n"
    code += "take(Path(sys.argv[1]), Path.cwd()); print(*Path(sys.argv[1]).glob('.*'))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(results)], cwd=here, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(REPO / "workflow")}, check=True,
    )  # fmt: skip
    assert ".at-work-" in done.stdout
    assert not list(results.glob(".at-work-*"))
