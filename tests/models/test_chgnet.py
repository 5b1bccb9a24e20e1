"""Family `chgnet` against chgnet's own ASE calculator."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import atomic_numbers

from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, DeviceOutOfMemoryError, Result, Status, molecules_batch
from pesbench.core.systems import System
from pesbench.engine.evaluator import why_unsupported
from pesbench.models import registry
from pesbench.models.as_calculator import atoms_batch
from pesbench.models.families.chgnet.model import CHGNetModel
from pesbench.models.registry import ModelEntry
from pesbench.models.vacuum_box import boxed
from pesbench.orchestration.config import read_models

REPO = Path(__file__).parents[2]
NETWORKS = ("0.3.0", "0.2.0", "r2scan")
EV, EV_PER_ANGSTROM = 1e-5, 5e-5  # float32; energies are about 100 eV
# beside others: no angle (H2), one atom, and atoms that do not see one another
ATOMS = [
    *(molecule(name) for name in ("CH3CH2OH", "H2", "C6H6", "CH3", "CH3SCH3", "HCl")),
    Atoms("H"),
    Atoms("OH2", [(0, 0, 0), (0, 0, 9), (0, 9, 0)]),
]


@cache
def load(pretrained: str = "0.3.0", **settings: object) -> CHGNetModel:
    base = {"pretrained": pretrained, "vacuum_box_angstrom": 30.0}
    entry = ModelEntry("chgnet", "chgnet", base | settings)
    model = registry.load(entry, scan_set=None, device="cpu")
    assert isinstance(model, CHGNetModel)
    return model


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    positions = [one.positions + rng.normal(scale=0.1, size=one.positions.shape) for one in ATOMS]
    count = len(ATOMS)
    return molecules_batch(positions, [one.numbers for one in ATOMS], [0] * count, [1] * count)


def own(batch: Batch, pretrained: str) -> Result:
    """What the package's own calculator finds for molecules in their boxes."""
    from chgnet.model import CHGNet, CHGNetCalculator

    network = CHGNet.load(model_name=pretrained, use_device="cpu", verbose=False)
    calculator = CHGNetCalculator(network, use_device="cpu", on_isolated_atoms="ignore")
    energies, forces = [], []
    for s in range(batch.n_systems):
        positions = batch.positions[batch.system == s]
        cell, pbc = (batch.cell[s], batch.pbc[s]) if batch.pbc[s].any() else boxed(positions, 30.0)
        atoms = Atoms(batch.numbers[batch.system == s], positions, cell=cell, pbc=pbc)
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    count = batch.n_systems
    return Result(np.array(energies), np.concatenate(forces), (Status.OK,) * count, ("",) * count)


def assert_alike(one: Result, other: Result) -> None:
    np.testing.assert_allclose(one.energies, other.energies, atol=EV)
    np.testing.assert_allclose(one.forces, other.forces, atol=EV_PER_ANGSTROM)


@pytest.mark.parametrize("pretrained", NETWORKS)
def test_energies_and_forces_are_those_of_the_package(batch: Batch, pretrained: str) -> None:
    result = load(pretrained).evaluate(batch)
    assert np.abs(result.forces).max() > 1
    assert result.status == (Status.OK,) * len(ATOMS)
    assert_alike(result, own(batch, pretrained))


@pytest.mark.parametrize("pretrained", NETWORKS)
def test_single_is_batched_in_any_order(batch: Batch, pretrained: str) -> None:
    """Also beside molecules without an angle, whose bonds the network treats in another way."""
    model = load(pretrained)
    together = model.evaluate(batch)
    order = np.random.default_rng(1).permutation(batch.n_systems)
    mixed = model.evaluate(batch.select(order))
    np.testing.assert_allclose(mixed.energies, together.energies[order], atol=EV)
    for s in range(batch.n_systems):
        alone = model.evaluate(batch.select([s]))
        np.testing.assert_allclose(alone.energies[0], together.energies[s], atol=EV)
        np.testing.assert_allclose(
            alone.forces, together.forces[batch.system == s], atol=EV_PER_ANGSTROM
        )


def test_forces_are_the_gradient_of_the_energy(batch: Batch) -> None:
    model = load()
    one = batch.select([0])
    forces = model.evaluate(one).forces
    step = np.zeros_like(forces)
    step[2, 1] = 0.002
    up, down = (
        float(model.evaluate(replace(one, positions=one.positions + sign * step)).energies[0])
        for sign in (1, -1)
    )
    assert (down - up) / 0.004 == pytest.approx(forces[2, 1], abs=0.02)
    assert abs(forces[2, 1]) > 0.5


def test_the_box_does_not_matter(batch: Batch) -> None:
    small, large = (load(vacuum_box_angstrom=box).evaluate(batch) for box in (10.0, 100.0))
    assert_alike(small, large)
    assert_alike(small, load().evaluate(replace(batch, positions=batch.positions - 77.0)))


def test_a_crystal_keeps_its_cell() -> None:
    crystal = bulk("NaCl", "rocksalt", 5.6)
    crystal.rattle(0.1, seed=0)
    batch = atoms_batch([crystal])
    assert_alike(load().evaluate(batch), own(batch, "0.3.0"))


def test_what_it_does_not_know_is_unsupported() -> None:
    info = load().info
    assert info.elements == set(range(1, 95)) - {84, 85, 86, 87, 88}
    assert info.elements - load("r2scan").info.elements == {70}  # Yb is not in MP-r2SCAN
    for name, entry in read_models(REPO / "config/models.yaml").items():
        if entry.family == "chgnet":
            known = load(entry.settings["pretrained"]).info.elements
            assert {atomic_numbers[one] for one in entry.settings["elements"]} == known, name
    assert (info.charges, info.spins, info.dtype) == (False, False, "float32")
    bonds = np.array([[0, 1]])
    positions = np.zeros((2, 3))
    astatide = System("a", np.array([85, 1]), positions, bonds)
    hydroxide = System("a", np.array([8, 1]), positions, bonds, charge=-1)
    hydroxyl = System("a", np.array([8, 1]), positions, bonds, spin=2)
    assert why_unsupported(astatide, info) == "unknown elements: At"
    assert why_unsupported(hydroxide, info) == "the model takes no total charge (-1)"
    assert why_unsupported(hydroxyl, info) == "the model takes no spin (multiplicity 2)"


@pytest.mark.parametrize("pretrained", NETWORKS)
def test_the_entries_name_the_networks_of_the_package(pretrained: str) -> None:
    entry = read_models(REPO / "config/models.yaml")[f"chgnet-{pretrained}"]
    assert entry.settings["pretrained"] == pretrained
    assert entry.settings["sha256"] == load(pretrained).info.details["weights_sha256"]
    with pytest.raises(UserError, match="carries another file of this name, with sha256"):
        load(pretrained, sha256="0" * 64)


def test_a_weight_file_is_the_network_of_the_package(batch: Batch, tmp_path: Path) -> None:
    path = tmp_path / "mine.pth.tar"
    torch.save({"model": load()._network.as_dict()}, path)
    settings = {"weights": str(path), "vacuum_box_angstrom": 30.0}
    found = registry.load(ModelEntry("mine", "chgnet", settings), scan_set=None, device="cpu")
    np.testing.assert_array_equal(found.evaluate(batch).forces, load().evaluate(batch).forces)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"weights": torch.zeros(3)}, "chgnet cannot read these weights (KeyError: 'model')"),
        ({"model": torch.nn.Linear(2, 2)}, "chgnet cannot read these weights (UnpicklingError"),
    ],
)
def test_another_file_is_one_line(tmp_path: Path, content: dict, said: str) -> None:
    path = tmp_path / "wrong.pth.tar"
    torch.save(content, path)
    settings = {"weights": str(path), "vacuum_box_angstrom": 30.0}
    with pytest.raises(UserError) as caught:
        registry.load(ModelEntry("mine", "chgnet", settings), scan_set=None, device="cpu")
    assert said in str(caught.value)
    assert "give the .pth.tar file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_memory_of_the_device_runs_out(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load()

    def full(_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(model, "_evaluate", full)
    with pytest.raises(DeviceOutOfMemoryError, match=r"Tried to allocate 2 GiB$"):
        model.evaluate(batch)
