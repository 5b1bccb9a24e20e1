"""Arrays of Slurm's: what tasks ask for, and what becomes of them. tests/slurm has a real Slurm."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import ase.io
import pytest
import yaml
from ase import Atoms

from pesbench.core.errors import UserError
from pesbench.orchestration import slurm_arrays
from pesbench.orchestration.requests import Cluster, Request
from pesbench.orchestration.slurm_arrays import (
    RULES,
    Amounts,
    check_arrays,
    holding_back,
    own_command,
)
from workflow_copy import Copy

REPO = Path(__file__).parents[2]
PROFILE = yaml.safe_load((REPO / "slurm" / "config.yaml").read_text())


def payload(commands: dict[int, str]) -> str:
    """As the plugin hands the commands of later tasks on."""
    packed = {str(task): zlib.compress(text.encode()).hex() for task, text in commands.items()}
    return base64.b64encode(json.dumps(packed).encode()).decode()


def arguments(commands: dict[int, str]) -> list[str]:
    option = [f"--slurm-jobstep-array-execs={payload(commands)}"] if commands else []
    return ["snakemake", "--executor", "slurm-jobstep", *option]


def task(number: int) -> dict[str, str]:
    return {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_MIN": "41"}


# --- whose job a task is -------------------------------------------------------------------------


def test_a_later_task_of_an_array_has_a_command_of_its_own():
    started = arguments({42: "second", 43: "third"})
    assert own_command(started, task(42)) == "second"
    assert own_command(started, task(43)) == "third"
    assert own_command(started, task(41)) is None  # the first is what it was started as
    assert own_command(arguments({}), {}) is None  # no array
    assert own_command(arguments({}), task(42) | {"PESBENCH_ARRAY_TASK": "1"}) is None  # it is
    assert own_command(["snakemake", "--cores", "1"], task(42)) is None  # somebody's own array


def test_a_task_without_a_command_does_not_run_the_first_one():
    with pytest.raises(UserError, match=r"task 42 .* does not fit .* slurm-array-limit"):
        own_command(arguments({}), task(42))


def test_a_task_becomes_its_own_job_before_anything_else(tmp_path):
    """As sbatch starts it: else Snakemake would look after the output of the first one."""
    for name in ("Snakefile", "workflow", "config"):
        (tmp_path / name).symlink_to(REPO / name)
    own = "echo $PESBENCH_ARRAY_TASK $SLURM_ARRAY_TASK_ID > own; exit 7"
    done = subprocess.run(
        [sys.executable, "-m", *arguments({42: own}), "--jobs", "1", "--cores", "1", "first.h5"],
        cwd=tmp_path,
        env=os.environ | task(42),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stdout + done.stderr
    assert (tmp_path / "own").read_text().split() == ["1", "42"]
    assert "first.h5" not in done.stdout + done.stderr


# --- what tasks ask for --------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    wildcards: tuple[str, ...]
    attempt: int = 1


def request(wildcards) -> Request:
    return {"short": Request(10, 2000, True), "long": Request(40, 1000, True)}[wildcards[0]]


def test_tasks_of_an_array_ask_for_the_same_whatever_their_attempts():
    amounts, calls = Amounts(request, Cluster()), []

    def ask(*jobs):
        calls.clear()
        return {
            amounts.of(job.wildcards, job.attempt, lambda: calls.append(0) or jobs)
            for job in (*jobs, *jobs)  # time and memory
        }

    short, long = Job(("short", "0000")), Job(("long", "0000"))
    assert ask(short, long) == {(40, 2000)}
    assert len(calls) == 1
    assert ask(Job(short.wildcards, 2)) == {(20, 4000)}  # alone, its own
    # a third attempt beside a second one: the first in the list may be either
    assert ask(Job(short.wildcards, 3), Job(long.wildcards, 2)) == {(80, 6000)}
    assert ask(Job(long.wildcards, 3), Job(short.wildcards, 4)) == {(120, 8000)}


def test_a_job_that_is_not_ready_asks_for_its_own_and_for_more_once_it_is():
    amounts = Amounts(request, Cluster(gpu_hours=0.5))
    short, long = Job(("short", "0000")), Job(("long", "0000"))
    assert amounts.of(short.wildcards, 1, list) == (10, 2000)  # the graph is being built
    assert amounts.of(short.wildcards, 1, lambda: [long]) == (10, 2000)
    assert amounts.of(short.wildcards, 1, lambda: [long, short]) == (30, 2000)


# --- what the plugin can do ----------------------------------------------------------------------


def test_the_profile_submits_what_is_fanned_out_as_arrays_and_asks_squeue(monkeypatch):
    monkeypatch.setattr(slurm_arrays, "min_job_age_s", lambda: 300)  # Slurm's default
    rules = PROFILE["slurm-array-jobs"].split(",")
    assert set(rules) == set(RULES)
    assert PROFILE["jobs"] == "unlimited"
    assert "resources" not in PROFILE
    rate = int(PROFILE["max-jobs-per-timespan"].removesuffix("/1s"))
    nothing = holding_back(None, {}, rate, PROFILE["scheduler"])
    assert nothing == []
    check_arrays(rules, nothing, PROFILE["slurm-status-command"])


@pytest.mark.parametrize(
    ("rules", "holding", "status", "age", "said"),
    [
        (["evaluate", "vibrations"], [], "squeue", 300, "array jobs of vibrations: "),
        (["all"], [], "squeue", 300, "array jobs of all: "),
        (
            ["evaluate"],
            ["--jobs 50"],
            "squeue",
            300,
            "--jobs 50 and array jobs: Slurm's plugin would lose jobs; leave --jobs out, or add ",
        ),
        (["evaluate"], [], "sacct", 300, "mistake tasks of an array for one another"),
        (["evaluate"], [], "squeue", 60, "MinJobAge is 60 s"),
        (["evaluate"], [], "squeue", None, "MinJobAge is not known"),
    ],
)
def test_arrays_that_the_plugin_would_lose_are_refused(
    monkeypatch, rules, holding, status, age, said
):
    monkeypatch.setattr(slurm_arrays, "min_job_age_s", lambda: age)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/sacct")
    with pytest.raises(UserError, match=re.escape(said)):
        check_arrays(rules, holding, status)
    check_arrays([], holding, status)  # without arrays it can


def test_every_option_that_holds_jobs_back_is_named():
    assert holding_back(None, {}, None, "greedy") == []
    assert holding_back(50, {"gpu": 1}, 10.0, "ilp") == [
        "--jobs 50",
        "--resources gpu=1",
        "--max-jobs-per-timespan 10/1s",
        "--scheduler ilp",
    ]


def test_a_slurm_without_accounting_has_squeue_only(monkeypatch):
    monkeypatch.setattr(slurm_arrays, "min_job_age_s", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    check_arrays(["evaluate"], [], "squeue")


# --- a run ---------------------------------------------------------------------------------------

# a Slurm that starts nothing: each job it gets has failed when it is asked
SLURM = """\
#!{python}
import json, sys
from pathlib import Path
folder, name, given = Path({folder!r}), Path(sys.argv[0]).name, sys.argv[1:]
calls = folder / "calls"
before = calls.read_text().splitlines() if calls.exists() else []
if name == "sbatch":
    with calls.open("a") as file:
        print(json.dumps(given), file=file)
    print(100 * (len(before) + 1))
elif name == "squeue" and "--name" in given:
    for number, line in enumerate(before, start=1):
        tasks = [word[8:].split("-") for word in json.loads(line) if word.startswith("--array=")]
        for first, last in tasks or [(0, 0)]:
            for task in range(int(first), int(last) + 1):
                print(f"{{100 * number}}_{{task}}|FAILED" if tasks else f"{{100 * number}}|FAILED")
elif name == "scontrol":
    print("MaxArraySize = 1001\\nMinJobAge = 300 sec")
elif name in ("sacct", "sshare", "sacctmgr"):
    sys.exit(1)
"""
PROGRAMS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "sacct", "sacctmgr", "sshare")


def test_a_run_submits_few_arrays_whose_retries_ask_for_more(tmp_path, monkeypatch):
    (tmp_path / "copy").mkdir()
    copy = Copy(tmp_path / "copy")
    shutil.copytree(REPO / "slurm", copy.root / "slurm")
    bonds = {"co": ("CO", 1.13), "n2": ("NN", 1.10), "cs": ("CS", 1.54)}
    molecules = [
        Atoms(symbols, positions=[[0, 0, 0], [0, 0, length]], info={"id": name})
        for name, (symbols, length) in bonds.items()
    ]
    ase.io.write(copy.root / "toys.extxyz", molecules)
    morse = {"family": "ase", "calculator": "fake_calculators:Morse", "level_of_theory": "Morse"}
    morse["timeout_s"] = 20  # nine of them are three minutes, which a later attempt counts on
    (copy.root / "toys_models.yaml").write_text(yaml.safe_dump({"morse": morse}))
    config = {
        "scan_set": "toys",
        "scan_sets": {
            "toys": {"source": "molecules", "molecules": "toys.extxyz", "reference": "morse"}
        },
        "models_file": "toys_models.yaml",
        "models": ["morse"],
        "controls": [],
        "shard_size": 1,
        "dynamics": {"models": []},
    }
    (copy.root / "toys.yaml").write_text(yaml.safe_dump(config))
    made = copy.snakemake("results/toys/toys.h5", "--configfile", "toys.yaml")
    assert made.returncode == 0, made.stdout + made.stderr

    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).write_text(SLURM.format(python=sys.executable, folder=str(tmp_path)))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    options = "--slurm-array-limit 2 --slurm-init-seconds-before-status-checks 1"
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "scores", "--profile", "slurm", *options.split(),
         "--seconds-between-status-checks", "1", "--configfile", "toys.yaml"],
        cwd=copy.root,
        env=os.environ
        | {"PYTHONPATH": f"{copy.root / 'workflow'}{os.pathsep}{REPO / 'tests/helpers'}"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 1, log
    assert "pesbench: error" not in log
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert [word for word in calls[0] + calls[1] if word.startswith("--array")] == [
        "--array=1-2",
        "--array=3-3",
    ]
    shards = dict(re.findall(r"jobid: (\d+)\n(?:    .*\n)*?    wildcards: model=morse, (.*)", log))
    tries = dict.fromkeys(shards, 0)
    submitted = re.findall(
        r"array job with Snakemake IDs (\S+) and SLURM job ID (\d+)|"
        r"Job (\d+) has been submitted with SLURM jobid (\d+)",
        log,
    )
    for array, number, one, alone in sorted(submitted, key=lambda found: int(found[1] or found[3])):
        call = calls[int(number or alone) // 100 - 1]
        minutes = int(call[call.index("-t") + 1])
        megabytes = int(call[call.index("--mem") + 1])
        jobs = (array or one).split(",")
        for job in jobs:
            tries[job] += 1
        most = max(tries[job] for job in jobs)
        if alone:
            wanted = 11 * most + 3 * (most > 1), 4000 * most
            assert (minutes, megabytes) == wanted, shlex.join(call)
        else:  # in one go with others, whose attempts may be later ones
            assert 11 * most <= minutes <= 47, shlex.join(call)
            assert 4000 * most <= megabytes <= 16000 + 10  # the plugin adds a little for itself
    assert list(tries.values()) == [4, 4, 4]
