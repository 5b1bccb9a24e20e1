"""Frames that a model asks for itself: where its dynamics failed or gave an alarm.

Nothing is labelled here: which frames there are, in which order, and which of them are worth a
label.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.geometry import sorted_distances
from pesbench.core.interface import Status
from pesbench.metrics.geometry_sentinels import Pairs, close_pair, long_bond
from pesbench.metrics.survival import Outcome, outcome
from pesbench.tasks.dynamics.stored import Trajectories, Trajectory
from pesbench.training.harvest_settings import HarvestSettings

ALARM = "alarm"
NOT_FINITE, TOO_CLOSE, TOO_LONG = "positions not finite", "atoms too close", "bond too long"
LIKE_ANOTHER, NOT_NEEDED = "like another frame", "not needed"


@dataclass(frozen=True)
class Candidate:
    """A stored frame that may be labelled.

    Attributes:
        model: Whose dynamics it is from.
        trajectory: Of it.
        step: Its number in the trajectory.
        positions: Å, shape (N, 3).
        why: `ALARM`, or how the trajectory failed.
    """

    model: str
    trajectory: Trajectory
    step: int
    positions: NDArray[np.float64]
    why: str


def trajectory_files(paths: Sequence[Path]) -> list[Path]:
    """The files of trajectories of files and folders of results, each once, sorted.

    Raises:
        UserError: a path leads to nothing, or a folder holds none.
    """
    found: set[Path] = set()
    for path in paths:
        if not path.is_dir():
            found.add(path.resolve())
            continue
        places = ("*.h5",) if path.name == "dynamics" else ("dynamics/*.h5", "*/dynamics/*.h5")
        inside = [one for place in places for one in path.glob(place)]
        if not inside:
            raise UserError(
                f"{path}: holds no trajectories (`dynamics/*.h5`); give a folder "
                "of results with dynamics, or their files"
            )
        found.update(one.resolve() for one in inside)
    return sorted(found)


def candidates(files: Sequence[Path], last_steps: int) -> list[Candidate]:
    """The frames of alarms and of the last steps before failures, the trajectories in turn.

    Of a trajectory that failed the last step comes first; of one that an alarm ended it is that of
    the alarm. Of an alarm that ended nothing it is the stored frame that is nearest to it. The
    trajectories are in the order of model, set of velocities and name, so that the molecules take
    turns. One that failed at time 0 says nothing of the
    model's dynamics, and one that was cut by the clock or by memory did not fail.

    Args:
        files: Files of trajectories.
        last_steps: Steps before a failure that are looked at.

    Raises:
        UserError: a file is none of trajectories, or damaged.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(Trajectories(path)) for path in files]
        every = sorted(
            (one.model, one.trajectory(name).replicate, name, one.timestep_fs, k)
            for k, one in enumerate(opened)
            for name in one.names
        )
        turns = [_of_trajectory(opened[k], name, last_steps) for _, _, name, _, k in every]
    return [one for turn in zip_longest(*turns) for one in turn if one is not None]


def _of_trajectory(file: Trajectories, name: str, last_steps: int) -> list[Candidate]:
    one = file.trajectory(name)
    ran_ps = max(0, one.last_step) * file.timestep_fs / 1000
    failed = outcome(one.status.value, one.failure, ran_ps) is Outcome.FAILED
    ended_by_alarm = one.status is Status.ALARM
    found = []
    if failed or ended_by_alarm:
        last = file.last_steps(name)
        why = ALARM if ended_by_alarm else one.failure or str(one.status.value)
        count = 1 if ended_by_alarm else last_steps
        if last is not None:
            ends = list(zip(last.step.tolist(), last.positions, strict=True))[::-1][:count]
            found += [Candidate(file.model, one, step, x, why) for step, x in ends]
    if one.alarm_step >= 0 and not ended_by_alarm:
        frames = file.frames(name)
        nearest = int(np.argmin(np.abs(frames.step - one.alarm_step)))
        at = frames.positions[nearest]
        found.append(Candidate(file.model, one, int(frames.step[nearest]), at, ALARM))
    return found


def dynamics_wall_s(files: Sequence[Path]) -> float:
    """Seconds that the trajectories of some files took, as far as they tell."""
    with ExitStack() as stack:
        opened = [stack.enter_context(Trajectories(path)) for path in files]
        return float(sum(float(one.attributes.get("wall_s", 0.0)) for one in opened))


def unfit(candidate: Candidate, settings: HarvestSettings) -> str:
    """Why the geometry of a frame is not worth a label, or ""."""
    one, positions = candidate.trajectory, candidate.positions
    if not np.isfinite(positions).all():
        return NOT_FINITE
    pairs = Pairs.of(one.numbers, one.bonds)
    ratios = pairs.ratios(positions[None], one.numbers)
    if -close_pair(ratios)[0] < settings.closest:
        return TOO_CLOSE
    return TOO_LONG if long_bond(ratios, pairs.apart)[0] > settings.longest_bond else ""


Molecule = tuple[tuple[int, ...], int, int]


@dataclass
class Distinct:
    """Frames so far, to which others are compared: those of one composition, charge and spin.

    Attributes:
        apart_angstrom: Least distance of two frames, see `core.geometry.apart`.
    """

    apart_angstrom: float

    def __post_init__(self) -> None:
        self._known: dict[Molecule, list[NDArray[np.float64]]] = {}

    def add(self, numbers: NDArray[np.int64], positions: NDArray[np.float64], *state: int) -> bool:
        """Whether a frame is new; it counts from then on.

        Args:
            numbers: Atomic numbers, shape (N,).
            positions: Å, shape (N, 3).
            state: Charge and spin.
        """
        own = sorted_distances(numbers, positions)
        known = self._like(numbers, *state)
        if known and len(own):
            nearest = np.sqrt(np.mean((np.array(known) - own) ** 2, axis=1).min())
            if nearest < self.apart_angstrom:
                return False
        known.append(own)
        return True

    def know(self, numbers: NDArray[np.int64], positions: NDArray[np.float64], *state: int) -> None:
        """Count a frame, new or not; arguments as `add`."""
        self._like(numbers, *state).append(sorted_distances(numbers, positions))

    def _like(self, numbers: NDArray[np.int64], *state: int) -> list[NDArray[np.float64]]:
        charge, spin = state
        key = tuple(sorted(numbers.tolist())), charge, spin
        return self._known.setdefault(key, [])


def distinct_from(known: Sequence[Atoms], apart_angstrom: float) -> Distinct:
    """What frames that are labelled already leave to others.

    Args:
        known: These frames; a single atom has no distances and is passed over.
        apart_angstrom: See `Distinct`.
    """
    distinct = Distinct(apart_angstrom)
    for atoms in known:
        if len(atoms) > 1:
            state = int(atoms.info.get("charge", 0)), int(atoms.info.get("spin", 1))
            distinct.know(atoms.numbers, atoms.positions, *state)
    return distinct


def new_beside(
    kept: Iterable[int], some: Sequence[Candidate], decided: Container[int], known: Distinct
) -> Iterator[int]:
    """Numbers of the candidates that are new, in order: of two that are alike the first one.

    Args:
        kept: Numbers of the candidates that have a sound label.
        some: All candidates.
        decided: Numbers of those that have a label, sound or not.
        known: Frames that are labelled already.
    """
    distinct = deepcopy(known)

    def add(one: Candidate) -> bool:
        of = one.trajectory
        return distinct.add(of.numbers, one.positions, of.charge, of.spin)

    for k in kept:
        add(some[k])
    yield from (k for k, one in enumerate(some) if k not in decided and add(one))
