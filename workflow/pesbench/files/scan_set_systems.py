"""The molecules of a scan set."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pesbench.core.errors import UserError
from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.files.scan_set import ScanSet

logger = logging.getLogger("pesbench")


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


def chosen_systems(scan_set: ScanSet, items: Sequence[str]) -> list[System]:
    """Some molecules of a scan set, sorted by id; those whose scans were all dropped are left out.

    Raises:
        UserError: one is not in the set.
    """
    known = {system.id: system for system in scan_set_systems(scan_set)}
    dropped = {
        scan_set.scan(scan_id).system
        for scan_id in scan_set.ids
        if scan_set.quality(scan_id)[0] == "dropped"
    } - known.keys()
    wanted = set(items)
    if missing := sorted(wanted - known.keys() - dropped):
        raise UserError(
            f"{scan_set.path}: no molecule {missing[0]!r} in this set; see the systems of its scans"
        )
    if passed := sorted(wanted & dropped):
        logger.warning("passed over, all of their scans are dropped: %s", ", ".join(passed))
    return [known[name] for name in sorted(wanted & known.keys())]


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
