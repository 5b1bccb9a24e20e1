"""References computed here: the scans of a user's molecules, with any model of the registry.

Three stages, so that the costly one is sharded, parallel and resumable like any evaluation: the
geometries of all scans, the reference's evaluation of them, and the quality gate on the result.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pesbench.core.coordinates.bond import PlannedBond, SkippedBond, bond_scans, planned_bonds
from pesbench.core.errors import UserError, reading
from pesbench.core.interface import Status
from pesbench.core.progress import track
from pesbench.core.scans import Scan
from pesbench.core.systems import System
from pesbench.core.text import csv_cell
from pesbench.files import provenance
from pesbench.files.atomic import write_text
from pesbench.files.evaluation import Evaluation, ScanEvaluation
from pesbench.files.molecules.reading import read_prepared
from pesbench.files.scan_set import ScanSet, write_scan_set
from pesbench.references.quality import QualityLimits, judge

NO_REFERENCE_YET = "none yet"
_HEADER = ("scan", "quality", "reason")
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Plan:
    """Scans of some molecules.

    Attributes:
        scans: Ids, sorted.
        skipped: Rows of `skipped.csv`: scan or molecule, `skipped`, the reason.
    """

    scans: list[str]
    skipped: list[tuple[str, str, str]]


def plan_scans(
    systems: Sequence[System], *, bonds_to_hydrogen: bool, types: Sequence[str] = ("*",)
) -> Plan:
    """All bond scans of some molecules, from their bond graphs alone.

    Args:
        systems: The molecules.
        bonds_to_hydrogen: Whether bonds with a hydrogen are scanned.
        types: Globs of bond types.
    """
    scans: list[str] = []
    skipped: list[tuple[str, str, str]] = []
    for system in systems:
        found = list(planned_bonds(system, bonds_to_hydrogen=bonds_to_hydrogen, types=types))
        scans += [bond.id for bond in found if isinstance(bond, PlannedBond)]
        skipped += [_skipped_row(bond) for bond in found if isinstance(bond, SkippedBond)]
        if not found:
            skipped.append((system.id, "skipped", _why_nothing(system)))
    return Plan(sorted(scans), sorted(skipped))


def _skipped_row(bond: SkippedBond) -> tuple[str, str, str]:
    i, j = bond.atoms
    return f"{bond.bond}/{bond.system}_{i}-{j}", "skipped", bond.reason


def _why_nothing(system: System) -> str:
    if not len(system.bonds):
        return "the molecule has no bond"
    return "no bond is chosen: see `bonds` and `bonds_to_hydrogen` of the scan set"


def write_geometries(
    molecules: Path,
    out: Path,
    skipped_out: Path,
    *,
    name: str,
    bonds_to_hydrogen: bool,
    types: Sequence[str] = ("*",),
) -> None:
    """Every frame of every bond scan, without a reference yet.

    Args:
        molecules: File of `pesbench prepare-molecules`.
        out: Scan set whose energies and forces are NaN.
        skipped_out: CSV of the bonds and molecules passed over, with the reason.
        name: Name of the scan set.
        bonds_to_hydrogen: Whether bonds with a hydrogen are scanned.
        types: Globs of bond types.

    Raises:
        UserError: the molecules cannot be read, or there is nothing to scan.
    """
    systems = read_prepared(molecules)
    plan = plan_scans(systems, bonds_to_hydrogen=bonds_to_hydrogen, types=types)
    if not plan.scans:
        raise UserError(f"{molecules}: {nothing_to_scan(plan)}")
    for scan_id, _, reason in plan.skipped:
        logger.info("%s is passed over: %s", scan_id, reason)

    def scans() -> Iterator[Scan]:
        for system in systems:
            for item in bond_scans(system, bonds_to_hydrogen=bonds_to_hydrogen, types=types):
                if isinstance(item, Scan):
                    yield item

    write_scan_set(
        out,
        scans(),
        name=name,
        level_of_theory=NO_REFERENCE_YET,
        source=molecules.as_posix(),
        provenance=provenance.collect(),
    )
    _write_rows(skipped_out, plan.skipped)


def nothing_to_scan(plan: Plan) -> str:
    """One line for a plan without any scan."""
    example = f" ({plan.skipped[0][0]}: {plan.skipped[0][2]})" if plan.skipped else ""
    return f"no bond can be scanned{example}; add a molecule with an acyclic bond"


def with_reference(scan: Scan, evaluation: ScanEvaluation, limits: QualityLimits) -> Scan:
    """A scan with the reference's energies and forces, checked by the quality gate."""
    failed = evaluation.frame_status != Status.OK.code
    energy, forces = evaluation.energy.copy(), evaluation.forces.copy()
    energy[failed] = np.nan
    forces[failed] = np.nan
    judged = judge(replace(scan, energy=energy, forces=forces), limits)
    if evaluation.message and judged.quality != "ok":
        judged = replace(judged, reason=f"{judged.reason} ({evaluation.message})")
    return judged


def collect_references(
    geometries: Path,
    references: Sequence[Path],
    out: Path,
    skipped_out: Path,
    *,
    skipped: Path,
    level_of_theory: str,
    limits: QualityLimits,
) -> None:
    """Join geometries with the reference's evaluations into the scan set, through the gate.

    Args:
        geometries: File of `write_geometries`.
        references: The reference's evaluation files.
        out: Scan set.
        skipped_out: CSV of the bonds and scans that no model is scored on, with the reason.
        skipped: CSV of `write_geometries`.
        level_of_theory: Level of theory of the reference.
        limits: Limits of the quality gate.

    Raises:
        UserError: an evaluation belongs to other geometries, one is missing, or the gate drops
            every scan.
    """
    made_by = "make it with `pesbench scan-molecules`"
    with (
        reading(skipped, "not the table of bonds that are passed over", made_by),
        skipped.open(newline="", encoding="utf-8") as file,
    ):
        rows = [(name, kind, reason) for name, kind, reason in [*csv.reader(file)][1:]]
    with ExitStack() as stack:
        planned = stack.enter_context(ScanSet(geometries))
        found: dict[str, Evaluation] = {}
        made: dict[str, Any] = {}
        for path in sorted(references):
            evaluation = stack.enter_context(Evaluation(path))
            if evaluation.scan_set_sha256 != planned.sha256:
                raise UserError(
                    f"{path}: was made on other geometries than {geometries}; "
                    "remove it and evaluate again"
                )
            attributes = evaluation.attributes
            made[path.name] = {
                "entry": json.loads(attributes["entry"]),
                "wall_s": float(attributes["wall_s"]),
                "provenance": json.loads(attributes["provenance"]),
            }
            found |= dict.fromkeys(evaluation.ids, evaluation)
        kept = 0

        def judged() -> Iterator[Scan]:
            nonlocal kept
            for scan_id in track(planned.ids, len(planned.ids), "scans"):
                scan = planned.scan(scan_id)
                if scan.quality != "dropped":  # else it has no geometry
                    if scan_id not in found:
                        raise UserError(f"{scan_id}: no reference among the files given; add it")
                    made_of = found[scan_id].scan(scan_id, (scan.n_frames, scan.n_atoms))
                    scan = with_reference(scan, made_of, limits)
                if scan.quality != "ok":
                    rows.append((scan.id, scan.quality, scan.reason))
                kept += scan.quality != "dropped"
                yield scan
            if not kept:
                first = next(row for row in rows if row[1] == "dropped")
                raise UserError(
                    f"{geometries}: the reference is fit on no scan ({first[0]}: {first[2]}); "
                    "take another reference or other molecules"
                )

        write_scan_set(
            out,
            judged(),
            name=planned.name,
            level_of_theory=level_of_theory,
            source=planned.attributes["source"],
            provenance=provenance.collect() | {"references": made},
        )
    _write_rows(skipped_out, rows)


def _write_rows(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_HEADER, *(map(csv_cell, row) for row in sorted(rows))])
    write_text(path, text.getvalue())
