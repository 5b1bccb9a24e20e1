"""The few scans that models are timed on, small and large, in a scan set of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pesbench.commands.plan.contents import Facts, scan_set_path
from pesbench.commands.plan.cost import two_sizes
from pesbench.core.coordinates.bond import bond_scans
from pesbench.core.errors import UserError
from pesbench.core.scans import Scan
from pesbench.files import provenance
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.orchestration.config import Run

N_FRAMES = 10  # of a scan, evenly spaced: a method that converges takes longer where bonds break


def candidates(facts: Iterable[Facts]) -> tuple[tuple[float, float], list[list[str]]]:
    """Scans of the two sizes, for every set of elements, charge and spin that occurs.

    A model need not take all of them; whatever it takes, there are two sizes to time it on.

    Args:
        facts: Facts about the scans of a run.

    Returns:
        The two sizes in atoms, and groups of scans, the first of each to be taken if it has a
        geometry, else the next.
    """
    asked = [one for one in facts if one.frames]
    sizes = two_sizes([one.atoms for one in asked])
    alike: dict[tuple[frozenset[int], bool, bool], list[Facts]] = {}
    for one in asked:
        kind = one.elements, one.charge != 0, one.spin != 1
        alike.setdefault(kind, []).append(one)
    groups = [
        [one.id for one in sorted(same, key=lambda one: (abs(one.atoms - size), one.id))]
        for size in sizes
        for same in alike.values()
    ]
    return sizes, sorted(groups)


def thinned(scan: Scan) -> Scan:
    """A scan with a few of its frames."""
    chosen = np.linspace(0, scan.n_frames - 1, min(N_FRAMES, scan.n_frames)).round().astype(int)
    return replace(
        scan,
        coordinate=scan.coordinate[chosen],
        positions=scan.positions[chosen],
        energy=scan.energy[chosen],
        forces=scan.forces[chosen],
    )


def write_probe_scans(run: Run, facts: Mapping[str, Facts], base: Path, out: Path) -> None:
    """Write the scans that models are timed on.

    Args:
        run: What the run consists of.
        facts: Facts about the scans of its set.
        base: Folder that relative paths start from.
        out: Scan set of a few scans of a few frames; where the run's own is not built yet, without
            a reference.

    Raises:
        UserError: no scan has a geometry.
    """
    sizes, groups = candidates([facts[scan_id] for scan_id in run.scans])
    chosen: dict[str, Scan] = {}
    with _Geometries(run, facts, base) as geometries:
        for group in groups:
            found = next((scan for scan in map(geometries.scan, group) if scan is not None), None)
            if found is not None:
                chosen[found.id] = thinned(found)
    if not chosen:
        raise UserError(f"{run.scan_set}: no scan has a geometry to time a model on")
    write_scan_set(
        out,
        [chosen[scan_id] for scan_id in sorted(chosen)],
        name=run.scan_set,
        level_of_theory=run.level_of_theory,
        source="a few scans of the set, to time models on",
        provenance={"sizes": sizes, **provenance.collect()},
    )


class _Geometries:
    """Scans of a run with their frames, from the scan set if it exists, else from the molecules."""

    def __init__(self, run: Run, facts: Mapping[str, Facts], base: Path) -> None:
        self._run, self._facts, self._base = run, facts, base
        self._file: ScanSet | None = None
        self._made: dict[str, dict[str, Scan]] = {}

    def __enter__(self) -> _Geometries:
        path = scan_set_path(self._run)
        if path.is_file():
            self._file = ScanSet(path).__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        if self._file is not None:
            self._file.__exit__(None, None, None)

    def scan(self, scan_id: str) -> Scan | None:
        """A scan; None if no geometry of its molecule is found."""
        if self._file is not None:
            return self._file.scan(scan_id)
        system = self._facts[scan_id].system
        if system not in self._made:
            self._made[system] = {scan.id: scan for scan in self._scans(system)}
        return self._made[system].get(scan_id)

    def _scans(self, name: str) -> Iterator[Scan]:
        from pesbench.references.molecules import prepare, read_molecules  # RDKit

        settings = self._run.settings
        molecules = read_molecules(settings["molecules"], self._base)
        system, failed = prepare(next(one for one in molecules if one.id == name), None)
        if failed:
            return
        made = bond_scans(
            system, bonds_to_hydrogen=settings["bonds_to_hydrogen"], types=settings["bonds"]
        )
        yield from (scan for scan in made if isinstance(scan, Scan))
