"""The public data: every fact of spec/bsct.md section 2, and archives that are not it."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import resource
import tarfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.data import chemical_symbols, covalent_radii

from examples import KEPT_SCANS
from pesbench import cli
from pesbench.core.bond_graph import fragments
from pesbench.core.coordinates.bond import bond_grid, bond_scan
from pesbench.core.errors import HostError, UserError
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.metrics.curves import extrema, step_work
from pesbench.models import transfer
from pesbench.references import bsct_spice as bsct

MISSING = "C-N/25729"


@pytest.fixture(scope="module")
def scans(bsct_scans):
    return bsct_scans.values()


def _ends(scan):
    """The bond's atoms, that in fragment 0 first."""
    i, j = scan.atoms
    return (i, j) if scan.fragment[i] == 0 else (j, i)


def _known(scan):
    """Coordinate, positions, energy, forces of frames with a reference, and the minimum's index."""
    k = np.isfinite(scan.energy)
    q = int(np.argmin(scan.energy[k]))
    return scan.coordinate[k], scan.positions[k], scan.energy[k], scan.forces[k], q


def _length(scan):
    i, j = scan.atoms
    return float(np.linalg.norm(scan.positions_unperturbed[j] - scan.positions_unperturbed[i]))


# --- counts --------------------------------------------------------------------------------------


def test_scans_by_bond(scans):
    assert Counter(scan.bond for scan in scans) == {
        "C-C": 100, "C-N": 98, "C-O": 100, "C-S": 100, "N-N": 20, "N-O": 20, "C-P": 18, "O-P": 15,
        "N-P": 14,
    }  # fmt: skip
    assert sum(1 for _ in scans) == bsct.N_SCANS == 485
    for scan in scans:
        i, j = scan.atoms
        symbols = sorted(chemical_symbols[scan.numbers[k]] for k in (i, j))
        assert scan.id.split("/")[0] == scan.bond == "-".join(symbols)


def test_frames_and_atoms(scans):
    sizes = [scan.n_atoms for scan in scans]
    assert {scan.n_frames for scan in scans} == {100}
    assert (min(sizes), max(sizes), np.median(sizes)) == (5, 50, 28)
    assert np.mean(sizes) == pytest.approx(28.5, abs=0.05)
    assert sum(scan.n_frames for scan in scans) == 48_500
    assert sum(101 * size for size in sizes) == pytest.approx(1.398e6, abs=500)
    assert sum(100 * size for size in sizes) == pytest.approx(1.384e6, abs=500)


def test_molecules_by_element(scans):
    found = Counter(chemical_symbols[z] for scan in scans for z in set(scan.numbers.tolist()))
    assert found == {"H": 477, "C": 476, "N": 289, "O": 269, "S": 207, "Cl": 78, "F": 72, "P": 65,
                     "Br": 21, "I": 5}  # fmt: skip


def test_neutral_and_even(scans):
    from rdkit import Chem

    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    parameters.sanitize = False
    for scan in scans:
        molecule = Chem.MolFromSmiles(scan.smiles, parameters)
        assert sum(atom.GetFormalCharge() for atom in molecule.GetAtoms()) == 0
        assert (scan.charge, scan.spin) == (0, 1)
        assert scan.numbers.sum() % 2 == 0


def test_sources(published):
    frames = [next(ase.io.iread(io.StringIO(text), format="extxyz"))
              for text in published.unperturbed.values()]  # fmt: skip
    assert Counter(atoms.info["dataset"] for atoms in frames) == {
        "PubChem": 428, "DES370K Monomers": 57,
    }  # fmt: skip
    assert {"id", "bond", "smiles", "dataset"} <= set.intersection(*(set(a.info) for a in frames))
    assert not any(atoms.pbc.any() for atoms in frames)


def test_the_two_missing_energies(scans):
    missing = {scan.id: np.flatnonzero(np.isnan(scan.energy)).tolist() for scan in scans}
    assert {scan_id: frames for scan_id, frames in missing.items() if frames} == {MISSING: [9, 10]}
    for scan in scans:
        without = np.isnan(scan.forces).all(axis=(1, 2))
        assert np.array_equal(without, np.isnan(scan.energy))
        assert np.isfinite(scan.forces[~without]).all()
        assert np.isfinite(scan.positions).all()


def test_the_files_hold_finite_forces_where_the_energy_is_missing(published):
    atoms = next(ase.io.iread(
        io.StringIO(published.files[MISSING]["atoms_9.xyz"].decode()), format="extxyz"
    ))  # fmt: skip
    assert np.isnan(atoms.calc.results["energy"])
    assert np.isfinite(atoms.calc.results["forces"]).all()


# --- partition and grid --------------------------------------------------------------------------


def test_partitions(bsct_scans, published):
    first = Counter()
    for scan_id, content in published.partition.items():
        scan = bsct_scans[scan_id]
        with np.load(io.BytesIO(content)) as partition:
            assert set(partition.files) == {
                "bond", "bond_index", "labels", "perturb_range", "unit_vec", "rotation",
            }  # fmt: skip
            low, high, count = partition["perturb_range"]
            unit = partition["unit_vec"]
            assert tuple(partition["bond_index"]) == scan.atoms
            assert np.array_equal(partition["labels"], scan.fragment)
        assert (scan.coordinate[0], scan.coordinate[-1], count) == (low, high, 100)
        start, end = _ends(scan)
        along = scan.positions_unperturbed[end] - scan.positions_unperturbed[start]
        assert unit == pytest.approx(along / np.linalg.norm(along), abs=2e-8)
        assert set(scan.fragment.tolist()) == {0, 1}
        first[int(scan.fragment[scan.atoms[0]])] += 1
    assert first == {0: 255, 1: 230}


def test_the_fragments_are_the_bond_graph_cut_at_the_bond(scans):
    for scan in scans:
        label = fragments(scan.n_atoms, scan.bonds, _ends(scan))
        assert label is not None, f"{scan.id} is a ring bond"
        assert np.array_equal(label, scan.fragment), scan.id


def test_the_range_is_half_to_twice_the_covalent_sum(scans):
    ranges = {}
    for scan in scans:
        i, j = scan.atoms
        total = covalent_radii[scan.numbers[i]] + covalent_radii[scan.numbers[j]]
        assert scan.coordinate[[0, -1]] == pytest.approx([0.5 * total, 2 * total], abs=1e-12)
        assert np.diff(scan.coordinate) == pytest.approx(1.5 * total / 99, abs=1e-12)
        ranges[scan.bond] = tuple(scan.coordinate[[0, -1]].round(6))
    assert ranges == {
        "C-C": (0.76, 3.04), "C-N": (0.735, 2.94), "C-O": (0.71, 2.84), "C-P": (0.915, 3.66),
        "C-S": (0.905, 3.62), "N-N": (0.71, 2.84), "N-O": (0.685, 2.74), "N-P": (0.89, 3.56),
        "O-P": (0.865, 3.46),
    }  # fmt: skip


def test_one_step_between_frames(scans):
    steps = {scan.bond: scan.coordinate[1] - scan.coordinate[0] for scan in scans}
    assert (min(steps, key=steps.get), max(steps, key=steps.get)) == ("N-O", "C-P")
    assert min(steps.values()) == pytest.approx(0.0208, abs=5e-5)
    assert max(steps.values()) == pytest.approx(0.0277, abs=5e-5)


# --- motion --------------------------------------------------------------------------------------


def test_frames_and_grid_are_rebuilt_by_our_own_scans(scans):
    for scan in scans:
        i, j = scan.atoms
        grid = bond_grid(int(scan.numbers[i]), int(scan.numbers[j]))
        assert np.array_equal(grid, scan.coordinate), scan.id
        built = bond_scan(scan.positions_unperturbed, scan.atoms, scan.fragment, grid)
        assert np.abs(built - scan.positions).max() < 1e-6, scan.id


def test_both_fragments_move_by_half_and_the_midpoint_stays(scans):
    drift = []
    for scan in scans:
        start, end = _ends(scan)
        bond = scan.positions[0, end] - scan.positions[0, start]
        unit = bond / np.linalg.norm(bond)
        total = scan.positions[-1] - scan.positions[0]
        share = total @ unit / (scan.coordinate[-1] - scan.coordinate[0])
        assert share == pytest.approx(np.where(scan.fragment == 1, 0.5, -0.5), abs=5e-4)
        middle = scan.positions[:, [start, end]].mean(axis=1)
        assert np.abs(middle - middle[0]).max() < 1e-12
        centre = scan.positions.mean(axis=1)
        drift.append(np.linalg.norm(centre - centre[0], axis=1).max())
    assert max(drift) == pytest.approx(1.2, abs=0.05)


def test_fragments_are_rigid(scans):
    for scan in scans:
        for label in (0, 1):
            part = scan.positions[:, scan.fragment == label]
            inside = part - part[:, :1]
            assert np.abs(inside - inside[0]).max() <= 2e-15


def test_motion_is_parallel_to_the_bond_and_linear(scans):
    for scan in scans:
        start, end = _ends(scan)
        bond = scan.positions[:, end] - scan.positions[:, start]
        assert np.linalg.norm(bond, axis=1) == pytest.approx(scan.coordinate, abs=2e-8)
        along = scan.positions_unperturbed[end] - scan.positions_unperturbed[start]
        unit = along / np.linalg.norm(along)
        moved = scan.positions - scan.positions_unperturbed
        across = moved - (moved @ unit)[..., None] * unit
        assert np.abs(across).max() < 2e-8


def test_the_unperturbed_molecule_is_on_the_path_but_no_frame(scans):
    for scan in scans:
        length = _length(scan)
        (frame,) = bond_scan(scan.positions[50], scan.atoms, scan.fragment, np.array([length]))
        # the files have 8 decimals
        assert np.abs(frame - scan.positions_unperturbed).max() < 2e-8
        assert np.abs(scan.coordinate - length).min() > 1e-6


def test_compression_creates_no_other_clash(scans):
    nearest = []
    for scan in scans:
        start, end = _ends(scan)
        frame = scan.positions[0]
        zero, one = np.flatnonzero(scan.fragment == 0), np.flatnonzero(scan.fragment == 1)
        distance = np.linalg.norm(frame[zero][:, None] - frame[one][None], axis=2)
        distance[np.flatnonzero(zero == start)[0], np.flatnonzero(one == end)[0]] = np.inf
        nearest.append(distance.min())
    assert min(nearest) == pytest.approx(1.12, abs=0.005)
    assert np.median(nearest) == pytest.approx(1.50, abs=0.005)


# --- energies and forces -------------------------------------------------------------------------


def test_the_minimum_lies_near_the_unperturbed_bond(scans):
    offset = []
    for scan in scans:
        coordinate, *_, q = _known(scan)
        offset.append(coordinate[q] - _length(scan))
    assert np.median(offset) == pytest.approx(-0.016, abs=5e-4)
    assert (min(offset), max(offset)) == pytest.approx((-0.163, 0.168), abs=5e-4)


def test_the_unperturbed_molecules_are_not_relaxed(published):
    largest, norm = [], []
    for text in published.unperturbed.values():
        forces = next(ase.io.iread(io.StringIO(text), format="extxyz")).calc.results["forces"]
        largest.append(np.abs(forces).max())
        norm.append(np.linalg.norm(forces))
    assert np.median(norm) == pytest.approx(7.3, abs=0.05)
    assert np.median(largest) == pytest.approx(2.9, abs=0.05)
    assert (min(largest), max(largest)) == pytest.approx((0.73, 19.3), rel=5e-3)


def test_energies_fall_to_the_minimum_and_rise_after_it(scans):
    for scan in scans:
        _, _, energy, _, q = _known(scan)
        assert 0 < q < len(energy) - 1
        assert (np.diff(energy[: q + 1]) < 0).all(), scan.id
        assert (np.diff(energy[q:]) > -1e-3).all(), scan.id


def test_there_is_one_minimum_and_no_other_extremum(scans):
    for scan in scans:
        coordinate, _, energy, _, q = _known(scan)
        lower = (energy[1:-1] < energy[:-2]) & (energy[1:-1] < energy[2:])
        assert np.count_nonzero(lower) == 1
        found = extrema(coordinate, energy)
        assert found.is_minimum.tolist() == [True]
        assert found.coordinate.tolist() == [coordinate[q]]


def test_energies_at_the_ends_and_largest_forces(scans):
    compressed, stretched, largest = [], [], []
    for scan in scans:
        _, _, energy, forces, q = _known(scan)
        compressed.append(energy[0] - energy[q])
        stretched.append(energy[-1] - energy[q])
        largest.append(np.abs(forces).max())
    assert np.median(compressed) == pytest.approx(47.9, abs=0.06)
    assert (min(compressed), max(compressed)) == pytest.approx((39.5, 60.3), abs=0.05)
    assert np.median(stretched) == pytest.approx(4.94, abs=0.006)
    assert (min(stretched), max(stretched)) == pytest.approx((1.5, 7.1), abs=0.05)
    assert (min(largest), max(largest)) == pytest.approx((143, 342), abs=0.5)


def test_forces_and_energies_agree(scans):
    wall, tail, steps, steps_beyond = [], [], [], []
    for scan in scans:
        coordinate, positions, energy, forces, q = _known(scan)
        work = step_work(positions, forces)
        wall.append(abs(work[:q].sum() - (energy[q] - energy[0])))
        tail.append(abs(work[q:].sum() - (energy[-1] - energy[q])))
        mismatch = np.abs(np.diff(energy) - work)
        steps.append(mismatch.max())
        steps_beyond.append(mismatch[coordinate[:-1] > 1.2 * coordinate[q]].max())
    assert (min(wall), max(wall)) == pytest.approx((0.047, 0.112), abs=5e-4)
    assert np.median(wall) == pytest.approx(0.065, abs=5e-4)
    assert np.median(tail) == pytest.approx(2e-3, abs=6e-4)
    assert max(steps) == pytest.approx(0.06, abs=5e-3)
    assert max(steps_beyond) == pytest.approx(0.001, abs=5e-4)


# --- archives ------------------------------------------------------------------------------------

ROOT = f"bsct-{bsct.COMMIT}/bsct_spice/"


@pytest.fixture(scope="module")
def kept(published) -> dict[str, bytes]:
    """Content of the files of three scans by their name in the manifest."""
    return {f"{scan_id}/{name}": content for scan_id, files in sorted(published.files.items())
            for name, content in files.items()}  # fmt: skip


@pytest.fixture(scope="module")
def manifest(repo) -> dict[str, str]:
    """The shipped manifest, cut down to the same three scans."""
    whole = bsct.read_manifest(repo / bsct.MANIFEST)
    return {name: digest for name, digest in whole.items() if name.rpartition("/")[0] in KEPT_SCANS}


def _write_tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for name in ("LICENSE", "README.md"):  # beside the data in GitHub's tarball
            _add(tar, f"bsct-{bsct.COMMIT}/{name}", b"text")
        for name, content in files.items():
            _add(tar, ROOT + name, content)
    return path


def _add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def _import(path: Path, manifest: dict[str, str], out: Path) -> str:
    folders = bsct.verified_folders(path, manifest)
    scans = (bsct.read_scan(scan_id, files) for scan_id, files in folders)
    write_scan_set(out, scans, name="x", level_of_theory="x", source="x", provenance={})
    with ScanSet(out) as scan_set:
        return scan_set.sha256


def test_the_shipped_manifest(repo, tmp_path):
    whole = bsct.read_manifest(repo / bsct.MANIFEST)
    assert len(whole) == 485 * 102
    assert len(bsct.scan_ids(whole)) == 485
    lines = gzip.decompress((repo / bsct.MANIFEST).read_bytes())
    assert hashlib.sha256(lines).hexdigest() == bsct.MANIFEST_SHA256
    names = [line.split("  ")[1] for line in lines.decode().splitlines()]
    assert names == sorted(names)
    (tmp_path / "m.gz").write_bytes(gzip.compress(lines.replace(b"0", b"1", 1)))
    with pytest.raises(UserError, match="not the manifest of commit 79d915b0"):
        bsct.read_manifest(tmp_path / "m.gz")
    with pytest.raises(UserError, match="cannot read the manifest"):
        bsct.read_manifest(tmp_path / "none.gz")


def test_a_truncated_manifest(repo, tmp_path):
    (tmp_path / "m.gz").write_bytes((repo / bsct.MANIFEST).read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot read the manifest"):
        bsct.read_manifest(tmp_path / "m.gz")


def test_an_archive_and_a_folder_give_the_same_set(tmp_path, kept, manifest, bsct_scans):
    shuffled = dict(
        sorted(kept.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest())
    )
    sources = {
        "tarball": _write_tar(tmp_path / "a.tar.gz", kept),
        "plain tar": _write_tar(tmp_path / "b.tar", kept, "w"),
        "another order": _write_tar(tmp_path / "c.tar.gz", shuffled),
        "bsct_spice itself": _write_folder(tmp_path / "bsct_spice", kept),
        "a checkout": _write_folder(tmp_path / "checkout" / "bsct_spice", kept).parent,
        "an unpacked tarball": _write_folder(tmp_path / "up" / ROOT, kept).parents[1],
    }
    hashes = {kind: _import(path, manifest, tmp_path / "o.h5") for kind, path in sources.items()}
    assert len(set(hashes.values())) == 1, hashes
    with ScanSet(tmp_path / "o.h5") as scan_set:
        assert scan_set.ids == KEPT_SCANS
        for scan_id in KEPT_SCANS:
            assert np.array_equal(scan_set.scan(scan_id).forces, bsct_scans[scan_id].forces,
                                  equal_nan=True)  # fmt: skip


@pytest.mark.slow
def test_the_whole_archive_as_a_folder_gives_the_same_set(tmp_path, archive, repo, bsct_spice):
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    found = _import(tmp_path / "unpacked", bsct.read_manifest(repo / bsct.MANIFEST),
                    tmp_path / "o.h5")  # fmt: skip
    with ScanSet(bsct_spice) as scan_set:
        assert found == scan_set.sha256


def _refused(path, manifest, out, *said):
    with pytest.raises(UserError) as error:
        _import(path, manifest, out)
    message = str(error.value)
    for text in (str(path), "79d915b0", *said):
        assert text in message
    assert "\n" not in message
    assert not list(out.parent.glob("out*"))


CHANGED = "C-S/713/atoms_42.xyz"


def _change_byte(files):
    content = bytearray(files[CHANGED])
    content[len(content) // 2] ^= 1
    return files | {CHANGED: bytes(content)}


def _replace_partition(files):  # a valid file, but of another scan
    return files | {"C-S/713/partition.npz": files["N-O/4583/partition.npz"]}


CHANGES = {
    "one byte": (_change_byte, f"bsct_spice/{CHANGED} differs from the published file"),
    "another file": (_replace_partition, "bsct_spice/C-S/713/partition.npz differs"),
    "a file less": (
        lambda files: {k: v for k, v in files.items() if k != CHANGED},
        f"bsct_spice/{CHANGED} is missing (1 files are)",
    ),
    "a scan less": (
        lambda files: {k: v for k, v in files.items() if not k.startswith("C-N/")},
        "bsct_spice/C-N/25729/atoms_0.xyz is missing (102 files are)",
    ),
    "a file more": (
        lambda files: files | {"C-S/713/notes.txt": b"mine"},
        "bsct_spice/C-S/713/notes.txt does not belong to the data set",
    ),
    "a scan more": (
        lambda files: {"C-C/1/atoms_0.xyz": b"1\n\nH 0 0 0\n"} | files,
        "bsct_spice/C-C/1/atoms_0.xyz does not belong to the data set",
    ),
    "nothing": (lambda files: {}, "bsct_spice/C-N/25729/atoms_0.xyz is missing (306 files are)"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("form", ["tarball", "folder"])
def test_a_changed_archive_is_refused_by_the_first_file(tmp_path, kept, manifest, change, form):
    edit, said = CHANGES[change]
    if form == "tarball":
        path = _write_tar(tmp_path / "a.tar.gz", edit(kept))
    else:
        path = _write_folder(tmp_path / "a" / "bsct_spice", edit(kept))
        path.mkdir(parents=True, exist_ok=True)
    _refused(path, manifest, tmp_path / "out.h5", said)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_a_truncated_archive_is_refused_by_the_first_missing_file(
    tmp_path, kept, manifest, share, mode
):
    path = _write_tar(tmp_path / "a.tar.gz", kept, mode)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    _refused(path, manifest, tmp_path / "out.h5", "missing", "bsct_spice/")


def test_an_archive_without_its_last_bytes_is_refused(tmp_path, kept, manifest):
    """Every file of ours is there, but not the end of the archive."""
    path = _write_tar(tmp_path / "a.tar.gz", kept)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.9999 * len(content))])
    _refused(path, manifest, tmp_path / "out.h5", "its end is missing")


def test_a_truncated_archive_names_the_file_that_is_cut(tmp_path, kept, manifest):
    path = _write_tar(tmp_path / "a.tar", kept, "w")
    with tarfile.open(path) as tar:
        member = tar.getmember(ROOT + CHANGED)
    path.write_bytes(path.read_bytes()[: member.offset_data + 100])
    _refused(path, manifest, tmp_path / "out.h5", f"bsct_spice/{CHANGED}")


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>Not Found</html>", gzip.compress(b"no tar inside", mtime=0)],
    ids=["empty", "page", "gzip"],
)
def test_what_is_no_archive(tmp_path, manifest, content):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    _refused(path, manifest, tmp_path / "out.h5", "not a whole tar archive")


class _Endless(io.RawIOBase):
    """Zeros, as many as a header says."""

    def readable(self):
        return True

    def readinto(self, buffer):
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def _large_file(tar, name):
    info = tarfile.TarInfo(name)
    info.size = 200_000_000
    tar.addfile(info, _Endless())


def _long_header(tar, _):
    info = tarfile.TarInfo("././@PaxHeader")
    info.size, info.type = 200_000_000, tarfile.XHDTYPE
    tar.addfile(info, _Endless())


def _headers_of_headers(tar, _):
    for _ in range(3000):
        info = tarfile.TarInfo("././@PaxHeader")
        info.size, info.type = 12, tarfile.XHDTYPE
        tar.addfile(info, io.BytesIO(b"12 path=abc\n"))


BOMBS = {
    "a file of the set": (_large_file, ROOT + CHANGED, "differs from the published file"),
    "a file that is none of the set": (_large_file, ROOT + "x/y/z", "does not belong"),
    "a file beside the set": (_large_file, "other/x", "unpacks to more than the data set"),
    "a header": (_long_header, "", "unpacks to more than the data set"),
    "a name of a terminal": (_large_file, ROOT + "x/\x1b[2J/z", "x/\\x1b[2J/z does not belong"),
    "headers of headers": (_headers_of_headers, "", "not a whole tar archive"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_members_are_looked_at_before_they_are_unpacked(tmp_path, manifest, monkeypatch, what):
    monkeypatch.setattr(bsct, "LARGEST_ARCHIVE_BYTES", 100_000_000)
    add, name, said = BOMBS[what]
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        add(tar, name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _refused(path, manifest, tmp_path / "out.h5", said)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_file_that_is_there_twice_is_refused(tmp_path, kept, manifest):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for _ in range(2):
            for name, content in kept.items():
                _add(tar, ROOT + name, content)
    _refused(path, manifest, tmp_path / "out.h5", "is there twice")


@pytest.mark.parametrize("mode", ["w:bz2", "w:xz"])
def test_other_packers_are_read(tmp_path, kept, manifest, mode):
    path = _write_tar(tmp_path / "a.tar", kept, mode)
    assert _import(path, manifest, tmp_path / "out.h5")


def test_a_folder_without_the_data(tmp_path, manifest):
    (tmp_path / "empty").mkdir()
    _refused(tmp_path / "empty", manifest, tmp_path / "out.h5", "is missing")


def test_the_real_archive_cut_short_is_refused_through_the_command(tmp_path, archive, repo, capfd):
    path = tmp_path / "cut.tar.gz"
    with archive.open("rb") as file:
        path.write_bytes(file.read(300_000))
    code = cli.main(["import-archive", "--archive", str(path), "--out", str(tmp_path / "out.h5"),
                     "--manifest", str(repo / bsct.MANIFEST)])  # fmt: skip
    assert code == 2
    assert not list(tmp_path.glob("out*"))


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such archive; set `archive` in the config"):
        bsct.fetch_archive(str(tmp_path / "none.tar.gz"), tmp_path / "cache")
    assert bsct.fetch_archive(str(tmp_path), tmp_path / "cache") == tmp_path
    assert not (tmp_path / "cache").exists()


# --- downloads -----------------------------------------------------------------------------------


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/cut.tar.gz":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"x" * 1000)
            return None
        if self.path == "/hangup.tar.gz":
            self.connection.close()
            return None
        return super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    handler = functools.partial(_Handler, directory=str(tmp_path / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = []
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "BACKOFF_S", 0.0)


def test_a_download_is_kept(server, tmp_path, kept, manifest):
    made = _write_tar(tmp_path / "served" / "a.tar.gz", kept)
    cache = tmp_path / "cache"
    address = server.address + "/a.tar.gz"
    path = bsct.fetch_archive(address, cache)
    assert path.read_bytes() == made.read_bytes()
    assert [p.name for p in cache.iterdir()] == ["bsct-79d915b0.tar.gz"]
    assert bsct.fetch_archive(address, cache) == path
    assert server.asked == ["/a.tar.gz"]
    assert _import(path, manifest, tmp_path / "o.h5")


def test_an_address_that_is_not_there(server, tmp_path):
    with pytest.raises(UserError, match=r"the server answers 404 .*; set `archive`") as error:
        bsct.fetch_archive(server.address + "/none.tar.gz", tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["cut", "hangup"])
def test_a_download_that_breaks_may_be_tried_again(server, tmp_path, name):
    with pytest.raises(HostError, match=r"try again|again"):
        bsct.fetch_archive(f"{server.address}/{name}.tar.gz", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_server_at_all(tmp_path):
    with pytest.raises(HostError, match="download failed"):
        bsct.fetch_archive("http://127.0.0.1:9/a.tar.gz", tmp_path / "cache")


def test_a_changed_scan_changes_the_hash_of_the_set(tmp_path, bsct_scans):
    def sha256(scan):
        path = tmp_path / "o.h5"
        write_scan_set(path, [scan], name="x", level_of_theory="x", source="x", provenance={})
        with ScanSet(path) as scan_set:
            return scan_set.sha256

    scan = bsct_scans["N-O/4583"]
    forces = scan.forces.copy()
    forces[50, 0, 0] += 1e-8
    assert sha256(replace(scan, forces=forces)) != sha256(scan)


def test_the_molecules_for_dynamics_are_five_of_each_bond_type_by_the_hash_of_their_ids(repo):
    ids = bsct.scan_ids(bsct.read_manifest(repo / bsct.MANIFEST))
    lines = (repo / "resources/bsct_spice/dynamics.txt").read_text().splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    expected = []
    for bond in sorted({scan_id.partition("/")[0] for scan_id in ids}):
        of_type = [scan_id for scan_id in ids if scan_id.startswith(f"{bond}/")]
        of_type.sort(key=lambda scan_id: hashlib.sha256(scan_id.encode()).hexdigest())
        expected += of_type[:5]
    assert pinned == sorted(expected)
    assert len(pinned) == 45


def test_the_study_is_on_the_same_data_and_the_first_molecule_of_each_bond_type(repo):
    run, study = (
        yaml.safe_load((repo / f"config/{name}.yaml").read_text())
        for name in ("bsct_spice", "study_bsct")
    )
    assert study["scan_sets"] == run["scan_sets"]
    first = {}
    for line in (repo / run["dynamics"]["systems_file"]).read_text().splitlines():
        if not line.startswith("#"):
            first.setdefault(line.partition("/")[0], line)
    assert study["dynamics"]["systems"] == list(first.values())
    assert len(first) == 9
