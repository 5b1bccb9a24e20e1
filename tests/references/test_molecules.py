"""One's own molecules: from the config to a scan set, and what is refused on the way."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from examples import build_scan_set, fake_entry, faulty, tblite_entry
from pesbench import cli
from pesbench.core.bond_graph import bonds_from_geometry
from pesbench.core.errors import UserError
from pesbench.core.interface import Result, Status
from pesbench.files.molecules.reading import read_prepared, to_atoms
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.files.scan_set import ScanSet
from pesbench.models.as_calculator import EvaluationError, ModelCalculator
from pesbench.models.families.tblite import TBLiteModel
from pesbench.references import calculators, molecules
from pesbench.references.calculators import collect_references, plan_scans, write_geometries
from pesbench.references.molecules import (
    prepare,
    prepare_file,
    read_molecules,
    read_specs,
    system_from_smiles,
)
from pesbench.references.quality import QualityLimits
from shards import evaluate_shard

# --- what a config may say ----------------------------------------------------------------------


def test_smiles_become_molecules_without_a_geometry(tmp_path):
    ethanol, acetate = read_molecules(
        [{"smiles": "CC(=O)[O-]", "id": "the-acetate"}, {"smiles": "CCO"}], tmp_path
    )
    assert (ethanol.id, acetate.id) == ("C2H6O", "the-acetate")
    assert (ethanol.charge, ethanol.spin, acetate.charge) == (0, 1, -1)
    assert np.isnan(ethanol.positions).all()
    assert ethanol.numbers.tolist() == [6, 6, 8] + [1] * 6  # as in the SMILES, then hydrogens
    assert len(ethanol.bonds) == 8
    assert plan_scans([ethanol], bonds_to_hydrogen=False).scans == [
        "C-C/C2H6O_0-1",
        "C-O/C2H6O_1-2",
    ]


def test_files_of_several_molecules_take_charge_and_spin(tmp_path):
    ase.io.write(tmp_path / "two.xyz", [molecule("CH3CH2OH"), molecule("CH3SH")])
    first, second = read_molecules([{"file": "two.xyz", "charge": 1, "spin": 2}], tmp_path)
    assert (first.id, second.id) == ("two-0", "two-1")
    assert {(s.charge, s.spin) for s in (first, second)} == {(1, 2)}
    # a plain path means the same without them
    assert [s.charge for s in read_molecules("two.xyz", tmp_path)] == [0, 0]


def test_a_table_of_smiles_is_a_file_too(tmp_path):
    (tmp_path / "a.csv").write_text("id,smiles,spin\nethyl,C[CH2],2\nethane,CC,\n")
    ethane, ethyl = read_molecules([{"file": "a.csv"}], tmp_path)
    assert (ethane.spin, ethyl.spin, len(ethyl.numbers)) == (1, 2, 7)
    # a spreadsheet's byte-order mark; the block's spin where the table has none
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbfid,smiles\nethyl,C[CH2]\n")
    (ethyl,) = read_molecules([{"file": "b.csv", "spin": 2}], tmp_path)
    assert ethyl.spin == 2


def test_bonds_can_be_listed_with_hydrogen_among_them(tmp_path):
    (one,) = read_molecules([{"smiles": "CC#N", "bonds": [[3, 0], [0, 1]]}], tmp_path)
    plan = plan_scans([one], bonds_to_hydrogen=False, types=["N-N"])
    assert plan.scans == ["C-C/C2H3N_0-1", "C-H/C2H3N_0-3"]


def test_bond_types_choose(tmp_path):
    systems = read_molecules([{"smiles": "CCO"}, {"smiles": "NO"}], tmp_path)
    assert plan_scans(systems, bonds_to_hydrogen=False, types=["C-O", "N-*"]).scans == [
        "C-O/C2H6O_1-2",
        "N-O/H3NO_0-1",
    ]
    plan = plan_scans(systems, bonds_to_hydrogen=True, types=["H-O"])
    assert plan.scans == ["H-O/C2H6O_2-8", "H-O/H3NO_1-4"]


BAD = {
    "no SMILES": ([{"smiles": "C1CC"}], "`molecules[0]`", "cannot be read"),
    "a radical without spin": ([{"smiles": "[CH3]"}], "1 unpaired electron;", "such as 2"),
    "a wrong spin": ([{"smiles": "[CH3]", "spin": 1}], "9 electrons cannot have spin 1"),
    "a wrong charge": ([{"smiles": "CCO", "charge": 1}], "`charge` is +1", "has +0"),
    "two of one name": ([{"smiles": "CCO"}, {"smiles": "OCC"}], "'C2H6O' occurs twice"),
    "two molecules": ([{"smiles": "C.C"}], "more than one molecule"),
    "a bad id": ([{"smiles": "CC", "id": "a/b"}], "'a/b' is unfit for a path"),
    "no such bond": ([{"smiles": "CCO", "bonds": [[0, 2]]}], "atoms 0 and 2 are not bonded"),
    "a bond in a ring": ([{"smiles": "C1CC1", "bonds": [[0, 1]]}], "0-1 is in a ring"),
    "no such file": ([{"file": "none.xyz"}], "none.xyz: no such file"),
    "one id for two": ([{"file": "two.xyz", "id": "a"}], "`id` is given", "2 molecules"),
    "bonds for two": ([{"file": "two.xyz", "bonds": [[0, 1]]}], "`bonds` is given"),
    "odd electrons": ([{"file": "odd.xyz"}], "odd-0", "9 electrons cannot have spin 1"),
    "too much charge": ([{"file": "odd.xyz", "charge": 10}], "cannot have spin"),
    "atoms on atoms": ([{"file": "close.xyz"}], "close-0", "0.100 Å apart, on top of"),
    "a molecule in a cell": ([{"file": "cell.xyz"}], "cell-0", "is periodic", "pbc = False"),
    "a torn molecule": ([{"file": "torn.xyz"}], "torn-0", "bonded atoms 0 and 1 are 9.00 Å apart"),
    "an atom that is none": ([{"smiles": "CC*", "spin": 2}], "`*` or X"),
    "a spin below one": ([{"file": "minus.csv"}], "`spin` must be a whole number of at least 1"),
    "a charge for a table that is another": (
        [{"file": "good.csv", "charge": 1}],
        "good.csv: line 2: `charge` is +1",
    ),
    "a table in another encoding": ([{"file": "latin.csv"}], "latin.csv", "save it as UTF-8"),
    "a table with semicolons": ([{"file": "semi.csv"}], "no column 'id'", "with commas"),
    "a table without ids": ([{"file": "no.csv"}], "no.csv: no column 'id'"),
    "a bad spin in a table": ([{"file": "spin.csv"}], "spin.csv: line 2: `spin` must be a whole"),
    "a bad SMILES in a table": ([{"file": "bad.csv"}], "bad.csv: line 3: SMILES 'Q'"),
}


@pytest.fixture
def folder(tmp_path):
    ase.io.write(tmp_path / "two.xyz", [molecule("CH3CH2OH"), molecule("CH3SH")])
    ase.io.write(tmp_path / "odd.xyz", molecule("CH3"), columns=["symbols", "positions"])
    ase.io.write(
        tmp_path / "close.xyz", Atoms("CCHH", [[0, 0, 0], [0, 0, 0.1], [1, 0, 0], [2, 0, 0]])
    )
    cell = molecule("CH3SH", cell=[9, 9, 9], pbc=True)
    ase.io.write(tmp_path / "cell.xyz", cell, format="extxyz")
    torn = Atoms("CO", [[0, 0, 0], [9, 0, 0]], info={"smiles": "[C-:1]#[O+:2]"})
    ase.io.write(tmp_path / "torn.xyz", torn, format="extxyz")
    (tmp_path / "minus.csv").write_text("id,smiles,spin\na,CC,-1\n")
    (tmp_path / "good.csv").write_text("id,smiles\na,CC\n")
    (tmp_path / "latin.csv").write_bytes("id,smiles,note\na,CC,é\n".encode("latin-1"))
    (tmp_path / "semi.csv").write_text("id;smiles\na;CC\n")
    (tmp_path / "no.csv").write_text("smiles\nCC\n")
    (tmp_path / "spin.csv").write_text("id,smiles,spin\na,CC,x\n")
    (tmp_path / "bad.csv").write_text("id,smiles\na,CC\nb,Q\n")
    return tmp_path


@pytest.mark.parametrize("case", BAD)
def test_bad_molecules_are_refused_in_one_line(folder, case):
    specs, *said = BAD[case]
    with pytest.raises(UserError) as error:
        read_molecules(specs, folder)
    for text in said:
        assert text in str(error.value)
    assert "\n" not in str(error.value)


def test_molecules_with_nothing_to_scan_are_listed_and_the_others_go_on(tmp_path):
    systems = read_molecules(
        [{"smiles": "C1CC1"}, {"smiles": "[He]"}, {"smiles": "CO"}, {"smiles": "O"}], tmp_path
    )
    plan = plan_scans(systems, bonds_to_hydrogen=False)
    assert plan.scans == ["C-O/CH4O_0-1"]
    reasons = {scan: reason for scan, _, reason in plan.skipped}
    assert reasons["He"] == "the molecule has no bond"
    assert "no bond is chosen" in reasons["H2O"]
    assert [r for s, r in reasons.items() if "C3H6" in s] == [
        "the bond is in a ring: cutting it does not give two fragments"
    ] * 3
    empty = plan_scans([s for s in systems if s.id != "CH4O"], bonds_to_hydrogen=False)
    said = calculators.nothing_to_scan(empty)
    assert said.startswith("no bond can be scanned (C-C/C3H6_0-1: the bond is in a ring")


# --- geometries ---------------------------------------------------------------------------------


@pytest.mark.parametrize("smiles", ["OCC=O", "C[N+](=O)[O-]", "F/C=C/O", "CNP"])
def test_embedded_atoms_are_in_the_order_of_the_smiles(smiles):
    system = system_from_smiles(smiles)
    found, failed = prepare(system, None)
    assert failed == ""
    assert np.array_equal(found.numbers, system.numbers)
    geometry = Atoms(found.numbers, found.positions)
    assert np.array_equal(bonds_from_geometry(geometry), system.bonds)
    again, _ = prepare(system, None)
    assert np.array_equal(again.positions, found.positions)  # the seed is the name


def test_a_method_relaxes(tmp_path):
    evaluate = TBLiteModel("GFN2-xTB").evaluate
    found, failed = prepare(system_from_smiles("CO"), evaluate)
    assert failed == ""
    atoms = Atoms(found.numbers, found.positions)
    atoms.calc = ModelCalculator(evaluate)
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.01


def test_a_molecule_that_cannot_be_relaxed_says_why():
    def broken(batch):
        raise EvaluationError("no luck")

    found, failed = prepare(system_from_smiles("CO"), broken)
    assert failed == "no luck"
    assert np.isnan(found.positions).all()


def test_a_molecule_of_a_file_that_becomes_another_is_dropped_and_keeps_its_plan(tmp_path):
    """Without a SMILES its bonds come from the geometry; relaxing must not change the plan."""
    ase.io.write(tmp_path / "m.xyz", molecule("CH3CH2OH"))
    (system,) = read_molecules("m.xyz", tmp_path)

    def tearing(batch):
        forces = np.zeros((batch.n_atoms, 3))
        away = float(batch.positions[2, 0] - batch.positions[1, 0])
        forces[2, 0] = 1.0 if abs(away) < 4 else 0.0
        return Result(np.zeros(1), forces, (Status.OK,), ("",))

    found, failed = prepare(system, tearing)
    assert failed == "its bonds change on relaxation"
    assert np.array_equal(found.bonds, system.bonds)
    write_extxyz(tmp_path / "out.extxyz", [to_atoms(found, failed)])
    (back,) = read_prepared(tmp_path / "out.extxyz")
    assert np.array_equal(back.bonds, system.bonds)
    plan = plan_scans([system], bonds_to_hydrogen=False)
    assert plan_scans([back], bonds_to_hydrogen=False) == plan


def test_prepared_files_are_read_back_whole(tmp_path, monkeypatch):
    specs = [{"smiles": "CC#N", "bonds": [[0, 1]]}, {"smiles": "CC(=O)[O-]"}, {"smiles": "CO"}]
    original = molecules.conformers

    def conformers(mol, name):
        if name == "CH4O":
            raise UserError("no geometry today")
        return original(mol, name)

    monkeypatch.setattr(molecules, "conformers", conformers)
    prepare_file(specs, tmp_path / "out.extxyz")
    by_id = {s.id: s for s in read_prepared(tmp_path / "out.extxyz")}
    assert {name: s.failed for name, s in by_id.items()} == {
        "C2H3N": "",
        "C2H3O2": "",
        "CH4O": "no geometry today",
    }
    assert by_id["C2H3N"].scan_bonds.tolist() == [[0, 1]]
    assert by_id["C2H3O2"].charge == -1

    # the scans of the failed one are in the set, dropped with the reason; the others go on
    build_scan_set(tmp_path / "out.extxyz", tblite_entry(), tmp_path / "set.h5")
    with ScanSet(tmp_path / "set.h5") as scans:
        assert scans.quality("C-O/CH4O_0-1") == ("dropped", "no geometry today")
        assert scans.quality("C-C/C2H3N_0-1")[0] == "ok"
    rows = list(csv.DictReader((tmp_path / "set.csv").open()))
    assert {"scan": "C-O/CH4O_0-1", "quality": "dropped", "reason": "no geometry today"} in rows


def test_no_molecule_with_a_geometry_is_bad_input(tmp_path, monkeypatch):
    def conformers(mol, name):
        raise UserError("no geometry today")

    monkeypatch.setattr(molecules, "conformers", conformers)
    with pytest.raises(UserError, match=r"no molecule has a geometry \(CH4O: no geometry today\)"):
        prepare_file([{"smiles": "CO"}], tmp_path / "out.extxyz")
    assert not (tmp_path / "out.extxyz").exists()


def test_the_command_takes_a_file_or_json(tmp_path, capsys):
    assert read_specs("a.xyz") == "a.xyz"
    assert read_specs('[{"smiles": "CO"}]') == [{"smiles": "CO"}]
    with pytest.raises(UserError, match="not valid JSON"):
        read_specs("[{]")
    out = tmp_path / "m.extxyz"
    specs = json.dumps([{"smiles": "CO", "id": "methanol"}])
    assert cli.main(["prepare-molecules", "--molecules", specs, "--out", str(out)]) == 0
    assert [s.id for s in read_prepared(out)] == ["methanol"]


# --- references ---------------------------------------------------------------------------------


@pytest.fixture
def geometries(tmp_path):
    ase.io.write(tmp_path / "m.extxyz", [molecule("CH3SH"), molecule("CH3CH2OH"), molecule("N2H4")])
    write_geometries(
        tmp_path / "m.extxyz", tmp_path / "scans.h5", tmp_path / "skipped_bonds.csv",
        name="own", bonds_to_hydrogen=False,
    )  # fmt: skip
    return tmp_path


def _evaluate(folder, entry, ids, name):
    evaluate_shard(entry, folder / "scans.h5", ids, folder / name)
    return folder / name


def _collect(folder, references, out="own.h5"):
    collect_references(
        folder / "scans.h5", references, folder / out, folder / "skipped.csv",
        skipped=folder / "skipped_bonds.csv", level_of_theory="test", limits=QualityLimits(),
    )  # fmt: skip
    return folder / out


def test_shards_of_a_reference_give_what_one_gives(geometries):
    entry = fake_entry("Morse")
    with ScanSet(geometries / "scans.h5") as scans:
        ids = scans.ids
    assert len(ids) == 4
    whole = _collect(geometries, [_evaluate(geometries, entry, ids, "all.h5")], "whole.h5")
    parts = [_evaluate(geometries, entry, ids[k::2], f"{k}.h5") for k in range(2)]
    sharded = _collect(geometries, parts, "sharded.h5")
    with ScanSet(whole) as one, ScanSet(sharded) as two:
        assert one.sha256 == two.sha256
        assert np.isfinite(one.scan(ids[0]).energy).all()
        made = json.loads(one.attributes["provenance"])["references"]["all.h5"]
        assert made["entry"]["family"] == "ase"


def test_references_of_other_geometries_or_too_few_are_refused(geometries):
    entry = fake_entry("Morse")
    with ScanSet(geometries / "scans.h5") as scans:
        ids = scans.ids
    some = _evaluate(geometries, entry, ids[:1], "some.h5")
    with pytest.raises(UserError, match=f"{ids[1]}: no reference among the files"):
        _collect(geometries, [some])
    ase.io.write(geometries / "m.extxyz", [molecule("CH3SH")])
    write_geometries(
        geometries / "m.extxyz", geometries / "scans.h5", geometries / "skipped_bonds.csv",
        name="own", bonds_to_hydrogen=False,
    )  # fmt: skip
    with pytest.raises(UserError, match="made on other geometries"):
        _collect(geometries, [some])
    assert not (geometries / "own.h5").exists()


def test_a_reference_that_fails_on_most_frames_drops_the_scan_with_its_message(geometries):
    with ScanSet(geometries / "scans.h5") as scans:
        ids = scans.ids
        sulfide = scans.scan("C-S/m-0_0-1")
    entry = faulty("raise", replace(sulfide))
    path = _collect(geometries, [_evaluate(geometries, entry, ids, "r.h5")])
    with ScanSet(path) as scans:
        quality, reason = scans.quality("C-S/m-0_0-1")
        assert quality == "dropped"
        assert reason.startswith("100 of 100 frames have no reference (frame 0 at ")
        assert {scans.quality(i)[0] for i in ids if i != "C-S/m-0_0-1"} != {"dropped"}


def test_a_reference_that_fails_everywhere_is_bad_input_and_loses_nothing(geometries):
    with ScanSet(geometries / "scans.h5") as scans:
        ids = scans.ids
    entry = fake_entry("Morse", elements=["H", "O"])
    made = _evaluate(geometries, entry, ids, "r.h5")
    with pytest.raises(UserError, match=r"fit on no scan .*unknown elements: C"):
        _collect(geometries, [made])
    assert made.exists()
    assert not (geometries / "own.h5").exists()
