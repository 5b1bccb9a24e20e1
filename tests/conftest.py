"""Fixtures that several test modules share: data that is made once, and toys that cost nothing."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from filelock import FileLock
from hypothesis import settings

import fake_calculators
from pesbench.core.scans import Scan, bond_scans
from pesbench.core.systems import System
from pesbench.files.atomic import write_json
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.files.stored_tables import write_scores
from pesbench.models.registry import ModelEntry
from pesbench.references import bsct_spice as bsct
from pesbench.references.calculators import collect_references, write_geometries
from pesbench.references.quality import QualityLimits
from pesbench.tasks.bonds import score as scores
from pesbench.tasks.bonds.run import evaluate_shard
from pesbench.tasks.dynamics import score as dynamics_scores
from pesbench.tasks.vibrations import score as vibration_scores

REPO = Path(__file__).parents[1]
SMALL_MOLECULES = ("hydrazine", "hydroxylamine", "methanethiol")  # one heavy bond each
KEPT_SCANS = ("C-N/25729", "C-S/713", "N-O/4583")  # their files are kept to build archives of

# the same examples in every run, and no time limit on a busy machine
settings.register_profile("pesbench", deadline=None, derandomize=True)
settings.load_profile("pesbench")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that take many minutes")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


def _shared(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable, REPO.parent / "shared" / default))
    if not path.exists():
        pytest.skip(f"no {path}; set {variable} to where it is")
    return path


@pytest.fixture(scope="session")
def archive() -> Path:
    return _shared("PESBENCH_ARCHIVE", "data/bsct-79d915b0.tar.gz")


@pytest.fixture(scope="session")
def golden() -> Path:
    return _shared("PESBENCH_GOLDEN", "golden")


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Path:
    """A folder that all xdist workers of this run share, and no other run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


# --- BSCT-SPICE ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """What the archive holds beside what goes into a scan set.

    Attributes:
        unperturbed: Text of `unperturbed.xyz` by scan.
        partition: Bytes of `partition.npz` by scan.
        files: All files of `KEPT_SCANS` by scan and file name.
    """

    unperturbed: dict[str, str]
    partition: dict[str, bytes]
    files: dict[str, dict[str, bytes]]


@pytest.fixture(scope="session")
def _imported(archive, once, repo) -> tuple[Path, Path]:
    path, aside = once / "bsct_spice.h5", once / "bsct_spice.pickle"
    with FileLock(once / "bsct_spice.lock"):
        if not aside.exists():
            manifest = bsct.read_manifest(repo / bsct.MANIFEST)
            published = Published({}, {}, {})

            def scans():
                for scan_id, files in bsct.verified_folders(archive, manifest):
                    published.unperturbed[scan_id] = files["unperturbed.xyz"].decode()
                    published.partition[scan_id] = files["partition.npz"]
                    if scan_id in KEPT_SCANS:
                        published.files[scan_id] = files
                    yield bsct.read_scan(scan_id, files)

            write_scan_set(
                path, scans(), name=bsct.NAME, level_of_theory=bsct.LEVEL_OF_THEORY,
                source=bsct.SOURCE, provenance={},
            )  # fmt: skip
            # plain containers: a worker's `Published` need not be the other's
            aside.write_bytes(pickle.dumps(vars(published)))
    return path, aside


@pytest.fixture(scope="session")
def bsct_spice(_imported) -> Path:
    """The scan set made from the archive."""
    return _imported[0]


@pytest.fixture(scope="session")
def published(_imported) -> Published:
    return Published(**pickle.loads(_imported[1].read_bytes()))


@pytest.fixture(scope="session")
def bsct_scans(bsct_spice) -> dict[str, Scan]:
    """All 485 scans by id."""
    with ScanSet(bsct_spice) as scan_set:
        return {scan_id: scan_set.scan(scan_id) for scan_id in scan_set.ids}


# --- small sets ----------------------------------------------------------------------------------


def tblite_entry(name: str = "gfn2-xtb", method: str = "GFN2-xTB", **settings: Any) -> ModelEntry:
    defaults = {"method": method, "accuracy": 1.0, "level_of_theory": method}
    return ModelEntry(name, "tblite", defaults | settings)


@pytest.fixture(scope="session")
def small_scan_set(once, repo) -> Path:
    """Three scans of embedded molecules with GFN2-xTB, made as the workflow makes them."""
    path = once / "small.h5"
    with FileLock(once / "small.lock"):
        if not path.exists():
            frames = ase.io.read(repo / "resources/mini/molecules.extxyz", index=":")
            chosen = [atoms for atoms in frames if atoms.info["id"] in SMALL_MOLECULES]
            ase.io.write(once / "small.extxyz", chosen)
            build_scan_set(once / "small.extxyz", tblite_entry(), path)
    return path


def build_scan_set(molecules: Path, entry: ModelEntry, path: Path, **choice: Any) -> None:
    """The three stages of a reference in one go; `choice` is that of `write_geometries`."""
    work = path.parent / f"{path.stem}.stages"
    skipped = work / "skipped_bonds.csv"
    choice = {"bonds_to_hydrogen": False} | choice
    write_geometries(molecules, work / "scans.h5", skipped, name=path.stem, **choice)
    with ScanSet(work / "scans.h5") as scans:
        ids = scans.ids
    evaluate_shard(entry, work / "scans.h5", ids, work / "0000.h5")
    collect_references(
        work / "scans.h5",
        [work / "0000.h5"],
        path,
        path.with_suffix(".csv"),
        skipped=skipped,
        level_of_theory=entry.settings.get("method", entry.name),
        limits=QualityLimits(),
    )


def toy_scan(name: str, symbols: str, n_frames: int = 13) -> Scan:
    """A scan of a diatomic in a Morse potential; every molecule has a formula of its own."""
    atoms = Atoms(symbols, positions=[[0, 0, 0], [1.3, 0.2, -0.1]])
    system = System(name, atoms.numbers.astype(np.int64), atoms.positions, np.array([[0, 1]]))
    (scan,) = bond_scans(system)
    frames = np.linspace(0, scan.n_frames - 1, n_frames).round().astype(int)
    positions = scan.positions[frames]
    answers = [fake_calculators.morse(scan.numbers, p) for p in positions]
    return replace(
        scan, id=f"{scan.bond}/{name}", coordinate=scan.coordinate[frames], positions=positions,
        energy=np.array([energy for energy, _ in answers]),
        forces=np.stack([forces for _, forces in answers]),
    )  # fmt: skip


TOYS = {"a": "CC", "b": "CN", "c": "CO", "d": "NN", "e": "NO", "f": "OS"}


@pytest.fixture(scope="session")
def toys() -> dict[str, Scan]:
    """Six scans of 13 frames by id: C-C/a, C-N/b, C-O/c, N-N/d, N-O/e and O-S/f."""
    scans = [toy_scan(name, symbols) for name, symbols in TOYS.items()]
    return {scan.id: scan for scan in scans}


@pytest.fixture(scope="session")
def toy_set(toys, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("toys") / "toys.h5"
    write_toys(path, toys.values())
    return path


def write_toys(path: Path, scans) -> None:
    write_scan_set(path, scans, name="toys", level_of_theory="Morse", source="tests", provenance={})


def write_part_of_scores(path: Path, frame: Any) -> None:
    """Scores of a test, which has some of their columns; the others are empty."""
    kinds = {"scans": scores, "dynamics": dynamics_scores, "vibrations": vibration_scores}
    kind, frame = kinds[path.stem], frame.copy()
    for column in kind.COLUMNS:
        if column not in frame and column not in getattr(kind, "WORDS", ()):
            frame[column] = "" if column in kind.TEXT else np.nan
    write_scores(path, frame)


def fake_entry(what: str = "Morse", *, name: str = "fake", **settings: Any) -> ModelEntry:
    """An entry of family `ase` for a calculator of `fake_calculators`.

    Args:
        what: Class or function.
        name: Of the entry.
        settings: `arguments`, `elements`, `fresh`, `batch_size`, `timeout_s`, ...
    """
    defaults = {
        "calculator": f"fake_calculators:{what}",
        "arguments": {},
        "fresh": False,
        "charges": False,
        "batch_size": 100,
    }
    return ModelEntry(name, "ase", defaults | settings)


def written_entry(entry: ModelEntry, path: Path) -> list[str]:
    """Write what decides an entry, as `pesbench entry` does; the options that name it to a job."""
    write_json(path, entry.deciding())
    return ["--entry", str(path), "--entry-sha256", entry.sha256]


def faulty(fault: str, scan: Scan | None = None, frame: int | None = None, **settings: Any):
    """An entry that does something wrong on a scan, or on one frame of it, or always."""
    arguments: dict[str, Any] = {"fault": fault}
    if scan is not None:
        arguments["formulas"] = [Atoms(scan.numbers).get_chemical_formula()]
    if frame is not None:
        middle = float(scan.coordinate[frame])
        arguments["window"] = [middle - 1e-3, middle + 1e-3]
    arguments |= settings.pop("arguments", {})
    return fake_entry("Faulty", arguments=arguments, **settings)


@pytest.fixture(autouse=True)
def _fakes_importable(monkeypatch):
    """Child processes find `fake_calculators`."""
    folder = str(REPO / "tests")
    found = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", folder + (os.pathsep + found if found else ""))
