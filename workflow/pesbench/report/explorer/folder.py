"""The folder of the explorer: a page, its built assets, and data that the page loads from disk.

index.html, assets/     the same for every run
data/index.js           leaderboard, heat map, list of scans and sections: always loaded
data/<task>/<piece>.js  what a task tells, such as the curves of a scan: loaded when looked at
data/atlas.js           failures of models, where a section `atlas` lists them
data/sections/*.js      sections of tasks and comparisons, and of single models
sections/               their figures (PNG) and tables (CSV)
leaderboard.json        the leaderboard for other sites, of `leaderboard.schema.json`
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench import __version__
from pesbench.core.errors import FileError
from pesbench.core.exploring import Explored, ExplorerJob
from pesbench.core.found import has_stage, stage, tasks
from pesbench.core.section import Plot
from pesbench.core.text import csv_cell, csv_table, without_folders
from pesbench.files.made_folder import replacing
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_tables import AGAIN, read_csv
from pesbench.models.record import read_record
from pesbench.report import tables
from pesbench.report.columns import marks
from pesbench.report.explorer import exchange
from pesbench.report.explorer.columns import leaderboard_columns
from pesbench.report.explorer.scripts import write_script
from pesbench.report.graph import SECTIONS, scores_file
from pesbench.report.inputs import read_task_scores
from pesbench.report.sections import StoredSection, StoredTable, read_figure

FORMAT, VERSION = "pesbench-explorer", 1
ATLAS = "atlas"  # name of the section that places failures, and of its table
ATLAS_COLUMNS = (  # of it, those that the page shows
    "model", "role", "source", "item", "system", "kind", "n_below", "pair", "reduced",
    "coordinate_angstrom", "frame", "reference_ev", "time_ps", "size", "unit", "note",
)  # fmt: skip
_WHOLE = re.compile(r"[0-9]{1,9}")
_ASSETS = Path(__file__).with_name("assets")
_PAGE = "index.html"
MARKER = "pesbench-explorer.json"  # by which a folder is known that may be replaced
_DESCRIBES = ("level_of_theory", "training_data", "training_dispersion", "elements", "description",
              "citation", "license", "conservative", "url")  # fmt: skip


NO_ATLAS = (
    "What happened where models failed is not told by kind: the atlas reads their stored "
    "evaluations and trajectories, and there are none here."
)


@dataclass(frozen=True)
class Content:
    """What an explorer shows.

    Attributes:
        results: Folder of the scan set's results.
        scan_set: The scan set.
        board: Board of `pesbench.report.board`.
        title: Heading.
        facts: Names and values of what was scored.
        answers: Sentences under the heading.
        sections: Sections of tasks and comparisons.
        of_models: Sections of single models, by model.
        made: Names and values: how it was made.
    """

    results: Path
    scan_set: ScanSet
    board: pd.DataFrame
    title: str
    facts: Sequence[tuple[str, str]]
    answers: Sequence[str]
    sections: Sequence[StoredSection]
    of_models: Mapping[str, Sequence[StoredSection]] = field(default_factory=dict)
    made: Sequence[tuple[str, str]] = ()


def write_explorer(folder: Path, content: Content) -> None:
    """Write the folder, whole or not at all; an explorer that stood there is replaced.

    Args:
        folder: Such as `results/mini/explorer`.
        content: What it shows.

    Raises:
        UserError: something else stands there, or a file that is read is damaged.
    """
    with replacing(folder, MARKER, "explorer") as part:
        for path in sorted(_ASSETS.iterdir()):
            place = part if path.name == _PAGE else part / "assets"
            place.mkdir(exist_ok=True)
            shutil.copyfile(path, place / path.name)
        data = part / "data"
        data.mkdir()
        models = content.board["model"].tolist()
        told = {
            name: _of_task(content, name, models, _putter(data, name))
            for name in tasks()
            if has_stage(name, "explorer")
        }
        sections = [
            _section_pieces(part, one, models, one.name)
            for one in content.sections
            if not one.is_empty
        ]
        own = {
            str(models.index(name)): [
                _section_pieces(part, one, models, f"{models.index(name)}-{one.name}")
                for one in some
            ]
            for name, some in content.of_models.items()
        }
        failures = _atlas(content, data)
        write_script(
            data,
            "index",
            {
                "format": FORMAT,
                "version": VERSION,
                "program": __version__,
                "title": content.title,
                "scan_set": content.scan_set.name,
                "level_of_theory": content.scan_set.level_of_theory,
                "facts": content.facts,
                "answers": content.answers,
                "notes": [
                    *tables.notes(content.board),
                    *tables.guide(content.board),
                    *([] if failures else [NO_ATLAS]),
                ],
                "made": content.made,
                "columns": leaderboard_columns(content.board, content.sections),
                "rows": [_row(row) for row in content.board.to_dict("records")],
                "cards": _cards(content.results, models),
                "sections": sections,
                "of_models": own,
                "atlas": failures,
                "tasks": {name: one for name, one in told.items() if one is not None},
            },
        )
        exchange.write(part, content.board, content.sections, content.scan_set, content.made)
        about = {"format": FORMAT, "version": VERSION, "scan_set_sha256": content.scan_set.sha256}
        (part / MARKER).write_text(json.dumps(about, indent=2) + "\n", encoding="ascii")


def _putter(data: Path, task: str) -> Callable[[str, Any], None]:
    def put(name: str, value: Any) -> None:
        (data / task).mkdir(exist_ok=True)
        write_script(data, f"{task}/{name}", value)

    return put


def _of_task(
    content: Content, task: str, models: Sequence[str], put: Callable[[str, Any], None]
) -> dict[str, Any] | None:
    """What a task tells; None where no model has scores of it."""
    roles = dict(zip(content.board["model"], content.board["role"], strict=True))
    found = {}
    for number, name in enumerate(models):
        path = scores_file(content.results, task, name)
        if path.is_file():
            scores = read_task_scores(path, content.scan_set, tasks()[task])
            files = sorted((content.results / name / task).glob("*.h5"))
            found[number] = Explored(name, roles[name], scores, files)
    if not found:
        return None
    return stage(task, "explorer")(ExplorerJob(content.scan_set.path, found, put))


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the leaderboard without its gaps, and its marks."""
    known = {
        name: value
        for name, value in row.items()
        if not (value is None or value is pd.NA or value == "" or value != value)
    }
    return {**known, "marks": marks(row)}


def _cards(results: Path, models: Sequence[str]) -> list[dict[str, Any]]:
    """What models.json and the folders of models say of each, in the order of the leaderboard."""
    path = results / "models.json"
    recorded = read_record(path) if path.is_file() else {}
    cards = []
    for name in models:
        described = recorded[name].description if name in recorded else {}
        told = {key: described[key] for key in _DESCRIBES if described.get(key)}
        cards.append({key: _text(value) for key, value in told.items()})
    return cards


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _atlas(content: Content, data: Path) -> str | None:
    """Write the failures that a section `atlas` lists; the name of the piece, or None."""
    folder = content.results / SECTIONS / ATLAS
    path = folder / f"{ATLAS}.csv"
    section = next((one for one in content.sections if one.name == ATLAS), None)
    if not path.is_file() or section is None:
        return None
    found = read_csv(path, ATLAS_COLUMNS, dtype=str, keep_default_na=False)
    rows = found[list(ATLAS_COLUMNS)].to_numpy().tolist()
    asked = _asked(folder / f"{ATLAS}_counts.csv", found)
    kinds = [table.rows for table in section.tables if table.file == "kinds.csv"]
    meaning = {kind: told for table in kinds for kind, told in table.to_numpy().tolist()}
    told = {"columns": ATLAS_COLUMNS, "rows": rows, "asked": asked, "kinds": meaning}
    write_script(data, ATLAS, told)
    return ATLAS


def _asked(path: Path, listed: pd.DataFrame) -> dict[str, dict[str, int]]:
    """How many scans and trajectories each model was asked for: by source and model.

    Raises:
        FileError: the numbers are none, or smaller than those of `listed`.
    """
    columns = ("model", "source", "n_asked")
    counts = read_csv(path, columns, dtype=str, keep_default_na=False)  # a model may be called NA
    asked: dict[str, dict[str, int]] = {}
    for row in counts.drop_duplicates(["model", "source"]).to_dict("records"):
        if not _WHOLE.fullmatch(row["n_asked"]):
            raise FileError(path, "column 'n_asked' holds what is no whole number", AGAIN)
        asked.setdefault(row["source"], {})[row["model"]] = int(row["n_asked"])
    for (source, model), some in listed.groupby(["source", "model"]):
        if some["item"].nunique() > asked.get(source, {}).get(model, 0):
            raise FileError(path, f"{model} has more {source} in {ATLAS}.csv than here", AGAIN)
    return asked


# --- sections ------------------------------------------------------------------------------------


def _section_pieces(
    part: Path, section: StoredSection, models: Sequence[str], name: str
) -> dict[str, str]:
    """Write figures, tables and the piece of a section; returns what the index says of it."""
    files = part / SECTIONS / name
    files.mkdir(parents=True)
    (part / "data" / SECTIONS).mkdir(exist_ok=True)
    sentence = section.sentence or section.answer
    figures = []
    for figure in section.figures:
        (files / figure.path.name).write_bytes(read_figure(figure))
        plot = None if figure.plot is None else _plot(figure.path.parent, figure.plot)
        figures.append({"file": figure.path.name, "caption": figure.caption, "plot": plot})
    piece = {
        "title": section.title,
        "sentence": sentence,
        "notes": section.notes,
        "tables": [_table(files, table, models) for table in section.tables],
        "figures": figures,
        "files": [_csv(files, one) for one in section.files if _is_copied(one)],
        "folder": f"{SECTIONS}/{name}",
    }
    write_script(part / "data", f"{SECTIONS}/{name}", piece)
    return {
        "name": section.name,
        "piece": f"{SECTIONS}/{name}",
        "title": section.title,
        "sentence": sentence,
    }


def _is_copied(file: Path) -> bool:
    """Whether a file is one of numbers that the page does not hold already."""
    return file.suffix == ".csv" and file.name != f"{ATLAS}.csv"


def _csv(files: Path, path: Path) -> str:
    """Copy a CSV, without the folders of the machine that wrote it; returns its name."""
    if not path.read_bytes().strip():  # of a table without columns
        (files / path.name).write_bytes(b"")
        return path.name
    _write_csv(files / path.name, read_csv(path, (), dtype=str, keep_default_na=False))
    return path.name


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    clean = table.map(without_folders).rename(columns=lambda one: csv_cell(without_folders(one)))
    path.write_text(csv_table(clean), encoding="utf-8")


def _plot(section: Path, plot: Plot) -> dict[str, Any]:
    """What the page draws of a CSV of the section."""
    whole = read_csv(section / plot.file, plot.columns, dtype=str, keep_default_na=False)
    rows = whole[plot.columns].to_numpy().tolist()
    return {**asdict(plot), "columns": plot.columns, "rows": rows}


def _table(files: Path, table: StoredTable, models: Sequence[str]) -> dict[str, Any]:
    rows = tables.in_order(table, models)
    _write_csv(files / table.file, rows)
    return {
        "file": table.file,
        "title": table.title,
        "notes": table.notes,
        "columns": list(rows.columns),
        "rows": rows.to_numpy().tolist(),
    }
