"""Writing of trajectories, in the layout of `stored`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import units
from numpy.typing import NDArray

from pesbench import __version__
from pesbench.files.hdf5 import LARGEST_CHUNK_BYTES
from pesbench.files.stored import COMPRESSION, writing_stored
from pesbench.metrics.stability import kinetic_temperature
from pesbench.tasks.dynamics.stored import (
    ADDED,
    ATTRIBUTES,
    H5MD_VERSION,
    OBSERVABLES,
    TRAJECTORIES_FORMAT,
    Segment,
    Trajectory,
)

_PS = 1000.0 * units.fs  # in ASE's unit of time
_CHUNK_FRAMES, _CHUNK_STEPS = 64, 8192


def _series(
    group: h5py.Group, unit: str, data: NDArray[Any] | None, shape: tuple[int, ...], chunk: int
) -> h5py.Dataset:
    """The `value` of a time-dependent element, with its unit."""
    packed: dict[str, Any] = {}
    dtype = np.dtype(np.float64 if data is None else data.dtype)
    if shape[0]:
        fitting = LARGEST_CHUNK_BYTES // (math.prod(shape[1:]) * dtype.itemsize)
        packed = {"chunks": (max(1, min(shape[0], chunk, fitting)), *shape[1:]), **COMPRESSION}
    value = group.create_dataset("value", shape=shape, dtype=dtype, data=data, **packed)
    if unit:
        value.attrs["unit"] = unit
    return value


def _times(group: h5py.Group, steps: NDArray[np.int64], timestep_fs: float) -> None:
    group.create_dataset("step", data=steps)
    group.create_dataset("time", data=steps * (timestep_fs / 1000.0)).attrs["unit"] = "ps"


def write_header(file: h5py.File) -> None:
    """Write the groups that make a file H5MD: version, author, creator, modules."""
    h5md = file.create_group("h5md")
    h5md.attrs["version"] = np.array(H5MD_VERSION)
    h5md.create_group("author").attrs["name"] = "pesbench"
    creator = h5md.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "pesbench", __version__
    h5md.create_group("modules/units").attrs["version"] = np.array((1, 0))


def write_particles(
    file: h5py.File,
    name: str,
    numbers: NDArray[np.int64],
    steps: NDArray[np.int64],
    timestep_fs: float,
) -> tuple[h5py.Dataset, h5py.Dataset]:
    """A particles group; its positions and velocities are to be filled."""
    group = file.create_group(f"particles/{name}")
    shape = (len(steps), len(numbers), 3)
    position = group.create_group("position")
    _times(position, steps, timestep_fs)
    filled = (
        _series(position, "Angstrom", None, shape, _CHUNK_FRAMES),
        _series(group.create_group("velocity"), "Angstrom ps-1", None, shape, _CHUNK_FRAMES),
    )
    # repeated for every frame: ZnH5MD reads no other species and box (some bytes, once packed)
    species = np.broadcast_to(numbers.astype(np.int32), shape[:2])
    _series(group.create_group("species"), "", species, species.shape, _CHUNK_FRAMES)
    box = group.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = ["none"] * 3
    edges = np.zeros((len(steps), 3, 3))
    _series(box.create_group("edges"), "Angstrom", edges, edges.shape, _CHUNK_FRAMES)
    for element in ("velocity", "species", "box/edges"):
        for key in ("step", "time"):
            group[f"{element}/{key}"] = position[key]  # a hard link, as the specification advises
    return filled


def write_observables(
    file: h5py.File, name: str, values: Sequence[NDArray[np.float64]], steps: NDArray[np.int64],
    timestep_fs: float,
) -> None:  # fmt: skip
    """An observables group, of values at some steps."""
    group = file.create_group(f"observables/{name}")
    first: h5py.Group | None = None
    for (key, unit), value in zip(OBSERVABLES.items(), values, strict=True):
        element = group.create_group(key)
        _series(element, unit, value, value.shape, _CHUNK_STEPS)
        if first is None:
            first = element
            _times(element, steps, timestep_fs)
        else:
            element["step"], element["time"] = first["step"], first["time"]


def _at(series: NDArray[np.float64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values at some steps; NaN beyond the end."""
    values = np.full(len(steps), np.nan)
    known = steps < len(series)
    values[known] = series[steps[known]]
    return values


class _Written:
    """One trajectory of a file that is being written."""

    def __init__(
        self, file: h5py.File, trajectory: Trajectory, timestep_fs: float, store_every: int
    ) -> None:
        self._file, self._trajectory, self._timestep_fs = file, trajectory, timestep_fs
        self._frames = np.arange(0, trajectory.last_step + 1, store_every)
        n_steps = trajectory.last_step + 1
        self._position, self._velocity = write_particles(
            file, trajectory.name, trajectory.numbers, self._frames, timestep_fs
        )
        group = file[f"particles/{trajectory.name}"]
        group.attrs["status"] = trajectory.status.value
        group.attrs["numbers"] = trajectory.numbers  # also for a trajectory without frames
        for key in (*ATTRIBUTES, *ADDED):
            group.attrs[key] = getattr(trajectory, key)
        group.attrs["alarm_steps"] = np.array(trajectory.alarm_steps, dtype=np.int64)
        bonds = file.create_dataset(f"connectivity/{trajectory.name}", data=trajectory.bonds)
        bonds.attrs["particles_group"] = group.ref
        self._every_step: dict[str, h5py.Dataset] = {}
        for key, unit in OBSERVABLES.items():
            element = file.create_group(f"observables/{trajectory.name}_every_step/{key}")
            element["step"] = 1  # a fixed increment, from 0
            element["time"] = timestep_fs / 1000.0
            element["time"].attrs["unit"] = "ps"
            self._every_step[key] = _series(element, unit, None, (n_steps,), _CHUNK_STEPS)

    def add(self, segment: Segment, index: int, atoms: slice) -> None:
        """Part of a segment that belongs to this trajectory."""
        start = segment.first_step
        stop = min(start + len(segment.potential), self._trajectory.last_step + 1)
        if stop > start:
            kinetic = segment.kinetic[: stop - start, index]
            self._every_step["potential_energy"][start:stop] = segment.potential[
                : stop - start, index
            ]
            self._every_step["kinetic_energy"][start:stop] = kinetic
            self._every_step["temperature"][start:stop] = kinetic_temperature(
                kinetic, self._trajectory.degrees_of_freedom
            )
        own = np.isin(segment.frame_steps, self._frames)
        if own.any():
            place = np.searchsorted(self._frames, segment.frame_steps[own])
            self._position[place[0] : place[-1] + 1] = segment.positions[own, atoms]
            self._velocity[place[0] : place[-1] + 1] = segment.velocities[own, atoms] * _PS
        if index in segment.black_boxes:
            box = segment.black_boxes[index]
            position, velocity = write_particles(
                self._file, f"{self._trajectory.name}_last", self._trajectory.numbers, box.steps,
                self._timestep_fs,
            )  # fmt: skip
            position[:], velocity[:] = box.positions, box.velocities * _PS

    def finish(self) -> None:
        """The observables of frames, which need those of every step."""
        series = [self._every_step[key][:] for key in OBSERVABLES]
        last = f"{self._trajectory.name}_last"
        for name in (self._trajectory.name, last):
            if name not in self._file["particles"]:
                continue
            steps = self._file[f"particles/{name}/position/step"][:]
            values = [_at(one, steps) for one in series]
            write_observables(self._file, name, values, steps, self._timestep_fs)


def write_trajectories(
    path: Path,
    trajectories: Sequence[Trajectory],
    segments: Iterable[Segment],
    *,
    timestep_fs: float,
    store_every: int,
    attributes: Mapping[str, Any],
) -> None:
    """Write the trajectories of one shard.

    Args:
        path: File to write; it is written as `.part` and renamed.
        trajectories: How each ended.
        segments: Their data, in order of time; consumed one by one.
        timestep_fs: Time between two steps, in fs.
        store_every: Steps from one stored frame to the next.
        attributes: Attributes of the file; mappings are stored as JSON.
    """
    ends = np.cumsum([trajectory.n_atoms for trajectory in trajectories])
    times = {"timestep_fs": timestep_fs, "store_every": store_every}
    with writing_stored(path, TRAJECTORIES_FORMAT, times | dict(attributes)) as file:
        write_header(file)
        written = [_Written(file, one, timestep_fs, store_every) for one in trajectories]
        for segment in segments:
            for index, (one, end) in enumerate(zip(written, ends, strict=True)):
                one.add(segment, index, slice(end - trajectories[index].n_atoms, end))
        for one in written:
            one.finish()
