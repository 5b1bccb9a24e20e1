"""Whether two files hold the same results of one model: to the bit, or within rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pesbench.commands.merge.contents import (
    COLUMNS,
    DAMAGED,
    DYNAMICS,
    SCANS,
    Piece,
    read_scores,
    row_keys,
    trajectory_key,
)
from pesbench.files.evaluation import Evaluation
from pesbench.files.integrity import readable
from pesbench.files.scan_set import ScanSet
from pesbench.tasks.bonds.score import PLACES, score_rows
from pesbench.tasks.dynamics.score import trajectory_rows
from pesbench.tasks.dynamics.stored import Trajectories

EARLY_STEPS = 10  # before rounding has grown
# in which equal results may differ; places follow from the forces
_APART = ("model", "seen", "message", "wall_s", "command_s", "worker_deaths", *PLACES)


@dataclass
class Rounding:
    """How far what two files hold of the same is apart.

    Attributes:
        largest: By unit, over all scans or rows.
        apart: Trajectories that start alike and do not stay so: rounding grows in them.
    """

    largest: dict[str, float] = field(default_factory=dict)
    apart: int = 0

    def within(self, one: Any, other: Any, limit: float, unit: str) -> bool:
        """Whether two arrays have gaps at the same places and are no farther apart."""
        a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return False
        far = float(np.abs(a - b, where=np.isfinite(a), out=np.zeros_like(a)).max(initial=0.0))
        if far:
            self.largest[unit] = max(far, self.largest.get(unit, 0.0))
        return far <= limit

    def __str__(self) -> str:
        said = [f"{size:.2g}{' ' * bool(unit)}{unit}" for unit, size in self.largest.items()]
        return f"at most {' and '.join(said)}" if said else ""


def _half_the_digits(*pieces: Piece) -> float:
    """What two runs of one model may differ by, relative to the largest number of a scan.

    Other batches, another order of sums and another processor change the last digits, and a
    self-consistent field or a deep network makes more of it.
    """
    told = {how.get("dtype", "") for piece in pieces for how in piece.made_from}
    kind = np.float32 if any("32" in dtype for dtype in told) else np.float64
    return float(np.sqrt(np.finfo(kind).eps))


def _largest(values: Any) -> float:
    """The largest finite number without its sign, at least 1."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=1.0))


def first_difference(
    one: Piece, other: Piece, keys: Sequence[str], scan_set: ScanSet, found: Rounding
) -> str | None:
    """The first of some keys whose results are not the same within rounding.

    Evaluations are compared as such, trajectories by their starts, and with scores alone those.

    Args:
        one: A file.
        other: Another of the same model and kind.
        keys: That both hold.
        scan_set: What they were made on.
        found: Is told the largest differences.

    Raises:
        UserError: a file is damaged.
    """
    digits = _half_the_digits(one, other)
    if not (one.raw and other.raw):
        rows, others = rows_of(one, scan_set), rows_of(other, scan_set)
        apart = {*_APART, *one.lacks, *other.lacks}
        columns = [column for column in rows.columns if column not in apart]
        pairs = ((k, rows.loc[k, columns], others.loc[k, columns]) for k in keys)
        return next((k for k, a, b in pairs if not _same_row(a, b, digits, found)), None)
    with readable(f"{one.path} or {other.path}", DAMAGED):
        if one.kind == SCANS:
            with Evaluation(one.path) as a, Evaluation(other.path) as b:
                return next((k for k in keys if not _same_scan(a, b, k, digits, found)), None)
        with Trajectories(one.path) as a, Trajectories(other.path) as b:
            names = {trajectory_key(name, a.timestep_fs): name for name in a.names}
            different = (k for k in keys if not _same_start(a, b, names[k], digits, found))
            return next(different, None)


def _same_scan(
    one: Evaluation, other: Evaluation, scan_id: str, digits: float, found: Rounding
) -> bool:
    a, b = one.scan(scan_id), other.scan(scan_id)
    if a.status is not b.status or not np.array_equal(a.frame_status, b.frame_status):
        return False
    energies = a.energy[np.isfinite(a.energy)]
    spread = float(np.ptp(energies)) if energies.size else 0.0
    # total energies have last digits of their own: a few of those are rounding, too
    limit = digits * max(1.0, spread) + 16 * digits**2 * _largest(energies)
    return found.within(a.energy, b.energy, limit, "eV") and found.within(
        a.forces, b.forces, digits * _largest(a.forces), "eV/Å"
    )


def _same_start(
    one: Trajectories, other: Trajectories, name: str, digits: float, found: Rounding
) -> bool:
    """Whether two runs of a trajectory begin alike: the last digits decide how they go on."""
    a, b = one.trajectory(name), other.trajectory(name)
    if min(a.last_step, b.last_step) < 0:
        return (a.status, a.failure) == (b.status, b.failure)
    first, second = one.frames(name), other.frames(name)
    series, others = one.series(name), other.series(name)
    if len(first.positions) and len(second.positions):
        start, again = first.positions[0], second.positions[0]
        if not found.within(start, again, digits * _largest(start), "Å"):
            return False
    energy, repeated = (each.total[: EARLY_STEPS + 1] for each in (series, others))
    if not found.within(energy, repeated, digits * _largest(energy), "eV"):
        return False
    found.apart += not (
        a.last_step == b.last_step
        and np.array_equal(series.total, others.total)
        and np.array_equal(first.positions, second.positions)
    )
    return True


def _same_row(one: pd.Series, other: pd.Series, digits: float, found: Rounding) -> bool:
    for a, b in zip(one, other, strict=True):
        if isinstance(a, str) or isinstance(b, str):
            alike = a == b
        elif pd.isna(a) or pd.isna(b):
            alike = bool(pd.isna(a) and pd.isna(b))
        else:
            alike = found.within(a, b, digits * max(1.0, abs(a), abs(b)), "")
        if not alike:
            return False
    return True


def rows_of(piece: Piece, scan_set: ScanSet) -> pd.DataFrame:
    """The scores of a file, by key: made here of evaluations and trajectories, else as they are.

    Raises:
        UserError: the file is damaged.
    """
    with readable(piece.path, DAMAGED):
        if not piece.raw:
            rows = read_scores(piece.path, piece.kind)
        elif piece.kind == SCANS:
            rows = pd.DataFrame(score_rows(scan_set, [piece.path]), columns=list(COLUMNS[SCANS]))
        else:
            rows = pd.DataFrame(trajectory_rows([piece.path]), columns=list(COLUMNS[DYNAMICS]))
    return rows.set_index(row_keys(rows, piece.kind))
