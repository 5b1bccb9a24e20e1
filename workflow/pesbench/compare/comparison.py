"""Comparisons: a comparison answers a question from the scores of several models and tasks.

A comparison is one folder `compare/<name>`:

    comparison.py  COMPARISON, an instance of a subclass of `Comparison`; light: no pandas
    section.py     section(inputs: CompareInputs) -> Section (`pesbench.compare.inputs`)

No list of comparisons is kept: `comparisons` finds them by looking. The rules, `pesbench merge` and
`pesbench plan` ask each whether it applies and what it reads. Only the ladder has a key in the
config, `ladder`, which `pesbench.orchestration` reads.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pesbench.core.found import default_rank_by
from pesbench.core.section import ENTRY_COVERAGE
from pesbench.models.registry import ModelEntry
from pesbench.models.roles import role

# tasks whose scores are compared
BONDS, DYNAMICS, VIBRATIONS, APPROACH = "bonds", "dynamics", "vibrations", "approach"
ANSWERS = {BONDS: "evaluations", DYNAMICS: "trajectories"}  # what is compared beside scores


@dataclass(frozen=True)
class ReportRun:
    """Models and tasks of a report, which are known before anything is computed.

    Attributes:
        entries: All models by name, in the order of the run.
        level_of_theory: Level of theory of the scan set.
        ran: Models by task, in the order of the run; of `bonds`, which always runs, all of them.
        ladder: Models of the design ladder, the baseline first.
        scored_only: Models by task whose answers are not there, only scores of them.
        rank_by: Metric that ranks the models.
        entry_coverage: Least share of the planned scans that a model has to have scores of, to take
            part in what is shared.
    """

    entries: Mapping[str, ModelEntry]
    level_of_theory: str
    ran: Mapping[str, Sequence[str]]
    ladder: Sequence[str] = ()
    scored_only: Mapping[str, Collection[str]] = field(default_factory=dict)
    rank_by: str = field(default_factory=default_rank_by)
    entry_coverage: float = ENTRY_COVERAGE

    @functools.cached_property
    def roles(self) -> dict[str, str]:
        """The role of each model."""
        return {name: role(entry, self.level_of_theory) for name, entry in self.entries.items()}

    def ran_as(self, task: str, what: str) -> list[str]:
        """The models of a role that ran a task."""
        return [name for name in self.ran.get(task, ()) if self.roles[name] == what]


class Comparison:
    """A question across models and tasks. Subclasses set the attributes and what differs.

    Attributes:
        name: Name of the folder and of the section.
        title: Title for readers.
        summary: One sentence, for help texts and the documentation.
        unasked: A sentence for the top of the page of a run that it does not apply to, or "".
        takes_ladder: Whether it reads which models the design ladder has.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    unasked: ClassVar[str] = ""
    takes_ladder: ClassVar[bool] = False

    def applies(self, run: ReportRun) -> bool:
        """Whether a run has what is compared."""
        raise NotImplementedError

    def scores(self, run: ReportRun) -> dict[str, list[str]]:
        """Models by task whose scores are read."""
        return {task: list(run.ran.get(task, ())) for task in (BONDS, DYNAMICS)}

    def answers(self, run: ReportRun) -> dict[str, list[str]]:
        """Models by task whose stored answers are read, beside their scores; see `ANSWERS`."""
        return {}

    def files(self, run: ReportRun) -> list[Path]:
        """Other files that are read, such as model cards."""
        return []


_FOLDER = Path(__file__).parent


@functools.cache
def comparisons() -> dict[str, Comparison]:
    """All comparisons by name, sorted."""
    names = sorted(path.parent.name for path in _FOLDER.glob("*/comparison.py"))
    found = (importlib.import_module(comparison_module(name)) for name in names)
    return {name: module.COMPARISON for name, module in zip(names, found, strict=True)}


def comparison_module(name: str) -> str:
    """The dotted name of the module that says what a comparison is."""
    return f"pesbench.compare.{name}.comparison"


def section_module(name: str) -> str:
    """The dotted name of the module that makes the section of a comparison."""
    return f"pesbench.compare.{name}.section"


def section_of(name: str) -> Any:
    """The function `section` of a comparison."""
    return importlib.import_module(section_module(name)).section
