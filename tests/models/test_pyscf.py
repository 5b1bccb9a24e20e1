"""Family `pyscf`, against PySCF called otherwise, closed forms and the published DFT values."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import yaml
from ase import Atoms
from ase.build import molecule
from ase.units import Bohr, Hartree

pytest.importorskip("pyscf")

import pyscf

from examples import build_scan_set, toy_scan
from pesbench.core.errors import UserError
from pesbench.core.interface import Batch, Result, Status, molecules_batch
from pesbench.engine.evaluator import why_unsupported
from pesbench.engine.worker import Worker
from pesbench.files.scan_set import ScanSet
from pesbench.models.families import pyscf as family
from pesbench.models.families.pyscf import PySCFModel
from pesbench.models.registry import ModelEntry, check_entry, load
from pesbench.models.roles import role
from pesbench.orchestration.config import read_models, resolve_entry
from pesbench.references.bsct_spice import LEVEL_OF_THEORY

LDA = {"functional": "lda,vwn", "dispersion": "none", "basis": "sto-3g", "grid_level": 1}
B3LYP = LDA | {"functional": "b3lyp", "dispersion": "d3bj"}
WB97M = LDA | {"functional": "wb97m-v", "dispersion": "d3bj"}
# the lowest frame of N-O/19086 (1.391 Å) and the one nearest to 1.3 times its bond length (1.806 Å)
LOWEST, STRETCHED = 34, 54


@pytest.fixture(autouse=True)
def _one_thread():
    before = pyscf.lib.num_threads()
    pyscf.lib.num_threads(1)
    yield
    pyscf.lib.num_threads(before)


def entry(**settings: Any) -> ModelEntry:
    defaults = {"density_fit": True, "conv_tol": 1e-9, "max_memory_mb": 1000, "batch_size": 1}
    return ModelEntry("dft", "pyscf", defaults | LDA | settings)


def model(**settings: Any) -> PySCFModel:
    return load(entry(**settings), scan_set=None, device="auto")


def batch(*systems: Atoms, charge: int = 0, spin: int = 1) -> Batch:
    return molecules_batch(
        [a.positions for a in systems],
        [a.numbers.astype(np.int64) for a in systems],
        [charge] * len(systems),
        [spin] * len(systems),
    )


def water() -> Atoms:
    atoms = molecule("H2O")
    atoms.positions += np.random.default_rng(0).normal(scale=0.05, size=(3, 3))
    return atoms


def directly(atoms: Atoms, xc: str, *, charge: int = 0, spin: int = 1, **more: Any) -> Result:
    """The same by PySCF's own names and units."""
    mol = pyscf.M(
        atom=[(a.symbol, a.position) for a in atoms], unit="Angstrom", charge=charge,
        spin=spin - 1, verbose=0, **({"basis": "sto-3g"} | more),
    )  # fmt: skip
    field = (mol.RKS if spin == 1 else mol.UKS)(xc=xc).density_fit()
    field.grids.level, field.conv_tol = 1, 1e-9
    energy = field.kernel() * Hartree
    forces = -field.nuc_grad_method().kernel() * Hartree / Bohr
    return Result(np.array([energy]), forces, (Status.OK,), ("",))


def assert_same(result: Result, expected: Result) -> None:
    assert result.status == (Status.OK,), result.messages
    # PySCF's bohr differs from ASE's in the ninth digit
    np.testing.assert_allclose(result.energies, expected.energies, atol=3e-6)
    np.testing.assert_allclose(result.forces, expected.forces, atol=3e-5)


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "xc"), [(LDA, "lda,vwn"), (B3LYP, "b3lyp-d3bj"), (WB97M, "wb97m-d3bj")]
)
def test_it_is_what_pyscf_calls_by_one_name(settings, xc):
    assert_same(model(**settings).evaluate(batch(water())), directly(water(), xc))


def test_other_multiplicities_are_unrestricted_and_charges_count():
    cation = batch(water(), charge=1, spin=2)
    assert_same(model(**LDA).evaluate(cation), directly(water(), "lda,vwn", charge=1, spin=2))
    triplet = batch(molecule("O2"), spin=3)
    assert_same(model(**LDA).evaluate(triplet), directly(molecule("O2"), "lda,vwn", spin=3))


def test_one_electron_with_exact_exchange_is_the_lowest_orbital():
    ion = Atoms("H2", [[0, 0, 0], [0, 0, 1.06]])
    mol = pyscf.M(
        atom=[(a.symbol, a.position / Bohr) for a in ion], unit="Bohr", charge=1, spin=1,
        basis="cc-pvtz",
    )  # fmt: skip
    core = mol.intor("int1e_kin") + mol.intor("int1e_nuc")
    lowest = scipy.linalg.eigh(core, mol.intor("int1e_ovlp"), eigvals_only=True)[0]
    expected = (lowest + Bohr / 1.06) * Hartree  # and the repulsion of two protons
    settings = LDA | {"functional": "hf", "basis": "cc-pvtz", "density_fit": False}
    result = model(**settings).evaluate(batch(ion, charge=1, spin=2))
    assert result.energies[0] == pytest.approx(expected, abs=1e-7)


def test_forces_are_the_slope_of_the_energy_dispersion_included():
    rng, step = np.random.default_rng(1), 2e-3
    direction = rng.normal(size=(3, 3))
    direction /= np.linalg.norm(direction)
    settings = B3LYP | {"grid_level": 3, "conv_tol": 1e-11}
    frames = [water() for _ in range(3)]
    frames[1].positions += step * direction
    frames[2].positions -= step * direction
    dft = model(**settings)
    result = dft.evaluate(batch(*frames))
    slope = (result.energies[1] - result.energies[2]) / (2 * step)
    projected = -(result.forces[:3] * direction).sum()
    # PySCF, as most programs, leaves out how the grid moves with the atoms
    assert projected == pytest.approx(slope, abs=5e-4)


def test_dispersion_takes_the_place_of_vv10():
    # water's d3bj is some meV: the energy without it, plus what dftd3 says, is the energy with it
    from pyscf.dispersion.dftd3 import DFTD3Dispersion

    field = model(**WB97M)._mean_field(batch(water()))
    assert not field.do_nlc()
    assert model(**WB97M | {"dispersion": "none"})._mean_field(batch(water())).do_nlc()
    with_it = field.kernel()
    bare = model(**WB97M | {"dispersion": "none"})._mean_field(batch(water()))
    bare.nlc = 0
    d3 = DFTD3Dispersion(field.mol, xc="wb97m", version="d3bj").get_dispersion()["energy"]
    assert d3 < -1e-4
    assert with_it == pytest.approx(bare.kernel() + d3, abs=1e-8)


def test_heavy_elements_get_their_core_potentials():
    iodide = Atoms("HI", [[0, 0, 0], [0, 0, 1.6]])
    settings = LDA | {"basis": "def2-svp"}
    result = model(**settings).evaluate(batch(iodide))
    assert_same(result, directly(iodide, "lda,vwn", basis="def2-svp", ecp={"I": "def2-svp"}))
    assert model(**settings)._mean_field(batch(iodide)).mol.nelectron == 1 + 53 - 28


def test_nothing_is_carried_from_frame_to_frame():
    dft, far = model(**B3LYP), water()
    far.positions[2] *= 1.8
    alone = dft.evaluate(batch(water()))
    among = dft.evaluate(batch(far, water(), far))
    assert among.energies[1] == alone.energies[0]
    np.testing.assert_array_equal(among.forces[3:6], alone.forces)


# --- failures ------------------------------------------------------------------------------------


def test_electrons_that_do_not_fit_the_multiplicity_are_an_error_of_that_frame():
    systems = molecules_batch(
        [water().positions, water().positions], [water().numbers] * 2, [1, 0], [1, 1]
    )
    result = model().evaluate(systems)
    assert result.status == (Status.ERROR, Status.OK)
    assert result.messages[0] == "ValueError: 9 electrons cannot have multiplicity 1"
    assert np.isnan(result.forces[:3]).all()


def test_what_does_not_converge_has_no_energy(monkeypatch):
    monkeypatch.setattr(family, "MAX_CYCLES", 1)
    result = model().evaluate(batch(water()))
    assert result.status == (Status.ERROR,)
    assert result.messages[0] == (
        "SCFNotConvergedError: SCF not converged in 1 cycles of DIIS and 1 of second order"
    )
    assert np.isnan(result.energies).all()


@pytest.mark.parametrize(("formula", "spin"), [("H2O", 1), ("O2", 3)])
def test_the_second_order_solver_ends_where_diis_would(monkeypatch, formula, spin):
    system = batch(molecule(formula), spin=spin)
    expected = model(**B3LYP).evaluate(system)
    monkeypatch.setattr(family, "MAX_CYCLES", 4)
    unfinished = model(**B3LYP)._mean_field(system)
    unfinished.kernel()
    assert not unfinished.converged
    result = model(**B3LYP).evaluate(system)
    assert result.status == (Status.OK,), result.messages
    np.testing.assert_allclose(result.energies, expected.energies, atol=1e-6)
    np.testing.assert_allclose(result.forces, expected.forces, atol=3e-3)


def test_elements_beyond_the_basis_are_unsupported():
    known = model().info
    assert known.elements == frozenset(range(1, 54))  # STO-3G of PySCF ends at iodine
    assert known.charges
    assert why_unsupported(toy_scan("g", "AuC"), known) == "unknown elements: Au"
    assert why_unsupported(toy_scan("h", "OS"), known) == ""


# --- entries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"functional": "b3lyq"}, "`functional: b3lyq`: PySCF knows no such functional"),
        ({"functional": "wb97m-d3bj"}, "give that as `dispersion`"),
        ({"functional": "wb97x-d3"}, "give that as `dispersion`"),
        ({"functional": "mgga_x_br89"}, "needs the Laplacian"),
        ({"basis": "def2-tzvpppd"}, "`basis: def2-tzvpppd`: PySCF has no such basis set"),
        ({"basis": "gth-dzvp"}, "PySCF has no such basis set"),
        ({"dispersion": "d3bj"}, "no parameters for the functional lda,vwn"),
        ({"functional": "wb97x", "dispersion": "d3bj"}, "were made for wb97x-v"),
        ({"dispersion": "d5"}, "`dispersion`: 'd5' is not known"),
        ({"dispersion": "d3"}, "did you mean"),
        ({"grid_level": 12}, "`grid_level` is 12; give a number at most"),
        ({"grid_level": 0}, "give a number at least 1"),
        ({"conv_tol": 0}, "`conv_tol`"),
        ({"functionals": "pbe"}, "unknown key 'functionals'; did you mean 'functional'?"),
    ],
)
def test_bad_entries_are_one_line(tmp_path, change, said):
    with pytest.raises(UserError) as error:
        _resolved(tmp_path, LDA | {"family": "pyscf"} | change)
    message = str(error.value)
    assert said in message
    assert message.startswith(f"{tmp_path / 'models.yaml'}: model 'dft'")
    assert "\n" not in message


def _resolved(folder: Path, content: dict[str, Any]) -> ModelEntry:
    models = folder / "models.yaml"
    models.write_text(yaml.safe_dump({"dft": content}))
    return resolve_entry(read_models(models)["dft"], models, folder)


@pytest.mark.parametrize(
    ("module", "package"), [("pyscf", "pyscf"), ("pyscf.dispersion", "pyscf-dispersion")]
)
def test_what_is_not_installed_is_told(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as error:
        check_entry(entry(**B3LYP))
    assert str(error.value) == (f"model 'dft': {package} is not installed; pip install '.[pyscf]'")
    if module == "pyscf.dispersion":
        check_entry(entry(**LDA))  # needs none


def test_the_shipped_entry_is_a_reference_at_the_level_of_bsct_spice(repo):
    shipped = read_models(repo / "config/models.yaml")["wb97m-d3bj"]
    check_entry(shipped)
    assert role(shipped, LEVEL_OF_THEORY) == "reference"
    assert role(shipped, "GFN2-xTB") == "model"
    assert shipped.settings["timeout_s"] == 3600
    assert shipped.settings["batch_size"] == 1
    info = load(shipped, scan_set=None, device="auto").info
    assert {1, 6, 7, 8, 9, 15, 16, 17, 35, 53} <= info.elements  # those of BSCT-SPICE
    assert info.details["functional"] == "wb97m-v"
    assert info.details["dispersion"] == "d3bj"


# --- as the workflow uses it ---------------------------------------------------------------------


def test_a_worker_leaves_no_file_behind(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.delenv("PYSCF_TMPDIR", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    with Worker(entry(**B3LYP), threads=1) as worker:
        answer = worker.evaluate(batch(water()))
    assert_same(answer.result, directly(water(), "b3lyp-d3bj"))
    assert not list((tmp_path / "here").iterdir())
    assert not [p for p in (tmp_path / "tmp").iterdir() if not p.name.startswith("pymp-")]


def test_it_can_be_the_reference_of_a_scan_set(tmp_path):
    hydrogen = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], info={"id": "hydrogen"})
    hydrogen.write(tmp_path / "molecules.extxyz")
    build_scan_set(
        tmp_path / "molecules.extxyz", entry(), tmp_path / "scans.h5",
        bonds_to_hydrogen=True,
    )  # fmt: skip
    with ScanSet(tmp_path / "scans.h5") as scans:
        (scan_id,) = scans.ids
        scan, (quality, _) = scans.scan(scan_id), scans.quality(scan_id)[:2]
    assert quality != "dropped"
    assert np.isfinite(scan.energy).all()
    # the force along the bond is the slope of the energies beside it
    bond = scan.positions[:, 1] - scan.positions[:, 0]
    along = (scan.forces[:, 1] * bond).sum(axis=1) / scan.coordinate
    slope = np.gradient(scan.energy, scan.coordinate)
    outer = scan.coordinate > 0.6
    np.testing.assert_allclose(along[outer], -slope[outer], atol=0.05)
    assert scan.coordinate[scan.energy.argmin()] == pytest.approx(0.735, abs=0.03)


@pytest.mark.slow
def test_the_level_of_bsct_spice_gives_the_published_values(repo, bsct_scans):
    """Two frames of a 5-atom scan beside those that Psi4 gave; the numbers: docs/references.md."""
    scan = bsct_scans["N-O/19086"]
    shipped = read_models(repo / "config/models.yaml")["wb97m-d3bj"]
    assert scan.n_atoms == 5
    assert scan.energy.argmin() == LOWEST
    equilibrium = scan.coordinate[LOWEST]
    assert np.abs(scan.coordinate - 1.3 * equilibrium).argmin() == STRETCHED
    frames = [LOWEST, STRETCHED]
    dft = molecules_batch(
        list(scan.positions[frames]), [scan.numbers] * 2, [scan.charge] * 2, [scan.spin] * 2
    )
    with Worker(shipped, threads=1, timeout_s=3600) as worker:
        timed = worker.evaluate(dft)
    result = timed.result
    assert result.status == (Status.OK, Status.OK), result.messages
    published = scan.energy[STRETCHED] - scan.energy[LOWEST]
    energy_error = (result.energies[1] - result.energies[0]) - published
    force_error = np.abs(result.forces - np.concatenate(scan.forces[frames]))
    per_frame = force_error.reshape(2, -1).max(axis=1)
    print(
        f"\nfrom {equilibrium:.4f} to {scan.coordinate[STRETCHED]:.4f} Å: published "
        f"{published:.6f} eV, error {1e3 * energy_error:.3f} meV; largest force error "
        f"{1e3 * per_frame[0]:.2f} and {1e3 * per_frame[1]:.2f} meV/Å; total energies off by "
        f"{1e3 * (result.energies - scan.energy[frames])} meV; {timed.wall_s / 2:.0f} s a frame"
    )
    assert published > 1
    assert abs(energy_error) < 1e-3
    assert force_error.max() < 5e-3
