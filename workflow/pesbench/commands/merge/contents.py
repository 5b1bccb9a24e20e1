"""Content of a folder of results: `results/<set>` as the workflow writes it, or a part of it.

Of each task the files of results are taken where they are there, else the scores that were made of
them.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.commands.merge.scores import read_scores, row_keys
from pesbench.core.errors import UserError
from pesbench.core.found import has_stage, stage_module, tasks
from pesbench.core.names import closest
from pesbench.core.paths import real_path
from pesbench.core.task import SCAN, Key, Task, key_words
from pesbench.files import provenance
from pesbench.files.csv_files import read_rows
from pesbench.files.integrity import check_owner, readable
from pesbench.files.layout import check_layout
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_results import stored_results
from pesbench.models import record
from pesbench.models.registry import ModelEntry

REFERENCE = "reference"  # folder of the reference's answers, and `reference.json`
_READ = (  # of a folder, beside the files of results
    *("*.h5", "models.json", "reference.json", "skipped.csv", "*/model.json", "inputs/*.h5"),
    *("*/scores/*.parquet",),
)
OTHER = "remove it, or run `snakemake` there again"
DAMAGED = "ask for it again, or leave the model out with --without"
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Choice:
    """Part of a folder that is used.

    Attributes:
        without: Names or globs of models to leave out.
        without_tasks: Names of tasks to leave out.
        renamed: New names of models, by the name they have there.
    """

    without: tuple[str, ...] = ()
    without_tasks: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """Results of one model for one task from one file.

    Attributes:
        path: Path of a file of results, or of scores.
        task: Task of the results.
        raw: Whether scores can be made from it.
        items: Scan or system of each row, by the row's key, sorted.
        scan_set_sha256: sha256 of the scan set that it was made on.
        made_from: How the files of results were made, see `provenance.summary`.
        scored: Commit and fingerprint of the code of the scores, where it is scores.
        entry_told: Whether it tells the entry that it was made with, so that this was compared.
        settings: Settings of the task, as far as known; scores may have been made of several files.
        lacks: Columns of scores that its version did not write.
    """

    path: Path
    task: Task
    raw: bool
    items: Mapping[Key, str]
    scan_set_sha256: str
    made_from: tuple[Mapping[str, str], ...]
    scored: Mapping[str, str] | None = None
    entry_told: bool = True
    settings: tuple[Mapping[str, Any], ...] = ()
    lacks: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[Key, ...]:
        """Keys of the rows, sorted."""
        return tuple(self.items)

    def words(self, key: Key) -> str:
        """A key for readers."""
        return key_words(self.task.keys, key)


@dataclass(frozen=True)
class ModelResults:
    """Results of one model in one folder.

    Attributes:
        folder: Folder of the results.
        named: The model's name there.
        entry: What decides and describes it, under the name it shall have.
        seen: `seen` or `unseen` by system, of a model that tells.
        pieces: Pieces by file.
        is_reference: Whether they are those of the scan set's own method that tasks compare with.
    """

    folder: Path
    named: str
    entry: ModelEntry
    seen: Mapping[str, str]
    pieces: tuple[Piece, ...]
    is_reference: bool = False

    def left_out(self, task: Task, model: str = "") -> str:
        """The option that leaves these results out, or those of the reference for a task."""
        if self.is_reference:
            return f"--without-task {shlex.quote(f'{self.folder}:{task.name}')}"
        return f"--without {shlex.quote(f'{self.folder}:{model or self.named}')}"


@dataclass(frozen=True)
class Folder:
    """Content of a folder.

    Attributes:
        path: Path as it was given.
        scan_set: The scan set, where it is there.
        skipped: Bonds and scans that no model is scored on, and why, where a file tells.
        models: Models by the name that they shall have.
        reference: What the scan set's own method said, for tasks that compare with it.
        warnings: What is left out without having been asked for.
    """

    path: Path
    scan_set: Path | None
    skipped: pd.DataFrame | None
    models: Mapping[str, ModelResults]
    reference: ModelResults | None
    warnings: tuple[str, ...]


def read_folder(path: Path, choice: Choice) -> Folder:
    """Content of a folder, with every file opened and classified.

    Args:
        path: `results/<set>`.
        choice: What is taken of it.

    Raises:
        UserError: it is no folder of results, or one of an earlier layout, a file is damaged or of
            another model or entry than its place says, or a name of the choice is not there.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give that of a scan set, such as results/mini")
    check_layout(path)
    _check_inside(path)
    folders = sorted(p.parent.name for p in path.glob("*/model.json"))
    for name in folders:
        record.check_name(name, str(path / name), "model")
    if not folders:
        raise UserError(
            f"{path}: holds no model (no */model.json); give the folder of a scan set, such as "
            "results/mini"
        )
    described = record.read_record(path / record.NAME)
    warnings = [
        f"{path}: {name} is not in {record.NAME}, the models of the last run there; left out"
        for name in folders
        if name not in described
    ]
    for pattern in choice.without:
        if not any(fnmatchcase(name, pattern) for name in described):
            raise UserError(f"--without {path}:{pattern}: {_no_such(pattern, described)}")
    names = {n for n in described if not any(fnmatchcase(n, p) for p in choice.without)}
    names &= {*folders}
    entries = {
        name: record.recorded_entry(path / name / "model.json", described[name])
        for name in sorted(names)
    }
    _check_names(path, entries, choice.renamed)
    models: dict[str, ModelResults] = {}
    wanted = [task for name, task in tasks().items() if name not in choice.without_tasks]
    for name, entry in entries.items():
        pieces = [one for task in wanted for one in _pieces(path / name, name, entry, task)]
        if not pieces:
            warnings.append(f"{path}: no result of {name}; left out")
            continue
        new = _renamed(entry, choice.renamed)
        models[new.name] = ModelResults(path, name, new, described[name].seen, tuple(pieces))
    warnings += [*_of_old_scores(path, models.values()), *_of_other_tasks(path, folders)]
    if missing := sorted({n for n in described if n not in folders}):
        warnings.append(f"{path}: no result of {', '.join(missing)}; left out")
    for warning in warnings:
        logger.warning("%s", warning)
    skipped, reference = _skipped(path / "skipped.csv"), _reference(path, wanted)
    return Folder(path, _scan_set(path), skipped, models, reference, tuple(warnings))


def _skipped(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    columns = ("scan", "quality", "reason")
    rows = [[row[key] for key in columns] for _, row in read_rows(path, columns)]
    return pd.DataFrame(rows, columns=list(columns))


def _check_inside(folder: Path) -> None:
    """Refuse what leads out of a folder through a link: it would be shown and passed on."""
    own = real_path(folder)
    patterns = [*_READ, *(f"*/{name}/*.h5" for name in tasks())]
    for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
        if not real_path(path).is_relative_to(own):
            raise UserError(f"{path}: a link leads out of the folder; put a copy there")


def _some(names: Sequence[str]) -> str:
    """All of a few names, the first of many."""
    more = f" and {len(names) - 3} more" if len(names) > 4 else ""
    return ", ".join(names[:3] if more else names) + more


def _of_old_scores(folder: Path, models: Iterable[ModelResults]) -> list[str]:
    """Information that scores of an older version lack."""
    found = []
    for task in tasks().values():
        of_task = [(one.named, p) for one in models for p in one.pieces if p.task is task]
        if silent := [name for name, piece in of_task if not piece.entry_told]:
            found.append(
                f"{folder}: scores/{task.name}.parquet of {_some(silent)} does not tell the entry "
                "it was made with; taken to be that of model.json"
            )
        lacking: dict[str, list[str]] = {}
        for name, piece in of_task:
            if piece.lacks:
                lacking.setdefault(", ".join(piece.lacks), []).append(name)
        found += [
            f"{folder}: scores/{task.name}.parquet of {_some(names)} is of an older version, "
            f"without {columns}: n/a"
            for columns, names in lacking.items()
        ]
    return found


def _of_other_tasks(folder: Path, models: Iterable[str]) -> list[str]:
    """Results of tasks that this version does not have."""
    found = {path.stem for path in folder.glob("*/scores/*.parquet")}
    found |= {path.parent.name for name in models for path in (folder / name).glob("*/*.h5")}
    if not (others := sorted(found - {*tasks()})):
        return []
    return [f"{folder}: results of {_some(others)}, no task of this version; left out"]


_OF_A_PLAN = "probe_scans.h5"  # what `pesbench plan` times models on


def _no_such(name: str, known: Collection[str]) -> str:
    return f"no model {name!r} there; {closest(name, known)}"


def _scan_set(folder: Path) -> Path | None:
    found = sorted(path for path in folder.glob("*.h5") if path.name != _OF_A_PLAN)
    if len(found) > 1:
        raise UserError(
            f"{folder}: holds {found[0].name} and {found[1].name}, and one scan set only can lie "
            "there; move the one that the scores were not made on"
        )
    return found[0] if found else None


def _check_names(
    folder: Path, entries: Mapping[str, ModelEntry], renamed: Mapping[str, str]
) -> None:
    """Refuse a model under another's name, and new names for what is not there."""
    for name, entry in entries.items():
        if entry.name != name:
            raise UserError(
                f"{folder / name}: holds results of model {entry.name!r}; call the folder so, and "
                f"rename with --rename {folder}:{entry.name}={name}"
            )
    known = {*entries, *(e.base.name for e in entries.values() if e.base is not None)}
    for old, new in renamed.items():
        if old not in known:
            raise UserError(f"--rename {folder}:{old}={new}: {_no_such(old, known)}")
        if new in entries and new not in renamed:
            raise UserError(
                f"--rename {folder}:{old}={new}: there is a model {new!r} there; take another name"
            )
    if len(set(renamed.values())) < len(renamed):
        raise UserError(f"--rename {folder}:...: one new name is given twice; give each once")


def _renamed(entry: ModelEntry, renamed: Mapping[str, str]) -> ModelEntry:
    """An entry under its new name, and naming others by theirs."""
    settings = dict(entry.settings)
    for key in record.KIN:
        if key in settings:
            settings[key] = renamed.get(settings[key], settings[key])
    new = ModelEntry(renamed.get(entry.name, entry.name), entry.family, settings)
    if (base := entry.base) is None:
        return new
    name = renamed.get(base.name, base.name)
    settings["base"] = name
    return new.with_base(ModelEntry(name, base.family, base.settings))


def _reference(folder: Path, wanted: Iterable[Task]) -> ModelResults | None:
    """Answers of the scan set's reference method, for the tasks that compare with it."""
    asked = [
        (task, sorted((folder / REFERENCE / task.name).glob("*.h5")))
        for task in wanted
        if task.asks_reference
    ]
    if not any(paths for _, paths in asked):
        return None
    entry = record.deciding_entry(folder / f"{REFERENCE}.json")
    pieces = [_results(path, entry.name, entry, task) for task, paths in asked for path in paths]
    return ModelResults(folder, entry.name, entry, {}, tuple(pieces), is_reference=True)


def _pieces(folder: Path, name: str, entry: ModelEntry, task: Task) -> list[Piece]:
    """The files of one model and task; scores of what they do not hold last."""
    # scores that follow from what else was in the run cannot be made again without it
    paths = [] if task.score_reads else sorted((folder / task.name).glob("*.h5"))
    found = [_results(path, name, entry, task) for path in paths]
    path = folder / "scores" / f"{task.name}.parquet"
    if path.is_file():
        held = {key for piece in found for key in piece.keys}
        piece = _scores(path, name, entry, task, held)
        found += [piece] if piece.keys else []
    return found


def _results(path: Path, name: str, entry: ModelEntry, task: Task) -> Piece:
    """A file of results."""
    with readable(path, DAMAGED), stored_results(task, path) as opened:
        attributes = opened.attributes
        check_owner(path, attributes, name, entry.deciding(), OTHER)
        return Piece(
            path,
            task,
            raw=True,
            items=dict(sorted(opened.items.items())),
            scan_set_sha256=opened.scan_set_sha256,
            made_from=(provenance.summary(attributes, stage_module(task.name, "run")),),
            settings=(opened.settings,) if opened.settings else (),
        )


def _scores(path: Path, name: str, entry: ModelEntry, task: Task, held: Collection[Key]) -> Piece:
    """Scores of what is not held by a file of results."""
    rows = read_scores(path, task)
    if others := sorted(set(rows["model"]) - {name}):
        raise UserError(f"{path}: belongs to model {others[0]!r}, not {name!r}; remove it")
    keys = row_keys(rows, task)
    if (twice := keys[keys.duplicated()]).size:
        raise UserError(
            f"{path}: {key_words(task.keys, twice.iloc[0])!r} occurs twice; score again"
        )
    wanted = rows[~keys.isin({*held})]
    told = rows.attrs.get("entry")
    if len(wanted) and told is not None:  # files of results are scored again, whatever stands here
        attributes = {"model": name, "entry": json.dumps(told)}
        check_owner(path, attributes, name, entry.deciding(), OTHER)
    made = _mapping(rows.attrs.get("provenance"))
    how = rows.attrs.get("made_from")
    items = dict(zip(row_keys(wanted, task), wanted[task.item].astype(str), strict=True))
    return Piece(
        path,
        task,
        raw=False,
        items=dict(sorted(items.items())),
        scan_set_sha256=str(rows.attrs["scan_set_sha256"]),
        made_from=tuple(
            {key: str(_mapping(one).get(key, "")) for key in _MADE_FROM}
            for one in (how if isinstance(how, list) else ())
        ),
        scored={
            "git_commit": str(made.get("git_commit", "")),
            "code": str(rows.attrs.get("code", "")),
        },
        entry_told=told is not None,
        settings=_settings_of(path, rows, task),
        lacks=tuple(rows.attrs["lacks"]),
    )


def _settings_of(path: Path, rows: pd.DataFrame, task: Task) -> tuple[Mapping[str, Any], ...]:
    """The settings that scores tell, one for each value of those that name a row, too.

    Raises:
        UserError: they tell none, and the task has such as name a row.
    """
    named = [key for key in task.keys if key in {one.name for one in fields(task.settings)}]
    told = rows.attrs.get("settings")
    if not isinstance(told, Mapping):
        if named:
            raise UserError(f"{path}: does not tell the settings of `{task.name}`; score again")
        return ()
    values = rows[named].drop_duplicates().sort_values(named) if named else None
    if values is None:
        return (told,)
    return tuple({**told, **one} for one in values.to_dict("records"))


_MADE_FROM = (  # of `provenance.summary`
    "git_commit", "code", "device", "dtype", "dtype_measured", "parameters", "elements", "platform",
)  # fmt: skip


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def prepared(folder: Path, task: Task) -> Path | None:
    """Inputs of a task that all models share; None for a task without."""
    return folder / "inputs" / f"{task.name}.h5" if has_stage(task.name, "prepare") else None


def shared_inputs(folders: Collection[Folder]) -> dict[str, Path]:
    """Inputs that all models share, by name of the task, where there are files to be scored.

    Raises:
        UserError: a folder lacks those of its results, or has others than another folder.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        pieces = [piece for model in folder.models.values() for piece in model.pieces]
        for name, task in tasks().items():
            path = prepared(folder.path, task)
            if path is None or not any(piece.task is task and piece.raw for piece in pieces):
                continue
            left_out = f"leave its results out with --without-task {folder.path}:{name}"
            if not path.is_file():
                raise UserError(f"{path}: no such file, which results are scored with; {left_out}")
            first = found.setdefault(name, path)
            if first.read_bytes() != path.read_bytes():
                raise UserError(
                    f"{path}: other inputs than {first}; share that file and run again, or "
                    f"{left_out}"
                )
    return found


def check_scan_sets(folders: Collection[Folder], scan_set: ScanSet) -> None:
    """Refuse results on another scan set.

    Raises:
        UserError: naming the file.
    """
    here = f"{scan_set.path} ({scan_set.sha256[:12]})"
    cure = "evaluate again on that file, or leave it out"
    scan_set.check_content()
    record.check_name(scan_set.name, str(scan_set.path), "scan set")
    systems = {scan_set.system(scan_id) for scan_id in scan_set.ids}
    for name in systems:
        record.check_name(name, str(scan_set.path), "system")
    for name in {part for scan_id in scan_set.ids for part in scan_id.split("/")}:
        record.check_name(name, str(scan_set.path), "part of a scan's id:")
    for folder in folders:
        if folder.scan_set is not None and folder.scan_set != scan_set.path:
            with ScanSet(folder.scan_set) as own:
                own.check_content()
                if own.sha256 != scan_set.sha256:
                    raise UserError(
                        f"{folder.path}: its scan set {own.path.name} ({own.sha256[:12]}) is "
                        f"another than {here}; {cure}"
                    )
        for model in (*folder.models.values(), folder.reference):
            for piece in model.pieces if model is not None else ():
                if piece.scan_set_sha256 != scan_set.sha256:
                    raise UserError(
                        f"{piece.path}: model {model.named!r} was evaluated on another scan set "
                        f"({piece.scan_set_sha256[:12]}) than {here}; {cure} with "
                        f"{model.left_out(piece.task)}"
                    )
                known = scan_set.ids if piece.task.item == SCAN else systems
                for key, item in piece.items.items():
                    if item not in known:
                        raise UserError(
                            f"{piece.path}: {piece.words(key)!r} is not in {here}; {OTHER}"
                        )
