"""Trajectories: H5MD 1.1 files of one shard, and their reader.

A file holds, for a trajectory called `<name>`,

    /particles/<name>                thinned frames: box, species, position (Å), velocity (Å/ps)
    /observables/<name>              of these frames: potential_energy, kinetic_energy (eV),
                                     temperature (K)
    /observables/<name>_every_step   the same three of every step
    /particles/<name>_last           the last 100 steps before a failure or an alarm that ended
                                     it, every one of them,
    /observables/<name>_last         and their observables
    /connectivity/<name>             the bond graph, pairs of atoms from 0

Every particles group has an observables group of its own name and length, so that readers that go
by index, such as ZnH5MD, find the energy of the frame they show. Masses are ASE's
(`ase.data.atomic_masses`). The attributes of `/particles/<name>` say what it is and how it ended.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import h5py
import numpy as np
from ase import units
from numpy.typing import NDArray

from pesbench.core.errors import UserError
from pesbench.core.interface import Status
from pesbench.files.hdf5 import Values
from pesbench.files.stored import LAST_ELEMENT, Reader, open_stored
from pesbench.metrics.stability import FailureCause

TRAJECTORIES_FORMAT = "pesbench-trajectories"
H5MD_VERSION = (1, 1)
_PS = 1000.0 * units.fs  # in ASE's unit of time
OBSERVABLES = {"potential_energy": "eV", "kinetic_energy": "eV", "temperature": "K"}
ATTRIBUTES: dict[str, type] = {
    "system": str, "temperature_k": float, "replicate": int, "charge": int, "spin": int,
    "degrees_of_freedom": int, "message": str, "failure": str, "failure_step": int,
    "last_step": int, "relaxed": bool, "relax_steps": int, "relax_fmax": float,
}  # fmt: skip
# not in files of earlier versions, which have the defaults
ADDED: dict[str, type] = {"n_alarms": int}
MOST_ALARMS = 100  # of a trajectory, whose steps its file keeps
_LAST = "_last"  # behind the name of the group of the last steps


def trajectory_name(system: str, temperature_k: float, replicate: int) -> str:
    """The name of a trajectory, such as `ethanol_300K_0`.

    H5MD keeps all particles groups in one folder: a slash in the system's name becomes a dot.
    """
    return f"{system.replace('/', '.')}_{temperature_k:g}K_{replicate}"


@dataclass(frozen=True)
class Trajectory:
    """Description and outcome of a trajectory, without its data.

    Attributes:
        system: Name of the molecule.
        temperature_k: Nominal; the start has twice of it.
        replicate: Number of the replicate, from 0.
        numbers: Atomic numbers, shape (N,).
        bonds: Bond graph, shape (B, 2).
        charge: Total charge in e.
        spin: Multiplicity.
        degrees_of_freedom: Internal ones, 3N − 6, or 3N − 5 of a linear molecule.
        status: Whether the model answered: `ok`, or how it failed.
        message: What went wrong, or "".
        failure: Why the molecule is no longer what it was (a `FailureCause` of
            `metrics.stability`), or "". A trajectory survived if its status is `ok` and this is "".
        failure_step: The step it did not survive, whether the model or the molecule failed; −1 if
            it survived or was never put to the model.
        last_step: The last step with energy and forces; −1 if there is none.
        relaxed: Whether the start is a minimum of the model's own.
        relax_steps: Taken.
        relax_fmax: Largest force at the start in eV/Å; NaN if unknown.
        alarm_steps: The steps of its first `MOST_ALARMS` alarms, ascending.
        n_alarms: Number of alarms.
    """

    system: str
    temperature_k: float
    replicate: int
    numbers: NDArray[np.int64]
    bonds: NDArray[np.int64]
    charge: int
    spin: int
    degrees_of_freedom: int
    status: Status = Status.OK
    message: str = ""
    failure: str = ""
    failure_step: int = -1
    last_step: int = -1
    relaxed: bool = False
    relax_steps: int = 0
    relax_fmax: float = float("nan")
    alarm_steps: tuple[int, ...] = ()
    n_alarms: int = 0

    @property
    def name(self) -> str:
        return trajectory_name(self.system, self.temperature_k, self.replicate)

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def alarm_step(self) -> int:
        """The step of the first alarm; −1 without one."""
        return self.alarm_steps[0] if self.alarm_steps else -1

    @property
    def survived(self) -> bool:
        return self.status is Status.OK and not self.failure


@dataclass(frozen=True)
class BlackBox:
    """The last steps before a failure, as the integrator holds them.

    Attributes:
        steps: Their numbers, shape (F,). The last one is the geometry that failed; where the model
            gave no forces for it, its velocities are those of half a step before.
        positions: Å, shape (F, N, 3).
        velocities: ASE units, shape (F, N, 3).
    """

    steps: NDArray[np.int64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """Some consecutive steps of all S trajectories of a shard, A atoms in all.

    Attributes:
        first_step: Number of the first one.
        potential: eV, shape (n, S); NaN once a trajectory has ended.
        kinetic: eV, shape (n, S).
        frame_steps: Steps that are stored as frames, shape (F,).
        positions: Positions of these frames, Å, shape (F, A, 3).
        velocities: ASE units, shape (F, A, 3).
        black_boxes: Last steps of the trajectories that failed in these steps, by index.
    """

    first_step: int
    potential: NDArray[np.float64]
    kinetic: NDArray[np.float64]
    frame_steps: NDArray[np.int64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    black_boxes: Mapping[int, BlackBox] = field(default_factory=dict)


@dataclass(frozen=True)
class Frames:
    """Frames of one trajectory, F of them.

    Attributes:
        step: Shape (F,).
        time_ps: Shape (F,).
        positions: Å, shape (F, N, 3).
        velocities: Å/ps, shape (F, N, 3).
        potential: eV, shape (F,); NaN where the model failed.
        kinetic: eV, shape (F,).
        temperature: K, shape (F,).
    """

    step: NDArray[np.int64]
    time_ps: NDArray[np.float64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    potential: NDArray[np.float64]
    kinetic: NDArray[np.float64]
    temperature: NDArray[np.float64]

    @property
    def velocities_ase(self) -> NDArray[np.float64]:
        """Velocities in ASE units, shape (F, N, 3)."""
        return self.velocities / _PS


@dataclass(frozen=True)
class Series:
    """Every step of one trajectory, from 0 to its last.

    Attributes:
        time_ps: Shape (T,).
        potential: eV, shape (T,).
        kinetic: eV, shape (T,).
        temperature: K, shape (T,).
    """

    time_ps: NDArray[np.float64]
    potential: NDArray[np.float64]
    kinetic: NDArray[np.float64]
    temperature: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """Potential plus kinetic energy in eV, shape (T,)."""
        return self.potential + self.kinetic


class Trajectories(Reader):
    """The trajectories of one shard, opened for reading.

    Attributes:
        names: Names of all trajectories, sorted.
        model: Name of the model entry.
        timestep_fs: Time between two steps, in fs.
        store_every: Steps from one stored frame to the next.
    """

    def __init__(self, path: Path) -> None:
        """Open a file of the trajectories contract.

        Raises:
            UserError: there is none, it was cut short, or it is something else.
        """
        cure = "make it with the rule `run`"
        super().__init__(open_stored(path, TRAJECTORIES_FORMAT, "trajectory file", cure))
        self.names = tuple(self._groups)
        with self._file.closed_on_error():
            self.model = str(self.attributes.get("model", ""))
            self.timestep_fs = float(self.attributes["timestep_fs"])
            self.store_every = int(self.attributes["store_every"])
            for key in ("timestep_fs", "store_every"):
                if not self.attributes[key]:
                    raise self._file.wrong(f"@{key}", "is 0")

    def _find(self, marker: str | None) -> dict[str, h5py.Group]:
        file = self._file
        if "particles" not in file.names(file.root):  # a shard without trajectories
            return {}
        particles = file.group(file.root, "particles")
        groups = {name: file.group(particles, name) for name in file.names(particles)}
        last = {name for name in groups if name.endswith(_LAST)}  # of a trajectory that failed
        return {
            name: group
            for name, group in groups.items()
            if name not in last or name.removesuffix(_LAST) not in groups
        }

    def _particles(self, name: str) -> h5py.Group:
        if name not in self._groups:
            close = get_close_matches(name, self.names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "see its names"
            raise UserError(f"{self.path}: no trajectory {name!r} in this file; {hint}")
        return self._groups[name]

    def trajectory(self, name: str) -> Trajectory:
        """Description and outcome of a trajectory.

        Raises:
            UserError: the file has no trajectory of that name, or one that is not what it should
                be.
        """
        group, file = self._particles(name), self._file
        numbers = self._elements(group)
        bonds = file.array(file.root, f"connectivity/{name}", np.int64, (None, 2))
        if bonds.size and not 0 <= bonds.min() <= bonds.max() < len(numbers):
            raise file.wrong(f"connectivity/{name}", "holds a number that is no atom")
        found = Trajectory(
            numbers=numbers,
            bonds=bonds,
            status=self.status(group),
            **{key: file.attribute(group, key, kind) for key, kind in ATTRIBUTES.items()},
            **{
                key: file.attribute(group, key, kind)
                for key, kind in ADDED.items()
                if h5py.h5a.exists(group.id, key.encode())
            },
            alarm_steps=self._alarm_steps(group),
        )
        if found.failure not in {"", *FailureCause}:
            raise file.wrong(f"{group.name}/@failure", f"is {found.failure!r}, which is no cause")
        planned = self.attributes.get("n_steps", found.last_step)
        if found.survived and found.last_step != planned:
            reason = f"is {found.last_step} of {planned} steps, and no failure is told"
            raise file.wrong(f"{group.name}/@last_step", reason)
        for key, least in (
            ("degrees_of_freedom", 1 if found.last_step >= 0 else 0),
            ("temperature_k", 1e-300),
            ("replicate", 0),
            ("spin", 1),
            ("last_step", -1),
            ("n_alarms", 0),
        ):
            value = getattr(found, key)
            if not least <= value < math.inf:
                raise file.wrong(f"{group.name}/@{key}", f"is {value}")
        if len(found.alarm_steps) > found.n_alarms:
            raise file.wrong(f"{group.name}/@n_alarms", "is less than the alarms that it has")
        if found.name != name:
            raise file.wrong(group.name, f"says that it is {found.name!r}")
        return found

    def _alarm_steps(self, group: h5py.Group) -> tuple[int, ...]:
        if h5py.h5a.exists(group.id, b"alarm_steps"):
            steps = self._file.attribute(group, "alarm_steps", int, (None,)).tolist()
            known = range(self._file.attribute(group, "last_step", int) + 1)
            wrong = steps != sorted({*steps}) or any(step not in known for step in steps)
            if wrong or len(steps) > MOST_ALARMS:
                raise self._file.wrong(f"{group.name}/@alarm_steps", "are no steps of the run")
            return tuple(steps)
        if h5py.h5a.exists(group.id, b"alarm_step"):  # files of earlier versions tell the first
            first = self._file.attribute(group, "alarm_step", int)
            return (first,) if first >= 0 else ()
        return ()

    def _elements(self, group: h5py.Group) -> NDArray[np.int64]:
        numbers = self._file.attribute(group, "numbers", int, (None,))
        if not numbers.size or not 1 <= numbers.min() <= numbers.max() <= LAST_ELEMENT:
            raise self._file.wrong(f"{group.name}@numbers", "holds what is no atomic number")
        return numbers

    def _values(self, group: h5py.Group) -> Values:
        """What its data may hold: what a model breaks may become infinite on its last steps."""
        survived = self.status(group) is Status.OK and not self._file.attribute(
            group, "failure", str
        )
        return "finite" if survived else "any"

    def frames(self, name: str) -> Frames:
        """The stored frames, every `store_every`-th step."""
        group = self._particles(name)
        found = self._frames(name, len(self._elements(group)), self._values(group))
        last = self._file.attribute(group, "last_step", int)
        if not np.array_equal(found.step, np.arange(len(found.step)) * self.store_every) or (
            len(found.step) != last // self.store_every + 1
        ):
            raise self._file.wrong(f"{group.name}/position/step", "is not every step to store")
        return found

    def last_steps(self, name: str) -> Frames | None:
        """The last steps before a failure, every one of them; None of a trajectory that survived.

        The last frame is the geometry that failed. Where the model gave no forces for it, its
        energies are NaN and its velocities those of half a step before.
        """
        n_atoms = len(self._elements(self._particles(name)))
        particles = self._file.group(self._file.root, "particles")
        if name + _LAST not in self._file.names(particles):
            return None
        return self._frames(name + _LAST, n_atoms, "any")

    def _frames(self, name: str, n_atoms: int, values: Values) -> Frames:
        file = self._file
        particles = file.group(file.root, f"particles/{name}")
        observables = file.group(file.root, f"observables/{name}")
        step = file.array(particles, "position/step", np.int64, (None,))
        shape = (len(step), n_atoms, 3)
        return Frames(
            step,
            file.array(particles, "position/time", np.float64, (len(step),)),
            file.array(particles, "position/value", np.float64, shape, values=values),
            file.array(particles, "velocity/value", np.float64, shape, values=values),
            *(
                file.array(observables, f"{key}/value", np.float64, (len(step),), values=values)
                for key in OBSERVABLES
            ),
        )

    def series(self, name: str) -> Series:
        """Energies and temperature of every step."""
        trajectory = self._particles(name)
        n_steps = self._file.attribute(trajectory, "last_step", int) + 1
        values = self._values(trajectory)
        group = self._file.group(self._file.root, f"observables/{name}_every_step")
        values = [
            self._file.array(group, f"{key}/value", np.float64, (n_steps,)) for key in OBSERVABLES
        ]
        return Series(np.arange(n_steps) * (self.timestep_fs / 1000.0), *values)
