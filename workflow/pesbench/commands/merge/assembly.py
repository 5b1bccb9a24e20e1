"""The merged folder: laid out as the workflow lays out `results/<set>`, with `merged.json`."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.commands.merge.contents import (
    ABSENT,
    DAMAGED,
    DYNAMICS,
    KINDS,
    OTHER,
    RAW,
    SCANS,
    Choice,
    Folder,
    check_scan_sets,
    read_folder,
    read_scores,
    row_keys,
    trajectory_key,
)
from pesbench.commands.merge.joining import SCORE_STAGES, Joined, Taken, check_code, join, planned
from pesbench.commands.scoring import write_scores
from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.jobs import ScoreJob
from pesbench.core.paths import real_path
from pesbench.core.text import csv_table
from pesbench.files import provenance, stored_tables
from pesbench.files.atomic import write_json, write_text
from pesbench.files.fingerprint import stage_fingerprint
from pesbench.files.hdf5 import StoredFile, writing
from pesbench.files.integrity import readable, seal
from pesbench.files.scan_set import ScanSet
from pesbench.files.split import write_split
from pesbench.metrics.survival import Outcome
from pesbench.models import record
from pesbench.models.registry import role
from pesbench.tasks.bonds.score import ENERGY_METRICS, FORCE_METRICS
from pesbench.tasks.dynamics.score import METRICS, trajectory_rows

MANIFEST = "merged.json"
FORMAT = "pesbench-merged"
VERSION = 1
_IDENTITY = {  # what a row that was never evaluated has of the same row of another model
    SCANS: ("scan", "system", "bond", "n_atoms", "n_frames"),
    DYNAMICS: (
        "trajectory",
        "system",
        "temperature_k",
        "replicate",
        "timestep_fs",
        "n_atoms",
        "planned_ps",
    ),
}
# What a reference may be from itself: in Å⁻¹ and eV/Å, of every scan. The same program on another
# machine differs by 6e-9 and 3e-10; another program at the same level of theory by its integrals.
REFERENCE_LIMITS = {"fsd_full": 1e-3, "force_mae": 1e-6}
OTHER_PROGRAM_LIMITS = {"fsd_full": 1.0, "force_mae": 0.05}
_FACTS = ("bond", "system", "n_frames", "n_atoms")  # of a scan, in its scores and in the set
_METRICS = {SCANS: (*FORCE_METRICS, *ENERGY_METRICS), DYNAMICS: METRICS}
_MESSAGE = "in none of the merged results"
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Merged:
    """What a merged folder holds.

    Attributes:
        scan_set: Name of the scan set, whose file is `<name>.h5`.
        level_of_theory: Of its reference.
        skipped: Whether there is a `skipped.csv`.
        models: By name, controls last.
        files: Names of the evaluation files by model.
    """

    scan_set: str
    level_of_theory: str
    skipped: bool
    models: Mapping[str, Joined]
    files: Mapping[str, Sequence[str]]


def merge(
    results: Sequence[Path],
    out: Path,
    *,
    choices: Mapping[Path, Choice] | None = None,
    scan_set: Path | None = None,
    strict: bool = False,
) -> Merged:
    """Join folders of results in a new one: evaluations, trajectories and their scores.

    What needs no scoring is checked before anything is written. The files of the folders are
    linked, or copied where that cannot be; none is changed. Evaluations and trajectories are scored
    by this version, what comes as scores only is taken as it is.

    Args:
        results: Folders of one scan set, `results/<set>` as the workflow writes it.
        out: An empty folder, see `new_folder`.
        choices: What is taken of a folder, by its absolute path; without one, everything.
        scan_set: The scan set, where no folder holds it.
        strict: Whether results of other code than this version's are refused.

    Raises:
        UserError: results that cannot stand on one leaderboard; see `read_folder`,
            `check_scan_sets`, `join` and `check_code`.
    """
    folders = _read(results, choices or {})
    path = scan_set or next((f.scan_set for f in folders if f.scan_set is not None), None)
    if path is None:
        raise UserError(
            f"{results[0]}: no folder holds the scan set; give its file with --scan-set (the rule "
            "`scan_set` makes it)"
        )
    with ScanSet(path) as opened:
        check_scan_sets(folders, opened)
        joined = join(folders, opened)
        if strict:
            check_code(joined)
        skipped = next((f.skipped for f in folders if f.skipped is not None), None)
        return _write(folders, joined, opened, skipped, out)


def _read(results: Sequence[Path], choices: Mapping[Path, Choice]) -> list[Folder]:
    places = [real_path(path) for path in results]
    for k, place in enumerate(places):
        if place in places[:k]:
            raise UserError(f"{results[k]}: is given twice; give each folder once")
    if unknown := sorted(choices.keys() - {*places}):
        raise UserError(
            f"{unknown[0]}: an option names this folder, which is none of RESULTS; add it there, "
            "or correct the option"
        )
    return [
        read_folder(path, choices.get(place, Choice()))
        for path, place in zip(results, places, strict=True)
    ]


def _write(
    folders: Sequence[Folder],
    joined: Mapping[str, Joined],
    scan_set: ScanSet,
    skipped: pd.DataFrame | None,
    out: Path,
) -> Merged:
    _link(scan_set.path, out / f"{scan_set.name}.h5")
    if skipped is not None:
        write_text(out / "skipped.csv", csv_table(skipped))
    files: dict[str, dict[str, list[Path]]] = {}
    rows: dict[str, dict[str, pd.DataFrame]] = {}
    for name, one in joined.items():
        logger.info("%s", name)
        for said in one.rounding:
            logger.warning("%s", said)
        write_json(out / name / "model.json", one.entry.deciding())
        files[name] = {kind: _raw_files(one, kind, out / name) for kind in KINDS}
        rows[name] = {
            kind: _rows(one, kind, files[name][kind], scan_set, out / name)
            for kind in KINDS
            if one.of(kind)
        }
    record.write_record(
        out / record.NAME,
        {
            name: record.Described(record.description(one.entry), dict(one.seen))
            for name, one in joined.items()
        },
    )
    for name, one in joined.items():
        if role(one.entry, scan_set.level_of_theory) == "reference":
            _check_reference(name, rows[name][SCANS], scan_set)
    absent = {kind: _complete(joined, rows, kind) for kind in KINDS}
    for name, of_kind in rows.items():
        for kind, table in of_kind.items():
            stored_tables.write_scores(out / name / "scores" / f"{kind}.parquet", table)
    write_json(out / MANIFEST, _manifest(folders, joined, scan_set, absent))
    return Merged(
        scan_set.name,
        scan_set.level_of_theory,
        skipped is not None,
        joined,
        {name: [path.name for path in found[SCANS]] for name, found in files.items()},
    )


# --- files ---------------------------------------------------------------------------------------


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy on another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(real_path(source), target)
    except OSError:
        shutil.copyfile(source, target)


def _raw_files(one: Joined, kind: str, folder: Path) -> list[Path]:
    """Bring the evaluations or trajectories of a model together, numbered anew."""
    targets = []
    for taken in one.of(kind, raw=True):
        half = "half-" if taken.piece.path.name.startswith("half-") else ""
        count = sum(path.name.startswith("half-") == bool(half) for path in targets)
        target = folder / kind / f"{half}{count:04d}.h5"
        (source,) = (m for m in one.sources if taken.piece in m.pieces)
        if taken.whole and source.entry.deciding() == _deciding_in(taken.piece.path):
            _link(taken.piece.path, target)
        else:
            _adapt(taken, one, target)
        targets.append(target)
    return sorted(targets)


def _deciding_in(path: Path) -> Any:
    with StoredFile(path, "file of results", DAMAGED) as file:
        return json.loads(file.attributes["entry"])


def _adapt(taken: Taken, one: Joined, target: Path) -> None:
    """A copy of a file under the model's new name, without what another file holds."""
    kind, without = taken.piece.kind, {*taken.piece.keys} - {*taken.keys}
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(taken.piece.path, target)
    with readable(taken.piece.path, DAMAGED), writing(target, "r+") as file:
        file.attrs["model"] = one.entry.name
        file.attrs["entry"] = json.dumps(one.entry.deciding())
        if kind == SCANS:
            work = {key: file[key]["forces"].size for key in taken.piece.keys}
            for scan_id in without:
                del file[scan_id]
            left = sum(size for key, size in work.items() if key not in without)
            file.attrs["wall_s"] = file.attrs["wall_s"] * left / sum(work.values())
        elif without:
            file.attrs["wall_s"] = sum(
                row["wall_s"]
                for row in trajectory_rows([taken.piece.path])
                if trajectory_key(row["trajectory"], row["timestep_fs"]) not in without
            )
            for group, ends in {
                "particles": ("", "_last"),
                "observables": ("", "_last", "_every_step"),
                "connectivity": ("",),
            }.items():
                for key in without:
                    name = key.removesuffix(trajectory_key("", taken.piece.timesteps_fs[0]))
                    for end in ends:
                        if f"{name}{end}" in file[group]:
                            del file[group][f"{name}{end}"]
    seal(target)


# --- scores --------------------------------------------------------------------------------------


def _rows(
    one: Joined, kind: str, files: Sequence[Path], scan_set: ScanSet, folder: Path
) -> pd.DataFrame:
    """Scores of a model: made of what can be scored, the others as they are."""
    parts = []
    if files:
        split = None
        if one.seen:
            split = folder / "seen_systems.csv"
            write_split(dict(one.seen), split)
        made = folder / "scores" / f"{kind}.parquet"
        places = dict.fromkeys(str(taken.piece.path.parent) for taken in one.of(kind, raw=True))
        with readable(" or ".join(places), DAMAGED):
            task = tasks()["bonds" if kind == SCANS else kind]
            job = ScoreJob(
                files=sorted(files),
                scan_set=scan_set.path,
                settings=task.settings(),
                entry=one.entry,
                split=split,
                seen_scans=one.entry.settings.get("seen_scans", ()),
            )
            write_scores(task.name, job, made)
        parts.append(read_scores(made, kind))
    for taken in one.of(kind, raw=False):
        rows = read_scores(taken.piece.path, kind)
        if kind == SCANS:
            _check_facts(rows, scan_set, taken.piece.path)
        attributes = rows.attrs
        rows = rows[row_keys(rows, kind).isin(taken.keys)].assign(model=one.entry.name)
        rows.attrs = attributes
        parts.append(rows)
    # what says least of how it was made speaks for all
    attributes = min(
        (part.attrs for part in reversed(parts)),
        key=lambda a: a.get("code") == stage_fingerprint(SCORE_STAGES[kind]),
    )
    table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    order = ["scan"] if kind == SCANS else ["timestep_fs", "trajectory"]
    table = table.sort_values(order, ignore_index=True)
    table.attrs = dict(attributes)
    told = all(taken.piece.entry_told for taken in one.of(kind))
    table.attrs["entry"] = one.entry.deciding() if told else None  # under its new name
    return table


def _check_facts(rows: pd.DataFrame, scan_set: ScanSet, path: Path) -> None:
    """Refuse scores that say of a scan what the scan set does not.

    Raises:
        UserError: naming the first.
    """
    facts = _facts(scan_set)
    for row in rows.to_dict("records"):
        told = tuple(row[key] for key in _FACTS)
        if told != (wanted := facts[row["scan"]]):
            raise UserError(
                f"{path}: says of {row['scan']!r} ({', '.join(_FACTS)}) {told}, the scan set "
                f"{wanted}; {OTHER}"
            )


@functools.lru_cache(maxsize=1)  # asked for by every model
def _facts(scan_set: ScanSet) -> dict[str, tuple[Any, ...]]:
    scans = (scan_set.scan(scan_id) for scan_id in scan_set.ids)
    return {scan.id: tuple(getattr(scan, key) for key in _FACTS) for scan in scans}


def _check_reference(name: str, rows: pd.DataFrame, scan_set: ScanSet) -> None:
    """Refuse a reference whose own scores are not those of itself, but for rounding.

    The scan set is then not what its reference says, and no score on it means anything.

    Raises:
        UserError: naming the first scan.
    """
    made_here = "references" in json.loads(scan_set.attributes["provenance"])
    limits = REFERENCE_LIMITS if made_here else OTHER_PROGRAM_LIMITS
    for column, limit in limits.items():
        far = rows[(rows["status"] == "ok") & ~(rows[column].fillna(0.0) <= limit)]
        if len(far):
            first = far.iloc[0]
            raise UserError(
                f"{scan_set.path}: not what its reference says: {name!r}, which is of its level of "
                f"theory, has {column} {first[column]:.2g} on {first['scan']} (at most {limit:g} "
                "is rounding); ask for the scan set again, or leave that model out with --without"
            )


def _complete(
    joined: Mapping[str, Joined], rows: dict[str, dict[str, pd.DataFrame]], kind: str
) -> dict[str, int]:
    """Add a row without a score wherever a model lacks what another one has.

    Returns:
        How many, by model.
    """
    wanted = planned(joined, kind)
    donors: dict[str, dict[str, Any]] = {}
    for of_kind in rows.values():
        if kind in of_kind:
            table = of_kind[kind]
            told = table[list(_IDENTITY[kind])].to_dict("records")
            donors |= dict(zip(row_keys(table, kind), told, strict=True))
    added = {}
    for name, of_kind in rows.items():
        if kind not in of_kind:
            continue
        table = of_kind[kind]
        missing = sorted(wanted - {*row_keys(table, kind)})
        added[name] = len(missing)
        if not missing:
            continue
        logger.warning(
            "%s: %d of %d %s are in none of the merged results",
            name, len(missing), len(wanted), "scans" if kind == SCANS else "trajectories",
        )  # fmt: skip
        seen = dict(zip(table["system"], table["seen"], strict=True)) | dict(joined[name].seen)
        blank = dict.fromkeys(_METRICS[kind], float("nan"))
        blank |= {"model": name, "status": ABSENT, "message": _MESSAGE, "wall_s": 0.0}
        blank["worker_deaths"] = 0
        if kind == SCANS:
            blank["command_s"] = 0.0
        if kind == DYNAMICS:
            blank |= {"failure": "", "outcome": Outcome.NOT_AT_RISK.value, "time_ps": 0.0}
            blank |= {"relaxed": False, "relax_steps": 0}
        more = pd.DataFrame(
            [blank | donors[k] | {"seen": seen.get(donors[k]["system"], "")} for k in missing],
            columns=list(table.columns),
        )  # its gaps turn columns of whole numbers and flags into such as have gaps
        attributes = table.attrs
        of_kind[kind] = pd.concat([table, more], ignore_index=True)
        of_kind[kind].attrs = attributes
    return added


# --- where everything is from --------------------------------------------------------------------


def _manifest(
    folders: Sequence[Folder],
    joined: Mapping[str, Joined],
    scan_set: ScanSet,
    absent: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    dropped = sum(scan_set.quality(scan_id)[0] == "dropped" for scan_id in scan_set.ids)
    settings = (t.piece for one in joined.values() for t in one.of(DYNAMICS))
    piece = next(settings, None)
    return {
        "format": FORMAT,
        "version": VERSION,
        "scan_set": {
            "name": scan_set.name,
            "sha256": scan_set.sha256,
            "from": str(scan_set.path),
            "n_scans": len(scan_set.ids) - dropped,
            "n_planned": len(planned(joined, SCANS)),
        },
        "dynamics": piece and {**(piece.settings or {}), "timestep_fs": max(piece.timesteps_fs)},
        "folders": [str(folder.path) for folder in folders],
        "models": {
            name: {
                "family": one.entry.family,
                "entry_sha256": _sha256(one.entry.deciding()),
                "renamed": {str(m.folder): m.named for m in one.sources if m.named != name},
                **{
                    kind: {
                        "n": sum(len(taken.keys) for taken in one.of(kind)),
                        "n_absent": absent[kind][name],
                        "parts": [_part(taken) for taken in one.of(kind)],
                    }
                    for kind in KINDS
                    if one.of(kind)
                },
            }
            for name, one in joined.items()
        },
        "warnings": [
            *(warning for folder in folders for warning in folder.warnings),
            *(said for one in joined.values() for said in one.rounding),
        ],
        "provenance": provenance.collect(),
    }


def _part(taken: Taken) -> dict[str, Any]:
    piece = taken.piece
    return {
        "folder": str(taken.folder),
        "file": str(piece.path.relative_to(taken.folder)),
        "as": RAW[piece.kind] if piece.raw else "scores",
        "n": len(taken.keys),
        "n_elsewhere": len(piece.keys) - len(taken.keys),
        "made_from": [dict(how) for how in piece.made_from],
        "scored": dict(piece.scored) if piece.scored is not None else None,
        "same_code": taken.same_code,
    }


def _sha256(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
