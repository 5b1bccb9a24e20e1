"""Embedded molecules of BSCT-SPICE's size: what ships, and the rule by which they were taken."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import yaml

from pesbench.core.coordinates.bond import SkippedBond, bond_scans
from pesbench.files.molecules.reading import read_systems
from pesbench.references import bsct_spice as bsct

REPO = Path(__file__).parents[2]
FOLDER = REPO / "resources" / "midsize"
SYSTEMS = {system.id: system for system in read_systems(FOLDER / "molecules.extxyz")}
CLASSES = ((18, 24), (25, 30), (31, 37), (38, 43), (44, 50))


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def test_they_are_four_of_each_class_of_size_and_of_common_elements():
    rows = list(csv.DictReader((FOLDER / "molecules.csv").open(encoding="utf-8")))
    assert list(SYSTEMS) == [row["id"] for row in rows]
    assert len({row["smiles"] for row in rows}) == 20
    sizes = [len(system.numbers) for system in SYSTEMS.values()]
    assert [sum(low <= n <= high for n in sizes) for low, high in CLASSES] == [4] * 5
    assert {int(z) for s in SYSTEMS.values() for z in s.numbers} == {1, 6, 7, 8, 15, 16}
    assert {(system.charge, system.spin) for system in SYSTEMS.values()} == {(0, 1)}
    for row, n in zip(rows, sizes, strict=True):
        assert row["note"].endswith(f" of BSCT-SPICE, {n} atoms")


def test_they_are_scans_of_the_published_set_with_small_hashes():
    known = set(bsct.scan_ids(bsct.read_manifest(REPO / bsct.MANIFEST)))
    rows = csv.DictReader((FOLDER / "molecules.csv").open(encoding="utf-8"))
    names = [row["note"].split(" of ")[0] for row in rows]
    assert set(names) <= known
    assert [name.replace("/", "-") for name in names] == list(SYSTEMS)
    # a quarter of some 250 with these elements and sizes at most, so none is far up the order
    order = sorted(known, key=_hash)
    assert max(order.index(name) for name in names) < len(order) / 4


def test_their_scans():
    scans = [scan for system in SYSTEMS.values() for scan in bond_scans(system)]
    found = [scan for scan in scans if not isinstance(scan, SkippedBond)]
    assert len(found) == 127
    assert all(np.isfinite(scan.positions).all() for scan in found)


def test_the_second_part_of_the_study_runs_them_with_the_reference():
    study = yaml.safe_load((REPO / "config/study_midsize.yaml").read_text(encoding="utf-8"))
    assert study["scan_sets"]["midsize"]["molecules"] == "resources/midsize/molecules.extxyz"
    assert "gfn2-xtb" in study["dynamics"]["models"]
    assert len(study["dynamics"]["models"]) <= 7  # the reference and six
