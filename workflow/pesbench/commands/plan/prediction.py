"""What every model of a run will take: hours, memory, storage, shards and jobs.

Counted from nothing: what is there already is not taken off. Hours are those that the commands
record (`wall_s`): from the start of the model's process to the written file. A trajectory that
fails early, and a molecule that the model fails on, cost less than is said here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pesbench.commands.plan.contents import Facts
from pesbench.commands.plan.cost import Cost, fit
from pesbench.commands.plan.probe import STAGES, Probe
from pesbench.models.registry import ModelEntry, role
from pesbench.models.variants import variants
from pesbench.orchestration.config import DynamicsShard, Run
from pesbench.orchestration.environments import PROJECT
from pesbench.orchestration.requests import seconds_per_atom_frame, uses_gpu
from pesbench.orchestration.software import Software
from pesbench.references import bsct_spice

REFERENCE, RELAX = "reference", "relax"  # rows of the methods that a scan set is made with
RELAX_STEPS = 20  # a molecule takes from another method's minimum; many more are rare
VIBRATION_RELAX_STEPS = 40  # to the tighter limit of frequencies
EMBEDDED_RELAX_STEPS = 60  # from a force field's minimum
SCAN_S = 0.03  # a scan is read, and stands in a checkpoint
STEP_S = 5e-4  # a step of all trajectories of a shard, beside the model
CONTROL_LOAD_S = 1.0  # a process is started; nothing is loaded
# What is left by gzip of numbers whose last digits are noise, and what HDF5 adds.
_FORCES_PACKED, _POSITIONS_PACKED, _SERIES_PACKED = 0.88, 0.93, 0.80
_FILE_BYTES, _SCAN_BYTES, _TRAJECTORY_BYTES = 10_000, 6_000, 60_000
_NUMBER_BYTES = 8


@dataclass(frozen=True)
class Stage:
    """What one stage of a model takes.

    Attributes:
        shards: Its jobs.
        hours: Of all of them.
        longest_min: Of the longest.
        storage_gb: Of their files.
    """

    shards: int = 0
    hours: float = 0.0
    longest_min: float = 0.0
    storage_gb: float = 0.0

    @classmethod
    def of(cls, seconds: Sequence[float], storage: Iterable[float]) -> Stage:
        """From the seconds and bytes of each job."""
        if not seconds:
            return cls()
        total, most = sum(seconds) / 3600, max(seconds) / 60
        return cls(len(seconds), total, most, sum(storage) / 1e9)


@dataclass(frozen=True)
class Prediction:
    """What a model will take.

    Attributes:
        model: Its name, or `REFERENCE` or `RELAX`.
        entry: Of the registry.
        role: `model`, `perturbed`, `control` or `reference`; of the methods that the scan set is
            made with `method`.
        status: `ok`, `assumed` (a control, which costs next to nothing) or how the probe failed:
            then hours and memory are NaN.
        reason: Why, or what else matters.
        device: That it was timed on.
        gpu: Whether its hours are of a GPU.
        n_scans: That it can be asked about.
        scans, dynamics, vibrations: By stage.
        jobs: Of Snakemake, with all that is not a shard.
        memory_gb: Peak of the process of the model.
        device_memory_gb: The same on its GPU.
        probe: It comes from; None of a control.
    """

    model: str
    entry: ModelEntry
    role: str
    status: str
    reason: str
    device: str
    gpu: bool
    n_scans: int
    scans: Stage
    dynamics: Stage
    vibrations: Stage
    jobs: int
    memory_gb: float
    device_memory_gb: float
    probe: Probe | None = None

    @property
    def hours(self) -> float:
        """Of all jobs in which the model runs; NaN where nothing was timed."""
        return self.scans.hours + self.dynamics.hours + self.vibrations.hours

    @property
    def storage_gb(self) -> float:
        """Of all its files."""
        return sum(s.storage_gb for s in (self.scans, self.dynamics, self.vibrations))

    @property
    def longest_min(self) -> float:
        """Of its longest job."""
        every = [self.scans.longest_min, self.dynamics.longest_min, self.vibrations.longest_min]
        return math.nan if any(math.isnan(one) for one in every) else max(every)


# --- seconds -------------------------------------------------------------------------------------


class Speed:
    """Seconds of a model by what its jobs hold.

    Args:
        entry: Of the model.
        probe: That went well; None of a control.
    """

    def __init__(self, entry: ModelEntry, probe: Probe | None) -> None:
        self._limit = None if probe is None else probe.limit
        self._info = None if probe is None else probe.info
        self.start_s = CONTROL_LOAD_S if probe is None else probe.load_s + probe.tuning_s
        self._costs: dict[str, Cost] = {}
        for stage in STAGES:
            if probe is None:
                self._costs[stage] = Cost(0.0, 0.0, seconds_per_atom_frame(entry, False), 0.0)
            else:
                batched = bool(probe.info and probe.info.batched)
                self._costs[stage] = fit(*probe.timings[stage], batched=batched)

    def knows(self, facts: Facts) -> bool:
        """Whether the model can be asked about a scan."""
        if self._info is None:
            return True
        elements = self._info.elements
        return (elements is None or facts.elements <= elements) and (
            self._info.charges or not facts.charged
        )

    def _calls(self, frames: int, atoms: int) -> float:
        """Calls of frames of one size; less than one where others share the call."""
        if self._limit is None:
            return 0.0
        a_call = math.inf
        if self._limit.systems is not None:
            a_call = self._limit.systems
        if self._limit.atoms is not None:
            a_call = min(a_call, max(1, self._limit.atoms // atoms))
        return frames / a_call

    def frames(self, stage: str, frames: int, atoms: int) -> float:
        """Of some frames of one size, in batches that are full."""
        cost = self._costs[stage]
        return self._calls(frames, atoms) * cost.call_s + frames * cost.frame(atoms)

    def step(self, atoms: Sequence[int]) -> float:
        """Of one frame of each of some molecules, which share calls with nothing else."""
        cost = self._costs["dynamics"]
        calls = math.ceil(sum(self._calls(1, n) for n in atoms) - 1e-9)
        return calls * cost.call_s + sum(cost.frame(n) for n in atoms)

    def scan(self, facts: Facts) -> float:
        """Of a scan."""
        return SCAN_S + self.frames("scans", facts.frames, facts.atoms)


@dataclass(frozen=True)
class Contents:
    """Which scans and molecules jobs hold.

    Attributes:
        scans: By id.
        systems: A scan of each molecule, by its name.
    """

    scans: Mapping[str, Facts]
    systems: Mapping[str, Facts]

    @classmethod
    def of(cls, facts: Mapping[str, Facts]) -> Contents:
        """From the facts of all scans. A molecule whose scans were all dropped is not there."""
        systems: dict[str, Facts] = {}
        for scan_id in sorted(facts):
            if facts[scan_id].frames:
                systems.setdefault(facts[scan_id].system, facts[scan_id])
        return cls(facts, systems)

    def scans_of(self, ids: Iterable[str], speed: Speed) -> list[Facts]:
        """The scans of a job that a model is asked about."""
        found = (self.scans[scan_id] for scan_id in ids)
        return [one for one in found if one.frames and speed.knows(one)]

    def systems_of(self, names: Iterable[str], speed: Speed) -> list[Facts]:
        """The molecules of a job that a model is asked about."""
        found = (self.systems.get(name) for name in names)
        return [one for one in found if one is not None and speed.knows(one)]


def _scans_stage(shards: Iterable[Sequence[str]], contents: Contents, speed: Speed) -> Stage:
    seconds, storage = [], []
    for ids in shards:
        held = contents.scans_of(ids, speed)
        seconds.append(speed.start_s + sum(speed.scan(one) for one in held))
        storage.append(_evaluation_bytes([contents.scans[scan_id] for scan_id in ids]))
    return Stage.of(seconds, storage)


def _evaluation_bytes(scans: Sequence[Facts]) -> float:
    # energy and forces, of scans that the model knows or not
    numbers = sum(one.frames * (1 + 3 * one.atoms * _FORCES_PACKED) for one in scans)
    return _FILE_BYTES + sum(_SCAN_BYTES for _ in scans) + _NUMBER_BYTES * numbers


def _dynamics_stage(shards: Iterable[DynamicsShard], contents: Contents, speed: Speed) -> Stage:
    seconds, storage = [], []
    for shard in shards:
        atoms = [one.atoms for one in contents.systems_of(shard.systems, speed)]
        settings = shard.settings
        trajectories = atoms * (len(settings.temperatures_k) * settings.replicates)
        steps = (settings.n_steps + 1) * (speed.step(trajectories) + STEP_S * bool(atoms))
        relaxation = min(settings.relax_steps, RELAX_STEPS) * speed.step(atoms)
        seconds.append(speed.start_s + steps + relaxation)
        frames = settings.n_steps // settings.store_every + 1
        numbers = 3 * settings.n_steps * _SERIES_PACKED
        storage.append(
            _FILE_BYTES
            + sum(
                _TRAJECTORY_BYTES + _NUMBER_BYTES * (numbers + 6 * n * frames * _POSITIONS_PACKED)
                for n in trajectories
            )
        )
    return Stage.of(seconds, storage)


def _vibrations_stage(systems: Sequence[str], contents: Contents, speed: Speed) -> Stage:
    if not systems:
        return Stage()
    atoms = [one.atoms for one in contents.systems_of(systems, speed)]
    seconds = VIBRATION_RELAX_STEPS * speed.step(atoms)
    seconds += sum(speed.frames("dynamics", 6 * n, n) for n in atoms)
    storage = _FILE_BYTES + sum(_SCAN_BYTES + _NUMBER_BYTES * (3 * n) ** 2 for n in atoms)
    return Stage.of([speed.start_s + seconds], [storage])


# --- jobs ----------------------------------------------------------------------------------------


def model_jobs(run: Run, model: str) -> int:
    """Jobs of Snakemake that belong to one model, in a run from nothing."""
    if run.models[model].family == "control":
        return 0  # one job is that of all controls
    dynamics = len(run.dynamics_shards) + 1 if model in run.dynamics else 0
    vibrations = 2 if model in run.vibrations else 0
    worst = role(run.models[model], run.level_of_theory) == "model"
    # its entry, its scores
    return 1 + len(run.shards(model)) + 1 + dynamics + vibrations + worst


def other_jobs(run: Run) -> int:
    """Jobs of no row of `predict`: what else makes the scan set, tables, figures, `all`."""
    roles = {name: role(entry, run.level_of_theory) for name, entry in run.models.items()}
    # the reference's entry, geometries, the set; and molecules, or the entry that relaxes them
    scan_set = 1 if run.source == bsct_spice.NAME else 4
    associate = any(roles[name] in ("model", "perturbed") for name in run.dynamics)
    parity = bool(variants(run.models.values()))
    tables = 4 + associate + parity + bool(run.ladder)  # models.json, leaderboard, figures, page
    environments = len(software_of(run).to_build(run.running))
    controls = any(entry.family == "control" for entry in run.models.values())
    return environments + scan_set + controls + tables + run.strict + 1


def software_of(run: Run) -> Software:
    """Where the models of a run find their packages, as the Snakefile has it."""
    return Software(run.software, PROJECT / "envs", run.results.parent / "environments")


# --- models --------------------------------------------------------------------------------------


def predict(run: Run, facts: Mapping[str, Facts], probes: Mapping[str, Probe]) -> list[Prediction]:
    """What every model of a run will take, and the methods that its scan set is made with.

    Args:
        run: What the run consists of.
        facts: Of all scans of its set.
        probes: By model, `REFERENCE` and `RELAX` among them; none of controls.

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
        found.append(
            _filled(
                Prediction(
                    model=model,
                    entry=entry,
                    role=role(entry, run.level_of_theory),
                    jobs=model_jobs(run, model),
                    **_about(entry, run, probes.get(model)),
                ),
                contents,
                scans=list(run.shards(model).values()),
                dynamics=list(run.dynamics_shards.values()) if model in run.dynamics else [],
                vibrations=run.vibration_systems if model in run.vibrations else [],
            )
        )
    return found


def _about(entry: ModelEntry, run: Run, probe: Probe | None) -> dict[str, object]:
    """What a probe tells, whatever the jobs."""
    known = {"n_scans": 0, "scans": Stage(), "dynamics": Stage(), "vibrations": Stage()}
    if probe is None:
        reason = "not timed: it costs next to nothing"
        return known | {
            "status": "assumed", "reason": reason, "device": "cpu", "gpu": False,
            "memory_gb": math.nan, "device_memory_gb": 0.0, "probe": None,
        }  # fmt: skip
    device = probe.info.device if probe.info else "not loaded"
    gpu = device.startswith("cuda")
    reason = probe.message
    if not reason and not gpu and uses_gpu(entry, run.device):
        reason = "timed on a CPU, there is no GPU here"
    ok = bool(probe.timings)
    return known | {
        "status": probe.status.value,
        "reason": reason,
        "device": device,
        "gpu": gpu,
        "memory_gb": probe.host_bytes / 1e9 if ok else math.nan,
        "device_memory_gb": probe.device_bytes / 1e9 if ok else math.nan,
        "probe": probe,
    }


def _unknown(shards: int) -> Stage:
    return Stage(shards, math.nan, math.nan, math.nan)


def _filled(
    prediction: Prediction,
    contents: Contents,
    *,
    scans: Sequence[Sequence[str]] = (),
    dynamics: Sequence[DynamicsShard] = (),
    vibrations: Sequence[str] = (),
) -> Prediction:
    """A prediction with its stages; of a model that was not timed, shards and jobs alone."""
    probe = prediction.probe
    if probe is not None and not probe.timings:
        return replace(
            prediction,
            scans=_unknown(len(scans)),
            dynamics=_unknown(len(dynamics)) if dynamics else Stage(),
            vibrations=_unknown(1) if vibrations else Stage(),
        )
    speed = Speed(prediction.entry, probe)
    every = [scan_id for ids in scans for scan_id in ids]
    return replace(
        prediction,
        n_scans=len(contents.scans_of(every, speed)),
        scans=_scans_stage(scans, contents, speed),
        dynamics=_dynamics_stage(dynamics, contents, speed),
        vibrations=_vibrations_stage(vibrations, contents, speed),
    )


def _of_reference(run: Run, contents: Contents, probe: Probe) -> Prediction:
    """Of the reference of the scan set: all scans of the set, and its frequencies."""
    entry = run.method("reference")
    return _filled(
        Prediction(
            model=REFERENCE,
            entry=entry,
            role="method",
            jobs=len(run.reference_shards) + bool(run.vibrations),
            **_about(entry, run, probe),
        ),
        contents,
        scans=list(run.reference_shards.values()),
        vibrations=run.vibration_systems if run.vibrations else (),
    )


def _of_relaxation(run: Run, contents: Contents, probe: Probe) -> Prediction:
    """Of the method that relaxes all molecules, one after another."""
    entry = run.method("relax")
    about = Prediction(model=RELAX, entry=entry, role="method", jobs=1, **_about(entry, run, probe))
    if not probe.timings:
        return replace(about, scans=_unknown(1))
    speed = Speed(entry, probe)
    atoms = [one.atoms for one in contents.systems.values()]
    seconds = probe.load_s + EMBEDDED_RELAX_STEPS * sum(speed.step([n]) for n in atoms)
    return replace(about, scans=Stage.of([seconds], [0.0]), n_scans=0)
