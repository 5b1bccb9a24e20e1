"""`describe` of the families that have it: layers, irreps, equivariance."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import molecule
from scipy.spatial.transform import Rotation

from mace_networks import write_network
from pesbench.core.interface import Batch, NodeFeatures, NotDescribedError, molecules_batch
from pesbench.models import registry
from pesbench.models.addresses import file_sha256
from pesbench.models.registry import ModelEntry

REPO = Path(__file__).parents[2]
ROTATIONS = Rotation.random(6, random_state=0).as_matrix()


def batch_of_ethanol(rotations: np.ndarray = ROTATIONS) -> Batch:
    atoms = molecule("CH3CH2OH")
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


def sevennet(folder: Path) -> Any:
    if find_spec("sevenn") is None:
        pytest.skip("sevenn is not installed here; it has an environment of its own")
    from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG
    from sevenn.model_build import build_E3_equivariant_model

    from pesbench.models.families.sevennet.model import SevenNetModel

    torch.manual_seed(0)
    network = build_E3_equivariant_model(
        DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG
        | {"channel": 4, "lmax": 2, "conv_denominator": 10.0, "shift": 0.0, "scale": 1.0,
           "_number_of_species": 3, "_type_map": {1: 0, 6: 1, 8: 2}, "version": "0.13.0"}
    )  # fmt: skip
    return SevenNetModel(network, torch.device("cpu"), {})


# layers, and the irreps of the last but one: those of the last are scalars, or as those before
EXPECTED = {
    mace: (["products.0", "products.1"], ((4, 0), (4, 1)), ((4, 0),)),
    sevennet: (
        ["0_equivariant_gate", "1_equivariant_gate", "2_equivariant_gate"],
        None,  # sevenn also keeps the harmonics of odd parity
        ((4, 0),),
    ),
    so3lr: (
        [f"euclidean_transformers.{k}" for k in range(3)],
        ((128, 0), (1, 1), (1, 2), (1, 3), (1, 4)),
        ((128, 0), (1, 1), (1, 2), (1, 3), (1, 4)),
    ),
}


@pytest.fixture(params=[mace, sevennet, so3lr], ids=lambda one: one.__name__, scope="module")
def family(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    return request.param


@pytest.fixture(scope="module")
def model(family: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return family(tmp_path_factory.mktemp("weights"))


def test_layers_and_irreps(model: Any, family: Callable[[Path], Any]) -> None:
    names, irreps, last = EXPECTED[family]
    found = model.describe(batch_of_ethanol())
    assert list(found) == names
    assert irreps is None or found[names[-2]].irreps == irreps
    assert found[names[-1]].irreps == last
    assert max(degree for _, degree in found[names[-2]].irreps) >= 1
    for one in found.values():
        assert one.values.shape == (
            batch_of_ethanol().n_atoms, sum(n * (2 * degree + 1) for n, degree in one.irreps)
        )  # fmt: skip


def blocks(found: NodeFeatures, n_systems: int) -> list[tuple[int, np.ndarray]]:
    """Of each block its degree, and features of shape (systems, atoms, channels, 2l + 1)."""
    parts, start = [], 0
    for channels, degree in found.irreps:
        end = start + channels * (2 * degree + 1)
        shape = (n_systems, -1, channels, 2 * degree + 1)
        parts.append((degree, found.values[:, start:end].reshape(shape)))
        start = end
    return parts


def test_every_block_turns_like_the_harmonics_of_its_degree(model: Any) -> None:
    """One matrix D_l of a rotation turns all channels of all atoms; it is orthogonal."""
    turning = 0
    scale = 1e-4 if model.info.dtype == "float32" else 1e-8
    for name, found in model.describe(batch_of_ethanol()).items():
        for degree, block in blocks(found, len(ROTATIONS)):
            first = block[0].reshape(-1, 2 * degree + 1)
            size = np.abs(first).max()
            for turned in block[1:]:
                other = turned.reshape(-1, 2 * degree + 1)
                matrix, _, rank, _ = np.linalg.lstsq(first, other, rcond=1e-4)
                assert np.abs(first @ matrix - other).max() < 100 * scale * size, (name, degree)
                if degree == 0:
                    assert np.abs(first - other).max() < 100 * scale * size
                elif rank == 2 * degree + 1:
                    assert np.abs(matrix @ matrix.T - np.eye(len(matrix))).max() < 2e-2
                    turning += np.abs(first - other).max() > 0.1 * size
    assert turning > 0


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


def test_a_compiled_network_says_why_it_tells_nothing(tmp_path: Path) -> None:
    compiled = mace(tmp_path, compile=True)
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
