"""Family `so3lr` against so3krates-torch's own ASE calculator."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from pesbench.core.errors import UserError
from pesbench.core.interface import (
    Batch,
    DeviceOutOfMemoryError,
    Result,
    Status,
    check_result,
    molecules_batch,
)
from pesbench.core.systems import System
from pesbench.engine.evaluator import why_unsupported
from pesbench.models import registry
from pesbench.models.addresses import file_sha256
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.so3lr.model import SO3LRModel
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config import read_models

REPO = Path(__file__).parents[2]
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}  # eV and eV/Å; a float32 energy has steps of 1e-4
# name, total charge, multiplicity: singlets, radicals, ions, a triplet, a lone atom
STATES = [
    ("CH3CH2OH", 0, 1), ("C6H6", 0, 1), ("CH3", 0, 2), ("H2O", 1, 2), ("SH2", -1, 2), ("O2", 0, 3),
    ("HCl", 0, 1), ("O", 0, 3),
]  # fmt: skip


@cache
def load(dtype: str = "float64", **settings: object) -> SO3LRModel:
    base = {"pretrained": "so3lr", "dtype": dtype, "cutoff_lr_angstrom": 12.0}
    entry = ModelEntry("so3lr", "so3lr", base | settings)
    model = registry.load(entry, scan_set=None, device="cpu")
    assert isinstance(model, SO3LRModel)
    return model


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    atoms = [molecule(name) if len(name) > 1 else Atoms(name) for name, _, _ in STATES]
    return molecules_batch(
        [one.positions + rng.normal(scale=0.1, size=one.positions.shape) for one in atoms],
        [one.numbers for one in atoms],
        [charge for _, charge, _ in STATES],
        [spin for _, _, spin in STATES],
    )


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest):
    """The calculator of the package changes torch's default precision, and needs it."""
    before = torch.get_default_dtype()
    yield request.param
    torch.set_default_dtype(before)


def own(batch: Batch, system: int, dtype: str) -> tuple[float, np.ndarray]:
    """Energy and forces by the package's own calculator."""
    from so3krates_torch.calculator.so3 import SO3LRCalculator

    mine = batch.system == system
    atoms = Atoms(
        batch.numbers[mine],
        batch.positions[mine],
        cell=batch.cell[system],
        pbc=batch.pbc[system],
        info={
            "charge": int(batch.charge[system]),
            "total_spin": (int(batch.spin[system]) - 1) / 2,
        },
        calculator=SO3LRCalculator(default_dtype=dtype),
    )
    return atoms.get_potential_energy(), atoms.get_forces()


def differences(one: Result, other: Result) -> float:
    return max(np.abs(one.energies - other.energies).max(), np.abs(one.forces - other.forces).max())


def test_energies_and_forces_are_those_of_the_package(batch: Batch, dtype: str) -> None:
    result = load(dtype).evaluate(batch)
    assert result.status == (Status.OK,) * len(STATES)
    assert np.abs(result.forces).max() > 1
    for s in range(batch.n_systems):
        energy, forces = own(batch, s, dtype)
        assert result.energies[s] == pytest.approx(energy, abs=TOLERANCE[dtype])
        np.testing.assert_allclose(
            result.forces[batch.system == s], forces, atol=TOLERANCE[dtype], err_msg=str(STATES[s])
        )


def test_precision_is_that_of_the_entry_whatever_is_the_default(batch: Batch) -> None:
    assert torch.get_default_dtype() is torch.float32
    model = load("float64")
    assert model.info.dtype == "float64"
    found = model.evaluate(batch)
    torch.set_default_dtype(torch.float64)
    try:
        again = model.evaluate(batch)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found.forces, again.forces)
    assert differences(found, load("float32").evaluate(batch)) > 1e-8


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_single_is_batched_in_any_order(batch: Batch, dtype: str) -> None:
    model = load(dtype)
    together = model.evaluate(batch)
    for s in range(batch.n_systems):
        alone = model.evaluate(batch.select([s]))
        np.testing.assert_allclose(alone.energies[0], together.energies[s], atol=TOLERANCE[dtype])
        np.testing.assert_allclose(
            alone.forces, together.forces[batch.system == s], atol=TOLERANCE[dtype]
        )
    order = np.random.default_rng(1).permutation(batch.n_systems)
    mixed = model.evaluate(batch.select(order))
    np.testing.assert_allclose(mixed.energies, together.energies[order], atol=TOLERANCE[dtype])


def test_large_molecules_have_the_same_neighbours(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load("float64")
    found = model.evaluate(batch)
    monkeypatch.setattr("pesbench.models.families.so3lr.model.MOST_ATOMS", 2)
    assert differences(model.evaluate(batch), found) < 1e-11


def test_spin_is_half_the_unpaired_electrons(batch: Batch) -> None:
    """The network reads S: a multiplicity in its place would make a triplet of every singlet."""
    inputs = load()._graphs(batch)
    assert inputs["total_spin"].tolist() == [(spin - 1) / 2 for _, _, spin in STATES]
    assert inputs["total_charge"].tolist() == [charge for _, charge, _ in STATES]


def test_charge_and_spin_change_the_energy(batch: Batch) -> None:
    model = load()
    radical = batch.select([2])
    energies = [
        model.evaluate(replace(radical, charge=np.array([charge]), spin=np.array([spin]))).energies
        for charge, spin in [(0, 2), (0, 4), (1, 1), (-1, 1), (0, 1)]
    ]
    assert len({round(float(energy[0]), 4) for energy in energies}) == 5


def test_it_does_not_matter_where_a_molecule_is(batch: Batch) -> None:
    """Nor does the memory of the search for neighbours grow with the distance."""
    far = replace(batch, positions=batch.positions + 1e5)
    assert differences(load().evaluate(batch), load().evaluate(far)) < 1e-6


def test_a_periodic_system_has_its_images(dtype: str) -> None:
    crystal = bulk("NaCl", "rocksalt", 5.6)
    crystal.numbers = [9, 17]
    crystal.rattle(0.1, seed=0)
    batch = atoms_batch([crystal])
    result = load(dtype).evaluate(batch)
    energy, forces = own(batch, 0, dtype)
    assert result.energies[0] == pytest.approx(energy, abs=TOLERANCE[dtype])
    np.testing.assert_allclose(result.forces, forces, atol=TOLERANCE[dtype])


def test_the_long_range_cutoff_is_that_of_the_entry(batch: Batch) -> None:
    far = load(cutoff_lr_angstrom=1000.0)
    assert far.info.details["cutoff_lr_angstrom"] == 1000.0
    assert differences(load().evaluate(batch), far.evaluate(batch)) > 1e-4


def test_what_it_does_not_know_is_unsupported() -> None:
    info = load().info
    assert info.elements == {1, 6, 7, 8, 9, 15, 16, 17}
    assert info.charges
    assert info.spins
    bromide = System("a", np.array([35, 1]), np.zeros((2, 3)), np.array([[0, 1]]))
    assert why_unsupported(bromide, info) == "unknown elements: Br"


def test_the_entry_names_the_network_of_the_package() -> None:
    entry = read_models(REPO / "config/models.yaml")["so3lr"]
    assert entry.settings["sha256"] == load().info.details["weights_sha256"]
    with pytest.raises(UserError, match="carries another file of this name, with sha256 b5145564"):
        load(sha256="0" * 64)


def test_a_position_that_is_not_finite_is_no_ok(batch: Batch) -> None:
    """The search for neighbours leaves such an atom out, and the network answers."""
    positions = batch.positions.copy()
    positions[np.flatnonzero(batch.system == 1)[0], 2] = np.nan
    broken = replace(batch, positions=positions)
    answered = load().evaluate(broken)
    assert answered.status == (Status.OK,) * batch.n_systems
    checked = check_result(broken, answered)
    expected = [Status.NONFINITE if s == 1 else Status.OK for s in range(batch.n_systems)]
    assert list(checked.status) == expected


def test_memory_of_the_device_runs_out(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load()

    def full(_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(model, "_network", full)
    monkeypatch.setattr(model, "_graphs", lambda _: {})
    with pytest.raises(DeviceOutOfMemoryError, match=r"Tried to allocate 2 GiB$"):
        model.evaluate(batch)


def test_other_networks_are_one_line(tmp_path: Path) -> None:
    network = load()._network
    path = tmp_path / "wrong.model"
    cases = [
        (torch.nn.Linear(2, 2), "holds a torch.nn.modules.linear.Linear, no network of so3krates"),
        (network.zbl_repulsion, "a ZBLRepulsion cannot be run here; give an SO3LR with one head"),
    ]
    for wrong, said in cases:
        torch.save(wrong, path)
        settings = {"weights": str(path), "sha256": file_sha256(path), "dtype": "float32"}
        with pytest.raises(UserError) as caught:
            registry.load(ModelEntry("mine", "so3lr", settings), scan_set=None, device="cpu")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_weight_file_is_the_network_of_the_package(batch: Batch) -> None:
    from importlib.resources import as_file, files

    with as_file(files("so3krates_torch") / "pretrained/so3lr/so3lr.model") as path:
        settings = {
            "weights": str(path), "sha256": file_sha256(path), "dtype": "float64",
            "cutoff_lr_angstrom": 12.0,
        }  # fmt: skip
        found = registry.load(ModelEntry("mine", "so3lr", settings), scan_set=None, device="cpu")
        np.testing.assert_array_equal(
            found.evaluate(batch).forces, load("float64").evaluate(batch).forces
        )
