"""Metrics, and the section that a task or a comparison shows to a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from pesbench.models.facts import ModelFacts

NUMBER, INTEGER, FLAG, TEXT = "number", "integer", "flag", "text"  # kinds of a board column
POINTS, CELLS = "points", "cells"  # kinds of a plot
ENTRY_COVERAGE = 0.9  # default of the config key `entry_coverage`


@dataclass(frozen=True)
class Metric:
    """A column of a task's scores.

    Attributes:
        name: The column.
        title: Name that readers see, without the unit.
        unit: "" where there is none.
        better: Whether lower or higher values are better; "" for neither.
        help: One sentence.
        needs_energy: Whether it does not exist for a model that has forces only.
        on_board: Whether its mean over the scored rows stands on the leaderboard as
            `<task>_<name>`, unless the task's section gives columns of its own.
        ranks: Whether `rank_by` may name it, for the task that always runs.
    """

    name: str
    title: str
    unit: str = ""
    better: Literal["lower", "higher", ""] = ""
    help: str = ""
    needs_energy: bool = False
    on_board: bool = False
    ranks: bool = False

    @property
    def heading(self) -> str:
        """The title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class SectionInputs:
    """Input of `section`.

    Attributes:
        task: Name of the task.
        scores: One table a model that ran the task, in the order of the run.
        facts: Facts about every model of the run, by name, in the order of the run.
        settings: Settings of the task; None if they are not known.
        others: Scores of all tasks by task and model, for a section that compares.
        rank_by: Metric that ranks the models.
        entry_coverage: Least share of the planned scans that a model has to have scores of, to take
            part in what is shared, see `pesbench.metrics.coverage`.
    """

    task: str
    scores: Mapping[str, pd.DataFrame]
    facts: Mapping[str, ModelFacts]
    settings: Any = None
    others: Mapping[str, Mapping[str, pd.DataFrame]] = field(default_factory=dict)
    rank_by: str = ""
    entry_coverage: float = ENTRY_COVERAGE

    @property
    def reference(self) -> str | None:
        """Name of the scan set's reference, if it is among the models that ran the task."""
        roles = ((name, self.facts[name].role) for name in self.scores)
        return next((name for name, role in roles if role == "reference"), None)


@dataclass(frozen=True)
class Table:
    """A table of a section.

    Attributes:
        name: Name of its CSV file, without the ending.
        rows: Text cells; titles carry units.
        title: A heading of its own within the section, or "".
        notes: Paragraphs between the title and the table.
        models: Model of each row, for rows that are shown in the order of the
            leaderboard; empty for rows that stay as they are.
    """

    name: str
    rows: pd.DataFrame
    title: str = ""
    notes: Sequence[str] = ()
    models: Sequence[str] = ()


@dataclass(frozen=True)
class Plot:
    """What a page draws of a CSV of the section beside a figure, for a reader to point at.

    Names of columns and no code: the page knows nothing of what they mean.

    Attributes:
        file: Name of the CSV, with its ending.
        kind: `POINTS`, a point a row, or `CELLS`, a row of coloured cells a row.
        label: Column that names a row; where that is a model, a click leads to it.
        x: Titles, with units, by column. Of points, what may stand on the horizontal axis, the
            first at the start; of cells, the cells.
        y: Likewise of the vertical axis; {} gives each row a line of its own.
        title: What the cells hold.
        group: Column whose values have a colour and a shape each, or "".
        joined: Whether the points of a group are joined, in the order of x.
        panel: Column of whose values one at a time is shown, or "".
        unit: Column that holds the unit of x, or "".
        scales: Factors from the CSV to the units of the titles, by column, where they are not 1.
        intervals: Columns of the ends of an interval, by column of `y`.
        base: Column and value of the rows that are drawn as a line for the others to be compared
            with; two empty texts for none.
        left_out: Column and value of the rows that are not drawn.
    """

    file: str
    kind: str
    label: str
    x: Mapping[str, str]
    y: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    group: str = ""
    joined: bool = False
    panel: str = ""
    unit: str = ""
    scales: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    base: tuple[str, str] = ("", "")
    left_out: tuple[str, str] = ("", "")

    @property
    def columns(self) -> list[str]:
        """Columns of the CSV that it reads."""
        ends = [end for pair in self.intervals.values() for end in pair]
        single = (self.label, self.group, self.panel, self.unit, self.base[0], self.left_out[0])
        return [one for one in dict.fromkeys((*single, *self.x, *self.y, *ends)) if one]


@dataclass(frozen=True)
class Drawing:
    """A figure of a section.

    Attributes:
        name: Name of its PNG file, without the ending.
        figure: The figure.
        caption: What it shows.
        plot: The same, or part of it, for a reader to point at.
    """

    name: str
    figure: Figure
    caption: str
    plot: Plot | None = None


@dataclass(frozen=True)
class BoardColumn:
    """A column that a section adds to the leaderboard.

    Attributes:
        metric: The metric, whose name is that of the column.
        values: Values by model, for models that have one.
        counts: Number of rows behind each value, by model: a column `<name>_n` beside it, unless
            there is none.
        kind: `NUMBER`, `INTEGER`, `FLAG` or `TEXT`.
    """

    metric: Metric
    values: Mapping[str, Any]
    counts: Mapping[str, int] = field(default_factory=dict)
    kind: str = NUMBER


@dataclass(frozen=True)
class Section:
    """Part of the report that a task or a comparison makes.

    Attributes:
        title: Heading.
        sentence: What was found, in one sentence.
        answer: A sentence for the top of the page, for what a reader wants to know first; or "".
        tables: Shown in order.
        figures: Shown in order.
        notes: How to read it.
        board: Columns for the leaderboard; None for those of `Metric.on_board`.
        files: More files by name, such as `worst.extxyz`, as text.
    """

    title: str
    sentence: str = ""
    answer: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Drawing] = ()
    notes: Sequence[str] = ()
    board: Sequence[BoardColumn] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
