"""Requests to a scheduler: time, memory and a GPU, from the content of a job and measurements.

A request is an estimate. If it is too small, the job is submitted again, asks for more and
continues from its checkpoint; if it is too large, the job waits longer in the queue.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pesbench.core.coordinates.bond import N_FRAMES
from pesbench.core.errors import HostError, UserError
from pesbench.core.family import family_of
from pesbench.core.task import SCAN, Shard, Size, Task
from pesbench.engine.evaluator import GIVE_UP_AFTER
from pesbench.files.integrity import unverified
from pesbench.files.scan_set import ScanSet
from pesbench.files.usage import Usage, read_usage
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.cluster import Cluster
from pesbench.orchestration.config import Run

START_MIN = 10.0  # for imports on a cold file system, loading and choosing the batch
MARGIN = 2.0  # on the measured time, because nodes and molecules of one size differ
MEASURED_FILES = 2  # are read of a model and task; more would slow the start of every job
OTHER_MIN = 120.0  # for a job whose work is not known
TRAINING_MIN = 360.0  # for training a small potential, which takes one to two hours on one core
# A model that hangs is waited for in a batch, alone and at the start of a worker, on each of
# `GIVE_UP_AFTER` molecules.
WAITS = 3 * GIVE_UP_AFTER
PROBE_MIN = 15.0  # for timing a model (commands/plan/probe.py), which ends by itself
_OTHER_MEMORY_MB = 8000  # for a job without a model
_COMMAND_MB = 1000  # for the process of the command, beside that of the model
_MEMORY_MARGIN = 1.5
# The method that the scan set is made with has a folder like a model; its work for the scan set
# is listed beside that for the tasks.
REFERENCE, SCAN_SET = "reference", "scan_set"
_TYPICAL_ATOMS = 30  # are assumed of a molecule before the scan set is built
_TYPICAL_SCAN, _TYPICAL_SYSTEM = Size(N_FRAMES, _TYPICAL_ATOMS), Size(1, _TYPICAL_ATOMS)


# --- one request ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """Request of a job at its first attempt.

    Attributes:
        minutes: Expected duration, with a margin.
        memory_mb: Expected peak of memory, with a margin.
        gpu: Whether it needs a GPU.
        waiting_min: Longest time that it waits for a model that hangs; it is added from the second
            attempt on.
    """

    minutes: float
    memory_mb: int
    gpu: bool
    waiting_min: float = 0.0

    def runtime_min(self, attempt: int, cluster: Cluster) -> int:
        """Whole minutes that an attempt asks for, within the longest time that the cluster allows.

        Args:
            attempt: Number of the attempt from 1; each asks for more than the one before.
            cluster: Limits of the cluster.
        """
        longest = 60.0 * (cluster.gpu_hours if self.gpu else cluster.cpu_hours)
        wanted = attempt * max(1, math.ceil(self.minutes * cluster.time_factor))
        if attempt > 1:
            wanted += math.ceil(self.waiting_min)
        return max(1, math.floor(min(wanted, longest)))

    def memory_of_attempt_mb(self, attempt: int, cluster: Cluster) -> int:
        """Memory that an attempt asks for, within that of a node; see `runtime_min`."""
        most_gb = cluster.gpu_memory_gb if self.gpu else cluster.cpu_memory_gb
        wanted = attempt * self.memory_mb
        return wanted if most_gb is None else min(wanted, math.floor(1000 * most_gb))


def minutes(atom_frames: float, seconds_per_atom_frame: float) -> float:
    """Minutes of a job by the atoms of all frames that it evaluates, with a margin."""
    return START_MIN + MARGIN * atom_frames * seconds_per_atom_frame / 60.0


# --- models --------------------------------------------------------------------------------------


def uses_gpu(entry: ModelEntry, device: str) -> bool:
    """Whether jobs of a model need a GPU.

    Args:
        entry: Entry of the model; for a perturbed model its base counts.
        device: `device` of the config.
    """
    return entry.uses_gpu(device)


def seconds_per_atom_frame(entry: ModelEntry, gpu: bool) -> float:
    """Seconds for an atom of a frame, a generous guess for a model that has not run yet."""
    family = family_of(entry.families[-1])
    return family.seconds_on_gpu if gpu else family.seconds_on_cpu


def memory_mb(entry: ModelEntry) -> int:
    """Memory of a job in MB, a generous guess for a model that has not run yet."""
    base = entry.base or entry
    return family_of(base.family).memory_mb(base.settings)


# --- what was measured ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Time and memory that an earlier job of a model took.

    Attributes:
        task: Name of the task; `SCAN_SET` for the evaluation that makes the scan set, "" for a
            timing of the plan.
        on_gpu: Whether it ran on a GPU.
        seconds_per_atom_frame: Seconds of the whole command, divided by the atoms of all frames
            that the model answered.
        memory_mb: Peak of model and command with a margin; None if it was not recorded.
    """

    task: str
    on_gpu: bool
    seconds_per_atom_frame: float
    memory_mb: int | None

    @classmethod
    def of(cls, task: str, usage: Usage) -> Measured | None:
        """Measurement from a file; None if the model answered nothing."""
        if usage.atom_frames <= 0 or not usage.wall_s > 0:
            return None
        peak_mb = usage.peak_memory_bytes / 1e6
        return cls(
            task,
            usage.device.startswith("cuda"),
            usage.wall_s / usage.atom_frames,
            math.ceil(_MEMORY_MARGIN * peak_mb) + _COMMAND_MB if peak_mb else None,
        )


def measured_probe(path: Path) -> list[Measured]:
    """Timings of a model for a plan; an empty list if there are none.

    Args:
        path: JSON made by `pesbench probe`; it may be missing.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        every = [
            Measured.of(
                "",
                Usage(
                    wall_s=timed["seconds"],
                    atom_frames=timed["frames"] * timed["atoms"],
                    peak_memory_bytes=found["host_bytes"],
                    device=found["device"],
                    times_interrupted=0,
                ),
            )
            for timings in found["timings"].values()
            for timed in timings[1:]  # of full batches
        ]
    except Exception:  # any content: it is no measurement of a job
        return []
    return [one for one in every if one is not None]


def measured(files: Mapping[str, Iterable[Path]]) -> list[Measured]:
    """Time and memory that some earlier jobs of a model took.

    A file that cannot be read is skipped here; the stage that needs it reports it.

    Args:
        files: Files of results by task; the first few of each task are read.
    """
    found = []
    for task, paths in files.items():
        for path in sorted(paths)[:MEASURED_FILES]:
            try:
                with unverified():
                    found.append(Measured.of(task, read_usage(path)))
            except (HostError, UserError):
                continue
    return [one for one in found if one is not None]


def closest(found: Sequence[Measured], task: str, gpu: bool) -> Measured | None:
    """The slowest measurement on the same kind of device, of the task if there is one; or None."""
    same = [one for one in found if one.on_gpu == gpu]
    of_task = [one for one in same if one.task == task] or same
    return max(of_task, key=lambda one: one.seconds_per_atom_frame, default=None)


# --- what jobs hold ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """Sizes of the scans of a set and of their molecules, as far as they are known.

    Attributes:
        scans: Size of each scan by its id.
        systems: Size of each molecule by its id.
    """

    scans: Mapping[str, Size]
    systems: Mapping[str, Size]

    def of_scans(self, scan_ids: Iterable[str]) -> int:
        """Atoms of all frames of some scans."""
        sizes = (self.scans.get(scan_id, _TYPICAL_SCAN) for scan_id in scan_ids)
        return sum(size.frames * size.atoms for size in sizes)

    def of_shard(self, task: Task, shard: Shard) -> int:
        """Atoms of all frames that a job of a task asks of a model."""
        known, other = self.systems, _TYPICAL_SYSTEM
        if task.item == SCAN:
            known, other = self.scans, _TYPICAL_SCAN
        sizes = (known.get(item, other) for item in shard.items)
        return sum(task.atom_frames(size, shard.settings) for size in sizes)


UNKNOWN = Sizes({}, {})


def read_sizes(path: Path) -> Sizes:
    """The sizes of a scan set's scans; `UNKNOWN` as long as it is not there, or cannot be read."""
    if not path.is_file():
        return UNKNOWN
    try:
        with ScanSet(path) as scan_set:
            scans = {scan_id: Size(*scan_set.shape(scan_id)) for scan_id in scan_set.ids}
            systems = {
                scan_set.system(scan_id): Size(1, size.atoms) for scan_id, size in scans.items()
            }
    except (OSError, UserError):
        return UNKNOWN
    return Sizes(scans, systems)


class Requests:
    """The requests of a run's jobs. Each file is read once a process, whatever the number of jobs.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._measured: dict[str, list[Measured]] = {}
        self._probes: dict[str, list[Measured]] = {}
        self._known: dict[Path, Sizes] = {}
        self._work: dict[tuple[str, str, tuple[str, ...]], tuple[Sizes, int]] = {}
        self.on_gpu = [name for name, entry in run.models.items() if uses_gpu(entry, run.device)]
        self.on_cpu = [
            name
            for name, entry in run.models.items()
            if name not in self.on_gpu and not entry.is_control
        ]

    def _sizes_of(self, path: Path) -> Sizes:
        if path in self._known:
            return self._known[path]
        found = read_sizes(path)
        if found is not UNKNOWN:
            self._known[path] = found
        return found

    def _of_model(self, entry: ModelEntry, folder: str, task: str, atom_frames: float) -> Request:
        gpu = uses_gpu(entry, self._run.device)
        if folder not in self._measured:
            self._measured[folder] = measured(self._files(folder))
        found = closest(self._measured[folder], task, gpu)
        if found is None:
            found = closest(self._timed(folder), task, gpu)
        speed, memory = seconds_per_atom_frame(entry, gpu), memory_mb(entry)
        if found is not None:
            speed, memory = found.seconds_per_atom_frame, found.memory_mb or memory
        waiting_s = WAITS * entry.timeout_s
        return Request(minutes(atom_frames, speed), memory, gpu, waiting_s / 60.0)

    def _timed(self, folder: str) -> list[Measured]:
        """Measurement of a plan, which exists before the first run of the model."""
        if folder not in self._probes:
            self._probes[folder] = measured_probe(self._run.results / folder / "probe.json")
        return self._probes[folder]

    def _files(self, folder: str) -> dict[str, Iterable[Path]]:
        place = self._run.results / folder
        found: dict[str, Iterable[Path]] = {
            name: (place / name).glob("*.h5") for name in self._run.tasks
        }
        if folder == REFERENCE:
            found[SCAN_SET] = place.glob("[0-9]*.h5")
        return found

    def shard(self, model: str, task: str, shard: str) -> Request:
        """The request of one job of a task.

        Time and memory follow what was measured of the same model in the same task, else in
        another task, else in the timing of a plan; else the guess of its family.

        Args:
            model: Name of the model, or `REFERENCE` for the method that the scan set is made with.
            task: Name of the task.
            shard: Name of the job.
        """
        asked = self._run.tasks[task]
        method = model == REFERENCE
        entry = self._run.method(model) if method else self._run.models[model]
        sizes = self._sizes_of(self._run.results / f"{self._run.scan_set}.h5")
        held = asked.shards_of(model)[shard]
        key = task, shard, held.items  # the same for most models
        if self._work.get(key, (None,))[0] is not sizes:
            self._work[key] = sizes, sizes.of_shard(asked.task, held)
        work = self._work[key][1]
        return self._of_model(entry, model, task, work)

    def reference(self, shard: str) -> Request:
        """The request of one job of the reference that makes the scan set."""
        sizes = self._sizes_of(self._run.results / "reference" / "scans.h5")
        work = sizes.of_scans(self._run.reference_shards[shard])
        return self._of_model(self._run.method(REFERENCE), REFERENCE, SCAN_SET, work)

    def probe(self, entry: ModelEntry) -> Request:
        """The request of timing a model, which takes some minutes, whatever the run is."""
        return Request(START_MIN + PROBE_MIN, memory_mb(entry), uses_gpu(entry, self._run.device))

    def molecules(self) -> Request:
        """The request of preparing the molecules, relaxed or not."""
        if self._run.relax is None:
            return self.other()
        gpu = uses_gpu(self._run.relax, self._run.device)
        return Request(OTHER_MIN, memory_mb(self._run.relax), gpu)

    def training(self) -> Request:
        """The request of sampling frames for a small potential, or of training one, on CPUs."""
        return Request(TRAINING_MIN, _OTHER_MEMORY_MB, False)

    def other(self) -> Request:
        """The request of a job without a model."""
        return Request(OTHER_MIN, _OTHER_MEMORY_MB, False)
