"""A job of the heads: trains the designs of a part and judges every seed (torch)."""

from __future__ import annotations

import logging
import math
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from pesbench.core.text import number
from pesbench.files import provenance
from pesbench.files.atomic import write_json
from pesbench.files.fingerprint import stage_fingerprint
from pesbench.tasks.lj_core import ghost, potential
from pesbench.tasks.lj_core.designs import DECIDING, MAIN, Part, Schedule
from pesbench.tasks.lj_core.head_table import CURVE, Row, card_of, write_table
from pesbench.tasks.lj_core.head_training import HeadTraining
from pesbench.tasks.lj_core.heads import Heads
from pesbench.tasks.lj_core.judged import SCORE, judge, places
from pesbench.tasks.lj_core.potential import Array

CURVE_POINTS = 60
logger = logging.getLogger("pesbench")


def train_part(part: Part, schedule: Schedule, work: Path, out: Path) -> None:
    """Train what a part holds and write a row a seed, with a card beside the table.

    Args:
        part: What is trained.
        schedule: How.
        work: Folder of checkpoints, in which the part has its own; a training found there is
            continued. The checkpoints go when the table is written.
        out: CSV to write; the card is JSON under the same name.

    Raises:
        UserError: `work` holds a training of other settings.
    """
    rows: list[Row] = []
    curves = {}
    for design in part.designs:
        logger.info("%s: %d seeds", design.name, part.seeds)
        seeds = range(1, part.seeds + 1)
        training = HeadTraining(design, seeds, schedule, work / part.name / design.name)
        network = training.run()
        rows += rows_of(network, part, training.last)
        scored = [row.numbers[SCORE] for row in rows[-part.seeds :]]
        logger.info("%s: core error %s", design.name, ", ".join(number(one, 2) for one in scored))
        if part.name.startswith(MAIN):
            curves[design.head] = curve_of(network)
    write_table(out, rows)
    write_json(
        card_of(out),
        {
            "part": part.name,
            "schedule": asdict(schedule),
            "seeds": part.seeds,
            "threads": torch.get_num_threads(),
            "code": stage_fingerprint(*DECIDING),
            "curves": curves,
            "provenance": provenance.collect(),
        },
    )
    shutil.rmtree(work / part.name)


def rows_of(network: Heads, part: Part, last: Sequence[float]) -> list[Row]:
    """The rows of a trained design, one a seed.

    Args:
        network: All seeds.
        part: What it belongs to.
        last: Loss of the last step of each seed.
    """

    def slope(r: Array) -> Array:
        return network.with_slope(torch.as_tensor(r))[1].numpy()

    # all seeds at once, shape (S, 200), and (S, R)
    first, judged_at = (np.tile(r, (len(network.seeds), 1)) for r in (ghost.starts(), places()))
    ends = {name: run(slope, first) for name, run in ghost.OPTIMISERS.items()}
    energies = network(torch.as_tensor(judged_at)).numpy()
    curves = zip(energies, slope(judged_at), strict=True)
    rows = []
    for k, curve in enumerate(curves):
        shares = {name: ghost.overlapped_share(found[k]) for name, found in ends.items()}
        numbers = judge(*curve) | shares
        rows.append(Row(part.name, network.design, network.seeds[k], numbers, last[k]))
    return rows


def curve_of(network: Heads) -> dict[str, list[float | None]]:
    """Energies of a main row from 0.2 to 1.5 σ: median, least and largest over the seeds."""
    r = np.geomspace(potential.CORE_FROM, 1.5, CURVE_POINTS)
    energy = network(torch.as_tensor(np.tile(r, (len(network.seeds), 1)))).numpy()
    energy = np.where(np.isfinite(energy), energy, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where no seed has a number
        values = [r, *(f(energy, axis=0) for f in (np.nanmedian, np.nanmin, np.nanmax))]
    return {
        name: [float(f"{one:.6g}") if math.isfinite(one) else None for one in some]
        for name, some in zip(CURVE, values, strict=True)
    }
