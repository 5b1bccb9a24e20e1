"""Item 9: the mini benchmark through Snakemake against the same commands by hand, in two lanes."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import ROOT, Command, Inputs, Row, SkippedError

import pesbench

ITEM = "9 workflow"
TARGET = 1.1
LANES = 2
_NEEDED = ("config", "resources")  # what the commands read, relative to the working folder
_QUICK = """\
models: [emt]
controls: [control-zero]
systems: ["N-O/*"]
dynamics: {models: []}
"""


@dataclass(frozen=True)
class Job:
    """One command of the workflow.

    Attributes:
        rule: Of it.
        command: As Snakemake gave it to the shell.
        outputs: Files that it makes.
        inputs: Files that it needs.
        logs: Files that it writes to on the way.
        ended: When its first output was finished, in seconds of some clock.
    """

    rule: str
    command: str
    outputs: tuple[Path, ...]
    inputs: tuple[Path, ...]
    logs: tuple[Path, ...]
    ended: float


def read_jobs(summary: str, folder: Path) -> list[Job]:
    """The jobs of a finished run, in the order in which they ended.

    Args:
        summary: Of `snakemake --detailed-summary`: one line an output.
        folder: That Snakemake ran in.

    Raises:
        RuntimeError: a line tells of no command.
    """
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    lines = [line for line in summary.splitlines() if "\t" in line]
    for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["shellcmd"] in ("", "-"):
            raise RuntimeError(f"{row['output_file']}: Snakemake tells of no command")
        found.setdefault((row["rule"], row["shellcmd"]), []).append(row)
    jobs = []
    for (rule, command), rows in found.items():
        outputs = tuple(Path(row["output_file"]) for row in rows)
        jobs.append(
            Job(
                rule,
                command,
                outputs,
                _paths(rows[0]["input-file(s)"]),
                _paths(rows[0]["log-file(s)"]),
                min((folder / path).stat().st_mtime for path in outputs),
            )
        )
    return sorted(jobs, key=lambda job: job.ended)


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(name) for name in text.split(",") if name not in ("", "-"))


class _Lanes:
    """Jobs in some lanes: each takes the next job whose input is there, as one would by hand."""

    def __init__(self, jobs: Sequence[Job], folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._waiting = list(jobs)
        self._missing = {path for job in jobs for path in job.outputs}
        self._changed = threading.Condition()
        self._error: RuntimeError | None = None
        self.seconds: dict[str, float] = {}

    def run(self, lanes: int) -> float:
        """Seconds until all is done.

        Raises:
            RuntimeError: a command failed; with its messages.
        """
        for path in self._missing | {path for job in self._waiting for path in job.logs}:
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        threads = [threading.Thread(target=self._lane) for _ in range(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error
        return time.perf_counter() - start

    def _lane(self) -> None:
        while (job := self._next()) is not None:
            start = time.perf_counter()
            done = subprocess.run(
                ["bash", "-c", f"set -euo pipefail; {job.command}"], cwd=self._folder,
                env=self._environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            with self._changed:
                self.seconds[job.command] = time.perf_counter() - start
                if done.returncode:
                    self._error = RuntimeError(f"{job.command}\n{done.stderr[-2000:]}")
                self._missing -= set(job.outputs)
                self._changed.notify_all()

    def _next(self) -> Job | None:
        with self._changed:
            while self._waiting and self._error is None:
                for job in self._waiting:
                    if self._missing.isdisjoint(job.inputs):
                        self._waiting.remove(job)
                        return job
                self._changed.wait()
        return None


def in_lanes(jobs: Sequence[Job], folder: Path, lanes: int = LANES) -> tuple[float, float]:
    """Seconds of some commands run by hand, so many at a time, and the sum of each one's.

    Args:
        jobs: In the order in which they are begun.
        folder: That their paths start from; the files that they make are not there.
        lanes: How many run at a time.

    Raises:
        RuntimeError: a command failed.
    """
    package = str(Path(pesbench.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": package}
    run = _Lanes(jobs, folder, environment)
    return run.run(lanes), sum(run.seconds.values())


def measure(inputs: Inputs) -> Iterator[Row]:
    """Wall time of Snakemake on the default config, and of its commands without it.

    Both start from an empty folder of results. By hand the commands are begun in the order in which
    Snakemake's ended, so that a better or worse order of jobs is on neither side.

    Raises:
        SkippedError: there is one core only.
    """
    if len(os.sched_getaffinity(0)) < LANES:
        raise SkippedError("needs two cores")
    folder = inputs.folder / "overhead"
    if folder.exists():  # of an earlier run with `--keep`; links in it are not followed
        shutil.rmtree(folder)
    folder.mkdir()
    for name in _NEEDED:
        (folder / name).symlink_to(ROOT / name)
    more: list[str | Path] = []
    if inputs.quick:
        (folder / "quick.yaml").write_text(_QUICK)
        more = ["--configfile", folder / "quick.yaml"]
    options = ("--cores", str(LANES), "--snakefile", ROOT / "Snakefile", "--directory", folder)
    whole = Command(*options, *more, log=folder / "snakemake.log", module="snakemake").wait()
    summary = folder / "summary.tsv"
    Command("--detailed-summary", *options, *more, log=summary, module="snakemake").wait()
    jobs = read_jobs(summary.read_text(), folder)
    (folder / "results").rename(folder / "results-of-snakemake")
    by_hand_s, sum_s = in_lanes(jobs, folder)
    what = "snakemake --cores 2 on config/config.yaml" if not inputs.quick else "a tiny run"
    yield Row(
        ITEM, f"{what} / its {len(jobs)} commands by hand in two lanes",
        whole.seconds / by_hand_s, target=TARGET, at_least=False,
        note=f"{whole.seconds:.0f} against {by_hand_s:.0f} s",
        details={"snakemake_s": whole.seconds, "by_hand_s": by_hand_s},
    )  # fmt: skip
    yield Row(
        ITEM, "  the same / half of the sum of the commands, as if no lane ever waited",
        whole.seconds / (sum_s / LANES), at_least=False,
    )  # fmt: skip
