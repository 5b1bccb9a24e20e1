"""Numbers of each detector and model, from the rows of its molecules.

A value on scans is the mean over molecules of a value within a molecule and a side, so that neither
the step from compression to stretch nor that from one molecule to another counts for a detector.
Intervals resample molecules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pesbench.metrics.aggregate import LEVEL, mean_interval, resample
from pesbench.tasks.alarms.detectors import BY_NAME, DETECTORS, DYNAMICS, SCAN_DOMAINS, TRIVIAL
from pesbench.tasks.alarms.events import (
    LEAST_EXPOSURE_PS,
    USEFUL_ALARMS_PER_PS,
    rate_interval,
)

Array = NDArray[np.float64]

LEAST_MOLECULES = 5  # with right and wrong frames, for a verdict
LEAST_FAILURES = 5
USEFUL, NOT_USEFUL, OPEN = "useful", "not useful", "not resolved"
ENDS = ("", "_low", "_high")  # of a column: the value, and the ends of its 95 % interval
SCAN_COLUMNS = (
    "model", "detector", "domain", "n_molecules", "share_wrong",
    *(
        f"{name}{end}"
        for name in ("auroc", "auprc", "spearman", "recall", "false_alarm_rate")
        for end in ENDS
    ),
    "n_unanswered", "n_asked",
    *(f"gain_{name}{end}" for name in TRIVIAL for end in ENDS),
)  # fmt: skip
_COUNTS = (
    "n_runs", "n_early", "n_failed", "n_warned", "n_in_time", "n_failed_shared",
    "n_in_time_shared", "n_false_events", "n_false_shared",
)  # fmt: skip
_TIMES = ("stable_ps", "quiet_ps", "quiet_ps_shared")
DYNAMICS_COLUMNS = (
    "model", "detector", *_COUNTS, "lead_fs", "lead_fs_low", "lead_fs_high", *_TIMES,
    "alarms_per_ps", "alarms_per_ps_low", "alarms_per_ps_high", "threshold_low", "threshold_high",
    "verdict", "reason",
)  # fmt: skip


def _scored(frame: pd.DataFrame, detector: str, domain: str) -> pd.DataFrame:
    here = (frame["detector"] == detector) & (frame["domain"] == domain)
    return frame[here & (frame["status"] == "ok")]


def scans(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a model, detector and side: `SCAN_COLUMNS`; none where no molecule has a score."""
    rows = []
    for model, frame in scores.items():
        for detector in DETECTORS:
            for domain in SCAN_DOMAINS:
                mine = _scored(frame, detector.name, domain)
                if len(mine):
                    rows.append(
                        {"model": model, "detector": detector.name, "domain": domain}
                        | _scan_row(mine, f"alarms {detector.name} {domain}")
                    )
    return pd.DataFrame(rows, columns=list(SCAN_COLUMNS))


def _scan_row(mine: pd.DataFrame, name: str) -> dict[str, float]:
    both = mine[mine["auroc"].notna()]
    row: dict[str, float] = {
        "n_molecules": len(both),
        "n_unanswered": int(mine["n_unanswered"].sum()),
        "n_asked": int((mine["n_frames"] + mine["n_unanswered"]).sum()),
        "share_wrong": float((both["n_wrong"] / both["n_frames"]).mean()),
    }
    for column in ("auroc", "auprc", "spearman"):
        row |= _mean(column, both[column], both["system"], name)
    for other in TRIVIAL:
        gain = both["auroc"] - both[f"auroc_{other}"]
        row |= _mean(f"gain_{other}", gain, both["system"], name)
    # at the threshold of other molecules, over all frames
    told = mine[mine["n_false"].notna()]
    found, wrong = told["n_found"].to_numpy(float), told["n_wrong"].to_numpy(float)
    false, right = told["n_false"].to_numpy(float), told["n_frames"].to_numpy(float) - wrong
    row |= _ratio("recall", found, wrong, name)
    return row | _ratio("false_alarm_rate", false, right, name)


def _mean(column: str, values: pd.Series, systems: pd.Series, name: str) -> dict[str, float]:
    """The mean over molecules and its interval, as three columns; none where there is no value."""
    held = values.dropna()
    if not len(held):
        return {}
    interval = mean_interval(held, systems[held.index], name)
    return _columns(column, float(held.mean()), *interval)


def _ratio(column: str, part: Array, whole: Array, name: str) -> dict[str, float]:
    """A share of all frames and its interval over molecules; none where there is no frame."""
    if not whole.sum():
        return {}
    value, low, high = part.sum() / whole.sum(), np.nan, np.nan
    if len(whole) > 1:
        counts = resample(len(whole), name)
        totals = counts @ whole
        low, high = _ends((counts @ part)[totals > 0] / totals[totals > 0])
    return _columns(column, value, low, high)


def _median(column: str, values: Array, counts: Array, name: str) -> dict[str, float]:
    """The median of values that count several times each; its interval resamples the values."""
    values, counts = values[counts > 0], counts[counts > 0]
    if not len(values):
        return {}
    value, low, high = float(np.median(np.repeat(values, counts))), np.nan, np.nan
    if len(values) > 1:
        order = np.argsort(values)
        reached = np.cumsum((resample(len(values), name) * counts)[:, order], axis=1)
        middle = np.argmax(2 * reached >= reached[:, -1:], axis=1)
        low, high = _ends(values[order][middle])
    return _columns(column, value, low, high)


def _ends(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _columns(column: str, *values: float) -> dict[str, float]:
    return {f"{column}{end}": value for end, value in zip(ENDS, values, strict=True)}


def dynamics(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a model and detector: `DYNAMICS_COLUMNS`; none where no molecule has a score."""
    rows = []
    for model, frame in scores.items():
        for detector in DETECTORS:
            mine = _scored(frame, detector.name, DYNAMICS)
            if not len(mine):
                continue
            row = {"model": model, "detector": detector.name}
            row |= {name: int(mine[name].sum()) for name in _COUNTS}
            row |= {name: float(mine[name].sum()) for name in _TIMES}
            # of the two halves
            row["threshold_low"] = float(mine["threshold"].min())
            row["threshold_high"] = float(mine["threshold"].max())
            row |= _median(
                "lead_fs", mine["lead_fs"].to_numpy(float), mine["n_failed"].to_numpy(int),
                f"alarms {detector.name} {DYNAMICS}",
            )  # fmt: skip
            if row["quiet_ps"] > 0:
                rate = row["n_false_events"] / row["quiet_ps"]
                interval = rate_interval(row["n_false_events"], row["quiet_ps"])
                row |= _columns("alarms_per_ps", rate, *interval)
            said, why = verdict(row)
            rows.append(row | {"verdict": said, "reason": why})
    return pd.DataFrame(rows, columns=list(DYNAMICS_COLUMNS))


def verdict(row: Mapping[str, float]) -> tuple[str, str]:
    """Whether a detector is useful in dynamics: early enough, and seldom wrong.

    Early is an alarm in time for most of the failures at temperatures at which other trajectories
    survive. Seldom is a Poisson interval of the false alarms below the limit, and at those
    temperatures, where the time is short, a rate below it.

    Returns:
        `useful`, `not useful` or `not resolved`, and why it is not useful or not resolved.
    """
    if row["stable_ps"] < LEAST_EXPOSURE_PS:
        return OPEN, f"less than {LEAST_EXPOSURE_PS:g} ps of stable time"
    if row["n_failed"] < LEAST_FAILURES:
        return OPEN, f"fewer than {LEAST_FAILURES} failures later than 20 fs"
    if row["n_failed_shared"] < LEAST_FAILURES:
        few = f"fewer than {LEAST_FAILURES}" if row["n_failed_shared"] else "no"
        return OPEN, f"{few} failures at temperatures at which a trajectory survives"
    if 2 * row["n_in_time_shared"] <= row["n_failed_shared"]:
        return NOT_USEFUL, "too late"
    everywhere = row["n_false_events"], row["quiet_ps"]
    shared = row["n_false_shared"], row["quiet_ps_shared"]
    if any(_often(*one) for one in (everywhere, shared)):
        return NOT_USEFUL, "too many false alarms"
    if rate_interval(*everywhere)[1] >= USEFUL_ALARMS_PER_PS:
        return OPEN, f"the interval of false alarms reaches {USEFUL_ALARMS_PER_PS:g} per ps"
    if shared[0] >= USEFUL_ALARMS_PER_PS * shared[1]:
        return OPEN, "false alarms at the temperatures of the failures, in a short time"
    return USEFUL, ""


def _often(n_events: float, quiet_ps: float) -> bool:
    """Whether the rate of alarms is not below the limit, or no time is without an alarm."""
    return not quiet_ps > 0 or rate_interval(n_events, quiet_ps)[0] >= USEFUL_ALARMS_PER_PS


def beats_trivial(row: Mapping[str, float]) -> bool | None:
    """Whether a detector tells wrong frames better than both trivial scores, by intervals.

    None where fewer than 5 molecules have right and wrong frames, and of a trivial score itself.
    """
    if row["detector"] in TRIVIAL or not row["n_molecules"] >= LEAST_MOLECULES:
        return None
    return all(row[f"gain_{name}_low"] > 0 for name in TRIVIAL)


@dataclass(frozen=True)
class Answer:
    """What is found about the detectors.

    Attributes:
        sentence: For readers.
        resolved: Whether anything could be decided.
    """

    sentence: str
    resolved: bool


def answer(ladder: pd.DataFrame, moving: pd.DataFrame, potentials: Mapping[str, str]) -> Answer:
    """Which detector to use, or that none is.

    The seeds of a potential are no independent models, so that potentials are counted: one counts
    for a detector where most of its seeds that are resolved do.

    Args:
        ladder: `scans` of the models that count.
        moving: `dynamics` of the same models.
        potentials: Name that the seeds of a potential share, by model.
    """
    of = [table.assign(potential=table["model"].map(potentials)) for table in (moving, ladder)]
    said = [_of_dynamics(of[0]), _of_scans(of[1])]
    return Answer(" ".join(text for text, _ in said if text), any(done for _, done in said))


def _counts(decided: pd.DataFrame, good: pd.Series) -> pd.Series:
    """Potentials by detector for most of whose seeds it is good; detectors with none left out.

    Args:
        decided: Rows of a model and detector.
        good: Whether a row is good, with the index of `decided`.
    """
    shares = good.groupby([decided["detector"], decided["potential"]]).mean()
    counts = (shares > 0.5).groupby(level="detector").sum()
    return counts[counts > 0]


def _of_dynamics(moving: pd.DataFrame) -> tuple[str, bool]:
    if not len(moving):
        return "", False
    decided = moving[moving["verdict"] != OPEN]
    if not len(decided):
        reasons = "; ".join(dict.fromkeys(moving["reason"]))
        return f"In dynamics nothing is resolved: {reasons}.", False
    n_open = len(moving) - len(decided)
    left = f" {n_open} of {len(moving)} pairs of a model and a detector are not resolved."
    n_potentials = decided["potential"].nunique()
    counts = _counts(decided, decided["verdict"] == USEFUL)
    if len(counts):
        best = counts[counts == counts.max()]
        names = _listed([BY_NAME[name].title for name in best.index])
        found = f"the most often useful detector is {names}, for {best.iloc[0]} of"
    else:
        found = "no detector is found to be useful, for any of"
    return (
        f"In dynamics {found} {_potentials(n_potentials)}: an alarm more than 20 fs before most of "
        "the failures at temperatures at which other trajectories survive, and less than one false "
        f"alarm in 10 ps by the 95 % interval.{left if n_open else ''}",
        True,
    )


def _of_scans(ladder: pd.DataFrame) -> tuple[str, bool]:
    beaten = ladder.assign(beats=[beats_trivial(row) for row in ladder.to_dict("records")])
    decided = beaten[beaten["beats"].notna()]
    if not len(decided):
        return (
            "On scans nothing is resolved: fewer than five molecules have right and wrong frames.",
            False,
        )
    parts = []
    for domain in SCAN_DOMAINS:
        here = decided[decided["domain"] == domain]
        n_potentials = here["potential"].nunique()
        counts = _counts(here, here["beats"].astype(bool))
        if not n_potentials:
            parts.append(f"under {domain} nothing is resolved")
        elif not len(counts):
            parts.append(f"under {domain} none does, for any of {_potentials(n_potentials)}")
        else:
            best = counts[counts == counts.max()]
            names = _listed([BY_NAME[name].title for name in best.index])
            parts.append(
                f"under {domain} {names}, for {best.iloc[0]} of {_potentials(n_potentials)}"
            )
    return (
        "On scans these tell wrong frames better than both the distance from the minimum and the "
        f"largest force: {'; '.join(parts)}.",
        True,
    )


def _potentials(count: int) -> str:
    return f"{count} potential" if count == 1 else f"{count} potentials"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
