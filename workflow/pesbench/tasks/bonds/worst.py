"""Faults of a model as a table, with the frames on either side of each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.core.scans import Scan
from pesbench.files.evaluation import Evaluation, ScanEvaluation
from pesbench.files.scan_set import ScanSet
from pesbench.tasks.bonds import faults
from pesbench.tasks.bonds.faults import COUNT, Fault

ON_FRAME_ANGSTROM = 1e-6
COLUMNS = (
    "list",
    "rank",
    "scan",
    "bond",
    "system",
    "seen",
    "n_equivalent",
    "kind",
    "distance_angstrom",
    "value",
    "unit",
    "note",
)
NOT_SCORED = "not_scored"
_INTEGERS = ("rank", "n_equivalent")
_NUMBERS = ("distance_angstrom", "value")


def worst_scans(scores: pd.DataFrame, count: int = COUNT) -> pd.DataFrame:
    """Every list of `pesbench.tasks.bonds.faults`, then every scan without a score.

    Args:
        scores: Scores of one model, with the columns of `scores/bonds.parquet`.
        count: How many faults a list at most.

    Returns:
        The columns `COLUMNS`. `list` is the name of a list, or `not_scored`, of which `kind` is
        the status and `note` the message. A list that older scores say nothing of has a row
        without a rank, whose note says so. `n_equivalent` counts the bonds that are listed as one.
    """
    rows = scores.to_dict("records")
    older = faults.older_scores(rows).replace("\n", " ")
    table: list[dict[str, Any]] = []
    for name, found in faults.fault_lists(rows, count).items():
        if older and name != "fsd_full":
            table.append({"list": name, "note": older})
        table += [_line(fault) for fault in found]
    table += [
        {
            "list": NOT_SCORED,
            **{name: row[name] for name in ("scan", "bond", "system", "seen")},
            "kind": row["status"],
            "note": row["message"],
        }
        for row in sorted(rows, key=lambda row: row["scan"])
        if not faults.is_scored(row)
    ]
    frame = pd.DataFrame(table, columns=list(COLUMNS))
    for column in _INTEGERS:
        frame[column] = frame[column].astype("Float64").astype("Int64")
    for column in _NUMBERS:
        frame[column] = frame[column].astype(float)
    text = [c for c in COLUMNS if c not in (*_INTEGERS, *_NUMBERS)]
    frame[text] = frame[text].fillna("")
    return frame


def _line(fault: Fault) -> dict[str, Any]:
    also = f"; also {', '.join(fault.twins)}" if fault.twins else ""
    return {
        "list": fault.list,
        "rank": fault.rank,
        **{name: fault.row[name] for name in ("scan", "bond", "system", "seen")},
        "n_equivalent": 1 + len(fault.twins),
        "kind": fault.kind,
        "distance_angstrom": fault.distance,
        "value": fault.value,
        "unit": fault.unit,
        "note": fault.note + also,
    }


@contextlib.contextmanager
def open_evaluations(paths: Iterable[Path]) -> Iterator[dict[str, Evaluation]]:
    """The shards of one model's evaluation, opened; which of them holds a scan."""
    with contextlib.ExitStack() as stack:
        shards = [stack.enter_context(Evaluation(path)) for path in paths]
        yield {scan_id: shard for shard in shards for scan_id in shard.ids}


def read_evaluation(holder: dict[str, Evaluation], scan: Scan) -> ScanEvaluation:
    """One scan from whichever shard holds it.

    Raises:
        UserError: none does.
    """
    if scan.id not in holder:
        raise UserError(f"scan {scan.id!r} is scored but in no shard; make the evaluation again")
    return holder[scan.id].scan(scan.id, (scan.n_frames, scan.n_atoms))


def frame_atoms(scan: Scan, evaluation: ScanEvaluation, frame: int, **info: Any) -> Atoms:
    """One frame with the results of the model and of the reference.

    `energy` and `forces` are the model's where finite; `reference_energy` in `info` and the array
    `reference_forces` are the reference's. Units: Å, eV, eV/Å.
    """
    atoms = Atoms(scan.numbers, scan.positions[frame])
    atoms.info |= {
        "scan": scan.id,
        "frame": frame,
        "bond": scan.bond,
        "atoms": np.array(scan.atoms),
        "coordinate_angstrom": float(scan.coordinate[frame]),
        "charge": scan.charge,
        "spin": scan.spin,
        "reference_energy": float(scan.energy[frame]),
        **info,
    }
    atoms.arrays["reference_forces"] = scan.forces[frame]
    results: dict[str, Any] = {}
    if np.isfinite(evaluation.energy[frame]):
        results["energy"] = float(evaluation.energy[frame])
    if np.isfinite(evaluation.forces[frame]).all():
        results["forces"] = evaluation.forces[frame]
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def either_side(scan: Scan, evaluation: ScanEvaluation, distance: float) -> list[int]:
    """The scored frames next to a place: the last before it and the first behind it.

    Args:
        scan: Scan with its reference.
        evaluation: Evaluation of the same scan.
        distance: Å; a place on a frame is between its two neighbours.

    Returns:
        Two frames, or one where the place is at an end of the scan.
    """
    used = np.isfinite(scan.energy) & (evaluation.frame_status == Status.OK.code)
    before = np.flatnonzero(used & (scan.coordinate < distance - ON_FRAME_ANGSTROM))
    behind = np.flatnonzero(used & (scan.coordinate > distance + ON_FRAME_ANGSTROM))
    return [*before[-1:].tolist(), *behind[:1].tolist()]


def fault_frames(
    table: pd.DataFrame, scan_set: ScanSet, evaluations: Sequence[Path], model: str
) -> list[Atoms]:
    """The frames on either side of every place that `worst_scans` lists."""
    frames = []
    with open_evaluations(evaluations) as holder:
        for row in table[table["rank"].notna()].to_dict("records"):
            scan = scan_set.scan(row["scan"])
            evaluation = read_evaluation(holder, scan)
            told = {
                "list": row["list"],
                "rank": int(row["rank"]),
                "fault": row["kind"],
                "place_angstrom": row["distance_angstrom"],
                "value": row["value"],
                "unit": row["unit"],
                "model": model,
            }
            frames += [
                frame_atoms(scan, evaluation, frame, **told)
                for frame in either_side(scan, evaluation, row["distance_angstrom"])
            ]
    return frames
