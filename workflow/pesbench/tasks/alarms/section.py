"""Section of the alarms."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from pesbench.core.section import Drawing, Section, SectionInputs, Table
from pesbench.core.text import csv_table, number
from pesbench.tasks.alarms import figures, summary
from pesbench.tasks.alarms.detectors import BY_NAME, DETECTORS, SCAN_DOMAINS
from pesbench.tasks.alarms.events import (
    LEAST_EXPOSURE_PS,
    USEFUL_ALARMS_PER_PS,
    exposure_needed,
)
from pesbench.tasks.alarms.task import TASK


def section(inputs: SectionInputs) -> Section:
    """The section of alarms; rows of other roles than `model` state their role."""
    labels = {
        name: name if (role := inputs.facts[name].role) == "model" else f"{name} ({role})"
        for name in inputs.scores
    }
    ladder, moving = summary.scans(inputs.scores), summary.dynamics(inputs.scores)
    counted = [name for name in inputs.scores if inputs.facts[name].role == "model"]
    # a committee is all seeds of a potential
    potentials = {n: (frame.attrs.get("committee") or [n])[0] for n, frame in inputs.scores.items()}
    said = summary.answer(
        ladder[ladder["model"].isin(counted)], moving[moving["model"].isin(counted)], potentials
    )
    tables = [
        Table("ladder", ladder_table(ladder, labels), "Detectors on scans", LADDER_NOTES),
        Table(
            "ladder_intervals", interval_table(ladder, labels), "Their intervals", INTERVAL_NOTES
        ),
    ]
    drawings = [
        Drawing(
            "ladder",
            figures.ladder(ladder, labels),
            "AUROC within a molecule and a side of the minimum, mean over molecules with its 95 % "
            "interval; 0.5 says nothing.",
        )
    ]
    if len(moving):
        tables.append(
            Table(
                "dynamics", dynamics_table(moving, labels), "Detectors in dynamics", DYNAMICS_NOTES
            )
        )
        drawings.append(
            Drawing(
                "dynamics",
                figures.alarms(moving, labels),
                "Median lead time before a failure, at all temperatures, against false alarms on "
                "stable trajectories. Shaded: more than 20 fs and less than 0.1 per ps; the "
                "verdicts of the table take more. No alarm at all is drawn at the left edge, no "
                "lead at the lower one.",
            )
        )
    return Section(
        title=TASK.title,
        sentence=said.sentence,
        answer=said.sentence if said.resolved else "",
        tables=tables,
        figures=drawings,
        notes=notes(inputs.scores, ladder),
        board=(),
        files={"ladder_numbers.csv": csv_table(ladder), "dynamics_numbers.csv": csv_table(moving)},
    )


LADDER_NOTES = (
    "A frame is wrong where the force on an atom is off by more than max(0.5 eV/Å, 20 %). Each "
    "cell holds compression / stretch: the AUROC within a molecule and a side, mean over the "
    "molecules that have right and wrong frames, and in brackets the share of right frames that "
    "are called wrong and the share of wrong frames that are found, at the threshold that finds "
    "95 % of the wrong ones of the other half of the molecules. A * marks a detector that is "
    "better than both the distance from the minimum and the largest force on the same frames, by "
    "the 95 % interval of the difference over molecules. The *s are of many comparisons, and of a "
    "hundred detectors that are as good as both a few get one by chance.",
)
INTERVAL_NOTES = (
    "Means over molecules, and the two shares of all frames, with 95 % intervals of a bootstrap "
    "over molecules. Beside the AUPRC stands the share of wrong frames, which it has without "
    "information.",
)
DYNAMICS_NOTES = (
    "Thresholds are set on stable trajectories of other molecules, by events: one contiguous "
    "crossing is one alarm. Each row has the failures with an alarm before them, those with more "
    "than 20 fs of lead (no alarm can be in time for a failure in the first 20 fs, "
    "which is in neither), the median lead (0 without an alarm) with its interval over molecules, "
    "and the alarms on the stable trajectories with the time in which none is on, of all time, and "
    "the exact 95 % Poisson interval of the rate in the former. Shared temperatures are those at "
    "which a trajectory of the model survives and another one fails later than 20 fs: where all "
    "that fail are hotter than all that survive, an alarm may tell no more than the temperature.",
    "Useful is an alarm more than 20 fs before most failures at shared temperatures, with an "
    f"interval of false alarms that lies below {USEFUL_ALARMS_PER_PS:g} per ps and a rate at "
    "shared temperatures below it. With no false alarm that takes more than "
    f"{exposure_needed(0):.0f} ps, with one {exposure_needed(1):.0f} ps and with three "
    f"{exposure_needed(3):.0f} ps. Not useful is what is too late, or whose "
    f"interval lies above {USEFUL_ALARMS_PER_PS:g} per ps, on all stable trajectories or at shared "
    f"temperatures. Below {LEAST_EXPOSURE_PS:g} ps of stable time or five failures at shared "
    "temperatures nothing is resolved. Failures are not in excess of those of the reference. The "
    "detectors and models are many, so that the best of them is in part so by chance.",
)


def ladder_table(table: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Detector × model as text cells."""
    rows = []
    for detector in DETECTORS:
        mine = table[table["detector"] == detector.name]
        if mine.empty:
            continue
        row = {"detector": detector.title}
        for model, text in labels.items():
            cells = [
                _cell(mine[(mine["model"] == model) & (mine["domain"] == domain)])
                for domain in SCAN_DOMAINS
            ]
            row[text] = " / ".join(cells) if any(cell != "–" for cell in cells) else "n/a"
        rows.append(row)
    return pd.DataFrame(rows, columns=["detector", *labels.values()])


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty or np.isnan(rows["auroc"].iloc[0]):
        return "–"
    row = rows.iloc[0].to_dict()
    star = "*" if summary.beats_trivial(row) else ""
    return (
        f"{row['auroc']:.2f}{star} ({_share(row, 'false_alarm_rate')} at {_share(row, 'recall')})"
    )


def _share(row: Mapping[str, float], name: str) -> str:
    return "–" if np.isnan(row[name]) else _percent(row[name])


def interval_table(table: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """A row a model, detector and side as text cells with intervals."""
    rows = []
    for row in table.to_dict("records"):
        shown = {
            name: _interval(row, name, "{:.2f}".format) for name in ("auroc", "auprc", "spearman")
        }
        rows.append(
            {
                "model": labels[row["model"]],
                "detector": BY_NAME[row["detector"]].title,
                "side": row["domain"],
                "molecules": row["n_molecules"],
                "AUROC": shown["auroc"],
                "AUPRC": shown["auprc"],
                "wrong frames": _share(row, "share_wrong"),
                "Spearman with the error": shown["spearman"],
                "wrong frames found": _interval(row, "recall", _percent),
                "false alarms": _interval(row, "false_alarm_rate", _percent),
            }
        )
    return pd.DataFrame(rows)


def _interval(row: Mapping[str, float], name: str, show: Callable[[float], str]) -> str:
    """A value with its interval, as far as there is one."""
    value, low, high = (row[f"{name}{end}"] for end in summary.ENDS)
    if np.isnan(value):
        return "–"
    return show(value) if np.isnan(low) else f"{show(value)} ({show(low)} to {show(high)})"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def dynamics_table(table: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """A row a model and detector as text cells."""
    rows = []
    for row in table.to_dict("records"):
        reason = f": {row['reason']}" if row["reason"] else ""
        rows.append(
            {
                "model": labels[row["model"]],
                "detector": BY_NAME[row["detector"]].title,
                "failures in 20 fs": row["n_early"],
                "later ones with an alarm": f"{row['n_warned']} / {row['n_failed']}",
                "more than 20 fs before": f"{row['n_in_time']} / {row['n_failed']}",
                "of these at shared temperatures": (
                    f"{row['n_in_time_shared']} / {row['n_failed_shared']}"
                ),
                "median lead (fs)": _interval(row, "lead_fs", number),
                "alarms on stable runs": (
                    f"{row['n_false_events']} in {row['quiet_ps']:.1f} of {row['stable_ps']:.1f} ps"
                ),
                "per ps": _interval(row, "alarms_per_ps", number),
                "at shared temperatures": (
                    f"{row['n_false_shared']} in {row['quiet_ps_shared']:.1f} ps"
                ),
                "verdict": f"{row['verdict']}{reason}",
            }
        )
    return pd.DataFrame(rows)


def notes(scores: Mapping[str, pd.DataFrame], ladder: pd.DataFrame) -> tuple[str, ...]:
    """Notes on how to read the section, and why detectors are missing.

    Args:
        scores: Scores by model.
        ladder: `summary.scans` of them.
    """
    found = [
        "Molecules are halved by their names; the thresholds of each half are set on the other "
        "one. The reference set of distances is frames near the minima of scans, for frames of "
        "scans those of the other half. Definitions: tasks/alarms/README.md."
    ]
    for model, frame in scores.items():
        about = frame.attrs
        if about.get("others"):
            found.append(f"{model}: disagreement with {', '.join(about['others'])}.")
        if about.get("committee"):
            found.append(f"{model}: committee of {', '.join(about['committee'])}.")
        if about.get("trained_atoms"):
            found.append(
                f"{model}: the reference set of descriptors is {about['trained_atoms']} atoms of "
                "`reference_frames`."
            )
        if about.get("trajectories"):
            shared = ", ".join(f"{one:g} K" for one in about["shared_temperatures_k"])
            found.append(f"{model}: shared temperatures: {shared or 'none'}.")
        found += _unanswered(model, ladder)
        found += [
            f"{model}: {count} trajectories are left out: {reason}."
            for reason, count in about.get("left_out", {}).items()
        ]
        failed = frame[frame["status"] != "ok"]
        reasons = failed.groupby(["detector", "message"], sort=True)["system"].nunique()
        n_systems = frame["system"].nunique()
        told = {}
        for (detector, message), count in reasons.items():
            told.setdefault(f"{message} ({count} of {n_systems} molecules)", []).append(detector)
        found += [f"{model}: no {', '.join(some)}: {why}." for why, some in told.items()]
    return tuple(found)


def _unanswered(model: str, ladder: pd.DataFrame) -> list[str]:
    """One note on the frames of scans that are neither right nor wrong; none where all are."""
    mine = ladder[ladder["model"] == model].groupby("detector")[["n_unanswered", "n_asked"]].sum()
    some = mine[mine["n_unanswered"] > 0]
    if some.empty:
        return []
    told = [f"{name} {row['n_unanswered']} of {row['n_asked']}" for name, row in some.iterrows()]
    return [
        f"{model}: frames of scans without an answer, which count as neither right nor wrong: "
        f"{', '.join(told)}."
    ]
