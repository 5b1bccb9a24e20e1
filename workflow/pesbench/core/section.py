"""Metrics, and the section that a task or a comparison shows to a reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Metric:
    """A column of a task's scores.

    Attributes:
        name: The column.
        title: For readers, without the unit.
        unit: "" where there is none.
        better: Whether lower or higher values are better; "" for neither.
        help: One sentence.
        needs_energy: Whether it does not exist for a model that has forces only.
        on_board: Whether its mean over the scored rows stands on the leaderboard as
            `<task>_<name>`, unless the task's section gives columns of its own.
        ranks: Whether `rank_by` may name it.
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
    """What `section` gets.

    Attributes:
        task: Its name.
        scores: One table a model that ran the task, in the order of the run.
        facts: Of every model of the run, by name; see `pesbench.report.facts.ModelFacts`.
        settings: Of the task.
        others: Scores of the other tasks by task and model, for a section that compares.
    """

    task: str
    scores: Mapping[str, pd.DataFrame]
    facts: Mapping[str, Any]
    settings: Any
    others: Mapping[str, Mapping[str, pd.DataFrame]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of a section: text cells, titles with units. `name` is that of its CSV file."""

    name: str
    rows: pd.DataFrame
    title: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure of a section. `name` is that of its PNG file."""

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class BoardColumn:
    """A column that a section adds to the leaderboard.

    Attributes:
        metric: Name, title, unit and which way is better.
        values: By model, those that have one.
        counts: Number of rows behind each value, by model.
    """

    metric: Metric
    values: Mapping[str, float]
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """What a task tells a reader.

    Attributes:
        title: Heading.
        sentence: What was found, in one sentence.
        tables: Shown in order.
        figures: Shown in order.
        notes: How to read it.
        board: Columns for the leaderboard; None for those of `Metric.on_board`.
        files: More files by name, such as extxyz, as text.
    """

    title: str
    sentence: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Drawing] = ()
    notes: Sequence[str] = ()
    board: Sequence[BoardColumn] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
