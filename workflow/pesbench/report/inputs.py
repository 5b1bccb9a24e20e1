"""What the report reads: the registry and the scores of every model of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pesbench.compare import association, ladder_text, parity
from pesbench.core.errors import UserError
from pesbench.core.names import closest
from pesbench.files.scan_set import ScanSet
from pesbench.files.stored_tables import read_scores
from pesbench.models.models_file import read_models
from pesbench.models.record import is_record, recorded_entries
from pesbench.models.registry import ModelEntry, role
from pesbench.report import merged
from pesbench.report.tables import ModelFacts, More, leaderboard
from pesbench.tasks.bonds import score as scan_scores
from pesbench.tasks.bonds import seen
from pesbench.tasks.dynamics import score as dynamics_scores
from pesbench.tasks.dynamics import section as dynamics
from pesbench.tasks.vibrations import score as vibration_scores


@dataclass(frozen=True)
class ReportInputs:
    """Scores and facts of every model of a run.

    Attributes:
        facts: Of every model, in the order asked for.
        scores: One row a scan, by model.
        dynamics: One row a trajectory, by model that ran dynamics.
        vibrations: One row a molecule, by model whose frequencies were found.
    """

    facts: list[ModelFacts]
    scores: dict[str, pd.DataFrame]
    dynamics: dict[str, pd.DataFrame]
    vibrations: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def reference(self) -> str | None:
        """The reference that failures are counted in excess of; None if none ran dynamics."""
        references = (fact.name for fact in self.facts if fact.role == "reference")
        return next((name for name in references if name in self.dynamics), None)

    def board(self, rank_by: str) -> pd.DataFrame:
        """The leaderboard, with the columns of dynamics."""
        board = leaderboard(self.scores, self.facts, rank_by)
        board = board.merge(
            dynamics.dynamics_columns(self.dynamics, self.reference), on="model", how="left"
        )
        for column in ("md_n_planned", "md_n_finished", "md_n_counted", "md_n_reference_failed"):
            board[column] = board[column].astype("Int64")
        seconds = {  # scores of an older version do not tell those of the command
            name: float(frame["command_s"].sum(skipna=False))
            for name, frame in self.scores.items()
            if "command_s" in frame
        }
        return board.assign(scan_seconds=board["model"].map(seconds))

    def more(
        self,
        parity_csv: Path | None,
        board: pd.DataFrame,
        association_csv: Path | None = None,
        ladder_csvs: Sequence[Path] | None = None,
        merged_json: Path | None = None,
    ) -> list[More]:
        """The sections below the leaderboard that have something to say.

        Args:
            parity_csv: Of `parity`.
            board: Of `board`.
            association_csv: Of `associate`.
            ladder_csvs: The two of `ladder`: its numbers, and what they say of the claims.
            merged_json: Of `merge`.
        """
        asked = ("model", "reference")  # a perturbed model has seen what its base has
        others = {f.name: self.scores[f.name] for f in self.facts if f.role in asked}
        found = [dynamics.section(board)]
        if association_csv is not None:
            found.append(
                association.section(association_csv, has_reference=self.reference is not None)
            )
        if ladder_csvs is not None:
            found.append(ladder_text.section(*ladder_csvs))
        found.append(seen.section(others))
        if parity_csv is not None:
            found.append(parity.section(parity_csv))
        if merged_json is not None:
            found.append(merged.section(merged_json))
        return [section for section in found if section is not None]


def model_facts(entry: ModelEntry, level_of_theory: str) -> ModelFacts:
    """What the tables need to know of an entry, against a scan set's level of theory."""
    settings = entry.settings
    what = role(entry, level_of_theory)
    own = str(settings.get("level_of_theory", ""))
    return ModelFacts(
        name=entry.name,
        family=entry.family,
        role=what,
        level_of_theory=own,
        # a perturbed model has its base's
        theory_gap=what in ("model", "perturbed") and own != level_of_theory,
        control=(settings["control"], settings.get("dose")) if what == "control" else None,
        perturbation=(
            (str(settings["perturbation"]), float(settings["dose"]))
            if what == "perturbed"
            else None
        ),
        base=str(settings["base"]) if what == "perturbed" else "",
    )


def read_inputs(
    results: Path,
    models: Sequence[str],
    models_file: Path,
    scan_set: ScanSet,
    with_dynamics: Sequence[str] = (),
    with_vibrations: Sequence[str] = (),
) -> ReportInputs:
    """Facts and scores of some models.

    Args:
        results: Folder of the scan set's results.
        models: Names of the models.
        models_file: The registry, or `models.json` of a folder of results, for their facts.
        scan_set: What they were scored on.
        with_dynamics: Which of them ran dynamics.
        with_vibrations: Of which of them frequencies were found.

    Raises:
        UserError: a file is missing, or scores belong to another scan set.
    """
    read = recorded_entries if is_record(models_file) else read_models
    registry = read(models_file)
    facts, scores = [], {}
    for model in models:
        if model not in registry:
            raise UserError(f"{models_file}: no model {model!r}; {closest(model, registry)}")
        facts.append(model_facts(registry[model], scan_set.level_of_theory))
        scores[model] = _read_scores(
            results / model / "scores" / "bonds.parquet", scan_set, scan_scores
        )
    trajectories, vibrations = (
        {
            model: _read_scores(results / model / "scores" / file, scan_set, kind)
            for model in models
            if model in chosen
        }
        for file, chosen, kind in (
            ("dynamics.parquet", with_dynamics, dynamics_scores),
            ("vibrations.parquet", with_vibrations, vibration_scores),
        )
    )
    return ReportInputs(facts, scores, trajectories, vibrations)


def _read_scores(path: Path, scan_set: ScanSet, kind: Any) -> pd.DataFrame:
    columns = getattr(kind, "ALWAYS", kind.COLUMNS)
    found = read_scores(path, columns, kind.TEXT, getattr(kind, "WORDS", ()))
    if found.attrs["scan_set_sha256"] != scan_set.sha256:
        raise UserError(
            f"{path}: scored on another scan set than {scan_set.path}; remove it and score again"
        )
    if found.empty:
        raise UserError(f"{path}: holds no row; remove it and score again")
    return found
