"""What a user's file of molecules says is taken, or refused by name; text stays text."""

from __future__ import annotations

import csv
import re

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.collections import g2
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import AllChem

from pesbench import cli
from pesbench.core.bond_graph import bonds_from_geometry
from pesbench.core.errors import UserError
from pesbench.core.systems import System
from pesbench.files.molecules.charge_and_spin import whole_number
from pesbench.files.molecules.reading import read_prepared, read_systems, to_atoms
from pesbench.files.molecules.xyz import comment_pairs, write_extxyz
from pesbench.files.scan_set import ScanSet
from pesbench.files.split import read_split
from pesbench.references import relax
from pesbench.references.molecules import read_molecules, system_from_smiles

WATER = "O 0 0 0.119\nH 0 0.763 -0.477\nH 0 -0.763 -0.477\n"


def _read(folder, content, name="m.xyz", **block):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_molecules([{"file": name, **block}], folder)


def _refused(folder, content, *said, name="m.xyz", **block):
    with pytest.raises(UserError) as error:
        _read(folder, content, name, **block)
    for text in said:
        assert text in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def _water(comment):
    return f"3\n{comment}\n{WATER}"


def _columns(kind, *cells):
    rows = [f"{row} {cell}" for row, cell in zip(WATER.splitlines(), cells, strict=True)]
    return f"3\nProperties=species:S:1:pos:R:3:{kind}\n" + "\n".join(rows) + "\n"


def _block(smiles, *, title="", hydrogens=True, flat=False, v3000=False):
    """A record as RDKit writes it."""
    mol = Chem.MolFromSmiles(smiles)
    if hydrogens:
        mol = Chem.AddHs(mol)
    if flat:
        AllChem.Compute2DCoords(mol)
    else:
        AllChem.EmbedMolecule(mol, randomSeed=1)
    mol.SetProp("_Name", title)
    return Chem.MolToV3KMolBlock(mol) if v3000 else Chem.MolToMolBlock(mol)


def _field(name, value):
    return f">  <{name}>\n{value}\n\n$$$$\n"


# --- charge and multiplicity ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "number"),
    [(2, 2), ("-1", -1), ("-1.0", -1), (2.0, 2), ("+3", 3), (np.float64(-2), -2), (" 1. ", 1)],
)
def test_one_reader_of_whole_numbers(value, number):
    assert whole_number(value, "charge") == number


@pytest.mark.parametrize(
    "value",
    [1.5, "x", "", True, None, "inf", float("nan"), "1_2", "1e2", "−1", 10**30, "9" * 5000, "T"],
)
def test_what_is_no_whole_number(value):
    with pytest.raises(UserError, match=r"^m: `charge` must be a whole number, not ") as error:
        whole_number(value, "charge", "m")
    assert len(str(error.value)) < 120


@pytest.mark.parametrize(
    ("comment", "charge", "spin"),
    [
        ("charge=-1 spin=2", -1, 2),
        ("charge = -1.0 spin = 2.0", -1, 2),
        ('Charge="-1" MULTIPLICITY=2', -1, 2),
        ("total_charge=2", 2, 1),
        ("net_charge=-2 mult=3", -2, 3),
        ("spin_multiplicity=3", 0, 3),
        ("charge=0 total_charge=0", 0, 1),
        ("charge=2 nelec=8 spin=3 S=1", 2, 3),  # an unclear name beside a clear one
        ("q=0 S=0 uhf=0 spin_state=singlet", 0, 1),
        ("0 1", 0, 1),
        ("water without charges, neutral", 0, 1),
        ("multi 3 of spinach, energy: -5.07 gnorm: 0.0003 xtb: 6.6.0 (6a1)", 0, 1),
        ('smiles="[O+:1]([H:2])[H:3]"', 1, 2),  # formal charge and radical of the mapped SMILES
        ("partial_charges='-0.8 0.4 0.4' charge_model=am1bcc", 0, 1),
    ],
)
def test_what_an_xyz_states_is_taken(tmp_path, comment, charge, spin):
    (system,) = _read(tmp_path, _water(comment))
    assert (system.charge, system.spin) == (charge, spin)


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("charge=inf", "`charge` must be a whole number, not 'inf'"),
        ("charge=1e400", "`charge` must be a whole number"),
        ("charge=" + "9" * 400, "`charge` must be a whole number"),
        ("spin=0", "`spin` must be a whole number of at least 1"),
        ("Spin=0.5", "`Spin` must be"),
        ("charge", "'charge' has no value"),
        ("charge: -2", "the comment says 'charge: -2'"),
        ("charge:-2", "the comment says 'charge:-2'"),
        ("oxide (charge -2)", "the comment says '(charge -2'"),
        ("Charge/Multiplicity: -2 1", "the comment says 'Charge/Multiplicity: -2'"),
        ("water, spin 3", "the comment says 'spin 3'"),
        ("charge=-2, spin=1", "`charge` must be a whole number, not '-2,'"),
        ("total charge is -2", "'charge' has no value"),
        ('{"charge": -2}', "the comment says"),
        ("charge=0 total_charge=1", "`charge` is 0, `total_charge` is 1"),
        ("charge=0 charge=2", "`charge` is 0, `charge` is 2"),
        ("multiplicity=1 spin=3", "`multiplicity` is 1, `spin` is 3"),
        ("total_spin=1", "`total_spin` is '1', and nothing states `spin`"),
        ("S=1", "`S` is '1'"),
        ("uhf=2", "`uhf` is '2'"),
        ("nelec=8", "nothing states `charge`"),
        ("q=-2", "`q` is '-2'"),
        ("spin_state=triplet", "`spin_state` is 'triplet'"),
        ("magmom=2.0", "`magmom` is '2.0'"),
        ("-2 1", "looks like charge and multiplicity"),
        ("-1, 2", "looks like charge and multiplicity"),
        ('charge=1 spin=2 smiles="[O:1]([H:2])[H:3]"', "`charge (of its SMILES)` is 0"),
    ],
)
def test_what_an_xyz_states_unclearly_is_refused_by_name(tmp_path, comment, said):
    _refused(tmp_path, _water(comment), said)


def test_a_block_agrees_with_its_file(tmp_path):
    assert _read(tmp_path, _water(""), charge=2)[0].charge == 2
    assert _read(tmp_path, _water("total_spin=1"), spin=3)[0].spin == 3
    assert _read(tmp_path, _water("charge=2"), charge=2.0)[0].charge == 2
    _refused(tmp_path, _water("charge=2"), "`charge` of the config is 0, `charge` is 2", charge=0)


def test_columns_of_charges_and_moments_state_the_whole(tmp_path):
    (ion,) = _read(tmp_path, _columns("initial_charges:R:1", 2, 0, 0))
    assert (ion.charge, ion.spin) == (2, 1)
    assert _read(tmp_path, _columns("q:R:1", 2, 0, 0))[0].charge == 2
    (neutral,) = _read(tmp_path, _columns("charge:R:1", -0.8, 0.4, 0.4))
    assert neutral.charge == 0
    (triplet,) = _read(tmp_path, _columns("magmoms:R:1", 2, 0, 0))
    assert triplet.spin == 3
    (grouped,) = _read(tmp_path, _columns("charge_group:I:1", 1, 1, 2))
    assert grouped.charge == 0
    (nuclear,) = _read(tmp_path, _columns("nuclear_charges:R:1", 8, 1, 1))
    assert nuclear.charge == 0
    stated = _columns("formal_charges:I:1", -2, 0, 0).replace("I:1", "I:1 charge=0")
    _refused(tmp_path, stated, "`charge` is 0, charge (the sum of `formal_charges`) is -2")


def test_a_trajectory_of_ase_states_them_too(tmp_path):
    oxygen = molecule("O2")  # with initial magnetic moments
    cation = molecule("H2O")
    cation.set_initial_charges([2, 0, 0])
    cation.info["id"] = 17
    moment = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], info={"id": "017"})
    moment.calc = SinglePointCalculator(moment, energy=0.0, magmom=2.0)
    ase.io.write(tmp_path / "m.traj", [oxygen, cation, moment])
    found = {s.id: (s.charge, s.spin) for s in read_systems(tmp_path / "m.traj")}
    assert found == {"m-0": (0, 3), "17": (2, 1), "017": (0, 3)}
    cation.info["charge"] = 0
    ase.io.write(tmp_path / "m.traj", [cation])
    with pytest.raises(UserError, match="the sum of `initial_charges`"):
        read_systems(tmp_path / "m.traj")


@pytest.mark.parametrize(
    ("table", "charge", "spin"),
    [
        ("id,smiles,multiplicity\na,O=O,3\n", 0, 3),
        ("id,smiles,charge,spin\na,C[CH2],0.0,2.0\n", 0, 2),
        ("id,smiles,Total charge\na,CC(=O)[O-],-1\n", -1, 1),
        ("id,smiles,charge (e)\na,CC(=O)[O-],-1.0\n", -1, 1),
        ("id,smiles,MaxPartialCharge,NumRadicalElectrons\na,CCO,0.25,0\n", 0, 1),
    ],
)
def test_columns_of_a_table_under_other_names(tmp_path, table, charge, spin):
    (system,) = _read(tmp_path, table, "m.csv")
    assert (system.charge, system.spin) == (charge, spin)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("id,smiles,total_charge\na,CC(=O)O,-1\n", "`total_charge` is -1"),
        ("id,smiles,chg\na,CC(=O)O,-1\n", "`chg` is '-1'"),
        ("id,smiles,total_spin\na,O=O,3\n", "`total_spin` is '3', and nothing states `spin`"),
        ("id,smiles,charge\na,CC,inf\n", "line 2: `charge` must be a whole number, not 'inf'"),
        ("id,smiles,charge\na,CC,%s\n" % ("9" * 5000), "line 2: `charge` must be"),
        ("id,smiles,smiles\na,CC,CO\n", "two columns are named 'smiles'"),
        ("id,smiles\na,CC,more\n", "line 2: has more cells"),
        ("id,smiles\n", "holds no molecule"),
        ("id,smiles\na,[13CH4]\n", "line 2: SMILES '[13CH4]' has isotopes"),
    ],
)
def test_tables_that_are_refused(tmp_path, table, said):
    _refused(tmp_path, table, said, name="m.csv")


@pytest.mark.parametrize(
    ("row", "said"),
    [("charge\nx,C,-1", "`charge` is -1"), ("multiplicity\nx,O=O,3", "`spin` is 3"),
     ("spin\nx,[CH3],1", "`spin` is 1"), ("S\nx,O=O,1", "`S` is '1'"),
     ("charge\nx,[2H]C,0", "isotopes")],
)  # fmt: skip
def test_columns_of_the_list_that_is_relaxed(tmp_path, row, said):
    (tmp_path / "m.csv").write_text(f"id,smiles,{row}\n")
    with pytest.raises(UserError, match=r"m.csv: line 2: molecule 'x': ") as error:
        relax.read_smiles(tmp_path / "m.csv")
    assert said in str(error.value)


# --- SDF and MOL ---------------------------------------------------------------------------------


def test_every_record_with_its_name_bonds_and_charge(tmp_path):
    acetate = _block("CC(=O)[O-]", title="017")
    content = "$$$$\n".join(
        [acetate, _block("CN", title="no id!") + ">  <id>\nT\n\n", _block("CS", v3000=True), ""]
    )
    systems = _read(tmp_path, content, "m.sdf")
    assert [(s.id, s.charge, s.spin) for s in systems] == [
        ("017", -1, 1), ("T", 0, 1), ("m-2", 0, 1),
    ]  # fmt: skip
    for system in systems:
        atoms = Atoms(system.numbers, system.positions)
        assert np.array_equal(bonds_from_geometry(atoms), system.bonds)
    (same,) = _read(tmp_path, acetate.replace("\n", "\r\n"), "m.mol")
    assert (same.id, same.charge) == ("017", -1)
    # the bonds are the record's, whatever the distances are
    (far,) = _read(tmp_path, _block("CO").replace("  1  2  1  0\n", "").replace("6  5", "6  4"),
                   "m.mol", charge=0, spin=3)  # fmt: skip
    assert [0, 1] not in far.bonds.tolist()


NO_CHG = re.sub(r"M  CHG.*\n", "", _block("CC(=O)[O-]"))
NO_RAD = re.sub(r"M  RAD.*\n", "", _block("[CH3]"))


@pytest.mark.parametrize(
    ("content", "block", "charge", "spin"),
    [
        (_block("[NH3+]CC(=O)[O-]"), {}, 0, 1),
        (_block("CC(=O)[O-]", v3000=True), {}, -1, 1),
        (NO_CHG, {"charge": -1}, -1, 1),
        (_block("[CH3]"), {}, 0, 2),  # M  RAD
        (NO_RAD, {"spin": 2}, 0, 2),
        (_block("[CH2]"), {"spin": 3}, 0, 3),
        (_block("[C-]#[O+]"), {}, 0, 1),
        (_block("c1ccccc1"), {}, 0, 1),  # flat and whole
        (_block("F[B-](F)(F)F"), {}, -1, 1),
        (_block("O=O") + _field("Multiplicity", 3), {}, 0, 3),
        (_block("CC(=O)[O-]") + _field("PUBCHEM_TOTAL_CHARGE", -1), {}, -1, 1),
        (_block("CCO") + _field("PUBCHEM_MMFF94_PARTIAL_CHARGES", "2\n1 -0.6\n2 0.6"), {}, 0, 1),
        (_block("[OH-]") + _field("atom.dprop.PartialCharge", "-1.3 0.3"), {}, -1, 1),
        (_block("CO") + _field("NumValenceElectrons", 14), {}, 0, 1),
    ],
)
def test_charges_and_radicals_of_a_record(tmp_path, content, block, charge, spin):
    (system,) = _read(tmp_path, content, "m.sdf", **block)
    assert (system.charge, system.spin) == (charge, spin)


@pytest.mark.parametrize(
    ("content", "block", "said"),
    [
        (_block("CCO", hydrogens=False, flat=True), {}, "2D drawing without hydrogens"),
        (_block("c1ccccc1", hydrogens=False, flat=True), {}, "2D drawing without hydrogens"),
        (_block("CCO", flat=True), {}, "is a 2D drawing; give 3D coordinates, or its SMILES"),
        (_block("CCO", flat=True).replace("2D", "3D"), {}, "(C) has four neighbours"),
        (_block("CCO", hydrogens=False), {}, "6 hydrogens are missing;"),
        (NO_CHG, {}, "1 hydrogen is missing;"),
        (NO_CHG, {"charge": 0}, "1 hydrogen is missing;"),
        (NO_CHG + _field("PUBCHEM_TOTAL_CHARGE", -1), {}, "`PUBCHEM_TOTAL_CHARGE` is '-1'"),
        (_block("CC(=O)[O-]"), {"charge": 0}, "`charge` of the config is 0"),
        (_block("[CH2]"), {}, "2 unpaired electrons are stated; give `spin`"),
        (re.sub(r"M  CHG.*\n", "", _block("[NH4+]")), {}, "valence"),
        (_block("CO").replace("M  END", "M  ISO  1   3   2\nM  END"), {}, "is an isotope"),
        (_block("CO").replace(" H   0", " D   0", 1), {}, "is an isotope"),
        (_block("CO").replace(" H   0", " H   1", 1), {}, "is an isotope"),
        (_block("CO").replace(" H   0", " *   0", 1), {}, "`*` or X"),
        (_block("CO", title="a") + "$$$$\n" + _block("CN", title="a"), {}, "'a' occurs twice"),
        (_block("CO", title="méthanol").encode("latin-1"), {}, "line 1 is no UTF-8 text"),
        ("hello\n", {}, "1 of 1 records cannot be read: 1 ('hello')"),
        ("$$$$\n", {}, "holds no molecule"),
    ],
)
def test_records_that_are_refused_by_name(tmp_path, content, block, said):
    _refused(tmp_path, content, said, name="m.sdf", **block)


def test_records_that_cannot_be_read_are_counted_and_named(tmp_path):
    content = "$$$$\n".join([_block("CO", title="a"), _block("CN", title="b")[:150] + "\n", "c\n"])
    _refused(tmp_path, content, "2 of 3 records cannot be read: 2 ('b'), 3 ('c')", name="m.sdf")


def test_all_that_are_refused_are_named_and_counted(tmp_path):
    flat, skeleton = _block("CO", title="b", flat=True), _block("CN", title="c", hydrogens=False)
    content = "$$$$\n".join([_block("CO", title="a"), flat, _block("CS", title="d", flat=True)])
    _refused(tmp_path, content, "('b'): is a 2D", "; 1 more of 3 are refused: 'd'", name="m.sdf")
    content = "$$$$\n".join([skeleton, _block("CO", title="a"), skeleton.replace("c", "e", 1)])
    said = "('c'): 5 hydrogens are missing"
    _refused(tmp_path, content, said, "; 1 more of 3 are refused: 'e'", name="m.sdf")
    _refused(
        tmp_path, _water("charge=x id=a") + _water("id=b") + _water("q=1 id=c"),
        "'a': `charge`", "; 1 more of 3 are refused: 'c'",
    )  # fmt: skip
    table = "id,smiles\na,xyz\nb,CO\n" + "".join(f"c{k},[2H]C\n" for k in range(7))
    said = "line 2: SMILES 'xyz'", "; 7 more of 9 are refused: 'c0', 'c1', 'c2', 'c3', 'c4', ..."
    _refused(tmp_path, table, *said, name="m.csv")


# --- other formats -------------------------------------------------------------------------------

PDB = "HETATM    1 {:4} LIG A   1    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00          {:>2}{:2}\n"


def _pdb(*atoms):
    return "".join(PDB.format(*atom) for atom in atoms)


PDB_WATER = [(" CA ", 0, 0, 0.119, "O", ""), (" HG ", 0, 0.763, -0.477, "H", ""),
             (" H2 ", 0, -0.763, -0.477, "H", "")]  # fmt: skip


def test_a_pdb_with_elements(tmp_path):
    models = f"MODEL 1\n{_pdb(*PDB_WATER)}ENDMDL\nMODEL 2\n{_pdb(*PDB_WATER)}ENDMDL\nEND\n"
    first, second = _read(tmp_path, models, "m.pdb")
    assert first.numbers.tolist() == second.numbers.tolist() == [8, 1, 1]
    (charged,) = _read(tmp_path, _pdb((*PDB_WATER[0][:5], "2-"), *PDB_WATER[1:]), "m.pdb")
    assert charged.charge == -2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_pdb(*[(*atom[:4], "", "") for atom in PDB_WATER]), "line 1: atom 'CA' has no element"),
        (_pdb(PDB_WATER[0]).replace(" LIG", "BLIG"), "alternative place"),
        (_pdb((" D1 ", 0, 0, 0, "D", "")), "'D' is an isotope"),
        ("CRYST1   10.000   10.000   10.000  90.00  90.00  90.00\n" + _pdb(*PDB_WATER), "periodic"),
        ("ATOM      1  CA\n", "no element"),
    ],
)
def test_a_pdb_that_is_refused(tmp_path, content, said):
    _refused(tmp_path, content, said, name="m.pdb")


@pytest.mark.parametrize(
    "name", ["a.com", "a.gjf", "a.inp", "a.nw", "a.mol2", "a.gro", "a.cif", "coord", "a.xyz.gz"]
)
def test_formats_that_lose_something_are_refused(tmp_path, name):
    _refused(tmp_path, "%chk=a\n\n-2 1\nO 0 0 0\n", "convert it to extxyz", name=name)


def test_frames_after_a_blank_line_are_read(tmp_path):
    content = _water("id=a") + "\n\n" + _water("id=b").replace("\n", "\r\n")
    assert [s.id for s in _read(tmp_path, content)] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_water("id=a note=é").encode("latin-1"), "line 2 is no UTF-8 text (byte 0xe9)"),
        (_water("").encode("utf-16"), "line 1 is no UTF-8 text"),
        (_water("").replace("3\n", "2\n"), "line 5: 'H 0 -0.763 -0.477' stands where the number"),
        (_water("").replace("3\n", "4\n"), "line 6: 0 columns"),
        (_water("").replace("3\n", "99999\n"), "line 1: announces 99999 atoms"),
        (_water("").replace("3\n", "9" * 50 + "\n"), "line 1:"),
        (_water("").replace("0.119", "0.119 -0.8"), "line 3: 5 columns instead of 4"),
        (_water("").replace("H", "D", 1), "line 4: 'D' is an isotope"),
        (_water("").replace("H", "HG1", 1), "line 4: 'HG1' is no element"),
        ("1\n\nCA 0 0 0\n", "'CA' may be Ca or a name of C"),
        (_water("") + "VEC1 5 0 0\n", "is periodic"),
        (_water('Lattice="5 0"'), "cannot be read as xyz"),
        (_water("id=a id=b"), "`id` is 'a' and 'b'"),
        (_columns("masses:R:1", 15.999, 2.014, 1.008), "`masses` of atom 1 is 2.014"),
        (_columns("mass:R:1", 17.999, 1.008, 1.008), "`mass` of atom 0 is 17.999"),
        (_columns("Z:I:1", 8, 1, 6), "line 5: the atom is 'H' and has the number 6"),
        (_columns("magmoms:R:3", "0 0 1", "0 0 1", "0 0 0"), "nothing states `spin`"),
        (_water('lattice="5 0 0 0 5 0 0 0 5"'), "`lattice` states a cell"),
        (_columns("isotope:I:1", 16, 2, 1), "`isotope` of atom 1 is 2"),
        (_water('smiles="[O:1]([2H:2])[H:3]"'), "has isotopes"),
        (_water("bond_graph=0-1"), "`bond_graph` is a key that pesbench writes for itself"),
        (_water("scan_bonds=0-1"), "`scan_bonds` is a key that pesbench writes"),
        (_water("failed=no"), "`failed` is a key that pesbench writes"),
        (_water("id=" + "a" * 300), "unfit for a path"),
    ],
)
def test_xyz_files_that_are_refused(tmp_path, content, said):
    _refused(tmp_path, content, said)


def test_masses_of_the_most_common_isotopes_are_no_labels(tmp_path):
    (system,) = _read(tmp_path, _columns("masses:R:1", 15.9949, 1.00783, 1.008))
    assert system.numbers.tolist() == [8, 1, 1]


# --- complete molecules --------------------------------------------------------------------------


def test_complete_molecules_pass_and_bare_skeletons_do_not(tmp_path):
    """All of G2 with its radicals, carbenes and flat molecules; then without hydrogens."""
    whole = [molecule(name, info={"id": f"m{k}"}) for k, name in enumerate(g2.names)]
    ase.io.write(tmp_path / "g2.extxyz", whole)
    assert len(read_systems(tmp_path / "g2.extxyz")) == len(whole)
    bare = 0
    for name in ("CH3CH2OH", "C6H6", "isobutane", "CH3CONH2", "C5H5N", "trans-butane", "CH3COCl"):
        atoms = molecule(name)
        ase.io.write(tmp_path / "bare.xyz", atoms[atoms.numbers != 1])
        with pytest.raises(UserError, match="hydrogens seem to be missing"):
            read_systems(tmp_path / "bare.xyz")
        bare += 1
    assert bare == 7


def test_a_mapped_smiles_says_that_a_molecule_is_complete(tmp_path):
    comment = 'spin=1 smiles="[C:1]=[C:2]=[C:3]"'
    content = "3\n%s\nC 0 0 0\nC 0 0 1.28\nC 0 0 -1.28\n"
    _refused(tmp_path, content % "", "hydrogens seem to be missing")
    linear = content % comment.replace("[C:1]=[C:2]=[C:3]", "[C:2]=[C:1]=[C:3]")
    assert len(_read(tmp_path, linear)) == 1


def test_a_drawing_in_one_plane_is_refused(tmp_path):
    methane = "5\n\nC 0 0 0\nH 1 0 0\nH -1 0 0\nH 0 1 0\nH 0 -1 0\n"
    _refused(tmp_path, methane, "a 2D drawing", "has four neighbours")


# --- what users of other programs write ----------------------------------------------------------


@pytest.mark.parametrize(
    ("comment", "charge", "spin"),
    [
        ("spin_mult=1 m=1 mul=1", 0, 1),
        ("2S+1=3", 0, 3),
        ("qtot=-2", -2, 1),
        ("tot_charge=2 mul=3", 2, 3),
        ("spinpol=T spin_polarized=True spin_contamination=0.75", 0, 1),
        ("m=18 is_charged=False initial_magmoms='0 0 0'", 0, 1),
        ("formal_charges='0 0 0' nuclear_charges='8 1 1' charges='-0.8 0.4 0.4'", 0, 1),
        ("triplet spin=3", 0, 3),
        ("state=dication charge=2", 2, 1),
        ("* xyz 0 1", 0, 1),
        ("0 1 water", 0, 1),
        ("num_electrons=10 nelec=10.0", 0, 1),
        ("3 of 10, frame 2 3", 0, 1),
        ("1 2 3 4", 0, 1),
        ("forces in hartree/bohr, dipole in e*bohr, hartree bohr^-1", 0, 1),
        ("canonical_smiles=O inchi=InChI=1S/H2O/h1H2", 0, 1),
        ("smiles=O", 0, 1),
        ("smiles=[OH2+2] spin=1", 2, 1),
        ('mapped_smiles="[O+2:1]([H:2])[H:3]"', 2, 1),
        ("inchi=InChI=1S/H2O/h1H2/q+2", 2, 1),
    ],
)
def test_other_names_of_charge_and_spin_are_taken(tmp_path, comment, charge, spin):
    (system,) = _read(tmp_path, _water(comment))
    assert (system.charge, system.spin) == (charge, spin)


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("(charge=2)", "not '2)'"),
        ("[charge=2] [spin=1]", "not '2]'"),
        ("name=water|charge=2|mult=1", "`charge in name` is '2'"),
        ("title='water, multiplicity: 3'", "`multiplicity in title` is '3'"),
        ("triplet state", "`comment` is 'triplet', and nothing states `spin`"),
        ("water (radical cation)", "`comment` is 'cation', and nothing states `charge`"),
        ("config_type=dianion", "`config_type` is 'dianion'"),
        ("m=3", "`m` is '3'"),
        ("nel=8", "`nel` is '8'"),
        ("charged=True", "`charged` is 'True'"),
        ("charge=0 charges='1 0.5 0.5'", "`sum of charges` is '2', `charge` is 0"),
        ("smiles=OO", "its SMILES 'OO' is H2O2, its geometry H2O"),
        ("charge=2 smiles=O", "is 2, `charge (of its SMILES)` is 0"),
        ("smiles=[O:1]", "does not map its atoms 1 to 3"),
        ("smiles=xyz", "SMILES 'xyz' cannot be read"),
        ("spin=1 uhf=2", "`uhf` is '2', `spin` is 1"),
        ("n_unpaired=2 multiplicity=1", "`n_unpaired` is '2', `multiplicity` is 1"),
        ("formal_charges='2 0 0'", "`sum of formal_charges` is '2', and nothing states `charge`"),
        ("initial_magmoms='2 0 0'", "`sum of initial_magmoms` is '2', and nothing states `spin`"),
        ("-2", "looks like charge"),
        ("-2 1 | water", "looks like charge and multiplicity"),
        ("0 3 oxide", "looks like charge and multiplicity"),
        ("{'charge': -2}", "which may be charge"),
        ('info="_JSON {\\"charge\\": -2}"', "charge"),
        ("info={'charge':-2}", "`charge in info` is '-2'"),
        ("* xyz -2 1", "looks like charge and multiplicity"),
        ("positions in Bohr", "the comment says 'Bohr'"),
        ("units=bohr", "the comment says 'bohr'"),
        ('SMILES="[OH2+2]" charge=0', "`charge` is 0, charge (of `SMILES`) is 2"),
    ],
)
def test_other_statements_of_charge_spin_and_unit_are_refused(tmp_path, comment, said):
    _refused(tmp_path, _water(comment), said)


def test_columns_of_other_names(tmp_path):
    assert _read(tmp_path, _columns("spin_density:R:1", 1.9, 0.05, 0.05))[0].spin == 3
    assert _read(tmp_path, _columns("valence_charges:R:1", 6, 1, 1))[0].charge == 0
    assert _read(tmp_path, _columns("charges:R:1", "nan", 0, 0))[0].charge == 0


def test_a_trajectory_from_an_ase_database(tmp_path):
    """`row.toatoms(add_additional_information=True)` keeps its values in dictionaries."""
    water = molecule(
        "H2O", info={"key_value_pairs": {"charge": 2}, "data": {"mult": np.array([3])}}
    )
    ase.io.write(tmp_path / "m.traj", water)
    (system,) = read_systems(tmp_path / "m.traj")
    assert (system.charge, system.spin) == (2, 3)


def _mdl(atoms, bonds, tag="3D"):
    rows = zip(atoms.get_chemical_symbols(), atoms.positions.tolist(), strict=True)
    lines = [f"{x:10.4f}{y:10.4f}{z:10.4f} {s:3} 0  0" for s, (x, y, z) in rows]
    lines += [f"{i + 1:3}{j + 1:3}  1  0" for i, j in bonds]
    counts = f"{len(atoms):3}{len(bonds):3}  0  0  0  0  0  0  0  0999 V2000"
    return "\n".join(["m", f"     RDKit          {tag}", "", counts, *lines, "M  END", ""])


DIBORANE = Atoms(
    "B2H6",
    [[0.88, 0, 0], [-0.88, 0, 0], [0, 0, 0.98], [0, 0, -0.98]]
    + [[x * 1.45, y * 1.04, 0] for x in (1, -1) for y in (1, -1)],
)


@pytest.mark.parametrize(
    ("atoms", "bonds"),
    [
        (DIBORANE, [(0, 2), (1, 2), (0, 3), (1, 3), (0, 4), (0, 5), (1, 6), (1, 7)]),
        (molecule("ClF3"), [(0, 1), (0, 2), (0, 3)]),
        (molecule("C6H6"), []),  # as programs without bonds write it
    ],
)
def test_bonds_that_rdkit_does_not_expect(tmp_path, atoms, bonds):
    (system,) = _read(tmp_path, _mdl(atoms, bonds), "m.sdf")
    assert len(system.bonds) == (len(bonds) or 12)
    if bonds and atoms is DIBORANE:  # the octet is asked for elsewhere
        ammonium = Atoms("NH4", molecule("CH4").positions * 0.94)
        _refused(tmp_path, _mdl(ammonium, [(0, k) for k in (1, 2, 3, 4)]), "N, 4", name="m.sdf")


def test_a_file_whose_name_is_no_id(tmp_path):
    for name, content in [
        ("my water (1).xyz", _water("")),
        ("+1=2 a.sdf", _block("O")),
        ("eau d'été.pdb", _pdb(*PDB_WATER)),
    ]:
        (system,) = _read(tmp_path, content, name)
        assert system.id.endswith("-0")
        assert re.fullmatch(r"[^\W_][\w.+-]*", system.id)


def test_no_id_is_a_formula(tmp_path):
    _refused(tmp_path, "id,smiles\n+1+1,CN\n", "'+1+1' is unfit", name="m.csv")
    _refused(tmp_path, _water("id=+1+1"), "'+1+1' is unfit")


def test_a_model_of_a_pdb_ends_where_the_next_begins(tmp_path):
    models = "".join(f"MODEL        {k}\n{_pdb(*PDB_WATER)}" for k in (1, 2))
    assert len(_read(tmp_path, models, "m.pdb")) == 2


@pytest.mark.parametrize("smiles", ["N", "OO", "c1ccccc1", "NC(N)=O"])
def test_drawings_with_hydrogens_and_without_a_flag(tmp_path, smiles):
    drawing = _block(smiles, flat=True).replace("2D", "  ")
    _refused(tmp_path, drawing, "no drawing", name="m.mol")
    rows = [line.split()[:4] for line in drawing.split("\n") if re.match(r" +-?\d+\.\d{4} ", line)]
    _refused(
        tmp_path,
        f"{len(rows)}\n\n" + "".join(f"{s} {x} {y} {z}\n" for x, y, z, s in rows),
        "no drawing",
    )
    bohr = molecule("CH3CH2OH")
    bohr.positions /= 0.529177
    ase.io.write(tmp_path / "m.xyz", bohr, format="xyz")
    with pytest.raises(UserError, match="not in bohr"):
        read_systems(tmp_path / "m.xyz")


def test_skeletons_of_nitrogen_and_isolated_oxygen(tmp_path):
    for symbols, positions in [
        ("N2", [[0, 0, 0], [0, 0, 1.45]]),
        ("CON2", [[0, 0, 0], [0, 1.22, 0], [1.19, -0.7, 0], [-1.19, -0.7, 0]]),
        ("CH4O", [*molecule("CH4").positions, [4, 0, 0]]),
    ]:
        ase.io.write(tmp_path / "m.xyz", Atoms(symbols, positions), format="xyz")
        with pytest.raises(UserError, match="hydrogens seem to be missing"):
            read_systems(tmp_path / "m.xyz")
    carbonyl = [[0, 0, 1.84], [0, 0, 2.97], [1.84, 0, 0], [2.97, 0, 0], [0, 1.84, 0], [0, 2.97, 0]]
    for symbols, positions in [
        ("FeCOCOCO", [[0, 0, 0], *carbonyl]),
        ("COCOCO", [[x, 0, z] for x in (0, 5, 10) for z in (0, 1.13)]),
        ("NF3", molecule("NF3").positions),
        ("N2", [[0, 0, 0], [0, 0, 1.3]]),
        ("FHF", [[0, 0, 0], [0, 0, 1.15], [0, 0, 2.3]]),
    ]:
        atoms = Atoms(symbols, positions, info={"charge": -1 if symbols == "FHF" else 0})
        ase.io.write(tmp_path / "m.extxyz", atoms)
        assert len(read_systems(tmp_path / "m.extxyz")) == 1


@pytest.mark.parametrize("table", ['id,smiles\na,"CN\nb,CO\n', "id,smiles\na,CN CO\n"])
def test_a_row_that_swallows_more_than_its_own(tmp_path, table):
    _refused(tmp_path, table, "m.csv", name="m.csv")


# --- the order of atoms --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smiles", "bonds", "symbols", "kind"),
    [
        ("[H]OC", [[0, 1]], "HOCHHH", "H-O"),
        ("C([H])([H])(N)[H]", [[0, 3]], "CHHNHHH", "C-N"),
        ("[H][H]", [[0, 1]], "HH", "H-H"),
        ("[H:1][O:2][C:3]([H:4])([H:5])[H:6]", [[0, 1]], "HOCHHH", "H-O"),
        ("[C:6]([H:4])([H:5])([O:1][H:2])[H:3]", [[0, 5]], "OHHHHC", "C-O"),
        ("CO", [[0, 1]], "COHHHH", "C-O"),
    ],
)
def test_atoms_are_numbered_as_written(tmp_path, capsys, caplog, smiles, bonds, symbols, kind):
    caplog.set_level("INFO")
    block = {"smiles": smiles, "bonds": bonds, "id": "a"}
    (system,) = read_molecules([block], tmp_path)
    assert Atoms(system.numbers).get_chemical_symbols() == list(symbols)
    out = tmp_path / "m.extxyz"
    text = f'[{{"smiles": "{smiles}", "bonds": {bonds}, "id": "a"}}]'
    assert cli.main(["prepare-molecules", "--molecules", text, "--out", str(out)]) == 0
    # the geometry has the order, and the command shows it
    assert ase.io.read(out).get_chemical_symbols() == list(symbols)
    shown = " ".join(f"{symbol}{k}" for k, symbol in enumerate(symbols))
    assert shown in caplog.text + capsys.readouterr().err
    scans = tmp_path / "scans.h5"
    options = ["--name", "x", "--out", str(scans), "--skipped", str(tmp_path / "s.csv")]
    assert cli.main(["scan-molecules", "--molecules", str(out), *options]) == 0
    with ScanSet(scans) as found:
        i, j = bonds[0]
        assert list(found.ids) == [f"{kind}/a_{i}-{j}"]


@pytest.mark.parametrize("smiles", ["[CH3:1][OH:2]", "C[OH:1]", "[CH3:7][OH:8]"])
def test_incomplete_maps_do_not_go_with_bonds(tmp_path, smiles):
    assert len(read_molecules([{"smiles": smiles}], tmp_path)) == 1
    with pytest.raises(UserError, match="map numbers that are not 1 to 6 on every atom"):
        read_molecules([{"smiles": smiles, "bonds": [[0, 1]]}], tmp_path)


@pytest.mark.parametrize("number", [10**30, -1, 1.5])
def test_atoms_that_there_are_not(tmp_path, number):
    with pytest.raises(UserError, match="bonds"):
        read_molecules([{"smiles": "CO", "bonds": [[0, number]]}], tmp_path)


@pytest.mark.parametrize("smiles", ["[2H]OC", "[13CH4]", "C[18OH]", "[1H][H]"])
def test_isotopes_of_a_smiles_are_refused(tmp_path, smiles):
    with pytest.raises(UserError, match="isotopes are not known here"):
        read_molecules([{"smiles": smiles}], tmp_path)


@pytest.mark.parametrize(
    "text",
    ["[1]", '[{"smiles": 1}]', '[{"file": "a"', "[" * 5000, '"a"'],
    ids=["number", "smiles", "cut", "deep", "text"],
)
def test_molecules_of_a_command_line_end_in_one_line(tmp_path, caplog, text):
    out = tmp_path / "m.extxyz"
    assert cli.main(["prepare-molecules", "--molecules", text, "--out", str(out)]) == 2
    (line,) = caplog.messages
    assert "\n" not in line


# --- text stays text -----------------------------------------------------------------------------

IDS = ["017", "1E8", "T", "F", "true", "1_2", "nan", "None", "inf", "-1"[1:], "1.0", "0x10", "é"]


@pytest.mark.parametrize("name", IDS)
def test_ids_that_look_like_something_else(tmp_path, name):
    """From a table, and from the user's own extxyz, as far as a scan set and the split."""
    (tmp_path / "m.csv").write_text(f"id,smiles\n{name},CN\n", encoding="utf-8")
    out, scans, skipped = (tmp_path / each for each in ("m.extxyz", "scans.h5", "s.csv"))
    for source in ("m.csv", "own.xyz"):
        spec = str(tmp_path / source)
        assert cli.main(["prepare-molecules", "--molecules", spec, "--out", str(out)]) == 0
        options = ["--name", "x", "--out", str(scans), "--skipped", str(skipped)]
        assert cli.main(["scan-molecules", "--molecules", str(out), *options]) == 0
        with ScanSet(scans) as found:
            assert list(found.ids) == [f"C-N/{name}_0-1"]
            assert found.scan(found.ids[0]).system == name
        assert ase.io.read(out).info["id"] == name  # for other readers, too
        bare = ase.io.read(out)
        bare.info = {}
        ase.io.write(tmp_path / "own.xyz", bare, format="extxyz")
        lines = (tmp_path / "own.xyz").read_text().split("\n")
        lines[1] += f" id={name}"
        (tmp_path / "own.xyz").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "split.csv").write_text(f"system,split\n{name},seen\n", encoding="utf-8")
    assert read_split(tmp_path / "split.csv") == {name: "seen"}


HARD = ["T", "[1]", "1 2 3", 'a "b" c', "a\\b", "C/C=C\\C", "two\nlines", "_JSON 1", "é\u202e", "'",
        "x=y z", "{}", " ", "a\tb", "1e5", "\\", '"', '\\"', "[C:1](\\[H:2])"]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(text=st.one_of(st.text(min_size=1, max_size=12), st.sampled_from(HARD)))
def test_every_text_survives_an_extxyz(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("texts") / "m.extxyz"
    atoms = molecule("H2O", info={"id": "a", "failed": text, "charge": 0})
    write_extxyz(path, [atoms, atoms])
    assert atoms.info["failed"] == text
    assert [frame.info["failed"] for frame in ase.io.read(path, index=":")] == [text] * 2
    line = path.read_text().split("\n")[1]
    assert dict(comment_pairs(line))["failed"] == text


def test_files_of_earlier_versions_are_read(tmp_path):
    """ASE alone wrote them: text as it is, a backslash alone."""
    system = system_from_smiles("C/C=C\\C", "017")
    atoms = to_atoms(system)
    ase.io.write(tmp_path / "old.extxyz", atoms, format="extxyz")
    (back,) = read_prepared(tmp_path / "old.extxyz")
    assert (back.id, back.smiles, back.charge, back.spin) == ("017", system.smiles, 0, 1)
    assert np.array_equal(back.bonds, system.bonds)


@pytest.mark.parametrize("graph", ["0-9", "x", "0-1-2", "1-1", "-1-0", "9" * 30 + "-0"])
def test_a_bond_graph_that_is_none(tmp_path, graph):
    water = molecule("H2O", info={"bond_graph": graph, "id": "a"})
    write_extxyz(tmp_path / "m.extxyz", [water])
    with pytest.raises(UserError, match="`bond_graph` names no pairs of its atoms"):
        read_prepared(tmp_path / "m.extxyz")


def test_prepared_molecules_are_the_same(tmp_path):
    system = System(
        "T", np.array([6, 7]), np.zeros((2, 3)), np.array([[0, 1]]), -1, 2, "",
        np.array([[0, 1]]), "line one\nline \"two\" with é and \\",
    )  # fmt: skip
    write_extxyz(tmp_path / "m.extxyz", [to_atoms(system, system.failed)])
    (back,) = read_prepared(tmp_path / "m.extxyz")
    assert (back.id, back.charge, back.spin, back.failed) == ("T", -1, 2, system.failed)
    assert back.scan_bonds.tolist() == [[0, 1]]


def test_skipped_molecules_keep_their_names(tmp_path):
    (tmp_path / "m.csv").write_text("id,smiles\n017,O\nNA,CN\n")
    out, skipped = tmp_path / "m.extxyz", tmp_path / "s.csv"
    spec = str(tmp_path / "m.csv")
    assert cli.main(["prepare-molecules", "--molecules", spec, "--out", str(out)]) == 0
    options = ["--name", "x", "--out", str(tmp_path / "x.h5"), "--skipped", str(skipped)]
    assert cli.main(["scan-molecules", "--molecules", str(out), *options]) == 0
    with skipped.open(newline="") as file:
        assert [row["scan"] for row in csv.DictReader(file)] == ["017"]


# --- damaged files -------------------------------------------------------------------------------

TABLE = 'id,smiles,charge,spin,note\n017,CC(=O)[O-],-1.0,1,x\nb,"C[CH2]",,2.0,\n'
WHOLE = {
    "a.xyz": _water('id=017 charge=0 spin=1 smiles="[O:1]([H:2])[H:3]" pbc="F F F"'),
    "b.xyz": _columns("initial_charges:R:1", 0, 0, 0),
    "c.sdf": _block("CC(=O)[O-]", title="a") + _field("charge", -1) + _block("CN", v3000=True),
    "d.pdb": "MODEL 1\n" + _pdb(*PDB_WATER) + "ENDMDL\n",
    "e.csv": TABLE,
}
PIECES = [
    *(b"\0", b"\xff", b"\xc3\xa9", b"inf", b"nan", b"-1", b"9" * 40, b"1e400", b"", b"\n", b"\r"),
    *(
        b"=",
        b'"',
        b"{",
        b"[",
        b" ",
        b",",
        b"\\",
        b"*",
        b"D",
        b"T",
        b"[2H]",
        b":5]",
        b"../",
        b"V3000",
    ),
    *(b"charge=", b"spin=", b"_JSON ", b"Properties=", b"bond_graph=0-1", b"$$$$\n"),
    b"M  CHG  1   1   1\n",
]


@settings(max_examples=250, deadline=None)
@given(
    name=st.sampled_from(sorted(WHOLE)),
    edits=st.lists(
        st.tuples(
            st.integers(0, 10**6),
            st.sampled_from([0, 0, 1, 3, 40, 400]),
            st.one_of(st.sampled_from(PIECES), st.binary(max_size=2)),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path_factory, name, edits):
    content = WHOLE[name].encode()
    for place, removed, added in edits:
        start = place % (len(content) + 1)
        content = content[:start] + added + content[start + removed :]
    folder = tmp_path_factory.mktemp("damaged")
    try:
        assert _read(folder, content, name)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 1500  # noqa: PT017


def test_a_number_of_no_element_in_a_trajectory(tmp_path):
    atoms = molecule("H2O")
    atoms.numbers[0] = 250
    ase.io.write(tmp_path / "m.traj", atoms)
    with pytest.raises(UserError, match="atomic number is none of an element"):
        read_systems(tmp_path / "m.traj")


# --- embedding -----------------------------------------------------------------------------------

LONG = "CCCCCCCCCCCC(=O)OCC(OC(=O)CCCCCCCCCCC)COC(=O)CCCCCCCCCCC"


def test_long_chains_are_embedded_from_random_coordinates(monkeypatch):
    tried = []
    original = AllChem.EmbedMultipleConfs

    def embed(mol, count, parameters):
        tried.append((parameters.useRandomCoords, parameters.timeout))
        return original(mol, count, parameters)

    monkeypatch.setattr(AllChem, "EmbedMultipleConfs", embed)
    (positions,) = relax.conformers(relax.parse_smiles(LONG)[0], "trilaurin", 1)
    assert positions.shape == (119, 3)
    assert tried == [(False, relax.EMBEDDING_S), (True, relax.EMBEDDING_S)]
    tried.clear()
    assert len(list(relax.conformers(relax.parse_smiles("CO")[0], "methanol", 1))) == 1
    assert [random for random, _ in tried] == [False]


def test_a_molecule_without_a_geometry_is_not_its_smiles_fault(monkeypatch):
    monkeypatch.setattr(AllChem, "EmbedMultipleConfs", lambda *_: [])
    with pytest.raises(UserError, match=r"no geometry of its 6 atoms .* give one as a `file`"):
        list(relax.conformers(relax.parse_smiles("CO")[0], "methanol"))


def test_conformers_that_fail_leave_gaps(monkeypatch):
    """RDKit numbers the conformers that it was asked for, not those that it found."""
    original = AllChem.EmbedMultipleConfs

    def embed(mol, count, parameters):
        found = list(original(mol, count, parameters))
        for k in (0, 3):
            mol.RemoveConformer(k)
        return [k for k in found if k not in (0, 3)]

    monkeypatch.setattr(AllChem, "EmbedMultipleConfs", embed)
    assert len(list(relax.conformers(relax.parse_smiles("CCCO")[0], "a"))) == 8


def test_large_molecules_have_fewer_conformers(monkeypatch):
    asked = []
    monkeypatch.setattr(AllChem, "EmbedMultipleConfs", lambda _, n, __: asked.append(n) or [])
    for chain in (10, 32, 60, 400):
        with pytest.raises(UserError):
            list(relax.conformers(relax.parse_smiles("C" * chain)[0], "a"))
    assert asked[::2] == [10, 10, 5, 1]
