"""Where a model breaks: its worst scans, with the frames on either side of the largest slope."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from pesbench.errors import UserError
from pesbench.scans import Scan
from pesbench.storage import Evaluation, ScanEvaluation, ScanSet, atomic_path, write_text
from pesbench.text import csv_table

COUNT = 20
COLUMNS = (
    "rank",
    "scan",
    "bond",
    "system",
    "seen",
    "status",
    "fsd_full",
    "side",
    "peak_coordinate_angstrom",
    "peak_offset_angstrom",
    "frame_before",
    "frame_after",
    "message",
)
_INTEGERS = ("rank", "frame_before", "frame_after")


def worst_scans(scores: pd.DataFrame, count: int = COUNT) -> pd.DataFrame:
    """The scored scans of highest `fsd_full`, worst first, then every scan without a score.

    Args:
        scores: Of one model, the columns of `scores/scans.parquet`.
        count: How many scored scans at most.

    Returns:
        The columns `COLUMNS`: `side` says on which side of the reference minimum the largest
        slope lies, frames are numbered as in the scan set; rank and frames are missing for a
        scan without a score, and side, peak and frames for one without any slope (the reference).
    """
    scored = scores[(scores["status"] == "ok") & scores["fsd_full"].notna()]
    # equal scores in the order of their names, not of the file
    worst = scored.sort_values(["fsd_full", "scan"], ascending=[False, True]).head(count)
    rough = worst["fsd_full"] > 0
    offset = worst["fsd_peak_offset"].where(rough)
    table = worst[["scan", "bond", "system", "seen", "status", "fsd_full"]].assign(
        rank=np.arange(1, len(worst) + 1),
        side=np.where(offset < 0, "compress", np.where(rough, "stretch", "")),
        peak_coordinate_angstrom=worst["fsd_peak_coordinate"].where(rough),
        peak_offset_angstrom=offset,
        frame_before=worst["fsd_peak_index"].where(rough),
        frame_after=worst["fsd_peak_index_next"].where(rough),
        message="",
    )
    failed = scores.loc[~scores.index.isin(scored.index)].sort_values("scan")
    table = pd.concat([table, failed[["scan", "bond", "system", "seen", "status", "message"]]])
    table = table.reindex(columns=list(COLUMNS)).reset_index(drop=True)
    for column in _INTEGERS:
        table[column] = table[column].astype("Float64").astype("Int64")
    return table


def read(csv: Path) -> pd.DataFrame:
    """The table of `worst_scans` from its csv."""
    text = dict.fromkeys(("seen", "side", "message"), "")
    return pd.read_csv(csv, dtype=dict.fromkeys(_INTEGERS, "Int64")).fillna(text)


@contextlib.contextmanager
def open_evaluations(paths: Iterable[Path]) -> Iterator[dict[str, Evaluation]]:
    """The shards of one model's evaluation, opened; which of them holds a scan."""
    with contextlib.ExitStack() as stack:
        shards = [stack.enter_context(Evaluation(path)) for path in paths]
        yield {scan_id: shard for shard in shards for scan_id in shard.ids}


def read_evaluation(holder: dict[str, Evaluation], scan_id: str) -> ScanEvaluation:
    """One scan from whichever shard holds it.

    Raises:
        UserError: none does.
    """
    if scan_id not in holder:
        raise UserError(f"scan {scan_id!r} is scored but in no shard; make the evaluation again")
    return holder[scan_id].scan(scan_id)


def frame_atoms(scan: Scan, evaluation: ScanEvaluation, frame: int, **info: Any) -> Atoms:
    """One frame with what the model and the reference say about it.

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


def peak_frames(
    table: pd.DataFrame, scan_set: ScanSet, evaluations: Sequence[Path], model: str
) -> list[Atoms]:
    """The two frames on either side of the largest slope of each scored scan of `worst_scans`."""
    frames = []
    with open_evaluations(evaluations) as holder:
        for row in table[table["frame_before"].notna()].to_dict("records"):
            scan = scan_set.scan(row["scan"])
            evaluation = read_evaluation(holder, scan.id)
            frames += [
                frame_atoms(scan, evaluation, int(row[end]), fsd=row["fsd_full"], model=model)
                for end in ("frame_before", "frame_after")
            ]
    return frames


def write(
    csv: Path,
    extxyz: Path,
    *,
    scan_set: ScanSet,
    evaluations: Sequence[Path],
    scores: pd.DataFrame,
    count: int = COUNT,
) -> pd.DataFrame:
    """Write `worst.csv` and `worst.extxyz` of one model, each whole or not at all.

    Args:
        csv: Table of `worst_scans`.
        extxyz: Frames of `peak_frames`; an empty file if no scan has a slope.
        scan_set: The scans.
        evaluations: Shards of the model's evaluation.
        scores: Of the model, one row a scan.
        count: How many scored scans at most.

    Returns:
        What is in the csv.
    """
    table = worst_scans(scores, count)
    name = str(scores["model"].iloc[0]) if len(scores) else ""
    frames = peak_frames(table, scan_set, evaluations, name)
    write_text(csv, csv_table(table))
    with atomic_path(extxyz) as part:
        part.touch()
        if frames:
            ase.io.write(part, frames, format="extxyz")
    return table
