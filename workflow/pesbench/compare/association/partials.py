"""What smoothness says beyond accuracy: the correlation given an error of the models.

A correlation given a covariate says something only if the covariate orders the models. A force MAE
that is about that of zero forces does not: such a model predicts nothing on these frames, and how
much of nothing is decided by a few frames. So a covariate that is saturated is shown and refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pesbench.compare.association.correlations import (
    NAN,
    draw_samples,
    sample_means,
    testable,
)
from pesbench.compare.association.panel import Panel, per_molecule
from pesbench.metrics import rank_statistics as statistics
from pesbench.metrics.aggregate import RESAMPLES
from pesbench.metrics.rank_statistics import Interval
from pesbench.models.variants import LEAST_VARIANTS

Array = NDArray[np.float64]

HELD_OUT = "held_out_force_mae"
THERMAL = "force_mae_1ev"
# what the correlation is given, by column of the scores, with its title
COVARIATES: Mapping[str, str] = {
    HELD_OUT: "force MAE on held-out molecules, from the model cards",
    THERMAL: "force MAE on frames up to 1 eV above the minimum",
    "force_mae": "force MAE on all frames of the scans",
}
SATURATED_SHARE = 0.5  # of the variants, from which a covariate is refused


@dataclass(frozen=True)
class HeldOut:
    """Error of a trained model on molecules that it was not trained on.

    Attributes:
        frames: Which frames these are: errors on others cannot be compared.
        force_mae: In eV/Å.
    """

    frames: str
    force_mae: float


@dataclass(frozen=True, eq=False)
class Partial:
    """The rank correlation of one of the named tests, given a covariate.

    Attributes:
        metric: Metric of the test.
        covariate: One of `COVARIATES`.
        n: Variants that have the covariate.
        families: Their families, sorted.
        low: Smallest value of the covariate among them (eV/Å).
        high: Largest value.
        zero: What zero forces have on the same scans; NaN if that is not known.
        n_saturated: Variants that are no better than zero forces: the 95 % interval of their mean
            over molecules contains that of zero forces or lies above it.
        plain: ρ of these variants without the covariate.
        spearman: ρ given the covariate; NaN where it is refused.
        interval: Interval of it, as that of `over_models`.
        refused: Why there is none, "" if there is.
    """

    metric: str
    covariate: str
    n: int
    families: tuple[str, ...]
    low: float
    high: float
    zero: float
    n_saturated: int
    plain: float
    spearman: float
    interval: Interval
    refused: str


@dataclass(frozen=True, eq=False)
class _Covariate:
    """A covariate of the variants of a panel.

    Attributes:
        data: The panel of those that have it.
        sums: Its sums by molecule, (V, K).
        counts: Scans of each molecule, (K,).
        zero: Sums of zero forces, (K,); None if not known.
    """

    data: Panel
    sums: Array
    counts: NDArray[np.int64]
    zero: Array | None


def partials(
    data: Panel,
    scans: pd.DataFrame,
    zero: pd.DataFrame | None,
    held_out: Mapping[str, HeldOut],
    name: str = "association",
    resamples: int = RESAMPLES,
) -> list[Partial]:
    """The correlation of a panel given each of `COVARIATES`.

    Args:
        data: Panel of the test.
        scans: Scores of scans, see `panel`, with the covariates that they have.
        zero: Scores of the control of zero forces, with `scan`, `system` and the covariates; None
            if it did not run.
        held_out: Held-out error of the models that have a card.
        name: What the seeds derive from.
        resamples: Bootstrap samples.
    """
    found = []
    for covariate in COVARIATES:
        if covariate == HELD_OUT:
            given: _Covariate | str = _of_cards(data, held_out)
        else:
            given = _of_scans(data, scans, zero, covariate)
        found.append(_partial(data, given, covariate, name, resamples))
    return found


def _of_cards(data: Panel, held_out: Mapping[str, HeldOut]) -> _Covariate | str:
    """The variants whose models were judged on the same frames, those of the largest such group."""
    if not any(model in held_out for models in data.members for model in models):
        return "no model has a card that tells it"
    frames = [_frames(models, held_out) for models in data.members]
    known = [one for one in frames if one is not None]
    if not known:
        return "no variant has cards of all its models that tell it of the same frames"
    most = pd.Series(known).mode().iloc[0]
    some = data.of(np.array([one == most for one in frames]))
    values = [np.mean([held_out[model].force_mae for model in models]) for models in some.members]
    counts = (data.x_count > 0).astype(np.int64)
    return _Covariate(some, np.outer(values, counts), counts, None)


def _frames(models: tuple[str, ...], held_out: Mapping[str, HeldOut]) -> str | None:
    """The frames that all models of a variant were judged on; None where there are no such."""
    frames = {held_out[model].frames if model in held_out else None for model in models}
    return frames.pop() if len(frames) == 1 else None


def _of_scans(
    data: Panel, scans: pd.DataFrame, zero: pd.DataFrame | None, covariate: str
) -> _Covariate | str:
    """The covariate on the shared scans of the panel on which all of its models have it."""
    if covariate not in scans or scans[covariate].isna().all():
        return "scores of an older version do not have it"
    sums, counts, kept = per_molecule(data, scans, covariate)
    if not counts.any():
        return "there is no scan on which all models have it"
    of_zero = None
    if zero is not None and covariate in zero:
        rows = zero.set_index("scan")[covariate].reindex(kept)
        if rows.notna().all():
            system = zero.set_index("scan")["system"].astype(str).reindex(kept)
            of_zero = rows.groupby(system).sum().reindex(data.systems, fill_value=0.0).to_numpy()
    return _Covariate(data, sums, counts, of_zero)


def _partial(
    data: Panel, given: _Covariate | str, covariate: str, name: str, resamples: int
) -> Partial:
    if isinstance(given, str):
        return Partial(data.metric, covariate, 0, (), NAN, NAN, NAN, 0, NAN, NAN, Interval(), given)
    some = given.data
    values = statistics.rounded(given.sums.sum(axis=1) / given.counts.sum())
    zero = NAN if given.zero is None else float(given.zero.sum() / given.counts.sum())
    sample = draw_samples(some, name, resamples)
    drawn = None if sample is None else sample_means(sample.systems, given.sums, given.counts)
    n_saturated = 0
    if drawn is not None and not np.isnan(zero):
        upper = np.quantile(drawn, 0.975, axis=0)
        n_saturated = int((upper >= zero).sum())
    x, y = some.x, some.y
    refused = _refused(x, y, values, n_saturated)
    rho, interval = NAN, Interval()
    if not refused:
        rho = float(statistics.partial_spearman(x, y, values))
        if sample is not None:
            _, draws = statistics.weighted_spearman(sample.x, sample.y, drawn, sample.variants)
            interval = statistics.percentile_interval(draws)
    return Partial(
        metric=data.metric,
        covariate=covariate,
        n=len(some.variants),
        families=tuple(sorted(set(some.families))),
        low=float(values.min()) if len(values) else NAN,
        high=float(values.max()) if len(values) else NAN,
        zero=zero,
        n_saturated=n_saturated,
        plain=float(statistics.spearman(x, y)) if testable(x, y) else NAN,
        spearman=rho,
        interval=interval,
        refused=refused,
    )


def _refused(x: Array, y: Array, values: Array, n_saturated: int) -> str:
    n = len(x)
    if n < LEAST_VARIANTS:
        return f"{n} variants have it, {LEAST_VARIANTS} are needed"
    if not testable(x, y):
        return "no correlation is defined"
    if n_saturated >= SATURATED_SHARE * n:
        return f"saturated: {n_saturated} of {n} variants are no better than zero forces"
    if np.ptp(values) == 0:
        return "it is the same for all variants"
    return ""
