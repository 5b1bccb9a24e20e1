"""The table of the trained heads: a row a seed, with a card beside it; no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pesbench.core.errors import UserError, reading
from pesbench.files import provenance
from pesbench.files.atomic import write_json, write_text
from pesbench.files.csv_files import read_rows
from pesbench.tasks.lj_core.designs import Design
from pesbench.tasks.lj_core.judged import NUMBERS

GHOSTS = ("overlapped_bfgs", "overlapped_fire")
OF_DESIGN = ("head", "activation", "depth", "transform", "scale", "sampling")
COLUMNS = (
    "part", "design", *OF_DESIGN, "seed", "status", *NUMBERS, *GHOSTS, "last_loss", "steps",
)  # fmt: skip
OF_TABLE, OF_PART = ("schedule", "curves"), ("seeds", "threads", "code", "provenance")
_MADE = "make it with `pesbench lj-heads-table`"

Row = dict[str, Any]


def card_of(table: Path) -> Path:
    """The card of a table."""
    return table.with_suffix(".json")


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV; a number that is none is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if v != v else _short(v) for k, v in row.items()})
    write_text(path, text.getvalue())


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def read_table(path: Path) -> list[Row]:
    """The rows of a table of trained heads.

    Raises:
        UserError: it is missing or no such table.
    """
    return [_row(place, cells) for place, cells in read_rows(path, COLUMNS)]


def _row(place: str, cells: Mapping[str, str]) -> Row:
    found: Row = {name: cells[name] for name in ("part", "design", *OF_DESIGN, "status")}
    with reading(place, "no row of a trained head", _MADE):
        for name in ("depth", "seed", "steps"):
            found[name] = int(cells[name])
        for name in (*NUMBERS, *GHOSTS, "last_loss"):
            found[name] = float(cells[name] or "nan")
    known = Design(**{name: found[name] for name in OF_DESIGN})
    if known.name != found["design"]:
        raise UserError(f"{place}: `design` is {found['design']!r} and not {known.name!r}; {_MADE}")
    return found


def read_card(table: Path, needed: Sequence[str] = OF_TABLE) -> dict[str, Any]:
    """The card of a table.

    Args:
        table: Path of the table.
        needed: Keys that the card must have.

    Raises:
        UserError: it is missing or no such card.
    """
    place = card_of(table)
    with reading(place, "no card of trained heads", _MADE):
        found = json.loads(place.read_text(encoding="utf-8"))
        return {key: found[key] for key in needed}


def join(tables: Sequence[Path], out: Path) -> None:
    """Write one table, with its card, of those of several parts.

    Raises:
        UserError: a part is missing or damaged, occurs twice, or was trained otherwise.
    """
    rows = [row for path in tables for row in read_table(path)]
    cards = [read_card(path, (*OF_TABLE, "part", *OF_PART)) for path in tables]
    names = [card["part"] for card in cards]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"lj-heads-table: the part {twice[0]!r} is given twice; give it once")
    schedule = cards[0]["schedule"]
    for path, card in zip(tables, cards, strict=True):
        if card["schedule"] != schedule:
            raise UserError(
                f"{path}: was trained with another schedule than {tables[0]}; train both alike"
            )
    write_table(out, rows)
    write_json(
        card_of(out),
        {
            "schedule": schedule,
            "curves": {head: curve for card in cards for head, curve in card["curves"].items()},
            "parts": {card["part"]: {key: card[key] for key in OF_PART} for card in cards},
            "provenance": provenance.collect(),
        },
    )
