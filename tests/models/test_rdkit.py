"""Family `rdkit`: closed forms, gradients, and terms that no geometry changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.optimize import BFGS
from ase.units import kcal, mol
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from pesbench.commands.check.conformance import permuted
from pesbench.core.coordinates.bond import bond_scans
from pesbench.core.interface import Batch, Result, Status, Topology, batch_of, molecules_batch
from pesbench.core.systems import System
from pesbench.engine.batching import BatchLimit
from pesbench.engine.evaluator import Evaluator
from pesbench.engine.relaxation import relax
from pesbench.engine.scans import evaluate_scans, frames_batch
from pesbench.engine.worker import Worker
from pesbench.models.as_calculator import EvaluationError, ModelCalculator
from pesbench.models.families.rdkit import FIELDS, RDKitModel
from pesbench.models.registry import ModelEntry
from pesbench.models.roles import role
from pesbench.orchestration.config import read_models
from pesbench.references.molecules import system_from_smiles

KCAL = kcal / mol


def system(smiles: str, name: str = "") -> System:
    """A molecule with a geometry of RDKit's, which is no minimum of any field here."""
    found = system_from_smiles(smiles, name, None, None, by_number=False)
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    molecule = Chem.MolFromSmiles(found.smiles, parameters)
    assert rdDistGeom.EmbedMolecule(molecule, randomSeed=7) == 0
    order = np.argsort([atom.GetAtomMapNum() for atom in molecule.GetAtoms()])
    return replace(found, positions=molecule.GetConformer().GetPositions()[order])


def batch(*systems: System) -> Batch:
    return batch_of(systems, [one.positions for one in systems])


def pair(numbers: list[int], distance: float, topology: Topology) -> Batch:
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]])
    return molecules_batch([positions], [np.array(numbers)], [0], [1], topologies=[topology])


def only(result: Result) -> tuple[Status, str]:
    (status,), (message,) = result.status, result.messages
    return status, message


MOLECULES = ["CC(=O)NC", "c1ccccc1S(=O)(=O)N", "COP(=O)(O)OC", "C1CC1C#N", "CC(=O)[O-]", "C[NH3+]"]


@pytest.mark.parametrize("distance", [0.5, 0.708, 0.9, 5.0])
def test_h2_of_uff_is_a_spring(distance):
    # Rappe et al. (1992): single-bond radius 0.354 Å, effective charge 0.712
    natural = 2 * 0.354
    stiffness = 664.12 * 0.712**2 / natural**3
    result = RDKitModel("UFF").evaluate(pair([1, 1], distance, Topology(np.array([[0, 1]]))))
    assert only(result) == (Status.OK, "")
    assert result.energies is not None
    stretch = distance - natural
    assert result.energies[0] == pytest.approx(0.5 * stiffness * stretch**2 * KCAL, abs=1e-8)
    pull = stiffness * stretch * KCAL
    assert result.forces == pytest.approx(np.array([[0, 0, pull], [0, 0, -pull]]), abs=1e-8)


@pytest.mark.parametrize("distance", [60.0, 99.0, 101.0, 400.0])
def test_two_ions_of_mmff_attract_each_other_at_any_distance(distance):
    """Pairs of two molecules count, and no pair is left out because it is far apart."""
    salt = Topology(np.empty((0, 2), dtype=np.int64), "[Na+:1].[Cl-:2]")
    result = RDKitModel("MMFF94").evaluate(pair([11, 17], distance, salt))
    assert result.energies is not None
    coulomb = -332.0716 / (distance + 0.05) * KCAL  # Halgren (1996): buffered
    assert result.energies[0] == pytest.approx(coulomb, rel=1e-6)
    assert result.forces[0, 2] == pytest.approx(-coulomb / (distance + 0.05), rel=1e-6)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("smiles", MOLECULES)
def test_forces_are_the_gradient(field, smiles):
    model, molecule = RDKitModel(field), system(smiles)
    base = model.evaluate(batch(molecule))
    assert only(base) == (Status.OK, "")
    step = 1e-4
    direction = np.random.default_rng(3).standard_normal(molecule.positions.shape)
    places = [molecule.positions + n * step * direction for n in (-2, -1, 1, 2)]
    energy = model.evaluate(batch_of([molecule] * 4, places)).energies
    assert energy is not None
    slope = (8 * (energy[2] - energy[1]) - (energy[3] - energy[0])) / (12 * step)
    assert np.abs(base.forces).max() > 0.1
    assert -np.sum(base.forces * direction) == pytest.approx(slope, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("smiles", MOLECULES)
def test_set_up_without_a_geometry_equals_one_with_it(field, smiles):
    molecule = system(smiles)
    found = RDKitModel(field).evaluate(batch(molecule)).energies
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    other = Chem.MolFromSmiles(molecule.smiles, parameters)
    conformer = Chem.Conformer(other.GetNumAtoms())
    for atom in other.GetAtoms():
        place = molecule.positions[atom.GetAtomMapNum() - 1]
        conformer.SetAtomPosition(atom.GetIdx(), place.tolist())
    other.AddConformer(conformer)
    if field == "UFF":
        terms = rdForceFieldHelpers.UFFGetMoleculeForceField(other)
    else:
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(other, mmffVariant=field)
        terms = rdForceFieldHelpers.MMFFGetMoleculeForceField(other, properties)
    assert found == pytest.approx([terms.CalcEnergy() * KCAL], abs=1e-10)


@pytest.mark.parametrize("field", FIELDS)
def test_no_term_is_switched_along_a_scan(field):
    """To twice the length and beyond, forces change by as much as in the neighbouring intervals."""
    molecule = system("CC(=O)NC")
    scan = next(s for s in bond_scans(molecule) if s.bond == "C-N")
    direction = scan.positions[-1] - scan.positions[0]
    direction /= np.linalg.norm(direction[0] if direction[0].any() else direction[-1])
    stretched = np.arange(0.0, 8.0, 0.02)
    places = [scan.positions[0] + d * direction for d in stretched]
    forces = RDKitModel(field).evaluate(batch_of([molecule] * len(places), places)).forces
    change = np.diff(forces.reshape(len(places), -1, 3), axis=0)
    jump = np.abs(np.diff(change, axis=0)).max(axis=(1, 2))  # a step of the force shows in two
    around = np.maximum(np.roll(jump, 2), np.roll(jump, -2))[2:-2]
    assert (jump[2:-2] < 1.5 * around + 1e-6).all()


def test_order_of_frames_does_not_matter():
    (scan, *_) = bond_scans(system("CCO"))
    frames = frames_batch([scan])
    for field in FIELDS:
        forwards = RDKitModel(field).evaluate(frames)
        order = list(reversed(range(frames.n_systems)))
        backwards = RDKitModel(field).evaluate(frames.select(order))
        assert forwards.energies is not None
        assert backwards.energies is not None
        np.testing.assert_array_equal(forwards.energies[order], backwards.energies)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("smiles", [*MOLECULES, "C[N+](=O)[O-]"])
def test_without_smiles_bond_orders_are_found_in_the_graph(field, smiles):
    molecule = system(smiles)
    known = RDKitModel(field).evaluate(batch(molecule))
    found = RDKitModel(field).evaluate(batch(replace(molecule, smiles="")))
    assert only(found) == (Status.OK, "")
    assert found.energies == pytest.approx(known.energies, abs=1e-9)
    assert found.forces == pytest.approx(known.forces, abs=1e-9)


def test_graph_that_no_bond_orders_fit_is_unsupported():
    molecule = replace(system("C"), smiles="", charge=1)
    status, message = only(RDKitModel("UFF").evaluate(batch(molecule)))
    assert status is Status.UNSUPPORTED
    assert "no SMILES, and RDKit finds no bond orders" in message


@pytest.mark.parametrize(
    ("field", "smiles", "reason"),
    [
        ("MMFF94", "FP(F)(F)(F)F", "MMFF94 has no parameters"),
        ("MMFF94s", "CB(C)C", "MMFF94s has no parameters"),
        ("UFF", "FP(F)(F)(F)F", "five neighbours"),
        ("UFF", "CS(C)(C)Cl", "UFF has no parameters"),
    ],
)
def test_molecule_without_parameters_is_unsupported(field, smiles, reason):
    molecule = system(smiles)
    healthy = system("CO")
    result = RDKitModel(field).evaluate(batch(healthy, molecule))
    assert result.status == (Status.OK, Status.UNSUPPORTED)
    assert reason in result.messages[1]
    assert np.isfinite(result.forces[: len(healthy.numbers)]).all()
    assert np.isnan(result.forces[len(healthy.numbers) :]).all()


def test_charge_and_spin_are_those_of_the_smiles():
    model, ion = RDKitModel("MMFF94"), system("CC(=O)[O-]")
    for changed, reason in (
        (replace(ion, charge=0), "its formal charges make -1, its total charge is +0"),
        (replace(ion, spin=3), "closed shells only"),
    ):
        status, message = only(model.evaluate(batch(changed)))
        assert (status, reason in message) == (Status.UNSUPPORTED, True)
    radical = system_from_smiles("[CH3]", "", None, 2, by_number=False)
    radical = replace(radical, positions=np.eye(4)[:, :3], spin=1)
    status, message = only(model.evaluate(batch(radical)))
    assert (status, "a radical" in message) == (Status.UNSUPPORTED, True)


def test_what_is_no_bond_graph_of_the_molecule_is_an_error():
    molecule = system("CCO")
    without = replace(batch(molecule), topologies=())
    status, message = only(RDKitModel("UFF").evaluate(without))
    assert (status, "needs the bond graph" in message) == (Status.ERROR, True)
    for wrong, reason in (
        (replace(molecule, bonds=molecule.bonds[1:]), "not those of the bond graph"),
        (replace(molecule, smiles=system("CCN").smiles), "does not map its atoms"),
    ):
        status, message = only(RDKitModel("UFF").evaluate(batch(wrong)))
        assert (status, reason in message) == (Status.ERROR, True)


@pytest.mark.parametrize("smiles", [True, False])
def test_atoms_in_another_order_are_the_same_molecule(smiles):
    molecules = [system("COP(=O)(O)OC"), system("C1CC1C#N")]
    given = batch(*(one if smiles else replace(one, smiles="") for one in molecules))
    for field in FIELDS:
        model = RDKitModel(field)
        base = model.evaluate(given)
        found = permuted(model.evaluate, given, base, np.random.default_rng(5))
        assert not found.failed
        assert found.forces < 1e-9


def test_scans_relaxation_and_calculators_know_the_bonds():
    entry = ModelEntry("mmff94", "rdkit", {"field": "MMFF94", "batch_size": 50})
    good, bad = system("CN", "good"), system("CP(F)(F)(F)F", "bad")
    scans = [next(iter(bond_scans(one))) for one in (good, bad)]
    with Worker(entry) as worker:
        evaluator = Evaluator(worker, BatchLimit(systems=50))
        done = evaluate_scans(evaluator, scans)
        assert [one.status for one in done] == [Status.OK, Status.UNSUPPORTED]
        assert "MMFF94 has no parameters" in done[1].message
        ends = relax([good, bad], evaluator.evaluate, max_steps=300, fmax=0.01)
        assert [end.status for end in ends] == [Status.OK, Status.UNSUPPORTED]
        assert ends[0].converged
    model = RDKitModel("MMFF94")
    atoms = Atoms(good.numbers, good.positions)
    atoms.calc = ModelCalculator(model.evaluate, Topology(good.bonds, good.smiles))
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=300)
    np.testing.assert_allclose(atoms.positions, ends[0].positions, atol=1e-6)
    atoms = Atoms(good.numbers, good.positions, calculator=ModelCalculator(model.evaluate))
    with pytest.raises(EvaluationError, match="needs the bond graph"):
        atoms.get_forces()


def test_entries_are_methods_of_their_own_level(repo):
    entries = read_models(repo / "config" / "models.yaml")
    for name, level in (("mmff94", "MMFF94"), ("uff", "UFF")):
        assert role(entries[name], level) == "reference"
        assert role(entries[name], "GFN2-xTB") == "model"
