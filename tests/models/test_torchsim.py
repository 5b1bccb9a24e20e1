"""Family `torchsim`: in this environment where TorchSim 0.3 will do, and in one with 0.6."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from torch_sim.models.mace import MaceModel

from examples import HELPERS, REPO
from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, Status, molecules_batch
from pesbench.engine.worker import ModelLoadError, Worker
from pesbench.files.environment import Environment, environment_of
from pesbench.files.interpreters import find_interpreter
from pesbench.models.families.torchsim.family import FAMILY
from pesbench.models.families.torchsim.model import NamedModel, release
from pesbench.models.models_file import make_entry, read_models
from pesbench.models.registry import ModelEntry, load
from pesbench.orchestration.config import resolve_entry
from pesbench.orchestration.requests import uses_gpu

VARIABLE = "PESBENCH_TORCHSIM_PYTHON"
REQUIREMENTS = ["torch-sim-atomistic==0.6.2", "mace-torch==0.3.16"]
WEIGHTS = REPO / "resources" / "weights" / "mace-mini.model"
TORCH_DEVICE = {"call": "torch:device", "positional": ["${device}"]}
TORCH_DTYPE = {"object": "torch:${dtype}"}
MACE: dict[str, Any] = {
    "model": "mace.calculators.mace_torchsim:MaceTorchSimModel",
    "arguments": {
        "model": str(WEIGHTS),
        "device": TORCH_DEVICE,
        "dtype": TORCH_DTYPE,
        "compute_stress": False,
    },
    "dtype": "float64",
    "elements": ["H", "C", "N", "O", "P", "S"],
}


def entry(**settings: Any) -> ModelEntry:
    settings = MACE | {"python": "python3.12", "requirements": REQUIREMENTS} | settings
    return make_entry("m", {"family": "torchsim"} | settings)


def batch(
    *names: str, noise: float = 0.05, charge: int = 0, spin: int = 1, size: float = 1.0
) -> Batch:
    rng = np.random.default_rng(11)
    found = [molecule(name) for name in names]
    positions = [size * a.positions + rng.normal(0, noise, a.positions.shape) for a in found]
    numbers = [atoms.numbers for atoms in found]
    return molecules_batch(positions, numbers, [charge] * len(found), [spin] * len(found))


# every division of the same five elements has to be told from the other
BATCHES = [
    batch("CH3OH", "CH3NO2", "C2H6"),
    batch("C2H6", "CH3OH"),
    batch("CH3CH2SH"),
    batch("CH3OH", "CH3NO2", "C2H6", size=1.3),
]


@pytest.fixture(scope="module")
def mace():
    """The adapter that exists."""
    named = read_models(REPO / "config" / "models.yaml")["mace-mini"]
    settled = resolve_entry(named, REPO / "config" / "models.yaml", REPO)
    return load(settled, scan_set=None, device="cpu")


# --- entries -------------------------------------------------------------------------------------


def test_an_entry_without_an_environment_needs_python_312() -> None:
    made = make_entry("m", {"family": "torchsim"} | MACE)
    with pytest.raises(
        UserError, match=r"needs Python 3\.12, this is 3\.11; add `python:"
    ) as caught:
        FAMILY.check("m", made.settings)
    assert "\n" not in str(caught.value)
    FAMILY.check("m", entry().settings)  # its packages are not here


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"arguments": {"a": "${disk}"}}, r"`arguments.a: \$\{disk\}` is not known"),
        ({"arguments": {"a": {"call": "torch"}}}, "is no import path"),
        ({"charges": True, "info": {}}, "`charges: true`, and `info` gives"),
    ],
)
def test_what_cannot_work_is_one_line(settings: dict[str, Any], said: str) -> None:
    made = entry(**settings)
    with pytest.raises(UserError, match=said) as caught:
        FAMILY.check("m", made.settings)
    assert "\n" not in str(caught.value)


def test_an_entry_gets_a_gpu_where_it_names_the_device() -> None:
    assert uses_gpu(entry(), "auto")
    assert not uses_gpu(entry(device="cpu"), "auto")
    assert not uses_gpu(entry(arguments={}), "auto")


# --- TorchSim 0.3 of this environment ------------------------------------------------------------


def test_an_older_torchsim_is_refused() -> None:
    with pytest.raises(UserError, match=r"torch-sim-atomistic 0\.3\.0 is older than 0\.6"):
        load(entry(), scan_set=None, device="cpu")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.6.2", (0, 6)),
        ("0.6rc1", (0, 6)),
        ("1.0+cpu", (1, 0)),
        ("0.10.dev3", (0, 10)),
        ("x", (0, 0)),
    ],
)
def test_versions_of_every_form_are_read(text: str, found: tuple[int, int]) -> None:
    assert release(text) == found


@pytest.fixture(scope="module")
def wrapped() -> MaceModel:
    network = torch.load(WEIGHTS, weights_only=False, map_location="cpu")
    return MaceModel(network, device=torch.device("cpu"), dtype=torch.float64, compute_stress=False)


@pytest.mark.parametrize("box", [None, 14.0, 40.0])
def test_free_and_in_a_box_it_is_the_same_model(
    mace, wrapped: MaceModel, box: float | None
) -> None:
    model = NamedModel(wrapped, {"info": {}, "vacuum_box_angstrom": box})
    for given in BATCHES:
        wanted, found = mace.evaluate(given), model.evaluate(given)
        assert found.energies == pytest.approx(wanted.energies, abs=1e-9)
        assert found.forces == pytest.approx(wanted.forces, abs=1e-9)


def test_charge_and_spin_are_extras_under_the_names_of_the_entry(wrapped: MaceModel) -> None:
    given = batch("H2O", "CH3OH", charge=-1, spin=2)
    named = NamedModel(wrapped, {}).extras(given)
    assert {key: value.tolist() for key, value in named.items()} == {
        "charge": [-1, -1],
        "spin": [2, 2],
    }
    other = NamedModel(wrapped, {"info": {"total_spin": "S"}}).extras(given)
    assert {key: value.tolist() for key, value in other.items()} == {"total_spin": [0.5, 0.5]}


# --- TorchSim 0.6, with an interpreter of its own ------------------------------------------------


@pytest.fixture(scope="module")
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    if given := os.environ.get(VARIABLE):
        return environment_of(given)
    try:
        python = find_interpreter("python3.12", REPO).path
    except UserError as error:
        pytest.skip(str(error))
    if not request.config.getoption("--slow"):
        pytest.skip(f"needs {REQUIREMENTS}: set {VARIABLE}, or --slow to download 6 GB")
    folder = tmp_path_factory.mktemp("torchsim") / "environment"
    subprocess.run([python, "-m", "venv", folder], check=True)
    own = str(folder / "bin" / "python")
    packages = [*REQUIREMENTS, "ase", "h5py", "numpy"]
    subprocess.run([own, "-m", "pip", "install", "-q", *packages], check=True)
    return environment_of(own)


def test_mace_through_torchsim_06_equals_the_adapter(mace, environment: Environment) -> None:
    with Worker(entry(), device="cpu", environment=environment, timeout_s=300) as worker:
        info = worker.start()
        assert (info.batched, info.device, info.dtype) == (True, "cpu", "float64")
        assert info.details["torch-sim-atomistic"] == "0.6.2"
        assert info.elements == mace.info.elements
        for given in BATCHES:
            wanted, found = mace.evaluate(given), worker.evaluate(given).result
            assert found.status == (Status.OK,) * given.n_systems
            difference = np.abs(found.energies - wanted.energies).max()
            force = np.abs(found.forces - wanted.forces).max()
            print(f"energy {difference:.1e} eV, forces {force:.1e} eV/Å")
            assert difference < 1e-9
            assert force < 1e-9


def test_float32_is_float32(mace, environment: Environment) -> None:
    single = entry(dtype="float32")
    with Worker(single, device="cpu", environment=environment, timeout_s=300) as worker:
        assert worker.start().dtype == "float32"
        wanted, found = mace.evaluate(BATCHES[0]), worker.evaluate(BATCHES[0]).result
        difference = np.abs(found.forces - wanted.forces).max()
        print(f"forces {difference:.1e} eV/Å")
        assert 1e-8 < difference < 1e-3


@pytest.fixture
def springs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An entry whose module lies in the working folder."""
    shutil.copy(HELPERS / "torchsim_models.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    return {
        "model": "torchsim_models:Springs",
        "arguments": {"device": TORCH_DEVICE, "dtype": TORCH_DTYPE},
        "charges": True,
        "spins": True,
    }


@pytest.mark.parametrize(
    ("info", "names", "triplet_dication", "singlet"),
    [
        (None, {}, 2 + 10 * 3, 10 * 1),
        ({"q": "charge", "total_spin": "S"}, {"charge": "q", "spin": "total_spin"}, 2 + 10 * 1, 0),
        ({"charge": "charge", "spin": "unpaired"}, {}, 2 + 10 * 2, 0),
    ],
)
def test_charge_and_spin_reach_the_state(
    environment: Environment, springs, info, names, triplet_dication, singlet
) -> None:
    settings = {} if info is None else {"info": info}
    made = entry(**springs | settings | {"arguments": springs["arguments"] | names})
    with Worker(made, device="cpu", environment=environment, timeout_s=300) as worker:
        # the atoms stay, the state does not
        for charge, spin, wanted in ((2, 3, triplet_dication), (0, 1, singlet)):
            given = batch("H2O", "CH3OH", charge=charge, spin=spin)
            found = worker.evaluate(given).result
            bound = 0.5 * np.bincount(given.system, (given.positions**2).sum(axis=1))
            assert found.energies - bound == pytest.approx([wanted] * 2, abs=1e-9)
            assert found.forces == pytest.approx(-given.positions)


def test_what_is_no_model_of_torchsims_is_one_line(environment: Environment, springs) -> None:
    made = entry(**springs | {"model": "torchsim_models:no_model"})
    with (
        Worker(made, device="cpu", environment=environment, timeout_s=300) as worker,
        pytest.raises(ModelLoadError, match="returns a str, which is no model of TorchSim's"),
    ):
        worker.start()


def test_a_single_atom_is_a_batch(environment: Environment, springs) -> None:
    """TorchSim takes an extra of S = A values for one of atoms."""
    atoms = Atoms("H", [[0.5, 0, 0]])
    given = molecules_batch([atoms.positions] * 2, [atoms.numbers] * 2, [1, 1], [2, 2])
    with Worker(entry(**springs), device="cpu", environment=environment) as worker:
        found = worker.evaluate(given).result
        assert found.energies == pytest.approx([0.125 + 1 + 20] * 2)
