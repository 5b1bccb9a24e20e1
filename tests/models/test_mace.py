"""Family `mace` through TorchSim, against mace's own ASE calculator."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
import torch
from ase import Atoms

from examples import matches
from mace_networks import write_networks
from pesbench.core.errors import UserError
from pesbench.core.family import family_of
from pesbench.core.interface import Batch, Status, molecules_batch
from pesbench.engine.worker import Worker
from pesbench.models import registry
from pesbench.models.addresses import cache_path, file_sha256, is_address, pin_path
from pesbench.models.families.mace.model import MACE
from pesbench.models.fetching import settle
from pesbench.models.parameters import loaded_info, parameters_sha256
from pesbench.models.registry import ModelEntry, check_entry
from pesbench.orchestration.config import read_models, resolve_entry

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `random.model` and others that take more than a geometry."""
    folder = tmp_path_factory.mktemp("weights")
    write_networks(folder)
    return folder


@pytest.fixture(scope="module")
def weights(networks: Path) -> Path:
    return networks / "random.model"


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
        return registry.load(entry(weights, **settings), scan_set=None, device="cpu")
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


def test_large_molecules_have_the_same_neighbours(
    weights: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(weights)
    found = model.evaluate(batch)
    monkeypatch.setattr("pesbench.models.families.mace.model.MOST_ATOMS", 5)
    again = model.evaluate(batch)
    np.testing.assert_allclose(again.forces, found.forces, atol=1e-12)
    np.testing.assert_allclose(again.energies, found.energies, atol=1e-12)


def test_a_periodic_system_has_its_images(weights: Path, batch: Batch) -> None:
    from mace.calculators import MACECalculator

    cell = 4.0 * np.eye(3)
    one = replace(batch.select([0]), cell=cell[None], pbc=np.ones((1, 3), dtype=bool))
    calculator = MACECalculator(model_paths=str(weights), device="cpu", default_dtype="float64")
    atoms = Atoms(one.numbers, one.positions, cell=cell, pbc=True, calculator=calculator)
    found = load(weights).evaluate(one)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-10)
    assert np.abs(found.forces - load(weights).evaluate(batch.select([0])).forces).max() > 1e-3


def test_an_element_that_the_network_does_not_know_is_an_error(weights: Path, batch: Batch) -> None:
    other = replace(batch, numbers=np.where(batch.numbers == 8, 92, batch.numbers))
    with pytest.raises(ValueError, match="92"):
        load(weights).evaluate(other)


def test_a_position_that_is_not_a_number_is_no_energy(weights: Path, batch: Batch) -> None:
    positions = batch.positions.copy()
    positions[0, 0] = np.nan
    found = load(weights).evaluate(replace(batch, positions=positions))
    assert np.isfinite(found.energies).tolist() == [False, True, True, True]


@pytest.mark.parametrize("family", ["mace", "ase"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_first_call_of_a_process_is_rounded_like_the_others(
    batch: Batch, dtype: str, family: str
) -> None:
    """Else a resumed run would differ from an undisturbed one: TorchScript watches its first.

    Trained weights show the difference; random ones do not.
    """
    weights = REPO / "resources" / "weights" / "mace-mini.model"
    arguments = {"model_paths": str(weights), "device": "cpu", "default_dtype": dtype}
    made = {
        "mace": entry(weights, dtype=dtype),
        "ase": ModelEntry(
            "m", "ase", {"calculator": "mace.calculators:MACECalculator", "arguments": arguments}
        ),
    }[family]
    with Worker(made, device="cpu") as worker:
        results = [worker.evaluate(batch).result for _ in range(4)]
    assert results[0].status == (Status.OK,) * batch.n_systems
    assert all(np.array_equal(one.forces, results[-1].forces) for one in results)
    assert all(np.array_equal(one.energies, results[-1].energies) for one in results)


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


def test_a_public_model_is_loaded_from_the_cache(
    weights: Path, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file was put there by hand, as for a machine without network."""
    monkeypatch.setenv("PESBENCH_CACHE", str(tmp_path))
    models = REPO / "config/models.yaml"
    entry = read_models(models)["mace-off23-small"]
    with pytest.raises(UserError, match="nothing says that you trust https://") as caught:
        resolve_entry(entry, models, REPO)
    for cure in ("`sha256`", "`trust: true`", "pesbench entry mace-off23-small --trust"):
        assert cure in str(caught.value)
    public = resolve_entry(entry.trusted(), models, REPO)
    cached = cache_path(public.settings["weights"])
    cached.write_bytes(weights.read_bytes())
    resolved = tmp_path / "model.json"
    resolved.write_text(json.dumps(settle(public)))
    assert pin_path(cached).is_file()
    assert resolve_entry(entry, models, REPO).deciding() == public.deciding()  # said once
    with Worker(ModelEntry.from_file(resolved, cached, public.sha256), device="cpu") as worker:
        published = worker.evaluate(batch).result
    np.testing.assert_array_equal(load(weights).evaluate(batch).forces, published.forces)


def test_addresses_and_precision_of_public_models_are_those_of_mace_torch() -> None:
    from mace.calculators import foundations_models as theirs

    def loader(name: str, address: str) -> Callable:
        """What of mace-torch loads an address."""
        if address in theirs.mace_mp_urls.values():
            return theirs.mace_mp
        # MACE-OFF24 is in the repository of MACE-OFF, and in no table
        if address in theirs.mace_off_urls.values() or name == "mace-off24-medium":
            return theirs.mace_off
        assert f'"{address}"' in inspect.getsource(theirs.mace_omol), name
        return theirs.mace_omol

    shipped = {n: e for n, e in read_models(REPO / "config/models.yaml").items()
               if is_address(e.settings.get("weights"))}  # fmt: skip
    used = {name: loader(name, one.settings["weights"]) for name, one in shipped.items()}
    assert set(used.values()) == {theirs.mace_mp, theirs.mace_off, theirs.mace_omol}
    for name, function in used.items():
        default = inspect.signature(function).parameters["default_dtype"].default
        assert shipped[name].settings["dtype"] == default, name


# --- charge, spin and heads ----------------------------------------------------------------------


def test_a_network_without_charges_says_so(weights: Path) -> None:
    assert load(weights).info.charges is False


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_charge_and_spin_reach_a_network_that_embeds_them(networks: Path, dtype: str) -> None:
    from mace.calculators import MACECalculator

    path = networks / "embedded.model"
    model = load(path, dtype=dtype)
    assert model.info.charges is True
    calculator = MACECalculator(model_paths=str(path), device="cpu", default_dtype=dtype)
    rng = np.random.default_rng(2)
    batch = molecules(rng, [[6, 1, 1, 1, 1], [8, 1, 1]])
    tolerance = {"float64": 1e-9, "float32": 1e-3}[dtype]
    found = []
    # the same atoms each time: only what is not in the geometry tells the batches apart
    for charge, spin in [((0, 0), (1, 1)), ((1, -1), (2, 2)), ((0, 0), (3, 1)), ((0, 0), (1, 1))]:
        states = replace(batch, charge=np.array(charge), spin=np.array(spin))
        result = model.evaluate(states)
        for s in range(2):
            mine = states.system == s
            atoms = Atoms(states.numbers[mine], states.positions[mine], calculator=calculator)
            atoms.info |= {"charge": charge[s], "spin": spin[s]}
            assert result.energies[s] == pytest.approx(atoms.get_potential_energy(), abs=tolerance)
            np.testing.assert_allclose(result.forces[mine], atoms.get_forces(), atol=tolerance)
        found.append(result.energies)
    assert len({tuple(energies.round(4)) for energies in found[:3]}) == 3
    np.testing.assert_array_equal(found[0], found[3])


def test_an_input_that_a_scan_does_not_have(networks: Path) -> None:
    with pytest.raises(UserError, match=r"field\.model: the network takes `field` as an input"):
        load(networks / "field.model")


@pytest.mark.parametrize("head", ["first", "second"])
def test_a_head_is_chosen_by_its_name(networks: Path, head: str) -> None:
    from mace.calculators import MACECalculator

    path = networks / "heads.model"
    calculator = MACECalculator(
        model_paths=str(path), device="cpu", default_dtype="float64", head=head
    )
    batch = molecules(np.random.default_rng(3), [[6, 8, 1, 1]] * 2)
    result = load(path, head=head).evaluate(batch)
    for s in range(2):
        mine = batch.system == s
        atoms = Atoms(batch.numbers[mine], batch.positions[mine], calculator=calculator)
        assert result.energies[s] == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
        np.testing.assert_allclose(result.forces[mine], atoms.get_forces(), atol=1e-10)


def test_heads_that_must_be_named(networks: Path, weights: Path) -> None:
    with pytest.raises(UserError, match="has the heads first, second; name one with `head`"):
        load(networks / "heads.model")
    with pytest.raises(UserError, match="no head 'third'; its heads: first, second"):
        load(networks / "heads.model", head="third")
    with pytest.raises(UserError, match="no head 'third'"):
        load(weights, head="third")


# --- files that are no model ---------------------------------------------------------------------


class Absent:
    """A network of a package that is not installed."""


def _save(value: object, **options: bool) -> Callable[[Path], object]:
    return lambda path: torch.save(value, path, **options)


def _save_absent(path: Path, *, zipped: bool) -> None:
    """As `Absent` of the module `absent_package.model`, which is there while it is written."""
    modules = {name: ModuleType(name) for name in ("absent_package", "absent_package.model")}
    modules["absent_package.model"].Absent = Absent
    sys.modules.update(modules)
    Absent.__module__, Absent.__qualname__ = "absent_package.model", "Absent"
    try:
        torch.save(Absent(), path, _use_new_zipfile_serialization=zipped)
    finally:
        Absent.__module__ = __name__
        for name in modules:
            del sys.modules[name]


def _save_script(path: Path) -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    torch.jit.script(Twice()).save(str(path))


def _save_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights inside")


def _save_cut(path: Path) -> None:
    torch.save(torch.nn.Linear(50, 50), path)
    path.write_bytes(path.read_bytes()[:4000])


CHECKPOINT = {"model_state_dict": {"w": torch.zeros(3)}, "optimizer": {}, "epoch": 7}
BEFORE_WORK: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("this is text\n"), "is text"),
    "text beyond ASCII": (lambda path: path.write_text("Å" * 5000), "is text"),
    "YAML": (lambda path: path.write_text("model: mace\nr_max: 5.0\n"), "is text"),
    "a page": (lambda path: path.write_text("\n<!doctype HTML><html>404"), "is an HTML page"),
    "a pointer of Git LFS": (
        lambda path: path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
        ),
        "is a pointer of Git LFS",
    ),
    "bytes": (lambda path: path.write_bytes(bytes(range(256))), "is no file that torch writes"),
    "HDF5": (lambda path: h5py.File(path, "w").close(), "is an HDF5 file"),
    "safetensors": (
        lambda path: path.write_bytes((20).to_bytes(8, "little") + b'{"a": 1}' + bytes(40)),
        "is a safetensors file",
    ),
    "another zip": (_save_zip, "is a zip archive, but none that torch writes"),
    "half a file": (_save_cut, "is cut short or damaged"),
    "a TorchScript archive": (_save_script, "is a TorchScript archive"),
    "a state dict": (_save(torch.nn.Linear(2, 2).state_dict()), "holds a dictionary"),
    "a checkpoint of training": (_save(CHECKPOINT), "holds a dictionary"),
    "another network": (
        _save(torch.nn.Linear(2, 2)),
        "holds a torch.nn.modules.linear.Linear, no network of mace",
    ),
    "a network of a package that is not installed": (
        lambda path: _save_absent(path, zipped=True),
        "holds a absent_package.model.Absent, no network of mace",
    ),
    "a tensor": (_save(torch.zeros(3)), "holds a torch._utils._rebuild_tensor_v2"),
    "a list": (_save([1, 2]), "holds no network of mace"),
}
WHEN_LOADING: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle without torch": (
        lambda path: path.write_bytes(pickle.dumps({"a": 1})),
        "torch cannot read these weights",
    ),
    "an old checkpoint": (
        _save(CHECKPOINT, _use_new_zipfile_serialization=False),
        "holds a dict with the keys model_state_dict, optimizer, epoch",
    ),
    "an old network": (
        _save(torch.nn.Linear(2, 2), _use_new_zipfile_serialization=False),
        "holds a Linear, no MACE model",
    ),
    "an old network of a package that is not installed": (
        lambda path: _save_absent(path, zipped=False),
        "needs the module 'absent_package', which is not installed",
    ),
    "half an old file": (
        lambda path: (
            torch.save(torch.zeros(999), path, _use_new_zipfile_serialization=False),
            path.write_bytes(path.read_bytes()[:600]),
        ),
        "torch cannot read these weights",
    ),
}


@pytest.mark.parametrize("kind", [*BEFORE_WORK, *WHEN_LOADING])
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, kind: str) -> None:
    write, said = (BEFORE_WORK | WHEN_LOADING)[kind]
    path = tmp_path / "wrong.model"
    write(path)
    if kind in BEFORE_WORK:
        with pytest.raises(UserError) as caught:
            check_entry(entry(path))
        _one_line(caught.value, "model 'random': ", str(path), said)
    else:
        check_entry(entry(path))
    with pytest.raises(UserError) as caught:
        load(path)
    _one_line(caught.value, str(path), said)


def _one_line(error: BaseException, *said: str) -> None:
    message = str(error)
    for text in (*said, "give the .model file that mace_run_train writes"):
        assert text in message
    assert "\n" not in message
    assert len(message) < 600


class PolarMACE(torch.nn.Module):
    """By its name and attributes the one of mace, which needs densities and a field."""

    atomic_numbers = (1,)
    r_max = 5.0


def test_a_network_that_cannot_be_run_here(tmp_path: Path) -> None:
    path = tmp_path / "polar.model"
    torch.save(PolarMACE(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"polar\.model: a PolarMACE cannot be run here"):
        load(path)


def test_the_check_before_work_does_not_import_torch(weights: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from pesbench.core.family import family_of\n"
        "from pesbench.models.weights import check_weights\n"
        "check_weights(family_of('mace'), Path(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(weights)], check=True)


def test_networks_pass_the_check_before_work(networks: Path) -> None:
    for path in matches(networks, "*.model"):
        check_entry(entry(path))


def test_a_damaged_model_does_not_load(weights: Path, tmp_path: Path) -> None:
    """Its directory is whole and its pickle is not: only reading it tells."""
    path = tmp_path / "damaged.model"
    content = bytearray(weights.read_bytes())
    start = content.index(b"ScaleShiftMACE") + 400
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)
    check_entry(entry(path))
    with pytest.raises(UserError, match="torch cannot read these weights"):
        load(path)


def test_weights_that_changed_under_an_entry_are_refused(weights: Path, tmp_path: Path) -> None:
    resolved = tmp_path / "model.json"
    mine = entry(weights)
    resolved.write_text(json.dumps(mine.deciding()))
    assert "weights" not in json.loads(resolved.read_text())["settings"]
    ModelEntry.from_file(resolved, weights, mine.sha256)
    other = tmp_path / "other.model"
    other.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(UserError, match="sha256"):
        ModelEntry.from_file(resolved, other, mine.sha256)


@pytest.mark.parametrize("settings", [{}, {"dtype": "float32"}, {"compile": True}], ids=str)
def test_one_checkpoint_has_one_checksum_in_every_precision_and_behind_maces_calculator(
    weights: Path, settings: dict
) -> None:
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=str(weights), device="cpu", default_dtype="float64")
    found = loaded_info(load(weights, **settings)).details["parameters_sha256"]
    assert found == parameters_sha256(calculator)
    assert len(found) == 64


def test_cuequivariance_that_is_missing_or_compiled_is_one_line(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pesbench.models.families.mace import family

    monkeypatch.setattr(family, "find_spec", lambda name: None)
    said = r"model '\S+': `enable_cueq` needs cuequivariance, which is not installed"
    with pytest.raises(UserError, match=said):
        load(weights, enable_cueq=True)
    with pytest.raises(UserError, match=said):  # before any work
        family_of("mace").check("m", {"enable_cueq": True})
    family_of("mace").check("m", {"enable_cueq": True, "python": "python3.12"})  # it runs elsewhere
    with pytest.raises(UserError, match="`enable_cueq` and `compile` exclude each other"):
        family_of("mace").check("m", {"enable_cueq": True, "compile": True})


def test_an_entry_may_stay_on_the_cpu(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = family_of("mace")
    assert family.uses_gpu({})
    assert not family.uses_gpu({"device": "cpu"})
    asked = []
    monkeypatch.setattr(type(family), "load", lambda self, job: asked.append(job.device))
    for settings in ({}, {"device": "cpu"}):
        registry.load(entry(weights, **settings), scan_set=None, device="cuda")
    assert asked == ["cuda", "cpu"]
