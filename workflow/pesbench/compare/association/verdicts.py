"""Verdict on a correlation, by rules.

Primary: Spearman's ρ of `fsd_full` with the survival time lost in excess of the reference, over
models of several families. Secondary: the same with `fsd_windowed`. All else is exploratory, under
Benjamini–Hochberg. How often the rules err: `benchmarks/verdict_rule.py`, docs/association.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pesbench.compare.association.correlations import (
    Association,
    if_start_failed,
    over_families,
    panels_with_start_failed,
)
from pesbench.compare.association.panel import FAILED, TIME_LOST, Panels, Point
from pesbench.metrics import rank_statistics as statistics
from pesbench.metrics.aggregate import RESAMPLES
from pesbench.metrics.coverage import ENTRY_COVERAGE
from pesbench.models.variants import LEAST_VARIANTS

PRIMARY = "fsd_full"
METRIC_TITLES: Mapping[str, str] = {"fsd_full": "FSD", "fsd_windowed": "windowed FSD"}
SECONDARY = "fsd_windowed"
NEARLY = 0.05
SIGNIFICANCE = 0.05
LEAST_FAMILIES = 5  # in which a share of the trajectories fails, see docs/association.md
_EQUAL = 1e-9  # sums of shares


class Finding(StrEnum):
    """Finding on the claim that the metric predicts the response."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    SUPPORTED_WITHIN = "supported within"
    CONTRADICTED_WITHIN = "contradicted within"
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


# --- the rules -----------------------------------------------------------------------------------


def resolved_sign(
    given_family: ArrayLike,
    p: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    level: float = SIGNIFICANCE,
) -> NDArray[np.int64]:
    """The sign of a correlation that is resolved, 0 if it is not.

    It is if p lies below the level, and every interval lies on the side of 0 on which the
    correlation within families is.

    Args:
        given_family: Correlation within families, shape (...).
        p: Two-sided, of that.
        low: Lower ends of k intervals, shape (..., k): that of all variants, and those with each
            family left out. NaN for no interval.
        high: Upper ends.
        level: Of significance.
    """
    above, below = (np.asarray(low) > 0).all(axis=-1), (np.asarray(high) < 0).all(axis=-1)
    side = np.where(above, 1, np.where(below, -1, 0))
    agrees = (np.asarray(p) < level) & (np.sign(given_family) == side)
    return np.where(agrees, side, 0)


def _resolved(found: Association, others: Iterable[Association], level: float) -> int:
    """The sign of an association that is resolved, with others; 0 if it is none of all bounds."""
    intervals = [one.interval for one in (found, *others)]
    low, high = [one.low for one in intervals], [one.high for one in intervals]
    sign = int(resolved_sign(found.given_family, found.p, low, high, level))
    bounds = (b for b in (found.if_all_fail, found.if_all_survive) if b is not None)
    return sign if all(np.sign(b) == sign for b in bounds) else 0


def failing(found: Association) -> tuple[str, ...]:
    """The families in which more than 5 % of the trajectories fail, sorted."""
    families = np.array(found.families, dtype=str)
    share = {str(one): found.failed[families == one].mean() for one in np.unique(families)}
    return tuple(family for family, one in share.items() if one > NEARLY + _EQUAL)


def across_families(found: Association) -> int:
    """The sign that is resolved across families, 0 if none is; see `verdict`."""
    if found.response in (TIME_LOST, FAILED):
        if len(failing(found)) < LEAST_FAMILIES:
            return 0
    elif len(set(found.families)) < LEAST_FAMILIES:
        return 0
    return _resolved(found, found.without.values(), SIGNIFICANCE)


def within_families(found: Association) -> dict[str, int]:
    """The sign that is resolved within single families, by family; only those with one."""
    asked = {
        family: one
        for family, one in found.alone.items()
        if one.n >= LEAST_VARIANTS and not _ceiling(one)
    }
    level = SIGNIFICANCE / max(1, len(asked))
    signs = {family: _resolved(one, (), level) for family, one in asked.items()}
    return {family: sign for family, sign in signs.items() if sign}


def verdict(found: Association, in_excess: bool = True) -> Verdict:
    """Verdict on one association, by the first of these rules that applies.

    1. Fewer than 8 independent variants: not resolved, whatever the numbers.
    2. For survival: (nearly) all survive or all fail: not informative. "Nearly": the shares of
       trajectories that failed, averaged over variants, are at most 5 % or at least 95 %; or at
       most one variant fails at all; or at most one fails in less than all of them.
    3. At least `LEAST_FAMILIES` families in which more than 5 % of the trajectories fail, p within
       families < 0.05, and the 95 % interval of ρ excludes 0 on the same side with all families
       and with each of them left out: supported with the expected sign, contradicted with the
       other; but if runs were cut, only where ρ keeps its sign whether all of them had failed or
       lived.
    4. The same within single families of at least 8 variants, with p < 0.05 divided by the number
       of such families: supported, or contradicted, within these.
    5. Else not resolved.

    Args:
        found: Association over models, of `over_families`.
        in_excess: Whether failures are counted in excess of a reference's.
    """
    said = _SAID[found.response]
    if in_excess and found.response in (TIME_LOST, FAILED):
        said += " in excess of the reference"
    metric = METRIC_TITLES.get(found.metric, found.metric)
    what = f"whether {metric} predicts {said}"
    n, numbers = found.n, _numbers(found)
    if n < LEAST_VARIANTS:
        reason = f"at least {LEAST_VARIANTS} independent model variants are needed to decide {what}"
        return Verdict(Finding.NOT_RESOLVED, f"not resolved at n = {n}: {reason}{numbers}.")
    ceiling = _ceiling(found)
    if ceiling:
        sentence = f"not informative: {ceiling}, which cannot decide {what}{numbers}."
        return Verdict(Finding.NOT_INFORMATIVE, sentence)
    sign = across_families(found)
    if sign:
        finding = Finding.SUPPORTED if sign == found.expected else Finding.CONTRADICTED
        reason = f"models with a {_order(sign)} {metric} show more {said}"
        return Verdict(finding, f"{finding.value}: {reason}{numbers}{_left_out_once(found)}.")
    inside = within_families(found)
    if len(set(inside.values())) == 1:
        sign = next(iter(inside.values()))
        right = sign == found.expected
        finding = Finding.SUPPORTED_WITHIN if right else Finding.CONTRADICTED_WITHIN
        each = "; ".join(f"{name}{_numbers(found.alone[name])}" for name in inside)
        return Verdict(
            finding,
            f"{finding.value} {' and '.join(inside)}, not resolved across families: variants with "
            f"a {_order(sign)} {metric} show more {said} in {each}; of models at large the "
            f"data do not decide it: {_why_not(found)}{numbers}.",
        )
    return Verdict(
        Finding.NOT_RESOLVED,
        f"not resolved across families at n = {_count(found)}: the data do not decide {what}: "
        f"{_why_not(found)}{numbers}.",
    )


_SAID: Mapping[str, str] = {
    TIME_LOST: "survival time lost",
    FAILED: "failures",
    "temperature_spike": "temperature spikes",
    "energy_drift_mev_per_atom_ps": "energy drift",
    "energy_rms_mev_per_atom": "fluctuation of the total energy",
    "energy_excursion_mev_per_atom": "excursion of the total energy",
    "energy_jump_mev": "jumps of the total energy",
}


# --- the sentences -------------------------------------------------------------------------------


def _order(sign: int) -> str:
    return "higher" if sign > 0 else "lower"


def _count(found: Association) -> str:
    """Variants and families in words."""
    families = len(set(found.families))
    return f"{found.n} variants of {families} {'family' if families == 1 else 'families'}"


def _why_not(found: Association) -> str:
    """What the rule across families lacks."""
    if found.response in (TIME_LOST, FAILED):
        names = failing(found)
        if len(names) < LEAST_FAMILIES:
            of = f" ({', '.join(names)})" if names else ""
            return (
                f"a share of the trajectories fails in {len(names)} of {len(set(found.families))} "
                f"families{of}, {LEAST_FAMILIES} are needed"
            )
    elif len(set(found.families)) < LEAST_FAMILIES:
        return f"{LEAST_FAMILIES} families are needed"
    if not found.p < SIGNIFICANCE:
        return f"p within families is not below {SIGNIFICANCE:g}"
    if not found.interval.excludes(0):
        return "the interval does not exclude 0"
    open_ = [family for family, one in found.without.items() if not one.interval.excludes(0)]
    if open_:
        return f"without {' or '.join(open_)} the interval does not exclude 0"
    return "the sign differs within families, for families left out or for runs that were cut"


def _left_out_once(found: Association) -> str:
    rho = [one.spearman for one in found.without.values()]
    return f"; with each family left out once ρ is {min(rho):.2f} to {max(rho):.2f}" if rho else ""


def _numbers(found: Association) -> str:
    """Numbers of a verdict in brackets, or what is missing."""
    if not found.n:
        return ""
    if np.isnan(found.spearman):
        return f" (no correlation is defined, n = {found.n})"
    parts = [f"Spearman ρ = {found.spearman:.2f}"]
    if not np.isnan(found.interval.low):
        parts.append(f"95 % interval {found.interval.low:.2f} to {found.interval.high:.2f}")
    if np.isnan(found.p):
        parts.append("no p")
    else:
        parts.append(f"p = {found.p:.2g}")
        least = statistics.smallest_p(found.families)
        if least >= SIGNIFICANCE:
            parts.append(f"at least {least:.2g} with these families")
    parts.append(f"n = {_count(found)}")
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
        rate = f"{100 * share:.2g} % of the runs fail"
        return f"nearly all survive ({rate}, in {some} of {n} compared variants)"
    if every >= n - 1 or share >= 1 - NEARLY - _EQUAL:
        rate = f"{100 * share:.3g} % of the runs"
        return f"nearly all fail ({rate}, all in {every} of {n} compared variants)"
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
    least_scans: float = ENTRY_COVERAGE,
) -> Answer:
    """The primary and the secondary test.

    Arguments and errors as `Panels`, `over_families` and `panels_with_start_failed`; the bound of
    the latter stands beside the tests and changes neither of them. `in_excess` says whether a
    reference ran dynamics, which the sentences tell.
    """
    panels = Panels(scans, runs, points, least_scans)
    bounding = panels_with_start_failed(scans, runs, start_failed, points, least_scans)
    one, two = (
        replace(
            over_families(panels.panel(metric), name, resamples),
            if_start_failed=if_start_failed(bounding, metric),
        )
        for metric in (PRIMARY, SECONDARY)
    )
    return Answer(one, two, verdict(one, in_excess), verdict(two, in_excess))
