"""What a folder of results holds: `results/<set>` as the workflow writes it, or a part of it.

Evaluations and trajectories are taken where they are there, else the scores that were made of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.core.errors import UserError, reading
from pesbench.core.interface import Status
from pesbench.core.names import closest
from pesbench.core.paths import real_path
from pesbench.files import provenance, stored_tables
from pesbench.files.csv_files import read_rows
from pesbench.files.evaluation import Evaluation
from pesbench.files.integrity import check_owner, readable
from pesbench.files.scan_set import ScanSet
from pesbench.files.split import SEEN, UNSEEN
from pesbench.metrics.survival import Outcome
from pesbench.models import record
from pesbench.models.registry import ModelEntry
from pesbench.tasks.bonds import score as scores
from pesbench.tasks.dynamics import score as dynamics_scores
from pesbench.tasks.dynamics.stored import Trajectories

SCANS, DYNAMICS = "bonds", "dynamics"
KINDS = (SCANS, DYNAMICS)
RAW = {SCANS: "evaluations", DYNAMICS: "trajectories"}
STAGES = {SCANS: "pesbench.tasks.bonds.run", DYNAMICS: "pesbench.tasks.dynamics.run"}
COLUMNS = {SCANS: scores.COLUMNS, DYNAMICS: dynamics_scores.COLUMNS}
IDENTITY = {SCANS: scores.IDENTITY, DYNAMICS: dynamics_scores.IDENTITY}
_TEXT = (
    *("model", "scan", "trajectory", "system", "bond", "seen", "status", "message", "failure"),
    *("outcome", "extremum", "bond_class"),
)
_READ = (  # of a folder
    *("*.h5", "models.json", "skipped.csv", "*/model.json"),
    *("*/bonds/*.h5", "*/dynamics/*.h5", "*/scores/*.parquet"),
)
_WHOLE = ("n_atoms", "n_frames", "replicate", "relax_steps")
_WORDS = {
    "status": frozenset(Status),
    "outcome": frozenset(Outcome),
    "seen": frozenset(("", SEEN, UNSEEN)),
}
OTHER = "remove it, or run `snakemake` there again"
DAMAGED = "ask for it again, or leave the model out with --without"
ABSENT = "not_evaluated"  # status of what other models have and this one was never asked
logger = logging.getLogger("pesbench")


@dataclass(frozen=True)
class Choice:
    """What is taken of a folder.

    Attributes:
        without: Names or globs of models to leave out.
        without_dynamics: Whether all trajectories are left out.
        renamed: New names of models, by the name they have there.
    """

    without: tuple[str, ...] = ()
    without_dynamics: bool = False
    renamed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """Results of one model from one file.

    Attributes:
        path: An evaluation, a file of trajectories, or scores.
        kind: `SCANS` or `DYNAMICS`.
        raw: Whether scores can be made from it.
        keys: What it holds, as of `row_keys`, sorted.
        scan_set_sha256: Of the scan set that it was made on.
        made_from: How the evaluations or trajectories were made, see `provenance.summary`.
        scored: Commit and fingerprint of the code of the scores, where it is scores.
        entry_told: Whether it tells the entry that it was made with, so that this was compared.
        settings: Of the dynamics but for the time step, `DynamicsSettings` as a mapping.
        timesteps_fs: Of the dynamics.
        lacks: Columns of scores that its version did not write.
    """

    path: Path
    kind: str
    raw: bool
    keys: tuple[str, ...]
    scan_set_sha256: str
    made_from: tuple[Mapping[str, str], ...]
    scored: Mapping[str, str] | None = None
    entry_told: bool = True
    settings: Mapping[str, Any] | None = None
    timesteps_fs: tuple[float, ...] = ()
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelResults:
    """Results of one model in one folder.

    Attributes:
        folder: Where they lie.
        named: The model's name there.
        entry: What decides and describes it, under the name it shall have.
        seen: `seen` or `unseen` by system, of a model that tells.
        pieces: By file.
    """

    folder: Path
    named: str
    entry: ModelEntry
    seen: Mapping[str, str]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Attributes:
        path: As it was given.
        scan_set: The scan set, where it is there.
        skipped: Bonds and scans that no model is scored on, and why, where a file tells.
        models: By the name they shall have.
        warnings: What is left out without having been asked for.
    """

    path: Path
    scan_set: Path | None
    skipped: pd.DataFrame | None
    models: Mapping[str, ModelResults]
    warnings: tuple[str, ...]


def row_keys(rows: pd.DataFrame, kind: str) -> pd.Series:
    """What a row of scores is of: the scan, or the trajectory with its time step."""
    if kind == SCANS:
        return rows["scan"].astype(str)
    steps = rows["timestep_fs"].astype(float)
    return pd.Series(
        [trajectory_key(n, dt) for n, dt in zip(rows["trajectory"], steps, strict=True)],
        index=rows.index,
        dtype=object,
    )


def trajectory_key(name: str, timestep_fs: float) -> str:
    """What a trajectory is called where those of two time steps stand together."""
    return f"{name} at {timestep_fs:g} fs"


def read_folder(path: Path, choice: Choice) -> Folder:
    """What a folder holds, every file opened and told apart.

    Args:
        path: `results/<set>`.
        choice: What is taken of it.

    Raises:
        UserError: it is no folder of results, a file is damaged or of another model or entry than
            its place says, or a name of the choice is not there.
    """
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give that of a scan set, such as results/mini")
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
    for name, entry in entries.items():
        pieces = [
            piece
            for kind in KINDS
            if kind == SCANS or not choice.without_dynamics
            for piece in _pieces(path / name, name, entry, kind)
        ]
        if not pieces:
            warnings.append(f"{path}: no result of {name}; left out")
            continue
        new = _renamed(entry, choice.renamed)
        models[new.name] = ModelResults(path, name, new, described[name].seen, tuple(pieces))
    warnings += _of_old_scores(path, models.values())
    if missing := sorted({n for n in described if n not in folders}):
        warnings.append(f"{path}: no result of {', '.join(missing)}; left out")
    for warning in warnings:
        logger.warning("%s", warning)
    return Folder(path, _scan_set(path), _skipped(path / "skipped.csv"), models, tuple(warnings))


def _skipped(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    columns = ("scan", "quality", "reason")
    rows = [[row[key] for key in columns] for _, row in read_rows(path, columns)]
    return pd.DataFrame(rows, columns=list(columns))


def _check_inside(folder: Path) -> None:
    """Refuse what leads out of a folder through a link: it would be shown and passed on."""
    own = real_path(folder)
    for path in (path for pattern in _READ for path in sorted(folder.glob(pattern))):
        if not real_path(path).is_relative_to(own):
            raise UserError(f"{path}: a link leads out of the folder; put a copy there")


def _some(names: Sequence[str]) -> str:
    """All of a few names, the first of many."""
    more = f" and {len(names) - 3} more" if len(names) > 4 else ""
    return ", ".join(names[:3] if more else names) + more


def _of_old_scores(folder: Path, models: Iterable[ModelResults]) -> list[str]:
    """What scores of an older version do not tell."""
    found = []
    for kind in KINDS:
        of_kind = [(one.named, p) for one in models for p in one.pieces if p.kind == kind]
        if silent := [name for name, piece in of_kind if not piece.entry_told]:
            found.append(
                f"{folder}: scores/{kind}.parquet of {_some(silent)} does not tell the entry "
                "it was made with; taken to be that of model.json"
            )
        lacking: dict[str, list[str]] = {}
        for name, piece in of_kind:
            if piece.lacks:
                lacking.setdefault(", ".join(piece.lacks), []).append(name)
        found += [
            f"{folder}: scores/{kind}.parquet of {_some(names)} is of an older version, "
            f"without {columns}: n/a"
            for columns, names in lacking.items()
        ]
    return found


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
    if "seed_of" in settings:
        settings["seed_of"] = renamed.get(settings["seed_of"], settings["seed_of"])
    new = ModelEntry(renamed.get(entry.name, entry.name), entry.family, settings)
    if (base := entry.base) is None:
        return new
    name = renamed.get(base.name, base.name)
    settings["base"] = name
    return new.with_base(ModelEntry(name, base.family, base.settings))


def _pieces(folder: Path, name: str, entry: ModelEntry, kind: str) -> list[Piece]:
    """The files of one model and kind; scores of what they do not hold last."""
    found = [
        _evaluation(path, name, entry) if kind == SCANS else _trajectories(path, name, entry)
        for path in sorted((folder / kind).glob("*.h5"))
    ]
    path = folder / "scores" / f"{kind}.parquet"
    if path.is_file():
        held = {key for piece in found for key in piece.keys}
        piece = _scores(path, name, entry, kind, held)
        found += [piece] if piece.keys else []
    return found


def _evaluation(path: Path, name: str, entry: ModelEntry) -> Piece:
    with readable(path, DAMAGED), Evaluation(path) as opened:
        attributes = opened.attributes
        check_owner(path, attributes, name, entry.deciding(), OTHER)
        return Piece(
            path,
            SCANS,
            raw=True,
            keys=opened.ids,
            scan_set_sha256=opened.scan_set_sha256,
            made_from=(provenance.summary(attributes, STAGES[SCANS]),),
        )


def _trajectories(path: Path, name: str, entry: ModelEntry) -> Piece:
    with readable(path, DAMAGED), Trajectories(path) as opened:
        attributes = opened.attributes
        check_owner(path, attributes, name, entry.deciding(), OTHER)
        keys = (trajectory_key(one, opened.timestep_fs) for one in opened.names)
        return Piece(
            path,
            DYNAMICS,
            raw=True,
            keys=tuple(sorted(keys)),
            scan_set_sha256=str(attributes["scan_set_sha256"]),
            made_from=(provenance.summary(attributes, STAGES[DYNAMICS]),),
            settings=_but_timestep(json.loads(attributes["settings"])),
            timesteps_fs=(opened.timestep_fs,),
        )


def _but_timestep(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "timestep_fs"}


def read_scores(path: Path, kind: str) -> pd.DataFrame:
    """Stored scores without the rows of what was never evaluated.

    Columns that an older version did not write are there, without a value; `attrs["lacks"]` names
    them.

    Raises:
        UserError: they are no scores, are damaged, or hold what no score is.
        HostError: the system failed, and not the file.
    """
    cure = "score again with `python -m pesbench score` (or score-dynamics)"
    identity = [column for column in IDENTITY[kind] if column != "seen"]
    texts = [column for column in _TEXT if column in identity]
    gaps = [column for column in _TEXT if column in COLUMNS[kind] and column not in identity]
    rows = stored_tables.read_scores(path, identity, texts, gaps, cure)
    attributes = rows.attrs | {"lacks": [c for c in COLUMNS[kind] if c not in rows]}
    rows = rows[rows["status"] != ABSENT].reindex(columns=list(COLUMNS[kind]))
    rows = rows.reset_index(drop=True)
    with reading(path, "not readable scores", cure):
        for column in COLUMNS[kind]:
            if column in _TEXT:
                rows[column] = rows[column].fillna("").astype(str)
            elif not pd.api.types.is_numeric_dtype(rows[column]):
                # a column with flags and gaps comes as objects
                rows[column] = rows[column].astype("Float64").astype("float64")
            if column in _WHOLE:
                rows[column] = rows[column].astype("int64")
    for column, known in _WORDS.items():
        if column in rows and (others := sorted(set(rows[column]) - known)):
            raise UserError(f"{path}: {column} {others[0]!r} is none of this version; {cure}")
    rows.attrs = attributes
    return rows


def _scores(path: Path, name: str, entry: ModelEntry, kind: str, held: Collection[str]) -> Piece:
    """Scores of what is not held by an evaluation or trajectory file."""
    rows = read_scores(path, kind)
    if others := sorted(set(rows["model"]) - {name}):
        raise UserError(f"{path}: belongs to model {others[0]!r}, not {name!r}; remove it")
    keys = row_keys(rows, kind)
    if (twice := keys[keys.duplicated()]).size:
        raise UserError(f"{path}: {twice.iloc[0]!r} occurs twice; score again")
    wanted = tuple(sorted(set(keys) - {*held}))
    told = rows.attrs.get("entry")
    if wanted and told is not None:  # what evaluations hold is scored anew, whatever stands here
        attributes = {"model": name, "entry": json.dumps(told)}
        check_owner(path, attributes, name, entry.deciding(), OTHER)
    settings, steps = None, ()
    if kind == DYNAMICS:
        if not isinstance(rows.attrs.get("settings"), Mapping):
            raise UserError(f"{path}: does not tell the settings of the dynamics; score again")
        settings = _but_timestep(rows.attrs["settings"])
        steps = tuple(sorted({float(step) for step in rows["timestep_fs"]}))
    made = _mapping(rows.attrs.get("provenance"))
    how = rows.attrs.get("made_from")
    return Piece(
        path,
        kind,
        raw=False,
        keys=wanted,
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
        settings=settings,
        timesteps_fs=steps,
        lacks=tuple(rows.attrs["lacks"]),
    )


_MADE_FROM = ("git_commit", "code", "device", "dtype", "platform")  # of `provenance.summary`


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


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
        for model in folder.models.values():
            for piece in model.pieces:
                if piece.scan_set_sha256 != scan_set.sha256:
                    raise UserError(
                        f"{piece.path}: model {model.named!r} was evaluated on another scan set "
                        f"({piece.scan_set_sha256[:12]}) than {here}; {cure} with "
                        f"--without {folder.path}:{model.named}"
                    )
                known = scan_set.ids if piece.kind == SCANS else systems
                for key in piece.keys:
                    name = key if piece.kind == SCANS else key.rsplit("_", 2)[0]
                    if name not in known:
                        raise UserError(f"{piece.path}: {key!r} is not in {here}; {OTHER}")
