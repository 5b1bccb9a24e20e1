"""Kills commands and their workers at random points, and looks at what is left.

python benchmarks/kill_test.py                    50 kills, some minutes
python benchmarks/kill_test.py --kills 200 --seed 7 --jobs scans dynamics

Shards of scans and of dynamics are run again and again, of a model that takes one frame after
another and of a network that takes batches. Each run is ended by SIGKILL at a random point, of the
whole command or of the worker in which the model lives, and started anew until it is complete.
After every kill and at the end of every shard it is checked that

* no file stands under its final name that is not the whole one;
* the model is asked what an undisturbed run asks it, geometry by geometry to the bit, from a point
  on that lies at most one checkpoint before the kill;
* the size of batches, which the network has chosen by measuring, is chosen once;
* what is stored in the end equals, in every number, bit by bit, the file of an undisturbed run with
  that size of batches. (Left to measure for itself it might have chosen another one, and sums of
  other batches are rounded otherwise.)
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import ase.io
import h5py
import numpy as np
from ase.build import molecule

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pesbench.core.coordinates.bond import bond_scans
from pesbench.core.errors import HostError
from pesbench.core.interface import Batch, Result, Status
from pesbench.core.jobs import RunJob
from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.engine import scans, shard
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.files.checkpoint import checkpoint_folder
from pesbench.files.evaluation import Evaluation
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config import read_models, resolve_entry
from pesbench.references.calculators import write_geometries
from pesbench.tasks.bonds.run import run as run_bonds
from pesbench.tasks.bonds.settings import BondSettings
from pesbench.tasks.dynamics.run import run as run_dynamics
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.stored import Trajectories

ROOT = Path(__file__).resolve().parent.parent
MOLECULES = ("CO", "N2", "NO")
OF_NETWORK = ("hydrazine", "hydroxylamine", "methanethiol", "methylamine", "phosphinous-acid")
MOVING = ("hydrazine", "hydroxylamine")
SETTINGS = DynamicsSettings(temperatures_k=(100.0, 300.0), duration_ps=0.04, replicates=1)
POLL_S = 0.002
JUST_STARTED = 0.1  # share of kills that fall before the model is asked anything
COMMAND, WORKER = "command", "worker"
_LINE_BYTES = 17  # of the tally: 16 digits and a newline
# what two runs of one shard may differ in
VARYING = frozenset(
    {
        *("wall_s", "times_interrupted", "worker_starts", "peak_memory_bytes", "provenance"),
        "atom_frames",  # frames that were asked again after a kill count again
    }
)


class KillTestError(Exception):
    """A kill has left something behind, or cost more than it may."""


@dataclass(frozen=True)
class Undisturbed:
    """A run of a shard without a kill.

    Attributes:
        path: Of its file.
        asked: Of the model, in order, one hash a geometry.
        again_at_most: How many of the first so many geometries may have to be computed again.
    """

    path: Path
    asked: list[str]
    again_at_most: Callable[[int], int]


@dataclass
class Job:
    """A shard that is killed.

    Attributes:
        name: One of `JOBS`.
        folder: Of its scan set, tally and undisturbed files.
        run: Makes the file, writing a tally of what the model is asked: `run(out, tally)`.
        check: Of an undisturbed file, the size of its batches and what was asked: how many
            geometries may be computed again, see `Undisturbed`.
        n_geometries: That an undisturbed run asks for, about.
        pause_s: Longest time between the point that was drawn and the kill.
        start_s: The same of a kill that falls before the model is asked anything.
    """

    name: str
    folder: Path
    run: Callable[[Path, Path], None]
    check: Callable[[Path, BatchLimit, list[str]], Callable[[int], int]]
    n_geometries: int
    pause_s: float
    start_s: float
    _undisturbed: dict[BatchLimit, Undisturbed] = field(default_factory=dict)

    @property
    def tally(self) -> Path:
        """One for all runs: its path is part of what decides a checkpoint."""
        return self.folder / "tally"

    def undisturbed(self, limit: BatchLimit) -> Undisturbed:
        """A run without a kill that is told the size of its batches, and does not measure it."""
        if limit not in self._undisturbed:
            path = self.folder / f"whole-{len(self._undisturbed)}.h5"
            self.tally.unlink(missing_ok=True)
            told = {"choose_limit": mock.Mock(return_value=limit)}
            with mock.patch.multiple(scans, **told), mock.patch.multiple(shard, **told):
                self.run(path, self.tally)
            asked = self.tally.read_text().splitlines()
            self.tally.unlink()
            self._undisturbed[limit] = Undisturbed(path, asked, self.check(path, limit, asked))
        return self._undisturbed[limit]


@dataclass
class Outcome:
    """What killing has shown.

    Attributes:
        kills: By job and victim.
        shards: Completed, by job.
        again: Geometries that were computed again after each kill, by job.
        limits: Sizes of batches that shards have had, by job.
        n_geometries: Of an undisturbed shard, by job.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    shards: Counter[str] = field(default_factory=Counter)
    again: dict[str, list[int]] = field(default_factory=dict)
    limits: dict[str, set[BatchLimit]] = field(default_factory=dict)
    n_geometries: dict[str, int] = field(default_factory=dict)

    def table(self) -> str:
        """For readers, in Markdown."""
        lines = [
            "| job | kills of the command | of its worker | shards completed, equal to the bit |"
            " batches of at most | geometries a shard | computed again after a kill: mean, most |",
            "|---|---:|---:|---:|---|---:|---:|",
        ]
        for job, count in self.n_geometries.items():
            again = self.again[job] or [0]
            lines.append(
                f"| {job} | {self.kills[job, COMMAND]} | {self.kills[job, WORKER]} |"
                f" {self.shards[job]} | {_in_words(self.limits[job])} | {count} |"
                f" {np.mean(again):.1f}, {max(again)} |"
            )
        return "\n".join(lines)


def _in_words(limits: set[BatchLimit]) -> str:
    systems = sorted(limit.systems for limit in limits if limit.systems is not None)
    atoms = sorted(limit.atoms for limit in limits if limit.atoms is not None)
    said = [f"{', '.join(map(str, n))} {what}" for n, what in ((systems, "geometries"),
                                                             (atoms, "atoms")) if n]  # fmt: skip
    return "; ".join(said)


# --- what is run ---------------------------------------------------------------------------------


def _toy_entry(tally: Path) -> ModelEntry:
    settings = {
        "calculator": "benchmarks.counted:Counted",
        "arguments": {"tally": str(tally)},
        "fresh": True,  # its neighbour list would remember earlier frames
        "charges": False,
        "batch_size": 10,
    }
    return ModelEntry("counted", "ase", settings)


def write_molecules(path: Path) -> None:
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


def _network_entry(name: str) -> ModelEntry:
    registry = ROOT / "config" / "models.yaml"
    return resolve_entry(read_models(registry)[name], registry, ROOT)


def write_network_molecules(path: Path) -> None:
    """A scan set of molecules that the networks know, without a reference."""
    every = ase.io.iread(ROOT / "resources" / "mini" / "molecules.extxyz")
    chosen = path.with_suffix(".extxyz")
    ase.io.write(chosen, [atoms for atoms in every if atoms.info["id"] in OF_NETWORK])
    write_geometries(
        chosen, path, path.with_suffix(".csv"), name=path.stem, bonds_to_hydrogen=False
    )


@contextlib.contextmanager
def tallied(tally: Path) -> Iterator[None]:
    """What a shard asks its model within is written down, before it is asked.

    Args:
        tally: File that gets a line a geometry: a hash of elements and positions. What the model
            is asked to measure its speed or to warm it up is not in it.
    """
    ask = Evaluator.evaluate

    def noted(evaluator: Evaluator, batch: Batch) -> Result:
        frames = [batch.select([number]) for number in range(batch.n_systems)]
        hashes = [hashlib.sha256(f.numbers.tobytes() + f.positions.tobytes()) for f in frames]
        with tally.open("ab", buffering=0) as file:  # one write: a kill cuts no line
            file.write(b"".join(one.hexdigest()[:16].encode() + b"\n" for one in hashes))
        return ask(evaluator, batch)

    with mock.patch.object(Evaluator, "evaluate", noted):
        yield


@dataclass(frozen=True)
class Kind:
    """What two jobs have in common: a model, and its molecules.

    Attributes:
        entry: Of the model, which may be told where its tally is.
        write: Writes a scan set.
        moving: Molecules of dynamics.
        noted: Within which the tally is written, where the model does not write it itself.
        pause_s, start_s: See `Job`.
    """

    entry: Callable[[Path], ModelEntry]
    write: Callable[[Path], None]
    moving: Sequence[str]
    noted: Callable[[Path], contextlib.AbstractContextManager[None]]
    pause_s: float
    start_s: float


TOY = Kind(_toy_entry, write_molecules, MOLECULES, lambda _: contextlib.nullcontext(), 0.02, 0.5)
NETWORKS = {
    name: Kind(
        lambda _, name=name: _network_entry(name),
        write_network_molecules,
        MOVING,
        tallied,
        0.3,
        10.0,
    )
    for name in ("mace-mini", "testbed-base")
}


def _scans(name: str, kind: Kind, folder: Path) -> Job:
    scan_set = folder / "molecules.h5"
    kind.write(scan_set)
    with ScanSet(scan_set) as opened:
        ids, shapes = opened.ids, [opened.shape(scan_id) for scan_id in opened.ids]

    def run(out: Path, tally: Path) -> None:
        with kind.noted(tally):
            run_bonds(RunJob(kind.entry(tally), scan_set, ids, BondSettings(), out, device="cpu"))

    def check(whole: Path, limit: BatchLimit, _asked: list[str]) -> Callable[[int], int]:
        with Evaluation(whole) as made:
            if any(made.scan(scan_id).status is not Status.OK for scan_id in ids):
                raise KillTestError(f"{name}: a scan failed in the undisturbed run")
        in_a_batch = limit.systems or (limit.atoms or 0) // min(n_atoms for _, n_atoms in shapes)
        # a checkpoint is a scan, or whole scans that fit into one batch
        most = max(in_a_batch, *(n_frames for n_frames, _ in shapes))
        return lambda _: most

    n_geometries = sum(n_frames for n_frames, _ in shapes)
    return Job(name, folder, run, check, n_geometries, kind.pause_s, kind.start_s)


def _dynamics(name: str, kind: Kind, folder: Path) -> Job:
    scan_set = folder / "molecules.h5"
    kind.write(scan_set)
    together = len(kind.moving) * len(SETTINGS.temperatures_k) * SETTINGS.replicates
    steps = together * (SETTINGS.n_steps + 1)

    def run(out: Path, tally: Path) -> None:
        # every step is a checkpoint, so that one can be counted in geometries
        with kind.noted(tally):
            job = RunJob(kind.entry(tally), scan_set, kind.moving, SETTINGS, out, device="cpu")
            run_dynamics(job, checkpoint_s=0.0)

    def check(whole: Path, _limit: BatchLimit, asked: list[str]) -> Callable[[int], int]:
        with Trajectories(whole) as made:
            if not all(made.trajectory(one).survived for one in made.names):
                raise KillTestError(f"{name}: a molecule broke in the undisturbed run")
        relaxation = len(asked) - steps
        return lambda reached: relaxation if reached <= relaxation else together

    return Job(name, folder, run, check, steps, kind.pause_s, kind.start_s)


_STAGES = {"scans": _scans, "dynamics": _dynamics}
JOBS: dict[str, Callable[[Path], Job]] = {
    f"{model} {stage}".strip(): partial(make, f"{model} {stage}".strip(), kind)
    for model, kind in {"": TOY, **NETWORKS}.items()
    for stage, make in _STAGES.items()
}


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
    """The process in which a command's model lives: the supervisor's first child."""
    with contextlib.suppress(OSError):
        for child in _children(pid):
            if b"supervisor.py" in Path(f"/proc/{child}/cmdline").read_bytes():
                return next(iter(_children(child)), None)
    return None


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _asked_so_far(tally: Path) -> int:
    with contextlib.suppress(OSError):
        return tally.stat().st_size // _LINE_BYTES
    return 0


def _run_and_kill(
    job: Job, out: Path, tally: Path, rng: np.random.Generator, left: int
) -> str | None:
    """Start the job and kill it at a random point of what is left to do.

    Args:
        job: Which.
        out: File it makes.
        tally: Of what its model is asked.
        rng: Decides victim and point.
        left: Geometries that are left, or fewer.

    Returns:
        Who was killed; None where the job ended before.
    """
    victim = str(rng.choice([COMMAND, WORKER]))
    early = rng.random() < JUST_STARTED
    # beyond the last one, too: the file is written there
    wanted = 0 if early else _asked_so_far(tally) + int(rng.integers(1, left + 2))
    pause_s = float(rng.uniform(0.0, job.start_s if early else job.pause_s))
    process = multiprocessing.get_context("fork").Process(target=_command, args=(job, out, tally))
    process.start()
    assert process.pid is not None
    while process.is_alive() and _asked_so_far(tally) < wanted:
        if wanted > job.n_geometries and _asked_so_far(tally) >= wanted - 1:
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


def check_asked(name: str, whole: Undisturbed, runs: list[list[str]]) -> list[int]:
    """Whether the runs of one shard ask what an undisturbed one asks, and little of it twice.

    Args:
        name: Of the job.
        whole: The undisturbed run.
        runs: What each run has asked, the last of them complete.

    Returns:
        Geometries that were asked again after each kill.

    Raises:
        KillTestError: another geometry, a gap, or more of them again than a checkpoint.
    """
    again, reached = [], 0
    for asked in runs:
        if not asked:  # killed before the first
            continue
        # a geometry may occur twice: the latest place that fits is where it went on
        fits = [k for k in range(reached + 1) if whole.asked[k : k + len(asked)] == asked]
        if not fits:
            raise KillTestError(f"{name}: after {reached} geometries it asks for others")
        start = fits[-1]
        if reached:
            again.append(reached - start)
            if again[-1] > (most := whole.again_at_most(reached)):
                raise KillTestError(
                    f"{name}: {again[-1]} geometries asked again after {reached}, more than the "
                    f"{most} of one checkpoint"
                )
        reached = start + len(asked)
    if reached != len(whole.asked):
        raise KillTestError(f"{name}: {reached} of {len(whole.asked)} geometries asked")
    return again


@dataclass(frozen=True)
class Completed:
    """A shard that was killed until it was complete.

    Attributes:
        kills: By victim.
        again: Geometries that were asked again after each.
        limit: Size of its batches.
    """

    kills: Counter[str]
    again: list[int]
    limit: BatchLimit


def kill_until_complete(job: Job, folder: Path, rng: np.random.Generator, most: int) -> Completed:
    """Run one shard, killing it at most so many times, and check what it leaves.

    Args:
        job: What to run.
        folder: Of its files, empty.
        rng: Decides who is killed, and when.
        most: Kills; then it runs to its end.

    Raises:
        KillTestError: something was left behind, lost or done twice.
    """
    out = folder / "out.h5"
    note = checkpoint_folder(out) / "limit.json"
    job.tally.unlink(missing_ok=True)
    kills: Counter[str] = Counter()
    runs: list[list[str]] = []
    chosen: list[str] = []
    while not out.exists():
        before = _asked_so_far(job.tally)
        if kills.total() < most:
            progress = len({line for asked in runs for line in asked})
            left = max(1, (job.n_geometries - progress) // 2)
            victim = _run_and_kill(job, out, job.tally, rng, left)
            if victim is not None:
                kills[victim] += 1
        else:
            job.run(out, job.tally)
        made = job.tally.read_text().splitlines() if job.tally.exists() else []
        runs.append(made[before:])
        if note.is_file():
            chosen.append(note.read_text())
    try:
        found = content(out)
    except OSError as error:
        raise KillTestError(f"{job.name}: {out} is not whole ({error})") from error
    limit = BatchLimit(**json.loads(found["@batch_limit"]))
    if any(BatchLimit(**json.loads(text)) != limit for text in chosen):
        raise KillTestError(f"{job.name}: batches of another size after a kill")
    whole = job.undisturbed(limit)
    if found != content(whole.path):
        raise KillTestError(f"{job.name}: {out} differs from the undisturbed file")
    again = check_asked(job.name, whole, runs)
    left_behind = {path.name for path in folder.iterdir()} - {out.name, note.parent.name}
    if left_behind:
        raise KillTestError(f"{job.name}: {', '.join(sorted(left_behind))} left behind")
    return Completed(kills, again, limit)


def kill_test(
    kills: int, seed: int, folder: Path, names: Sequence[str] = tuple(JOBS)
) -> Iterator[Outcome]:
    """Kill some jobs in turn until there are so many kills.

    Args:
        kills: In total.
        seed: Of victims and points.
        folder: For files.
        names: Of `JOBS`.

    Yields:
        What has been shown so far, after every shard.
    """
    rng = np.random.default_rng(seed)
    jobs = []
    for name in names:
        place = folder / name.replace(" ", "-")
        place.mkdir()
        jobs.append(JOBS[name](place))
    outcome = Outcome(
        again={job.name: [] for job in jobs}, limits={job.name: set() for job in jobs}
    )
    number = 0
    while outcome.kills.total() < kills:
        job = jobs[number % len(jobs)]
        number += 1
        place = job.folder / f"{number:03d}"
        place.mkdir()
        most = min(int(rng.integers(2, 7)), kills - outcome.kills.total())
        found = kill_until_complete(job, place, rng, most)
        for victim, count in found.kills.items():
            outcome.kills[job.name, victim] += count
        outcome.shards[job.name] += 1
        outcome.again[job.name] += found.again
        outcome.limits[job.name].add(found.limit)
        outcome.n_geometries[job.name] = len(job.undisturbed(found.limit).asked)
        yield outcome


def main() -> int:
    """Run the test.

    Returns:
        1 where a kill has left something behind or cost too much, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="in total (default: 50)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", nargs="+", choices=[*JOBS], default=[*JOBS], metavar="JOB",
                        help=f"of {', '.join(JOBS)} (default: all)")  # fmt: skip
    parser.add_argument("--json", type=Path, help="numbers of the table")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        try:
            for outcome in kill_test(arguments.kills, arguments.seed, Path(folder), arguments.jobs):
                print(f"{outcome.kills.total()} kills", file=sys.stderr)
        except KillTestError as error:
            print(f"seed {arguments.seed}: {error}", file=sys.stderr)
            return 1
    print(outcome.table())
    if arguments.json is not None:
        kills = {f"{job} {victim}": count for (job, victim), count in outcome.kills.items()}
        found = {"seed": arguments.seed, "kills": kills, "geometries": outcome.n_geometries,
                 "again": outcome.again}  # fmt: skip
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
