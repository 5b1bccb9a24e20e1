"""BSCT-SPICE: the 485 DFT bond scans of the repository ryanliu30/bsct, from its archive.

Every file is compared with a manifest that ships in `resources/bsct_spice`: one sha256 a file in
the format of `sha256sum`, and the sha256 over those sorted lines, which stands in this module.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pesbench.core.coordinates.bond import N_FRAMES
from pesbench.core.errors import UserError, host_failure, reading
from pesbench.core.paths import given_path
from pesbench.core.scans import Scan
from pesbench.core.smiles import bonds_from_smiles
from pesbench.core.text import printable
from pesbench.files.atomic import atomic_path
from pesbench.models.transfer import save

NAME = "bsct_spice"
COMMIT = "79d915b0f1780a6cc680595984b4c210b5660038"
LEVEL_OF_THEORY = "wB97M-D3(BJ)/def2-TZVPPD"
SOURCE = f"github.com/ryanliu30/bsct at {COMMIT}, folder bsct_spice (MIT licence)"
MANIFEST = Path("resources/bsct_spice/files.sha256.gz")
MANIFEST_SHA256 = "e6f2fa9078763cef0c35d45898f07c6486c5940863c57ed33ce61c143358bff5"
N_SCANS = 485
# what the archive holds, with room: no file has 6 kB, all of them 202 MB unpacked
LARGEST_FILE_BYTES = 1 << 16
LARGEST_READ_BYTES = 1 << 20  # of a header, which states its length
LARGEST_ARCHIVE_BYTES = 1 << 30
LARGEST_MANIFEST_BYTES = 1 << 24
LARGEST_COUNT = 100_000
_ROOT = "bsct_spice/"
_FILES = (*(f"atoms_{frame}.xyz" for frame in range(N_FRAMES)), "partition.npz", "unperturbed.xyz")


def read_manifest(path: Path) -> dict[str, str]:
    """The sha256 of every file of the data set, by its name below `bsct_spice/`.

    Raises:
        UserError: the manifest is missing or not the one this version knows.
    """
    with reading(path, "cannot read the manifest", "restore it from git"), gzip.open(path) as file:
        text = file.read(LARGEST_MANIFEST_BYTES).decode()
    if hashlib.sha256(text.encode()).hexdigest() != MANIFEST_SHA256:
        raise UserError(f"{path}: not the manifest of commit {COMMIT[:8]}; restore it from git")
    return {name: digest for digest, name in (line.split("  ") for line in text.splitlines())}


def scan_ids(manifest: dict[str, str]) -> list[str]:
    """Names of the scans, sorted, such as `C-N/25729`."""
    return sorted({name.rpartition("/")[0] for name in manifest})


def fetch_archive(source: str, folder: Path) -> Path:
    """The archive as a local path: itself if it is one, else downloaded into `folder`.

    Args:
        source: A path to an archive or an unpacked folder, or an http(s) address.
        folder: Folder that keeps a download; a second call finds it there.

    Raises:
        UserError: there is no such path, or the address answers with an error.
        HostError: the network broke; a retry may succeed.
    """
    if not source.startswith(("http://", "https://", "file://")):
        path = given_path(source)
        if not path.exists():
            raise UserError(
                f"{path}: no such archive; set `archive` in the config, or --config archive=PATH, "
                f"to GitHub's tarball of ryanliu30/bsct at {COMMIT[:8]} or a folder of it"
            )
        return path
    target = folder / f"bsct-{COMMIT[:8]}.tar.gz"
    if target.exists():
        return target
    with atomic_path(target) as part:
        save(source, part, "set `archive` to a reachable address or a local path")
    return target


class _Unpacked:
    """The bytes of a tar archive, of which no more is unpacked at a time than is needed."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            start = file.read(6)
        kinds = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
        self._file = kinds.get(start[:2], open)(path, "rb")

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int) -> int:
        if offset > LARGEST_ARCHIVE_BYTES:
            raise tarfile.ReadError("it unpacks to more than the data set")
        return self._file.seek(offset)

    def read(self, size: int) -> bytes:
        if size > LARGEST_READ_BYTES or self.tell() > LARGEST_ARCHIVE_BYTES:
            raise tarfile.ReadError("it unpacks to more than the data set")
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


def _archive_files(path: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name below `bsct_spice/`, size and content of every file; the content is read on request."""
    if path.is_dir():
        roots = [path / _ROOT, *sorted(p / _ROOT for p in path.iterdir() if p.is_dir())]
        root = next((r for r in roots if r.is_dir()), path)
        for file in sorted(root.glob("*/*/*")):
            if file.is_file():
                yield file.relative_to(root).as_posix(), file.stat().st_size, file.read_bytes
        return
    with (
        contextlib.closing(_Unpacked(path)) as unpacked,
        tarfile.open(fileobj=unpacked, mode="r:") as tar,  # type: ignore[call-overload]
    ):
        for count, member in enumerate(tar):
            if count > LARGEST_COUNT:
                raise tarfile.ReadError("it holds more files than the data set")
            name = member.name.partition("/" + _ROOT)[2]
            if member.isfile() and name:
                content = tar.extractfile(member)
                assert content is not None  # it is a file
                yield name, member.size, content.read


def verified_folders(
    path: Path, manifest: dict[str, str]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Each scan's files, once all of its files agree with the manifest.

    Args:
        path: Archive or folder.
        manifest: Manifest from `read_manifest`.

    Yields:
        Scan id and `{file name: content}`, in the order in which the archive completes them.

    Raises:
        UserError: a file differs, is missing or is not in the manifest; it names the first one.
    """
    cure = f"fetch the tarball of ryanliu30/bsct at {COMMIT[:8]} again"
    pending: dict[str, dict[str, bytes]] = {}
    missing = dict.fromkeys(sorted(manifest))
    broken: Exception | None = None
    files = _archive_files(path)
    while True:
        try:
            name, size, read = next(files)
        except StopIteration:
            break
        except Exception as error:  # whatever an archive of any origin makes its reader raise
            broken = error
            break
        shown = f"{_ROOT}{printable(name)}"
        if name not in manifest:
            raise UserError(f"{path}: {shown} does not belong to the data set; {cure}")
        if name not in missing:
            raise UserError(f"{path}: {shown} is there twice; {cure}")
        differs = f"{path}: {shown} differs from the published file; {cure}"
        if size > LARGEST_FILE_BYTES:
            raise UserError(differs)
        try:
            content = read()
        except Exception as error:
            broken = error
            break
        if hashlib.sha256(content).hexdigest() != manifest[name]:
            raise UserError(differs)
        del missing[name]
        scan_id, _, file = name.rpartition("/")
        folder = pending.setdefault(scan_id, {})
        folder[file] = content
        if len(folder) == len(_FILES):
            yield scan_id, pending.pop(scan_id)
    if broken is not None:
        if (lost := host_failure(broken, path)) is not None:
            raise lost from broken
        said = " ".join(str(broken).split())
        first = f"{_ROOT}{next(iter(missing))} and what follows is" if missing else "its end is"
        raise UserError(
            f"{path}: not a whole tar archive ({said}): {first} missing; {cure}"
        ) from broken
    if missing:
        raise UserError(
            f"{path}: {_ROOT}{next(iter(missing))} is missing ({len(missing)} files are); {cure}"
        )


def read_scan(scan_id: str, files: dict[str, bytes]) -> Scan:
    """One scan from its 102 files.

    Frames whose DFT energy is NaN keep NaN as energy and forces: their finite forces in the files
    belong to no converged calculation. The coordinate is taken from `partition.npz`, as the
    official code does.
    """
    from ase.io.extxyz import read_xyz  # half a second, which every start of Snakemake would pay

    frames = [next(read_xyz(io.StringIO(files[name].decode()))) for name in _FILES[:N_FRAMES]]
    unperturbed = next(read_xyz(io.StringIO(files["unperturbed.xyz"].decode())))
    with np.load(io.BytesIO(files["partition.npz"])) as partition:
        low, high, count = partition["perturb_range"]
        i, j = (int(k) for k in partition["bond_index"])
        fragment = partition["labels"].astype(np.int64)
        bond = str(partition["bond"])
    # `calc.results` and not `get_forces()`, which compares the geometry before every answer
    energy = np.array([atoms.calc.results["energy"] for atoms in frames], dtype=np.float64)
    forces = np.stack([atoms.calc.results["forces"] for atoms in frames])
    forces[np.isnan(energy)] = np.nan
    numbers = unperturbed.numbers.astype(np.int64)
    smiles = str(unperturbed.info["smiles"])
    return Scan(
        id=scan_id,
        system=scan_id,
        bond=bond,
        atoms=(i, j),
        coordinate=np.linspace(low, high, int(count)),
        positions=np.stack([atoms.positions for atoms in frames]),
        numbers=numbers,
        fragment=fragment,
        bonds=bonds_from_smiles(smiles, numbers),
        positions_unperturbed=unperturbed.positions,
        energy=energy,
        forces=forces,
        smiles=smiles,
    )
