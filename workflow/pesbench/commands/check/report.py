"""Results of a check: rows with a verdict, as a table, as JSON and as an exit code."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

FORMAT, VERSION = "pesbench-check", 1
NOTE_CHARACTERS, NOTE_LINES = 60, 3
_TITLES = ("check", "value", "limit", "verdict", "note")


class Verdict(StrEnum):
    """Verdict of a row."""

    PASS = "pass"
    FAIL = "fail"  # the value is beyond its limit
    INFO = "info"  # measured, or not applicable; without a limit
    ERROR = "error"  # the model gave no answer, so that there is no value


@dataclass(frozen=True)
class CheckRow:
    """One row of a check.

    Attributes:
        section: Part of the check, such as `conformance`.
        name: Name of the row, stable between versions.
        value: Measured; None where there is no number.
        unit: Unit of the value, "" for a count or none.
        limit: Largest value that passes; None for no limit.
        verdict: Verdict of the row.
        note: Note for readers.
    """

    section: str
    name: str
    value: float | None
    unit: str
    limit: float | None
    verdict: Verdict
    note: str = ""

    @classmethod
    def measured(
        cls, section: str, name: str, value: float, unit: str, limit: float | None, note: str = ""
    ) -> CheckRow:
        """A row whose verdict follows from its value: NaN is an error, no limit is `info`."""
        if math.isnan(value):
            return cls(section, name, None, unit, limit, Verdict.ERROR, note or "not a number")
        if limit is None:
            return cls(section, name, value, unit, None, Verdict.INFO, note)
        verdict = Verdict.PASS if value <= limit else Verdict.FAIL
        return cls(section, name, value, unit, limit, verdict, note)

    @classmethod
    def info(cls, section: str, name: str, note: str, value: float | None = None) -> CheckRow:
        """A row that neither passes nor fails."""
        return cls(section, name, value, "", None, Verdict.INFO, note)

    @classmethod
    def error(cls, section: str, name: str, note: str) -> CheckRow:
        """A row for which the model gave no answer."""
        return cls(section, name, None, "", None, Verdict.ERROR, note)


@dataclass(frozen=True)
class CheckReport:
    """Result of a check.

    Attributes:
        model: Name of the model.
        rows: Rows in the order of the checks.
        scores: Mean scores over the scored scans, such as `fsd_full` in Å⁻¹, with `n_scored` and
            `n_planned`; NaN where no scan has the score. Empty if no scan was asked for.
        scans: One mapping a scan: its id, status, message and scores.
        about: Device, precision, scan set, versions, ...
        wall_s: Seconds the check took.
        trajectories: One mapping a trajectory: its name, status, message and scores.
    """

    model: str
    rows: tuple[CheckRow, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    scans: tuple[Mapping[str, Any], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    wall_s: float = 0.0
    trajectories: tuple[Mapping[str, Any], ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no row failed or ended in an error."""
        return not any(row.verdict in (Verdict.FAIL, Verdict.ERROR) for row in self.rows)

    @property
    def exit_code(self) -> int:
        """0 where all passed, else 1."""
        return 0 if self.passed else 1

    def row(self, name: str) -> CheckRow:
        """The row of a name.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON knows it: numbers that are not finite become None."""
        return _plain(
            {
                "format": FORMAT,
                "version": VERSION,
                "model": self.model,
                "passed": self.passed,
                "wall_s": self.wall_s,
                "rows": [asdict(row) for row in self.rows],
                "scores": self.scores,
                "scans": self.scans,
                "trajectories": self.trajectories,
                "about": self.about,
            }
        )

    def to_json(self, path: Path | str | None = None) -> str:
        """JSON of `to_dict`, written to a file where a path is given."""
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        if path is not None:
            from pesbench.files.atomic import write_text

            write_text(Path(path), text)
        return text

    def table(self) -> str:
        """The rows as plain text, one table, with the verdict of the whole below."""
        cells, section = [], None
        for row in self.rows:
            if row.section != section:
                section = row.section
                cells.append([section.upper(), "", "", "", ""])
            limit = "" if row.limit is None else f"{row.limit:.3g}"
            value = "" if row.value is None else f"{row.value:.3g} {row.unit}".rstrip()
            name = row.name.replace("_", " ")
            note = textwrap.wrap(
                row.note, NOTE_CHARACTERS, max_lines=NOTE_LINES, placeholder=" …"
            ) or [""]
            cells.append([f"  {name}", value, limit, row.verdict.value, note[0]])
            cells += [["", "", "", "", line] for line in note[1:]]
        count = dict.fromkeys(Verdict, 0)
        for row in self.rows:
            count[row.verdict] += 1
        found = ", ".join(f"{n} {verdict.value}" for verdict, n in count.items() if n)
        outcome = "passed" if self.passed else "NOT PASSED"
        return f"{_aligned(cells)}\n\n{self.model}: {outcome} ({found}) in {self.wall_s:.1f} s"

    def __str__(self) -> str:
        return self.table()


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns; by hand, since the base package has no `tabulate`."""
    widths = [max(len(row[k]) for row in [_TITLES, *cells]) for k in range(len(_TITLES))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [_TITLES, rule, *cells]
    )


def _plain(value: Any) -> Any:
    """A value with containers, NumPy's numbers and what is not finite turned into JSON's own."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)
