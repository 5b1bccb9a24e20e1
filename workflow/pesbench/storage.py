"""HDF5 contracts: scan sets, evaluations and vibrations, written whole and renamed.

A file appears under its name only when it is complete; until then it is `<name>.part`. Evaluations,
trajectories and vibrations are compared with their sha256 when they are opened; a scan set, read
by every job, carries that of its scans.
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

from pesbench.errors import UserError, host_failure
from pesbench.integrity import is_intact, seal
from pesbench.models.interface import Status
from pesbench.scans import Scan

SCAN_SET_FORMAT = "pesbench-scans"
EVALUATION_FORMAT = "pesbench-evaluation"
VIBRATIONS_FORMAT = "pesbench-vibrations"
VERSION = 1
_COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
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
_ATTRIBUTES = ("system", "bond", "charge", "spin", "smiles", "kind", "quality", "reason")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A `.part` path that takes the name `path` on success and is removed on failure.

    What it holds is on the disk before it takes its name: else a node that is lost could leave a
    name without content. An HDF5 file (`.h5`) gets its sha256, see `integrity`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        if path.suffix == ".h5":
            seal(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
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
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        hashes = {}
        for scan in scans:
            group = file.create_group(scan.id)
            for key in _ARRAYS:
                # small arrays are read faster as they are
                packed = _COMPRESSION if key in _PACKED else {}
                group.create_dataset(key, data=getattr(scan, key), **packed)
            for key in _ATTRIBUTES:
                group.attrs[key] = getattr(scan, key)
            group.attrs["atoms"] = scan.atoms
            hashes[scan.id] = _content_hash(scan)
        lines = "".join(f"{hashes[scan_id]}  {scan_id}\n" for scan_id in sorted(hashes))
        file.attrs["format"] = SCAN_SET_FORMAT
        file.attrs["version"] = VERSION
        file.attrs["name"] = name
        file.attrs["level_of_theory"] = level_of_theory
        file.attrs["source"] = source
        file.attrs["sha256"] = hashlib.sha256(lines.encode()).hexdigest()
        file.attrs["provenance"] = json.dumps(provenance)


def _open(path: Path, format_name: str, what: str, cure: str, *, verify: bool = True) -> h5py.File:
    if not path.is_file():
        raise UserError(f"{path}: no such {what}; {cure}")
    again = f"remove it and {cure}, as the same snakemake command does"
    try:
        if verify and not is_intact(path):
            raise UserError(f"{path}: damaged {what}, its content has another sha256; {again}")
        file = h5py.File(path, "r")
    except OSError as error:
        if (lost := host_failure(error, path)) is not None:
            raise lost from error
        raise UserError(f"{path}: not a readable {what} ({error}); {again}") from error
    found = file.attrs.get("format")
    if found != format_name or file.attrs.get("version") != VERSION:
        file.close()
        raise UserError(f"{path}: not a {what} of version {VERSION} (format {found!r}); {again}")
    return file


class _Reader:
    """An open HDF5 file with one group a scan."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self.path = path
        self._file = file
        self.ids: tuple[str, ...] = tuple(
            sorted(f"{bond}/{name}" for bond, group in file.items() for name in group)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self._file.attrs)


class ScanSet(_Reader):
    """A scan set opened for reading; scans are read one at a time.

    Attributes:
        ids: Names of all scans, sorted.
        name, level_of_theory, sha256: The root attributes.
    """

    def __init__(self, path: Path) -> None:
        """Open a file of the scan set contract.

        Raises:
            UserError: there is none, or it is not a scan set.
        """
        super().__init__(
            _open(
                path, SCAN_SET_FORMAT, "scan set", "build it with the rule `scan_set`", verify=False
            ),
            path,
        )
        self.name = str(self._file.attrs["name"])
        self.level_of_theory = str(self._file.attrs["level_of_theory"])
        self.sha256 = str(self._file.attrs["sha256"])

    def _group(self, scan_id: str) -> h5py.Group:
        if scan_id not in self.ids:
            raise UserError(f"{self.path}: no scan {scan_id!r} in this set; see its ids")
        return self._file[scan_id]

    def scan(self, scan_id: str) -> Scan:
        """One scan with all its arrays.

        Raises:
            UserError: the set has no scan of that name.
        """
        group = self._group(scan_id)
        fields = {key: group[key][()] for key in _ARRAYS}
        fields |= {key: group.attrs[key] for key in _ATTRIBUTES}
        fields["charge"], fields["spin"] = int(fields["charge"]), int(fields["spin"])
        i, j = (int(k) for k in group.attrs["atoms"])
        return Scan(id=scan_id, atoms=(i, j), **fields)

    def quality(self, scan_id: str) -> tuple[str, str]:
        """`(ok | marked | dropped, reason)` of one scan, without reading its arrays."""
        attributes = self._group(scan_id).attrs
        return str(attributes["quality"]), str(attributes["reason"])

    def shape(self, scan_id: str) -> tuple[int, int]:
        """Number of frames and of atoms of one scan, without reading its arrays."""
        n_frames, n_atoms, _ = self._group(scan_id)["positions"].shape
        return int(n_frames), int(n_atoms)

    def system(self, scan_id: str) -> str:
        """Name of the molecule of one scan, without reading its arrays."""
        return str(self._group(scan_id).attrs["system"])

    def composition(self, scan_id: str) -> tuple[frozenset[int], int]:
        """Atomic numbers that occur in one scan, and its total charge in e."""
        group = self._group(scan_id)
        return frozenset(group["numbers"][()].tolist()), int(group.attrs["charge"])


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
    """

    scan_id: str
    energy: NDArray[np.float64]
    forces: NDArray[np.float64]
    frame_status: NDArray[np.int8]
    status: Status
    message: str
    wall_s: float


def write_evaluation(
    path: Path, scans: Iterable[ScanEvaluation], *, attributes: Mapping[str, Any]
) -> None:
    """Write the evaluation of one shard; mappings among the attributes are stored as JSON."""
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        file.attrs["format"] = EVALUATION_FORMAT
        file.attrs["version"] = VERSION
        file.attrs["status_codes"] = json.dumps({s.value: s.code for s in Status})
        for key, value in attributes.items():
            plain = isinstance(value, str | int | float | bool)
            file.attrs[key] = value if plain else json.dumps(value)
        for scan in scans:
            group = file.create_group(scan.scan_id)
            group.create_dataset("energy", data=scan.energy)
            group.create_dataset("forces", data=scan.forces, **_COMPRESSION)
            group.create_dataset("frame_status", data=scan.frame_status)
            group.attrs["status"] = scan.status.value
            group.attrs["message"] = scan.message
            group.attrs["wall_s"] = scan.wall_s


class Evaluation(_Reader):
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
        super().__init__(
            _open(path, EVALUATION_FORMAT, "evaluation", "make it with the rule `evaluate`"), path
        )
        self.model = str(self._file.attrs["model"])
        self.scan_set_sha256 = str(self._file.attrs["scan_set_sha256"])

    def scan(self, scan_id: str) -> ScanEvaluation:
        """One scan's energies and forces."""
        group = self._file[scan_id]
        return ScanEvaluation(
            scan_id=scan_id,
            energy=group["energy"][()],
            forces=group["forces"][()],
            frame_status=group["frame_status"][()],
            status=Status(group.attrs["status"]),
            message=str(group.attrs["message"]),
            wall_s=float(group.attrs["wall_s"]),
        )

    def spent(self, scan_id: str) -> tuple[int, int, float]:
        """Frames, atoms and seconds in the model of one scan, without reading its arrays.

        All of them 0 where the model did not answer every frame.
        """
        group = self._file[scan_id]
        if str(group.attrs["status"]) != Status.OK.value:
            return 0, 0, 0.0
        n_frames, n_atoms, _ = group["forces"].shape
        return int(n_frames), int(n_atoms), float(group.attrs["wall_s"])


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
    with atomic_path(path) as part, h5py.File(part, "w") as file:
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


class Vibrations:
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
        self.path = path
        self._file = _open(
            path, VIBRATIONS_FORMAT, "file of vibrations", "make it with the rule `vibrations`"
        )
        self.model = str(self._file.attrs["model"])
        self.scan_set_sha256 = str(self._file.attrs["scan_set_sha256"])
        self.settings: dict[str, Any] = json.loads(self._file.attrs["settings"])
        found: list[str] = []
        # a name may hold a slash, which makes a group of groups
        self._file.visititems(
            lambda name, item: found.append(name) if "status" in item.attrs else None
        )
        self.systems: tuple[str, ...] = tuple(sorted(found))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self._file.attrs)

    def molecule(self, system: str) -> MoleculeVibrations:
        """Of one molecule.

        Raises:
            UserError: the file has no such molecule.
        """
        if system not in self.systems:
            raise UserError(f"{self.path}: no molecule {system!r} in this file; see its systems")
        group = self._file[system]
        return MoleculeVibrations(
            system=system,
            numbers=group["numbers"][()],
            positions=group["positions"][()],
            hessian=group["hessian"][()],
            frequencies_cm1=group["frequencies_cm1"][()],
            external_cm1=group["external_cm1"][()],
            asymmetry=float(group.attrs["asymmetry"]),
            status=Status(group.attrs["status"]),
            message=str(group.attrs["message"]),
            relaxed=bool(group.attrs["relaxed"]),
            relax_steps=int(group.attrs["relax_steps"]),
            relax_fmax=float(group.attrs["relax_fmax"]),
        )
