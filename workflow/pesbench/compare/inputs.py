"""Inputs of comparisons: facts and scores of models, by task.

This module is the one place where comparisons reach into tasks: what they need of how `bonds` and
`dynamics` are scored, they import from here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pesbench.compare.comparison import BONDS, DYNAMICS, VIBRATIONS
from pesbench.core.found import default_rank_by
from pesbench.core.section import ENTRY_COVERAGE
from pesbench.models.facts import ModelFacts
from pesbench.models.registry import ModelEntry
from pesbench.tasks.bonds.breaks import wall_gives_way
from pesbench.tasks.bonds.kinds import of_published_kind
from pesbench.tasks.bonds.score import ENERGY_METRICS, FORCE_METRICS, curve_faults
from pesbench.tasks.bonds.shared import entry_reasons, shared_scores, wide_scores
from pesbench.tasks.dynamics.board import dynamics_columns, main_runs, survivors
from pesbench.tasks.dynamics.stored import Trajectories

__all__ = [
    "ENERGY_METRICS", "FORCE_METRICS", "CompareInputs", "Trajectories", "curve_faults",
    "dynamics_columns", "entry_reasons", "main_runs", "shared_scores", "survivors",
    "wall_gives_way", "wide_scores",
]  # fmt: skip


@dataclass(frozen=True)
class CompareInputs:
    """Input of `section` of a comparison.

    Attributes:
        facts: Facts about every model, in the order of the run.
        tables: Scores by task and model.
        entries: Entries of all models, resolved, by name.
        ladder: Models of the design ladder, the baseline first.
        evaluations: Files of the models whose evaluations are compared, by name.
        trajectories: Files of the models whose trajectories are compared, by name.
        scan_set: Name of the scan set.
        scan_set_file: The scan set itself; None where a test needs none.
        made: Names and values that say how the section is made, for texts of its own.
        rank_by: Metric that ranks the models.
        entry_coverage: Least share of the planned scans that a model has to have scores of, to take
            part in what is shared, see `pesbench.metrics.coverage`.
    """

    facts: Sequence[ModelFacts]
    tables: Mapping[str, Mapping[str, pd.DataFrame]]
    entries: Mapping[str, ModelEntry] = field(default_factory=dict)
    ladder: Sequence[str] = ()
    evaluations: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    trajectories: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    scan_set: str = ""
    scan_set_file: Path | None = None
    made: Sequence[tuple[str, str]] = ()
    rank_by: str = field(default_factory=default_rank_by)
    entry_coverage: float = ENTRY_COVERAGE

    @functools.cached_property
    def scores(self) -> Mapping[str, pd.DataFrame]:
        """One row a scan of the published kind, by model: bonds without a hydrogen."""
        return {name: of_published_kind(rows) for name, rows in self.tables.get(BONDS, {}).items()}

    @property
    def dynamics(self) -> Mapping[str, pd.DataFrame]:
        """One row a trajectory, by model that ran dynamics."""
        return self.tables.get(DYNAMICS, {})

    @property
    def vibrations(self) -> Mapping[str, pd.DataFrame]:
        """One row a molecule, by model whose frequencies were found."""
        return self.tables.get(VIBRATIONS, {})

    @property
    def reference(self) -> str | None:
        """The reference that failures are counted in excess of; None if none ran dynamics."""
        references = (fact.name for fact in self.facts if fact.role == "reference")
        return next((name for name in references if name in self.dynamics), None)
