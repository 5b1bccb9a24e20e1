"""Molecules, bond graphs, fragments, and the frames of a bond scan."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii
from hypothesis import given
from hypothesis import strategies as st

from pesbench.core.bond_graph import bond_type, bonds_from_geometry, canonical_bonds, fragments
from pesbench.core.coordinates.bond import SkippedBond, bond_grid, bond_scan, bond_scans
from pesbench.core.errors import UserError
from pesbench.core.names import is_path_name
from pesbench.core.scans import Scan
from pesbench.core.smiles import bonds_from_smiles
from pesbench.core.systems import System
from pesbench.files.molecules.reading import read_systems
from pesbench.references.calculators import plan_scans

METHANOL = "[C:1]([O:2][H:6])([H:3])([H:4])[H:5]"
METHANOL_NUMBERS = np.array([6, 8, 1, 1, 1, 1])


def _system(atoms: Atoms, name="x") -> System:
    numbers = atoms.numbers.astype(np.int64)
    return System(name, numbers, atoms.positions, bonds_from_geometry(atoms))


# --- bond graphs ---------------------------------------------------------------------------------


def test_bonds_of_a_mapped_smiles():
    bonds = bonds_from_smiles(METHANOL, METHANOL_NUMBERS)
    assert bonds.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4], [1, 5]]
    assert bonds.dtype == np.int64


def test_the_map_decides_and_not_the_order_of_writing():
    bonds = bonds_from_smiles("[H:1][O:3][H:2]", np.array([1, 1, 8]))
    assert bonds.tolist() == [[0, 2], [1, 2]]


def test_rings_charges_and_odd_valences_are_read():
    ring = "[C:1]1([H:4])([H:5])[C:2]([H:6])([H:7])[C:3]1([H:8])[H:9]"
    assert len(bonds_from_smiles(ring, np.array([6, 6, 6, *[1] * 6]))) == 9
    nitro = "[O-:1][N+:2](=[O:3])[H:4]"
    assert bonds_from_smiles(nitro, np.array([8, 7, 8, 1])).tolist() == [[0, 1], [1, 2], [1, 3]]


@pytest.mark.parametrize(
    ("smiles", "numbers", "said"),
    [
        ("[C:1](", [6], "cannot be read"),
        ("not a smiles", [6], "cannot be read"),
        ("[C:1][O:2]", [6, 8, 1], "does not map its atoms 1 to 3"),
        ("CO", [6, 8], "does not map its atoms 1 to 2"),
        ("[C:1][O:1]", [6, 8], "does not map its atoms 1 to 2"),
        ("[C:1][O:3]", [6, 8], "does not map its atoms 1 to 2"),
        ("[C:1][N:2]", [6, 8], "has N as atom 2, the geometry has O"),
    ],
)
def test_a_smiles_that_does_not_fit(smiles, numbers, said):
    with pytest.raises(UserError) as error:
        bonds_from_smiles(smiles, np.array(numbers))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["CH3CH2OH", "C6H6", "CH3NO2", "H2O2", "PH3", "CH3SCH3"])
def test_bonds_by_distance(name):
    atoms = molecule(name)
    bonds = bonds_from_geometry(atoms)
    degree = np.bincount(bonds.ravel(), minlength=len(atoms))
    assert (degree[atoms.numbers == 1] == 1).all()
    rings = {"C6H6": 1}.get(name, 0)
    assert len(bonds) == len(atoms) - 1 + rings
    # does not depend on the order of the atoms
    order = np.random.default_rng(0).permutation(len(atoms))
    again = bonds_from_geometry(atoms[order])
    assert canonical_bonds(order[again]).tolist() == bonds.tolist()


def test_canonical_bonds():
    assert canonical_bonds(np.array([[3, 1], [0, 2], [1, 3]])).tolist() == [[0, 2], [1, 3]]
    assert canonical_bonds(np.empty((0, 2), dtype=np.int64)).shape == (0, 2)


def test_bond_types():
    assert bond_type(7, 6) == bond_type(6, 7) == "C-N"
    assert bond_type(17, 6) == "C-Cl"
    assert bond_type(15, 8) == "O-P"


# --- fragments -----------------------------------------------------------------------------------


def test_the_two_fragments_of_a_chain():
    bonds = bonds_from_smiles(METHANOL, METHANOL_NUMBERS)
    assert fragments(6, bonds, (0, 1)).tolist() == [0, 1, 0, 0, 0, 1]
    assert fragments(6, bonds, (1, 0)).tolist() == [1, 0, 1, 1, 1, 0]
    assert fragments(6, bonds, (0, 3)).tolist() == [0, 0, 0, 1, 0, 0]


def test_a_ring_bond_gives_no_fragments_and_its_substituent_does():
    ring = np.array([[0, 1], [1, 2], [0, 2], [2, 3]])
    for cut in ((0, 1), (2, 1), (0, 2)):
        assert fragments(4, ring, cut) is None
    assert fragments(4, ring, (2, 3)).tolist() == [0, 0, 0, 1]


def test_fragments_refuse_what_is_no_bond_and_what_was_in_pieces():
    bonds = np.array([[0, 1], [2, 3]])
    with pytest.raises(ValueError, match="not bonded"):
        fragments(4, bonds, (0, 2))
    with pytest.raises(ValueError, match="was not connected"):
        fragments(4, bonds, (0, 1))


@given(parents=st.lists(st.integers(0, 10**6), min_size=1, max_size=30), pick=st.integers(0, 10**6))
def test_cutting_any_bond_of_a_tree_gives_two_connected_parts(parents, pick):
    bonds = canonical_bonds(
        np.array([[k + 1, parent % (k + 1)] for k, parent in enumerate(parents)])
    )
    n = len(parents) + 1
    i, j = bonds[pick % len(bonds)].tolist()
    label = fragments(n, bonds, (i, j))
    assert (label[i], label[j]) == (0, 1)
    assert set(label.tolist()) == {0, 1}
    across = label[bonds[:, 0]] != label[bonds[:, 1]]
    assert bonds[across].tolist() == [[i, j]]  # every other bond stays whole


# --- scans ---------------------------------------------------------------------------------------


def test_the_grid_is_half_to_twice_the_covalent_sum():
    grid = bond_grid(6, 7)
    assert len(grid) == 100
    assert grid[0] == pytest.approx(0.735, abs=1e-12)
    assert grid[-1] == pytest.approx(2.94, abs=1e-12)
    assert np.diff(grid) == pytest.approx(1.5 * 1.47 / 99, abs=1e-12)
    assert bond_grid(7, 6).tolist() == grid.tolist()


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 12), flip=st.booleans())
def test_both_fragments_move_by_half(seed, n, flip):
    rng = np.random.default_rng(seed)
    positions = rng.normal(scale=2.0, size=(n, 3))
    fragment = rng.integers(0, 2, n)
    i, j = rng.permutation(n)[:2]
    fragment[i], fragment[j] = (1, 0) if flip else (0, 1)
    grid = bond_grid(6, 8)
    frames = bond_scan(positions, (int(i), int(j)), fragment, grid)
    assert frames.shape == (100, n, 3)
    bond = frames[:, j] - frames[:, i]
    length = np.linalg.norm(bond, axis=1)
    assert length == pytest.approx(grid, abs=1e-9)
    start = positions[j] - positions[i]
    unit = start / np.linalg.norm(start)
    assert bond / length[:, None] == pytest.approx(np.tile(unit, (100, 1)), abs=1e-9)
    middle = (frames[:, i] + frames[:, j]) / 2
    assert middle == pytest.approx(np.tile((positions[i] + positions[j]) / 2, (100, 1)), abs=1e-9)
    moved = frames - positions
    half = (grid - np.linalg.norm(start)) / 2
    for atom in range(n):
        sign = 1 if fragment[atom] == fragment[j] else -1
        assert moved[:, atom] == pytest.approx(sign * half[:, None] * unit, abs=1e-9)


def test_the_unperturbed_geometry_lies_on_the_path():
    atoms = molecule("CH3CH2OH")
    system = _system(atoms)
    scan = next(s for s in bond_scans(system) if s.bond == "C-O")
    i, j = scan.atoms
    d = atoms.get_distance(i, j)
    (frame,) = bond_scan(system.positions, scan.atoms, scan.fragment, np.array([d]))
    assert frame == pytest.approx(system.positions, abs=1e-12)


def test_a_bond_within_one_fragment_cannot_be_stretched():
    with pytest.raises(ValueError, match="same fragment"):
        bond_scan(np.eye(3), (0, 1), np.array([1, 1, 0]), np.ones(2))


def test_all_scans_of_a_molecule():
    atoms = molecule("CH3CH2OH")
    heavy = list(bond_scans(_system(atoms, "ethanol")))
    every = list(bond_scans(_system(atoms, "ethanol"), bonds_to_hydrogen=True))
    assert sorted(scan.bond for scan in heavy) == ["C-C", "C-O"]
    # one C-H bond of each carbon: the graph does not tell the others from it
    assert sorted(scan.bond for scan in every) == ["C-C", "C-H", "C-H", "C-O", "H-O"]
    assert [scan.to_hydrogen for scan in every] == ["H" in scan.bond for scan in every]
    for scan in every:
        i, j = scan.atoms
        low = 0.5 * (covalent_radii[scan.numbers[i]] + covalent_radii[scan.numbers[j]])
        assert scan.coordinate[[0, -1]] == pytest.approx([low, 4 * low], abs=1e-12)
        assert scan.id == f"{scan.bond}/ethanol_{i}-{j}"
        assert np.isnan(scan.energy).all()
        assert np.isnan(scan.forces).all()
        assert scan.positions.dtype == np.float64
        assert (scan.n_frames, scan.n_atoms) == (100, 9)
    assert len({scan.id for scan in every}) == len(every)


def test_ring_bonds_are_listed_with_the_reason():
    plan = plan_scans([_system(molecule("C6H6"), "benzene")], bonds_to_hydrogen=False)
    assert plan.scans == []
    assert len(plan.skipped) == 6
    assert {scan.partition("/")[0] for scan, _, _ in plan.skipped} == {"C-C"}
    assert "ring" in plan.skipped[0][2]
    mixed = list(bond_scans(_system(molecule("C6H6")), bonds_to_hydrogen=True))
    assert [item.bond for item in mixed if isinstance(item, Scan)] == ["C-H"]
    assert sum(isinstance(item, SkippedBond) for item in mixed) == 6


def test_a_molecule_in_two_pieces_is_skipped_or_refused_with_its_name():
    water = molecule("H2O")
    far = water.copy()
    far.translate([8, 0, 0])
    system = _system(molecule("CH3OH") + far, "pair")
    try:
        items = list(bond_scans(system))
    except UserError as error:
        assert "pair" in str(error)  # noqa: PT017
        return
    assert {type(item) for item in items} == {SkippedBond}


# --- files of molecules --------------------------------------------------------------------------


def _atoms(name="H2O", **info):
    atoms = molecule(name)
    atoms.info.update(info)
    return atoms


def test_reading_molecules(tmp_path):
    path = tmp_path / "some.xyz"
    frames = [_atoms("CH3OH", id="b", charge=1, spin=2), _atoms("H2O"), _atoms("NH3", id="a")]
    ase.io.write(path, frames, format="extxyz")
    systems = read_systems(path)
    assert [system.id for system in systems] == ["a", "b", "some-1"]
    assert [(system.charge, system.spin) for system in systems] == [(0, 1), (1, 2), (0, 1)]
    assert systems[1].positions == pytest.approx(frames[0].positions, abs=1e-7)
    assert systems[1].positions.dtype == np.float64
    assert len(systems[1].bonds) == 5


def test_a_smiles_overrules_distances(tmp_path):
    path = tmp_path / "m.xyz"
    ase.io.write(path, _atoms("H2O", id="w", smiles="[O:1]([H:2])[H:3]"), format="extxyz")
    (system,) = read_systems(path)
    assert system.bonds.tolist() == [[0, 1], [0, 2]]
    assert system.smiles == "[O:1]([H:2])[H:3]"


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([_atoms(id="a"), _atoms(id="a")], "the molecule id 'a' occurs twice; rename one"),
        ([_atoms(id="a/b")], "the molecule id 'a/b' is unfit for a path"),
        ([_atoms(id="a b")], "the molecule id 'a b' is unfit for a path"),
        ([_atoms(id="../up")], "unfit for a path"),
        ([_atoms(smiles="[O:1]([H:2])[H:4]")], "molecule 'm-0': SMILES '[O:1]([H:2])[H:4]' does"),
        ([_atoms(smiles="[S:1]([H:2])[H:3]")], "has S as atom 1, the geometry has O"),
    ],
)
def test_molecules_that_are_refused(tmp_path, frames, said):
    path = tmp_path / "m.xyz"
    ase.io.write(path, frames, format="extxyz")
    _refused(path, said)


def _refused(path, said):
    with pytest.raises(UserError) as error:
        read_systems(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file of molecules"),
        ("", ""),
        ("three\nwaters\n", "line 1: 'three' stands where the number of atoms"),
        ("3\n\nO 0 0 0\nH 0 0 1\n", "line 5: 0 columns instead of 4"),
        ("1\n\nXy 0 0 0\n", "line 3: 'Xy' is no element"),
        ("2\n\nO 0 0 0\nH 0 0 nan\n", "molecule 'm-0' has a position that is not a number"),
    ],
)
def test_files_that_are_refused(tmp_path, content, said):
    path = tmp_path / "m.xyz"
    if content is not None:
        path.write_text(content)
    _refused(path, said)


@pytest.mark.parametrize(
    ("key", "value"), [("charge", "one"), ("spin", 0), ("spin", "singlet"), ("charge", 0.5)]
)
def test_a_charge_or_spin_that_cannot_be(tmp_path, key, value):
    path = tmp_path / "m.xyz"
    ase.io.write(path, _atoms(id="a", **{key: value}), format="extxyz")
    _refused(path, key)


def test_path_names():
    for good in ("a", "25729", "n-methyl+x_1.2", "é"):
        assert is_path_name(good)
    for bad in ("", "a/b", "a b", ".hidden", "-x", "..", "a\n", "a:b", "*", "a'b"):
        assert not is_path_name(bad)
