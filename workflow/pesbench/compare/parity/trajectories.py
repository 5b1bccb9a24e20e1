"""Numerical variants along short trajectories: how fast they part, and whether both keep energy.

Two trajectories that differ by rounding part exponentially, so that their distance late in a run
says how chaotic the molecule is, not how precise the model. They are compared at fixed early times,
and by how well each conserves energy over the whole run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd

from pesbench.compare.inputs import Trajectories, main_runs
from pesbench.compare.parity.differences import Found, differences_of, summary, table_of
from pesbench.models.registry import ModelEntry
from pesbench.models.variants import variants

TIMES_FS = (0.0, 10.0, 50.0, 100.0)  # the first stored frame at or after each
POSITION, ENERGY = "position_angstrom", "energy_mev"
CONSERVATION = {  # metric of the scores, title
    "energy_drift_mev_per_atom_ps": "drift (meV/atom/ps)",
    "energy_rms_mev_per_atom": "RMS (meV/atom)",
}


class _Stored:
    """Trajectories and scores of one model, those with the nominal time step."""

    def __init__(self, stack: ExitStack, files: Iterable[Path], scores: pd.DataFrame) -> None:
        runs = main_runs(scores)
        self._timestep_fs = float(runs["timestep_fs"].iloc[0])
        self._file: dict[str, Trajectories] = {}
        for path in files:
            opened = stack.enter_context(Trajectories(path))
            if np.isclose(opened.timestep_fs, self._timestep_fs):
                self._file |= dict.fromkeys(opened.names, opened)
        self.scores = runs[runs["status"] == "ok"].set_index("trajectory")

    @property
    def names(self) -> set[str]:
        """Those that are scored and stored."""
        return self._file.keys() & set(self.scores.index)

    def early(self, name: str) -> dict[float, tuple[np.ndarray, float]]:
        """Positions in Å and potential energy in eV of stored frames, by their time in fs."""
        frames = self._file[name].frames(name)
        found = {}
        for wanted in TIMES_FS:
            late = np.flatnonzero(frames.step * self._timestep_fs >= wanted - 1e-9)
            if len(late) and np.isfinite(frames.potential[late[0]]):
                time_fs = round(float(frames.step[late[0]]) * self._timestep_fs, 6)
                found[time_fs] = frames.positions[late[0]], float(frames.potential[late[0]])
        return found


def _compare(one: _Stored, other: _Stored) -> dict[str, Found]:
    """Every quantity on the trajectories that both have, as far as both came."""
    parts: dict[str, list[np.ndarray]] = {}
    shared = sorted(one.names & other.names)
    for name in shared:
        ones, others = one.early(name), other.early(name)
        for time_fs in sorted(ones.keys() & others.keys()):
            (x, e), (y, f) = ones[time_fs], others[time_fs]
            parts.setdefault(f"{POSITION}_{time_fs:g}fs", []).append((x - y).ravel())
            parts.setdefault(f"{ENERGY}_{time_fs:g}fs", []).append(np.array([1e3 * (e - f)]))
    for metric in CONSERVATION:
        apart = one.scores.loc[shared, metric].astype(float) - other.scores.loc[
            shared, metric
        ].astype(float)
        parts[metric] = [apart.dropna().to_numpy()]
    return summary({quantity: np.concatenate(some) for quantity, some in parts.items()}, shared)


def trajectory_parity(
    entries: Mapping[str, ModelEntry],
    files: Mapping[str, Sequence[Path]],
    scores: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """Every variant beside its base, quantity by quantity.

    Args:
        entries: Entries by name, those that ran dynamics.
        files: Trajectory files by name.
        scores: One row a trajectory, by name.

    Returns:
        The columns `COLUMNS` of `differences` and `n_trajectories`: positions in Å and energies in
        meV at early times, which stand in the names of the quantities, and the differences of the
        drift and of the RMS of the total energy over the whole run.
    """
    rows = []
    for group in variants(entries.values()):
        with ExitStack() as stack:
            stored = {name: _Stored(stack, files[name], scores[name]) for name in group}
            rows += differences_of(
                group, entries, lambda a, b, held=stored: _compare(held[a], held[b])
            )
    return table_of(rows, "n_trajectories")


def titles(table: pd.DataFrame) -> dict[str, str]:
    """Titles of the quantities, in the order in which they are shown."""
    found = {}
    for what, title in ((POSITION, "positions at {} fs (Å)"), (ENERGY, "energy at {} fs (meV)")):
        for quantity in dict.fromkeys(table["quantity"]):
            if quantity.startswith(f"{what}_"):
                time_fs = quantity.removeprefix(f"{what}_").removesuffix("fs")
                found[quantity] = title.format(time_fs)
    return found | CONSERVATION


NOTE = (
    "Largest difference from the base over all trajectories, of a coordinate, of the potential "
    "energy, of the drift and of the RMS of the total energy. Trajectories that differ by rounding "
    "part exponentially: their distance at early times is compared, and their conservation of "
    "energy over the whole run. What stands at 0 fs is the difference of the starts, which is 0 "
    "where the molecules are not relaxed first (`relax_steps: 0`)."
)
