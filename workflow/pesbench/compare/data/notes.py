"""Notes that the sections of studies of trainings share: what failed, and what is missing."""

from __future__ import annotations

import pandas as pd

from pesbench.compare.data.table import AT_START, DataStudy


def missing_note(study: DataStudy, *apart: str) -> list[str]:
    """A note on the potentials that the study lacks, beside those that it has.

    Kinds and families are trained on the same numbers of frames with as many seeds.

    Args:
        study: The study.
        apart: Kinds that have numbers of frames of their own.
    """
    seeds = study.models.groupby(["family", "kind", "frames"]).size()
    of_kind = seeds.index.get_level_values("kind")
    missing = []
    for alike in ([kind for kind in study.kinds if kind not in apart], *([kind] for kind in apart)):
        some = seeds[of_kind.isin(alike)]
        kinds = [kind for kind in alike if kind in of_kind]
        for n, most in some.groupby("frames").max().items():
            missing += [
                f"{family} {kind} {n} ({there} of {most} seeds)"
                for family in study.families
                for kind in kinds
                if (there := int(some.get((family, kind, n), 0))) < most
            ]
    if not missing:
        return []
    return [
        "Potentials that are missing, whose trainings failed or have not run: "
        f"{', '.join(missing)}. What is said of a number of frames is of those that are there."
    ]


def told(rows: pd.DataFrame, column: str, what: str) -> list[str]:
    """A sentence with a number of each potential; none for no potential."""
    parts = [
        f"{r['family']} {r['kind']} {r['frames']}: {r[column]}" for r in rows.to_dict("records")
    ]
    return [f"{what}: {', '.join(parts)}."] if parts else []


def lost_note(rows: pd.DataFrame) -> list[str]:
    """A note on the pairs without a score."""
    lost = rows.assign(lost=rows["pairs_planned"] - rows["pairs_scored"])
    return told(lost[lost["lost"] > 0], "lost", "Pairs without a score")


def start_note(rows: pd.DataFrame) -> list[str]:
    """A note on the runs that fail before their first step."""
    some = rows[rows[AT_START] > 0]
    return told(some, AT_START, "Runs that fail before their first step")
