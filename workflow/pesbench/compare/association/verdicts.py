"""Verdict on a correlation, by rules that were fixed before there was an answer.

Primary: Spearman's ρ of `fsd_full` with the survival time lost in excess of the reference, over
models. Secondary: the same with `fsd_windowed`. All else is exploratory, under Benjamini–Hochberg.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from pesbench.compare.association import statistics
from pesbench.compare.association.correlations import Association, if_start_failed, over_models
from pesbench.compare.association.panel import FAILED, TIME_LOST, Point, panel
from pesbench.metrics.aggregate import RESAMPLES
from pesbench.models.variants import LEAST_VARIANTS

PRIMARY = "fsd_full"
SECONDARY = "fsd_windowed"
NEARLY = 0.05
SIGNIFICANCE = 0.05
_EQUAL = 1e-9  # sums of shares


class Finding(StrEnum):
    """Finding on the claim that the metric predicts the response."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    NOT_RESOLVED = "not resolved"
    NOT_INFORMATIVE = "not informative"


@dataclass(frozen=True)
class Verdict:
    """A finding and the one sentence that the data support.

    Attributes:
        finding: The finding in a word.
        sentence: The sentence with the numbers.
    """

    finding: Finding
    sentence: str


def verdict(found: Association, in_excess: bool = True) -> Verdict:
    """Verdict on one association, by rules that were fixed before there was data.

    In this order:

    1. Fewer than 8 independent variants: not resolved, whatever the numbers.
    2. For survival: (nearly) all survive or all fail: not informative. "Nearly": the shares of
       trajectories that failed, averaged over variants, are at most 5 % or at least 95 %; or at
       most one variant fails at all; or at most one fails in less than all of them.
    3. p < 0.05 and the 95 % interval of ρ excludes 0: supported with the expected sign,
       contradicted with the other; but if runs were cut, only where ρ keeps its sign whether all
       of them had failed or lived.
    4. Else not resolved.

    Args:
        found: Association over models or over pairs.
        in_excess: Whether failures are counted in excess of a reference's.
    """
    n, numbers = found.n, _numbers(found)
    said = _SAID[found.response]
    if in_excess and found.response in (TIME_LOST, FAILED):
        said += " in excess of the reference"
    what = f"whether {found.metric} predicts {said}"
    if n < LEAST_VARIANTS:
        reason = f"at least {LEAST_VARIANTS} independent model variants are needed to decide {what}"
        return _said(Finding.NOT_RESOLVED, n, reason, numbers)
    ceiling = _ceiling(found)
    if ceiling:
        return _said(Finding.NOT_INFORMATIVE, n, f"{ceiling}, which cannot decide {what}", numbers)
    sign = np.sign(found.spearman)
    kept = all(
        np.sign(b) == sign for b in (found.if_all_fail, found.if_all_survive) if b is not None
    )
    if found.p < SIGNIFICANCE and found.interval.excludes(0) and kept:
        if sign == found.expected:
            order = "higher" if found.expected > 0 else "lower"
            reason = f"models with a {order} {found.metric} show more {said}"
            return _said(Finding.SUPPORTED, n, reason, numbers)
        order = "lower" if found.expected > 0 else "higher"
        reason = f"models with a {order} {found.metric} show more {said}"
        return _said(Finding.CONTRADICTED, n, reason, numbers)
    reason = f"the data do not decide {what}"
    return _said(Finding.NOT_RESOLVED, n, reason, numbers)


_SAID: Mapping[str, str] = {
    TIME_LOST: "survival time lost",
    FAILED: "failures",
    "temperature_spike": "temperature spikes",
    "energy_drift_mev_per_atom_ps": "energy drift",
    "energy_rms_mev_per_atom": "fluctuation of the total energy",
    "energy_excursion_mev_per_atom": "excursion of the total energy",
    "energy_jump_mev": "jumps of the total energy",
}


def _said(finding: Finding, n: int, reason: str, numbers: str) -> Verdict:
    word = f"{finding.value} at n = {n}" if finding is Finding.NOT_RESOLVED else finding.value
    return Verdict(finding, f"{word}: {reason}{numbers}.")


def _numbers(found: Association) -> str:
    """Numbers of a verdict in brackets, or what is missing."""
    if not found.n:
        return ""
    if np.isnan(found.spearman):
        return f" (no correlation is defined, n = {found.n})"
    parts = [f"Spearman ρ = {found.spearman:.2f}"]
    if not np.isnan(found.interval.low):
        parts.append(f"95 % interval {found.interval.low:.2f} to {found.interval.high:.2f}")
    parts.append(f"p = {found.p:.2g}")
    if found.n < LEAST_VARIANTS:
        parts.append(f"at least {statistics.smallest_p(found.n):.2g} at this n")
    parts.append(f"n = {found.n} variants")
    if found.if_all_fail is not None and found.if_all_survive is not None:
        parts.append(
            f"ρ = {found.if_all_fail:.2f} if every run that was cut had failed, "
            f"{found.if_all_survive:.2f} if it had survived"
        )
    return f" ({', '.join(parts)})"


def _ceiling(found: Association) -> str:
    """Why the outcome cannot inform; "" if it can."""
    if found.response not in (TIME_LOST, FAILED) or not found.n_runs:
        return ""
    share, n = float(found.failed.mean()), found.n
    some = int((found.failed > _EQUAL).sum())
    every = int((found.failed > 1 - _EQUAL).sum())
    if some <= 1 or share <= NEARLY + _EQUAL:
        return (
            f"nearly all survive ({100 * share:.2g} % of the runs fail, in {some} of {n} variants)"
        )
    if every >= n - 1 or share >= 1 - NEARLY - _EQUAL:
        return f"nearly all fail ({100 * share:.3g} % of the runs, all in {every} of {n} variants)"
    return ""


@dataclass(frozen=True, eq=False)
class Answer:
    """The two named tests over models.

    Attributes:
        primary: `fsd_full` with the time lost.
        secondary: `fsd_windowed` with the time lost.
        primary_verdict: The answer.
        secondary_verdict: Verdict that is shown beside the primary one and does not replace it.
    """

    primary: Association
    secondary: Association
    primary_verdict: Verdict
    secondary_verdict: Verdict


def answer(
    scans: pd.DataFrame,
    runs: pd.DataFrame,
    points: Mapping[str, Point] | None = None,
    name: str = "association",
    resamples: int = RESAMPLES,
    start_failed: pd.DataFrame | None = None,
    *,
    in_excess: bool = True,
) -> Answer:
    """The primary and the secondary test.

    Arguments and errors as `panel`, `over_models` and `if_start_failed`; the latter's bound stands
    beside the tests and changes neither of them. `in_excess` says whether a reference ran dynamics,
    which the sentences tell.
    """
    one, two = (
        replace(
            over_models(panel(scans, runs, metric, TIME_LOST, points), name, resamples),
            if_start_failed=if_start_failed(scans, runs, start_failed, metric, TIME_LOST, points),
        )
        for metric in (PRIMARY, SECONDARY)
    )
    return Answer(one, two, verdict(one, in_excess), verdict(two, in_excess))
