"""Training of all seeds of a design at once, exact in resume (torch, float64).

A chunk of steps is one checkpoint: the distances of its steps are drawn from the names of the
design, the seed and the chunk, so that a killed training repeats at most one chunk and ends bit for
bit as an undisturbed one, on a CPU with the same number of threads. Adam works element by element,
so that seeds that share tensors do not know of each other.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pesbench.core.errors import FileError, UserError, reading
from pesbench.core.progress import track
from pesbench.files.atomic import atomic_path
from pesbench.files.fingerprint import stage_fingerprint
from pesbench.tasks.lj_core import designs, potential
from pesbench.tasks.lj_core.designs import Design, Schedule
from pesbench.tasks.lj_core.heads import Heads, generator_of
from pesbench.tasks.lj_core.potential import TRAINED_FROM, TRAINED_TO

CHECKPOINT = "checkpoint.pt"
_ANEW = "remove its folder to start anew"
SMOKE = Schedule(steps=4, batch=8, chunk=2)
logger = logging.getLogger("pesbench")


def distances(design: Design, seed: int, chunk: int, shape: tuple[int, int]) -> Tensor:
    """Training distances of a chunk in σ, `uniform` or `min_bias`, of a shape (steps, batch)."""
    generator = generator_of("distances", design.name, seed, chunk)
    drawn = torch.rand(shape, generator=generator, dtype=torch.float64)
    drawn = drawn**3 if design.sampling == designs.MIN_BIAS else drawn
    return TRAINED_FROM + (TRAINED_TO - TRAINED_FROM) * drawn


def losses(network: Heads, r: Tensor) -> Tensor:
    """Mean squared errors of the energy and of log(1 + |dE/dr|), added, shape (S,).

    Args:
        network: Heads of S seeds.
        r: Distances, shape (S, R).
    """
    own, own_slope = network.with_slope(r)
    of_slope = torch.log1p(own_slope.abs()) - torch.log1p(potential.slope(r).abs())
    return ((own - potential.energy(r)) ** 2).mean(1) + (of_slope**2).mean(1)


@dataclass
class HeadTraining:
    """A training under way.

    Args:
        design: What is trained.
        seeds: Numbers of the seeds.
        schedule: How.
        folder: Folder of the checkpoint; a training found there is continued.

    Raises:
        UserError: a checkpoint of other settings, or a damaged one.
    """

    design: Design
    seeds: Sequence[int]
    schedule: Schedule
    folder: Path

    def __post_init__(self) -> None:
        self.network = Heads(self.design, self.seeds)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=self.schedule.learning_rate)
        self.chunks = math.ceil(self.schedule.steps / self.schedule.chunk)
        self.done = 0  # chunks
        self.last = [math.nan] * len(self.seeds)  # loss of the last step of each seed
        self._resume()

    def run(self) -> Heads:
        """Train to the end.

        A seed whose loss is no number keeps its weights of then, which are none either; the others
        go on.
        """
        left = range(self.done, self.chunks)
        for chunk in track(left, len(left), "chunks of steps"):
            self._train(chunk)
            self.done = chunk + 1
            self._save()
        return self.network.requires_grad_(requires_grad=False)

    def _train(self, chunk: int) -> None:
        schedule = self.schedule
        steps = min(schedule.chunk, schedule.steps - chunk * schedule.chunk)
        drawn = [distances(self.design, s, chunk, (steps, schedule.batch)) for s in self.seeds]
        found = torch.empty(0)
        for r in torch.stack(drawn, dim=1):
            found = losses(self.network, r)
            self.optimiser.zero_grad(set_to_none=True)
            found.sum().backward()
            self.optimiser.step()
        self.last = found.tolist()

    def _wanted(self) -> dict[str, Any]:
        told = {"design": asdict(self.design), "schedule": asdict(self.schedule)}
        return json.loads(json.dumps(told | {"seeds": list(self.seeds)}))

    def _save(self) -> None:
        content = {
            "wanted": self._wanted(),
            "code": stage_fingerprint(__name__),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "done": self.done,
            "last": self.last,
            "threads": torch.get_num_threads(),
        }
        with atomic_path(self.folder / CHECKPOINT) as part:
            torch.save(content, part)

    def _resume(self) -> None:
        place = self.folder / CHECKPOINT
        if not place.is_file():
            return
        with reading(place, "no checkpoint of a training", _ANEW):
            # the folder may have come from elsewhere: only tensors and plain values are read
            stored = torch.load(place, weights_only=True)
            same, code = stored["wanted"] == self._wanted(), stored["code"]
        if code != stage_fingerprint(__name__):
            logger.info("%s: begun with other code; starts anew", self.design.name)
            return
        if not same:
            raise UserError(
                f"{place}: a training of other settings; restore them to continue it, or remove "
                "the folder to start anew"
            )
        with reading(place, "no checkpoint of a training", _ANEW):
            self.network.load_state_dict(stored["network"])
            self.optimiser.load_state_dict(stored["optimiser"])
            self.done, self.last = int(stored["done"]), list(map(float, stored["last"]))
            threads = int(stored["threads"])
        if not (
            0 < self.done <= self.chunks
            and len(self.last) == len(self.seeds)
            and 0 < threads <= 4096
        ):
            raise FileError(place, f"holds {self.done} of {self.chunks} chunks", _ANEW)
        if threads != torch.get_num_threads():  # they decide rounding
            logger.info("continuing with %d threads, as it was begun", threads)
            torch.set_num_threads(threads)
        logger.info("%s: continuing after %d chunks", self.design.name, self.done)
