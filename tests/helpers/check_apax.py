"""Family `apax` against apax itself, in an environment that has it.

    <python of the environment> tests/helpers/check_apax.py FOLDER

prints one line of JSON, which `tests/models/test_apax.py` reads. FOLDER takes some files.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
import yaml
from apax.config.train_config import Config
from apax.md.ase_calc import ASECalculator
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, Result
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.apax.archive import BEST, CONFIG, pack
from pesbench.models.families.apax.family import FAMILY
from pesbench.models.families.apax.model import ApaxModel, load_apax
from pesbench.models.families.apax.switched import prefactor, switched, taken_out
from pesbench.models.families.apax.train import MODEL, TRAINED, train
from pesbench.models.weights import read_weights

WEIGHTS = Path(__file__).parents[2] / "resources" / "weights"
ETHANOL = molecule("CH3CH2OH")
ZBL = {"name": "zbl", "r_max": 1.5}
COMPILED = "/jax/core/compile/backend_compile_duration"
NOTHING = np.zeros((1, 3, 3))


def config(*terms: dict[str, Any], **model: Any) -> dict[str, Any]:
    """A small network: what is compared does not depend on its size."""
    return {
        "n_epochs": 2,
        "data": {"directory": "", "experiment": "m", "data_path": "frames"},
        "model": {
            "name": "gmnn",
            "basis": {"name": "bessel", "n_basis": 8},
            "nn": [16, 16],
            "empirical_corrections": list(terms),
            **model,
        },
        "loss": [{"name": "energy"}, {"name": "forces", "weight": 4.0}],
    }


def network(said: dict[str, Any], *, own: bool) -> Any:
    """A network of apax's builder, or of ours with the switches of the config."""
    plain, readout, scale = taken_out(said)
    model = Config.model_validate(plain).model
    builder = model.get_builder() if own else switched(model.get_builder(), readout, scale)
    scales = np.where(np.isin(np.arange(119), [1, 6, 8]), 1.5, 1.0)
    shifts = np.where(np.isin(np.arange(119), [1, 6, 8]), -10.0, 0.0)
    return builder(model.model_dump()).build_energy_derivative_model(scale=scales, shift=shifts)


def inputs(atoms: Atoms) -> tuple[Any, ...]:
    pairs = np.argwhere(~np.eye(len(atoms), dtype=bool)).T.astype(np.int16)
    return (
        atoms.positions, atoms.numbers.astype(np.int16), pairs, np.zeros((3, 3)),
        np.zeros((pairs.shape[1], 3)),
    )  # fmt: skip


def largest(one: Any, other: Any) -> float:
    differences = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - b).max()), one, other)
    return max(jax.tree.leaves(differences))


def stored(said: dict[str, Any], params: Any, folder: Path) -> Path:
    """The folder of a model as apax leaves it."""
    folder.mkdir()
    (folder / CONFIG).write_text(yaml.safe_dump(said))
    with ocp.CheckpointManager((folder / BEST).resolve()) as manager:
        manager.save(0, args=ocp.args.StandardSave({"model": {"params": params}}))
    return folder


def loaded(folder: Path, dtype: str = "float64") -> ApaxModel:
    pack(folder, folder.with_suffix(".zip"))
    return load_apax({"dtype": dtype}, read_weights(folder.with_suffix(".zip"), None, FAMILY))


def refused(function: Callable[[], Any]) -> str:
    try:
        function()
    except UserError as error:
        return str(error)
    return ""


def moved(seed: int, size: float = 0.05) -> Atoms:
    atoms = ETHANOL.copy()
    atoms.rattle(size, seed=seed)
    return atoms


def differences(one: Result, other: Result) -> tuple[float, float]:
    return largest(one.energies, other.energies), largest(one.forces, other.forces)


# --- the switches --------------------------------------------------------------------------------


def check_switches(found: dict[str, Any], folder: Path) -> Path:
    """apax's own model beside ours; the folder of the former."""
    said = config(ZBL)
    key, given = jax.random.PRNGKey(3), inputs(moved(1))
    own, ours = (network(said, own=which) for which in (True, False))
    params = jax.jit(own.init)(key, *given)
    found["parameters differ"] = largest(params, jax.jit(ours.init)(key, *given))
    wanted, answer = jax.jit(own.apply)(params, *given), jax.jit(ours.apply)(params, *given)
    found["energy differs"] = largest(wanted["energy"], answer["energy"])
    found["force differs"] = largest(wanted["forces"], answer["forces"])
    pair = Atoms("CC", [(0, 0, 0), (0, 0, 0.5)])
    without = network(config(), own=True).apply(params, *inputs(pair))["energy"]
    found["prefactors"] = {}
    for scale in (0.1, 1.0, 14.4):
        other = network(config(ZBL | {"initial_rep_scale": scale}), own=False)
        start = other.init(key, *inputs(pair))
        term = start["params"]["energy_model"]["corrections_0"]
        found["prefactors"][scale] = prefactor(term)
        mixed = {"params": {"energy_model": params["params"]["energy_model"] | {
            "corrections_0": term}}}  # fmt: skip
        found[f"zbl at {scale}"] = float(other.apply(mixed, *inputs(pair))["energy"] - without)
    return stored(said, params, folder / "own")


def check_swish(found: dict[str, Any], folder: Path) -> None:
    """Two equal atoms have equal scalars h: E = 2 (1.5 h − 10), then 2 (1.5 h/(1 + e^−h) − 10)."""
    pair = atoms_batch([Atoms("OO", [(0, 0, 0), (0, 0, 1.1)])])
    key = jax.random.PRNGKey(4)
    params = network(config(), own=True).init(key, *inputs(moved(1)))
    linear = loaded(stored(config(), params, folder / "linear"))
    said = config(readout_activation="swish")
    bounded = loaded(stored(said, params, folder / "bounded"))
    h = (linear.evaluate(pair).energies[0] / 2 + 10) / 1.5
    wanted = 2 * (1.5 * h / (1 + np.exp(-h)) - 10)
    found["swish"] = abs(float(bounded.evaluate(pair).energies[0]) - wanted)
    assert abs(h) > 1e-3


# --- the adapter ---------------------------------------------------------------------------------


def check_adapter(found: dict[str, Any], folder: Path) -> None:
    single, double = loaded(folder, "float32"), loaded(folder, "float64")
    close = moved(2)
    close.set_distance(0, 1, 0.6)
    frames = [moved(3), close, molecule("H2O"), Atoms("O"), molecule("CH4")]
    calculator = ASECalculator(folder)
    answer = single.evaluate(atoms_batch(frames[:2]))
    for frame in frames[:2]:
        frame.calc = calculator
    energies = np.array([frame.get_potential_energy() for frame in frames[:2]])
    forces = np.concatenate([frame.get_forces() for frame in frames[:2]])
    found["energy, calculator"] = largest(answer.energies, energies)
    found["force, calculator"] = largest(answer.forces, forces)
    programs = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, **more: programs.append(event) if event == COMPILED else None
    )
    batch = atoms_batch(frames)
    together = double.evaluate(batch)
    found["compiled"] = len(programs)
    more = atoms_batch([*frames[::-1], *frames[2:]])
    last = double.evaluate(more.select(range(5)))
    for count in (6, 7, 8):
        double.evaluate(more.select(range(count)))
    found["compiled again"] = len(programs) - found["compiled"]
    order = [4, 3, 2, 1, 0]
    back = _rearranged(last, batch.select(order), order)
    found["energy, reversed"], found["force, reversed"] = differences(together, back)
    alone = [double.evaluate(batch.select([k])) for k in (0, 3)]
    atoms = np.isin(batch.system, [0, 3])
    found["energy, alone"] = largest(
        together.energies[[0, 3]], np.concatenate([one.energies for one in alone])
    )
    found["force, alone"] = largest(
        together.forces[atoms], np.concatenate([one.forces for one in alone])
    )
    (described,) = double.describe(batch).values()
    parts = [double.describe(batch.select([k]))["representation"].values for k in range(5)]
    found["features, alone"] = largest(described.values, np.concatenate(parts))
    turned = batch_turned(batch)
    found["features, turned"] = largest(
        described.values, double.describe(turned)["representation"].values
    )
    found["features"] = [list(one) for one in described.irreps or ()]
    found["largest feature"] = float(np.abs(described.values).max())
    found["slope"] = _slope(double, close, 1, 2)


def batch_turned(batch: Batch) -> Batch:
    """The batch with all frames turned by 1 rad about (1, 2, 3)."""
    turned = Atoms(batch.numbers, batch.positions)
    turned.rotate(np.degrees(1.0), (1, 2, 3))
    return replace(batch, positions=turned.positions)


def _rearranged(result: Result, batch: Batch, order: list[int]) -> Result:
    """The answer for a batch whose systems stand in another order, in the first one."""
    assert result.energies is not None
    parts = [result.forces[batch.system == order.index(k)] for k in range(len(order))]
    energies = result.energies[[order.index(k) for k in range(len(order))]]
    return Result.ok(energies, np.concatenate(parts))


def _slope(model: ApaxModel, atoms: Atoms, atom: int, axis: int) -> float:
    """Difference of a force from the central difference of the energy, over the force."""
    step = 1e-4
    frames = [atoms.copy() for _ in range(2)]
    for frame, sign in zip(frames, (-1, 1), strict=True):
        frame.positions[atom, axis] += sign * step
    low, high = model.evaluate(atoms_batch(frames)).energies
    force = model.evaluate(atoms_batch([atoms])).forces[atom, axis]
    return abs(float(-(high - low) / (2 * step) - force)) / abs(float(force))


# --- a training ----------------------------------------------------------------------------------


def check_training(found: dict[str, Any], folder: Path) -> None:
    for name, seeds in (("train", range(8)), ("valid", range(8, 10))):
        frames = []
        for seed in seeds:
            frame = moved(seed)
            rng = np.random.default_rng(seed)
            frame.calc = SinglePointCalculator(
                frame, energy=-100 + rng.normal(), forces=rng.normal(size=(9, 3))
            )
            frames.append(frame)
        write(folder / f"{name}.extxyz", frames)
    said = config(ZBL | {"r_max": 3.5, "initial_rep_scale": 1.0}, readout_activation="swish")
    said |= {
        "ckpt_interval": 1,
        "data": {
            "directory": str(folder), "experiment": "apax", "batch_size": 4, "valid_batch_size": 2,
            "train_data_path": str(folder / "train.extxyz"),
            "val_data_path": str(folder / "valid.extxyz"),
        },
    }  # fmt: skip
    train({"config": said, "elements": [1, 6, 8]}, folder)
    told = json.loads((folder / TRAINED).read_text())
    model = loaded(folder / MODEL)
    assert np.isfinite(model.evaluate(atoms_batch([ETHANOL])).energies).all()
    keys = ("readout", "zbl_prefactor", "zbl_cutoff_angstrom")
    found |= {
        "epochs": len(told["history"]),
        "initial": told["repulsion"]["initial"],
        "trained": told["repulsion"]["best"]["prefactor"],
        "details": {key: model.info.details[key] for key in keys},
        "elements": sorted(model.info.elements or ()),
        "bytes": (folder / MODEL).with_suffix(".zip").stat().st_size,
    }


def check_refusals(found: dict[str, Any], own: Path) -> None:
    said = yaml.safe_load((own / CONFIG).read_text())
    said["model"]["basis"]["n_basis"] = "many"
    (own / CONFIG).write_text(yaml.safe_dump(said))
    found["unreadable"] = refused(lambda: loaded(own))
    said["model"]["readout_activation"] = "relu"
    (own / CONFIG).write_text(yaml.safe_dump(said))
    found["another readout"] = refused(lambda: loaded(own))
    key = jax.random.PRNGKey(4)
    params = jax.tree.map(np.asarray, network(config(), own=True).init(key, *inputs(moved(1))))
    for what, change in (("shape", {"shape": [10**12]}), ("chunk", {"chunks": [10**9]})):
        folder = stored(config(), params, own.parent / f"large_{what}")
        _claim(next((folder / BEST).glob("*/default")), change)
        found[f"too large a {what}"] = refused(lambda folder=folder: loaded(folder))
    own_rows = params["params"]["energy_model"]["scale_shift"]
    own_rows |= {name: np.ones_like(rows) for name, rows in own_rows.items()}
    same = stored(config(), params, own.parent / "same")
    found["untrained"] = refused(lambda: loaded(same))


def _claim(checkpoint: Path, change: dict[str, Any]) -> None:
    """Change what a checkpoint says of its first array of one dimension."""
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": f"file://{checkpoint}/"}).result()
    for key in store.list().result():
        if key.endswith(b"/.zarray") and len((said := json.loads(store[key]))["shape"]) == 1:
            store[key] = json.dumps(said | change).encode()
            return
    raise AssertionError("no such array")


# --- its cost ------------------------------------------------------------------------------------


def check_cost(found: dict[str, Any], weights: Path) -> None:
    """Processor time of a frame of ethanol, alone and in batches of 32, in ms."""
    model = load_apax({"dtype": "float64"}, read_weights(weights, None, FAMILY))
    for count in (1, 32):
        batch = atoms_batch([moved(seed) for seed in range(count)])
        model.evaluate(batch)  # compiles
        start, rounds = time.process_time(), 20
        for _ in range(rounds):
            model.evaluate(batch)
        spent = (time.process_time() - start) / (rounds * count)
        found[f"ms of a frame in {count}"] = round(1e3 * spent, 2)


def main(folder: Path) -> None:
    """Print what is found."""
    found: dict[str, Any] = {}
    own = check_switches(found, folder)
    check_swish(found, folder)
    check_adapter(found, own)
    check_training(found, folder)
    check_refusals(found, own)
    for weights in sorted(WEIGHTS.glob("apax-*.zip"))[:1]:
        check_cost(found, weights)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
