"""Family `sevennet` against sevenn's own calculator; run by test_families.py where sevenn is.

Prints JSON: what was measured by check and checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from scipy.spatial.transform import Rotation
from sevenn.calculator import SevenNetCalculator
from sevenn.util import pretrained_name_to_path

from methanol import METHANOL
from pesbench.core.coordinates.bond import bond_scans
from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, Result
from pesbench.core.systems import System
from pesbench.files.evaluation import Evaluation
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.models.addresses import file_sha256
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.sevennet.model import SevenNetModel
from pesbench.models.families.sevennet.train import WEIGHTS, Training
from pesbench.models.registry import ModelEntry, load
from shards import evaluate_shard
from turning import turned_degrees

NAMES = ("CH3CH2OH", "CH4", "C6H6", "H2O", "CH3NO2", "CH3SH", "H")


def frames() -> list[Atoms]:
    """Molecules of several sizes, off their minima, one of them beyond the cutoff of itself."""
    found = [molecule(name) for name in NAMES]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.1, seed=seed)
    return [*found, Atoms("N2", [[0, 0, 0], [0, 0, 9]])]


def largest(first: Result, second: Result) -> tuple[float, float]:
    """Largest differences of energies in eV and of forces in eV/Å."""
    return (
        float(np.abs(first.energies - second.energies).max()),
        float(np.abs(first.forces - second.forces).max()),
    )


def joined(results: list[Result]) -> Result:
    return replace(
        results[0],
        energies=np.concatenate([one.energies for one in results]),
        forces=np.concatenate([one.forces for one in results]),
    )


def of_sevenn(images: list[Atoms], name: str, modal: str | None) -> tuple[np.ndarray, np.ndarray]:
    calculator = SevenNetCalculator(name, device="cpu", modal=modal)
    energies, forces = [], []
    for atoms in images:
        atoms = atoms.copy()
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    return np.array(energies), np.concatenate(forces)


def _load(settings: dict[str, Any]) -> SevenNetModel:
    if "weights" in settings:
        settings = {"sha256": file_sha256(Path(settings["weights"]))} | settings
    return load(ModelEntry("m", "sevennet", settings), scan_set=None, device="cpu")


def measure(name: str, modal: str | None = None) -> dict[str, Any]:
    """A checkpoint of the package, by every way of asking for the same."""
    images = frames()
    batch = atoms_batch(images)
    settings = {"pretrained": name} | ({"modal": modal} if modal else {})
    model = _load(settings)
    first, *_, last = [model.evaluate(batch) for _ in range(4)]
    energies, forces = of_sevenn(images, name, modal)
    alone = joined([model.evaluate(batch.select([s])) for s in range(batch.n_systems)])
    order = np.random.default_rng(0).permutation(batch.n_systems)
    mixed = model.evaluate(batch.select(order.tolist()))
    back = [mixed.forces[batch.select(order.tolist()).system == k] for k in np.argsort(order)]
    permuted = replace(
        mixed, energies=mixed.energies[np.argsort(order)], forces=np.concatenate(back)
    )
    far = model.evaluate(replace(batch, positions=batch.positions + 1000 / np.sqrt(3)))
    crystals = [bulk("NaCl", "rocksalt", 5.6), bulk("Si", cubic=True)]
    for seed, atoms in enumerate(crystals):
        atoms.rattle(0.05, seed=seed)
    periodic = model.evaluate(atoms_batch(crystals))
    of_crystals = of_sevenn(crystals, name, modal)
    info = model.info
    return {
        "of sevenn": largest(first, replace(first, energies=energies, forces=forces)),
        "of sevenn, periodic": largest(
            periodic, replace(periodic, energies=of_crystals[0], forces=of_crystals[1])
        ),
        "alone": largest(first, alone),
        "permuted": largest(first, permuted),
        "far away": largest(first, far),
        "first call": largest(first, last),
        "largest force": float(np.abs(first.forces).max()),
        "types": [str(first.energies.dtype), str(first.forces.dtype)],
        "statuses": sorted(set(first.status)),
        "info": [info.batched, info.charges, info.dtype, info.device],
        "elements": sorted(info.elements or ()),
        "sha256": info.details["weights_sha256"],
        "versions": [info.details["sevenn"], info.details["e3nn"]],
    }


def refusals(folder: Path) -> dict[str, str]:
    """What is said of what cannot be loaded."""
    other, text = folder / "other.pth", folder / "text.pth"
    torch.save({"model_state_dict": {}, "epoch": 3}, other)
    text.write_text("no weights\n")
    asked = {
        "another sha256": {"pretrained": "7net-0", "sha256": "0" * 64},
        "another package": {"weights": str(other)},
        "text": {"weights": str(text)},
        "no level": {"pretrained": "7net-mf-0"},
        "a wrong level": {"pretrained": "7net-mf-0", "modal": "SCAN"},
        "a level too many": {"pretrained": "7net-0", "modal": "PBE"},
    }
    return {case: _said(settings) for case, settings in asked.items()}


def _said(settings: dict[str, Any]) -> str:
    try:
        _load(settings)
    except UserError as error:
        return str(error)
    return "loaded"


def out_of_memory(batch: Batch) -> str:
    """What becomes of CUDA's plain RuntimeError."""

    class Full(torch.nn.Module):
        type_map, cutoff = {1: 0}, 5.0

        def set_is_batch_data(self, flag: bool) -> None: ...

        def forward(self, data: object) -> object:
            raise RuntimeError("CUDA out of memory. Tried to allocate\nmuch")

    try:
        SevenNetModel(Full(), torch.device("cpu"), {}).evaluate(batch)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def by_shard(folder: Path) -> dict[str, Any]:
    """A molecule that the network knows and one of polonium, through a worker to a file."""
    scans = []
    for name, numbers in (("known", [6, 8]), ("polonium", [6, 84])):
        atoms = Atoms(numbers, [[0, 0, 0], [0, 0, 1.3]])
        system = System(name, atoms.numbers.astype(np.int64), atoms.positions, np.array([[0, 1]]))
        (scan,) = bond_scans(system)
        zero = np.zeros(scan.n_frames)
        scans.append(replace(scan, energy=zero, forces=np.zeros(scan.positions.shape)))
    path, out = folder / "set.h5", folder / "out.h5"
    write_scan_set(path, scans, name="set", level_of_theory="none", source="tests", provenance={})
    entry = ModelEntry("7net-0", "sevennet", {"pretrained": "7net-0", "batch_size": 50})
    with ScanSet(path) as scan_set:
        ids = scan_set.ids
    evaluate_shard(entry, path, ids, out, device="cpu")
    with Evaluation(out) as evaluation:
        return {i: [evaluation.scan(i).status, evaluation.scan(i).message] for i in ids}


def described(name: str) -> dict[str, Any]:
    """Layers and irreps of a checkpoint, and the degrees that turn as they should."""
    atoms = frames()[0]
    rotations = Rotation.random(4, random_state=0).as_matrix()
    turned = [Atoms(atoms.numbers, atoms.positions @ one.T) for one in rotations]
    model = _load({"pretrained": name})
    found = model.describe(atoms_batch(turned))
    both = model.describe(atoms_batch([frames()[3], turned[0]]))
    last = list(found)[-2]
    alone = found[last].values[: len(atoms)]
    return {
        "layers": {layer: one.irreps for layer, one in found.items()},
        "turned": sorted(turned_degrees(found, rotations, 1e-3)),
        "alone": float(
            np.abs(both[last].values[-len(atoms) :] - alone).max() / np.abs(alone).max()
        ),
    }


JOB_OF_TEST: dict[str, Any] = {
    "l_max": 1, "channels": 4, "layers": 2, "cutoff_angstrom": 3.0, "epochs": 8,
    "batch_frames": 3, "learning_rate": 0.01, "final_share": 0.1, "energy_weight": 1.0,
    "force_weight": 1.0, "seed": 3, "atoms_ev": {"1": -10.0, "6": -50.0, "8": -100.0},
}  # fmt: skip


def labelled(count: int, seed: int) -> list[Atoms]:
    """Methanol with springs to its minimum."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        away = rng.normal(scale=0.05, size=(6, 3))
        atoms = Atoms(METHANOL.numbers, METHANOL.positions + away)
        atoms.info = {"REF_energy": -190.0 - 12.0 + 5 * float((away**2).sum())}
        atoms.arrays["REF_forces"] = -10 * away
        found.append(atoms)
    return found


class Killed(Training):
    """A training that is killed in its fourth epoch."""

    def _epoch(self, epoch: int) -> float:
        if epoch == 3:
            raise KeyboardInterrupt
        return super()._epoch(epoch)


def trained(folder: Path) -> dict[str, Any]:
    """A training, and the same one killed after three epochs and continued; its checkpoint."""
    done = []
    for killed in (False, True):
        work = folder / f"killed {killed}"
        work.mkdir()
        for part, count, seed in (("train", 7, 0), ("valid", 3, 1)):
            write(work / f"{part}.extxyz", labelled(count, seed), format="extxyz")
        if killed:
            with contextlib.suppress(KeyboardInterrupt):
                Killed(JOB_OF_TEST, work).run()
        again = Training(JOB_OF_TEST, work)
        again.run()
        done.append((again, torch.load(work / WEIGHTS, weights_only=False)["model_state_dict"]))
    (whole, one), (resumed, other) = done
    weights = whole.folder / WEIGHTS
    model = _load({"weights": str(weights)})
    tested = labelled(3, 1)
    result = model.evaluate(atoms_batch(tested))
    wanted = np.array([atoms.info["REF_energy"] for atoms in tested])
    return {
        "same": one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one),
        "losses": [[epoch["loss"] for epoch in each.history] for each in (whole, resumed)],
        "error told": whole.history[-1]["energy_mae_mev_per_atom"] / 1000,
        "error found": float(np.abs(result.energies - wanted).mean()) / 6,
        "layers": {k: v.irreps for k, v in model.describe(atoms_batch(tested)).items()},
    }


def main() -> None:
    """Measure, and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = _load({"weights": pretrained_name_to_path("7net-0")})
        batch = atoms_batch(frames())
        of_package = _load({"pretrained": "7net-0"}).evaluate(batch)
        found = {
            "7net-0": measure("7net-0"),
            "7net-l3i5": measure("7net-l3i5"),
            "7net-mf-0": measure("7net-mf-0", "PBE"),
            "a file of one's own": largest(own.evaluate(batch), of_package),
            "refusals": refusals(folder),
            "out of memory": out_of_memory(batch),
            "shard": by_shard(folder),
            "described": {name: described(name) for name in ("7net-0", "7net-l3i5")},
            "trained": trained(folder),
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
