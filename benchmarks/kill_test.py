"""Kills commands and their workers at random points, and looks at what is left.

python benchmarks/kill_test.py                    50 kills, some minutes
python benchmarks/kill_test.py --kills 200 --seed 7

Shards of scans and of dynamics are run again and again. Each run is ended by SIGKILL at a random
point, of the whole command or of the worker in which the model lives, and started anew until it
is complete. After every kill and at the end of every shard it is checked that

* no file stands under its final name that is not the whole one;
* the calls of the model are those of an undisturbed run, geometry by geometry to the bit, from a
  point on that lies at most one checkpoint before the kill;
* what is stored in the end equals the undisturbed file in every number, bit by bit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.build import molecule

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pesbench.dynamics import DynamicsSettings, run_dynamics_shard
from pesbench.errors import HostError
from pesbench.evaluate import evaluate_shard
from pesbench.models.registry import ModelEntry
from pesbench.scans import Scan, bond_scans
from pesbench.storage import write_scan_set
from pesbench.structures import System
from pesbench.trajectories import Trajectories

MOLECULES = ("CO", "N2", "NO")
SETTINGS = DynamicsSettings(temperatures_k=(100.0, 300.0), duration_ps=0.04, replicates=1)
POLL_S = 0.002
JUST_STARTED = 0.1  # share of kills that fall before the model's first call
COMMAND, WORKER = "command", "worker"
# what two runs of one shard may differ in
VARYING = frozenset({"wall_s", "times_interrupted", "peak_memory_bytes", "provenance"})


class KillTestError(Exception):
    """A kill has left something behind, or cost more than it may."""


@dataclass(frozen=True)
class Job:
    """A shard that is killed.

    Attributes:
        name: `scans` or `dynamics`.
        run: Makes the file, writing a tally of the model's calls: `run(out, tally)`.
        whole: The undisturbed file.
        calls: Its calls of the model in order, one hash a geometry.
        repeated_at_most: How many of the first so many calls may have to be made again.
    """

    name: str
    run: Callable[[Path, Path], None]
    whole: Path
    calls: list[str]
    repeated_at_most: Callable[[int], int]


@dataclass
class Outcome:
    """What killing has shown.

    Attributes:
        kills: By job and victim.
        shards: Completed, by job.
        repeated: Calls that were made twice, of each kill, by job.
        calls: Of an undisturbed shard, by job.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    shards: Counter[str] = field(default_factory=Counter)
    repeated: dict[str, list[int]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def table(self) -> str:
        """For readers, in Markdown."""
        lines = [
            "| job | kills of the command | of its worker | shards completed, equal to the bit |"
            " calls of the model a shard | made again after a kill: mean, most |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for job, calls in self.calls.items():
            again = self.repeated[job] or [0]
            lines.append(
                f"| {job} | {self.kills[job, COMMAND]} | {self.kills[job, WORKER]} |"
                f" {self.shards[job]} | {calls} | {np.mean(again):.1f}, {max(again)} |"
            )
        return "\n".join(lines)


# --- what is run ---------------------------------------------------------------------------------


def _entry(tally: Path) -> ModelEntry:
    settings = {
        "calculator": "benchmarks.counted:Counted",
        "arguments": {"tally": str(tally)},
        "fresh": True,  # its neighbour list would remember earlier frames
        "charges": False,
        "batch_size": 10,
    }
    return ModelEntry("counted", "ase", settings)


def write_molecules(path: Path) -> list[Scan]:
    """A scan set of diatomics, without a reference."""
    scans = []
    for name in MOLECULES:
        atoms = molecule(name)
        system = System(
            name, atoms.numbers.astype(np.int64), atoms.positions, np.array([[0, 1]]), spin=1
        )
        scans += [scan for scan in bond_scans(system) if isinstance(scan, Scan)]
    write_scan_set(
        path, scans, name="diatomics", level_of_theory="none", source="ASE", provenance={}
    )
    return scans


def _scans(folder: Path) -> Job:
    scan_set = folder / "diatomics.h5"
    scans = write_molecules(scan_set)

    def run(out: Path, tally: Path) -> None:
        evaluate_shard(_entry(tally), scan_set, [scan.id for scan in scans], out, device="cpu")

    longest = max(scan.n_frames for scan in scans)  # a scan is a checkpoint
    return _undisturbed("scans", run, folder, lambda calls: longest)


def _dynamics(folder: Path) -> Job:
    scan_set = folder / "diatomics.h5"
    write_molecules(scan_set)

    def run(out: Path, tally: Path) -> None:
        # every step is a checkpoint, so that one can be counted in calls
        run_dynamics_shard(
            _entry(tally), scan_set, MOLECULES, SETTINGS, out, device="cpu", checkpoint_s=0.0
        )

    def repeated_at_most(calls: int) -> int:
        return relaxation if calls <= relaxation else together

    job = _undisturbed("dynamics", run, folder, repeated_at_most)
    with Trajectories(job.whole) as made:
        together = len(made.names)
        if not all(made.trajectory(name).survived for name in made.names):
            raise KillTestError("a molecule broke in the undisturbed run: calls cannot be counted")
    relaxation = len(job.calls) - together * (SETTINGS.n_steps + 1)
    return job


def _undisturbed(
    name: str,
    run: Callable[[Path, Path], None],
    folder: Path,
    repeated_at_most: Callable[[int], int],
) -> Job:
    # one tally for all runs: its path is part of what decides a checkpoint
    tally = _tally(folder, name)
    whole = folder / f"{name}-whole.h5"
    tally.unlink(missing_ok=True)
    run(whole, tally)
    calls = tally.read_text().splitlines()
    tally.unlink()
    return Job(name, run, whole, calls, repeated_at_most)


def _tally(folder: Path, name: str) -> Path:
    return folder / f"{name}.tally"


JOBS = {"scans": _scans, "dynamics": _dynamics}


# --- killing -------------------------------------------------------------------------------------


def _command(job: Job, out: Path, tally: Path) -> None:
    """What a command of the workflow does, in a process of its own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its progress is of no interest
    try:
        job.run(out, tally)
    except HostError as error:
        os._exit(error.exit_code)
    os._exit(0)


def _worker(pid: int) -> int | None:
    """The process in which a command's model lives."""
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _calls_so_far(tally: Path) -> int:
    with contextlib.suppress(OSError):
        return tally.stat().st_size // 17  # 16 digits and a newline
    return 0


def _run_and_kill(
    job: Job, out: Path, tally: Path, rng: np.random.Generator, left: int
) -> str | None:
    """Start the job and kill it at a random point of what is left to do.

    Args:
        job: Which.
        out: File it makes.
        tally: Of its calls.
        rng: Decides victim and point.
        left: Calls of the model that are left.

    Returns:
        Who was killed; None where the job ended before.
    """
    victim = str(rng.choice([COMMAND, WORKER]))
    early = rng.random() < JUST_STARTED
    # beyond the last call, too: the file is written there
    wanted = 0 if early else _calls_so_far(tally) + int(rng.integers(1, left + 2))
    pause_s = float(rng.uniform(0.0, 0.5 if early else 0.02))
    process = multiprocessing.get_context("fork").Process(target=_command, args=(job, out, tally))
    process.start()
    assert process.pid is not None
    while process.is_alive() and _calls_so_far(tally) < wanted:
        if wanted > len(job.calls) and _calls_so_far(tally) >= wanted - 1:
            break
        time.sleep(POLL_S)
    time.sleep(pause_s)
    worker = _worker(process.pid)
    pid = process.pid if victim == COMMAND else worker
    killed = pid is not None and process.is_alive()
    if killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.join()
    while worker is not None and not _ended(worker):  # else it would write in the next one's tally
        time.sleep(POLL_S)
    if not killed or process.exitcode == 0:
        if process.exitcode != 0:
            raise KillTestError(f"{job.name}: ended with exit code {process.exitcode} unkilled")
        return None
    expected = -signal.SIGKILL if victim == COMMAND else os.EX_TEMPFAIL
    if process.exitcode != expected:
        raise KillTestError(
            f"{job.name}: exit code {process.exitcode} after SIGKILL of the {victim}, "
            f"not {expected}"
        )
    return victim


def content(path: Path) -> dict[str, Any]:
    """Every dataset and attribute of a file, but for those that tell how long it took."""
    found: dict[str, Any] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            value = item[()]
            plain = np.asarray(value)
            found[name] = (str(plain.dtype), plain.shape, plain.tobytes())
        for key in item.attrs:
            value = item.attrs[key]
            if key not in VARYING and not isinstance(value, h5py.Reference):
                found[f"{name}@{key}"] = np.asarray(value).tolist()

    with h5py.File(path) as file:
        file.visititems(visit)
        visit("", file)
    return found


def check_calls(job: Job, runs: list[list[str]]) -> list[int]:
    """Whether the runs of one shard make an undisturbed one's calls, and few of them twice.

    Args:
        job: What was run.
        runs: Calls of each run, the last of them complete.

    Returns:
        Calls that were made again after each kill.

    Raises:
        KillTestError: a call of another geometry, a gap, or more calls again than a checkpoint.
    """
    again, reached = [], 0
    for calls in runs:
        if not calls:  # killed before the first
            continue
        # a geometry may occur twice: the latest place that fits is where it went on
        fits = [k for k in range(reached + 1) if job.calls[k : k + len(calls)] == calls]
        if not fits:
            raise KillTestError(f"{job.name}: after {reached} calls it makes others than it should")
        start = fits[-1]
        if reached:
            again.append(reached - start)
            if again[-1] > job.repeated_at_most(reached):
                raise KillTestError(
                    f"{job.name}: {again[-1]} calls made again after {reached}, more than the "
                    f"{job.repeated_at_most(reached)} of one checkpoint"
                )
        reached = start + len(calls)
    if reached != len(job.calls):
        raise KillTestError(f"{job.name}: {reached} of {len(job.calls)} calls made")
    return again


def kill_until_complete(
    job: Job, folder: Path, rng: np.random.Generator, most: int
) -> tuple[Counter[str], list[int]]:
    """Run one shard, killing it at most so many times, and check what it leaves.

    Args:
        job: What to run.
        folder: Of its files, empty.
        rng: Decides who is killed, and when.
        most: Kills; then it runs to its end.

    Returns:
        Kills by victim, and the calls made again after each.

    Raises:
        KillTestError: something was left behind, lost or done twice.
    """
    out, tally = folder / "out.h5", _tally(job.whole.parent, job.name)
    tally.unlink(missing_ok=True)
    whole = content(job.whole)
    kills: Counter[str] = Counter()
    runs: list[list[str]] = []
    while not out.exists():
        before = _calls_so_far(tally)
        if kills.total() < most:
            left = max(1, (len(job.calls) - _progress(job, runs)) // 2)
            victim = _run_and_kill(job, out, tally, rng, left)
            if victim is not None:
                kills[victim] += 1
        else:
            job.run(out, tally)
        made = tally.read_text().splitlines() if tally.exists() else []
        runs.append(made[before:])
    try:
        same = content(out) == whole
    except OSError as error:
        raise KillTestError(f"{job.name}: {out} is not whole ({error})") from error
    if not same:
        raise KillTestError(f"{job.name}: {out} differs from the undisturbed file")
    again = check_calls(job, runs)
    left_behind = {path.name for path in folder.iterdir()} - {out.name, f"{out.name}.checkpoint"}
    if left_behind:
        raise KillTestError(f"{job.name}: {', '.join(sorted(left_behind))} left behind")
    return kills, again


def _progress(job: Job, runs: list[list[str]]) -> int:
    """How far the runs of a shard have come, in calls of an undisturbed one."""
    last = next((calls[-1] for calls in reversed(runs) if calls), None)
    return job.calls.index(last) + 1 if last in job.calls else 0


def kill_test(kills: int, seed: int, folder: Path) -> Iterator[Outcome]:
    """Kill scans and dynamics in turn until there are so many kills.

    Args:
        kills: In total.
        seed: Of victims and points.
        folder: For files.

    Yields:
        What has been shown so far, after every shard.
    """
    rng = np.random.default_rng(seed)
    jobs = [make(folder) for make in JOBS.values()]
    outcome = Outcome(
        repeated={job.name: [] for job in jobs},
        calls={job.name: len(job.calls) for job in jobs},
    )
    number = 0
    while outcome.kills.total() < kills:
        job = jobs[number % len(jobs)]
        number += 1
        place = folder / f"{job.name}-{number:03d}"
        place.mkdir()
        most = min(int(rng.integers(2, 7)), kills - outcome.kills.total())
        killed, again = kill_until_complete(job, place, rng, most)
        for victim, count in killed.items():
            outcome.kills[job.name, victim] += count
        outcome.shards[job.name] += 1
        outcome.repeated[job.name] += again
        yield outcome


def main() -> int:
    """Run the test.

    Returns:
        1 where a kill has left something behind or cost too much, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="in total (default: 50)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="numbers of the table")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        try:
            for outcome in kill_test(arguments.kills, arguments.seed, Path(folder)):
                print(f"{outcome.kills.total()} kills", file=sys.stderr)
        except KillTestError as error:
            print(f"seed {arguments.seed}: {error}", file=sys.stderr)
            return 1
    print(outcome.table())
    if arguments.json is not None:
        kills = {f"{job} {victim}": count for (job, victim), count in outcome.kills.items()}
        found = {"seed": arguments.seed, "kills": kills, "calls": outcome.calls,
                 "repeated": outcome.repeated}  # fmt: skip
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
