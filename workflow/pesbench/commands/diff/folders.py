"""The two folders of a diff, read with the care of `pesbench merge`.

They may come from anybody: links that lead out, damaged files, names that no user could give,
tables that hold something else are refused in one line, by what `merge` refuses them with. Nothing
that a folder names is opened, loaded or imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.commands.merge.contents import DAMAGED, Choice, ModelResults, read_folder
from pesbench.commands.merge.scores import read_scores, row_keys
from pesbench.core.errors import UserError, reading
from pesbench.core.found import tasks
from pesbench.core.paths import real_path
from pesbench.core.task import Key
from pesbench.files.hdf5 import StoredFile
from pesbench.models.registry import ModelEntry

Facts = Mapping[str, frozenset[str]]

_MADE = {  # of `provenance.summary`, and what readers call it
    "parameters": "parameters as loaded (sha256)",
    "code": "code that ran the model",
    "git_commit": "commit",
    "device": "device",
    "dtype": "precision",
    "dtype_measured": "precision as measured",
    "platform": "platform",
}


@dataclass(frozen=True)
class Scores:
    """The scores of a model for a task.

    Attributes:
        rows: One row a key of the task, by key.
        lacks: Columns that the version which wrote them did not know.
        dtypes: Precisions that the answers are told to be computed in.
        facts: What is told of how they were made.
    """

    rows: Mapping[Key, Mapping[str, Any]]
    lacks: frozenset[str]
    dtypes: frozenset[str]
    facts: Facts


@dataclass(frozen=True)
class Model:
    """A model of a folder: what is told of its entry, and its scores by task."""

    entry: Facts
    scores: Mapping[str, Scores]


@dataclass(frozen=True)
class Side:
    """A folder: its path as given, and its models by name."""

    path: Path
    models: Mapping[str, Model]


def read_both(before: Path, after: Path) -> tuple[Side, Side]:
    """Both folders.

    Raises:
        UserError: they are one folder, one of them is no folder of results, or a file is not what
            it should be.
    """
    if real_path(before) == real_path(after):
        raise UserError(f"{after}: is given twice; give the folder of another run")
    return read_side(before), read_side(after)


def read_side(path: Path) -> Side:
    """One folder.

    Raises:
        UserError: see `read_both`; or it holds no scores.
    """
    folder = read_folder(path, Choice())
    models = {name: _model(path, one) for name, one in sorted(folder.models.items())}
    if not any(model.scores for model in models.values()):
        raise UserError(
            f"{path}: holds no scores (no */scores/*.parquet); score the results with "
            "`snakemake`, or with `python -m pesbench score`"
        )
    return Side(path, models)


def _model(path: Path, found: ModelResults) -> Model:
    name = found.entry.name
    scores = {}
    for task_name, task in tasks().items():
        file = path / name / "scores" / f"{task_name}.parquet"
        if not file.is_file():
            continue
        rows = read_scores(file, task)
        keys = row_keys(rows, task)
        if keys.duplicated().any():
            raise UserError(f"{file}: a row occurs twice; score again")
        by_key = dict(zip(keys, rows.to_dict("records"), strict=True))
        facts = _merged([*_facts(rows), *_packages(found, task_name)])
        dtypes = facts.get(_MADE["dtype"], frozenset())
        lacks = frozenset(rows.attrs["lacks"])
        scores[task_name] = Scores(by_key, lacks, dtypes, facts)
    return Model(_merged(_of_entry(found.entry)), scores)


def _merged(pairs: list[tuple[str, str]]) -> Facts:
    found: dict[str, set[str]] = {}
    for key, value in pairs:
        if value:
            found.setdefault(key, set()).add(value)
    return {key: frozenset(values) for key, values in found.items()}


def _of_entry(entry: ModelEntry) -> list[tuple[str, str]]:
    deciding = entry.deciding()
    found = [("family", str(deciding["family"]))]
    for key, value in _flat(deciding["settings"]):
        label = "weights (sha256)" if key == "sha256" else f"setting {key} of the model"
        found.append((label, value))
    return found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in sorted(settings.items()):
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, sort_keys=True, default=str).strip('"')


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _facts(rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """What scores tell of themselves and of the answers that they are of."""
    told = rows.attrs
    yield "scan set (sha256)", str(told["scan_set_sha256"])
    yield "code of the scores", str(told.get("code", ""))
    made = told.get("made_from")
    for how in made if isinstance(made, list) else ():
        for key, label in _MADE.items():
            yield label, str(_mapping(how).get(key, ""))
    for key, value in _flat(_mapping(told.get("settings"))):
        yield f"setting {key} of the task", value
    provenance = _mapping(told.get("provenance"))
    yield "commit of the scores", str(provenance.get("git_commit", ""))
    for package, version in _mapping(provenance.get("packages")).items():
        yield f"{package} of the scores", str(version)


def _packages(found: ModelResults, task: str) -> Iterator[tuple[str, str]]:
    """Packages and Python of the model's environment, where files of results are there."""
    for piece in found.pieces:
        if not piece.raw or piece.task.name != task:
            continue
        with StoredFile(piece.path, "file of results", DAMAGED) as file:
            attributes = file.attributes
        with reading(piece.path, "not a file of results whose provenance is JSON", DAMAGED):
            told = _mapping(json.loads(attributes.get("provenance", "{}")))
        for package, version in _mapping(told.get("packages")).items():
            yield str(package), str(version)
        yield "Python", str(told.get("python", ""))
