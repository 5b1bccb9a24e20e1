"""`describe` of the families that have it: layers, irreps, equivariance.

That of `sevennet` is looked at in its own environment (test_families.py), that of `apax` too
(test_apax.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule
from scipy.spatial.transform import Rotation

from mace_networks import write_network
from pesbench.core.interface import Batch, NotDescribedError, molecules_batch
from pesbench.models import registry
from pesbench.models.addresses import file_sha256
from pesbench.models.registry import ModelEntry
from turning import blocks, turned_degrees

REPO = Path(__file__).parents[2]
ROTATIONS = Rotation.random(6, random_state=0).as_matrix()


def batch_of_ethanol(rotations: np.ndarray = ROTATIONS) -> Batch:
    """Ethanol without a mirror plane, rotated as a whole."""
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.1, seed=0)
    positions = atoms.positions - atoms.positions.mean(axis=0)
    count = len(rotations)
    return molecules_batch(
        [positions @ one.T for one in rotations], [atoms.numbers] * count, [0] * count, [1] * count
    )


def mace(folder: Path, **settings: Any) -> Any:
    path = folder / "equivariant.model"
    if not path.is_file():
        write_network(path, channels=4, correlation=2, max_l=1)
    base = {"weights": str(path), "sha256": file_sha256(path), "dtype": "float64", "compile": False}
    return registry.load(ModelEntry("m", "mace", base | settings), scan_set=None, device="cpu")


def so3lr(folder: Path) -> Any:
    settings = {"pretrained": "so3lr", "dtype": "float64", "cutoff_lr_angstrom": 12.0}
    return registry.load(ModelEntry("s", "so3lr", settings), scan_set=None, device="cpu")


# layers, and the irreps of the last but one: those of the last are scalars, or as those before
EXPECTED = {
    mace: (["products.0", "products.1"], ((4, 0), (4, 1)), ((4, 0),)),
    so3lr: (
        [f"euclidean_transformers.{k}" for k in range(3)],
        ((128, 0), (1, 1), (1, 2), (1, 3), (1, 4)),
        ((128, 0), (1, 1), (1, 2), (1, 3), (1, 4)),
    ),
}


@pytest.fixture(params=[mace, so3lr], ids=lambda one: one.__name__, scope="module")
def family(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the weights that are made once."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def model(family: Callable[[Path], Any], folder: Path) -> Any:
    return family(folder)


def test_layers_and_irreps(model: Any, family: Callable[[Path], Any]) -> None:
    names, irreps, last = EXPECTED[family]
    found = model.describe(batch_of_ethanol())
    assert list(found) == names
    assert found[names[-2]].irreps == irreps
    assert found[names[-1]].irreps == last
    assert max(degree for _, degree in found[names[-2]].irreps) >= 1
    for one in found.values():
        assert one.values.shape == (
            batch_of_ethanol().n_atoms, sum(n * (2 * degree + 1) for n, degree in one.irreps)
        )  # fmt: skip


def test_every_block_turns_like_the_harmonics_of_its_degree(model: Any) -> None:
    found = model.describe(batch_of_ethanol())
    turned = turned_degrees(found, ROTATIONS, 1e-6)
    assert turned == {degree for one in found.values() for _, degree in one.irreps}


def test_describing_changes_no_answer(model: Any) -> None:
    batch = batch_of_ethanol()
    before = model.evaluate(batch)
    model.describe(batch)
    after = model.evaluate(batch)
    np.testing.assert_array_equal(before.energies, after.energies)
    np.testing.assert_array_equal(before.forces, after.forces)


def test_the_company_of_a_frame_changes_nothing(model: Any) -> None:
    frames = [molecule(name) for name in ("H2O", "CH3CH2OH", "CH4")]

    def batch_of(chosen: list[Any]) -> Batch:
        count = len(chosen)
        return molecules_batch(
            [one.positions for one in chosen], [one.numbers for one in chosen], [0] * count,
            [1] * count,
        )  # fmt: skip

    together = model.describe(batch_of(frames))
    alone = [model.describe(batch_of([one])) for one in frames]
    for name, found in together.items():
        parts = np.concatenate([one[name].values for one in alone])
        scale = 1e-5 if model.info.dtype == "float32" else 1e-8
        assert np.abs(found.values - parts).max() < scale * np.abs(parts).max(), name


def test_a_compiled_network_says_why_it_tells_nothing(folder: Path) -> None:
    compiled = mace(folder, compile=True)
    with pytest.raises(NotDescribedError, match="compiled; leave `compile` out"):
        compiled.describe(batch_of_ethanol())


def test_scalars_are_the_columns_of_degree_0(model: Any) -> None:
    batch = batch_of_ethanol()
    for found in model.describe(batch).values():
        expected = [block[..., 0] for degree, block in blocks(found, len(ROTATIONS)) if not degree]
        of_frames = found.scalars.reshape(len(ROTATIONS), -1, found.scalars.shape[1])
        np.testing.assert_array_equal(of_frames, np.concatenate(expected, axis=2))


def test_features_of_a_testbed_potential_are_what_its_head_reads() -> None:
    """They have no irreps: the potential is not equivariant."""
    path = REPO / "resources/weights/testbed-base.pt"
    settings = {"weights": str(path), "sha256": file_sha256(path), "dtype": "float64"}
    model = registry.load(ModelEntry("t", "testbed", settings), scan_set=None, device="cpu")
    network = model._network
    batch = batch_of_ethanol()
    other = molecule("CH4")
    mixed = molecules_batch(
        [other.positions, batch.positions[:9]], [other.numbers, batch.numbers[:9]], [0, 0], [1, 1]
    )
    for some in (batch, mixed):
        ((name, found),) = model.describe(some).items()
        assert (name, found.irreps) == (f"blocks.{len(network.blocks) - 1}", None)
        assert found.scalars is found.values
        tokens = torch.as_tensor(found.values)[None]
        numbers = torch.as_tensor(some.numbers)[None]
        energies = network.atomic_energies(tokens, numbers)[0].detach().numpy()
        network_only = np.bincount(some.system, energies)
        expected = network_only + np.bincount(some.system, model._atomic[some.numbers])
        repulsion = model.evaluate(some).energies - expected
        assert network.settings.repulsion == "none"
        np.testing.assert_allclose(repulsion, 0, atol=1e-9)
    assert np.abs(found.values).max() > 0
