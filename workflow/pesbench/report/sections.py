"""Folders of sections, the parts of a report, written and read back.

A folder holds `section.json` (texts, cells of the tables, columns for the leaderboard, names of the
files, how it was made), each table as CSV, each figure as PNG, and more files where a section has
some. Leaderboard, page and merge read nothing else of a task.

A folder may come from anybody: names, sizes and types are checked, no path leads out of it, and
everything that is read is plain text, which is escaped where it is shown.
"""

from __future__ import annotations

import csv
import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.core.errors import FileError, UserError, reading
from pesbench.core.paths import real_path
from pesbench.core.section import (
    CELLS,
    FLAG,
    INTEGER,
    NUMBER,
    POINTS,
    TEXT,
    BoardColumn,
    Metric,
    Plot,
    Section,
)
from pesbench.core.text import csv_table
from pesbench.files.atomic import write_json, write_text
from pesbench.models.record import read_json

NAME = "section.json"
FORMAT = "pesbench-section"
VERSION = 1
MOST = 200  # tables, figures, notes, columns
LONGEST_TEXT = 100_000  # characters
LARGEST_FIGURE_BYTES = 32 << 20
LARGEST_FILE_BYTES = 256 << 20
_PNG = b"\x89PNG\r\n\x1a\n"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,80}(\.[A-Za-z0-9]{1,10}){1,2}")
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,80}")
_CURE = "remove the folder, and the same snakemake command makes it again"
_INFINITE = {"inf": math.inf, "-inf": -math.inf}  # which JSON has no numbers for


@dataclass(frozen=True)
class StoredTable:
    """A table of a stored section; see `pesbench.core.section.Table`."""

    file: str
    rows: pd.DataFrame
    title: str = ""
    notes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredFigure:
    """A figure of a stored section: its PNG, its caption, and what a page draws of a CSV."""

    path: Path
    caption: str
    plot: Plot | None = None


@dataclass(frozen=True)
class StoredSection:
    """A section read back.

    Attributes:
        name: Name of its folder.
        scan_set_sha256: sha256 of the scan set that its scores are of.
        title: Heading.
        sentence: What was found.
        answer: Answer for the top of the page, or "".
        tables: Tables in order.
        figures: Figures in order.
        files: Its other files.
        notes: How to read it.
        board: Columns for the leaderboard.
        made: Names and values: how it was made.
    """

    name: str
    scan_set_sha256: str
    title: str
    sentence: str = ""
    answer: str = ""
    tables: tuple[StoredTable, ...] = ()
    figures: tuple[StoredFigure, ...] = ()
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    board: tuple[BoardColumn, ...] = ()
    made: tuple[tuple[str, str], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show but columns of the leaderboard."""
        return not (self.sentence or self.tables or self.figures or self.notes)


# --- writing -------------------------------------------------------------------------------------


def write_section(
    folder: Path, section: Section, made: Sequence[tuple[str, str]], scan_set_sha256: str
) -> None:
    """Write the folder of a section, whole or not at all; what stood there before is replaced.

    Args:
        folder: Such as `sections/dynamics`.
        section: What is told; its `board` may be None.
        made: Names and values: how it was made.
        scan_set_sha256: sha256 of the scan set that its scores are of.

    Raises:
        UserError: the folder is a file, or holds what no section holds.
    """
    from pesbench.files.figures import save  # two seconds, which readers of sections do not need

    _check_replaceable(folder)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for table in section.tables:
        write_text(part / f"{table.name}.csv", csv_table(table.rows))
    for drawing in section.figures:
        save(drawing.figure, part / f"{drawing.name}.png")
    for name, text in section.files.items():
        write_text(part / name, text)
    write_json(part / NAME, _content(section, made, scan_set_sha256))
    read_section(part)  # what cannot be read back is a mistake here and now
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _check_replaceable(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder}: is no folder that a section could replace; remove it")
    if folder.is_dir():
        held = [path for path in folder.iterdir() if not path.name.startswith(".snakemake")]
        if held and not (folder / NAME).is_file():
            raise UserError(f"{folder}: holds {held[0].name!r} and is no section; remove it")


def _content(
    section: Section, made: Sequence[tuple[str, str]], scan_set_sha256: str
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "scan_set_sha256": scan_set_sha256,
        "title": section.title,
        "sentence": section.sentence,
        "answer": section.answer,
        "tables": [
            {
                "file": f"{table.name}.csv",
                "title": table.title,
                "notes": list(table.notes),
                "models": list(table.models),
                "columns": [str(column) for column in table.rows.columns],
                "rows": [[str(cell) for cell in row] for row in table.rows.to_numpy().tolist()],
            }
            for table in section.tables
        ],
        "figures": [
            {
                "file": f"{one.name}.png",
                "caption": one.caption,
                **({} if one.plot is None else {"plot": asdict(one.plot)}),
            }
            for one in section.figures
        ],
        "files": list(section.files),
        "notes": list(section.notes),
        "board": [_column_content(column) for column in section.board or ()],
        "made": [list(pair) for pair in made],
    }


def _column_content(column: BoardColumn) -> dict[str, Any]:
    metric = column.metric
    return {
        "name": metric.name,
        "title": metric.title,
        "unit": metric.unit,
        "better": metric.better,
        "help": metric.help,
        "kind": column.kind,
        "values": {
            name: _plain(value, column.kind)
            for name, value in column.values.items()
            if value == value  # NaN is no value
        },
        "counts": {name: int(count) for name, count in column.counts.items()},
    }


def _plain(value: Any, kind: str) -> Any:
    if kind == NUMBER:
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return {INTEGER: int, FLAG: bool, TEXT: str}[kind](value)


# --- reading -------------------------------------------------------------------------------------


def read_section(folder: Path) -> StoredSection:
    """A section from its folder.

    Raises:
        UserError: the folder is missing or no section, or a file of it is.
    """
    path = folder / NAME
    content = read_json(path, _CURE)
    with reading(path, f"not a section as this version ({VERSION}) writes it", _CURE):
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError(f"format {content['format']!r}, version {content['version']!r}")
        files = [_file(folder, one, LARGEST_FILE_BYTES) for one in _texts(content["files"])]
        return StoredSection(
            name=folder.name,
            scan_set_sha256=_text(content["scan_set_sha256"]),
            title=_text(content["title"]),
            sentence=_text(content["sentence"]),
            answer=_text(content["answer"]),
            tables=tuple(_table(folder, one) for one in _some(content["tables"])),
            figures=tuple(_figure(folder, one) for one in _some(content["figures"])),
            files=tuple(files),
            notes=_texts(content["notes"]),
            board=tuple(_column(one) for one in _some(content["board"])),
            made=tuple((_text(name), _text(value)) for name, value in _some(content["made"])),
        )


def read_figure(figure: StoredFigure) -> bytes:
    """The bytes of a PNG.

    Raises:
        UserError: it is another file.
    """
    content = figure.path.read_bytes()
    if not content.startswith(_PNG):
        raise FileError(figure.path, "is no PNG", _CURE)
    return content


def _some(values: Any, most: int = MOST) -> list[Any]:
    if not isinstance(values, list) or len(values) > most:
        raise ValueError("no list, or one longer than any we write")
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError("no text, or a longer one than any we write")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(_text(value) for value in _some(values))


def _file(folder: Path, name: Any, largest: int) -> Path:
    """A file of a folder, by a name that leads nowhere else."""
    if not isinstance(name, str) or _FILE.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a file of a section")
    path = folder / name
    if not path.is_file() or real_path(path).parent != real_path(folder):
        raise ValueError(f"{name!r} is no file of the folder")
    if path.stat().st_size > largest:
        raise ValueError(f"{name!r} is larger than any we write")
    return path


def _table(folder: Path, content: Any) -> StoredTable:
    columns = _texts(content["columns"])
    rows = [_texts(row) for row in _some(content["rows"], LONGEST_TEXT)]
    models = tuple(_text(name) for name in _some(content["models"], LONGEST_TEXT))
    if any(len(row) != len(columns) for row in rows) or len(models) not in (0, len(rows)):
        raise ValueError("rows of a table differ in length")
    _file(folder, content["file"], LARGEST_FILE_BYTES)
    frame = pd.DataFrame(rows, columns=list(columns), dtype=object)
    title, notes = _text(content["title"]), _texts(content["notes"])
    return StoredTable(content["file"], frame, title, notes, models)


def _figure(folder: Path, content: Any) -> StoredFigure:
    path = _file(folder, content["file"], LARGEST_FIGURE_BYTES)
    plot = None if content.get("plot") is None else _plot(folder, content["plot"])
    return StoredFigure(path, _text(content["caption"]), plot)


def _plot(folder: Path, content: Any) -> Plot:
    if set(content) != {one.name for one in fields(Plot)} or content["kind"] not in (POINTS, CELLS):
        raise ValueError("a plot is of another kind than any we write")
    path = _file(folder, content["file"], LARGEST_FILE_BYTES)
    texts = ("file", "kind", "label", "title", "group", "panel", "unit")
    plot = Plot(
        **{name: _text(content[name]) for name in texts},
        **{name: _by_column(content[name], _text) for name in ("x", "y")},
        **{name: _pair(content[name]) for name in ("base", "left_out")},
        scales=_by_column(content["scales"], _number),
        intervals=_by_column(content["intervals"], _pair),
        joined=_flag(content["joined"]),
    )
    with path.open(newline="", encoding="utf-8") as file:
        there = next(csv.reader(file), [])
    if not plot.x or not set(plot.columns) <= set(there):
        raise ValueError(f"a plot is of columns that {plot.file} does not have")
    return plot


def _by_column(values: Any, check: Callable[[Any], Any]) -> dict[str, Any]:
    if not isinstance(values, dict) or len(values) > MOST:
        raise ValueError("no object of columns, or a larger one than any we write")
    return {_text(name): check(value) for name, value in values.items()}


def _pair(values: Any) -> tuple[str, str]:
    one, other = _texts(values)
    return one, other


def _column(content: Any) -> BoardColumn:
    if _COLUMN.fullmatch(_text(content["name"])) is None:
        raise ValueError(f"{content['name']!r} is no name of a column")
    if content["better"] not in ("lower", "higher", ""):
        raise ValueError("`better` is lower, higher or nothing")
    texts = (_text(content[key]) for key in ("name", "title", "unit", "better", "help"))
    check = _CHECKS[content["kind"]]
    return BoardColumn(
        Metric(*texts),  # type: ignore[arg-type]
        values=_by_model(content["values"], check),
        counts=_by_model(content["counts"], _integer),
        kind=content["kind"],
    )


def _by_model(values: Any, check: Callable[[Any], Any]) -> Mapping[str, Any]:
    if not isinstance(values, dict):
        raise ValueError("values by model are no object")
    return {_text(name): check(value) for name, value in values.items()}


def _number(value: Any) -> float:
    if isinstance(value, str):
        return _INFINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    NUMBER: _number,
    INTEGER: _integer,
    FLAG: _flag,
    TEXT: _text,
}
