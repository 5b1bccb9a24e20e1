"""`snakemake --profile slurm` through a real Slurm: whole runs, a time limit, a cancelled job."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from one_node import OneNode, run, this_machine

from conftest import fake_entry
from pesbench.evaluate import evaluate_shard
from pesbench.storage import Evaluation, ScanSet

REPO = Path(__file__).parents[2]
LITERAL = (str(Path(sys.executable).with_name("snakemake")), "--profile", "slurm")
BOUND_S = 1800  # of a run; minutes on an idle machine
SLOW_FRAME_S = 0.14  # 14 s a scan, 98 s the first job: beyond the limit of its first attempt
N_FRAMES = 100
pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

# two models, one of which can use a GPU; two jobs of everything
WHOLE = {
    "scan_set": "few",
    "scan_sets": {
        "few": {"source": "molecules", "molecules": "few.extxyz", "reference": "gfn2-xtb"},
    },
    "models": ["gfn1-xtb", "mace-mini"],
    "controls": ["control-zero"],
    "shard_size": 3,
    "dynamics": {
        "models": ["gfn1-xtb", "mace-mini"],
        "systems": ["hydroxylamine", "methanethiol"],
        "temperatures_k": [500],
        "duration_ps": 0.05,
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
    # of 12 scans; what is left of the second one, cancelled early, ends well within two minutes: a
    # job that writes its file as its time ends would be made again from the start
    "shard_size": 7,
    "dynamics": {"models": []},
    "cluster": {"cpu_partition": "cpu", "gpu_partition": "gpu", "time_factor": 0.01},
}
MANY = (*FEW, "ethanethiol", "hydrazine", "methoxyamine", "methylamine")


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
        # what a user changes: the type of GPU; and how a Slurm without accounting is asked
        site = root / "slurm" / "site.yaml"
        site.write_text(re.sub("# gpu_model: .*", "gpu_model: fake", site.read_text()))
        with (root / "slurm" / "config.yaml").open("a") as profile:
            profile.write("slurm-status-command: squeue\n")
        text = (root / "slurm" / "config.yaml").read_text()
        before = re.search("^slurm-init-seconds.*$", text, flags=re.MULTILINE)
        assert before is not None
        faster = text.replace(before[0], "slurm-init-seconds-before-status-checks: 3")
        (root / "slurm" / "config.yaml").write_text(faster)
        return cls(root)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        path = [str(self.root / "workflow"), str(REPO / "tests")]
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(
                [*LITERAL, *arguments, "--configfile", "run.yaml"],
                cwd=self.root,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
                stdout=log,
                stderr=log,
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
class Done:
    """Both runs, at their end."""

    node: OneNode
    whole: Workflow
    whole_code: int
    limited: Workflow
    limited_code: int

    def jobs(self, workflow: Workflow, comment: str) -> list[dict[str, str]]:
        """Slurm's facts of the jobs of one rule (and wildcards), in order of their submission."""
        found = [
            job
            for job in self.node.jobs()
            if job["WorkDir"] == str(workflow.root) and job["Comment"].startswith(comment)
        ]
        return sorted(found, key=lambda job: int(job["JobId"]))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    whole = Workflow.make(tmp_path_factory.mktemp("whole"), WHOLE, FEW)
    limited = Workflow.make(tmp_path_factory.mktemp("limited"), LIMITED, MANY)
    _write_slow_models(limited.root)
    with this_machine(), OneNode(tmp_path_factory.mktemp("node")) as node:
        running = [whole.start(), limited.start("scores")]
        try:
            _cancel_once_it_has_a_checkpoint(node, limited, running[1])
            codes = [finish(process) for process in running]
            yield Done(node, whole, codes[0], limited, codes[1])
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def _write_slow_models(root: Path) -> None:
    morse = {"family": "ase", "calculator": "fake_calculators:Morse"}
    # a fixed batch: how far its choice is measured depends on what else the machine does
    slow = morse | {"batch_size": 5}
    slow |= {"arguments": {"pause_s": SLOW_FRAME_S, "tally": str(root / "tally")}}
    reference = morse | {"level_of_theory": "Morse", "trained": False}
    (root / "slow.yaml").write_text(yaml.safe_dump({"morse": reference, "slow": slow}))


def _cancel_once_it_has_a_checkpoint(
    node: OneNode, workflow: Workflow, running: subprocess.Popen[bytes]
) -> None:
    piece = workflow.root / "results/many/slow/scans/0001.h5.checkpoint/000000.npz"
    end = time.monotonic() + BOUND_S
    while not piece.exists():
        if running.poll() is not None or time.monotonic() > end:
            return  # the tests tell what went wrong
        time.sleep(0.5)
    for job in node.jobs():
        comment = job["Comment"], job["JobState"]
        if comment == ("rule_evaluate_on_cpu_wildcards_slow_0001", "RUNNING"):
            run("scancel", job["JobId"])


# --- a whole benchmark ---------------------------------------------------------------------------


def test_a_benchmark_runs_through_the_profile(done: Done) -> None:
    assert done.whole_code == 0, done.whole.log + done.node.log()[-3000:]
    board = pd.read_csv(done.whole.results / "leaderboard.csv").set_index("model")
    assert (board.loc[["gfn1-xtb", "mace-mini"], "n_scored"] > 0).all()
    assert (board.loc[["gfn1-xtb", "mace-mini"], "md_n_planned"] == 2).all()
    assert (done.whole.results / "leaderboard.html").is_file()


@pytest.mark.parametrize("rule", ["evaluate", "dynamics"])
def test_a_model_on_a_gpu_has_one_of_its_own_and_goes_as_an_array(done: Done, rule: str) -> None:
    jobs = done.jobs(done.whole, f"rule_{rule}_wildcards_mace-mini")
    assert len(jobs) == 2
    assert len({job["ArrayJobId"] for job in jobs}) == 1
    for job in jobs:
        assert (job["Partition"], job["JobState"]) == ("gpu", "COMPLETED")
        assert "gpu:fake:1" in job["TresPerJob"]
        seen = done.node.devices()[job["JobId"]]
        assert {partition for partition, _ in seen} == {"gpu"}
        assert len({gpus for _, gpus in seen}) == 1
        assert seen[0][1] in ("0", "1")
    starts = [job["StartTime"] for job in jobs], [job["EndTime"] for job in jobs]
    if max(starts[0]) < min(starts[1]):  # at a time
        assert {done.node.devices()[job["JobId"]][0][1] for job in jobs} == {"0", "1"}


@pytest.mark.parametrize("rule", ["evaluate_on_cpu", "dynamics_on_cpu", "reference", "molecules"])
def test_a_model_without_a_gpu_asks_for_none(done: Done, rule: str) -> None:
    jobs = done.jobs(done.whole, f"rule_{rule}")
    assert jobs
    for job in jobs:
        assert (job["Partition"], job["JobState"]) == ("cpu", "COMPLETED")
        assert "gpu" not in job.get("TresPerJob", "")
        assert {gpus for _, gpus in done.node.devices()[job["JobId"]]} <= {"none", "NoDevFiles"}


def test_what_reads_results_is_no_job_of_the_cluster(done: Done) -> None:
    rules = {
        job["Comment"].removeprefix("rule_").partition("_wildcards_")[0]
        for job in done.jobs(done.whole, "rule_")
    }
    on_gpu, on_cpu = {"evaluate", "dynamics"}, {"evaluate_on_cpu", "dynamics_on_cpu"}
    assert rules == {"molecules", "reference"} | on_gpu | on_cpu


def test_a_limit_of_jobs_beside_arrays_is_refused(done: Done) -> None:
    """The plugin would wait for ever for what Snakemake holds back."""
    assert finish(done.whole.start("--jobs", "2", "--forcerun", "figures")) != 0
    assert "pesbench: error: --jobs 2 and array jobs" in done.whole.log


def test_a_rerun_does_nothing(done: Done) -> None:
    before = len(done.node.jobs())
    assert finish(done.whole.start()) == 0
    assert "Nothing to be done" in done.whole.log
    assert len(done.node.jobs()) == before


# --- a time limit, and a cancelled job -----------------------------------------------------------


@pytest.mark.parametrize(("shard", "how"), [("0000", "TIMEOUT"), ("0001", "CANCELLED")])
def test_a_lost_job_is_tried_again_with_more_and_continues(
    done: Done, shard: str, how: str
) -> None:
    assert done.limited_code == 0, done.limited.log + done.node.log()[-3000:]
    jobs = done.jobs(done.limited, f"rule_evaluate_on_cpu_wildcards_slow_{shard}")
    states = [job["JobState"] for job in jobs]
    assert states[-1] == "COMPLETED"
    assert how in states[:-1]
    assert set(states[:-1]) <= {"TIMEOUT", "CANCELLED"}
    for attempt, job in enumerate(jobs, start=1):
        assert job["TimeLimit"] == f"00:{attempt:02d}:00"
        assert job["MinMemoryNode"] == f"{4000 * attempt}M"
    with Evaluation(done.limited.results / "slow" / "scans" / f"{shard}.h5") as evaluation:
        assert 1 <= evaluation.attributes["times_interrupted"] < len(jobs)
        assert evaluation.attributes["wall_s"] > len(evaluation.ids) * N_FRAMES * SLOW_FRAME_S


def test_lost_jobs_leave_no_damage(done: Done, tmp_path: Path) -> None:
    """The numbers of an undisturbed run, no piece left over, at most one scan twice a loss."""
    scan_set = done.limited.results / "many.h5"
    with ScanSet(scan_set) as opened:
        ids = opened.ids
    evaluate_shard(fake_entry(name="slow"), scan_set, ids, tmp_path / "undisturbed.h5")
    found = sorted((done.limited.results / "slow" / "scans").iterdir())
    assert [path.name for path in found] == ["0000.h5", "0001.h5"]
    with h5py.File(tmp_path / "undisturbed.h5") as undisturbed:
        for path in found:
            with h5py.File(path) as disturbed:
                for bond, name in ((b, n) for b in disturbed for n in disturbed[b]):
                    for key in ("energy", "forces", "frame_status"):
                        ours, theirs = disturbed[bond][name][key], undisturbed[bond][name][key]
                        np.testing.assert_array_equal(ours[()], theirs[()])
    lost = len(done.jobs(done.limited, "rule_evaluate_on_cpu")) - 2
    tally = len((done.limited.root / "tally").read_text().splitlines())
    assert len(ids) * N_FRAMES <= tally <= (len(ids) + lost) * N_FRAMES
