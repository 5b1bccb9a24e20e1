"""Scan sets: HDF5 files with a group per scan.

A file without a sha256 behind it is compared with that of its scans when it is opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pesbench.core.errors import UserError
from pesbench.core.scans import Scan
from pesbench.files.atomic import atomic_path
from pesbench.files.hdf5 import Values, writing
from pesbench.files.integrity import is_sealed
from pesbench.files.stored import COMPRESSION, VERSION, Reader, open_stored

SCAN_SET_FORMAT = "pesbench-scans"
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


def _content_hash(scan: Scan) -> str:
    digest = hashlib.sha256(scan.id.encode())
    for name in _ARRAYS:
        digest.update(np.ascontiguousarray(getattr(scan, name)).tobytes())
    facts = {name: str(getattr(scan, name)) for name in (*_ATTRIBUTES, "atoms")}
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _sha256_of(hashes: Mapping[str, str]) -> str:
    """sha256 of a whole scan set, from the sha256 of each scan's content."""
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
        path: File to write; it is written as `.part` and renamed.
        scans: Consumed one by one, so that a large set need not fit in memory; an exception
            from it leaves nothing behind.
        name: Name of the set.
        level_of_theory: Level of theory of the reference energies and forces.
        source: Origin of geometries and references.
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

    def composition(self, scan_id: str) -> tuple[frozenset[int], int, int]:
        """Atomic numbers that occur in one scan, its total charge in e, and its multiplicity."""
        group = self._group(scan_id)
        charge, spin = (self._file.attribute(group, name, int) for name in ("charge", "spin"))
        return frozenset(self.numbers(group).tolist()), charge, spin
