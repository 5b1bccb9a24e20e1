"""Harmonic frequencies: closed forms, ASE's own, failures, checkpoints and scores."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_masses, covalent_radii
from ase.vibrations import Vibrations as ASEVibrations
from scipy import constants
from scipy.spatial.transform import Rotation

import fake_calculators
from examples import fake_entry, faulty, write_toys, written_entry
from pesbench import cli
from pesbench.core.coordinates.bond import bond_scans
from pesbench.core.errors import UserError
from pesbench.core.interface import Result, Status, check_result
from pesbench.core.systems import System
from pesbench.engine.relaxation import Relaxed
from pesbench.engine.worker import Worker
from pesbench.files.atomic import write_json
from pesbench.files.scan_set import ScanSet
from pesbench.metrics.stability import degrees_of_freedom
from pesbench.models.as_calculator import ModelCalculator
from pesbench.models.families.perturbed import PerturbedModel
from pesbench.models.registry import ModelEntry
from pesbench.tasks.vibrations import molecules, normal_modes
from pesbench.tasks.vibrations import run as vibrations
from pesbench.tasks.vibrations.metrics import compare_frequencies, count_imaginary, geometry_rmsd
from pesbench.tasks.vibrations.molecules import find_vibrations
from pesbench.tasks.vibrations.score import COLUMNS, METRICS, vibration_rows
from pesbench.tasks.vibrations.section import frequency_errors
from pesbench.tasks.vibrations.settings import VibrationSettings
from pesbench.tasks.vibrations.stored import Vibrations, write_vibrations
from pictures import covered
from shards import run_vibrations, write_vibration_scores

SETTINGS = VibrationSettings()


def cm1(curvature):
    """√λ/(2πc) in cm⁻¹ of a mass-weighted curvature in eV/Å²/amu, with CODATA by scipy."""
    si = np.asarray(curvature) * constants.eV / constants.angstrom**2 / constants.atomic_mass
    return np.sign(si) * np.sqrt(np.abs(si)) / (2 * np.pi * constants.c * 100)


def turned(positions, seed=0):
    rotation = Rotation.random(rng=np.random.default_rng(seed))
    return rotation.apply(positions) + np.array([3.0, -1.0, 2.0])


def system(name, symbols, positions, bonds=((0, 1),)):
    atoms = Atoms(symbols, positions)
    return System(name, atoms.numbers.astype(np.int64), atoms.positions, np.array(bonds))


# --- closed forms --------------------------------------------------------------------------------


def valence(gradients, constants_):
    """Hessian Σ k ∇q ∇qᵀ of coordinates q that are 0 at the geometry."""
    rows = [np.ravel(gradient) for gradient in gradients]
    return sum(k * np.outer(row, row) for k, row in zip(constants_, rows, strict=True))


def test_a_diatomic_is_the_root_of_the_force_constant_over_the_reduced_mass():
    positions = turned([[0, 0, 0], [1.13, 0, 0]])
    axis = (positions[1] - positions[0]) / 1.13
    numbers = np.array([6, 8])
    found = normal_modes.frequencies(valence([[-axis, axis]], [118.7]), numbers, positions, 1)
    masses = atomic_masses[numbers]
    expected = cm1(118.7 * (1 / masses[0] + 1 / masses[1]))
    assert expected == pytest.approx(2169, abs=5)  # 1902 N/m: carbon monoxide
    assert found.internal_cm1 == pytest.approx([expected], rel=1e-6)
    assert np.abs(found.external_cm1).max() < 1e-2


def bent_xy2(length, angle):
    """Water-like: X, Y, Y with ∇ of the two bond lengths and of the angle."""
    half = np.deg2rad(angle) / 2
    one, two = np.array([np.sin(half), np.cos(half), 0]), np.array([-np.sin(half), np.cos(half), 0])
    # the angle grows where the hydrogens move at right angles to their bonds, away from the axis
    up, down = (
        np.array([np.cos(half), -np.sin(half), 0]),
        np.array([-np.cos(half), -np.sin(half), 0]),
    )
    gradients = [
        [-one, one, 0 * one],
        [-two, 0 * two, two],
        [-(up + down) / length, up / length, down / length],
    ]
    return np.array([0 * one, length * one, length * two]), gradients


def test_a_water_like_molecule_has_the_frequencies_of_its_valence_force_field():
    """Herzberg, Infrared and Raman Spectra (1945), II.168: bent XY2, k₁ and k_δ/l²."""
    length, angle, stretch, bend = 0.96, 104.5, 48.0, 4.3
    positions, gradients = bent_xy2(length, angle)
    matrix = valence(gradients, [stretch, stretch, bend])
    turn = Rotation.random(rng=np.random.default_rng(4)).as_matrix()
    block = np.kron(np.eye(3), turn)
    found = normal_modes.frequencies(
        block @ matrix @ block.T, np.array([8, 1, 1]), positions @ turn.T, 3
    )
    m_x, m_y = atomic_masses[8], atomic_masses[1]
    s, c = np.sin(np.deg2rad(angle / 2)) ** 2, np.cos(np.deg2rad(angle / 2)) ** 2
    per_length = bend / length**2
    total = (1 + 2 * m_y / m_x * c) * stretch / m_y + 2 * (1 + 2 * m_y / m_x * s) * per_length / m_y
    product = 2 * (1 + 2 * m_y / m_x) * stretch * per_length / m_y**2
    root = np.sqrt(total**2 / 4 - product)
    antisymmetric = (1 + 2 * m_y / m_x * s) * stretch / m_y
    expected = cm1(np.sort([total / 2 - root, total / 2 + root, antisymmetric]))
    assert found.internal_cm1 == pytest.approx(expected, rel=1e-6)
    assert 1500 < expected[0] < 1700  # it is like water
    assert 3600 < expected[1] < expected[2] < 3900


def linear_xy2(length, stretch, bend):
    """Y, X, Y on a line: Hessian, and the closed forms (Herzberg, II.149)."""
    axis, zero = np.array([1.0, 0, 0]), np.zeros(3)
    gradients = [[-axis, axis, zero], [zero, -axis, axis]]
    gradients += [[e / length, -2 * e / length, e / length] for e in np.eye(3)[1:]]
    matrix = valence(gradients, [stretch, stretch, bend, bend])
    m_y, m_x = atomic_masses[8], atomic_masses[6]
    curvatures = [
        stretch / m_y,
        (1 + 2 * m_y / m_x) * stretch / m_y,
        *([2 * (1 + 2 * m_y / m_x) * bend / length**2 / m_y] * 2),
    ]
    positions = np.outer([-length, 0, length], axis)
    return positions, matrix, np.sort(cm1(curvatures))


def test_a_linear_molecule_has_one_vibration_more():
    positions, matrix, expected = linear_xy2(1.16, 97.0, 4.9)
    numbers = np.array([8, 6, 8])
    found = normal_modes.frequencies(matrix, numbers, positions, degrees_of_freedom(3, True))
    assert found.internal_cm1 == pytest.approx(expected, rel=1e-6)
    assert len(found.external_cm1) == 5
    with pytest.raises(ValueError, match="one straight line"):
        normal_modes.frequencies(matrix, numbers, positions, degrees_of_freedom(3, False))


def test_a_saddle_point_has_imaginary_modes_which_are_negative():
    positions, matrix, expected = linear_xy2(1.16, 97.0, -0.5)
    found = normal_modes.frequencies(matrix, np.array([8, 6, 8]), positions, 4).internal_cm1
    assert found == pytest.approx(expected, rel=1e-6)
    assert found[0] == pytest.approx(found[1])
    assert found[1] < -100 < 0 < found[2]
    assert count_imaginary(found) == 2


def test_a_flat_surface_has_frequencies_of_zero():
    positions = molecule("C2H6").positions
    found = normal_modes.frequencies(np.zeros((24, 24)), molecule("C2H6").numbers, positions, 18)
    assert np.array_equal(found.internal_cm1, np.zeros(18))
    assert len(found.external_cm1) == 6


# --- what is projected out -----------------------------------------------------------------------


def random_molecule(seed=0, n=5):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(3 * n, 3 * n))
    numbers = rng.choice([1, 6, 8, 16], n)
    return rng.normal(size=(n, 3)) * 1.5, numbers, half @ half.T, rng


def test_curvature_along_translations_and_rotations_does_not_touch_vibrations():
    positions, numbers, matrix, rng = random_molecule()
    root = np.sqrt(np.repeat(atomic_masses[numbers], 3))
    before = normal_modes.frequencies(matrix, numbers, positions, 9)
    basis = normal_modes.external_motions(positions, atomic_masses[numbers], 6)
    inside = np.linalg.qr(np.concatenate([basis, np.eye(15)], axis=1))[0][:, 6:]
    # among the external ones, and between them and vibrations: what no invariant model has
    block = rng.normal(size=(6, 6)) + 40 * np.eye(6)
    mixed = inside @ rng.normal(size=(9, 6)) @ basis.T
    added = basis @ (block + block.T) @ basis.T + mixed + mixed.T
    after = normal_modes.frequencies(matrix + np.outer(root, root) * added, numbers, positions, 9)
    assert after.internal_cm1 == pytest.approx(before.internal_cm1, rel=1e-8)
    weighted = basis.T @ (matrix / np.outer(root, root) + added) @ basis
    assert after.external_cm1 == pytest.approx(cm1(np.linalg.eigvalsh(weighted)), rel=1e-6)
    assert np.abs(after.external_cm1 - before.external_cm1).max() > 100


def test_external_motions_are_those_of_a_rigid_body():
    positions, numbers, _, rng = random_molecule(3)
    masses = atomic_masses[numbers]
    basis = normal_modes.external_motions(positions, masses, 6)
    assert np.allclose(basis.T @ basis, np.eye(6), atol=1e-12)
    velocity = rng.normal(size=3) + np.cross(rng.normal(size=3), positions)
    weighted = (np.sqrt(masses)[:, None] * velocity).ravel()
    assert np.allclose(basis @ (basis.T @ weighted), weighted, atol=1e-10)


def test_frequencies_do_not_depend_on_place_and_direction():
    positions, numbers, matrix, _ = random_molecule(1)
    turn = Rotation.random(rng=np.random.default_rng(2)).as_matrix()
    block = np.kron(np.eye(5), turn)
    here = normal_modes.frequencies(matrix, numbers, positions, 9)
    there = normal_modes.frequencies(
        block @ matrix @ block.T, numbers, positions @ turn.T + [5.0, 6.0, 7.0], 9
    )
    assert there.internal_cm1 == pytest.approx(here.internal_cm1, rel=1e-8)
    assert there.external_cm1 == pytest.approx(here.external_cm1, rel=1e-6)


# --- differences ---------------------------------------------------------------------------------


def test_differences_of_linear_forces_are_exact_row_by_row():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(9, 9))  # not symmetric: rows and columns are told apart
    start = rng.normal(size=(3, 3))
    copies = normal_modes.displaced(start, 0.05)
    assert copies.shape == (18, 3, 3)
    assert copies[2 * 4, 1, 1] == pytest.approx(start[1, 1] + 0.05)  # y of atom 1
    assert copies[2 * 4 + 1, 1, 1] == pytest.approx(start[1, 1] - 0.05)
    assert np.count_nonzero(copies - start) == 18
    forces = -np.einsum("ij,cj->ci", matrix, copies.reshape(18, 9)).reshape(18, 3, 3)
    assert np.allclose(normal_modes.hessian(forces, 0.05), matrix, atol=1e-12)


def test_asymmetry_is_the_share_of_the_antisymmetric_part():
    symmetric, turn = np.diag([3.0, 4.0]), np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert normal_modes.asymmetry(symmetric) == 0.0
    assert normal_modes.asymmetry(turn) == pytest.approx(1.0)
    assert normal_modes.asymmetry(symmetric + turn) == pytest.approx(np.sqrt(2 / 27))
    assert np.isnan(normal_modes.asymmetry(np.zeros((2, 2))))


# --- the metric ----------------------------------------------------------------------------------


def test_errors_of_known_spectra():
    found = compare_frequencies(
        np.array([3000.0, -150.0, 1010.0]), np.array([-30.0, 1000.0, 2990.0])
    )
    assert found.mae_cm1 == pytest.approx((120 + 10 + 10) / 3)
    assert found.bias_cm1 == pytest.approx((-120 + 10 + 10) / 3)
    assert found.largest_cm1 == 120
    assert (found.n_imaginary, found.n_imaginary_reference, found.n_imaginary_excess) == (1, 1, 0)


def test_imaginary_modes_count_beyond_the_threshold_and_in_excess():
    soft, model = np.array([-20.0, -1.0, 50.0]), np.array([-20.1, -300.0, 50.0])
    assert count_imaginary(soft) == 0
    assert count_imaginary(model) == 2
    assert compare_frequencies(model, soft).n_imaginary_excess == 2
    assert compare_frequencies(soft, model).n_imaginary_excess == 0
    own = np.array([-100.0, 40.0, 50.0])
    assert compare_frequencies(model, own).n_imaginary_excess == 1


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ([1.0, 2.0], [1.0], "2 modes cannot be compared with 1"),
        ([], [], "0 modes"),
        ([1.0, np.nan], [1.0, 2.0], "not finite"),
        ([1.0, 2.0], [np.inf, 2.0], "not finite"),
    ],
)
def test_spectra_that_cannot_be_compared(one, other, said):
    with pytest.raises(ValueError, match=said):
        compare_frequencies(np.array(one), np.array(other))


def test_rmsd_of_superposed_geometries():
    positions = molecule("CH3CH2OH").positions
    assert geometry_rmsd(positions, turned(positions)) < 1e-7
    # all distances grow by 1 %: the best superposition is the obvious one
    centred = positions - positions.mean(axis=0)
    expected = 0.01 * np.sqrt(np.mean(np.sum(centred**2, axis=1)))
    assert geometry_rmsd(positions, turned(1.01 * centred)) == pytest.approx(expected, rel=1e-9)
    chiral = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    assert geometry_rmsd(chiral, chiral * [1, 1, -1]) > 0.5  # a mirror image is another molecule
    line = np.outer([0.0, 1.0, 2.5], [1, 0, 0])
    assert geometry_rmsd(line, turned(line)) < 1e-7


# --- molecules with a model in this process ------------------------------------------------------


def by_molecule(function):
    """A model from a function of numbers and positions, the molecules of a batch one by one."""

    def evaluate(batch):
        parts = [np.flatnonzero(batch.system == s) for s in range(batch.n_systems)]
        answers = [function(batch.numbers[p], batch.positions[p]) for p in parts]
        count = len(parts)
        return check_result(
            batch,
            Result(
                np.array([energy for energy, _ in answers]),
                np.concatenate([forces for _, forces in answers]),
                (Status.OK,) * count,
                ("",) * count,
            ),
        )

    return evaluate


morse = by_molecule(fake_calculators.morse)
CN = system("cn", "CN", [[0, 0, 0], [1.2, 0.5, -0.4]])
OCS = system("ocs", "OCS", [[0, 0, 0], [1.4, 0.1, 0], [0.7, 1.2, 0.3]], [[0, 1], [1, 2]])


def morse_constant():
    return 2 * fake_calculators.DEPTH_EV * fake_calculators.STEEPNESS**2


def test_a_morse_diatomic_from_its_forces():
    """Harmonic but for the third derivative of the force, a²δ²·7/6 by Taylor."""
    (found,) = find_vibrations([CN], morse, SETTINGS)
    masses = atomic_masses[[6, 7]]
    harmonic = cm1(morse_constant() * (1 / masses[0] + 1 / masses[1]))
    steep = fake_calculators.STEEPNESS * SETTINGS.displacement_angstrom
    assert found.frequencies_cm1 == pytest.approx([harmonic], rel=4 * steep**2)
    assert (found.status, found.message, found.relaxed) == (Status.OK, "", True)
    assert found.relax_fmax <= 0.01
    length = np.linalg.norm(found.positions[1] - found.positions[0])
    assert length == pytest.approx(covalent_radii[[6, 7]].sum(), abs=1e-3)
    assert found.hessian.shape == (6, 6)
    assert found.asymmetry < 1e-3
    assert np.abs(found.external_cm1).max() < 30


def test_many_molecules_share_batches_and_none_gets_anothers_answer():
    calls = []

    def evaluate(batch):
        calls.append(batch.n_systems)
        return morse(batch)

    systems = [OCS, CN, system("no", "NO", [[0, 0, 0], [1.3, 0.1, 0.2]])]
    together = find_vibrations(systems, evaluate, SETTINGS)
    assert calls[-1] == 18 + 12 + 12
    assert [one.system for one in together] == ["ocs", "cn", "no"]
    for one, alone in zip(together, systems, strict=True):
        (found,) = find_vibrations([alone], morse, SETTINGS)
        assert np.array_equal(one.hessian, found.hessian)
        assert np.array_equal(one.frequencies_cm1, found.frequencies_cm1)
    assert len(together[0].frequencies_cm1) == 3


def test_a_molecule_that_does_not_relax_has_frequencies_and_says_so():
    (found,) = find_vibrations([OCS], morse, replace(SETTINGS, relax_steps=1))
    assert (found.status, found.relaxed, found.relax_steps) == (Status.OK, False, 1)
    assert found.message == "not relaxed after 1 steps"
    assert found.relax_fmax > 0.01
    assert np.isfinite(found.frequencies_cm1).all()


def test_a_single_atom_does_not_vibrate():
    lonely = system("he", "He", [[0, 0, 0]], np.zeros((0, 2), int))
    atom, other = find_vibrations([lonely, CN], morse, SETTINGS)
    assert (atom.status, len(atom.frequencies_cm1)) == (Status.UNSUPPORTED, 0)
    assert other.status is Status.OK


def fails_once_relaxed(status, hits):
    """Morse that fails on some displaced copies of the molecule `cn`."""

    def evaluate(batch):
        result = morse(batch)
        if len({label[0] for label in batch.labels}) == batch.n_systems:  # relaxation
            return result
        hit = [label[0] == "cn" and label[1] in hits for label in batch.labels]
        pairs = zip(hit, result.status, strict=True)
        return replace(
            result,
            status=tuple(status if h else s for h, s in pairs),
            messages=tuple("it is gone" if h else "" for h in hit),
        )

    return evaluate


@pytest.mark.parametrize("status", [Status.NONFINITE, Status.CRASHED, Status.ERROR])
def test_a_failure_on_a_displaced_copy_is_the_molecules_with_the_place(status):
    evaluate = fails_once_relaxed(status, hits=(11,))
    cn, ocs = find_vibrations([CN, OCS], evaluate, SETTINGS)
    assert cn.status is status
    assert cn.message == "atom 1 moved along -z: it is gone"
    assert cn.relaxed
    assert cn.hessian.shape == (6, 6)
    assert np.isnan(cn.hessian).all()
    assert np.isnan(cn.frequencies_cm1).all()
    assert cn.frequencies_cm1.shape == (1,)
    assert ocs.status is Status.OK
    unrelaxed = replace(SETTINGS, relax_steps=0)
    (cn,) = find_vibrations([CN], fails_once_relaxed(status, (0,)), unrelaxed)
    assert cn.message == "not relaxed after 0 steps; atom 0 moved along +x: it is gone"


def test_a_model_that_cannot_be_asked_at_all():
    def evaluate(batch):
        count = batch.n_systems
        return Result(
            None, np.full((batch.n_atoms, 3), np.nan), (Status.ERROR,) * count, ("no",) * count
        )

    (found,) = find_vibrations([CN], evaluate, SETTINGS)
    assert (found.status, found.message) == (Status.ERROR, "relaxation step 0: error: no")
    assert np.array_equal(found.positions, CN.positions)


def test_forces_of_an_absurd_size_are_no_frequencies():
    def evaluate(batch):
        result = morse(batch)
        if len({label[0] for label in batch.labels}) == batch.n_systems:
            return result
        sign = np.array([1 - 2 * (label[1] % 2) for label in batch.labels])[batch.system]
        return replace(result, forces=result.forces + 1.7e308 * sign[:, None])

    (found,) = find_vibrations([CN], evaluate, SETTINGS)
    assert (found.status, found.message) == (Status.NONFINITE, "the Hessian is not finite")


def test_a_bent_molecule_that_becomes_a_line(monkeypatch):
    line = np.outer([0.0, 1.2, 2.6], [1.0, 0, 0])
    monkeypatch.setattr(
        molecules, "relax", lambda *_, **__: [Relaxed(line, Status.OK, True, 7, 0.001)]
    )
    (found,) = find_vibrations([OCS], morse, SETTINGS)
    assert found.status is Status.ERROR
    assert found.message == "relaxed until all atoms stand on one straight line"
    assert (found.relaxed, found.relax_steps) == (True, 7)


def springs(numbers, positions, pull=0.0):
    """A spring to each atom's place at the start, and a force that turns about z."""
    forces = -(positions - START)
    return 0.5 * float(np.sum(forces**2)), forces + pull * np.cross([0, 0, 1.0], positions - START)


START = molecule("H2O").positions
WATER = system("water", "OHH", START, [[0, 1], [0, 2]])


def test_forces_that_are_no_gradient_show_in_the_asymmetry():
    (conservative,) = find_vibrations([WATER], by_molecule(springs), SETTINGS)
    assert conservative.asymmetry < 1e-12
    (curled,) = find_vibrations([WATER], by_molecule(lambda z, x: springs(z, x, 0.2)), SETTINGS)
    # H = 1 − p J with J antisymmetric, ‖J‖² = 2 an atom
    assert curled.asymmetry == pytest.approx(0.2 * np.sqrt(2 / (3 + 2 * 0.04)), rel=1e-9)
    # the symmetric part is the same
    assert curled.frequencies_cm1 == pytest.approx(conservative.frequencies_cm1, rel=1e-9)


def test_a_model_that_is_tied_to_a_place_is_treated_like_any_other():
    """Springs to fixed points: the curvature is 1 eV/Å² everywhere, along rotations, too."""
    (found,) = find_vibrations([WATER], by_molecule(springs), SETTINGS)
    root = np.sqrt(np.repeat(atomic_masses[WATER.numbers], 3))
    basis = normal_modes.external_motions(WATER.positions, atomic_masses[WATER.numbers], 6)
    outside = basis.T @ np.diag(1 / root**2) @ basis
    assert found.external_cm1 == pytest.approx(cm1(np.linalg.eigvalsh(outside)), rel=1e-6)
    assert found.external_cm1.min() > 100
    assert len(found.frequencies_cm1) == 3


# --- tight binding -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gfn2():
    from pesbench.models.families.tblite import TBLiteModel

    return TBLiteModel("GFN2-xTB").evaluate


def _built(name, formula, bonds):
    atoms = molecule(formula)
    return System(name, atoms.numbers.astype(np.int64), atoms.positions, np.array(bonds))


@pytest.mark.parametrize(("formula", "n_vibrations"), [("H2O", 3), ("CO2", 4), ("CH3SH", 12)])
def test_frequencies_of_gfn2_are_those_of_ases_own_vibrations(
    gfn2, tmp_path, formula, n_vibrations
):
    """ASE projects nothing out: near a minimum that makes no difference to vibrations."""
    (found,) = find_vibrations([_built("x", formula, [[0, 1]])], gfn2, SETTINGS)
    assert found.relaxed
    atoms = Atoms(found.numbers, found.positions, calculator=ModelCalculator(gfn2))
    theirs = ASEVibrations(atoms, name=str(tmp_path / "vib"), delta=0.01)
    theirs.run()
    raw = theirs.get_frequencies()
    signed = np.sort(raw.real - raw.imag)
    assert len(found.frequencies_cm1) == n_vibrations
    assert np.abs(found.frequencies_cm1 - signed[-n_vibrations:]).max() < 0.01
    assert np.abs(found.external_cm1 - signed[:-n_vibrations]).max() < 0.1


def test_planar_ammonia_is_a_saddle_point_of_gfn2_and_the_pyramid_is_none(gfn2):
    pyramid = _built("ammonia", "NH3", [[0, 1], [0, 2], [0, 3]])
    angles = np.deg2rad([0, 120, 240])
    flat = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    planar = replace(pyramid, id="planar", positions=np.concatenate([np.zeros((1, 3)), flat]))
    minimum, saddle = find_vibrations([pyramid, planar], gfn2, SETTINGS)
    assert minimum.relaxed
    assert saddle.relaxed
    found = compare_frequencies(saddle.frequencies_cm1, minimum.frequencies_cm1)
    assert (found.n_imaginary, found.n_imaginary_excess) == (1, 1)
    assert saddle.frequencies_cm1[0] < -300
    assert minimum.frequencies_cm1[0] > 800


def test_a_curl_of_known_size_shows_on_a_real_molecule(gfn2):
    class Base:
        info, evaluate = None, staticmethod(gfn2)

    water = _built("water", "H2O", [[0, 1], [0, 2]])
    curled = PerturbedModel(Base(), "curl", 0.1, {}).evaluate
    still = replace(SETTINGS, relax_steps=0)  # a curl force has no minimum
    (plain,), (turned_,) = (find_vibrations([water], model, still) for model in (gfn2, curled))
    assert 10 * plain.asymmetry < turned_.asymmetry
    assert plain.asymmetry < 5e-4


# --- the command ---------------------------------------------------------------------------------

SYSTEMS = {
    "cc": system("cc", "CC", [[0, 0, 0], [1.4, 0.1, 0]]),
    "cn": CN,
    "no": system("no", "NO", [[0, 0, 0], [1.3, 0.1, 0.2]]),
    "ocs": OCS,
}
NAMES = tuple(SYSTEMS)


def scans_of(systems):
    return [scan for one in systems for scan in bond_scans(one)]


@pytest.fixture(scope="module")
def toys_set(tmp_path_factory):
    path = tmp_path_factory.mktemp("vibrations") / "toys.h5"
    write_toys(path, scans_of(SYSTEMS.values()))
    return path


def _run(entry, path, out, names=NAMES, settings=SETTINGS):
    run_vibrations(entry, path, names, settings, out, device="cpu")
    with Vibrations(out) as file:
        return {name: file.molecule(name) for name in file.systems}


class _StoppedError(Exception):
    """Stands for a kill."""


def _stop_after(patch, count):
    """Stop when so many groups of molecules are done."""
    original, calls = vibrations.find_vibrations, 0

    def stopping(*arguments):
        nonlocal calls
        calls += 1
        if calls > count:
            raise _StoppedError
        return original(*arguments)

    patch.setattr(vibrations, "find_vibrations", stopping)


def _same(one, other):
    return all(
        np.array_equal(getattr(one, key), getattr(other, key), equal_nan=True)
        if isinstance(getattr(one, key), np.ndarray | float)
        else getattr(one, key) == getattr(other, key)
        for key in vars(one)
    )


def test_the_file_holds_what_was_found_and_how(toys_set, tmp_path):
    out = tmp_path / "v.h5"
    done = _run(fake_entry(batch_size=7), toys_set, out, names=("ocs", "no"))
    for one in find_vibrations([SYSTEMS["no"], OCS], morse, SETTINGS):
        assert _same(done.pop(one.system), one)
    assert not done
    with Vibrations(out) as file, ScanSet(toys_set) as scan_set:
        attributes = file.attributes
        assert file.model == "fake"
        assert file.scan_set_sha256 == scan_set.sha256
    assert file.settings == {"displacement_angstrom": 0.01, "relax_steps": 500, "relax_fmax": 0.01}
    assert json.loads(attributes["provenance"])["packages"]["ase"]
    assert json.loads(attributes["entry"])["settings"]["calculator"] == "fake_calculators:Morse"
    assert json.loads(attributes["batch_limit"]) == {"systems": 7, "atoms": None}
    assert attributes["times_interrupted"] == 0
    assert attributes["wall_s"] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.h5"]


def test_a_model_that_dies_costs_the_molecule_it_died_on(toys_set, tmp_path):
    """In the supervised process: a segmentation fault on one formula, NaN on another."""
    done = _run(faulty("segfault", arguments={"formulas": ["CN"]}), toys_set, tmp_path / "v.h5")
    assert done["cn"].status is Status.CRASHED
    assert "relaxation step 0" in done["cn"].message
    assert {done[name].status for name in ("cc", "no", "ocs")} == {Status.OK}
    done = _run(faulty("nan_energy", arguments={"formulas": ["NO"]}), toys_set, tmp_path / "w.h5")
    assert done["no"].status is Status.NONFINITE
    assert done["no"].message == "relaxation step 0: nonfinite: energy or force is not finite"
    assert np.isnan(done["no"].frequencies_cm1).all()


def test_a_model_that_dies_on_everything_is_given_up(toys_set, tmp_path):
    done = _run(faulty("exit"), toys_set, tmp_path / "v.h5")
    assert {one.status for one in done.values()} == {Status.CRASHED}
    tried = ["not tried: the worker died or hung on 3" not in done[name].message for name in NAMES]
    assert tried == [True, True, True, False]


def test_deaths_count_in_a_row_and_over_a_kill(toys_set, tmp_path, monkeypatch):
    five = [*SYSTEMS.values(), system("so", "SO", [[0, 0, 0], [1.5, 0.1, 0.2]])]
    write_toys(tmp_path / "five.h5", scans_of(five))
    entry = faulty("exit", arguments={"formulas": ["C2", "NO", "COS"]})
    names = [one.id for one in five]
    done = _run(entry, tmp_path / "five.h5", tmp_path / "v.h5", names)
    assert [name for name in names if done[name].status is Status.OK] == ["cn", "so"]
    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        with pytest.raises(_StoppedError):
            _run(faulty("exit"), toys_set, tmp_path / "w.h5")
    done = _run(faulty("exit"), toys_set, tmp_path / "w.h5")
    assert "not tried: the worker died or hung on 3" in done["ocs"].message


def test_a_model_that_does_not_load_or_does_not_come_back(toys_set, tmp_path):
    done = _run(fake_entry("construction_raises"), toys_set, tmp_path / "v.h5")
    assert tuple(done) == NAMES
    for one in done.values():
        assert one.status is Status.ERROR
        assert "no parameters for this method" in one.message
    arguments = {"marker": str(tmp_path / "marker"), "formula": "CN"}
    entry = fake_entry("dies_and_does_not_come_back", arguments=arguments)
    done = _run(entry, toys_set, tmp_path / "w.h5")
    assert done["cc"].status is Status.OK
    assert done["cn"].status is Status.CRASHED
    for name in ("no", "ocs"):
        assert done[name].status is Status.ERROR
        assert "the weights are gone" in done[name].message


def test_elements_that_a_model_does_not_know(toys_set, tmp_path):
    tally = tmp_path / "tally"
    entry = fake_entry(elements=["C", "N"], arguments={"tally": str(tally)})
    done = _run(entry, toys_set, tmp_path / "v.h5")
    assert (done["ocs"].status, done["ocs"].message) == (
        Status.UNSUPPORTED, "unknown elements: O, S",
    )  # fmt: skip
    assert done["cn"].status is Status.OK
    assert {line.split()[0] for line in tally.read_text().splitlines()} == {"C2", "CN"}


def test_a_model_of_forces_only_has_frequencies_and_one_of_energies_only_none(toys_set, tmp_path):
    done = _run(fake_entry("ForcesOnly"), toys_set, tmp_path / "v.h5", ("cn",))
    (plain,) = find_vibrations([CN], morse, SETTINGS)
    assert np.array_equal(done["cn"].frequencies_cm1, plain.frequencies_cm1)
    done = _run(fake_entry("EnergyOnly"), toys_set, tmp_path / "w.h5", ("cn",))
    assert done["cn"].status is Status.ERROR
    assert "has no forces" in done["cn"].message


def test_what_is_refused(toys_set, tmp_path):
    out = tmp_path / "v.h5"
    control = ModelEntry("control-zero", "control", {"control": "zero"})
    with pytest.raises(UserError, match="a control is defined on the frames of scans only"):
        _run(control, toys_set, out)
    with pytest.raises(UserError, match="no molecule 'ethane' in this set"):
        _run(fake_entry(), toys_set, out, ("cn", "ethane"))
    for change, said in (
        ({"displacement_angstrom": 0.0}, "`displacement_angstrom` is 0.0; give a number above 0"),
        (
            {"displacement_angstrom": 0.2},
            "at most 0.1 .Displacement of an atom",
        ),
        ({"relax_fmax": float("nan")}, "`relax_fmax` is nan"),
        ({"relax_steps": -1}, "`relax_steps` is -1; give a whole number of at least 0"),
    ):
        with pytest.raises(UserError, match=said):
            _run(fake_entry(), toys_set, out, settings=replace(SETTINGS, **change))
    with pytest.raises(UserError, match="no such file of vibrations; make it with the rule `run`"):
        Vibrations(out)
    with pytest.raises(UserError, match="not a file of vibrations of version 1"):
        Vibrations(toys_set)
    assert not list(tmp_path.iterdir())


def test_molecules_whose_scans_are_all_dropped_are_passed_over(tmp_path, caplog):
    """As their scans are in an evaluation; one scan that is left is enough."""
    scans = scans_of(SYSTEMS.values())
    one_kept = next(s for s in scans if s.system == "ocs").id
    dropped = [
        replace(s, quality="dropped") if s.system in ("no", "ocs") and s.id != one_kept else s
        for s in scans
    ]
    write_toys(tmp_path / "s.h5", dropped)
    done = _run(fake_entry(), tmp_path / "s.h5", tmp_path / "v.h5")
    assert tuple(done) == ("cc", "cn", "ocs")
    assert caplog.messages[0] == "passed over, all of their scans are dropped: no"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_interrupted_command_continues_to_the_bit(toys_set, tmp_path, monkeypatch, count):
    tally, out = tmp_path / "tally", tmp_path / "v.h5"
    entry = faulty("nan_energy", arguments={"formulas": ["CN"], "tally": str(tally)}, batch_size=5)
    whole = _run(entry, toys_set, tmp_path / "whole.h5")
    assert whole["cn"].status is Status.NONFINITE
    frames = tally.read_text().splitlines()
    tally.unlink()
    with monkeypatch.context() as patch:
        _stop_after(patch, count)
        with pytest.raises(_StoppedError):
            _run(entry, toys_set, out)
    assert not out.exists()
    done = _run(entry, toys_set, out)
    assert all(_same(done[name], whole[name]) for name in NAMES)
    assert tally.read_text().splitlines() == frames  # no molecule twice
    assert not (tmp_path / "v.h5.checkpoint").exists()
    with Vibrations(out) as file:
        assert file.attributes["times_interrupted"] == 1


def test_a_checkpoint_of_another_model_is_not_used(toys_set, tmp_path, monkeypatch, caplog):
    out = tmp_path / "v.h5"
    with monkeypatch.context() as patch:
        _stop_after(patch, 2)
        with pytest.raises(_StoppedError):
            _run(faulty("nan_energy"), toys_set, out)
    done = _run(fake_entry(), toys_set, out)
    assert {one.status for one in done.values()} == {Status.OK}
    assert "made with another model; starting anew" in caplog.text


def test_a_batched_model_takes_molecules_together(toys_set, tmp_path, monkeypatch):
    start, evaluate, calls = Worker.start, Worker.evaluate, []

    def batched(self):
        self.info = replace(start(self), batched=True)
        return self.info

    def counted(self, batch):
        calls.append(batch.n_systems)
        return evaluate(self, batch)

    monkeypatch.setattr(Worker, "start", batched)
    monkeypatch.setattr(Worker, "evaluate", counted)
    monkeypatch.setattr(vibrations, "UNIT_SYSTEMS", 2)
    whole = _run(fake_entry(), toys_set, tmp_path / "whole.h5")
    assert max(calls) == 12 + 18  # the copies of the last two molecules
    with monkeypatch.context() as patch:
        _stop_after(patch, 1)
        with pytest.raises(_StoppedError):
            _run(fake_entry(), toys_set, tmp_path / "v.h5")
    again = _run(fake_entry(), toys_set, tmp_path / "v.h5")
    assert all(_same(again[name], whole[name]) for name in NAMES)


# --- scores --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(toys_set, tmp_path_factory):
    """Files of a model that fails on CN, and of a reference that fails on NO."""
    folder = tmp_path_factory.mktemp("scores")
    for name, formula in (("model", "CN"), ("reference", "NO")):
        entry = faulty("nan_energy", arguments={"formulas": [formula]}, name=name)
        _run(entry, toys_set, folder / f"{name}.h5")
    return folder / "model.h5", folder / "reference.h5"


def test_a_row_a_molecule_with_the_status_of_both_sides(pair):
    rows = {row["system"]: row for row in vibration_rows(pair[:1], pair[1:])}
    assert tuple(rows) == NAMES
    for row in rows.values():
        assert set(row) == set(COLUMNS)
        assert (row["model"], row["reference"]) == ("model", "reference")
    assert (rows["cn"]["status"], rows["cn"]["reference_status"]) == ("nonfinite", "ok")
    assert "relaxation step 0" in rows["cn"]["message"]
    assert (rows["no"]["status"], rows["no"]["reference_status"]) == ("ok", "nonfinite")
    for name in ("cn", "no"):  # no number on either, and no 0
        assert np.isnan([rows[name][metric] for metric in METRICS]).all()
    for name, n_modes in (("cc", 1), ("ocs", 3)):
        assert rows[name]["n_modes"] == n_modes
        assert rows[name]["mae_cm1"] == rows[name]["n_imaginary_excess"] == 0
        assert rows[name]["rmsd_angstrom"] < 1e-6
        assert rows[name]["lowest_cm1"] == rows[name]["lowest_reference_cm1"] > 100


def test_the_numbers_are_those_of_the_files(pair, tmp_path):
    """A model of heavier springs: every force constant 4 times as large."""
    toys = pair[0].parent / "stiff.h5"
    with Vibrations(pair[0]) as file:
        found = file.molecule("ocs")
    stiff = replace(
        found, frequencies_cm1=2 * found.frequencies_cm1, positions=turned(1.1 * found.positions),
        external_cm1=np.array([-7.0, 1, 0, 0, 3, 5]), asymmetry=0.25, relaxed=False,
        message="not relaxed after 500 steps",
    )  # fmt: skip
    with Vibrations(pair[0]) as file:
        attributes = {"model": "stiff", "scan_set_sha256": file.scan_set_sha256}
        write_vibrations(toys, [stiff], attributes=attributes | {"settings": file.settings})
    (row,) = vibration_rows([toys], pair[1:])
    assert row["mae_cm1"] == row["bias_cm1"] == pytest.approx(found.frequencies_cm1.mean())
    assert row["largest_cm1"] == pytest.approx(found.frequencies_cm1.max())
    assert row["lowest_cm1"] == 2 * row["lowest_reference_cm1"]
    assert (row["external_cm1"], row["asymmetry"], row["relaxed"]) == (-7.0, 0.25, False)
    assert row["status"] == "ok"
    centred = found.positions - found.positions.mean(axis=0)
    assert row["rmsd_angstrom"] == pytest.approx(0.1 * np.sqrt(np.sum(centred**2) / 3), rel=1e-6)


def test_a_name_with_a_slash_is_one_molecule(tmp_path):
    (found,) = find_vibrations([CN], morse, SETTINGS)
    named = [replace(found, system=name) for name in ("C-N/1", "C-N/2", "C-O/1")]
    attributes = {"model": "m", "scan_set_sha256": "s", "settings": {}}
    write_vibrations(tmp_path / "v.h5", named, attributes=attributes)
    with Vibrations(tmp_path / "v.h5") as file:
        assert file.systems == ("C-N/1", "C-N/2", "C-O/1")
        assert _same(file.molecule("C-N/2"), named[1])
        with pytest.raises(UserError, match="no molecule 'C-N' in this file"):
            file.molecule("C-N")


def test_files_that_do_not_belong_together_are_refused(pair, toys_set, tmp_path):
    other = tmp_path / "other_set.h5"
    write_toys(other, scans_of([CN]))
    _run(fake_entry(), other, tmp_path / "v.h5", ("cn",))
    with pytest.raises(UserError, match="made on another scan set than"):
        vibration_rows(pair[:1], [tmp_path / "v.h5"])
    _run(fake_entry(), toys_set, tmp_path / "w.h5", ("cn",))
    with pytest.raises(UserError, match=r"no molecule 'cc', which .* holds; make both with"):
        vibration_rows(pair[:1], [tmp_path / "w.h5"])
    assert len(vibration_rows([tmp_path / "w.h5"], pair[1:])) == 1  # the other way is a part
    tight = replace(SETTINGS, relax_fmax=0.001)
    _run(fake_entry(), toys_set, tmp_path / "t.h5", settings=tight)
    with pytest.raises(UserError, match=r"'relax_fmax': 0\.001.*make both with the same"):
        vibration_rows([tmp_path / "t.h5"], pair[1:])


def test_by_the_commands(toys_set, tmp_path, monkeypatch):
    """What the rules run; the default of every setting is that of the package."""
    monkeypatch.chdir(tmp_path)
    named = written_entry(fake_entry(), tmp_path / "entry.json")
    options = ["run", "vibrations", *named, "--scan-set", str(toys_set)]
    assert cli.main([*options, "--device", "cpu", "--out", "v.h5"]) == 0
    with Vibrations(tmp_path / "v.h5") as file:
        assert file.systems == NAMES
        assert VibrationSettings(**file.settings) == SETTINGS
    (tmp_path / "split.csv").write_text("system,split\ncn,unseen\nno,seen\n")
    score = ["score", "vibrations", "--scan-set", str(toys_set), "--files", "v.h5",
             "--reference", "v.h5"]  # fmt: skip
    assert cli.main([*score, "--seen-systems", "split.csv", "--out", "s/v.parquet"]) == 0
    frame = pd.read_parquet(tmp_path / "s" / "v.parquet")
    assert tuple(frame.columns) == COLUMNS
    assert frame.set_index("system")["seen"].to_dict() == {
        "cc": "", "cn": "unseen", "no": "seen", "ocs": "",
    }  # fmt: skip
    with ScanSet(toys_set) as scan_set:
        assert frame.attrs["scan_set_sha256"] == scan_set.sha256
    assert frame.attrs["imaginary_cm1"] == -20.0
    assert cli.main([*score, "--selected", "c*", "--out", "some.parquet"]) == 0
    assert pd.read_parquet(tmp_path / "some.parquet")["system"].tolist() == ["cc", "cn"]
    assert cli.main([*score, "--selected", "nobody", "--out", "none.parquet"]) == 2
    with pytest.raises(SystemExit, match="2"):  # scans are no items of this task
        cli.main([*score, "--seen-scans", "C-N/cn", "--out", "none.parquet"])
    assert frame.attrs["settings"]["relax_fmax"] == 0.01
    with pytest.raises(SystemExit, match="2"):
        cli.main([*options, "--relax-fmax", "-1", "--out", "w.h5"])
    write_json(tmp_path / "zero.json", {"name": "z", "family": "control", "settings": {}})
    refused = [*options[:2], "--entry", "zero.json", *options[6:], "--out", "w.h5"]
    assert cli.main(refused) == 2
    assert not (tmp_path / "w.h5").exists()


def test_nothing_to_score_is_said(toys_set, tmp_path):
    with ScanSet(toys_set) as scan_set:
        dropped = [replace(scan_set.scan(i), quality="dropped") for i in scan_set.ids]
    write_toys(tmp_path / "s.h5", dropped)
    assert _run(fake_entry(), tmp_path / "s.h5", tmp_path / "v.h5") == {}
    with pytest.raises(UserError, match="dropped all scans of those selected"):
        write_vibration_scores(
            tmp_path / "v.h5", tmp_path / "v.h5", tmp_path / "o.parquet", scan_set=tmp_path / "s.h5"
        )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 30])
def test_texts_of_the_figure_of_one_and_of_thirty_models_cover_nothing(count):
    errors = np.geomspace(4, 1100, 20)
    scores = {f"a-model-{k}": pd.DataFrame({"status": "ok", "reference_status": "ok",
                                            "mae_cm1": errors * (1 + 0.1 * k)})
              for k in range(count)}  # fmt: skip
    figure = frequency_errors(scores)
    assert not covered(figure)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    means = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    assert means == pytest.approx([errors.mean() * (1 + 0.1 * k) for k in range(count)])
    scores["exact"] = scores["a-model-0"].assign(mae_cm1=0.0)
    assert frequency_errors(scores).axes[0].get_xscale() == "linear"
