"""Short molecular dynamics at constant energy, of many molecules in lock-step.

For every molecule, temperature and replicate of a shard: relax with the model under test, draw
velocities for twice the temperature from random numbers that know nothing of the model, integrate
with velocity Verlet. Positions and velocities are float64 whatever the model computes in. Half of
the kinetic energy of the start goes into the potential, so that the run settles near the nominal
temperature.

All trajectories take each step together, through common batches. One that fails leaves with its
status and the others go on; a model whose rounding depends on what shares a batch gives them
another continuation then, equal in its statistics.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import units
from ase.data import atomic_masses
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, ModelInfo, Result, Status
from pesbench.core.progress import track
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit, choose_limit
from pesbench.engine.evaluator import Evaluator, failed_result, why_unsupported
from pesbench.engine.patient_worker import PatientWorker, systems_batch
from pesbench.engine.relaxation import Relaxed, relax
from pesbench.engine.shard import Spent, caller_state
from pesbench.engine.worker import ModelLoadError
from pesbench.files import provenance
from pesbench.files.checkpoint import (
    Arrays,
    Checkpoint,
    checkpoint_folder,
    stored_array,
    stored_settings,
)
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.scan_set import ScanSet
from pesbench.metrics.stability import (
    Failure,
    FailureCheck,
    degrees_of_freedom,
    is_linear,
    kinetic_temperature,
)
from pesbench.models.registry import ModelEntry
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.stored import BlackBox, Segment, Trajectory, write_trajectories

Array = NDArray[np.float64]
BLACK_BOX_STEPS = 100
CHECKPOINT_S = 60.0
SMALL_MOMENT = 1e-10  # of inertia in units of the largest: there is nothing that could turn
logger = logging.getLogger("pesbench")


def scan_set_systems(scan_set: ScanSet) -> list[System]:
    """The distinct molecules of a scan set, sorted by id.

    A molecule whose scans were all dropped by the quality gate is left out: it has no score that
    its stability could be compared with, and perhaps no geometry. Where scans of one molecule
    disagree about its geometry, the first one's counts.
    """
    systems: dict[str, System] = {}
    for scan_id in scan_set.ids:
        if scan_set.quality(scan_id)[0] == "dropped":
            continue
        scan = scan_set.scan(scan_id)
        systems.setdefault(
            scan.system,
            System(
                id=scan.system,
                numbers=scan.numbers,
                positions=scan.positions_unperturbed,
                bonds=scan.bonds,
                charge=scan.charge,
                spin=scan.spin,
                smiles=scan.smiles,
            ),
        )
    return [systems[name] for name in sorted(systems)]


# --- the start -----------------------------------------------------------------------------------


def internal_degrees_of_freedom(system: System) -> int:
    """3N − 6, of a linear molecule 3N − 5, of an atom 0.

    Asked of the scan set's geometry, so that all models get the same answer.
    """
    if len(system.numbers) < 2:
        return 0
    return degrees_of_freedom(len(system.numbers), is_linear(system.positions))


def without_drift(velocities: Array, positions: Array, masses: Array, linear: bool) -> Array:
    """Velocities less the motion of the centre of mass and the rotation about it.

    Args:
        velocities: Any units, shape (N, 3).
        positions: Å, shape (N, 3).
        masses: Shape (N,).
        linear: Whether there is no rotation about the axis of the smallest moment of inertia.
    """
    internal = velocities - masses @ velocities / masses.sum()
    centred = positions - masses @ positions / masses.sum()
    angular = masses @ np.cross(centred, internal)
    second = np.einsum("i,ij,ik->jk", masses, centred, centred)
    moments, axes = np.linalg.eigh(np.trace(second) * np.eye(3) - second)
    turns = moments > SMALL_MOMENT * moments[2]
    turns[0] &= not linear
    rates = np.divide(axes.T @ angular, moments, out=np.zeros(3), where=turns)
    return internal - np.cross(axes @ rates, centred)


def kinetic_energy(velocities: Array, masses: Array) -> float:
    """½ Σ m v² in eV, of velocities in ASE's units and masses in amu."""
    return float(0.5 * np.sum(masses[:, None] * velocities**2))


def starting_velocities(
    system: System, positions: Array, temperature_k: float, replicate: int
) -> Array:
    """Velocities for twice a temperature, exactly, without drift and rotation.

    The random numbers depend on the names of molecule, temperature and replicate: all models start
    from the same ones, on minima of their own.

    Args:
        system: The molecule; its geometry decides how many degrees of freedom it has.
        positions: Where it starts, Å, shape (N, 3).
        temperature_k: T; the start has 2T.
        replicate: From 0.

    Returns:
        ASE units, shape (N, 3).
    """
    text = f"velocities {system.id} {temperature_k:g} {replicate}"
    seed = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype=np.uint32)
    draw = np.random.default_rng(seed).standard_normal(positions.shape)
    masses = atomic_masses[system.numbers]
    freedom = internal_degrees_of_freedom(system)
    linear = freedom == 3 * len(masses) - 5
    velocities = without_drift(draw / np.sqrt(masses)[:, None], positions, masses, linear)
    wanted = freedom * units.kB * temperature_k  # f/2 k_B 2T
    return velocities * math.sqrt(wanted / kinetic_energy(velocities, masses))


# --- the integrator ------------------------------------------------------------------------------


class Check(Protocol):
    """Tells of molecules whether they are still what they were; see `FailureCheck`."""

    def check(self, positions: Array, temperature: Array) -> NDArray[np.int64]: ...

    def failure(
        self, molecule: int, step: int, positions: Array, temperature: Array
    ) -> Failure | None: ...


CheckFactory = Callable[[Sequence[Trajectory]], Check]


def failure_check(trajectories: Sequence[Trajectory]) -> FailureCheck:
    """The criteria of `metrics.stability` for some trajectories."""
    return FailureCheck.of(
        [one.numbers for one in trajectories],
        [one.bonds for one in trajectories],
        [one.temperature_k for one in trajectories],
        [one.degrees_of_freedom == 3 * one.n_atoms - 5 for one in trajectories],
    )


@dataclass(frozen=True)
class Ended:
    """A trajectory that leaves: which one, with what status, physical failure and message."""

    index: int
    status: Status
    failure: str
    message: str


@dataclass
class LockStep:
    """Velocity Verlet of S trajectories with A atoms in all.

    Arrays keep the places of trajectories that have left; these are not touched any more.

    Attributes:
        trajectories: What is integrated.
        batch: Their atoms; its positions and labels are not used.
        timestep_fs: Between two steps.
        evaluate: The model.
        make_check: Of the trajectories under way; None to look for no physical failure.
        positions: Å, shape (A, 3).
        velocities: ASE units, shape (A, 3).
        forces: eV/Å, shape (A, 3).
        running: Which trajectories are under way, shape (S,), bool.
        step_number: Of the state; −1 before `start`.
        potential: eV, shape (S,); NaN where the model gave none, or no more.
        kinetic: eV, shape (S,).
    """

    trajectories: Sequence[Trajectory]
    batch: Batch
    timestep_fs: float
    evaluate: Callable[[Batch], Result]
    make_check: CheckFactory | None
    positions: Array
    velocities: Array
    forces: Array
    running: NDArray[np.bool_]
    step_number: int = -1
    potential: Array = field(init=False)
    kinetic: Array = field(init=False)

    def __post_init__(self) -> None:
        masses = atomic_masses[self.batch.numbers]
        self._half_kick = (0.5 * self.timestep_fs * units.fs / masses)[:, None]
        self._half_mass = 0.5 * masses
        self._names = [trajectory.name for trajectory in self.trajectories]
        self._freedom = np.array([t.degrees_of_freedom for t in self.trajectories])
        self.potential = np.full(len(self.running), np.nan)
        self.kinetic = np.full(len(self.running), np.nan)
        self._choose()

    def _choose(self) -> None:
        """Gather what belongs to the trajectories under way."""
        self._live = np.flatnonzero(self.running)
        everyone = bool(self.running.all())
        # a slice copies faster than an index does
        self.atoms = slice(None) if everyone else np.flatnonzero(self.running[self.batch.system])
        self._part = self.batch if everyone or not len(self._live) else self._select()
        self._kick, self._mass = self._half_kick[self.atoms], self._half_mass[self.atoms]
        if self.make_check is not None and len(self._live):
            self._check = self.make_check([self.trajectories[k] for k in self._live])

    def _select(self) -> Batch:
        return self.batch.select(self._live.tolist())

    def start(self) -> list[Ended]:
        """Energies and forces of step 0."""
        zero = np.zeros_like(self.positions[self.atoms])
        return self._finish_step(self.positions[self.atoms], self.velocities[self.atoms], zero)

    def step(self) -> list[Ended]:
        """One step of velocity Verlet (Swope et al., J. Chem. Phys. 76, 637 (1982))."""
        half = self.velocities[self.atoms] + self._kick * self.forces[self.atoms]
        moved = self.positions[self.atoms] + self.timestep_fs * units.fs * half
        return self._finish_step(moved, half, self._kick)

    def _finish_step(self, positions: Array, velocities: Array, kick: Array) -> list[Ended]:
        self.step_number += 1
        part, live = self._part, self._live
        labels = tuple((self._names[k], self.step_number) for k in live)
        result = self.evaluate(replace(part, positions=positions, labels=labels))
        answered = np.array([status is Status.OK for status in result.status], dtype=bool)
        whole = velocities + kick * result.forces
        if not answered.all():  # the velocities of half a step before are the last ones known
            whole = np.where(answered[part.system][:, None], whole, velocities)
        kinetic = np.bincount(
            part.system, self._mass * np.einsum("ij,ij->i", whole, whole), len(live)
        )
        self.positions[self.atoms], self.velocities[self.atoms] = positions, whole
        self.forces[self.atoms] = result.forces
        self.potential[:], self.kinetic[:] = np.nan, np.nan
        if result.energies is not None:
            self.potential[live] = np.where(answered, result.energies, np.nan)
        self.kinetic[live] = np.where(answered, kinetic, np.nan)
        ended = self._model_failures(result, answered)
        if self.make_check is not None:
            temperatures = kinetic_temperature(kinetic, self._freedom[live])
            failed = self._check.check(positions, temperatures) != 0
            for place in np.flatnonzero(failed & answered).tolist():
                found = self._check.failure(place, self.step_number, positions, temperatures)
                assert found is not None
                message = f"{self._when}: {found.cause}: {found.detail}"
                ended.append(Ended(int(live[place]), Status.OK, found.cause.value, message))
        return ended

    @property
    def _when(self) -> str:
        return f"step {self.step_number} ({self.step_number * self.timestep_fs / 1000:.4f} ps)"

    def _model_failures(self, result: Result, answered: NDArray[np.bool_]) -> list[Ended]:
        return [
            Ended(
                int(self._live[place]),
                result.status[place],
                "",
                f"{self._when}: {result.messages[place]}",
            )
            for place in np.flatnonzero(~answered)
        ]

    def restore(
        self, step_number: int, positions: Array, velocities: Array, forces: Array,
        running: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        """Go on from a stored state."""
        self.step_number, self.running = step_number, running
        self.positions, self.velocities, self.forces = positions, velocities, forces
        self._choose()

    def leave(self, ended: Sequence[Ended]) -> None:
        """Take trajectories out; the others go on."""
        if ended:
            self.running[[one.index for one in ended]] = False
            self._choose()


class _Recorder:
    """What is kept of the steps since the last checkpoint, and the last steps at full rate."""

    def __init__(self, run: LockStep, store_every: int) -> None:
        self._run, self._store_every = run, store_every
        shape = (BLACK_BOX_STEPS, *run.positions.shape)
        self.ring_positions, self.ring_velocities = np.zeros(shape), np.zeros(shape)
        self._ends = np.cumsum([t.n_atoms for t in run.trajectories])
        self._clear()

    def restore(self, ring_positions: Array, ring_velocities: Array) -> None:
        """Go on from the stored last steps."""
        self.ring_positions, self.ring_velocities = ring_positions, ring_velocities
        self._clear()

    def _clear(self) -> None:
        self._first_step = self._run.step_number + 1
        self._potential: list[Array] = []
        self._kinetic: list[Array] = []
        self._frames: list[tuple[int, Array, Array]] = []
        self._boxes: dict[int, BlackBox] = {}

    def record(self, ended: Sequence[Ended]) -> None:
        """Keep the step that was just taken."""
        run = self._run
        self._potential.append(run.potential.copy())
        self._kinetic.append(run.kinetic.copy())
        place = run.step_number % BLACK_BOX_STEPS
        self.ring_positions[place, run.atoms] = run.positions[run.atoms]
        self.ring_velocities[place, run.atoms] = run.velocities[run.atoms]
        if run.step_number % self._store_every == 0:
            frame = (run.step_number, run.positions.copy(), run.velocities.copy())
            self._frames.append(frame)
        for one in ended:
            self._boxes[one.index] = self._box(one.index)

    def _box(self, index: int) -> BlackBox:
        last = self._run.step_number
        steps = np.arange(max(0, last - BLACK_BOX_STEPS + 1), last + 1)
        end = self._ends[index]
        atoms = slice(end - self._run.trajectories[index].n_atoms, end)
        places = steps % BLACK_BOX_STEPS
        return BlackBox(
            steps, self.ring_positions[places, atoms], self.ring_velocities[places, atoms]
        )

    def take(self) -> dict[str, NDArray[Any]]:
        """The steps since the last call, as arrays; they are forgotten here."""
        shape = (0, *self._run.positions.shape)
        arrays: dict[str, NDArray[Any]] = {
            "first_step": np.array(self._first_step),
            "potential": np.array(self._potential),
            "kinetic": np.array(self._kinetic),
            "frame_steps": np.array([step for step, _, _ in self._frames], dtype=np.int64),
            "positions": np.array([x for _, x, _ in self._frames]).reshape((-1, *shape[1:])),
            "velocities": np.array([v for _, _, v in self._frames]).reshape((-1, *shape[1:])),
            "boxes": np.array(sorted(self._boxes), dtype=np.int64),
        }
        for index, box in self._boxes.items():
            arrays[f"box_{index}_steps"] = box.steps
            arrays[f"box_{index}_positions"] = box.positions
            arrays[f"box_{index}_velocities"] = box.velocities
        self._clear()
        return arrays


def _segment(arrays: Arrays) -> Segment:
    potential = stored_array(arrays, "potential", "f", (None, None))
    frame_steps = stored_array(arrays, "frame_steps", "i", (None,))
    positions = stored_array(arrays, "positions", "f", (len(frame_steps), None, 3))
    boxes = {}
    for k in stored_array(arrays, "boxes", "i", (None,)).tolist():
        steps = stored_array(arrays, f"box_{k}_steps", "i", (None,))
        places = stored_array(arrays, f"box_{k}_positions", "f", (len(steps), None, 3))
        velocities = stored_array(arrays, f"box_{k}_velocities", "f", places.shape)
        boxes[k] = BlackBox(steps, places, velocities)
    return Segment(
        first_step=int(stored_array(arrays, "first_step", "i")),
        potential=potential,
        kinetic=stored_array(arrays, "kinetic", "f", potential.shape),
        frame_steps=frame_steps,
        positions=positions,
        velocities=stored_array(arrays, "velocities", "f", positions.shape),
        black_boxes=boxes,
    )


# --- a shard -------------------------------------------------------------------------------------


@dataclass
class _Asked:
    """The model as the integrator sees it: a model that is gone has failed on every system."""

    evaluator: Evaluator
    model: str

    def __call__(self, batch: Batch) -> Result:
        """Energies and forces.

        Raises:
            UserError: the model has no energies, or no forces.
        """
        try:
            result = self.evaluator.evaluate(batch)
        except ModelLoadError as failure:  # it died, and does not come up again
            return failed_result(batch, failure.status, failure.message)
        if result.energies is None and Status.OK in result.status:
            self._refuse("energies")
        if all("has no forces" in message for message in result.messages):
            self._refuse("forces")
        return result

    def _refuse(self, what: str) -> None:
        raise UserError(
            f"model {self.model!r} gives no {what}; dynamics at constant energy needs both "
            "energies and forces: leave it out of `dynamics`"
        )


def run_dynamics_shard(
    entry: ModelEntry,
    scan_set_path: Path,
    system_ids: Sequence[str],
    settings: DynamicsSettings,
    out: Path,
    *,
    device: str = "auto",
    threads: int = 1,
    checkpoint_s: float = CHECKPOINT_S,
) -> None:
    """Run the trajectories of some molecules with a model and write a trajectory file.

    Continues from its checkpoint if an earlier call was killed, and ends bit for bit as an
    undisturbed one on a CPU.

    Args:
        entry: Resolved model entry.
        scan_set_path: Scan set file; its geometries are where relaxation starts.
        system_ids: Which molecules; sorted here.
        settings: The same for all of them.
        out: Trajectory file.
        device: `auto`, `cpu` or `cuda`.
        threads: For the model's arithmetic.
        checkpoint_s: Seconds between two checkpoints; decides no number.

    Raises:
        UserError: settings that make no sense, no such molecule or scan set, a model without
            energies or forces, or a damaged checkpoint or one of other settings.
        HostError: the machine failed; a second call continues.
    """
    settings.check()
    if entry.family == "control":
        raise UserError(
            f"model {entry.name!r}: a control is defined on the frames of scans only; "
            "leave it out of `dynamics`"
        )
    with ScanSet(scan_set_path) as scan_set:
        systems = _chosen(scan_set, system_ids)
        scan_set_name, scan_set_sha256 = scan_set.name, scan_set.sha256
    plan = _planned(systems, settings)
    wanted = {
        "model": entry.deciding(),
        "scan_set_sha256": scan_set_sha256,
        "systems": [system.id for system in systems],
        "dynamics": asdict(settings),
        "device": device,
        "threads": threads,
        "code": stage_fingerprint(__name__, *family_modules(entry.families)),
    }
    _refuse_others(out, wanted)
    checkpoint = Checkpoint(out, wanted)
    checkpoint.verify()
    with PatientWorker(
        entry,
        systems,
        {trajectory.name: trajectory.system for trajectory in plan},
        scan_set=scan_set_path,
        device=device,
        threads=threads,
        timeout_s=float(entry.settings.get("timeout_s", 600.0)),
    ) as worker:
        spent = Spent.resume(checkpoint, worker)
        shard = _Shard(entry, systems, plan, settings, worker, checkpoint, spent, checkpoint_s)
        info = shard.run()
        worker.close()
    write_trajectories(
        out,
        shard.trajectories,
        (checkpoint.read(piece, _segment) for piece in range(1, checkpoint.count)),
        timestep_fs=settings.timestep_fs,
        store_every=settings.store_every,
        attributes={
            "model": entry.name,
            "entry": entry.deciding(),
            "scan_set": scan_set_name,
            "scan_set_sha256": scan_set_sha256,
            "settings": asdict(settings),
            "n_steps": settings.n_steps,
            "masses": "ase.data.atomic_masses",
            "device": info.device if info else "not loaded",
            "dtype": info.dtype if info else "not loaded",
            "model_details": (info.details if info else {})
            | {"device_peak_bytes": shard.evaluator.device_bytes},
            "threads": threads,
            "batch_limit": asdict(shard.evaluator.limit),
            **spent.attributes(),
            "peak_memory_bytes": worker.peak_bytes,
            "provenance": provenance.collect(),
        },
    )
    checkpoint.remove()


def _chosen(scan_set: ScanSet, system_ids: Sequence[str]) -> list[System]:
    known = {system.id: system for system in scan_set_systems(scan_set)}
    if missing := sorted(set(system_ids) - known.keys()):
        raise UserError(
            f"{scan_set.path}: no molecule {missing[0]!r} with a scan that is not dropped; "
            "see the systems of its scans"
        )
    return [known[name] for name in sorted(set(system_ids))]


def _planned(systems: Sequence[System], settings: DynamicsSettings) -> list[Trajectory]:
    plan = [
        Trajectory(
            system=system.id,
            temperature_k=float(temperature_k),
            replicate=replicate,
            numbers=system.numbers,
            bonds=system.bonds,
            charge=system.charge,
            spin=system.spin,
            degrees_of_freedom=internal_degrees_of_freedom(system),
        )
        for system in systems
        for temperature_k in sorted(settings.temperatures_k)
        for replicate in range(settings.replicates)
    ]
    if len({trajectory.name for trajectory in plan}) < len(plan):
        raise UserError("two molecules differ in a slash and a dot of their names only; rename one")
    return plan


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, part in value.items() for k, v in _flat(part, f"{name}.{key}").items()}


def _refuse_others(out: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse to continue a run of other settings, or to throw hours of it away unasked.

    Raises:
        UserError: naming the settings that differ.
    """
    stored = stored_settings(out)
    if stored is None:
        return
    found = _flat(stored)
    now = _flat(json.loads(json.dumps(wanted)))
    differing = [
        f"`{key[1:]}` was {found.get(key)!r} and is {now.get(key)!r}"
        for key in sorted(found.keys() | now.keys())
        if found.get(key) != now.get(key)
    ]
    if differing:
        raise UserError(
            f"{checkpoint_folder(out)}: an unfinished run of other settings "
            f"({', '.join(differing)}); restore them to continue it, or remove the folder to start "
            "anew"
        )


@dataclass
class _Shard:
    """A shard under way.

    Its checkpoint holds, as piece 0, the relaxed molecules; as every further piece, steps. The
    state after the last of these lies beside them under that piece's number.
    """

    entry: ModelEntry
    systems: Sequence[System]
    trajectories: list[Trajectory]
    settings: DynamicsSettings
    worker: PatientWorker
    checkpoint: Checkpoint
    spent: Spent
    checkpoint_s: float
    evaluator: Evaluator = field(init=False)

    def run(self) -> ModelInfo | None:
        """Do what the checkpoint does not hold yet.

        Returns:
            What the model tells of itself; None if it does not load.
        """
        self.evaluator = Evaluator(self.worker, BatchLimit(systems=1))
        info, lost = None, None
        try:
            info = self._load()
        except ModelLoadError as failure:
            lost = failure
        ask = _Asked(self.evaluator, self.entry.name)
        if not self.checkpoint.count:
            relaxed = self._relax(ask, info, lost)
            self._save_relaxed(relaxed)
        relaxed = self._read_relaxed()
        self._integrate(ask, relaxed, lost)
        return info

    def _load(self) -> ModelInfo:
        info = self.worker.start()
        # what decides rounding, and is known only once the model is loaded
        made = {"device": info.device, "dtype": info.dtype, "details": info.details}
        if self.checkpoint.read_note("made") != json.loads(json.dumps(made)):
            if self.checkpoint.count:
                logger.warning("checkpoint of another device or version; starting anew")
            self.checkpoint.clear()
            self.checkpoint.write_note("made", made)
        limit = self.checkpoint.read_note("limit", lambda note: BatchLimit(**note))
        if limit is None:
            limit = self._first_limit(info)
            self.checkpoint.write_note("limit", asdict(limit))
        self.evaluator.limit = limit
        return info

    def _first_limit(self, info: ModelInfo) -> BatchLimit:
        """The entry's fixed batch size, or the best one on the molecule of median size."""
        fixed = self.entry.settings.get("batch_size", "auto")
        if fixed != "auto":
            return BatchLimit(systems=int(fixed))
        asked = [system for system in self.systems if not why_unsupported(system, info)]
        if not asked:
            return BatchLimit(systems=1)
        asked.sort(key=lambda system: (len(system.numbers), system.id))
        typical = asked[len(asked) // 2]
        return choose_limit(
            self.worker, lambda count: systems_batch([typical] * count), len(typical.numbers)
        )

    # --- relaxation

    def _relax(
        self, ask: _Asked, info: ModelInfo | None, lost: ModelLoadError | None
    ) -> list[Relaxed]:
        if info is None:
            assert lost is not None
            return [
                Relaxed(system.positions, lost.status, False, 0, np.nan, lost.message)
                for system in self.systems
            ]
        reasons = [why_unsupported(system, info) for system in self.systems]
        asked = [s for s, reason in zip(self.systems, reasons, strict=True) if not reason]
        logger.info("relaxing %d molecules", len(asked))
        settings = self.settings
        done = iter(relax(asked, ask, max_steps=settings.relax_steps, fmax=settings.relax_fmax))
        return [
            Relaxed(system.positions, Status.UNSUPPORTED, False, 0, np.nan, reason)
            if reason
            else next(done)
            for system, reason in zip(self.systems, reasons, strict=True)
        ]

    def _save_relaxed(self, relaxed: Sequence[Relaxed]) -> None:
        self.checkpoint.append(
            positions=np.concatenate([one.positions for one in relaxed]),
            status=np.array([one.status.value for one in relaxed], dtype=str),
            converged=np.array([one.converged for one in relaxed], dtype=bool),
            steps=np.array([one.steps for one in relaxed], dtype=np.int64),
            fmax=np.array([one.fmax for one in relaxed], dtype=np.float64),
            messages=np.array([one.message for one in relaxed], dtype=str),
            **self._caller_state(),
        )
        self.spent.save()

    def _read_relaxed(self) -> list[Relaxed]:
        self.evaluator.limit, self.worker.deaths = self.checkpoint.read(0, caller_state)
        return self.checkpoint.read(0, self._relaxed_of)

    def _relaxed_of(self, stored: Arrays) -> list[Relaxed]:
        ends = np.cumsum([len(system.numbers) for system in self.systems])
        positions = stored_array(stored, "positions", "f", (int(ends[-1]), 3))
        kinds = {"status": "U", "converged": "b", "steps": "i", "fmax": "f", "messages": "U"}
        of = {key: stored_array(stored, key, k, ends.shape) for key, k in kinds.items()}
        return [
            Relaxed(
                positions=own,
                status=Status(str(of["status"][k])),
                converged=bool(of["converged"][k]),
                steps=int(of["steps"][k]),
                fmax=float(of["fmax"][k]),
                message=str(of["messages"][k]),
            )
            for k, own in enumerate(np.split(positions, ends[:-1]))
        ]

    def _caller_state(self) -> dict[str, NDArray[Any]]:
        limit = self.evaluator.limit
        return {
            "limit": np.array([limit.systems or 0, limit.atoms or 0]),
            "deaths": np.array(sorted(self.worker.deaths), dtype=str),
        }

    # --- integration

    def _integrate(
        self, ask: _Asked, relaxed: Sequence[Relaxed], lost: ModelLoadError | None
    ) -> None:
        run = self._start(ask, relaxed)
        recorder = _Recorder(run, self.settings.store_every)
        if self.checkpoint.count > 1:
            self._restore(run, recorder)
        if lost is not None:  # a model that loaded when the run began
            self._note([
                Ended(int(k), lost.status, "", lost.message) for k in np.flatnonzero(run.running)
            ], run.step_number + 1)  # fmt: skip
            run.running[:] = False
        saved, last = run.step_number, time.monotonic()
        steps = range(run.step_number + 1, self.settings.n_steps + 1)
        for number in track(steps, len(steps), "steps"):
            if not run.running.any():
                break
            ended = run.start() if number == 0 else run.step()
            recorder.record(ended)
            self._note(ended, number)
            run.leave(ended)
            if time.monotonic() - last >= self.checkpoint_s:
                self._save(run, recorder)
                saved, last = run.step_number, time.monotonic()
        for k in np.flatnonzero(run.running):
            self.trajectories[k] = replace(self.trajectories[k], last_step=self.settings.n_steps)
        if run.step_number > saved:
            self._save(run, recorder)

    def _start(self, ask: _Asked, relaxed: Sequence[Relaxed]) -> LockStep:
        by_system = {s.id: (s, one) for s, one in zip(self.systems, relaxed, strict=True)}
        positions, velocities = [], []
        for k, trajectory in enumerate(self.trajectories):
            system, start = by_system[trajectory.system]
            status, message = start.status, start.message
            if not trajectory.degrees_of_freedom and status is Status.OK:
                status, message = Status.UNSUPPORTED, "a single atom has no internal motion"
            self.trajectories[k] = replace(
                trajectory, status=status, message=message, relaxed=start.converged,
                relax_steps=start.steps, relax_fmax=start.fmax,
            )  # fmt: skip
            positions.append(start.positions)
            velocities.append(
                starting_velocities(
                    system, start.positions, trajectory.temperature_k, trajectory.replicate
                )
                if status is Status.OK
                else np.zeros_like(start.positions)
            )
        atoms = np.concatenate(positions)
        return LockStep(
            trajectories=tuple(self.trajectories),
            batch=systems_batch([by_system[t.system][0] for t in self.trajectories]),
            timestep_fs=self.settings.timestep_fs,
            evaluate=ask,
            make_check=failure_check,
            positions=atoms,
            velocities=np.concatenate(velocities),
            forces=np.full_like(atoms, np.nan),
            running=np.array([t.status is Status.OK for t in self.trajectories]),
        )

    def _note(self, ended: Sequence[Ended], step: int) -> None:
        """Write down how trajectories ended."""
        for one in ended:
            trajectory = self.trajectories[one.index]
            answered = one.status is Status.OK
            relaxation = f"{trajectory.message}; " if trajectory.message else ""
            self.trajectories[one.index] = replace(
                trajectory, status=one.status, failure=one.failure,
                message=relaxation + one.message, failure_step=step,
                last_step=step if answered else step - 1,
            )  # fmt: skip
            logger.info("%s: %s", trajectory.name, one.message)

    def _save(self, run: LockStep, recorder: _Recorder) -> None:
        state = {
            "step_number": np.array(run.step_number),
            "positions": run.positions,
            "velocities": run.velocities,
            "forces": run.forces,
            "running": run.running,
            "ring_positions": recorder.ring_positions,
            "ring_velocities": recorder.ring_velocities,
            "status": np.array([t.status.value for t in self.trajectories], dtype=str),
            "failure": np.array([t.failure for t in self.trajectories], dtype=str),
            "messages": np.array([t.message for t in self.trajectories], dtype=str),
            "failure_step": np.array([t.failure_step for t in self.trajectories]),
            "last_step": np.array([t.last_step for t in self.trajectories]),
            **self._caller_state(),
        }
        self.checkpoint.append_with_state(state, **recorder.take())
        self.spent.save()

    def _restore(self, run: LockStep, recorder: _Recorder) -> None:
        self.evaluator.limit, self.worker.deaths = self.checkpoint.read_state(caller_state)
        ring = recorder.ring_positions.shape
        every = (len(self.trajectories),)
        kinds: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "step_number": ("i", ()), "positions": ("f", ring[1:]), "velocities": ("f", ring[1:]),
            "forces": ("f", ring[1:]), "running": ("b", every), "ring_positions": ("f", ring),
            "ring_velocities": ("f", ring), "status": ("U", every), "failure": ("U", every),
            "messages": ("U", every), "failure_step": ("i", every), "last_step": ("i", every),
        }  # fmt: skip

        def understand(stored: Arrays) -> tuple[Arrays, list[Status]]:
            found = {key: stored_array(stored, key, *kind) for key, kind in kinds.items()}
            if int(found["step_number"]) > self.settings.n_steps:
                raise ValueError(f"`step_number` is {found['step_number']}")
            return found, [Status(str(one)) for one in found["status"]]

        state, status = self.checkpoint.read_state(understand)
        run.restore(
            int(state["step_number"]), state["positions"], state["velocities"], state["forces"],
            state["running"],
        )  # fmt: skip
        recorder.restore(state["ring_positions"], state["ring_velocities"])
        for k, trajectory in enumerate(self.trajectories):
            self.trajectories[k] = replace(
                trajectory,
                status=status[k],
                failure=str(state["failure"][k]),
                message=str(state["messages"][k]),
                failure_step=int(state["failure_step"][k]),
                last_step=int(state["last_step"][k]),
            )
