"""The scores of all detectors along trajectories, and what alarms they would have given."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pesbench.metrics import geometry_sentinels as geometry
from pesbench.metrics import physics_sentinels as physics
from pesbench.metrics.survival import Outcome, outcome
from pesbench.tasks.alarms import several
from pesbench.tasks.alarms.events import (
    USEFUL_LEAD_FS,
    events,
    lead_fs,
    quiet_time,
    threshold_of_events,
)
from pesbench.tasks.alarms.gather import Gathered, one_per_item
from pesbench.tasks.alarms.ladder import Known, fitted_scores
from pesbench.tasks.alarms.stored import OF, OWN, Looked
from pesbench.tasks.dynamics.stored import Trajectories, Trajectory

Array = NDArray[np.float64]
_LEFT_OUT = {
    Outcome.CENSORED: "cut by the clock, by memory or by an alarm",
    Outcome.NOT_AT_RISK: "never began",
}


@dataclass(frozen=True)
class Moving:
    """A trajectory with the scores of its frames.

    Attributes:
        system: Id of the molecule.
        name: Name of the trajectory.
        temperature_k: Its nominal temperature.
        fs_per_frame: Time between two frames.
        failure_fs: Time of the failure; None of one that survived.
        scores: By detector, shape (T,); infinite where a detector has no finite value.
    """

    system: str
    name: str
    temperature_k: float
    fs_per_frame: float
    failure_fs: float | None
    scores: Mapping[str, Array]

    @property
    def duration_ps(self) -> float:
        """Time from the first frame to the last."""
        n_frames = max((len(one) for one in self.scores.values()), default=1)
        return (n_frames - 1) * self.fs_per_frame / 1000.0


def read_trajectories(
    found: Gathered,
    systems: Collection[str],
    known: Known,
) -> tuple[list[Moving], dict[str, int]]:
    """The trajectories of the model that survived or failed, with the scores of all detectors.

    Args:
        found: Files.
        systems: Molecules.
        known: The reference set.

    Returns:
        The trajectories, and the number of those that are left out by reason.

    Raises:
        UserError: a file is not what it should be.
    """
    read, left_out = [], Counter()
    for file in found.trajectories:
        for name in file.names:
            trajectory = file.trajectory(name)
            if trajectory.system not in systems:
                continue
            time_ps = max(trajectory.last_step, 0) * file.timestep_fs / 1000.0
            how = outcome(trajectory.status.value, trajectory.failure, time_ps)
            if how in _LEFT_OUT:
                left_out[_LEFT_OUT[how]] += 1
                continue
            moving = _moving(found, file, trajectory, known, how is Outcome.FAILED)
            if moving is None:
                left_out["without an answer of the model on the stored frames"] += 1
            else:
                read.append(moving)
    return read, dict(left_out)


def _moving(
    found: Gathered,
    file: Trajectories,
    trajectory: Trajectory,
    known: Known,
    failed: bool,
) -> Moving | None:
    name, n_atoms = trajectory.name, trajectory.n_atoms
    own = _looked(found, found.model, trajectory, f"{OWN}/{name}")
    if own is None or own.forces is None:
        return None
    count = len(own.forces)
    frames, series = file.frames(name), file.series(name)
    if count > len(frames.positions):
        return None
    positions = frames.positions[:count]
    pairs = geometry.Pairs.of(trajectory.numbers, trajectory.bonds)
    ratios = pairs.ratios(positions, trajectory.numbers)
    forces = own.forces.astype(np.float64)
    scores = {
        "largest_force": physics.largest_force(forces),
        "close_pair": geometry.close_pair(ratios),
        "long_bond": geometry.long_bond(ratios, pairs.apart),
        "energy_jump": physics.energy_jump(
            series.total, file.store_every, n_atoms, _conserving(file)
        )[:count],
        "temperature": frames.temperature[:count] / trajectory.temperature_k,
    }
    fs_per_frame = file.store_every * file.timestep_fs
    scores |= fitted_scores(positions, trajectory.numbers, pairs, own.descriptors, known)
    if "cli" in scores:
        scores["cli"] = np.cumsum(scores["cli"]) * fs_per_frame / 1000.0
    scores |= _of_several(found, trajectory, forces)
    # undefined altogether, as bonds of a molecule without any
    defined = {name: one for name, one in scores.items() if not np.isnan(one).all()}
    return Moving(
        system=trajectory.system,
        name=name,
        temperature_k=trajectory.temperature_k,
        fs_per_frame=fs_per_frame,
        failure_fs=trajectory.failure_step * file.timestep_fs if failed else None,
        # a frame on which a model or detector breaks down is an alarm at any threshold
        scores={name: np.where(np.isnan(one), np.inf, one) for name, one in defined.items()},
    )


def _conserving(file: Trajectories) -> int:
    """The step from which on a trajectory conserves its energy."""
    equilibration_ps = float(json.loads(file.attributes["settings"]).get("equilibration_ps", 0.0))
    steps = round(1000.0 * equilibration_ps / file.timestep_fs)
    return steps + 1 if steps else 0  # the thermostat acts once more before the step that follows


def _of_several(found: Gathered, trajectory: Trajectory, forces: Array) -> dict[str, Array]:
    said = {found.model: forces}
    for name in {*found.committee, *found.others} - {found.model}:
        place = f"{OF}/{found.model}/{trajectory.name}"
        looked = _looked(found, name, trajectory, place)
        if looked is not None and looked.forces is not None and len(looked.forces) == len(forces):
            said[name] = looked.forces.astype(np.float64)
    scores = {}
    if found.committee and all(name in said for name in found.committee):
        scores["committee"] = several.committee_spread([said[n] for n in found.committee])
    told = [several.difference(forces, said[n]) for n in found.others if n in said]
    told = [one for one in told if np.isfinite(one[0]).all()]  # the start is the own minimum
    if told:
        scores["disagreement"] = several.disagreement(told, [one[0] for one in told])
    return scores


def _looked(found: Gathered, model: str, trajectory: Trajectory, place: str) -> Looked | None:
    held = one_per_item(found.answers.get(model, ()), trajectory.system, "systems")
    return held and held.looked(trajectory.system, place, trajectory.n_atoms)


# --- alarms --------------------------------------------------------------------------------------


def shared_temperatures(runs: Sequence[Moving]) -> frozenset[float]:
    """Nominal temperatures in K at which a trajectory survives and another one fails after 20 fs.

    Failures at other temperatures do not tell an alarm from a thermometer: where all trajectories
    that survive are cold and all that fail are hot, any score that rises with the temperature
    tells the two apart.
    """
    survived = {one.temperature_k for one in runs if one.failure_fs is None}
    failed = {
        one.temperature_k
        for one in runs
        if one.failure_fs is not None and one.failure_fs > USEFUL_LEAD_FS
    }
    return frozenset(survived & failed)


def event_threshold(runs: Sequence[Moving], detector: str, alarms_per_ps: float) -> float:
    """The threshold of a detector from the stable trajectories of some molecules.

    Args:
        runs: Trajectories of calibration molecules.
        detector: Name of the detector.
        alarms_per_ps: Rate of events that is allowed on them, per time without an alarm.

    Returns:
        NaN if none of them is stable.
    """
    stable = [one for one in runs if one.failure_fs is None and detector in one.scores]
    return threshold_of_events(
        [one.scores[detector] for one in stable],
        alarms_per_ps,
        [one.fs_per_frame / 1000.0 for one in stable],
    )


@dataclass(frozen=True)
class Alarmed:
    """What a detector would have said of some trajectories of a molecule.

    Attributes:
        n_runs: Trajectories with a score.
        n_early: Failures in the first 20 fs, for which no alarm can be in time.
        leads_fs: Of each later failure, 0 without an alarm before it.
        n_warned: Those of them with an alarm before.
        stable_ps: Time of the trajectories that survived.
        quiet_ps: The part of it in which no alarm is on.
        n_false_events: Events in it.
    """

    n_runs: int
    n_early: int
    leads_fs: tuple[float, ...]
    n_warned: int
    stable_ps: float
    quiet_ps: float
    n_false_events: int

    @property
    def n_in_time(self) -> int:
        """Later failures with an alarm more than 20 fs before."""
        return sum(lead > USEFUL_LEAD_FS for lead in self.leads_fs)


def alarmed(runs: Sequence[Moving], detector: str, threshold: float) -> Alarmed:
    """The alarms of a detector on some trajectories of one molecule."""
    mine = [one for one in runs if detector in one.scores]
    leads, early, warned, stable, quiet, false = [], 0, 0, 0.0, 0.0, 0
    for one in mine:
        scores = one.scores[detector]
        if one.failure_fs is None:
            stable += one.duration_ps
            quiet += quiet_time(scores, threshold, one.fs_per_frame / 1000.0)
            false += len(events(scores, threshold))
            continue
        if one.failure_fs <= USEFUL_LEAD_FS:
            early += 1
            continue
        lead = lead_fs(scores, threshold, one.fs_per_frame, one.failure_fs)
        warned += lead is not None
        leads.append(lead or 0.0)
    return Alarmed(len(mine), early, tuple(leads), warned, stable, quiet, false)
