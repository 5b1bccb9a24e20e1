"""The rows of short trajectories: how many survive, and whether energy is kept.

Drift, RMS and jumps are compared with what the reference does on the same molecule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from pesbench.commands.check.frames import geometry
from pesbench.commands.check.limits import Limits, Tolerance
from pesbench.commands.check.reference import DRIFT, DRIFT_ERROR, JUMP, RMS, ReferenceRuns
from pesbench.commands.check.report import CheckRow, Verdict
from pesbench.core.interface import Status
from pesbench.metrics.survival import Outcome
from pesbench.tasks.dynamics.conservation import DISCARD_PS
from pesbench.tasks.dynamics.stored import Frames, Series, Trajectory

Array = NDArray[np.float64]

SECTION = "dynamics"


@dataclass(frozen=True)
class Run:
    """A trajectory with its data.

    Attributes:
        trajectory: What it is and how it ended.
        series: Values of every step up to its last.
        frames: Every `store_every`-th of them.
        relaxation: Why its start is not a minimum, or "".
        path: Positions of every step up to its last, Å, shape (F, N, 3).
    """

    trajectory: Trajectory
    series: Series
    frames: Frames
    relaxation: str
    path: Array

    def shown(self, step: int, note: str) -> Atoms:
        """The geometry of a step."""
        return geometry(
            self.trajectory.numbers,
            self.path[step],
            f"{self.trajectory.name} step {step}: {note}",
            energy=float(self.series.potential[step]),
            charge=self.trajectory.charge,
            spin=self.trajectory.spin,
        )

    @property
    def end(self) -> list[Atoms]:
        """Its last geometry."""
        return [self.shown(len(self.path) - 1, self.trajectory.message)] if len(self.path) else []

    @property
    def jump(self) -> list[Atoms]:
        """The geometries before and after the largest change of its total energy."""
        total = self.series.total
        late = np.flatnonzero(self.series.time_ps >= DISCARD_PS)
        if len(late) < 2:
            return []
        change = np.abs(np.diff(total[late]))
        step = int(late[np.argmax(change)])
        note = f"the total energy changes by {1000 * change.max():.3g} meV"
        return [self.shown(step, note), self.shown(step + 1, note)]


@dataclass(frozen=True)
class _Score:
    """A row made of a score: the molecule that is furthest beyond its limit.

    Attributes:
        row: Name of the row.
        column: Name of the score.
        unit: Unit of the score.
        limit: Attribute of `Limits` with an own limit.
        ratio: Attribute of `Limits` that says how many times what the reference does on the same
            molecule; "" for no such limit.
        error: Column of the standard error; the reference's is added to what it does, and two of
            the model's own to the limit.
        rounding: How often the rounding of a molecule's energy (meV) may add to the score.
        per_atom: Whether the score is per atom.
    """

    row: str
    column: str
    unit: str
    limit: str
    ratio: str = ""
    error: str = ""
    rounding: float = 0.0
    per_atom: bool = True

    def allowed(
        self, record: Mapping[str, Any], limits: Limits, tolerance: Tolerance, of: ReferenceRuns
    ) -> float | None:
        """The limit for a molecule; None for none."""
        own: float | None = getattr(limits, self.limit)
        reference = of.get(record["system"])
        if own is not None or not self.ratio or reference is None:
            return own
        does, error = abs(reference[self.column]), 0.0
        if self.error:
            does += reference[self.error]
            error = 2 * record[self.error]
        rounding = self.rounding * 1000 * tolerance.energy
        rounding /= record["n_atoms"] if self.per_atom else 1
        return float(getattr(limits, self.ratio) * does + error + rounding)


_SCORES = (
    _Score("energy_drift", DRIFT, "meV/atom/ps", "drift", "drift_ratio", DRIFT_ERROR),
    _Score("energy_rms", RMS, "meV/atom", "rms", "rms_ratio", rounding=1),
    _Score("energy_jump", JUMP, "meV", "jump", "jump_ratio", rounding=2, per_atom=False),
    _Score("temperature_spike", "temperature_spike", "σ", "temperature_spike"),
)


def dynamics_rows(
    records: Sequence[dict[str, Any]],
    limits: Limits,
    tolerance: Tolerance,
    reference: ReferenceRuns,
    runs: Mapping[str, Run],
) -> list[CheckRow]:
    """The rows of some trajectories.

    Args:
        records: One mapping a trajectory.
        limits: What passes.
        tolerance: What rounding alone may change.
        reference: What the reference does, by molecule.
        runs: The trajectories by molecule, for their geometries; some may be missing.
    """
    unsupported = [r for r in records if r["status"] == Status.UNSUPPORTED.value]
    asked = [r for r in records if r["status"] != Status.UNSUPPORTED.value]
    survived = [r for r in asked if r["outcome"] == Outcome.SURVIVED.value]
    failed = [r for r in asked if r["outcome"] != Outcome.SURVIVED.value]
    note = f"{len(survived)} of {len(records)} lived {records[0]['planned_ps']:g} ps "
    note += f"at {records[0]['temperature_k']:g} K"
    note += f", {len(unsupported)} unsupported" if unsupported else ""
    if failed:
        first = failed[0]
        status = "" if first["status"] == Status.OK.value else f"{first['status']}: "
        note += f"; {first['system']}: {status}{first['message']}"
    ends = [end for r in failed if r["system"] in runs for end in runs[r["system"]].end]
    count = CheckRow.measured(
        SECTION, "runs_failed", float(len(failed)), "", limits.failed_runs, note, ends
    )
    if not survived:  # for any limit: nothing was tested
        count = replace(count, verdict=Verdict.ERROR)
    if not asked:
        return [count, *without_runs(limits, "n/a: no run")[1:]]
    rows = [count, _relaxed_row(asked)]
    for score in _SCORES:
        rows.append(_score_row(score, survived, asked, limits, tolerance, reference, runs))
    return rows


def _relaxed_row(asked: Sequence[dict[str, Any]]) -> CheckRow:
    lost = [record for record in asked if not record["relaxed"]]
    note = f"{lost[0]['system']}: {lost[0]['relaxation']}" if lost else f"{len(asked)} molecules"
    return CheckRow.info(SECTION, "not_relaxed", note, float(len(lost)))


def _score_row(
    score: _Score,
    survived: Sequence[dict[str, Any]],
    asked: Sequence[dict[str, Any]],
    limits: Limits,
    tolerance: Tolerance,
    reference: ReferenceRuns,
    runs: Mapping[str, Run],
) -> CheckRow:
    known = [record for record in survived if np.isfinite(record[score.column])]
    if not known:
        return _missing(score.row, getattr(limits, score.limit), "n/a: no run was long enough")

    def allowed(record: dict[str, Any]) -> float | None:
        return score.allowed(record, limits, tolerance, reference)

    def beyond(record: dict[str, Any]) -> float:
        return abs(record[score.column]) / max(allowed(record) or 1.0, 1e-300)

    worst = max(known, key=beyond)
    value, name = abs(worst[score.column]), worst["system"]
    note = f"worst of {len(known)}" + (f" of {len(asked)}" if len(known) < len(asked) else "")
    note += f" runs: {name}"
    if score.error:
        note += f", {worst[score.column]:+.3g} ± {worst[score.error]:.2g}"
    if score.ratio and name in reference:
        note += f"; the reference has {reference[name][score.column]:.3g}"
    frames = runs[name].jump if score.ratio and name in runs else ()
    return CheckRow.measured(SECTION, score.row, value, score.unit, allowed(worst), note, frames)


def _missing(row: str, limit: float | None, why: str) -> CheckRow:
    """A row without a value: an error where a limit was set, which then is not kept."""
    make = CheckRow.info if limit is None else CheckRow.error
    return make(SECTION, row, why)


def without_runs(limits: Limits, why: str) -> list[CheckRow]:
    """The rows where no trajectory ran."""
    # an own number of failed runs is asked for, the default is not
    own = None if limits.failed_runs == Limits.failed_runs else limits.failed_runs
    return [
        _missing("runs_failed", own, why),
        CheckRow.info(SECTION, "not_relaxed", why),
        *(_missing(score.row, getattr(limits, score.limit), why) for score in _SCORES),
    ]
