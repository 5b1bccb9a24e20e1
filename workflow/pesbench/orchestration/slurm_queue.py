"""Jobs that an earlier Snakemake has left in Slurm's queue.

They still write: a second job of the same shard would work in the same checkpoint.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.errors import UserError

PREFIX = "pesbench_"  # `slurm-jobname-prefix` of the profile, as Slurm's jobs carry it
WAIT_S = 180.0  # for jobs that were cancelled: Slurm gives them `KillWait`, 30 s as a rule
POLL_S = 2.0
_COMMAND = ("squeue", "--me", "--noheader", "--format=%A|%j|%Z|%T")  # id, name, folder, state
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Queued:
    """A job that waits or runs.

    Attributes:
        job: Id of the job.
        ending: Whether it was cancelled, or has ended, and its processes are going.
    """

    job: str
    ending: bool


def queued(queue: str, folder: Path) -> list[Queued]:
    """The jobs of a folder.

    Args:
        queue: A line a job: id, name, folder and state, with bars between.
        folder: Folder that Snakemake runs in.
    """
    found = []
    for line in queue.splitlines():
        job, name, rest = line.split("|", maxsplit=2)
        place, _, state = rest.rpartition("|")
        if name.startswith(PREFIX) and Path(place) == folder:
            found.append(Queued(job, state == "COMPLETING"))
    return found


def _ask(folder: Path) -> list[Queued]:
    """The jobs of a folder; none where the queue does not answer."""
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
        return []
    return queued(done.stdout, folder)


def refuse_left_over(folder: Path) -> None:
    """Refuse to start while jobs of another Snakemake in this folder are queued or running.

    Jobs that were cancelled are waited for. Where the queue cannot be asked nothing is refused:
    submitting a job will tell.

    Args:
        folder: Folder that Snakemake runs in.

    Raises:
        UserError: with the command that removes them.
    """
    end = time.monotonic() + WAIT_S
    told = False
    while found := _ask(folder):
        jobs = " ".join(one.job for one in found)
        if not all(one.ending for one in found):
            raise UserError(
                f"Slurm jobs of another run in {folder} are queued or running ({len(found)}); if "
                "its Snakemake still runs, wait for it; if not, cancel them and run again, which "
                f"continues from their checkpoints: scancel {jobs}"
            )
        if time.monotonic() > end:
            raise UserError(
                f"Slurm jobs {jobs} in {folder} were cancelled, and have not ended; once "
                "`squeue --me` shows none of them, give the command again"
            )
        if not told:
            print("pesbench: waiting for cancelled jobs to end", file=sys.stderr)
            told = True
        time.sleep(POLL_S)
