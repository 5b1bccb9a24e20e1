"""Jobs that a Snakemake which was killed has left in Slurm's queue.

They still write: a second job of the same shard would work in the same checkpoint.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from pesbench.errors import UserError

PREFIX = "pesbench_"  # `slurm-jobname-prefix` of the profile, as Slurm's jobs carry it
_COMMAND = ("squeue", "--me", "--noheader", "--format=%F|%j|%Z")  # id, name, folder
_TIMEOUT_S = 60


def left_over(queue: str, folder: Path) -> list[str]:
    """Ids of the jobs of a folder, an array once.

    Args:
        queue: A line a job or task: id, name and folder, with bars between.
        folder: That Snakemake runs in.
    """
    found: dict[str, None] = {}
    for line in queue.splitlines():
        job, name, place = line.split("|", maxsplit=2)
        if name.startswith(PREFIX) and Path(place) == folder:
            found[job] = None
    return list(found)


def refuse_left_over(folder: Path) -> None:
    """Refuse to start while jobs of an earlier Snakemake in this folder are queued or running.

    Where the queue cannot be asked there is nothing to be refused: submitting will tell.

    Raises:
        UserError: with the command that removes them.
    """
    try:
        done = subprocess.run(
            _COMMAND, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return
    if jobs := left_over(done.stdout, folder):
        raise UserError(
            f"{len(jobs)} Slurm jobs of an earlier run in {folder} are queued or running; cancel "
            f"them, then run again, which continues from their checkpoints: scancel "
            f"{' '.join(jobs)}"
        )
