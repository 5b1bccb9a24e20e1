"""Family `mace` through TorchSim, against mace's own ASE calculator."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from pesbench.errors import UserError
from pesbench.models.interface import Batch, molecules_batch
from pesbench.models.mace import MACE, load_mace
from pesbench.models.registry import ModelEntry, file_sha256
from pesbench.worker import ModelFailureError, Worker

REPO = Path(__file__).parents[1]
MAKE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from benchmarks.models import Size, write_mace
path = Path(sys.argv[2])
write_mace(path, Size(channels=4, correlation=2))
import torch
network = torch.load(path, weights_only=False)
network.scale_shift.scale *= 100  # random weights give forces of some meV/A otherwise
torch.save(network, path)
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.model"
    subprocess.run([sys.executable, "-c", MAKE, str(REPO), str(path)], check=True)
    return path


def entry(weights: Path, **settings) -> ModelEntry:
    base = {
        "weights": str(weights),
        "sha256": file_sha256(weights),
        "dtype": "float64",
        "compile": False,
        "batch_size": 4,
    }
    return ModelEntry("random", "mace", base | settings)


def load(weights: Path, **settings) -> MACE:
    """The adapter in this process, which is faster than a worker for every test."""
    before = torch.get_default_dtype()
    try:
        return load_mace(entry(weights, **settings).settings, "cpu")
    finally:
        torch.set_default_dtype(before)


def molecules(rng: np.random.Generator, sizes: list[list[int]]) -> Batch:
    positions = [rng.normal(scale=0.2, size=(len(z), 3)) + _grid(len(z)) for z in sizes]
    count = len(sizes)
    return molecules_batch(positions, [np.array(z) for z in sizes], [0] * count, [1] * count)


def _grid(n: int) -> np.ndarray:
    return 1.3 * np.stack(np.unravel_index(np.arange(n), (3, 3, 3)), axis=1)


@pytest.fixture
def batch() -> Batch:
    rng = np.random.default_rng(0)
    return molecules(rng, [[6, 1, 1, 1, 1], [8, 1, 1], [7, 7, 1, 1, 1, 1], [6, 8, 1, 1]])


def test_energies_and_forces_are_those_of_mace_itself(weights: Path, batch: Batch) -> None:
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=str(weights), device="cpu", default_dtype="float64")
    result = load(weights).evaluate(batch)
    assert np.abs(result.forces).max() > 0.1
    for s in range(batch.n_systems):
        mine = batch.system == s
        atoms = Atoms(batch.numbers[mine], batch.positions[mine], calculator=calculator)
        assert result.energies[s] == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
        np.testing.assert_allclose(result.forces[mine], atoms.get_forces(), atol=1e-10)


@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-11), ("float32", 1e-4)])
def test_single_is_batched(weights: Path, batch: Batch, dtype: str, atol: float) -> None:
    model = load(weights, dtype=dtype)
    assert model.info.dtype == dtype
    together = model.evaluate(batch)
    for s in range(batch.n_systems):
        alone = model.evaluate(batch.select([s]))
        np.testing.assert_allclose(alone.forces, together.forces[batch.system == s], atol=atol)
        np.testing.assert_allclose(alone.energies[0], together.energies[s], atol=atol)


def test_compiled_is_not_compiled(weights: Path, batch: Batch) -> None:
    results = [load(weights, compile=compiled).evaluate(batch) for compiled in (False, True)]
    np.testing.assert_allclose(results[0].forces, results[1].forces, atol=1e-9)


def test_another_division_of_the_same_elements_is_another_batch(weights: Path) -> None:
    # TorchSim 0.3 compares elements alone: 2 + 2 atoms and 1 + 3 atoms would share an index
    rng = np.random.default_rng(1)
    halves = molecules(rng, [[6, 6], [6, 6]])
    parts = (np.array([0, 1, 1, 1]), np.array([0, 0, 0, 1]))
    model = load(weights)
    model.evaluate(halves)
    for system in parts:
        mixed = replace(halves, system=system)
        np.testing.assert_array_equal(
            model.evaluate(mixed).forces, load(weights).evaluate(mixed).forces
        )


def test_positions_move_between_calls_of_the_same_composition(weights: Path, batch: Batch) -> None:
    moved = replace(batch, positions=batch.positions * 1.05)
    model = load(weights)
    first, second, third = (model.evaluate(b) for b in (batch, moved, batch))
    assert np.abs(first.forces - second.forces).max() > 1e-3
    np.testing.assert_array_equal(first.forces, third.forces)


def test_elements_are_told(weights: Path) -> None:
    info = load(weights).info
    assert info.elements == frozenset({1, 6, 7, 8, 9, 15, 16, 17, 35, 53})
    assert info.batched
    assert info.details["weights_sha256"] == file_sha256(weights)


@pytest.mark.parametrize("content", [b"this is text\n", b""])
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.model"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"wrong\.model") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_weights_that_changed_under_an_entry_are_refused(weights: Path, tmp_path: Path) -> None:
    import json

    resolved = tmp_path / "model.json"
    resolved.write_text(json.dumps(entry(weights).deciding()))
    assert "weights" not in json.loads(resolved.read_text())["settings"]
    ModelEntry.from_file(resolved, weights)
    other = tmp_path / "other.model"
    other.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(UserError, match="sha256"):
        ModelEntry.from_file(resolved, other)


def test_a_published_name_is_loaded_by_mace_torch(
    weights: Path, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what mace-torch has downloaded before, it takes from its cache
    cache = tmp_path / "mace"
    cache.mkdir()
    (cache / "MACE-OFF23_small.model").write_bytes(weights.read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = {"foundation": "mace_off/small", "dtype": "float64", "compile": False}
    with Worker(ModelEntry("off", "mace", settings)) as worker:
        published = worker.evaluate(batch).result
    np.testing.assert_array_equal(load(weights).evaluate(batch).forces, published.forces)


def test_a_name_that_cannot_be_downloaded_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = {"foundation": "mace_off/no-such-model", "dtype": "float64", "compile": False}
    with (
        Worker(ModelEntry("off", "mace", settings)) as worker,
        pytest.raises(ModelFailureError, match="did not load"),
    ):
        worker.start()
