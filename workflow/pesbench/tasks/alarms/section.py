"""Section of the alarms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from pesbench.core.section import Drawing, Section, SectionInputs, Table
from pesbench.core.text import csv_table, number
from pesbench.tasks.alarms import figures, summary
from pesbench.tasks.alarms.detectors import DETECTORS, SCAN_DOMAINS
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
                "Median lead time before a failure against false alarms on stable trajectories; "
                "the shaded part is useful. No alarm at all is drawn at the left edge, no lead at "
                "the lower one.",
            )
        )
    return Section(
        title=TASK.title,
        sentence=said.sentence,
        answer=said.sentence if said.resolved else "",
        tables=tables,
        figures=drawings,
        notes=notes(inputs.scores),
        board=(),
        files={"ladder_numbers.csv": csv_table(ladder), "dynamics_numbers.csv": csv_table(moving)},
    )


LADDER_NOTES = (
    "A frame is wrong where the force on an atom is off by more than max(0.5 eV/Å, 20 %). Each "
    "cell holds compression / stretch: the AUROC within a molecule and a side, mean over the "
    "molecules that have right and wrong frames, and in brackets the share of right frames that "
    "are called wrong at the threshold that finds 95 % of the wrong ones of other molecules. A * "
    "marks a detector that is better than both the distance from the minimum and the largest "
    "force, by the 95 % interval of the difference over molecules.",
)
DYNAMICS_NOTES = (
    "Thresholds are set on stable trajectories of other molecules, by events: one contiguous "
    "crossing is one alarm. Each row has the failures with an alarm before them, those with more "
    "than 20 fs of lead (no alarm can be in time for a failure in the first 20 fs, "
    "which is in neither), the median lead (0 without an alarm), and the alarms on the stable "
    "trajectories with the time in which none is on, of all time, and the exact 95 % Poisson "
    "interval of the rate in the former. Useful is an alarm more than 20 fs before most failures "
    "with less than 0.1 false alarms per ps; below 30 ps of stable time or five failures nothing "
    "is resolved. Failures are not in excess of those of the reference.",
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
    rate = row["false_alarm_rate"]
    false = "–" if np.isnan(rate) else f"{100 * rate:.0f} %"
    return f"{row['auroc']:.2f}{star} ({false})"


def dynamics_table(table: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """A row a model and detector as text cells."""
    rows = []
    for row in table.to_dict("records"):
        rate = "–"
        if row["quiet_ps"] > 0:
            low, high = row["alarms_per_ps_low"], row["alarms_per_ps_high"]
            rate = f"{number(row['alarms_per_ps'])} ({number(low)} to {number(high)})"
        rows.append(
            {
                "model": labels[row["model"]],
                "detector": figures.titles([row["detector"]])[0],
                "failures in 20 fs": row["n_early"],
                "later ones with an alarm": f"{row['n_warned']} / {row['n_failed']}",
                "more than 20 fs before": f"{row['n_in_time']} / {row['n_failed']}",
                "median lead (fs)": number(row["lead_fs"]),
                "alarms on stable runs": (
                    f"{row['n_false_events']} in {row['quiet_ps']:.1f} of {row['stable_ps']:.1f} ps"
                ),
                "per ps": rate,
                "verdict": row["verdict"],
            }
        )
    return pd.DataFrame(rows)


def notes(scores: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Notes on how to read the section, and why detectors are missing."""
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
