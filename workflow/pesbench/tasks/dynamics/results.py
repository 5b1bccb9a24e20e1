"""Content of a file of trajectories, for `pesbench merge`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Self

import h5py
import numpy as np

from pesbench.core.task import Key, row_key
from pesbench.files.rounding import Rounding, largest
from pesbench.files.stored_results import StoredResults
from pesbench.tasks.dynamics.stored import Trajectories

EARLY_STEPS = 10  # before rounding has grown
_GROUPS = {
    "particles": ("", "_last"),
    "observables": ("", "_last", "_every_step"),
    "connectivity": ("",),
}


class TrajectoryResults(StoredResults):
    """Trajectories of one time step."""

    opened: Trajectories

    def work(self) -> dict[Key, float]:
        """Steps times atoms of each trajectory; atoms, where no trajectory has a step."""
        every = {key: self.opened.trajectory(name) for key, name in self.rows.items()}
        steps = {key: float(max(one.last_step, 0) * one.n_atoms) for key, one in every.items()}
        if any(steps.values()):
            return steps
        return {key: float(one.n_atoms) for key, one in every.items()}

    def remove(self, file: h5py.File, keys: Collection[Key]) -> None:
        """Remove trajectories with their observables and bond graphs."""
        for name in (self.rows[key] for key in keys):
            for group, ends in _GROUPS.items():
                for end in ends:
                    if f"{name}{end}" in file[group]:
                        del file[group][f"{name}{end}"]

    def alike(self, other: Self, key: Key, digits: float, rounding: Rounding) -> bool:
        """Whether two runs of a trajectory begin alike: the last digits decide how they go on."""
        name = self.rows[key]
        a, b = self.opened.trajectory(name), other.opened.trajectory(name)
        if min(a.last_step, b.last_step) < 0:
            return (a.status, a.failure) == (b.status, b.failure)
        first, second = self.opened.frames(name), other.opened.frames(name)
        series, others = self.opened.series(name), other.opened.series(name)
        if len(first.positions) and len(second.positions):
            start, again = first.positions[0], second.positions[0]
            if not rounding.within(start, again, digits * largest(start), "Å"):
                return False
        energy, repeated = (each.total[: EARLY_STEPS + 1] for each in (series, others))
        if not rounding.within(energy, repeated, digits * largest(energy), "eV"):
            return False
        rounding.apart += not (
            a.last_step == b.last_step
            and np.array_equal(series.total, others.total)
            and np.array_equal(first.positions, second.positions)
        )
        return True


def results(path: Path) -> TrajectoryResults:
    """A file of trajectories, opened for reading.

    Raises:
        UserError: there is none, it is damaged, or it is something else.
    """
    opened = Trajectories(path)
    try:
        names = {row_key((name, opened.timestep_fs)): name for name in opened.names}
        systems = {key: opened.trajectory(name).system for key, name in names.items()}
    except BaseException:
        opened.__exit__(None, None, None)
        raise
    found = TrajectoryResults(opened, names, systems)
    found.settings["timestep_fs"] = opened.timestep_fs  # which was checked
    return found
