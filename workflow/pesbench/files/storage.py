"""HDF5 contracts: scan sets, evaluations and vibrations, written whole and renamed.

A file appears under its name only when it is complete; until then it is `<name>.part`. Each is
compared with the sha256 behind it when it is opened, a scan set without one with that of its scans.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError, host_failure
from pesbench.core.interface import Status
from pesbench.core.paths import file_to_write
from pesbench.core.scans import Scan
from pesbench.files.hdf5 import StoredFile, Values, writing
from pesbench.files.integrity import is_intact, is_sealed, seal

SCAN_SET_FORMAT = "pesbench-scans"
EVALUATION_FORMAT = "pesbench-evaluation"
VIBRATIONS_FORMAT = "pesbench-vibrations"
VERSION = 1
LAST_ELEMENT = 118
COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_ARRAYS = (
    "coordinate",
    "positions",
    "numbers",
    "energy",
    "forces",
    "fragment",
    "bonds",
    "positions_unperturbed",
)
_PACKED = ("positions", "forces")
FARTHEST_ATOM = 1e6  # Å; farther than any relaxation leads
_ATTRIBUTES = ("system", "bond", "charge", "spin", "smiles", "kind", "quality", "reason")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A `.part` path that takes the name `path` on success and is removed on failure.

    What it holds is on the disk before it takes its name: else a node that is lost could leave a
    name without content. An HDF5 file (`.h5`) gets its sha256, see `integrity`. A symbolic link
    stays one, and what it leads to is written.

    Raises:
        UserError: something else than a file stands there.
    """
    path = file_to_write(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # of a command that was killed; or a link, which is not followed
    try:
        yield part
        if path.suffix == ".h5":
            seal(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno and error.filename in (None, str(part)):  # a write does not name its file
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, keys in the order given."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def _content_hash(scan: Scan) -> str:
    digest = hashlib.sha256(scan.id.encode())
    for name in _ARRAYS:
        digest.update(np.ascontiguousarray(getattr(scan, name)).tobytes())
    facts = {name: str(getattr(scan, name)) for name in (*_ATTRIBUTES, "atoms")}
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _sha256_of(hashes: Mapping[str, str]) -> str:
    """Of a whole scan set, from the sha256 of each scan's content."""
    lines = "".join(f"{hashes[scan_id]}  {scan_id}\n" for scan_id in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_scan_set(
    path: Path,
    scans: Iterable[Scan],
    *,
    name: str,
    level_of_theory: str,
    source: str,
    provenance: Mapping[str, Any],
) -> None:
    """Write a scan set.

    Args:
        path: Where to; written as `.part` and renamed.
        scans: Consumed one by one, so that a large set need not fit in memory; an exception
            from it leaves nothing behind.
        name: Of the set.
        level_of_theory: Of the reference energies and forces.
        source: Where geometries and references come from.
        provenance: How the file was made, stored as JSON.
    """
    with atomic_path(path) as part, writing(part) as file:
        hashes = {}
        for scan in scans:
            group = file.create_group(scan.id)
            for key in _ARRAYS:
                # small arrays are read faster as they are
                packed = COMPRESSION if key in _PACKED else {}
                group.create_dataset(key, data=getattr(scan, key), **packed)
            for key in _ATTRIBUTES:
                group.attrs[key] = getattr(scan, key)
            group.attrs["atoms"] = scan.atoms
            hashes[scan.id] = _content_hash(scan)
        file.attrs["format"] = SCAN_SET_FORMAT
        file.attrs["version"] = VERSION
        file.attrs["name"] = name
        file.attrs["level_of_theory"] = level_of_theory
        file.attrs["source"] = source
        file.attrs["sha256"] = _sha256_of(hashes)
        file.attrs["provenance"] = json.dumps(provenance)


def open_stored(
    path: Path, format_name: str, what: str, cure: str, *, verify: bool = True
) -> StoredFile:
    """A file of one of our HDF5 contracts, opened for reading.

    Args:
        path: Of the file.
        format_name: Its attribute `format`.
        what: It is called in messages.
        cure: How it is made.
        verify: Whether its content is compared with the sha256 behind it.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
        HostError: the system failed, and not the file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such {what}; {cure}")
    again = f"remove it and {cure}, as the same snakemake command does"
    try:
        if verify and not is_intact(path):
            raise UserError(f"{path}: damaged {what}, its content has another sha256; {again}")
    except OSError as error:
        raise host_failure(error, path) or UserError(f"{path}: {error}; {again}") from error
    file = StoredFile(path, what, again)
    found, version = (file.attributes.get(key) for key in ("format", "version"))
    if (found, version) != (format_name, VERSION):
        file.close()
        raise UserError(f"{path}: not a {what} of version {VERSION} (format {found!r}); {again}")
    return file


class Reader:
    """An open HDF5 file with groups of one kind, which are read one at a time.

    Attributes:
        path: Of the file.
        attributes: Of the file.
    """

    def __init__(self, file: StoredFile, marker: str | None = None) -> None:
        self._file, self.path, self.attributes = file, file.path, file.attributes
        with file.closed_on_error():
            self._groups = self._find(marker)

    def _find(self, marker: str | None) -> dict[str, h5py.Group]:
        return self._file.groups(self._file.root, marker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def numbers(self, group: h5py.Group) -> NDArray[np.int64]:
        """The atomic numbers of a group, shape (N,).

        Raises:
            UserError: there is none, or what is none.
        """
        numbers = self._file.array(group, "numbers", np.int64, (None,))
        if not numbers.size or not 1 <= numbers.min() <= numbers.max() <= LAST_ELEMENT:
            raise self._file.wrong(f"{group.name}/numbers", "holds what is no atomic number")
        return numbers

    def status(self, group: h5py.Group) -> Status:
        """The status of a group.

        Raises:
            UserError: it has none that this version knows.
        """
        value = self._file.attribute(group, "status", str)
        if value not in {status.value for status in Status}:
            raise self._file.wrong(f"{group.name}@status", f"is {value!r}, which is no status")
        return Status(value)


_compared: set[tuple[Path, int, int]] = set()  # files whose content has the sha256 it goes by


class ScanSet(Reader):
    """A scan set opened for reading; scans are read one at a time.

    Attributes:
        ids: Names of all scans, sorted.
        name, level_of_theory, sha256: The root attributes.
    """

    def __init__(self, path: Path) -> None:
        """Open a file of the scan set contract.

        Raises:
            UserError: there is none, it is damaged, it is not a scan set, or it was changed.
        """
        cure = "build it with the rule `scan_set`"
        super().__init__(open_stored(path, SCAN_SET_FORMAT, "scan set", cure))
        self.ids = tuple(self._groups)
        with self._file.closed_on_error():
            self.name = str(self.attributes["name"])
            self.level_of_theory = str(self.attributes["level_of_theory"])
            self.sha256 = str(self.attributes["sha256"])
            if not is_sealed(path):  # older, or changed through HDF5
                self.check_content()

    def check_content(self) -> None:
        """Compare the content of all scans with the sha256 that the set goes by.

        A file that is opened without a sha256 behind it is compared in any case. Whoever changes a
        file can put one there, too: what comes from elsewhere is to be compared by the caller.

        Raises:
            UserError: the content is another.
        """
        stat = self.path.stat()
        key = (self.path.resolve(), stat.st_size, stat.st_mtime_ns)
        if key in _compared:  # a command opens a file more than once
            return
        found = _sha256_of({scan_id: _content_hash(self.scan(scan_id)) for scan_id in self.ids})
        if found != self.sha256:
            raise self._file.wrong(
                "@sha256", f"is {self.sha256[:12]}, its content has {found[:12]}: it was changed"
            )
        _compared.add(key)

    def _group(self, scan_id: str) -> h5py.Group:
        if scan_id not in self._groups:
            raise UserError(f"{self.path}: no scan {scan_id!r} in this set; see its ids")
        return self._groups[scan_id]

    def scan(self, scan_id: str) -> Scan:
        """One scan with all its arrays.

        Raises:
            UserError: the set has no scan of that name, or one that is not what it should be.
        """
        group, file = self._group(scan_id), self._file
        coordinate = file.array(group, "coordinate", np.float64, (None,))
        numbers = self.numbers(group)
        n_frames, n_atoms = len(coordinate), len(numbers)
        quality, reason = self.quality(scan_id)
        geometry: Values = "nan" if quality == "dropped" else "finite"
        fragment = file.array(group, "fragment", np.int64, (n_atoms,))
        bonds = file.array(group, "bonds", np.int64, (None, 2))
        i, j = file.attribute(group, "atoms", int, (2,)).tolist()
        for name, values, limit in (
            ("fragment", fragment, 2),
            ("bonds", bonds, n_atoms),
            ("@atoms", np.array([i, j]), n_atoms),
        ):
            if values.size and not 0 <= values.min() <= values.max() < limit:
                raise file.wrong(f"{group.name}/{name}", f"holds a number not in 0..{limit - 1}")
        spin = file.attribute(group, "spin", int)
        if spin < 1:
            raise file.wrong(f"{group.name}@spin", f"is {spin}, which is no multiplicity")
        return Scan(
            id=scan_id,
            atoms=(i, j),
            coordinate=coordinate,
            positions=file.array(
                group, "positions", np.float64, (n_frames, n_atoms, 3), values=geometry
            ),
            numbers=numbers,
            fragment=fragment,
            bonds=bonds,
            positions_unperturbed=file.array(
                group, "positions_unperturbed", np.float64, (n_atoms, 3), values=geometry
            ),
            energy=file.array(group, "energy", np.float64, (n_frames,), values="nan"),
            forces=file.array(group, "forces", np.float64, (n_frames, n_atoms, 3), values="nan"),
            charge=file.attribute(group, "charge", int),
            spin=spin,
            quality=quality,
            reason=reason,
            **{k: file.attribute(group, k, str) for k in ("system", "bond", "smiles", "kind")},
        )

    def quality(self, scan_id: str) -> tuple[str, str]:
        """`(ok | marked | dropped, reason)` of one scan, without reading its arrays."""
        group = self._group(scan_id)
        quality = self._file.attribute(group, "quality", str)
        if quality not in ("ok", "marked", "dropped"):
            raise self._file.wrong(f"{group.name}@quality", f"is {quality!r}, which is no quality")
        return quality, self._file.attribute(group, "reason", str)

    def shape(self, scan_id: str) -> tuple[int, int]:
        """Number of frames and of atoms of one scan, without reading its arrays."""
        n_frames, n_atoms, _ = self._file.shape(self._group(scan_id), "positions", 3)
        return n_frames, n_atoms

    def system(self, scan_id: str) -> str:
        """Name of the molecule of one scan, without reading its arrays."""
        return str(self._file.attribute(self._group(scan_id), "system", str))

    def composition(self, scan_id: str) -> tuple[frozenset[int], int]:
        """Atomic numbers that occur in one scan, and its total charge in e."""
        group = self._group(scan_id)
        charge = self._file.attribute(group, "charge", int)
        return frozenset(self.numbers(group).tolist()), charge


@dataclass(frozen=True)
class ScanEvaluation:
    """A model's energies and forces on the frames of one scan.

    Attributes:
        scan_id: Which scan.
        energy: eV, shape (F,); NaN where there is none.
        forces: eV/Å, shape (F, N, 3); NaN where there are none.
        frame_status: `Status` of every frame as its code, shape (F,), int8.
        status: The first frame's status that is not ok, or ok.
        message: What went wrong, with the frame.
        wall_s: Seconds spent in the model.
        worker_deaths: How often the model's process was lost on this scan, or on those that shared
            batches with it and come after it.
    """

    scan_id: str
    energy: NDArray[np.float64]
    forces: NDArray[np.float64]
    frame_status: NDArray[np.int8]
    status: Status
    message: str
    wall_s: float
    worker_deaths: int = 0


def write_evaluation(
    path: Path, scans: Iterable[ScanEvaluation], *, attributes: Mapping[str, Any]
) -> None:
    """Write the evaluation of one shard; mappings among the attributes are stored as JSON."""
    with atomic_path(path) as part, writing(part) as file:
        file.attrs["format"] = EVALUATION_FORMAT
        file.attrs["version"] = VERSION
        file.attrs["status_codes"] = json.dumps({s.value: s.code for s in Status})
        for key, value in attributes.items():
            plain = isinstance(value, str | int | float | bool)
            file.attrs[key] = value if plain else json.dumps(value)
        for scan in scans:
            group = file.create_group(scan.scan_id)
            group.create_dataset("energy", data=scan.energy)
            group.create_dataset("forces", data=scan.forces, **COMPRESSION)
            group.create_dataset("frame_status", data=scan.frame_status)
            group.attrs["status"] = scan.status.value
            group.attrs["message"] = scan.message
            group.attrs["wall_s"] = scan.wall_s
            group.attrs["worker_deaths"] = scan.worker_deaths


class Evaluation(Reader):
    """The evaluation of one shard, opened for reading.

    Attributes:
        ids: Names of its scans, sorted.
        model: Name of the model entry.
        scan_set_sha256: Of the scan set it was made on.
    """

    def __init__(self, path: Path) -> None:
        """Open a file of the evaluation contract.

        Raises:
            UserError: there is none, it is damaged, or it is not an evaluation.
        """
        cure = "make it with the rule `evaluate`"
        super().__init__(open_stored(path, EVALUATION_FORMAT, "evaluation", cure))
        self.ids = tuple(self._groups)
        with self._file.closed_on_error():
            self.model = str(self.attributes["model"])
            self.scan_set_sha256 = str(self.attributes["scan_set_sha256"])

    def _group(self, scan_id: str) -> h5py.Group:
        if scan_id not in self._groups:
            raise UserError(f"{self.path}: no scan {scan_id!r} in this file; see its ids")
        return self._groups[scan_id]

    def scan(self, scan_id: str, shape: tuple[int, int] | None = None) -> ScanEvaluation:
        """One scan's energies and forces.

        Args:
            scan_id: Its name.
            shape: Numbers of frames and atoms it must have, those of `ScanSet.shape`.

        Raises:
            UserError: the file has no such scan, or one that is not what it should be.
        """
        group, file = self._group(scan_id), self._file
        frames, atoms = shape or (None, None)
        frame_status = file.array(group, "frame_status", np.int8, (frames,))
        if frame_status.size and not 0 <= frame_status.min() <= frame_status.max() < len(Status):
            raise file.wrong(f"{group.name}/frame_status", "holds a number that is no status")
        n_frames = len(frame_status)
        forces = file.array(group, "forces", np.float64, (n_frames, atoms, 3), values="any")
        energy = file.array(group, "energy", np.float64, (n_frames,), values="any")
        ok = frame_status == Status.OK.code
        if not np.isfinite(forces[ok]).all() or np.isinf(energy[ok]).any():
            raise file.wrong(group.name, "has a frame that is `ok` and holds what is no number")
        return ScanEvaluation(
            scan_id=scan_id,
            energy=energy,
            forces=forces,
            frame_status=frame_status,
            status=self.status(group),
            message=file.attribute(group, "message", str),
            wall_s=file.attribute(group, "wall_s", float),
            worker_deaths=(
                file.attribute(group, "worker_deaths", int)
                if h5py.h5a.exists(group.id, b"worker_deaths")  # not in files of older versions
                else 0
            ),
        )

    def spent(self, scan_id: str) -> tuple[int, int, float]:
        """Frames, atoms and seconds in the model of one scan, without reading its arrays.

        All of them 0 where the model did not answer every frame.
        """
        group = self._group(scan_id)
        if self.status(group) is not Status.OK:
            return 0, 0, 0.0
        n_frames, n_atoms, _ = self._file.shape(group, "forces", 3)
        return n_frames, n_atoms, self._file.attribute(group, "wall_s", float)


@dataclass(frozen=True)
class MoleculeVibrations:
    """Hessian and harmonic frequencies of one molecule at a model's own minimum.

    Attributes:
        system: Which molecule.
        numbers: Atomic numbers, shape (N,).
        positions: Where the Hessian was taken, Å, shape (N, 3).
        hessian: eV/Å², shape (3N, 3N), as differences gave it and not made symmetric; NaN where
            there is none.
        frequencies_cm1: Of the vibrations, ascending, imaginary ones negative, shape (M,); NaN
            where there are none.
        external_cm1: Of translations and rotations, which are projected out, shape (3N − M,).
        asymmetry: Of the Hessian, `normal_modes.asymmetry`.
        status: `ok`, or how the model failed.
        message: What went wrong, or "".
        relaxed: Whether the largest force is below the limit of the relaxation.
        relax_steps: Taken.
        relax_fmax: Largest force there, eV/Å; NaN if unknown.
    """

    system: str
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    hessian: NDArray[np.float64]
    frequencies_cm1: NDArray[np.float64]
    external_cm1: NDArray[np.float64]
    asymmetry: float
    status: Status
    message: str
    relaxed: bool
    relax_steps: int
    relax_fmax: float


def write_vibrations(
    path: Path, molecules: Iterable[MoleculeVibrations], *, attributes: Mapping[str, Any]
) -> None:
    """Write a model's vibrations, a group a molecule; mappings among the attributes as JSON."""
    with atomic_path(path) as part, writing(part) as file:
        file.attrs["format"] = VIBRATIONS_FORMAT
        file.attrs["version"] = VERSION
        for key, value in attributes.items():
            plain = isinstance(value, str | int | float | bool)
            file.attrs[key] = value if plain else json.dumps(value)
        for one in molecules:
            group = file.create_group(one.system)
            for field in fields(one):
                value = getattr(one, field.name)
                if isinstance(value, np.ndarray):
                    group.create_dataset(field.name, data=value)
                elif field.name != "system":  # the name of the group
                    group.attrs[field.name] = value.value if isinstance(value, Status) else value


class Vibrations(Reader):
    """A model's vibrations, opened for reading.

    Attributes:
        systems: Names of the molecules, sorted.
        model: Name of the model entry.
        scan_set_sha256: Of the scan set that the molecules are from.
        settings: How they were found, `VibrationSettings` as a mapping.
    """

    def __init__(self, path: Path) -> None:
        """Open a file of the vibrations contract.

        Raises:
            UserError: there is none, it is damaged, or it is something else.
        """
        cure = "make it with the rule `vibrations`"
        file = open_stored(path, VIBRATIONS_FORMAT, "file of vibrations", cure)
        super().__init__(file, marker="status")  # a name may hold a slash: a group of groups
        self.systems = tuple(self._groups)
        with self._file.closed_on_error():
            self.model = str(self.attributes["model"])
            self.scan_set_sha256 = str(self.attributes["scan_set_sha256"])
            self.settings: dict[str, Any] = json.loads(self.attributes["settings"])

    def molecule(self, system: str) -> MoleculeVibrations:
        """Of one molecule.

        Raises:
            UserError: the file has no such molecule, or one that is not what it should be.
        """
        if system not in self._groups:
            raise UserError(f"{self.path}: no molecule {system!r} in this file; see its systems")
        group, file = self._groups[system], self._file
        numbers = self.numbers(group)
        n = 3 * len(numbers)
        status = self.status(group)
        values: Values = "finite" if status is Status.OK else "any"
        frequencies = file.array(group, "frequencies_cm1", np.float64, (None,), values=values)
        n_external = n - len(frequencies)
        positions = file.array(group, "positions", np.float64, (len(numbers), 3), values=values)
        if status is Status.OK and np.abs(positions).max(initial=0.0) > FARTHEST_ATOM:
            raise file.wrong(f"{group.name}/positions", f"are farther than {FARTHEST_ATOM:g} Å")
        return MoleculeVibrations(
            system=system,
            numbers=numbers,
            positions=positions,
            hessian=file.array(group, "hessian", np.float64, (n, n), values=values),
            frequencies_cm1=frequencies,
            external_cm1=file.array(
                group, "external_cm1", np.float64, (n_external,), values=values
            ),
            asymmetry=file.attribute(group, "asymmetry", float),
            status=status,
            message=file.attribute(group, "message", str),
            relaxed=file.attribute(group, "relaxed", bool),
            relax_steps=file.attribute(group, "relax_steps", int),
            relax_fmax=file.attribute(group, "relax_fmax", float),
        )
