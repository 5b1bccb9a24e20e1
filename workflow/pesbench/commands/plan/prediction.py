"""Predicted cost of every model of a run: hours, memory, storage, shards and jobs.

Everything is counted from nothing: results that exist are not subtracted. Hours are those that the
commands record (`wall_s`), from the start of the model's process to the finished file. A trajectory
that fails early, and a molecule on which the model fails, cost less than is predicted here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pesbench.commands.plan.contents import Facts
from pesbench.commands.plan.cost import Cost, fit
from pesbench.commands.plan.jobs import method_jobs, model_jobs
from pesbench.commands.plan.probe import ALONG_SCAN, KINDS, NEAR_MINIMUM, Probe
from pesbench.core.task import SCAN, Shard, Size, Task
from pesbench.engine.evaluator import why_unsupported_composition
from pesbench.models.registry import ModelEntry
from pesbench.models.roles import role
from pesbench.orchestration.config import Run
from pesbench.orchestration.requests import (
    REFERENCE,
    SCAN_SET,
    seconds_per_atom_frame,
    uses_gpu,
)
from pesbench.references import bsct_spice

RELAX = "relax"  # row of the method that relaxes the molecules of a scan set
EMBEDDED_RELAX_STEPS = 60  # to relax a molecule from the minimum of a force field
CONTROL_LOAD_S = 1.0  # to start a process that loads nothing
FILE_BYTES = 10_000  # for the provenance and the structure of a file


@dataclass(frozen=True)
class Part:
    """Cost of a model for one task, or for the scan set.

    Attributes:
        shards: Number of jobs.
        hours: Hours of all jobs.
        longest_min: Minutes of the longest job.
        storage_gb: Size of all files.
        atom_frames: Atoms of all frames that the model is asked for.
    """

    shards: int = 0
    hours: float = 0.0
    longest_min: float = 0.0
    storage_gb: float = 0.0
    atom_frames: float = 0.0

    @classmethod
    def unknown(cls, shards: int) -> Part:
        """The part of a model that was not timed."""
        return cls(shards, math.nan, math.nan, math.nan, math.nan)


NOTHING = Part()


@dataclass(frozen=True)
class Prediction:
    """Predicted cost of a model.

    Attributes:
        model: Name of the model, or `REFERENCE` or `RELAX`.
        entry: Entry of the registry.
        role: `model`, `perturbed`, `control` or `reference`; `method` for the methods that the
            scan set is made with.
        status: `ok`, `assumed` (a control, of negligible cost) or how the probe failed,
            in which case hours and memory are NaN.
        reason: Why it failed, or another remark.
        device: Device on which it was timed.
        gpu: Whether its hours are hours of a GPU.
        jobs: Number of Snakemake's jobs, those that are no shards included.
        memory_gb: Peak memory of the process of the model.
        device_memory_gb: Peak memory on its GPU.
        probe: Timing that the prediction is made from; None for a control.
        n_scans: Number of scans that the model can be asked about.
        parts: What it takes by task; `SCAN_SET` is the work that makes the scan set.
    """

    model: str
    entry: ModelEntry
    role: str
    status: str
    reason: str
    device: str
    gpu: bool
    jobs: int
    memory_gb: float
    device_memory_gb: float
    probe: Probe | None = None
    n_scans: int = 0
    parts: Mapping[str, Part] = field(default_factory=dict)

    def part(self, name: str) -> Part:
        """Cost for a task, which may be nothing."""
        return self.parts.get(name, NOTHING)

    @property
    def hours(self) -> float:
        """Hours of all jobs in which the model runs; NaN if it was not timed."""
        return sum(part.hours for part in self.parts.values())

    @property
    def storage_gb(self) -> float:
        """Size of all its files."""
        return sum(part.storage_gb for part in self.parts.values())

    @property
    def longest_min(self) -> float:
        """Minutes of its longest job; NaN if it was not timed."""
        every = [part.longest_min for part in self.parts.values()]
        return math.nan if any(map(math.isnan, every)) else max(every, default=0.0)


# --- seconds -------------------------------------------------------------------------------------


class Speed:
    """Seconds of a model by what its jobs hold.

    Args:
        entry: Entry of the model.
        probe: Timing of the model, which must have succeeded; None for a control.
    """

    def __init__(self, entry: ModelEntry, probe: Probe | None) -> None:
        self._limit = None if probe is None else probe.limit
        self._info = None if probe is None else probe.info
        self.start_s = CONTROL_LOAD_S if probe is None else probe.load_s + probe.tuning_s
        self._costs: dict[str, Cost] = {}
        for kind in KINDS:
            if probe is None:
                self._costs[kind] = Cost(0.0, 0.0, seconds_per_atom_frame(entry, False), 0.0)
            else:
                batched = bool(probe.info and probe.info.batched)
                self._costs[kind] = fit(*probe.timings[kind], batched=batched)

    def knows(self, facts: Facts) -> bool:
        """Whether the model supports a molecule."""
        if self._info is None:
            return True
        return not why_unsupported_composition(facts.elements, facts.charge, facts.spin, self._info)

    def _calls(self, frames: int, atoms: int) -> float:
        """Number of calls for frames of one size; a fraction if other frames share the call."""
        if self._limit is None:
            return 0.0
        a_call = math.inf
        if self._limit.systems is not None:
            a_call = self._limit.systems
        if self._limit.atoms is not None:
            a_call = min(a_call, max(1, self._limit.atoms // atoms))
        return frames / a_call

    def seconds(self, together: Together, frames: Sequence[tuple[int, int]]) -> float:
        """Seconds of frames that are evaluated in common batches, of all their steps.

        Args:
            together: How they are evaluated. Frames that are evaluated once fill their batches;
                those of several steps need a whole number of calls in each step.
            frames: Pairs of a number of frames and the atoms of each.
        """
        cost = self._costs[ALONG_SCAN if together.along_scan else NEAR_MINIMUM]
        calls = sum(self._calls(count, atoms) for count, atoms in frames)
        if together.steps > 1:
            calls = math.ceil(calls - 1e-9)
        step_s = calls * cost.call_s + sum(count * cost.frame(atoms) for count, atoms in frames)
        return together.steps * (step_s + together.step_s)


class Together(NamedTuple):
    """What evaluations of several items have in common where they share batches; see `Phase`."""

    place: int  # of the phase
    steps: int
    along_scan: bool = False
    step_s: float = 0.0


def common_batches(
    task: Task, settings: Any, sizes: Iterable[Size]
) -> dict[Together, list[tuple[int, int]]]:
    """The evaluations of one job: pairs (frames, atoms of each) that share batches."""
    found: dict[Together, list[tuple[int, int]]] = defaultdict(list)
    for size in sizes:
        for place, phase in enumerate(task.phases(size, settings)):
            together = Together(place, phase.steps, phase.along_scan, phase.step_s)
            found[together].append((phase.copies, size.atoms))
    return found


@dataclass(frozen=True)
class Contents:
    """Scans and molecules of the jobs.

    Attributes:
        scans: Facts of each scan by its id.
        systems: Facts of one scan of each molecule, by the id of the molecule.
    """

    scans: Mapping[str, Facts]
    systems: Mapping[str, Facts]

    @classmethod
    def of(cls, facts: Mapping[str, Facts]) -> Contents:
        """Make it from facts of all scans; molecules whose scans were all dropped are left out."""
        systems: dict[str, Facts] = {}
        for scan_id in sorted(facts):
            if facts[scan_id].frames:
                systems.setdefault(facts[scan_id].system, facts[scan_id])
        return cls(facts, systems)

    def scans_of(self, ids: Iterable[str], speed: Speed) -> list[Facts]:
        """The scans that a model supports."""
        found = (self.scans[scan_id] for scan_id in ids)
        return [one for one in found if one.frames and speed.knows(one)]

    def sizes(self, task: Task, items: Iterable[str], speed: Speed) -> list[Size]:
        """Sizes of the items of a job that a model supports."""
        if task.item == SCAN:
            return [Size(one.frames, one.atoms) for one in self.scans_of(items, speed)]
        found = (self.systems.get(name) for name in items)
        return [Size(1, one.atoms) for one in found if one is not None and speed.knows(one)]


def _part(task: Task, shards: Iterable[Shard], contents: Contents, speed: Speed) -> Part:
    seconds, storage, atom_frames = [], 0.0, 0
    for shard in shards:
        sizes = contents.sizes(task, shard.items, speed)
        frames = common_batches(task, shard.settings, sizes)
        in_model = sum(speed.seconds(*one) for one in frames.items())
        seconds.append(speed.start_s + task.item_s * len(sizes) + in_model)
        storage += FILE_BYTES + sum(task.stored_bytes(size, shard.settings) for size in sizes)
        atom_frames += sum(
            together.steps * count * atoms
            for together, some in frames.items()
            for count, atoms in some
        )
    return Part(
        shards=len(seconds),
        hours=sum(seconds) / 3600,
        longest_min=max(seconds, default=0.0) / 60,
        storage_gb=storage / 1e9,
        atom_frames=atom_frames,
    )


# --- models --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """The jobs of a model for one task, or of a method for the scan set."""

    task: Task
    shards: Sequence[Shard]


def predict(run: Run, facts: Mapping[str, Facts], probes: Mapping[str, Probe]) -> list[Prediction]:
    """Predicted cost of every model of a run, and of the methods that make its scan set.

    Args:
        run: The run.
        facts: Facts of all scans of its set.
        probes: Timings by model, `REFERENCE` and `RELAX` among them; controls have none.

    Returns:
        The methods first, then models in the order of the run.
    """
    contents = Contents.of(facts)
    found = []
    if run.source != bsct_spice.NAME:
        if run.relax is not None:
            found.append(_of_relaxation(run, contents, probes[RELAX]))
        found.append(_of_reference(run, contents, probes[REFERENCE]))
    for model, entry in run.models.items():
        asked = {
            name: _Asked(one.task, list(one.shards_of(model).values()))
            for name, one in run.tasks.items()
            if model in one.models
        }
        about = _about(entry, run, probes.get(model))
        which = role(entry, run.level_of_theory)
        prediction = Prediction(
            model=model, entry=entry, role=which, jobs=model_jobs(run, model), **about
        )
        found.append(_filled(prediction, contents, asked, run.scans))
    return found


def _about(entry: ModelEntry, run: Run, probe: Probe | None) -> dict[str, Any]:
    """The fields of a prediction that follow from the timing alone."""
    if probe is None:
        reason = "not timed: its cost is negligible"
        return {
            "status": "assumed", "reason": reason, "device": "cpu", "gpu": False,
            "memory_gb": math.nan, "device_memory_gb": 0.0, "probe": None,
        }  # fmt: skip
    device = probe.info.device if probe.info else "not loaded"
    gpu = device.startswith("cuda")
    reason = probe.message
    if not reason and not gpu and uses_gpu(entry, run.device):
        reason = "timed on a CPU, there is no GPU here"
    ok = bool(probe.timings)
    return {
        "status": probe.status.value,
        "reason": reason,
        "device": device,
        "gpu": gpu,
        "memory_gb": probe.host_bytes / 1e9 if ok else math.nan,
        "device_memory_gb": probe.device_bytes / 1e9 if ok else math.nan,
        "probe": probe,
    }


def _filled(
    prediction: Prediction,
    contents: Contents,
    asked: Mapping[str, _Asked],
    scans: Iterable[str],
) -> Prediction:
    """A prediction with its parts; those of a model that was not timed have shards only."""
    probe = prediction.probe
    if probe is not None and not probe.timings:
        parts = {name: Part.unknown(len(one.shards)) for name, one in asked.items()}
        return replace(prediction, parts=parts)
    speed = Speed(prediction.entry, probe)
    parts = {name: _part(one.task, one.shards, contents, speed) for name, one in asked.items()}
    return replace(prediction, n_scans=len(contents.scans_of(scans, speed)), parts=parts)


def _of_reference(run: Run, contents: Contents, probe: Probe) -> Prediction:
    """The reference evaluates all scans of the set as a model does, and some tasks ask it."""
    entry = run.method(REFERENCE)
    always = next(one for one in run.tasks.values() if one.task.always and one.task.item == SCAN)
    shards = [Shard(tuple(ids), always.settings) for ids in run.reference_shards.values()]
    asked = {SCAN_SET: _Asked(always.task, shards)} | {
        name: _Asked(one.task, list(one.shards.values()))
        for name, one in run.tasks.items()
        if one.asks_reference
    }
    jobs = method_jobs(run, REFERENCE)
    about = _about(entry, run, probe)
    prediction = Prediction(model=REFERENCE, entry=entry, role="method", jobs=jobs, **about)
    return _filled(prediction, contents, asked, run.planned)


def _of_relaxation(run: Run, contents: Contents, probe: Probe) -> Prediction:
    """The method that relaxes all molecules, one after another."""
    entry = run.method(RELAX)
    jobs, about = method_jobs(run, RELAX), _about(entry, run, probe)
    prediction = Prediction(model=RELAX, entry=entry, role="method", jobs=jobs, **about)
    if not probe.timings:
        return replace(prediction, parts={SCAN_SET: Part.unknown(1)})
    speed, alone = Speed(entry, probe), Together(place=0, steps=EMBEDDED_RELAX_STEPS)
    atoms = [one.atoms for one in contents.systems.values()]
    seconds = probe.load_s + sum(speed.seconds(alone, [(1, n)]) for n in atoms)
    part = Part(1, seconds / 3600, seconds / 60, 0.0, alone.steps * sum(atoms))
    return replace(prediction, parts={SCAN_SET: part})
