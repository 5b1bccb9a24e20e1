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

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.jobs import RunJob
from pesbench.core.systems import System
from pesbench.engine.patient_worker import PatientWorker
from pesbench.engine.precision import measured_precision
from pesbench.engine.reference_frames import frames_of_file
from pesbench.engine.shard import (
    Spent,
    refuse_control,
    results_attributes,
)
from pesbench.files.checkpoint import (
    Checkpoint,
    checkpoint_folder,
    stored_settings,
)
from pesbench.files.fingerprint import family_modules, stage_fingerprint
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.metrics.stability import (
    internal_degrees_of_freedom,
)
from pesbench.models.addresses import file_sha256
from pesbench.tasks.dynamics.recorder import read_segment
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.tasks.dynamics.shard import DynamicsRun
from pesbench.tasks.dynamics.stored import Trajectory
from pesbench.tasks.dynamics.writing import write_trajectories

CHECKPOINT_S = 60.0


def run(job: RunJob, *, checkpoint_s: float = CHECKPOINT_S) -> None:
    """Run the trajectories of some molecules with a model and write a trajectory file.

    Continues from its checkpoint if an earlier call was killed, and ends bit for bit as an
    undisturbed one on a CPU.

    Args:
        job: Items are ids of molecules; their geometries in the scan set are where relaxation
            starts.
        checkpoint_s: Seconds between two checkpoints; decides no number.

    Raises:
        UserError: settings that make no sense, no such molecule or scan set, a model without
            energies or forces, or a damaged checkpoint or one of other settings.
        HostError: the machine failed; a second call continues.
    """
    entry, settings = job.entry, job.settings.check()
    refuse_control(entry, "dynamics")
    with ScanSet(job.scan_set) as scan_set:
        systems = _chosen(scan_set, job.items)
        of_set = scan_set.name, scan_set.sha256
    plan = _planned(systems, settings)
    wanted = {
        "model": entry.deciding(),
        "scan_set_sha256": of_set[1],
        "systems": [system.id for system in systems],
        "dynamics": asdict(settings),
        **_reference(settings),
        "device": job.device,
        "threads": job.threads,
        "code": stage_fingerprint(__name__, *family_modules(entry.families)),
    }
    _refuse_others(job.out, wanted)
    checkpoint = Checkpoint(job.out, wanted)
    checkpoint.verify()
    with PatientWorker(
        entry,
        {trajectory.name: trajectory.system for trajectory in plan},
        scan_set=job.scan_set,
        device=job.device,
        threads=job.threads,
        timeout_s=entry.timeout_s,
        environment=job.environment,
    ) as worker:
        spent = Spent.resume(checkpoint, worker)
        shard = DynamicsRun(
            entry, systems, plan, settings, worker, checkpoint, spent, checkpoint_s, job.scan_set
        )
        info = shard.run()
        ran = (Status.OK, Status.ALARM)
        answered = {one.system for one in shard.trajectories if one.status in ran}
        known = [system for system in systems if system.id in answered]
        measured = measured_precision(shard.evaluator, info, known)
        worker.close()
    made = results_attributes(entry, of_set, info, shard.evaluator, spent, job.threads, measured)
    write_trajectories(
        job.out,
        shard.trajectories,
        (checkpoint.read(piece, read_segment) for piece in range(1, checkpoint.count)),
        timestep_fs=settings.timestep_fs,
        store_every=settings.store_every,
        attributes=made
        | {
            "settings": asdict(settings),
            "n_steps": settings.n_steps,
            "masses": "ase.data.atomic_masses",
        },
    )
    checkpoint.remove()


def _reference(settings: DynamicsSettings) -> dict[str, str]:
    """What the frames of `reference_frames` are, of which the settings hold the name alone.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    if settings.reference_frames is None:
        return {}
    path = Path(settings.reference_frames)
    for _ in frames_of_file(path):
        pass
    return {"reference_frames_sha256": file_sha256(path)}


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
            degrees_of_freedom=internal_degrees_of_freedom(system.positions),
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
