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

from pesbench.metrics.aggregate import LEVEL, mean_interval, resample
from pesbench.tasks.alarms.detectors import (
    BASELINE,
    BY_NAME,
    DETECTORS,
    DYNAMICS,
    SCAN_DOMAINS,
)
from pesbench.tasks.alarms.events import (
    LEAST_EXPOSURE_PS,
    USEFUL_ALARMS_PER_PS,
    rate_interval,
)

TRIVIAL = tuple(one.name for one in DETECTORS if one.kind == BASELINE)
LEAST_MOLECULES = 5  # with right and wrong frames, for a verdict
LEAST_FAILURES = 5
USEFUL, NOT_USEFUL, OPEN = "useful", "not useful", "not resolved"
SCAN_COLUMNS = (
    "model", "detector", "domain", "n_molecules", "auroc", "auroc_low", "auroc_high", "auprc",
    "share_wrong", "spearman", "recall", "false_alarm_rate", "false_alarm_rate_low",
    "false_alarm_rate_high", "n_unanswered",
    *(f"gain_{name}{end}" for name in TRIVIAL for end in ("", "_low", "_high")),
)  # fmt: skip
_SUMS = ("n_runs", "n_early", "n_failed", "n_warned", "n_in_time", "n_false_events")
DYNAMICS_COLUMNS = (
    "model", "detector", "n_runs", "n_early", "n_failed", "n_warned", "n_in_time", "lead_fs",
    "stable_ps", "quiet_ps", "n_false_events", "alarms_per_ps", "alarms_per_ps_low",
    "alarms_per_ps_high", "threshold_low", "threshold_high", "verdict",
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
                    others = {name: _scored(frame, name, domain) for name in TRIVIAL}
                    rows.append(
                        {"model": model, "detector": detector.name, "domain": domain}
                        | _scan_row(mine, others, f"alarms {detector.name} {domain}")
                    )
    return pd.DataFrame(rows, columns=list(SCAN_COLUMNS))


def _scan_row(
    mine: pd.DataFrame, trivial: Mapping[str, pd.DataFrame], name: str
) -> dict[str, float]:
    both = mine[mine["auroc"].notna()]
    row: dict[str, float] = {
        "n_molecules": len(both),
        "n_unanswered": int(mine["n_unanswered"].sum()),
        "share_wrong": float((both["n_wrong"] / both["n_frames"]).mean()),
    }
    for column in ("auroc", "auprc", "spearman"):
        values = both[column].dropna()
        row[column] = float(values.mean()) if len(values) else np.nan
    if len(both):
        row["auroc_low"], row["auroc_high"] = mean_interval(both["auroc"], both["system"], name)
    for other, frame in trivial.items():
        pairs = both[["system", "auroc"]].merge(
            frame.loc[frame["auroc"].notna(), ["system", "auroc"]], on="system"
        )
        if len(pairs):
            gain = pairs["auroc_x"] - pairs["auroc_y"]
            row[f"gain_{other}"] = float(gain.mean())
            row[f"gain_{other}_low"], row[f"gain_{other}_high"] = mean_interval(
                gain, pairs["system"], name
            )
    return row | _at_recall(mine, name)


def _at_recall(mine: pd.DataFrame, name: str) -> dict[str, float]:
    """Recall and false alarms at the threshold of other molecules, over all frames."""
    told = mine[mine["n_false"].notna()]
    right = (told["n_frames"] - told["n_wrong"]).to_numpy(float)
    false, found = told["n_false"].to_numpy(float), told["n_found"].to_numpy(float)
    wrong = told["n_wrong"].to_numpy(float)
    row = {"recall": found.sum() / wrong.sum() if wrong.sum() else np.nan}
    if not right.sum():
        return row
    row["false_alarm_rate"] = false.sum() / right.sum()
    if len(told) > 1:
        counts = resample(len(told), name)
        totals = counts @ right
        rates = (counts @ false)[totals > 0] / totals[totals > 0]
        ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
        row["false_alarm_rate_low"], row["false_alarm_rate_high"] = np.quantile(rates, ends)
    return row


def dynamics(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A row a model and detector: `DYNAMICS_COLUMNS`; none where no molecule has a score."""
    rows = []
    for model, frame in scores.items():
        for detector in DETECTORS:
            mine = _scored(frame, detector.name, DYNAMICS)
            if not len(mine):
                continue
            sums = {name: int(mine[name].sum()) for name in _SUMS}
            leads = np.repeat(mine["lead_fs"], mine["n_failed"].astype(int)).dropna()
            row = {"model": model, "detector": detector.name, **sums}
            row |= {name: float(mine[name].sum()) for name in ("stable_ps", "quiet_ps")}
            # of the two halves
            row["threshold_low"] = float(mine["threshold"].min())
            row["threshold_high"] = float(mine["threshold"].max())
            row["lead_fs"] = float(np.median(leads)) if len(leads) else np.nan
            if row["quiet_ps"] > 0:
                row["alarms_per_ps"] = sums["n_false_events"] / row["quiet_ps"]
                row["alarms_per_ps_low"], row["alarms_per_ps_high"] = rate_interval(
                    sums["n_false_events"], row["quiet_ps"]
                )
            rows.append(row | {"verdict": verdict(row)})
    return pd.DataFrame(rows, columns=list(DYNAMICS_COLUMNS))


def verdict(row: Mapping[str, float]) -> str:
    """Whether a detector is useful in dynamics: early enough, and seldom wrong.

    `not resolved` with fewer than 30 ps of stable trajectories or fewer than 5 failures later than
    20 fs.
    """
    if row["stable_ps"] < LEAST_EXPOSURE_PS or row["n_failed"] < LEAST_FAILURES:
        return OPEN
    early = 2 * row["n_in_time"] > row["n_failed"]
    seldom = row.get("alarms_per_ps", np.inf) < USEFUL_ALARMS_PER_PS  # none: always an alarm
    return USEFUL if early and seldom else NOT_USEFUL


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
    decided = moving[moving["verdict"] != OPEN]
    if not len(moving):
        return "", False
    if not len(decided):
        return (
            "In dynamics nothing is resolved: no model has 30 ps of stable trajectories and five "
            "failures later than 20 fs.",
            False,
        )
    n_potentials = decided["potential"].nunique()
    counts = _counts(decided, decided["verdict"] == USEFUL)
    if not len(counts):
        return (
            "In dynamics no detector is useful, that is earlier than 20 fs before most of the "
            "failures with less than one false alarm in 10 ps, for any of "
            f"{_potentials(n_potentials)}.",
            True,
        )
    best = counts[counts == counts.max()]
    names = _listed([BY_NAME[name].title for name in best.index])
    return (
        f"In dynamics the most often useful detector is {names}: more than 20 fs before most of "
        "the failures with less than one false alarm in 10 ps, for "
        f"{best.iloc[0]} of {_potentials(n_potentials)}.",
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
