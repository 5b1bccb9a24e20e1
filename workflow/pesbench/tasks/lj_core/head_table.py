"""The table of the trained heads: a row a seed, with a card beside it; no torch."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pesbench.core.errors import FileError, UserError, reading
from pesbench.files import provenance
from pesbench.files.atomic import write_json, write_text
from pesbench.tasks.lj_core.designs import Design, Schedule, parts
from pesbench.tasks.lj_core.ghost import OPTIMISERS
from pesbench.tasks.lj_core.judged import NUMBERS

if TYPE_CHECKING:
    import pandas as pd

SCORED = (*NUMBERS, *OPTIMISERS)  # columns that are means of in what is told
OF_DESIGN = tuple(Design.__dataclass_fields__)
COLUMNS = ("part", "design", *OF_DESIGN, "seed", "status", *SCORED, "last_loss")
KEPT = ("part", "design", "seed", *SCORED, "last_loss")  # the rest follows from these
CURVE = ("r", "median", "least", "largest")
logger = logging.getLogger("pesbench")
OF_PART = ("seeds", "threads", "code", "provenance")
_MADE = "make it with `pesbench lj-heads-table`"


@dataclass(frozen=True)
class Row:
    """A trained seed.

    Attributes:
        part: Name of the part that it belongs to.
        design: What was trained.
        seed: Its number.
        numbers: Value of each of `SCORED`; NaN for one that is no number.
        last_loss: Loss of the last step.
    """

    part: str
    design: Design
    seed: int
    numbers: Mapping[str, float]
    last_loss: float

    @property
    def ok(self) -> bool:
        """Whether all values are numbers."""
        return all(map(math.isfinite, self.numbers.values()))

    @property
    def is_wall(self) -> bool:
        """Whether its energy is positive in all of the core and rises inwards at each step."""
        return self.numbers["right_sign_share"] == 1 == self.numbers["monotone"]


@dataclass(frozen=True)
class TrainedHeads:
    """What a table and its card say.

    Attributes:
        rows: One a seed.
        schedule: How all were trained.
        curves: Of the main row of each head the values of each of `CURVE`, None where there is
            none.
    """

    rows: Sequence[Row]
    schedule: Schedule
    curves: Mapping[str, Mapping[str, Sequence[float | None]]]

    def kept(self) -> dict[str, Any]:
        """All of it as JSON, which `heads_of` takes."""
        card = {"schedule": asdict(self.schedule), "curves": self.curves}
        return {"table": _csv(self.rows, KEPT), "card": card}


def card_of(table: Path) -> Path:
    """The card of a table."""
    return table.with_suffix(".json")


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as CSV; a number that is none is left empty."""
    write_text(path, _csv(rows, COLUMNS))


def _csv(rows: Iterable[Row], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                "part": row.part,
                "design": row.design.name,
                **asdict(row.design),
                "seed": row.seed,
                "status": "ok" if row.ok else "nonfinite",
                **{name: _short(value) for name, value in row.numbers.items()},
                "last_loss": _short(row.last_loss),
            }
        )
    return text.getvalue()


def _short(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def read_heads(table: Path) -> TrainedHeads:
    """A table of trained heads with its card.

    Raises:
        UserError: one of them is missing or damaged.
    """
    with reading(table, "no table of trained heads", _MADE):
        text = table.read_text(encoding="utf-8")
    return parse(table, text, read_card(table))


def read_card(table: Path) -> dict[str, Any]:
    """The card of a table.

    Raises:
        UserError: it is missing or no such card.
    """
    place = card_of(table)
    with reading(place, "no card of trained heads", _MADE):
        return dict(json.loads(place.read_text(encoding="utf-8")))


def parse(place: object, table: Any, card: Any) -> TrainedHeads:
    """What a table and its card say, which may come from elsewhere.

    Args:
        place: The file, for messages.
        table: The table as CSV.
        card: The content of the card.

    Raises:
        UserError: one of them is no such thing.
    """
    rows = []
    with reading(place, "no table of trained heads", _MADE):
        cells = list(csv.DictReader(io.StringIO(table), strict=True))
    for number, some in enumerate(cells, start=2):
        with reading(f"{place}: line {number}", "no row of a trained head", _MADE):
            rows.append(_row(some))
    seeds = [(row.part, row.design, row.seed) for row in rows]
    if len(set(seeds)) < len(seeds):
        raise FileError(place, "has a seed of a part twice", _MADE)
    with reading(place, "has no card of trained heads", _MADE):
        told = {name: float(card["schedule"][name]) for name in Schedule.__dataclass_fields__}
        curves = {str(head): _curve(one) for head, one in card["curves"].items()}
        whole = {name: int(value) for name, value in told.items() if name != "learning_rate"}
    return TrainedHeads(rows, Schedule(**told | whole), curves)


def heads_of(scores: Mapping[str, pd.DataFrame]) -> TrainedHeads | None:
    """The trained heads that scores were made with; None for none.

    Raises:
        UserError: they are no such thing, or differ.
    """
    told = {
        name: frame.attrs["heads"] for name, frame in scores.items() if frame.attrs.get("heads")
    }
    if not told:
        return None
    first = min(told)
    if others := [name for name, one in told.items() if one != told[first]]:
        raise UserError(
            f"scores of {first} and {others[0]}: made with different `lj_core.heads`; score one of "
            "them again"
        )
    place = f"scores of {first}, `heads`"
    with reading(place, "hold no trained heads", "score again"):
        table, card = told[first]["table"], told[first]["card"]
    return parse(place, table, card)


def _row(cells: Mapping[str, str]) -> Row:
    name = cells["part"], cells["design"]
    designs = parts()[name[0]].designs
    (design,) = (one for one in designs if one.name == name[1])
    if any(cells.get(key, str(value)) != str(value) for key, value in asdict(design).items()):
        raise ValueError("its columns contradict its design")
    numbers = {key: float(cells[key] or "nan") for key in SCORED}
    return Row(name[0], design, int(cells["seed"]), numbers, float(cells["last_loss"] or "nan"))


def _curve(told: Mapping[str, Sequence[float | None]]) -> dict[str, list[float | None]]:
    found = {name: [None if one is None else float(one) for one in told[name]] for name in CURVE}
    if len({len(values) for values in found.values()}) > 1:
        raise ValueError("curves of several lengths")
    return found


def join(tables: Sequence[Path], out: Path) -> None:
    """Write one table, with its card, of those of several parts.

    Raises:
        UserError: a part is missing or damaged, occurs twice, or was trained with another schedule.
            Other code is told, and the card has that of each part.
    """
    found = [read_heads(path) for path in tables]
    cards = []
    for path in tables:
        with reading(card_of(path), "no card of a part", "make it with `pesbench lj-heads`"):
            card = read_card(path)
            cards.append({key: card[key] for key in ("part", *OF_PART)})
    names = [str(card["part"]) for card in cards]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"lj-heads-table: the part {twice[0]!r} is given twice; give it once")
    for path, one, card in zip(tables, found, cards, strict=True):
        if one.schedule != found[0].schedule:
            raise UserError(
                f"{path}: was trained with another schedule than {tables[0]}; train both alike"
            )
        if card["code"] != cards[0]["code"]:
            logger.warning("%s: was trained by other code than %s", path, tables[0])
    write_table(out, [row for one in found for row in one.rows])
    write_json(
        card_of(out),
        {
            "schedule": asdict(found[0].schedule),
            "curves": {head: curve for one in found for head, curve in one.curves.items()},
            "parts": {name: {key: card[key] for key in OF_PART}
                      for name, card in zip(names, cards, strict=True)},
            "provenance": provenance.collect(),
        },
    )  # fmt: skip
