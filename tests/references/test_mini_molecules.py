"""The embedded molecules: what ships, and how it was made."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from pathlib import Path

import ase.io
import numpy as np
import pytest
from rdkit import Chem

from pesbench.core.bond_graph import bonds_from_geometry
from pesbench.core.coordinates.bond import SkippedBond, bond_scans
from pesbench.core.errors import UserError
from pesbench.core.geometry import apart
from pesbench.core.scans import Scan
from pesbench.core.smiles import bonds_from_smiles
from pesbench.files.molecules.reading import read_systems
from pesbench.files.strict_yaml import read_yaml
from pesbench.references import relax

MINI = Path(__file__).parents[2] / "resources" / "mini"
NINE = {"C-C", "C-N", "C-O", "C-P", "C-S", "N-N", "N-O", "N-P", "O-P"}
SYSTEMS = read_systems(MINI / "molecules.extxyz")
FRAMES = {str(a.info["id"]): a for a in ase.io.read(MINI / "molecules.extxyz", index=":")}
by_id = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.id)


def _planned():
    items = [item for system in SYSTEMS for item in bond_scans(system)]
    skipped = [item for item in items if isinstance(item, SkippedBond)]
    return [item for item in items if not isinstance(item, SkippedBond)], skipped


def test_sizes_and_elements():
    assert len(SYSTEMS) == 29
    sizes = [len(system.numbers) for system in SYSTEMS]
    assert (min(sizes), max(sizes)) == (5, 12)
    assert {int(z) for system in SYSTEMS for z in system.numbers} == {1, 6, 7, 8, 15, 16}


def test_closed_shell_and_neutral():
    for system in SYSTEMS:
        assert (system.charge, system.spin) == (0, 1)
        assert system.numbers.sum() % 2 == 0


def test_every_bond_type_of_bsct_spice_is_in_three_molecules():
    scans, _ = _planned()
    molecules = defaultdict(set)
    for scan in scans:
        molecules[scan.bond].add(scan.system)
    assert set(molecules) == NINE
    assert min(len(names) for names in molecules.values()) >= 3
    assert len(scans) == 55


def test_bonds_to_hydrogen_of_the_default_config_are_one_of_each_class(repo):
    """66 of 137: the ranks need none of them, and `make run` is to take minutes."""
    assert read_yaml(repo / "config/config.yaml")["scan_sets"]["mini"]["bonds_to_hydrogen"]
    items = [one for system in SYSTEMS for one in bond_scans(system, bonds_to_hydrogen=True)]
    bound = [one for one in items if isinstance(one, Scan) and one.to_hydrogen]
    assert Counter(one.bond for one in bound) == {
        "C-H": 28, "H-N": 14, "H-O": 11, "H-P": 10, "H-S": 3,
    }  # fmt: skip
    assert {one.system for one in bound} == {system.id for system in SYSTEMS}
    assert len(items) - len(bound) == 55 + 3  # with those in a ring, as without hydrogen


def test_ring_bonds_are_skipped_with_the_reason():
    scans, skipped = _planned()
    assert {(bond.system, bond.bond) for bond in skipped} == {("cyclopropylamine", "C-C")}
    assert len(skipped) == 3
    assert all("ring" in bond.reason for bond in skipped)
    assert [scan.bond for scan in scans if scan.system == "cyclopropylamine"] == ["C-N"]


@by_id
def test_the_geometry_is_that_of_the_smiles(system):
    atoms = FRAMES[system.id]
    assert atoms.calc is None
    assert np.array_equal(bonds_from_smiles(system.smiles, system.numbers), system.bonds)
    assert np.array_equal(bonds_from_geometry(atoms), system.bonds)


def test_the_list_and_the_geometries_agree():
    with (MINI / "molecules.csv").open(newline="") as file:
        wanted = {row["id"]: row["smiles"] for row in csv.DictReader(file)}
    assert list(wanted) == sorted(wanted)
    assert set(wanted) == set(FRAMES)
    for system in SYSTEMS:
        found = Chem.MolFromSmiles(system.smiles)
        for atom in found.GetAtoms():
            atom.SetAtomMapNum(0)
        assert Chem.CanonSmiles(Chem.MolToSmiles(found)) == Chem.CanonSmiles(wanted[system.id])


@by_id
def test_the_geometry_is_relaxed(system):
    atoms = FRAMES[system.id].copy()
    atoms.calc = relax.calculator(atoms)
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.01


def test_relaxing_repeats(tmp_path):
    table = tmp_path / "molecules.csv"
    table.write_text("id,smiles\nhydroxylamine,NO\nwater,O\n")
    relax.relax_file(table, tmp_path / "first.extxyz")
    relax.relax_file(table, tmp_path / "second.extxyz")
    assert (tmp_path / "first.extxyz").read_bytes() == (tmp_path / "second.extxyz").read_bytes()
    made = {str(a.info["id"]): a for a in ase.io.read(tmp_path / "first.extxyz", index=":")}
    assert made["hydroxylamine"].get_all_distances() == pytest.approx(
        FRAMES["hydroxylamine"].get_all_distances(), abs=0.01
    )
    lowest = made["water"].copy()
    lowest.calc = relax.calculator(lowest)
    assert relax.lowest_frequency(lowest) > -relax.IMAGINARY_LIMIT_INVCM


def test_another_conformer_is_made_in_the_same_order_of_atoms(tmp_path, monkeypatch):
    table, out = tmp_path / "molecules.csv", tmp_path / "out.extxyz"
    table.write_text("id,smiles\nethanol,CCO\nwater,O\n")  # `mini` has no water
    relax.relax_file(table, out, MINI / "molecules.extxyz")
    made = {str(a.info["id"]): a for a in ase.io.read(out, index=":")}
    known = FRAMES["ethanol"]
    assert list(made["ethanol"].numbers) == list(known.numbers)
    far = apart(known.numbers, made["ethanol"].positions, known.positions)
    assert far > relax.ANOTHER_ANGSTROM
    shipped = ase.io.read(MINI.parent / "data_study/molecules.extxyz", index=":")
    ethanol = next(a for a in shipped if a.info["id"] == "ethanol")
    assert apart(known.numbers, made["ethanol"].positions, ethanol.positions) < 0.01
    monkeypatch.setattr(relax, "N_FOR_ANOTHER", 2)
    table.write_text("id,smiles\nmethylamine,CN\n")  # has only one
    with pytest.raises(UserError, match="it is the conformer that is not wanted"):
        relax.relax_file(table, out, MINI / "molecules.extxyz")
    table.write_text("id,smiles\nethanol,OCC\n")
    with pytest.raises(UserError, match="another order of them"):
        relax.relax_file(table, out, MINI / "molecules.extxyz")


def test_a_saddle_point_is_seen():
    flat = ase.Atoms(
        "NH3",
        [[0, 0, 0], [1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]],
        info={"charge": 0, "spin": 1},
    )
    flat.calc = relax.calculator(flat)
    assert relax.lowest_frequency(flat) < -relax.IMAGINARY_LIMIT_INVCM


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,smiles\nx,C(\n", r"molecule 'x': SMILES 'C\(' cannot be read"),
        ("id,smiles\nx,\n", "molecule 'x': SMILES '' cannot be read"),
        ("id,smiles\nx,C.C\n", "more than one molecule"),
        ("id,smiles\na b,C\n", "line 2: the id 'a b' is unfit"),
        ("id,smiles\nx,C\nx,O\n", "line 3: the id 'x' occurs twice"),
        ("id,note\nx,C\n", "no column 'smiles'"),
        ("id,smiles\n", "holds no molecule"),
        (None, "no such file"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, text, said):
    table = tmp_path / "molecules.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        relax.relax_file(table, tmp_path / "out.extxyz")
    assert str(table) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.extxyz").exists()
