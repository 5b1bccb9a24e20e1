"""Jobs that a Snakemake which was killed has left in Slurm's queue.

They still write: a second job of the same shard would work in the same checkpoint.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.errors import UserError

PREFIX = "pesbench_"  # `slurm-jobname-prefix` of the profile, as Slurm's jobs carry it
WAIT_S = 180.0  # for jobs that were cancelled: Slurm gives them `KillWait`, 30 s as a rule
POLL_S = 2.0
_COMMAND = ("squeue", "--me", "--noheader", "--format=%F|%j|%Z|%T")  # id, name, folder, state
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Queued:
    """A job, or an array, that waits or runs.

    Attributes:
        job: Its id.
        run: What all jobs of one Snakemake are called.
        ending: Whether it was cancelled, or has ended, and its processes are going.
    """

    job: str
    run: str
    ending: bool


def queued(queue: str, folder: Path) -> list[Queued]:
    """The jobs of a folder, an array once.

    Args:
        queue: A line a job or task: id, name, folder and state, with bars between.
        folder: That Snakemake runs in.
    """
    found: dict[str, Queued] = {}
    for line in queue.splitlines():
        job, name, rest = line.split("|", maxsplit=2)
        place, _, state = rest.rpartition("|")
        if name.startswith(PREFIX) and Path(place) == folder:
            ending = state == "COMPLETING" and (job not in found or found[job].ending)
            found[job] = Queued(job, name, ending)
    return list(found.values())


def _ask(folder: Path) -> list[Queued] | None:
    """The jobs of a folder; None where the queue does not answer."""
    try:
        done = subprocess.run(
            _COMMAND,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",  # of folders whose names are compared
            timeout=_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return queued(done.stdout, folder)


def ask_left_over(folder: Path) -> list[str] | None:
    """Ids of the jobs of a folder; None where the queue does not answer.

    Args:
        folder: That Snakemake runs in.
    """
    found = _ask(folder)
    return None if found is None else [one.job for one in found]


def refuse_left_over(folder: Path, runs: Mapping[str, str]) -> None:
    """Refuse to start while jobs of an earlier Snakemake in this folder are queued or running.

    Those that were cancelled are waited for. Where the queue cannot be asked there is nothing to
    be refused: submitting will tell.

    Args:
        folder: That Snakemake runs in.
        runs: What the jobs of Snakemakes that may be at work there are called, with the host of
            those that cannot be seen from here, and "" for others, whose jobs are no left-overs.

    Raises:
        UserError: with the command that removes them.
    """
    end = time.monotonic() + WAIT_S
    told = False
    while found := [one for one in _ask(folder) or [] if runs.get(one.run) != ""]:
        if not all(one.ending for one in found):
            raise _refused(found, folder, runs)
        if time.monotonic() > end:
            raise UserError(
                f"Slurm jobs {' '.join(one.job for one in found)} in {folder} were cancelled, and "
                "have not ended; once `squeue --me` shows none of them, give the command again"
            )
        if not told:
            print("pesbench: waiting for cancelled jobs to end", file=sys.stderr)
            told = True
        time.sleep(POLL_S)


def _refused(found: Sequence[Queued], folder: Path, runs: Mapping[str, str]) -> UserError:
    jobs = " ".join(one.job for one in found)
    if hosts := dict.fromkeys(host for one in found if (host := runs.get(one.run))):
        return UserError(
            f"Slurm jobs in {folder} are queued or running ({len(found)}), of a Snakemake on "
            f"{', '.join(hosts)}, which cannot be seen from here; wait for it, or, if it is gone, "
            f"cancel them, then run again, which continues from their checkpoints: scancel {jobs}"
        )
    return UserError(
        f"Slurm jobs of an earlier run in {folder} are queued or running ({len(found)}); cancel "
        f"them, then run again, which continues from their checkpoints: scancel {jobs}"
    )
