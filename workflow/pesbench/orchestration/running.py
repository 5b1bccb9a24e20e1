"""Jobs of one machine end with the Snakemake that started them.

A Snakemake that is killed leaves its jobs behind, which would write beside those of the next one.
Here each job watches its Snakemake and ends when it is gone; the next one continues from the job's
checkpoint. The jobs of a scheduler are the scheduler's to end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
import time
from pathlib import Path

RUN = "PESBENCH_RUN"  # environment variable: the Snakemake that a job belongs to
POLL_S = 0.5
EXIT_CODE = os.EX_TEMPFAIL
logger = logging.getLogger("pesbench")


def started(pid: int) -> str:
    """When a process was started, in ticks of the kernel; "" if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def announce() -> None:
    """Set the variable by which later jobs of this process know their Snakemake."""
    if since := started(os.getpid()):  # "" where there is no /proc to look at
        os.environ[RUN] = f"{platform.node()} {os.getpid()} {since}"


def is_alive(run: str) -> bool:
    """Whether a Snakemake of this machine still runs.

    Args:
        run: Host, process id and start of the process, as `RUN` holds them.
    """
    _, pid, since = run.split()
    return started(int(pid)) == since


def join() -> None:
    """End this process with the Snakemake of this machine that it is a job of, if there is one."""
    run = os.environ.get(RUN, "")
    if not run or "SLURM_JOB_ID" in os.environ or run.partition(" ")[0] != platform.node():
        return
    if not is_alive(run):
        _end()
    threading.Thread(target=_end_with, args=(run,), daemon=True).start()


def _end_with(run: str) -> None:
    while is_alive(run):
        time.sleep(POLL_S)
    _end()


def _end() -> None:
    with contextlib.suppress(OSError):
        logger.error("pesbench: error: Snakemake has ended; the same command continues")
    os._exit(EXIT_CODE)
