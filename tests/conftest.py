"""Fixtures that several test modules share: data that is made once, and toys that cost nothing."""

from __future__ import annotations

import io
import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import ase.io
import pytest
from filelock import FileLock
from hypothesis import settings
from PIL import Image

from examples import (
    HELPERS,
    KEPT_SCANS,
    REPO,
    TOYS,
    build_scan_set,
    tblite_entry,
    toy_scan,
    write_toys,
)
from pesbench.core.scans import Scan
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.references import bsct_spice as bsct

SMALL_MOLECULES = ("hydrazine", "hydroxylamine", "methanethiol")  # one heavy bond each

# the same examples in every run, and no time limit on a busy machine
settings.register_profile("pesbench", deadline=None, derandomize=True)
settings.load_profile("pesbench")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that take many minutes")


@pytest.hookimpl(tryfirst=True)  # else pytest-xdist has read the groups before they are set
def pytest_collection_modifyitems(config, items):
    """One process tests a file, whose fixtures are made once; whole workflows, minutes, begin."""
    items.sort(key=lambda item: item.path.parent.name not in ("slurm", "workflow"))
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            group = f"{item.path.parent.name}/{item.path.stem}"
            item.add_marker(pytest.mark.xdist_group(group))
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture(autouse=True)
def _torch_default_dtype():
    """MACE sets the default precision of its process; the next test must not see it."""
    yield
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_default_dtype(torch.float32)


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


@pytest.fixture
def not_drawn(monkeypatch):
    """Figures are made but not drawn, which is a third of a report; whole workflows draw them."""
    dot = io.BytesIO()
    Image.new("RGB", (1, 1)).save(dot, format="png")
    monkeypatch.setattr("pesbench.files.figures.png", lambda *figure: dot.getvalue())


@pytest.fixture(scope="session", autouse=True)
def _helpers_importable():
    """Child processes find `fake_calculators` and the other modules of `tests/helpers`."""
    found = os.environ.get("PYTHONPATH")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HELPERS) + (os.pathsep + found if found else ""))
        yield
