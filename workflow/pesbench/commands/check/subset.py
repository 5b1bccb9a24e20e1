"""The fixed scans of a check: 30 of the scan set `mini`, shipped with the package.

The rule that chose them (`choose`): round after round through the bond types in alphabetical
order, each time the scan of the molecule that was chosen least often so far, the first by name
among equals; only scans that the gate on references passed without a mark. `pesbench check-scans`
writes the file again.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.core.scans import Scan
from pesbench.files.scan_set import ScanSet, write_scan_set

SCANS = Path(__file__).with_name("scans.h5")
N_SCANS = 30


def choose(scans: Iterable[tuple[str, str, str]], count: int) -> list[str]:
    """Scans that cover bond types and molecules evenly.

    Args:
        scans: `(scan id, bond type, molecule)` of each candidate.
        count: How many; all of them if there are fewer.

    Returns:
        Ids, sorted.
    """
    left: dict[str, list[tuple[str, str]]] = {}
    for scan_id, bond, system in sorted(scans):
        left.setdefault(bond, []).append((scan_id, system))
    times: Counter[str] = Counter()
    chosen: list[str] = []
    while any(left.values()):
        for bond in sorted(left):
            if not left[bond] or len(chosen) == count:
                continue
            pick = min(left[bond], key=lambda scan: (times[scan[1]], scan[0]))
            left[bond].remove(pick)
            times[pick[1]] += 1
            chosen.append(pick[0])
        if len(chosen) == count:
            break
    return sorted(chosen)


def write_subset(scan_set_path: Path, out: Path, count: int = N_SCANS) -> None:
    """Choose the scans of a check from a scan set and write them as one.

    Args:
        scan_set_path: Scan set with references, such as `results/mini/mini.h5`.
        out: Scan set file.
        count: How many scans.

    Raises:
        UserError: the set has too few scans that passed the gate without a mark.
    """
    from pesbench.files import provenance

    with ScanSet(scan_set_path) as scan_set:
        candidates = [scan_set.scan(i) for i in scan_set.ids if scan_set.quality(i)[0] == "ok"]
        if len(candidates) < count:
            raise UserError(
                f"{scan_set_path}: {len(candidates)} scans passed the gate without a mark, "
                f"{count} are wanted; give a larger scan set"
            )
        ids = choose(((s.id, s.bond, s.system) for s in candidates), count)
        made = provenance.collect() | {"scan_set_sha256": scan_set.sha256}
        write_scan_set(
            out,
            (scan for scan in candidates if scan.id in ids),
            name=f"{scan_set.name}, {count} scans",
            level_of_theory=scan_set.level_of_theory,
            source=str(scan_set.attributes["source"]),
            provenance=made,
        )


def reference_level() -> str:
    """Level of theory of the scans' reference."""
    with ScanSet(SCANS) as scan_set:
        return scan_set.level_of_theory


def read_subset(patterns: Sequence[str] | None = None) -> list[Scan]:
    """The scans of a check, sorted by id.

    Args:
        patterns: Ids or globs such as `C-N/*`; None for all.

    Raises:
        UserError: a pattern matches no scan, or there is none.
    """
    if patterns is not None and not patterns:
        raise UserError("scans: none is given; give ids or globs such as 'C-N/*', or None for all")
    with ScanSet(SCANS) as scan_set:
        chosen = list(scan_set.ids)
        for pattern in patterns or ():
            if not any(fnmatchcase(scan_id, pattern) for scan_id in scan_set.ids):
                near = difflib.get_close_matches(pattern, scan_set.ids, n=1, cutoff=0.3)
                hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(chosen)}"
                raise UserError(f"scans: {pattern!r} matches none of the check's scans; {hint}")
        if patterns is not None:
            chosen = [i for i in chosen if any(fnmatchcase(i, p) for p in patterns)]
        return [scan_set.scan(scan_id) for scan_id in chosen]
