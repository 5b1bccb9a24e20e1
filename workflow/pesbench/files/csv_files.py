"""Tables that users write: CSV files, with one line for whatever is wrong."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from pesbench.core.errors import UserError, reading


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a CSV file, cells stripped.

    Args:
        path: UTF-8, with or without a byte-order mark; the first line names the columns.
        columns: Columns that must be there.

    Returns:
        Place (file and line, for messages) and cells of every row, as text.

    Raises:
        UserError: the file is missing or no such table.
    """
    wanted = " and ".join(columns)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a CSV file with the columns {wanted}")
    found = []
    with (
        reading(path, "cannot be read as CSV", "save it as UTF-8 with commas"),
        path.open(newline="", encoding="utf-8-sig") as file,
    ):
        rows = csv.DictReader(file, strict=True)
        names = [name.strip() for name in rows.fieldnames or ()]
        rows.fieldnames = names
        if twice := [name for name in names if name and names.count(name) > 1]:
            raise UserError(f"{path}: two columns are named {twice[0]!r}; rename one")
        if missing := [name for name in columns if name not in names]:
            raise UserError(
                f"{path}: no column {missing[0]!r}; its first line must name the columns "
                f"{wanted}, with commas between them"
            )
        for row in rows:
            place = f"{path}: line {rows.line_num}"
            if any(cell.strip() for cell in row.pop(None, ())):
                raise UserError(
                    f"{place}: has more cells than the first line names columns; put text with "
                    "commas in quotes"
                )
            found.append((place, {name: (cell or "").strip() for name, cell in row.items()}))
    return found
