"""Family `ase`: what of an entry reaches the calculator, and what of the calculator the result."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT

from examples import fake_entry
from fake_calculators import Morse, visible_devices
from hostile_calculators import SilentAtTimes
from pesbench.core.errors import HostError, UserError
from pesbench.core.interface import Batch, Status, molecules_batch
from pesbench.engine.worker import Worker
from pesbench.models.families import ase
from pesbench.models.families.ase import ASEModel
from pesbench.models.frame_by_frame import evaluate_frame_by_frame
from pesbench.models.models_file import make_entry
from pesbench.models.registry import load
from pesbench.orchestration.requests import uses_gpu


class Asked(Morse):
    """Remembers the atoms that it was given."""

    def __init__(self, device: str = "", dtype: Any = None) -> None:
        super().__init__()
        self.device, self.dtype = device, dtype
        self.atoms_given: list[Atoms] = []

    def calculate(self, atoms, properties=None, system_changes=None) -> None:
        self.atoms_given.append(atoms.copy())
        super().calculate(atoms, properties, system_changes)


def batch_of(atoms: Atoms, charge: int = 0, spin: int = 1) -> Batch:
    return molecules_batch([atoms.positions], [atoms.numbers], [charge], [spin])


def entry(**settings: Any):
    calculator = {"calculator": "test_ase:Asked"}
    return make_entry("m", {"family": "ase"} | calculator | settings)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_ase", sys.modules[__name__])


def given(settings: dict[str, Any], charge: int = 0, spin: int = 1) -> Atoms:
    """The atoms that a calculator gets for water."""
    model = load(entry(**settings), scan_set=None, device="cpu")
    assert model.evaluate(batch_of(molecule("H2O"), charge, spin)).status == (Status.OK,)
    return model.calculator().atoms_given[-1]


# --- charge and spin -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "singlet", "triplet_cation"),
    [
        (None, {"charge": 0, "spin": 1}, {"charge": 1, "spin": 3}),
        ({"charge": "charge", "total_spin": "S"}, {"charge": 0, "total_spin": 0},
         {"charge": 1, "total_spin": 1}),
        ({"uhf": "unpaired"}, {"uhf": 0}, {"uhf": 2}),
        ({"mult": "multiplicity", "spin": "multiplicity", "q": "charge"},
         {"mult": 1, "spin": 1, "q": 0}, {"mult": 3, "spin": 3, "q": 1}),
        ({}, {}, {}),
    ],
)  # fmt: skip
def test_info_holds_the_quantities_that_the_entry_names(info, singlet, triplet_cation) -> None:
    settings = {} if info is None else {"info": info}
    assert given(settings).info == singlet
    assert given(settings, charge=1, spin=3).info == triplet_cation


def test_a_doublet_has_half_a_spin() -> None:
    assert given({"info": {"total_spin": "S"}}, spin=2).info == {"total_spin": 0.5}


def test_initial_charges_and_moments_sum_up_to_charge_and_unpaired_electrons() -> None:
    atoms = given({"initial": True}, charge=-1, spin=3)
    assert atoms.get_initial_charges().sum() == -1
    assert atoms.get_initial_magnetic_moments().sum() == 2
    assert not given({}, charge=-1, spin=3).has("initial_charges")


def test_a_quantity_that_nobody_knows_is_one_line() -> None:
    with pytest.raises(UserError) as caught:
        entry(info={"total_spin": "spin_quantum_number"})
    assert "`info.total_spin`: 'spin_quantum_number' is not known" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"charges": True}, False),
        ({"spins": True, "charges": True}, False),
        ({"charges": True, "info": {"total_spin": "S"}}, True),
        ({"spins": True, "info": {"charge": "charge"}}, True),
        ({"spins": True, "info": {}}, True),
        ({"spins": True, "info": {}, "initial": True}, False),
        ({"info": {}}, False),
    ],
)
def test_what_is_said_to_be_taken_must_be_given(settings: dict[str, Any], refused: bool) -> None:
    made = entry(calculator="ase.calculators.emt:EMT", **settings)
    said = r"model 'm': `(charges|spins): true`, and `info` gives"
    with pytest.raises(UserError, match=said) if refused else contextlib.nullcontext():
        ase.FAMILY.check("m", made.settings)


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        (["H", "Xx"], "model 'm': `elements`: 'Xx' is no element; correct it"),
        (["X"], "'X' is no element"),
        (["h"], "`elements.0`"),
        (["H", "H"], "`elements` holds one value twice"),
    ],
)
def test_an_element_that_is_none_is_one_line(elements: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        ase.FAMILY.check("m", entry(elements=elements).settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_takes_what_its_entry_says() -> None:
    def info(**settings: Any):
        return load(entry(**settings), scan_set=None, device="cpu").info

    assert (info().charges, info().spins) == (False, False)
    assert (info(charges=True).charges, info(spins=True).spins) == (True, True)


# --- a box ---------------------------------------------------------------------------------------


def test_a_box_holds_the_molecule_and_moves_no_atom() -> None:
    atoms, free = given({"vacuum_box_angstrom": 12.5}), given({})
    assert np.array_equal(atoms.positions, free.positions)
    assert atoms.pbc.all()
    assert not free.pbc.any()
    extent = np.ptp(atoms.positions, axis=0).max()
    assert np.array_equal(atoms.cell.array, np.eye(3) * atoms.cell[0, 0])
    assert 0 <= atoms.cell[0, 0] - extent - 12.5 < 1


def test_a_box_changes_a_local_model_by_rounding_only() -> None:
    """EMT takes molecules and periodic systems."""
    rng = np.random.default_rng(0)
    models = [ASEModel(EMT, {"vacuum_box_angstrom": box}) for box in (None, 15.0, 40.0)]
    for name in ("CH3CH2OH", "H2O", "trans-butane"):
        atoms = molecule(name)
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape) + rng.normal(0, 50, 3)
        free, *boxed = [model.evaluate(batch_of(atoms)) for model in models]
        for one in boxed:
            assert one.status == (Status.OK,)
            assert abs(one.energies - free.energies).max() < 1e-10
            assert abs(one.forces - free.forces).max() < 1e-10


def test_a_periodic_system_keeps_its_cell() -> None:
    model = ASEModel(Asked, {"vacuum_box_angstrom": 20.0})
    system = batch_of(molecule("H2O"))
    crystal = Batch(
        system.numbers, system.positions, system.system, 7 * np.eye(3)[None],
        np.ones((1, 3), bool), system.charge, system.spin,
    )  # fmt: skip
    model.evaluate(crystal)
    assert model.calculator().atoms_given[-1].cell[0, 0] == 7


@pytest.mark.parametrize("box", [0, 3.0, -3, float("nan"), True, "30"])
def test_a_box_in_which_images_touch_is_one_line(box: Any) -> None:
    with pytest.raises(UserError, match="`vacuum_box_angstrom`"):
        entry(vacuum_box_angstrom=box)


# --- device and precision ------------------------------------------------------------------------

GIVEN = {"arguments": {"device": "${device}"}}


@pytest.mark.parametrize(
    ("settings", "gpu"),
    [
        ({}, False),
        (GIVEN, True),
        ({"arguments": {"a": [{"call": "a:b", "arguments": {"c": "${device}"}}]}}, True),
        ({"positional": ["${device}"]}, True),
        ({"device": "gpu"}, True),
        (GIVEN | {"device": "cpu"}, False),
    ],
)
def test_an_entry_gets_a_gpu_where_it_names_the_device(settings: dict[str, Any], gpu: bool) -> None:
    assert uses_gpu(entry(**settings), "auto") is gpu
    assert uses_gpu(entry(**settings), "cpu") is False


@pytest.mark.parametrize(
    ("settings", "asked", "device", "told"),
    [
        ({}, "auto", "", "calculator"),
        (GIVEN, "cpu", "cpu", "cpu"),
        (GIVEN, "auto", "cuda", "cuda"),
        (GIVEN, "cuda", "cuda", "cuda"),
        (GIVEN, "cuda:1", "cuda:1", "cuda:1"),
        (GIVEN | {"device": "cpu"}, "auto", "cpu", "cpu"),
        (GIVEN | {"device": "cpu"}, "cuda", "cpu", "cpu"),
        ({"device": "gpu"}, "auto", "", "cuda"),
        ({"device": "gpu"}, "cpu", "", "cpu"),
    ],
)
def test_the_device_of_the_job_reaches_the_calculator(
    settings, asked, device, told, monkeypatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model = load(entry(**settings), scan_set=None, device=asked)
    assert model.calculator().device == device
    assert model.info.device == told


def test_a_gpu_that_is_asked_for_and_not_there_is_the_machines_failure(monkeypatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HostError, match="no GPU"):
        load(entry(**GIVEN), scan_set=None, device="cuda")
    assert load(entry(**GIVEN), scan_set=None, device="auto").info.device == "cpu"


def test_precision_is_what_the_entry_says() -> None:
    arguments = {"dtype": {"object": "numpy:${dtype}"}}
    for dtype, kind in ("float32", np.float32), ("float64", np.float64):
        model = load(entry(arguments=arguments, dtype=dtype), scan_set=None, device="cpu")
        assert model.calculator().dtype is kind
        assert model.info.dtype == dtype
    assert load(entry(), scan_set=None, device="cpu").info.dtype == "calculator"


def test_a_model_without_a_gpu_sees_none(monkeypatch) -> None:
    """A calculator that takes whatever GPU it finds would take that of another job."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    seen = {}
    for name, settings in {"no": {}, "cpu": {"device": "cpu"}, "gpu": {"device": "gpu"}}.items():
        with Worker(fake_entry(**settings), device="auto") as worker:
            seen[name] = worker.call(visible_devices)
    assert seen == {"no": "", "cpu": "", "gpu": "0,1"}


# --- memory of a GPU -----------------------------------------------------------------------------


class FullMemory:
    """As torch where a GPU's memory is held for systems of other sizes."""

    def __init__(self, used: bool = True) -> None:
        self.cuda, self.used, self.emptied, self.needs = self, used, 0, {}

    def is_initialized(self) -> bool:
        return self.used

    def empty_cache(self) -> None:
        self.emptied += 1

    def single(self, system: Batch) -> tuple[float, np.ndarray]:
        if self.emptied < self.needs.get(system.n_atoms, 0):
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return 1.0, np.zeros((system.n_atoms, 3))


def water_and_methane() -> Batch:
    some = [molecule("H2O"), molecule("CH4")]
    return molecules_batch([a.positions for a in some], [a.numbers for a in some], [0, 0], [1, 1])


def test_memory_is_given_back_before_a_system_is_called_too_large(monkeypatch) -> None:
    torch = FullMemory()
    monkeypatch.setitem(sys.modules, "torch", torch)
    torch.needs = {3: 1}
    assert evaluate_frame_by_frame(water_and_methane(), torch.single).status == (Status.OK,) * 2
    assert torch.emptied == 1

    torch.needs = {5: 99}
    result = evaluate_frame_by_frame(water_and_methane(), torch.single)
    assert result.status == (Status.OK, Status.OUT_OF_MEMORY)
    assert "out of memory" in result.messages[1]
    assert torch.emptied == 2


@pytest.mark.parametrize("torch", [None, FullMemory(used=False)])
def test_without_a_gpu_nothing_is_asked_again(torch, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    calls = []

    def single(system: Batch) -> None:
        calls.append(system)
        raise RuntimeError("out of memory")

    result = evaluate_frame_by_frame(water_and_methane(), single)
    assert result.status == (Status.OUT_OF_MEMORY,) * 2
    assert len(calls) == 2


# --- what calculators answer ---------------------------------------------------------------------


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_single_precision_is_taken(tensor: bool, shape: tuple[int, ...]) -> None:
    class Single(Morse):
        def calculate(self, atoms, properties=None, system_changes=None) -> None:
            super().calculate(atoms, properties, system_changes)
            energy, forces = self.results["energy"], self.results["forces"].astype(np.float32)
            energy = np.full(shape, energy, np.float32)
            if tensor:
                import torch

                energy, forces = (torch.tensor(one, requires_grad=True) for one in (energy, forces))
            else:
                forces.flags.writeable = energy.flags.writeable = False
            self.results = {"energy": energy, "forces": forces}

    result, exact = (ASEModel(one, {}).evaluate(water_and_methane()) for one in (Single, Morse))
    assert result.status == (Status.OK,) * 2
    assert result.energies.dtype == result.forces.dtype == np.float64
    assert result.forces.flags.writeable
    assert np.allclose(result.energies, exact.energies, rtol=1e-6)
    assert np.allclose(result.forces, exact.forces, rtol=1e-5, atol=1e-5)


def test_results_of_another_system_are_no_answer() -> None:
    result = ASEModel(SilentAtTimes, {}).evaluate(water_and_methane())
    assert result.status == (Status.OK, Status.ERROR)
    assert "put no 'forces' into its results" in result.messages[1]


def test_keys_that_are_left_out_change_no_digest() -> None:
    """Or every stored result of an entry would be another's."""
    new = {"positional", "device", "dtype", "vacuum_box_angstrom", "info", "initial"}
    assert not new & set(entry().settings)
