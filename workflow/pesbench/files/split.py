"""Table of the molecules that a potential is trained on and of those that it never sees."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from pesbench.core.errors import UserError
from pesbench.files.atomic import write_text
from pesbench.files.csv_files import read_rows

SEEN, UNSEEN = "seen", "unseen"


def write_split(split: dict[str, str], path: Path) -> None:
    """Write a split as CSV with the columns `system` and `split`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("system", "split"), *split.items()])
    write_text(path, text.getvalue())


def read_split(path: Path) -> dict[str, str]:
    """`seen` or `unseen` by system.

    Raises:
        UserError: the file is missing, or something else stands in it.
    """
    split: dict[str, str] = {}
    for where, row in read_rows(path, ("system", "split")):
        if row["split"] not in (SEEN, UNSEEN):
            raise UserError(f"{where}: {row['split']!r} is neither {SEEN!r} nor {UNSEEN!r}")
        if row["system"] in split:
            raise UserError(f"{where}: the system {row['system']!r} occurs twice; remove one")
        split[row["system"]] = row["split"]
    return split
