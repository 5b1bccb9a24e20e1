"""What is kept of the steps of a shard, and the last steps of a trajectory at full rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pesbench.files.checkpoint import (
    Arrays,
    stored_array,
)
from pesbench.tasks.dynamics.integrator import Ended, LockStep
from pesbench.tasks.dynamics.stored import BlackBox, Segment

Array = NDArray[np.float64]
BLACK_BOX_STEPS = 100


class Recorder:
    """What is kept of the steps since the last checkpoint, and the last steps at full rate."""

    def __init__(self, run: LockStep, store_every: int) -> None:
        self._run, self._store_every = run, store_every
        shape = (BLACK_BOX_STEPS, *run.positions.shape)
        self.ring_positions, self.ring_velocities = np.zeros(shape), np.zeros(shape)
        self._ends = np.cumsum([t.n_atoms for t in run.trajectories])
        self._clear()

    def restore(self, ring_positions: Array, ring_velocities: Array) -> None:
        """Go on from the stored last steps."""
        self.ring_positions, self.ring_velocities = ring_positions, ring_velocities
        self._clear()

    def _clear(self) -> None:
        self._first_step = self._run.step_number + 1
        self._potential: list[Array] = []
        self._kinetic: list[Array] = []
        self._frames: list[tuple[int, Array, Array]] = []
        self._boxes: dict[int, BlackBox] = {}

    def record(self, ended: Sequence[Ended]) -> None:
        """Keep the step that was just taken."""
        run = self._run
        self._potential.append(run.potential.copy())
        self._kinetic.append(run.kinetic.copy())
        place = run.step_number % BLACK_BOX_STEPS
        self.ring_positions[place, run.atoms] = run.positions[run.atoms]
        self.ring_velocities[place, run.atoms] = run.velocities[run.atoms]
        if run.step_number % self._store_every == 0:
            frame = (run.step_number, run.positions.copy(), run.velocities.copy())
            self._frames.append(frame)
        for one in ended:
            self._boxes[one.index] = self._box(one.index)

    def _box(self, index: int) -> BlackBox:
        last = self._run.step_number
        steps = np.arange(max(0, last - BLACK_BOX_STEPS + 1), last + 1)
        end = self._ends[index]
        atoms = slice(end - self._run.trajectories[index].n_atoms, end)
        places = steps % BLACK_BOX_STEPS
        return BlackBox(
            steps, self.ring_positions[places, atoms], self.ring_velocities[places, atoms]
        )

    def take(self) -> dict[str, NDArray[Any]]:
        """The steps since the last call, as arrays; they are forgotten here."""
        shape = (0, *self._run.positions.shape)
        arrays: dict[str, NDArray[Any]] = {
            "first_step": np.array(self._first_step),
            "potential": np.array(self._potential),
            "kinetic": np.array(self._kinetic),
            "frame_steps": np.array([step for step, _, _ in self._frames], dtype=np.int64),
            "positions": np.array([x for _, x, _ in self._frames]).reshape((-1, *shape[1:])),
            "velocities": np.array([v for _, _, v in self._frames]).reshape((-1, *shape[1:])),
            "boxes": np.array(sorted(self._boxes), dtype=np.int64),
        }
        for index, box in self._boxes.items():
            arrays[f"box_{index}_steps"] = box.steps
            arrays[f"box_{index}_positions"] = box.positions
            arrays[f"box_{index}_velocities"] = box.velocities
        self._clear()
        return arrays


def read_segment(arrays: Arrays) -> Segment:
    """A piece of a checkpoint that `Recorder.take` gave."""
    potential = stored_array(arrays, "potential", "f", (None, None))
    frame_steps = stored_array(arrays, "frame_steps", "i", (None,))
    positions = stored_array(arrays, "positions", "f", (len(frame_steps), None, 3))
    boxes = {}
    for k in stored_array(arrays, "boxes", "i", (None,)).tolist():
        steps = stored_array(arrays, f"box_{k}_steps", "i", (None,))
        places = stored_array(arrays, f"box_{k}_positions", "f", (len(steps), None, 3))
        velocities = stored_array(arrays, f"box_{k}_velocities", "f", places.shape)
        boxes[k] = BlackBox(steps, places, velocities)
    return Segment(
        first_step=int(stored_array(arrays, "first_step", "i")),
        potential=potential,
        kinetic=stored_array(arrays, "kinetic", "f", potential.shape),
        frame_steps=frame_steps,
        positions=positions,
        velocities=stored_array(arrays, "velocities", "f", positions.shape),
        black_boxes=boxes,
    )
