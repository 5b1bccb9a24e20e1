"""Families `fci` and `wavefunction`, against PySCF called otherwise, bounds and symmetries."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.units import Bohr, Hartree
from scipy.spatial.transform import Rotation

pytest.importorskip("pyscf")

from pyscf import fci, gto, scf

from pesbench.commands.check.conformance import permuted, rotated, unbalanced
from pesbench.core.errors import UserError
from pesbench.core.family import family_of
from pesbench.core.interface import Batch, Status, molecules_batch
from pesbench.core.systems import System
from pesbench.models.families.fci import FCIModel
from pesbench.models.families.wavefunction.archive import States, read_states, write_states
from pesbench.models.families.wavefunction.exchanges import shortest_tree, tree_to_match
from pesbench.models.families.wavefunction.frame import in_frame
from pesbench.models.families.wavefunction.full_ci import solved
from pesbench.models.families.wavefunction.interpolated import Interpolation
from pesbench.models.families.wavefunction.model import WavefunctionModel, load_wavefunction
from pesbench.models.families.wavefunction.orbitals import check_basis, exchanged, orbitals_at
from pesbench.models.families.wavefunction.supported import CONTENT
from pesbench.models.frame_by_frame import UnsupportedError
from pesbench.models.registry import ModelEntry
from pesbench.models.roles import role
from pesbench.models.weights import Weights, read_weights
from pesbench.orchestration.config import read_models
from pesbench.training.wavefunction import Trainer
from pesbench.training.wavefunction_plan import MoleculeKeys, MoleculePlan

WATER = np.array([[0.0, 0.0, -0.45], [0.0, 0.77, 0.23], [0.0, -0.77, 0.23]])
OXYGEN, HYDROGEN, LITHIUM, NITROGEN = 8, 1, 3, 7
SHIPPED = "resources/weights/wavefunction-fci.zip"
H2, LIH = (HYDROGEN, HYDROGEN), (LITHIUM, HYDROGEN)


def pair(distance: float) -> np.ndarray:
    return np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]])


def chain(*lengths: float) -> np.ndarray:
    place = np.concatenate([[0.0], np.cumsum(lengths)])
    return np.stack([np.zeros_like(place), np.zeros_like(place), place], axis=1)


def stretched(first: float, second: float) -> np.ndarray:
    """Water with other bond lengths, as factors."""
    factors = np.array([0.0, first, second])[:, None]
    return WATER[0] + factors * (WATER - WATER[0])


def trainer_of(numbers, basis, geometries, least_new: float = 1e-8) -> Trainer:
    """A chain of like atoms, or a first atom that all others are bonded to."""
    chain = len(set(numbers)) == 1
    bonds = np.array([[k - 1 if chain else 0, k] for k in range(1, len(numbers))])
    system = System("molecule", np.array(numbers), np.array(geometries[0]), bonds)
    keys = MoleculeKeys(basis=basis, least_new=least_new)
    trainer = Trainer(MoleculePlan(system, keys))
    for geometry in geometries:
        trainer.add(np.array(geometry))
    return trainer


@pytest.fixture(scope="module")
def water() -> Trainer:
    factors = [(1.0, 1.0), (1.4, 1.0), (0.8, 1.1), (1.2, 1.7)]
    return trainer_of((8, 1, 1), "sto-3g", [stretched(*pair) for pair in factors])


@pytest.fixture(scope="module")
def lithium_hydride() -> Trainer:
    return trainer_of(LIH, "6-31g", [pair(d) for d in (1.6, 1.2, 2.4)])


@pytest.fixture(scope="module")
def h4() -> Trainer:
    bent = chain(0.7, 0.9, 0.8)
    bent[2, 0] = 0.3
    return trainer_of((1,) * 4, "sto-3g", [chain(0.9, 0.9, 0.9), chain(0.7, 1.5, 0.7), bent])


@pytest.fixture(scope="module")
def nitrogen() -> Trainer:
    return trainer_of((NITROGEN, NITROGEN), "sto-3g", [pair(d) for d in (1.2, 1.6)])


with_nitrogen = pytest.mark.parametrize(
    "trainer", ["water", "lithium_hydride", "h4", "nitrogen"], indirect=True
)


@pytest.fixture(params=["water", "lithium_hydride", "h4"])
def trainer(request) -> Trainer:
    return request.getfixturevalue(request.param)


def elsewhere(trainer: Trainer, seed: int = 0) -> np.ndarray:
    """A geometry near the first one of a training, in another orientation and at another place."""
    generator = np.random.default_rng(seed)
    start = trainer.positions[0]
    moved = start + 0.08 * generator.standard_normal(start.shape)
    turn = Rotation.random(random_state=seed).as_matrix()
    return moved @ turn.T + generator.standard_normal(3)


def model_of(trainer: Trainer, **settings) -> WavefunctionModel:
    return WavefunctionModel([trainer.states()], settings, {})


def one(numbers, positions, charge: int = 0, spin: int = 1) -> Batch:
    return molecules_batch([np.array(positions)], [np.array(numbers)], [charge], [spin])


def answer(model, batch: Batch) -> tuple[Status, str]:
    result = model.evaluate(batch)
    return result.status[0], result.messages[0]


# --- full CI -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "basis", "positions"),
    [(H2, "6-31g", pair(0.9)), ((8, 1, 1), "sto-3g", stretched(1.3, 0.9)), (LIH, "6-31g", pair(2))],
)
def test_energies_are_those_of_pyscf(numbers, basis, positions):
    atoms = [(int(z), place) for z, place in zip(numbers, positions / Bohr, strict=True)]
    field = scf.RHF(gto.M(atom=atoms, unit="Bohr", basis=basis, verbose=0)).run()
    expected, _ = fci.FCI(field).kernel()
    formula = {H2: "H2", LIH: "LiH"}.get(numbers, "H2O")
    found = FCIModel({formula: basis}).evaluate(one(numbers, positions))
    assert found.status == (Status.OK,)
    assert found.energies[0] / Hartree == pytest.approx(expected, abs=1e-8)


def test_two_hydrogen_atoms_far_apart_have_the_energy_of_two_atoms():
    """As restricted Hartree-Fock and the functionals of family `pyscf` do not have it."""
    found = FCIModel({"H2": "6-31g"}).evaluate(one(H2, pair(15.0)))
    atom = scf.UHF(gto.M(atom="H 0 0 0", basis="6-31g", spin=1, verbose=0)).run().e_tot
    assert found.energies[0] / Hartree == pytest.approx(2 * atom, abs=1e-8)


def test_the_lowest_state_is_a_singlet_where_a_triplet_is_near():
    """The nitrogen molecule at 3 Å, whose spin states are a few millihartree apart."""
    found = solved((NITROGEN, NITROGEN), "sto-3g", pair(3.0) / Bohr)
    n, electrons = found.orbitals.count, found.orbitals.molecule.nelec
    square, _ = fci.spin_op.spin_square0(found.vector, n, electrons)
    assert square == pytest.approx(0, abs=1e-10)


def test_the_lowest_state_is_found_where_it_has_another_symmetry_than_its_first_guess():
    """Water with both bonds at 2.5 Å: Davidson's method would stay 66 meV above."""
    place = np.array([[0, 0, 0], [0, 1.8689, 1.6603], [0, -1.8689, 1.6603]])
    found = solved((8, 1, 1), "sto-3g", place / Bohr)
    assert found.energy < -74.7405


def test_a_degenerate_ground_state_has_its_energy_and_no_force_across():
    """NH, whose lowest singlet is a Δ state: any mixture of two."""
    lengths = (1.0, 1.3, 0.85, 1.7)
    trainer = trainer_of((7, 1), "sto-3g", [pair(length) for length in lengths])
    found = Interpolation(trainer.states())
    for distance in (0.9, 1.15, 1.5):
        exact = solved((7, 1), "sto-3g", pair(distance) / Bohr)
        energy, gradient = found.evaluate(pair(distance) / Bohr)
        assert -1e-10 < energy - exact.energy < 15e-3 / Hartree
        for one_of in (gradient, exact.gradient):
            assert np.abs(one_of[:, :2]).max() < 1e-7
        turned = Rotation.random(random_state=1).apply(pair(distance) / Bohr)
        assert found.evaluate(turned)[0] == pytest.approx(energy, abs=1e-9)


def test_forces_of_full_ci_are_the_gradient():
    positions, step = stretched(1.2, 0.9) / Bohr, 2e-3

    def energy(shift: float) -> float:
        moved = positions.copy()
        moved[1, 2] += shift
        return solved((8, 1, 1), "sto-3g", moved).energy

    slope = (8 * (energy(step) - energy(-step)) - energy(2 * step) + energy(-2 * step)) / (
        12 * step
    )
    found = solved((8, 1, 1), "sto-3g", positions).gradient
    assert found[1, 2] == pytest.approx(slope, abs=1e-6)  # Hartree/Bohr
    assert np.abs(found.sum(axis=0)).max() < 1e-10
    assert np.abs(np.cross(positions, found).sum(axis=0)).max() < 1e-7


def test_full_ci_conforms():
    model = FCIModel({"H2O": "sto-3g"})
    batch = one((8, 1, 1), stretched(1.1, 0.9))
    base = model.evaluate(batch)
    assert permuted(model.evaluate, batch, base, np.random.default_rng(2)).forces < 1e-5
    turn = Rotation.random(random_state=1).as_matrix()
    assert rotated(model.evaluate, batch, base, turn).forces < 1e-5


@pytest.mark.parametrize(
    ("numbers", "charge", "spin", "reason"),
    [
        ((6, 1, 1, 1, 1), 0, 1, "no basis set for CH4; there is one for H2O, HLi, H2, H3"),
        ((8, 1, 1), 1, 1, "neutral molecules only"),
        ((8, 1, 1), 0, 3, "singlets only"),
        ((1, 1, 1), 0, 1, "H3 has an odd number of electrons: singlets only"),
        ((3, 1), 0, 1, "determinants, more than 2e+06"),
    ],
)
def test_what_full_ci_is_not_made_for_is_unsupported(numbers, charge, spin, reason):
    model = FCIModel({"H2O": "sto-3g", "LiH": "def2-qzvp", "H2": "6-31g", "H3": "sto-3g"})
    status, message = answer(model, one(numbers, np.eye(5)[: len(numbers), :3], charge, spin))
    assert status is Status.UNSUPPORTED
    assert reason in message
    assert "\n" not in message


def test_atoms_at_one_place_are_an_error_of_that_frame():
    status, message = answer(FCIModel({"H2": "6-31g"}), one(H2, pair(1e-7)))
    assert status is Status.ERROR
    assert "smallest eigenvalue of their overlap is" in message
    assert "not above 1e-10; atoms are too close" in message


@pytest.mark.parametrize(
    ("bases", "reason"),
    [
        ({"H2": "sto-9g"}, "sto-9g is not the name of a basis set"),
        ({"water": "sto-3g"}, "no sum formula"),
    ],
)
def test_a_bad_entry_is_refused_before_any_work(bases, reason):
    with pytest.raises(UserError, match=reason):
        family_of("fci").check("mine", {"bases": bases})


# --- the variational principle -------------------------------------------------------------------


def test_a_training_geometry_is_exact(trainer):
    found = Interpolation(trainer.states())
    for place, energy, forces in zip(
        trainer.positions, trainer.energies, trainer.forces, strict=True
    ):
        value, gradient = found.evaluate(place / Bohr)
        assert value * Hartree == pytest.approx(energy, abs=1e-9)
        assert -gradient * (Hartree / Bohr) == pytest.approx(forces, abs=1e-5)


@with_nitrogen
def test_a_state_never_raises_the_energy_and_none_lies_below_full_ci(trainer):
    states = trainer.states()
    for seed in range(3):
        place = elsewhere(trainer, seed) / Bohr
        energies = [
            Interpolation(states, count).evaluate(place)[0]
            for count in range(1, len(states.ranks) + 1)
        ]
        assert (np.diff(energies) < 1e-12).all()
        exact = solved(states.numbers, states.basis, place).energy
        assert energies[-1] > exact - 1e-10
        assert energies[0] - exact > 1e-5  # one state is not exact: the bound is tested
        assert energies[-1] - exact < energies[0] - exact


def test_hydrogen_is_exact_with_all_its_states():
    """Six singlets of 6-31G have the symmetry of the ground state."""
    lengths = (0.75, 0.4, 1.2, 2.0, 3.0, 5.0)
    trainer = trainer_of(H2, "6-31g", [pair(d) for d in lengths], least_new=1e-14)
    assert trainer.ranks == [1, 2, 3, 4, 5, 6]
    found = Interpolation(trainer.states())
    for distance in (0.2, 0.3, 0.9, 1.7, 4.0, 8.0):
        exact = solved(H2, "6-31g", pair(distance) / Bohr)
        value, gradient = found.evaluate(pair(distance) / Bohr)
        assert value == pytest.approx(exact.energy, abs=1e-8)
        assert gradient == pytest.approx(exact.gradient, abs=1e-6)


def test_a_calculation_that_adds_nothing_changes_nothing(water):
    """The same geometry, turned: the overlap of the states is singular."""
    again = trainer_of(
        (8, 1, 1), "sto-3g",
        [*water.positions[::2], Rotation.random(random_state=3).apply(water.positions[2])],
    )  # fmt: skip
    assert again.ranks == [1, 3, 5, 7, 7]
    assert again.new[-1] < 1e-8
    assert again.overlap_eigenvalues()[0] < 1e-8
    place = elsewhere(water) / Bohr
    energies = [Interpolation(one.states()).evaluate(place)[0] for one in (water, again)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-8)  # as vectors are converged


# --- symmetries and forces -----------------------------------------------------------------------


@with_nitrogen
def test_forces_are_the_gradient(trainer):
    found, place = Interpolation(trainer.states()), elsewhere(trainer) / Bohr
    _, gradient = found.evaluate(place)
    step = 2e-3
    direction = np.random.default_rng(5).standard_normal(place.shape)
    direction /= np.linalg.norm(direction)
    energy = {n: found.evaluate(place + n * step * direction)[0] for n in (-2, -1, 1, 2)}
    slope = (8 * (energy[1] - energy[-1]) - (energy[2] - energy[-2])) / (12 * step)
    assert np.sum(gradient * direction) == pytest.approx(slope, abs=1e-8)
    assert np.abs(gradient).max() > 1e-3


def test_rotation_and_translation_change_nothing(trainer):
    found, place = Interpolation(trainer.states()), elsewhere(trainer) / Bohr
    energy, gradient = found.evaluate(place)
    for rotation in Rotation.random(20, random_state=1):
        turned = rotation.apply(place) + 3.0
        other, turned_gradient = found.evaluate(turned)
        assert other == pytest.approx(energy, abs=1e-9)  # Hartree
        assert turned_gradient == pytest.approx(rotation.apply(gradient), abs=1e-9)
    assert np.abs(gradient.sum(axis=0)).max() < 1e-10
    assert np.abs(np.cross(place, gradient).sum(axis=0)).max() < 1e-10


def test_images_make_like_atoms_equal():
    """Two hydrogens exchanged: invariant with the images of all calculations, not without one."""
    geometries = [stretched(1.0, 1.0), stretched(1.5, 1.0), stretched(0.9, 1.3)]
    trainer = trainer_of((8, 1, 1), "sto-3g", geometries)
    assert trainer.ranks == [1, 3, 5]  # the first is its own image
    place = stretched(1.2, 0.8) / Bohr
    exchanged = place[[0, 2, 1]]
    states = Interpolation(trainer.states())
    energy, gradient = states.evaluate(place)
    other, exchanged_gradient = states.evaluate(exchanged)
    assert other == pytest.approx(energy, abs=1e-9)  # Hartree
    assert exchanged_gradient[[0, 2, 1]] == pytest.approx(gradient, abs=1e-6)
    # the first five states without the last: that of an image
    fewer = replace(trainer.states(), ranks=(1, 3, 4))
    alone = Interpolation(fewer)
    assert abs(alone.evaluate(place)[0] - alone.evaluate(exchanged)[0]) > 1e-5


@pytest.mark.parametrize(
    ("numbers", "basis"), [((8, 1, 1), "sto-3g"), ((8, 1, 1), "6-31g"), ((4, 1, 1), "6-31g*")]
)
def test_orbitals_of_an_image_are_those_of_the_geometry_on_exchanged_atoms(numbers, basis):
    """s, p and d functions, turned in any way: all integrals agree."""
    place, order = stretched(1.2, 0.8) / Bohr, (0, 2, 1)
    for seed in range(3):
        rotation = Rotation.random(rng=seed).as_matrix()
        turn = exchanged(numbers, basis, order, rotation)
        assert turn @ turn.T == pytest.approx(np.eye(len(turn)), abs=1e-12)
        own = orbitals_at(numbers, basis, place)
        image = orbitals_at(numbers, basis, place[list(order)] @ rotation.T)
        assert image.one == pytest.approx(turn @ own.one @ turn.T, abs=1e-8)
        two = np.einsum("pqrs,ap,bq,cr,ds->abcd", own.two, *[turn] * 4, optimize=True)
        assert image.two == pytest.approx(two, abs=1e-8)


def test_states_of_images_are_those_that_full_ci_finds_there():
    trainer = trainer_of((8, 1, 1), "sto-3g", [stretched(1.0, 1.0), stretched(1.2, 0.8)])
    for place, energy, forces, vector in zip(
        trainer.positions, trainer.energies, trainer.forces, trainer._raw, strict=True
    ):
        found = solved(trainer.numbers, trainer.basis, place / Bohr)
        assert found.energy * Hartree == pytest.approx(energy, abs=1e-9)
        assert -found.gradient * Hartree / Bohr == pytest.approx(forces, abs=1e-5)
        assert abs(np.vdot(found.vector, vector)) == pytest.approx(1, abs=1e-10)


def test_hydrogens_of_ammonia_would_not_be_equal():
    """Why p functions are refused for more than three atoms: mirror images do not superpose."""
    place = np.array([[0, 0, 0.1], [0.94, 0, -0.25], [-0.47, 0.814, -0.25], [-0.47, -0.814, -0.25]])
    trainer = trainer_of((1, 1, 1, 1), "sto-3g", [chain(1, 1, 1)])
    trainer.numbers, trainer._electrons = (7, 1, 1, 1), (5, 5)
    trainer.positions.append(place)
    with pytest.raises(UnsupportedError, match="p functions with more than 3 atoms"):
        tree_to_match(trainer.numbers, True, place[None], 1)


@pytest.fixture(scope="module")
def h6() -> States:
    found = read_states(weights_of(Path(__file__).parents[2] / SHIPPED))
    return found[-1]


@pytest.mark.parametrize(("interpolates", "largest"), [("states", 1e-9), ("energies", 1e-7)])
def test_a_chain_in_another_order_is_matched(h6, interpolates, largest):
    """In the given order it would be 2 to 60 eV wrong. The fit of energies rounds more."""
    few = {"interpolates": interpolates, "calculations": 3}
    model = WavefunctionModel([h6], few, {})
    as_given = WavefunctionModel([h6], few, {}, in_order=True)
    place = h6.positions[0] + 0.1 * np.random.default_rng(1).standard_normal((6, 3))
    base = model.evaluate(one((1,) * 6, place))
    assert base.energies == as_given.evaluate(one((1,) * 6, place)).energies
    orders = [np.random.default_rng(seed).permutation(6) for seed in range(8)]
    for order in [*orders, np.arange(6)[::-1]]:
        found = model.evaluate(one((1,) * 6, place[order]))
        assert found.status == (Status.OK,)
        assert found.energies[0] == pytest.approx(base.energies[0], abs=largest)
        assert found.forces == pytest.approx(base.forces[order], abs=1e-6)
    wrong = as_given.evaluate(one((1,) * 6, place[[1, 0, 2, 3, 4, 5]])).energies[0]
    assert abs(wrong - base.energies[0]) > 0.5


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        # rings, closed and nearly so, and a star: no chain of six
        ([[np.cos(k), np.sin(k), 0] for k in np.arange(6) * np.pi / 3], "not at least 5 % shorter"),
        ([[np.cos(k), np.sin(k), 0] for k in np.arange(6) * 1.04], "not at least 5 % shorter"),
        ([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]],
         "its shortest bonds are not those of the training"),
    ],
)  # fmt: skip
def test_hydrogens_that_are_no_clear_chain_are_unsupported(h6, place, reason):
    model = WavefunctionModel([h6], {"calculations": 1}, {})
    for order in (np.arange(6), np.random.default_rng(0).permutation(6)):
        status, message = answer(model, one((1,) * 6, np.array(place)[order]))
        assert status is Status.UNSUPPORTED
        assert reason in message
        assert "\n" not in message


def test_the_shortest_tree_does_not_depend_on_the_order():
    generator = np.random.default_rng(2)
    clear = 0
    for _ in range(200):
        place = generator.standard_normal((6, 3))
        order = generator.permutation(6)
        tree, other = shortest_tree(place), shortest_tree(place[order])
        assert (tree is None) == (other is None)
        if tree and other:
            clear += 1
            again = {frozenset((int(order[i]), int(order[j]))) for i, j in other}
            assert again == {frozenset(bond) for bond in tree}
    assert 20 < clear < 180


def test_without_the_frame_the_energy_depends_on_the_orientation(water):
    """What the frame is for: the coefficients of p functions belong to an orientation."""
    found = Interpolation(water.states())
    found._turns = False
    place = water.positions[0] / Bohr
    turned = Rotation.from_euler("x", 30, degrees=True).apply(place)
    assert found.evaluate(turned)[0] - found.evaluate(place)[0] > 0.01  # Hartree


def test_a_linear_molecule_that_is_bent_in_training_has_no_orientation(water):
    status, message = answer(
        model_of(water), one((8, 1, 1), [[0, 0, 0], [0, 0, 1.0], [0, 0, -1.0]])
    )
    assert status is Status.ERROR
    assert "orientation is undefined" in message


@pytest.mark.parametrize("distance", [0.8, 1.6, 3.0])
def test_a_molecule_of_two_atoms_may_point_anywhere(lithium_hydride, distance):
    model = model_of(lithium_hydride)
    along = [model.evaluate(one(LIH, pair(distance) @ turn)) for turn in (
        np.eye(3), -np.eye(3), np.eye(3)[[2, 0, 1]], Rotation.random(random_state=2).as_matrix(),
    )]  # fmt: skip
    energies = [result.energies[0] for result in along]
    assert np.ptp(energies) < 1e-9
    assert all(abs(np.linalg.norm(r.forces[0]) - np.linalg.norm(along[0].forces[0])) < 1e-9
               for r in along)  # fmt: skip


def test_the_frame_turns_a_geometry_onto_its_reference():
    rotation = Rotation.random(random_state=4)
    found = in_frame(rotation.apply(WATER) + 1.0, WATER)
    assert found.positions == pytest.approx(WATER - WATER.mean(axis=0), abs=1e-12)
    assert np.linalg.det(found.rotation) == pytest.approx(1)


# --- the adapter ---------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolates", ["states", "energies"])
def test_the_model_conforms(trainer, interpolates):
    model = model_of(trainer, interpolates=interpolates)
    batch = one(trainer.numbers, elsewhere(trainer))
    base = model.evaluate(batch)
    assert base.status == (Status.OK,)
    turn = Rotation.random(random_state=1).as_matrix()
    assert rotated(model.evaluate, batch, base, turn).forces < 1e-8
    force, torque = unbalanced(batch, base)
    assert max(np.abs(force).max(), np.abs(torque).max()) < 1e-8
    directions = np.random.default_rng(0).standard_normal(batch.positions.shape)
    step = 1e-3
    energies = [
        model.evaluate(replace(batch, positions=batch.positions + n * step * directions)).energies[
            0
        ]
        for n in (-2, -1, 1, 2)
    ]
    slope = (8 * (energies[2] - energies[1]) - (energies[3] - energies[0])) / (12 * step)
    assert -np.sum(base.forces * directions) == pytest.approx(slope, abs=1e-5)


def test_elements_may_come_in_any_order(water):
    model, place = model_of(water), elsewhere(water)
    base = model.evaluate(one((8, 1, 1), place))
    other = model.evaluate(one((1, 8, 1), place[[1, 0, 2]]))
    assert other.energies[0] == pytest.approx(base.energies[0], abs=1e-10)
    assert other.forces == pytest.approx(base.forces[[1, 0, 2]], abs=1e-10)


def test_fewer_states_are_those_of_a_shorter_training(water):
    place = elsewhere(water)
    short = trainer_of((8, 1, 1), "sto-3g", water.positions[:4:2])
    few = model_of(water, calculations=2).evaluate(one((8, 1, 1), place)).energies[0]
    assert few == pytest.approx(
        model_of(short).evaluate(one((8, 1, 1), place)).energies[0], abs=1e-8
    )
    assert few > model_of(water).evaluate(one((8, 1, 1), place)).energies[0]


@pytest.mark.parametrize(
    ("numbers", "charge", "spin", "reason"),
    [
        ((7, 7), 0, 1, "no states of N2; the weights have H2O"),
        ((8, 1, 1), -1, 1, "neutral molecules only"),
        ((8, 1, 1), 0, 3, "singlets only"),
    ],
)
def test_what_was_not_trained_is_unsupported(water, numbers, charge, spin, reason):
    batch = one(numbers, np.eye(3)[: len(numbers)], charge, spin)
    status, message = answer(model_of(water), batch)
    assert (status, reason in message) == (Status.UNSUPPORTED, True)


def test_the_process_knows_its_data(water):
    """Energies and forces of the training geometries, to the noise that it found."""
    model = model_of(water, interpolates="energies")
    for place, energy, forces in zip(water.positions, water.energies, water.forces, strict=True):
        found = model.evaluate(one((8, 1, 1), place))
        assert found.energies[0] == pytest.approx(energy, abs=5e-2)
        assert found.forces == pytest.approx(forces, abs=1e-1)


def test_the_process_returns_to_its_mean_far_away(water):
    model = model_of(water, interpolates="energies")
    found = model.evaluate(one((8, 1, 1), WATER * 1e-8))
    assert found.energies[0] == pytest.approx(np.mean(water.energies), abs=1e-6)


# --- the file ------------------------------------------------------------------------------------


@pytest.fixture
def archive(water, tmp_path) -> Path:
    path = tmp_path / "states.zip"
    write_states([water.states()], {"name": "water"}, path)
    return path


def weights_of(path: Path) -> Weights:
    return read_weights(path, None, family_of("wavefunction"))


def test_what_is_written_is_read(water, archive, tmp_path):
    place = elsewhere(water)
    model = load_wavefunction({}, weights_of(archive))
    assert model.info.elements == {1, 8}
    expected = model_of(water).evaluate(one((8, 1, 1), place))
    found = model.evaluate(one((8, 1, 1), place))
    np.testing.assert_array_equal(found.energies, expected.energies)
    np.testing.assert_array_equal(found.forces, expected.forces)
    write_states([water.states()], {"name": "water"}, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def rewritten(archive: Path, member: str, content: bytes) -> Path:
    path = archive.with_name("other.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name == member else old.read(name))
    return path


def said(archive: Path, **changes) -> bytes:
    with zipfile.ZipFile(archive) as file:
        return json.dumps({**json.loads(file.read(CONTENT)), **changes}).encode()


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def numbers(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("member", "content", "reason"),
    [
        (CONTENT, b"[", "holds no trained wave functions"),
        (CONTENT, b"{}", "no trained wave functions"),
        (CONTENT, b" " * (1 << 20) + b"{}", "has more than 1 MiB"),
        ("0/one.npy", pickled(), "molecule 0: `one`: it holds no float64"),
        ("0/one.npy", numbers(np.zeros((28, 28), dtype=np.float32)), "`one`: it holds no float64"),
        ("0/one.npy", numbers(np.zeros((28, 28), dtype=">f8")), "`one`: it holds no float64"),
        ("0/two.npy", numbers(np.zeros((2, 2))), "`two` are no finite numbers of shape"),
        ("0/energies.npy", numbers(np.full(8, np.nan)), "`energies` are no finite numbers"),
        ("0/forces.npy", b"", "holds no trained wave functions"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(archive, member, content, reason):
    with pytest.raises(UserError, match=reason) as refused:
        read_states(weights_of(rewritten(archive, member, content)))
    assert "\n" not in str(refused.value)
    assert "train-wavefunction" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "version 2, this is 1"),
        ({"molecules": [{"numbers": [8, 1, 1], "basis": "sto-3g", "orbitals": 7, "ranks": [2],
                        "images": 1}]},
         "`ranks` do not grow"),
        ({"molecules": []}, "its member 0/positions.npy is missing, not known or there twice"),
        ({"molecules": [{"numbers": [8] * 9, "basis": "sto-3g", "orbitals": 7, "ranks": [1],
                        "images": 2}]},
         "`numbers` are not those of 2 to 8 atoms"),
        ({"molecules": [{"numbers": [0, 1, 1], "basis": "sto-3g", "orbitals": 7, "ranks": [1],
                        "images": 2}]},
         "`numbers` are not those of 2 to 8 atoms"),
        ({"molecules": [{"numbers": [8, 1, 1], "basis": "sto-3g", "orbitals": 61, "ranks": [1],
                        "images": 2}]},
         "`orbitals` is not 1 to 60"),
        ({"molecules": [{"numbers": [8, 1, 1], "basis": "6-31g", "orbitals": 7,
                        "ranks": [1, 3, 5, 7], "images": 2}]},
         "states of 7 orbitals, where 6-31g has 13"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused(archive, changes, reason):
    path = rewritten(archive, CONTENT, said(archive, **changes))
    with pytest.raises(UserError, match=reason):
        load_wavefunction({}, weights_of(path))


def test_geometries_without_their_images_are_refused(archive):
    """The energy would change with an exchange of the hydrogens."""
    place = np.tile(stretched(1.0, 1.2), (8, 1, 1))
    path = rewritten(archive, "0/positions.npy", numbers(place))
    with pytest.raises(UserError, match="do not come with the exchanges of like atoms") as refused:
        load_wavefunction({}, weights_of(path))
    assert "\n" not in str(refused.value)


def test_a_member_that_is_not_known_is_refused(archive):
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../elsewhere.npy", b"")
    with pytest.raises(UserError, match=r"its member \.\./elsewhere.npy is missing, not known"):
        read_states(weights_of(archive))


def test_a_basis_that_is_code_runs_nothing(archive, tmp_path):
    """PySCF evaluates expressions in what it takes for the text of a basis set."""
    made = tmp_path / "executed"
    code = f"#BASIS\nH    S\n 3.4 __import__('os').mkdir({str(made)!r})or(1)\nEND\n"
    path = rewritten(archive, CONTENT, said(archive, molecules=[
        {"numbers": [8, 1, 1], "basis": code, "orbitals": 7, "ranks": [1, 3, 5, 7], "images": 2}
    ]))  # fmt: skip
    with pytest.raises(UserError, match="is not the name of a basis set") as refused:
        load_wavefunction({}, weights_of(path))
    assert "\n" not in str(refused.value)
    assert list(tmp_path.glob("executed*")) == []


@pytest.mark.parametrize(
    "basis", ["nonsense", "/etc/passwd", "sto-3g@3s", "gth-szv", "sto-3g\n", "", "6-31g" * 9]
)
def test_what_is_no_basis_of_all_electrons_is_refused(basis):
    with pytest.raises(UnsupportedError, match="name of a basis set"):
        check_basis(basis)


def test_an_array_that_says_to_be_huge_takes_no_memory(archive):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)}
    )
    path = rewritten(archive, "0/two.npy", header.getvalue())
    with pytest.raises(UserError, match="not as many as it says"):
        read_states(weights_of(path))


def test_entries_and_their_roles(repo):
    entries = read_models(repo / "config" / "models.yaml")
    assert role(entries["fci"], "FCI") == "reference"
    assert role(entries["wavefunction-fci"], "FCI") == "model"
    assert isinstance(entries["wavefunction-fci"], ModelEntry)
