"""A job of the heads: trains the designs of a part and judges every seed (torch)."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pesbench.core.text import number
from pesbench.files import provenance
from pesbench.files.atomic import write_json
from pesbench.files.fingerprint import stage_fingerprint
from pesbench.tasks.lj_core import ghost, potential
from pesbench.tasks.lj_core.designs import MAIN, Part
from pesbench.tasks.lj_core.head_table import COLUMNS, card_of, write_table
from pesbench.tasks.lj_core.head_training import HeadTraining, Schedule
from pesbench.tasks.lj_core.heads import Heads
from pesbench.tasks.lj_core.judged import judge
from pesbench.tasks.lj_core.potential import Array

CURVE_POINTS = 60
logger = logging.getLogger("pesbench")


def train_part(part: Part, schedule: Schedule, work: Path, out: Path) -> None:
    """Train what a part holds and write a row a seed, with a card beside the table.

    Args:
        part: What is trained.
        schedule: How.
        work: Folder of checkpoints, one a design; a training found there is continued.
        out: CSV to write; the card is JSON under the same name.

    Raises:
        UserError: `work` holds a training of other settings.
    """
    rows: list[dict[str, Any]] = []
    curves = {}
    for design in part.designs:
        logger.info("%s: %d seeds", design.name, part.seeds)
        seeds = range(1, part.seeds + 1)
        training = HeadTraining(design, seeds, schedule, work / design.name)
        network = training.run()
        rows += rows_of(network, part, schedule, training.last)
        scored = [row["log10_energy_mae_core"] for row in rows[-part.seeds :]]
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
            "code": stage_fingerprint(__name__),
            "curves": curves,
            "provenance": provenance.collect(),
        },
    )


class _Seed:
    """One seed of a network as functions of distances, which NumPy knows."""

    def __init__(self, network: Heads, seed: int) -> None:
        self.network, self.seed = network, seed

    def both(self, r: Array) -> tuple[Array, Array]:
        every = torch.as_tensor(r, dtype=torch.float64).expand(len(self.network.seeds), -1)
        energy, slope = self.network.with_slope(every.contiguous())
        return energy[self.seed].numpy(), slope[self.seed].numpy()

    def energy(self, r: Array) -> Array:
        return self.both(r)[0]

    def slope(self, r: Array) -> Array:
        return self.both(r)[1]


def rows_of(
    network: Heads, part: Part, schedule: Schedule, last: Sequence[float]
) -> list[dict[str, Any]]:
    """The rows of a trained design, one a seed, with the columns of `head_table`.

    Args:
        network: All seeds.
        part: What it belongs to.
        schedule: How it was trained.
        last: Loss of the last step of each seed.
    """
    ends = ended_overlapped(network)
    rows = []
    for k, seed in enumerate(network.seeds):
        one = _Seed(network, k)
        judged = judge(one.energy, one.slope)
        ok = all(math.isfinite(value) for value in judged.values())
        rows.append(
            {
                "part": part.name,
                "design": network.design.name,
                **asdict(network.design),
                "seed": seed,
                "status": "ok" if ok else "nonfinite",
                **judged,
                **{name: ghost.overlapped_share(found[k]) for name, found in ends.items()},
                "last_loss": last[k],
                "steps": schedule.steps,
            }
        )
    assert all(set(row) == set(COLUMNS) for row in rows)
    return rows


def ended_overlapped(network: Heads) -> dict[str, Array]:
    """Ends of both optimisers from the 200 starts in all seeds at once, shape (S, 200) each."""

    def slope(r: Array) -> Array:
        return network.with_slope(torch.as_tensor(r))[1].numpy()

    first = np.tile(ghost.starts(), (len(network.seeds), 1))
    return {
        "overlapped_bfgs": ghost.bfgs(slope, first),
        "overlapped_fire": ghost.fire(slope, first),
    }


def curve_of(network: Heads) -> dict[str, list[float | None]]:
    """Energies of a main row from 0.2 to 1.5 σ: median, least and largest over the seeds."""
    r = np.geomspace(potential.CORE_FROM, 1.5, CURVE_POINTS)
    energy = network(torch.as_tensor(np.tile(r, (len(network.seeds), 1)))).numpy()
    found = {
        "r": r,
        "median": np.median(energy, axis=0),
        "least": energy.min(axis=0),
        "largest": energy.max(axis=0),
    }
    return {
        name: [float(one) if math.isfinite(one) else None for one in values]
        for name, values in found.items()
    }
