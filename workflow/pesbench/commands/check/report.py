"""Results of a check: rows with a verdict, as a table, as JSON, as an exit code, as geometries."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import write

FORMAT, VERSION = "pesbench-check", 1
CONFORMANCE = "conformance"  # section of the rows that every check has
NOT_APPLICABLE = "n/a: "  # how the note of a row begins that could not be measured
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
        frames: Geometries at which the value was measured; of a row that fails they are written.
    """

    section: str
    name: str
    value: float | None
    unit: str
    limit: float | None
    verdict: Verdict
    note: str = ""
    frames: tuple[Atoms, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def measured(
        cls, section: str, name: str, value: float, unit: str, limit: float | None, note: str = "",
        frames: Sequence[Atoms] = (),
    ) -> CheckRow:  # fmt: skip
        """A row whose verdict follows from its value: NaN is an error, no limit is `info`."""
        if math.isnan(value):
            verdict, note = Verdict.ERROR, note or "not a number"
        elif limit is None:
            verdict = Verdict.INFO
        else:
            verdict = Verdict.PASS if value <= limit else Verdict.FAIL
        known = None if math.isnan(value) else value
        return cls(section, name, known, unit, limit, verdict, note, tuple(frames))

    @classmethod
    def info(cls, section: str, name: str, note: str, value: float | None = None) -> CheckRow:
        """A row that neither passes nor fails."""
        return cls(section, name, value, "", None, Verdict.INFO, note)

    @classmethod
    def error(cls, section: str, name: str, note: str, frames: Sequence[Atoms] = ()) -> CheckRow:
        """A row for which the model gave no answer."""
        return cls(section, name, None, "", None, Verdict.ERROR, note, tuple(frames))

    @property
    def failed(self) -> bool:
        """Whether it fails or is an error."""
        return self.verdict in (Verdict.FAIL, Verdict.ERROR)

    @property
    def reason(self) -> str:
        """Value, limit and the first part of the note in one line, for a row that fails."""
        said = self.name.replace("_", " ")
        if self.value is not None:
            said += f" {self.value:.3g} {self.unit}".rstrip()
        if self.verdict is Verdict.FAIL and self.limit is not None:
            said += f" (limit {self.limit:.3g})"
        return f"{said}: {self.note}" if self.note else said


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
        pairs: One mapping an approaching pair: its name, status, message and scores.
    """

    model: str
    rows: tuple[CheckRow, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    scans: tuple[Mapping[str, Any], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    wall_s: float = 0.0
    trajectories: tuple[Mapping[str, Any], ...] = ()
    pairs: tuple[Mapping[str, Any], ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no row failed or ended in an error."""
        return not any(row.failed for row in self.rows)

    @property
    def verdict(self) -> str:
        """`passed`; `conforms` where conformance alone was asked; or `failed: <first reason>`.

        Rows that could not be measured are counted behind it, with the reason of the first.
        """
        for row in self.rows:
            if row.failed:
                return f"failed: {row.reason}"
        said = "conforms" if {row.section for row in self.rows} <= {CONFORMANCE} else "passed"
        if missing := [row for row in self.rows if row.note.startswith(NOT_APPLICABLE)]:
            count = "1 row" if len(missing) == 1 else f"{len(missing)} rows"
            said += f", without {count}: {missing[0].name.replace('_', ' ')} {missing[0].note}"
        return said

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
                "verdict": self.verdict,
                "wall_s": self.wall_s,
                "rows": [_told(row) for row in self.rows],
                "scores": self.scores,
                "scans": self.scans,
                "trajectories": self.trajectories,
                "pairs": self.pairs,
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

    def write_frames(self, path: Path | str) -> int:
        """Write the geometries of the rows that fail as extxyz.

        Each frame carries the name of its row (`row`), what it shows (`note`), charge and spin,
        and where they are known the model's energy in eV and forces in eV/Å. Without a failing
        row that has geometries, a file of an earlier check at this path is removed.

        Args:
            path: File, overwritten.

        Returns:
            Number of frames written.
        """
        from pesbench.files.atomic import atomic_path

        path = Path(path)
        frames = []
        for row in self.rows:
            for frame in row.frames if row.failed else ():
                copy = frame.copy()  # two rows may show the same geometry
                copy.calc = frame.calc
                copy.info = {"row": row.name, **frame.info}
                frames.append(copy)
        if not frames:
            path.unlink(missing_ok=True)
            return 0
        with atomic_path(path) as part:
            write(part, frames, format="extxyz")
        return len(frames)

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
        return f"{_aligned(cells)}\n\n{found} in {self.wall_s:.1f} s\n{self.model}: {self.verdict}"

    def __str__(self) -> str:
        return self.table()


def _told(row: CheckRow) -> dict[str, Any]:
    """A row without its geometries."""
    return asdict(replace(row, frames=()))


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
