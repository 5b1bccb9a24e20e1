"""Processor time of one gradient of ethanol at some density functionals (docs/transfer.md).

    python tests/helpers/price_levels.py [--steps]

With `--steps`, instead, of a step of training at the sizes of config/transfer_training.yaml.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / "workflow"))

from ase import Atoms  # noqa: E402

from pesbench.files.molecules.reading import read_systems  # noqa: E402
from pesbench.models.as_calculator import atoms_batch  # noqa: E402
from pesbench.models.families.pyscf import KohnSham, PySCFModel  # noqa: E402

LEVELS = (
    ("wb97x", "6-31g*", 2),
    ("r2scan", "def2-svp", 3),
    ("pbe", "def2-svp", 2),
    ("wb97x", "6-31g*", 3),
)


def steps() -> None:
    """Print processor times of a step of 16 frames with one thread, and of MACE also of 8."""
    import numpy as np
    import torch

    from pesbench.models.families.testbed.network import AttentionPotential
    from pesbench.models.families.testbed.settings import PotentialSettings
    from pesbench.testbed.settings import TrainingSettings
    from pesbench.testbed.training import Training
    from pesbench.training.atomic import AtomicPretraining
    from pesbench.training.feature_networks import MACEFeatures, TestbedFeatures
    from pesbench.training.mace_settings import MACETraining
    from pesbench.training.mace_start import graphs_of, joined, neighbours, untrained
    from pesbench.training.sampling import ENERGY, FORCES
    from pesbench.training.transfer_plan import read_transfer_plan

    torch.set_num_threads(1)
    plan = read_transfer_plan(REPO / "config/transfer_training.yaml")
    systems = {one.id: one for one in read_systems(REPO / "resources/data_study/molecules.extxyz")}
    rng, frames, epochs = np.random.default_rng(0), [], 4
    for k in range(96):
        system = systems[plan.molecules[k % len(plan.molecules)]]
        atoms = Atoms(system.numbers, system.positions)
        atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
        atoms.info[ENERGY], atoms.arrays[FORCES] = 0.0, np.zeros((len(atoms), 3))
        frames.append(atoms)
    elements = sorted({int(z) for atoms in frames for z in atoms.numbers})
    switches = PotentialSettings.of(plan.potential, "plan")
    how = MACETraining()
    mace = untrained(how, elements, neighbours(frames, how.r_max), 1)
    schedule = TrainingSettings(epochs=epochs, patience_epochs=epochs)
    with tempfile.TemporaryDirectory() as folder:
        given = frames, frames[:16]
        runs = {
            f"{name}, charges and bond orders": AtomicPretraining(
                name, network, *given, "GFN2-xTB", epochs, Path(folder) / name, {}
            )
            for name, network in (
                ("testbed", TestbedFeatures(AttentionPotential(switches))),
                ("MACE", MACEFeatures(mace)),
            )
        }
        name = "testbed, energies and forces"
        runs[name] = Training("m", switches, schedule, *given, Path(folder) / "m")
        for name, run in runs.items():
            start = time.process_time()
            run.run()
            print(f"{name}: {(time.process_time() - start) / (6 * epochs):.3f} s", flush=True)
    graphs = list(graphs_of(mace, frames))
    for size in (8, 16):
        batch = joined(graphs[:size])
        for k in range(11):
            if k == 1:  # the first prepares memory
                start = time.process_time()
            forces = mace(batch, training=True, compute_force=True)["forces"]
            forces.square().mean().backward()
        spent = (time.process_time() - start) / 10
        print(f"MACE, energies and forces, {size} frames: {spent:.3f} s", flush=True)


def main() -> None:
    """Print a line for each level; the first includes the loading of PySCF."""
    systems = {one.id: one for one in read_systems(REPO / "resources/mini/molecules.extxyz")}
    batch = atoms_batch([Atoms(systems["ethanol"].numbers, systems["ethanol"].positions)])
    for functional, basis, grid in LEVELS:
        model = PySCFModel(KohnSham(functional, "none", basis, grid_level=grid, max_memory_mb=1000))
        start = time.process_time()
        (status,) = model.evaluate(batch).status
        spent = time.process_time() - start
        print(f"{functional}/{basis}, grid {grid}: {spent:.1f} s ({status.value})", flush=True)


if __name__ == "__main__":
    steps() if "--steps" in sys.argv else main()
