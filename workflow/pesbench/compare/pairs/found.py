"""What is compared: scores of all models, who takes part, differences, ranks with and without."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pesbench.compare.inputs import CompareInputs, entry_reasons, shared_scores, wide_scores
from pesbench.core.found import ranking
from pesbench.core.section import Metric
from pesbench.metrics.aggregate import RESAMPLES, ranks
from pesbench.metrics.coverage import lost_by, ranks_with_and_without
from pesbench.metrics.paired import Paired, paired_differences

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """M models, ranked ones first, in the order of their ranks.

    Attributes:
        metric: The metric that ranks.
        names: The models.
        rank: Their ranks on the scans that all that take part share, (M,); 0 for none.
        reasons: Why a model takes no part, "" for one that does; length M.
        n_planned: Scans that were planned for each, (M,).
        n_costs: Scans that each alone takes from what the others share, (M,).
        n_shared: Scans that all models that take part share.
        values: Scores, one row a scan, one column a model; NaN where it has none.
        systems: System of each scan.
        status: Status of each scan and model, as `values`; "" where it was not planned.
        paired: Differences, row minus column.
        with_other: With model j, the rank of model i among the others, at [j, i]; 0 for none.
        without_other: The same without model j.
    """

    metric: Metric
    names: list[str]
    rank: Counts
    reasons: list[str]
    n_planned: Counts
    n_costs: Counts
    n_shared: int
    values: pd.DataFrame
    systems: pd.Series
    status: pd.DataFrame
    paired: Paired
    with_other: Counts
    without_other: Counts

    @property
    def n_scored(self) -> Counts:
        """Scans that each model has a number for, (M,)."""
        return self.values.notna().sum().to_numpy()

    def changes(self, model: int) -> list[int]:
        """The models that change the rank of one among the others, as indices."""
        return np.flatnonzero(self.with_other[:, model] != self.without_other[:, model]).tolist()

    def alike(self, model: int) -> list[int]:
        """The models that it does not differ from, as indices; those not decided are left out."""
        return np.flatnonzero(self.paired.decided[model] & ~self.paired.differs[model]).tolist()


def find_pairs(inputs: CompareInputs, resamples: int = RESAMPLES) -> Pairs:
    """Compare all entries of the role `model`.

    Args:
        inputs: Facts and scores of a run.
        resamples: Bootstrap samples.
    """
    models = [fact.name for fact in inputs.facts if fact.role == "model"]
    scores = {name: inputs.scores[name] for name in models if name in inputs.scores}
    wide, systems = wide_scores(scores, inputs.rank_by)
    reasons = entry_reasons(scores, wide, inputs.rank_by, inputs.entry_coverage)
    shared = shared_scores(wide, reasons)
    rank = pd.Series(0, index=wide.columns)
    if len(shared):
        rank[shared.columns] = ranks(shared.to_numpy().T)
    names = _in_order(wide, rank)
    wide, rank = wide[names], rank[names]
    enters = np.array([not reasons[name] for name in names])
    values = wide.to_numpy().T
    with_other, without_other = ranks_with_and_without(values, enters)
    status = {name: scores[name].set_index("scan")["status"] for name in names}
    return Pairs(
        metric=ranking()[inputs.rank_by],
        names=names,
        rank=rank.to_numpy(),
        reasons=[reasons[name] for name in names],
        n_planned=np.array([len(scores[name]) for name in names]),
        n_costs=lost_by(np.isfinite(values), enters),
        n_shared=len(shared),
        values=wide,
        systems=systems,
        status=pd.DataFrame(status, index=wide.index, columns=names).fillna(""),
        paired=paired_differences(values, systems.tolist(), inputs.rank_by, resamples),
        with_other=with_other,
        without_other=without_other,
    )


def _in_order(wide: pd.DataFrame, rank: pd.Series) -> list[str]:
    """Ranked models by rank, then the others by their own mean."""
    own = wide.mean().fillna(np.inf).where(rank == 0, 0.0)
    return sorted(wide.columns, key=lambda name: (rank[name] == 0, rank[name], own[name], name))
