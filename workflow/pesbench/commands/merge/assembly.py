"""The merged folder: laid out as the workflow lays out `results/<set>`, with `merged.json`."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.commands.merge.contents import (
    DAMAGED,
    REFERENCE,
    Choice,
    Folder,
    check_scan_sets,
    read_folder,
    shared_inputs,
)
from pesbench.commands.merge.joining import (
    Joined,
    Taken,
    check_code,
    common_settings,
    join,
    join_references,
)
from pesbench.commands.merge.manifest import MANIFEST, content
from pesbench.commands.merge.rows import Maker, check_reference, complete
from pesbench.commands.merge.scores import settings_of
from pesbench.compare.comparison import ReportRun
from pesbench.core.errors import UserError
from pesbench.core.found import tasks
from pesbench.core.paths import real_path
from pesbench.core.section import ENTRY_COVERAGE
from pesbench.core.task import Task
from pesbench.core.text import csv_table
from pesbench.files import stored_tables
from pesbench.files.atomic import write_json, write_text
from pesbench.files.hdf5 import StoredFile, writing
from pesbench.files.integrity import readable, seal
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_results import stored_results
from pesbench.models import record
from pesbench.models.roles import role
from pesbench.report.graph import report_commands

_NUMBERED = re.compile(r"(?P<kind>.*?)[0-9]*")  # what files of a task are called
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Merged:
    """Content of a merged folder.

    Attributes:
        folder: Path of the folder.
        scan_set: Name of the scan set, whose file is `<name>.h5`.
        level_of_theory: Level of theory of its reference.
        models: Models by name, controls last.
        files: Files of results by model and task.
    """

    folder: Path
    scan_set: str
    level_of_theory: str
    models: Mapping[str, Joined]
    files: Mapping[str, Mapping[str, Sequence[Path]]]

    def report(self, rank_by: str, entry_coverage: float = ENTRY_COVERAGE) -> list[list[str]]:
        """Arguments of `python -m pesbench` that make the report, in order.

        Args:
            rank_by: Metric that ranks.
            entry_coverage: See `pesbench.metrics.coverage`.
        """
        ran = {
            name: [model for model, one in self.models.items() if one.of(task)]
            for name, task in tasks().items()
        }
        whole = {
            name: {
                model: self.files[model][name]
                for model in ran[name]
                if not self.models[model].of(task, raw=False)  # some rows exist only as scores
            }
            for name, task in tasks().items()
        }
        run = ReportRun(
            entries={name: one.entry for name, one in self.models.items()},
            level_of_theory=self.level_of_theory,
            ran=ran,
            scored_only={
                task: [model for model in ran[task] if model not in whole[task]] for task in whole
            },
            rank_by=rank_by,
            entry_coverage=entry_coverage,
        )
        return report_commands(
            self.folder,
            run,
            scan_set=self.folder / f"{self.scan_set}.h5",
            models_file=self.folder / record.NAME,
            files=whole,
        )


def merge(
    results: Sequence[Path],
    out: Path,
    *,
    choices: Mapping[Path, Choice] | None = None,
    scan_set: Path | None = None,
    strict: bool = False,
) -> Merged:
    """Join folders of results in a new one: the files of results of every task and their scores.

    What needs no scoring is checked before anything is written. The files of the folders are
    linked, or copied where that cannot be; none is changed. Files of results are scored by this
    version, what comes as scores only is taken as it is.

    Args:
        results: Folders of one scan set, `results/<set>` as the workflow writes it.
        out: An empty folder, see `new_folder`.
        choices: What is taken of a folder, by its absolute path; without one, everything.
        scan_set: The scan set, where no folder holds it.
        strict: Whether results of other code than this version's are refused.

    Raises:
        UserError: results that cannot stand on one leaderboard; see `read_folder`,
            `check_scan_sets`, `join`, `join_references` and `check_code`.
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
        reference = join_references(folders, joined, opened)
        found = _Found(
            folders,
            joined,
            reference,
            settings={
                name: settings_of(task, common_settings(joined, task))
                for name, task in tasks().items()
                if any(one.of(task) for one in joined.values())
            },
            inputs=shared_inputs(folders),
        )
        if strict:
            check_code(found.everything)
        return _write(found, opened, out)


@dataclass(frozen=True)
class _Found:
    """Files and settings to write.

    Attributes:
        folders: Folders that are merged.
        joined: Models by name.
        reference: What the scan set's own method said, for tasks that compare with it.
        settings: Settings of each task that a model has results of, by name.
        inputs: Files that all models share, by name of the task.
    """

    folders: Sequence[Folder]
    joined: Mapping[str, Joined]
    reference: Joined | None
    settings: Mapping[str, Any]
    inputs: Mapping[str, Path]

    @property
    def everything(self) -> list[Joined]:
        """The models, and the reference, if there is one."""
        return [*self.joined.values(), *([] if self.reference is None else [self.reference])]


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


def _write(found: _Found, scan_set: ScanSet, out: Path) -> Merged:
    joined = found.joined
    _link(scan_set.path, out / f"{scan_set.name}.h5")
    skipped = next((f.skipped for f in found.folders if f.skipped is not None), None)
    if skipped is not None:
        write_text(out / "skipped.csv", csv_table(skipped))
    for path in found.inputs.values():
        _link(path, out / path.parent.name / path.name)
    compared: dict[str, list[Path]] = {}
    if found.reference is not None:
        write_json(out / f"{REFERENCE}.json", found.reference.entry.deciding())
        compared = _files(found.reference, out / REFERENCE)
    for said in (said for one in found.everything for said in one.rounding):
        logger.warning("%s", said)
    maker = Maker(scan_set, found.settings, compared, found.inputs)
    files: dict[str, dict[str, list[Path]]] = {}
    rows: dict[str, dict[str, pd.DataFrame]] = {}
    for name, one in joined.items():
        logger.info("%s", name)
        write_json(out / name / "model.json", one.entry.deciding())
        files[name] = _files(one, out / name)
        rows[name] = {
            task: maker.rows(one, tasks()[task], made, out / name)
            for task, made in files[name].items()
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
            check_reference(name, rows[name], scan_set)
    absent = {
        name: complete(joined, {model: of[name] for model, of in rows.items() if name in of}, task)
        for name, task in tasks().items()
    }
    for name, of_task in absent.items():
        for model, (table, _) in of_task.items():
            stored_tables.write_scores(out / model / "scores" / f"{name}.parquet", table)
    counts = {name: {model: n for model, (_, n) in of.items()} for name, of in absent.items()}
    write_json(out / MANIFEST, content(found.folders, joined, found.reference, scan_set, counts))
    return Merged(out, scan_set.name, scan_set.level_of_theory, joined, files)


# --- files ---------------------------------------------------------------------------------------


def _link(source: Path, target: Path) -> None:
    """Link a file under another name, or copy it to another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(real_path(source), target)
    except OSError:
        shutil.copyfile(source, target)


def _files(one: Joined, folder: Path) -> dict[str, list[Path]]:
    """Collect the files of results of a model with new numbers, by task.

    A task that a model has scores of only has no file.
    """
    return {
        name: _files_of(one, task, folder / name) for name, task in tasks().items() if one.of(task)
    }


def _files_of(one: Joined, task: Task, folder: Path) -> list[Path]:
    targets: list[Path] = []
    counts: dict[str, int] = {}
    for taken in one.of(task, raw=True):
        found = _NUMBERED.fullmatch(taken.piece.path.stem)
        kind = found["kind"] if found else ""
        target = folder / f"{kind}{counts.get(kind, 0):04d}.h5"
        counts[kind] = counts.get(kind, 0) + 1
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
    piece = taken.piece
    without = {*piece.keys} - {*taken.keys}
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(piece.path, target)
    with (
        readable(piece.path, DAMAGED),
        stored_results(piece.task, piece.path) as opened,
        writing(target, "r+") as file,
    ):
        file.attrs["model"] = one.entry.name
        file.attrs["entry"] = json.dumps(one.entry.deciding())
        if without:
            work = opened.work()
            left = sum(size for key, size in work.items() if key not in without)
            share = left / sum(work.values())
            file.attrs["wall_s"] = opened.attributes["wall_s"] * share
            file.attrs["atom_frames"] = round(opened.attributes.get("atom_frames", 0) * share)
            opened.remove(file, sorted(without))
    seal(target)
