"""A real Slurm of one node, two partitions and two fake GPUs, without systemd.

GPUs of the scheduler are device files: here two that lead to /dev/null. What a job is given can be
tested, what it does with it cannot. Memory is not enforced.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest
from filelock import FileLock

PROGRAMS = ("munged", "sbatch", "scancel", "scontrol", "slurmctld", "slurmd", "squeue", "srun")
PACKAGES = "slurm-wlm munge"
GPUS = 2
_ETC = Path("/etc/slurm")  # nowhere else: the executor takes SLURM_CONF from its jobs
_MUNGE = Path("/run/munge")
_LOCK = Path(tempfile.gettempdir()) / "pesbench-one-node.lock"
_WAIT_S = 120

_OURS = "ClusterName=pesbench\n"
_OF_A_JOB = b"SLURM_CLUSTER_NAME=pesbench"
_SLURM_CONF = """\
ClusterName=pesbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/d
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/task_prolog
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
MessageTimeout=60
MinJobAge=3600
KillWait=5
UnkillableStepTimeout=600
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} Boards=1 SocketsPerBoard=1 CoresPerSocket={cores} \
ThreadsPerCore=1 RealMemory=100000 Gres=gpu:fake:{gpus} State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""
_GRES_CONF = "NodeName={host} Name=gpu Type=fake File={folder}/dev/nvidia[0-{last}]\n"
# a line for each process that Slurm starts: what it is, and what it sees of the node
_TASK_PROLOG = """\
#!/bin/sh
echo "$SLURM_JOB_ID $SLURM_JOB_PARTITION ${{CUDA_VISIBLE_DEVICES:-none}}" >> {folder}/log/devices
"""


@contextlib.contextmanager
def this_machine() -> Iterator[None]:
    """The machine for one Slurm: its configuration has one place there, so others wait.

    Skips the test where there can be none.
    """
    with FileLock(_LOCK):
        if reason := why_not():
            pytest.skip(reason)
        yield


def why_not() -> str:
    """Why there can be no such Slurm here, with the cure; "" if there can."""
    if os.geteuid():
        return "Slurm for tests needs root"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"no {missing[0]}: apt-get install -y --no-install-recommends {PACKAGES}"
    if _slurm_runs():
        return "a Slurm runs on this machine already, and is left alone"
    return ""


def forget_left_over(etc: Path) -> None:
    """Remove the configuration that a killed test has left: it would be taken for the machine's.

    With it every Snakemake on this machine waits 10 s for a controller that is not there.

    Args:
        etc: Folder of Slurm's configuration.
    """
    written = etc / "slurm.conf"
    if written.is_file() and _OURS in written.read_text():
        for name in ("slurm.conf", "gres.conf"):
            (etc / name).unlink(missing_ok=True)


def _slurm_runs() -> bool:
    for status in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            name = status.read_text().strip()
            if name in ("slurmctld", "slurmd") and alive(int(status.parent.name)):
                return True
    return False


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(what: str, done: Callable[[], bool], timeout_s: float = _WAIT_S) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it is not so in time; `what` says what.
    """
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"no {what} within {timeout_s:g} s")
        time.sleep(0.2)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def run(*command: str, check: bool = True) -> str:
    """What a command prints.

    Raises:
        RuntimeError: it failed; with its messages.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        command,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_WAIT_S,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class OneNode:
    """A Slurm that lives as long as the `with` block.

    Args:
        folder: For its state, logs and devices.
        cores: As many as it believes to have; the machine may have fewer.
    """

    def __init__(self, folder: Path, cores: int = 4) -> None:
        self.folder = folder
        self._cores = cores
        self._host = socket.gethostname().partition(".")[0]
        self._munged: int | None = None
        self._answers = False
        self._kept: dict[Path, bytes] = {}
        self._written: list[Path] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def _start(self) -> None:
        for name in ("ctld", "d", "log", "run", "dev"):
            (self.folder / name).mkdir(parents=True)
        for number in range(GPUS):
            device = self.folder / "dev" / f"nvidia{number}"
            os.mknod(device, 0o20666, os.makedev(1, 3))
        values = {
            "host": self._host, "folder": self.folder, "cores": self._cores, "gpus": GPUS,
            "last": GPUS - 1, "controller_port": _free_port(), "node_port": _free_port(),
        }  # fmt: skip
        prolog = self.folder / "task_prolog"
        prolog.write_text(_TASK_PROLOG.format(**values))
        prolog.chmod(0o755)
        _ETC.mkdir(exist_ok=True)
        forget_left_over(_ETC)
        self._write(_ETC / "slurm.conf", _SLURM_CONF.format(**values))
        self._write(_ETC / "gres.conf", _GRES_CONF.format(**values))
        self._start_munge()
        run("slurmctld")
        run("slurmd", "-N", self._host)
        wait_for("idle node", lambda: "idle" in run("sinfo", "-h", "-o", "%T", check=False))
        self._answers = True

    def _write(self, path: Path, text: str) -> None:
        if path.exists():
            self._kept[path] = path.read_bytes()
        self._written.append(path)
        path.write_text(text)

    def _start_munge(self) -> None:
        if self._munge_answers():
            return
        _MUNGE.mkdir(parents=True, exist_ok=True)
        shutil.chown(_MUNGE, "munge", "munge")
        run("runuser", "-u", "munge", "--", "/usr/sbin/munged")
        self._munged = int((_MUNGE / "munged.pid").read_text())
        wait_for("answer of munge", self._munge_answers)

    @staticmethod
    def _munge_answers() -> bool:
        return "STATUS" in run("sh", "-c", "munge -n | unmunge", check=False)

    def pids(self) -> Sequence[int]:
        """Of its daemons, the node's first."""
        files = [self.folder / "run" / f"{name}.pid" for name in ("slurmd", "slurmctld")]
        found = [int(file.read_text()) for file in files if file.is_file()]
        return [*found, *([self._munged] if self._munged is not None else [])]

    def _stop(self) -> None:
        try:
            if self._answers:
                # what runs would outlive the daemons
                run("scancel", "--user=root")
                wait_for("end of the jobs", lambda: not self.queue())
        finally:
            for pid in self.pids():
                self._end(pid)
            self._end_left_over()
            for path in self._written:
                if path in self._kept:
                    path.write_bytes(self._kept[path])
                else:
                    path.unlink(missing_ok=True)

    @staticmethod
    def _end_left_over() -> None:
        """Kill what is left of jobs: without control groups Slurm loses what has no parent."""
        for place in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if _OF_A_JOB in place.read_bytes().split(b"\0"):
                    os.kill(int(place.parent.name), signal.SIGKILL)

    @staticmethod
    def _end(pid: int) -> None:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
            with contextlib.suppress(TimeoutError):
                wait_for("end of a daemon", lambda: not alive(pid), 30)
                return

    # --- what it knows of its jobs

    def queue(self) -> list[str]:
        """Ids of the jobs that wait or run."""
        return run("squeue", "-h", "-r", "-t", "PD,R,CG", "-o", "%A").split()

    def jobs(self) -> list[dict[str, str]]:
        """Facts of all jobs so far."""
        lines = run("scontrol", "show", "job", "-o", check=False).splitlines()
        return [
            dict(word.partition("=")[::2] for word in line.split() if "=" in word)
            for line in lines
            if line.startswith("JobId=")
        ]

    def devices(self) -> dict[str, list[tuple[str, str]]]:
        """Partition and visible GPUs (or `none`) of the processes of each job, by its id."""
        found: dict[str, list[tuple[str, str]]] = {}
        for line in (self.folder / "log" / "devices").read_text().splitlines():
            job, partition, gpus = line.split()
            found.setdefault(job, []).append((partition, gpus))
        return found

    def log(self) -> str:
        """What the controller wrote."""
        return (self.folder / "log" / "slurmctld.log").read_text()
