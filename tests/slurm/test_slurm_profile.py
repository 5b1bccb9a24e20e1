"""`snakemake --profile slurm` through a real Slurm: whole runs, and what can be lost in them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from examples import fake_entry, matches
from one_node import OneNode, run, this_machine
from pesbench.files.evaluation import Evaluation
from pesbench.files.scan_set import ScanSet
from pesbench.tasks.dynamics.stored import Trajectories
from shards import evaluate_shard

REPO = Path(__file__).parents[2]
LITERAL = (str(Path(sys.executable).with_name("snakemake")), "--profile", "slurm")
BOUND_S = 1800  # of a run; minutes on an idle machine
# 24 s a scan, 168 s the first job: beyond the two minutes of its first attempt, and well within the
# four of its second, however long its start takes and if the first one left nothing
SLOW_FRAME_S = 0.24
SLOWER_FRAME_S = 0.6  # two minutes of work after the first of three scans
N_FRAMES = 100
CALLS_OF_PRECISION = 12  # of each job, once: again if it was lost before its first piece
POLL_S = 0.3
pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

# two models, one of which can use a GPU; two evaluations and two dynamics each
WHOLE = {
    "scan_set": "few",
    "scan_sets": {
        "few": {"source": "molecules", "molecules": "few.extxyz", "reference": "gfn2-xtb"},
    },
    "models": ["gfn1-xtb", "testbed-base"],
    "controls": ["control-zero"],
    "shard_size": 3,
    "dynamics": {
        "models": ["gfn1-xtb", "testbed-base"],
        "systems": ["hydroxylamine", "methanethiol"],
        "temperatures_k": [500],
        "duration_ps": 0.3,  # some seconds after the checkpoint of the relaxed molecule
        "shard_size": 1,
    },
}
FEW = ("ethanol", "hydroxylamine", "methanethiol", "methylhydrazine")
# a model that needs more than a minute and a half a job, and a cluster that believes in one
LIMITED = {
    "scan_set": "many",
    "scan_sets": {
        "many": {"source": "molecules", "molecules": "many.extxyz", "reference": "morse"},
    },
    "models_file": "slow.yaml",
    "models": ["slow"],
    "controls": [],
    # of 12 scans; what is left of the second one, cancelled early, ends well within four minutes: a
    # job that writes its file as its time ends would be made again from the start
    "shard_size": 7,
    "dynamics": {"models": []},
    "cluster": {"cpu_partition": "cpu", "gpu_partition": "gpu", "time_factor": 0.12},
}
MANY = (*FEW, "ethanethiol", "hydrazine", "methoxyamine", "methylamine")
# the same model, slower, for a Snakemake that is killed: two jobs, which go on without it
KILLED = {
    "scan_set": "few",
    "scan_sets": {
        "few": {"source": "molecules", "molecules": "few.extxyz", "reference": "morse"},
    },
    "models_file": "slow.yaml",
    "models": ["slow"],
    "controls": [],
    "shard_size": 3,
    "dynamics": {"models": []},
}
_HEAD = re.compile(r"(?:local)?rule (\w+):$")
_FACT = re.compile(r"    (jobid|wildcards): (.*)$")
_SUBMITTED = re.compile(r"Job (\d+) has been submitted with SLURM jobid (\d+) ")


@dataclass(frozen=True)
class Submitted:
    """A job that Slurm got: a rule and its task, the values of other wildcards, and its id."""

    rule: str
    wildcards: tuple[str, ...]
    slurm_id: str


def submissions(log: str) -> list[Submitted]:
    """The jobs that Slurm got, in order, from Snakemake's log."""
    found: list[Submitted] = []
    jobs: dict[str, tuple[str, tuple[str, ...]]] = {}
    rule, job = "", ""
    for line in log.splitlines():
        if head := _HEAD.match(line):
            rule = head[1]
        elif (fact := _FACT.match(line)) and fact[1] == "jobid":
            job = fact[2]
            jobs[job] = (rule, ())
        elif fact:
            values = dict(word.split("=", maxsplit=1) for word in fact[2].split(", "))
            task = values.pop("task", "")
            jobs[job] = (f"{rule} {task}".strip(), tuple(values.values()))
        elif submitted := _SUBMITTED.match(line):
            found.append(Submitted(*jobs[submitted[1]], submitted[2]))
    return found


@dataclass
class Workflow:
    """A copy of the workflow, and its runs through the profile."""

    root: Path

    @classmethod
    def make(cls, root: Path, config: dict, molecules: tuple[str, ...]) -> Workflow:
        skip = shutil.ignore_patterns("__pycache__", "cache", "*.egg-info")
        for name in ("workflow", "config", "resources", "envs", "profiles", "slurm"):
            shutil.copytree(REPO / name, root / name, ignore=skip)
        shutil.copy(REPO / "Snakefile", root)
        name = config["scan_set"]
        frames = ase.io.read(REPO / "resources/mini/molecules.extxyz", index=":")
        ase.io.write(root / f"{name}.extxyz", [f for f in frames if f.info["id"] in molecules])
        (root / "run.yaml").write_text(yaml.safe_dump(config))
        # what a user changes: the type of GPU
        site = root / "slurm" / "site.yaml"
        site.write_text(re.sub("# gpu_model: .*", "gpu_model: fake", site.read_text()))
        profile = root / "slurm" / "config.yaml"
        text = profile.read_text()
        for key, value in (
            ("slurm-init-seconds-before-status-checks", 3),
            ("latency-wait", 5),  # one disk
        ):
            text, count = re.subn(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
            assert count == 1, key
        profile.write_text(text)
        return cls(root)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.run([*LITERAL, *arguments, "--configfile", "run.yaml"])

    def run(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Anything, in its folder."""
        python = [str(self.root / "workflow"), str(REPO / "tests/helpers")]
        programs = [str(Path(sys.executable).parent), os.environ["PATH"]]
        paths = {"PYTHONPATH": os.pathsep.join(python), "PATH": os.pathsep.join(programs)}
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.root, env=os.environ | paths, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    @property
    def results(self) -> Path:
        (folder,) = (path for path in (self.root / "results").iterdir() if path.is_dir())
        return folder


def finish(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(BOUND_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Killed:
    """What came of a Snakemake that was killed: what the next ones said, and the end."""

    at_work: list[str]
    unlocked: int
    refused: str
    code: int


@dataclass
class Done:
    """All runs, at their end."""

    node: OneNode
    whole: Workflow
    limited: Workflow
    killed: Workflow
    codes: dict[str, int] = field(default_factory=dict)
    lost: dict[str, Submitted] = field(default_factory=dict)
    kill: Killed | BaseException | None = None

    def jobs(
        self, workflow: Workflow, rule: str, *wildcards: str
    ) -> list[tuple[Submitted, dict[str, str]]]:
        """Jobs of one rule (and the first wildcards), in order, with Slurm's facts."""
        facts = {job["JobId"]: job for job in self.node.jobs()}
        return [
            (one, facts[one.slurm_id])
            for one in submissions(workflow.log)
            if one.rule == rule and one.wildcards[: len(wildcards)] == wildcards
        ]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    whole = Workflow.make(tmp_path_factory.mktemp("whole"), WHOLE, FEW)
    limited = Workflow.make(tmp_path_factory.mktemp("limited"), LIMITED, MANY)
    killed = Workflow.make(tmp_path_factory.mktemp("killed"), KILLED, FEW)
    _write_slow_models(limited.root, SLOW_FRAME_S)
    _write_slow_models(killed.root, SLOWER_FRAME_S)
    # four of its cores are for jobs that sleep
    with this_machine(), OneNode(tmp_path_factory.mktemp("node"), cores=6) as node:
        made = Done(node, whole, limited, killed)
        running = [whole.start(), limited.start("scores")]
        try:
            with ThreadPoolExecutor() as at_a_time:
                losses = [
                    at_a_time.submit(_lose, made, limited, running[1], "run_on_cpu bonds",
                                     lambda one: one.wildcards == ("slow", "0001"), piece=True),
                    at_a_time.submit(_lose, made, whole, running[0], "run bonds",
                                     lambda one: one.wildcards[-1] == "0001", piece=False),
                    at_a_time.submit(_lose, made, whole, running[0], "run dynamics",
                                     lambda one: True, piece=True),
                ]  # fmt: skip
                kill = at_a_time.submit(_kill_and_continue, made)
                made.codes = {
                    "whole": finish(running[0]),
                    "limited": finish(running[1]),
                }
                for loss in losses:
                    loss.result()
                made.kill = kill.exception() or kill.result()
            yield made
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def _write_slow_models(root: Path, pause_s: float) -> None:
    morse = {"family": "ase", "calculator": "fake_calculators:Morse"}
    # a fixed batch: how far its choice is measured depends on what else the machine does
    slow = morse | {"batch_size": 5, "timeout_s": 20}
    slow |= {"arguments": {"pause_s": pause_s, "tally": str(root / "tally")}}
    reference = morse | {"level_of_theory": "Morse", "trained": False}
    (root / "slow.yaml").write_text(yaml.safe_dump({"morse": reference, "slow": slow}))


def _piece(workflow: Workflow, one: Submitted) -> Path:
    """The first piece of a job's checkpoint."""
    model, shard = one.wildcards
    (scan_set,) = (path.stem for path in workflow.root.glob("*.extxyz"))
    stage = one.rule.partition(" ")[2]
    folder = workflow.root / "results" / scan_set / model / stage / f"{shard}.h5.checkpoint"
    return folder / "000000.npz"


def _lose(
    done: Done,
    workflow: Workflow,
    running: subprocess.Popen[bytes],
    rule: str,
    which: Callable[[Submitted], bool],
    *,
    piece: bool,
) -> None:
    """Cancel the first job of a rule that is of a kind, and runs, or has a piece of a checkpoint.

    Where it ends by itself before, the tests tell.
    """
    end = time.monotonic() + BOUND_S
    while running.poll() is None and time.monotonic() < end:
        time.sleep(POLL_S)
        found = [one for one in submissions(workflow.log) if one.rule == rule and which(one)]
        if piece:
            found = [one for one in found if _piece(workflow, one).exists()]
        if not found:
            continue
        states = {job["JobId"]: job["JobState"] for job in done.node.jobs()}
        at_work = [one for one in found if states.get(one.slurm_id) == "RUNNING"]
        if at_work:
            with contextlib.suppress(RuntimeError):  # it has just ended
                run("scancel", at_work[0].slurm_id)
                done.lost[rule] = at_work[0]
                return


def _kill_and_continue(done: Done) -> Killed:
    """SIGKILL Snakemake while its jobs run, and then do what the next ones say."""
    workflow = done.killed
    first = workflow.start("scores")
    end = time.monotonic() + BOUND_S
    try:
        while not list(workflow.root.glob("results/few/slow/bonds/*.checkpoint/000000.npz")):
            assert first.poll() is None, workflow.log
            assert time.monotonic() < end, workflow.log
            time.sleep(POLL_S)
    finally:
        first.kill()
        first.wait()
    jobs = [one.slurm_id for one in submissions(workflow.log) if one.rule == "run_on_cpu bonds"]
    unlocked = finish(workflow.start("scores", "--unlock"))
    before = len(workflow.log)
    finish(workflow.start("scores"))
    refused = workflow.log[before:]
    told = re.search(": (scancel [0-9 ]+)$", refused, flags=re.MULTILINE)
    assert told is not None, refused
    run(*told[1].split())
    code = finish(workflow.start("scores"))
    return Killed(sorted(jobs), unlocked, refused, code)


# --- a whole benchmark ---------------------------------------------------------------------------


def test_a_benchmark_runs_through_the_profile(done: Done) -> None:
    assert done.codes["whole"] == 0, done.whole.log + done.node.log()[-3000:]
    board = pd.read_csv(done.whole.results / "leaderboard.csv").set_index("model")
    assert (board.loc[["gfn1-xtb", "testbed-base"], "n_scored"] > 0).all()
    assert (board.loc[["gfn1-xtb", "testbed-base"], "md_n_planned"] == 2).all()
    assert (done.whole.results / "leaderboard.html").is_file()


def test_a_model_on_a_gpu_has_one_of_its_own(done: Done) -> None:
    """The job that follows a lost one, too."""
    jobs = [job for rule in ("run bonds", "run dynamics") for _, job in done.jobs(done.whole, rule)]
    used = {}
    for job in jobs:
        assert job["Partition"] == "gpu"
        assert "gpu:fake:1" in job["TresPerJob"]
        if job["JobState"] == "COMPLETED":
            seen = done.node.devices()[job["JobId"]]
            assert {partition for partition, _ in seen} == {"gpu"}
            (used[job["JobId"]],) = {gpus for _, gpus in seen}
    assert set(used.values()) <= {"0", "1"}
    assert len(used) == 4
    for one, other in combinations((job for job in jobs if job["JobId"] in used), 2):
        if max(one["StartTime"], other["StartTime"]) < min(one["EndTime"], other["EndTime"]):
            assert used[one["JobId"]] != used[other["JobId"]]


@pytest.mark.parametrize(
    "rule", ["run_on_cpu bonds", "run_on_cpu dynamics", "reference", "molecules"]
)
def test_a_model_without_a_gpu_asks_for_none(done: Done, rule: str) -> None:
    jobs = [job for _, job in done.jobs(done.whole, rule)]
    assert jobs
    for job in jobs:
        assert (job["Partition"], job["JobState"]) == ("cpu", "COMPLETED")
        assert "gpu" not in job.get("TresPerJob", "")
        assert {gpus for _, gpus in done.node.devices()[job["JobId"]]} <= {"none", "NoDevFiles"}


def test_what_reads_results_is_no_job_of_the_cluster(done: Done) -> None:
    rules = {
        job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]
        for job in done.node.jobs()
        if job["WorkDir"] == str(done.whole.root)
    }
    assert rules == {one.rule.partition(" ")[0] for one in submissions(done.whole.log)}
    assert rules == {"molecules", "reference", "controls_bonds", "run", "run_on_cpu"}


def test_a_rerun_does_nothing(done: Done) -> None:
    before = len(done.node.jobs())
    assert finish(done.whole.start()) == 0
    assert "Nothing to be done" in done.whole.log
    assert len(done.node.jobs()) == before


# --- a lost job ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["run bonds", "run dynamics"])
def test_a_lost_job_is_made_again_and_costs_no_other(done: Done, rule: str) -> None:
    lost = done.lost[rule]  # else nothing was lost in time
    states: dict[tuple[str, ...], list[str]] = {}
    for one, job in done.jobs(done.whole, rule):
        states.setdefault(one.wildcards, []).append(job["JobState"])
    assert states.pop(lost.wildcards) == ["CANCELLED", "COMPLETED"]
    assert set(map(tuple, states.values())) == {("COMPLETED",)}
    (_, before), (_, after) = done.jobs(done.whole, rule, *lost.wildcards)
    assert _minutes(after) > _minutes(before)
    folder = done.whole.results / "testbed-base" / rule.partition(" ")[2]
    assert not list(folder.glob("*.checkpoint"))


def test_a_lost_job_of_dynamics_continues_from_its_checkpoint(done: Done) -> None:
    lost = done.lost["run dynamics"]
    for path in matches(done.whole.results / "testbed-base" / "dynamics", "*"):
        with Trajectories(path) as trajectories:
            interrupted = trajectories.attributes["times_interrupted"]
            assert interrupted == (1 if path.stem == lost.wildcards[1] else 0), path


# --- a time limit, and a cancelled job -----------------------------------------------------------


def _minutes(job: dict[str, str]) -> int:
    hours, minutes, _ = map(int, job["TimeLimit"].split(":"))
    return 60 * hours + minutes


@pytest.mark.parametrize(("shard", "how"), [("0000", "TIMEOUT"), ("0001", "CANCELLED")])
def test_a_lost_job_is_tried_again_with_more_and_continues(
    done: Done, shard: str, how: str
) -> None:
    assert done.codes["limited"] == 0, done.limited.log + done.node.log()[-3000:]
    jobs = done.jobs(done.limited, "run_on_cpu bonds", "slow", shard)
    states = [job["JobState"] for _, job in jobs]
    assert states[-1] == "COMPLETED"
    assert how in states[:-1]
    assert set(states[:-1]) <= {"TIMEOUT", "CANCELLED"}
    for attempt, (_, job) in enumerate(jobs, start=1):
        # a later attempt counts on a model that hangs
        assert _minutes(job) == 2 * attempt + 3 * (attempt > 1)
        assert int(job["MinMemoryNode"].removesuffix("M")) == 4000 * attempt
    with Evaluation(done.limited.results / "slow" / "bonds" / f"{shard}.h5") as evaluation:
        assert 1 <= evaluation.attributes["times_interrupted"] < len(jobs)
        assert evaluation.attributes["wall_s"] > len(evaluation.ids) * N_FRAMES * SLOW_FRAME_S


def test_lost_jobs_leave_no_damage(done: Done, tmp_path: Path) -> None:
    """The numbers of an undisturbed run, no piece left over, at most one scan twice a loss."""
    lost = len(done.jobs(done.limited, "run_on_cpu bonds")) - 2
    _same_as_undisturbed(done.limited, tmp_path, lost)


def _same_as_undisturbed(workflow: Workflow, scratch: Path, lost: int) -> None:
    (scan_set,) = workflow.results.glob("*.h5")
    with ScanSet(scan_set) as opened:
        ids = opened.ids
    evaluate_shard(fake_entry(name="slow"), scan_set, ids, scratch / "undisturbed.h5")
    found = sorted((workflow.results / "slow" / "bonds").iterdir())
    assert [path.name for path in found] == ["0000.h5", "0001.h5"]
    with h5py.File(scratch / "undisturbed.h5") as undisturbed:
        for path in found:
            with h5py.File(path) as disturbed:
                for bond, name in ((b, n) for b in disturbed for n in disturbed[b]):
                    for key in ("energy", "forces", "frame_status"):
                        ours, theirs = disturbed[bond][name][key], undisturbed[bond][name][key]
                        np.testing.assert_array_equal(ours[()], theirs[()])
    calls = len((workflow.root / "tally").read_text().splitlines())
    least = len(ids) * N_FRAMES + len(found) * CALLS_OF_PRECISION
    assert least <= calls <= least + lost * (N_FRAMES + CALLS_OF_PRECISION)


# --- a Snakemake that is killed ------------------------------------------------------------------


def test_after_a_killed_snakemake_the_next_one_names_the_jobs_that_are_left(done: Done) -> None:
    assert isinstance(done.kill, Killed), done.kill
    assert done.kill.unlocked == 0
    told = re.search(r"scancel ([0-9 ]+)$", done.kill.refused, flags=re.MULTILINE)
    assert told is not None
    assert sorted(told[1].split()) == done.kill.at_work


def test_once_they_are_cancelled_the_same_command_continues(done: Done, tmp_path: Path) -> None:
    assert isinstance(done.kill, Killed), done.kill
    assert done.kill.code == 0, done.killed.log + done.node.log()[-3000:]
    jobs = done.jobs(done.killed, "run_on_cpu bonds")
    states: dict[tuple[str, ...], list[str]] = {}
    for one, job in jobs:
        states.setdefault(one.wildcards, []).append(job["JobState"])
    assert list(states.values()) == [["CANCELLED", "COMPLETED"]] * 2
    interrupted = []
    for path in matches(done.killed.results / "slow" / "bonds", "*"):
        with Evaluation(path) as evaluation:
            interrupted.append(evaluation.attributes["times_interrupted"])
    assert 1 in interrupted
    assert set(interrupted) <= {0, 1}  # 0 where it had just begun
    _same_as_undisturbed(done.killed, tmp_path, lost=2)
    assert (done.killed.results / "slow" / "scores" / "bonds.parquet").is_file()
