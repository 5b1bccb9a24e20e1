"""The export of one trajectory in formats that other programs read."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.atomic import atomic_path
from pesbench.files.hdf5 import writing
from pesbench.files.molecules.xyz import write_extxyz
from pesbench.tasks.dynamics.stored import Frames, Trajectories, Trajectory
from pesbench.tasks.dynamics.writing import write_header, write_observables, write_particles

EXPORTED_GROUP = "trajectory"  # the one name under which MDAnalysis looks
EXPORT_SUFFIXES = (".h5md", ".extxyz", ".xyz", ".traj")


def listed(path: Path) -> list[str]:
    """The trajectories of a file, a line each: name, how it ended, and its last step."""
    with Trajectories(path) as trajectories:
        timestep_fs = trajectories.timestep_fs
        found = {name: trajectories.trajectory(name) for name in trajectories.names}
    width = max(map(len, found), default=0)
    return [
        f"{name:<{width}}  {_how_it_ended(one)}, {max(0, one.last_step) * timestep_fs / 1e3:.3f} ps"
        for name, one in found.items()
    ]


def _how_it_ended(trajectory: Trajectory) -> str:
    if trajectory.status is not Status.OK:
        return str(trajectory.status.value)
    return trajectory.failure or "survived"


def export_trajectory(path: Path, name: str, out: Path, *, last_steps: bool = False) -> None:
    """Write one trajectory in a format that other programs read.

    The suffix decides: `.h5md` (H5MD with the one group `trajectory`, as MDAnalysis needs it),
    `.extxyz` or `.xyz` (extended XYZ with momenta and energy), `.traj` (ASE).

    Args:
        path: A file of the trajectories contract.
        name: Name of the trajectory.
        out: Written whole or not at all.
        last_steps: Whether to write the last steps before its failure and not the thinned frames.

    Raises:
        UserError: an unknown suffix or trajectory, or one without frames.
    """
    if out.suffix not in EXPORT_SUFFIXES:
        raise UserError(
            f"{out}: no format for the suffix {out.suffix!r}; take " + ", ".join(EXPORT_SUFFIXES)
        )
    with Trajectories(path) as trajectories:
        trajectory = trajectories.trajectory(name)
        frames = trajectories.last_steps(name) if last_steps else trajectories.frames(name)
        timestep_fs = trajectories.timestep_fs
    if frames is None or not len(frames.step):
        why = "it did not fail" if frames is None else trajectory.message or "it was never started"
        raise UserError(f"{path}: trajectory {name!r} has no such frames ({why}); take another")
    if out.suffix == ".h5md":
        _export_h5md(out, trajectory, frames, timestep_fs)
        return
    images = [_atoms(trajectory, frames, k) for k in range(len(frames.step))]
    with atomic_path(out) as part:
        if out.suffix == ".traj":
            ase.io.write(part, images, format="traj")
        else:
            write_extxyz(part, images)


def _export_h5md(out: Path, trajectory: Trajectory, frames: Frames, timestep_fs: float) -> None:
    with atomic_path(out) as part, writing(part) as file:
        write_header(file)
        position, velocity = write_particles(
            file, EXPORTED_GROUP, trajectory.numbers, frames.step, timestep_fs
        )
        position[:], velocity[:] = frames.positions, frames.velocities
        values = (frames.potential, frames.kinetic, frames.temperature)
        write_observables(file, EXPORTED_GROUP, values, frames.step, timestep_fs)


def _atoms(trajectory: Trajectory, frames: Frames, k: int) -> Atoms:
    atoms = Atoms(
        trajectory.numbers, frames.positions[k], velocities=frames.velocities_ase[k],
        info={
            "trajectory": trajectory.name,
            "step": int(frames.step[k]),
            "time_ps": float(frames.time_ps[k]),
            "temperature_k": float(frames.temperature[k]),
            "charge": trajectory.charge,
            "spin": trajectory.spin,
        },
    )  # fmt: skip
    if np.isfinite(frames.potential[k]):
        atoms.calc = SinglePointCalculator(atoms, energy=float(frames.potential[k]))
    return atoms
