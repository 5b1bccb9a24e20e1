"""The stored frames that models are asked about: scans and trajectories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.systems import System
from pesbench.engine.describing import UNIT_ATOMS
from pesbench.files.scan_set import ScanSet
from pesbench.tasks.alarms.stored import OF, OWN, SCANS
from pesbench.tasks.alarms.task import COARSEST
from pesbench.tasks.dynamics.stored import Trajectories


@dataclass(frozen=True)
class Source:
    """The frames of a scan or trajectory.

    Attributes:
        system: Id of the molecule.
        place: Path of the group that the answers go to, below that of the molecule.
        positions: Å, shape (F, N, 3), finite.
        describe: Whether descriptors are asked for.
        evaluate: Whether forces are asked for.
    """

    system: str
    place: str
    positions: NDArray[np.float64]
    describe: bool
    evaluate: bool


@dataclass(frozen=True)
class Unit:
    """Some frames of a source, which are asked about at a time."""

    source: Source
    start: int
    stop: int


def units(source: Source) -> Iterator[Unit]:
    """Consecutive parts of a source of at most `UNIT_ATOMS` atoms, but always one frame."""
    n_frames, n_atoms = source.positions.shape[:2]
    size = max(1, UNIT_ATOMS // n_atoms)
    for start in range(0, n_frames, size):
        yield Unit(source, start, min(start + size, n_frames))


def scan_sources(scan_set: ScanSet, systems: Sequence[System]) -> Iterator[Source]:
    """The scans of some molecules; those that the gate on references dropped are left out."""
    wanted = {system.id for system in systems}
    for scan_id in scan_set.ids:
        if scan_set.quality(scan_id)[0] != "dropped" and scan_set.system(scan_id) in wanted:
            scan = scan_set.scan(scan_id)
            yield Source(scan.system, f"{SCANS}/{scan_id}", scan.positions, True, False)


def trajectory_sources(
    files: Sequence[Path], model: str, systems: Sequence[System], *, others: bool
) -> Iterator[Source]:
    """The trajectories of a model, and of others, of some molecules, in the order of the files.

    A trajectory ends here before its first frame with a position that is not finite. Those with
    half the time step, which a run may have beside the others, are left out.

    Args:
        files: Files of trajectories of all models.
        model: Name of the model that is asked.
        systems: Molecules.
        others: Whether the model is asked about trajectories of other models.

    Raises:
        UserError: a file is damaged, or its frames are too far apart.
    """
    wanted = {system.id for system in systems}
    with ExitStack() as stack:
        opened = [stack.enter_context(Trajectories(path)) for path in sorted(files)]
        coarsest = coarsest_steps(opened)
        for one in opened:
            if one.timestep_fs < coarsest[one.model] or not (others or one.model == model):
                continue
            if one.store_every > COARSEST:
                raise UserError(
                    f"{one.path}: stores every {one.store_every}th step, and alarms need frames at "
                    f"most {COARSEST} steps apart; write `store_every: {COARSEST}` in the block "
                    "`dynamics`"
                )
            own = one.model == model
            for name in one.names:
                trajectory = one.trajectory(name)
                if trajectory.system not in wanted or trajectory.last_step < 0:
                    continue
                positions = one.frames(name).positions
                held = finite_frames(positions)
                place = f"{OWN}/{name}" if own else f"{OF}/{one.model}/{name}"
                yield Source(trajectory.system, place, positions[:held], own, True)


def finite_frames(positions: NDArray[np.float64]) -> int:
    """Frames before the first with a position that is not finite."""
    broken = ~np.isfinite(positions).all(axis=(1, 2))
    return int(np.argmax(broken)) if broken.any() else len(positions)


def coarsest_steps(opened: Sequence[Trajectories]) -> Mapping[str, float]:
    """The largest time step of the files of each model, fs."""
    found: dict[str, float] = {}
    for one in opened:
        found[one.model] = max(found.get(one.model, 0.0), one.timestep_fs)
    return found
