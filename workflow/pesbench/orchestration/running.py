"""Who is at work in a folder: so that what a killed Snakemake left behind stops nobody.

A Snakemake that is killed leaves its lock behind, and jobs that go on without it. Here every
Snakemake and every job of one holds a shared lock of the kernel's, which ends with its process: who
gets it alone knows that nobody else is at work, and that a lock of Snakemake's is a left-over. Jobs
look after the Snakemake that started them and end when it is gone; the next one continues from
their checkpoints.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import platform
import shlex
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pesbench.orchestration.slurm_queue import ask_left_over

RUN = "PESBENCH_RUN"  # environment variable: the Snakemake that a job belongs to
FILE = Path(".snakemake", "pesbench.lock")
WAIT_S = 10.0  # for jobs of a killed Snakemake to notice
POLL_S = 0.5
EXIT_CODE = os.EX_TEMPFAIL
logger = logging.getLogger("pesbench")
CLUSTER = "cluster"  # of a run whose jobs go on without it
_DRY_RUN = ("-n", "--dry-run", "--dryrun")
_held: list[IO[str]] = []  # open as long as the process lives


def started(pid: int) -> str:
    """When a process was started, in the kernel's ticks; "" if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _this_process() -> str:
    return f"{platform.node()} {os.getpid()} {started(os.getpid())}"


def _is_run(line: str) -> bool:
    return len(line.split()) >= 3 and line.split()[1].isdigit()


def _is_here(run: str) -> bool:
    return run.partition(" ")[0] == platform.node()


def _is_scheduled(run: str) -> bool:
    return run.split()[3:4] == [CLUSTER]


def is_alive(run: str) -> bool:
    """Whether a Snakemake of this host is still there; True of another host, which cannot be seen.

    Args:
        run: Host, process id and start of the process, as `RUN` holds them.
    """
    host, _, process = run.partition(" ")
    pid, at, *_ = process.split()
    return host != platform.node() or (bool(at) and started(int(pid)) == at)


def enter(folder: Path, *, on_cluster: bool = False, command: Sequence[str] = ()) -> str:
    """Say that a Snakemake is at work in a folder, and remove the lock of one that was killed.

    The lock of one whose jobs a scheduler runs stays: they may be writing still, and end by
    themselves only.

    Args:
        folder: In which Snakemake runs.
        on_cluster: Whether its jobs are a scheduler's.
        command: What was given to Snakemake, for a line that tells what continues.

    Returns:
        A line for the user where another one is at work there, or may be; else "".
    """
    left = sorted((folder / ".snakemake" / "locks").glob("*.lock"))
    try:
        (folder / FILE).parent.mkdir(exist_ok=True)
        file = (folder / FILE).open("a+", encoding="utf-8")
    except OSError:  # not our business to tell that this folder cannot be written
        return ""
    file.seek(0)
    before = [line for line in file.read().splitlines() if _is_run(line)]
    jobs_only = bool(left) and not any(is_alive(run) for run in before)
    alone = _alone(file, WAIT_S if jobs_only else 0.0)
    scheduled = on_cluster or "SLURM_JOB_ID" in os.environ
    if started(os.getpid()):  # else there is no /proc to look at
        os.environ[RUN] = _this_process()
    if alone is None:  # a file system without such locks
        file.close()
        return ""
    said = ""
    if alone:
        removable = all(_is_here(run) and not _is_scheduled(run) for run in before)
        if left and removable:
            for lock in left:
                lock.unlink(missing_ok=True)
            logger.warning("a Snakemake that was killed has left its lock here: removed")
        elif left and "--unlock" not in command:
            said = _what_continues(folder, before, command)
        if not left or removable:
            file.truncate(0)
    elif left and "--unlock" not in command:
        said = _who_is_at_work(before)
    with contextlib.suppress(OSError):  # a full disk is told where work starts
        file.write(_this_process() + (f" {CLUSTER}\n" if scheduled else "\n"))
        file.flush()
    fcntl.flock(file, fcntl.LOCK_SH)
    _held.append(file)
    return said


def _what_continues(folder: Path, before: Sequence[str], command: Sequence[str]) -> str:
    """For the user, after a Snakemake that was killed and whose lock stays: one command."""
    jobs = ask_left_over(folder)
    elsewhere = dict.fromkeys(run.split()[0] for run in before if not _is_here(run))
    if elsewhere:
        told = (
            f"a Snakemake on {', '.join(elsewhere)}, which cannot be seen from here, was at work "
            "in this folder last. If it is gone, "
        )
        ends = f"this ends what it has in Slurm's queue ({len(jobs)}) and " if jobs else "this "
    elif jobs:
        told = f"the Snakemake that was killed here has left jobs in Slurm's queue ({len(jobs)}). "
        ends = "This ends them and "
    elif jobs is not None:
        told = "the Snakemake that was killed here had jobs of a cluster, and none is left. "
        ends = "This "
    else:
        told = (
            "the Snakemake that was killed here had jobs of a cluster, which go on, and the queue "
            "cannot be asked here. Once none of them is left in it, "
        )
        ends = "this "
    words = ["snakemake", *(word for word in command if word not in _DRY_RUN)]
    unlock, again = shlex.join([*words, "--unlock"]), shlex.join(words)
    cancel = f"scancel {' '.join(jobs)} && " if jobs else ""
    return f"{told}{ends}continues from the checkpoints: `{cancel}{unlock} && {again}`"


def _who_is_at_work(before: Sequence[str]) -> str:
    """For the user, beside a Snakemake that lives."""
    alive = [run.split() for run in before if is_alive(run)]
    here = " ".join(dict.fromkeys(pid for host, pid, *_ in alive if host == platform.node()))
    there = dict.fromkeys(f"{pid} on {host}" for host, pid, *_ in alive if host != platform.node())
    who = here or ", ".join(there) or "unknown"
    end = f"end it with Ctrl-C or `kill -INT {here}`, " if here else "end it where it runs, "
    return (
        f"another Snakemake is at work in this folder (process {who}); where it makes the same "
        f"files, this one stops: wait for it, or {end}or make other files with "
        "`--config results=FOLDER`"
    )


def note_run(folder: Path, name: str) -> None:
    """Note down what a scheduler calls the jobs of this Snakemake.

    Args:
        folder: In which it runs, and which it has entered.
        name: "" for none.
    """
    if name:
        with contextlib.suppress(OSError), (folder / FILE).open("a", encoding="utf-8") as file:
            file.write(f"{_this_process()} {CLUSTER} {name}\n")


def runs_at_work(folder: Path) -> dict[str, str]:
    """What a scheduler calls the jobs of the Snakemakes that are, or may be, at work in a folder.

    Args:
        folder: In which they run.

    Returns:
        By name, the host of the Snakemake where it cannot be seen from here, else "".
    """
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    runs = [line for line in lines if _is_run(line) and len(line.split()) > 4 and is_alive(line)]
    return {run.split()[4]: "" if _is_here(run) else run.split()[0] for run in runs}


def _alone(file: IO[str], wait_s: float) -> bool | None:
    """Whether nobody else holds the lock, after some time; None where there are no locks."""
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_S)
        except OSError:
            return None
        else:
            return True


def join() -> None:
    """End this process with the Snakemake it is a job of, if it is one's on this host.

    A scheduler's jobs are its own to end.
    """
    run = os.environ.get(RUN, "")
    if not run or "SLURM_JOB_ID" in os.environ or run.partition(" ")[0] != platform.node():
        return
    with contextlib.suppress(OSError):
        file = FILE.open("a+", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_SH)
        _held.append(file)
    if not is_alive(run):
        _end()
    threading.Thread(target=_end_with, args=(run,), daemon=True).start()


def _end_with(run: str) -> None:
    while is_alive(run):
        time.sleep(POLL_S)
    _end()


def _end() -> None:
    with contextlib.suppress(OSError):
        logger.error("pesbench: error: Snakemake is gone; the same command continues")
    os._exit(EXIT_CODE)
