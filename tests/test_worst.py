"""Worst scans: order, frames on either side of the peak, failures below."""

from __future__ import annotations

import ase.io
import numpy as np
import pandas as pd
import pytest

from pesbench.errors import UserError
from pesbench.models.interface import Status
from pesbench.report import worst
from pesbench.scans import Scan, bond_scan
from pesbench.storage import ScanEvaluation, ScanSet, write_evaluation, write_scan_set

FRAMES = 12
IDS = ("C-C/a", "C-C/b", "C-N/c", "C-N/d")


def make_scan(scan_id):
    """Two atoms on a parabola with its minimum at 1.5 Å."""
    coordinate = np.linspace(1.0, 2.1, FRAMES)
    positions = bond_scan(
        np.array([[0.0, 0, 0], [1.4, 0, 0]]), (0, 1), np.array([0, 1]), coordinate
    )
    forces = np.zeros((FRAMES, 2, 3))
    forces[:, 1, 0] = -20 * (coordinate - 1.5)
    forces[:, 0] = -forces[:, 1]
    bond, system = scan_id.split("/")
    return Scan(
        id=scan_id,
        system=system,
        bond=bond,
        atoms=(0, 1),
        coordinate=coordinate,
        positions=positions,
        numbers=np.array([6, 7]),
        fragment=np.array([0, 1]),
        bonds=np.array([[0, 1]]),
        positions_unperturbed=positions[4],
        energy=10 * (coordinate - 1.5) ** 2,
        forces=forces,
    )


def make_evaluation(scan, *, energies=True, failed=False, masked=()):
    frame_status = np.zeros(FRAMES, dtype=np.int8)
    frame_status[list(masked)] = Status.MASKED.code
    frame_status[:] = Status.ERROR.code if failed else frame_status
    forces = np.full_like(scan.forces, np.nan) if failed else 1.5 * scan.forces
    forces[list(masked)] = np.nan
    return ScanEvaluation(
        scan_id=scan.id,
        energy=1.5 * scan.energy if energies and not failed else np.full(FRAMES, np.nan),
        forces=forces,
        frame_status=frame_status,
        status=Status.ERROR if failed else Status.OK,
        message="broke" if failed else "",
        wall_s=1.0,
    )


def make_scores():
    """C-C/b is the worst, C-N/c failed; the peak of C-N/d spans the masked frame 8."""
    return pd.DataFrame(
        {
            "model": "m",
            "scan": IDS,
            "system": [scan_id[-1] for scan_id in IDS],
            "seen": "",
            "bond": [scan_id[:3] for scan_id in IDS],
            "n_frames": FRAMES,
            "status": ["ok", "ok", "error", "ok"],
            "message": ["", "", "broke", ""],
            "fsd_full": [10.0, 30.0, np.nan, 20.0],
            "fsd_peak_index": [2, 3, np.nan, 7],
            "fsd_peak_index_next": [3, 4, np.nan, 9],
            "fsd_peak_coordinate": [1.25, 1.35, np.nan, 1.8],
            "fsd_peak_offset": [-0.25, -0.15, np.nan, 0.3],
        }
    )


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "set.h5"
    scans = [make_scan(scan_id) for scan_id in IDS]
    write_scan_set(path, scans, name="s", level_of_theory="t", source="test", provenance={})
    attributes = {"model": "m", "scan_set_sha256": "x"}
    shards = [tmp_path / "0.h5", tmp_path / "1.h5"]
    write_evaluation(shards[0], [make_evaluation(s) for s in scans[:2]], attributes=attributes)
    rest = [
        make_evaluation(scans[2], failed=True),
        make_evaluation(scans[3], energies=False, masked=[8]),
    ]
    write_evaluation(shards[1], rest, attributes=attributes)
    with ScanSet(path) as scan_set:
        yield scan_set, shards


def test_worst_first_then_what_failed():
    table = worst.worst_scans(make_scores())
    assert list(table.columns) == list(worst.COLUMNS)
    assert table["scan"].tolist() == ["C-C/b", "C-N/d", "C-C/a", "C-N/c"]
    assert table["rank"].tolist()[:3] == [1, 2, 3]
    assert pd.isna(table["rank"].iloc[3])
    assert table["side"].tolist()[:3] == ["compress", "stretch", "compress"]
    assert table.loc[1, ["frame_before", "frame_after"]].tolist() == [7, 9]
    assert table.loc[3, ["status", "message"]].tolist() == ["error", "broke"]


def test_only_so_many_scored_scans_but_every_failure():
    table = worst.worst_scans(make_scores(), count=1)
    assert table["scan"].tolist() == ["C-C/b", "C-N/c"]


def test_equal_scores_are_in_the_order_of_their_names():
    scores = make_scores().assign(fsd_full=[5.0, 5.0, np.nan, 5.0]).iloc[::-1]
    assert worst.worst_scans(scores)["scan"].tolist() == ["C-C/a", "C-C/b", "C-N/d", "C-N/c"]


def test_a_scan_without_slope_has_no_peak():
    scores = make_scores().assign(fsd_full=[0.0, 0.0, np.nan, 0.0])
    table = worst.worst_scans(scores)
    assert table[["frame_before", "frame_after", "peak_offset_angstrom"]].isna().all().all()
    assert (table["side"].dropna() == "").all()


def test_files_hold_both_frames_of_every_peak(files, tmp_path):
    scan_set, shards = files
    csv, xyz = tmp_path / "out" / "worst.csv", tmp_path / "out" / "worst.extxyz"
    worst.write(csv, xyz, scan_set=scan_set, evaluations=shards, scores=make_scores())
    assert pd.read_csv(csv)["scan"].tolist() == ["C-C/b", "C-N/d", "C-C/a", "C-N/c"]
    frames = ase.io.read(xyz, index=":")
    assert [(f.info["scan"], f.info["frame"]) for f in frames] == [
        ("C-C/b", 3), ("C-C/b", 4), ("C-N/d", 7), ("C-N/d", 9), ("C-C/a", 2), ("C-C/a", 3)
    ]  # fmt: skip
    assert not list(csv.parent.glob("*.part"))
    first, direct = frames[0], frames[2]
    scan = scan_set.scan("C-C/b")
    assert first.get_distance(0, 1) == pytest.approx(scan.coordinate[3])
    assert first.info["coordinate_angstrom"] == pytest.approx(scan.coordinate[3])
    assert first.info["fsd"] == 30
    assert first.info["model"] == "m"
    assert first.info["atoms"].tolist() == [0, 1]
    assert first.get_potential_energy() == pytest.approx(1.5 * scan.energy[3])
    assert first.info["reference_energy"] == pytest.approx(scan.energy[3])
    assert first.get_forces() == pytest.approx(1.5 * scan.forces[3], abs=1e-7)
    assert first.arrays["reference_forces"] == pytest.approx(scan.forces[3], abs=1e-7)
    assert "energy" not in direct.calc.results
    assert "forces" in direct.calc.results


def test_nothing_scored_gives_an_empty_extxyz(files, tmp_path):
    scan_set, shards = files
    scores = make_scores()
    scores["status"], scores["fsd_full"] = "unsupported", np.nan
    table = worst.write(
        tmp_path / "w.csv", tmp_path / "w.extxyz", scan_set=scan_set, evaluations=shards,
        scores=scores,
    )  # fmt: skip
    assert len(table) == 4
    assert (tmp_path / "w.extxyz").read_text() == ""


def test_a_scored_scan_that_no_shard_holds_is_named(files, tmp_path):
    scan_set, shards = files
    with pytest.raises(UserError, match="C-N/d"):
        worst.write(
            tmp_path / "w.csv", tmp_path / "w.extxyz", scan_set=scan_set, evaluations=shards[:1],
            scores=make_scores(),
        )  # fmt: skip
    assert not (tmp_path / "w.csv").exists()
