"""Dynamics of a potential that was just trained, from the geometries of its training."""

from __future__ import annotations

from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.core.jobs import RunJob
from pesbench.files.scan_set import ScanSet
from pesbench.files.scan_set_systems import scan_set_systems
from pesbench.models.addresses import file_sha256
from pesbench.models.models_file import make_entry
from pesbench.tasks.dynamics.run import run
from pesbench.tasks.dynamics.settings import DynamicsSettings
from pesbench.training.data_plan import DataPlan, DataTraining


def run_dynamics(
    plan: DataPlan, training: DataTraining, weights: Path, scan_set: Path, out: Path, threads: int
) -> None:
    """Run the task `dynamics` with a potential as its plan says; a killed call is continued.

    Args:
        plan: The plan.
        training: Which potential of it.
        weights: Its weights, made here: loading them runs code of the package that trained them.
        scan_set: Molecules in the geometries of the training.
        out: File of trajectories.
        threads: Of the model.

    Raises:
        UserError: a file is missing or damaged.
        HostError: the machine failed; a second call continues.
    """
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; make it with `pesbench train-data`")
    keys = {"family": training.family, "weights": str(weights.resolve()), "dtype": "float64"}
    entry = make_entry(training.name, keys | {"sha256": file_sha256(weights)})
    with ScanSet(scan_set) as opened:
        molecules = [system.id for system in scan_set_systems(opened)]
    asked = DynamicsSettings(
        temperatures_k=(plan.harvest.temperature_k,),
        replicates=plan.harvest.replicates,
        duration_ps=plan.harvest.duration_ps,
    )
    run(RunJob(entry, scan_set, molecules, asked, out, device="cpu", threads=threads))
