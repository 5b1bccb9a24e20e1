"""The molecules of a scan set."""

from __future__ import annotations

from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.files.scan_set import ScanSet


def scan_set_systems(scan_set: ScanSet) -> list[System]:
    """The distinct molecules of a scan set, sorted by id.

    A molecule whose scans were all dropped by the quality gate is left out: it has no score that
    its stability could be compared with, and perhaps no geometry. Where scans of one molecule
    disagree about its geometry, the first one's counts.
    """
    systems: dict[str, System] = {}
    for scan_id in scan_set.ids:
        if scan_set.quality(scan_id)[0] == "dropped":
            continue
        scan = scan_set.scan(scan_id)
        systems.setdefault(scan.system, system_of(scan))
    return [systems[name] for name in sorted(systems)]


def system_of(scan: Scan) -> System:
    """The molecule of a scan, as it is before the scan."""
    return System(
        id=scan.system,
        numbers=scan.numbers,
        positions=scan.positions_unperturbed,
        bonds=scan.bonds,
        charge=scan.charge,
        spin=scan.spin,
        smiles=scan.smiles,
    )
