"""Section of the rounds of harvested frames."""

from __future__ import annotations

import pandas as pd

from pesbench.compare.data.notes import (
    missing_note,
    start_note,
)
from pesbench.compare.data.table import (
    AT_START,
    DataStudy,
    survival_column,
)
from pesbench.compare.harvest.comparison import COMPARISON
from pesbench.compare.harvest.figure import figure
from pesbench.compare.harvest.table import (
    ARMS,
    COSTS,
    START,
    make_rounds,
    round_rows,
    rounds,
)
from pesbench.compare.inputs import CompareInputs
from pesbench.compare.ladder.noise import CONFIDENCE
from pesbench.core.section import Drawing, Section, Table
from pesbench.core.text import csv_table, number
from pesbench.training.data_plan import ADDED, RANDOM

NOT_RESOLVED = "not resolved"
NEARLY = 0.99  # of the horizon: all runs survive
_CAPTION = (
    "Stability, smoothness and accuracy against the rounds that added frames to those of the "
    "start. Points are seeds, lines join their means; all trainings take the same number of "
    "gradient steps."
)


def section(inputs: CompareInputs) -> Section:
    """The rounds; every number in `harvest.csv`, and those of each seed in `harvest_models.csv`.

    Raises:
        UserError: a card is that of other weights, or not understood.
    """
    study = make_rounds(inputs)
    rows = round_rows(study)
    of = ["family", "kind", "frames"]
    by_round = study.models.groupby(of, as_index=False, sort=False)[AT_START].sum()
    models = study.models.rename(columns={"frames": "round", "n_frames": "frames"})
    return Section(
        title=COMPARISON.title,
        sentence=sentence(study),
        tables=[Table("shown", shown_table(study, rows))],
        figures=[Drawing("harvest", figure(study), _CAPTION)],
        notes=[*notes(), *start_note(by_round), *missing_note(study, START)],
        files={"harvest.csv": csv_table(rows), "harvest_models.csv": csv_table(models)},
    )


def sentence(study: DataStudy) -> str:
    """The answer by survival at the highest temperature, in one sentence over all families."""
    if not study.temperatures_k:
        return "No dynamics were run, so that nothing is said of stability."
    hottest = max(study.temperatures_k)
    column = survival_column(hottest)
    said = "; ".join(_of_family(study, family, column) for family in study.families)
    return f"By survival at {hottest:g} K (of {study.horizon_ps:g} ps): {said}."


def _of_family(study: DataStudy, family: str, column: str) -> str:
    ends = {arm: rounds(study, family, arm)[-1] for arm in ARMS if study.frames(family, arm)}
    start = study.seeds(family, START, 0, column)
    if not ends or not start.size:
        return f"{family}: {NOT_RESOLVED}, since the start or all rounds are missing"
    if start.min() >= NEARLY * study.horizon_ps:
        return f"{family}: not informative, since (nearly) all runs of the start survive"
    parts = [f"{number(start.mean())} ps at the start"]
    for arm, end in ends.items():
        seeds = study.seeds(family, *end, column)
        reached = number(seeds.mean() if seeds.size else float("nan"))
        parts.append(
            f"{reached} after {end[1]} rounds of {ARMS[arm]} frames "
            f"({_resolved(study, family, column, end, (START, 0))})"
        )
    said = f"{family}: " + ", ".join(parts)
    if len(ends) == len(ARMS) and ends[ADDED][1] == ends[RANDOM][1]:
        between = _resolved(study, family, column, ends[ADDED], ends[RANDOM])
        said += f"; harvested against random frames: {between}"
    else:
        said += "; harvested and random frames are not compared, as their rounds differ"
    return said


def _resolved(
    study: DataStudy, family: str, column: str, one: tuple[str, int], other: tuple[str, int]
) -> str:
    found = study.compare(family, column, one, other)
    if found.within_noise is None:
        return f"{NOT_RESOLVED}: the noise of seeds or a number is unknown"
    return NOT_RESOLVED if found.within_noise else "better" if found.value > 0 else "worse"


def shown_table(study: DataStudy, rows: pd.DataFrame) -> pd.DataFrame:
    """The table for readers, as text cells."""
    return pd.DataFrame([_cells(study, row) for row in rows.to_dict("records")])


def _cells(study: DataStudy, row: dict[str, object]) -> dict[str, str]:
    least, most = row["frames_least"], row["frames_most"]
    cells = {
        "family": str(row["family"]),
        "frames added": ARMS.get(str(row["kind"]), "none"),
        "round": str(row["round"]),
        "frames": str(most) if least == most else f"{least} to {most}",
        "seeds": str(row["n_seeds"]),
    }
    for column, quantity in study.quantities.items():
        unit = f" ({quantity.unit})" if quantity.unit else ""
        text = number(row[column])
        if pd.notna(row[f"{column}_seed_sd"]):
            text += f" ± {number(row[f'{column}_seed_sd'], 2)}"
        counted = quantity.of and pd.notna(row[column])
        cells[quantity.title + unit] = f"{text} ({row[f'{column}_n']})" if counted else text
    return cells | {title: number(row[key]) for key, title in COSTS.items()}


def notes() -> list[str]:
    """How to read the section."""
    return [
        "Numbers are means over seeds, ± their standard deviation; in brackets the runs, scans or "
        "pairs of all seeds. A difference is resolved if it exceeds Student's "
        f"{100 * CONFIDENCE:g} % quantile of the noise of seeds, pooled over all potentials of the "
        "family. Comparisons are many, and some count as resolved by chance.",
        "Each round adds frames of the last steps before failures of the potential of the round "
        "before, in dynamics from the geometries of the training. The tests start from other "
        "conformers. The random frames are as many, of dynamics with the method itself at the same "
        "temperature. The frames to validate with are those of the start.",
        "Costs are means over seeds, summed over the rounds. Method calls are labels of harvested "
        "frames, or steps of the trajectories that random frames are from, of each up to its last "
        "frame in the set; all potentials share these trajectories. Seconds are of a wall clock, "
        "also where jobs share a core; those of the random trajectories are not known.",
    ]
