"""References computed here: the scans of a user's molecules, with any model of the registry."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pesbench import provenance
from pesbench.errors import UserError
from pesbench.evaluate import Evaluator, evaluate_scans, initial_limit
from pesbench.models.interface import Status
from pesbench.models.registry import ModelEntry
from pesbench.progress import track
from pesbench.references.quality import QualityLimits, judge
from pesbench.scans import Scan, SkippedBond, bond_scans
from pesbench.storage import write_scan_set, write_text
from pesbench.structures import System, read_systems
from pesbench.worker import ModelFailureError, Worker


@dataclass(frozen=True)
class PlannedScans:
    """What a file of molecules gives.

    Attributes:
        scans: Without a reference, sorted by id.
        skipped: Bonds passed over, with the reason.
    """

    scans: list[Scan]
    skipped: list[SkippedBond]


def plan_scans(systems: Sequence[System], *, bonds_to_hydrogen: bool) -> PlannedScans:
    """All bond scans of some molecules."""
    scans: list[Scan] = []
    skipped: list[SkippedBond] = []
    for system in systems:
        for item in bond_scans(system, bonds_to_hydrogen=bonds_to_hydrogen):
            (scans if isinstance(item, Scan) else skipped).append(item)  # type: ignore[arg-type]
    return PlannedScans(sorted(scans, key=lambda scan: scan.id), skipped)


def with_reference(scan: Scan, evaluator: Evaluator, limits: QualityLimits) -> Scan:
    """A scan with the energies and forces of the reference, judged by the quality gate."""
    # a scan without a reference counts every frame, so that the status tells of any failure
    (result,) = evaluate_scans(evaluator, [replace(scan, energy=np.zeros(scan.n_frames))])
    failed = result.frame_status != Status.OK.code
    energy, forces = result.energy.copy(), result.forces.copy()
    energy[failed] = np.nan
    forces[failed] = np.nan
    judged = judge(replace(scan, energy=energy, forces=forces), limits)
    if result.message and judged.quality != "ok":
        judged = replace(judged, reason=f"{judged.reason} ({result.message})")
    return judged


def build_scan_set(
    molecules: Path,
    entry: ModelEntry,
    out: Path,
    skipped_out: Path,
    *,
    name: str,
    level_of_theory: str,
    bonds_to_hydrogen: bool,
    limits: QualityLimits,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Scan every bond of a file of molecules and compute the reference.

    Args:
        molecules: File that ASE reads.
        entry: The reference, resolved.
        out: Scan set file.
        skipped_out: CSV of the bonds and scans that no model is scored on, with the reason.
        name: Of the scan set.
        level_of_theory: Of the reference.
        bonds_to_hydrogen: Whether bonds with a hydrogen are scanned.
        limits: Of the quality gate.
        device: `auto`, `cpu` or `cuda`.
        threads: For the reference method.

    Raises:
        UserError: the molecules cannot be read, there is nothing to scan, or the reference method
            does not load.
    """
    plan = plan_scans(read_systems(molecules), bonds_to_hydrogen=bonds_to_hydrogen)
    if not plan.scans:
        raise UserError(f"{molecules}: no bond can be scanned; add a molecule with an acyclic bond")
    rows = [
        (f"{s.bond}/{s.system}_{s.atoms[0]}-{s.atoms[1]}", "skipped", s.reason)
        for s in plan.skipped
    ]

    def judged(evaluator: Evaluator) -> Iterator[Scan]:
        for scan in track(plan.scans, len(plan.scans), "reference scans"):
            done = with_reference(scan, evaluator, limits)
            if done.quality != "ok":
                rows.append((done.id, done.quality, done.reason))
            yield done

    timeout_s = float(entry.settings.get("timeout_s", 600.0))
    with Worker(entry, device=device, threads=threads, timeout_s=timeout_s) as worker:
        try:
            worker.start()
        except ModelFailureError as failure:
            raise UserError(f"reference {entry.name!r}: {failure.message}") from failure
        limit = initial_limit(worker, entry, plan.scans[0])
        evaluator = Evaluator(worker, limit)
        write_scan_set(
            out,
            judged(evaluator),
            name=name,
            level_of_theory=level_of_theory,
            source=molecules.as_posix(),
            provenance=provenance.collect() | {"reference": entry.deciding()},
        )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("scan", "quality", "reason"), *sorted(rows)])
    write_text(skipped_out, text.getvalue())
