"""What a job asks of a scheduler: time, memory and a GPU, from what it holds and what was measured.

An estimate need only be about right. Too little costs another attempt, which asks for more and
continues from the checkpoint; too much costs waiting.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.family import family_of
from pesbench.core.scans import N_FRAMES
from pesbench.engine.evaluator import GIVE_UP_AFTER
from pesbench.files.evaluation import Evaluation
from pesbench.files.integrity import unverified
from pesbench.files.scan_set import ScanSet
from pesbench.files.schemas import check_schema, read_schema
from pesbench.files.strict_yaml import read_yaml
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config import Run
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.stored import Trajectories

START_MIN = 10.0  # of a job: imports on a cold file system, loading, choosing the batch
MARGIN = 2.0  # on the time in the model: nodes differ, and so do molecules of one size
MEASURED_FILES = 2  # of a model and stage that are read; more would slow the start of every job
OTHER_MIN = 120.0  # of a job whose work is not known
TRAINING_MIN = 360.0  # of training a small potential, which takes one to two hours on one core
# A model that hangs is waited for as a batch, alone, and at a worker's start, on so many molecules.
WAITS = 3 * GIVE_UP_AFTER
PROBE_MIN = 15.0  # of timing a model (planning/probe.py), which ends by itself
_OTHER_MEMORY_MB = 8000  # of a job without a model
_COMMAND_MB = 1000  # the process that feeds the model's
_MEMORY_MARGIN = 1.5
PLACE = ("gpu", "gpu_model", "slurm_account", "slurm_partition")
_TYPICAL_ATOMS = 30  # of a molecule that is not known before the scan set is built


# --- the cluster ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cluster:
    """What differs from one cluster to the next (`cluster` in the config).

    Attributes:
        account: That is charged; None for the user's own.
        cpu_partition: Of jobs without a GPU; None for the cluster's default.
        gpu_partition: Of jobs with one.
        gpu_model: Type of GPU, as Slurm calls it; None for any.
        cpu_hours: Longest time that a job without a GPU may ask for.
        gpu_hours: The same of a job with one.
        cpu_memory_gb: Most memory that a job without a GPU may ask for; None for no limit.
        gpu_memory_gb: The same of a job with one.
        time_factor: On every estimate of time.
    """

    account: str | None = None
    cpu_partition: str | None = None
    gpu_partition: str | None = None
    gpu_model: str | None = None
    cpu_hours: float = 24.0
    gpu_hours: float = 24.0
    cpu_memory_gb: float | None = None
    gpu_memory_gb: float | None = None
    time_factor: float = 1.0

    def place(self, gpu: bool) -> dict[str, Any]:
        """Resources that say where a job goes, as Snakemake's executor for Slurm calls them.

        Args:
            gpu: Whether it needs a GPU.

        Returns:
            Some of `PLACE`: what is not set is left to the cluster.
        """
        partition = self.gpu_partition if gpu else self.cpu_partition
        found: dict[str, Any] = {"slurm_account": self.account, "slurm_partition": partition}
        if gpu:
            found |= {"gpu": 1, "gpu_model": self.gpu_model}
        return {key: value for key, value in found.items() if value is not None}


def read_cluster(config: Mapping[str, Any], *paths: Path) -> Cluster:
    """The cluster of a configuration, or of the profile's own file where it names none.

    Args:
        config: As Snakemake read it.
        paths: Where `slurm/site.yaml` may be; the first that is there counts.

    Raises:
        UserError: one line for the first thing that is wrong.
    """
    block, place = config.get("cluster"), "config: `cluster`"
    path = next((path for path in paths if path.is_file()), None)
    if block is None and path is not None:
        content = read_yaml(path)
        content = {} if content is None else content
        check_schema(content, {"type": "object"}, str(path))
        block, place = content.get("cluster"), f"{path}: `cluster`"
    block = {} if block is None else block
    check_schema(block, read_schema("config")["properties"]["cluster"], place)
    return Cluster(**block)


# --- one request ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """What a job asks for at its first attempt.

    Attributes:
        minutes: Until it has ended.
        memory_mb: Peak.
        gpu: Whether it needs a GPU.
        waiting_min: Longest that it waits for a model that hangs, which the first attempt does not
            count on.
    """

    minutes: float
    memory_mb: int
    gpu: bool
    waiting_min: float = 0.0

    def runtime_min(self, attempt: int, cluster: Cluster) -> int:
        """Whole minutes of an attempt, more with each, within what the cluster allows."""
        longest = 60.0 * (cluster.gpu_hours if self.gpu else cluster.cpu_hours)
        wanted = attempt * max(1, math.ceil(self.minutes * cluster.time_factor))
        if attempt > 1:
            wanted += math.ceil(self.waiting_min)
        return max(1, math.floor(min(wanted, longest)))

    def memory_of_attempt_mb(self, attempt: int, cluster: Cluster) -> int:
        """Memory of an attempt, more with each, within what the cluster has."""
        most_gb = cluster.gpu_memory_gb if self.gpu else cluster.cpu_memory_gb
        wanted = attempt * self.memory_mb
        return wanted if most_gb is None else min(wanted, math.floor(1000 * most_gb))


def minutes(atom_frames: float, seconds_per_atom_frame: float) -> float:
    """Time of a job that evaluates so many frames times atoms, with a margin."""
    return START_MIN + MARGIN * atom_frames * seconds_per_atom_frame / 60.0


# --- models --------------------------------------------------------------------------------------


def uses_gpu(entry: ModelEntry, device: str) -> bool:
    """Whether a model can use an accelerator, and may.

    Args:
        entry: Its entry; a perturbed one is asked for its base.
        device: Of the config.
    """
    return device != "cpu" and family_of(entry.families[-1]).gpu


def seconds_per_atom_frame(entry: ModelEntry, gpu: bool) -> float:
    """A generous guess for a model that has not run yet."""
    family = family_of(entry.families[-1])
    return family.seconds_on_gpu if gpu else family.seconds_on_cpu


def memory_mb(entry: ModelEntry) -> int:
    """The same of its memory."""
    base = entry.base or entry
    return family_of(base.family).memory_mb(base.settings)


# --- what was measured ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """What an earlier job of a model took.

    Attributes:
        stage: `scans` or `dynamics`.
        on_gpu: Whether it had a GPU.
        seconds_per_atom_frame: In the model, or, of dynamics, of the whole command.
        memory_mb: Peak of model and command; None where it was not recorded.
    """

    stage: str
    on_gpu: bool
    seconds_per_atom_frame: float
    memory_mb: int | None


def _measured(
    stage: str, attributes: Mapping[str, Any], seconds: float, work: float
) -> Measured | None:
    """None where the model answered nothing."""
    if work <= 0 or seconds <= 0:
        return None
    peak_mb = float(attributes.get("peak_memory_bytes", 0)) / 1e6
    return Measured(
        stage,
        str(attributes.get("device", "")).startswith("cuda"),
        seconds / work,
        math.ceil(_MEMORY_MARGIN * peak_mb) + _COMMAND_MB if peak_mb else None,
    )


def measured_evaluation(path: Path) -> Measured | None:
    """What an evaluation took; None where the model answered nothing."""
    with Evaluation(path) as evaluation:
        spent = [evaluation.spent(scan_id) for scan_id in evaluation.ids]
        return _measured(
            "scans",
            evaluation.attributes,
            sum(seconds for _, _, seconds in spent),
            sum(frames * atoms for frames, atoms, _ in spent),
        )


def measured_dynamics(path: Path) -> Measured | None:
    """What some trajectories took; None where there was no step."""
    with Trajectories(path) as trajectories:
        every = [trajectories.trajectory(name) for name in trajectories.names]
        return _measured(
            "dynamics",
            trajectories.attributes,
            float(trajectories.attributes.get("wall_s", 0.0)),
            sum((one.last_step + 1) * one.n_atoms for one in every),
        )


_READERS = {"scans": measured_evaluation, "dynamics": measured_dynamics}


def measured_probe(path: Path) -> list[Measured]:
    """What a model took when it was timed for a plan; nothing where it was not.

    Args:
        path: JSON made by `pesbench probe`; it may be missing.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return [
            one
            for stage, timings in found["timings"].items()
            for timed in timings[1:]  # of full batches
            if (
                one := _measured(
                    stage,
                    {"device": found["device"], "peak_memory_bytes": found["host_bytes"]},
                    timed["seconds"],
                    timed["frames"] * timed["atoms"],
                )
            )
        ]
    except Exception:  # whatever stands there: it says nothing of a job
        return []


def measured(files: Mapping[str, Iterable[Path]]) -> list[Measured]:
    """What a few of a model's earlier jobs took.

    A file that cannot be read says nothing here: the stage that needs it tells of it.

    Args:
        files: By stage, `scans` or `dynamics`; the first few of each are read.
    """
    found = []
    for stage, paths in files.items():
        for path in sorted(paths)[:MEASURED_FILES]:
            try:
                with unverified():
                    found.append(_READERS[stage](path))
            except (UserError, OSError, KeyError, RuntimeError):
                continue
    return [one for one in found if one is not None]


def closest(found: Sequence[Measured], stage: str, gpu: bool) -> Measured | None:
    """The slowest measurement of the same stage, else of the other one; None of other hardware."""
    same = [one for one in found if one.on_gpu == gpu]
    of_stage = [one for one in same if one.stage == stage] or same
    return max(of_stage, key=lambda one: one.seconds_per_atom_frame, default=None)


# --- what jobs hold ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """Frames and atoms of the scans of a set, as far as they are known.

    Attributes:
        scans: Frames and atoms by scan.
        systems: Atoms by molecule.
    """

    scans: Mapping[str, tuple[int, int]]
    systems: Mapping[str, int]

    def atom_frames(self, scan_ids: Iterable[str]) -> int:
        """Frames times atoms of some scans."""
        unknown = (N_FRAMES, _TYPICAL_ATOMS)
        return sum(math.prod(self.scans.get(scan_id, unknown)) for scan_id in scan_ids)

    def atom_steps(self, systems: Iterable[str], settings: DynamicsSettings) -> int:
        """Steps times atoms of the trajectories of some molecules, relaxation included."""
        trajectories = len(settings.temperatures_k) * settings.replicates
        steps = trajectories * settings.n_steps + settings.relax_steps
        return steps * sum(self.systems.get(name, _TYPICAL_ATOMS) for name in systems)

    def atom_displacements(self, systems: Iterable[str], relax_steps: int = 1000) -> int:
        """Displacements times atoms of the Hessians of some molecules, relaxation included."""
        atoms = [self.systems.get(name, _TYPICAL_ATOMS) for name in systems]
        return sum((6 * count + relax_steps) * count for count in atoms)


UNKNOWN = Sizes({}, {})


def read_sizes(path: Path) -> Sizes:
    """The sizes of a scan set's scans; `UNKNOWN` as long as it is not there, or cannot be read."""
    if not path.is_file():
        return UNKNOWN
    try:
        with ScanSet(path) as scan_set:
            scans = {scan_id: scan_set.shape(scan_id) for scan_id in scan_set.ids}
            systems = {scan_set.system(scan_id): atoms for scan_id, (_, atoms) in scans.items()}
    except (OSError, UserError):
        return UNKNOWN
    return Sizes(scans, systems)


class Requests:
    """The requests of a run's jobs. Each file is read once a process, whatever the number of jobs.

    Args:
        run: What the run consists of.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._measured: dict[str, list[Measured]] = {}
        self._probes: dict[str, list[Measured]] = {}
        self._known: dict[Path, Sizes] = {}
        self.on_gpu = [name for name, entry in run.models.items() if uses_gpu(entry, run.device)]
        self.on_cpu = [
            name
            for name, entry in run.models.items()
            if name not in self.on_gpu and entry.family != "control"
        ]

    @property
    def _sizes(self) -> Sizes:
        return self._sizes_of(self._run.results / f"{self._run.scan_set}.h5")

    def _sizes_of(self, path: Path) -> Sizes:
        if path in self._known:
            return self._known[path]
        found = read_sizes(path)
        if found is not UNKNOWN:
            self._known[path] = found
        return found

    def _of_model(self, entry: ModelEntry, folder: str, stage: str, atom_frames: float) -> Request:
        gpu = uses_gpu(entry, self._run.device)
        if folder not in self._measured:
            self._measured[folder] = measured(self._files(folder))
        found = closest(self._measured[folder], stage, gpu)
        if found is None:
            found = closest(self._timed(folder), stage, gpu)
        speed, memory = seconds_per_atom_frame(entry, gpu), memory_mb(entry)
        if found is not None:
            speed, memory = found.seconds_per_atom_frame, found.memory_mb or memory
        waiting_s = WAITS * float(entry.settings.get("timeout_s", 600.0))
        return Request(minutes(atom_frames, speed), memory, gpu, waiting_s / 60.0)

    def _timed(self, folder: str) -> list[Measured]:
        """By a plan: what there is before a model's first run."""
        if folder not in self._probes:
            self._probes[folder] = measured_probe(self._run.results / folder / "probe.json")
        return self._probes[folder]

    def _files(self, folder: str) -> dict[str, Iterable[Path]]:
        place = self._run.results / folder
        if folder == "reference":
            return {"scans": place.glob("[0-9]*.h5")}
        return {stage: (place / stage).glob("*.h5") for stage in _READERS}

    def evaluation(self, model: str, shard: str) -> Request:
        """Of one shard of scans."""
        work = self._sizes.atom_frames(self._run.shards(model)[shard])
        return self._of_model(self._run.models[model], model, "scans", work)

    def dynamics(self, model: str, shard: str) -> Request:
        """Of one shard of dynamics."""
        held = self._run.dynamics_shards[shard]
        work = self._sizes.atom_steps(held.systems, held.settings)
        return self._of_model(self._run.models[model], model, "dynamics", work)

    def probe(self, entry: ModelEntry) -> Request:
        """Of timing a model before the run: some minutes, whatever the run is."""
        return Request(START_MIN + PROBE_MIN, memory_mb(entry), uses_gpu(entry, self._run.device))

    def vibrations(self, model: str) -> Request:
        """Of the Hessians of a model."""
        work = self._sizes.atom_displacements(self._run.vibration_systems)
        return self._of_model(self._run.models[model], model, "scans", work)

    def reference_vibrations(self) -> Request:
        """Of the Hessians of the method that the scan set is made with."""
        work = self._sizes.atom_displacements(self._run.vibration_systems)
        return self._of_model(self._run.method("reference"), "reference", "scans", work)

    def reference(self, shard: str) -> Request:
        """Of one shard of the scan set's reference."""
        sizes = self._sizes_of(self._run.results / "reference" / "scans.h5")
        work = sizes.atom_frames(self._run.reference_shards[shard])
        return self._of_model(self._run.method("reference"), "reference", "scans", work)

    def molecules(self) -> Request:
        """Of preparing the molecules, relaxed or not."""
        if self._run.relax is None:
            return self.other()
        gpu = uses_gpu(self._run.relax, self._run.device)
        return Request(OTHER_MIN, memory_mb(self._run.relax), gpu)

    def training(self) -> Request:
        """Of sampling frames for a small potential, or of training one, on CPUs."""
        return Request(TRAINING_MIN, _OTHER_MEMORY_MB, False)

    def other(self) -> Request:
        """Of a job without a model."""
        return Request(OTHER_MIN, _OTHER_MEMORY_MB, False)
